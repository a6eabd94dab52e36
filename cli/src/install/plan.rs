//! What is to be installed: from what was given, what is installed, and what the cluster tells, in
//! this order; what is only guessed is asked.

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use node_identity::{Pin, PodCidr, RootCertificate, TrustDomain};

use super::existing::{Existing, Ledger};
use super::manifest::Values;
use super::ranges::{self, Addresses, Found};
use crate::arguments::InstallArguments;
use crate::ask;
use crate::settings::controller::{InstalledController, PrefixLengths, RangesFrom, RootDirectory};
use crate::settings::image::Images;
use crate::settings::node::InstalledNode;
use crate::settings::{Installed, networks, pods};

/// The name of the cluster if nothing else was said.
const TRUST_DOMAIN: &str = "cluster.local";

/// What is to be installed.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the manifest is filled in with. No pins as long as the root is to be made.
    pub(crate) values: Values,
    /// Where the root is.
    pub(crate) root: RootPlan,
    /// What there is of a ledger.
    pub(crate) ledger: Ledger,
    /// How pod, Service and underlay ranges are known.
    pub(crate) sources: [String; 3],
    /// What the person should know.
    pub(crate) notes: Vec<String>,
}

/// Where the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootPlan {
    /// It is to be made.
    New,
    /// In its Secret.
    There,
    /// In files of the controller's nodes.
    Files,
    /// Somebody has it and puts it into the cluster.
    Elsewhere,
}

/// What to install where everything was given, so that no cluster has to be asked.
///
/// # Errors
/// When ranges overlap.
pub(crate) fn offline(arguments: &InstallArguments) -> Result<Option<Values>> {
    if arguments.pins.is_empty()
        || arguments.pod_ranges.is_empty()
        || arguments.service_ranges.is_empty()
        || arguments.underlay_ranges.is_empty()
    {
        return Ok(None);
    }
    let values = Values {
        pins: arguments.pins.clone(),
        trust_domain: trust_domain(arguments, None, None)?,
        pod_ranges: arguments.pod_ranges.clone(),
        controller: controller(arguments, None, &arguments.pins),
        service_ranges: arguments.service_ranges.clone(),
        underlay_ranges: arguments.underlay_ranges.clone(),
        images: images(arguments, None, &mut Vec::new())?,
        node: node(arguments, None),
    };
    check_ranges(&values)?;
    Ok(Some(values))
}

/// Settles what to install.
///
/// # Errors
/// When something is not known and nobody can be asked, or contradicts what there is.
pub(crate) async fn make(
    arguments: &InstallArguments,
    existing: &Existing,
    addresses: &Addresses,
) -> Result<Plan> {
    let mut notes = Vec::new();
    let root_directory = root_directory(arguments, existing.controller.as_ref());
    let (root, pins) = match root_directory.path() {
        Some(_) => settle_files(arguments, existing)?,
        None => settle_root(arguments, existing)?,
    };
    let of_root = existing.root.as_ref().filter(|_| root == RootPlan::There);
    let questions = questions(arguments, existing, addresses);
    if arguments.yes || arguments.print || arguments.dry_run {
        refuse_open(&questions)?;
    }
    let [of_pods, of_services, of_underlay] = &questions;
    let (pod_ranges, pods_source) = settle(of_pods).await?;
    let (service_ranges, services_source) = settle(of_services).await?;
    let (underlay_ranges, underlay_source) = settle(of_underlay).await?;
    let mut controller = controller(arguments, existing.controller.as_ref(), &pins);
    if controller.ranges_from == RangesFrom::Node {
        if existing.controller.is_none() {
            notes.extend(raise(&mut controller.prefix_lengths, arguments, addresses));
        }
        notes.extend(of_nodes(
            &addresses.of_nodes,
            &pod_ranges,
            controller.prefix_lengths,
        ));
    }
    let texts: Vec<String> = pod_ranges.iter().map(ToString::to_string).collect();
    let values = Values {
        pins,
        trust_domain: trust_domain(arguments, existing.installed.as_ref(), of_root)?,
        pod_ranges: pods(&texts).map_err(anyhow::Error::msg)?,
        controller,
        service_ranges,
        underlay_ranges,
        images: images(arguments, existing.images.as_ref(), &mut notes)?,
        node: node(arguments, existing.installed.as_ref().map(|one| &one.node)),
    };
    check_ranges(&values)?;
    Ok(Plan {
        values,
        root,
        ledger: existing.ledger,
        sources: [pods_source, services_source, underlay_source],
        notes,
    })
}

