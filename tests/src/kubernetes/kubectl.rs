//! The real kubectl, as the administrator.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{ADMIN, ApiServer, binary};

const CACHE: &str = "--cache-dir=/run/kubectl";

impl ApiServer {
    /// Runs kubectl as the administrator.
    ///
    /// # Errors
    /// What it says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// Runs kubectl with standard input, such as objects for `apply -f -`.
    ///
    /// # Errors
    /// What it says.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let all = [&["--kubeconfig", ADMIN, CACHE], arguments].concat();
        self.place
            .run_with_input(&self.kubectl_path()?, &all, &[], input)
    }

    /// Reads objects as JSON.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn read(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "-o", "json"], arguments].concat();
        let text = self.kubectl(&all)?;
        serde_json::from_str(&text).context("read kubectl's JSON")
    }

    /// Creates an object and returns it as stored.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let text =
            self.kubectl_with_input(&["create", "-o", "json", "-f", "-"], &object.to_string())?;
        serde_json::from_str(&text).context("read the object created")
    }

    fn kubectl_path(&self) -> Result<String> {
        binary(&format!("{}/kubectl", self.version))
    }
}

/// A text inside an object, by its path.
///
/// # Errors
/// When there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> Result<&'a str> {
    let found = object.pointer(path).and_then(Value::as_str);
    found.with_context(|| format!("no {path} in {object}"))
}
