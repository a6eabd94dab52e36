//! ADD and DEL of Sotto's plugin against the reference `ptp` with `host-local`. `make bench-cni`.
//!
//! Each contestant has a machine of its own in one lab and the same pods' namespaces, made before. They
//! take turns, round by round, so that a machine whose speed drifts drifts for all. A call's time is
//! from the start of the program to its end, as a runtime waits.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sotto_tests::kubernetes::reference_plugin;
use sotto_tests::lab::{Lab, Node, program};
use sotto_tests::{bare_node, isolation};

/// Calls at once.
const CROWD: usize = 50;

/// Pods attached and detached one after the other, in a round.
const ALONE: usize = 30;

/// The same with IPv6, where `ptp` waits seconds for the kernel to look for duplicates.
const ALONE_WITH_IPV6: usize = 5;

/// Compares the time of ADD and DEL with the reference plugins in the same run.
#[derive(Parser)]
struct Arguments {
    /// Rounds; each runs every contestant once.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

/// Who attaches, and addresses of which families.
struct Contestant {
    name: &'static str,
    node: Node,
    plugin: String,
    config: Value,
    alone: usize,
    times: Times,
}

#[derive(Default)]
struct Times {
    alone: Calls,
    crowd: Calls,
}

#[derive(Default)]
struct Calls {
    add: Vec<Duration>,
    del: Vec<Duration>,
    /// A pod's ADD and its DEL together.
    both: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-cni: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    isolation::require()?;
    isolation::enter()?;
    let lab = Lab::new()?;
    let (four, both) = (["10.244.1.0/24"], ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    let mut contestants = [
        ptp(&lab, "ptp + host-local, IPv4", &four)?,
        sotto(&lab, "sotto-cni, IPv4", &four)?,
        ptp(&lab, "ptp + host-local, both families", &both)?,
        sotto(&lab, "sotto-cni, both families", &both)?,
    ];
    for number in 0..arguments.rounds {
        let count = contestants.len();
        for turn in 0..count {
            if let Some(next) = contestants.get_mut((number + turn) % count) {
                next.round().with_context(|| next.name.to_owned())?;
            }
        }
        eprintln!("round {} of {}", number + 1, arguments.rounds);
    }
    println!("| median, p99 in ms | ADD | DEL | ADD + DEL |");
    println!("| --- | --: | --: | --: |");
    for contestant in &mut contestants {
        let name = contestant.name;
        contestant.times.alone.print(&format!("{name}, alone"));
        contestant
            .times
            .crowd
            .print(&format!("{name}, {CROWD} at once"));
    }
    Ok(())
}

fn sotto(lab: &Lab, name: &'static str, ranges: &[&str]) -> Result<Contestant> {
    let node = machine(lab, name)?;
    bare_node::prepare(&node, ranges)?;
    Ok(Contestant {
        name,
        node,
        plugin: program("sotto-cni")?,
        config: bare_node::configuration(),
        alone: alone(ranges),
        times: Times::default(),
    })
}

fn ptp(lab: &Lab, name: &'static str, ranges: &[&str]) -> Result<Contestant> {
    let node = machine(lab, name)?;
    let host_local = reference_plugin("host-local")?;
    node.shell(&format!(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        mkdir -p /opt/cni/bin; ln -s {host_local} /opt/cni/bin/host-local
        mkdir /run/addresses"
    ))?;
    let subnets: Vec<_> = ranges.iter().map(|it| json!([{"subnet": it}])).collect();
    Ok(Contestant {
        name,
        node,
        plugin: reference_plugin("ptp")?,
        // Its addresses on tmpfs too.
        config: json!({
            "cniVersion": "1.1.0", "name": "ptp", "type": "ptp", "mtu": 1420,
            "ipam": {"type": "host-local", "dataDir": "/run/addresses", "ranges": subnets,
                "routes": [{"dst": "0.0.0.0/0"}]},
        }),
        alone: alone(ranges),
        times: Times::default(),
    })
}

fn alone(ranges: &[&str]) -> usize {
    let has_ipv6 = ranges.iter().any(|range| range.contains(':'));
    if has_ipv6 { ALONE_WITH_IPV6 } else { ALONE }
}

/// A machine with pods' namespaces.
fn machine(lab: &Lab, name: &str) -> Result<Node> {
    let short: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let node = lab.node(&short)?;
    node.shell(&format!(
        "for number in $(seq 0 {}); do ip netns add pod$number; done",
        CROWD - 1
    ))?;
    Ok(node)
}

impl Contestant {
    fn round(&mut self) -> Result<()> {
        // Nobody starts 80 pods in two minutes round after round: no address rests from the last.
        let resting = format!("rm -rf {}/resting", bare_node::POOL);
        self.node.shell(&resting)?;
        self.node.write("/run/config", self.config.to_string())?;
        let (node, plugin, count) = (&self.node, self.plugin.as_str(), self.alone);
        let (alone, crowd) = node.inside(|| {
            let mut alone = Calls::default();
            for number in 0..count {
                let add = call(plugin, "ADD", number)?;
                alone.note(add, call(plugin, "DEL", number)?);
            }
            let mut crowd = Calls::default();
            let adds = all_at_once(plugin, "ADD")?;
            for (add, del) in adds.into_iter().zip(all_at_once(plugin, "DEL")?) {
                crowd.note(add, del);
            }
            Ok((alone, crowd))
        })?;
        self.times.alone.extend(alone);
        self.times.crowd.extend(crowd);
        Ok(())
    }
}

fn all_at_once(plugin: &str, verb: &str) -> Result<Vec<Duration>> {
    let start = Barrier::new(CROWD);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CROWD)
            .map(|number| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    call(plugin, verb, number)
                })
            })
            .collect();
        let ended = calls.into_iter().map(|it| match it.join() {
            Ok(outcome) => outcome,
            Err(cause) => std::panic::resume_unwind(cause),
        });
        ended.collect()
    })
}

fn call(plugin: &str, verb: &str, number: usize) -> Result<Duration> {
    let mut command = Command::new(plugin);
    command
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", format!("container{number}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_NETNS", format!("/run/netns/pod{number}"))
        .env("CNI_PATH", "/opt/cni/bin")
        .stdin(std::fs::File::open("/run/config")?)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let started = Instant::now();
    let output = command.output()?;
    let taken = started.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{verb}: {said}");
    Ok(taken)
}

impl Calls {
    fn note(&mut self, add: Duration, del: Duration) {
        self.add.push(add);
        self.del.push(del);
        self.both.push(add + del);
    }

    fn extend(&mut self, more: Self) {
        self.add.extend(more.add);
        self.del.extend(more.del);
        self.both.extend(more.both);
    }

    fn print(&mut self, title: &str) {
        let cells = [&mut self.add, &mut self.del, &mut self.both].map(|times| {
            times.sort();
            let at = |part: usize| {
                let index = (times.len() * part / 100).min(times.len().saturating_sub(1));
                times.get(index).map_or(0.0, |it| it.as_secs_f64() * 1e3)
            };
            format!("{:.1}, {:.1}", at(50), at(99))
        });
        println!("| {title} | {} |", cells.join(" | "));
    }
}
