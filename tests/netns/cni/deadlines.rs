//! A call ends in time whatever it hangs in: the disk, the kernel, a lock, the runtime itself.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, program, starting};

use super::runtime::{Call, POOL, Runtime};

/// What each verb has.
const LIMITS: [(&str, u64); 4] = [("ADD", 60), ("DEL", 10), ("CHECK", 5), ("STATUS", 1)];

/// The question of an ADD to the kernel before which its link is half made.
const HALF_WAY: usize = 10;

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_call_that_hangs_in_the_kernel_ends_in_time_and_can_be_undone,
        cn02_a_del_without_daemon_or_lock_ends_in_time,
        cn15_an_input_or_output_that_nobody_serves_ends_in_time,
    ]
}

fn a_call_that_hangs_in_the_kernel_ends_in_time_and_can_be_undone(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let result = runtime.attach("there")?;
    runtime.sandbox("new")?;
    let hang = |verb: &'static str, limit: u64| -> Result<()> {
        let pod = if verb == "ADD" { "new" } else { "there" };
        let question = if verb == "ADD" { HALF_WAY } else { 1 };
        let call = runtime.with_previous(verb, pod, &result);
        let input = if verb == "ADD" {
            runtime.config.to_string()
        } else {
            call.input.clone()
        };
        let (end, taken) = runtime.hang_at(&Call { input, ..call }, question)?;
        let answer: Value = serde_json::from_str(&end.answer)
            .with_context(|| format!("{:?} {:?}", end.status, end.answer))?;
        ensure!(answer["code"] == 11, "{answer}");
        ensure!(answer["cniVersion"] == "1.1.0", "{answer}");
        ensure!(answer.to_string().contains(verb), "{answer}");
        let limit = Duration::from_secs(limit);
        ensure!(taken < limit, "{verb} took {taken:?}");
        ensure!(taken > limit * 7 / 10, "{verb} gave up after {taken:?}");
        Ok(())
    };

    std::thread::scope(|scope| {
        let hanging = LIMITS.map(|(verb, limit)| scope.spawn(move || hang(verb, limit)));
        hanging
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(cause) => std::panic::resume_unwind(cause),
            })
    })?;

    ensure!(runtime.links()?.len() == 2, "{:?}", runtime.links()?);
    runtime.del("new")?;
    runtime.del("there")?;
    ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
    runtime.add("new").map(drop)
}

fn cn02_a_del_without_daemon_or_lock_ends_in_time(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    for pod in ["free", "locked"] {
        runtime.attach(pod)?;
    }
    runtime.node.shell("rm /run/sotto/node.json")?;

    let started = Instant::now();
    runtime.del("free")?;
    let taken = started.elapsed();
    ensure!(taken < Duration::from_secs(1), "DEL took {taken:?}");
    ensure!(runtime.held()?.len() == 1 && runtime.links()?.len() == 1);

    // An ADD that hangs holds its reservation's lock.
    let file = runtime.held()?.into_iter().next().context("none is held")?;
    let line = format!("exec flock -o {POOL}/held/{file} sleep 20");
    let holder = runtime.node.spawn("lock", "sh", &["-c", &line])?;
    let is_locked = format!("! flock -n {POOL}/held/{file} true");
    sotto_tests::wait::until("the lock", Duration::from_secs(5), || {
        runtime.node.shell(&is_locked).is_ok()
    })?;
    let started = Instant::now();
    let refused = runtime.execute(&runtime.call("DEL", "locked"))?;
    refused.failed(11, "lock")?;
    let taken = started.elapsed();
    ensure!(taken < Duration::from_secs(10), "DEL took {taken:?}");

    holder.kill9()?;
    runtime.del("locked")?;
    ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
    Ok(())
}

fn cn15_an_input_or_output_that_nobody_serves_ends_in_time(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let plugin = program("sotto-cni")?;
    runtime
        .node
        .write("/run/config", runtime.config.to_string())?;
    let environment = "CNI_CONTAINERID=web CNI_IFNAME=eth0 CNI_NETNS=/run/netns/web CNI_PATH=/opt";

    for (verb, limit) in [("STATUS", 1), ("VERSION", 1), ("CHECK", 5), ("DEL", 10)] {
        let started = Instant::now();
        let answer = with_half_an_input(&runtime, verb)?;
        let taken = started.elapsed();
        let expected = if verb == "VERSION" {
            "supportedVersions"
        } else {
            "\"code\":5"
        };
        ensure!(answer.contains(expected), "{answer}");
        ensure!(taken < Duration::from_secs(limit), "{verb} took {taken:?}");
    }

    // Nothing to read from, nothing to write to, nothing at all.
    for broken in ["<&-", "< /run/config >&-", "<&- >&- 2>&-"] {
        for verb in ["ADD", "CHECK", "STATUS", "GC", "VERSION", "DEL"] {
            let line = format!(
                "code=0; env CNI_COMMAND={verb} {environment} timeout 15 {plugin} {broken} || code=$?
                [ $code -lt 2 ] || {{ echo ended with $code; exit 1; }}"
            );
            let outcome = runtime.node.shell(&line);
            outcome.with_context(|| format!("{verb} {broken}"))?;
        }
        let left = (runtime.held()?, runtime.links()?);
        ensure!(left.0.is_empty() && left.1.is_empty(), "{broken}: {left:?}");
    }
    Ok(())
}

/// Writes half of the input and never the rest; what the plugin says.
fn with_half_an_input(runtime: &Runtime, verb: &str) -> Result<String> {
    runtime.node.inside(|| {
        let starting = starting();
        let mut child = Command::new(program("sotto-cni")?)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "web")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/run/netns/web")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        drop(starting);
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(b"{\"cniVersion\": \"1.1.0\", ")?;
        let output = child.wait_with_output()?;
        drop(stdin);
        ensure!(output.status.code().is_some(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    })
}
