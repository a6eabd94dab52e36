//! DEL and GC: what they free, and what they leave alone.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;

use super::runtime::{Answer, Call, Runtime, addresses, node_end, node_state};

pub(super) fn cases() -> Vec<Case> {
    cases![
        cn01_a_del_succeeds_whatever_is_missing,
        cn17_a_del_does_not_read_what_the_runtime_remembers,
        cn06_a_late_del_of_the_old_container_spares_the_new_one,
        cn08_a_full_pool_says_so_and_recovers_with_the_first_del,
        cn13_gc_frees_what_is_gone_and_spares_what_lives,
        nl01_after_a_boot_every_address_is_free_again,
    ]
}

fn cn01_a_del_succeeds_whatever_is_missing(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let before = runtime.state()?;

    let freed = |how: &str| -> Result<()> {
        let (held, links) = (runtime.held()?, runtime.links()?);
        ensure!(
            held.is_empty() && links.is_empty(),
            "{how}: {held:?}, {links:?}"
        );
        Ok(())
    };

    runtime.del("never-added")?;
    runtime.attach("twice")?;
    runtime.del("twice")?;
    freed("first DEL")?;
    runtime.del("twice")?;
    runtime.attach("no-netns")?;
    let call = Call {
        netns: "",
        ..runtime.call("DEL", "no-netns")
    };
    runtime.execute(&call)?.success()?;
    freed("no CNI_NETNS")?;
    runtime.attach("deleted")?;
    runtime.remove_sandbox("deleted")?;
    runtime.del("deleted")?;
    freed("namespace deleted")?;
    let result = runtime.attach("link-gone")?;
    let line = format!("ip link del {}", node_end(&result)?);
    runtime.node.shell(&line)?;
    runtime.del("link-gone")?;
    freed("link deleted")?;
    let result = runtime.attach("previous")?;
    runtime
        .execute(&runtime.with_previous("DEL", "previous", &result))?
        .success()?;
    freed("with the result of the ADD")?;
    runtime.attach("garbage")?;
    for garbage in [
        json!("\u{0}{"),
        json!({"ips": "x", "interfaces": 7}),
        json!([[]]),
    ] {
        let call = runtime.with_previous("DEL", "garbage", &garbage);
        runtime.execute(&call)?.success()?;
        freed("garbage as the result of the ADD")?;
    }
    runtime.attach("no-node-state")?;
    runtime.node.shell("rm /run/sotto/node.json")?;
    runtime.del("no-node-state")?;
    freed("no node.json")?;
    runtime.write_node_state(&node_state(&["10.244.1.0/24"]))?;
    runtime.attach("no-state")?;
    runtime.node.shell("rm -rf /run/sotto")?;
    runtime.del("no-state")?;
    freed("no state at all")?;

    let after = runtime.state()?;
    ensure!(before == after, "something is left: {before}\nnow: {after}");
    Ok(())
}

fn cn17_a_del_does_not_read_what_the_runtime_remembers(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    let torn = [
        json!(null),
        json!({}),
        json!("{\"cniV"),
        json!([1, 2]),
        json!({"ips": 7}),
    ];

    for (number, previous) in torn.iter().enumerate() {
        let pod = format!("pod{number}");
        runtime.attach(&pod)?;
        let call = runtime.with_previous("DEL", &pod, previous);
        runtime.execute(&call)?.success()?;
    }

    ensure!(runtime.held()?.is_empty(), "a reservation is left");
    ensure!(runtime.links()?.is_empty(), "a link is left");
    Ok(())
}

fn cn06_a_late_del_of_the_old_container_spares_the_new_one(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    runtime.attach("old")?;
    runtime.sandbox("new")?;
    let new = runtime.add("new")?;

    // The runtime may even name the new sandbox in the old container's DEL.
    let late = Call {
        container: "old",
        ..runtime.call("DEL", "new")
    };
    runtime.execute(&late)?.success()?;
    runtime.execute(&late)?.success()?;

    ensure!(
        runtime.links()?.contains(node_end(&new)?),
        "the new link is gone"
    );
    ensure!(runtime.held()?.len() == 1, "{:?}", runtime.held()?);
    let check = runtime.with_previous("CHECK", "new", &new);
    runtime.execute(&check)?.success()?;
    Ok(())
}

