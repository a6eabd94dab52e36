//! The cluster at a glance, with nodes that are gone and texts that anybody may have written.

use cluster_api::{IdentityState, Peer, PeerSpec};
use node_identity::UnixTime;

use super::{Facts, Glance, glance, text};
use crate::cluster::Listed;
use crate::health::Living;
use crate::output::{Output, render};

const NOW: UnixTime = UnixTime(1_800_000_000);
const FOREIGN: &str = "x\u{1b}[2J\r\u{9b}1m\nroot ok\u{202e}";

fn peer(name: &str, uid: &str, identity: IdentityState) -> Peer {
    let spec = PeerSpec {
        node_uid: uid.to_owned(),
        identity,
        ..PeerSpec::default()
    };
    Peer::new(name, spec)
}

fn seen(peers: Vec<Peer>, living: Living) -> Glance {
    let facts = Facts {
        lists: Err(FOREIGN.to_owned()),
        peers: Listed {
            objects: peers,
            malformed: vec![(FOREIGN.to_owned(), FOREIGN.to_owned())],
        },
        living,
        lease: Err(FOREIGN.to_owned()),
        missing_policies: Err(FOREIGN.to_owned()),
    };
    glance(&facts, NOW)
}

#[test]
fn a_node_that_went_before_it_was_certified_is_counted_and_no_ailment() {
    let peers = || {
        vec![
            peer("bob", "old", IdentityState::Pending),
            peer("carol", "gone", IdentityState::Expired),
        ]
    };

    let there = seen(
        peers(),
        Living(Ok(["old".to_owned(), "gone".to_owned()].into())),
    );
    assert_eq!((there.nodes.pending, there.nodes.expired), (1, 1));
    assert_eq!(there.unhealthy.len(), 2);
    // Another Node of the same name lives now.
    let gone = seen(peers(), Living(Ok(["new".to_owned()].into())));
    assert_eq!(
        (gone.nodes.pending, gone.nodes.expired, gone.nodes.gone),
        (0, 0, 2)
    );
    assert!(gone.unhealthy.is_empty());
    assert!(text(&gone).contains("0 revoked, 2 gone"), "{}", text(&gone));
    let unknown = seen(peers(), Living(Err("this user may not".to_owned())));
    assert_eq!((unknown.nodes.gone, unknown.unhealthy.len()), (0, 2));
}

#[test]
fn a_node_that_is_gone_and_still_believed_is_told() {
    let mut held = peer("bob", "gone", IdentityState::Verified);
    held.spec.reason = "its Node is gone, as are many others".to_owned();

    let glance = seen(vec![held], Living(Ok([].into())));

    assert_eq!(
        glance.unhealthy[0].reason,
        "its Node is gone, as are many others"
    );
}

#[test]
fn bi16_what_others_wrote_drives_no_terminal() {
    let mut foreign = peer(FOREIGN, FOREIGN, IdentityState::Pending);
    foreign.spec.reason = FOREIGN.to_owned();
    let glance = seen(vec![foreign], Living(Err(FOREIGN.to_owned())));

    for output in [Output::Table, Output::Json, Output::Yaml] {
        let text = render(&glance, output, text).unwrap();
        let unfit = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(unfit), "{text:?}");
        assert!(
            !text.contains("\nroot ok"),
            "a line of foreign making: {text}"
        );
    }
}
