//! A daemon that is killed, deleted, out of memory, updated, or short of processor time, under traffic.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use node_status::TunnelStatus;
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::NAMESPACE;
use sotto_tests::kubernetes::whole::{Space, Trio};
use sotto_tests::lab::{Host, Lab, Pod};
use sotto_tests::traffic::{self, Connection, Flood, Stream};
use sotto_tests::wait;

use super::{LIMIT, delete_daemon, of_daemon, pod};
use crate::shared;

/// B1: how long pods may be cut off by a restart.
const RESTART_BUDGET: Duration = Duration::from_secs(5);

/// Bytes that a connection carries each way to show that it lives.
const BYTES: usize = 256 << 10;

/// Leaves the daemon's group four megabytes, and fills them with what nobody can take back but by killing
/// its largest process.
const EXHAUST: &str = r#"
if [ -e $group/memory.max ]; then now=current limit=max; else now=usage_in_bytes limit=limit_in_bytes; fi
echo $(($(cat $group/memory.$now) + 4194304)) >$group/memory.$limit
sh -c "echo \$\$ >$group/cgroup.procs; exec dd if=/dev/zero of=/run/filler bs=64k count=160" || true
rm -f /run/filler"#;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp02_a_killed_and_a_deleted_daemon_break_no_connection,
        dp04_a_daemon_out_of_memory_leaks_nothing_and_is_back,
        dp05_an_update_there_and_back_leaks_nothing_and_breaks_no_connection,
        nl18_a_daemon_with_a_tenth_of_a_core_agrees_in_time,
    ]
}

/// A pod on each node, and a connection between them.
struct Talk {
    client: Pod,
    server: Pod,
    connection: Connection,
}

impl Talk {
    fn start(trio: &Trio, space: &Space<'_>) -> Result<Self> {
        let client = pod(trio, space, "client", "alice")?;
        let server = pod(trio, space, "server", "bob")?;
        let connection = Connection::open(&client, &server)?;
        connection.carries(BYTES)?;
        Ok(Self {
            client,
            server,
            connection,
        })
    }

    /// Load each way, as long as it is kept.
    fn load(&self) -> Result<[Flood; 2]> {
        let canary = Canary::new()?;
        let there = Flood::start(&self.client, self.server.addresses(), &canary)?;
        let back = Flood::start(&self.server, self.client.addresses(), &canary)?;
        Ok([there, back])
    }

    /// Numbered datagrams each way.
    fn count(&self) -> Result<[Stream; 2]> {
        let there = Stream::start(&self.client, &self.server, self.server.ipv4()?)?;
        let back = Stream::start(&self.server, &self.client, self.client.ipv6()?)?;
        Ok([there, back])
    }
}

fn dp02_a_killed_and_a_deleted_daemon_break_no_connection(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("dp02")?;
        let talk = Talk::start(trio, &space)?;
        let load = talk.load()?;
        let kill = "kill -KILL $(pgrep -xo sotto-node)";
        trio.alice.place()?.shell(kill)?;
        talk.connection.carries(BYTES)?;
        delete_daemon(trio, "alice")?;
        talk.connection.carries(BYTES)?;
        drop(load);
        traffic::exchange_all(&talk.client, &talk.server, &Canary::new()?)?;
        is_serving(trio, "alice")?;
        trio.is_at_rest()
    })
}

fn dp04_a_daemon_out_of_memory_leaks_nothing_and_is_back(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("dp04")?;
        let talk = Talk::start(trio, &space)?;
        // A daemon that nobody has killed yet: kubelet takes its time with the second time.
        delete_daemon(trio, "bob")?;
        is_serving(trio, "bob")?;
        let load = talk.load()?;
        in_daemons_group(&trio.bob, "memory", EXHAUST)?;
        let restarts = "/status/containerStatuses/0/restartCount";
        wait::until("the daemon to be started again", LIMIT, || {
            of_daemon(trio, "bob", restarts).is_ok_and(|said| said == 1)
        })?;
        talk.connection.carries(BYTES)?;
        drop(load);
        is_serving(trio, "bob")?;
        let last = "/status/containerStatuses/0/lastState/terminated/reason";
        let reason = of_daemon(trio, "bob", last)?;
        ensure!(reason == "OOMKilled", "the daemon ended by {reason}");
        let restarts = of_daemon(trio, "bob", restarts)?;
        ensure!(restarts == 1, "started again {restarts} times");
        traffic::exchange_all(&talk.client, &talk.server, &Canary::new()?)?;
        trio.is_at_rest()
    })
}

