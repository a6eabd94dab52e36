//! What names one attachment of a pod: the container id and the interface's name.
//!
//! Both come from outside and end up in messages and, hashed, in names; their grammar is libcni's.
//! Nothing else identifies an attachment: a DEL has to work with these two alone.

use std::fmt;
use std::str::FromStr;

/// Longest container id; libcni makes a file name of it, whose limit is 255 bytes.
const MAXIMUM_CONTAINER_ID: usize = 255;

/// Longest interface name: the kernel's `IFNAMSIZ` without the closing zero.
const MAXIMUM_INTERFACE_NAME: usize = 15;

/// Folders of settings beside the interfaces' own: the kernel makes no interface of these names.
const RESERVED_INTERFACE_NAMES: [&str; 2] = ["all", "default"];

/// A container's id, as the runtime chose it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

/// The name of the pod's interface, inside the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentKey {
    /// The container.
    pub container_id: ContainerId,
    /// Its interface.
    pub interface: InterfaceName,
}

/// Why a text is not a name of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("is empty")]
    Empty,
    /// More bytes than fit.
    #[error("has more than {0} bytes")]
    TooLong(usize),
    /// `.` and `..` are folders.
    #[error("is a folder's own name")]
    Dots,
    /// A name that stands for more than one interface.
    #[error("stands for every interface")]
    Reserved,
    /// A character outside the grammar.
    #[error("holds {0:?}, which is not allowed there")]
    Character(char),
}

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl InterfaceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_identifier(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAXIMUM_INTERFACE_NAME {
            return Err(NameError::TooLong(MAXIMUM_INTERFACE_NAME));
        }
        if text == "." || text == ".." {
            return Err(NameError::Dots);
        }
        if RESERVED_INTERFACE_NAMES.contains(&text) {
            return Err(NameError::Reserved);
        }
        // With a '%' the kernel takes the name for a template and chooses another. It also
        // takes bytes above 127 and control characters; no runtime sends them, and they would reach
        // logs.
        let refused = |c: &char| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '%');
        match text.chars().find(refused) {
            Some(character) => Err(NameError::Character(character)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// Checks libcni's grammar of container ids and network names: `[A-Za-z0-9][A-Za-z0-9_.-]*`.
///
/// # Errors
/// Says what does not fit.
pub fn check_identifier(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAXIMUM_CONTAINER_ID {
        return Err(NameError::TooLong(MAXIMUM_CONTAINER_ID));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Character(first));
    }
    let refused = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-');
    text.chars()
        .find(refused)
        .map_or(Ok(()), |character| Err(NameError::Character(character)))
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {}", self.interface, self.container_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn26_an_interface_name_outside_the_grammar_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "eth 0",
            "a/b",
            "a:b",
            "sixteen-bytes-xx",
            "e\t0",
            "ethé",
            "all",
            "default",
            "eth%d",
            "%",
        ] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text:?}");
        }
        for text in [
            "eth0",
            "net1.5",
            "fifteen-bytes-x",
            "...",
            "a",
            "all0",
            "Default",
        ] {
            assert!(text.parse::<InterfaceName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn cn26_a_container_id_outside_the_grammar_is_refused() {
        let long = "a".repeat(4096);
        for text in [
            "",
            "../x",
            ".x",
            "-x",
            "a/b",
            "a b",
            "a\0b",
            "é",
            long.as_str(),
        ] {
            assert!(text.parse::<ContainerId>().is_err(), "{text:?}");
        }
        let hex = "0123456789abcdef".repeat(4);
        for text in ["a", "pod_1.2-3", hex.as_str()] {
            assert!(text.parse::<ContainerId>().is_ok(), "{text:?}");
        }
    }
}
