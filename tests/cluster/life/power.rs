//! A node without power for a while, and a shutdown that ends the daemon first.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::NAMESPACE;
use sotto_tests::kubernetes::whole::{Space, Trio};
use sotto_tests::lab::Lab;

use super::{crowd, delete_daemon};
use crate::shared;

const PODS: usize = 10;

/// What a disk may be like after a power cut: the second half of what a daemon knew of others is missing, and
/// of what an earlier boot has left. The node's own identity is written whole or not at all.
const TORN: &str = "
for file in $(find /var/lib/sotto/verified -type f) /run/sotto/node.json; do
  truncate --size=$(($(stat --format=%s $file) / 2)) $file
done";

/// A boot of its own, as far as the pool can tell: this machine's hosts share the kernel's.
const OF_AN_EARLIER_BOOT: &str = "
mkdir -p /run/sotto
cp -a /var/tmp/earlier/. /run/sotto/
rm -f /run/sotto/*.sock /run/sotto/*.lock
mv /run/sotto/pool/* /run/sotto/pool/11111111-1111-4111-8111-111111111111";

pub(crate) fn cases() -> Vec<Case> {
    cases![
        nl01_i4_ten_pods_come_back_from_three_reboots,
        nl02_i4_a_power_cut_and_torn_files_lose_no_address,
        nl03_pods_go_cleanly_after_their_daemon,
    ]
}

fn nl01_i4_ten_pods_come_back_from_three_reboots(_: &Lab) -> Result<()> {
    shared::alone(|lab, trio| {
        let space = inhabited(trio, "nl01")?;
        for _ in 0..3 {
            trio.alice.shut_down(lab)?;
            trio.alice.power_on(lab)?;
            trio.alice.start_services()?;
            all_is_well(trio, &space)?;
        }
        crowd::delete(&space)?;
        trio.is_at_rest()
    })
}

fn nl02_i4_a_power_cut_and_torn_files_lose_no_address(_: &Lab) -> Result<()> {
    shared::alone(|lab, trio| {
        let space = inhabited(trio, "nl02")?;
        let keep = "rm -rf /var/tmp/earlier; cp -a /run/sotto /var/tmp/earlier";
        trio.alice.place()?.shell(keep)?;
        trio.alice.cut_power(lab)?;
        trio.alice.power_on(lab)?;
        trio.alice.place()?.shell(OF_AN_EARLIER_BOOT)?;
        trio.alice.place()?.shell(TORN)?;
        trio.alice.start_services()?;
        all_is_well(trio, &space)?;
        let pools = trio.alice.place()?.shell("ls /run/sotto/pool")?;
        ensure!(pools.lines().count() == 1, "pools of two boots: {pools}");
        crowd::delete(&space)?;
        trio.is_at_rest()
    })
}

fn nl03_pods_go_cleanly_after_their_daemon(_: &Lab) -> Result<()> {
    shared::alone(|_, trio| {
        let space = inhabited(trio, "nl03")?;
        let api = &trio.cluster.api;
        let mut set = api.read(&["daemonset", "sotto-node", "--namespace", NAMESPACE])?;
        let orphan = ["delete", "daemonset", "sotto-node", "--cascade=orphan"];
        api.kubectl(&[&orphan[..], &["--namespace", NAMESPACE]].concat())?;
        let gone = delete_daemon(trio, "alice")
            .and_then(|()| crowd::delete(&space))
            .and_then(|()| is_empty(trio));
        let metadata = set.pointer_mut("/metadata").and_then(Value::as_object_mut);
        let metadata = metadata.context("no metadata")?;
        metadata.retain(|key, _| {
            matches!(
                key.as_str(),
                "name" | "namespace" | "labels" | "annotations"
            )
        });
        api.create(&set)?;
        gone?;
        // The pods that were orphans are the new set's.
        trio.cluster.are_ready(&["alice"])?;
        crowd::create(&space, "alice", 1)?;
        crowd::answers(&space, "client", 1)?;
        crowd::delete(&space)?;
        trio.is_at_rest()
    })
}

/// No daemon runs on Alice, and yet neither a link nor a reservation of the pods is left.
fn is_empty(trio: &Trio) -> Result<()> {
    let running = trio.alice.place()?.shell("pgrep -x sotto-node || true")?;
    ensure!(running.is_empty(), "a daemon runs: {running}");
    trio.is_at_rest()
}

/// A namespace with pods on Alice and a client on Bob.
fn inhabited<'a>(trio: &'a Trio, name: &str) -> Result<Space<'a>> {
    let space = trio.cluster.space(name)?;
    space.shell_pod("client", "bob")?;
    crowd::create(&space, "alice", PODS)?;
    crowd::answers(&space, "client", PODS)?;
    trio.is_at_rest()?;
    Ok(space)
}

/// All pods are up and have their own addresses, which are all that is reserved.
fn all_is_well(trio: &Trio, space: &Space<'_>) -> Result<()> {
    crowd::answers(space, "client", PODS)?;
    crowd::is_ready(space)?;
    trio.is_at_rest()
}