fn cn08_a_full_pool_says_so_and_recovers_with_the_first_del(lab: &Lab) -> Result<()> {
    let runtime = Runtime::with_ranges(lab, &["10.244.1.0/29", "fd00:10:244:1::/64"])?;
    for pod in ["a", "b", "c", "d", "e"] {
        runtime.status()?.success()?;
        runtime.attach(pod)?;
    }

    runtime.sandbox("f")?;
    let refused = runtime.execute(&runtime.call("ADD", "f"))?;
    refused.failed(11, "10.244.1.0/29")?;
    runtime.status()?.failed(50, "IPv4")?;
    ensure!(
        runtime.held()?.len() == 5,
        "the refused ADD left a reservation"
    );
    runtime.del("c")?;
    runtime.status()?.success()?;
    let result = runtime.add("f")?;

    ensure!(addresses(&result)[0] == "10.244.1.4", "{result}");
    Ok(())
}

fn cn13_gc_frees_what_is_gone_and_spares_what_lives(lab: &Lab) -> Result<()> {
    let runtime = Runtime::new(lab)?;
    for pod in ["listed", "alive", "gone", "no-link"] {
        runtime.attach(pod)?;
    }
    runtime.remove_sandbox("gone")?;
    sotto_tests::wait::until("the link to go", std::time::Duration::from_secs(5), || {
        runtime.links().is_ok_and(|links| links.len() == 3)
    })?;
    let gc = |key: &str, list: Value| -> Result<Answer> {
        let mut config = runtime.config.clone();
        config[key] = list;
        runtime.execute(&Call {
            input: config.to_string(),
            ..runtime.call("GC", "")
        })
    };

    gc("unrelated", json!(1))?.failed(7, "cni.dev/valid-attachments")?;
    ensure!(runtime.held()?.len() == 4, "freed without a list");
    let listed = json!([{"containerID": "listed", "ifname": "eth0"}]);
    let answer = gc("cni.dev/attachments", listed.clone())?;
    ensure!(answer.succeeded, "{answer:?}");
    ensure!(answer.log.contains("lives"), "no alarm: {}", answer.log);
    ensure!(runtime.held()?.len() == 3, "{:?}", runtime.held()?);

    let mut many = listed.as_array().cloned().unwrap_or_default();
    let other = |number| json!({"containerID": format!("{number:064x}"), "ifname": "eth0"});
    many.extend((0..100_000).map(other));
    let started = std::time::Instant::now();
    gc("cni.dev/valid-attachments", json!(many))?.success()?;
    let taken = started.elapsed();
    ensure!(
        taken < std::time::Duration::from_secs(10),
        "GC took {taken:?}"
    );
    gc("cni.dev/valid-attachments", json!([]))?.success()?;
    gc("cni.dev/valid-attachments", json!(null))?.success()?;
    ensure!(
        runtime.held()?.len() == 3,
        "an attachment that lives was freed"
    );
    ensure!(runtime.links()?.len() == 3, "a link was removed");
    Ok(())
}

fn nl01_after_a_boot_every_address_is_free_again(lab: &Lab) -> Result<()> {
    let runtime = Runtime::with_ranges(lab, &["10.244.1.0/29"])?;
    for pod in ["a", "b", "c", "d", "e"] {
        runtime.attach(pod)?;
        runtime.remove_sandbox(pod)?;
    }
    // A machine whose /run is no tmpfs keeps the files; the pods are gone all the same.
    runtime.node.write("/etc/sotto/boot-id", "boot-2\n")?;
    sotto_tests::wait::until("the links to go", std::time::Duration::from_secs(5), || {
        runtime.links().is_ok_and(|links| links.is_empty())
    })?;

    runtime.sandbox("f")?;
    let early = runtime.execute(&runtime.call("ADD", "f"))?;
    early.failed(11, "another boot")?;
    let mut state = node_state(&["10.244.1.0/29"]);
    state["bootId"] = json!("boot-2");
    runtime.write_node_state(&state)?;
    let result = runtime.add("f")?;

    ensure!(addresses(&result) == ["10.244.1.2"], "{result}");
    ensure!(
        !runtime.node.has(super::runtime::POOL),
        "the old boot's pool is left"
    );
    Ok(())
}
