//! The standing detector's positive control: it has to fire.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::craft::{Forged, send_raw};
use sotto_tests::kubernetes::whole::{MALLORY, Watch};
use sotto_tests::lab::Lab;
use sotto_tests::wait;

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn cases() -> Vec<Case> {
    cases![the_standing_detector_sees_a_packet_of_a_pod_in_clear]
}

fn the_standing_detector_sees_a_packet_of_a_pod_in_clear(lab: &Lab) -> Result<()> {
    let node = lab.station("node", 201)?;
    let mallory = lab.station("mallory", MALLORY)?;
    // A pod and a Service of each family, as source and as destination; the rest is a node's.
    let pairs = [
        ("10.244.1.7", "198.51.100.254"),
        ("198.51.100.201", "10.244.1.7"),
        ("10.96.0.10", "198.51.100.254"),
        ("fd00:10:244:1::7", "2001:db8::fe"),
        ("2001:db8::c9", "fd00:10:244:1::7"),
        ("2001:db8::c9", "fd00:10:96::a"),
    ];
    for (source, destination) in pairs {
        let watch = Watch::start(lab)?;
        let destination: IpAddr = destination.parse()?;
        let forged = |port| Forged {
            source: SocketAddr::new(source.parse().unwrap(), port),
            destination: SocketAddr::new(destination, port),
            payload: b"in clear",
        };
        // Also from a tunnel's ports, where a pod's packet is none the less one.
        let packets = [forged(4000).packet()?, forged(51_820).packet()?];

        send_raw(&mallory, destination, &packets)?;
        send_raw(&node, destination, &packets)?;

        wait::until("the detector to see it", LIMIT, || {
            watch.packets().is_ok_and(|seen| seen >= packets.len())
        })?;
        let seen = watch.packets()?;
        ensure!(
            seen == packets.len(),
            "it took Mallory's for a leak: {seen}"
        );
        ensure!(watch.saw_nothing().is_err(), "the detector kept quiet");
    }
    Ok(())
}
