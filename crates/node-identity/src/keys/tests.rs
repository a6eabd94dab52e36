use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

#[test]
fn private_keys_never_print() {
    let identity = IdentityKey::generate(&mut rng());
    let tunnel = TunnelKey::generate(&mut rng());

    assert_eq!(format!("{identity:?}"), "IdentityKey(<redacted>)");
    assert_eq!(format!("{tunnel:?}"), "TunnelKey(<redacted>)");
}

#[test]
fn a_private_key_reads_back_from_pem() {
    let key = IdentityKey::generate(&mut rng());

    let again = IdentityKey::from_pem(&key.to_pem()).unwrap();

    assert_eq!(again.public(), key.public());
    assert_eq!(IdentityKey::from_pem("").unwrap_err(), KeyError::Pem);
}
