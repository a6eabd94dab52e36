//! The DaemonSet that uninstalls on each node: the daemon's own pod, told to take everything away.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cluster_client::Lenient;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{Api, ListParams, Patch, PatchParams};

use crate::cluster::{Cluster, patiently};
use crate::names::{FIELD_MANAGER, NODE, UNINSTALL};
use crate::say;

const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The folders that go. A folder that is mounted cannot be removed from inside: what holds them is
/// mounted instead.
const FOLDERS: [(&str, &str); 2] = [("/var/lib/sotto", "/var/lib"), ("/run/sotto", "/run")];
const HOST: &str = "/host";

/// How far each node is.
pub(super) struct States(BTreeMap<String, State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The pod is there, perhaps waiting for its image.
    Starting,
    /// New pods are refused, or will be in a moment.
    AtWork,
    /// It ended before it was done, and is tried again.
    Failing,
    /// Nothing of Sotto is left.
    Done,
}

impl States {
    /// Whether nothing is left on a node.
    pub(super) fn is_done(&self, node: &str) -> bool {
        self.0.get(node) == Some(&State::Done)
    }

    /// The node, with what keeps it.
    pub(super) fn describe(&self, node: &str) -> String {
        let note = match self.0.get(node) {
            None => "no pod of sotto-uninstall there; if the node never comes back: --ignore-node",
            Some(State::Starting) => "starting; if the node never comes back: --ignore-node",
            Some(State::AtWork | State::Done) => return node.to_owned(),
            Some(State::Failing) => "failing, see the log of its pod of sotto-uninstall",
        };
        format!("{node} ({note})")
    }

    /// Whether a node takes no pods any more.
    pub(super) fn is_at_work(&self, node: &str) -> bool {
        self.0.get(node) == Some(&State::AtWork)
    }
}

/// Looks how far the nodes are.
///
/// # Errors
/// When pods cannot be listed.
pub(super) async fn states(cluster: &Cluster) -> Result<States> {
    let namespace = Some(cluster.namespace.as_str());
    let current = cluster.find::<DaemonSet>(namespace, UNINSTALL).await?;
    let current = current.and_then(|one| one.metadata.uid);
    let selected = ListParams::default().labels(&format!("{NAME_LABEL}={UNINSTALL}"));
    let pods = cluster.list::<Pod>(selected).await?.objects;
    let ours = pods.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        pod.metadata.namespace.as_deref() == Some(&cluster.namespace)
            && pod.metadata.deletion_timestamp.is_none()
            && owner(pod) == current.as_deref()
            && labels
                .and_then(|all| all.get(NAME_LABEL))
                .map(String::as_str)
                == Some(UNINSTALL)
    });
    let of_nodes = ours.filter_map(|pod| {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        Some((node, state(pod)))
    });
    Ok(States(of_nodes.collect()))
}

/// The UID of what made it: the pods of one that was replaced say nothing of now.
fn owner(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_deref();
    Some(&owners?.first()?.uid)
}

fn state(pod: &Pod) -> State {
    let status = pod.status.as_ref();
    // Only behind its init container does a pod run.
    if status.and_then(|status| status.phase.as_deref()) == Some("Running") {
        return State::Done;
    }
    let first = status.and_then(|status| status.init_container_statuses.as_deref()?.first());
    let runs = first.and_then(|first| first.state.as_ref()?.running.as_ref());
    if runs.is_some() {
        State::AtWork
    } else if first.is_some_and(|first| first.restart_count > 0) {
        State::Failing
    } else {
        State::Starting
    }
}

