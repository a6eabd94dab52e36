//! The way to the API server: from inside the cluster, or with a person's kubeconfig; and how to
//! read what anybody may have written there ([`Lenient`]).
//!
//! Owns which configuration is used, how long a connection may take or stay silent, and how much one
//! answer may bring. What is asked, how often, and what an answer means belongs to whoever asks.

mod bounded;
mod lenient;

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

pub use bounded::is_watch;
pub use lenient::Lenient;

/// Where a pod finds its token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// How long a connection may take to stand (a guess, generous for one to another continent).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may stay silent while an answer is awaited. Longer than the server lets a
/// watch run, which may be silent to its end.
const SILENCE_LIMIT: Duration = Duration::from_secs(50);

/// Longest kubeconfig. One with the certificates of a hundred clusters has half a megabyte.
const MOST_KUBECONFIG: u64 = 4 << 20;

/// How to reach the API server. With neither field set: as the pod's ServiceAccount if there is
/// one, else as `kubectl` would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file in place of `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context in place of the current one.
    pub context: Option<String>,
}

/// There is no usable configuration.
#[derive(Debug, thiserror::Error)]
#[error("connect to the API server with {access}: {fault}; is it complete and readable?")]
pub struct ConnectError {
    /// What is configured.
    access: String,
    /// What is wrong with it. A text: these errors have their causes in their own texts, and a
    /// chain of them would say everything twice.
    fault: String,
}

/// A file that is no kubeconfig.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{} is no regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is longer than {} MiB", .0.display(), MOST_KUBECONFIG >> 20)]
    Long(PathBuf),
}

/// Makes a client. It asks nothing of the API server yet. A token file is read again each minute.
/// No answer is larger than 80 MiB, nor, a watch apart, takes longer than 30 s once it has begun.
///
/// # Errors
/// When what is configured cannot be read or used.
pub async fn connect(access: &Access) -> Result<kube::Client, ConnectError> {
    let client = match configured(access).await {
        Ok(mut config) => {
            config.connect_timeout = Some(CONNECT_LIMIT);
            config.read_timeout = Some(SILENCE_LIMIT);
            config.reset_reader_on_write = true;
            kube::Client::try_from(config)
                .map(bounded::bounded)
                .map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    client.map_err(|error| ConnectError {
        access: access.to_string(),
        fault: error.to_string(),
    })
}

async fn configured(
    access: &Access,
) -> Result<kube::Config, Box<dyn std::error::Error + Send + Sync>> {
    if access.is_in_cluster() {
        return Ok(kube::Config::incluster()?);
    }
    for path in access.files() {
        check(&path)?;
    }
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    Ok(match &access.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &options).await?
        }
        None => kube::Config::from_kubeconfig(&options).await?,
    })
}

/// The reader of kubeconfigs has no bounds: a device would be read for ever.
fn check(path: &Path) -> Result<(), Unreadable> {
    match std::fs::metadata(path) {
        Ok(found) if is_endless(found.file_type()) => Err(Unreadable::NotAFile(path.to_owned())),
        Ok(found) if found.len() > MOST_KUBECONFIG => Err(Unreadable::Long(path.to_owned())),
        // What is absent the reader says better, or goes on without.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A pipe is none: a shell's `<(…)` is one.
fn is_endless(kind: FileType) -> bool {
    kind.is_dir() || kind.is_char_device() || kind.is_block_device()
}

impl Access {
    /// The files that the configuration comes from, as far as the environment names them.
    fn files(&self) -> Vec<PathBuf> {
        match &self.kubeconfig {
            Some(path) => vec![path.clone()],
            None => std::env::var_os("KUBECONFIG")
                .iter()
                .flat_map(std::env::split_paths)
                .collect(),
        }
    }

    fn is_in_cluster(&self) -> bool {
        self.kubeconfig.is_none() && self.context.is_none() && Path::new(TOKEN).exists()
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.kubeconfig, &self.context) {
            (Some(path), _) => write!(f, "{}", path.display())?,
            (None, None) if self.is_in_cluster() => f.write_str("the pod's ServiceAccount")?,
            (None, _) => f.write_str("$KUBECONFIG or ~/.kube/config")?,
        }
        match &self.context {
            Some(context) => write!(f, ", context {context}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[tokio::test]
    async fn an_absent_kubeconfig_is_said_once_with_its_path() {
        let access = Access {
            kubeconfig: Some("/nonexistent/kubeconfig".into()),
            context: None,
        };

        let error = connect(&access).await.err().unwrap();

        let text = error.to_string();
        assert!(text.contains("with /nonexistent/kubeconfig"), "{text}");
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert!(error.source().is_none());
    }

    #[tokio::test]
    async fn a_kubeconfig_without_end_is_not_read() {
        let long = tempfile::NamedTempFile::new().unwrap();
        long.as_file().set_len(MOST_KUBECONFIG + 1).unwrap();
        for (path, wanted) in [
            (Path::new("/dev/zero"), "no regular file"),
            (Path::new("/"), "no regular file"),
            (long.path(), "longer than 4 MiB"),
        ] {
            let access = Access {
                kubeconfig: Some(path.to_owned()),
                context: None,
            };

            let text = connect(&access).await.err().unwrap().to_string();

            assert!(text.contains(wanted), "{text}");
        }
    }
}
