//! Two folders, a configuration, the binary, and nodes that ask it for certificates.

use std::fs::{self, File};
use std::future::Future;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chacha20::ChaCha20Rng;
use cluster_store::{
    ClusterStore, DirectoryStore, EnrolmentRequest, Published, RequestId, RequestState, TokenProof,
};
use node_identity::{
    CertificateRequest, IdentityKey, JoinToken, NodeCertificate, NodeUid, Pin, RevocationList,
    RootCertificate, SignedRevocationList, SpiffeId, TrustedRoots, UnixTime,
};
use rand_core::SeedableRng;

/// A controller's answer takes milliseconds; this is for a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(30);

/// The two folders and the configuration of one controller.
pub(crate) struct Rig {
    folder: tempfile::TempDir,
    pub(crate) pin: Pin,
}

/// A controller at work; killed when the test forgets it.
pub(crate) struct Running(Child);

/// A node, as far as the controller can see one.
pub(crate) struct Node {
    pub(crate) identity: SpiffeId,
    pub(crate) key: IdentityKey,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Rig {
    /// Makes the root and a configuration for a cluster with room for four nodes.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let made = controller(&[
            "root",
            "create",
            "--state",
            state.to_str().unwrap(),
            "--trust-domain",
            "sotto.test",
        ]);
        let pin = text(&succeeded(made)).parse().unwrap();
        let rig = Self { folder, pin };
        rig.configure("10.244.0.0/22");
        rig
    }

    pub(crate) fn configure(&self, ipv4_pods: &str) {
        let (state, store) = (self.state(), self.store_folder());
        let text = format!(
            "state_directory = {state:?}\nstore_directory = {store:?}\n\
             trust_domain = \"sotto.test\"\n\
             cluster_pod_ranges = [\"{ipv4_pods}\", \"fd00:10:244::/56\"]\n\
             underlay_ranges = [\"198.51.100.0/24\", \"2001:db8::/64\"]\n\
             service_ranges = [\"10.96.0.0/12\"]\n"
        );
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("controller.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn store(&self) -> DirectoryStore {
        DirectoryStore::open(self.store_folder()).unwrap()
    }

    /// Runs the controller and waits until it has published its root.
    pub(crate) fn start(&self) -> Running {
        let log = File::create(self.log_file()).unwrap();
        let child = self
            .command()
            .env("SOTTO_LOG", "trace")
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Running(child);
        self.wait("the root is published", |found| !found.roots.is_empty());
        running
    }

    /// What the controller started last has logged so far, at its most talkative.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Runs a controller that is expected to give up by itself; returns what it said.
    pub(crate) fn start_in_vain(&self) -> String {
        let mut running = Running(self.command().stderr(Stdio::piped()).spawn().unwrap());
        let status = wait(|| running.0.try_wait().unwrap(), "the controller gives up");
        assert!(!status.success(), "the controller started and stopped");
        let mut said = String::new();
        let mut from = running.0.stderr.take().unwrap();
        from.read_to_string(&mut said).unwrap();
        said
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sotto-controller"));
        command.arg("run").arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a verb on the state folder.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        let state = self.state();
        let mut all = words.to_vec();
        all.extend(["--state", state.to_str().unwrap()]);
        controller(&all)
    }

    /// Makes a token.
    pub(crate) fn token(&self, node: &str, more: &[&str]) -> JoinToken {
        let mut words = vec!["token", "create", "--node", node];
        words.extend(more);
        text(&succeeded(self.verb(&words))).parse().unwrap()
    }

    /// Waits until the store looks as it should.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Published) -> bool) -> Published {
        let found = || run(self.store().published()).unwrap();
        wait(|| Some(found()).filter(&holds), what)
    }

    /// Waits until a request has the state.
    pub(crate) fn answer(&self, id: &RequestId, wanted: RequestState) {
        let state = || run(self.store().request_state(id)).unwrap();
        wait(
            || state().filter(|state| *state == wanted),
            &format!("{wanted:?}"),
        );
    }

    /// The node's certificate, verified by nothing yet.
    pub(crate) fn certificate(&self, uid: &NodeUid) -> Option<NodeCertificate> {
        let found = run(self.store().published()).unwrap();
        let node = found.nodes.into_iter().find(|node| node.uid == *uid)?;
        Some(NodeCertificate::from_der(&node.certificate?).unwrap())
    }

    /// What a daemon with this pin trusts.
    pub(crate) fn roots(&self) -> TrustedRoots {
        let found = run(self.store().published()).unwrap();
        let certificates = found
            .roots
            .iter()
            .filter_map(|root| root.certificate.as_ref());
        let certificates = certificates.map(|der| RootCertificate::from_der(der).unwrap());
        TrustedRoots::new(&[self.pin], certificates)
    }

    /// The published list, once it verifies and is as wanted.
    pub(crate) fn list(&self, wanted: impl Fn(&RevocationList) -> bool) -> RevocationList {
        let read = |found: &Published| {
            let signed = found.roots.first()?.revocations.clone()?;
            Some(SignedRevocationList::from_der(&signed).unwrap())
        };
        let found = self.wait("the list", |found| {
            read(found).is_some_and(|signed| wanted(signed.list()))
        });
        let signed = read(&found).unwrap();
        signed.verify(&self.roots()).unwrap().list().clone()
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks the controller to stop and waits for it.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.0.wait().unwrap()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    pub(crate) fn new(seed: u64, token: &JoinToken, addresses: &[&str]) -> Self {
        Self {
            identity: token.identity.clone(),
            key: IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(seed)),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    pub(crate) fn request(&self, token: Option<&JoinToken>) -> EnrolmentRequest {
        let request =
            CertificateRequest::create(&self.key, &self.identity, &self.addresses).unwrap();
        let pkcs10 = request.to_der().to_vec();
        let token = token.map(|token| TokenProof {
            id: *token.id.as_bytes(),
            mac: token.request_mac(&pkcs10),
        });
        EnrolmentRequest { pkcs10, token }
    }

    pub(crate) fn ask(&self, rig: &Rig, token: Option<&JoinToken>) -> RequestId {
        run(rig.store().submit_request(&self.request(token))).unwrap()
    }

    /// Enrols and returns the certificate.
    pub(crate) fn enrol(&self, rig: &Rig, token: &JoinToken) -> NodeCertificate {
        let id = self.ask(rig, Some(token));
        rig.answer(&id, RequestState::Issued);
        rig.certificate(&self.identity.uid).unwrap()
    }
}

/// Looks again and again, with a pause that leaves the processor to those who are waited for.
pub(crate) fn wait<T>(mut look: impl FnMut() -> Option<T>, what: &str) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn controller(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sotto-controller"))
        .args(words)
        .output()
        .unwrap()
}

pub(crate) fn succeeded(output: Output) -> Output {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim_end()
        .to_owned()
}

pub(crate) fn complaint(output: &Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn now() -> UnixTime {
    UnixTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}
