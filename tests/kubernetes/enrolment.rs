//! Who gets a certificate: requests by hand with real tokens, judged by the real controller.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::join;
use sotto_tests::kubernetes::{Caller, KubernetesPair, NAMESPACE, REQUESTS, node, request, text};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::{traffic, wait};

use crate::applicant::{Applicant, denied};
use crate::shared::{PAIR, carol};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        kl01_a_first_request_is_signed_within_two_seconds,
        nd01_ranges_of_others_or_outside_the_cluster_are_refused,
        nd01_a_request_that_names_addresses_or_somebody_else_is_refused,
        nd02_a_node_that_a_kubelet_made_anew_gets_no_range_of_others,
        nd03_an_address_of_another_node_or_outside_the_underlay_is_not_certified,
        aw05_a_pod_that_is_not_the_daemon_sets_or_is_gone_gets_nothing,
        aw05_tokens_of_other_audiences_or_dead_pods_are_no_credentials,
        aw08_a_heap_of_requests_does_not_keep_an_honest_node_out,
    ]
}

fn kl01_a_first_request_is_signed_within_two_seconds(_: &Lab) -> Result<()> {
    PAIR.with(|lab, pair| {
        let carol = carol(lab, pair)?;
        let requests = pair.cluster.api.read(&["csr"])?;
        let requests = requests["items"].as_array().unwrap().clone();
        let is_hers =
            |request: &&Value| request["metadata"]["name"].to_string().contains("-carol-");
        let hers = requests.iter().find(is_hers);
        let hers = hers.ok_or_else(|| anyhow::anyhow!("no request of carol's"))?;
        let asked = second(text(hers, "/metadata/creationTimestamp")?);
        let signed = second(text(hers, "/status/conditions/0/lastUpdateTime")?);
        // Both are cut to seconds.
        ensure!(signed - asked <= 2, "{hers}");
        carol.daemon.stop()?;
        Ok(())
    })
}

/// Second of the day of a time as the API has it.
fn second(time: &str) -> i32 {
    let clock = time.get(11..19).unwrap_or_default().split(':');
    clock.fold(0, |sum, part| sum * 60 + part.parse::<i32>().unwrap_or(0))
}

/// Numbers of Nodes that are only objects begin here.
fn object(name: &str, number: u8, ranges: &[&str]) -> Value {
    let mut object = node(name, number);
    object["spec"] = json!({"podCIDR": ranges.first(), "podCIDRs": ranges});
    object
}

fn nd01_ranges_of_others_or_outside_the_cluster_are_refused(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        for (nth, (ranges, reason)) in [
            (&["10.244.2.0/24"][..], "range_taken"),
            (&["10.244.0.0/16"], "range_too_large"),
            (&["10.244.2.64/26"], "range_taken"),
            (&["10.96.5.0/24"], "ranges_outside_cluster"),
            (&["0.0.0.0/0"], "malformed_range"),
            (&["fd00:10:244:2::/64"], "range_taken"),
            (&["::ffff:10.244.9.0/120"], "malformed_range"),
        ]
        .into_iter()
        .enumerate()
        {
            let number = 101 + u8::try_from(nth)?;
            let who = object(&format!("greedy-{nth}"), number, ranges);
            let who = match Applicant::with_node(&pair.cluster, &who) {
                // Newer API servers take no such Node.
                Err(error) if format!("{error:#}").contains("IPv4-mapped") => continue,
                made => made?,
            };
            denied(pair, reason, || {
                who.ask(&pair.cluster.api, &who.identity(), &[])
            })?;
            who.go(&pair.cluster)?;
        }
        still_well(pair)
    })
}

fn nd01_a_request_that_names_addresses_or_somebody_else_is_refused(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let who = Applicant::with_node(&pair.cluster, &node("liar", 120))?;
        let own = who.identity();
        let bob = pair.cluster.node_uid("bob")?;
        let bobs = [pair.bob.node.ipv4()];
        for (identity, addresses, reason) in [
            (own, &bobs[..], "names_addresses"),
            (
                format!("spiffe://sotto.test/node/{bob}/bob"),
                &[],
                "wrong_uid",
            ),
            (
                format!("spiffe://sotto.test/node/{}/bob", who.uid),
                &[],
                "wrong_name",
            ),
            (
                format!("spiffe://elsewhere.test/node/{}/liar", who.uid),
                &[],
                "foreign_trust_domain",
            ),
        ] {
            denied(pair, reason, || who.ask(api, &identity, addresses))?;
        }
        let form = api.create(&request(api, "sotto.dev/node")?);
        ensure!(form.is_err(), "an administrator asks our signer: {form:?}");
        who.go(&pair.cluster)?;
        still_well(pair)
    })
}

fn nd02_a_node_that_a_kubelet_made_anew_gets_no_range_of_others(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let kubelet = api.kubelet("upstart")?;
        let upstart = object("upstart", 121, &["10.244.2.0/24"]);
        api.allows(&kubelet, "POST", "/api/v1/nodes", &upstart)?;
        let name = ["node", "upstart"];
        let uid = text(&api.read(&name)?, "/metadata/uid")?.to_owned();
        api.kubectl(&["delete", "node", "upstart"])?;
        let who = Applicant::with_node(&pair.cluster, &upstart)?;
        ensure!(who.uid != uid, "the Node kept its UID");
        denied(pair, "range_taken", || who.ask(api, &who.identity(), &[]))?;
        who.go(&pair.cluster)?;
        still_well(pair)
    })
}

