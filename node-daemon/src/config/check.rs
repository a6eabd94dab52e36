//! From what the file says to what can be: each value for itself, then against the others.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use node_identity::{MAX_ADDRESSES, PodCidr, PodRanges, overlap, parse_network, special_purpose};

use super::arguments::{self, Given};
use super::cni::cni;
use super::file::ConfigFile;
use super::store::{Store, store};
use super::{AesGcm, Config, ConfigError, FirstUse};
use crate::arguments::Settings;
use crate::logging::LogFormat;

/// A tun below this takes no IPv6, and 80 bytes of each packet are the tunnel's.
const SMALLEST_MTU_WITH_IPV6_PODS: i64 = 1280 + 80;
/// What IPv6 guarantees on every link; the agreement's messages are cut to fit it.
const SMALLEST_MTU: i64 = 1280;
/// The largest frames in use ("jumbo"); above it a value is a slip of the pen.
const LARGEST_MTU: i64 = 9216;
/// The ports that Kubernetes hands out to Services of type NodePort.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
/// A guess: more lanes than this need more cores than one machine's traffic can use.
const MOST_LANES: i64 = 64;
/// Polling longer burns a core to save nothing: a thread wakes in tens of microseconds.
const LONGEST_POLL: i64 = 1000;
const MACHINE_ID_FILES: [&str; 2] = ["/sys/class/dmi/id/product_uuid", "/etc/machine-id"];

/// Checks everything that can be judged without looking at the machine.
pub(super) fn check(mut file: ConfigFile, settings: &Settings) -> Result<Config, ConfigError> {
    let node_name = arguments::node_name(&file, settings)?;
    let first_use = if settings.trust_on_first_use {
        FirstUse::Trusted
    } else {
        FirstUse::Refused
    };
    let endpoint_texts = arguments::endpoints(&file, settings)?;
    let pin_texts = arguments::pins(&file, settings)?;
    let config = Config {
        node_name: parse(node_name.key, &node_name.value)?,
        trust_domain: parse("trust_domain", &file.trust_domain)?,
        pins: pins(&pin_texts, first_use)?,
        first_use,
        store: store(&mut file)?,
        state_directory: absolute("state_directory", file.state_directory)?,
        runtime_directory: absolute("runtime_directory", file.runtime_directory)?,
        cluster_pod_ranges: pod_ranges(&file.cluster_pod_ranges)?,
        service_ranges: networks("service_ranges", &file.service_ranges)?,
        underlay_ranges: networks("underlay_ranges", &file.underlay_ranges)?,
        endpoints: endpoints(&endpoint_texts)?,
        endpoint_mtu: file
            .endpoint_mtu
            .map(|mtu| number("endpoint_mtu", mtu, SMALLEST_MTU..=LARGEST_MTU))
            .transpose()?,
        port: port(file.port, file.lanes)?,
        lanes: number("lanes", file.lanes, 1..=MOST_LANES)?,
        poll_for: Duration::from_micros(number(
            "poll_microseconds",
            file.poll_microseconds,
            0..=LONGEST_POLL,
        )?),
        aes_gcm: choice(
            "aes_gcm",
            &file.aes_gcm,
            [("auto", AesGcm::Auto), ("off", AesGcm::Off)],
        )?,
        http_address: http_address(&file.http_address)?,
        log_format: choice(
            "log_format",
            &file.log_format,
            [("text", LogFormat::Text), ("json", LogFormat::Json)],
        )?,
        cni: file.cni.map(cni).transpose()?,
        machine_id_files: machine_id_files(file.machine_id_file)?,
        boot_id_file: absolute("boot_id_file", file.boot_id_file)?,
    };
    check_directories(&config)?;
    check_ranges(&config)?;
    check_endpoints(&config)?;
    if let Some(mtu) = config.endpoint_mtu {
        check_mtu(&config.cluster_pod_ranges, mtu)?;
    }
    Ok(config)
}

