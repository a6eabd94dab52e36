//! Sotto on the cluster, as a user installs it: the images of `make images`, a root, the chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::{ADMIN, NAMESPACE, helm};
use super::Whole;
use crate::lab::{Host, TRUST_DOMAIN, program};
use crate::wait;

/// From the installation to nodes that are Ready; the promise, images being there.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Where the administrator makes the root, on the control plane's host.
const ROOT: &str = "/var/lib/sotto-root";

impl Whole {
    /// Makes a root, stores it, and installs the chart; more values are lines of YAML.
    ///
    /// # Errors
    /// When a step is refused.
    pub fn install_sotto(&self, more: &str) -> Result<()> {
        let pin = self.create_root()?;
        let control = self.control.place()?;
        control.write("/tmp/values.yaml", values(&pin, more))?;
        let chart = repository().join("deploy/chart");
        let chart = chart.to_str().context("the chart's path is no text")?;
        let install = ["install", "sotto", chart, "--namespace", NAMESPACE];
        let values = ["--values", "/tmp/values.yaml", "--kubeconfig", ADMIN];
        let arguments = [&install[..], &values].concat();
        control.run(&helm()?, &arguments).map(drop)
    }

    fn create_root(&self) -> Result<String> {
        let control = self.control.place()?;
        let sotto = program("sotto")?;
        control.shell(&format!("mkdir -m 700 {ROOT}"))?;
        let said = control.shell(&format!(
            "{sotto} root create --trust-domain {TRUST_DOMAIN} --out-directory {ROOT} 2>&1"
        ))?;
        self.api.kubectl(&["create", "namespace", NAMESPACE])?;
        let privileged = "pod-security.kubernetes.io/enforce=privileged";
        self.api
            .kubectl(&["label", "namespace", NAMESPACE, privileged])?;
        self.api
            .kubectl(&["create", "--filename", &format!("{ROOT}/sotto-root.yaml")])?;
        let pin = said
            .split_whitespace()
            .rfind(|word| word.starts_with("sha256:"));
        pin.map(str::to_owned)
            .context("`sotto root create` printed no pin")
    }

    /// Imports Sotto's own images on a host.
    ///
    /// # Errors
    /// When `make images` did not run.
    pub fn import_sotto(&self, host: &Host) -> Result<()> {
        let folder = repository().join("target/images");
        let archives =
            ["sotto-node", "sotto-controller"].map(|name| folder.join(format!("{name}.tar")));
        for archive in &archives {
            ensure!(
                archive.exists(),
                "{} is missing: run `make images`",
                archive.display()
            );
        }
        self.import(host, &archives)
    }

    /// Waits until nodes are Ready.
    ///
    /// # Errors
    /// When they are not within a minute; the text holds what the nodes say.
    pub fn are_ready(&self, names: &[&str]) -> Result<()> {
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let is_ready = |name: &&str| {
            let said = self.api.kubectl(&["get", "node", name, "-o", ready]);
            said.is_ok_and(|said| said == "True")
        };
        wait::until(&format!("{names:?} to be Ready"), READY_LIMIT, || {
            names.iter().all(is_ready)
        })
        .with_context(|| self.state())
    }

    /// What a person would look at when something does not come up.
    pub fn state(&self) -> String {
        let lines: [&[&str]; 4] = [
            &["get", "nodes,pods", "--all-namespaces", "-o", "wide"],
            &[
                "get",
                "events",
                "--all-namespaces",
                "--sort-by=.lastTimestamp",
            ],
            &[
                "logs",
                "--namespace",
                NAMESPACE,
                "daemonset/sotto-node",
                "--tail=40",
            ],
            &[
                "logs",
                "--namespace",
                NAMESPACE,
                "deployment/sotto-controller",
                "--tail=40",
            ],
        ];
        let said = lines.map(|line| {
            self.api
                .kubectl(line)
                .unwrap_or_else(|error| format!("{error:#}"))
        });
        said.join("\n")
    }
}

/// The top of the source tree.
fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

fn values(pin: &str, more: &str) -> String {
    format!(
        "root: {{pins: ['{pin}']}}
trustDomain: {TRUST_DOMAIN}
clusterPodRanges: [10.244.0.0/16, 'fd00:10:244::/56']
serviceRanges: [10.96.0.0/16, 'fd00:10:96::/112']
underlayRanges: [198.51.100.0/24, '2001:db8::/64']
controller: {{replicas: 1}}
{more}
"
    )
}
