//! Mallory writes to the API: our three kinds, ConfigMaps, annotations. Nothing that she writes is
//! believed, what she breaks is put right, and traffic goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::join;
use sotto_tests::kubernetes::{ADDRESS, Caller, KubernetesPair, NAMESPACE, node, text};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::wait;

use crate::applicant::Applicant;
use crate::enrolment::still_well;
use crate::shared::PAIR;

const IDENTITIES: &str = "/apis/sotto.dev/v1alpha1/nodeidentities";
const PEERS: &str = "/apis/sotto.dev/v1alpha1/peers";

/// How long a daemon or the controller may take to put something right.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn cases() -> Vec<Case> {
    cases![
        aw01_an_identity_that_nobody_signed_is_refused_by_name,
        aw02_every_edit_of_a_statement_is_refused_and_put_right,
        aw03_a_statement_of_before_is_refused_and_put_right,
        aw04_identities_that_are_deleted_come_back_and_traffic_goes_on,
        aw07_annotations_and_labels_change_nothing,
        aw11_a_config_map_named_after_us_changes_nothing,
        aw12_a_root_that_somebody_publishes_is_trusted_by_nobody,
        aw08_objects_beyond_the_limits_are_turned_away_by_the_api,
        aw08_hundreds_of_foreign_identities_cost_little,
        nd13_a_status_that_lies_is_turned_away_or_only_shown,
        nd14_a_daemons_token_that_hammers_the_api_stops_nobody,
        nl07_a_nodes_range_cannot_be_changed_under_it,
    ]
}

fn identity(pair: &KubernetesPair, name: &str) -> Result<Value> {
    pair.cluster.api.read(&["nodeidentity", name])
}

fn statements(pair: &KubernetesPair, name: &str) -> Result<Vec<String>> {
    let object = identity(pair, name)?;
    let found = object.pointer("/status/statements").cloned();
    Ok(serde_json::from_value(found.context("no statements")?)?)
}

fn write_statements(pair: &KubernetesPair, name: &str, statements: &[String]) -> Result<()> {
    let body = json!({"status": {"statements": statements}});
    let path = format!("{IDENTITIES}/{name}/status");
    let who = Caller::Administrator;
    pair.cluster
        .api
        .allows(&who, "PATCH", &path, &body)
        .map(drop)
}

/// Waits until a node's statements are the true ones.
fn put_right(pair: &KubernetesPair, name: &str, right: &[String]) -> Result<()> {
    wait::until(&format!("{name} to put its entry right"), LIMIT, || {
        statements(pair, name).is_ok_and(|found| found == right)
    })
}

/// Waits until Alice names somebody whom she refuses.
fn alice_refuses(pair: &KubernetesPair, name: &str) -> Result<()> {
    let text = format!("Peer refused node=\"{name}\"");
    pair.alice.daemon.wait_for_log(&text, LIMIT)
}

fn aw01_an_identity_that_nobody_signed_is_refused_by_name(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let stolen = statements(pair, "bob")?;
        let uid = "11111111-2222-4333-8444-555555555555";
        api.create(
            &json!({"apiVersion": "sotto.dev/v1alpha1", "kind": "NodeIdentity",
            "metadata": {"name": "mallory"}, "spec": {"nodeUID": uid}}),
        )?;
        write_statements(
            pair,
            "mallory",
            &[stolen[0].clone(), "bm90aGluZw==".to_owned()],
        )?;

        alice_refuses(pair, uid)?;
        ensure!(
            pair.alice.node.peer("mallory")?.is_none(),
            "mallory is a peer"
        );
        ensure!(
            pair.alice.node.peer("bob")?.is_some(),
            "bob is none any more"
        );
        still_well(pair)?;
        let remove = ["delete", "nodeidentity", "mallory", "--ignore-not-found"];
        api.kubectl(&remove).map(drop)
    })
}

