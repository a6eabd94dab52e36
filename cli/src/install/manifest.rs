//! The manifest that this program carries, filled in. Pure.
//!
//! Only values that were parsed go in, never text as a person or a cluster wrote it: nothing in
//! them can end a line or a quotation.

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use node_identity::{Pin, PodCidr, TrustDomain};

use crate::settings::controller::{InstalledController, PrefixLengths};
use crate::settings::image::Images;
use crate::settings::node::InstalledNode;

/// `make gen` renders it from the chart; its head says which texts stand for what.
const MANIFEST: &str = include_str!("../../../deploy/sotto.yaml");

const PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const PREVIOUS_PIN: &str =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const TRUST_DOMAIN: &str = "trust-domain.invalid";
const POD_RANGES: &str = r#"["203.0.113.0/26"]"#;
const SERVICE_RANGES: &str = r#"["203.0.113.64/26"]"#;
const UNDERLAY_RANGES: &str = r#"["203.0.113.128/26"]"#;
const NODE_IMAGE: &str = "image.invalid/sotto-node:v0";
const CONTROLLER_IMAGE: &str = "image.invalid/sotto-controller:v0";
const PULL_SECRETS: &str = " imagePullSecrets:";
const PULL_SECRET: &str = "pull-secret.invalid";
const API_SERVER_VARIABLE: &str = " KUBERNETES_SERVICE_";
const API_SERVER_HOST: &str = "api-server.invalid";
const API_SERVER_PORT: &str = r#""65535""#;
const PLUGIN_DIRECTORY: &str = "/plugin-directory.invalid";
const CONFIGURATION_DIRECTORY: &str = "/configuration-directory.invalid";
const NODE_LABEL: &str = "node-restriction.kubernetes.io/label.invalid";
const ROOT_DIRECTORY: &str = "/root-directory.invalid";
/// Where that folder is mounted.
const ROOT_MOUNT: &str = "/etc/sotto/root";
// As `deploy/manifest-values.yaml` has them; the schema of the chart allows no text to be replaced.
const RANGES_FROM: &str = r#" pod_ranges_from = "node""#;
const PREFIX_LENGTHS: &str = "{ ipv4 = 24, ipv6 = 64 }";
const EXTERNAL_ADDRESSES: &str = " external_addresses = false";
const PORT: &str = " port = 51820";
const LANES: &str = " lanes = 1";

/// What every text that is to be replaced has a part of.
const PLACEHOLDERS: [&str; 4] = [PIN, PREVIOUS_PIN, ".invalid", "203.0.113."];

/// What a cluster's manifest says that others' do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    /// The roots that nodes trust, one at least.
    pub(crate) pins: Vec<Pin>,
    /// The name of the cluster.
    pub(crate) trust_domain: TrustDomain,
    /// Where pods are.
    pub(crate) pod_ranges: Vec<PodCidr>,
    /// What the controller alone is told.
    pub(crate) controller: InstalledController,
    /// Where Services are.
    pub(crate) service_ranges: Vec<IpNetwork>,
    /// Where nodes are.
    pub(crate) underlay_ranges: Vec<IpNetwork>,
    /// What runs.
    pub(crate) images: Images,
    /// What daemons alone are told.
    pub(crate) node: InstalledNode,
}

impl Values {
    /// The manifest for this cluster.
    ///
    /// # Errors
    /// When a value is missing, or the manifest has a text to be replaced that is not known here.
    pub(crate) fn fill(&self) -> Result<String> {
        self.fill_in(MANIFEST)
    }

    fn fill_in(&self, manifest: &str) -> Result<String> {
        if self.pins.is_empty() || self.pod_ranges.is_empty() || self.underlay_ranges.is_empty() {
            bail!("fill in the manifest: pin, pod range and underlay range are needed");
        }
        let replacements = self.replacements()?;
        let mut text = String::with_capacity(manifest.len());
        // The head explains the texts to be replaced, for those who read it in the repository.
        for line in manifest.lines().skip_while(|line| line.starts_with('#')) {
            for line in self.lines(line) {
                let filled = replacements
                    .iter()
                    .fold(line, |line, (from, to)| line.replace(from, to));
                text.push_str(&filled);
                text.push('\n');
            }
        }
        if let Some(left) = PLACEHOLDERS.iter().find(|left| text.contains(**left)) {
            bail!("fill in the manifest: {left} is left in it, this is a fault of this program");
        }
        Ok(text)
    }