/// Lets nodes have ranges as large as they have, where nobody said how large those may be.
fn raise(
    lengths: &mut PrefixLengths,
    arguments: &InstallArguments,
    addresses: &Addresses,
) -> Option<String> {
    let found = ranges::common_lengths(&addresses.of_nodes);
    let before = *lengths;
    if arguments.node_prefix_length_ipv4.is_none() {
        lengths.ipv4 = found.ipv4;
    }
    if arguments.node_prefix_length_ipv6.is_none() {
        lengths.ipv6 = found.ipv6;
    }
    (before != *lengths).then(|| {
        format!(
            "a node may have an IPv4 /{} or an IPv6 /{}, as the nodes have now; give \
             --node-prefix-length-ipv4, -ipv6 to change it",
            lengths.ipv4, lengths.ipv6
        )
    })
}

/// Which nodes would stay pending for the pod ranges that they have.
fn of_nodes(
    nodes: &[(String, Vec<IpNetwork>)],
    pod_ranges: &[IpNetwork],
    lengths: PrefixLengths,
) -> Vec<String> {
    let outside = ranges::outside(nodes, pod_ranges);
    let large = ranges::larger(nodes, lengths);
    let note = |(names, what): (Vec<&str>, &str)| {
        let first = names.first()?;
        Some(format!(
            "{} nodes, {first} among them, have pod ranges {what} and stay pending",
            names.len()
        ))
    };
    let all = [
        (outside, "outside of these"),
        (
            large,
            "larger than one node may have (--node-prefix-length-ipv4, -ipv6)",
        ),
    ];
    all.into_iter().filter_map(note).collect()
}

/// Which roots nodes trust: as given, as installed, or the one that there is.
fn settle_pins(
    arguments: &InstallArguments,
    existing: &Existing,
    there: Option<Pin>,
) -> Result<Vec<Pin>> {
    let installed = existing.installed.as_ref();
    let installed = installed.map_or(&[][..], |one| one.pins.as_slice());
    if arguments.new_root && !installed.is_empty() && there.is_none() {
        bail!(
            "make a root: there is one already, which is not in the cluster and is never replaced; leave \
             --new-root out, or to change it, make one with `sotto root create` and give both pins with \
             --pin"
        );
    }
    let pins = [arguments.pins.as_slice(), installed, there.as_slice()];
    let pins = pins.into_iter().find(|pins| !pins.is_empty());
    Ok(pins.unwrap_or_default().to_vec())
}

/// What is in the Secret is of no matter then.
fn settle_files(arguments: &InstallArguments, existing: &Existing) -> Result<(RootPlan, Vec<Pin>)> {
    let pins = settle_pins(arguments, existing, None)?;
    if pins.is_empty() {
        bail!("settle the root: it is in files, which nobody here sees; give its pin with --pin");
    }
    Ok((RootPlan::Files, pins))
}

fn settle_root(arguments: &InstallArguments, existing: &Existing) -> Result<(RootPlan, Vec<Pin>)> {
    let there = existing.root.as_ref().map(|root| root.pin());
    let wanted = settle_pins(arguments, existing, there)?;
    match there {
        Some(pin) if !wanted.contains(&pin) => bail!(
            "settle the root: the Secret sotto-root holds {pin}, which no node would trust; give \
             its pin with --pin too, or put the right root into the Secret"
        ),
        Some(_) if existing.ledger == Ledger::Absent => bail!(
            "settle the root: the Secret sotto-ledger is gone, and with it what the root has \
             signed; put back its backup"
        ),
        Some(_) => Ok((RootPlan::There, wanted)),
        None if !wanted.is_empty() => Ok((RootPlan::Elsewhere, wanted)),
        None if existing.ledger == Ledger::Written => bail!(
            "make a root: the Secret sotto-ledger remembers another, whose Secret sotto-root is \
             gone; put back its backup"
        ),
        None => Ok((RootPlan::New, wanted)),
    }
}