fn aw02_every_edit_of_a_statement_is_refused_and_put_right(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let right = statements(pair, "bob")?;
        // A letter of each part: statement, its signatures, certificate, the certificate's signature.
        let length = right[0].len();
        for at in [
            20,
            length / 5,
            2 * length / 5,
            3 * length / 5,
            4 * length / 5,
            length - 12,
        ] {
            let mut edited = right[0].clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            write_statements(pair, "bob", &[String::from_utf8(edited)?])?;
            put_right(pair, "bob", &right)?;
            still_well(pair)?;
        }
        alice_refuses(pair, "bob")
    })
}

fn aw03_a_statement_of_before_is_refused_and_put_right(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let old = statements(&pair, "bob")?;
    let generation =
        || Ok::<_, anyhow::Error>(pair.alice.node.peer("bob")?.map(|it| it.generation));
    let first = generation()?;
    // A new boot: another tunnel key, and a statement of a higher generation.
    pair.bob.daemon.stop()?;
    pair.bob.node.shell("rm -f /run/sotto/tunnel-keys.json")?;
    let daemon = pair.bob.node.start(&DaemonSettings::default())?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())?;
    // What a daemon shows is up to a second old.
    wait::until("alice to show bob anew", LIMIT, || {
        generation().is_ok_and(|shown| shown > first)
    })?;
    let (now, before) = (statements(&pair, "bob")?, generation()?);
    ensure!(now.first() != old.first(), "bob has the key of before");

    // What was valid once, somebody else's, nothing: bob's daemon is stopped while alice looks.
    daemon.signal(Signal::SIGSTOP)?;
    for forged in [vec![old[0].clone()], statements(&pair, "alice")?, vec![]] {
        write_statements(&pair, "bob", &forged)?;
        wait::let_pass(Duration::from_secs(2));
        let seen = generation()?;
        ensure!(seen == before, "{before:?} became {seen:?}");
    }
    write_statements(&pair, "bob", &[old[0].clone()])?;
    daemon.signal(Signal::SIGCONT)?;
    put_right(&pair, "bob", &now)?;
    ensure!(generation()? == before, "bob is another");
    still_well(&pair)
}

fn nd14_a_daemons_token_that_hammers_the_api_stops_nobody(_: &Lab) -> Result<()> {
    PAIR.with(|lab, pair| {
        let api = &pair.cluster.api;
        let who = Applicant::with_node(&pair.cluster, &node("hammer", 126))?;
        let Caller::Token(token) = &who.token else {
            anyhow::bail!("an applicant has a token");
        };
        let url = format!("https://{ADDRESS}:6443{IDENTITIES}");
        let curl = format!("curl -sk -m 30 -o /dev/null -H 'Authorization: Bearer {token}'");
        // The API server shares itself out: this token has the level of all ServiceAccounts.
        let level = api
            .place()
            .shell(&format!("{curl} -D - {url} | tr -d '\\r'"))?;
        let schema = ["flowschema", "service-accounts"];
        let schema = api.read(&schema)?;
        ensure!(level.contains(text(&schema, "/metadata/uid")?), "{level}");

        let lists = format!("while :; do {curl} {url}; done");
        let watches = format!("while :; do {curl} -m 2 '{url}?watch=true'; done");
        let shell = |line: &String| api.place().spawn("hammer", "sh", &["-c", line]);
        let mut running = Vec::new();
        for line in [&lists, &lists, &lists, &lists, &watches, &watches] {
            running.push(shell(line)?);
        }
        let erin = join(
            lab.node("erin")?,
            "fifth",
            &pair.cluster,
            &DaemonSettings::default(),
        );
        let erin = erin.and_then(|erin| pair.bob.node.knows(&erin.node).map(|()| erin));
        let sees = pair.cluster.shows(&["peers", "erin"], "Verified");
        for process in running {
            process.kill9()?;
        }
        let erin = erin.context("a new node was kept out")?;
        sees?;
        erin.daemon.stop()?;
        who.go(&pair.cluster)?;
        still_well(pair)
    })
}