fn nd03_an_address_of_another_node_or_outside_the_underlay_is_not_certified(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let mut stranger = node("stranger", 122);
        let address = |text: &str| json!({"type": "InternalIP", "address": text});
        stranger["status"]["addresses"] = json!([
            address("198.51.100.2"),
            address("203.0.113.9"),
            address("10.96.0.1")
        ]);
        let who = Applicant::with_node(&pair.cluster, &stranger)?;
        let asked = who.ask(api, &who.identity(), &[])?;
        pair.controller_process
            .wait_for_log("Enrolment pending", Duration::from_secs(20))?;
        pair.cluster.shows(&["peers"], "stranger")?;
        let object = api.read(&["csr", &asked])?;
        ensure!(object.pointer("/status/certificate").is_none(), "{object}");
        let peer = api.read(&["peer", "stranger"])?;
        ensure!(text(&peer, "/spec/identity")? == "Pending", "{peer}");
        who.go(&pair.cluster)?;
        still_well(pair)
    })
}

fn aw05_a_pod_that_is_not_the_daemon_sets_or_is_gone_gets_nothing(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let mut who = Applicant::with_node(&pair.cluster, &node("impostor", 123))?;
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "impostor", "namespace": NAMESPACE},
            "spec": {"nodeName": "impostor", "serviceAccountName": "sotto-node",
                "containers": [{"name": "a", "image": "a"}]}});
        let made = api.create(&pod)?;
        let honest = who.token.clone();
        let token = api.token("sotto-node", ("impostor", text(&made, "/metadata/uid")?))?;
        who.token = Caller::Token(token);
        denied(pair, "pod_not_of_daemon_set", || {
            who.ask(api, &who.identity(), &[])
        })?;

        // The controller is away while the pod goes: it finds a request of a pod that is no more.
        pair.controller_process
            .signal(nix::sys::signal::Signal::SIGSTOP)?;
        who.token = honest;
        let asked = who.ask(api, &who.identity(), &[]);
        api.kubectl(&["delete", "pod", &who.pod.name, "-n", NAMESPACE, "--force"])?;
        pair.controller_process
            .signal(nix::sys::signal::Signal::SIGCONT)?;
        let asked = asked?;
        denied(pair, "pod_gone", || Ok(asked))?;
        api.kubectl(&["delete", "node", "impostor", "--wait=false"])?;
        still_well(pair)
    })
}

fn aw05_tokens_of_other_audiences_or_dead_pods_are_no_credentials(_: &Lab) -> Result<()> {
    PAIR.with(|_, pair| {
        let api = &pair.cluster.api;
        let who = Applicant::with_node(&pair.cluster, &node("ghost", 124))?;
        let asked = request(api, "sotto.dev/node")?;
        let audience = [
            "create",
            "token",
            "sotto-node",
            "-n",
            NAMESPACE,
            "--audience=elsewhere",
        ];
        let elsewhere = Caller::Token(api.kubectl(&audience)?.trim().to_owned());
        let answer = api.call(&elsewhere, "POST", REQUESTS, &asked)?;
        ensure!(answer.code == 401, "{answer:?}");
        who.go(&pair.cluster)?;
        wait::until(
            "the dead pod's token to be refused",
            Duration::from_secs(30),
            || {
                let answer = api.call(&who.token, "POST", REQUESTS, &asked);
                answer.is_ok_and(|answer| answer.code == 401)
            },
        )
    })
}

fn aw08_a_heap_of_requests_does_not_keep_an_honest_node_out(_: &Lab) -> Result<()> {
    PAIR.with(|lab, pair| {
        let api = &pair.cluster.api;
        let who = Applicant::with_node(&pair.cluster, &node("flooder", 125))?;
        let Caller::Token(token) = &who.token else {
            anyhow::bail!("an applicant has a token");
        };
        let body = request(api, "sotto.dev/node")?;
        api.place().write("/run/flood.json", body.to_string())?;
        let before = memory(pair)?;
        api.place().shell(&format!(
            "seq 400 | xargs -P 4 -I N sh -c \"curl -s -o /dev/null -k -X POST -H 'Authorization: Bearer {token}' \
              -H 'Content-Type: application/json' --data-binary @/run/flood.json https://198.51.100.250:6443{REQUESTS} || true\""
        ))?;
        let dave = join(lab.node("dave")?, "fourth", &pair.cluster, &DaemonSettings::default())?;
        pair.bob.node.knows(&dave.node)?;
        let grown = memory(pair)? - before;
        ensure!(grown < 64.0 * 1024.0, "the controller grew by {grown} KiB");
        dave.daemon.stop()?;
        api.kubectl(&["delete", "csr", "--all", "--wait=false"])?;
        who.go(&pair.cluster)?;
        still_well(pair)
    })
}

/// Resident memory of the controller, in KiB.
fn memory(pair: &KubernetesPair) -> Result<f64> {
    let file = format!("/proc/{}/status", pair.controller_process.pid());
    let status = std::fs::read_to_string(file)?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.ok_or_else(|| anyhow::anyhow!("no VmRSS"))
}

/// Alice and Bob are as they were: verified, and their pods talk.
pub(crate) fn still_well(pair: &KubernetesPair) -> Result<()> {
    ensure!(pair.controller_process.is_running(), "the controller ended");
    traffic::ping(&pair.alice.pod, pair.bob.pod.ipv4()?, b"still here")?;
    traffic::ping(&pair.bob.pod, pair.alice.pod.ipv6()?, b"still here")
}
