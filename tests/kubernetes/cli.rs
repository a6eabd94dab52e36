//! `sotto` as an operator uses it: against the API server, with an administrator's kubeconfig.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Encoding};
use node_identity::RootCertificate;
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::join;
use sotto_tests::kubernetes::{ApiServer, Caller, KubernetesPair, NAMESPACE, text};
use sotto_tests::lab::{DaemonSettings, Lab, Place, program};
use sotto_tests::{traffic, wait};

use crate::enrolment::still_well;
use crate::nodes::is_out;

const LIMIT: Duration = Duration::from_secs(60);
/// Where everything that `sotto install` makes is.
const ALL: &str = "crd,namespace,serviceaccount,clusterrole,clusterrolebinding,role,rolebinding,\
                   daemonset,deployment,secret,poddisruptionbudget,validatingadmissionpolicy,\
                   validatingadmissionpolicybinding";

pub(crate) fn cases() -> Vec<Case> {
    cases![
        sotto_shows_a_cluster_and_verifies_its_nodes,
        kl12_sotto_revoke_puts_a_node_out_within_its_budget,
        a_node_with_a_new_key_waits_for_sotto_approve,
        sotto_install_makes_a_root_once_and_changes_nothing_again,
        a_root_made_offline_goes_in_without_a_copy_and_leaves_the_ledger_alone,
        sotto_install_goes_on_where_it_was_interrupted,
        sotto_install_minds_other_networks_and_policies,
        cn20_sotto_uninstall_leaves_nothing_in_the_api,
    ]
}

/// Runs `sotto` where the administrator's kubeconfig is: exit code and all that it printed.
pub(crate) fn sotto(place: &Place, arguments: &[&str]) -> Result<(i32, String)> {
    let kubeconfig = [("KUBECONFIG", "/etc/kubernetes/admin.conf")];
    let said = place.output(&program("sotto")?, arguments, &kubeconfig, "")?;
    let code = said.status.code().context("sotto was killed")?;
    let out = String::from_utf8_lossy(&said.stdout);
    Ok((
        code,
        format!("{out}{}", String::from_utf8_lossy(&said.stderr)),
    ))
}

/// Runs `sotto`; it has to end with this code and to say this.
fn says(place: &Place, arguments: &[&str], code: i32, wanted: &str) -> Result<String> {
    let (found, said) = sotto(place, arguments)?;
    ensure!(
        found == code && said.contains(wanted),
        "sotto {} ended with {found}, {code} and {wanted:?} were expected: {said}",
        arguments.join(" ")
    );
    Ok(said)
}

fn sotto_shows_a_cluster_and_verifies_its_nodes(lab: &Lab) -> Result<()> {
    // One of its own: others leave nodes behind that are not well, such as one that stays pending.
    let pair = &KubernetesPair::raise(lab)?;
    let place = pair.cluster.api.place();
    wait::until("sotto to call all well", LIMIT, || {
        sotto(place, &["status"]).is_ok_and(|(code, _)| code == 0)
    })?;
    let peers = says(place, &["peers"], 0, "alice")?;
    ensure!(
        peers.contains("bob") && peers.contains("Verified"),
        "{peers}"
    );
    says(place, &["peers", "bob"], 0, "bob")?;
    says(place, &["peers", "nobody"], 1, "nobody")?;
    let json = says(place, &["peers", "-o", "json"], 0, "alice")?;
    serde_json::from_str::<Value>(&json).with_context(|| json.clone())?;
    says(place, &["status"], 0, "Nodes")?;

    says(
        place,
        &["identity", "bob", "--pin", pair.cluster.pin()],
        0,
        "bob",
    )?;
    let foreign = format!("sha256:{}", "7".repeat(64));
    says(place, &["identity", "bob", "--pin", &foreign], 1, "bob")?;
    says(place, &["identity", "nobody"], 1, "nobody")?;

    a_late_writer_and_a_node_that_is_gone_spoil_nothing(&pair.cluster.api)?;
    let (_, healthy) = sotto(place, &["doctor"])?;
    let binding = [
        "delete",
        "validatingadmissionpolicybinding",
        "sotto-node-status",
    ];
    pair.cluster.api.kubectl(&binding)?;
    let ill = says(place, &["doctor"], 1, "sotto-node-status");
    pair.cluster.apply(&pair.cluster.manifest())?;
    let ill = ill?;
    ensure!(ill != healthy, "the doctor saw nothing: {ill}");
    still_well(pair)
}

