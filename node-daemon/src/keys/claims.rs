//! Which node the pod's ServiceAccount token is bound to: the API server wrote it there, so it is the
//! node's name and UID as the cluster knows them.
//!
//! The signature is not looked at: the token is this pod's own, and who judges it is the API server.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use kept_files::Links;
use node_identity::{NodeName, NodeUid};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Most bytes of a token; a real one has some 1.5 KiB.
const TOKEN_LIMIT: u64 = 64 << 10;

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<KubernetesClaims>,
}

#[derive(Deserialize)]
struct KubernetesClaims {
    node: Option<NodeClaim>,
}

#[derive(Deserialize)]
struct NodeClaim {
    name: String,
    uid: String,
}

/// The UID of the node that the token is bound to, which must be the one that is configured.
///
/// # Errors
/// When there is no such token, it is bound to no node, or to another one.
pub(super) fn node_uid(path: &Path, node_name: &NodeName) -> Result<NodeUid> {
    let context = || format!("kubernetes.token_file = {path:?}");
    // Kubelet replaces it through links.
    let bytes = kept_files::read(path, TOKEN_LIMIT, Links::Follow)
        .with_context(context)?
        .ok_or_else(|| {
            anyhow!("no such file, is the pod's automountServiceAccountToken switched off?")
        })
        .with_context(context)?;
    read_claims(&Zeroizing::new(bytes), node_name).with_context(context)
}

fn read_claims(token: &[u8], node_name: &NodeName) -> Result<NodeUid> {
    // No fault quotes the token: it is a secret.
    let claims = payload(token)
        .and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok())
        .ok_or_else(|| anyhow!("is no ServiceAccount token"))?;
    let Some(node) = claims.kubernetes.and_then(|claims| claims.node) else {
        bail!(
            "names no node: Kubernetes 1.33 or newer and the bound token of a running pod are needed"
        );
    };
    if node.name != node_name.as_str() {
        bail!(
            "is bound to node {:?}, the settings say {node_name}: take the name from spec.nodeName",
            settings_file::one_line(&node.name)
        );
    }
    node.uid
        .parse()
        .context("names a node whose UID is no UUID")
}

fn payload(token: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = std::str::from_utf8(token).ok()?.trim().split('.');
    let (_header, payload) = (parts.next()?, parts.next()?);
    let (_signature, None) = (parts.next()?, parts.next()) else {
        return None;
    };
    Base64UrlUnpadded::decode_vec(payload)
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6f8d1b2e-1111-4222-8333-444455556666";

    fn token(claims: &str) -> Vec<u8> {
        let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        format!("{}.{}.{}\n", part("{}"), part(claims), part("sig")).into_bytes()
    }

    fn bound_to(name: &str, uid: &str) -> String {
        format!(
            r#"{{"aud":["x"],"kubernetes.io":{{"namespace":"sotto-system","node":{{"name":"{name}","uid":"{uid}"}},"pod":{{}}}}}}"#
        )
    }

    fn refusal(token: &[u8]) -> String {
        let said = format!(
            "{:#}",
            read_claims(token, &"alice".parse().unwrap()).unwrap_err()
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    #[test]
    fn the_node_of_a_bound_token_is_this_node() {
        let uid = read_claims(&token(&bound_to("alice", UID)), &"alice".parse().unwrap());

        assert_eq!(uid.unwrap().to_string(), UID);
    }

    #[test]
    fn bi09_a_token_bound_to_another_node_is_refused_by_both_names() {
        let said = refusal(&token(&bound_to("Alice\\n.", UID)));

        assert!(
            said.contains("Alice") && said.contains("say alice"),
            "{said}"
        );
    }

    #[test]
    fn bi09_a_token_without_a_node_is_refused_with_the_cure() {
        for claims in ["{}", r#"{"kubernetes.io":{"pod":{"name":"a"}}}"#] {
            let said = refusal(&token(claims));

            assert!(said.contains("1.33"), "{said}");
        }
        assert!(refusal(&token(&bound_to("alice", "7"))).contains("UUID"));
    }

    #[test]
    fn i8_what_is_no_token_is_refused_without_being_quoted() {
        let whole = token(&bound_to("alice", UID));
        let deep = token(&"[".repeat(40_000));
        for bytes in [
            &b""[..],
            b"a.b",
            b"secret.secret.secret",
            b"\xff.a.b",
            &deep,
        ] {
            let said = refusal(bytes);

            assert!(said.contains("no ServiceAccount token"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
        for at in 0..whole.len() {
            drop(read_claims(&whole[..at], &"alice".parse().unwrap()));
        }
    }
}
