//! Nodes and pods: hostNetwork, probes, and the API server that asks a pod.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::whole::{AGNHOST, Space, TOOLS, Trio, WEB_PORT, url, web_container};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

const LIMIT: Duration = Duration::from_secs(60);
/// Ports of web servers on Alice's and Bob's own network.
const HOST_PORT: u16 = 18_290;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp13_a_host_network_pod_and_a_pod_elsewhere_reach_each_other,
        dp13_a_webhook_in_a_pod_is_asked_by_the_api_server_in_both_families,
        dp13_probes_of_each_kind_judge_a_pod,
    ]
}

fn dp13_a_host_network_pod_and_a_pod_elsewhere_reach_each_other(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("host-network")?;
        let (none, on_host) = (json!({}), json!({"hostNetwork": true}));
        space.web_with("host", "alice", HOST_PORT, &none, &on_host)?;
        space.web("pod", "bob")?;
        for ipv6 in [false, true] {
            let there = url(&space.address("pod", ipv6)?, WEB_PORT, "/to-pod");
            let said = space.fetch("host", &there)?;
            let tun = trio.alice.tun_address(ipv6)?;
            ensure!(
                said == format!("{tun} /to-pod\n"),
                "Alice is seen as {said}"
            );

            let (host, peer) = (trio.alice.address(ipv6), trio.bob.address(ipv6));
            let said = space.fetch("pod", &url(&host, HOST_PORT, "/to-host"))?;
            ensure!(
                said == format!("{peer} /to-host\n"),
                "the pod is seen as {said}"
            );
        }
        Ok(())
    })
}

/// `agnhost webhook` on Bob, which denies everything; the API server is on the control plane's host.
fn dp13_a_webhook_in_a_pod_is_asked_by_the_api_server_in_both_families(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("webhook")?;
        let bundle = certificate(trio, &space)?;
        let container = json!({
            "image": AGNHOST,
            "args": ["webhook", "--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key"],
            "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            "readinessProbe": {"tcpSocket": {"port": 443}, "periodSeconds": 1},
        });
        let volumes = json!({"volumes": [{"name": "tls", "secret": {"secretName": "hook"}}]});
        space.pod("hook", "bob", &container, &volumes)?;
        for family in ["IPv4", "IPv6"] {
            let of_family = json!({
                "ipFamilyPolicy": "SingleStack", "ipFamilies": [family],
                "ports": [{"port": 443}],
            });
            space.service("hook", "hook", &of_family)?;
            let name = format!("{}-{}", space.name(), family.to_lowercase());
            space.create(&configuration(&name, &space, &bundle).to_string())?;
            let denied = wait::until_some("the webhook to deny", LIMIT, || {
                let create = ["create", "configmap", "anything", "--dry-run=server"];
                let error = format!("{:#}", space.kubectl(&create).err()?);
                error.contains("denied the request").then_some(error)
            });
            space.delete(&["validatingwebhookconfiguration", &name])?;
            space.delete(&["service", "hook"])?;
            denied.with_context(|| format!("over {family}"))?;
        }
        Ok(())
    })
}

fn certificate(trio: &Trio, space: &Space<'_>) -> Result<String> {
    let control = trio.cluster.control().place()?;
    let name = format!("hook.{}.svc", space.name());
    control.shell(&format!(
        "mkdir -p /tmp/hook && cd /tmp/hook && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
         -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=hook -addext subjectAltName=DNS:{name} 2>/dev/null"
    ))?;
    let [cert, key] = ["--cert=/tmp/hook/tls.crt", "--key=/tmp/hook/tls.key"];
    space.kubectl(&["create", "secret", "tls", "hook", cert, key])?;
    Ok(Base64::encode_string(&control.read("/tmp/hook/tls.crt")?))
}

fn configuration(name: &str, space: &Space<'_>, bundle: &str) -> Value {
    let service = json!({"namespace": space.name(), "name": "hook", "path": "/always-deny"});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "deny.hook.example",
            "clientConfig": {"service": service, "caBundle": bundle},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name()}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["configmaps"],
            }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore", "timeoutSeconds": 5,
        }],
    })
}

fn dp13_probes_of_each_kind_judge_a_pod(_: &Lab) -> Result<()> {
    shared::with(|_, trio| {
        let space = trio.cluster.space("probes")?;
        let http = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
        let tcp = json!({"tcpSocket": {"port": 8081}, "periodSeconds": 1});
        let exec = json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1});
        let sleeps = json!({
            "name": "exec", "image": TOOLS, "command": ["sleep", "infinity"], "readinessProbe": exec,
        });
        // One that nobody answers: kubelet ends it again and again.
        let dead = json!({"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1});
        let ends = json!({
            "name": "dead", "image": TOOLS, "command": ["sleep", "infinity"], "livenessProbe": dead,
        });
        let mut containers = vec![sleeps];
        for (name, port, probe) in [("http", 8080, http), ("tcp", 8081, tcp)] {
            let mut container = web_container(port);
            container["name"] = json!(name);
            container["readinessProbe"] = probe;
            containers.push(container);
        }
        let all = json!({"containers": containers});
        space.start("judged", "alice", &json!({}), &all)?;
        let doomed = json!({"containers": [ends]});
        space.start("doomed", "alice", &json!({}), &doomed)?;

        let status = |pod: &str, container: &str| -> Option<Value> {
            let pod = space.read(&["pod", pod]).ok()?;
            let all = pod
                .pointer("/status/containerStatuses")?
                .as_array()?
                .clone();
            all.into_iter().find(|it| it["name"] == container)
        };
        let is_ready = |name| status("judged", name).is_some_and(|it| it["ready"] == true);
        wait::until("HTTP and TCP probes", LIMIT, || {
            is_ready("http") && is_ready("tcp")
        })?;
        ensure!(!is_ready("exec"), "an exec probe was not asked");
        space.kubectl(&[
            "exec",
            "judged",
            "--container=exec",
            "--",
            "touch",
            "/tmp/ready",
        ])?;
        space.is_ready("judged")?;
        wait::until("a failing probe to restart its container", LIMIT, || {
            let restarts = |it: Value| it["restartCount"].as_u64();
            status("doomed", "dead").and_then(restarts) > Some(0)
        })
    })
}