/// A Peer whose Node never was, with a time in its metadata that is beyond the calendar.
fn a_late_writer_and_a_node_that_is_gone_spoil_nothing(api: &ApiServer) -> Result<()> {
    let peer = json!({
        "apiVersion": "sotto.dev/v1alpha1",
        "kind": "Peer",
        "metadata": {"name": "ghost", "managedFields": [{
            "manager": "mallory", "operation": "Update", "apiVersion": "sotto.dev/v1alpha1",
            "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:never-set": {}}}},
        }]},
        "spec": {"nodeUID": "11111111-2222-4333-8444-555555555555", "identity": "Pending"},
    });
    let path = "/apis/sotto.dev/v1alpha1/peers";
    let kept = api.allows(&Caller::Administrator, "POST", path, &peer)?;
    ensure!(
        kept.contains("9999-12-31"),
        "the API server mended it: {kept}"
    );
    says(api.place(), &["peers"], 0, "ghost")?;
    says(api.place(), &["status"], 0, "1 gone")?;
    says(api.place(), &["peers", "ghost"], 0, "its Node is gone")?;
    let (_, doctor) = sotto(api.place(), &["doctor"])?;
    ensure!(doctor.contains("node ghost is well"), "{doctor}");
    let late = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "reason": "Late", "message": "",
        "lastTransitionTime": "9999-12-31T23:59:59Z",
    }]}});
    let (late, ghost) = (late.to_string(), ["peer", "ghost", "--subresource=status"]);
    api.kubectl(&[&["patch"], &ghost[..], &["--type=merge", "--patch", &late]].concat())?;
    says(api.place(), &["peers", "ghost"], 0, "cannot be read")?;
    Ok(())
}

fn kl12_sotto_revoke_puts_a_node_out_within_its_budget(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let settings = DaemonSettings::default();
    let carol = join(lab.node("carol")?, "third", &pair.cluster, &settings)?;
    pair.alice.node.knows(&carol.node)?;
    traffic::ping(&carol.pod, pair.alice.pod.ipv4()?, b"in")?;
    let place = pair.cluster.api.place();
    says(place, &["revoke", "carol", "--yes"], 0, "carol")?;
    is_out(&pair, &carol)?;
    pair.cluster.shows(&["peers", "carol"], "Revoked")?;
    let revoked = json!({"spec": {"revoked": false}}).to_string();
    let take_back = ["patch", "nodeidentity", "carol", "--type=merge", "--patch"];
    let said = pair
        .cluster
        .api
        .kubectl(&[&take_back[..], &[&revoked]].concat());
    ensure!(said.is_err(), "a revocation was taken back: {said:?}");
    Ok(())
}

fn a_node_with_a_new_key_waits_for_sotto_approve(lab: &Lab) -> Result<()> {
    let pair = KubernetesPair::raise(lab)?;
    let place = pair.cluster.api.place();
    says(place, &["approve", "bob", "--yes"], 1, "no request")?;
    // Bob's disk is lost; his certificate lives.
    pair.bob.daemon.stop()?;
    pair.bob
        .node
        .shell("rm -rf /var/lib/sotto /run/sotto/*key*")?;
    let daemon = pair.bob.node.launch(&DaemonSettings::default())?;
    daemon.wait_for_log("Certificate request is pending", LIMIT)?;
    let accepted = || daemon.log().matches("Certificate accepted").count();
    ensure!(accepted() == 1, "nobody was asked");
    let approved = wait::until_some("bob to be approved", LIMIT, || {
        let (code, said) = sotto(place, &["approve", "bob", "--yes"]).ok()?;
        (code == 0).then_some(said)
    })?;
    ensure!(approved.contains("approved"), "{approved}");
    let soon = Duration::from_secs(10);
    wait::until("bob's second certificate", soon, || accepted() == 2)?;
    wait::until("the pods to talk", LIMIT, || still_well(&pair).is_ok())
}

