//! The nodes of a cluster as a table, a report, JSON and YAML.

use cluster_api::{Peer, PeerSpec, PeerStatus, PeerSummary, UnhealthyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use node_identity::UnixTime;

use super::{Peers, all, report, run};
use crate::cluster::Listed;
use crate::fake::{Fake, wait};
use crate::health::Living;
use crate::output::{Output, render};

/// A text that clears the screen, goes back over its line and turns the rest around.
const FOREIGN: &str = "x\u{1b}[2J\r\u{9b}1m\nroot ok\u{202e}\u{e0041}";

/// A node with such a text wherever there is one.
fn foreign() -> Peer {
    let text = || FOREIGN.to_owned();
    let spec = PeerSpec {
        node_uid: text(),
        reason: text(),
        pod_ranges: vec![text()],
        ..PeerSpec::default()
    };
    let mut peer = Peer::new(FOREIGN, spec);
    peer.metadata.annotations = Some([(text(), text())].into());
    peer.status = Some(PeerStatus {
        summary: PeerSummary {
            tunnels: text(),
            received: text(),
            sent: text(),
        },
        endpoint: text(),
        daemon_version: text(),
        unhealthy_total: 1,
        unhealthy_peers: vec![UnhealthyPeer {
            node: text(),
            reason: text(),
        }],
        conditions: vec![Condition {
            type_: text(),
            status: text(),
            reason: text(),
            message: text(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }],
        ..PeerStatus::default()
    });
    peer
}

fn is_fit(text: &str) {
    let unfit = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{e0041}';
    assert!(!text.contains(unfit), "{text:?}");
}

#[test]
fn bi16_what_a_daemon_says_of_itself_drives_no_terminal() {
    let listed = Listed {
        objects: vec![foreign()],
        malformed: vec![(FOREIGN.to_owned(), FOREIGN.to_owned())],
    };
    let living = Living(Err(FOREIGN.to_owned()));

    for output in [Output::Table, Output::Wide, Output::Json, Output::Yaml] {
        is_fit(&all(&listed, output, UnixTime(0)).unwrap());
        let one = render(&foreign(), output, |peer| {
            report(peer, Some(FOREIGN), &living, UnixTime(0))
        });
        is_fit(&one.unwrap());
    }
    let table = all(&listed, Output::Wide, UnixTime(0)).unwrap();
    assert_eq!(
        table.lines().count(),
        3,
        "a line is not ended by foreign text: {table}"
    );
}

#[test]
fn bi16_json_and_yaml_hold_the_same_values() {
    let peer = foreign();
    let peers = Peers {
        peers: std::slice::from_ref(&peer),
        malformed: &[],
    };
    let written = serde_json::to_value(&peers).unwrap();

    let json = render(&peers, Output::Json, |_| String::new()).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        written
    );
    let yaml = render(&peers, Output::Yaml, |_| String::new()).unwrap();
    assert_eq!(
        serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(),
        written
    );
}

#[test]
fn aw08_a_status_of_the_year_10000_hides_no_node() {
    let fake = Fake::default();
    let uid = "8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11";
    let condition = r#"{"type": "Ready", "status": "True", "reason": "x", "message": "y",
        "lastTransitionTime": "9999-12-31T23:59:59Z"}"#;
    let object = format!(
        r#"{{"metadata": {{"name": "bob"}}, "spec": {{"nodeUID": "{uid}", "identity": "Verified"}},
            "status": {{"conditions": [{condition}]}}}}"#
    );
    fake.put("/apis/sotto.dev/v1alpha1/peers/bob", &object);
    let name = "bob".parse().unwrap();

    for output in [Output::Table, Output::Json] {
        let shown = wait(async { run(&fake.cluster(), Some(&name), output).await });
        let text = shown.unwrap().text;
        assert!(text.contains(uid), "{text}");
        assert_eq!(text.contains("cannot be read"), output == Output::Table);
    }
}

#[test]
fn a_long_reason_leaves_the_other_rows_narrow() {
    let listed = Listed {
        objects: vec![Peer::new("alice", PeerSpec::default())],
        malformed: vec![("mallory".to_owned(), "x".repeat(5_000))],
    };

    let table = all(&listed, Output::Table, UnixTime(0)).unwrap();

    let lengths: Vec<usize> = table.lines().map(str::len).collect();
    assert!(lengths.iter().all(|length| *length < 130), "{table}");
    assert!(table.contains("alice    Pending   -"), "{table}");
}
