//! Watches that break in every way.

use std::time::Duration;

use cluster_api::{RevocationList, RevocationListSpec, encode, object_name};
use cluster_store::kubernetes::{KubernetesChanges, KubernetesStore};
use cluster_store::{ClusterStore, Refusal, StoreChanges, StoreError};
use node_identity::Pin;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::fake::{Fake, Instead};
use super::{ALICE, BOB, IDENTITIES, identity, names, node_store, until};

const MINUTE: Duration = Duration::from_secs(60);

/// A store that has seen alice.
async fn watching_alice(fake: &Fake) -> (KubernetesStore, KubernetesChanges) {
    let store = node_store(fake);
    let mut changes = store.watch().unwrap();
    until(&store, &mut changes, MINUTE, |seen| {
        names(seen) == ["alice"]
    })
    .await;
    (store, changes)
}

fn gone() -> Instead {
    Instead::Event(json!({ "type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "code": 410, "reason": "Expired", "message": "too old resource version",
    }}))
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_no_list_and_a_large_kind_is_listed_in_pages() {
    let fake = Fake::default();
    for node in 0..120 {
        fake.put(
            IDENTITIES,
            identity(&format!("node-{node:03}"), ALICE, b"1"),
        );
    }
    let store = node_store(&fake);
    let mut changes = store.watch().unwrap();
    assert_eq!(store.published().await.unwrap().nodes.len(), 120);

    for node in 120..150 {
        fake.put(
            IDENTITIES,
            identity(&format!("node-{node:03}"), ALICE, b"1"),
        );
    }
    until(&store, &mut changes, MINUTE, |seen| seen.nodes.len() == 150).await;
    fake.delete(IDENTITIES, "node-000");
    until(&store, &mut changes, MINUTE, |seen| seen.nodes.len() == 149).await;

    assert_eq!(fake.lists(IDENTITIES).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn watches_that_all_stay_broken_are_an_error_until_it_works_again() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let store = node_store(&fake);
    store.published().await.unwrap();

    fake.instead(|asked| asked.is_watch().then_some(Instead::Status(403, None)));
    fake.end_watches(IDENTITIES);
    fake.end_watches("revocationlists");
    sleep(2 * MINUTE).await;
    assert_eq!(names(&store.published().await.unwrap()), ["alice"]);
    sleep(2 * MINUTE).await;
    let error = store.published().await.unwrap_err().to_string();
    assert!(error.contains("broken for minutes"), "{error}");

    // Nothing changes, so nothing is brought.
    fake.instead(|_| None);
    sleep(2 * MINUTE).await;
    assert_eq!(names(&store.published().await.unwrap()), ["alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_names_another_page_is_given_up() {
    let fake = Fake::default();
    fake.instead(|asked| {
        let page = json!({
            "kind": "NodeIdentityList", "apiVersion": "sotto.dev/v1alpha1",
            "metadata": { "resourceVersion": "1", "continue": "on" }, "items": [],
        });
        let is_list = !asked.is_watch() && asked.path.contains(IDENTITIES);
        is_list.then_some(Instead::Event(page))
    });

    let error = node_store(&fake).published().await.unwrap_err();

    assert!(error.to_string().contains("pages"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn cp06_a_silent_watch_is_noticed_within_a_minute() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let mut silenced = false;
    fake.instead(move |asked| {
        let is_first = asked.is_watch() && asked.path.contains(IDENTITIES) && !silenced;
        silenced |= is_first;
        is_first.then_some(Instead::Silence)
    });
    let (store, mut changes) = watching_alice(&fake).await;

    fake.put(IDENTITIES, identity("bob", BOB, b"2"));
    until(&store, &mut changes, MINUTE, |seen| {
        names(seen) == ["alice", "bob"]
    })
    .await;

    assert_eq!(
        fake.lists(IDENTITIES).len(),
        1,
        "the watch goes on, no list"
    );
}

#[tokio::test(start_paused = true)]
async fn cp06_a_connection_that_swallows_everything_is_left_within_a_minute() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let mut swallowed = 0;
    fake.instead(move |asked| {
        let is_first = asked.is_watch() && asked.path.contains(IDENTITIES) && swallowed < 2;
        swallowed += u32::from(is_first);
        match (is_first, swallowed) {
            (true, 1) => Some(Instead::Silence),
            (true, _) => Some(Instead::Nothing),
            (false, _) => None,
        }
    });
    let (store, mut changes) = watching_alice(&fake).await;

    fake.put(IDENTITIES, identity("bob", BOB, b"2"));
    until(&store, &mut changes, MINUTE, |seen| {
        names(seen) == ["alice", "bob"]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cp07_a_place_that_is_gone_is_listed_anew_and_no_peer_is_lost_meanwhile() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let (store, mut changes) = watching_alice(&fake).await;

    let start = Instant::now();
    fake.instead(
        |asked| match (asked.is_watch(), asked.path.contains(IDENTITIES)) {
            (true, true) => Some(gone()),
            (false, true) => Some(Instead::Status(500, None)),
            (_, false) => None,
        },
    );
    fake.end_watches(IDENTITIES);
    fake.put(IDENTITIES, identity("bob", BOB, b"2"));
    fake.forget_log();
    while start.elapsed() < 5 * MINUTE {
        assert_eq!(names(&store.published().await.unwrap()), ["alice"]);
        changes.changed().await;
    }
    let lists = fake.lists(IDENTITIES).len();
    assert!((5..40).contains(&lists), "{lists} lists in five minutes");

    fake.behave();
    until(&store, &mut changes, MINUTE, |seen| {
        names(seen) == ["alice", "bob"]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cp07_a_server_that_always_says_gone_is_not_listed_hot() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    fake.instead(|asked| asked.is_watch().then(gone));
    let store = node_store(&fake);

    let mut changes = store.watch().unwrap();
    let start = Instant::now();
    while start.elapsed() < 10 * MINUTE {
        changes.changed().await;
    }

    assert_eq!(names(&store.published().await.unwrap()), ["alice"]);
    let lists = fake.lists(IDENTITIES).len();
    assert!((5..60).contains(&lists), "{lists} lists in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn cp07_a_watch_that_ends_at_once_is_not_started_hot() {
    let fake = Fake::default();
    let bookmark = json!({ "type": "BOOKMARK", "object": {
        "kind": "NodeIdentity", "apiVersion": "sotto.dev/v1alpha1",
        "metadata": { "resourceVersion": "1" },
    }});
    fake.instead(move |asked| asked.is_watch().then(|| Instead::Event(bookmark.clone())));
    let store = node_store(&fake);
    store.published().await.unwrap();

    tokio::time::sleep(MINUTE).await;

    let watches = fake.asked(|asked| asked.is_watch() && asked.path.contains(IDENTITIES));
    assert!((30..=61).contains(&watches.len()), "{}", watches.len());
}

#[tokio::test(start_paused = true)]
async fn cp10_a_server_that_goes_back_is_listed_anew_once_within_two_minutes() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let backup = fake.back_up();
    for time in 0..10_u8 {
        fake.put(IDENTITIES, identity("carol", BOB, &[time]));
    }
    let store = node_store(&fake);
    let mut changes = store.watch().unwrap();
    until(&store, &mut changes, MINUTE, |seen| {
        names(seen) == ["alice", "carol"]
    })
    .await;

    fake.restore(backup);
    fake.put(IDENTITIES, identity("bob", BOB, b"2"));
    until(&store, &mut changes, 2 * MINUTE, |seen| {
        names(seen) == ["alice", "bob"]
    })
    .await;
    tokio::time::sleep(10 * MINUTE).await;

    assert_eq!(fake.lists(IDENTITIES).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn aw08_a_flood_of_roots_keeps_none_out_that_is_pinned() {
    let fake = Fake::default();
    let pin = |number: u8| -> Pin {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
            .parse()
            .unwrap()
    };
    for number in 0..100 {
        let mut list =
            RevocationList::new(&object_name(&pin(number)), RevocationListSpec::default());
        list.spec.root_certificate = encode(b"1");
        fake.put("revocationlists", serde_json::to_value(list).unwrap());
    }
    let pins = [pin(42), pin(99)];

    let store = KubernetesStore::for_node(fake.client(), "alice".parse().unwrap(), &pins);

    let roots = store.published().await.unwrap().roots;
    assert!(
        pins.iter()
            .all(|pin| roots.iter().any(|root| root.pin == *pin))
    );
    assert_eq!(roots.len(), 16);
}

#[tokio::test(start_paused = true)]
async fn cp13_nobody_asks_while_the_server_wants_quiet() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    let mut refusals = 4;
    fake.instead(move |_| {
        let refuse = refusals > 0;
        refusals -= i32::from(refuse);
        refuse.then_some(Instead::Status(429, Some("7")))
    });
    let store = node_store(&fake);
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!(names(&store.published().await.unwrap()), ["alice"]);

    let asked = fake.asked(|_| true);
    let first = asked[0].at;
    let later: Vec<Duration> = asked.iter().map(|asked| asked.at - first).collect();
    let within = |from: Duration| {
        let quiet = from..from + Duration::from_secs(7);
        later.iter().filter(|at| quiet.contains(at)).count()
    };
    // Both kinds and the version are asked for at once, and nothing else before the server is ready
    // to answer.
    assert_eq!(within(Duration::ZERO), 3, "{later:?}");
    assert_eq!(within(later[3]), 3, "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn aw08_a_malformed_object_is_named_and_hides_no_other() {
    let fake = Fake::default();
    fake.put(IDENTITIES, identity("alice", ALICE, b"1"));
    fake.put(
        IDENTITIES,
        json!({ "metadata": { "name": "mallory" }, "spec": { "nodeUID": 7 } }),
    );
    fake.put(IDENTITIES, identity("nobody", "no-uid", b"1"));
    let mut spoilt = identity("bob", BOB, b"2");
    spoilt["spec"]["revoked"] = json!(true);
    spoilt["status"] = json!({ "statements": ["*", "AA==", "AA=="] });
    fake.put(IDENTITIES, spoilt);
    let store = node_store(&fake);

    let published = store.published().await.unwrap();

    assert_eq!(names(&published), ["alice", "bob"]);
    let bob = published
        .nodes
        .iter()
        .find(|node| node.uid == BOB.parse().unwrap());
    assert!(bob.unwrap().revocation_wanted && bob.unwrap().envelopes.is_empty());
    let refused: Vec<_> = published
        .refused
        .iter()
        .map(|entry| (entry.name.as_str(), entry.reason))
        .collect();
    assert_eq!(
        refused,
        [
            ("nodeidentities/bob", Refusal::TooLarge),
            ("nodeidentities/mallory", Refusal::Malformed),
            ("nodeidentities/nobody", Refusal::ForeignName),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_since_the_start_is_said_with_its_cause() {
    let fake = Fake::default();
    fake.instead(|_| Some(Instead::Status(403, None)));
    let store = node_store(&fake);

    let error = store.published().await.unwrap_err();

    assert!(matches!(error, StoreError::NotListed { .. }), "{error}");
    assert!(error.to_string().contains("made up: 403"), "{error}");
    fake.behave();
    tokio::time::sleep(MINUTE).await;
    store.published().await.unwrap();
}
