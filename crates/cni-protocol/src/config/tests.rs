use proptest::prelude::*;
use serde_json::json;

use super::*;

fn base() -> Value {
    json!({"cniVersion": "1.1.0", "name": "sotto", "type": "sotto-cni"})
}

fn with(key: &str, value: Value) -> Value {
    let mut config = base();
    config[key] = value;
    config
}

fn parse(config: &Value) -> Result<NetworkConfig, ConfigError> {
    ConfigDocument::decode(config.to_string().as_bytes())?.check()
}

fn refusal(config: &Value) -> String {
    let error = parse(config).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[test]
fn a_plain_configuration_has_the_defaults() {
    let config = parse(&base()).unwrap();

    assert_eq!(config.version, CniVersion::V1_1_0);
    assert_eq!(config.name, "sotto");
    assert_eq!(config.runtime_directory, Path::new("/run/sotto"));
    assert_eq!(config.boot_id_file, Path::new(DEFAULT_BOOT_ID_FILE));
}

/// The file that an operator copies, as libcni hands it to the plugin.
#[test]
fn the_example_configuration_is_accepted_in_each_version_it_offers() {
    let list: Value =
        serde_json::from_str(include_str!("../../../../deploy/cni/00-sotto.conflist")).unwrap();
    let versions = list["cniVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(CniVersion::LATEST.as_str())));

    for version in versions.iter().chain([&list["cniVersion"]]) {
        let mut plugin = list["plugins"][0].clone();
        plugin["cniVersion"] = version.clone();
        plugin["name"] = list["name"].clone();

        let config = parse(&plugin).unwrap();

        assert!(matches!(config.address_plugin(), Ok(None)));
        assert_eq!(
            config.runtime_directory,
            Path::new(DEFAULT_RUNTIME_DIRECTORY)
        );
    }
}

#[test]
fn keys_of_others_are_let_through() {
    let mut config = base();
    for key in ["ipMasq", "args", "runtimeConfig", "cni.dev/future", "x"] {
        config[key] = json!({"anything": [1, null]});
    }

    assert!(parse(&config).unwrap().made_before().is_ok());
}

#[test]
fn each_impossible_value_is_refused_with_its_key() {
    let long = "x".repeat(1000);
    let cases = [
        (with("name", json!("../x")), "name"),
        (with("name", json!(7)), "name 7"),
        (with("name", json!("")), "name"),
        (with("name", json!(long)), "more than 255 bytes"),
        (
            with("runtimeDirectory", json!("run/sotto")),
            "runtimeDirectory",
        ),
        (
            with("runtimeDirectory", json!("/run/../etc")),
            "runtimeDirectory",
        ),
        (
            with("runtimeDirectory", json!("/run/\0")),
            "runtimeDirectory",
        ),
        (
            with("runtimeDirectory", json!(null)),
            "runtimeDirectory is null",
        ),
        (with("bootIdFile", json!(["/x"])), "bootIdFile"),
        (with("dns", json!("10.0.0.1")), "dns"),
    ];
    for (config, expected) in cases {
        let text = refusal(&config);

        assert!(text.contains(expected), "{text:?} lacks {expected:?}");
        assert!(text.len() < 400, "{} bytes", text.len());
    }
}

#[test]
fn cn16_a_version_that_is_not_spoken_is_refused() {
    for version in ["0.1.0", "0.3.0", "2.0.0", "1"] {
        let text = refusal(&with("cniVersion", json!(version)));

        assert!(text.contains(version), "{text}");
    }
    let mut missing = base();
    missing.as_object_mut().unwrap().remove("cniVersion");
    assert!(refusal(&missing).contains("cniVersion is missing"));
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let config = parse(&with("cniVersion", json!(version))).unwrap();
        assert_eq!(config.version.as_str(), version);
    }
}

#[test]
fn what_was_made_before_is_read_or_refused_but_never_for_a_del() {
    let made_before = |value| parse(&with("prevResult", value)).unwrap().made_before();
    assert!(made_before(json!({"ips": []})).unwrap().is_some());
    assert!(made_before(json!(null)).unwrap().is_none());
    assert!(made_before(json!("{\"cniV")).is_err());

    let torn = parse(&with("prevResult", json!("{\"cniV"))).unwrap();
    assert!(!torn.to_json_for_del().contains("prevResult"));
    assert!(torn.to_json().contains("prevResult"));
}

#[test]
fn the_plugin_that_assigns_addresses_has_a_name_without_a_path() {
    let named = |ipam: Value| {
        let config = parse(&with("ipam", ipam)).unwrap();
        config.address_plugin().map(|name| name.map(str::to_owned))
    };
    let host_local = named(json!({"type": "host-local", "subnet": "10.244.1.0/24"}));
    assert_eq!(host_local.unwrap().as_deref(), Some("host-local"));
    for none in [
        json!(null),
        json!({}),
        json!({"type": null}),
        json!({"type": ""}),
    ] {
        assert_eq!(named(none).unwrap(), None);
    }
    for bad in [
        json!("host-local"),
        json!([]),
        json!({"type": 7}),
        json!({"type": "../../bin/sh"}),
        json!({"type": "/bin/sh"}),
        json!({"type": ".."}),
        json!({"type": "a b"}),
        json!({"type": "a\0"}),
    ] {
        let error = named(bad.clone()).unwrap_err().to_string();
        assert!(error.contains("ipam"), "{bad}: {error}");
    }
}

#[test]
fn cn13_valid_attachments_may_be_missing_empty_or_under_the_older_key() {
    let listed = json!([{"containerID": "a", "ifname": "eth0", "other": 1}]);
    let set = |config: &Value| parse(config).unwrap().valid_attachments();
    let one = BTreeSet::from([("a".to_owned(), "eth0".to_owned())]);

    assert!(matches!(set(&base()), Err(ConfigError::Missing(_))));
    assert!(
        set(&with("cni.dev/valid-attachments", json!(null)))
            .unwrap()
            .is_empty()
    );
    assert!(
        set(&with("cni.dev/valid-attachments", json!([])))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        set(&with("cni.dev/valid-attachments", listed.clone())).unwrap(),
        one
    );
    assert_eq!(
        set(&with("cni.dev/attachments", listed.clone())).unwrap(),
        one
    );

    let mut both = with("cni.dev/attachments", json!([]));
    both["cni.dev/valid-attachments"] = listed;
    assert_eq!(set(&both).unwrap(), one, "the specified key wins");

    for broken in [
        json!({}),
        json!("a"),
        json!([1]),
        json!([{"containerID": "a"}]),
    ] {
        assert!(set(&with("cni.dev/valid-attachments", broken)).is_err());
    }
}

#[test]
fn cn15_what_is_no_object_is_refused() {
    let lists = "[".repeat(100_000);
    let objects = r#"{"a":"#.repeat(100_000);
    let texts: [&[u8]; 8] = [
        b"",
        b"{",
        b"[]",
        b"\"x\"",
        b"{\"a\":\xff}",
        b"\xef\xbb\xbf{}",
        lists.as_bytes(),
        objects.as_bytes(),
    ];
    for text in texts {
        assert!(ConfigDocument::decode(text).is_err());
    }
}

#[test]
fn bi05_a_key_that_stands_twice_is_refused_by_name() {
    for (doubled, key) in [
        (r#""name": "other""#, "name"),
        (r#""cniVersion": "1.1.0""#, "cniVersion"),
        (r#""\u006eame": "other""#, "name"),
        (r#""dns": {"domain": "a", "domain": "b"}"#, "domain"),
        (
            r#""cni.dev/attachments": [{"ifname": "a", "ifname": "b"}]"#,
            "ifname",
        ),
    ] {
        let text = format!(r#"{{"cniVersion": "1.1.0", "name": "sotto", {doubled}}}"#);

        let error = ConfigDocument::decode(text.as_bytes()).unwrap_err();

        let ConfigError::Decode(cause) = error else {
            panic!("{error}");
        };
        let expected = format!("key \"{key}\" stands twice");
        assert!(cause.to_string().contains(&expected), "{cause}");
    }
}

#[test]
fn every_kind_of_value_is_kept_as_it_is() {
    let mut config = base();
    config["x"] = json!([null, true, -1, 18_446_744_073_709_551_615_u64, 1.5, "é\n", {"a": {}}]);

    let document = ConfigDocument::decode(config.to_string().as_bytes()).unwrap();

    assert_eq!(Value::Object(document.0), config);
}

proptest! {
    #[test]
    fn i5_no_bytes_make_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ConfigDocument::decode(&text).and_then(ConfigDocument::check);
    }

    #[test]
    fn i5_no_value_makes_a_verb_panic(key in "[a-zA-Z./-]{1,30}|prevResult|ipam|dns|name", text in ".{0,60}") {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if let Ok(config) = parse(&with(&key, value)) {
            let _ = config.address_plugin();
            let _ = config.made_before();
            let _ = config.previous_result();
            let _ = config.valid_attachments();
        }
    }
}
