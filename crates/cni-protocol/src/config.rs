//! The network configuration on standard input.
//!
//! Ours are `runtimeDirectory` and `bootIdFile`; their values are checked. Keys of others are let
//! through, as the specification asks. What is read depends on the verb: a DEL never looks at
//! `prevResult`, which may be torn, and looks at `ipam` when its own work is done.

mod unique;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::attachment::{NameError, check_identifier};
use crate::contract::{DEFAULT_BOOT_ID_FILE, DEFAULT_RUNTIME_DIRECTORY};
use crate::previous::PreviousResult;
use crate::version::{CniVersion, UnsupportedVersion};
use unique::Unique;

/// Where libcni lists the attachments that live, first the specified key, then the older one.
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// A JSON object whose version is not looked at yet.
#[derive(Debug)]
pub struct ConfigDocument(Map<String, Value>);

/// A checked network configuration.
#[derive(Debug)]
pub struct NetworkConfig {
    /// The version in which to answer.
    pub version: CniVersion,
    /// The network's name.
    pub name: String,
    /// Folder with `node.json` and the reservations.
    pub runtime_directory: PathBuf,
    /// File that tells this boot from others; nodes of a lab have one each.
    pub boot_id_file: PathBuf,
    /// Name resolution to hand through to the result, an object.
    pub dns: Option<Value>,
    document: Map<String, Value>,
}

/// Why a network configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON, or an object has a key twice.
    #[error("decode network configuration from standard input: is it cut short, or a key doubled?")]
    Decode(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("decode network configuration: expected an object with cniVersion, name and type")]
    NotAnObject,
    /// No version says how to answer.
    #[error("read network configuration: cniVersion is missing, add \"cniVersion\": \"1.1.0\"")]
    MissingVersion,
    /// A version that is not spoken here.
    #[error("read network configuration")]
    Version(#[from] UnsupportedVersion),
    /// The network's name is missing or malformed.
    #[error("read network configuration: name {value} {reason}")]
    Name {
        /// The value found.
        value: String,
        /// What is wrong.
        reason: NameError,
    },
    /// A value of a wrong type or shape.
    #[error("read network configuration: {key} is {value}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value found, cut short.
        value: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The plugin that assigns addresses has no name to look for.
    #[error("read network configuration: ipam.type {value} {reason}")]
    AddressPlugin {
        /// The value found, cut short.
        value: String,
        /// What is wrong.
        reason: NameError,
    },
    /// A key that the verb cannot do without.
    #[error("read network configuration: {0} is missing, the runtime has to send it")]
    Missing(&'static str),
    /// `prevResult` is there and cannot be read.
    #[error("decode prevResult")]
    PreviousResult(#[source] serde_json::Error),
}

impl ConfigDocument {
    /// Decodes standard input.
    ///
    /// # Errors
    /// When it is not one JSON object, or an object in it has a key twice.
    pub fn decode(text: &[u8]) -> Result<Self, ConfigError> {
        let Unique(value) = serde_json::from_slice(text).map_err(ConfigError::Decode)?;
        match value {
            Value::Object(document) => Ok(Self(document)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(ConfigError::NotAnObject),
        }
    }

    /// The version as written, spoken here or not.
    #[must_use]
    pub fn version_text(&self) -> Option<&str> {
        self.0.get("cniVersion").and_then(Value::as_str)
    }

    /// The version in which to answer.
    ///
    /// # Errors
    /// When it is missing or not spoken here.
    pub fn version(&self) -> Result<CniVersion, ConfigError> {
        let text = self.version_text().ok_or(ConfigError::MissingVersion)?;
        Ok(text.parse::<CniVersion>()?)
    }

    /// Checks what every verb reads.
    ///
    /// # Errors
    /// Names the key, the value and what is expected.
    pub fn check(self) -> Result<NetworkConfig, ConfigError> {
        let version = self.version()?;
        let document = self.0;
        Ok(NetworkConfig {
            version,
            name: network_name(&document)?,
            runtime_directory: path(&document, "runtimeDirectory", DEFAULT_RUNTIME_DIRECTORY)?,
            boot_id_file: path(&document, "bootIdFile", DEFAULT_BOOT_ID_FILE)?,
            dns: dns(&document)?,
            document,
        })
    }
}

impl NetworkConfig {
    /// Name of the plugin that assigns pods' addresses, when Sotto is not to do it itself.
    ///
    /// It is looked for in `CNI_PATH`; a name that leads out of there is refused (CVE-2021-20206).
    ///
    /// # Errors
    /// When `ipam` is there and names no plugin that can be looked for.
    pub fn address_plugin(&self) -> Result<Option<&str>, ConfigError> {
        let Some(ipam) = self.present("ipam") else {
            return Ok(None);
        };
        if !ipam.is_object() {
            return Err(wrong("ipam", ipam, "an object"));
        }
        match ipam.get("type") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) if name.is_empty() => Ok(None),
            Some(Value::String(name)) => match check_identifier(name) {
                Ok(()) => Ok(Some(name)),
                Err(reason) => Err(ConfigError::AddressPlugin {
                    value: shown(&Value::from(name.as_str())),
                    reason,
                }),
            },
            Some(other) => Err(wrong("ipam.type", other, "the name of a plugin")),
        }
    }

    /// What plugins before us made, which an ADD hands on.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn made_before(&self) -> Result<Option<PreviousResult>, ConfigError> {
        let found = self.present("prevResult").map(PreviousResult::from_value);
        found.transpose().map_err(ConfigError::PreviousResult)
    }

    /// The configuration as the plugin that assigns addresses gets it.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(self.document.clone()).to_string()
    }

    /// The same without `prevResult`: what is torn must not make that plugin's DEL fail either.
    #[must_use]
    pub fn to_json_for_del(&self) -> String {
        let mut document = self.document.clone();
        document.remove("prevResult");
        Value::Object(document).to_string()
    }

    /// The result of the ADD, which CHECK compares with.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn previous_result(&self) -> Result<PreviousResult, ConfigError> {
        self.made_before()?
            .ok_or(ConfigError::Missing("prevResult"))
    }

    /// The attachments that live, as (container id, interface name); `null` and `[]` are none.
    ///
    /// They are compared only, so their grammar does not matter.
    ///
    /// # Errors
    /// When the key is missing: freeing everything then would be a guess.
    pub fn valid_attachments(&self) -> Result<BTreeSet<(String, String)>, ConfigError> {
        let [current, _legacy] = VALID_ATTACHMENTS;
        let listed = VALID_ATTACHMENTS
            .iter()
            .find_map(|key| self.document.get(*key))
            .ok_or(ConfigError::Missing(current))?;
        if listed.is_null() {
            return Ok(BTreeSet::new());
        }
        let expected = "a list of objects with containerID and ifname";
        listed
            .as_array()
            .and_then(|entries| entries.iter().map(attachment_entry).collect())
            .ok_or_else(|| wrong(current, listed, expected))
    }

    fn present(&self, key: &str) -> Option<&Value> {
        self.document.get(key).filter(|value| !value.is_null())
    }
}

