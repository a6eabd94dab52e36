//! Who may do what, tried with real tokens: everything that is not a part's own work is a 403.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::{
    ApiServer, Caller, Cluster, NAMESPACE, OwnPod, REQUESTS, node, request,
};
use sotto_tests::lab::Lab;

use crate::shared::INSTALLED;

const IDENTITIES: &str = "/apis/sotto.dev/v1alpha1/nodeidentities";
const PEERS: &str = "/apis/sotto.dev/v1alpha1/peers";
const LISTS: &str = "/apis/sotto.dev/v1alpha1/revocationlists";
const OURS: &str = "/api/v1/namespaces/sotto-system";

pub(crate) fn cases() -> Vec<Case> {
    cases![
        nd12_a_daemon_writes_nothing_but_its_own_nodes_status,
        nd12_a_daemon_reads_neither_secrets_nor_nodes_nor_requests,
        nd12_a_token_that_is_bound_to_no_pod_of_the_daemon_opens_nothing,
        nd01_a_kubelet_changes_no_pod_range_and_no_identity,
        nd15_a_kubelet_gets_neither_the_root_key_nor_the_controllers_token,
        aw06_only_daemons_ask_our_signer_and_daemons_ask_no_other,
        aw10_no_part_of_sotto_starts_pods_or_reads_other_secrets,
        cp16_no_part_of_sotto_makes_a_root_or_a_ledger,
    ]
}

/// A node that is only an object, with its daemon's pod and that pod's token. Made once.
fn daemon(cluster: &Cluster, name: &str, number: u8) -> Result<(OwnPod, Caller)> {
    let api = &cluster.api;
    if api.kubectl(&["get", "node", name]).is_err() {
        api.create(&node(name, number))?;
        api.own_pod(("daemonset", "sotto-node"), name)?;
        let uid = cluster.node_uid(name)?;
        let metadata = json!({"name": name});
        let version = "sotto.dev/v1alpha1";
        api.create(
            &json!({"apiVersion": version, "kind": "NodeIdentity", "metadata": metadata,
            "spec": {"nodeUID": uid}}),
        )?;
        api.create(
            &json!({"apiVersion": version, "kind": "Peer", "metadata": metadata,
            "spec": {"nodeUID": uid, "identity": "Pending"}}),
        )?;
    }
    let pod = api.read(&["pod", &format!("sotto-node-{name}"), "-n", NAMESPACE])?;
    let pod = OwnPod {
        name: sotto_tests::kubernetes::text(&pod, "/metadata/name")?.to_owned(),
        uid: sotto_tests::kubernetes::text(&pod, "/metadata/uid")?.to_owned(),
    };
    let token = api.token("sotto-node", (&pod.name, &pod.uid))?;
    Ok((pod, Caller::Token(token)))
}

fn controller(cluster: &Cluster) -> Result<Caller> {
    let account = ["create", "token", "sotto-controller", "-n", NAMESPACE];
    Ok(Caller::Token(
        cluster.api.kubectl(&account)?.trim().to_owned(),
    ))
}

/// A ServiceAccount that has nothing to do with Sotto.
fn foreign(api: &ApiServer) -> Result<Caller> {
    let account = ["serviceaccount", "mallory", "-n", "default"];
    if api.kubectl(&[&["get"], &account[..]].concat()).is_err() {
        api.kubectl(&[&["create"], &account[..]].concat())?;
    }
    let token = api.kubectl(&["create", "token", "mallory", "-n", "default"])?;
    Ok(Caller::Token(token.trim().to_owned()))
}

