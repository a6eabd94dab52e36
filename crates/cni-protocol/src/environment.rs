//! The `CNI_` variables of a call, parsed into what its verb needs.
//!
//! Only what a verb uses is asked for: DEL has to work with the container id and the interface
//! alone, VERSION with nothing. `CNI_ARGS` gives names for logs; it never chooses an address and
//! never reaches a path.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use crate::attachment::{AttachmentKey, NameError};

/// A call of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Attach a pod.
    Add(PodCall),
    /// Undo an attachment, whatever is left of it.
    Del(AttachmentKey),
    /// Compare an attachment with what ADD made.
    Check(PodCall),
    /// Tell whether an ADD can succeed.
    Status,
    /// Free what belongs to none of the attachments listed.
    Gc,
    /// Tell which versions are spoken.
    Version,
}

/// A call about a pod whose network namespace is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCall {
    /// Which interface of which container.
    pub key: AttachmentKey,
    /// File of the pod's network namespace.
    pub netns: PathBuf,
    /// `namespace/name` of the Kubernetes pod, for logs only.
    pub pod: Option<String>,
}

/// Why the environment is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Variables that the verb needs are unset or empty.
    #[error("read environment: {} must be set", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// No verb of the specification.
    #[error("read CNI_COMMAND {0:?}: expected ADD, DEL, CHECK, STATUS, GC or VERSION")]
    Command(String),
    /// A value that is not text.
    #[error("read {0}: the value is not UTF-8")]
    NotText(&'static str),
    /// A name outside its grammar.
    #[error("read {variable} {value:?}: it {reason}")]
    Name {
        /// The variable.
        variable: &'static str,
        /// Its value, cut short.
        value: String,
        /// What is wrong.
        reason: NameError,
    },
    /// A namespace path that depends on where the plugin was started.
    #[error("read CNI_NETNS {0:?}: expected an absolute path")]
    RelativeNetns(PathBuf),
    /// Somebody wants to choose a pod's address.
    #[error("read CNI_ARGS: IP={0:?} is refused, Sotto chooses pod addresses itself")]
    ChosenAddress(String),
}

impl Call {
    /// Parses the variables that `variable` looks up.
    ///
    /// # Errors
    /// Names the variables that are missing or malformed.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, EnvironmentError> {
        let environment = Environment(variable);
        let command = environment
            .text("CNI_COMMAND")?
            .ok_or(EnvironmentError::Missing(vec!["CNI_COMMAND"]))?;
        match command.as_str() {
            "ADD" => Ok(Self::Add(environment.pod_call()?)),
            "CHECK" => Ok(Self::Check(environment.pod_call()?)),
            "DEL" => Ok(Self::Del(environment.key()?)),
            "STATUS" => Ok(Self::Status),
            "GC" => Ok(Self::Gc),
            "VERSION" => Ok(Self::Version),
            _ => Err(EnvironmentError::Command(shorten(&command))),
        }
    }
}

struct Environment<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    fn pod_call(&self) -> Result<PodCall, EnvironmentError> {
        self.require(&["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"])?;
        let netns = PathBuf::from(self.value("CNI_NETNS").unwrap_or_default());
        if !netns.is_absolute() {
            return Err(EnvironmentError::RelativeNetns(netns));
        }
        Ok(PodCall {
            key: self.key()?,
            netns,
            pod: pod_of_arguments(&self.value("CNI_ARGS").unwrap_or_default())?,
        })
    }

    fn key(&self) -> Result<AttachmentKey, EnvironmentError> {
        self.require(&["CNI_CONTAINERID", "CNI_IFNAME"])?;
        Ok(AttachmentKey {
            container_id: self.name("CNI_CONTAINERID")?,
            interface: self.name("CNI_IFNAME")?,
        })
    }

    fn require(&self, variables: &[&'static str]) -> Result<(), EnvironmentError> {
        let missing: Vec<_> = variables
            .iter()
            .copied()
            .filter(|variable| self.value(variable).is_none())
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(EnvironmentError::Missing(missing))
        }
    }

    fn name<T: FromStr<Err = NameError>>(
        &self,
        variable: &'static str,
    ) -> Result<T, EnvironmentError> {
        let value = self.text(variable)?.unwrap_or_default();
        value.parse().map_err(|reason| EnvironmentError::Name {
            variable,
            value: shorten(&value),
            reason,
        })
    }

    fn text(&self, variable: &'static str) -> Result<Option<String>, EnvironmentError> {
        self.value(variable)
            .map(OsString::into_string)
            .transpose()
            .map_err(|_| EnvironmentError::NotText(variable))
    }

    /// An empty variable is an unset one: runtimes pass an empty CNI_NETNS when it is gone.
    fn value(&self, variable: &str) -> Option<OsString> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }
}

/// Keys that are not known are passed over, malformed pieces too: the runtime adds what it likes.
fn pod_of_arguments(arguments: &OsString) -> Result<Option<String>, EnvironmentError> {
    let arguments = arguments.to_string_lossy();
    let (mut namespace, mut name) = (None, None);
    for (key, value) in arguments.split(';').filter_map(|pair| pair.split_once('=')) {
        match key {
            "IP" => return Err(EnvironmentError::ChosenAddress(shorten(value))),
            "K8S_POD_NAMESPACE" => namespace = Some(value),
            "K8S_POD_NAME" => name = Some(value),
            _ => {}
        }
    }
    Ok(namespace
        .zip(name)
        .filter(|(namespace, name)| is_kubernetes_name(namespace) && is_kubernetes_name(name))
        .map(|(namespace, name)| format!("{namespace}/{name}")))
}

/// RFC 1123 subdomain, as Kubernetes names are.
fn is_kubernetes_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        })
}

/// Enough of a value to recognise it in a message.
fn shorten(value: &str) -> String {
    const SHOWN: usize = 64;
    if value.chars().count() <= SHOWN {
        return value.to_owned();
    }
    value.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
