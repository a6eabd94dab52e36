//! Act 2: the same request through Sotto. Eve sees only UDP on the tunnel port.

use anyhow::Result;

use super::report::{Report, Vantage};
use super::{Cast, Stage, web};
use crate::capture::{Capture, Recording};
use crate::traffic;

pub(super) fn play(stage: &Stage<'_>, cast: &Cast, report: &mut Report) -> Result<()> {
    let neighbour = stage.alice.pod("neighbour")?;
    let (lab, client) = (stage.lab, &cast.client);
    let eve = Capture::on_switch(lab)?;
    let uplinks = [
        Capture::start(lab, &stage.alice, "eth0")?,
        Capture::start(lab, &stage.bob, "eth0")?,
    ];
    let tun = Capture::start(lab, &stage.alice, "sotto0")?;
    let inside = Capture::start(lab, client, "eth0")?;

    talk(stage, cast, report)?;
    let (eve, tun, inside) = (eve.stop()?, tun.stop()?, inside.stop()?);
    judge(stage, &eve, report)?;
    point(
        report,
        stage,
        &eve,
        "the switch",
        "Eve, a mirror port, a cloud tap",
        "what Sotto promises",
    )?;
    for (capture, place) in uplinks.into_iter().zip(["alice's uplink", "bob's uplink"]) {
        point(
            report,
            stage,
            &capture.stop()?,
            place,
            "whoever taps that cable",
            "what Sotto promises",
        )?;
    }
    point(
        report,
        stage,
        &tun,
        "alice's sotto0",
        "root on alice",
        "clear: root on a node sees its pods",
    )?;
    point(
        report,
        stage,
        &inside,
        "inside pod client",
        "the pod itself",
        "clear: as on any loopback",
    )?;
    same_node(stage, cast, &neighbour, report)
}

/// The same request as in act 1, and every other kind of packet.
fn talk(stage: &Stage<'_>, cast: &Cast, report: &mut Report) -> Result<()> {
    let (client, server) = (&cast.client, &cast.server);
    for address in [server.ipv4()?, server.ipv6()?] {
        let url = web::url(address, "/");
        let page = web::fetch(client, &url)?;
        let right = page.contains("Only for the client");
        report.promise(
            &format!("client$ curl {url}"),
            &format!("{} bytes", page.len()),
            right,
        );
    }
    for flow in traffic::Flow::ALL {
        let arrived = traffic::exchange(flow, client, server, &stage.canary);
        let seen = arrived
            .as_ref()
            .map_or_else(|error| format!("{error:#}"), |()| "both ways".into());
        report.promise(&format!("{flow} arrives"), &seen, arrived.is_ok());
    }
    Ok(())
}

fn judge(stage: &Stage<'_>, eve: &Recording, report: &mut Report) -> Result<()> {
    let wire = eve.wire()?;
    let found = eve.count(&stage.canary)?;
    report.promise(
        "Eve finds the canary 0 times",
        &format!("{found} times in {} packets", wire.tunnel_packets()),
        found == 0 && wire.tunnel_packets() > 0,
    );
    let others: Vec<String> = wire.other.keys().cloned().collect();
    let seen = if others.is_empty() {
        let api = match wire.api {
            0 => String::new(),
            packets => format!(", and {packets} of TLS to the API server"),
        };
        let neighbours = wire.neighbours;
        format!("and {neighbours} of neighbour discovery between the machines{api}")
    } else {
        others.join(", ")
    };
    report.promise(
        "all she sees is UDP on the tunnel port",
        &seen,
        others.is_empty(),
    );
    Ok(())
}

/// Two pods of one node: the kernel delivers, nothing is on a wire, nothing is encrypted.
fn same_node(
    stage: &Stage<'_>,
    cast: &Cast,
    neighbour: &crate::lab::Pod,
    report: &mut Report,
) -> Result<()> {
    let eve = Capture::on_switch(stage.lab)?;
    let node = Capture::start(stage.lab, neighbour, "eth0")?;
    traffic::exchange_all(&cast.client, neighbour, &stage.canary)?;
    let (eve, node) = (eve.stop()?, node.stop()?);
    let found = eve.count(&stage.canary)?;
    report.promise(
        "two pods of one node are on no wire",
        &format!("the switch saw the canary {found} times"),
        found == 0,
    );
    point(
        report,
        stage,
        &node,
        "between two pods of alice",
        "root on alice",
        "clear: never on a wire",
    )?;
    stage.alice.detach(neighbour)
}

fn point(
    report: &mut Report,
    stage: &Stage<'_>,
    seen: &Recording,
    place: &str,
    who: &str,
    verdict: &str,
) -> Result<()> {
    report.vantage(Vantage {
        place: place.to_owned(),
        who: who.to_owned(),
        canaries: seen.count(&stage.canary)?,
        verdict: verdict.to_owned(),
    });
    Ok(())
}
