//! Somebody with a daemon's token who asks for a certificate by hand: honest in all but one thing.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Encoding};
use getrandom::SysRng;
use node_identity::{CertificateRequest, IdentityKey};
use rand_core::UnwrapErr;
use serde_json::{Value, json};
use sotto_tests::kubernetes::{ApiServer, Caller, Cluster, KubernetesPair, OwnPod, REQUESTS, text};
use sotto_tests::wait;

/// How long the controller may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A Node that is only an object, its daemon's pod, and the pod's token.
pub(crate) struct Applicant {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) pod: OwnPod,
    pub(crate) token: Caller,
}

impl Applicant {
    /// Makes the Node as given, and the pod on it.
    pub(crate) fn with_node(cluster: &Cluster, node: &Value) -> Result<Self> {
        let made = cluster.api.create(node)?;
        let name = text(&made, "/metadata/name")?.to_owned();
        let pod = cluster.api.own_pod(("daemonset", "sotto-node"), &name)?;
        let token = cluster.api.token("sotto-node", (&pod.name, &pod.uid))?;
        Ok(Self {
            uid: text(&made, "/metadata/uid")?.to_owned(),
            name,
            pod,
            token: Caller::Token(token),
        })
    }

    /// The SPIFFE identity that is its own.
    pub(crate) fn identity(&self) -> String {
        format!("spiffe://sotto.test/node/{}/{}", self.uid, self.name)
    }

    /// Asks for a certificate of this identity and these addresses, with a new key, in the one form
    /// that there is; returns the request's name.
    pub(crate) fn ask(
        &self,
        api: &ApiServer,
        identity: &str,
        addresses: &[IpAddr],
    ) -> Result<String> {
        let mut random = UnwrapErr(SysRng);
        let key = IdentityKey::generate(&mut random);
        let asked = CertificateRequest::create(&key, &identity.parse()?, addresses)?;
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            Base64::encode_string(asked.to_der())
        );
        let pem = Base64::encode_string(pem.as_bytes());
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": format!("sotto-{}-", self.name)},
            "spec": {"request": pem, "signerName": "sotto.dev/node", "usages": ["digital signature"]},
        });
        let made = api.allows(&self.token, "POST", REQUESTS, &object)?;
        let made: Value = serde_json::from_str(&made)?;
        Ok(text(&made, "/metadata/name")?.to_owned())
    }

    /// Removes what it made.
    pub(crate) fn go(&self, cluster: &Cluster) -> Result<()> {
        let node = ["delete", "node", &self.name, "--wait=false"];
        cluster.api.kubectl(&node)?;
        let pod = [
            "delete",
            "pod",
            &self.pod.name,
            "-n",
            "sotto-system",
            "--force",
        ];
        cluster.api.kubectl(&pod).map(drop)
    }
}

/// How many requests the controller refused for a reason.
pub(crate) fn refused(pair: &KubernetesPair, reason: &str) -> Result<f64> {
    let page = ["-sf", "--max-time", "5", "http://127.0.0.1:9470/metrics"];
    let page = pair.controller.place().run("curl", &page)?;
    let label = format!("reason=\"{reason}\"");
    let lines = page.lines().filter(|line| line.contains(&label));
    Ok(lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// Does something; the controller has to deny the request that it names, for this reason, and to
/// say no more to whoever asked.
pub(crate) fn denied(
    pair: &KubernetesPair,
    reason: &str,
    ask: impl FnOnce() -> Result<String>,
) -> Result<()> {
    let before = refused(pair, reason)?;
    let request = ask()?;
    let object = wait::until_some(&format!("{request} to be denied ({reason})"), LIMIT, || {
        let object = pair.cluster.api.read(&["csr", &request]).ok()?;
        object
            .pointer("/status/conditions")
            .is_some()
            .then_some(object)
    })?;
    let condition = object
        .pointer("/status/conditions/0")
        .context("no condition")?;
    ensure!(
        text(condition, "/type")? == "Denied",
        "{request}: {condition}"
    );
    ensure!(
        !condition.to_string().contains(reason),
        "it says why: {condition}"
    );
    ensure!(object.pointer("/status/certificate").is_none(), "{object}");
    let after = refused(pair, reason)?;
    ensure!(
        after > before,
        "{request}: not counted as {reason}: {condition}"
    );
    Ok(())
}
