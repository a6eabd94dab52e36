//! Where the ledger lives: a file, or a Secret. Either is replaced as a whole, by compare and swap:
//! who decided on an older version has lost and decides again.

use crate::kubernetes::SecretLedger;

use super::{Ledger, LedgerError, LedgerFile};

/// Keeps the ledger.
#[derive(Debug)]
pub(crate) enum LedgerHome {
    /// In the controller's state folder.
    File(LedgerFile),
    /// In Kubernetes.
    Secret(Box<SecretLedger>),
    /// In a test.
    #[cfg(test)]
    Memory(MemoryLedger),
}

impl LedgerHome {
    /// Reads the ledger.
    pub(crate) async fn read(&self) -> Result<Ledger, LedgerError> {
        match self {
            Self::File(file) => file.read(),
            Self::Secret(secret) => secret.read().await,
            #[cfg(test)]
            Self::Memory(memory) => memory.read(),
        }
    }

    /// Bytes of the ledger as it was last read or written.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.bytes(),
            Self::Secret(secret) => secret.bytes(),
            #[cfg(test)]
            Self::Memory(_) => 0,
        }
    }

    /// Replaces the version that was read by the next one, as long as so many bytes stay free where
    /// there is a limit. After [`LedgerError::Full`] it can be tried with less.
    pub(crate) async fn replace(
        &self,
        next: Ledger,
        kept_free: usize,
    ) -> Result<Ledger, LedgerError> {
        match self {
            Self::File(file) => file.replace(next),
            Self::Secret(secret) => secret.replace(next, kept_free).await,
            #[cfg(test)]
            Self::Memory(memory) => memory.replace(next, kept_free).await,
        }
    }
}

#[cfg(test)]
pub(crate) use memory::MemoryLedger;

#[cfg(test)]
mod memory {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::{Ledger, LedgerError};
    use crate::ledger::pack;

    /// A ledger that several controllers of one test share.
    #[derive(Debug, Clone)]
    pub(crate) struct MemoryLedger {
        kept: Arc<Mutex<Ledger>>,
        /// Who replaces the ledger waits here first.
        gate: Option<Arc<Semaphore>>,
        reads: Arc<AtomicUsize>,
        /// Most bytes that it may have, packed.
        limit: Arc<AtomicUsize>,
    }

    impl MemoryLedger {
        pub(crate) fn new(ledger: Ledger) -> Self {
            Self {
                kept: Arc::new(Mutex::new(ledger)),
                gate: None,
                reads: Arc::default(),
                limit: Arc::new(AtomicUsize::new(usize::MAX)),
            }
        }

        /// The same ledger, seen by a controller that stalls between reading and writing until the
        /// gate has a permit for it.
        pub(crate) fn stalling(&self, gate: &Arc<Semaphore>) -> Self {
            Self {
                kept: Arc::clone(&self.kept),
                gate: Some(Arc::clone(gate)),
                reads: Arc::default(),
                limit: Arc::clone(&self.limit),
            }
        }

        /// Lets it grow by so many bytes.
        pub(crate) fn leave_room(&self, bytes: usize) {
            let limit = pack(&self.now()).len() + bytes;
            self.limit.store(limit, Ordering::Relaxed);
        }

        pub(crate) fn now(&self) -> Ledger {
            self.kept.lock().unwrap().clone()
        }

        /// How often it was read.
        pub(crate) fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }

        pub(crate) fn put(&self, ledger: Ledger) {
            *self.kept.lock().unwrap() = ledger;
        }

        #[expect(clippy::unnecessary_wraps, reason = "as the other homes")]
        pub(super) fn read(&self) -> Result<Ledger, LedgerError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(self.now())
        }

        pub(super) async fn replace(
            &self,
            mut next: Ledger,
            kept_free: usize,
        ) -> Result<Ledger, LedgerError> {
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            let mut kept = self.kept.lock().unwrap();
            if kept.version != next.version {
                let expected = next.version;
                return Err(LedgerError::Conflict { expected });
            }
            let (bytes, limit) = (pack(&next).len(), self.limit.load(Ordering::Relaxed));
            if limit < usize::MAX && bytes + kept_free > limit {
                let secret = "memory".to_owned();
                return Err(LedgerError::Full {
                    secret,
                    bytes,
                    limit,
                });
            }
            next.version += 1;
            *kept = next.clone();
            Ok(next)
        }
    }
}
