//! Fifty pods at once on one node, from creation to Ready, with Sotto and with the reference `ptp`. `make bench-pods`.
//!
//! One cluster; Alice's pods are Sotto's, Bob's hang on `ptp` with `host-local`, and no daemon of Sotto's is there. The
//! two take turns. IPv4 alone, since `ptp` waits for IPv6's search for duplicates.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sotto_tests::kubernetes::reference_plugin;
use sotto_tests::kubernetes::whole::{ProxyMode, Whole};
use sotto_tests::lab::{Host, Lab};
use sotto_tests::{isolation, wait};

/// Pods at once.
const PODS: usize = 50;
const READY_LIMIT: &str = "--timeout=300s";
const GONE_LIMIT: Duration = Duration::from_secs(300);

/// Compares how long 50 pods take to become Ready with the reference plugins on the same cluster.
#[derive(Parser)]
struct Arguments {
    /// Rounds; each starts 50 pods on each node.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-pods: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    isolation::require()?;
    ensure!(
        arguments.rounds > 0,
        "--rounds is 0, nothing would be measured"
    );
    isolation::enter()?;
    let lab = Lab::new()?;
    let cluster = Whole::raise(&lab, ProxyMode::Nftables)?;
    let alice = cluster.node(&lab, "alice", 1)?;
    let bob = cluster.node(&lab, "bob", 2)?;
    install_ptp(&cluster, &bob)?;
    cluster.import_sotto(cluster.control())?;
    cluster.import_sotto(&alice)?;
    cluster.install_sotto("podRangesFrom: node")?;
    keep_off(&cluster, "bob")?;
    cluster.are_ready(&["control", "alice", "bob"])?;
    // Once unmeasured: caches are warm for both.
    for node in ["alice", "bob"] {
        measure(&cluster, node)?;
    }
    let (mut sotto, mut ptp) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        let mut contestants = [("alice", &mut sotto), ("bob", &mut ptp)];
        if round % 2 == 0 {
            contestants.reverse();
        }
        for (node, times) in contestants {
            let took = measure(&cluster, node)?.as_secs_f64();
            println!("round {round}: {node} {took:.2} s");
            times.push(took);
        }
    }
    let pairs = sotto.iter().zip(&ptp);
    let ratios = pairs.map(|(sotto, ptp)| sotto / ptp).collect();
    println!(
        "\n| {PODS} pods, creation to Ready, median of {} rounds | seconds |\n| --- | --: |\n\
         | ptp + host-local | {:.2} |\n| Sotto | {:.2} |\n| Sotto / ptp, median of the rounds' ratios | {:.2} |",
        arguments.rounds,
        median(ptp),
        median(sotto),
        median(ratios),
    );
    Ok(())
}

/// The reference plugins and their configuration, as another network would install them.
fn install_ptp(cluster: &Whole, host: &Host) -> Result<()> {
    let node: Value = cluster.api.read(&["node", host.name()])?;
    let range = node.pointer("/spec/podCIDR").cloned().unwrap_or_default();
    let place = host.place()?;
    for plugin in ["ptp", "host-local", "loopback"] {
        let program = reference_plugin(plugin)?;
        place.shell(&format!(
            "mkdir -p /opt/cni/bin; cp {program} /opt/cni/bin/"
        ))?;
    }
    let configuration = json!({
        "cniVersion": "1.0.0",
        "name": "ptp",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-ipam-state",
                "ranges": [[{"subnet": range}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    place.write("/etc/cni/net.d/.new", configuration.to_string())?;
    place.shell("mv /etc/cni/net.d/.new /etc/cni/net.d/10-ptp.conflist")?;
    host.nudge_runtime()
}

/// Keeps the daemon off a node.
fn keep_off(cluster: &Whole, node: &str) -> Result<()> {
    let term = json!({"matchExpressions": [{
        "key": "kubernetes.io/hostname", "operator": "NotIn", "values": [node],
    }]});
    let affinity = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }});
    let patch = json!({"spec": {"template": {"spec": {"affinity": affinity}}}}).to_string();
    let daemons = [
        "patch",
        "daemonset",
        "sotto-node",
        "--namespace",
        "sotto-system",
    ];
    cluster
        .api
        .kubectl(&[&daemons[..], &["--patch", &patch]].concat())
        .map(drop)
}

/// Starts the pods, waits until all are Ready, and removes them.
fn measure(cluster: &Whole, node: &str) -> Result<Duration> {
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{node}-{number}"), "labels": {"on": node}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}],
            },
        })
    };
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string();
    let selector = format!("--selector=on={node}");
    let started = Instant::now();
    cluster
        .api
        .kubectl_with_input(&["create", "--filename=-"], &list)?;
    let ready = [
        "wait",
        "pod",
        &selector,
        "--for=condition=Ready",
        READY_LIMIT,
    ];
    // It prints a line for each pod, and waits for them one after the other.
    cluster.api.kubectl(&ready)?;
    let took = started.elapsed();
    cluster
        .api
        .kubectl(&["delete", "pod", &selector, "--wait=false"])?;
    wait::until("the pods to be gone", GONE_LIMIT, || {
        let left = ["get", "pod", &selector, "-o", "name"];
        cluster.api.kubectl(&left).is_ok_and(|left| left.is_empty())
    })?;
    Ok(took)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
