//! `sotto revoke NODE`: asks the controller to revoke a node, for good.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster_api::{NodeIdentity, RevocationList};
use cluster_client::Lenient;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, ListParams, Patch, PatchParams};
use node_identity::{NodeName, NodeUid, Pin, RevokedSubject};
use serde_json::json;

use crate::ask::{Consent, confirm};
use crate::cluster::{Cluster, patiently};
use crate::names::{FIELD_MANAGER, NODE};
use crate::output::Answer;
use crate::peers::unknown;
use crate::printable::printable;
use crate::{roots, say, settings};

/// The controller looks every few seconds; a minute without an answer means that it does not run.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Whether to wait for the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until a signed list says so.
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
        Wait::ForController => watch(cluster, node, &identity.spec.node_uid).await,
    }
}

async fn watch(cluster: &Cluster, node: &NodeName, uid: &str) -> Result<Answer> {
    let uid: NodeUid = uid.parse().with_context(|| {
        format!("wait for the controller: the NodeIdentity {node} has no UID; who wrote it?")
    })?;
    let pins = pins(cluster).await;
    let look = async {
        while !is_listed(cluster, uid, &pins).await? {
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(done) => {
            done?;
            Ok(Answer::fine(format!("{node} is revoked.")))
        }
        Err(_) => bail!(
            "wait for the controller: no signed list revokes {node} after {} s, though it is asked \
             for; does the controller run? see `sotto status`",
            PATIENCE.as_secs()
        ),
    }
}

/// The roots that daemons were told to trust; none where this user may not see that.
async fn pins(cluster: &Cluster) -> Vec<Pin> {
    let namespace = Some(cluster.namespace.as_str());
    let daemon_set = cluster.find::<DaemonSet>(namespace, NODE).await;
    let told = daemon_set.ok().flatten().map(|one| settings::read(&one));
    told.and_then(Result::ok)
        .map_or_else(Vec::new, |told| told.pins)
}

/// Whether a root has signed that this node is out. Peers say so too, which many can write.
async fn is_listed(cluster: &Cluster, uid: NodeUid, pins: &[Pin]) -> Result<bool> {
    let listed = cluster.list::<RevocationList>(ListParams::default());
    let seen = listed.await?.objects;
    let trusted = seen
        .iter()
        .filter_map(|object| roots::read(object).ok())
        .filter(|root| pins.is_empty() || pins.contains(&root.pin));
    let mut entries = trusted.flat_map(|root| root.list.list().entries.clone());
    Ok(entries.any(|entry| entry.subject == RevokedSubject::Node(uid)))
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use cluster_api::{RevocationListSpec, encode, object_name};
    use node_identity::{NodeUid, RevocationEntry, RevokedSubject, RootKey, UnixTime};
    use rand_core::SeedableRng;

    use super::{Consent, RevocationList, Wait, is_listed, run};
    use crate::fake::{Fake, LATE, wait};

    const UID: &str = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// What the root of a seed publishes.
    fn published(seed: u64, revoked: &[NodeUid]) -> RevocationList {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let key = RootKey::generate(&mut random);
        let certificate = key.create_certificate(&"sotto.test".parse().unwrap(), NOW, &mut random);
        let entry = |uid: &NodeUid| RevocationEntry {
            subject: RevokedSubject::Node(*uid),
            until: NOW,
        };
        let list = node_identity::RevocationList {
            number: NOW.0,
            issued: NOW,
            next_update: UnixTime(NOW.0 + 3600),
            entries: revoked.iter().map(entry).collect(),
        };
        let spec = RevocationListSpec {
            root_certificate: encode(certificate.to_der()),
            signed_list: encode(&key.sign_revocations(&list).to_der()),
            ..RevocationListSpec::default()
        };
        RevocationList::new(&object_name(&certificate.pin()), spec)
    }

    #[test]
    fn a_node_is_revoked_when_a_trusted_root_has_signed_that_and_not_before() {
        let fake = Fake::default();
        let uid: NodeUid = UID.parse().unwrap();
        let put = |list: &RevocationList| {
            let path = format!(
                "/apis/sotto.dev/v1alpha1/revocationlists/{}",
                list.metadata.name.as_deref().unwrap()
            );
            fake.put(&path, &serde_json::to_string(list).unwrap());
        };
        let (empty, full, foreign) = (
            published(1, &[]),
            published(1, &[uid]),
            published(2, &[uid]),
        );
        let pin = crate::roots::read(&full).unwrap().pin;
        let listed =
            |pins: &[_]| wait(async { is_listed(&fake.cluster(), uid, pins).await }).unwrap();

        put(&empty);
        fake.put(
            "/apis/sotto.dev/v1alpha1/peers/bob",
            &format!(
                r#"{{"metadata": {{"name": "bob"}}, "spec": {{"nodeUID": "{UID}", "identity": "Revoked"}}}}"#
            ),
        );
        assert!(!listed(&[]), "by a Peer, which many can write");
        put(&foreign);
        assert!(!listed(&[pin]), "by a root that nobody trusts");
        let mut forged = full.clone();
        forged.spec.signed_list = foreign.spec.signed_list.clone();
        put(&forged);
        assert!(!listed(&[pin]), "by another's signature");
        put(&full);
        assert!(listed(&[pin]));
    }

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
