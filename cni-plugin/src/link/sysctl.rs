//! Settings of a link, written to `/proc/sys/net` of the calling thread's namespace.
//!
//! They are written while the link is still down. What the guard does in nftables for both families
//! is helped here where the kernel has a setting: source checks (IPv4 only), no redirects, no source
//! routing, nothing learned from router advertisements.

use std::fs;
use std::path::{Path, PathBuf};

use super::LinkError;

/// Settings of the pod's end.
pub(super) const POD_V4: &[(&str, &str)] = &[("accept_redirects", "0")];

/// Settings of the pod's end.
pub(super) const POD_V6: &[(&str, &str)] = &[
    ("disable_ipv6", "0"),
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_dad", "0"),
    ("accept_redirects", "0"),
];

/// Which IP versions of a link are set.
#[derive(Clone, Copy)]
pub(super) enum Version {
    V4,
    V6,
}

/// Sets what is not as wanted yet.
///
/// Some settings take the kernel's lock of all links by trying again and again; when 200 pods come at
/// once, writing what is there already costs more than everything else.
pub(super) fn set(
    version: Version,
    link: &str,
    settings: &[(&str, &'static str)],
) -> Result<(), LinkError> {
    let folder = folder(version).join(link);
    for (name, value) in settings {
        let path = folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found.trim() == *value) {
            continue;
        }
        fs::write(&path, value).map_err(|source| LinkError::Sysctl {
            path,
            value,
            source,
        })?;
    }
    Ok(())
}

/// Whether a link has IPv6: neither where the kernel lacks it, nor below its smallest MTU, 1280.
pub(super) fn has_ipv6(link: &str) -> bool {
    folder(Version::V6).join(link).is_dir()
}

fn folder(version: Version) -> PathBuf {
    Path::new("/proc/sys/net").join(match version {
        Version::V4 => "ipv4/conf",
        Version::V6 => "ipv6/conf",
    })
}
