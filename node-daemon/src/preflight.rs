//! Looks at the machine before anything on it is changed: what `sotto-node check` does, and the first
//! thing that `sotto-node run` does.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result};
use cni_protocol::contract::TUN_NAME;
use node_identity::PodRanges;

use crate::config::{Config, ConfigError, Kubernetes, Store};
use crate::guard::plan::GuardPlan;
use crate::{first_use, guard, host, keys, lock};

/// Bytes that the tunnel adds: IPv6 and UDP header, data message, padding.
const TUNNEL_OVERHEAD: u16 = 80;

/// The runtime directory's mode at most: the plugin and `sotto` look into it.
pub(crate) const RUNTIME_MODE: u32 = 0o755;
/// The state directory's mode at most: it holds the identity key.
pub(crate) const STATE_MODE: u32 = 0o700;

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
    check_places(config)?;
    keys::foresee(config)?;
    first_use::in_force(config)?;
    let host = host::read()?;
    host::check_networks(config, &host)?;
    let tun_mtu = host::endpoint_mtu(config, &host)?.saturating_sub(TUNNEL_OVERHEAD);
    guard::preflight(&bare_plan(config, tun_mtu))?;
    check_ports(config)?;
    check_http_address(config)?;
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

/// The directories, as far as they are there. The store is anybody's, so it only has to be one.
fn check_places(config: &Config) -> Result<()> {
    for (key, directory, mode) in [
        ("state_directory", &config.state_directory, STATE_MODE),
        ("runtime_directory", &config.runtime_directory, RUNTIME_MODE),
    ] {
        kept_files::find_directory(directory, mode)
            .with_context(|| format!("{key} = {directory:?}"))?;
    }
    let store = match &config.store {
        Store::Directory { directory, .. } => directory,
        Store::Kubernetes(kubernetes) => return check_kubeconfig(kubernetes),
    };
    let fault = match std::fs::metadata(store) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is no directory, name the one that all nodes share".to_owned(),
        // It is made, or mounted, later.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => format!("cannot be looked at, is it mounted? ({error})"),
    };
    Err(ConfigError::value("store_directory", format!("{store:?}"), fault).into())
}

/// The API server itself is not asked: a node comes up without it.
fn check_kubeconfig(kubernetes: &Kubernetes) -> Result<()> {
    let Some(path) = &kubernetes.kubeconfig else {
        return Ok(());
    };
    let value = || format!("kubernetes.kubeconfig = {path:?}");
    std::fs::File::open(path).map(drop).with_context(value)
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
                let cure = port_taken(config, port);
                return Err(ConfigError::value("port", config.port, cure));
            }
        }
    }
    Ok(())
}

fn port_taken(config: &Config, port: u16) -> String {
    match lock::running(&config.runtime_directory) {
        Some(daemon) => format!(
            "{daemon} runs here and has UDP port {port}: this node is at work, leave it as it is, or stop the daemon first to check the rest"
        ),
        None => format!(
            "another program has UDP port {port} (`ss -ulpn` shows it), choose another on all nodes or stop it"
        ),
    }
}

fn check_http_address(config: &Config) -> Result<(), ConfigError> {
    let address = config.http_address;
    TcpListener::bind(address).map(drop).map_err(|error| {
        let cure = format!("cannot be used, choose another port ({error})");
        ConfigError::value("http_address", format!("\"{address}\""), cure)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{check_http_address, check_ports, preflight};
    use crate::config::Config;
    use crate::sample::{self, Authority};

    /// A directory with a configuration that could run, and its join token.
    fn place() -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let config = sample::config(&authority, directory.path());
        sample::hand_token(&authority, &config);
        (directory, config)
    }

    fn refusal(config: &Config) -> String {
        let said = format!("{:#}", preflight(config).unwrap_err());
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    #[test]
    fn bi05_a_file_that_run_would_refuse_is_refused_before_the_kernel_is_asked() {
        let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        let remove = |path: &Path| fs::remove_file(path).unwrap();
        let blank = |path: &Path| fs::write(path, " ").unwrap();
        type Fault<'a> = (&'a str, &'a str, &'a dyn Fn(&Path), &'a str);
        let faults: [Fault; 6] = [
            ("machine_id_file", "machine", &remove, "/etc/machine-id"),
            ("machine_id_file", "machine", &blank, "name another file"),
            ("boot_id_file", "boot", &blank, "name another file"),
            ("join_token_file", "token", &open, "chmod 600"),
            ("join_token_file", "token", &blank, "sotto"),
            (
                "join_token_file",
                "token",
                &remove,
                "token create --node alice",
            ),
        ];
        for (key, file, fault, cure) in faults {
            let (directory, config) = place();
            fault(&directory.path().join(file));

            let said = refusal(&config);

            assert!(said.starts_with(key) && said.contains(cure), "{said}");
            assert!(said.contains(&format!("/{file}")), "{said}");
        }
    }

    #[test]
    fn bi05_a_place_that_run_could_not_use_is_refused_before_the_kernel_is_asked() {
        for name in ["state", "run", "store"] {
            let (directory, config) = place();
            let path = directory.path().join(name);
            let _ = fs::remove_dir(&path);
            fs::write(&path, "").unwrap();

            let said = refusal(&config);

            let key = said.split(' ').next().unwrap();
            assert!(
                key.ends_with("_directory") && said.contains("no directory"),
                "{said}"
            );
        }
        for (name, mode) in [("state", 0o750), ("run", 0o777)] {
            let (directory, config) = place();
            fs::set_permissions(directory.path().join(name), Permissions::from_mode(mode)).unwrap();

            let said = refusal(&config);

            assert!(
                said.contains("_directory = ") && said.contains("chmod 7"),
                "{said}"
            );
        }
    }

    #[test]
    fn bi03_an_http_address_that_another_program_has_is_refused() {
        let (_directory, mut config) = place();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        config.http_address = other.local_addr().unwrap();

        let said = check_http_address(&config).unwrap_err().to_string();
        drop(other);

        assert!(said.starts_with("http_address = \"127.0.0.1:"), "{said}");
        check_http_address(&config).unwrap();
    }

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
        let config = sample::parse(&text);

        let error = check_ports(&config).unwrap_err().to_string();
        drop(other);

        assert!(error.contains("another program has UDP port"), "{error}");
        check_ports(&config).unwrap();
    }
}
