//! All that pods send: sizes, fragments, errors, extension headers, bulk.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use sotto_tests::capture::Capture;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Pair;
use sotto_tests::craft::{self, Forged};
use sotto_tests::lab::{Lab, Pod};
use sotto_tests::leak::nothing_leaks;
use sotto_tests::traffic::{self, Ears};

/// Bytes sent each way over each family.
const BULK: usize = 200_000_000;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        dp24_bulk_arrives_unchanged_and_no_checksum_is_wrong,
        dp14_pings_of_0_to_65000_bytes_pass,
        dp14_errors_come_from_the_nodes_own_range_and_do_not_leak,
        dp14_ipv6_extension_headers_pass,
    ]
}

fn dp24_bulk_arrives_unchanged_and_no_checksum_is_wrong(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    let mtu = usize::try_from(pair.alice.node.wires().mtu)?;

    let eve = Capture::start_filtered(lab, lab.switch(), "br0", "greater 1514 or len > 1514")?;
    for (from, to) in [(client, server), (server, client)] {
        for address in to.addresses() {
            let (sent, heard) = traffic::bulk(from, to, *address, BULK)?;
            ensure!(sent == heard, "{BULK} bytes to {address} arrived changed");
        }
    }

    let seen = eve.stop()?.packets()?;
    let longest = seen.iter().map(|packet| packet.body().len()).max();
    ensure!(
        longest.is_none_or(|longest| longest <= mtu),
        "{longest:?} bytes on the wire"
    );
    for place in [&*pair.alice.node, &*pair.bob.node, client, server] {
        let wrong = traffic::checksum_errors(place)?;
        ensure!(wrong.is_empty(), "{}: {wrong}", place.name());
    }
    Ok(())
}

fn dp14_pings_of_0_to_65000_bytes_pass(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let edges = [
        1372, 1391, 1392, 1393, 1412, 1420, 1421, 1472, 1473, 1500, 9000, 65_000,
    ];
    let steps = (0..=64)
        .chain((64..3000).step_by(61))
        .chain((3000..65_000).step_by(3001));
    let sizes: BTreeSet<usize> = steps.chain(edges).collect();

    nothing_leaks(lab, |canary| {
        for address in pair.bob.pod.addresses() {
            for size in &sizes {
                traffic::ping(&pair.alice.pod, *address, &canary.repeated(*size))
                    .with_context(|| format!("{size} bytes to {address}"))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn dp14_errors_come_from_the_nodes_own_range_and_do_not_leak(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);

    nothing_leaks(lab, |canary| {
        for address in server.addresses() {
            // The first hop is alice, the second bob, the third the pod.
            for (hops, node) in [(1, &pair.alice.node), (2, &pair.bob.node)] {
                let from = traffic::time_exceeded(client, *address, hops, canary)?;
                let ranges = node.status()?.pod_ranges;
                let own = ranges.iter().any(|range| is_in(range, from));
                // Between a node and its own pod nobody asks for an owner of the source.
                let local = hops == 1 && [node.ipv4(), node.ipv6()].contains(&from);
                ensure!(own || local, "hop {hops} is {from}, not of {ranges:?}");
            }
            let closed = traffic::is_refused(client, SocketAddr::new(*address, 9999), canary)?;
            ensure!(closed, "no port-unreachable from {address}");
        }
        Ok(())
    })?;
    Ok(())
}

fn is_in(range: &str, address: IpAddr) -> bool {
    let range: Result<ipnetwork::IpNetwork, _> = range.parse();
    range.is_ok_and(|range| range.contains(address))
}

fn dp14_ipv6_extension_headers_pass(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let (client, server) = (&pair.alice.pod, &pair.bob.pod);
    traffic::ping(client, server.ipv6()?, &[0; 8])?;

    nothing_leaks(lab, |canary| {
        let ears = Ears::open(server, server.ipv6()?)?;
        let packet = forged(client, &ears, &canary.repeated(400))?.with_destination_options()?;
        craft::send_raw(client, server.ipv6()?, &[packet])?;
        let heard = ears.sources()?;
        ensure!(heard == [client.ipv6()?], "heard {heard:?}");
        Ok(())
    })?;
    Ok(())
}

fn forged<'a>(from: &Pod, to: &Ears, payload: &'a [u8]) -> Result<Forged<'a>> {
    Ok(Forged {
        source: SocketAddr::new(from.ipv6()?, 4242),
        destination: to.address()?,
        payload,
    })
}