fn nd12_a_daemon_writes_nothing_but_its_own_nodes_status(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        let (_, alice) = daemon(cluster, "alice", 1)?;
        daemon(cluster, "bob", 2)?;
        let statement = json!({"status": {"statements": ["AAAA"]}});
        let status = json!({"status": {"lanes": 1}});

        api.allows(
            &alice,
            "PATCH",
            &format!("{IDENTITIES}/alice/status"),
            &statement,
        )?;
        api.allows(&alice, "PATCH", &format!("{PEERS}/alice/status"), &status)?;

        let revoked = json!({"spec": {"revoked": true}});
        let labels = json!({"metadata": {"labels": {"a": "b"}}});
        let new = json!({"apiVersion": "sotto.dev/v1alpha1", "kind": "NodeIdentity",
            "metadata": {"name": "carol"}, "spec": {"nodeUID": cluster.node_uid("bob")?}});
        for (verb, path, body) in [
            ("PATCH", format!("{IDENTITIES}/bob/status"), &statement),
            ("PATCH", format!("{PEERS}/bob/status"), &status),
            ("PUT", format!("{IDENTITIES}/alice/status"), &new),
            ("PATCH", format!("{IDENTITIES}/alice"), &revoked),
            ("PATCH", format!("{IDENTITIES}/bob"), &labels),
            ("PATCH", format!("{PEERS}/alice"), &labels),
            ("POST", IDENTITIES.to_owned(), &new),
            ("DELETE", format!("{IDENTITIES}/alice"), &Value::Null),
            ("DELETE", format!("{IDENTITIES}/bob"), &Value::Null),
            ("DELETE", IDENTITIES.to_owned(), &Value::Null),
            ("DELETE", format!("{PEERS}/bob"), &Value::Null),
            ("PATCH", format!("{LISTS}/any"), &labels),
            ("POST", LISTS.to_owned(), &new),
        ] {
            api.forbids(&alice, verb, &path, body)?;
        }
        let kept = api.read(&["nodeidentity", "bob"])?;
        ensure!(kept.pointer("/status/statements").is_none(), "{kept}");
        Ok(())
    })
}

fn nd12_a_daemon_reads_neither_secrets_nor_nodes_nor_requests(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        let (pod, alice) = daemon(cluster, "alice", 1)?;
        for path in [IDENTITIES, LISTS] {
            api.allows(&alice, "GET", path, &Value::Null)?;
        }
        for path in [
            format!("{OURS}/secrets/sotto-root"),
            format!("{OURS}/secrets/sotto-ledger"),
            format!("{OURS}/secrets"),
            format!("{OURS}/configmaps"),
            format!("{OURS}/pods/{}", pod.name),
            "/api/v1/nodes/alice".to_owned(),
            "/api/v1/nodes".to_owned(),
            "/api/v1/pods".to_owned(),
            REQUESTS.to_owned(),
            PEERS.to_owned(),
            format!("{PEERS}/alice"),
        ] {
            api.forbids(&alice, "GET", &path, &Value::Null)?;
        }
        let token =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let path = format!("{OURS}/serviceaccounts/sotto-controller/token");
        api.forbids(&alice, "POST", &path, &token)
    })
}

fn nd12_a_token_that_is_bound_to_no_pod_of_the_daemon_opens_nothing(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        daemon(cluster, "alice", 1)?;
        let unbound = api.kubectl(&["create", "token", "sotto-node", "-n", NAMESPACE])?;
        let unbound = Caller::Token(unbound.trim().to_owned());
        let statement = json!({"status": {"statements": ["AAAA"]}});
        let ours = request(api, "sotto.dev/node")?;
        api.forbids(
            &unbound,
            "PATCH",
            &format!("{IDENTITIES}/alice/status"),
            &statement,
        )?;
        api.forbids(&unbound, "POST", REQUESTS, &ours)?;

        let foreign = foreign(api)?;
        api.forbids(
            &foreign,
            "PATCH",
            &format!("{IDENTITIES}/alice/status"),
            &statement,
        )?;
        api.forbids(&foreign, "GET", IDENTITIES, &Value::Null)?;
        api.forbids(&foreign, "POST", REQUESTS, &ours)
    })
}

fn nd01_a_kubelet_changes_no_pod_range_and_no_identity(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        daemon(cluster, "alice", 1)?;
        daemon(cluster, "bob", 2)?;
        let kubelet = api.kubelet("alice")?;
        let ranges = json!({"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}});
        let answer = api.call(&kubelet, "PATCH", "/api/v1/nodes/alice", &ranges)?;
        ensure!(matches!(answer.code, 403 | 422), "{answer:?}");
        api.forbids(
            &kubelet,
            "PATCH",
            "/api/v1/nodes/bob/status",
            &json!({"status": {}}),
        )?;
        api.forbids(&kubelet, "DELETE", "/api/v1/nodes/alice", &Value::Null)?;
        let statement = json!({"status": {"statements": ["AAAA"]}});
        api.forbids(
            &kubelet,
            "PATCH",
            &format!("{IDENTITIES}/alice/status"),
            &statement,
        )?;
        api.forbids(&kubelet, "POST", REQUESTS, &request(api, "sotto.dev/node")?)
    })
}

