//! Certificate serials: they order all certificates of a root by the time of issue.

use std::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::UnixTime;

/// Random bits below the seconds: two certificates of one second differ.
const RANDOM_BITS: u32 = 24;

/// Unix seconds × 2^24 + 24 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateSerial(pub u64);

impl CertificateSerial {
    /// The serial of a certificate issued at `now`, above the node's previous one even if the
    /// clock went back.
    #[must_use]
    pub fn next(now: UnixTime, previous: Option<Self>, rng: &mut impl CryptoRng) -> Self {
        let random = u64::from(rng.next_u32() >> (u32::BITS - RANDOM_BITS));
        let serial = now.0.saturating_mul(1 << RANDOM_BITS) | random;
        let least = previous.map_or(0, |previous| previous.0.saturating_add(1));
        Self(serial.max(least))
    }
}

impl fmt::Display for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_serial_is_above_the_previous_one_even_when_the_clock_went_back() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let first = CertificateSerial::next(UnixTime(2_000), None, &mut rng);

        let second = CertificateSerial::next(UnixTime(1_000), Some(first), &mut rng);
        let third = CertificateSerial::next(UnixTime(2_001), Some(second), &mut rng);

        assert_eq!(first.0 >> 24, 2_000);
        assert!(second > first);
        assert_eq!(third.0 >> 24, 2_001);
    }
}
