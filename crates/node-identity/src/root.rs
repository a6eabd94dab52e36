//! The root: a self-signed Ed25519 certificate, its pin, and the key that signs for it.
//!
//! A root counts only if its key hashes to a pin that the operator gave; where its certificate
//! came from is then of no matter.

mod trusted;

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use thiserror::Error;
use x509_cert::{certificate::Version, ext::pkix::KeyUsages, name::Name};
use zeroize::Zeroizing;

pub use trusted::TrustedRoots;

use crate::{
    KeyError, NodeCertificate, NodeCertificateTerms, PodRanges, RevocationList,
    SignedRevocationList, TermsError, TrustDomain, UnixTime,
    encoding::{self, EncodingError, encode, sha256_type},
    keys,
    x509::{
        self, CertificateBody, LAST_DATE, SignedPartsError,
        address_blocks::{AddressBlocks, AddressBlocksError},
    },
};

/// How long a root is valid: 20 years, a guess at "longer than the cluster".
const ROOT_LIFETIME_SECONDS: u64 = 20 * 365 * 24 * 3600;

sha256_type! {
    /// SHA-256 of a root's SubjectPublicKeyInfo: what an operator gives a node to trust.
    Pin, PinError, PinError
}

/// Text that is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read pin {0:?}: sha256:<64 lower-case hexadecimal digits> is expected")]
pub struct PinError(String);

/// Why a root certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    /// Not canonical DER of a certificate.
    #[error("read root certificate")]
    Encoding(#[from] EncodingError),
    /// Signed with something else than Ed25519.
    #[error("read root certificate: only Ed25519 signatures are accepted")]
    Algorithm,
    /// Its key is refused.
    #[error("read root certificate: its key is refused")]
    Key(#[source] KeyError),
    /// Its URI name is not `spiffe://<trust domain>`.
    #[error("read root certificate: one name spiffe://<trust domain> is expected")]
    TrustDomain,
    /// Its address blocks are refused.
    #[error("read root certificate: its address blocks are refused")]
    AddressBlocks(#[source] AddressBlocksError),
    /// It has other extensions, names or orders than the roots that Sotto makes.
    #[error("read root certificate: it has not the form of a Sotto root")]
    Form,
    /// Its signature by its own key is wrong.
    #[error("read root certificate: its signature is wrong")]
    Signature,
}

/// Why a node certificate is not issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssueError {
    /// The root certificate belongs to another key.
    #[error("issue node certificate: the root certificate is not of the root key")]
    OtherRoot,
    /// The terms are impossible.
    #[error("issue node certificate")]
    Terms(#[from] TermsError),
    /// The node is of another trust domain than the root.
    #[error("issue node certificate: the node is of {node}, the root of {root}")]
    TrustDomain {
        /// The node's trust domain.
        node: TrustDomain,
        /// The root's trust domain.
        root: TrustDomain,
    },
    /// The pod ranges lie outside the root's address blocks.
    #[error("issue node certificate: {0} are outside the root's address blocks")]
    PodRanges(PodRanges),
    /// The certificate would outlive the root.
    #[error("issue node certificate: it would outlive its root, which ends at {0}")]
    OutlivesRoot(UnixTime),
    /// A node cannot have the root's key.
    #[error("issue node certificate: the node's key is the root's")]
    RootKey,
}

/// The private key of a root.
pub struct RootKey(SigningKey);

/// The self-signed certificate of a root. Not trusted by itself: see [`TrustedRoots`].
#[derive(Clone, PartialEq, Eq)]
pub struct RootCertificate {
    der: Vec<u8>,
    key: VerifyingKey,
    trust_domain: TrustDomain,
    not_before: UnixTime,
    not_after: UnixTime,
    blocks: AddressBlocks,
}

impl RootKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// The private key as PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        keys::private_to_pem(&self.0)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        keys::private_from_pem(pem).map(Self)
    }

    /// The pin of this key's certificates.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin(keys::spki_hash(&self.0.verifying_key()))
    }

    /// Makes a root certificate over the whole address space.
    #[must_use]
    pub fn create_certificate(
        &self,
        trust_domain: &TrustDomain,
        now: UnixTime,
        rng: &mut impl CryptoRng,
    ) -> RootCertificate {
        let blocks = AddressBlocks::everything();
        let key = self.0.verifying_key();
        let not_after = UnixTime(now.0.saturating_add(ROOT_LIFETIME_SECONDS)).min(LAST_DATE);
        // 63 bits: an INTEGER of 8 bytes, positive.
        let serial = (rng.next_u64() >> 1).max(1);
        let body = root_body(serial, &key, trust_domain, (now, not_after), &blocks);
        RootCertificate {
            der: x509::sign(&body, &self.0).0,
            key,
            trust_domain: trust_domain.clone(),
            not_before: now,
            not_after,
            blocks,
        }
    }

    /// Signs a node certificate. Whether the node may have it is decided before.
    ///
    /// # Errors
    /// The terms are impossible or do not fit the root.
    pub fn issue(
        &self,
        root: &RootCertificate,
        terms: &NodeCertificateTerms,
    ) -> Result<NodeCertificate, IssueError> {
        if root.key != self.0.verifying_key() {
            return Err(IssueError::OtherRoot);
        }
        terms.check()?;
        if terms.identity.trust_domain != root.trust_domain {
            return Err(IssueError::TrustDomain {
                node: terms.identity.trust_domain.clone(),
                root: root.trust_domain.clone(),
            });
        }
        if !root.blocks.covers(&terms.pod_ranges) {
            return Err(IssueError::PodRanges(terms.pod_ranges.clone()));
        }
        if terms.not_after > root.not_after {
            return Err(IssueError::OutlivesRoot(root.not_after));
        }
        if terms.key.to_bytes() == root.key.to_bytes() {
            return Err(IssueError::RootKey);
        }
        Ok(NodeCertificate::sign(terms, &self.0))
    }

    /// Signs a revocation list.
    #[must_use]
    pub fn sign_revocations(&self, list: &RevocationList) -> SignedRevocationList {
        SignedRevocationList::sign(list, |bytes| self.0.sign(bytes))
    }
}

