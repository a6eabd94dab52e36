//! OpenSSL's opinion of our certificates and requests: an implementation that is not ours.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "only this test leaves the pure crate, to ask another program"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    certificates::narrow_root,
    world::{NOW, World, addresses, ranges},
};
use crate::CertificateRequest;

/// A folder with DER files, and openssl run in it.
struct Openssl(TempDir);

impl Openssl {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, der: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, der).unwrap();
        path
    }

    /// The same as PEM, which `openssl verify` wants.
    fn pem(&self, name: &str, der: &[u8]) -> PathBuf {
        let from = self.file(&format!("{name}.der"), der);
        let to = self.0.path().join(name);
        let (ok, output) = run(&[
            "x509",
            "-inform",
            "DER",
            "-in",
            text(&from),
            "-out",
            text(&to),
        ]);
        assert!(ok, "{output}");
        to
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("run openssl: is the package openssl installed?");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Verifies at the time of the test's world.
fn verify(root: &Path, leaf: &Path, more: &[&str]) -> (bool, String) {
    let time = NOW.0.to_string();
    let arguments = ["verify", "-attime", &time, "-CAfile", text(root)];
    run(&[&arguments[..], more, &[text(leaf)]].concat())
}

#[test]
fn openssl_reads_our_node_certificate() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let openssl = Openssl::new();
    let path = openssl.file("alice", alice.certificate.to_der());

    let (ok, output) = run(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        text(&path),
        "-text",
        "-noout",
    ]);

    assert!(ok, "{output}");
    for expected in [
        "Version: 3",
        "Signature Algorithm: ED25519",
        "sbgp-ipAddrBlock: critical",
        "10.244.1.0/24",
        "fd00:10:244:1::/64",
        &format!("URI:{}", alice.statement.identity),
        "IP Address:198.51.100.1",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "Jan 15 07:55:00 2027 GMT",
        "Jan 18 08:00:00 2027 GMT",
        "CA:FALSE",
        "Digital Signature",
    ] {
        assert!(output.contains(expected), "{expected} in {output}");
    }
}

#[test]
fn openssl_accepts_our_chain_strictly_too() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let scattered = world.node_with("bob", 2, |terms| {
        terms.pod_ranges = ranges(&["10.244.1.0/24", "10.244.2.0/24", "10.244.8.0/23"]);
    });
    let openssl = Openssl::new();
    let root = openssl.pem("root", world.root.to_der());

    for node in [&alice, &scattered] {
        let leaf = openssl.pem("leaf", node.certificate.to_der());
        for more in [&[][..], &["-x509_strict"]] {
            let (ok, output) = verify(&root, &leaf, more);
            assert!(ok, "{more:?}: {output}");
        }
    }
}

#[test]
fn openssl_refuses_a_leaf_wider_than_its_root() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let bob = world.node("bob", 2);
    let narrow = narrow_root(&world, &["10.244.1.0/24", "fd00:10:244::/56"]);
    let openssl = Openssl::new();
    let root = openssl.pem("root", narrow.to_der());

    let inside = openssl.pem("inside", alice.certificate.to_der());
    let wider = openssl.pem("wider", bob.certificate.to_der());

    assert!(verify(&root, &inside, &[]).0);
    let (ok, output) = verify(&root, &wider, &[]);
    assert!(!ok);
    assert!(output.contains("error 46"), "{output}");
}

#[test]
fn openssl_refuses_a_leaf_of_another_root() {
    let mut world = World::seeded(1);
    let mut other = World::seeded(2);
    let alice = other.node("alice", 1);
    let _ = &mut world;
    let openssl = Openssl::new();
    let root = openssl.pem("root", world.root.to_der());
    let leaf = openssl.pem("leaf", alice.certificate.to_der());

    assert!(!verify(&root, &leaf, &[]).0);
}

#[test]
fn openssl_verifies_our_certificate_request() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let identity = &alice.statement.identity;
    let request = CertificateRequest::create(&alice.key, identity, &addresses(1)).unwrap();
    let openssl = Openssl::new();
    let path = openssl.file("request", request.to_der());
    let mut flipped = request.to_der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let damaged = openssl.file("damaged", &flipped);
    let read = |path: &Path| {
        run(&[
            "req",
            "-inform",
            "DER",
            "-in",
            text(path),
            "-verify",
            "-text",
            "-noout",
        ])
    };

    let (ok, output) = read(&path);
    let (_, refused) = read(&damaged);

    assert!(ok, "{output}");
    assert!(output.contains("self-signature verify OK"), "{output}");
    assert!(output.contains(&format!("URI:{identity}")), "{output}");
    assert!(refused.contains("failure"), "{refused}");
}

#[test]
fn openssl_reads_our_private_keys() {
    let mut world = World::seeded(1);
    let alice = world.node("alice", 1);
    let openssl = Openssl::new();
    let path = openssl.file("key", alice.key.to_pem().as_bytes());

    let (ok, output) = run(&["pkey", "-in", text(&path), "-noout", "-text_pub"]);

    assert!(ok, "{output}");
    assert!(output.contains("ED25519"), "{output}");
}