/// An empty cluster, and how Sotto is installed into it.
const INSTALL: [&str; 10] = [
    "install",
    "--yes",
    "--trust-domain",
    "sotto.test",
    "--pod-range",
    "10.244.0.0/16,fd00:10:244::/56",
    "--service-range",
    "10.96.0.0/16,fd00:10:96::/112",
    "--underlay-range",
    "198.51.100.0/24,2001:db8::/64",
];

/// Every object of ours with its version, to see whether anything was written.
fn versions(api: &ApiServer) -> Result<String> {
    let column = "-o=custom-columns=:kind,:metadata.name,:metadata.resourceVersion";
    let ours = ["get", ALL, "--namespace", NAMESPACE, "--no-headers", column];
    let all = api.kubectl(&ours)?;
    let lines = all.lines().filter(|line| line.contains("sotto"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The daemons' one pin, which has to be that of the root in its Secret.
fn pins_agree(api: &ApiServer) -> Result<()> {
    let daemon = api
        .read(&["daemonset", "sotto-node", "-n", NAMESPACE])?
        .to_string();
    let pins: Vec<&str> = daemon
        .match_indices("--pin=")
        .map(|(at, _)| &daemon[at..])
        .collect();
    let [pin] = pins[..] else {
        anyhow::bail!("{} pins: {daemon}", pins.len());
    };
    let pin = pin[6..].split('"').next().context("no pin")?;
    let secret = api.read(&["secret", "sotto-root", "-n", NAMESPACE])?;
    let der = Base64::decode_vec(text(&secret, "/data/root.der")?)?;
    let root = RootCertificate::from_der(&der)?.pin().to_string();
    ensure!(pin == root, "daemons trust {pin}, the root is {root}");
    Ok(())
}

fn sotto_install_makes_a_root_once_and_changes_nothing_again(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    let new = [&INSTALL[..], &["--new-root"]].concat();
    says(
        place,
        &[&new[..], &["--dry-run"]].concat(),
        0,
        "Nothing was changed",
    )?;
    ensure!(
        api.kubectl(&["get", "namespace", NAMESPACE]).is_err(),
        "a dry run wrote"
    );

    says(place, &new, 0, "Installed")?;
    pins_agree(&api)?;
    let before = versions(&api)?;
    ensure!(before.lines().count() > 15, "{before}");
    says(place, &new, 0, "Installed already, unchanged")?;
    says(place, &INSTALL, 0, "Installed already, unchanged")?;
    let after = versions(&api)?;
    ensure!(before == after, "{before}\nbecame\n{after}");

    // A root that was made offline, and its Secrets.
    let made = says(place, &["root", "create"], 0, "sotto-ledger")?;
    ensure!(made.contains("sha256:"), "no pin: {made}");
    Ok(())
}

fn a_root_made_offline_goes_in_without_a_copy_and_leaves_the_ledger_alone(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    api.kubectl(&["create", "namespace", NAMESPACE])?;
    for folder in ["/run/old", "/run/new"] {
        place.shell(&format!("mkdir {folder}"))?;
        let create = ["root", "create", "--out-directory", folder];
        says(place, &create, 0, "kubectl create -f")?;
    }
    let (old, new) = ("/run/old/sotto-root.yaml", "/run/new/sotto-root.yaml");
    let secret = |name: &str| api.read(&["secret", name, "-n", NAMESPACE]);
    let certificate =
        || Ok::<_, anyhow::Error>(text(&secret("sotto-root")?, "/data/root.der")?.to_owned());

    api.kubectl(&["create", "-f", old])?;
    let first = certificate()?;
    ensure!(api.kubectl(&["create", "-f", new]).is_err(), "replaced");
    let signed = json!({"data": {"ledger": "c2lnbmVk"}}).to_string();
    let ledger = [
        "patch",
        "secret",
        "sotto-ledger",
        "-n",
        NAMESPACE,
        "--patch",
        &signed,
    ];
    api.kubectl(&ledger)?;

    api.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", new])?;
    ensure!(certificate()? != first, "the old root is still there");
    ensure!(text(&secret("sotto-ledger")?, "/data/ledger")? == "c2lnbmVk");
    let copied = "last-applied-configuration";
    let root = secret("sotto-root")?.to_string();
    ensure!(!root.contains(copied), "{root}");
    let (_, doctor) = sotto(place, &["doctor"])?;
    ensure!(!doctor.contains(copied), "{doctor}");

    api.kubectl(&["apply", "-f", old])?;
    let (_, doctor) = sotto(place, &["doctor"])?;
    ensure!(doctor.contains(copied), "{doctor}");
    Ok(())
}

fn sotto_install_goes_on_where_it_was_interrupted(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    let new = [&INSTALL[..], &["--new-root"]].concat();
    let kubeconfig = [("KUBECONFIG", "/etc/kubernetes/admin.conf")];
    for after in [50, 150, 400, 1000] {
        let running = place.spawn_with("install", &program("sotto")?, &new, &kubeconfig)?;
        wait::let_pass(Duration::from_millis(after));
        // It may have come to its end.
        let _ = running.kill9();
    }
    // As if none had come to its end.
    let workloads = ["delete", "daemonset,deployment", "--all", "-n", NAMESPACE];
    api.kubectl(&workloads)?;
    says(place, &new, 0, "Installed")?;
    pins_agree(&api)?;
    // Half of the Secrets: the ledger comes first, as a root without one has lost its memory.
    api.kubectl(&workloads)?;
    api.kubectl(&["delete", "secret", "sotto-root", "-n", NAMESPACE])?;
    says(place, &new, 0, "Installed")?;
    pins_agree(&api)?;
    says(place, &INSTALL, 0, "Installed")?;
    pins_agree(&api)
}

fn sotto_install_minds_other_networks_and_policies(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    let new = [&INSTALL[..], &["--new-root"]].concat();
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "default"}, "spec": {"podSelector": {}}});
    api.create(&policy)?;
    let labels = json!({"app": "flannel"});
    let flannel = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "kube-flannel-ds", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}]}}}});
    api.create(&flannel)?;

    says(place, &new, 1, "kube-system/kube-flannel-ds")?;
    ensure!(
        api.kubectl(&["get", "namespace", NAMESPACE]).is_err(),
        "a refused install wrote"
    );
    let beside = [&new[..], &["--beside-other-network"]].concat();
    let said = says(place, &beside, 0, "default/deny")?;
    ensure!(said.contains("a node stays with it"), "{said}");
    says(place, &INSTALL, 0, "unchanged")?;
    Ok(())
}

