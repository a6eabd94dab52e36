//! The root in a Secret, with the two entries that a state folder has as files. Read at start; no
//! controller at work makes or changes it.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroize;

use super::ROOT_SECRET;
use crate::signer::{Signer, SignerError};

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretRootError {
    #[error(
        "open root, Secret {secret}: it is missing, put back its backup; a new root is made only by \
         `sotto root create`, and every node must then join again"
    )]
    Missing { secret: String },
    #[error("open root, Secret {secret}: does the API answer, and does the ClusterRole allow it?")]
    Api {
        secret: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(transparent)]
    Root(#[from] SignerError),
}

impl SecretRootError {
    /// Whether trying again can help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Api { .. } => true,
            Self::Missing { .. } | Self::Root(_) => false,
        }
    }
}

/// Reads the root of a namespace.
pub(crate) async fn open_root(client: &Client, namespace: &str) -> Result<Signer, SecretRootError> {
    let name = format!("{namespace}/{ROOT_SECRET}");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get_opt(ROOT_SECRET).await;
    let secret = secret.map_err(|source| SecretRootError::Api {
        secret: name.clone(),
        source: Box::new(source),
    })?;
    let secret = secret.ok_or_else(|| SecretRootError::Missing {
        secret: name.clone(),
    })?;
    let mut entries = secret.data.unwrap_or_default();
    let entry = |entry: &str| entries.get(entry).map(|bytes| bytes.0.as_slice());
    let signer = Signer::from_entries(&format!("Secret {name}"), entry);
    for bytes in entries.values_mut() {
        bytes.0.zeroize();
    }
    Ok(signer?)
}
