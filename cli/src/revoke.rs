//! `sotto revoke NODE`: asks the controller to revoke a node, for good.

use std::time::Duration;

use anyhow::{Result, bail};
use cluster_api::{IdentityState, NodeIdentity, Peer};
use cluster_client::Lenient;
use kube::api::{Api, Patch, PatchParams};
use node_identity::NodeName;
use serde_json::json;

use crate::ask::{Consent, confirm};
use crate::cluster::{Cluster, patiently};
use crate::names::FIELD_MANAGER;
use crate::output::Answer;
use crate::peers::unknown;
use crate::printable::printable;
use crate::say;

/// The controller looks every few seconds; a minute without an answer means that it does not run.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Whether to wait for the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until the node shows as revoked.
    ForController,
    /// Not at all.
    No,
}

/// Revokes a node.
///
/// # Errors
/// When the person does not agree, the API server refuses, or the controller does not act in time.
pub(crate) async fn run(
    cluster: &Cluster,
    node: &NodeName,
    consent: Consent,
    wait: Wait,
) -> Result<Answer> {
    let Some(identity) = cluster.find::<NodeIdentity>(None, node.as_str()).await? else {
        bail!("{}", unknown(cluster, node).await);
    };
    if identity.spec.revoked {
        say(&format!("The revocation of {node} is asked for already."))?;
    } else {
        say(&format!(
            "Revoking {node} (Node UID {}): the controller signs a list that says so; every node \
             then drops its tunnels to {node} at once, and nothing can take that back. The machine \
             comes back only if its Node object is deleted and it joins anew.",
            printable(&identity.spec.node_uid)
        ))?;
        confirm(&format!("Revoke {node} for good?"), consent).await?;
        let api: Api<Lenient<NodeIdentity>> = Api::all(cluster.client());
        // With the UID: an object made anew in the meantime is another node's.
        let wish = json!({
            "metadata": { "uid": identity.metadata.uid },
            "spec": { "revoked": true },
        });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&wish);
        let sent = api.patch(node.as_str(), &parameters, &patch);
        patiently(&format!("the revocation of {node}"), sent).await?;
        say(&format!("The revocation of {node} is asked for."))?;
    }
    match wait {
        Wait::No => Ok(Answer::fine("")),
        Wait::ForController => watch(cluster, node).await,
    }
}

async fn watch(cluster: &Cluster, node: &NodeName) -> Result<Answer> {
    let look = async {
        loop {
            let peer = cluster.find::<Peer>(None, node.as_str()).await?;
            if peer.is_some_and(|peer| peer.spec.identity == IdentityState::Revoked) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(done) => {
            done?;
            Ok(Answer::fine(format!("{node} is revoked.")))
        }
        Err(_) => bail!(
            "wait for the controller: {node} does not show as revoked after {} s, though it is \
             asked for; does the controller run? see `sotto status`",
            PATIENCE.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Consent, Wait, run};
    use crate::fake::{Fake, LATE, wait};

    #[test]
    fn aw08_a_revocation_is_told_whoever_wrote_the_object_when() {
        let fake = Fake::default();
        let uid = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
        let bob =
            format!(r#"{{"metadata": {{"name": "bob", {LATE}}}, "spec": {{"nodeUID": "{uid}"}}}}"#);
        fake.put("/apis/sotto.dev/v1alpha1/nodeidentities/bob", &bob);

        let node = "bob".parse().unwrap();
        let revoked = wait(async { run(&fake.cluster(), &node, Consent::Given, Wait::No).await });

        revoked.unwrap();
    }
}
