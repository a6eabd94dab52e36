//! Names: cluster DNS by both transports, headless Services, identities of a StatefulSet.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{Space, WEB_PORT, web_container};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

/// A name is believed for 5 s by DNS and for as long again by its cache.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        names_resolve_over_udp_and_tcp_and_headless_ones_to_every_pod,
        a_stateful_pod_keeps_its_name_when_it_is_made_anew,
    ]
}

fn names_resolve_over_udp_and_tcp_and_headless_ones_to_every_pod(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("names")?;
        space.web("web", "bob")?;
        space.web("client", "alice")?;
        space.web("other", "alice")?;
        space.kubectl(&["label", "pod", "other", "--overwrite", "app=web"])?;
        space.service("web", "web", &json!({}))?;
        space.service("all", "web", &json!({"clusterIP": "None"}))?;
        resolves(&space, "web")?;
        for ipv6 in [false, true] {
            let mut should = [space.address("web", ipv6)?, space.address("other", ipv6)?];
            should.sort();
            wait::until("a headless name to be every pod's", LIMIT, || {
                lookup(&space, "", "all", ipv6).is_ok_and(|found| found == should)
            })?;
        }
        Ok(())
    })
}

/// The Service of a name, asked for by the pod `client` over UDP and over TCP.
pub(super) fn resolves(space: &Space<'_>, service: &str) -> Result<()> {
    for ipv6 in [false, true] {
        let should = space.service_address(service, ipv6)?;
        for transport in ["", "RES_OPTIONS=use-vc "] {
            wait::until("the name to resolve", LIMIT, || {
                let found = lookup(space, transport, service, ipv6);
                found.is_ok_and(|found| found == [should.as_str()])
            })?;
        }
    }
    Ok(())
}

fn lookup(space: &Space<'_>, transport: &str, name: &str, ipv6: bool) -> Result<Vec<String>> {
    let database = if ipv6 { "ahostsv6" } else { "ahostsv4" };
    let line = format!("{transport}getent {database} {name}.{}", space.name());
    let said = space.shell("client", &line)?;
    let mut found: Vec<_> = said
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn a_stateful_pod_keeps_its_name_when_it_is_made_anew(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("stateful")?;
        space.web("client", "alice")?;
        space.service("db", "db", &json!({"clusterIP": "None"}))?;
        let template = json!({
            "metadata": {"labels": {"app": "db"}},
            "spec": {
                "nodeName": "bob", "terminationGracePeriodSeconds": 1,
                "containers": [web_container(WEB_PORT)],
            },
        });
        let spec = json!({
            "serviceName": "db", "replicas": 2, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}}, "template": template,
        });
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec,
        });
        space.create(&set.to_string())?;
        let ready = ["rollout", "status", "statefulset/db", "--timeout=90s"];
        space.kubectl(&ready)?;
        let asked = format!("http://db-0.db.{}:{WEB_PORT}/first", space.name());
        space.fetch("client", &asked)?;
        let before = space.address("db-0", false)?;

        space.delete(&["pod", "db-0"])?;
        space.kubectl(&ready)?;

        let now = space.address("db-0", false)?;
        ensure!(now != before, "{now} did not rest");
        wait::until("the name to follow", LIMIT, || {
            let found = lookup(&space, "", "db-0.db", false);
            found.is_ok_and(|found| found == [now.as_str()])
        })?;
        space.fetch("client", &asked.replace("first", "second"))?;
        let log = space.kubectl(&["logs", "db-0"])?;
        ensure!(log.contains("/second"), "another pod answered: {log}");
        Ok(())
    })
}
