//! What a clumsy operator can write, and the one line that answers.

use std::path::Path;

use super::{Config, FirstUse, Store};
use crate::arguments::Settings;

const PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A configuration in which everything is right.
fn good() -> String {
    format!(
        r#"
node_name = "alice"
trust_domain = "sotto.test"
pins = ["{PIN}"]
join_token_file = "/etc/sotto/join-token"
store_directory = "/var/lib/sotto-store"
cluster_pod_ranges = ["10.244.0.0/16", "fd00:10:244::/56"]
service_ranges = ["10.96.0.0/16"]
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
endpoints = ["198.51.100.1", "2001:db8::1"]
endpoint_mtu = 1500
port = 51820
"#
    )
}

/// The good configuration with the line of one key replaced, or added.
fn with(key: &str, value: &str) -> String {
    let mut lines: Vec<String> = good()
        .lines()
        .filter(|line| !line.starts_with(&format!("{key} =")))
        .map(str::to_owned)
        .collect();
    lines.push(format!("{key} = {value}\n"));
    lines.join("\n")
}

fn load(text: &str) -> Result<Config, String> {
    load_with(text, &Settings::default())
}

fn load_with(text: &str, settings: &Settings) -> Result<Config, String> {
    Config::parse(Path::new("node.toml"), text.as_bytes(), settings)
        .map_err(|error| error.to_string())
}

