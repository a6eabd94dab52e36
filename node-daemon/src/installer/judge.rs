//! Which network is in force in a folder of configurations, and whether ours may be: pure.
//!
//! A runtime takes the first file by name; one that it cannot read keeps it from reading any other.

use thiserror::Error;

use super::CONFIGURATION_FILE;
use super::configuration::{self, Network};

/// Characters of a foreign file's text that are shown, on one line (a guess: a name and two plugins).
const MOST_SHOWN: usize = 60;
/// How many foreign files are named that do no harm.
const MOST_NAMED: usize = 16;

/// A file of the folder that a runtime looks at.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Its name.
    pub(super) name: String,
    /// What it is of, or why that cannot be read.
    pub(super) network: Result<Network, String>,
}

/// Our configuration may stand, or be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Permit {
    /// Files of others after ours, the first [`MOST_NAMED`] of them.
    pub(super) ignored: Vec<String>,
}

/// Why ours may not be written.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another network is there and ours is not.
    #[error(
        "another network is in force: {file:?} ({network}). If Sotto is to replace it, take that network off the cluster, then move this file out of the folder"
    )]
    InForce {
        /// Its file.
        file: String,
        /// What it says it is.
        network: String,
    },
    /// Another network's file comes before ours.
    #[error(
        "another network comes first: {file:?} ({network}) sorts before {CONFIGURATION_FILE}, so that the runtime takes it for new pods. Move it out of the folder, or take Sotto off"
    )]
    SortsFirst {
        /// Its file.
        file: String,
        /// What it says it is.
        network: String,
    },
    /// A file that no runtime can read is there first.
    #[error(
        "no network is in force: {file:?} comes first and no runtime can read it ({fault}). Mend it, or move it out of the folder"
    )]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Somebody else's network has our name.
    #[error("{CONFIGURATION_FILE} is another network's ({network}): rename it, or remove it")]
    NameTaken {
        /// What it says it is.
        network: String,
    },
}

/// Judges the folder's files that a runtime reads, in any order.
///
/// # Errors
/// When another network is, or would be, in force.
pub(super) fn judge(mut files: Vec<Candidate>) -> Result<Permit, Refusal> {
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let (ours, others): (Vec<_>, Vec<_>) = files
        .iter()
        .partition(|file| file.name == CONFIGURATION_FILE);
    let ours = ours.first();
    if let Some(Ok(network)) = ours.map(|file| &file.network)
        && !network.is_ours()
    {
        let network = shown(network);
        return Err(Refusal::NameTaken { network });
    }
    let mut permit = Permit::default();
    let mut ignore = |name: &String| {
        if permit.ignored.len() < MOST_NAMED {
            permit.ignored.push(name.clone());
        }
    };
    for file in others {
        let sorts_first = file.name.as_str() < CONFIGURATION_FILE;
        match &file.network {
            Ok(network) if !sorts_first && (ours.is_some() || network.is_loopback()) => {
                ignore(&file.name);
            }
            Ok(network) if ours.is_some() => {
                return Err(Refusal::SortsFirst {
                    file: file.name.clone(),
                    network: shown(network),
                });
            }
            Ok(network) => {
                return Err(Refusal::InForce {
                    file: file.name.clone(),
                    network: shown(network),
                });
            }
            Err(_) if !sorts_first && ours.is_some() => ignore(&file.name),
            Err(fault) => {
                return Err(Refusal::Malformed {
                    file: file.name.clone(),
                    fault: short(fault),
                });
            }
        }
    }
    Ok(permit)
}

/// Whether a file of our name is ours: not if it is a whole configuration without our plugin. One that
/// nobody can read is nobody's, and keeps the runtime from every other.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    configuration::read(CONFIGURATION_FILE, bytes).map_or(true, |network| network.is_ours())
}

fn shown(network: &Network) -> String {
    let plugins = network.plugins.join(", ");
    short(&if network.name.is_empty() {
        plugins
    } else {
        format!("{:?} with {plugins}", network.name)
    })
}

