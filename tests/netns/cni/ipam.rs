//! Addresses from another plugin: the reference `host-local`, and stand-ins that do wrong.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::reference_plugin;
use sotto_tests::lab::{Lab, program};

use super::runtime::{Answer, Call, Runtime, addresses};

/// Where the lab's nodes have plugins.
const PLUGINS: &str = "/opt/cni/bin";

/// Where host-local keeps what it assigned: a file of each address.
const ASSIGNED: &str = "/var/lib/cni/networks/sotto";

pub(super) fn cases() -> Vec<Case> {
    cases![
        cn04_a_killed_add_leaves_nothing_with_another_address_plugin_either,
        a_foreign_address_plugin_assigns_and_frees_through_every_verb,
        a_foreign_address_outside_the_nodes_range_is_refused_and_given_back,
        cn05_a_repeated_add_does_not_free_what_another_plugin_assigned,
        i3_two_address_plugins_never_give_one_address_twice,
        an_address_plugin_that_fails_is_reported_and_asked_to_free,
        an_address_plugin_that_hangs_is_ended_in_time,
        cn20_an_add_that_an_uninstall_overtakes_attaches_nothing,
        cve_2021_20206_an_address_plugin_is_found_in_its_folders_only,
    ]
}

/// A node whose pods get their addresses from host-local.
fn with_host_local(lab: &Lab, subnets: &[&str]) -> Result<Runtime> {
    let mut runtime = Runtime::new(lab)?;
    let plugin = reference_plugin("host-local")?;
    runtime
        .node
        .shell(&format!("install -D -t {PLUGINS} {plugin}"))?;
    let range = |subnet: &&str| json!([{"subnet": subnet}]);
    let ranges: Vec<_> = subnets.iter().map(range).collect();
    runtime.config["ipam"] = json!({"type": "host-local", "ranges": ranges});
    Ok(runtime)
}

/// A node whose pods get their addresses from a script.
fn with_script(lab: &Lab, script: &str) -> Result<Runtime> {
    let mut runtime = Runtime::new(lab)?;
    runtime.config["ipam"] = json!({"type": "stand-in"});
    set_script(&runtime, script)?;
    Ok(runtime)
}

/// Replaces that script, which notes what it is asked.
fn set_script(runtime: &Runtime, script: &str) -> Result<()> {
    let path = format!("{PLUGINS}/stand-in");
    let text = format!("#!/bin/sh\necho $CNI_COMMAND >> /run/asked\n{script}\n");
    runtime.node.write(&path, text)?;
    let line = format!("chmod +x {path}; rm -f /run/asked");
    runtime.node.shell(&line).map(drop)
}

/// The addresses that host-local holds assigned.
fn assigned(runtime: &Runtime) -> Result<Vec<String>> {
    let line = format!("ls {ASSIGNED} 2>/dev/null | grep -v -e last_reserved -e lock || true");
    let text = runtime.node.shell(&line)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn without_container<'a>(runtime: &Runtime, verb: &'a str) -> Call<'a> {
    Call {
        container: "",
        netns: "",
        interface: "",
        ..runtime.call(verb, "")
    }
}

fn cn04_a_killed_add_leaves_nothing_with_another_address_plugin_either(lab: &Lab) -> Result<()> {
    let runtime = with_host_local(lab, &["10.244.1.0/29", "fd00:10:244:1::/64"])?;
    for step in 0.. {
        let pod = format!("killed{step}");
        runtime.sandbox(&pod)?;
        let was_killed = runtime.kill_at(&runtime.call("ADD", &pod), step)?;

        runtime.del(&pod)?;

        let left = (runtime.held()?, runtime.links()?, assigned(&runtime)?);
        ensure!(
            left.0.is_empty() && left.1.is_empty() && left.2.is_empty(),
            "killed before step {step}: {left:?}"
        );
        runtime.remove_sandbox(&pod)?;
        if !was_killed {
            ensure!(step > 20, "an ADD of {step} steps?");
            break;
        }
    }
    runtime.attach("next").map(drop)
}

fn a_foreign_address_plugin_assigns_and_frees_through_every_verb(lab: &Lab) -> Result<()> {
    let mut runtime = with_host_local(lab, &["fd00:10:244:1::/64", "10.244.1.0/24"])?;
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        runtime.config["cniVersion"] = json!(version);
        let result = runtime.attach("web")?;
        let (held, theirs) = (runtime.held()?, assigned(&runtime)?);
        ensure!(held.len() == 1 && theirs.len() == 2, "{held:?} {theirs:?}");
        for address in addresses(&result) {
            ensure!(theirs.contains(&address), "{address} is not in {theirs:?}");
            runtime.node.shell(&format!("ping -c 1 -W 1 {address}"))?;
        }
        ensure!(
            result["ips"][0]["address"]
                .as_str()
                .is_some_and(|it| it.ends_with("/32"))
        );
        ensure!(result["interfaces"][1]["name"] == "eth0", "{result}");
        if version != "0.3.1" {
            let check = runtime.with_previous("CHECK", "web", &result);
            runtime.execute(&check)?.success()?;
            let freed = Call {
                input: check.input.clone(),
                ..runtime.call("DEL", "web")
            };
            delegate_alone(&runtime, &freed)?;
            runtime.execute(&check)?.failed(5, "host-local CHECK")?;
        }
        runtime
            .execute(&runtime.with_previous("DEL", "web", &json!("{\"torn")))?
            .success()?;
        ensure!(runtime.held()?.is_empty() && assigned(&runtime)?.is_empty());
        runtime.del("web")?;
        runtime.remove_sandbox("web")?;
    }
    runtime
        .execute(&without_container(&runtime, "STATUS"))?
        .success()?;
    runtime.attach("kept")?;
    let mut config = runtime.config.clone();
    config["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    let gc = Call {
        input: config.to_string(),
        ..without_container(&runtime, "GC")
    };
    runtime.execute(&gc)?.success()?;
    ensure!(runtime.held()?.len() == 1 && assigned(&runtime)?.len() == 2);
    Ok(())
}