    fn replacements(&self) -> Result<[(&'static str, String); 15]> {
        let PrefixLengths { ipv4, ipv6 } = self.controller.prefix_lengths;
        let InstalledNode { port, lanes, .. } = self.node;
        let external = self.controller.external_addresses;
        let from = self.controller.ranges_from;
        Ok([
            (POD_RANGES, list(&self.pod_ranges)?),
            (SERVICE_RANGES, list(&self.service_ranges)?),
            (UNDERLAY_RANGES, list(&self.underlay_ranges)?),
            (TRUST_DOMAIN, self.trust_domain.to_string()),
            (NODE_IMAGE, self.images.node.to_string()),
            (CONTROLLER_IMAGE, self.images.controller.to_string()),
            (NODE_LABEL, self.controller.node_label.to_string()),
            (RANGES_FROM, format!(" pod_ranges_from = \"{from}\"")),
            (
                PREFIX_LENGTHS,
                format!("{{ ipv4 = {ipv4}, ipv6 = {ipv6} }}"),
            ),
            (
                EXTERNAL_ADDRESSES,
                format!(" external_addresses = {external}"),
            ),
            (PORT, format!(" port = {port}")),
            (LANES, format!(" lanes = {lanes}")),
            (PLUGIN_DIRECTORY, self.node.plugin_directory.to_string()),
            (
                CONFIGURATION_DIRECTORY,
                self.node.configuration_directory.to_string(),
            ),
            (
                API_SERVER_PORT,
                format!("\"{}\"", self.node.api_server_port),
            ),
        ])
    }

    /// A line with a pin becomes one for each; one of something that there is not goes.
    fn lines(&self, line: &str) -> Vec<String> {
        let InstalledController {
            root_directory,
            previous_pin,
            ..
        } = &self.controller;
        let InstalledNode {
            api_server,
            pull_secrets,
            ..
        } = &self.node;
        let of_api_server = [API_SERVER_VARIABLE, API_SERVER_HOST, API_SERVER_PORT];
        if line.contains(PULL_SECRET) {
            let secrets = pull_secrets.iter();
            secrets
                .map(|secret| line.replace(PULL_SECRET, &secret.to_string()))
                .collect()
        } else if line.contains(PULL_SECRETS) && pull_secrets.is_empty() {
            Vec::new()
        } else if of_api_server.iter().any(|word| line.contains(word)) {
            let host = api_server.is_some().then(|| api_server.to_string());
            let lines = host.iter();
            lines
                .map(|host| line.replace(API_SERVER_HOST, host))
                .collect()
        } else if line.contains(PIN) {
            let pins = self.pins.iter();
            pins.map(|pin| line.replace(PIN, &pin.to_string()))
                .collect()
        } else if line.contains(PREVIOUS_PIN) {
            let pins = previous_pin.iter();
            pins.map(|pin| line.replace(PREVIOUS_PIN, &pin.to_string()))
                .collect()
        } else if line.contains(ROOT_MOUNT) || line.contains(ROOT_DIRECTORY) {
            let path = root_directory.path().into_iter();
            path.map(|path| line.replace(ROOT_DIRECTORY, path))
                .collect()
        } else {
            vec![line.to_owned()]
        }
    }
}

fn list(values: &[impl ToString]) -> Result<String> {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    Ok(serde_json::to_string(&texts)?)
}

/// The objects that are applied, with texts in place of what a cluster has.
///
/// # Errors
/// When there is a fault in this program.
pub(crate) fn all() -> Result<Vec<DynamicObject>> {
    objects(MANIFEST)
}

/// The objects of a manifest, in the order in which they are applied.
///
/// # Errors
/// When it is no manifest.
pub(crate) fn objects(manifest: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(manifest).context("read the manifest")?;
    let mut objects = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(serde_json::from_value::<DynamicObject>)
        .collect::<Result<Vec<_>, _>>()
        .context("read the manifest")?;
    if objects
        .iter()
        .any(|one| one.types.is_none() || one.metadata.name.is_none())
    {
        bail!("read the manifest: an object has no kind or no name");
    }
    objects.sort_by_key(|object| rank(kind(object)));
    Ok(objects)
}

/// The path of an object's kind in the API.
///
/// # Errors
/// When it has none.
pub(crate) fn resource(object: &DynamicObject) -> Result<ApiResource> {
    let types = object.types.as_ref().context("an object has no kind")?;
    let kind = GroupVersionKind::try_from(types).context("an object has no version")?;
    Ok(ApiResource::from_gvk(&kind))
}

/// What kind of object it is.
pub(crate) fn kind(object: &DynamicObject) -> &str {
    object
        .types
        .as_ref()
        .map_or("", |types| types.kind.as_str())
}

/// Where an object comes in the order: what others need comes first, so that whoever is
/// interrupted leaves nothing running that lacks its rights, its policies or its root.
fn rank(kind: &str) -> usize {
    const ORDER: [&str; 10] = [
        "CustomResourceDefinition",
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "PodDisruptionBudget",
    ];
    match kind {
        "Deployment" => ORDER.len() + 1,
        "DaemonSet" => ORDER.len() + 2,
        other => ORDER
            .iter()
            .position(|one| *one == other)
            .unwrap_or(ORDER.len()),
    }
}

/// Whether it runs something, which needs the Secrets.
pub(crate) fn runs(object: &DynamicObject) -> bool {
    matches!(kind(object), "Deployment" | "DaemonSet")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};

