//! Trust on first use: with neither pin nor doubt, the root that the store shows first.
//!
//! Whoever can write to the store at that moment chooses the root, so it takes an argument to have it.
//! The pin is kept before it counts; from then on another root is refused as it would be with a pin
//! that an operator gave. A pin given later has the last word.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use cluster_store::PublishedRoot;
use node_identity::{Pin, RootCertificate, TrustDomain};
use node_status::RootPin;
use service_log::chain;
use tracing::warn;

use crate::config::{Config, FirstUse};

/// The pin's file in the state directory.
pub(crate) const FIRST_USE_FILE: &str = "first-use-pin";
/// Most bytes of it: one pin, with room for blanks.
const FIRST_USE_LIMIT: u64 = 4096;

/// The pins in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pins {
    /// The roots to trust.
    pub(crate) pins: Vec<Pin>,
    /// Why.
    pub(crate) why: RootPin,
}

/// Which root there is to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The store shows none of this trust domain.
    None,
    /// It shows one.
    One(Pin),
    /// It shows several: only an operator can tell which is right.
    Several(BTreeSet<Pin>),
}

/// The pins that are given, or the one that was kept. Changes nothing.
///
/// # Errors
/// When the kept one cannot be used, or is none of those that are given.
pub(crate) fn in_force(config: &Config) -> Result<Pins> {
    let kept = kept(config)?;
    match (config.pins.as_slice(), kept, config.first_use) {
        ([], Some(pin), FirstUse::Trusted) => Ok(Pins {
            pins: vec![pin],
            why: RootPin::FirstUse,
        }),
        ([], _, _) => Ok(Pins {
            pins: Vec::new(),
            why: RootPin::Absent,
        }),
        (pins, Some(kept), _) if !pins.contains(&kept) => bail!(
            "pins = {:?}: this node trusted root {kept} on first use ({}): if that was a stranger's root, revoke this node and move the file away; else give that pin",
            pins.iter().map(ToString::to_string).collect::<Vec<_>>(),
            file(config).display()
        ),
        (pins, _, _) => Ok(Pins {
            pins: pins.to_vec(),
            why: RootPin::Given,
        }),
    }
}

/// The root to trust among those that the store shows. One that is filed under another's pin is
/// none: nothing that is signed or revoked under it would be found.
pub(crate) fn choose(shown: &[PublishedRoot], trust_domain: &TrustDomain) -> Choice {
    let pins: BTreeSet<Pin> = shown
        .iter()
        .filter_map(|shown| {
            let root = RootCertificate::from_der(shown.certificate.as_deref()?).ok()?;
            (root.pin() == shown.pin).then_some(root)
        })
        .filter(|root| root.trust_domain() == trust_domain)
        .map(|root| root.pin())
        .collect();
    match (pins.len(), pins.first()) {
        (1, Some(pin)) => Choice::One(*pin),
        (_, None) => Choice::None,
        (_, Some(_)) => Choice::Several(pins),
    }
}

/// Keeps the pin of the chosen root.
///
/// # Errors
/// When it cannot be written; then it must not count.
pub(crate) fn keep(config: &Config, pin: Pin) -> Result<()> {
    let path = file(config);
    kept_files::write(&path, format!("{pin}\n").as_bytes(), 0o600)
        .context("keep the pin of the first root")
}

/// Forgets the pin that was kept, once one that is given stands for it. A disk that refuses keeps no
/// node out: the next start tries again.
pub(crate) fn forget(config: &Config) {
    let path = file(config);
    if path.symlink_metadata().is_err() {
        return;
    }
    if let Err(error) = kept_files::remove(&path) {
        warn!(
            error = chain(&error),
            "Pin of the first root is not forgotten, the next start tries again"
        );
    }
}

fn kept(config: &Config) -> Result<Option<Pin>> {
    let path = file(config);
    let Some(bytes) = kept_files::read_secret(&path, FIRST_USE_LIMIT)? else {
        return Ok(None);
    };
    let pin = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    pin.map(Some).with_context(|| {
        format!(
            "read {}: it holds no pin, write the one that this node trusted into it, or give it with --pin and move the file away",
            path.display()
        )
    })
}

