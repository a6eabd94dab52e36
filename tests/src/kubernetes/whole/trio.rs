//! What most tests stand on: a control plane, Alice and Bob, Sotto from its chart, cluster DNS, and Eve.

use anyhow::{Result, ensure};

use super::{CONTROL, ProxyMode, Whole};
use crate::capture::Capture;
use crate::lab::{Host, Lab};

/// What may cross no wire but inside a tunnel: anything from or to a pod or a Service. Only what leaves
/// a node masqueraded has neither. Mallory's own frames are no leak; answers to her are.
const CLEAR: &str = "not ether src 02:00:00:00:00:fd and (net 10.244.0.0/16 or net 10.96.0.0/16 \
     or net fd00:10:244::/56 or net fd00:10:96::/112)";

/// The number of the station from which tests may send what is from or to a pod.
pub const MALLORY: u8 = 0xfd;

/// A cluster of three nodes with Sotto, watched from its first pod on.
#[derive(Debug)]
pub struct Trio {
    /// The cluster, whose control plane is a node too.
    pub cluster: Whole,
    /// The first node.
    pub alice: Host,
    /// The second node.
    pub bob: Host,
    watch: Watch,
}

/// The standing detector: Eve on the switch.
#[derive(Debug)]
pub struct Watch(Capture);

impl Trio {
    /// Raises it: some 25 s.
    ///
    /// # Errors
    /// When something does not come up; the text holds what the cluster says.
    pub fn raise(lab: &Lab, proxies: ProxyMode) -> Result<Self> {
        let cluster = Whole::raise(lab, proxies)?;
        let watch = Watch::start(lab)?;
        cluster.import_sotto(cluster.control())?;
        let alice = cluster.node(lab, "alice", 1)?;
        cluster.import_sotto(&alice)?;
        let bob = cluster.node(lab, "bob", 2)?;
        cluster.import_sotto(&bob)?;
        cluster.install_sotto("")?;
        cluster.install_dns()?;
        cluster.are_ready(&[CONTROL, "alice", "bob"])?;
        cluster.has_dns()?;
        Ok(Self {
            cluster,
            alice,
            bob,
            watch,
        })
    }

    /// [`Watch::saw_nothing`], since before the first pod.
    ///
    /// # Errors
    /// When she did.
    pub fn nothing_leaked(&self) -> Result<()> {
        self.watch.saw_nothing()
    }

    /// The host of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        [self.cluster.control(), &self.alice, &self.bob]
            .into_iter()
            .find(|host| host.name() == name)
            .ok_or_else(|| anyhow::anyhow!("no host {name}"))
    }
}

impl Watch {
    /// Puts Eve onto the switch.
    ///
    /// # Errors
    /// When `tcpdump` does not start.
    pub fn start(lab: &Lab) -> Result<Self> {
        Capture::start_filtered(lab, lab.switch(), "br0", CLEAR).map(Self)
    }

    /// Makes sure that Eve saw no packet from or to a pod or a Service outside of a tunnel.
    ///
    /// # Errors
    /// When she did, or cannot say.
    pub fn saw_nothing(&self) -> Result<()> {
        let seen = self.0.so_far()?.packets()?;
        ensure!(
            seen.is_empty(),
            "Eve saw {} packets of pods in clear, the first: {:?}",
            seen.len(),
            seen.first()
        );
        Ok(())
    }

    /// How many such packets she saw.
    ///
    /// # Errors
    /// When the capture cannot be read.
    pub fn packets(&self) -> Result<usize> {
        Ok(self.0.so_far()?.packets()?.len())
    }
}
