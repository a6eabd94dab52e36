//! The store as a folder: one file an object, so that a shell, a shared disk or `rsync` will do.
//!
//! ```text
//! roots/<pin>.der  revocations/<pin>.bin  certificates/<uid>.der     written by the controller
//! envelopes/<uid>.json                    requests/<id>.json         written by nodes
//! answers/<id>.json                                                  written by the controller
//! tmp/                                    files on their way; renamed into place when whole
//! ```
//! File names are made from typed values and parsed back into them, so no name that somebody
//! else chose is ever used as a path.

mod envelopes;
mod files;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use node_identity::{NodeName, NodeUid, Pin};

use crate::error::StoreError;
use crate::published::{Published, PublishedNode, PublishedRoot, Refusal, RefusedEntry};
use crate::request::{Answer, EnrolmentRequest, RequestId, RequestState, Requests, StoredRequest};
use crate::requester::Requester;
use crate::{ClusterStore, MAX_ENVELOPES};
use files::{Folder, Listing};

pub use watch::DirectoryChanges;

const ROOTS: Folder = Folder {
    name: "roots",
    suffix: ".der",
    limit: 16 * 1024,
    is_ours: |name| parse_pin(name).is_some(),
};
/// Room for some 80 000 revoked nodes at about 50 bytes each.
const REVOCATIONS: Folder = Folder {
    name: "revocations",
    suffix: ".bin",
    limit: 4 * 1024 * 1024,
    is_ours: |name| parse_pin(name).is_some(),
};
const CERTIFICATES: Folder = Folder {
    name: "certificates",
    suffix: ".der",
    limit: 16 * 1024,
    is_ours: |name| parse_exact::<NodeUid>(name).is_some(),
};
const ENVELOPES: Folder = Folder {
    name: "envelopes",
    suffix: ".json",
    limit: envelopes::MAX_BYTES,
    is_ours: |name| parse_exact::<NodeUid>(name).is_some(),
};
const REQUESTS: Folder = Folder {
    name: "requests",
    suffix: ".json",
    limit: crate::request::MAX_REQUEST_BYTES,
    is_ours: |name| parse_exact::<RequestId>(name).is_some(),
};
const ANSWERS: Folder = Folder {
    name: "answers",
    suffix: ".json",
    limit: crate::request::MAX_ANSWER_BYTES,
    is_ours: |name| parse_exact::<RequestId>(name).is_some(),
};
const FOLDERS: [Folder; 6] = [
    ROOTS,
    REVOCATIONS,
    CERTIFICATES,
    ENVELOPES,
    REQUESTS,
    ANSWERS,
];

/// How often a reader looks without having been told: network file systems tell nothing. A guess
/// between a stale view and needless reading.
const POLL: Duration = Duration::from_secs(10);

/// A [`ClusterStore`] kept in a folder.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: Arc<Path>,
    poll: Duration,
}