/// Makes it from the daemons'.
///
/// # Errors
/// When the daemons' is not as the chart writes it, or the API server refuses.
pub(super) async fn create(cluster: &Cluster, daemons: &DaemonSet) -> Result<()> {
    let wanted = from(daemons).context(
        "read the DaemonSet sotto-node: it is not as `sotto install` and the chart write it",
    )?;
    let api: Api<Lenient<DaemonSet>> = Api::namespaced(cluster.client(), &cluster.namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let title = format!("DaemonSet {UNINSTALL}");
    let patch = Patch::Apply(&wanted);
    patiently(&title, api.patch(UNINSTALL, &parameters, &patch)).await?;
    say(&format!("{title}: created"))
}

fn from(daemons: &DaemonSet) -> Option<DaemonSet> {
    let template = daemons.spec.as_ref()?.template.clone();
    let mut pod = template.spec?;
    let position = pod.containers.iter().position(|one| one.name == NODE)?;
    let worker = worker(pod.containers.swap_remove(position))?;
    pod.containers = vec![pause(&worker)];
    pod.init_containers = Some(vec![worker]);
    mount_parents(&mut pod);
    let labels = BTreeMap::from([
        ("app.kubernetes.io/part-of".to_owned(), "sotto".to_owned()),
        (NAME_LABEL.to_owned(), UNINSTALL.to_owned()),
    ]);
    let mut spec = DaemonSetSpec {
        selector: LabelSelector {
            match_labels: Some([(NAME_LABEL.to_owned(), UNINSTALL.to_owned())].into()),
            ..LabelSelector::default()
        },
        ..DaemonSetSpec::default()
    };
    spec.template.metadata = Some(ObjectMeta {
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    });
    spec.template.spec = Some(pod);
    Some(DaemonSet {
        metadata: ObjectMeta {
            name: Some(UNINSTALL.to_owned()),
            namespace: daemons.metadata.namespace.clone(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

fn worker(mut container: Container) -> Option<Container> {
    let arguments = container.args.take()?;
    let (first, rest) = arguments.split_first()?;
    if first != "run" {
        return None;
    }
    let told = ["uninstall".to_owned(), "--wait-for-pods".to_owned()].into_iter();
    let arguments = told.chain(rest.iter().map(|argument| {
        FOLDERS.iter().fold(argument.clone(), |text, (folder, _)| {
            text.replace(&format!("\"{folder}\""), &format!("\"{HOST}{folder}\""))
        })
    }));
    container.args = Some(arguments.collect());
    container.startup_probe = None;
    container.liveness_probe = None;
    container.readiness_probe = None;
    container.ports = None;
    Some(container)
}

/// Shows that the node is done, and keeps the pod from being started again.
fn pause(worker: &Container) -> Container {
    let mut security = worker.security_context.clone();
    if let Some(capabilities) = security.as_mut().and_then(|one| one.capabilities.as_mut()) {
        capabilities.add = None;
    }
    Container {
        name: "pause".to_owned(),
        image: worker.image.clone(),
        image_pull_policy: worker.image_pull_policy.clone(),
        command: worker.command.clone(),
        args: Some(vec!["pause".to_owned()]),
        security_context: security,
        resources: worker.resources.clone(),
        ..Container::default()
    }
}

fn mount_parents(pod: &mut PodSpec) {
    let parent_of = |path: &str| {
        let mut all = FOLDERS.iter();
        all.find(|(folder, _)| *folder == path)
            .map(|(_, parent)| *parent)
    };
    for volume in pod.volumes.iter_mut().flatten() {
        if let Some(host) = volume.host_path.as_mut()
            && let Some(parent) = parent_of(&host.path)
        {
            host.path = parent.to_owned();
            host.type_ = Some("Directory".to_owned());
        }
    }
    let containers = pod.init_containers.iter_mut().flatten();
    for mount in containers.flat_map(|one| one.volume_mounts.iter_mut().flatten()) {
        if let Some(parent) = parent_of(&mount.mount_path) {
            mount.mount_path = format!("{HOST}{parent}");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSet;

    use super::from;
    use crate::install::manifest;
    use crate::settings;

    #[test]
    fn it_is_the_daemons_own_pod_told_to_take_everything_away() {
        let all = manifest::all().unwrap();
        let daemons = all
            .into_iter()
            .find(|one| manifest::kind(one) == "DaemonSet");
        let daemons: DaemonSet = daemons.unwrap().try_parse().unwrap();

        let made = from(&daemons).unwrap();

        let told = settings::read(&made).unwrap();
        assert_eq!(told, settings::read(&daemons).unwrap());
        let pod = made.spec.unwrap().template.spec.unwrap();
        let text = serde_json::to_string(&pod).unwrap();
        for there in [
            r#""args":["uninstall","--wait-for-pods","--node-name"#,
            r#""args":["pause"]"#,
            r#"state_directory = \"/host/var/lib/sotto\""#,
            r#"runtime_directory = \"/host/run/sotto\""#,
            r#""mountPath":"/host/var/lib""#,
            r#""hostPath":{"path":"/run","type":"Directory"}"#,
            r#""operator":"Exists""#,
            r#""hostNetwork":true"#,
        ] {
            assert!(text.contains(there), "{there}: {text}");
        }
        for not in ["Probe", "\"/run/sotto", "\"/var/lib/sotto"] {
            assert!(!text.contains(not), "{not}: {text}");
        }
    }
}