/// Each value must be refused in one line that names the key and holds the words.
fn refused(cases: &[(&str, &str, &str)]) {
    for (key, value, words) in cases {
        let error = load(&with(key, value)).expect_err(&format!("{key} = {value} was taken"));

        assert!(
            error.contains(key),
            "{key} = {value}: the key is not in `{error}`"
        );
        assert!(
            error.contains(words),
            "{key} = {value}: `{words}` is not in `{error}`"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_right_configuration_is_taken_with_its_defaults() {
    let config = load(&good()).unwrap();

    assert_eq!(config.node_name.to_string(), "alice");
    assert_eq!(config.ports(), 51820..=51820);
    assert_eq!(config.runtime_directory, Path::new("/run/sotto"));
    assert_eq!(config.poll_for.as_micros(), 60);
}

#[test]
fn bi01_ranges_that_overlap_are_refused() {
    refused(&[
        (
            "service_ranges",
            r#"["10.244.128.0/20"]"#,
            "overlaps cluster_pod_ranges' 10.244.0.0/16",
        ),
        (
            "service_ranges",
            r#"["fd00:10:244:0:8000::/108"]"#,
            "overlaps cluster_pod_ranges'",
        ),
        (
            "service_ranges",
            r#"["198.51.100.128/25"]"#,
            "overlaps underlay_ranges'",
        ),
        (
            "underlay_ranges",
            r#"["10.0.0.0/8", "198.51.100.0/24", "2001:db8::/64"]"#,
            "overlaps cluster_pod_ranges'",
        ),
        (
            "cluster_pod_ranges",
            r#"["10.244.0.0/16", "10.244.3.0/24"]"#,
            "overlap",
        ),
        (
            "cluster_pod_ranges",
            r#"["127.0.0.0/16"]"#,
            "overlaps 127.0.0.0/8",
        ),
        (
            "cluster_pod_ranges",
            r#"["169.254.0.0/16"]"#,
            "overlaps 169.254.0.0/16",
        ),
        (
            "cluster_pod_ranges",
            r#"["::ffff:10.0.0.0/104"]"#,
            "which pods cannot have",
        ),
        (
            "endpoints",
            r#"["10.244.0.7"]"#,
            "lies in cluster_pod_ranges",
        ),
        (
            "endpoints",
            r#"["203.0.113.7"]"#,
            "lies outside underlay_ranges",
        ),
    ]);
}

#[test]
fn bi02_ranges_that_are_no_ranges_are_refused() {
    refused(&[
        (
            "cluster_pod_ranges",
            r#"["10.244.1.0/16"]"#,
            "10.244.1.0/16",
        ),
        ("cluster_pod_ranges", r#"["10.244.0.0/31"]"#, "too small"),
        (
            "cluster_pod_ranges",
            r#"["10.244.0.1/32"]"#,
            "10.244.0.1/32",
        ),
        (
            "cluster_pod_ranges",
            r#"["fd00:10:244::/128"]"#,
            "fd00:10:244::/128",
        ),
        ("cluster_pod_ranges", r#"["0.0.0.0/0"]"#, "0.0.0.0/0"),
        ("cluster_pod_ranges", r#"["10.244.0.0"]"#, "10.244.0.0"),
        (
            "cluster_pod_ranges",
            r#"["10.244.0.0/33"]"#,
            "10.244.0.0/33",
        ),
        (
            "cluster_pod_ranges",
            r#"["10.244.0.0/255.255.0.0"]"#,
            "255.255.0.0",
        ),
        ("cluster_pod_ranges", "[]", "give the cluster's pod ranges"),
        (
            "service_ranges",
            r#"["10.96.0.1/16"]"#,
            "did you mean 10.96.0.0/16?",
        ),
        (
            "service_ranges",
            r#"["10.96.0.0"]"#,
            "address/prefix length",
        ),
        (
            "underlay_ranges",
            r#"["198.51.100.0/255.255.255.0"]"#,
            "address/prefix length",
        ),
        ("underlay_ranges", r#"["::/0"]"#, "covers every address"),
    ]);
}

#[test]
fn bi03_ports_that_cannot_be_are_refused() {
    refused(&[
        ("port", "0", "from 1 to 65535"),
        ("port", "65536", "from 1 to 65535"),
        ("port", "-1", "from 1 to 65535"),
        ("port", "31000", "NodePort"),
        ("http_address", r#""127.0.0.1:0""#, "port 0"),
        (
            "http_address",
            r#""0.0.0.0:9469""#,
            "reachable from outside",
        ),
        ("http_address", r#""9469""#, "give address and port"),
    ]);
    let last = load(&format!("{}lanes = 4\n", with("port", "65533"))).unwrap_err();
    assert!(last.contains("65533 to 65536"), "{last}");
}

#[test]
fn bi04_an_mtu_that_starves_the_tun_is_refused() {
    refused(&[
        ("endpoint_mtu", "0", "1280"),
        ("endpoint_mtu", "576", "1280"),
        ("endpoint_mtu", "1359", "at least 1360"),
        ("endpoint_mtu", "65536", "9216"),
    ]);
    let ipv4_pods_only = with("cluster_pod_ranges", r#"["10.244.0.0/16"]"#)
        .replace("endpoint_mtu = 1500", "endpoint_mtu = 1280");
    load(&ipv4_pods_only).expect("pods with IPv4 alone live with 1280");
}

#[test]
fn bi05_what_is_no_configuration_is_refused_precisely() {
    refused(&[
        ("colour", "1", "unknown field"),
        ("port", r#""51820""#, "invalid type"),
        ("port", "51820.5", "invalid type"),
        ("port", "99999999999999999999999", "line"),
        ("lanes", "true", "invalid type"),
        ("lanes", "9223372036854775807", "from 1 to 64"),
        ("endpoints", r#""198.51.100.1""#, "invalid type"),
        ("node_name", r#""Alice/../bob""#, "Alice"),
        ("trust_domain", r#""sotto%2ftest""#, "sotto%2ftest"),
        ("pins", "[]", "sotto-controller root create"),
        ("pins", r#"["sha256:12"]"#, "sha256:12"),
        ("state_directory", r#""relative""#, "full path"),
        (
            "runtime_directory",
            r#""/var/lib/sotto""#,
            "state_directory too",
        ),
        (
            "state_directory",
            r#""/var/lib/sotto-store/alice""#,
            "lies in store_directory",
        ),
        ("log_format", r#""xml""#, "choose"),
        ("aes_gcm", r#""on""#, "choose \"auto\" or \"off\""),
        ("poll_microseconds", "-5", "from 0 to 1000"),
        ("endpoints", r#"["198.51.100.1", "198.51.100.1"]"#, "twice"),
    ]);
}

#[test]
fn bi05_bytes_that_are_no_text_are_refused_precisely() {
    let refuse = |bytes: &[u8]| {
        Config::parse(Path::new("node.toml"), bytes, &Settings::default())
            .unwrap_err()
            .to_string()
    };

    assert!(refuse(format!("\u{feff}{}", good()).as_bytes()).contains("byte-order mark"));
    assert!(refuse(b"port = \xff\xfe").contains("not UTF-8"));
    assert!(refuse(&vec![b' '; (1 << 20) + 1]).contains("longer than 1 MiB"));
    assert!(refuse(format!("{}port = 51821\n", good()).as_bytes()).contains("duplicate key"));
    assert!(refuse(b"").contains("missing field"));
    assert!(refuse(b"[[[[").contains("line 1"));
}

#[test]
fn i5_no_cut_or_flip_of_a_configuration_panics() {
    let good = good().into_bytes();
    for at in 0..good.len() {
        drop(Config::parse(
            Path::new("node.toml"),
            good.get(..at).unwrap(),
            &Settings::default(),
        ));
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            drop(Config::parse(
                Path::new("node.toml"),
                &flipped,
                &Settings::default(),
            ));
        }
    }
}

#[test]
fn the_example_configuration_is_valid() {
    let config = load(include_str!("../../../deploy/node.toml")).unwrap();

    assert_eq!(config.endpoints.len(), 2);
}

#[test]
fn the_example_configuration_shows_every_key_and_its_default() {
    let text = include_str!("../../../deploy/node.toml");
    let keys = include_str!("file.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(": "))
        .map(|(key, _)| key);
    let mut spelled_out = text.to_owned();

    for key in keys {
        if ["kubernetes", "cni"].contains(&key) {
            assert!(text.contains(&format!("# [{key}]")));
            continue;
        }
        let shown = format!("{key} = ");
        let is_shown = |line: &str| line.trim_start_matches("# ").starts_with(&shown);
        assert!(text.lines().any(is_shown), "{key} is absent");
        if !["endpoint_mtu", "machine_id_file"].contains(&key) {
            spelled_out = spelled_out.replace(&format!("# {shown}"), &shown);
        }
    }

    let [as_it_is, spelled_out] = [text, &spelled_out].map(load);
    assert_eq!(
        format!("{:?}", as_it_is.unwrap()),
        format!("{:?}", spelled_out.unwrap())
    );
}

#[test]
fn the_table_of_the_installation_has_the_defaults_that_the_example_shows() {
    let (_, table) = include_str!("../../../deploy/node.toml")
        .split_once("# [cni]\n")
        .unwrap();
    let with = |table: &str| load(&format!("{}[cni]\n{table}", good())).unwrap().cni;

    let spelled_out = with(&table.replace("# ", ""));

    assert_eq!(format!("{spelled_out:?}"), format!("{:?}", with("")));
    assert!(load(&good()).unwrap().cni.is_none());
    let relative = load(&format!("{}[cni]\nplugin_directory = \"bin\"\n", good()));
    let said = relative.unwrap_err().to_string();
    assert!(said.starts_with("cni.plugin_directory = "), "{said}");
}

/// The good configuration without these keys, with this in their place.
fn without(keys: &[&str], more: &str) -> String {
    let is_one = |line: &str| keys.iter().any(|key| line.starts_with(&format!("{key} =")));
    let rest: Vec<&str> = good_lines().filter(|line| !is_one(line)).collect();
    format!("{}\n{more}", rest.join("\n"))
}

fn good_lines() -> impl Iterator<Item = &'static str> {
    static GOOD: std::sync::LazyLock<String> = std::sync::LazyLock::new(good);
    GOOD.lines()
}

/// What a pod template's arguments say.
fn of_a_pod() -> Settings {
    Settings {
        node_name: Some("alice".to_owned()),
        endpoints: vec!["198.51.100.1".to_owned()],
        pins: vec![PIN.to_owned()],
        ..Settings::default()
    }
}

const IN_A_POD: [&str; 5] = [
    "node_name",
    "endpoints",
    "pins",
    "join_token_file",
    "store_directory",
];

#[test]
fn arguments_complete_what_the_settings_leave_out() {
    let text = without(&IN_A_POD, "[kubernetes]\n");

    let config = load_with(&text, &of_a_pod()).unwrap();

    assert_eq!(config.node_name.to_string(), "alice");
    assert_eq!((config.endpoints.len(), config.pins.len()), (1, 1));
    let Store::Kubernetes(kubernetes) = &config.store else {
        panic!("{:?}", config.store)
    };
    assert!(kubernetes.token_file.ends_with("serviceaccount/token"));
}

#[test]
fn a_key_in_settings_and_arguments_is_refused_by_both_names() {
    let twice = [
        (
            ["node_name", "--node-name"],
            Settings {
                node_name: Some("bob".to_owned()),
                ..Settings::default()
            },
        ),
        (
            ["endpoints", "--endpoint"],
            Settings {
                endpoints: vec!["198.51.100.9".to_owned()],
                ..Settings::default()
            },
        ),
        (
            ["pins", "--pin"],
            Settings {
                pins: vec![PIN.to_owned()],
                ..Settings::default()
            },
        ),
    ];
    for ([key, flag], settings) in twice {
        let said = load_with(&good(), &settings).unwrap_err();

        assert!(said.contains(key) && said.starts_with(flag), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn bi09_a_node_without_a_name_does_not_start() {
    let nameless = without(&["node_name"], "");
    for name in [None, Some(""), Some("$(NODE_NAME)")] {
        let settings = Settings {
            node_name: name.map(str::to_owned),
            ..Settings::default()
        };

        let said = load_with(&nameless, &settings).unwrap_err();

        assert!(said.contains("spec.nodeName"), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
    assert!(
        load(&with("node_name", r#""""#))
            .unwrap_err()
            .contains("node_name")
    );
}

#[test]
fn a_store_that_is_none_or_two_is_refused() {
    let table = |inside: &str| without(&IN_A_POD, &format!("[kubernetes]\n{inside}\n"));
    let both = without(&["join_token_file"], "[kubernetes]\n");
    let cases = [
        (load(&both), "choose one store"),
        (load(&without(&["store_directory"], "")), "[kubernetes]"),
        (
            load(&without(&["store_directory"], "[kubernetes]\n")),
            "join_token_file",
        ),
        (
            load_with(&table("token_file = \"token\""), &of_a_pod()),
            "kubernetes.token_file",
        ),
        (
            load_with(&table("colour = 1"), &of_a_pod()),
            "unknown field",
        ),
    ];
    for (loaded, words) in cases {
        let said = loaded.unwrap_err();

        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn only_trust_on_first_use_goes_without_a_pin() {
    let trusting = Settings {
        trust_on_first_use: true,
        ..Settings::default()
    };
    let unpinned = without(&["pins"], "");

    assert!(load(&unpinned).unwrap_err().contains("root create"));
    let config = load_with(&unpinned, &trusting).unwrap();

    assert_eq!(config.first_use, FirstUse::Trusted);
    assert!(config.pins.is_empty());
}
