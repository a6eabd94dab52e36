//! The chart, by the real helm: linted, refused, installed, upgraded, removed.

use anyhow::{Result, bail, ensure};
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::kubernetes::{ApiServer, NAMESPACE, helm};
use sotto_tests::lab::{Lab, Place};

use crate::cli::sotto;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/chart");
const VALUES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/manifest-values.yaml"
);
/// Helm's own namespace handling: the release cannot own the namespace that it is kept in.
const OWN: [&str; 4] = ["--values", VALUES, "--set", "namespace.create=false"];

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_chart_is_clean_and_says_what_is_missing,
        the_chart_installs_upgrades_and_leaves_what_must_not_be_lost,
    ]
}

/// Runs helm; its own files go where the machine forgets them.
fn run(place: &Place, arguments: &[&str]) -> Result<String> {
    let homes = [
        ("HELM_CACHE_HOME", "/run/helm/cache"),
        ("HELM_CONFIG_HOME", "/run/helm/config"),
        ("HELM_DATA_HOME", "/run/helm/data"),
        ("KUBECONFIG", "/etc/kubernetes/admin.conf"),
    ];
    let all = [arguments, &["--namespace", NAMESPACE]].concat();
    place.run_with_input(&helm()?, &all, &homes, "")
}

/// What helm says when it refuses.
fn refusal(place: &Place, arguments: &[&str]) -> Result<String> {
    match run(place, arguments) {
        Ok(said) => bail!("helm {} went through: {said}", arguments.join(" ")),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn the_chart_is_clean_and_says_what_is_missing(lab: &Lab) -> Result<()> {
    let place = lab.switch();
    run(place, &[&["lint", "--strict", CHART], &OWN[..]].concat())?;

    let template = [&["template", "sotto", CHART], &OWN[..]].concat();
    for (more, wanted) in [
        ("root.pins=null", "sotto root create"),
        ("trustDomain=", "trustDomain is missing"),
        ("clusterPodRanges=null", "clusterPodRanges is missing"),
        ("underlayRanges=null", "underlayRanges is missing"),
        ("node.lanes=0", "lanes"),
        ("node.lane=2", "lane"),
        ("root.pins={md5:00}", "pins"),
        ("controller.nodeLabel=kubernetes.io/os", "nodeLabel"),
        ("cni.pluginDirectory=opt/cni/bin", "pluginDirectory"),
        ("node.machineIdFile=machine-id", "machineIdFile"),
    ] {
        let said = refusal(place, &[&template[..], &["--set", more]].concat())?;
        ensure!(said.contains(wanted), "{more}: {said}");
    }
    let elsewhere = [&template[..], &["--namespace", "default"]].concat();
    let said = place.run(&helm()?, &elsewhere);
    ensure!(format!("{said:?}").contains("sotto-system"), "{said:?}");
    let first_use = ["--set", "root.pins=null,root.trustOnFirstUse=true"];
    let said = run(place, &[&template[..], &first_use].concat())?;
    ensure!(said.contains("--trust-on-first-use"), "no argument says so");
    let by_hand = ["--set", "cni.install=false"];
    let said = run(place, &[&template[..], &by_hand].concat())?;
    ensure!(
        !said.contains("[cni]") && !said.contains("cni-plugins"),
        "it installs all the same"
    );
    Ok(())
}

fn the_chart_installs_upgrades_and_leaves_what_must_not_be_lost(lab: &Lab) -> Result<()> {
    let api = ApiServer::start(lab)?;
    let place = api.place();
    api.kubectl(&["create", "namespace", NAMESPACE])?;
    place.shell("mkdir /run/root")?;
    let (_, pin) = sotto(place, &["root", "create", "--out-directory", "/run/root"])?;
    let pin = pin.lines().next().unwrap_or_default();
    api.kubectl(&["create", "-f", "/run/root/sotto-root.yaml"])?;
    let wide = "pod-security.kubernetes.io/enforce=privileged";
    api.kubectl(&["label", "namespace", NAMESPACE, wide])?;
    run(place, &[&["install", "sotto", CHART], &OWN[..]].concat())?;
    let lanes = ["--set", "node.lanes=3"];
    run(
        place,
        &[&["upgrade", "sotto", CHART], &OWN[..], &lanes].concat(),
    )?;
    let daemon = api.kubectl(&[
        "get",
        "daemonset",
        "sotto-node",
        "-n",
        NAMESPACE,
        "-o",
        "yaml",
    ])?;
    ensure!(daemon.contains("lanes = 3"), "{daemon}");

    kinds_have_their_short_names(&api)?;
    let (code, said) = install(place, pin)?;
    ensure!(code == 1 && said.contains("helm upgrade"), "{said}");
    run(place, &["uninstall", "sotto"])?;
    api.kubectl(&[
        "get",
        "secret",
        "sotto-root",
        "sotto-ledger",
        "-n",
        NAMESPACE,
    ])?;
    api.kubectl(&["get", "peers,nodeidentities,revocationlists"])?;
    let left = api.kubectl(&["get", "daemonset,deployment", "-n", NAMESPACE, "-o", "name"])?;
    ensure!(left.is_empty(), "{left}");

    let (code, said) = install(place, pin)?;
    ensure!(code == 0 && said.contains("Installed"), "{said}");
    helm_leaves_what_sotto_install_applied(place)
}

/// Those that the documentation names.
fn kinds_have_their_short_names(api: &ApiServer) -> Result<()> {
    let all = api.kubectl(&["api-resources", "--api-group=sotto.dev", "--no-headers"])?;
    let mut found: Vec<Vec<&str>> = all
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    found.sort_unstable();
    let wanted = [
        ["nodeidentities", "nid"],
        ["peers", "spr"],
        ["revocationlists", "srl"],
    ];
    ensure!(found == wanted, "{all}");
    Ok(())
}

/// What `sotto install` has applied is not Helm's to take over.
fn helm_leaves_what_sotto_install_applied(place: &Place) -> Result<()> {
    let said = refusal(place, &[&["install", "sotto", CHART], &OWN[..]].concat())?;
    ensure!(said.contains("ownership"), "{said}");
    Ok(())
}

/// Runs `sotto install` without Helm.
fn install(place: &Place, pin: &str) -> Result<(i32, String)> {
    let ranges = [
        "--pod-range",
        "10.244.0.0/16",
        "--service-range",
        "10.96.0.0/16",
    ];
    let rest = ["--underlay-range", "198.51.100.0/24", "--yes", "--pin", pin];
    sotto(place, &[&["install"], &ranges[..], &rest].concat())
}
