//! Throughput of Sotto against other userspace WireGuards, in one run. `make bench`.
//!
//! Each contestant carries one TCP stream between two machines of a lab, round by round, so that a
//! machine whose speed drifts drifts for all. A ratio is the median of the rounds' ratios. The
//! uplinks keep their segmentation offloads: that is what a NIC offers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sotto_tests::lab::{Controller, DaemonSettings, Lab, Node, Process, Segmentation, Wires};
use sotto_tests::{isolation, wait};

/// Compares throughput with boringtun-cli and wireguard-go in the same run.
#[derive(Parser)]
struct Arguments {
    /// Rounds; each runs every contestant once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each stream.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
}

/// Who carries the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Direct,
    Boringtun,
    WireguardGo,
    SottoAesGcm,
    SottoChaCha20,
}

impl Contestant {
    const ALL: [Self; 5] = [
        Self::Direct,
        Self::Boringtun,
        Self::WireguardGo,
        Self::SottoAesGcm,
        Self::SottoChaCha20,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "no tunnel",
            Self::Boringtun => "boringtun-cli",
            Self::WireguardGo => "wireguard-go",
            Self::SottoAesGcm => "Sotto, AES-256-GCM",
            Self::SottoChaCha20 => "Sotto, ChaCha20-Poly1305",
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    isolation::require()?;
    isolation::enter()?;
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for number in 1..=arguments.rounds {
        let round = Contestant::ALL
            .iter()
            .map(|who| {
                let gbits = measure(*who, arguments.seconds)
                    .with_context(|| format!("measure {}", who.name()))?;
                eprintln!("round {number}: {:26} {gbits:6.2} Gbit/s", who.name());
                Ok(gbits)
            })
            .collect::<Result<Vec<f64>>>()?;
        rounds.push(round);
    }
    report(&rounds, arguments.json)
}

/// Builds a lab, lets the contestant carry one stream, takes everything down again.
fn measure(who: Contestant, seconds: u32) -> Result<f64> {
    let lab = Lab::with_wires(Wires {
        segmentation: Segmentation::On,
        ..Wires::default()
    })?;
    let (alice, bob) = (lab.node("alice")?, lab.node("bob")?);
    let (target, _running) = match who {
        Contestant::Direct => (bob.ipv4().to_string(), Vec::new()),
        Contestant::Boringtun => wireguard(
            &alice,
            &bob,
            "boringtun-cli",
            &["--disable-drop-privileges"],
        )?,
        Contestant::WireguardGo => wireguard(&alice, &bob, "wireguard", &[])?,
        Contestant::SottoAesGcm => sotto(&lab, &alice, &bob, "")?,
        Contestant::SottoChaCha20 => sotto(&lab, &alice, &bob, "aes_gcm = \"off\"")?,
    };
    stream(&alice, &bob, &target, seconds)
}

/// One TCP stream from Alice to Bob, in Gbit/s as the receiver counts it.
fn stream(alice: &Node, bob: &Node, target: &str, seconds: u32) -> Result<f64> {
    let _server = bob.spawn("iperf3-server", "iperf3", &["-s", "-1"])?;
    wait::until("iperf3 to listen", Duration::from_secs(5), || {
        bob.shell("ss -Hltn 'sport = 5201' | grep -q .").is_ok()
    })?;
    wait::until("the tunnel to answer", Duration::from_secs(15), || {
        alice.run("ping", &["-c", "1", "-W", "1", target]).is_ok()
    })?;
    let seconds = seconds.to_string();
    let said = alice.run("iperf3", &["-c", target, "-t", &seconds, "-O", "1", "-J"])?;
    let said: Value = serde_json::from_str(&said).context("read what iperf3 printed")?;
    let bits = said.pointer("/end/sum_received/bits_per_second");
    let bits = bits.and_then(Value::as_f64);
    let bits = bits.with_context(|| format!("iperf3 measured nothing: {said}"))?;
    ensure!(bits > 0.0, "iperf3 carried nothing");
    Ok(bits / 1e9)
}

/// Two ends of a WireGuard implementation, configured with `wg`; returns Bob's tunnel address.
fn wireguard(
    alice: &Node,
    bob: &Node,
    program: &str,
    options: &[&str],
) -> Result<(String, Vec<Process>)> {
    let mut running = Vec::new();
    let mut keys = Vec::new();
    for node in [alice, bob] {
        let secret = node.run("wg", &["genkey"])?;
        let public = node.run_with_input("wg", &["pubkey"], &[], &secret)?;
        keys.push((secret.trim().to_owned(), public.trim().to_owned()));
        node.shell("mkdir -p /var/run/wireguard /run/wireguard")?;
        let mut arguments = vec!["-f"];
        arguments.extend(options);
        arguments.push("wg0");
        running.push(node.spawn(program, program, &arguments)?);
        wait::until("the tunnel device", Duration::from_secs(5), || {
            node.shell("wg show wg0").is_ok()
        })?;
    }
    let [(alice_secret, alice_public), (bob_secret, bob_public)] = keys.as_slice() else {
        bail!("two nodes have two keys");
    };
    join(alice, alice_secret, bob_public, bob, 1)?;
    join(bob, bob_secret, alice_public, alice, 2)?;
    Ok(("10.9.0.2".to_owned(), running))
}

fn join(node: &Node, secret: &str, peer_public: &str, peer: &Node, number: u8) -> Result<()> {
    let endpoint = peer.ipv4();
    node.write(
        "/etc/wg0.conf",
        format!(
            "[Interface]\nPrivateKey = {secret}\nListenPort = 51821\n\
             [Peer]\nPublicKey = {peer_public}\nAllowedIPs = 10.9.0.0/24\nEndpoint = {endpoint}:51821\n"
        ),
    )?;
    node.shell(&format!(
        "wg setconf wg0 /etc/wg0.conf
        ip address add 10.9.0.{number}/24 dev wg0
        ip link set wg0 mtu 1420 up"
    ))?;
    Ok(())
}

/// Two nodes of Sotto; returns Bob's address on `sotto0`.
fn sotto(lab: &Lab, alice: &Node, bob: &Node, extra: &str) -> Result<(String, Vec<Process>)> {
    let controller: Controller = lab.controller()?;
    let settings = DaemonSettings {
        extra: extra.to_owned(),
        log_filter: "info".to_owned(),
        ..DaemonSettings::default()
    };
    let mut running = vec![controller.start()?];
    for node in [alice, bob] {
        node.enrol(&controller, &settings)?;
        running.push(node.start(&settings)?);
    }
    alice.knows(bob)?;
    let line = "ip -4 -o address show dev sotto0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'";
    let address = bob.shell(line)?;
    Ok((address.trim().to_owned(), running))
}

fn report(rounds: &[Vec<f64>], as_json: bool) -> Result<()> {
    let against = |base: Contestant, who: Contestant| {
        let ratios = rounds
            .iter()
            .filter_map(|round| Some(round.get(place(who))? / round.get(place(base))?));
        median(ratios.collect())
    };
    let rows: Vec<Value> = Contestant::ALL
        .iter()
        .map(|who| {
            let gbits = rounds
                .iter()
                .filter_map(|round| round.get(place(*who)).copied());
            json!({
                "contestant": who.name(),
                "gbits_per_second": median(gbits.collect()),
                "times_boringtun_cli": against(Contestant::Boringtun, *who),
                "times_wireguard_go": against(Contestant::WireguardGo, *who),
                "times_no_tunnel": against(Contestant::Direct, *who),
            })
        })
        .collect();
    if as_json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!("| one TCP stream | Gbit/s | × boringtun-cli | × wireguard-go | × no tunnel |");
    println!("| --- | --- | --- | --- | --- |");
    for row in rows {
        let number = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        println!(
            "| {} | {:.2} | {:.1} | {:.2} | {:.2} |",
            row.get("contestant").and_then(Value::as_str).unwrap_or("?"),
            number("gbits_per_second"),
            number("times_boringtun_cli"),
            number("times_wireguard_go"),
            number("times_no_tunnel"),
        );
    }
    Ok(())
}

fn place(who: Contestant) -> usize {
    Contestant::ALL
        .iter()
        .position(|other| *other == who)
        .unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
