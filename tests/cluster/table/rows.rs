//! The rows, as data: who asks whom, where the packets go, and how to ask.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use sotto_tests::kubernetes::whole::{CONTROL, WEB_PORT, url};
use sotto_tests::wait;

use super::stage::{HOST_PORT, Stage, answered, asks};
use super::{Answer, Question, Row, Source, Way};
use crate::outside::World;

const BOTH: &[bool] = &[false, true];
/// Asked by kubelet or the API server, or of a Service that has one family, in the cluster's first one.
const FIRST: &[bool] = &[false];

/// A second after the pod is Ready kubelet has asked.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

macro_rules! row {
    ($from:literal => $to:literal, $way:ident, $source:expr, $families:expr, $ask:expr) => {
        Row {
            from: $from,
            to: $to,
            way: Way::$way,
            source: $source,
            families: $families,
            ask: $ask,
        }
    };
}

pub(super) const ROWS: [Row; 21] = [
    row!("pod" => "pod on another node", Tunnel, Source::Pod, BOTH, |s, q| {
        s.pod_asks(&s.pod_url("far", q)?)
    }),
    row!("pod" => "pod on the same node", NoWire, Source::Pod, BOTH, |s, q| {
        s.pod_asks(&s.pod_url("near", q)?)
    }),
    row!("pod" => "pod address that no node owns", Dropped, Source::Nowhere, BOTH, |s, q| {
        let nobody = if q.ipv6 { "fd00:10:244:c8::9" } else { "10.244.200.9" };
        Ok(s.pod_tries(&url(nobody, WEB_PORT, q.path)))
    }),
    row!("pod" => "Service, its pod on another node", Tunnel, Source::Pod, BOTH, |s, q| {
        s.pod_asks(&s.service_url("far", q)?)
    }),
    row!("pod" => "Service, its pod on the same node", NoWire, Source::Pod, BOTH, |s, q| {
        s.pod_asks(&s.service_url("near", q)?)
    }),
    row!("pod" => "itself through its Service", NoWire, Source::Local("alice"), BOTH, |s, q| {
        s.pod_asks(&s.service_url("asking", q)?)
    }),
    row!("pod" => "cluster DNS on another node", Tunnel, Source::Pod, FIRST, ask_dns),
    row!("pod" => "hostNetwork pod or address of another node", Clear, Source::Node, BOTH, |s, q| {
        s.pod_asks(&s.node_url("bob", HOST_PORT, q)?)
    }),
    row!("pod" => "NodePort of another node, the pod there", Clear, Source::Local("bob"), BOTH, |s, q| {
        s.pod_asks(&s.node_port_url("bob", "far", q)?)
    }),
    row!("pod" => "API server (TLS of its own)", Clear, Source::Node, FIRST, ask_api_server),
    row!("pod" => "the world", Clear, Source::Node, BOTH, |s, q| {
        s.pod_asks(&url(World::address(q.ipv6), s.world.port, q.path))
    }),
    row!("node, hostNetwork pod" => "pod on another node", Tunnel, Source::Tun("alice"), BOTH, |s, q| {
        asks(&s.alice, &s.pod_url("far", q)?)
    }),
    row!("node, hostNetwork pod" => "Service, its pod on another node", Tunnel, Source::Tun("alice"), BOTH, |s, q| {
        asks(&s.alice, &s.service_url("far", q)?)
    }),
    row!("node, hostNetwork pod" => "pod on the same node", NoWire, Source::Local("alice"), BOTH, |s, q| {
        asks(&s.alice, &s.pod_url("near", q)?)
    }),
    row!("kubelet (probes)" => "pod on its node", NoWire, Source::Local("alice"), FIRST, ask_by_probe),
    row!("API server (webhooks, proxy)" => "pod on another node", Tunnel, Source::Tun(CONTROL), FIRST, |s, q| {
        let name = format!("/api/v1/namespaces/{}/pods/http:far:{WEB_PORT}/proxy{}", s.space.name(), q.path);
        answered(&s.space.kubectl(&["get", "--raw", &name])?)
    }),
    row!("outside" => "NodePort, policy `Cluster`, the pod on another node", ClearThenTunnel, Source::Tun("alice"), BOTH, |s, q| {
        asks(&s.client, &s.node_port_url("alice", "far", q)?)
    }),
    row!("outside" => "NodePort, policy `Local`", Clear, Source::Client, BOTH, |s, q| {
        asks(&s.client, &s.node_port_url("alice", "near", q)?)
    }),
    row!("outside" => "NodePort, policy `Local`, no pod there", Dropped, Source::Nowhere, BOTH, |s, q| {
        let url = s.node_port_url("bob", "near", q)?;
        Ok(asks(&s.client, &url).unwrap_or(Answer::Nothing))
    }),
    row!("outside" => "hostPort", Clear, Source::Client, BOTH, |s, q| {
        asks(&s.client, &s.node_url("alice", HOST_PORT, q)?)
    }),
    row!("outside" => "pod's address", Dropped, Source::Nowhere, BOTH, |s, q| {
        // She reaches what she may: that her question ends nowhere is the guard's doing.
        let allowed = Question { path: "/", ..*q };
        asks(&s.mallory, &s.node_url("alice", HOST_PORT, &allowed)?)?;
        let gateway = s.trio.alice.address(q.ipv6);
        let range = if q.ipv6 { "fd00:10:244::/56" } else { "10.244.0.0/16" };
        s.mallory.shell(&format!("ip route replace {range} via {gateway}"))?;
        let url = s.pod_url("near", q)?;
        Ok(asks(&s.mallory, &url).unwrap_or(Answer::Nothing))
    }),
];

/// A name that nobody has, from a node where DNS does not run.
fn ask_dns(stage: &Stage<'_>, question: &Question<'_>) -> Result<Answer> {
    let (space, name) = (&stage.space, question.canary);
    let line = format!("getent ahostsv4 {name}.default.svc.cluster.local || [ $? = 2 ]");
    let said = space.shell("asking", &line)?;
    anyhow::ensure!(said.is_empty(), "a name that nobody has is {said}");
    Ok(Answer::Silent)
}

/// TLS shows the server's name.
fn ask_api_server(stage: &Stage<'_>, question: &Question<'_>) -> Result<Answer> {
    let name = format!("{}.example", question.canary);
    stage.space.shell(
        "asking",
        &format!(
            "curl -sSkf --max-time 5 --resolve {name}:443:$KUBERNETES_SERVICE_HOST https://{name}/version"
        ),
    )?;
    Ok(Answer::Silent)
}

fn ask_by_probe(stage: &Stage<'_>, question: &Question<'_>) -> Result<Answer> {
    let probe = json!({"httpGet": {"path": question.path, "port": WEB_PORT}, "periodSeconds": 1});
    let container = json!({"readinessProbe": probe});
    let space = &stage.space;
    space.web_with("probed", "alice", WEB_PORT, &container, &json!({}))?;
    let line = wait::until_some("kubelet's request", PROBE_LIMIT, || {
        let log = space.kubectl(&["logs", "probed"]).ok()?;
        let mut lines = log.lines();
        lines
            .find(|line| line.contains(question.path))
            .map(str::to_owned)
    })?;
    answered(&line).context("kubelet's request")
}