/// Calls the address plugin behind sotto-cni's back.
fn delegate_alone(runtime: &Runtime, call: &Call<'_>) -> Result<()> {
    let environment = [
        ("CNI_COMMAND", call.verb),
        ("CNI_CONTAINERID", call.container),
        ("CNI_NETNS", "/run/netns/web"),
        ("CNI_IFNAME", call.interface),
        ("CNI_PATH", PLUGINS),
    ];
    let plugin = format!("{PLUGINS}/host-local");
    let place = &runtime.node;
    place.run_with_input(&plugin, &[], &environment, &call.input)?;
    Ok(())
}

fn a_foreign_address_outside_the_nodes_range_is_refused_and_given_back(lab: &Lab) -> Result<()> {
    let mut runtime = with_host_local(lab, &[])?;
    runtime.sandbox("web")?;
    for (subnet, part) in [
        ("10.99.0.0/24", "outside this node's pod ranges"),
        ("10.244.2.0/24", "outside this node's pod ranges"),
        // Its first address is the tunnel device's.
        ("10.244.1.0/24", "tunnel device"),
    ] {
        runtime.config["ipam"]["ranges"] = json!([[{"subnet": subnet}]]);
        if part == "tunnel device" {
            let own =
                json!([[{"subnet": subnet, "rangeStart": "10.244.1.1", "gateway": "10.244.1.9"}]]);
            runtime.config["ipam"]["ranges"] = own;
        }

        let answer = runtime.execute(&runtime.call("ADD", "web"))?;

        answer.failed(7, part).context(subnet)?;
        let left = (runtime.held()?, runtime.links()?, assigned(&runtime)?);
        ensure!(
            left.0.is_empty() && left.1.is_empty() && left.2.is_empty(),
            "{left:?}"
        );
    }
    Ok(())
}

fn cn05_a_repeated_add_does_not_free_what_another_plugin_assigned(lab: &Lab) -> Result<()> {
    let runtime = with_host_local(lab, &["10.244.1.0/24"])?;
    runtime.attach("web")?;
    let before = (runtime.state()?, assigned(&runtime)?);

    runtime
        .execute(&runtime.call("ADD", "web"))?
        .failed(100, "eth0")?;
    runtime.node.shell("mv /run/sotto/pool /run/sotto/gone")?;
    let without_pool = runtime.execute(&runtime.call("ADD", "web"))?;
    without_pool.failed(100, "DEL the attachment first")?;
    runtime
        .node
        .shell("rm -rf /run/sotto/pool; mv /run/sotto/gone /run/sotto/pool")?;

    let after = (runtime.state()?, assigned(&runtime)?);
    ensure!(before == after, "{before:?}\nnow: {after:?}");
    Ok(())
}

fn i3_two_address_plugins_never_give_one_address_twice(lab: &Lab) -> Result<()> {
    let mut runtime = with_host_local(lab, &["10.244.1.0/24"])?;
    let foreign = runtime.config["ipam"].clone();
    runtime.config["ipam"] = Value::Null;
    let ours = runtime.attach("ours")?;
    ensure!(addresses(&ours)[0] == "10.244.1.2", "{ours}");
    runtime.config["ipam"] = foreign;
    runtime.sandbox("theirs")?;

    // host-local starts at .2 too.
    let refused = runtime.execute(&runtime.call("ADD", "theirs"))?;
    refused.failed(11, "10.244.1.2")?;
    let theirs = runtime.add("theirs")?;
    runtime.config["ipam"] = json!({});
    let again = runtime.attach("again")?;

    ensure!(addresses(&theirs) == ["10.244.1.3"], "{theirs}");
    ensure!(addresses(&again)[0] == "10.244.1.4", "{again}");
    Ok(())
}

