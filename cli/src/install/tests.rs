//! An install that is interrupted at each of its writes, and then run again.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Parser;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Secret;
use node_identity::RootCertificate;

use super::install;
use crate::arguments::{Arguments, InstallArguments, Verb};
use crate::fake::{Fake, LATE, wait};
use crate::names::{LEDGER_SECRET, POLICIES, ROOT_CERTIFICATE, ROOT_SECRET};
use crate::settings;

const DAEMON: &str = "/daemonsets/sotto-node";

fn arguments(more: &[&str]) -> InstallArguments {
    let ranges = [
        "--pod-range=10.244.0.0/16",
        "--service-range=10.96.0.0/16",
        "--underlay-range=198.51.100.0/24",
    ];
    let line = ["sotto", "install", "--yes"].iter().chain(&ranges);
    let Verb::Install(arguments) = Arguments::try_parse_from(line.chain(more)).unwrap().verb else {
        panic!("another verb than install");
    };
    *arguments
}

fn run(fake: &Fake, more: &[&str]) -> Result<()> {
    let task = async { install(&fake.cluster(), &arguments(more)).await };
    wait(task).map(drop)
}

fn find<'a>(objects: &'a BTreeMap<String, String>, ending: &str) -> Option<&'a str> {
    let mut all = objects.iter();
    let found = all.find(|(path, _)| path.ends_with(ending));
    found.map(|(_, object)| object.as_str())
}

/// Whatever was written last: nothing runs without its rights, its policies, its root and ledger.
fn holds(objects: &BTreeMap<String, String>) {
    let has = |ending: &str| find(objects, ending).is_some();
    let (root, ledger) = (
        has(&format!("/{ROOT_SECRET}")),
        has(&format!("/{LEDGER_SECRET}")),
    );
    assert!(
        ledger || !root,
        "a root without its memory: {:?}",
        objects.keys()
    );
    if has("/deployments/sotto-controller") || has(DAEMON) {
        for policy in POLICIES {
            assert!(has(&format!("/validatingadmissionpolicies/{policy}")));
            assert!(has(&format!("/validatingadmissionpolicybindings/{policy}")));
        }
        assert!(root && has("/clusterrolebindings/sotto-controller"));
        assert!(has("/customresourcedefinitions/nodeidentities.sotto.dev"));
    }
}

/// The daemons trust the one root that there is.
fn pins_agree(objects: &BTreeMap<String, String>) {
    let daemon: DaemonSet = serde_json::from_str(find(objects, DAEMON).unwrap()).unwrap();
    let secret: Secret = serde_json::from_str(find(objects, ROOT_SECRET).unwrap()).unwrap();
    let root = RootCertificate::from_der(&secret.data.unwrap()[ROOT_CERTIFICATE].0).unwrap();
    assert_eq!(settings::read(&daemon).unwrap().pins, [root.pin()]);
}

#[test]
fn an_install_interrupted_at_any_object_is_completed_by_the_next() {
    let whole = Fake::default();
    run(&whole, &["--new-root"]).unwrap();
    let whole = whole.objects();
    assert!(whole.len() > 15, "{:?}", whole.keys());

    for writes in 0..whole.len() {
        let fake = Fake::default();
        fake.allow(Some(writes));
        let refused = run(&fake, &["--new-root"]).unwrap_err();
        assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
        let half = fake.objects();
        assert_eq!(half.len(), writes, "{:?}", half.keys());
        holds(&half);

        fake.allow(None);
        run(&fake, &["--new-root"]).unwrap();
        let done = fake.objects();
        assert!(done.keys().eq(whole.keys()), "{:?}", done.keys());
        pins_agree(&done);
        for secret in [ROOT_SECRET, LEDGER_SECRET] {
            let before = find(&half, secret);
            assert!(before.is_none() || before == find(&done, secret));
        }
    }
}

#[test]
fn aw08_an_install_over_objects_with_late_writers_goes_through() {
    let fake = Fake::default();
    run(&fake, &[]).unwrap();
    for (path, object) in fake.objects() {
        let late = object.replacen(r#""metadata":{"#, &format!(r#""metadata":{{{LATE},"#), 1);
        assert_ne!(late, object);
        fake.put(&path, &late);
    }

    run(&fake, &[]).unwrap();
}

#[test]
fn a_second_install_changes_nothing_and_asks_for_no_option_again() {
    let pins = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let [old, new] = &pins;
    let fake = Fake::default();
    let first = [
        "--pin",
        old,
        "--pin",
        new,
        "--previous-pin",
        old,
        "--trust-domain=sotto.test",
        "--node-prefix-length-ipv4=26",
        "--controller-root-directory=/etc/sotto-root",
        "--controller-node-label=node-restriction.kubernetes.io/keys",
        "--pod-ranges-from=controller",
        "--image-repository=registry.example",
        "--image-tag=v7",
        "--image-pull-secret=registry",
        "--api-server-host=198.51.100.9",
        "--port=4000",
        "--lanes=2",
        "--external-addresses=true",
        "--cni-plugin-directory=/usr/libexec/cni",
    ];
    run(&fake, &first).unwrap();
    let before = fake.objects();

    run(&fake, &[]).unwrap();

    assert_eq!(fake.objects(), before);
    let controller = find(&before, "/deployments/sotto-controller").unwrap();
    for told in [
        format!(r#"previous_root = \"{old}\""#),
        r#"root_directory = \"/etc/sotto/root\""#.to_owned(),
        "ipv4 = 26".to_owned(),
        r#""path":"/etc/sotto-root""#.to_owned(),
    ] {
        assert!(controller.contains(&told), "{told}: {controller}");
    }
}