fn trust_domain(
    arguments: &InstallArguments,
    installed: Option<&Installed>,
    root: Option<&RootCertificate>,
) -> Result<TrustDomain> {
    let installed = installed.map(|one| one.trust_domain.clone());
    let wanted = arguments.trust_domain.clone().or(installed);
    match (wanted, root.map(|root| root.trust_domain().clone())) {
        (Some(wanted), Some(of_root)) if wanted != of_root => bail!(
            "settle the trust domain: the root in the Secret sotto-root speaks for {of_root}, not \
             {wanted}"
        ),
        (Some(wanted), _) => Ok(wanted),
        (None, Some(of_root)) => Ok(of_root),
        (None, None) => TRUST_DOMAIN.parse().context("settle the trust domain"),
    }
}

fn root_directory(
    arguments: &InstallArguments,
    installed: Option<&InstalledController>,
) -> RootDirectory {
    let given = arguments.controller_root_directory.clone();
    let installed = installed.map(|one| one.root_directory.clone());
    given.or(installed).unwrap_or_default()
}

/// What was given for the controller, else what is installed.
fn controller(
    arguments: &InstallArguments,
    installed: Option<&InstalledController>,
    pins: &[Pin],
) -> InstalledController {
    let InstalledController {
        node_label,
        ranges_from,
        prefix_lengths: PrefixLengths { ipv4, ipv6 },
        root_directory: _,
        previous_pin,
        external_addresses,
    } = installed.cloned().unwrap_or_default();
    let label = arguments.controller_node_label.clone();
    // Who gives pins ends the change of a root by leaving the old one out.
    let still = |pin: &Pin| arguments.pins.is_empty() || pins.contains(pin);
    InstalledController {
        node_label: label.unwrap_or(node_label),
        ranges_from: arguments.pod_ranges_from.unwrap_or(ranges_from),
        prefix_lengths: PrefixLengths {
            ipv4: arguments.node_prefix_length_ipv4.unwrap_or(ipv4),
            ipv6: arguments.node_prefix_length_ipv6.unwrap_or(ipv6),
        },
        root_directory: root_directory(arguments, installed),
        previous_pin: arguments.previous_pin.or(previous_pin.filter(still)),
        external_addresses: arguments.external_addresses.unwrap_or(external_addresses),
    }
}

/// What was given for the daemons, else what is installed.
fn node(arguments: &InstallArguments, installed: Option<&InstalledNode>) -> InstalledNode {
    let there = installed.cloned().unwrap_or_default();
    let pull_secrets = match arguments.image_pull_secrets.as_slice() {
        [] => there.pull_secrets,
        given => given.to_vec(),
    };
    let plugins = arguments.cni_plugin_directory.clone();
    let configuration = arguments.cni_configuration_directory.clone();
    InstalledNode {
        port: arguments.port.unwrap_or(there.port),
        lanes: arguments.lanes.unwrap_or(there.lanes),
        plugin_directory: plugins.unwrap_or(there.plugin_directory),
        configuration_directory: configuration.unwrap_or(there.configuration_directory),
        api_server: arguments
            .api_server_host
            .clone()
            .unwrap_or(there.api_server),
        api_server_port: arguments.api_server_port.unwrap_or(there.api_server_port),
        pull_secrets,
    }
}

/// Another repository stays: the person chose it because the usual one cannot be reached. So do
/// digests, which were chosen with care.
fn images(
    arguments: &InstallArguments,
    installed: Option<&Images>,
    notes: &mut Vec<String>,
) -> Result<Images> {
    let (repository, tag) = (&arguments.image_repository, &arguments.image_tag);
    let settled = Images::settle(repository.as_ref(), tag.as_ref(), installed);
    let (images, stays) = settled.map_err(anyhow::Error::msg)?;
    if stays {
        notes.push(format!(
            "the installed images {} and {} stay; give --image-tag to change them",
            images.node, images.controller
        ));
    }
    Ok(images)
}

/// What to find out about one kind of ranges.
struct Question<'a> {
    what: &'static str,
    option: &'static str,
    given: Vec<IpNetwork>,
    installed: Option<Vec<IpNetwork>>,
    found: &'a Found,
}

