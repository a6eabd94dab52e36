//! Who is believed: the verified set, and why others are not in it.
//!
//! What the store shows is only ever added: an empty or shrinking list removes nobody. A peer goes
//! when it is revoked, replaced by its own newer envelope, or expired. Pure; `peers/disk.rs` keeps the
//! set over a restart.

pub(crate) mod disk;
mod learn;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_store::Published;
use node_identity::{
    Conflict, Envelope, Floor, Generation, IkHash, NodeUid, Pin, PodRanges, Revocations,
    TrustedRoots, UnixTime, VerifiedPeer, VerifyError, admit,
};
use tracing::{error, info, warn};

use learn::{Faults, note};

/// How long a refusal that comes and goes is not told again.
const QUIET_FOR: Duration = Duration::from_secs(60);

/// How many refusals are told by name in that time: whoever writes to the store can make up as many
/// as it holds (a guess at what a person reads).
const MOST_NAMED: usize = 100;

/// How many of them people are told of beside the log.
const MOST_TOLD: usize = 5;

/// The verified set.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Own,
    pins: Vec<Pin>,
    cluster: PodRanges,
    roots: TrustedRoots,
    revocations: Revocations,
    floor: Floor,
    believed: BTreeMap<NodeUid, VerifiedPeer>,
    refused: BTreeMap<String, Refused>,
    /// What is wrong with envelopes that the store goes on to show.
    faults: Faults,
    /// Refusals told lately: somebody may write and take away the same thing over and over.
    said: BTreeMap<(String, String), UnixTime>,
    /// How many more there were since that was said, and when.
    unnamed: (usize, UnixTime),
    conflicts: Vec<Conflict>,
    told: Vec<String>,
    missing: Missing,
}

/// Whether the store lists those who are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It lists all.
    None,
    /// It lacks so many.
    Some(usize),
    /// It lists none of so many.
    All(usize),
}

/// This node, which is nobody's peer but takes part in the question who has which range.
#[derive(Debug)]
struct Own {
    uid: NodeUid,
    key: IkHash,
    peer: Option<VerifiedPeer>,
    published: Option<Generation>,
    standing: Standing,
    claims: Claims,
}

/// Whether what this node's certificate gives it is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claims {
    /// As far as is known.
    Hold,
    /// Other nodes' certificates count for more, or its keys are in two hands.
    Lost,
}

/// Whether peers still believe this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// As far as is known.
    Good,
    /// A root says that they must not.
    Revoked,
}

/// Why somebody, or some entry of the store, is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    reason: String,
    severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// Odd, but the network goes on.
    Warning,
    /// Somebody with a key signs what no honest node would.
    Alarm,
}

impl Missing {
    /// How many it lacks.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::Some(peers) | Self::All(peers) => peers,
        }
    }
}

/// What changed. Whom to end is acted on at once; whom to let in waits until it is on disk.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Somebody joined, changed or left the believed.
    pub(crate) set: bool,
    /// The floor rose.
    pub(crate) floor: bool,
    /// Revocations were added.
    pub(crate) revocations: bool,
    /// New root certificates.
    pub(crate) roots: Vec<Pin>,
    /// Whose envelope is new.
    pub(crate) envelopes: BTreeSet<NodeUid>,
    /// Who is believed no more.
    pub(crate) gone: BTreeSet<NodeUid>,
}

impl Learned {
    /// Adds what was learned later.
    pub(crate) fn merge(&mut self, later: Self) {
        self.set |= later.set;
        self.floor |= later.floor;
        self.revocations |= later.revocations;
        self.roots.extend(later.roots);
        for uid in &later.gone {
            self.envelopes.remove(uid);
        }
        for uid in &later.envelopes {
            self.gone.remove(uid);
        }
        self.envelopes.extend(later.envelopes);
        self.gone.extend(later.gone);
    }
}

impl Peers {
    /// A set of nobody, with what an earlier daemon remembered.
    pub(crate) fn new(
        own: NodeUid,
        key: IkHash,
        pins: &[Pin],
        cluster: &PodRanges,
        floor: Floor,
        mut revocations: Revocations,
    ) -> Self {
        // A peer is verified against pinned roots only; what others said would drop it again at once.
        revocations.retain_roots(pins);
        Self {
            own: Own {
                uid: own,
                key,
                peer: None,
                published: None,
                standing: Standing::Good,
                claims: Claims::Hold,
            },
            pins: pins.to_vec(),
            cluster: cluster.clone(),
            roots: TrustedRoots::new(pins, []).within(cluster.clone()),
            revocations,
            floor,
            believed: BTreeMap::new(),
            refused: BTreeMap::new(),
            faults: Faults::default(),
            said: BTreeMap::new(),
            unnamed: (0, UnixTime(0)),
            conflicts: Vec::new(),
            told: Vec::new(),
            missing: Missing::None,
        }
    }

