//! What the control side is told once.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::plane::Suite;
use crate::session::AroundTunn;

/// Whether this machine's processor has instructions for AES and carry-less multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesInstructions {
    /// It has: AES-256-GCM is the fastest suite.
    Present,
    /// It lacks them: AES-256-GCM would be slow and leak by timing.
    Absent,
}

/// Settings of the control side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lanes that run, at least one.
    pub lanes: u8,
    /// Whether AES-256-GCM may be used.
    pub aes: AesInstructions,
    /// Address ranges of Services, which no peer owns.
    pub services: Vec<RangeInclusive<IpAddr>>,
    /// How a `Tunn` is made: [`Settings::ordinary`] for all but simulators.
    pub around_tunn: AroundTunn,
}

impl Settings {
    /// Settings of a real daemon.
    #[must_use]
    pub fn ordinary(lanes: u8, aes: AesInstructions) -> Self {
        Self {
            lanes,
            aes,
            services: Vec::new(),
            around_tunn: |make| make(),
        }
    }

    /// The suites to offer and accept, in order of preference.
    #[must_use]
    pub fn suites(&self) -> Arc<[Suite]> {
        suites(self.aes)
    }
}

#[cfg(not(feature = "plaintext-control"))]
fn suites(aes: AesInstructions) -> Arc<[Suite]> {
    match aes {
        AesInstructions::Present => [Suite::Aes256Gcm, Suite::ChaCha20Poly1305].into(),
        AesInstructions::Absent => [Suite::ChaCha20Poly1305].into(),
    }
}

#[cfg(feature = "plaintext-control")]
fn suites(_: AesInstructions) -> Arc<[Suite]> {
    [Suite::Plaintext].into()
}
