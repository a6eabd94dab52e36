//! Nodes and roots for tests.

use std::path::{Path, PathBuf};

use cluster_store::{Published, PublishedNode, PublishedRoot};
use node_identity::{
    CERTIFICATE_LIFETIME, CertificateSerial, Envelope, Generation, IdentityKey, IdentityPublic,
    JoinToken, KeyStatement, NodeCertificate, NodeCertificateTerms, NodeUid, PodRanges,
    RevocationEntry, RevocationList, RevokedSubject, RootCertificate, RootKey, SpiffeId, TunnelKey,
    UnixTime,
};

use crate::arguments::Settings;
use crate::config::{Config, Kubernetes, Store};
use crate::io::random;

/// Now, in every test.
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

/// A root and what it publishes.
pub(crate) struct Authority {
    key: RootKey,
    pub(crate) root: RootCertificate,
    serials: u64,
}

/// A node as the authority knows it.
pub(crate) struct SampleNode {
    pub(crate) key: IdentityKey,
    pub(crate) id: SpiffeId,
    pub(crate) number: u8,
}

impl SampleNode {
    /// A node whose pods live in 10.244.`number`.0/24.
    pub(crate) fn new(name: &str, number: u8) -> Self {
        let id = SpiffeId {
            trust_domain: "sotto.test".parse().unwrap(),
            uid: NodeUid::generate(&mut random::system()),
            name: name.parse().unwrap(),
        };
        Self {
            key: IdentityKey::generate(&mut random::system()),
            id,
            number,
        }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = RootKey::generate(&mut random::system());
        let trust_domain = "sotto.test".parse().unwrap();
        let root =
            key.create_certificate(&trust_domain, UnixTime(NOW.0 - 1000), &mut random::system());
        Self {
            key,
            root,
            serials: NOW.0 << 24,
        }
    }

    /// A certificate over a key, in place of those before.
    pub(crate) fn certify(
        &mut self,
        id: &SpiffeId,
        key: IdentityPublic,
        number: u8,
    ) -> NodeCertificate {
        self.serials += 1;
        let ranges = vec![format!("10.244.{number}.0/24").parse().unwrap()];
        let terms = NodeCertificateTerms {
            identity: id.clone(),
            key,
            addresses: vec![format!("198.51.100.{number}").parse().unwrap()],
            pod_ranges: PodRanges::try_new(ranges).unwrap(),
            serial: CertificateSerial(self.serials),
            not_before: UnixTime(NOW.0 - 300),
            not_after: UnixTime(NOW.0 - 300).plus(CERTIFICATE_LIFETIME),
        };
        self.key.issue(&self.root, &terms).unwrap()
    }

    /// What a node publishes with a new certificate.
    pub(crate) fn envelope(&mut self, node: &SampleNode, generation: u64) -> Envelope {
        let certificate = self.certify(&node.id, node.key.public(), node.number);
        let tunnel_key = TunnelKey::generate(&mut random::system());
        let statement = KeyStatement {
            identity: node.id.clone(),
            certificate_serial: certificate.terms().serial,
            identity_key_hash: node.key.public().hash(),
            generation: Generation(generation),
            tunnel_key: tunnel_key.public(),
            endpoints: certificate.terms().addresses.clone(),
            base_port: 51_820,
            lanes: 1,
        };
        Envelope::seal(&statement, &node.key, &tunnel_key, &certificate).unwrap()
    }

    /// The root with a list that revokes these nodes.
    pub(crate) fn published_root(&self, number: u64, revoked: &[&SampleNode]) -> PublishedRoot {
        let entry = |node: &&SampleNode| RevocationEntry {
            subject: RevokedSubject::Node(node.id.uid),
            until: NOW.plus(CERTIFICATE_LIFETIME),
        };
        let list = RevocationList {
            number,
            issued: NOW,
            next_update: UnixTime(NOW.0 + 3600),
            entries: revoked.iter().map(entry).collect(),
        };
        PublishedRoot {
            pin: self.root.pin(),
            certificate: Some(self.root.to_der().to_vec()),
            revocations: Some(self.key.sign_revocations(&list).to_der()),
        }
    }

    /// A store that shows the root and these envelopes.
    pub(crate) fn published(&self, envelopes: &[&Envelope]) -> Published {
        Published {
            roots: vec![self.published_root(1, &[])],
            nodes: envelopes.iter().map(|envelope| filed(envelope)).collect(),
            refused: Vec::new(),
        }
    }

    /// A join token for a node.
    pub(crate) fn token(&self, id: &SpiffeId) -> JoinToken {
        JoinToken::generate(
            self.root.pin(),
            id.clone(),
            Vec::new(),
            &mut random::system(),
        )
        .unwrap()
    }
}

/// An envelope under its node's UID.
pub(crate) fn filed(envelope: &Envelope) -> PublishedNode {
    PublishedNode {
        envelopes: vec![envelope.to_der()],
        ..PublishedNode::empty(envelope.statement().identity.uid)
    }
}

/// Puts the token that [`config`] names in its place, as the operator does.
pub(crate) fn hand_token(authority: &Authority, config: &Config) {
    let token = authority.token(&SampleNode::new("alice", 1).id);
    kept_files::write(token_file(config), token.to_string().as_bytes(), 0o600).unwrap();
}

/// Alice's configuration, with state and runtime directory in `directory`.
pub(crate) fn config(authority: &Authority, directory: &Path) -> Config {
    for (name, text) in [("machine", "machine-1\n"), ("boot", "boot-1\n")] {
        let path = directory.join(name);
        if !path.exists() {
            std::fs::write(path, text).unwrap();
        }
    }
    for name in ["state", "run"] {
        kept_files::create_directory(&directory.join(name), 0o700).unwrap();
    }
    let place = directory.display();
    let text = format!(
        r#"
node_name = "alice"
trust_domain = "sotto.test"
pins = ["{}"]
join_token_file = "{place}/token"
store_directory = "{place}/store"
state_directory = "{place}/state"
runtime_directory = "{place}/run"
cluster_pod_ranges = ["10.244.0.0/16"]
underlay_ranges = ["198.51.100.0/24"]
endpoints = ["198.51.100.1"]
machine_id_file = "{place}/machine"
boot_id_file = "{place}/boot"
"#,
        authority.root.pin()
    );
    parse(&text)
}

/// A configuration that is right as it stands.
pub(crate) fn parse(text: &str) -> Config {
    Config::parse(
        Path::new("node.toml"),
        text.as_bytes(),
        &Settings::default(),
    )
    .unwrap()
}

/// Where a configuration of a folder has its join token.
pub(crate) fn token_file(config: &Config) -> &Path {
    let Store::Directory {
        join_token_file: Some(path),
        ..
    } = &config.store
    else {
        panic!("no join token")
    };
    path
}

/// The API of a cluster, with the pod's token in this file.
pub(crate) fn kubernetes(token_file: PathBuf) -> Kubernetes {
    Kubernetes {
        kubeconfig: None,
        token_file,
    }
}