/// Refuses an underlay that leaves the tun too small for the pods' IPv6.
///
/// # Errors
/// When pods have IPv6 ranges and the endpoints' MTU is below 1360.
pub(crate) fn check_mtu(pods: &PodRanges, endpoint_mtu: u16) -> Result<(), ConfigError> {
    let smallest = if pods.ipv6().next().is_some() {
        SMALLEST_MTU_WITH_IPV6_PODS
    } else {
        SMALLEST_MTU
    };
    if i64::from(endpoint_mtu) >= smallest {
        return Ok(());
    }
    let cure = format!(
        "pods of these ranges need at least {smallest} (the tunnel takes 80 bytes of a packet), raise the links' MTU or leave out IPv6 pod ranges"
    );
    Err(ConfigError::value("endpoint_mtu", endpoint_mtu, cure))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(
    key: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    text.parse()
        .map_err(|error: T::Err| ConfigError::value(key, format!("{text:?}"), error.to_string()))
}

fn number<T: TryFrom<i64>>(
    key: &'static str,
    value: i64,
    allowed: std::ops::RangeInclusive<i64>,
) -> Result<T, ConfigError> {
    let outside = || {
        ConfigError::value(
            key,
            value,
            format!(
                "choose a number from {} to {}",
                allowed.start(),
                allowed.end()
            ),
        )
    };
    if !allowed.contains(&value) {
        return Err(outside());
    }
    T::try_from(value).map_err(|_| outside())
}

fn pins(
    given: &Given<Vec<String>>,
    first_use: FirstUse,
) -> Result<Vec<node_identity::Pin>, ConfigError> {
    let texts = &given.value;
    if texts.is_empty() && first_use == FirstUse::Refused {
        return Err(ConfigError::value(
            given.key,
            "[]",
            "name the pin that `sotto-controller root create` printed",
        ));
    }
    texts.iter().map(|text| parse(given.key, text)).collect()
}

/// A full path.
///
/// # Errors
/// When it is relative, or `/` itself.
pub(super) fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() && path != Path::new("/") {
        return Ok(path);
    }
    Err(ConfigError::value(
        key,
        format!("{:?}", path.display().to_string()),
        "give a full path that begins with / and is not / itself",
    ))
}

/// A clone of a disk keeps `/etc/machine-id`, so the product UUID of the machine itself is asked first.
/// Machines without DMI (boards, some virtual ones) have no such thing.
fn machine_id_files(given: Option<PathBuf>) -> Result<Vec<PathBuf>, ConfigError> {
    match given {
        Some(file) => Ok(vec![absolute("machine_id_file", file)?]),
        None => Ok(MACHINE_ID_FILES.map(PathBuf::from).to_vec()),
    }
}

fn pod_ranges(texts: &[String]) -> Result<PodRanges, ConfigError> {
    const KEY: &str = "cluster_pod_ranges";
    if texts.is_empty() {
        return Err(ConfigError::value(
            KEY,
            "[]",
            "give the cluster's pod ranges, for example [\"10.244.0.0/16\"]",
        ));
    }
    let cidrs = texts
        .iter()
        .map(|text| pod_cidr(KEY, text))
        .collect::<Result<Vec<_>, _>>()?;
    PodRanges::try_new(cidrs)
        .map_err(|error| ConfigError::value(KEY, format!("{texts:?}"), error.to_string()))
}

fn pod_cidr(key: &'static str, text: &str) -> Result<PodCidr, ConfigError> {
    let cidr: PodCidr = parse(key, text)?;
    let longest = if cidr.is_ipv4() { 30 } else { 126 };
    if cidr.prefix_len() > longest {
        return Err(ConfigError::value(
            key,
            format!("{text:?}"),
            format!("too small for any node's pods, give a prefix of at most /{longest}"),
        ));
    }
    Ok(cidr)
}

fn networks(key: &'static str, texts: &[String]) -> Result<Vec<IpNetwork>, ConfigError> {
    texts.iter().map(|text| network(key, text)).collect()
}

fn network(key: &'static str, text: &str) -> Result<IpNetwork, ConfigError> {
    parse_network(text)
        .map_err(|error| ConfigError::value(key, format!("{text:?}"), error.to_string()))
}

fn refuse_special(key: &'static str, network: IpNetwork) -> Result<(), ConfigError> {
    if let Some((special, name)) = special_purpose(network) {
        return Err(ConfigError::value(
            key,
            format!("\"{network}\""),
            format!("overlaps {special} ({name}), choose another range"),
        ));
    }
    Ok(())
}

fn endpoints(given: &Given<Vec<String>>) -> Result<Vec<IpAddr>, ConfigError> {
    let (key, texts) = (given.key, &given.value);
    if texts.is_empty() || texts.len() > MAX_ADDRESSES {
        return Err(ConfigError::value(
            key,
            format!("{texts:?}"),
            format!("give 1 to {MAX_ADDRESSES} addresses of this node"),
        ));
    }
    let mut endpoints = Vec::new();
    for text in texts {
        let address: IpAddr = text.parse().map_err(|_| {
            ConfigError::value(
                key,
                format!("{text:?}"),
                "give an IP address of this node, without prefix or port; in a pod --endpoint=$(HOST_IPS) with the variable from status.hostIPs",
            )
        })?;
        refuse_special(key, IpNetwork::from(address))?;
        if endpoints.contains(&address) {
            return Err(ConfigError::value(
                key,
                format!("{text:?}"),
                "is named twice, name it once",
            ));
        }
        endpoints.push(address);
    }
    Ok(endpoints)
}

