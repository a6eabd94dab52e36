//! What is to be installed, as a table for the person who is asked.

use super::manifest::Values;
use super::plan::{Plan, RootPlan};
use crate::settings::controller::PrefixLengths;
use crate::settings::node::InstalledNode;
use crate::table::table;

/// A plan, with its notes.
pub(super) fn plan(plan: &Plan) -> String {
    let mut text = table(&rows(plan));
    for note in &plan.notes {
        text.push_str("\nNote: ");
        text.push_str(&crate::printable::printable(note));
    }
    text
}

fn rows(plan: &Plan) -> Vec<Vec<String>> {
    let Values {
        pins: _,
        trust_domain,
        pod_ranges,
        controller,
        service_ranges,
        underlay_ranges,
        images,
        node,
    } = &plan.values;
    let [pods_source, services_source, underlay_source] = &plan.sources;
    let PrefixLengths { ipv4, ipv6 } = controller.prefix_lengths;
    let mut rows = vec![
        [
            "Pod ranges".to_owned(),
            listed(pod_ranges),
            pods_source.clone(),
        ],
        [
            "Each node's".to_owned(),
            format!("from the {}", controller.ranges_from),
            format!("at most an IPv4 /{ipv4} or an IPv6 /{ipv6}"),
        ],
        [
            "Service ranges".to_owned(),
            listed(service_ranges),
            services_source.clone(),
        ],
        [
            "Underlay ranges".to_owned(),
            listed(underlay_ranges),
            underlay_source.clone(),
        ],
        [
            "Tunnel ports".to_owned(),
            ports(node),
            "UDP, to be open between nodes".to_owned(),
        ],
        [
            "Trust domain".to_owned(),
            trust_domain.to_string(),
            String::new(),
        ],
        [
            "Images".to_owned(),
            images.node.to_string(),
            format!("and {}", images.controller),
        ],
        [
            "Controller on".to_owned(),
            controller.node_label.to_string(),
            String::new(),
        ],
        root(plan),
    ];
    if let Some(pin) = controller.previous_pin {
        let source = "its ledger is taken over".to_owned();
        rows.push(["Root before".to_owned(), pin.to_string(), source]);
    }
    rows.into_iter().map(Vec::from).collect()
}

fn root(plan: &Plan) -> [String; 3] {
    let pins = listed(&plan.values.pins);
    let directory = &plan.values.controller.root_directory;
    let (value, source) = match plan.root {
        RootPlan::New => ("a new one, its key in a Secret".to_owned(), String::new()),
        RootPlan::There => (pins, "in its Secret".to_owned()),
        RootPlan::Files => {
            let directory = directory.path().unwrap_or_default();
            let source = format!("its key in {directory} of the controller's nodes");
            (pins, source)
        }
        RootPlan::Elsewhere => (
            pins,
            "the controller waits until its Secrets are there, see `sotto root create`".to_owned(),
        ),
    };
    ["Root".to_owned(), value, source]
}

fn ports(node: &InstalledNode) -> String {
    let first = node.port;
    match node.lanes {
        0 | 1 => first.to_string(),
        lanes => format!("{first} to {}", first.saturating_add(lanes - 1)),
    }
}

fn listed(values: &[impl ToString]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
