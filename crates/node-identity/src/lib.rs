//! Who a node is, and who says so.
//!
//! Names, pod ranges, keys, the root certificate, node certificates, key statements, envelopes,
//! revocation lists, join tokens: how each is made, written down and checked. The only way to a
//! [`VerifiedPeer`] is [`Envelope::verify`]; [`admit`] then settles what two peers both claim.
//!
//! Pure: no sockets, files, clock or global random source. Time and randomness are arguments.
//! Start reading at [`envelope`], which ties the others together.

mod certificate;
mod encoding;
pub mod envelope;
mod floor;
mod join;
mod keys;
mod names;
mod peers;
mod ranges;
mod request;
mod revocation;
mod root;
mod serial;
mod statement;
mod time;
mod x509;

pub use certificate::{
    CERTIFICATE_LIFETIME, CertificateError, MAX_ADDRESSES, NOT_BEFORE_BACKDATE, NodeCertificate,
    NodeCertificateTerms, TermsError,
};
pub use encoding::EncodingError;
pub use envelope::{Envelope, EnvelopeError, SealError, VerifiedPeer, VerifyError};
pub use floor::{Floor, FloorError};
pub use join::{JoinToken, JoinTokenError, JoinTokenId};
pub use keys::{IdentityKey, IdentityPublic, IkHash, KeyError, TunnelKey, TunnelPublic};
pub use names::{NameError, NodeName, NodeUid, SpiffeId, TrustDomain};
pub use peers::{Admission, Conflict, admit};
pub use ranges::{
    NetworkError, PodCidr, PodCidrError, PodRanges, PodRangesError, contains, overlap,
    parse_network, special_purpose,
};
pub use request::{CertificateRequest, RequestError};
pub use revocation::{
    RevocationEntry, RevocationError, RevocationList, Revocations, RevokedSubject,
    SignedRevocationList, VerifiedRevocationList,
};
pub use root::{IssueError, Pin, PinError, RootCertificate, RootError, RootKey, TrustedRoots};
pub use serial::CertificateSerial;
pub use statement::{Generation, KeyStatement, StatementError, StatementSigner};
pub use time::UnixTime;

#[cfg(test)]
mod tests;