fn aw04_identities_that_are_deleted_come_back_and_traffic_goes_on(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        pair.controller_process.signal(Signal::SIGSTOP)?;
        pair.cluster
            .api
            .kubectl(&["delete", "nodeidentities", "--all"])?;
        still_well(pair)?;
        let alarm = pair.alice.daemon.wait_for_log("Store lists", LIMIT);
        pair.controller_process.signal(Signal::SIGCONT)?;
        alarm.context("alice raises no alarm")?;
        for name in ["alice", "bob"] {
            wait::until(&format!("{name}'s identity to be back"), LIMIT, || {
                let certificate = identity(pair, name);
                let has = certificate.is_ok_and(|it| it.pointer("/spec/certificate").is_some());
                has && statements(pair, name).is_ok_and(|found| !found.is_empty())
            })?;
        }
        ensure!(pair.alice.node.peer("bob")?.is_some(), "alice lost bob");
        pair.cluster
            .api
            .kubectl(&["delete", "revocationlists", "--all"])?;
        pair.cluster
            .shows(&["revocationlists", "-o", "name"], "sha256-")?;
        pair.cluster.shows(&["peers"], "Verified")?;
        still_well(pair)
    })
}

fn aw07_annotations_and_labels_change_nothing(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let before = pair
            .alice
            .node
            .peer("bob")?
            .map(|peer| format!("{:?}", peer.endpoints));
        for object in [["node", "bob"], ["nodeidentity", "bob"], ["peer", "bob"]] {
            let notes = [
                "sotto.dev/endpoint=198.51.100.99",
                "sotto.dev/public-key=AAAA",
                "sotto.dev/pod-ranges=10.244.0.0/16",
                "kilo.squat.ai/key=AAAA",
            ];
            api.kubectl(&[&["annotate"], &object[..], &notes].concat())?;
            let labels = ["sotto.dev/endpoint=198.51.100.99", "sotto.dev/gateway=true"];
            api.kubectl(&[&["label"], &object[..], &labels].concat())?;
        }
        still_well(pair)?;
        let after = pair
            .alice
            .node
            .peer("bob")?
            .map(|peer| format!("{:?}", peer.endpoints));
        ensure!(before == after, "{before:?} became {after:?}");
        Ok(())
    })
}

fn aw11_a_config_map_named_after_us_changes_nothing(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        for name in ["sotto-node", "sotto-controller", "sotto", "sotto-config"] {
            let data = json!({"node.toml": "port = 1", "mtu": "9000", "cluster_pod_ranges": "0.0.0.0/0",
                "pins": "sha256:00", "trust_domain": "mallory.test"});
            api.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": name, "namespace": NAMESPACE}}))?;
        }
        let mounted = api.read(&["daemonset,deployment", "-n", NAMESPACE])?.to_string();
        ensure!(!mounted.contains("configMap"), "a ConfigMap is mounted");
        still_well(pair)
    })
}

fn aw12_a_root_that_somebody_publishes_is_trusted_by_nobody(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let lists = api.read(&["revocationlists"])?;
        let honest = lists.pointer("/items/0").context("no list")?;
        let mut forged = honest.clone();
        forged["metadata"] = json!({"name": format!("sha256-{}", "7".repeat(64))});
        api.create(&forged)?;
        let mut other = honest.clone();
        other["metadata"] = json!({"name": "another"});
        let created = api.create(&other);
        still_well(pair)?;
        let name = format!("sha256-{}", "7".repeat(64));
        api.kubectl(&["delete", "revocationlist", &name])?;
        if created.is_ok() {
            api.kubectl(&["delete", "revocationlist", "another"])?;
        }
        Ok(())
    })
}

