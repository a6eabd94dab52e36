//! The checks over what was found. Pure: facts in, words out.

mod network;
mod nodes;

use std::collections::BTreeMap;

use cluster_api::RevocationList;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use node_identity::UnixTime;

use super::facts::Facts;
use super::{Check, Outcome};
use crate::cluster::{Listed, Seen};
use crate::health;
use crate::names::{LEDGER_SECRET, NODE, ROOT_SECRET, SUPPORTED};
use crate::roots;
use crate::settings;
use crate::settings::controller::{InstalledController, RangesFrom};

/// How many names a check gives.
const NAMED: usize = 5;
/// Where `kubectl apply` keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What makes good what an installation lacks: by Helm it is another command.
const AGAIN: &str = "install again, as it was installed";
/// The version of the kinds that this program speaks.
const VERSION: &str = "v1alpha1";

/// All checks but the API server's own.
pub(crate) fn all(facts: &Facts, now: UnixTime) -> Vec<Check> {
    let (told, unread) = controller(&facts.deployment);
    let mut checks: Vec<Check> = facts
        .definitions
        .iter()
        .map(|(name, found)| definition(name, found))
        .collect();
    checks.extend([
        presence(
            "both admission policies and their bindings are there (the controller compares what they say)",
            &facts.missing_policies,
        ),
        presence(
            "accounts, roles and bindings are there",
            &facts.missing_rights,
        ),
        secrets(&facts.secrets, told.as_ref()),
        lease(&facts.lease, now),
        deployment(&facts.deployment),
    ]);
    checks.extend(root_copied(&facts.secrets));
    checks.extend(unread);
    checks.extend(lists(&facts.lists, now));
    let daemon_set = own_daemon_set(facts);
    checks.push(daemons(&daemon_set));
    let ranges_from = told
        .as_ref()
        .map_or_else(RangesFrom::default, |told| told.ranges_from);
    checks.extend(nodes::all(
        &facts.nodes,
        &facts.peers,
        &facts.living,
        ranges_from,
    ));
    checks.extend(network::ranges(
        &daemon_set,
        &facts.nodes,
        &facts.service_ranges,
        &told.unwrap_or_default(),
    ));
    checks.push(network::others(&facts.daemon_sets));
    checks.push(network::policies(&facts.network_policies));
    checks
}

/// The API server answers, and is of a version that was tested.
pub(crate) fn version(found: &Seen<(String, String)>) -> Check {
    let what = "the API server answers and is of a supported version";
    let (major, minor) = match found {
        Ok(version) => version,
        Err(error) => return Check::new(what, Outcome::Fail, error),
    };
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    let (oldest, newest) = (SUPPORTED.start(), SUPPORTED.end());
    let text = format!("{major}.{minor}, supported are 1.{oldest} to 1.{newest}");
    let outcome = match digits.parse::<u32>() {
        Ok(number) if major == "1" && SUPPORTED.contains(&number) => Outcome::Ok,
        Ok(number) if major == "1" && number > *newest => Outcome::Warn,
        Ok(_) | Err(_) => Outcome::Fail,
    };
    Check::new(what, outcome, &text)
}

fn absent() -> String {
    format!("not there: see `sotto install`, or {AGAIN}")
}

/// A check whose facts this user may not see.
fn unseen(what: &str, error: &str) -> Check {
    Check::new(what, Outcome::Warn, &format!("not checked: {error}"))
}

fn definition(name: &str, found: &Seen<Option<CustomResourceDefinition>>) -> Check {
    let what = format!("the kind {name} is served in {VERSION}");
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Check::new(&what, Outcome::Fail, &absent()),
        Err(error) => return unseen(&what, error),
    };
    let version = found.spec.versions.iter().find(|one| one.name == VERSION);
    if !version.is_some_and(|version| version.served) {
        let cure = "another version than this program's is: use the program of the installation";
        return Check::new(&what, Outcome::Fail, cure);
    }
    let conditions = found
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let is_true = |type_: &str| {
        conditions
            .iter()
            .any(|one| one.type_ == type_ && one.status == "True")
    };
    if is_true("Established") && !is_true("Terminating") {
        Check::new(&what, Outcome::Ok, "")
    } else {
        let cure = "defined but not served: its status says why";
        Check::new(&what, Outcome::Fail, cure)
    }
}

fn presence(what: &str, missing: &Seen<Vec<String>>) -> Check {
    match missing {
        Ok(missing) if missing.is_empty() => Check::new(what, Outcome::Ok, ""),
        Ok(missing) => Check::new(
            what,
            Outcome::Fail,
            &format!("missing: {}; {AGAIN}", missing.join(", ")),
        ),
        Err(error) => unseen(what, error),
    }
}

/// What the controller was told, as far as that can be read.
fn controller(found: &Seen<Option<Deployment>>) -> (Option<InstalledController>, Option<Check>) {
    // Told already by another check.
    let Ok(Some(deployment)) = found else {
        return (None, None);
    };
    match settings::controller::read(deployment) {
        Ok(told) => (Some(told), None),
        Err(reason) => {
            let what = "the controller's settings can be read";
            let found = format!("{reason}: was the Deployment changed by hand?");
            (None, Some(Check::new(what, Outcome::Warn, &found)))
        }
    }
}

