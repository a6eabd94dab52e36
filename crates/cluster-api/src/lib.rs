//! The Kubernetes kinds of Sotto, `sotto.dev/v1alpha1`, all of them cluster-scoped.
//!
//! [`NodeIdentity`] carries what daemons need of one another and changes only with keys. [`Peer`]
//! is for people: no program of ours watches it, so its counters cost nobody anything.
//! [`RevocationList`] carries a root and what it has revoked. The schemas bound every field; what
//! is inside is bytes that count only after `node-identity` has verified them.
//!
//! Wire format only: no client, no decisions. `cluster-store` reads and writes the objects.

mod bytes;
mod identity;
mod manifest;
pub mod names;
mod peer;
pub mod pem;
mod revocation_list;

pub use bytes::{NotBase64, decode, encode};
pub use identity::{MAX_STATEMENTS, NodeIdentity, NodeIdentitySpec, NodeIdentityStatus};
pub use manifest::crds;
pub use peer::{
    IdentityState, MAX_UNHEALTHY_NAMED, Peer, PeerSpec, PeerStatus, PeerSummary, UnhealthyPeer,
};
pub use revocation_list::{RevocationList, RevocationListSpec, object_name};

/// API group of the kinds and prefix of everything that Sotto names in Kubernetes.
pub const GROUP: &str = "sotto.dev";

/// The signer that node certificates are asked of.
pub const SIGNER_NAME: &str = "sotto.dev/node";

/// Type of the condition by which a pending certificate request says what it waits for.
pub const PENDING_CONDITION: &str = "sotto.dev/Pending";

/// Reason by which it says that an operator has to approve it, see [`OPERATOR_APPROVED`].
pub const AWAITS_APPROVAL: &str = "AwaitsApproval";

/// Label of the PEM block in a certificate request.
pub const REQUEST_LABEL: &str = "CERTIFICATE REQUEST";

/// Reason of the `Approved` condition by which an operator lets a live node change its key.
pub const OPERATOR_APPROVED: &str = "SottoOperatorApproved";

/// Reason of the `Approved` condition that the controller sets itself.
pub const CONTROLLER_APPROVED: &str = "SottoVerified";

/// Reason of the `Denied` condition. The requester learns no more.
pub const REFUSED: &str = "SottoRefused";
