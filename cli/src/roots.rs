//! The roots that a cluster carries: certificate and signed list, as far as they hold together.

use cluster_api::{RevocationList, object_name};
use node_identity::{
    Pin, Revocations, RootCertificate, SignedRevocationList, TrustedRoots, UnixTime,
};

/// One root as the cluster shows it.
#[derive(Debug)]
pub(crate) struct RootSeen {
    /// The hash of its key.
    pub(crate) pin: Pin,
    /// Its certificate, which is well-formed and proves nothing by itself.
    pub(crate) certificate: RootCertificate,
    /// Its list, signed by it.
    pub(crate) list: SignedRevocationList,
}

/// Reads an object: it must be filed under its own pin and its list be signed by its own root.
pub(crate) fn read(object: &RevocationList) -> Result<RootSeen, String> {
    let certificate = cluster_api::decode(&object.spec.root_certificate)
        .map_err(|error| format!("root certificate: {error}"))
        .and_then(|der| RootCertificate::from_der(&der).map_err(|error| chain(&error)))?;
    let pin = certificate.pin();
    if object.metadata.name.as_deref() != Some(object_name(&pin).as_str()) {
        return Err(format!(
            "holds the root {pin}, which belongs under its own name"
        ));
    }
    let list = cluster_api::decode(&object.spec.signed_list)
        .map_err(|error| format!("signed list: {error}"))
        .and_then(|der| SignedRevocationList::from_der(&der).map_err(|error| chain(&error)))?;
    list.verify(&TrustedRoots::new(&[pin], [certificate.clone()]))
        .map_err(|error| chain(&error))?;
    Ok(RootSeen {
        pin,
        certificate,
        list,
    })
}

impl RootSeen {
    /// Whether a newer list should be here.
    pub(crate) fn is_overdue(&self, now: UnixTime) -> bool {
        self.list.list().next_update < now
    }
}

/// The roots behind these pins, and what they have revoked.
pub(crate) fn trust(pins: &[Pin], seen: &[RootSeen]) -> (TrustedRoots, Revocations) {
    let candidates = seen.iter().map(|root| root.certificate.clone());
    let roots = TrustedRoots::new(pins, candidates);
    let mut revocations = Revocations::default();
    for root in seen {
        if let Ok(list) = root.list.verify(&roots) {
            // One list a root: nothing is there that it could contradict.
            let _ = revocations.accept(&list);
        }
    }
    (roots, revocations)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
