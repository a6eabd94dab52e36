//! The underlay: what becomes of each datagram.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use chacha20::ChaCha12Rng;
use rand_core::Rng;

use crate::packet::endpoint;

/// One datagram, or several of one length (the last may be shorter) that arrive together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it says it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Length of each but the last.
    pub segment: usize,
}

impl Datagram {
    /// The WireGuard message type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }

    /// Whether it carries pod packets.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        self.kind() == 4 && self.bytes.get(7).is_some_and(|top| top & 0x80 != 0)
    }
}

/// Chances are of 1000.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How many are lost.
    pub loss: u32,
    /// How many of those that are not arrive once more.
    pub repetition: u32,
    /// The shortest way.
    pub delay: Duration,
    /// How much longer the longest is: datagrams overtake each other.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing is lost, repeated or overtaken.
    pub const FAIR: Weather = Weather {
        loss: 0,
        repetition: 0,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
    };

    /// Nothing is lost, but datagrams overtake each other.
    pub const WINDY: Weather = Weather {
        loss: 0,
        repetition: 0,
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(80),
    };

    /// A bad network.
    pub const FOUL: Weather = Weather {
        loss: 150,
        repetition: 50,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(200),
    };
}

/// The network between all nodes.
pub struct Network {
    /// The weather everywhere.
    pub weather: Weather,
    cut: BTreeSet<(usize, usize)>,
    rng: ChaCha12Rng,
}

impl Network {
    /// A network in fair weather.
    #[must_use]
    pub fn new(rng: ChaCha12Rng) -> Self {
        Self {
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            rng,
        }
    }

    /// Nothing gets from one node to the other any more. The way back is another matter.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Mends the way from one node to the other.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }

    /// Mends all ways and clears the sky.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.weather = Weather::FAIR;
    }

    /// When each copy of a datagram arrives.
    pub fn fate(&mut self, from: usize, to: usize) -> Vec<Duration> {
        if self.cut.contains(&(from, to)) || self.chance(self.weather.loss) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.chance(self.weather.repetition));
        (0..copies).map(|_| self.way()).collect()
    }

    fn way(&mut self) -> Duration {
        let Weather { delay, jitter, .. } = self.weather;
        if jitter.is_zero() {
            return delay;
        }
        delay + jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }

    fn chance(&mut self, of_1000: u32) -> bool {
        of_1000 > 0 && self.rng.next_u32() % 1000 < of_1000
    }
}

/// The node that has an address.
#[must_use]
pub fn node_at(address: SocketAddr, nodes: usize) -> Option<usize> {
    (0..nodes).find(|node| endpoint(*node) == address.ip())
}
