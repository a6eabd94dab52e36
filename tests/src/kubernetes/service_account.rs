//! What a kubelet puts into a pod: the token that the API server bound to it, and where that is.

use anyhow::{Result, bail};

use super::{ADDRESS, ApiServer, NAMESPACE, PKI, PORT};
use crate::lab::Place;

/// Where every container of a pod has it.
pub(super) const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl ApiServer {
    /// Asks for a token of one of Sotto's ServiceAccounts, bound to a pod (name, UID).
    ///
    /// # Errors
    /// What the API server says.
    pub fn token(&self, account: &str, pod: (&str, &str)) -> Result<String> {
        let said = self.kubectl(&[
            "create",
            "token",
            account,
            "--namespace",
            NAMESPACE,
            "--duration=1h",
            "--bound-object-kind=Pod",
            "--bound-object-name",
            pod.0,
            "--bound-object-uid",
            pod.1,
        ])?;
        Ok(said.trim().to_owned())
    }

    /// Puts a token where a program on a machine looks for it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn mount_token(&self, place: &Place, token: &str) -> Result<()> {
        let authority = self.place.read(&format!("{PKI}/ca.crt"))?;
        place.write(&format!("{FOLDER}/ca.crt"), authority)?;
        place.write(&format!("{FOLDER}/namespace"), NAMESPACE)?;
        // As the kubelet does it: readers see one token or the other.
        place.write(&format!("{FOLDER}/token.new"), token)?;
        place.shell(&format!("mv {FOLDER}/token.new {FOLDER}/token"))?;
        Ok(())
    }
}

/// What a kubelet sets in every container.
pub(super) fn environment() -> Vec<(String, String)> {
    let pairs = [
        ("KUBERNETES_SERVICE_HOST", ADDRESS),
        ("KUBERNETES_SERVICE_PORT", PORT),
        ("KUBERNETES_SERVICE_PORT_HTTPS", PORT),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Replaces `$(NAME)` in an argument, as a kubelet does.
pub(super) fn expand(argument: &str, variables: &[(&str, &str)]) -> Result<String> {
    let mut text = argument.to_owned();
    for (name, value) in variables {
        text = text.replace(&format!("$({name})"), value);
    }
    if text.contains("$(") {
        bail!("{argument} names a variable that the lab does not know");
    }
    Ok(text)
}
