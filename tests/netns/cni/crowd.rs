//! Many pods at once: a node that comes back with all its pods, and one that is drained meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, program};

use super::runtime::{Runtime, addresses};

/// Pods that come at the same time.
const PODS: usize = 200;

/// Pods that come while those go; together they fit into the node's /24.
const LATER: usize = 40;

/// Pods that go while as many come; two generations of them are twice 100 calls at once.
const TURNOVER: usize = 100;

pub(super) fn cases() -> Vec<Case> {
    cases![
        cn07_two_hundred_pods_at_once_never_share_an_address,
        cn07_two_hundred_adds_and_dels_at_once_never_share_an_address,
    ]
}

fn cn07_two_hundred_pods_at_once_never_share_an_address(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let first: Vec<_> = (0..PODS).map(|number| format!("p{number}")).collect();
    let later: Vec<_> = (0..LATER).map(|number| format!("q{number}")).collect();
    runtime.node.shell(&format!(
        "mkdir /run/answers; for pod in {} {}; do ip netns add $pod; done",
        first.join(" "),
        later.join(" ")
    ))?;

    all_at_once(&runtime, &[("ADD", &first)])?;
    let held = distinct_addresses(&runtime, &first)?;
    all_at_once(&runtime, &[("DEL", &first), ("ADD", &later)])?;
    let new = distinct_addresses(&runtime, &later)?;

    // The first ones' addresses rest, and there are enough others.
    ensure!(held.is_disjoint(&new), "an address was given away at once");
    ensure!(runtime.links()?.len() == LATER, "{:?}", runtime.links()?);
    ensure!(runtime.held()?.len() == LATER, "{:?}", runtime.held()?);
    Ok(())
}

/// The pool is too small for resting addresses, so that freed ones are given away at once.
fn cn07_two_hundred_adds_and_dels_at_once_never_share_an_address(lab: &Lab) -> Result<()> {
    let runtime = Runtime::with_ranges(lab, &["10.244.1.0/24", "fd00:10:244:1::/64"])?;
    let generations: Vec<Vec<String>> = (0..4)
        .map(|generation| {
            (0..TURNOVER)
                .map(|number| format!("g{generation}-{number}"))
                .collect()
        })
        .collect();
    let all = generations.concat().join(" ");
    runtime.node.shell(&format!(
        "mkdir /run/answers; for pod in {all}; do ip netns add $pod; done"
    ))?;
    let none = Vec::new();

    let mut going = &none;
    for coming in &generations {
        all_at_once(&runtime, &[("DEL", going), ("ADD", coming)])?;

        distinct_addresses(&runtime, coming)?;
        ensure!(runtime.held()?.len() == TURNOVER, "{:?}", runtime.held()?);
        ensure!(runtime.links()?.len() == TURNOVER, "{:?}", runtime.links()?);
        let routes = runtime.node.shell("ip route show proto 83 | wc -l")?;
        ensure!(routes.trim() == TURNOVER.to_string(), "{routes} routes");
        going = coming;
    }
    Ok(())
}

/// Starts a call for each pod without waiting for any, then waits for all.
fn all_at_once(runtime: &Runtime, calls: &[(&str, &[String])]) -> Result<()> {
    let plugin = program("sotto-cni")?;
    let mut script = String::from("pids=\n");
    for (verb, pods) in calls {
        script.push_str(&format!(
            "for pod in {}; do
                CNI_COMMAND={verb} CNI_CONTAINERID=$pod CNI_IFNAME=eth0 \
                CNI_NETNS=/run/netns/$pod {plugin} < /run/config > /run/answers/$pod &
                pids=\"$pids $!\"
            done\n",
            pods.join(" ")
        ));
    }
    script.push_str("failed=0; for pid in $pids; do wait $pid || failed=1; done\n");
    script.push_str("[ $failed = 0 ] || { grep -h code /run/answers/* | head -5; exit 1; }");
    runtime
        .node
        .write("/run/config", runtime.config.to_string())?;
    runtime.node.shell(&script).map(drop)
}

fn distinct_addresses(runtime: &Runtime, pods: &[String]) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for pod in pods {
        let text = runtime.node.read(&format!("/run/answers/{pod}"))?;
        let result: Value = serde_json::from_slice(&text).with_context(|| pod.clone())?;
        let own = addresses(&result);
        ensure!(own.len() == 2, "{pod}: {result}");
        for address in own {
            ensure!(all.insert(address.clone()), "{address} was given twice");
        }
    }
    Ok(all)
}