    /// Trusts this root and no other. What the store shows of it counts from the next
    /// [`Peers::absorb`] on.
    pub(crate) fn trust(&mut self, pin: Pin) {
        self.pins = vec![pin];
        self.roots = TrustedRoots::new(&self.pins, []).within(self.cluster.clone());
        self.faults = Faults::default();
    }

    /// The first few refusals that were said since the last call, for people who do not read logs.
    pub(crate) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Takes in what the store shows.
    pub(crate) fn absorb(&mut self, published: &Published, now: UnixTime) -> Learned {
        let mut learned = Learned::default();
        let mut refused = BTreeMap::new();
        let floor = self.floor.clone();
        for entry in &published.refused {
            note(
                &mut refused,
                entry.name.clone(),
                entry.reason.to_string(),
                Severity::Warning,
            );
        }
        self.learn_roots(&published.roots, &mut learned, &mut refused);
        for root in &published.roots {
            self.learn_revocations(root, &mut learned, &mut refused);
        }
        let known = self.faults.begin(now, !learned.roots.is_empty());
        for node in &published.nodes {
            self.learn_node(node, now, &known, &mut learned, &mut refused);
        }
        self.drop_dead(now, &mut learned);
        self.say_refused(refused, now);
        self.judge_missing(published);
        learned.floor = self.floor != floor;
        learned
    }

    /// Whom the store lists no more. They are believed all the same, until they are revoked or end.
    pub(crate) fn missing(&self) -> Missing {
        self.missing
    }

    /// Takes in what the disk shows. It lies there already: what is to be written is what memory
    /// lacked, so a disk that is full or read-only keeps no known peer out.
    pub(crate) fn recall(&mut self, kept: &Published, now: UnixTime) -> Learned {
        Learned {
            roots: Vec::new(),
            envelopes: BTreeSet::new(),
            ..self.absorb(kept, now)
        }
    }

    /// Lets those go whose time is over.
    pub(crate) fn expire(&mut self, now: UnixTime) -> Learned {
        let mut learned = Learned::default();
        self.drop_dead(now, &mut learned);
        self.floor.forget_expired(now);
        learned
    }

    /// Judges this node's own envelope as its peers will.
    ///
    /// # Errors
    /// What its peers would say.
    pub(crate) fn judge_own(
        &self,
        envelope: &Envelope,
        now: UnixTime,
    ) -> Result<VerifiedPeer, VerifyError> {
        envelope.verify(&self.roots, &self.revocations, &self.floor, now)
    }

    /// Makes this node's own claims count against others'.
    pub(crate) fn set_own(&mut self, own: VerifiedPeer) -> Learned {
        let floor = self.floor.clone();
        self.floor.observe(&own);
        self.own.peer = Some(own);
        Learned {
            set: true,
            floor: self.floor != floor,
            ..Learned::default()
        }
    }

    /// The highest generation of this node that the store ever showed.
    pub(crate) fn own_published(&self) -> Option<Generation> {
        self.own.published
    }

    /// Who may be used: a function of the set, not of the order in which it came.
    pub(crate) fn admitted(&mut self) -> Vec<VerifiedPeer> {
        let everybody = self
            .believed
            .values()
            .chain(&self.own.peer)
            .cloned()
            .collect();
        let mut admission = admit(everybody);
        for conflict in &admission.conflicts {
            if self.conflicts.contains(conflict) {
                continue;
            }
            if conflict.is_alarm() {
                error!(%conflict, "Peers' claims contradict each other: one key is in two hands");
            } else {
                warn!(%conflict, "Peers' claims overlap");
            }
        }
        self.conflicts = admission.conflicts;
        self.judge_own_claims(&admission.peers);
        admission
            .peers
            .retain(|peer| peer.identity().uid != self.own.uid);
        admission.peers
    }

