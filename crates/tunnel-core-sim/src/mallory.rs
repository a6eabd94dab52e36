//! Mallory, who sits on the underlay: she records every datagram, and sends what she likes from
//! whatever address she likes. She has no node's keys.

use std::net::{IpAddr, SocketAddr};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use chacha20::ChaCha12Rng;
use node_identity::TunnelPublic;
use rand_core::Rng;

use crate::certified::BASE_PORT;
use crate::network::Datagram;
use crate::packet::endpoint;

/// How many datagrams she keeps; later ones take the places of earlier ones at random. Initiations
/// she keeps as long as there is room.
const TAPE: usize = 600;
const INITIATIONS: usize = 2_000;

/// Mallory's own address.
#[must_use]
pub fn address() -> IpAddr {
    IpAddr::from([198, 51, 100, 66])
}

/// What she does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends a recorded datagram again.
    Replay,
    /// Sends it from another node's address, or from her own.
    Resource,
    /// Sends it back to where it came from, as if its receiver had sent it.
    Reflect,
    /// Changes one bit of it.
    Flip,
    /// Sends an initiation with a good mac1 and a key of her own, from a node's address.
    ForgeInitiation,
    /// Sends a transport index that nobody has, from a node's address.
    ForgeIndex,
}

impl Act {
    /// All of them.
    pub const ALL: [Act; 6] = [
        Act::Replay,
        Act::Resource,
        Act::Reflect,
        Act::Flip,
        Act::ForgeInitiation,
        Act::ForgeIndex,
    ];
}

/// Whom she can attack.
pub struct Target {
    /// The node's lanes.
    pub lanes: u8,
    /// Its tunnel key, which is public.
    pub key: TunnelPublic,
}

/// Mallory.
pub struct Mallory {
    tape: Vec<Datagram>,
    initiations: Vec<Datagram>,
    seen: u64,
    rng: ChaCha12Rng,
}

impl Mallory {
    /// She has seen nothing yet.
    #[must_use]
    pub fn new(rng: ChaCha12Rng) -> Self {
        Self {
            tape: Vec::new(),
            initiations: Vec::new(),
            seen: 0,
            rng,
        }
    }

    /// She sees a datagram.
    pub fn see(&mut self, datagram: &Datagram) {
        self.seen += 1;
        if datagram.kind() == 1 && self.initiations.len() < INITIATIONS {
            self.initiations.push(datagram.clone());
        }
        if self.tape.len() < TAPE {
            self.tape.push(datagram.clone());
        } else {
            let place = self.below(self.seen as usize);
            if let Some(kept) = self.tape.get_mut(place) {
                *kept = datagram.clone();
            }
        }
    }

    /// What she has recorded, in no order.
    #[must_use]
    pub fn tape(&self) -> &[Datagram] {
        &self.tape
    }

    /// The initiations that a node has sent, oldest first.
    #[must_use]
    pub fn initiations(&self, from: usize) -> Vec<Datagram> {
        let all = self.initiations.iter();
        let of = all.filter(|it| it.source.ip() == endpoint(from));
        of.cloned().collect()
    }

    /// Does it; nothing if she has nothing to do it with.
    pub fn act(&mut self, act: Act, targets: &[Target]) -> Option<Datagram> {
        match act {
            Act::Replay => self.recorded(),
            Act::Resource => {
                let mut datagram = self.recorded()?;
                datagram.source = self.some_address(targets);
                Some(datagram)
            }
            Act::Reflect => {
                let mut datagram = self.recorded()?;
                (datagram.source, datagram.destination) = (datagram.destination, datagram.source);
                Some(datagram)
            }
            Act::Flip => {
                let mut datagram = self.recorded()?;
                let bit = self.below(datagram.bytes.len() * 8);
                datagram.bytes[bit / 8] ^= 1 << (bit % 8);
                Some(datagram)
            }
            Act::ForgeInitiation => self.initiation(targets),
            Act::ForgeIndex => {
                let mut bytes = vec![4, 0, 0, 0];
                bytes.extend((self.rng.next_u32() | 1 << 31).to_le_bytes());
                bytes.resize(64, 0);
                let to = self.below(targets.len());
                let lane = self.below(targets[to].lanes.into());
                Some(self.forged(bytes, to, lane, targets))
            }
        }
    }

    fn recorded(&mut self) -> Option<Datagram> {
        if self.below(4) == 0 && !self.initiations.is_empty() {
            let place = self.below(self.initiations.len());
            return self.initiations.get(place).cloned();
        }
        let place = self.below(self.tape.len().max(1));
        self.tape.get(place).cloned()
    }

    fn initiation(&mut self, targets: &[Target]) -> Option<Datagram> {
        let to = self.below(targets.len());
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let secret = StaticSecret::from(secret);
        let mut tunn = Tunn::new(
            secret,
            PublicKey::from(targets[to].key.x25519()),
            None,
            None,
            7,
            None,
        );
        let mut buffer = [0; 148];
        let TunnResult::WriteToNetwork(bytes) = tunn.format_handshake_initiation(&mut buffer, true)
        else {
            return None;
        };
        let bytes = bytes.to_vec();
        Some(self.forged(bytes, to, 0, targets))
    }

    fn forged(&mut self, bytes: Vec<u8>, to: usize, lane: usize, targets: &[Target]) -> Datagram {
        Datagram {
            source: self.some_address(targets),
            destination: SocketAddr::new(endpoint(to), BASE_PORT + lane as u16),
            segment: bytes.len(),
            bytes,
        }
    }

    fn some_address(&mut self, targets: &[Target]) -> SocketAddr {
        let who = self.below(targets.len() + 1);
        let address = if who < targets.len() {
            endpoint(who)
        } else {
            address()
        };
        SocketAddr::new(address, BASE_PORT)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.rng.next_u32() as usize % limit
    }
}
