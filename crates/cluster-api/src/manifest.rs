//! The CustomResourceDefinitions, as they are applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{NodeIdentity, Peer, RevocationList};

/// Every kind, in the order of its file name. `helm uninstall` keeps them: with them would go
/// every certificate and revocation.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 3] {
    [NodeIdentity::crd(), Peer::crd(), RevocationList::crd()].map(|mut crd| {
        crd.metadata.annotations =
            Some([("helm.sh/resource-policy".to_owned(), "keep".to_owned())].into());
        crd.metadata.labels =
            Some([("app.kubernetes.io/part-of".to_owned(), "sotto".to_owned())].into());
        crd
    })
}