impl DirectoryStore {
    /// Opens the store in `root`, and makes the folder and what belongs in it where missing.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the folder cannot be made or entered.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root: PathBuf = root.into();
        files::prepare(&root, &FOLDERS)?;
        Ok(Self {
            root: root.into(),
            poll: POLL,
        })
    }

    /// Sets how often a watcher looks without having been told.
    #[must_use]
    pub fn with_poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// Whether there is an envelope of any node, believable or not.
    #[must_use]
    pub fn has_envelopes(&self) -> bool {
        let folder = std::fs::read_dir(ENVELOPES.path(&self.root));
        folder.is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes a node's certificate and envelopes: they are filed under its UID alone.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn remove_node(&self, node: &NodeUid) -> Result<(), StoreError> {
        let name = node.to_string();
        self.blocking(move |path| {
            files::remove(path, ENVELOPES, &name)?;
            files::remove(path, CERTIFICATES, &name)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        tokio::task::spawn_blocking(move || work(&root))
            .await
            .map_err(|_| StoreError::WorkerGone {
                path: self.root.to_path_buf(),
            })?
    }
}

impl ClusterStore for DirectoryStore {
    type Changes = DirectoryChanges;

    fn watch(&self) -> Result<DirectoryChanges, StoreError> {
        DirectoryChanges::start(&self.root, &FOLDERS, self.poll)
    }

    async fn published(&self) -> Result<Published, StoreError> {
        self.blocking(read_published).await
    }

    async fn publish_root(&self, root: &PublishedRoot) -> Result<(), StoreError> {
        let root = root.clone();
        self.blocking(move |path| {
            let name = pin_name(&root.pin);
            if let Some(certificate) = &root.certificate {
                files::write(path, ROOTS, &name, certificate)?;
            }
            if let Some(revocations) = &root.revocations {
                files::write(path, REVOCATIONS, &name, revocations)?;
            }
            Ok(())
        })
        .await
    }

    async fn publish_certificate(
        &self,
        node: &NodeUid,
        certificate: &[u8],
    ) -> Result<(), StoreError> {
        let (name, certificate) = (node.to_string(), certificate.to_vec());
        self.blocking(move |path| files::write(path, CERTIFICATES, &name, &certificate))
            .await
    }

    async fn withdraw_node(&self, node: &NodeUid, _: &NodeName) -> Result<(), StoreError> {
        self.remove_node(node).await
    }

    async fn publish_envelopes(
        &self,
        node: &NodeUid,
        envelopes: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        if envelopes.len() > MAX_ENVELOPES {
            return Err(StoreError::TooManyEnvelopes {
                node: node.to_string(),
                count: envelopes.len(),
            });
        }
        let (name, bytes) = (node.to_string(), envelopes::encode(envelopes));
        self.blocking(move |path| files::write(path, ENVELOPES, &name, &bytes))
            .await
    }

    async fn submit_request(&self, request: &EnrolmentRequest) -> Result<RequestId, StoreError> {
        let (id, bytes) = (request.id(), request.encode());
        self.blocking(move |path| {
            files::remove(path, ANSWERS, &id.to_string())?;
            files::write(path, REQUESTS, &id.to_string(), &bytes)?;
            Ok(id)
        })
        .await
    }

    async fn request_state(&self, id: &RequestId) -> Result<Option<RequestState>, StoreError> {
        let name = id.to_string();
        self.blocking(move |path| {
            if files::read(path, REQUESTS, &name)?.is_none() {
                return Ok(None);
            }
            Ok(Some(read_state(path, &name)?))
        })
        .await
    }

    async fn requests(&self) -> Result<Requests, StoreError> {
        self.blocking(read_requests).await
    }

    async fn answer_request(&self, id: &RequestId, answer: Answer<'_>) -> Result<(), StoreError> {
        let (name, bytes) = (id.to_string(), answer.state().encode());
        self.blocking(move |path| files::write(path, ANSWERS, &name, &bytes))
            .await
    }

    async fn withdraw_request(&self, id: &RequestId) -> Result<(), StoreError> {
        let name = id.to_string();
        self.blocking(move |path| {
            files::remove(path, REQUESTS, &name)?;
            files::remove(path, ANSWERS, &name)
        })
        .await
    }
}

fn read_published(path: &Path) -> Result<Published, StoreError> {
    let mut refused = Vec::new();
    let roots = typed(files::list(path, ROOTS)?, parse_pin, &mut refused);
    let lists = typed(files::list(path, REVOCATIONS)?, parse_pin, &mut refused);
    let certificates = typed(files::list(path, CERTIFICATES)?, parse_exact, &mut refused);
    let mut envelopes = BTreeMap::new();
    for (uid, bytes) in typed(
        files::list(path, ENVELOPES)?,
        parse_exact::<NodeUid>,
        &mut refused,
    ) {
        match envelopes::decode(&bytes) {
            Ok(list) => drop(envelopes.insert(uid, list)),
            Err(_) => refused.push(ENVELOPES.refused(&uid.to_string(), Refusal::Malformed)),
        }
    }
    let pins: BTreeSet<&Pin> = roots.keys().chain(lists.keys()).collect();
    let uids: BTreeSet<&NodeUid> = certificates.keys().chain(envelopes.keys()).collect();
    Ok(Published {
        roots: pins
            .into_iter()
            .map(|pin| PublishedRoot {
                pin: *pin,
                certificate: roots.get(pin).cloned(),
                revocations: lists.get(pin).cloned(),
            })
            .collect(),
        nodes: uids
            .into_iter()
            .map(|uid| PublishedNode {
                certificate: certificates.get(uid).cloned(),
                envelopes: envelopes.get(uid).cloned().unwrap_or_default(),
                ..PublishedNode::empty(*uid)
            })
            .collect(),
        refused,
    })
}

fn read_requests(path: &Path) -> Result<Requests, StoreError> {
    let mut found = Requests::default();
    let listed = typed(
        files::list(path, REQUESTS)?,
        parse_exact,
        &mut found.refused,
    );
    for (id, bytes) in listed {
        match EnrolmentRequest::decode(&bytes) {
            Ok(request) if request.id() == id => {
                let state = read_state(path, &id.to_string())?;
                found.requests.push(StoredRequest {
                    id,
                    request,
                    requester: Requester::Anybody,
                    state,
                });
            }
            Ok(_) => found
                .refused
                .push(REQUESTS.refused(&id.to_string(), Refusal::WrongName)),
            Err(_) => found
                .refused
                .push(REQUESTS.refused(&id.to_string(), Refusal::Malformed)),
        }
    }
    Ok(found)
}

/// An answer that cannot be read counts as none: the controller then answers again.
fn read_state(path: &Path, name: &str) -> Result<RequestState, StoreError> {
    Ok(match files::read(path, ANSWERS, name)? {
        Some(Ok(bytes)) => RequestState::decode(&bytes).unwrap_or(RequestState::Waiting),
        Some(Err(_)) | None => RequestState::Waiting,
    })
}

fn typed<K: Ord>(
    listing: Listing,
    parse: impl Fn(&str) -> Option<K>,
    refused: &mut Vec<RefusedEntry>,
) -> BTreeMap<K, Vec<u8>> {
    refused.extend(listing.refused);
    let files = listing.files.into_iter();
    files
        .filter_map(|(name, bytes)| Some((parse(&name)?, bytes)))
        .collect()
}

/// Accepts a name only in the form that its type prints.
fn parse_exact<K: FromStr + ToString>(name: &str) -> Option<K> {
    name.parse::<K>().ok().filter(|key| key.to_string() == name)
}

fn parse_pin(name: &str) -> Option<Pin> {
    parse_exact(&format!("sha256:{name}"))
}

fn pin_name(pin: &Pin) -> String {
    pin.to_string().trim_start_matches("sha256:").to_owned()
}
