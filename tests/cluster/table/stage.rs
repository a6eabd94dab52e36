//! Pods, Services and machines that the table's rows are asked with. Alice's side asks, Bob's answers.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use sotto_tests::kubernetes::whole::{MALLORY, Space, Trio, WEB_PORT, url};
use sotto_tests::lab::{Lab, Place};

use super::{Answer, Question, Source};
use crate::outside::{World, fetch};

/// Port of the web server on Bob's own network, and the one that Alice publishes for a pod.
pub(super) const HOST_PORT: u16 = 18_280;

/// Last byte of the client's addresses outside.
const CLIENT: u8 = 210;

pub(super) struct Stage<'a> {
    pub(super) space: Space<'a>,
    pub(super) trio: &'a Trio,
    pub(super) alice: Arc<Place>,
    pub(super) client: Place,
    pub(super) mallory: Place,
    pub(super) world: World,
}

impl<'a> Stage<'a> {
    pub(super) fn set(lab: &Lab, trio: &'a Trio) -> Result<Self> {
        let space = trio.cluster.space("table")?;
        let none = json!({});
        space.web("asking", "alice")?;
        space.web("near", "alice")?;
        space.web("far", "bob")?;
        let on_host = json!({"hostNetwork": true});
        space.web_with("on-host", "bob", HOST_PORT, &none, &on_host)?;
        let ports = json!([{"containerPort": WEB_PORT, "hostPort": HOST_PORT}]);
        let published = json!({"ports": ports});
        space.web_with("published", "alice", WEB_PORT, &published, &none)?;
        space.service("asking", "asking", &none)?;
        space.service("far", "far", &json!({"type": "NodePort"}))?;
        let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
        space.service("near", "near", &local)?;
        Ok(Self {
            space,
            trio,
            alice: trio.alice.place()?,
            client: lab.station("table-client", CLIENT)?,
            mallory: lab.station("table-mallory", MALLORY)?,
            world: World::open(lab, 0)?,
        })
    }

    /// The pod that asks fetches a URL, again while it must.
    pub(super) fn pod_asks(&self, url: &str) -> Result<Answer> {
        answered(&self.space.fetch("asking", url)?)
    }

    /// The pod that asks fetches a URL, once.
    pub(super) fn pod_tries(&self, url: &str) -> Answer {
        let line = format!("curl -sSg --max-time 3 '{url}'");
        self.space
            .shell("asking", &line)
            .map_or(Answer::Nothing, Answer::From)
    }

    pub(super) fn pod_url(&self, pod: &str, question: &Question<'_>) -> Result<String> {
        let address = self.space.address(pod, question.ipv6)?;
        Ok(url(&address, WEB_PORT, question.path))
    }

    pub(super) fn service_url(&self, name: &str, question: &Question<'_>) -> Result<String> {
        let address = self.space.service_address(name, question.ipv6)?;
        Ok(url(&address, 80, question.path))
    }

    pub(super) fn node_url(
        &self,
        node: &str,
        port: u16,
        question: &Question<'_>,
    ) -> Result<String> {
        Ok(url(
            &self.trio.host(node)?.address(question.ipv6),
            port,
            question.path,
        ))
    }

    pub(super) fn node_port_url(
        &self,
        node: &str,
        service: &str,
        question: &Question<'_>,
    ) -> Result<String> {
        self.node_url(node, self.space.node_port(service, 0)?, question)
    }

    /// The address that a row's packets should come from.
    pub(super) fn address(&self, source: Source, ipv6: bool) -> Result<Option<String>> {
        Ok(Some(match source {
            Source::Pod => self.space.address("asking", ipv6)?,
            Source::Node => self.trio.alice.address(ipv6),
            Source::Tun(node) => self.trio.host(node)?.tun_address(ipv6)?,
            Source::Local(node) if ipv6 => self.trio.host(node)?.tun_address(ipv6)?,
            Source::Local(node) => self.trio.host(node)?.address(ipv6),
            Source::Client if ipv6 => format!("2001:db8::{CLIENT:x}"),
            Source::Client => format!("198.51.100.{CLIENT}"),
            Source::Nowhere => return Ok(None),
        }))
    }
}

/// The address in what a web server answered.
pub(super) fn answered(said: &str) -> Result<Answer> {
    let address = said.split_whitespace().next().context("an empty answer")?;
    Ok(Answer::From(address.to_owned()))
}

/// What a machine is answered, that is asked once.
pub(super) fn asks(from: &Place, url: &str) -> Result<Answer> {
    answered(&fetch(from, url)?)
}