fn file(config: &Config) -> PathBuf {
    config.state_directory.join(FIRST_USE_FILE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sample::{self, Authority};

    fn trusting() -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        let mut config = sample::config(&Authority::new(), directory.path());
        config.pins = Vec::new();
        config.first_use = FirstUse::Trusted;
        (directory, config)
    }

    #[test]
    fn the_first_root_counts_for_good() {
        let (_directory, config) = trusting();
        let root = Authority::new().published_root(1, &[]);
        assert_eq!(in_force(&config).unwrap().why, RootPin::Absent);

        let Choice::One(pin) = choose(&[root], &config.trust_domain) else {
            panic!("there is one root")
        };
        keep(&config, pin).unwrap();

        let expected = Pins {
            pins: vec![pin],
            why: RootPin::FirstUse,
        };
        assert_eq!(in_force(&config).unwrap(), expected);
        let mode = std::fs::metadata(file(&config)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn without_the_argument_a_kept_pin_trusts_nobody() {
        let (_directory, mut config) = trusting();
        keep(&config, Authority::new().root.pin()).unwrap();

        config.first_use = FirstUse::Refused;

        assert!(in_force(&config).unwrap().pins.is_empty());
    }

    #[test]
    fn several_roots_are_no_choice_and_foreign_or_broken_ones_do_not_count() {
        let (_directory, config) = trusting();
        let [one, other] = [Authority::new(), Authority::new()];
        let shown = [one.published_root(1, &[]), other.published_root(1, &[])];
        let both = BTreeSet::from([one.root.pin(), other.root.pin()]);
        let elsewhere: TrustDomain = "elsewhere.test".parse().unwrap();
        let mut broken = shown.clone();
        for root in &mut broken {
            root.certificate.as_mut().unwrap()[40] ^= 1;
        }

        let choice = |roots: &[PublishedRoot]| choose(roots, &config.trust_domain);

        assert_eq!(choice(&shown), Choice::Several(both));
        let again = [shown[0].clone(), shown[0].clone()];
        assert_eq!(choice(&again), Choice::One(one.root.pin()));
        assert_eq!(choice(&broken), Choice::None);
        assert_eq!(choose(&shown, &elsewhere), Choice::None);
        let [mut misfiled, _] = shown.clone();
        misfiled.pin = other.root.pin();
        assert_eq!(choice(&[misfiled]), Choice::None);
        assert_eq!(choice(&[]), Choice::None);
    }

    #[test]
    fn a_pin_given_later_has_to_be_the_kept_one() {
        let (_directory, mut config) = trusting();
        let [kept, other] = [Authority::new().root.pin(), Authority::new().root.pin()];
        keep(&config, kept).unwrap();

        config.pins = vec![other];
        let said = in_force(&config).unwrap_err().to_string();
        config.pins = vec![other, kept];
        let both = in_force(&config).unwrap();

        assert!(said.contains(&kept.to_string()) && said.contains(&other.to_string()));
        assert_eq!(said.lines().count(), 1);
        assert_eq!((both.pins, both.why), (vec![other, kept], RootPin::Given));
        forget(&config);
        config.pins = vec![other];
        assert_eq!(in_force(&config).unwrap().why, RootPin::Given);
    }

    #[test]
    fn kl13_a_kept_pin_that_others_could_write_or_that_is_damaged_is_refused() {
        let (_directory, config) = trusting();
        kept_files::write(&file(&config), b"sha256:12", 0o600).unwrap();
        let damaged = format!("{:#}", in_force(&config).unwrap_err());
        kept_files::write(&file(&config), b"sha256:12", 0o666).unwrap();
        let open = format!("{:#}", in_force(&config).unwrap_err());

        assert!(damaged.contains("holds no pin"), "{damaged}");
        assert!(open.contains("chmod 600"), "{open}");
    }
}
