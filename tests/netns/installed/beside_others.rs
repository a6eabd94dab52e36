//! Another network's configuration in the runtime's folder.

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;

use super::machine::{CONFIGURATIONS, Machine, OURS};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp19_another_network_is_not_taken_over_until_it_is_gone,
        dp19_a_configuration_that_comes_to_sort_first_makes_the_node_not_ready,
        cn21_a_malformed_configuration_that_sorts_first_is_explained_and_stops_nothing,
    ]
}

const CALICO: &str =
    r#"{"cniVersion":"0.3.1","name":"k8s-pod-network","plugins":[{"type":"calico"}]}"#;

fn dp19_another_network_is_not_taken_over_until_it_is_gone(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let theirs = format!("{CONFIGURATIONS}/10-calico.conflist");
    node.write(&theirs, CALICO)?;
    let daemon = machine.launch()?;

    machine.waits_for(&["10-calico.conflist", "k8s-pod-network", "move this file"])?;
    ensure!(!node.has(OURS), "two networks");
    ensure!(node.read(&theirs)? == CALICO.as_bytes(), "theirs changed");
    ensure!(node.has("/run/sotto/node.json"), "nothing else waits");
    let doctor = node.output(&sotto_tests::lab::program("sotto")?, &["doctor"], &[], "")?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.contains("10-calico.conflist"), "{doctor}");
    let said = daemon.log().matches("is not installed").count();
    ensure!(said == 1, "said {said} times");
    node.shell(&format!("mv {theirs} {theirs}.bak"))?;

    machine.gets_ready()
}

fn dp19_a_configuration_that_comes_to_sort_first_makes_the_node_not_ready(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let daemon = machine.start()?;
    node.write(&format!("{CONFIGURATIONS}/90-late.conflist"), CALICO)?;
    let first = format!("{CONFIGURATIONS}/00-a.conf");
    node.write(&first, r#"{"name":"a","type":"bridge"}"#)?;

    machine.waits_for(&["00-a.conf", "sorts before"])?;
    machine.is_whole()?;
    ensure!(node.has(OURS), "ours is gone");
    node.shell(&format!("rm {first}"))?;

    machine.gets_ready()?;
    ensure!(
        daemon.log().contains("90-late.conflist"),
        "nobody is warned of the one after ours"
    );
    Ok(())
}

fn cn21_a_malformed_configuration_that_sorts_first_is_explained_and_stops_nothing(
    lab: &Lab,
) -> Result<()> {
    let machine = Machine::new(lab)?;
    let node = &machine.node;
    let daemon = machine.start()?;
    let faults = [
        ("printf '{' >00-a.conflist", "EOF while parsing"),
        ("mkfifo 00-a.conflist", "no regular file"),
        ("ln -s nowhere 00-a.conflist", "leads nowhere"),
        ("head -c 3000000 /dev/urandom >00-a.conflist", "longer than"),
        ("ln -s /dev/zero 00-a.conflist", "no regular file"),
        ("echo '{\"plugins\":[]}' >00-a.conflist", "lists no plugin"),
    ];
    for (fault, reason) in faults {
        node.shell(&format!(
            "cd {CONFIGURATIONS}; rm -f 00-a.conflist; {fault}"
        ))?;
        machine.waits_for(&["00-a.conflist", "Mend it", reason])?;
        ensure!(daemon.is_running(), "{fault}: {}", daemon.log());
        ensure!(node.has(OURS), "ours is gone");
    }
    node.shell(&format!("rm {CONFIGURATIONS}/00-a.conflist"))?;
    machine.gets_ready()
}