fn short(text: &str) -> String {
    let plain = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    plain.take(MOST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALICO: &str = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico"}]}"#;
    const BRIDGE: &str = r#"{"name": "bridge", "type": "bridge"}"#;
    const LOOPBACK: &str = r#"{"name": "lo", "type": "loopback"}"#;

    fn files(files: &[(&str, &str)]) -> Vec<Candidate> {
        let candidate = |(name, text): &(&str, &str)| Candidate {
            name: (*name).to_owned(),
            network: configuration::read(name, text.as_bytes()),
        };
        files.iter().map(candidate).collect()
    }

    fn ours() -> String {
        configuration::ours("/run/sotto", &["sotto-cni"])
    }

    fn ignored(names: &[&str]) -> Result<Permit, Refusal> {
        let ignored = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Permit { ignored })
    }

    #[test]
    fn an_empty_folder_is_free() {
        assert_eq!(judge(Vec::new()), ignored(&[]));
    }

    #[test]
    fn dp19_another_network_in_force_is_never_taken_over() {
        for name in ["05-calico.conflist", "10-calico.conflist", "zz.conflist"] {
            let refused = judge(files(&[(name, CALICO)])).unwrap_err();

            assert!(matches!(&refused, Refusal::InForce { file, .. } if file == name));
            let said = refused.to_string();
            assert!(
                said.contains("k8s-pod-network") && said.contains("calico"),
                "{said}"
            );
        }
    }

    #[test]
    fn dp19_another_network_that_comes_before_ours_is_told() {
        let ours = ours();
        let both = [("00-multus.conf", BRIDGE), (CONFIGURATION_FILE, &ours)];

        let refused = judge(files(&both)).unwrap_err();

        assert!(matches!(refused, Refusal::SortsFirst { file, .. } if file == "00-multus.conf"));
    }

    #[test]
    fn another_network_after_ours_changes_nothing() {
        let ours = ours();
        let all = [
            ("20-broken.json", "{"),
            ("10-calico.conflist", CALICO),
            (CONFIGURATION_FILE, &ours),
        ];

        let permit = judge(files(&all));

        assert_eq!(permit, ignored(&["10-calico.conflist", "20-broken.json"]));
    }

    #[test]
    fn loopback_after_ours_is_no_network() {
        let permit = judge(files(&[("99-loopback.conf", LOOPBACK)]));

        assert_eq!(permit, ignored(&["99-loopback.conf"]));
        assert!(judge(files(&[("00-loopback.conf", LOOPBACK)])).is_err());
    }

    #[test]
    fn cn21_a_malformed_configuration_that_comes_first_is_explained() {
        let ours = ours();
        for broken in ["", "{", r#"{"plugins": []}"#, "\u{0}", r#"{"name": "a"}"#] {
            for present in [true, false] {
                let mut all = vec![("00-a.conflist", broken)];
                if present {
                    all.push((CONFIGURATION_FILE, &ours));
                }

                let refused = judge(files(&all)).unwrap_err();

                let said = refused.to_string();
                assert!(matches!(refused, Refusal::Malformed { .. }), "{said}");
                assert!(
                    said.contains("00-a.conflist") && said.contains("Mend it"),
                    "{said}"
                );
                assert_eq!(said.lines().count(), 1);
            }
        }
    }

    #[test]
    fn cn21_a_file_that_cannot_be_opened_is_explained_like_a_malformed_one() {
        let unreadable = Candidate {
            name: "00-a.conf".to_owned(),
            network: Err("longer than 1048576 bytes".to_owned()),
        };

        let said = judge(vec![unreadable]).unwrap_err().to_string();

        assert!(said.contains("longer than"), "{said}");
    }

    #[test]
    fn a_whole_network_of_others_under_our_name_is_theirs_and_a_broken_file_is_ours() {
        let refused = judge(files(&[(CONFIGURATION_FILE, CALICO)]));

        assert!(matches!(refused, Err(Refusal::NameTaken { .. })));
        assert_eq!(judge(files(&[(CONFIGURATION_FILE, "{")])), ignored(&[]));
        assert!(is_ours(b"{") && is_ours(ours().as_bytes()) && !is_ours(CALICO.as_bytes()));
    }

    #[test]
    fn a_hostile_name_is_shown_short_and_on_one_line() {
        let name = "x\\n".repeat(1000);
        let text = format!(r#"{{"name": "{name}", "type": "bridge\nSotto is ready"}}"#);

        let said = judge(files(&[("10-x.conf", &text)]))
            .unwrap_err()
            .to_string();

        assert!(said.len() < 300 && said.lines().count() == 1, "{said}");
    }
}
