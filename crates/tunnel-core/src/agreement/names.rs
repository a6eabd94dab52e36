//! Hands out what names transports: identifiers within the daemon, index bases on the wire.

use std::collections::HashSet;

use rand_core::CryptoRng;

use crate::plane::{IndexBase, TransportId};

/// All names in use in one daemon.
#[derive(Debug, Default)]
pub(crate) struct TransportNames {
    bases: HashSet<IndexBase>,
    next: u64,
}

impl TransportNames {
    /// A random index base that no transport or open offer of this daemon has.
    pub(crate) fn take_base(&mut self, rng: &mut dyn CryptoRng) -> IndexBase {
        loop {
            let base = IndexBase::new(rng.next_u32() % IndexBase::COUNT);
            if let Some(base) = base.filter(|base| self.bases.insert(*base)) {
                return base;
            }
        }
    }

    /// Gives an index base back.
    pub(crate) fn release_base(&mut self, base: IndexBase) {
        self.bases.remove(&base);
    }

    /// The next identifier, never given before.
    pub(crate) fn take_id(&mut self) -> TransportId {
        self.next += 1;
        TransportId(self.next)
    }
}
