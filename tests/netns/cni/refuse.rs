//! ADD that must not happen: no guard, a bad call, a second time, a failure half-way.

use anyhow::{Result, ensure};
use serde_json::json;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::{Lab, program};

use super::runtime::{Call, Runtime, node_state};

pub(super) fn cases() -> Vec<Case> {
    cases![
        dp06_without_a_guard_no_pod_is_attached,
        cn05_a_repeated_add_changes_nothing,
        cn15_a_broken_input_ends_in_an_error,
        cn15_an_add_whose_result_nobody_reads_is_undone,
        cn26_names_outside_the_grammar_are_refused,
        a_failed_add_is_undone_and_reports_the_first_error,
    ]
}

fn dp06_without_a_guard_no_pod_is_attached(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let refused = |code: u64, part: &str| -> Result<()> {
        runtime
            .execute(&runtime.call("ADD", "web"))?
            .failed(11, part)?;
        runtime.status()?.failed(code, part)?;
        ensure!(runtime.links()?.is_empty(), "a link was made: {part}");
        ensure!(
            runtime.held()?.is_empty(),
            "an address was reserved: {part}"
        );
        let inside = runtime.node.shell("ip -n web -o link")?;
        ensure!(inside.lines().count() == 1, "the pod has a link: {inside}");
        Ok(())
    };

    runtime
        .node
        .shell("mv /run/sotto/node.json /run/sotto/saved")?;
    refused(50, "node.json")?;
    let mut state = node_state(&["10.244.1.0/24"]);
    state["bootId"] = json!("boot-0");
    runtime.write_node_state(&state)?;
    refused(50, "another boot")?;
    runtime
        .node
        .shell("mv /run/sotto/saved /run/sotto/node.json; nft flush ruleset")?;
    refused(51, "sotto_guard")?;
    runtime
        .node
        .shell("nft add table inet sotto_guard; ip link del sotto0")?;
    refused(51, "sotto0")?;

    runtime.node.shell("ip tuntap add dev sotto0 mode tun")?;
    runtime.status()?.success()?;
    runtime.add("web")?;
    Ok(())
}

fn cn05_a_repeated_add_changes_nothing(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let result = runtime.attach("web")?;
    let before = runtime.state()?;

    let again = runtime.execute(&runtime.call("ADD", "web"))?;
    again.failed(100, "eth0")?;
    runtime.sandbox("elsewhere")?;
    let elsewhere = Call {
        netns: "elsewhere",
        ..runtime.call("ADD", "web")
    };
    runtime.execute(&elsewhere)?.failed(100, "eth0")?;
    let other_container = Call {
        container: "other",
        ..runtime.call("ADD", "web")
    };
    runtime.execute(&other_container)?.failed(100, "eth0")?;

    ensure!(
        runtime.state()? == before,
        "{before}\nnow: {}",
        runtime.state()?
    );
    let check = runtime.with_previous("CHECK", "web", &result);
    runtime.execute(&check)?.success()?;
    Ok(())
}

fn cn15_a_broken_input_ends_in_an_error(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let config = runtime.config.to_string();
    let half = config.get(..config.len() / 2).unwrap_or_default();
    for (input, code) in [
        ("", 6),
        (half, 6),
        ("[]", 6),
        ("{}", 1),
        (r#"{"cniVersion":"1.1.0"}"#, 7),
    ] {
        for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
            let answer = runtime.execute(&Call {
                input: input.to_owned(),
                ..runtime.call(verb, "web")
            })?;
            answer.failed(code, "network configuration")?;
        }
    }
    let long = Call {
        input: format!("{}{}", " ".repeat(100 << 20), runtime.config),
        ..runtime.call("ADD", "web")
    };
    runtime.execute(&long)?.failed(7, "bytes")?;
    let line = format!(
        "printf '\\377\\376{{' | CNI_COMMAND=STATUS {} | grep -q '\"code\":6'",
        program("sotto-cni")?
    );
    runtime.node.shell(&line)?;
    ensure!(runtime.held()?.is_empty(), "something was reserved");
    Ok(())
}

fn cn15_an_add_whose_result_nobody_reads_is_undone(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let line = format!(
        "printf '%s' '{}' | CNI_COMMAND=ADD CNI_CONTAINERID=web CNI_IFNAME=eth0 \
        CNI_NETNS=/run/netns/web {} > /dev/full",
        runtime.config,
        program("sotto-cni")?
    );

    let outcome = runtime.node.shell(&line);

    ensure!(
        outcome.is_err(),
        "a result that cannot be printed is no success"
    );
    ensure!(runtime.links()?.is_empty(), "the link is left");
    ensure!(runtime.held()?.is_empty(), "the reservation is left");
    Ok(())
}

fn cn26_names_outside_the_grammar_are_refused(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.sandbox("web")?;
    let before = runtime.state()?;
    let refused = |verb, container, interface, variable| {
        let call = Call {
            container,
            interface,
            ..runtime.call(verb, "web")
        };
        runtime.execute(&call)?.failed(4, variable)
    };

    let long = "c".repeat(4096);
    for verb in ["ADD", "DEL", "CHECK"] {
        for interface in [
            "sixteen-bytes-xx",
            "..",
            "eth 0",
            "a/b",
            "",
            "all",
            "default",
            "eth%d",
        ] {
            refused(verb, "web", interface, "CNI_IFNAME")?;
        }
        for container in ["../x", "", long.as_str()] {
            refused(verb, container, "eth0", "CNI_CONTAINERID")?;
        }
    }
    let own = format!("/proc/{}/ns/net", "thread-self");
    for netns in ["../../etc/passwd", "absent", &format!("../..{own}")] {
        let call = Call {
            netns,
            ..runtime.call("ADD", "web")
        };
        runtime.execute(&call)?.failed(4, "CNI_NETNS")?;
    }
    ensure!(runtime.state()? == before, "something changed");
    Ok(())
}

fn a_failed_add_is_undone_and_reports_the_first_error(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let before = runtime.state()?;
    // The last step for IPv6 fails: everything before it is undone.
    runtime.sandbox("web")?;
    runtime.node.shell(
        "ip -n web link set lo up
        ip -n web -6 route add default dev lo metric 1024",
    )?;

    let answer = runtime.execute(&runtime.call("ADD", "web"))?;

    answer.failed(5, "default route via fe80::1")?;
    ensure!(
        runtime.state()? == before,
        "{before}\nnow: {}",
        runtime.state()?
    );
    let inside = runtime.node.shell("ip -n web -o link")?;
    ensure!(inside.lines().count() == 1, "the pod has a link: {inside}");
    runtime
        .node
        .shell("ip -n web -6 route del default dev lo metric 1024")?;
    runtime.add("web")?;
    Ok(())
}
