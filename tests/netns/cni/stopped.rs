//! A plugin that is killed before each step of an ADD, as a runtime does at its deadline.
//!
//! Where that hits is told from what is left, and the test insists that each state was hit, so that it
//! cannot pass by missing them all.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::lab::Lab;
use sotto_tests::{cases, wait};

use super::runtime::Runtime;

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

    kill_at_each_step(&runtime, |pod| {
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

    kill_at_each_step(&runtime, |pod| {
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

fn kill_at_each_step(
    runtime: &Runtime,
    mut afterwards: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut seen = BTreeMap::new();
    for step in 0.. {
        let pod = format!("killed{step}");
        runtime.sandbox(&pod)?;
        let before = (runtime.held()?.len(), runtime.links()?.len());
        let was_killed = runtime.kill_at(&runtime.call("ADD", &pod), step)?;
        let after = (runtime.held()?.len(), runtime.links()?.len());
        let left = match (after.0 - before.0, after.1 - before.1) {
            (0, 0) => Left::Nothing,
            (1, 0) => Left::Reservation,
            (1, 1) if is_whole(runtime, &pod) => Left::WholeLink,
            (1, 1) => Left::HalfALink,
            other => anyhow::bail!("killed before step {step}: {other:?}"),
        };
        *seen.entry(left).or_insert(0) += 1;
        afterwards(&pod).with_context(|| format!("killed before step {step}: {left:?}"))?;
        if !was_killed {
            break;
        }
    }
    for wanted in [
        Left::Nothing,
        Left::Reservation,
        Left::HalfALink,
        Left::WholeLink,
    ] {
        ensure!(seen.contains_key(&wanted), "never hit {wanted:?}: {seen:?}");
    }
    Ok(())
}

/// Whether the last thing that an ADD makes is there.
fn is_whole(runtime: &Runtime, pod: &str) -> bool {
    let line = format!("ip -n {pod} -6 route show default | grep -q via");
    runtime.node.shell(&line).is_ok()
}
