//! From the peers, into the tun.

use std::net::SocketAddr;
use std::ops::Range;

use super::Lane;
use super::datagram::Datagram;
use crate::drop_reason::DropReason;
use crate::moment::Moment;
use crate::packet::{InnerPacket, Verdict};
use crate::plane::{LaneEvent, LaneIndex, PeerIndex};
use crate::transport::HEADER;

impl Lane {
    /// Takes a batch of datagrams from one source, `segment` bytes each, the last one may be
    /// shorter. Opens in place what is for this node's pods, and returns what is to be written to
    /// the tun: the pieces of each frame.
    pub fn inbound<'a>(
        &'a mut self,
        source: SocketAddr,
        batch: &'a mut [u8],
        segment: usize,
        now: Moment,
    ) -> impl Iterator<Item = impl Iterator<Item = &'a [u8]>> {
        self.accepted.clear();
        let mut rest = 0;
        while let Some((kind, run)) = next_run(batch, rest, segment.max(1)) {
            rest = run.end;
            match kind {
                Datagram::Transport(index) => {
                    self.open_run(index, source, batch, run, segment, now);
                }
                Datagram::Control => self.pass_to_control(source, batch.get(run)),
                Datagram::Unknown => self.counters.dropped(DropReason::UnknownMessage),
            }
        }
        self.coalescer.clear();
        for packet in self.accepted.drain(..) {
            self.coalescer.push(batch, packet);
        }
        self.coalescer.finish(batch);
        self.coalescer.writes(batch)
    }

    fn open_run(
        &mut self,
        index: u32,
        source: SocketAddr,
        batch: &mut [u8],
        run: Range<usize>,
        segment: usize,
        now: Moment,
    ) {
        let start = run.start;
        let packets = run.len().div_ceil(segment.max(1)) as u64;
        let receiver = self.receiving.receiver(index).zip(batch.get_mut(run));
        let Some((receiver, messages)) = receiver else {
            self.counters
                .dropped_many(DropReason::UnknownIndex, packets);
            if self.endpoints.contains(source.ip()) {
                self.events
                    .push_hint(LaneEvent::UnknownIndex(source.ip()), now);
            }
            return;
        };
        let (mut empty, counters) = (0, &self.counters);
        self.candidates.clear();
        receiver
            .key
            .open_run(messages, segment, now, |offset, opened| match opened {
                Ok(0) => empty += 1,
                Ok(length) => {
                    let packet = start + offset + HEADER;
                    self.candidates.push(packet..packet + length);
                }
                Err(reason) => counters.dropped(reason),
            });
        let (id, peer, due) = (receiver.id, receiver.peer, receiver.key.rekey_due(now));
        let data = self.candidates.len() as u64;
        if data + empty > 0 && self.receiving.opened(id) {
            self.events.push(LaneEvent::FirstOpened(id));
        }
        if data > 0
            && let Some(sender) = self.sending.chosen(peer, id)
            && sender.asks(due, now)
        {
            self.events.push(LaneEvent::RekeyDue(id));
        }
        let bytes = self.judge(batch, peer);
        self.counters.received(peer, data, bytes, empty);
    }

    /// Sorts out the packets that the peer may not send; returns the bytes of the others.
    fn judge(&mut self, batch: &[u8], peer: PeerIndex) -> u64 {
        let mut bytes = 0;
        for packet in self.candidates.drain(..) {
            let parsed = batch.get(packet.clone()).unwrap_or_default();
            let verdict = InnerPacket::parse_padded(parsed).and_then(|inner| {
                match inner.route_inbound(&self.owners, peer) {
                    Verdict::ToLocal => Ok(inner.length),
                    Verdict::ToPeer(_) => Err(DropReason::DestinationNotOwn),
                    Verdict::Drop(reason) => Err(reason),
                }
            });
            match verdict {
                Ok(length) => {
                    bytes += length as u64;
                    self.accepted.push(packet.start..packet.start + length);
                }
                Err(reason) => self.counters.refused(peer, reason),
            }
        }
        bytes
    }

    /// Control messages go between the first lanes of two nodes, from a certified endpoint.
    fn pass_to_control(&mut self, source: SocketAddr, datagram: Option<&[u8]>) {
        if self.settings.index != LaneIndex(0) {
            return self.counters.dropped(DropReason::ControlOnWrongLane);
        }
        if !self.endpoints.contains(source.ip()) {
            return self.counters.dropped(DropReason::UncertifiedSource);
        }
        let datagram = datagram.unwrap_or_default().to_vec();
        if !self
            .events
            .push(LaneEvent::ControlDatagram { source, datagram })
        {
            self.counters.dropped(DropReason::ControlQueueFull);
        }
    }
}

/// The next datagram of the batch, and those after it that have the same index.
fn next_run(batch: &[u8], start: usize, segment: usize) -> Option<(Datagram, Range<usize>)> {
    let mut datagrams = batch.get(start..)?.chunks(segment);
    let first = datagrams.next()?;
    let kind = Datagram::classify(first);
    let more: usize = match kind {
        Datagram::Transport(_) => datagrams
            .take_while(|datagram| Datagram::classify(datagram) == kind)
            .map(<[u8]>::len)
            .sum(),
        Datagram::Control | Datagram::Unknown => 0,
    };
    Some((kind, start..start + first.len() + more))
}
