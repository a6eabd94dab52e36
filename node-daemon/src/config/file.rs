//! The configuration file as it is written. Numbers are as wide as TOML's, so that one out of range
//! is refused in our words.

use std::path::PathBuf;

use cni_protocol::contract::{DEFAULT_BOOT_ID_FILE, DEFAULT_RUNTIME_DIRECTORY};
use serde::Deserialize;

use super::cni::CniTable;
use super::store::KubernetesTable;

/// The keys of the file; every other key is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) node_name: Option<String>,
    pub(super) trust_domain: String,
    pub(super) pins: Option<Vec<String>>,
    pub(super) join_token_file: Option<PathBuf>,
    pub(super) store_directory: Option<PathBuf>,
    pub(super) kubernetes: Option<KubernetesTable>,
    #[serde(default = "state_directory")]
    pub(super) state_directory: PathBuf,
    #[serde(default = "runtime_directory")]
    pub(super) runtime_directory: PathBuf,
    pub(super) cluster_pod_ranges: Vec<String>,
    #[serde(default)]
    pub(super) service_ranges: Vec<String>,
    pub(super) underlay_ranges: Vec<String>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) endpoint_mtu: Option<i64>,
    #[serde(default = "port")]
    pub(super) port: i64,
    #[serde(default = "lanes")]
    pub(super) lanes: i64,
    #[serde(default = "poll_microseconds")]
    pub(super) poll_microseconds: i64,
    #[serde(default = "aes_gcm")]
    pub(super) aes_gcm: String,
    #[serde(default = "http_address")]
    pub(super) http_address: String,
    #[serde(default = "log_format")]
    pub(super) log_format: String,
    pub(super) cni: Option<CniTable>,
    pub(super) machine_id_file: Option<PathBuf>,
    #[serde(default = "boot_id_file")]
    pub(super) boot_id_file: PathBuf,
}

fn state_directory() -> PathBuf {
    PathBuf::from("/var/lib/sotto")
}

fn runtime_directory() -> PathBuf {
    PathBuf::from(DEFAULT_RUNTIME_DIRECTORY)
}

fn port() -> i64 {
    51_820
}

fn lanes() -> i64 {
    1
}

/// Measured: polling on for 60 µs cuts round trips by a third.
fn poll_microseconds() -> i64 {
    60
}

fn aes_gcm() -> String {
    "auto".to_owned()
}

fn http_address() -> String {
    "127.0.0.1:9469".to_owned()
}

fn log_format() -> String {
    "text".to_owned()
}

fn boot_id_file() -> PathBuf {
    PathBuf::from(DEFAULT_BOOT_ID_FILE)
}
