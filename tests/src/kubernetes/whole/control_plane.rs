//! The control plane: etcd and kube-apiserver as in every lab, kube-controller-manager and kube-scheduler.

use anyhow::Result;

use super::super::{ApiServer, PKI, binary, version};
use super::credentials::Identity;
use crate::lab::Host;

pub(super) fn start(host: &Host) -> Result<ApiServer> {
    let place = host.place()?;
    let api = ApiServer::start_on(place.clone(), &arguments())?;
    let program = |name: &str| binary(&format!("{}/{name}", version()));
    let manager = api.issue(
        &place,
        &Identity {
            file: "controller-manager",
            user: "system:kube-controller-manager",
            group: None,
            names: None,
        },
    )?;
    place.spawn(
        "controller-manager",
        &program("kube-controller-manager")?,
        &[
            format!("--kubeconfig={manager}"),
            "--allocate-node-cidrs".to_owned(),
            "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112".to_owned(),
            format!("--root-ca-file={PKI}/ca.crt"),
            format!("--service-account-private-key-file={PKI}/sa.key"),
            "--use-service-account-credentials".to_owned(),
            "--leader-elect=false".to_owned(),
            // A node that is cut off is noticed within a test's patience.
            "--node-monitor-period=1s".to_owned(),
            "--node-monitor-grace-period=20s".to_owned(),
        ],
    )?;
    let scheduler = api.issue(
        &place,
        &Identity {
            file: "scheduler",
            user: "system:kube-scheduler",
            group: None,
            names: None,
        },
    )?;
    place.spawn(
        "scheduler",
        &program("kube-scheduler")?,
        &[
            format!("--kubeconfig={scheduler}"),
            "--leader-elect=false".to_owned(),
        ],
    )?;
    Ok(api)
}

/// What kube-apiserver needs to reach kubelets, which have names in no DNS.
fn arguments() -> Vec<String> {
    [
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-certificate-authority={PKI}/ca.crt"),
        format!("--kubelet-client-certificate={PKI}/admin.crt"),
        format!("--kubelet-client-key={PKI}/admin.key"),
        "--allow-privileged=true".to_owned(),
    ]
    .to_vec()
}
