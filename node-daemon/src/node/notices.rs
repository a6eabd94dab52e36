//! What people are told of beside the log: few things, and each kind only so often.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_store::{Notice, Severity};
use tunnel_core::moment::Moment;

use super::Node;

/// At most so many of a kind are told in [`WINDOW`] (a guess at what a person reads).
const MOST: u32 = 5;
/// Then the count begins anew.
const WINDOW: Duration = Duration::from_secs(3600);
/// Longest message in characters; an Event takes 1 024 bytes.
const LONGEST: usize = 250;

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The controller refused this node's request.
    CertificateRefused,
    /// Half of the certificate's life is over and no other has come.
    CertificateExpiring,
    /// A root is trusted because it was the first.
    RootPinFirstUse,
    /// Pod packets left in clear.
    PlaintextLeak,
    /// The watchdog put something back.
    GuardRepaired,
    /// Something in the store is not believed.
    PeerRefused,
    /// Plugins or network configuration cannot be installed.
    NotInstalled,
}

impl Kind {
    fn reason(self) -> &'static str {
        match self {
            Self::CertificateRefused => "CertificateRefused",
            Self::CertificateExpiring => "CertificateExpiring",
            Self::RootPinFirstUse => "RootPinFirstUse",
            Self::PlaintextLeak => "PlaintextLeak",
            Self::GuardRepaired => "GuardRepaired",
            Self::PeerRefused => "PeerRefused",
            Self::NotInstalled => "NotInstalled",
        }
    }
}

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<Kind, (Moment, u32)>);

impl Told {
    /// Whether one more of this kind may be told.
    fn admit(&mut self, kind: Kind, now: Moment) -> bool {
        let (begun, count) = self.0.entry(kind).or_insert((now, 0));
        if now.duration_since(*begun) >= WINDOW {
            (*begun, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST
    }
}

impl Node {
    /// Tells people, who find the same in the log.
    pub(super) fn tell(&mut self, kind: Kind, message: &str, now: Moment) {
        if !self.told.admit(kind, now) {
            return;
        }
        self.outputs.people.notify(Notice {
            node: self.config.node_name.clone(),
            severity: Severity::Warning,
            reason: kind.reason(),
            message: message.chars().take(LONGEST).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_told_a_few_times_an_hour_and_hides_no_other() {
        let mut told = Told::default();
        let at = |seconds| Moment::since_boot(Duration::from_secs(seconds));

        let admitted = (0..3600)
            .filter(|second| told.admit(Kind::PeerRefused, at(*second)))
            .count();

        assert_eq!(admitted, 5);
        assert!(told.admit(Kind::PlaintextLeak, at(3599)));
        assert!(told.admit(Kind::PeerRefused, at(3600)));
    }
}