    /// Who is not believed, and why, by name.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refused
            .iter()
            .map(|(name, refused)| (name.as_str(), refused.reason.as_str()))
    }

    /// Whether peers still believe this node.
    pub(crate) fn own_standing(&self) -> Standing {
        self.own.standing
    }

    /// Whether this node's ranges and addresses are its own.
    pub(crate) fn own_claims(&self) -> Claims {
        self.own.claims
    }

    /// What stands between verified peers.
    pub(crate) fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The verified envelope of a node.
    pub(crate) fn believed(&self, uid: &NodeUid) -> Option<&VerifiedPeer> {
        self.believed.get(uid)
    }

    /// Everything that was ever revoked.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The time by which certificates end: a clock that was set back revives nobody.
    pub(crate) fn expiry_clock(&self, now: UnixTime) -> UnixTime {
        self.floor.expiry_clock(now)
    }

    /// Whether any root certificate that hashes to a pin is known.
    pub(crate) fn has_root(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The pins whose revocation list is overdue.
    pub(crate) fn overdue(&self, now: UnixTime) -> Vec<Pin> {
        self.revocations.overdue(&self.roots, now)
    }

    fn judge_own_standing(&mut self) {
        let revoked = self.revocations.revokes(&self.own.key, &self.own.uid);
        if revoked && self.own.standing == Standing::Good {
            error!(
                "This node is revoked: no peer speaks with it any more, ask the operator of the root. If its Node object was deleted and made again: delete the pod of sotto-node here, a new one has a token of the new Node"
            );
        }
        self.own.standing = if revoked {
            Standing::Revoked
        } else {
            Standing::Good
        };
    }

    fn judge_own_claims(&mut self, admitted: &[VerifiedPeer]) {
        let own = self.own.uid;
        let hold = self.own.peer.is_none() || admitted.iter().any(|it| it.identity().uid == own);
        if !hold && self.own.claims == Claims::Hold {
            error!(
                "This node's own claims lose against other nodes': its pods are cut off, look at the conflicts in its status"
            );
        }
        self.own.claims = if hold { Claims::Hold } else { Claims::Lost };
    }

    fn drop_dead(&mut self, now: UnixTime, learned: &mut Learned) {
        self.judge_own_standing();
        let clock = self.floor.expiry_clock(now);
        let dead = self.believed.extract_if(.., |_, peer| {
            peer.is_revoked(&self.revocations) || peer.is_expired(clock)
        });
        for (uid, peer) in dead {
            let reason = if peer.is_expired(clock) {
                "its certificate ended"
            } else {
                "it is revoked"
            };
            warn!(node = %peer.identity().name, reason, "Peer dropped");
            learned.set = true;
            learned.envelopes.remove(&uid);
            learned.gone.insert(uid);
        }
    }

    fn judge_missing(&mut self, published: &Published) {
        let listed: BTreeSet<NodeUid> = published.nodes.iter().map(|node| node.uid).collect();
        let believed = self.believed.keys();
        let missing = match believed.filter(|uid| !listed.contains(uid)).count() {
            0 => Missing::None,
            all if all == self.believed.len() => Missing::All(all),
            some => Missing::Some(some),
        };
        if missing == self.missing {
            return;
        }
        match missing {
            Missing::None => info!("Store lists every known peer again"),
            Missing::Some(peers) => warn!(
                peers,
                "Store lists some known peers no more, they are kept until they are revoked or their certificates end"
            ),
            Missing::All(peers) => error!(
                peers,
                "Store lists none of the known peers, they are kept until their certificates end: was it emptied?"
            ),
        }
        self.missing = missing;
    }

    fn name_of(&self, uid: &NodeUid) -> String {
        self.believed
            .get(uid)
            .map_or_else(|| uid.to_string(), |peer| peer.identity().name.to_string())
    }

    /// Says each refusal once, and again when its reason changes or it comes back after a while.
    fn say_refused(&mut self, refused: BTreeMap<String, Refused>, now: UnixTime) {
        for (node, fault) in self.unsaid(&refused, now) {
            fault.say(node);
            if self.told.len() < MOST_TOLD {
                self.told.push(format!("{node}: {}", fault.reason));
            }
        }
        if let Some(more) = self.rest(now) {
            warn!(
                more,
                "More refused than is told by name: the status has all"
            );
        }
        self.refused = refused;
    }

    /// What is to be said, by name as long as there is room. Alarms always are: they take a key.
    fn unsaid<'a>(
        &mut self,
        refused: &'a BTreeMap<String, Refused>,
        now: UnixTime,
    ) -> Vec<(&'a str, &'a Refused)> {
        self.said
            .retain(|_, at| now.duration_since(*at) < QUIET_FOR);
        let mut named = Vec::new();
        for (node, fault) in refused {
            let key = (node.clone(), fault.reason.clone());
            if self.refused.get(node) == Some(fault) || self.said.contains_key(&key) {
                continue;
            }
            if self.said.len() >= MOST_NAMED && fault.severity == Severity::Warning {
                self.unnamed.0 += 1;
                continue;
            }
            named.push((node.as_str(), fault));
            self.said.insert(key, now);
        }
        named
    }

    /// How many went unnamed, once in a while: whoever writes also chooses how often there is a look.
    fn rest(&mut self, now: UnixTime) -> Option<usize> {
        let (more, said) = self.unnamed;
        let is_due = more > 0 && now.duration_since(said) >= QUIET_FOR;
        is_due.then(|| {
            self.unnamed = (0, now);
            more
        })
    }
}

impl Refused {
    fn say(&self, node: &str) {
        let reason = &self.reason;
        match self.severity {
            Severity::Warning => warn!(node, reason, "Peer refused"),
            Severity::Alarm => error!(node, reason, "Peer refused: a key is in two hands"),
        }
    }
}
