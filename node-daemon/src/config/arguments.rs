//! What the command line adds to the file. In a DaemonSet all of it is in the pod template, which
//! fewer may edit than a ConfigMap.

use super::ConfigError;
use super::file::ConfigFile;
use crate::arguments::Settings;

/// A value and the key that it is to be mended by.
pub(super) struct Given<T> {
    pub(super) key: &'static str,
    pub(super) value: T,
}

/// The node's name. BI-09: a template that lost it must not start as somebody.
///
/// # Errors
/// When there is none, it is empty, or file and command line both give one.
pub(super) fn node_name(
    file: &ConfigFile,
    settings: &Settings,
) -> Result<Given<String>, ConfigError> {
    let given = one_of(
        ("node_name", file.node_name.clone()),
        ("--node-name", settings.node_name.clone()),
    )?;
    let cure = "name this node, in a pod with --node-name=$(NODE_NAME) and the variable NODE_NAME from spec.nodeName";
    match given {
        None => Err(ConfigError::value("node_name", "(absent)", cure)),
        Some(Given { key, value }) if value.is_empty() || value.contains("$(") => {
            Err(ConfigError::value(key, format!("{value:?}"), cure))
        }
        Some(given) => Ok(given),
    }
}

/// The node's addresses.
///
/// # Errors
/// When file and command line both give some.
pub(super) fn endpoints(
    file: &ConfigFile,
    settings: &Settings,
) -> Result<Given<Vec<String>>, ConfigError> {
    let given = one_of(
        ("endpoints", file.endpoints.clone()),
        ("--endpoint", some(&settings.endpoints)),
    )?;
    Ok(given.unwrap_or(Given {
        key: "endpoints",
        value: Vec::new(),
    }))
}

/// The pins of the trusted roots.
///
/// # Errors
/// When file and command line both give some.
pub(super) fn pins(
    file: &ConfigFile,
    settings: &Settings,
) -> Result<Given<Vec<String>>, ConfigError> {
    let given = one_of(("pins", file.pins.clone()), ("--pin", some(&settings.pins)))?;
    Ok(given.unwrap_or(Given {
        key: "pins",
        value: Vec::new(),
    }))
}

fn some(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn one_of<T: std::fmt::Debug>(
    file: (&'static str, Option<T>),
    argument: (&'static str, Option<T>),
) -> Result<Option<Given<T>>, ConfigError> {
    let (key, flag) = (file.0, argument.0);
    match (file.1, argument.1) {
        (Some(_), Some(value)) => Err(ConfigError::value(
            flag,
            format!("{value:?}"),
            format!("the settings have {key} too, give it in one place"),
        )),
        (Some(value), None) => Ok(Some(Given { key, value })),
        (None, Some(value)) => Ok(Some(Given { key: flag, value })),
        (None, None) => Ok(None),
    }
}