impl RootCertificate {
    /// Reads a root certificate and checks its own signature.
    ///
    /// # Errors
    /// It is not exactly what [`RootKey::create_certificate`] makes.
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        let parts = x509::signed_parts(der).map_err(|error| match error {
            SignedPartsError::Encoding(error) => RootError::Encoding(error),
            SignedPartsError::Algorithm => RootError::Algorithm,
        })?;
        let body: CertificateBody = encoding::decode_canonical(&parts.body)?;
        let key = x509::key_from_info(&body.key).map_err(RootError::Key)?;
        let trust_domain = read_trust_domain(&body).ok_or(RootError::TrustDomain)?;
        let blocks =
            AddressBlocks::from_extensions(&body.extensions).map_err(RootError::AddressBlocks)?;
        let (not_before, not_after) = body.dates();
        let dates = (not_before, not_after);
        let expected = root_body(body.serial, &key, &trust_domain, dates, &blocks);
        if body.version != Version::V3 || encode(&expected) != parts.body {
            return Err(RootError::Form);
        }
        key.verify_strict(&parts.body, &parts.signature)
            .map_err(|_| RootError::Signature)?;
        Ok(Self {
            der: der.to_vec(),
            key,
            trust_domain,
            not_before,
            not_after,
            blocks,
        })
    }

    /// The certificate as DER.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin(keys::spki_hash(&self.key))
    }

    /// The trust domain the root speaks for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The first second of validity.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second of validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Whether this root signed a node certificate. That alone makes nobody a peer.
    #[must_use]
    pub fn has_signed(&self, certificate: &NodeCertificate) -> bool {
        let (body, signature) = certificate.signed();
        *certificate.issuer() == self.key_id() && self.verify(body, signature)
    }

    pub(crate) fn key_id(&self) -> x509::KeyId {
        x509::key_id(&self.key)
    }

    pub(crate) const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    pub(crate) fn covers(&self, ranges: &PodRanges) -> bool {
        self.blocks.covers(ranges)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.key.verify_strict(message, signature).is_ok()
    }
}

/// Everything in a root follows from these values, so reading one is: take them out, write the
/// certificate again, compare.
fn root_body(
    serial: u64,
    key: &VerifyingKey,
    trust_domain: &TrustDomain,
    dates: (UnixTime, UnixTime),
    blocks: &AddressBlocks,
) -> CertificateBody {
    let id = x509::key_id(key);
    let name: Name = x509::root_name(&id);
    let extensions = vec![
        x509::basic_constraints(Some(0)),
        x509::key_usage(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
        x509::subject_key(&id),
        x509::alternative_names(false, &format!("spiffe://{trust_domain}"), &[]),
        blocks.to_extension(),
    ];
    CertificateBody::new(serial, name.clone(), name, dates, key, extensions)
}

fn read_trust_domain(body: &CertificateBody) -> Option<TrustDomain> {
    let (uri, addresses) = x509::read_alternative_names(&body.extensions)?;
    let name = uri.strip_prefix("spiffe://")?;
    addresses.is_empty().then(|| name.parse().ok())?
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(<redacted>)")
    }
}

impl fmt::Debug for RootCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootCertificate({}, {})", self.trust_domain, self.pin())
    }
}