/// A pod that somebody's kubelet says something about.
fn put_pod(api: &ApiServer, metadata: &Value, status: &Value) -> Result<()> {
    let namespace = text(metadata, "/namespace")?;
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "alice", "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{"name": "a", "image": "a"}],
            "initContainers": [{"name": "sotto-node", "image": "a"}]}});
    api.create(&pod)?;
    set_status(api, namespace, status)
}

fn set_status(api: &ApiServer, namespace: &str, status: &Value) -> Result<()> {
    let status = json!({"status": status}).to_string();
    let web = [
        "patch",
        "pod",
        "web",
        "-n",
        namespace,
        "--subresource=status",
    ];
    api.kubectl(&[&web[..], &["--type=merge", "--patch", &status]].concat())?;
    Ok(())
}

/// The pod of the DaemonSet `sotto-uninstall`, at its work.
fn put_worker(api: &ApiServer) -> Result<()> {
    let name = "sotto-uninstall";
    let daemons = wait::until_some("its DaemonSet", LIMIT, || {
        api.read(&["daemonset", name, "-n", NAMESPACE]).ok()
    })?;
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name,
        "uid": daemons["metadata"]["uid"], "controller": true});
    let worker = json!({"name": "web", "namespace": NAMESPACE, "ownerReferences": [owner],
        "labels": {"app.kubernetes.io/name": name}});
    let starts = json!({"initContainerStatuses": [{"name": "sotto-node", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"running": {}}}]});
    put_pod(api, &worker, &starts)
}

