//! The store that the honest nodes read and Mallory may write: a folder, or an API server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::kubernetes::{ApiServer, Caller, text};

const API: &str = "/apis/sotto.dev/v1alpha1";
const VERSION: &str = "sotto.dev/v1alpha1";

/// Where everybody's statements are.
#[derive(Debug)]
pub enum Board<'a> {
    /// A folder.
    Folder(PathBuf),
    /// An API server, with full write access to our kinds.
    Api(&'a ApiServer),
}

impl Board<'_> {
    /// Each entry's name with its envelopes, in base64.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn envelopes(&self) -> Result<Vec<(String, Vec<String>)>> {
        match self {
            Self::Folder(folder) => files(&folder.join("envelopes"))?
                .into_iter()
                .map(|(name, bytes)| {
                    Ok((name, list(&serde_json::from_slice(&bytes)?, "/envelopes")))
                })
                .collect(),
            Self::Api(api) => items(api, "nodeidentities")?
                .iter()
                .map(|item| {
                    let name = text(item, "/metadata/name")?.to_owned();
                    Ok((name, list(item, "/status/statements")))
                })
                .collect(),
        }
    }

    /// Replaces an entry's envelopes.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn write(&self, entry: &str, envelopes: &[String]) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                // As an editor would: a new file in place of the old.
                let new = folder.join("tmp/edited");
                let file = json!({"version": 1, "envelopes": envelopes});
                std::fs::create_dir_all(folder.join("tmp"))?;
                std::fs::write(&new, serde_json::to_vec(&file)?)?;
                std::fs::rename(&new, folder.join("envelopes").join(entry))?;
                Ok(())
            }
            Self::Api(api) => {
                let body = json!({"status": {"statements": envelopes}});
                let path = format!("{API}/nodeidentities/{entry}/status");
                api.allows(&Caller::Administrator, "PATCH", &path, &body)
                    .map(drop)
            }
        }
    }

    /// Copies everything that is published into a folder.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn copy_to(&self, to: &Path) -> Result<()> {
        let api = match self {
            Self::Folder(from) => return copy_objects(from, to),
            Self::Api(api) => api,
        };
        for item in items(api, "nodeidentities")? {
            let uid = text(&item, "/spec/nodeUID")?;
            let file = json!({"version": 1, "envelopes": list(&item, "/status/statements")});
            put(
                to,
                "certificates",
                &format!("{uid}.der"),
                &decoded(&item, "/spec/certificate")?,
            )?;
            put(
                to,
                "envelopes",
                &format!("{uid}.json"),
                &serde_json::to_vec(&file)?,
            )?;
        }
        for item in items(api, "revocationlists")? {
            let pin = text(&item, "/metadata/name")?.trim_start_matches("sha256-");
            put(
                to,
                "roots",
                &format!("{pin}.der"),
                &decoded(&item, "/spec/rootCertificate")?,
            )?;
            put(
                to,
                "revocations",
                &format!("{pin}.bin"),
                &decoded(&item, "/spec/signedList")?,
            )?;
        }
        Ok(())
    }

    /// Publishes what a folder has and the store has not; `uid` is the node it belongs to. Returns
    /// the name of its entry.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn publish(&self, from: &Path, uid: &str) -> Result<String> {
        let api = match self {
            Self::Folder(to) => {
                copy_objects(from, to)?;
                return Ok(format!("{uid}.json"));
            }
            Self::Api(api) => api,
        };
        let certificate = std::fs::read(from.join("certificates").join(format!("{uid}.der")))?;
        api.create(&json!({"apiVersion": VERSION, "kind": "NodeIdentity",
            "metadata": {"name": "mallory"},
            "spec": {"nodeUID": uid, "certificate": Base64::encode_string(&certificate)}}))?;
        let file = std::fs::read(from.join("envelopes").join(format!("{uid}.json")))?;
        self.write(
            "mallory",
            &list(&serde_json::from_slice(&file)?, "/envelopes"),
        )?;
        for (name, root) in files(&from.join("roots"))? {
            let pin = name.trim_end_matches(".der");
            let signed = std::fs::read(from.join("revocations").join(format!("{pin}.bin")))?;
            let object = json!({"apiVersion": VERSION, "kind": "RevocationList",
                "metadata": {"name": format!("sha256-{pin}")},
                "spec": {"rootCertificate": Base64::encode_string(&root),
                    "signedList": Base64::encode_string(&signed), "number": 1, "entries": 0}});
            // The honest root's is there.
            if api
                .kubectl(&["get", "revocationlist", &format!("sha256-{pin}")])
                .is_err()
            {
                api.create(&object)?;
            }
        }
        Ok("mallory".to_owned())
    }
}

fn items(api: &ApiServer, kind: &str) -> Result<Vec<Value>> {
    let found = api.read(&[kind])?;
    let items = found.get("items").and_then(Value::as_array).cloned();
    items.with_context(|| format!("no list of {kind}"))
}

fn list(object: &Value, path: &str) -> Vec<String> {
    let found = object.pointer(path).and_then(Value::as_array);
    let texts = found.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn decoded(object: &Value, path: &str) -> Result<Vec<u8>> {
    Base64::decode_vec(text(object, path)?).map_err(|_| anyhow!("{path} is no base64"))
}

fn put(folder: &Path, kind: &str, name: &str, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder.join(kind))?;
    Ok(std::fs::write(folder.join(kind).join(name), bytes)?)
}

fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    entries
        .map(|entry| {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            Ok((name.to_string_lossy().into_owned(), std::fs::read(&path)?))
        })
        .collect()
}

/// Copies what is published from a folder to another; requests and answers stay where they are.
fn copy_objects(from: &Path, to: &Path) -> Result<()> {
    for kind in ["roots", "revocations", "certificates", "envelopes"] {
        std::fs::create_dir_all(to.join(kind))?;
        for (name, bytes) in files(&from.join(kind))? {
            put(to, kind, &name, &bytes)?;
        }
    }
    Ok(())
}