    use super::{Values, kind, objects, runs};
    use crate::settings;
    use crate::settings::controller::{self, InstalledController, PrefixLengths, RangesFrom};
    use crate::settings::image::Images;
    use crate::settings::node::InstalledNode;

    fn values() -> Values {
        let pin = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse().unwrap();
        Values {
            pins: vec![pin("a"), pin("b")],
            trust_domain: "sotto.test".parse().unwrap(),
            pod_ranges: vec![
                "10.244.0.0/16".parse().unwrap(),
                "fd00:10:244::/56".parse().unwrap(),
            ],
            controller: InstalledController::default(),
            service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
            underlay_ranges: vec!["198.51.100.0/24".parse().unwrap()],
            images: Images {
                node: "registry.example/sotto-node:v1".parse().unwrap(),
                controller: "registry.example/sotto-controller:v2".parse().unwrap(),
            },
            node: InstalledNode {
                port: 4000,
                lanes: 3,
                plugin_directory: "/usr/libexec/cni".parse().unwrap(),
                configuration_directory: "/var/lib/cni/conf".parse().unwrap(),
                api_server: "api.example".parse().unwrap(),
                api_server_port: 8443,
                pull_secrets: vec!["one".parse().unwrap(), "two".parse().unwrap()],
            },
        }
    }

    #[test]
    fn a_filled_manifest_says_to_the_daemon_what_was_given() {
        let objects = objects(&values().fill().unwrap()).unwrap();

        let daemon_set = objects.iter().find(|one| kind(one) == "DaemonSet").unwrap();
        let daemon_set: DaemonSet = daemon_set.clone().try_parse().unwrap();
        let installed = settings::read(&daemon_set).unwrap();
        let values = values();
        assert_eq!(installed.pins, values.pins);
        assert_eq!(installed.trust_domain, values.trust_domain);
        assert_eq!(installed.pod_ranges, values.pod_ranges);
        assert_eq!(installed.service_ranges, values.service_ranges);
        assert_eq!(installed.underlay_ranges, values.underlay_ranges);
        assert_eq!(installed.image, values.images.node);
        assert_eq!(installed.node, values.node);
    }

    #[test]
    fn a_filled_manifest_says_to_the_controller_what_was_given() {
        let given = InstalledController {
            node_label: "node-restriction.kubernetes.io/keys".parse().unwrap(),
            ranges_from: RangesFrom::Controller,
            prefix_lengths: PrefixLengths { ipv4: 20, ipv6: 80 },
            root_directory: "/etc/sotto-root".parse().unwrap(),
            previous_pin: Some(values().pins[1]),
            external_addresses: true,
        };
        for controller in [given, InstalledController::default()] {
            let values = Values {
                controller: controller.clone(),
                ..values()
            };

            let objects = objects(&values.fill().unwrap()).unwrap();

            let found = objects.iter().find(|one| kind(one) == "Deployment");
            let deployment: Deployment = found.unwrap().clone().try_parse().unwrap();
            assert_eq!(controller::read(&deployment).unwrap(), controller);
            let image = controller::image(&deployment).unwrap();
            assert_eq!(image, values.images.controller);
        }
    }

    #[test]
    fn what_there_is_not_leaves_no_line_behind() {
        let values = Values {
            node: InstalledNode::default(),
            ..values()
        };
        let text = values.fill().unwrap();

        for word in [
            "previous_root",
            "root_directory",
            "/etc/sotto/root",
            "imagePullSecrets",
            "KUBERNETES_SERVICE_",
            "6443",
        ] {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn what_runs_comes_after_all_it_needs_and_definitions_come_first() {
        let objects = objects(&values().fill().unwrap()).unwrap();
        let kinds: Vec<&str> = objects.iter().map(kind).collect();

        assert_eq!(kinds.first(), Some(&"CustomResourceDefinition"));
        assert!(kinds.ends_with(&["Deployment", "DaemonSet"]), "{kinds:?}");
        let position = |kind: &str| kinds.iter().position(|one| *one == kind).unwrap();
        assert!(position("Namespace") < position("ServiceAccount"));
        assert!(position("ValidatingAdmissionPolicyBinding") < position("Deployment"));
        assert_eq!(objects.iter().filter(|one| runs(one)).count(), 2);
        assert!(!kinds.contains(&"Secret"), "keys are never in a manifest");
    }

    #[test]
    fn a_text_that_nobody_replaces_is_no_manifest() {
        let manifest = "# head\n---\na: \"203.0.113.192/26\"\n";

        let error = values().fill_in(manifest).unwrap_err().to_string();

        assert!(error.contains("is left in it"), "{error}");
    }
}
