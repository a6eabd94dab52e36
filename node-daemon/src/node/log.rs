//! What the agreement says happened, for the operator, by peers' names.

use std::collections::BTreeMap;

use node_identity::NodeName;
use tracing::{debug, error, info, warn};
use tunnel_core::control::{ControlEvent, NewGenerationReason, PeerEnd};
use tunnel_core::plane::PeerIndex;

/// Logs an event.
pub(super) fn say(event: &ControlEvent, names: &BTreeMap<PeerIndex, NodeName>) {
    match event {
        ControlEvent::PeerAdded {
            identity,
            generation,
            ..
        } => info!(node = %identity.name, %generation, "Peer can be reached"),
        ControlEvent::PeerGenerationEnded {
            name,
            generation,
            reason,
            ..
        } => {
            info!(node = %name, %generation, reason = ended(*reason), "Peer's tunnel key is used no more");
        }
        ControlEvent::PeerRemoved { name, .. } => info!(node = %name, "Peer removed"),
        ControlEvent::PeerKeyRefused { identity } => {
            warn!(node = %identity.name, reason = "its tunnel key is weak, ours, or another peer's", "Peer refused");
        }
        ControlEvent::NoCommonFamily { name, .. } => {
            warn!(node = %name, "Peer cannot be reached: it has no endpoint of a family that this node has");
        }
        ControlEvent::OwnersOverlap(error) => {
            error!(%error, "Pod ranges overlap: packets to this node's own range are dropped, or, if it is other nodes' ranges, who has which stays as it was; `sotto status` names the nodes")
        }
        ControlEvent::NewGenerationWanted(reason) => {
            warn!(reason = wanted(*reason), "New tunnel key is needed")
        }
        ControlEvent::AgreementGivenUp { name, .. } => {
            warn!(node = %name, "Peer does not answer: no session after 90 s")
        }
        ControlEvent::TransportChosen { peer, transport } => {
            info!(node = name(*peer, names), %transport, "Tunnel keys agreed, sending under them")
        }
        ControlEvent::SendingStopped { peer } => info!(
            node = name(*peer, names),
            "Tunnel is down until a packet asks for it"
        ),
        ControlEvent::SessionCompleted { peer } => {
            debug!(node = name(*peer, names), "Session established")
        }
        ControlEvent::TransportInstalled {
            peer,
            transport,
            role,
            suite,
        } => {
            debug!(node = name(*peer, names), %transport, ?role, ?suite, "Transport installed");
        }
        ControlEvent::TransportForgotten { peer, transport } => {
            debug!(node = name(*peer, names), %transport, "Transport's keys erased")
        }
        ControlEvent::OwnGenerationRetired(generation) => {
            info!(%generation, "Own tunnel key erased")
        }
        ControlEvent::StampAdvanced {
            generation,
            seconds,
        } => debug!(%generation, seconds, "Handshake timestamp remembered"),
        // Whoever floods must not fill the log: `suspicion.rs` says these.
        ControlEvent::DatagramRefused { .. } => {}
    }
}

/// Keeps the names by which later events are told. A peer that is gone keeps its own: its number is
/// never another's.
pub(super) fn remember(event: &ControlEvent, names: &mut BTreeMap<PeerIndex, NodeName>) {
    if let ControlEvent::PeerAdded { peer, identity, .. } = event {
        names.insert(*peer, identity.name.clone());
    }
}

pub(super) fn name(peer: PeerIndex, names: &BTreeMap<PeerIndex, NodeName>) -> &str {
    names.get(&peer).map_or("?", NodeName::as_str)
}

fn ended(reason: PeerEnd) -> &'static str {
    match reason {
        PeerEnd::NotAdmitted => "it is not among the believed",
        PeerEnd::Expired => "its certificate ended",
        PeerEnd::Revoked => "it is revoked",
        PeerEnd::Superseded => "its successor has taken over",
    }
}

fn wanted(reason: NewGenerationReason) -> &'static str {
    match reason {
        NewGenerationReason::ClockBehind => "the clock was set back",
        NewGenerationReason::MemoryCopied => "the machine's memory was copied",
    }
}
