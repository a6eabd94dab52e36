//! The plugin in a chain, driven by `cnitool`: libcni, which runtimes use, with the reference plugins
//! for ports and bandwidth after ours.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::kubernetes::{binary, reference_plugin};
use sotto_tests::lab::{Lab, Node, program};
use sotto_tests::{cases, wait};

use super::runtime::{Answer, Runtime, addresses};

/// What a runtime passes to the plugins that declare the capability.
const CAPABILITIES: &str = r#"{"portMappings":[{"hostPort":18080,"containerPort":8080,"protocol":"tcp"}],
    "bandwidth":{"ingressRate":8000000,"ingressBurst":800000,"egressRate":8000000,"egressBurst":800000}}"#;

/// Where libcni keeps what ADD printed.
const CACHE: &str = "/var/lib/cni/results";

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_chain_with_ports_and_bandwidth_passes_every_verb_of_every_version,
        cn17_a_del_after_the_runtimes_cache_was_torn_succeeds,
        cn22_after_a_later_plugins_del_failed_the_next_add_frees_the_address,
    ]
}

/// A node with the chain installed.
pub(super) struct Chain<'a> {
    node: &'a Node,
    list: Value,
}

impl<'a> Chain<'a> {
    /// Installs the chain, ours configured so.
    pub(super) fn install(node: &'a Node, ours: &Value) -> Result<Self> {
        let chain = Self {
            list: json!({
                "cniVersion": "1.0.0",
                "cniVersions": ["1.0.0", "1.1.0"],
                "name": "sotto",
                "loadOnlyInlinedPlugins": true,
                "plugins": [
                    ours,
                    {"type": "sotto-portmap", "capabilities": {"portMappings": true}},
                    {"type": "sotto-bandwidth", "capabilities": {"bandwidth": true}},
                ],
            }),
            node,
        };
        let (ours, portmap, bandwidth) = (
            program("sotto-cni")?,
            reference_plugin("portmap")?,
            reference_plugin("bandwidth")?,
        );
        node.shell(&format!(
            "mkdir -p /opt/cni/bin /etc/cni/net.d; cd /opt/cni/bin
            ln -s {ours} sotto-cni; ln -s {portmap} sotto-portmap; ln -s {bandwidth} sotto-bandwidth"
        ))?;
        chain.write()?;
        Ok(chain)
    }

    fn write(&self) -> Result<()> {
        let path = "/etc/cni/net.d/00-sotto.conflist";
        self.node.write(path, self.list.to_string())
    }

    fn speak(&mut self, version: &str) -> Result<()> {
        self.list["cniVersions"] = json!([version]);
        self.list["cniVersion"] = json!(version);
        self.write()
    }