fn an_address_plugin_that_fails_is_reported_and_asked_to_free(lab: &Lab) -> Result<()> {
    let runtime = with_script(lab, "exit 0")?;
    let address = |text: &str| format!("echo '{{\"ips\":[{{\"address\":\"{text}\"}}]}}'");
    for (number, (add, code, part)) in [
        (
            "echo '{\"code\":11,\"msg\":\"full\"}'; exit 1".to_owned(),
            11,
            "full",
        ),
        (
            "echo '{\"code\":100,\"msg\":\"no\"}'; exit 1".to_owned(),
            5,
            "no",
        ),
        ("exit 3".to_owned(), 5, "exit status: 3"),
        ("echo nonsense".to_owned(), 6, "stand-in"),
        ("echo '{\"ips\":[{}]}'".to_owned(), 6, "stand-in"),
        ("echo '{}'".to_owned(), 7, "at most"),
        (address("10.244.1.9/24"), 5, "default route via 169.254.1.1"),
        ("yes".to_owned(), 11, "without end"),
        ("yes >&2".to_owned(), 11, "without end"),
    ]
    .iter()
    .enumerate()
    {
        let script = format!("[ $CNI_COMMAND != ADD ] || {{ {add}; }}");
        set_script(&runtime, &script)?;
        let pod = format!("pod{number}");
        runtime.sandbox(&pod)?;
        // Makes the last step fail, when it comes that far.
        runtime.node.shell(&format!(
            "ip -n {pod} link set lo up; ip -n {pod} route add default dev lo"
        ))?;

        let answer = runtime.execute(&runtime.call("ADD", &pod))?;

        answer.failed(*code, part).with_context(|| add.clone())?;
        let asked = runtime.node.shell("cat /run/asked")?;
        ensure!(asked == "ADD\nDEL\n", "{add}: asked {asked}");
        ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
    }
    set_script(&runtime, "[ $CNI_COMMAND != DEL ] || exit 1")?;
    let del = runtime.execute(&runtime.call("DEL", "never-added"))?;
    del.failed(5, "stand-in DEL")?;
    let status = |answer: &str| -> Result<Answer> {
        set_script(&runtime, &format!("echo '{answer}'; exit 1"))?;
        runtime.execute(&without_container(&runtime, "STATUS"))
    };
    status(r#"{"code":4,"msg":"unknown"}"#)?.success()?;
    status(r#"{"code":50,"msg":"full"}"#)?.failed(50, "full")
}

fn an_address_plugin_that_hangs_is_ended_in_time(lab: &Lab) -> Result<()> {
    let runtime = with_script(lab, "sleep 77.125 & sleep 77.125")?;
    let timed = |call: &Call<'_>| -> Result<(Answer, Duration)> {
        let started = Instant::now();
        Ok((runtime.execute(call)?, started.elapsed()))
    };

    let (status, taken) = timed(&without_container(&runtime, "STATUS"))?;
    status.failed(50, "did not end")?;
    ensure!(taken < Duration::from_secs(1), "STATUS took {taken:?}");
    let (del, taken) = timed(&runtime.call("DEL", "web"))?;
    del.failed(11, "did not end")?;
    ensure!(taken < Duration::from_secs(10), "DEL took {taken:?}");

    let line = "pgrep -a -x sleep | grep -c 77.125 || true";
    let left = runtime.node.shell(line)?;
    ensure!(left.trim() == "0", "{left} are left");
    Ok(())
}

fn cn20_an_add_that_an_uninstall_overtakes_attaches_nothing(lab: &Lab) -> Result<()> {
    let runtime = with_script(lab, "exit 0")?;
    runtime.sandbox("web")?;
    for (gone, part, back) in [
        (
            "mv /run/sotto/node.json /run/kept",
            "node.json",
            "mv /run/kept /run/sotto/node.json",
        ),
        ("nft delete table inet sotto_guard", "guard", "true"),
    ] {
        let answer = "echo '{\"ips\":[{\"address\":\"10.244.1.9/24\"}]}'";
        set_script(
            &runtime,
            &format!("[ $CNI_COMMAND != ADD ] || {{ {gone}; {answer}; }}"),
        )?;

        let answer = runtime.execute(&runtime.call("ADD", "web"))?;

        answer.failed(11, part)?;
        let asked = runtime.node.shell("cat /run/asked")?;
        ensure!(asked == "ADD\nDEL\n", "asked {asked}");
        ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
        runtime.node.shell(back)?;
    }
    Ok(())
}

fn cve_2021_20206_an_address_plugin_is_found_in_its_folders_only(lab: &Lab) -> Result<()> {
    let mut runtime = with_script(lab, "exit 0")?;
    runtime.node.shell(&format!(
        "ln -s {} {PLUGINS}/sotto-cni; mkdir {PLUGINS}/folder; touch {PLUGINS}/no-program",
        program("sotto-cni")?
    ))?;
    runtime.sandbox("web")?;
    for (name, part) in [
        ("../../../bin/sh", "ipam.type"),
        ("/bin/sh", "ipam.type"),
        ("..", "ipam.type"),
        ("absent", "CNI_PATH"),
        ("folder", "CNI_PATH"),
        ("no-program", "CNI_PATH"),
        ("sotto-cni", "itself"),
    ] {
        runtime.config["ipam"] = json!({"type": name});
        for verb in ["ADD", "DEL"] {
            let answer = runtime.execute(&runtime.call(verb, "web"))?;
            answer.failed(7, part).with_context(|| name.to_owned())?;
        }
    }
    ensure!(runtime.held()?.is_empty() && runtime.links()?.is_empty());
    Ok(())
}
