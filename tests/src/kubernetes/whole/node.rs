//! A node: containerd, kubelet and kube-proxy as services of a host.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::super::{binary, folder_of, version};
use super::credentials::Identity;
use super::{CONTROL, Whole};
use crate::lab::{Host, Place};

/// How kube-proxy translates Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// nftables.
    Nftables,
    /// iptables.
    Iptables,
}

const CONTAINERD: &str = "containerd-2.4.2";

/// The runtime's configuration. `restrict_oom_score_adj`: this machine may not lower it.
const RUNTIME: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause:3.10"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"#;

const KUBELET: &str = r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: /etc/kubernetes/kubelet.crt
tlsPrivateKeyFile: /etc/kubernetes/kubelet.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: ""
serializeImagePulls: false
maxPods: 250
nodeStatusUpdateFrequency: 4s
localStorageCapacityIsolation: false
# The disk is memory of a machine with other things on its mind.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}
"#;

impl Whole {
    /// Puts everything onto a host's disk that its services need.
    pub(super) fn install(&self, host: &Host) -> Result<()> {
        let place = host.place()?;
        self.install_runtime(host)?;
        self.install_kubelet(host, &place)?;
        self.install_proxy(host, &place)
    }

    fn install_runtime(&self, host: &Host) -> Result<()> {
        host.place()?
            .write("/etc/containerd/config.toml", RUNTIME)?;
        let programs = folder_of(&format!("{CONTAINERD}/containerd"))?;
        host.add_service(
            "containerd",
            &format!("env PATH={programs}:$PATH {programs}/containerd --log-level warn"),
        )
    }

    fn install_kubelet(&self, host: &Host, place: &Place) -> Result<()> {
        let (name, ipv4, ipv6) = (host.name(), host.ipv4(), host.ipv6());
        let config = self.api.issue(
            place,
            &Identity {
                file: "kubelet",
                user: &format!("system:node:{name}"),
                group: Some("system:nodes"),
                names: Some(&format!("DNS:{name},IP:{ipv4},IP:{ipv6}")),
            },
        )?;
        let taints = if name == CONTROL {
            "registerWithTaints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]\n"
        } else {
            ""
        };
        let settings = "/etc/kubernetes/kubelet.yaml";
        place.write(settings, format!("{KUBELET}{taints}"))?;
        let kubelet = binary(&format!("{}/kubelet", version()))?;
        host.add_service(
            "kubelet",
            &format!(
                "{kubelet} --config={settings} --kubeconfig={config} --hostname-override={name} \
                 --node-ip={ipv4},{ipv6}"
            ),
        )
    }

    fn install_proxy(&self, host: &Host, place: &Place) -> Result<()> {
        let config = self.api.issue(
            place,
            &Identity {
                file: "kube-proxy",
                user: "system:kube-proxy",
                group: None,
                names: None,
            },
        )?;
        let mode = match self.proxies {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables => "iptables",
        };
        let proxy = binary(&format!("{}/kube-proxy", version()))?;
        // The size of the connection table belongs to this machine.
        host.add_service(
            "kube-proxy",
            &format!(
                "{proxy} --kubeconfig={config} --hostname-override={} --proxy-mode={mode} \
                 --cluster-cidr=10.244.0.0/16,fd00:10:244::/56 --conntrack-max-per-core=0 \
                 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0",
                host.name()
            ),
        )
    }

    /// Imports image archives into a host's runtime.
    ///
    /// # Errors
    /// What `ctr` says.
    pub fn import(&self, host: &Host, archives: &[PathBuf]) -> Result<()> {
        let ctr = binary(&format!("{CONTAINERD}/ctr"))?;
        for archive in archives {
            let archive = archive.to_str().context("an archive's path is no text")?;
            let import = ["--namespace", "k8s.io", "images", "import", archive];
            host.place()?
                .run(&ctr, &import)
                .with_context(|| format!("import {archive} on {}", host.name()))?;
        }
        Ok(())
    }
}