fn dp05_an_update_there_and_back_leaks_nothing_and_breaks_no_connection(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("dp05")?;
        let talk = Talk::start(trio, &space)?;
        for level in ["info,sotto_node=debug", "info"] {
            let streams = talk.count()?;
            update(trio, level)?;
            talk.connection.carries(BYTES)?;
            for stream in streams {
                let counted = stream.stop()?;
                let gap = counted.longest_gap;
                println!(
                    "    update: silent for {gap:?} at most, {} of {} datagrams lost",
                    counted.lost, counted.sent
                );
                ensure!(gap <= RESTART_BUDGET, "silent for {gap:?}: {counted:?}");
                ensure!(counted.twice == 0, "arrived twice: {counted:?}");
            }
        }
        trio.is_at_rest()
    })
}

/// Changes the pod template and waits until all daemons have it.
fn update(trio: &Trio, level: &str) -> Result<()> {
    let api = &trio.cluster.api;
    let level = format!("SOTTO_LOG={level}");
    let set = ["set", "env", "daemonset/sotto-node", &level];
    api.kubectl(&[&set[..], &["--namespace", NAMESPACE]].concat())?;
    let status = ["rollout", "status", "daemonset/sotto-node"];
    let limit = ["--namespace", NAMESPACE, "--timeout=85s"];
    api.kubectl(&[&status[..], &limit].concat()).map(drop)
}

fn nl18_a_daemon_with_a_tenth_of_a_core_agrees_in_time(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = trio.cluster.space("nl18")?;
        let talk = Talk::start(trio, &space)?;
        // A tunnel to a third node, which must not suffer.
        let third = pod(trio, &space, "third", "control")?;
        traffic::ping(&talk.client, third.ipv4()?, b"third")?;
        let streams = talk.count()?;
        limit_processor(&trio.alice, 10_000)?;
        let agreed = agrees_with_a_new_bob(trio);
        let carried = talk.connection.carries(BYTES);
        limit_processor(&trio.alice, -1)?;
        agreed.and(carried)?;
        for stream in streams {
            let counted = stream.stop()?;
            ensure!(counted.lost < counted.sent, "nothing arrived: {counted:?}");
        }
        is_serving(trio, "bob")?;
        trio.is_at_rest()
    })
}

/// Alice agrees on keys with a daemon that knows none of the old ones, and loses nobody else meanwhile.
fn agrees_with_a_new_bob(trio: &Trio) -> Result<()> {
    delete_daemon(trio, "bob")?;
    wait::until("bob's new daemon", LIMIT, || {
        trio.bob
            .status()
            .is_ok_and(|status| status.waiting_for.is_empty())
    })?;
    let started = Instant::now();
    wait::until("both to agree", LIMIT, || {
        let both = [(&trio.alice, "bob"), (&trio.bob, "alice")];
        both.iter().all(|(host, peer)| is_up(host, peer))
    })?;
    let taken = started.elapsed();
    println!("    a tenth of a core: agreed after {taken:?}");
    ensure!(taken < RESTART_BUDGET, "agreed after {taken:?}");
    ensure!(is_up(&trio.alice, "control"), "alice lost control");
    ensure!(is_up(trio.cluster.control(), "alice"), "control lost alice");
    Ok(())
}

fn is_up(host: &Host, peer: &str) -> bool {
    let peer = host.peer(peer).ok().flatten();
    peer.is_some_and(|peer| peer.tunnel == TunnelStatus::Up)
}

/// Microseconds of processor time that a node's daemon may have in 100 000; -1 for all.
fn limit_processor(host: &Host, quota: i32) -> Result<()> {
    let version2 = if quota < 0 {
        "max".to_owned()
    } else {
        quota.to_string()
    };
    in_daemons_group(
        host,
        "cpu",
        &format!(
            "if [ -e $group/cpu.max ]; then echo {version2} >$group/cpu.max
            else echo {quota} >$group/cpu.cfs_quota_us; fi"
        ),
    )
}

/// Runs lines of shell that know the daemon's control group of a controller as `$group`.
fn in_daemons_group(host: &Host, controller: &str, lines: &str) -> Result<()> {
    // Version 2 has one hierarchy, without a name.
    let find = format!(
        r"controller={controller}; [ ! -e /sys/fs/cgroup/cgroup.controllers ] || controller=
        group=/sys/fs/cgroup/$controller$(sed -n s/.*:$controller:.*'\(\/kubepods\)/\1/p' \
          /proc/$(pgrep -xo sotto-node)/cgroup)"
    );
    host.place()?.shell(&format!("{find}\n{lines}")).map(drop)
}

/// Waits until a node's daemon is Ready.
fn is_serving(trio: &Trio, node: &str) -> Result<()> {
    let ready = "/status/containerStatuses/0/ready";
    wait::until(&format!("{node}'s daemon to be Ready"), LIMIT, || {
        of_daemon(trio, node, ready).is_ok_and(|said| said == true)
    })
}
