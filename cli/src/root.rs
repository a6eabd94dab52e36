//! `sotto root create`: makes a root of trust, offline.
//!
//! The only part of this program that has a private key, for as long as it takes to write it. It
//! never touches a cluster and never replaces a file.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use node_identity::{Pin, RootKey, TrustDomain, UnixTime};
use rand_core::{CryptoRng, UnwrapErr};
use zeroize::Zeroizing;

use crate::arguments::RootArguments;
use crate::names::{LEDGER_SECRET, ROOT_CERTIFICATE, ROOT_KEY, ROOT_SECRET};
use crate::output::Answer;
use crate::times::now;

/// The file that `--out-directory` makes.
const FILE: &str = "sotto-root.yaml";

/// A new root as the two Secrets that the controller needs.
pub(crate) struct NewRoot {
    /// What nodes are given to trust.
    pub(crate) pin: Pin,
    /// The root's key and certificate.
    pub(crate) root: Secret,
    /// The ledger of a root that has signed nothing yet.
    pub(crate) ledger: Secret,
}

impl NewRoot {
    /// Makes one with this machine's random source.
    pub(crate) fn generate(trust_domain: &TrustDomain, namespace: &str) -> Self {
        let mut random = UnwrapErr(getrandom::SysRng);
        Self::from(trust_domain, namespace, now(), &mut random)
    }

    fn from(
        trust_domain: &TrustDomain,
        namespace: &str,
        now: UnixTime,
        random: &mut impl CryptoRng,
    ) -> Self {
        let key = RootKey::generate(random);
        let certificate = key.create_certificate(trust_domain, now, random);
        let entries = [
            (ROOT_KEY, key.to_pem().as_bytes().to_vec()),
            (ROOT_CERTIFICATE, certificate.to_der().to_vec()),
        ];
        let entries = entries.map(|(name, bytes)| (name.to_owned(), ByteString(bytes)));
        let mut root = secret(ROOT_SECRET, namespace);
        root.data = Some(entries.into());
        Self {
            pin: key.pin(),
            root,
            ledger: secret(LEDGER_SECRET, namespace),
        }
    }

    /// Both Secrets as `kubectl create` takes them. `kubectl apply` alone would write the key into an
    /// annotation of its Secret too.
    fn to_yaml(&self) -> Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        for secret in [&self.ledger, &self.root] {
            text.push_str("---\n");
            let yaml = serde_saphyr::to_string(secret).context("write as YAML")?;
            text.push_str(&Zeroizing::new(yaml));
        }
        Ok(text)
    }
}

fn secret(name: &str, namespace: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([("app.kubernetes.io/part-of".to_owned(), "sotto".to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Makes a root and prints it, or writes it into a new file.
///
/// # Errors
/// When there is such a file already or it cannot be written.
pub(crate) fn create(arguments: &RootArguments, namespace: &str) -> Result<Answer> {
    if arguments.out_directory.is_none() && !arguments.print && stdout().is_terminal() {
        bail!(
            "create root: its private key would show on this terminal; redirect standard output, \
             give --out-directory, or --print to do it all the same"
        );
    }
    let made = NewRoot::generate(&arguments.trust_domain, namespace);
    let text = made.to_yaml()?;
    match &arguments.out_directory {
        Some(directory) => {
            let path = directory.join(FILE);
            write_new(&path, text.as_bytes())?;
            writeln!(
                stderr(),
                "Wrote {}. Keep a copy offline: without it no node can be certified again. Put it \
                 into the cluster with `kubectl create -f`, or, in place of another root, with \
                 `kubectl apply --server-side --force-conflicts -f`. The pin, for `sotto install \
                 --pin`:",
                path.display()
            )?;
            // Alone on standard output: `pin=$(sotto root create …)`.
            return Ok(Answer::fine(made.pin.to_string()));
        }
        None => stdout()
            .write_all(text.as_bytes())
            .context("print to standard output: is the disk full?")?,
    }
    writeln!(stderr(), "{}", made.pin)?;
    Ok(Answer::fine(""))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "create root {}: there is one already, it is never replaced; name another folder",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "create root {}: does the folder exist, and may this user write there?",
                    path.display()
                )
            });
        }
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.with_context(|| format!("write root {}: is the disk full?", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use chacha20::ChaCha20Rng;
    use k8s_openapi::api::core::v1::Secret;
    use node_identity::{RootCertificate, RootKey, UnixTime};
    use rand_core::SeedableRng;

    use super::{NewRoot, ROOT_CERTIFICATE, ROOT_KEY, write_new};

    fn new_root() -> NewRoot {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let trust_domain = "sotto.test".parse().unwrap();
        NewRoot::from(
            &trust_domain,
            "sotto-system",
            UnixTime(1_800_000_000),
            &mut random,
        )
    }

    #[test]
    fn the_secrets_hold_the_root_that_the_pin_names() {
        let made = new_root();

        let text = made.to_yaml().unwrap();

        let secrets: Vec<Secret> = text
            .split("---\n")
            .filter(|part| !part.is_empty())
            .map(|part| serde_saphyr::from_str(part).unwrap())
            .collect();
        let [ledger, root] = secrets.as_slice() else {
            panic!("{}", secrets.len());
        };
        assert_eq!(ledger.metadata.name.as_deref(), Some("sotto-ledger"));
        assert_eq!(ledger.data, None, "a root that has signed nothing yet");
        assert_eq!(root.metadata.name.as_deref(), Some("sotto-root"));
        let data = root.data.as_ref().unwrap();
        let key = RootKey::from_pem(std::str::from_utf8(&data[ROOT_KEY].0).unwrap()).unwrap();
        let certificate = RootCertificate::from_der(&data[ROOT_CERTIFICATE].0).unwrap();
        assert_eq!([key.pin(), certificate.pin()], [made.pin; 2]);
        assert_eq!(certificate.trust_domain().as_str(), "sotto.test");
    }

    #[test]
    fn a_root_file_is_for_its_owner_alone_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sotto-root.yaml");
        write_new(&path, b"first").unwrap();

        let error = write_new(&path, b"second").unwrap_err();

        assert!(error.to_string().contains("never replaced"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
