//! The demonstration that the field knows: two pods and a Service, and somebody who listens.

use std::time::Duration;

use anyhow::{Result, ensure};
use sotto_tests::capture::Capture;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::lab::Lab;
use sotto_tests::wait;

use crate::shared;

const MANIFEST: &str = include_str!("demo.yaml");
/// What the page says, and the tcpdump container reads.
const CANARY: &str = "Welcome to nginx!";

/// The client asks each two seconds; tcpdump prints some pages at once.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    cases![the_demonstration_s_manifest_works_and_eve_reads_nothing]
}

fn the_demonstration_s_manifest_works_and_eve_reads_nothing(_: &Lab) -> Result<()> {
    shared::with(|lab, trio| {
        let space = trio.cluster.space("demo")?;
        let wires = [
            Capture::on_switch(lab)?,
            Capture::start(lab, trio.alice.place()?.as_ref(), "eth0")?,
            Capture::start(lab, trio.bob.place()?.as_ref(), "eth0")?,
        ];
        // The server on one node, the client on the other, as `kubectl cordon` would have it.
        let [server, client, service] = documents();
        space.create(&placed(&server, "alice"))?;
        space.create(&placed(&client, "bob"))?;
        space.create(&service)?;
        space.is_ready("server")?;
        space.is_ready("client")?;
        wait::until("the client to have the page twice", LIMIT, || {
            let log = space.kubectl(&["logs", "client"]).unwrap_or_default();
            log.matches(CANARY).count() >= 2
        })?;
        // What it prints stays in its buffer for a few pages.
        wait::until("the pod's own tcpdump to read the page", LIMIT, || {
            let log = space.kubectl(&["logs", "server", "--container=tcpdump"]);
            log.is_ok_and(|log| log.contains(CANARY))
        })?;
        for wire in wires {
            let recording = wire.stop()?;
            let bytes = std::fs::read(recording.file())?;
            let found = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            ensure!(
                !found,
                "Eve reads the page in {}",
                recording.file().display()
            );
            ensure!(
                recording.wire()?.tunnel_packets() > 0,
                "nothing went through a tunnel"
            );
        }
        Ok(())
    })
}

fn documents() -> [String; 3] {
    let mut parts = MANIFEST.split("---\n").map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap())
}

/// The same pod, bound to a node.
fn placed(pod: &str, node: &str) -> String {
    pod.replace("spec:\n", &format!("spec:\n  nodeName: {node}\n"))
}
