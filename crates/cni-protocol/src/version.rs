//! Versions of the CNI specification that Sotto speaks.
//!
//! A result has the layout of the version that the configuration asks for. Before 0.3.1 a result had
//! no interfaces, so nothing older is spoken. Another version is added here as a variant; the compiler
//! then points at each place that has to know its layout.

use std::fmt;
use std::str::FromStr;

use serde_json::json;

/// A version of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CniVersion {
    /// 0.3.1: ADD, DEL, VERSION; each address says its family.
    V0_3_1,
    /// 0.4.0: adds CHECK.
    V0_4_0,
    /// 1.0.0: addresses say no family.
    V1_0_0,
    /// 1.1.0: adds STATUS, GC and the MTU of interfaces.
    V1_1_0,
}

/// A version that this program does not speak.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("read cniVersion {0:?}: only 0.3.1, 0.4.0, 1.0.0 and 1.1.0 are supported here")]
pub struct UnsupportedVersion(pub String);

impl CniVersion {
    /// All versions, oldest first.
    pub const SUPPORTED: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest version, used where a request does not say one.
    pub const LATEST: Self = Self::V1_1_0;

    /// The version as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CniVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::SUPPORTED
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnsupportedVersion(text.to_owned()))
    }
}

/// The answer to VERSION; it repeats the version that was asked with, known here or not.
#[must_use]
pub fn version_reply(asked_with: Option<&str>) -> String {
    json!({
        "cniVersion": asked_with.unwrap_or(CniVersion::LATEST.as_str()),
        "supportedVersions": CniVersion::SUPPORTED.map(CniVersion::as_str),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn16_only_the_supported_versions_are_accepted() {
        for version in CniVersion::SUPPORTED {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        for text in [
            "0.1.0", "0.2.0", "0.3.0", "2.0.0", "1.0", "1.1.0 ", "", "v1.1.0",
        ] {
            assert!(text.parse::<CniVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_reply_repeats_the_version_asked_with() {
        let reply: serde_json::Value = serde_json::from_str(&version_reply(Some("0.2.0"))).unwrap();

        assert_eq!(reply["cniVersion"], "0.2.0");
        assert_eq!(
            reply["supportedVersions"],
            json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }
}
