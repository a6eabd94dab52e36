//! A node whose daemon installs Sotto, and how it looks to its container runtime.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::lab::{Controller, DaemonSettings, Lab, Node, Process, program};
use sotto_tests::wait;

/// Where an image has its plugins.
pub(super) const SOURCE: &str = "/opt/source";
pub(super) const PLUGIN: &str = "/opt/cni/bin/sotto-cni";
pub(super) const CONFIGURATIONS: &str = "/etc/cni/net.d";
pub(super) const OURS: &str = "/etc/cni/net.d/00-sotto.conflist";

/// A look every ten seconds, and what it takes.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(14);

/// The node, its daemon not started.
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) settings: DaemonSettings,
    _controller: (Controller, Process),
}

impl Machine {
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let settings = DaemonSettings {
            extra: format!("[cni]\nplugin_source = \"{SOURCE}\""),
            ..DaemonSettings::default()
        };
        let controller = lab.controller()?;
        let running = controller.start()?;
        let node = lab.node("alice")?;
        node.enrol(&controller, &settings)?;
        node.shell(&format!(
            "mkdir -p {SOURCE} {CONFIGURATIONS} /opt/cni/bin
            cp {} {SOURCE}/sotto-cni
            for plugin in portmap bandwidth; do
              printf '#!/bin/sh\\nexit 0\\n' >{SOURCE}/sotto-$plugin
            done",
            program("sotto-cni")?
        ))?;
        Ok(Self {
            node,
            settings,
            _controller: (controller, running),
        })
    }

    /// Starts the daemon, ready or not.
    pub(super) fn launch(&self) -> Result<Process> {
        self.node.launch(&self.settings)
    }

    /// Starts the daemon and waits until it is ready, which it is once everything is installed.
    pub(super) fn start(&self) -> Result<Process> {
        let daemon = self.node.start(&self.settings)?;
        self.is_whole()?;
        ensure!(self.node.has(OURS), "ready without a configuration");
        Ok(daemon)
    }

    /// Never a configuration without plugins, guard and `node.json`.
    pub(super) fn is_whole(&self) -> Result<()> {
        if !self.node.has(OURS) {
            return Ok(());
        }
        self.node
            .shell(&format!(
                "cd {SOURCE}; for plugin in *; do
                  cmp $plugin /opt/cni/bin/$plugin; test -x /opt/cni/bin/$plugin
                done
                nft list table inet sotto_guard; ip link show sotto0; test -s /run/sotto/node.json
                ip rule show pref 93 | grep prohibit"
            ))
            .context("a configuration without what it needs")?;
        let text = self.node.read(OURS)?;
        let whole: Value = serde_json::from_slice(&text).context("half a configuration")?;
        let chain = whole.get("plugins").and_then(Value::as_array);
        ensure!(chain.is_some_and(|chain| chain.len() == 3), "{whole}");
        Ok(())
    }

    /// Waits until the daemon is not ready for a reason with these words.
    pub(super) fn waits_for(&self, words: &[&str]) -> Result<()> {
        let what = format!("a node that is not ready, with {words:?}");
        let seen = wait::until(&what, LOOK_LIMIT, || {
            let said = self.said();
            words.iter().all(|word| said.contains(word)) && !self.node.is_ready()
        });
        seen.with_context(|| self.said())
    }

    /// What the daemon says that it waits for.
    pub(super) fn said(&self) -> String {
        let status = self.node.status();
        status.map_or_else(|error| format!("{error:#}"), |it| it.waiting_for.join("; "))
    }

    /// Waits until it is ready by itself.
    pub(super) fn gets_ready(&self) -> Result<()> {
        let ready = wait::until("the node to be ready", LOOK_LIMIT, || self.node.is_ready());
        ready.with_context(|| self.said())?;
        ensure!(self.node.has(OURS), "ready without a configuration");
        self.is_whole()
    }
}