impl Question<'_> {
    /// The answer that nobody has to give, and where it is from.
    fn known(&self) -> Option<(Vec<IpNetwork>, String)> {
        if !self.given.is_empty() {
            return Some((self.given.clone(), "as given".to_owned()));
        }
        if let Some(installed) = &self.installed {
            return Some((installed.clone(), "as installed".to_owned()));
        }
        let found = self.found;
        let is_certain = found.certain && !found.ranges.is_empty();
        is_certain.then(|| (found.ranges.clone(), found.source.clone()))
    }
}

fn questions<'a>(
    arguments: &InstallArguments,
    existing: &Existing,
    addresses: &'a Addresses,
) -> [Question<'a>; 3] {
    let installed = existing.installed.as_ref();
    let networks = |ranges: &[PodCidr]| ranges.iter().map(PodCidr::to_network).collect();
    [
        Question {
            what: "pod range",
            option: "--pod-range",
            given: networks(&arguments.pod_ranges),
            installed: installed.map(|one| networks(&one.pod_ranges)),
            found: &addresses.pods,
        },
        Question {
            what: "Service range",
            option: "--service-range",
            given: arguments.service_ranges.clone(),
            installed: installed.map(|one| one.service_ranges.clone()),
            found: &addresses.services,
        },
        Question {
            what: "underlay range",
            option: "--underlay-range",
            given: arguments.underlay_ranges.clone(),
            installed: installed.map(|one| one.underlay_ranges.clone()),
            found: &addresses.underlay,
        },
    ]
}

async fn settle(question: &Question<'_>) -> Result<(Vec<IpNetwork>, String)> {
    if let Some(known) = question.known() {
        return Ok(known);
    }
    let Question { what, found, .. } = question;
    let proposed = found.proposed();
    let prompt = if proposed.is_empty() {
        format!("The cluster does not tell its {what}. Which (comma-separated)? ")
    } else {
        format!(
            "The cluster does not tell its {what} for certain; {proposed} {}.\nWhich \
             (comma-separated, empty for {proposed})? ",
            found.source
        )
    };
    let answer = ask::line(&prompt)
        .await
        .with_context(|| unknown(question))?;
    if answer.is_empty() && !found.ranges.is_empty() {
        return Ok((found.ranges.clone(), "as confirmed".to_owned()));
    }
    let answers: Vec<String> = answer
        .split(',')
        .map(|text| text.trim().to_owned())
        .collect();
    let ranges = networks(&answers).map_err(anyhow::Error::msg)?;
    Ok((ranges, "as answered".to_owned()))
}

/// Names all questions at once that nobody can be asked.
fn refuse_open(questions: &[Question<'_>]) -> Result<()> {
    let open = questions
        .iter()
        .filter(|question| question.known().is_none());
    let texts: Vec<String> = open.map(unknown).collect();
    if texts.is_empty() {
        return Ok(());
    }
    bail!("{}", texts.join("; "))
}

fn unknown(question: &Question<'_>) -> String {
    let Question {
        what,
        option,
        found,
        ..
    } = question;
    let (proposed, source) = (found.proposed(), &found.source);
    if proposed.is_empty() {
        format!("find the {what}: the cluster does not tell it; give {option}")
    } else {
        format!(
            "find the {what}: the cluster does not tell it for certain; give {option} (such as \
             {option} {proposed}, which {source})"
        )
    }
}

/// What daemons and controller would refuse at their start.
fn check_ranges(values: &Values) -> Result<()> {
    let pods: Vec<IpNetwork> = values.pod_ranges.iter().map(PodCidr::to_network).collect();
    let overlap = ranges::first_overlap(&[
        ("pod range", &pods),
        ("Service range", &values.service_ranges),
        ("underlay range", &values.underlay_ranges),
    ]);
    if let Some(overlap) = overlap {
        bail!("settle the ranges: {overlap}; separate them");
    }
    let InstalledNode { port, lanes, .. } = values.node;
    if port.checked_add(lanes.saturating_sub(1)).is_none() {
        bail!(
            "settle the ports: {lanes} lanes from {port} on are beyond 65535; take a lower --port"
        );
    }
    let lengths = values.controller.prefix_lengths;
    match pods.iter().find(|range| range.prefix() > lengths.of(range)) {
        Some(range) => bail!(
            "settle the ranges: pod range {range} is smaller than what one node may have, /{}; raise \
             --node-prefix-length-{}",
            lengths.of(range),
            if range.is_ipv4() { "ipv4" } else { "ipv6" }
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
