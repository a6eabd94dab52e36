//! A failed call as the runtime reads it: one JSON object on standard output.
//!
//! The codes below 100 are the specification's, from 100 on they are ours. A code tells the runtime
//! what to do next, so each failure is mapped to one in exactly one place, beside its enum.

use serde_json::{Value, json};

use crate::version::CniVersion;

/// The code of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// The configuration's `cniVersion` is not spoken here, or does not know the verb.
    IncompatibleVersion = 1,
    /// A `CNI_` variable is missing or malformed.
    InvalidEnvironment = 4,
    /// A file, the kernel or standard input failed.
    Io = 5,
    /// A text is not the JSON that is expected.
    Decode = 6,
    /// A value of the configuration cannot be.
    InvalidConfig = 7,
    /// Nothing is wrong with the call; it may succeed later.
    TryAgainLater = 11,
    /// STATUS: an ADD would fail.
    Unavailable = 50,
    /// STATUS: an ADD would fail, and pods that run may have no network.
    UnavailableAndDegraded = 51,
    /// Ours: ADD for an attachment or interface that exists.
    AlreadyAttached = 100,
    /// Ours: CHECK found the attachment other than ADD left it.
    AttachmentBroken = 101,
}

/// A failed call, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    /// What the runtime should make of it.
    pub code: ErrorCode,
    /// What failed, with the likely cure.
    pub message: String,
    /// The causes, outermost first; empty when there are none.
    pub details: String,
}

impl CniError {
    /// Puts an error and the chain of its causes under a code.
    #[must_use]
    pub fn new(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(current) = cause {
            causes.push(current.to_string());
            cause = current.source();
        }
        Self {
            code,
            message: error.to_string(),
            details: causes.join(": "),
        }
    }

    /// The object to print, in the version of the request.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> String {
        let mut object = json!({
            "cniVersion": version.as_str(),
            "code": self.code as u32,
            "msg": self.message,
        });
        if let (false, Some(object)) = (self.details.is_empty(), object.as_object_mut()) {
            object.insert("details".into(), self.details.clone().into());
        }
        object.to_string()
    }
}

/// What another plugin says when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code it gave.
    pub code: u64,
    /// Its message and details, cut short.
    pub message: String,
}

impl Refusal {
    /// Reads the object that another plugin printed; `None` when it printed something else.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        /// Enough to say what is wrong, too little to fill a log.
        const LONGEST: usize = 500;
        let object: Value = serde_json::from_slice(text).ok()?;
        let part = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let parts = [part("msg"), part("details")];
        let said: Vec<_> = parts.into_iter().filter(|it| !it.is_empty()).collect();
        Some(Self {
            code: object.get("code")?.as_u64()?,
            message: said.join(": ").chars().take(LONGEST).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open lock")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_keeps_its_cause_and_the_version_of_the_request() {
        let error = CniError::new(
            ErrorCode::Io,
            &Outer(std::io::Error::other("no such folder")),
        );

        let text = error.to_json(CniVersion::V1_0_0);

        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["cniVersion"], "1.0.0");
        assert_eq!(object["code"], 5);
        assert_eq!(object["msg"], "open lock");
        assert_eq!(object["details"], "no such folder");
    }

    #[test]
    fn a_refusal_of_another_plugin_is_read_whatever_it_printed() {
        let text = br#"{"cniVersion":"1.0.0","code":11,"msg":"full","details":"of 254"}"#;

        let refusal = Refusal::from_json(text).unwrap();

        assert_eq!(
            (refusal.code, refusal.message.as_str()),
            (11, "full: of 254")
        );
        for nothing in [
            &b""[..],
            b"panic: x",
            b"{}",
            b"[]",
            b"{\"code\":-1}",
            b"\xff",
        ] {
            assert_eq!(Refusal::from_json(nothing), None);
        }
    }

    #[test]
    fn an_error_without_cause_has_no_details() {
        let error = CniError::new(ErrorCode::Decode, &std::fmt::Error);

        assert!(!error.to_json(CniVersion::LATEST).contains("details"));
    }
}
