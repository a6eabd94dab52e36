//! The real kubectl, as the administrator or with somebody's token.

use anyhow::{Context, Result, bail};
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

    /// Runs kubectl with a bearer token and nothing else.
    ///
    /// # Errors
    /// What it says.
    pub fn kubectl_as(&self, token: &str, arguments: &[&str], input: &str) -> Result<String> {
        let config = format!("/run/kubectl-{}.conf", short(token));
        if !self.place.has(&config) {
            let user = format!("token: '{token}'");
            self.place
                .write(&config, super::certificates::kubeconfig(&user))?;
        }
        let all = [&["--kubeconfig", &config, CACHE], arguments].concat();
        self.place
            .run_with_input(&self.kubectl_path()?, &all, &[], input)
    }

    /// Tries something with a token and returns what the API server answers to forbid it.
    ///
    /// # Errors
    /// When it is allowed, or fails for another reason.
    pub fn forbidden(&self, token: &str, arguments: &[&str], input: &str) -> Result<String> {
        match self.kubectl_as(token, arguments, input) {
            Ok(said) => bail!("kubectl {} was allowed: {said}", arguments.join(" ")),
            Err(error) => {
                let said = format!("{error:#}");
                if said.contains("orbidden") {
                    Ok(said)
                } else {
                    bail!("not forbidden, but failed: {said}")
                }
            }
        }
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

/// A name for a token's file: the end of its signature.
fn short(token: &str) -> String {
    let letters = token.chars().rev().filter(char::is_ascii_alphanumeric);
    letters.take(16).collect()
}

/// A text inside an object, by its path.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> Result<&'a str> {
    let found = object.pointer(path).and_then(Value::as_str);
    found.with_context(|| format!("no {path} in {object}"))
}
