//! What is revoked, until when, and when the list is signed anew. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use node_identity::{NodeUid, RevocationEntry, RevocationList, RevokedSubject, UnixTime};

use crate::ledger::{Ledger, ListRecord};

/// A fresh list each hour shows daemons that none is withheld from them.
const SIGN_EVERY: Duration = Duration::from_secs(3600);

/// A controller may be away for a day, and an hour's list more, before daemons raise an alarm.
const NEXT_UPDATE: Duration = Duration::from_secs(26 * 3600);

/// A list from further ahead than certificates tolerate was signed by a clock gone wrong.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Kept past the last certificate's end, for clocks that differ (a guess, generous).
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How long a token can be seen in the list of tokens after its expiry.
const FORGET_TOKENS_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Revokes a node for good and takes its unused tokens away. Returns when its last certificate
/// ends, if it has any.
pub(crate) fn revoke(ledger: &mut Ledger, uid: &NodeUid, now: UnixTime) -> Option<UnixTime> {
    ledger
        .tokens
        .retain(|_, token| token.uid != *uid || token.secret.is_none());
    let node = ledger.nodes.get_mut(uid)?;
    let until = node.last_not_after.max(now);
    node.revoked_until = Some(until);
    node.awaiting = None;
    node.approved = None;
    ledger.revocations.outdated = true;
    Some(until)
}

/// Starts a new list when one is due; true if the ledger changed.
///
/// Keys are forgotten here and nowhere else, so that the list of a given number can be written
/// again, byte for byte, as long as the ledger says that it is the newest.
pub(crate) fn renew_list(ledger: &mut Ledger, now: UnixTime) -> bool {
    let ListRecord {
        number,
        issued,
        outdated,
    } = ledger.revocations;
    let due = now >= issued.plus(SIGN_EVERY) || issued > now.plus(CLOCK_TOLERANCE);
    if !(outdated || due) {
        return false;
    }
    forget_keys(ledger, now);
    ledger.revocations = ListRecord {
        number: RevocationList::next_number(now, Some(number)),
        issued: now,
        outdated: false,
    };
    true
}

/// Goes on from the newest list that the root has signed: daemons would refuse an older number.
/// True if the ledger changed.
pub(crate) fn catch_up(ledger: &mut Ledger, newest: Option<u64>) -> bool {
    let Some(number) = newest.filter(|number| *number > ledger.revocations.number) else {
        return false;
    };
    ledger.revocations.number = number;
    ledger.revocations.outdated = true;
    true
}

impl ListRecord {
    /// Whether the list names what is revoked until then.
    pub(crate) fn names(&self, until: UnixTime) -> bool {
        until.plus(FORGET_AFTER) >= self.issued
    }
}

/// The list as the ledger says it was last signed: without those whose certificates have ended, which
/// the ledger may have to remember for longer.
pub(crate) fn list(ledger: &Ledger) -> RevocationList {
    let nodes = ledger.nodes.iter().filter_map(|(uid, node)| {
        let until = node.revoked_until?;
        let key = RevokedSubject::IdentityKey(node.key.hash());
        Some([(RevokedSubject::Node(*uid), until), (key, until)])
    });
    let retired = ledger
        .retired
        .iter()
        .map(|one| (RevokedSubject::IdentityKey(one.key), one.until));
    let strangers = ledger
        .revoked_strangers
        .iter()
        .map(|(uid, until)| (RevokedSubject::Node(*uid), *until));
    let entries = nodes.flatten().chain(retired).chain(strangers);
    let entries = entries.filter(|(_, until)| ledger.revocations.names(*until));
    RevocationList {
        number: ledger.revocations.number,
        issued: ledger.revocations.issued,
        next_update: ledger.revocations.issued.plus(NEXT_UPDATE),
        entries: entries
            .map(|(subject, until)| RevocationEntry { subject, until })
            .collect(),
    }
}

/// What the root's own signed list revokes and the ledger neither knows nor has forgotten: the
/// ledger is older than the list. Judged as of the ledger's list, so that the list of a given number
/// stays the same, these entries included.
pub(crate) fn missing(ledger: &Ledger, signed: &RevocationList) -> Vec<RevocationEntry> {
    let known: BTreeSet<RevokedSubject> =
        list(ledger).entries.iter().map(|one| one.subject).collect();
    let is_missing = |one: &&RevocationEntry| {
        !known.contains(&one.subject) && ledger.revocations.names(one.until)
    };
    signed.entries.iter().filter(is_missing).copied().collect()
}

/// Forgets the revoked nodes that no list names any more, except those in whose name somebody may ask
/// again: to them the ledger's word is all that stands in the way.
pub(crate) fn forget_nodes(ledger: &mut Ledger, may_ask: impl Fn(&NodeUid) -> bool) {
    let list = ledger.revocations;
    let is_named = |until| list.names(until);
    ledger
        .nodes
        .retain(|uid, node| node.revoked_until.is_none_or(is_named) || may_ask(uid));
}

fn forget_keys(ledger: &mut Ledger, now: UnixTime) {
    let keep = |until: UnixTime| until.plus(FORGET_AFTER) >= now;
    ledger.retired.retain(|retired| keep(retired.until));
    ledger
        .tokens
        .retain(|_, token| token.expires.plus(FORGET_TOKENS_AFTER) >= now);
}
