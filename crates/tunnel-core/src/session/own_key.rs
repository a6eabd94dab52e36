//! One own X25519 key, and what initiations to it have to pass before a session sees them.

use std::net::IpAddr;
use std::sync::Arc;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Bytes of a cookie reply.
const COOKIE_SIZE: usize = 64;

/// The X25519 key of an own generation.
pub(crate) struct OwnKey {
    secret: StaticSecret,
    public: PublicKey,
    /// Checks mac1 and never counts out. Every `Tunn` gets it too: a limiter that does count would
    /// count each message twice, here and there.
    mute: Arc<RateLimiter>,
    /// Always wants mac2. When it is asked is our decision, because boringtun's limiter counts all
    /// sources together.
    strict: RateLimiter,
}

impl OwnKey {
    /// Takes the secret key.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        let secret = StaticSecret::from(**secret);
        let public = PublicKey::from(&secret);
        Self {
            mute: Arc::new(RateLimiter::new(&public, u64::MAX)),
            strict: RateLimiter::new(&public, 0),
            secret,
            public,
        }
    }

    /// The public key.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// Whether the initiation's mac1 names this key.
    pub(crate) fn is_addressed_by(&self, initiation: &[u8]) -> bool {
        self.mute
            .verify_packet(None, initiation, &mut [0; COOKIE_SIZE])
            .is_ok()
    }

    /// Whether the initiation's mac2 proves that its sender receives at `source`; otherwise the
    /// cookie reply that lets it.
    pub(crate) fn proves(&self, source: IpAddr, initiation: &[u8]) -> Result<(), Option<Vec<u8>>> {
        let mut buffer = [0; COOKIE_SIZE];
        match self
            .strict
            .verify_packet(Some(source), initiation, &mut buffer)
        {
            Ok(_) => Ok(()),
            Err(TunnResult::WriteToNetwork(cookie)) => Err(Some(cookie.to_vec())),
            Err(
                TunnResult::Done
                | TunnResult::Err(_)
                | TunnResult::WriteToTunnelV4(..)
                | TunnResult::WriteToTunnelV6(..),
            ) => Err(None),
        }
    }

    /// Who claims to be the initiator: one decryption, whatever the number of peers. The claim is
    /// not authenticated.
    pub(crate) fn claimed_initiator(&self, initiation: &[u8]) -> Option<[u8; 32]> {
        let Ok(Packet::HandshakeInit(packet)) = Tunn::parse_incoming_packet(initiation) else {
            return None;
        };
        parse_handshake_anon(&self.secret, &self.public, &packet)
            .ok()
            .map(|it| it.peer_static_public)
    }

    pub(super) fn tunn(&self, peer_key: [u8; 32], index: u32) -> Tunn {
        Tunn::new(
            self.secret.clone(),
            PublicKey::from(peer_key),
            None,
            None,
            index,
            Some(Arc::clone(&self.mute)),
        )
    }

    /// Drops all sessions of a `Tunn` and keeps its replay timestamp. The limiter is passed again,
    /// because without one boringtun makes its own, which counts.
    pub(super) fn drop_sessions(&self, tunn: &mut Tunn) {
        tunn.set_static_private(
            self.secret.clone(),
            self.public,
            Some(Arc::clone(&self.mute)),
        );
    }
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey(<redacted>)")
    }
}