fn attachment_entry(entry: &Value) -> Option<(String, String)> {
    let field = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((field("containerID")?, field("ifname")?))
}

fn network_name(document: &Map<String, Value>) -> Result<String, ConfigError> {
    let found = document.get("name");
    let name = found.and_then(Value::as_str).unwrap_or_default();
    match check_identifier(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(reason) => Err(ConfigError::Name {
            value: found.map_or_else(|| "(none)".into(), shown),
            reason,
        }),
    }
}

fn path(
    document: &Map<String, Value>,
    key: &'static str,
    default: &str,
) -> Result<PathBuf, ConfigError> {
    let Some(value) = document.get(key) else {
        return Ok(default.into());
    };
    value
        .as_str()
        .filter(|text| is_plain_path(text))
        .map(PathBuf::from)
        .ok_or_else(|| wrong(key, value, "an absolute path without \"..\""))
}

fn is_plain_path(text: &str) -> bool {
    let path = Path::new(text);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && !text.contains('\0') && path.components().all(plain)
}

fn dns(document: &Map<String, Value>) -> Result<Option<Value>, ConfigError> {
    match document.get("dns") {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value.clone())),
        Some(value) => Err(wrong("dns", value, "an object")),
    }
}

fn wrong(key: &'static str, value: &Value, expected: &'static str) -> ConfigError {
    let value = shown(value);
    ConfigError::Value {
        key,
        value,
        expected,
    }
}

/// Enough of a value to find it in the file.
fn shown(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
