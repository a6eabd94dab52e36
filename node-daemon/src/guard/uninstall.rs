//! Takes away everything the guard ever made, and nothing else.

use std::path::Path;

use cni_protocol::contract::POD_LINK_GROUP;

use super::node_settings::load_journal;
use super::{GuardError, ruleset};
use crate::io::guard as tools;
use crate::io::netlink::route::RouteNetlink;
use crate::io::sysctl;

/// Removes the guard, and pods' links and routes with it: settings first, so that the node stops forwarding before the rest goes;
/// the tables last. Works on any remainder, and again on nothing.
///
/// # Errors
/// The first thing that could not be removed.
pub(crate) fn uninstall(tun: &str, journal_path: &Path) -> Result<(), GuardError> {
    restore_settings(journal_path)?;
    let mut netlink = RouteNetlink::open()?;
    remove_links(&mut netlink, tun)?;
    for found in netlink.rules()? {
        netlink.delete_rule(&found)?;
    }
    for found in netlink.routes()? {
        netlink.delete_route(&found)?;
    }
    super::forward_accepts::remove(tun);
    tools::load(&ruleset::render_removal())?;
    Ok(())
}

fn restore_settings(journal_path: &Path) -> Result<(), GuardError> {
    let journal = load_journal(journal_path)?;
    for setting in journal.restorations(|key| sysctl::read(key).ok()) {
        sysctl::write(&setting.key, &setting.value)?;
    }
    kept_files::remove(journal_path).map_err(|error| GuardError::Journal {
        path: journal_path.to_owned(),
        source: error.into(),
    })
}

fn remove_links(netlink: &mut RouteNetlink, tun: &str) -> Result<(), GuardError> {
    for link in netlink.links()? {
        let is_our_tun = link.name == tun && link.is_tun;
        if is_our_tun || link.group == POD_LINK_GROUP {
            netlink.delete_link(link.index)?;
        }
    }
    Ok(())
}
