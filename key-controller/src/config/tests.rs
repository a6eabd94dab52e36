use super::*;

const GOOD: &str = r#"
state_directory = "/var/lib/sotto-controller"
store_directory = "/var/lib/sotto-store"
trust_domain = "sotto.test"
cluster_pod_ranges = ["10.244.0.0/16", "fd00:10:244::/56"]
node_prefix_lengths = { ipv4 = 24, ipv6 = 64 }
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = ["10.96.0.0/12"]
"#;

fn parse(text: &str) -> Result<Settings, ConfigError> {
    Settings::parse(Path::new("controller.toml"), text.as_bytes())
}

fn refusal(from: &str, to: &str) -> String {
    assert!(
        GOOD.contains(from),
        "the test replaces something that is there"
    );
    let error = parse(&GOOD.replace(from, to)).unwrap_err();
    let text = error.to_string();
    assert!(std::error::Error::source(&error).is_none(), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn good_settings_are_read() {
    let settings = parse(GOOD).unwrap();

    assert_eq!(settings.cluster_pod_ranges.len(), 2);
    assert!(settings.may_be_underlay("198.51.100.1".parse().unwrap()));
    assert!(!settings.may_be_underlay("203.0.113.1".parse().unwrap()));
}

#[test]
fn an_address_in_capitals_is_the_same_address() {
    let settings = parse(&GOOD.replace("2001:db8::", "2001:DB8::")).unwrap();

    assert_eq!(
        settings.underlay_ranges,
        parse(GOOD).unwrap().underlay_ranges
    );
}

#[test]
fn bi05_an_unknown_key_is_refused_by_name() {
    let text = refusal("trust_domain", "colour = \"red\"\ntrust_domain");

    assert!(text.contains("controller.toml, line "), "{text}");
    assert!(text.contains("`colour = \"red\"`: unknown field"), "{text}");
}

#[test]
fn bi05_a_value_of_another_type_is_refused_with_its_key() {
    for (from, to) in [
        ("ipv4 = 24", "ipv4 = \"24\""),
        ("ipv4 = 24", "ipv4 = 99999999999999999999999"),
        ("ipv4 = 24", "ipv4 = -1"),
        ("ipv4 = 24", "ipv4 = 24, ipv4 = 24"),
    ] {
        let text = refusal(from, to);
        assert!(
            text.contains("ipv4") || text.contains("node_prefix_lengths"),
            "{to}: {text}"
        );
    }
}

#[test]
fn bi05_a_missing_key_and_a_second_one_are_refused_by_name() {
    let missing = refusal("trust_domain = \"sotto.test\"\n", "");
    let twice = refusal(
        "trust_domain",
        "trust_domain = \"other.test\"\ntrust_domain",
    );

    assert!(
        missing.contains("missing field `trust_domain`"),
        "{missing}"
    );
    assert!(twice.contains("trust_domain"), "{twice}");
}

#[test]
fn bi01_overlapping_ranges_are_refused_with_both_keys() {
    for (from, to, other) in [
        ("10.96.0.0/12", "10.244.1.0/24", "cluster_pod_ranges"),
        ("198.51.100.0/24", "10.0.0.0/8", "cluster_pod_ranges"),
        ("10.96.0.0/12", "198.51.100.128/25", "underlay_ranges"),
        ("2001:db8::/64", "fd00::/16", "cluster_pod_ranges"),
        ("fd00:10:244::/56", "10.244.128.0/17", "cluster_pod_ranges"),
    ] {
        let text = refusal(from, to);
        assert!(
            text.contains("overlaps") && text.contains(other),
            "{to}: {text}"
        );
        assert!(text.contains(to), "{to}: {text}");
    }
}

#[test]
fn bi02_malformed_ranges_are_refused_with_key_and_value() {
    for (key, from, to) in [
        ("cluster_pod_ranges", "10.244.0.0/16", "10.244.0.1/16"),
        ("cluster_pod_ranges", "10.244.0.0/16", "10.244.0.0/32"),
        ("cluster_pod_ranges", "10.244.0.0/16", "10.244.0.0/31"),
        ("cluster_pod_ranges", "10.244.0.0/16", "0.0.0.0/0"),
        ("cluster_pod_ranges", "10.244.0.0/16", "10.244.0.0"),
        ("cluster_pod_ranges", "10.244.0.0/16", "pods"),
        (
            "cluster_pod_ranges",
            "fd00:10:244::/56",
            "fd00:10:244::/128",
        ),
        ("underlay_ranges", "198.51.100.0/24", "198.51.100.7/24"),
        ("underlay_ranges", "198.51.100.0/24", "0.0.0.0/0"),
        (
            "underlay_ranges",
            "198.51.100.0/24",
            "198.51.100.0/255.255.255.0",
        ),
        ("service_ranges", "10.96.0.0/12", "10.96.0.0/012"),
        ("service_ranges", "10.96.0.0/12", "10.96.0.0/33"),
        ("service_ranges", "10.96.0.0/12", "127.0.0.0/16"),
        ("underlay_ranges", "2001:db8::/64", "fe80::/64"),
    ] {
        let text = refusal(from, to);
        assert!(text.contains(key) && text.contains(to), "{to}: {text}");
    }
}

#[test]
fn bi02_node_prefix_lengths_without_room_for_a_pod_are_refused() {
    for (from, to) in [
        ("ipv4 = 24", "ipv4 = 31"),
        ("ipv4 = 24", "ipv4 = 0"),
        ("ipv4 = 24", "ipv4 = 8"),
        ("ipv6 = 64", "ipv6 = 127"),
        ("ipv6 = 64", "ipv6 = 48"),
    ] {
        let text = refusal(from, to);
        assert!(
            text.contains("node_prefix_lengths") || text.contains("share"),
            "{to}: {text}"
        );
    }
}

#[test]
fn a_state_folder_that_nodes_could_read_is_refused() {
    for store in [
        "/var/lib/sotto-controller",
        "/var/lib",
        "/var/lib/sotto-controller/store",
    ] {
        let text = refusal("/var/lib/sotto-store", store);

        assert!(text.contains("store_directory"), "{store}: {text}");
        assert!(text.contains("apart"), "{store}: {text}");
    }
}

#[test]
fn relative_folders_and_empty_lists_are_refused() {
    assert!(refusal("/var/lib/sotto-store", "store").contains("absolute"));
    assert!(refusal("\"198.51.100.0/24\", \"2001:db8::/64\"", "").contains("underlay_ranges"));
}

#[test]
fn bi05_settings_that_are_no_file_are_refused_and_keep_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, gone) = (folder.path().join("pipe"), folder.path().join("gone"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();

    for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
        let read = Settings::read(path);

        assert!(
            matches!(
                read,
                Err(ConfigError::Unreadable(FileError::NotAFile { .. }))
            ),
            "{read:?}"
        );
    }
    let missing = Settings::read(&gone).unwrap_err();
    assert!(missing.to_string().contains("--config"), "{missing}");
}

#[test]
fn the_example_configuration_shows_every_key_and_its_default() {
    let text = include_str!("../../../deploy/controller.toml");
    let keys = [
        "state_directory",
        "store_directory",
        "trust_domain",
        "cluster_pod_ranges",
        "node_prefix_lengths",
        "underlay_ranges",
        "service_ranges",
        "log_format",
    ];
    let mut spelled_out = text.to_owned();

    for key in keys {
        let shown = format!("{key} = ");
        let is_shown = |line: &str| line.trim_start_matches("# ").starts_with(&shown);
        assert!(text.lines().any(is_shown), "{key} is absent");
        spelled_out = spelled_out.replace(&format!("# {shown}"), &shown);
    }

    assert_eq!(parse(text).unwrap(), parse(&spelled_out).unwrap());
}

const CLUSTER: &str = r#"
trust_domain = "sotto.test"
cluster_pod_ranges = ["10.244.0.0/16", "fd00:10:244::/56"]
underlay_ranges = ["198.51.100.0/24", "2001:db8::/64"]
service_ranges = ["10.96.0.0/12"]
http_address = "127.0.0.1:9471"
[kubernetes]
"#;

fn in_kubernetes(more: &str) -> Result<Settings, ConfigError> {
    parse(&format!("{CLUSTER}{more}"))
}

#[test]
fn a_controller_in_kubernetes_needs_no_folder() {
    let settings = in_kubernetes("").unwrap();
    let Home::Kubernetes(home) = &settings.home else {
        panic!("{:?}", settings.home);
    };

    assert_eq!(home.namespace, "sotto-system");
    assert_eq!(home.pod_ranges_from, PodRangesFrom::Node);
    assert!(!home.external_addresses && home.root_directory.is_none());
    assert_eq!(
        settings.http_address,
        Some("127.0.0.1:9471".parse().unwrap())
    );
    let more =
        "pod_ranges_from = \"controller\"\nroot_directory = \"/etc/sotto\"\nnamespace = \"x\"";
    let Home::Kubernetes(home) = in_kubernetes(more).unwrap().home else {
        panic!("in Kubernetes");
    };
    assert_eq!(
        (home.pod_ranges_from, home.namespace.as_str()),
        (PodRangesFrom::Controller, "x")
    );
    assert_eq!(
        parse(GOOD).unwrap().http_address,
        None,
        "in folders only when asked for"
    );
}

#[test]
fn bi05_a_mixture_of_folders_and_kubernetes_is_refused() {
    let folders = "state_directory = \"/a\"\nstore_directory = \"/b\"\n";
    let table = &CLUSTER[CLUSTER.find("[kubernetes]").unwrap()..];
    let without = CLUSTER.replace(table, "");
    for (text, said) in [
        (format!("{folders}{CLUSTER}"), "remove state_directory"),
        (without.clone(), "neither folders nor"),
        (
            format!("state_directory = \"/a\"\n{without}"),
            "store_directory",
        ),
        (format!("{CLUSTER}colour = 1"), "colour"),
        (
            format!("{CLUSTER}pod_ranges_from = \"nodes\""),
            "pod_ranges_from",
        ),
        (
            format!("{CLUSTER}namespace = \"a/b\""),
            "kubernetes.namespace",
        ),
        (format!("{CLUSTER}root_directory = \"etc\""), "absolute"),
        (
            format!("{CLUSTER}previous_root = \"sha1:00\""),
            "previous_root",
        ),
        (CLUSTER.replace("127.0.0.1", "0.0.0.0"), "loopback"),
    ] {
        let error = parse(&text).unwrap_err().to_string();

        assert!(error.contains(said), "{said}: {error}");
    }
}
