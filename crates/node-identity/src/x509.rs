//! What root and node certificates and PKCS#10 requests have in common: the signed wrapper,
//! the extensions, names and dates, each in the one encoding that is accepted.

pub(crate) mod address_blocks;

use std::{net::IpAddr, str::FromStr, time::Duration};

use der::{
    Any, DateTime, Encode, Sequence,
    asn1::{BitString, Ia5String, ObjectIdentifier},
    flagset::FlagSet,
    oid::AssociatedOid,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use x509_cert::{
    certificate::Version,
    ext::{
        Extension, Extensions,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectAltName,
            SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::Name,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

use crate::{
    UnixTime,
    encoding::{self, EncodingError, encode, octets},
    keys::{self, KeyError, strict_public},
};

/// RFC 8410 section 3: id-Ed25519, and no parameters ever.
const ED25519: AlgorithmIdentifierOwned = AlgorithmIdentifierOwned {
    oid: ObjectIdentifier::new_unwrap("1.3.101.112"),
    parameters: None,
};

/// The last second that X.509 can write: 9999-12-31 23:59:59.
pub(crate) const LAST_DATE: UnixTime = UnixTime(253_402_300_799);

/// The wrapper of RFC 5280 section 4.1 and RFC 2986 section 4.2: body, algorithm, signature.
#[derive(Sequence)]
struct Signed {
    body: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// A wrapper taken apart; `body` holds the bytes as they were signed.
pub(crate) struct SignedParts {
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Signature,
}

/// Why the signed wrapper is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignedPartsError {
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    #[error("read signature: only Ed25519 is accepted")]
    Algorithm,
}

/// TBSCertificate of RFC 5280 section 4.1, as we write it: version 3, extensions always.
#[derive(Sequence, PartialEq, Eq)]
pub(crate) struct CertificateBody {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub(crate) version: Version,
    pub(crate) serial: u64,
    pub(crate) algorithm: AlgorithmIdentifierOwned,
    pub(crate) issuer: Name,
    pub(crate) validity: Validity,
    pub(crate) subject: Name,
    pub(crate) key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    pub(crate) extensions: Extensions,
}

impl CertificateBody {
    pub(crate) fn new(
        serial: u64,
        issuer: Name,
        subject: Name,
        dates: (UnixTime, UnixTime),
        key: &VerifyingKey,
        extensions: Extensions,
    ) -> Self {
        Self {
            version: Version::V3,
            serial,
            algorithm: ED25519,
            issuer,
            validity: Validity::new(date(dates.0), date(dates.1)),
            subject,
            key: key_info(key),
            extensions,
        }
    }

    pub(crate) fn dates(&self) -> (UnixTime, UnixTime) {
        let seconds = |time: Time| UnixTime(time.to_unix_duration().as_secs());
        (
            seconds(self.validity.not_before),
            seconds(self.validity.not_after),
        )
    }
}

/// Signs a body: the wrapped whole, the body's bytes, the signature.
pub(crate) fn sign(body: &impl Encode, key: &SigningKey) -> (Vec<u8>, Vec<u8>, Signature) {
    let body = encode(body);
    let signature = key.sign(&body);
    (wrap(&body, &signature), body, signature)
}

#[expect(clippy::expect_used, reason = "the body was encoded a line before")]
fn wrap(body: &[u8], signature: &Signature) -> Vec<u8> {
    encode(&Signed {
        body: der::Decode::from_der(body).expect("what was just encoded is DER"),
        algorithm: ED25519,
        signature: bits(&signature.to_bytes()),
    })
}

/// Takes a signed object apart. The body stays untrusted until the signature is verified.
pub(crate) fn signed_parts(der: &[u8]) -> Result<SignedParts, SignedPartsError> {
    let signed: Signed = encoding::decode_canonical(der)?;
    if signed.algorithm != ED25519 {
        return Err(SignedPartsError::Algorithm);
    }
    let bytes = signed.signature.as_bytes().unwrap_or_default();
    let signature = Signature::from_slice(bytes)
        .map_err(|_| SignedPartsError::Encoding(EncodingError::FieldLength("signature")))?;
    Ok(SignedParts {
        body: encode(&signed.body),
        signature,
    })
}

#[expect(clippy::expect_used, reason = "no unused bits, and far below 256 MiB")]
fn bits(bytes: &[u8]) -> BitString {
    BitString::from_bytes(bytes).expect("whole bytes make a bit string")
}

pub(crate) fn key_info(key: &VerifyingKey) -> SubjectPublicKeyInfoOwned {
    SubjectPublicKeyInfoOwned {
        algorithm: ED25519,
        subject_public_key: bits(key.as_bytes()),
    }
}

/// Takes a strict Ed25519 key out of a SubjectPublicKeyInfo.
pub(crate) fn key_from_info(info: &SubjectPublicKeyInfoOwned) -> Result<VerifyingKey, KeyError> {
    if info.algorithm != ED25519 {
        return Err(KeyError::NotAPoint);
    }
    let bytes = info.subject_public_key.as_bytes().unwrap_or_default();
    let bytes = bytes.try_into().map_err(|_| KeyError::NotAPoint)?;
    strict_public(bytes)
}

/// Dates past the year 9999 are written as its end; callers check against [`LAST_DATE`].
#[expect(
    clippy::expect_used,
    reason = "bounded by the last date X.509 can write"
)]
fn date(time: UnixTime) -> Time {
    DateTime::from_unix_duration(Duration::from_secs(time.min(LAST_DATE).0))
        .expect("dates up to the year 9999 can be written")
        .into()
}

/// A key identifier (RFC 7093 section 2): the first 20 bytes of the SHA-256 of the key's SPKI.
pub(crate) type KeyId = [u8; 20];

pub(crate) fn key_id(key: &VerifyingKey) -> KeyId {
    let hash = keys::spki_hash(key);
    std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
}

/// The subject of a root: it follows from its key, so that two roots never share a name.
#[expect(clippy::expect_used, reason = "hexadecimal digits need no escape")]
pub(crate) fn root_name(key: &KeyId) -> Name {
    let id = encoding::hex(key);
    Name::from_str(&format!("CN=sotto root {id}")).expect("a plain common name parses")
}

fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> Extension {
    Extension {
        extn_id: T::OID,
        critical,
        extn_value: octets(&encode(value)),
    }
}

pub(crate) fn basic_constraints(authority: Option<u8>) -> Extension {
    let value = BasicConstraints {
        ca: authority.is_some(),
        path_len_constraint: authority,
    };
    extension(true, &value)
}

pub(crate) fn key_usage(usage: impl Into<FlagSet<KeyUsages>>) -> Extension {
    extension(true, &KeyUsage(usage.into()))
}

pub(crate) fn subject_key(id: &KeyId) -> Extension {
    extension(false, &SubjectKeyIdentifier(octets(id)))
}

pub(crate) fn authority_key(id: &KeyId) -> Extension {
    let value = AuthorityKeyIdentifier {
        key_identifier: Some(octets(id)),
        ..Default::default()
    };
    extension(false, &value)
}

/// Critical when the subject is empty (RFC 5280 section 4.2.1.6), which it is for nodes.
#[expect(clippy::expect_used, reason = "SPIFFE ids are ASCII")]
pub(crate) fn alternative_names(critical: bool, uri: &str, addresses: &[IpAddr]) -> Extension {
    let uri = Ia5String::new(uri).expect("names are of a small ASCII alphabet");
    let mut names = vec![GeneralName::UniformResourceIdentifier(uri)];
    names.extend(
        addresses
            .iter()
            .map(|address| GeneralName::IpAddress(encoding::address_octets(address))),
    );
    extension(critical, &SubjectAltName(names))
}

/// Reads one URI followed by addresses; anything else is `None`.
pub(crate) fn read_alternative_names(extensions: &[Extension]) -> Option<(String, Vec<IpAddr>)> {
    let names: SubjectAltName = find(extensions)?;
    let mut names = names.0.into_iter();
    let Some(GeneralName::UniformResourceIdentifier(uri)) = names.next() else {
        return None;
    };
    let addresses = names.map(|name| {
        let GeneralName::IpAddress(octets) = name else {
            return None;
        };
        encoding::address_from(&octets).ok()
    });
    Some((uri.as_str().to_owned(), addresses.collect::<Option<_>>()?))
}

/// Decodes the first extension of its kind; that there is no second, and none besides, is
/// found by encoding the whole again.
pub(crate) fn find<'a, T>(extensions: &'a [Extension]) -> Option<T>
where
    T: AssociatedOid + der::Decode<'a, Error = der::Error>,
{
    let found = extensions.iter().find(|one| one.extn_id == T::OID)?;
    T::from_der(found.extn_value.as_bytes()).ok()
}
