//! Invariant I4 on a cluster: at rest a node's reservations, its kernel's links and the API's pods are the
//! same set, and no address is in it twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::text;
use super::{Trio, Whole};
use crate::lab::{Host, Place};
use crate::wait;

/// The daemon frees what nobody freed each minute.
const REST_LIMIT: Duration = Duration::from_secs(90);

impl Trio {
    /// Waits until reservations, links and pods are the same on every node.
    ///
    /// # Errors
    /// When they are not within a minute and a half; the text says how they differ.
    pub fn is_at_rest(&self) -> Result<()> {
        let hosts = [self.cluster.control(), &self.alice, &self.bob];
        self.cluster.is_at_rest(&hosts)
    }
}

impl Whole {
    /// [`Trio::is_at_rest`] for these hosts.
    ///
    /// # Errors
    /// As there.
    pub fn is_at_rest(&self, hosts: &[&Host]) -> Result<()> {
        for host in hosts {
            let what = format!("{} to be at rest", host.name());
            let agrees = || self.agrees(host).is_ok();
            let rested = wait::until(&what, REST_LIMIT, agrees);
            rested.or_else(|error| self.agrees(host).context(error))?;
        }
        Ok(())
    }

    fn agrees(&self, host: &Host) -> Result<()> {
        let place = host.place()?;
        let held = reservations(&place)?;
        let reserved: Vec<&String> = held.keys().collect();
        let links = host.pod_links()?;
        ensure!(
            reserved == links.iter().collect::<Vec<_>>(),
            "reservations {reserved:?}, links {links:?}"
        );
        let mut addresses: Vec<IpAddr> = held.into_values().flatten().collect();
        addresses.sort_unstable();
        let distinct: BTreeSet<&IpAddr> = addresses.iter().collect();
        ensure!(
            distinct.len() == addresses.len(),
            "an address is reserved twice: {addresses:?}"
        );
        let pods = self.addresses_on(host.name())?;
        ensure!(
            addresses == pods,
            "reserved {addresses:?}, pods have {pods:?}"
        );
        Ok(())
    }

    /// Addresses of a node's living pods on the pod network, in order.
    fn addresses_on(&self, node: &str) -> Result<Vec<IpAddr>> {
        let selector = format!("--field-selector=spec.nodeName={node}");
        let pods = self.api.read(&["pods", "--all-namespaces", &selector])?;
        let pods = pods.pointer("/items").and_then(Value::as_array);
        let living = |pod: &&Value| {
            let ended = matches!(text(pod, "/status/phase"), Ok("Succeeded" | "Failed"));
            let own = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool);
            !ended && own != Some(true)
        };
        let mut found = Vec::new();
        for pod in pods.into_iter().flatten().filter(living) {
            let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array);
            for address in addresses.into_iter().flatten() {
                found.push(text(address, "/ip")?.parse()?);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Each reservation's link and addresses.
fn reservations(place: &Place) -> Result<BTreeMap<String, Vec<IpAddr>>> {
    let said = place.shell(
        "for file in /run/sotto/pool/*/held/*.json; do
          if [ -e \"$file\" ]; then echo \"$(basename \"$file\" .json) $(tr -d '\\n' <\"$file\")\"; fi
        done",
    )?;
    let read = |line: &str| {
        let (link, content) = line.split_once(' ').context("a reservation is empty")?;
        let content: Value = serde_json::from_str(content).context("read a reservation")?;
        let addresses = content.get("addresses").context("no addresses")?;
        let addresses = serde_json::from_value(addresses.clone())?;
        Ok((link.to_owned(), addresses))
    };
    said.lines().map(read).collect()
}
