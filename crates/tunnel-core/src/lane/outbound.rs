//! Out of the tun, to the peers.

use super::run::Joined;
use super::{Lane, Run, Wire};
use crate::drop_reason::DropReason;
use crate::moment::Moment;
use crate::offload::split::Segments;
use crate::offload::vnet::Offload;
use crate::packet::{InnerPacket, Verdict};
use crate::plane::{LaneEvent, PeerIndex, TransportId};

/// After a frame of this length its run is sent at once: it is a bulk flow's, and the receiver can
/// work on it while the next one is read (measured with a prototype).
const SEND_AT_ONCE: usize = 30_000;

impl Lane {
    /// Takes a frame from the tun (header and packet). Runs that are full go to the wire; the last
    /// one waits for more, or for `flush`.
    pub fn outbound(&mut self, frame: &[u8], now: Moment, wire: &mut impl Wire) {
        let (peer, segments) = match self.admit(frame) {
            Ok(admitted) => admitted,
            Err(reason) => return self.counters.dropped(reason),
        };
        match self.sending.usable(peer, now) {
            Some(id) => self.append(id, peer, segments, now, wire),
            None => self.wait(peer, frame, now),
        }
        if frame.len() > SEND_AT_ONCE || self.run.is_full() {
            self.flush(now, wire);
        }
    }

    /// Seals and sends what is there; called when the tun has no more.
    pub fn flush(&mut self, now: Moment, wire: &mut impl Wire) {
        let Some((run, messages)) = self.run.take() else {
            return;
        };
        let sender = self.sending.sender(run.id);
        let sealed = sender.and_then(|sender| {
            sender.key.seal_run(messages, run.segment, now).ok()?;
            Some(sender)
        });
        let Some(sender) = sealed else {
            return self
                .counters
                .dropped_many(DropReason::SendingKeyEnded, run.packets());
        };
        let (source, destination) = (sender.source, sender.destination);
        wire.send(Run {
            source,
            destination,
            segment: run.segment,
            datagrams: messages,
        });
        self.counters
            .sent(run.peer, run.data, run.data_bytes, run.empty);
        if run.data > 0
            && let Some(sender) = self.sending.chosen(run.peer, run.id)
            && sender.asks(sender.key.rekey_due(now), now)
        {
            self.events.push(LaneEvent::RekeyDue(run.id));
        }
    }

    /// Sends one empty message to the peer, if there is a transport.
    pub(super) fn send_empty(&mut self, peer: PeerIndex, now: Moment, wire: &mut impl Wire) {
        if let Some(id) = self.sending.usable(peer, now) {
            self.run.start_empty(id, peer);
            self.flush(now, wire);
        }
    }

    fn admit<'a>(&self, frame: &'a [u8]) -> Result<(PeerIndex, Segments<'a>), DropReason> {
        let (offload, packet) = Offload::decode(frame)?;
        let peer = match InnerPacket::parse(packet)?.route_outbound(&self.owners) {
            Verdict::ToPeer(peer) => peer,
            Verdict::ToLocal => return Err(DropReason::DestinationOwn),
            Verdict::Drop(reason) => return Err(reason),
        };
        let segments = Segments::new(offload, packet)?;
        if segments.longest() > self.settings.mtu.0.into() {
            return Err(DropReason::TooBig);
        }
        Ok((peer, segments))
    }

    fn append(
        &mut self,
        id: TransportId,
        peer: PeerIndex,
        mut segments: Segments<'_>,
        now: Moment,
        wire: &mut impl Wire,
    ) {
        while segments.next_length().is_some() {
            match self.run.append(id, peer, &mut segments) {
                Joined::Yes => {}
                Joined::RunEnds => self.flush(now, wire),
                Joined::Never => return self.counters.dropped(DropReason::MalformedPacket),
            }
        }
    }

    fn wait(&mut self, peer: PeerIndex, frame: &[u8], now: Moment) {
        let gave_way = self.waiting.push(peer, frame);
        self.counters
            .dropped_many(DropReason::WaitingOverflow, gave_way);
        if self.waiting.asks(peer, now) {
            self.events.push(LaneEvent::Want(peer));
        }
    }
}
