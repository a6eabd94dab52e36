//! Looks at the machine before anything on it is changed: what `sotto-node check` does, and the first
//! thing that `sotto-node run` does.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Result;
use cni_protocol::contract::TUN_NAME;
use node_identity::PodRanges;

use crate::config::{Config, ConfigError};
use crate::guard::plan::GuardPlan;
use crate::{guard, host};

/// Bytes that the tunnel adds: IPv6 and UDP header, data message, padding.
const TUNNEL_OVERHEAD: u16 = 80;

/// What was found out about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// MTU of the tun and of the pods' links, in bytes.
    pub(crate) tun_mtu: u16,
}

/// Says whether a daemon with this configuration could run here; changes nothing.
///
/// # Errors
/// The first obstacle, with its cure.
pub(crate) fn preflight(config: &Config) -> Result<Machine> {
    let host = host::read()?;
    host::check_networks(config, &host)?;
    let tun_mtu = host::endpoint_mtu(config, &host)?.saturating_sub(TUNNEL_OVERHEAD);
    guard::preflight(&bare_plan(config, tun_mtu))?;
    check_ports(config)?;
    Ok(Machine { tun_mtu })
}

/// The guard of a node that has no pods yet.
pub(crate) fn bare_plan(config: &Config, tun_mtu: u16) -> GuardPlan {
    GuardPlan {
        tun: TUN_NAME.to_owned(),
        mtu: tun_mtu,
        cluster: config.cluster_pod_ranges.clone(),
        own: PodRanges::default(),
        services: config.service_ranges.clone(),
        nodes: config.endpoints.clone(),
        ports: config.ports(),
        tun_addresses: Vec::new(),
    }
}

/// BI-03: a port that somebody else has is found out by taking it for a moment.
fn check_ports(config: &Config) -> Result<(), ConfigError> {
    for port in config.ports() {
        let wildcards: [SocketAddr; 2] = [
            (Ipv4Addr::UNSPECIFIED, port).into(),
            (Ipv6Addr::UNSPECIFIED, port).into(),
        ];
        for address in wildcards {
            let Err(error) = UdpSocket::bind(address) else {
                continue;
            };
            if error.kind() == std::io::ErrorKind::AddrInUse {
                let cure = format!(
                    "another program has UDP port {port} (`ss -ulpn` shows it), choose another on all nodes or stop it"
                );
                return Err(ConfigError::value("port", config.port, cure));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::path::Path;

    use super::check_ports;
    use crate::config::Config;

    #[test]
    fn bi03_a_port_that_another_program_has_is_refused() {
        let other = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let text = format!(
            "node_name = \"alice\"\ntrust_domain = \"sotto.test\"\npins = [\"sha256:{:064}\"]\n\
             store_directory = \"/store\"\ncluster_pod_ranges = [\"10.244.0.0/16\"]\n\
             underlay_ranges = [\"198.51.100.0/24\"]\nendpoints = [\"198.51.100.1\"]\nport = {port}\n",
            1
        );
        let config = Config::parse(Path::new("node.toml"), text.as_bytes()).unwrap();

        let error = check_ports(&config).unwrap_err().to_string();
        drop(other);

        assert!(error.contains("another program has UDP port"), "{error}");
        check_ports(&config).unwrap();
    }
}