fn secrets(
    found: &Seen<BTreeMap<&'static str, ObjectMeta>>,
    told: Option<&InstalledController>,
) -> Check {
    let in_files = told.is_some_and(|told| told.root_directory.path().is_some());
    let (what, wanted) = if in_files {
        let what = "the Secret of the ledger is there (the root is in files)";
        (what, &[LEDGER_SECRET][..])
    } else {
        let what = "the Secrets of root and ledger are there";
        (what, &[ROOT_SECRET, LEDGER_SECRET][..])
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return unseen(what, error),
    };
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !found.contains_key(*name))
        .map(|name| format!("Secret {name}"))
        .collect();
    if missing.is_empty() {
        return Check::new(what, Outcome::Ok, "");
    }
    Check::new(
        what,
        Outcome::Fail,
        &format!(
            "missing: {}; put back the backup, or, if Sotto is new here, see `sotto root create`",
            missing.join(", ")
        ),
    )
}

/// `kubectl apply` keeps what it applied in an annotation, and so another copy of the root key.
fn root_copied(found: &Seen<BTreeMap<&'static str, ObjectMeta>>) -> Option<Check> {
    let metadata = found.as_ref().ok()?.get(ROOT_SECRET)?;
    let annotations = metadata.annotations.as_ref()?;
    annotations.contains_key(LAST_APPLIED).then(|| {
        let found = format!(
            "`kubectl apply` has copied it into an annotation: remove that with `kubectl \
             --namespace sotto-system annotate secret {ROOT_SECRET} {LAST_APPLIED}-`"
        );
        Check::new("the root key is in its entry alone", Outcome::Warn, &found)
    })
}

fn lease(found: &Seen<Option<Lease>>, now: UnixTime) -> Check {
    let what = "a controller leads";
    if let Err(error) = found {
        return unseen(what, error);
    }
    match health::lease(found, now) {
        Ok(holder) => Check::new(what, Outcome::Ok, &holder),
        Err(fault) => Check::new(what, Outcome::Fail, &fault),
    }
}

fn deployment(found: &Seen<Option<Deployment>>) -> Check {
    let what = "every controller is ready";
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Check::new(what, Outcome::Fail, &absent()),
        Err(error) => return unseen(what, error),
    };
    let wanted = found
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let ready = found
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let text = format!("{ready} of {wanted}");
    match ready {
        ready if ready >= wanted && wanted > 0 => Check::new(what, Outcome::Ok, &text),
        // One is enough to work; the other is for its death.
        1.. => Check::new(
            what,
            Outcome::Warn,
            &format!(
                "{text}: each needs a node of its own that may have one (docs/kubernetes.md); `kubectl \
                 --namespace sotto-system get pods` says why"
            ),
        ),
        _ => Check::new(
            what,
            Outcome::Fail,
            &format!(
                "{text}: nobody gets or renews a certificate; `kubectl --namespace sotto-system \
                 get pods` says why"
            ),
        ),
    }
}

fn lists(found: &Seen<Listed<RevocationList>>, now: UnixTime) -> Vec<Check> {
    let what = "a root is published, its list signed and not overdue";
    let listed = match found {
        Ok(listed) => listed,
        Err(error) => return vec![unseen(what, error)],
    };
    if listed.objects.is_empty() && listed.malformed.is_empty() {
        let cure = "no root is published: does the controller run?";
        return vec![Check::new(what, Outcome::Fail, cure)];
    }
    let mut checks = Vec::new();
    for object in &listed.objects {
        let what = format!("list {} is signed and not overdue", object.name_any());
        checks.push(match roots::read(object) {
            Ok(root) if root.is_overdue(now) => Check::new(
                &what,
                Outcome::Fail,
                "overdue: does the controller run, and may it write? or is its root gone, then \
                 delete the object",
            ),
            Ok(root) => Check::new(
                &what,
                Outcome::Ok,
                &format!("number {}", root.list.list().number),
            ),
            Err(reason) => Check::new(&what, Outcome::Fail, &foreign(&reason)),
        });
    }
    for (name, reason) in &listed.malformed {
        let what = format!("list {name} is of its form");
        checks.push(Check::new(&what, Outcome::Fail, &foreign(reason)));
    }
    checks
}

fn foreign(reason: &str) -> String {
    format!("{reason}; not Sotto's: find out who wrote it and delete it")
}

fn own_daemon_set(facts: &Facts) -> Seen<Option<DaemonSet>> {
    let listed = facts.daemon_sets.as_ref().map_err(Clone::clone)?;
    let own = |one: &&DaemonSet| {
        one.name_any() == NODE && one.namespace().as_deref() == Some(facts.namespace.as_str())
    };
    Ok(listed.objects.iter().find(own).cloned())
}

fn daemons(found: &Seen<Option<DaemonSet>>) -> Check {
    let what = "a daemon is ready on every node";
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Check::new(what, Outcome::Fail, &absent()),
        Err(error) => return unseen(what, error),
    };
    let Some(status) = &found.status else {
        let cure = "the DaemonSet has no status: does kube-controller-manager run?";
        return Check::new(what, Outcome::Fail, cure);
    };
    let text = format!(
        "{} of {}",
        status.number_ready, status.desired_number_scheduled
    );
    if status.desired_number_scheduled == 0 {
        let cure = "no node is to have one: are there nodes, and does kube-controller-manager run?";
        return Check::new(what, Outcome::Warn, cure);
    }
    if status.number_ready >= status.desired_number_scheduled {
        return Check::new(what, Outcome::Ok, &text);
    }
    Check::new(
        what,
        Outcome::Fail,
        &format!("{text}: `kubectl --namespace sotto-system get pods` says where and why"),
    )
}

/// Some names, and how many more there are.
fn named(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
