//! This node's identity: the key IK, made here and never leaving, bound to a node UID and a machine.
//!
//! A key that somebody else could have read, or that a cloned disk brought along, is no identity. It
//! stays where it is and the daemon stops: a token works once, so only an operator can tell whether the
//! key is to be mended or the node to start over.

mod claims;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use node_identity::{IdentityKey, JoinToken, NodeUid, SpiffeId};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::config::{Config, Store};
use kept_files::Links;

/// The file's name in the state directory.
pub(crate) const IDENTITY_FILE: &str = "identity.json";
/// The tunnel keys' file in the runtime directory.
pub(crate) const TUNNEL_KEYS_FILE: &str = "tunnel-keys.json";
/// Longer is no machine or boot id.
const LONGEST_ID: usize = 128;
/// Most bytes of a file that holds an id (a guess: one line, with room for blanks).
const ID_LIMIT: u64 = 4096;
/// Most bytes of a token or identity key; either has less than 1 KiB.
const SECRET_LIMIT: u64 = 64 << 10;

/// Who this node is, with the key that proves it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The identity key.
    pub(crate) key: IdentityKey,
    /// The name under which the root certifies it.
    pub(crate) id: SpiffeId,
}

/// What tells a machine, or a boot, from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineIds {
    /// SHA-256 of the machine's id; the id itself is nobody's business.
    machine: String,
    /// The boot's id.
    pub(crate) boot: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    version: u32,
    identity: SpiffeId,
    machine: String,
    /// PEM; wiped by the allocator.
    key: String,
}

impl MachineIds {
    /// Reads both from the files that the configuration names.
    ///
    /// # Errors
    /// When one cannot be read or holds no id; the key to change is named.
    pub(crate) fn read(config: &Config) -> Result<Self> {
        let files = &config.machine_id_files;
        let there = files.iter().find(|file| file.exists());
        let file = there.or(files.last()).context("no machine_id_file")?;
        let machine = read_id("machine_id_file", file)?;
        let boot = read_id("boot_id_file", &config.boot_id_file)?;
        if !cni_protocol::node_state::is_boot_id(&boot) {
            bail!(
                "boot_id_file = {:?}: holds {boot:?}, letters, digits and hyphens are expected",
                config.boot_id_file
            );
        }
        let digest = Sha256::digest(format!("sotto machine v1\0{machine}"));
        Ok(Self {
            machine: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            boot,
        })
    }
}

fn read_id(key: &str, path: &Path) -> Result<String> {
    let bytes = kept_files::read(path, ID_LIMIT, Links::Follow)
        .with_context(|| format!("{key} = {path:?}"))?
        .with_context(|| format!("{key} = {path:?}: no such file, name one that holds an id, for example /etc/machine-id"))?;
    let id = String::from_utf8_lossy(&bytes).trim().to_owned();
    if id.is_empty() || id.len() > LONGEST_ID {
        bail!("{key} = {path:?}: holds no id of 1 to {LONGEST_ID} characters, name another file");
    }
    Ok(id)
}

/// Reads the join token, if the configuration names one and it is there.
///
/// # Errors
/// When the file is open to others, or is no token for this node.
pub(crate) fn read_join_token(config: &Config) -> Result<Option<JoinToken>> {
    let Some(path) = join_token_file(config) else {
        return Ok(None);
    };
    let context = || format!("join_token_file = {path:?}");
    let Some(bytes) = kept_files::read_secret(path, SECRET_LIMIT).with_context(context)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes).with_context(context)?;
    let token: JoinToken = text.trim().parse().with_context(context)?;
    check_token(config, &token).with_context(context)?;
    Ok(Some(token))
}

fn join_token_file(config: &Config) -> Option<&Path> {
    match &config.store {
        Store::Directory {
            join_token_file, ..
        } => join_token_file.as_deref(),
        Store::Kubernetes(_) => None,
    }
}

/// The node UID under which this node may join, as a join token or the API server says.
///
/// # Errors
/// When what says so cannot be used, or is for another node.
pub(crate) fn invitation(config: &Config) -> Result<Option<NodeUid>> {
    match &config.store {
        Store::Directory { .. } => Ok(read_join_token(config)?.map(|token| token.identity.uid)),
        Store::Kubernetes(kubernetes) => {
            claims::node_uid(&kubernetes.token_file, &config.node_name).map(Some)
        }
    }
}

/// Whether the pod's token names another Node by now than the invitation under which the daemon runs.
/// A token that cannot be read says nothing.
pub(crate) fn is_replaced(config: &Config, running: Option<&NodeUid>) -> bool {
    match &config.store {
        Store::Directory { .. } => false,
        Store::Kubernetes(_) => {
            matches!(invitation(config), Ok(Some(uid)) if Some(&uid) != running)
        }
    }
}

