//! The certificate request (PKCS#10, RFC 2986): a node's key, id and addresses, signed by the key.

use std::{fmt, net::IpAddr};

use thiserror::Error;
use x509_cert::{
    attr::Attributes,
    name::Name,
    request::{CertReqInfo, ExtensionReq, Version},
};

use crate::{
    IdentityKey, IdentityPublic, KeyError, MAX_ADDRESSES, NameError, SpiffeId, TermsError,
    certificate::check_addresses,
    encoding::{self, EncodingError, encode},
    x509::{self, SignedPartsError},
};

/// A request whose own signature holds: whoever wrote it has the key, and that is all it proves.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    der: Vec<u8>,
    identity: SpiffeId,
    key: IdentityPublic,
    addresses: Vec<IpAddr>,
}

/// Why a certificate request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not canonical DER of a request.
    #[error("read certificate request")]
    Encoding(#[from] EncodingError),
    /// Signed with something else than Ed25519.
    #[error("read certificate request: only Ed25519 signatures are accepted")]
    Algorithm,
    /// Its key is refused.
    #[error("read certificate request: its key is refused")]
    Key(#[source] KeyError),
    /// It does not ask for one URI name followed by addresses.
    #[error("read certificate request: one URI name and then addresses are expected")]
    Names,
    /// Its URI is not the SPIFFE id of a node.
    #[error("read certificate request: its URI is refused")]
    Identity(#[source] NameError),
    /// It asks for impossible addresses.
    #[error(
        "read certificate request: at most {MAX_ADDRESSES} addresses, each usable, are accepted"
    )]
    Addresses(#[source] TermsError),
    /// It asks for more, or in another order, than Sotto's nodes do.
    #[error("read certificate request: it has not the form of a Sotto request")]
    Form,
    /// It is not signed by the key it asks for.
    #[error("read certificate request: its signature is wrong")]
    Signature,
}

impl CertificateRequest {
    /// Asks for a certificate over `key`. Without addresses the controller decides on them.
    ///
    /// # Errors
    /// The addresses are impossible.
    pub fn create(
        key: &IdentityKey,
        identity: &SpiffeId,
        addresses: &[IpAddr],
    ) -> Result<Self, RequestError> {
        check(addresses)?;
        let public = key.public();
        let info = request_info(identity, &public, addresses)?;
        let (der, _, _) = x509::sign(&info, key.signing_key());
        Ok(Self {
            der,
            identity: identity.clone(),
            key: public,
            addresses: addresses.to_vec(),
        })
    }

    /// Reads a request and checks that its own key signed it.
    ///
    /// # Errors
    /// It is not exactly what [`create`](Self::create) makes.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let parts = x509::signed_parts(der).map_err(|error| match error {
            SignedPartsError::Encoding(error) => RequestError::Encoding(error),
            SignedPartsError::Algorithm => RequestError::Algorithm,
        })?;
        let info: CertReqInfo = encoding::decode_canonical(&parts.body)?;
        let key = x509::key_from_info(&info.public_key)
            .map(IdentityPublic::from_strict)
            .map_err(RequestError::Key)?;
        let (uri, addresses) = read_names(&info).ok_or(RequestError::Names)?;
        let identity: SpiffeId = uri.parse().map_err(RequestError::Identity)?;
        check(&addresses)?;
        if encode(&request_info(&identity, &key, &addresses)?) != parts.body {
            return Err(RequestError::Form);
        }
        if !key.verify(&parts.body, &parts.signature) {
            return Err(RequestError::Signature);
        }
        Ok(Self {
            der: der.to_vec(),
            identity,
            key,
            addresses,
        })
    }

    /// The request as DER.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// Who the requester says it is.
    #[must_use]
    pub const fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// The key to certify, which the requester has.
    #[must_use]
    pub const fn key(&self) -> &IdentityPublic {
        &self.key
    }

    /// The addresses asked for; empty leaves them to the controller.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

fn check(addresses: &[IpAddr]) -> Result<(), RequestError> {
    if addresses.is_empty() {
        return Ok(());
    }
    check_addresses(addresses).map_err(RequestError::Addresses)
}

fn request_info(
    identity: &SpiffeId,
    key: &IdentityPublic,
    addresses: &[IpAddr],
) -> Result<CertReqInfo, EncodingError> {
    let names = x509::alternative_names(true, &identity.to_string(), addresses);
    let attribute = ExtensionReq(vec![names])
        .try_into()
        .map_err(EncodingError::Damaged)?;
    Ok(CertReqInfo {
        version: Version::V1,
        subject: Name::default(),
        public_key: x509::key_info(key.verifying_key()),
        attributes: Attributes::try_from(vec![attribute]).map_err(EncodingError::Damaged)?,
    })
}

fn read_names(info: &CertReqInfo) -> Option<(String, Vec<IpAddr>)> {
    let value = info.attributes.iter().next()?.values.iter().next()?;
    let extensions: ExtensionReq = value.decode_as().ok()?;
    x509::read_alternative_names(&extensions.0)
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CertificateRequest({}, {})",
            self.identity,
            self.key.hash()
        )
    }
}
