//! Sotto on the cluster, as a user installs it: the images of `make images`, a root, the chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{ADMIN, NAMESPACE, helm};
use super::Whole;
use crate::lab::{Host, Process, TRUST_DOMAIN, program};
use crate::wait;

/// From the installation to nodes that are Ready; the promise, images being there.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Where the administrator makes the root, on the control plane's host.
const ROOT: &str = "/var/lib/sotto-root";
/// The chart's values, there too.
const VALUES: &str = "/tmp/values.yaml";

impl Whole {
    /// Makes a root, stores it, and installs the chart; more values are lines of YAML.
    ///
    /// # Errors
    /// When a step is refused.
    pub fn install_sotto(&self, more: &str) -> Result<()> {
        let pin = self.create_root()?;
        let control = self.control.place()?;
        control.write(VALUES, values(&pin, more))?;
        self.helm("install").map(drop)
    }

    fn create_root(&self) -> Result<String> {
        let control = self.control.place()?;
        let sotto = program("sotto")?;
        control.shell(&format!("mkdir -m 700 {ROOT}"))?;
        let pin = control.shell(&format!(
            "{sotto} root create --trust-domain {TRUST_DOMAIN} --out-directory {ROOT}"
        ))?;
        self.api.kubectl(&["create", "namespace", NAMESPACE])?;
        let privileged = "pod-security.kubernetes.io/enforce=privileged";
        self.api
            .kubectl(&["label", "namespace", NAMESPACE, privileged])?;
        self.api
            .kubectl(&["create", "--filename", &format!("{ROOT}/sotto-root.yaml")])?;
        Ok(pin.trim().to_owned())
    }

    /// Runs `sotto` as the administrator and returns its exit code and what it said.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn sotto(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let environment = [("KUBECONFIG", ADMIN)];
        let control = self.control.place()?;
        let said = control.output(&program("sotto")?, arguments, &environment, "")?;
        let code = said.status.code().context("sotto was killed")?;
        let texts = [said.stdout, said.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        Ok((code, texts.concat()))
    }

    /// Starts `sotto` as the administrator, in the background.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_sotto(&self, arguments: &[&str]) -> Result<Process> {
        let environment = [("KUBECONFIG", ADMIN)];
        let control = self.control.place()?;
        control.spawn_with("sotto", &program("sotto")?, arguments, &environment)
    }

    /// Runs `helm upgrade` with the values of [`Whole::install_sotto`].
    ///
    /// # Errors
    /// What it says.
    pub fn upgrade_sotto(&self) -> Result<String> {
        self.helm("upgrade")
    }

    fn helm(&self, verb: &str) -> Result<String> {
        let chart = repository().join("deploy/chart");
        let chart = chart.to_str().context("the chart's path is no text")?;
        let install = [verb, "sotto", chart, "--namespace", NAMESPACE];
        let values = ["--values", VALUES, "--kubeconfig", ADMIN];
        let arguments = [&install[..], &values].concat();
        self.control.place()?.run(&helm()?, &arguments)
    }

    /// Imports Sotto's own images on a host.
    ///
    /// # Errors
    /// When `make images` did not run since the programs were built.
    pub fn import_sotto(&self, host: &Host) -> Result<()> {
        let folder = repository().join("target/images");
        let archives =
            ["sotto-node", "sotto-controller"].map(|name| folder.join(format!("{name}.tar")));
        for archive in &archives {
            ensure!(
                is_current(archive)?,
                "{} is missing, or older than the programs: run `PROFILE=debug make images`",
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
        let is_ready = |name: &&str| self.is_ready(name).is_ok_and(|is| is);
        wait::until(&format!("{names:?} to be Ready"), READY_LIMIT, || {
            names.iter().all(is_ready)
        })
        .with_context(|| self.state())
    }

    /// Whether a node is Ready.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn is_ready(&self, node: &str) -> Result<bool> {
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let said = self.api.kubectl(&["get", "node", node, "-o", ready])?;
        Ok(said == "True")
    }

    /// The pod of a node's daemon.
    ///
    /// # Errors
    /// When there is none.
    pub fn daemon(&self, node: &str) -> Result<Value> {
        let on_node = format!("--field-selector=spec.nodeName={node}");
        let labelled = "--selector=app.kubernetes.io/name=sotto-node";
        let pods = ["pods", "--namespace", NAMESPACE, labelled, &on_node];
        let pod = self.api.read(&pods)?.pointer("/items/0").cloned();
        pod.with_context(|| format!("no daemon on {node}"))
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

/// Whether an image was made of the programs as they are now.
fn is_current(archive: &Path) -> Result<bool> {
    let built = |path: &Path| path.metadata().and_then(|about| about.modified());
    let Ok(image) = built(archive) else {
        return Ok(false);
    };
    for part in ["sotto-node", "sotto-controller"] {
        if built(Path::new(&program(part)?))? > image {
            return Ok(false);
        }
    }
    Ok(true)
}