fn check_token(config: &Config, token: &JoinToken) -> Result<()> {
    if token.identity.name != config.node_name {
        bail!(
            "the token is for node {}, this is {}: create one for it",
            token.identity.name,
            config.node_name
        );
    }
    if token.identity.trust_domain != config.trust_domain {
        bail!(
            "the token is for trust domain {}, this is {}",
            token.identity.trust_domain,
            config.trust_domain
        );
    }
    if !config.pins.contains(&token.pin) {
        bail!(
            "the token's root {} is not among pins: is this the right cluster?",
            token.pin
        );
    }
    Ok(())
}

/// Says whether [`open`] would have an identity to give; changes nothing.
///
/// # Errors
/// When an id, the invitation or the identity cannot be used, or there is neither of the latter.
pub(crate) fn foresee(config: &Config) -> Result<()> {
    let ids = MachineIds::read(config)?;
    let invited = invitation(config)?;
    let found = find(config, &ids)?;
    if found.is_none() && invited.is_none() {
        return Err(no_token(config));
    }
    Ok(())
}

/// This node's identity: the one on disk, or a new one for the node UID that it is invited under.
///
/// # Errors
/// When the one on disk cannot be used, or there is neither one nor an invitation.
pub(crate) fn open(
    config: &Config,
    ids: &MachineIds,
    invited: Option<NodeUid>,
    rng: &mut impl CryptoRng,
) -> Result<Identity> {
    match (find(config, ids)?, invited) {
        (Some(identity), Some(uid)) if uid != identity.id.uid => {
            let aside = kept_files::set_aside(&identity_file(config))?;
            info!(old = %identity.id, new = %uid, aside = %aside.display(), "Node was made anew, a new identity key is made");
            create(config, ids, uid, rng)
        }
        (Some(identity), _) => Ok(identity),
        (None, Some(uid)) => create(config, ids, uid, rng),
        (None, None) => Err(no_token(config)),
    }
}

fn identity_file(config: &Config) -> PathBuf {
    config.state_directory.join(IDENTITY_FILE)
}

fn no_token(config: &Config) -> anyhow::Error {
    anyhow!(
        "join_token_file = {}: a first enrolment needs a join token there, create one with `sotto-controller token create --node {}`",
        join_token_file(config).map_or_else(|| "(absent)".to_owned(), |path| format!("{path:?}")),
        config.node_name
    )
}

fn refused(config: &Config, fault: &str) -> anyhow::Error {
    let token = match &config.store {
        Store::Directory { .. } => format!(
            ", with a new token from `sotto-controller token create --node {}`",
            config.node_name
        ),
        Store::Kubernetes(_) => String::new(),
    };
    anyhow!(
        "use identity key {}: {fault}; only to start over as a new node move it away{token}",
        identity_file(config).display(),
    )
}

fn find(config: &Config, ids: &MachineIds) -> Result<Option<Identity>> {
    let bytes = match kept_files::read_secret(&identity_file(config), SECRET_LIMIT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) if error.is_in_the_file() => return Err(refused(config, &error.to_string())),
        Err(error) => return Err(error.into()),
    };
    // The parser's message may quote what it met, and what it met may be the key.
    let checked = serde_json::from_slice(&bytes)
        .map_err(|_| "is no identity file: truncated or damaged".to_owned())
        .and_then(|file| check(config, ids, file));
    checked.map(Some).map_err(|fault| refused(config, &fault))
}

fn check(config: &Config, ids: &MachineIds, file: IdentityFile) -> Result<Identity, String> {
    if file.version != 1 {
        return Err(format!("version {} is unknown here", file.version));
    }
    if file.machine != ids.machine {
        return Err("belongs to another machine: is this disk a clone?".to_owned());
    }
    if file.identity.name != config.node_name || file.identity.trust_domain != config.trust_domain {
        return Err(format!(
            "belongs to {}, not to {} in {}",
            file.identity, config.node_name, config.trust_domain
        ));
    }
    let key = IdentityKey::from_pem(&file.key).map_err(|error| error.to_string())?;
    Ok(Identity {
        key,
        id: file.identity,
    })
}

fn create(
    config: &Config,
    ids: &MachineIds,
    uid: NodeUid,
    rng: &mut impl CryptoRng,
) -> Result<Identity> {
    let key = IdentityKey::generate(rng);
    let id = SpiffeId {
        trust_domain: config.trust_domain.clone(),
        uid,
        name: config.node_name.clone(),
    };
    let file = IdentityFile {
        version: 1,
        identity: id.clone(),
        machine: ids.machine.clone(),
        key: key.to_pem().to_string(),
    };
    let bytes = Zeroizing::new(serde_json::to_vec(&file)?);
    kept_files::write(&identity_file(config), &bytes, 0o600)?;
    info!(identity = %id, key = %key.public().hash(), "Identity key made");
    Ok(Identity { key, id })
}

/// Where the tunnel key may be kept, and why not on disk if it may not.
pub(crate) fn tunnel_key_file(runtime_directory: &Path) -> Option<PathBuf> {
    match crate::memory_file_system::keeps_off_disk(runtime_directory) {
        Ok(()) => Some(runtime_directory.join(TUNNEL_KEYS_FILE)),
        Err(reason) => {
            warn!(directory = %runtime_directory.display(), %reason, "Tunnel key stays in memory only: a restart will need the store");
            None
        }
    }
}
