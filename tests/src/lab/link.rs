//! The wires: a bridge, and a veth pair for each machine.

use anyhow::Result;

use super::Wires;
use super::place::Place;

/// Whether a wire carries super-packets (TSO, USO, GRO) whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segmentation {
    /// The sender cuts to the MTU and fills in checksums: what a real wire shows.
    Off,
    /// As veth pairs are by themselves: faster, for benchmarks.
    On,
}

/// Sysctls of a machine that nothing on the lab's wires should wait for.
const QUICK_START: &str = "
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
  net.ipv6.conf.default.router_solicitations=0
ip link set lo up
";

pub(super) fn raise_switch(switch: &Place, mtu: u32) -> Result<()> {
    switch.shell(&format!(
        "{QUICK_START}
        ip link add br0 type bridge ageing_time 0 stp_state 0 mcast_snooping 0
        ip link set br0 mtu {mtu} up
        ip address add 198.51.100.254/24 dev br0
        ip address add 2001:db8::fe/64 dev br0 nodad"
    ))?;
    Ok(())
}

/// Makes `eth0` of a machine, whose other end is a port of the switch named after it.
pub(super) fn plug_in(switch: &Place, machine: &Place, number: u8, wires: Wires) -> Result<()> {
    let mtu = wires.mtu;
    let port = format!("p{number}");
    machine.shell(QUICK_START)?;
    let anchor = machine.anchor();
    switch.shell(&format!(
        "ip link add {port} mtu {mtu} type veth peer name eth0 address 02:00:00:00:00:{number:02x} \
          mtu {mtu} netns {anchor}"
    ))?;
    if wires.segmentation == Segmentation::Off {
        cut_to_mtu(machine, "eth0")?;
        cut_to_mtu(switch, &port)?;
    }
    switch.shell(&format!("ip link set {port} master br0 up"))?;
    machine.shell(&format!(
        "ip address add 198.51.100.{number}/24 dev eth0
        ip address add 2001:db8::{number:x}/64 dev eth0 nodad
        ip link set eth0 up
        ip route add default via 198.51.100.254
        ip -6 route add default via 2001:db8::fe"
    ))?;
    Ok(())
}

fn cut_to_mtu(place: &Place, link: &str) -> Result<()> {
    let features = [
        "-K", link, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
    ];
    place.run("ethtool", &features)?;
    place.run("ethtool", &["-K", link, "tx-udp-segmentation", "off"])?;
    Ok(())
}

/// A cable's state.
#[derive(Debug, Clone, Copy)]
pub enum Uplink {
    /// Plugged in.
    Up,
    /// Cut.
    Down,
}

pub(super) fn set_uplink(machine: &Place, state: Uplink) -> Result<()> {
    match state {
        Uplink::Down => machine.shell("ip link set eth0 down")?,
        Uplink::Up => machine.shell(
            "ip link set eth0 up
            ip route replace default via 198.51.100.254
            ip -6 route replace default via 2001:db8::fe",
        )?,
    };
    Ok(())
}
