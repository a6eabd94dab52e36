//! Who is out, stays out, and what a daemon keeps of it.

use std::time::Duration;

use super::world::{NOW, Node, World};
use crate::{
    Floor, RevocationEntry, RevocationError, RevocationList, Revocations, RevokedSubject,
    SignedRevocationList, TrustedRoots, UnixTime, VerifyError,
};

const HOUR: Duration = Duration::from_secs(3600);

fn list(number: u64, entries: &[RevocationEntry]) -> RevocationList {
    RevocationList {
        number,
        issued: UnixTime(number),
        next_update: UnixTime(number).plus(26 * HOUR),
        entries: entries.to_vec(),
    }
}

fn entries_for(node: &Node) -> [RevocationEntry; 2] {
    let terms = node.certificate.terms();
    [
        RevokedSubject::IdentityKey(terms.key.hash()),
        RevokedSubject::Node(terms.identity.uid),
    ]
    .map(|subject| RevocationEntry {
        subject,
        until: terms.not_after,
    })
}

fn accept(
    world: &World,
    kept: &mut Revocations,
    list: &RevocationList,
) -> Result<(), RevocationError> {
    let signed = world.root_key.sign_revocations(list).to_der();
    let verified = SignedRevocationList::from_der(&signed)?.verify(&world.roots())?;
    kept.accept(&verified)
}

#[test]
fn p05_a_revoked_identity_key_is_refused_under_all_its_serials() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let renewed = world.renew(&alice, NOW.plus(HOUR), |_| ());
    let bob = world.node("bob", 2);
    let mut kept = Revocations::default();
    accept(&world, &mut kept, &list(NOW.0, &entries_for(&alice)[..1])).unwrap();
    let verify = |node: &Node| {
        let now = NOW.plus(HOUR);
        node.envelope()
            .verify(&world.roots(), &kept, &Floor::default(), now)
    };

    assert!(matches!(verify(&alice), Err(VerifyError::Revoked(_))));
    assert!(matches!(verify(&renewed), Err(VerifyError::Revoked(_))));
    assert!(verify(&bob).is_ok());
    assert!(world.peer(&alice).is_revoked(&kept));
}

#[test]
fn a_revoked_node_is_refused_with_any_key() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let identity = alice.statement.identity.clone();
    let with_new_key = world.node_with("alice", 1, |terms| terms.identity = identity);
    let mut kept = Revocations::default();
    accept(&world, &mut kept, &list(NOW.0, &entries_for(&alice)[1..])).unwrap();

    let error = with_new_key
        .envelope()
        .verify(&world.roots(), &kept, &Floor::default(), NOW)
        .unwrap_err();

    assert!(matches!(error, VerifyError::Revoked(_)), "{error}");
}

#[test]
fn p05_an_older_list_is_refused_and_a_second_of_one_number_raises_an_alarm() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let mut kept = Revocations::default();
    accept(&world, &mut kept, &list(NOW.0, &[])).unwrap();

    let older = accept(&world, &mut kept, &list(NOW.0 - 1, &entries_for(&alice))).unwrap_err();
    let other = accept(&world, &mut kept, &list(NOW.0, &entries_for(&alice))).unwrap_err();
    let same = accept(&world, &mut kept, &list(NOW.0, &[]));

    assert!(matches!(older, RevocationError::Older { .. }));
    assert!(matches!(other, RevocationError::Equivocation { .. }));
    assert!(other.is_alarm());
    assert_eq!(same, Ok(()));
    assert_eq!(kept.entries().count(), 0, "a refused list changes nothing");
}

#[test]
fn an_entry_that_a_later_list_omits_holds_until_its_end() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let (key, uid) = (
        alice.certificate.terms().key.hash(),
        alice.statement.identity.uid,
    );
    let end = alice.certificate.terms().not_after;
    let mut kept = Revocations::default();
    accept(&world, &mut kept, &list(NOW.0, &entries_for(&alice))).unwrap();

    accept(&world, &mut kept, &list(end.0, &[])).unwrap();
    let until_the_end = kept.revokes(&key, &uid);
    accept(&world, &mut kept, &list(end.0 + 1, &[])).unwrap();

    assert!(until_the_end);
    assert!(!kept.revokes(&key, &uid), "all its certificates are over");
}

#[test]
fn only_a_pinned_root_revokes_and_an_unpinned_one_no_longer() {
    let mut world = World::seeded(1);
    let other = World::seeded(2);
    let alice = world.node("alice", 1);
    let strange = other
        .root_key
        .sign_revocations(&list(NOW.0, &entries_for(&alice)));

    let refused = strange.verify(&world.roots()).unwrap_err();
    let both = TrustedRoots::new(
        &[world.root.pin(), other.root.pin()],
        [world.root.clone(), other.root.clone()],
    );
    let mut kept = Revocations::default();
    kept.accept(&strange.verify(&both).unwrap()).unwrap();
    let verify = |roots: &TrustedRoots, kept: &Revocations| {
        alice.envelope().verify(roots, kept, &Floor::default(), NOW)
    };

    assert_eq!(refused, RevocationError::Signature(NOW.0));
    assert!(verify(&both, &kept).is_err(), "any pinned root revokes");
    assert!(verify(&world.roots(), &kept).is_ok());
    kept.retain_roots(&[world.root.pin()]);
    assert_eq!(kept, Revocations::default());
}

#[test]
fn a_list_that_is_overdue_or_was_never_seen_is_named() {
    let world = World::seeded(1);
    let mut kept = Revocations::default();
    let due = NOW.plus(26 * HOUR);

    let never = kept.overdue(&world.roots(), NOW);
    accept(&world, &mut kept, &list(NOW.0, &[])).unwrap();

    assert_eq!(never, [world.root.pin()]);
    assert!(kept.overdue(&world.roots(), due).is_empty());
    let late = kept.overdue(&world.roots(), due.plus(Duration::from_secs(1)));
    assert_eq!(late, [world.root.pin()]);
}

#[test]
fn lists_and_kept_revocations_have_one_encoding() {
    let mut world = World::seeded(1);
    let entries = entries_for(&world.node("alice", 1));
    let reversed = [entries[1], entries[0], entries[0]];
    let mut kept = Revocations::default();
    accept(&world, &mut kept, &list(NOW.0, &entries)).unwrap();

    let bytes = kept.to_bytes();

    assert_eq!(
        list(NOW.0, &entries).to_der(),
        list(NOW.0, &reversed).to_der(),
        "sorted, each subject once"
    );
    assert_eq!(Revocations::from_bytes(&bytes).unwrap(), kept);
    assert!(Revocations::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    let backwards = RevocationList {
        next_update: UnixTime(NOW.0 - 1),
        ..list(NOW.0, &[])
    };
    let mut none = Revocations::default();
    let error = accept(&world, &mut none, &backwards).unwrap_err();
    assert_eq!(error, RevocationError::Dates(NOW.0));
    assert_eq!(RevocationList::next_number(NOW, Some(NOW.0)), NOW.0 + 1);
}
