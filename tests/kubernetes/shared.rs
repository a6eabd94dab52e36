//! Clusters that several tests use one after the other (an API server takes seconds to start), and
//! the node that joins them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use sotto_tests::cluster::{Member, join};
use sotto_tests::kubernetes::{Cluster, KubernetesPair};
use sotto_tests::lab::{DaemonSettings, Lab};
use sotto_tests::traffic;

/// A cluster in its lab, made for the first test that asks and gone with the program.
pub(crate) struct Shared<T>(Mutex<Option<(Lab, T)>>);

/// Sotto installed, nothing of it running.
pub(crate) static INSTALLED: Shared<Cluster> = Shared::new();
/// A controller, Alice and Bob.
pub(crate) static PAIR: Shared<KubernetesPair> = Shared::new();

impl<T> Shared<T> {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn with_made(
        &self,
        make: fn(&Lab) -> Result<T>,
        body: impl FnOnce(&Lab, &T) -> Result<()>,
    ) -> Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            let lab = Lab::new()?;
            let made = make(&lab).map_err(|error| error.context(lab.report()))?;
            *kept = Some((lab, made));
        }
        let (lab, made) = kept.as_ref().context("just made")?;
        match catch_unwind(AssertUnwindSafe(|| body(lab, made))) {
            Ok(result) => result.map_err(|error| anyhow::anyhow!("{error:#}\n{}", lab.report())),
            Err(cause) => resume_unwind(cause),
        }
    }
}

impl Shared<Cluster> {
    /// Runs a test on the cluster.
    pub(crate) fn with(&self, body: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
        self.with_made(Cluster::raise, |_, cluster| body(cluster))
    }
}

impl Shared<KubernetesPair> {
    /// Runs a test on the pair; it leaves both nodes as it found them.
    pub(crate) fn with(
        &self,
        body: impl FnOnce(&Lab, &KubernetesPair) -> Result<()>,
    ) -> Result<()> {
        self.with_made(KubernetesPair::raise, body)
    }
}

/// A third node beside Alice and Bob: alice believes it, and their pods talk.
pub(crate) fn carol(lab: &Lab, pair: &KubernetesPair) -> Result<Member> {
    let settings = DaemonSettings::default();
    let carol = join(lab.node("carol")?, "third", &pair.cluster, &settings)?;
    pair.alice.node.knows(&carol.node)?;
    traffic::ping(&carol.pod, pair.alice.pod.ipv4()?, b"in")?;
    Ok(carol)
}