fn nd15_a_kubelet_gets_neither_the_root_key_nor_the_controllers_token(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        daemon(cluster, "alice", 1)?;
        let kubelet = api.kubelet("alice")?;
        for secret in ["sotto-root", "sotto-ledger"] {
            api.forbids(
                &kubelet,
                "GET",
                &format!("{OURS}/secrets/{secret}"),
                &Value::Null,
            )?;
        }
        let token =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let path = format!("{OURS}/serviceaccounts/sotto-controller/token");
        api.forbids(&kubelet, "POST", &path, &token)?;
        let label = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
        api.forbids(&kubelet, "PATCH", "/api/v1/nodes/alice", &label)
    })
}

fn aw06_only_daemons_ask_our_signer_and_daemons_ask_no_other(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        let (_, alice) = daemon(cluster, "alice", 1)?;
        let may = ["create", "clusterrole", "asks", "--verb=create"];
        let what = ["--resource=certificatesigningrequests"];
        api.kubectl(&[&may[..], &what].concat())?;
        let mallory = foreign(api)?;
        let bind = ["create", "clusterrolebinding", "asks", "--clusterrole=asks"];
        api.kubectl(&[&bind[..], &["--serviceaccount=default:mallory"]].concat())?;
        let (ours, other) = (
            request(api, "sotto.dev/node")?,
            request(api, "example.org/other")?,
        );

        api.allows(&alice, "POST", REQUESTS, &ours)?;
        api.allows(&mallory, "POST", REQUESTS, &other)?;
        api.forbids(&mallory, "POST", REQUESTS, &ours)?;
        api.forbids(&alice, "POST", REQUESTS, &other)?;

        let kubelet_signer = request(api, "kubernetes.io/kube-apiserver-client-kubelet")?;
        api.forbids(&alice, "POST", REQUESTS, &kubelet_signer)
    })
}

fn aw10_no_part_of_sotto_starts_pods_or_reads_other_secrets(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        let (_, alice) = daemon(cluster, "alice", 1)?;
        let controller = controller(cluster)?;
        api.allows(&controller, "GET", &format!("{OURS}/secrets/sotto-root"), &Value::Null)?;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thief"}, "spec": {
            "containers": [{"name": "a", "image": "a", "volumeMounts": [{"name": "k", "mountPath": "/k"}]}],
            "volumes": [{"name": "k", "secret": {"secretName": "sotto-root"}}]}});
        for caller in [&alice, &controller] {
            api.forbids(caller, "POST", &format!("{OURS}/pods"), &pod)?;
            api.forbids(caller, "GET", &format!("{OURS}/secrets"), &Value::Null)?;
            api.forbids(caller, "GET", "/api/v1/secrets", &Value::Null)?;
            api.forbids(caller, "GET", "/api/v1/namespaces/default/secrets", &Value::Null)?;
            api.forbids(caller, "DELETE", "/api/v1/nodes/bob", &Value::Null)?;
            let policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
            api.forbids(caller, "DELETE", &format!("{policy}/sotto-node-status"), &Value::Null)?;
        }
        Ok(())
    })
}

fn cp16_no_part_of_sotto_makes_a_root_or_a_ledger(_: &Lab) -> Result<()> {
    INSTALLED.with(|cluster| {
        let api = &cluster.api;
        let controller = controller(cluster)?;
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sotto-ledger"}});
        let change = json!({"data": {"x": "AAAA"}});
        api.forbids(&controller, "POST", &format!("{OURS}/secrets"), &secret)?;
        api.forbids(
            &controller,
            "PATCH",
            &format!("{OURS}/secrets/sotto-root"),
            &change,
        )?;
        for secret in ["sotto-root", "sotto-ledger"] {
            api.forbids(
                &controller,
                "DELETE",
                &format!("{OURS}/secrets/{secret}"),
                &Value::Null,
            )?;
        }
        let again = cluster.manifest();
        cluster.apply(&again).context("apply the manifest again")?;
        api.kubectl(&[
            "get",
            "secret",
            "sotto-root",
            "sotto-ledger",
            "-n",
            NAMESPACE,
        ])?;
        Ok(())
    })
}