fn aw08_objects_beyond_the_limits_are_turned_away_by_the_api(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let who = Caller::Administrator;
        let huge = "A".repeat(1_500_000);
        let path = format!("{IDENTITIES}/bob/status");
        for statements in [
            json!([huge]),
            json!(["A", "B", "C"]),
            json!([[[[[[["A"]]]]]]]),
        ] {
            let body = json!({"status": {"statements": statements}});
            let answer = api.call(&who, "PATCH", &path, &body)?;
            ensure!(
                answer.code / 100 == 4,
                "{} {:.200}",
                answer.code,
                answer.body
            );
        }
        let body = json!({"spec": {"certificate": huge}});
        let answer = api.call(&who, "PATCH", &format!("{IDENTITIES}/bob"), &body)?;
        ensure!(
            answer.code / 100 == 4,
            "{} {:.200}",
            answer.code,
            answer.body
        );
        still_well(pair)
    })
}

fn aw08_hundreds_of_foreign_identities_cost_little(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let stolen = statements(pair, "bob")?;
        let one = |number: usize| {
            json!({"apiVersion": "sotto.dev/v1alpha1", "kind": "NodeIdentity",
                "metadata": {"name": format!("foreign-{number}"), "labels": {"foreign": "yes"},
                    "annotations": {"filler": "x".repeat(2000)}},
                "spec": {"nodeUID": format!("11111111-2222-4333-8444-{number:012}")},
                "status": {"statements": stolen}})
        };
        let all: Vec<Value> = (0..300).map(one).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": all});
        api.kubectl_with_input(&["create", "-f", "-"], &list.to_string())?;
        wait::until("alice to see the foreign identities", LIMIT, || {
            pair.alice.node.is_ready()
        })?;
        still_well(pair)?;
        let lines = pair
            .alice
            .daemon
            .log()
            .lines()
            .filter(|it| it.contains("foreign-"))
            .count();
        ensure!(lines < 300, "alice wrote {lines} lines about them");
        let remove = [
            "delete",
            "nodeidentities",
            "--selector=foreign=yes",
            "--wait=false",
        ];
        api.kubectl(&remove)?;
        still_well(pair)
    })
}

fn nd13_a_status_that_lies_is_turned_away_or_only_shown(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let who = Caller::Administrator;
        let path = format!("{PEERS}/bob/status");
        let million: Vec<Value> = (0..50_000)
            .map(|_| json!({"node": "x", "reason": "y"}))
            .collect();
        for lie in [
            json!({"receivedBytes": -1}),
            json!({"droppedPackets": "many"}),
            json!({"lanes": 100_000}),
            json!({"endpoint": "x".repeat(1_000_000)}),
            json!({"unhealthyPeers": million}),
            json!({"oldestHandshake": "yesterday"}),
        ] {
            let answer = api.call(&who, "PATCH", &path, &json!({"status": lie}))?;
            ensure!(
                answer.code / 100 == 4,
                "{} {:.300}",
                answer.code,
                answer.body
            );
        }
        let future = json!({"status": {"oldestHandshake": "2999-01-01T00:00:00Z",
            "keyMade": "1970-01-01T00:00:00Z", "receivedBytes": i64::MAX, "endpoint": "10.96.0.1",
            "summary": {"tunnels": "9/1", "received": "\u{1b}[31m", "sent": "\n"}}});
        api.allows(&who, "PATCH", &path, &future)?;
        let shown = api.kubectl(&["get", "peers", "-o", "wide"])?;
        ensure!(shown.contains("bob"), "{shown}");
        still_well(pair)
    })
}

fn nl07_a_nodes_range_cannot_be_changed_under_it(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let patch = json!({"spec": {"podCIDR": "10.244.77.0/24", "podCIDRs": ["10.244.77.0/24"]}});
        let answer = api.call(&Caller::Administrator, "PATCH", "/api/v1/nodes/bob", &patch)?;
        ensure!(answer.code == 422, "{answer:?}");
        // A Node made anew under the name is another node: see nl05.
        ensure!(
            node("bob", 2)["spec"]["podCIDR"] == "10.244.2.0/24",
            "as the lab made it"
        );
        still_well(pair)
    })
}
