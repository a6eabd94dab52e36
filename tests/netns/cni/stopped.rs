//! A plugin that is killed in the middle of an ADD, at many moments, as a runtime does at its deadline.
//!
//! The moments are spread over the time that a whole ADD takes. Where they hit is told from what is
//! left, and the test insists that each state was hit, so that it cannot pass by missing them all.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::lab::{Lab, program};
use sotto_tests::{cases, wait};

use super::runtime::Runtime;

/// How often an ADD is killed.
const KILLS: u32 = 60;

pub(super) fn cases() -> Vec<Case> {
    cases![
        cn04_after_a_killed_add_a_del_leaves_nothing,
        cn04_after_a_killed_add_without_a_del_no_address_is_lost,
    ]
}

/// What a killed ADD left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    Reservation,
    HalfALink,
    WholeLink,
}

fn cn04_after_a_killed_add_a_del_leaves_nothing(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let before = runtime.state()?;

    kill_at_many_moments(&runtime, |pod| {
        runtime.del(pod)?;
        runtime.remove_sandbox(pod)?;
        runtime
            .node
            .shell("rm -f /run/sotto/pool/boot-1/resting/*")?;
        let after = runtime.state()?;
        ensure!(after == before, "left: {after}\nwas: {before}");
        Ok(())
    })
}

fn cn04_after_a_killed_add_without_a_del_no_address_is_lost(lab: &Lab) -> Result<()> {
    // Three addresses for pods: a lost one is missed soon.
    let runtime = Runtime::with_ranges(lab, &["10.244.1.0/29", "fd00:10:244:1::/64"])?;
    runtime.attach("a")?;
    runtime.attach("b")?;
    runtime.attach("c")?;

    kill_at_many_moments(&runtime, |pod| {
        runtime.remove_sandbox(pod)?;
        wait::until("the dead pod's link to go", Duration::from_secs(5), || {
            runtime.links().is_ok_and(|links| links.len() == 3)
        })?;
        // The runtime tries again with a new container.
        let next = format!("{pod}-next");
        runtime.attach(&next)?;
        let held = runtime.held()?;
        ensure!(held.len() == 4, "{held:?}");
        runtime.del(&next)?;
        runtime.remove_sandbox(&next)
    })
}

fn kill_at_many_moments(
    runtime: &Runtime,
    mut afterwards: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let whole = time_of_an_add(runtime)?;
    let mut seen = BTreeMap::new();
    for number in 0..KILLS {
        let pod = format!("killed{number}");
        runtime.sandbox(&pod)?;
        let before = (runtime.held()?.len(), runtime.links()?.len());
        let moment = whole * number / KILLS;
        kill_after(runtime, &pod, moment)?;
        let after = (runtime.held()?.len(), runtime.links()?.len());
        let left = match (after.0 - before.0, after.1 - before.1) {
            (0, 0) => Left::Nothing,
            (1, 0) => Left::Reservation,
            (1, 1) if is_whole(runtime, &pod) => Left::WholeLink,
            (1, 1) => Left::HalfALink,
            other => anyhow::bail!("killed after {moment:?}: {other:?}"),
        };
        *seen.entry(left).or_insert(0) += 1;
        afterwards(&pod).with_context(|| format!("killed after {moment:?}: {left:?}"))?;
    }
    for wanted in [Left::Nothing, Left::Reservation, Left::HalfALink] {
        ensure!(seen.contains_key(&wanted), "never hit {wanted:?}: {seen:?}");
    }
    Ok(())
}

/// The median of some, from start to end.
fn time_of_an_add(runtime: &Runtime) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..7 {
        runtime.sandbox("timed")?;
        let started = Instant::now();
        kill_after(runtime, "timed", Duration::from_secs(5))?;
        times.push(started.elapsed());
        runtime.del("timed")?;
        runtime.remove_sandbox("timed")?;
    }
    times.sort();
    runtime
        .node
        .shell("rm -f /run/sotto/pool/boot-1/resting/*")?;
    times.get(3).copied().context("no times")
}

/// Starts an ADD and kills it after a time, unless it ended before.
fn kill_after(runtime: &Runtime, pod: &str, moment: Duration) -> Result<()> {
    let plugin = program("sotto-cni")?;
    let config = runtime.config.to_string();
    runtime.node.inside(|| {
        let mut child = Command::new(plugin)
            .env("CNI_COMMAND", "ADD")
            .env("CNI_CONTAINERID", pod)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", format!("/run/netns/{pod}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut input = child.stdin.take().context("no standard input")?;
        input.write_all(config.as_bytes())?;
        drop(input);
        let started = Instant::now();
        while started.elapsed() < moment && child.try_wait()?.is_none() {
            std::hint::spin_loop();
        }
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        Ok(())
    })
}

/// Whether the last thing that an ADD makes is there.
fn is_whole(runtime: &Runtime, pod: &str) -> bool {
    let line = format!("ip -n {pod} -6 route show default | grep -q via");
    runtime.node.shell(&line).is_ok()
}
