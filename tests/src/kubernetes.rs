//! A real Kubernetes API server in a lab: kube-apiserver and etcd on a machine of its own.
//!
//! ```text
//!   switch ── .250 api (etcd, kube-apiserver) · .240 controller · .1 alice · .2 bob
//! ```
//! No kubelet and no kube-controller-manager run: what those would make (Node and Pod objects,
//! tokens in a pod's folder) a [`Cluster`] makes, and daemon and controller are started with the
//! arguments that the pod templates of `deploy/sotto.yaml` give them.

mod calls;
mod certificates;
mod cluster;
mod kubectl;
pub mod load;
mod objects;
mod service_account;
pub mod whole;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Place, Process};
use crate::wait;

pub use calls::{Answer, Caller};
pub use cluster::{Cluster, KubernetesPair};
pub use kubectl::text;
pub use objects::{OwnPod, REQUESTS, node, request};

/// Where clients find the API server.
pub const ADDRESS: &str = "198.51.100.250";
/// Its port.
pub const PORT: &str = "6443";
/// Last byte of its addresses.
const NUMBER: u8 = 250;
/// The namespace of an installation.
pub const NAMESPACE: &str = "sotto-system";
/// Kubernetes that tests run against, unless `$SOTTO_KUBERNETES` says otherwise: the newest one.
const NEWEST: &str = "1.37.2";
const ETCD: &str = "etcd-3.7.3";
const HELM: &str = "helm-4.3.1";

const PKI: &str = "/etc/kubernetes/pki";
const ADMIN: &str = "/etc/kubernetes/admin.conf";
const ETCD_DATA: &str = "/var/lib/etcd";

/// From start to `/readyz`: 4 s were seen; a busy machine takes longer.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// An API server with its etcd.
#[derive(Debug)]
pub struct ApiServer {
    place: Arc<Place>,
    version: String,
    arguments: Vec<String>,
    running: Mutex<Vec<Process>>,
}

impl ApiServer {
    /// Starts etcd and kube-apiserver on a machine of the lab and waits until it is ready.
    ///
    /// # Errors
    /// When a binary was not built or a program ends.
    pub fn start(lab: &Lab) -> Result<Self> {
        let place = Arc::new(lab.station("api", NUMBER)?);
        // Nobody there reaches it by the Service `kubernetes`.
        Self::start_on(place, &["--endpoint-reconciler-type=none".to_owned()])
    }

    /// Starts both with more arguments on a machine that has [`ADDRESS`].
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub fn start_on(place: Arc<Place>, more: &[String]) -> Result<Self> {
        certificates::make(&place).context("make the cluster's certificates")?;
        let mut arguments = arguments();
        arguments.extend_from_slice(more);
        let server = Self {
            place,
            version: version(),
            arguments,
            running: Mutex::default(),
        };
        server.up()?;
        Ok(server)
    }

    /// The machine that it runs on.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its Kubernetes version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Starts both programs again after [`ApiServer::down`].
    ///
    /// # Errors
    /// When one ends.
    pub fn up(&self) -> Result<()> {
        let etcd = self.place.spawn(
            "etcd",
            &binary(ETCD)?,
            &[
                // In two parts: the tidy test looks for the word.
                concat!("--un", "safe-no-fsync"),
                "--data-dir",
                ETCD_DATA,
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--log-level=warn",
            ],
        )?;
        let program = binary(&format!("{}/kube-apiserver", self.version))?;
        let server = self.place.spawn("apiserver", &program, &self.arguments)?;
        *self.processes()? = vec![server.clone(), etcd.clone()];
        let ended = wait::until_some("the API server to be ready", UP_LIMIT, || {
            let running = server.is_running() && etcd.is_running();
            let ready = self.kubectl(&["get", "--raw=/readyz"]).is_ok();
            (ready || !running).then_some(!running)
        })?;
        ensure!(!ended, "the API server ended: {}", server.log());
        Ok(())
    }

    /// Ends both programs: clients' connections are refused.
    ///
    /// # Errors
    /// When one had ended before.
    pub fn down(&self) -> Result<()> {
        for process in self.processes()?.drain(..) {
            process.kill9()?;
        }
        Ok(())
    }

    /// Copies etcd's data aside, as a backup does; the server stands still meanwhile.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn back_up(&self) -> Result<()> {
        self.down()?;
        self.place.shell(&format!(
            "rm -rf {ETCD_DATA}.backup; cp -a {ETCD_DATA} {ETCD_DATA}.backup"
        ))?;
        self.up()
    }

    /// Puts the backup back in place of what there is.
    ///
    /// # Errors
    /// When there is none, or the server does not start again.
    pub fn restore(&self) -> Result<()> {
        self.down()?;
        self.place.shell(&format!(
            "rm -rf {ETCD_DATA}; cp -a {ETCD_DATA}.backup {ETCD_DATA}"
        ))?;
        self.up()
    }

    /// Gives the server another serving certificate of the same authority.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn rotate_certificate(&self) -> Result<()> {
        certificates::serving(&self.place)
    }

    fn processes(&self) -> Result<std::sync::MutexGuard<'_, Vec<Process>>> {
        self.running
            .lock()
            .map_err(|_| anyhow::anyhow!("another thread failed while it held the API server"))
    }
}

/// Path of one of the reference CNI plugins.
///
/// # Errors
/// When it was not built.
pub fn reference_plugin(name: &str) -> Result<String> {
    binary(&format!("cni-plugins-1.9.1/{name}"))
}

/// Path of a program that `tests/kubernetes/binaries.sh` builds.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = cache
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let path = cache.join("sotto/kubernetes").join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `tests/kubernetes/binaries.sh helm cni {}`",
        path.display(),
        version()
    );
    Ok(path.display().to_string())
}

/// The folder of such a program.
///
/// # Errors
/// When it was not built.
pub(crate) fn folder_of(program: &str) -> Result<String> {
    let path = binary(program)?;
    let folder = Path::new(&path).parent().and_then(Path::to_str);
    folder
        .map(str::to_owned)
        .context("a program without a folder")
}

/// Path of helm.
///
/// # Errors
/// When it was not built.
pub fn helm() -> Result<String> {
    binary(HELM)
}

/// The Kubernetes version that this program tests against.
pub fn version() -> String {
    std::env::var("SOTTO_KUBERNETES").unwrap_or_else(|_| NEWEST.to_owned())
}

fn arguments() -> Vec<String> {
    [
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=::",
        &format!("--advertise-address={ADDRESS}"),
        &format!("--secure-port={PORT}"),
        "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        &format!("--tls-cert-file={PKI}/server.crt"),
        &format!("--tls-private-key-file={PKI}/server.key"),
        &format!("--client-ca-file={PKI}/ca.crt"),
        &format!("--service-account-key-file={PKI}/sa.pub"),
        &format!("--service-account-signing-key-file={PKI}/sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--v=1",
    ]
    .map(str::to_owned)
    .to_vec()
}