    /// Runs `cnitool VERB sotto NAMESPACE`.
    pub(super) fn tool(&self, verb: &str, pod: &str) -> Result<Answer> {
        let environment = [
            ("CNI_PATH", "/opt/cni/bin"),
            ("NETCONFPATH", "/etc/cni/net.d"),
            ("CAP_ARGS", CAPABILITIES),
            (
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
            ),
        ];
        let netns = format!("/run/netns/{pod}");
        let tool = binary("cnitool-1.3.1")?;
        let output = self
            .node
            .output(&tool, &[verb, "sotto", &netns], &environment, "")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Answer {
            succeeded: output.status.success(),
            value: serde_json::from_str(&text).unwrap_or(Value::String(text)),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Makes a sandbox and attaches it; the result of the whole chain.
    pub(super) fn attach(&self, pod: &str) -> Result<Value> {
        self.node.shell(&format!("ip netns add {pod}"))?;
        self.tool("add", pod)?.success().context("cnitool add")
    }
}

/// Makes sure that neither reservation nor link is left.
fn is_clean(runtime: &Runtime) -> Result<()> {
    let left = (runtime.held()?, runtime.links()?);
    ensure!(left.0.is_empty() && left.1.is_empty(), "left: {left:?}");
    Ok(())
}

fn a_chain_with_ports_and_bandwidth_passes_every_verb_of_every_version(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let mut chain = Chain::install(&runtime.node, &runtime.config)?;
    let client = lab.node("bob")?;
    let before = runtime
        .node
        .shell("ip -o link | sed 's/<.*>//;s/ state .*//'")?;
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        chain.speak(version)?;
        let pod = format!("web-{version}");
        let result = chain.attach(&pod)?;
        ensure!(result["cniVersion"] == version, "{result}");
        ensure!(result["ips"][0]["interface"] == 1, "{result}");
        let name = result["interfaces"][2]["name"].as_str();
        ensure!(name.is_some_and(|it| it.starts_with("bwp")), "{result}");
        port_answers(&runtime, &client, &pod).context(version)?;

        // Below the version of a verb libcni does not call the plugin.
        for verb in ["check", "status"] {
            let is_known = verb != "check" || version != "0.3.1";
            let answer = chain.tool(verb, &pod)?;
            ensure!(answer.succeeded == is_known, "{version} {verb}: {answer:?}");
        }
        break_route(&runtime, &result)?;
        if version != "0.3.1" {
            let broken = chain.tool("check", &pod)?;
            ensure!(broken.log.contains("route to 10.244.1."), "{broken:?}");
        }
        chain.tool("del", &pod)?.success().context(version)?;
        chain.tool("del", &pod)?.success().context("again")?;
        is_clean(&runtime).context(version)?;
        let after = runtime
            .node
            .shell("ip -o link | sed 's/<.*>//;s/ state .*//'")?;
        ensure!(after == before, "{before}\nnow: {after}");
    }

    chain.attach("stale")?;
    // It names no attachment as living: libcni deletes each that it remembers, then asks us without
    // a list, by which nothing can be judged.
    let gc = chain.tool("gc", "stale")?;
    ensure!(gc.log.contains("cni.dev/valid-attachments"), "{gc:?}");
    is_clean(&runtime)
}

/// A server in the pod is reached from another machine by the host's port.
fn port_answers(runtime: &Runtime, client: &Node, pod: &str) -> Result<()> {
    let server = format!("cd /opt/cni/bin; exec ip netns exec {pod} python3 -m http.server 8080");
    let server = runtime.node.spawn("server", "sh", &["-c", &server])?;
    let url = format!("http://{}:18080/", runtime.node.ipv4());
    wait::until("the host's port", Duration::from_secs(10), || {
        let page = client.run("curl", &["-sf", "--max-time", "2", &url]);
        page.is_ok_and(|page| page.contains("sotto-portmap"))
    })?;
    server.kill9()?;
    Ok(())
}

fn break_route(runtime: &Runtime, result: &Value) -> Result<()> {
    let address = addresses(result).into_iter().next().context("no address")?;
    let line = format!("ip route del {address}/32");
    runtime.node.shell(&line).map(drop)
}

fn cn17_a_del_after_the_runtimes_cache_was_torn_succeeds(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let chain = Chain::install(&runtime.node, &runtime.config)?;
    for tear in [
        "truncate -s 40",
        "truncate -s 0",
        "rm",
        "cp /etc/hostname",
        "sed -i s/sotto-cni/x/",
    ] {
        chain.attach("web")?;
        let files = runtime.node.shell(&format!("ls {CACHE}/sotto-*"))?;
        runtime.node.shell(&format!("{tear} {}", files.trim()))?;

        chain.tool("del", "web")?.success().context(tear)?;

        is_clean(&runtime).context(tear)?;
        runtime.remove_sandbox("web")?;
    }
    Ok(())
}

/// The daemon's half is in `leftovers`.
fn cn22_after_a_later_plugins_del_failed_the_next_add_frees_the_address(lab: &Lab) -> Result<()> {
    // Five addresses for pods.
    let runtime = Runtime::with_ranges(lab, &["10.244.1.0/29"])?;
    let chain = Chain::install(&runtime.node, &runtime.config)?;
    for number in 0..7 {
        let pod = format!("pod{number}");
        chain.attach(&pod)?;
        set_portmap(&runtime.node, Portmap::FailsToDel)?;

        let del = chain.tool("del", &pod)?;

        ensure!(del.log.contains("no chain"), "{del:?}");
        ensure!(runtime.held()?.len() == 1, "{:?}", runtime.held()?);
        set_portmap(&runtime.node, Portmap::Reference)?;
        runtime.remove_sandbox(&pod)?;
        wait::until("the link to go", Duration::from_secs(5), || {
            runtime.links().is_ok_and(|links| links.is_empty())
        })?;
    }
    // The runtime's late DEL finds nothing and succeeds.
    chain.tool("del", "pod0")?.success().map(drop)
}

/// Which plugin for ports the chain has.
pub(super) enum Portmap {
    Reference,
    FailsToDel,
}

pub(super) fn set_portmap(node: &Node, portmap: Portmap) -> Result<()> {
    let path = "/opt/cni/bin/sotto-portmap";
    node.shell(&format!("rm {path}"))?;
    match portmap {
        Portmap::Reference => {
            let reference = reference_plugin("portmap")?;
            node.shell(&format!("ln -s {reference} {path}"))?;
        }
        Portmap::FailsToDel => {
            let answer = r#"{"code":100,"msg":"no chain"}"#;
            node.write(path, format!("#!/bin/sh\necho '{answer}'; exit 1\n"))?;
            node.shell(&format!("chmod +x {path}"))?;
        }
    }
    Ok(())
}
