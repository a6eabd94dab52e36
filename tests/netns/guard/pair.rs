//! Two nodes with tunnels up, pods on both, and a Service in front of one of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sotto_tests::capture::{Canary, Capture};
use sotto_tests::lab::{Controller, DaemonSettings, Lab, Node, Pod, Process};
use sotto_tests::wait;

/// Address of the Service, IPv4.
pub(super) const SERVICE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10));
/// Address of the Service, IPv6.
pub(super) const SERVICE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 10));

/// How long a flow may take to come back after what it needs is there.
pub(super) const FLOW_LIMIT: Duration = Duration::from_secs(10);
/// The bound on a repair.
pub(super) const REPAIR_LIMIT: Duration = Duration::from_secs(1);

/// Alice with two pods, Bob with one; Mallory is added by who needs her.
pub(super) struct Pair<'a> {
    pub(super) lab: &'a Lab,
    pub(super) alice: Node,
    pub(super) bob: Node,
    pub(super) alices_daemon: Process,
    /// On Alice.
    pub(super) client: Pod,
    /// On Alice.
    pub(super) neighbour: Pod,
    /// On Bob.
    pub(super) server: Pod,
    _others: [Process; 2],
}

impl<'a> Pair<'a> {
    /// Builds everything and waits until client and server talk in both families.
    pub(super) fn new(lab: &'a Lab) -> Result<Self> {
        let controller = lab.controller()?;
        let controller_process = controller.start()?;
        let (alice, bob) = (lab.node("alice")?, lab.node("bob")?);
        for node in [&alice, &bob] {
            enrol(node, &controller)?;
        }
        let alices_daemon = alice.start(&DaemonSettings::default())?;
        let bobs_daemon = bob.start(&DaemonSettings::default())?;
        let client = alice.pod("client")?;
        let neighbour = alice.pod("neighbour")?;
        let server = bob.pod("server")?;
        let pair = Self {
            lab,
            alice,
            bob,
            alices_daemon,
            client,
            neighbour,
            server,
            _others: [controller_process, bobs_daemon],
        };
        pair.wait_for_flow()?;
        Ok(pair)
    }

    /// Waits until the client reaches the server over both families.
    pub(super) fn wait_for_flow(&self) -> Result<()> {
        for address in self.server.addresses() {
            wait_for_ping(&self.client, *address)?;
        }
        Ok(())
    }

    /// Stops the daemon's every thread, watchdog included: the kernel stands alone.
    pub(super) fn freeze_alice(&self) -> Result<()> {
        self.alices_daemon.signal(Signal::SIGSTOP)
    }

    /// Lets the daemon go on.
    pub(super) fn thaw_alice(&self) -> Result<()> {
        self.alices_daemon.signal(Signal::SIGCONT)
    }

    /// Packets that Alice's guard counted under a name.
    pub(super) fn counted(&self, counter: &str) -> Result<u64> {
        counted(&self.alice, counter)
    }

    /// Does what kube-proxy does, on Alice: the Service is the server.
    pub(super) fn translate_service(&self) -> Result<()> {
        let (v4, v6) = (self.server.ipv4()?, self.server.ipv6()?);
        self.alice.shell(&format!(
            "nft -f - <<'RULES'
            table inet kube {{
              chain services {{
                type nat hook prerouting priority -100;
                ip daddr {SERVICE_V4} dnat ip to {v4}
                ip6 daddr {SERVICE_V6} dnat ip6 to {v6}
              }}
              chain services_of_node {{
                type nat hook output priority -100;
                ip daddr {SERVICE_V4} dnat ip to {v4}
                ip6 daddr {SERVICE_V6} dnat ip6 to {v6}
              }}
            }}
RULES"
        ))?;
        Ok(())
    }

    /// Watches the switch while something happens and counts a canary there.
    pub(super) fn leaked(
        &self,
        canary: &Canary,
        happening: impl FnOnce() -> Result<()>,
    ) -> Result<usize> {
        let eve = Capture::on_switch(self.lab)?;
        happening()?;
        eve.stop()?.count(canary)
    }
}

/// Gives a node its configuration, with Service ranges.
pub(super) fn enrol(node: &Node, controller: &Controller) -> Result<()> {
    node.enrol(controller, &DaemonSettings::default())?;
    node.shell(
        r#"sed -i 's|^service_ranges = .*|service_ranges = ["10.96.0.0/16", "fd00:10:96::/112"]|' /etc/sotto/node.toml"#,
    )?;
    Ok(())
}

/// Packets that a node's guard counted under a name since its table was loaded.
pub(super) fn counted(node: &Node, counter: &str) -> Result<u64> {
    let listed = node.run("nft", &["list", "counter", "inet", "sotto_guard", counter])?;
    let after = listed
        .split("packets ")
        .nth(1)
        .context("no packets in the listing")?;
    let number = after
        .split_whitespace()
        .next()
        .context("no number in the listing")?;
    Ok(number.parse()?)
}

/// Waits until an address answers a ping.
pub(super) fn wait_for_ping(from: &Pod, address: IpAddr) -> Result<()> {
    let what = format!("{address} to answer {}", from.name());
    let target = address.to_string();
    wait::until(&what, FLOW_LIMIT, || {
        from.run("ping", &["-c", "1", "-W", "0.3", "-n", &target])
            .is_ok()
    })
}