fn port(port: i64, lanes: i64) -> Result<u16, ConfigError> {
    const KEY: &str = "port";
    let first: u16 = number(KEY, port, 1..=65_535)?;
    let last = port.saturating_add(lanes.clamp(1, MOST_LANES)) - 1;
    if last > 65_535 {
        return Err(ConfigError::value(
            KEY,
            port,
            format!("lanes need the ports {port} to {last}, choose a lower one"),
        ));
    }
    if port <= *NODE_PORTS.end() && last >= *NODE_PORTS.start() {
        return Err(ConfigError::value(
            KEY,
            port,
            "lies in 30000-32767, which Kubernetes gives to NodePort Services, choose another",
        ));
    }
    Ok(first)
}

fn http_address(text: &str) -> Result<SocketAddr, ConfigError> {
    const KEY: &str = "http_address";
    let refuse = |cure: &str| ConfigError::value(KEY, format!("{text:?}"), cure);
    let address: SocketAddr = text
        .parse()
        .map_err(|_| refuse("give address and port, for example 127.0.0.1:9469"))?;
    if !address.ip().is_loopback() {
        return Err(refuse(
            "is reachable from outside, give a loopback address, for example 127.0.0.1:9469",
        ));
    }
    if address.port() == 0 {
        return Err(refuse(
            "port 0 means any port, choose one, for example 127.0.0.1:9469",
        ));
    }
    Ok(address)
}

/// One of two words.
fn choice<T>(
    key: &'static str,
    text: &str,
    words: [(&'static str, T); 2],
) -> Result<T, ConfigError> {
    let names = words.each_ref().map(|word| word.0);
    let chosen = words.into_iter().find(|word| word.0 == text);
    chosen.map(|word| word.1).ok_or_else(|| {
        let [one, other] = names;
        let cure = format!("choose {one:?} or {other:?}");
        ConfigError::value(key, format!("{text:?}"), cure)
    })
}

fn check_directories(config: &Config) -> Result<(), ConfigError> {
    let value = |path: &Path| format!("{:?}", path.display().to_string());
    if config.state_directory == config.runtime_directory {
        return Err(ConfigError::value(
            "runtime_directory",
            value(&config.runtime_directory),
            "is state_directory too: the one survives a boot, the other must not",
        ));
    }
    let Store::Directory { directory, .. } = &config.store else {
        return Ok(());
    };
    for (key, own) in [
        ("state_directory", &config.state_directory),
        ("runtime_directory", &config.runtime_directory),
    ] {
        if own.starts_with(directory) {
            return Err(ConfigError::value(
                key,
                value(own),
                "lies in store_directory, which other nodes can read: this node's keys must not",
            ));
        }
    }
    Ok(())
}

/// BI-01: pods, Services and nodes must never share an address.
fn check_ranges(config: &Config) -> Result<(), ConfigError> {
    for pods in config.cluster_pod_ranges.iter() {
        let others = [
            ("service_ranges", &config.service_ranges),
            ("underlay_ranges", &config.underlay_ranges),
        ];
        for (key, range) in others
            .iter()
            .flat_map(|(key, ranges)| ranges.iter().map(move |range| (*key, *range)))
        {
            if overlap(pods.to_network(), range) {
                return Err(ConfigError::value(
                    key,
                    format!("\"{range}\""),
                    format!("overlaps cluster_pod_ranges' {pods}, separate them"),
                ));
            }
        }
    }
    for service in &config.service_ranges {
        if let Some(underlay) = config
            .underlay_ranges
            .iter()
            .find(|underlay| overlap(*service, **underlay))
        {
            return Err(ConfigError::value(
                "service_ranges",
                format!("\"{service}\""),
                format!("overlaps underlay_ranges' {underlay}, separate them"),
            ));
        }
    }
    Ok(())
}

fn check_endpoints(config: &Config) -> Result<(), ConfigError> {
    const KEY: &str = "endpoints";
    for endpoint in &config.endpoints {
        let refuse = |cure: &str| ConfigError::value(KEY, format!("\"{endpoint}\""), cure);
        if config.cluster_pod_ranges.contains(*endpoint) {
            return Err(refuse(
                "lies in cluster_pod_ranges, a node's address must not",
            ));
        }
        if config
            .service_ranges
            .iter()
            .any(|range| range.contains(*endpoint))
        {
            return Err(refuse("lies in service_ranges, a node's address must not"));
        }
        if !config
            .underlay_ranges
            .iter()
            .any(|range| range.contains(*endpoint))
        {
            return Err(refuse(
                "lies outside underlay_ranges, widen them or correct the address",
            ));
        }
    }
    Ok(())
}