/// Without kubelets and controllers: the test says what they would say.
fn cn20_sotto_uninstall_leaves_nothing_in_the_api(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    says(place, &["uninstall", "--yes"], 0, "not installed")?;
    says(
        place,
        &[&INSTALL[..], &["--new-root"]].concat(),
        0,
        "Installed",
    )?;
    api.create(&sotto_tests::kubernetes::node("alice", 1))?;
    for namespace in ["default", NAMESPACE] {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace}});
        // Where there is one, so much the better.
        let _ = api.create(&account);
    }
    let running =
        json!({"phase": "Running", "podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}]});
    let web = json!({"name": "web", "namespace": "default"});
    put_pod(&api, &web, &running)?;

    says(place, &["uninstall", "--yes"], 1, "--delete-pods")?;
    let uninstall = ["uninstall", "--yes", "--delete-pods"];
    let kubeconfig = [("KUBECONFIG", "/etc/kubernetes/admin.conf")];
    let pod_is_gone = || {
        api.kubectl(&["get", "pod", "web", "-n", "default"])
            .is_err()
    };
    let process = place.spawn_with("uninstall", &program("sotto")?, &uninstall, &kubeconfig)?;
    put_worker(&api)?;
    wait::until("the pod to be deleted", LIMIT, pod_is_gone)?;
    process.kill9()?;
    let daemons = api.kubectl(&["get", "daemonset", "-n", NAMESPACE, "-o", "name"])?;
    ensure!(
        daemons.trim() == "daemonset.apps/sotto-uninstall",
        "{daemons}"
    );
    says(place, &INSTALL, 1, "uninstallation has begun")?;

    set_status(&api, NAMESPACE, &json!({"phase": "Running"}))?;
    let process = place.spawn_with("again", &program("sotto")?, &uninstall, &kubeconfig)?;
    let of_ours = || {
        api.kubectl(&["get", "crd", "-o", "name"])
            .is_ok_and(|all| all.is_empty())
    };
    wait::until("the kinds to be gone", LIMIT, of_ours)?;
    // What the namespace's controller would do.
    let path = format!("/api/v1/namespaces/{NAMESPACE}");
    let mut namespace = api.read(&["namespace", NAMESPACE])?;
    namespace["spec"]["finalizers"] = json!([]);
    let finalize = ["replace", "--raw", &format!("{path}/finalize"), "-f", "-"];
    api.kubectl_with_input(&finalize, &namespace.to_string())?;
    let left = || says(place, &["uninstall", "--yes"], 0, "not installed");
    wait::until("nothing to be left", LIMIT, || left().is_ok())?;
    drop(process);
    let all = "clusterrole,clusterrolebinding,validatingadmissionpolicy,\
               validatingadmissionpolicybinding,csr";
    let rest = api.kubectl(&["get", all, "-o", "name"])?;
    ensure!(!rest.contains("sotto"), "{rest}");
    Ok(())
}
