use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

const ADD: [(&str, &str); 5] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c0ffee"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_NETNS", "/var/run/netns/a"),
    ("CNI_PATH", "/opt/cni/bin"),
];

fn parse(changes: &[(&str, &str)]) -> Result<Call, EnvironmentError> {
    Call::from_environment(|variable| {
        changes
            .iter()
            .chain(&ADD)
            .find(|(name, _)| *name == variable)
            .map(|(_, value)| OsString::from(value))
    })
}

fn pod_of(arguments: &str) -> Option<String> {
    let Call::Add(call) = parse(&[("CNI_ARGS", arguments)]).unwrap() else {
        panic!("not an ADD");
    };
    call.pod
}

#[test]
fn an_add_names_container_interface_and_namespace() {
    let Call::Add(call) = parse(&[]).unwrap() else {
        panic!("not an ADD");
    };

    assert_eq!(call.key.container_id.as_str(), "c0ffee");
    assert_eq!(call.key.interface.as_str(), "eth0");
    assert_eq!(call.netns, PathBuf::from("/var/run/netns/a"));
}

#[test]
fn missing_variables_are_named_together() {
    let error = parse(&[("CNI_NETNS", ""), ("CNI_IFNAME", "")]).unwrap_err();

    let expected = EnvironmentError::Missing(vec!["CNI_IFNAME", "CNI_NETNS"]);
    assert_eq!(error, expected);
}

#[test]
fn cn01_a_del_needs_no_namespace() {
    let call = parse(&[("CNI_COMMAND", "DEL"), ("CNI_NETNS", "")]).unwrap();

    assert!(matches!(call, Call::Del(_)), "{call:?}");
}

#[test]
fn a_del_is_not_stopped_by_odd_arguments() {
    let call = parse(&[("CNI_COMMAND", "DEL"), ("CNI_ARGS", "IP=1.2.3.4")]);

    assert!(call.is_ok(), "{call:?}");
}

#[test]
fn the_verbs_without_a_pod_need_no_other_variable() {
    for (verb, expected) in [
        ("STATUS", Call::Status),
        ("GC", Call::Gc),
        ("VERSION", Call::Version),
    ] {
        let call = Call::from_environment(|name| (name == "CNI_COMMAND").then(|| verb.into()));

        assert_eq!(call, Ok(expected));
    }
}

#[test]
fn each_impossible_value_is_refused_with_its_variable() {
    let long = "x".repeat(4096);
    let cases = [
        (("CNI_COMMAND", "add"), "CNI_COMMAND"),
        (("CNI_COMMAND", ""), "CNI_COMMAND"),
        (("CNI_CONTAINERID", "../x"), "CNI_CONTAINERID"),
        (("CNI_CONTAINERID", long.as_str()), "CNI_CONTAINERID"),
        (("CNI_IFNAME", "sixteen-bytes-xx"), "CNI_IFNAME"),
        (("CNI_IFNAME", "all"), "CNI_IFNAME"),
        (("CNI_NETNS", "netns/a"), "CNI_NETNS"),
        (("CNI_ARGS", "K8S_POD_NAME=a;IP=10.244.1.9"), "CNI_ARGS"),
    ];
    for (change, variable) in cases {
        let text = parse(&[change]).unwrap_err().to_string();

        assert!(text.contains(variable), "{text}");
        assert!(text.len() < 300, "{} bytes", text.len());
    }
}

#[test]
fn cn25_odd_arguments_are_passed_over() {
    let long = format!("X={}", "y".repeat(1 << 16));
    for arguments in [";;", "IgnoreUnknown", "=;=", "MAC=1", long.as_str(), "ip=1"] {
        assert_eq!(pod_of(arguments), None, "{arguments:.20}");
    }
    let traversal = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=../../etc";
    assert_eq!(pod_of(traversal), None);
    let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=1";
    assert_eq!(pod_of(pod).as_deref(), Some("default/web-0"));
}

#[test]
fn cn25_arguments_that_are_no_text_are_passed_over() {
    let call = Call::from_environment(|variable| match variable {
        "CNI_ARGS" => Some(OsString::from_vec(vec![b'K', 0xff, b'=', 0xfe])),
        _ => ADD
            .iter()
            .find(|(name, _)| *name == variable)
            .map(|(_, value)| value.into()),
    });

    assert!(call.is_ok(), "{call:?}");
}

proptest! {
    #[test]
    fn i5_no_environment_makes_the_parser_panic(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 5),
    ) {
        let names = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"];
        for verb in ["ADD", "DEL", "CHECK"] {
            let _ = Call::from_environment(|variable| {
                if variable == "CNI_COMMAND" {
                    return Some(verb.into());
                }
                let position = names.iter().position(|name| *name == variable)?;
                values.get(position).cloned().map(OsString::from_vec)
            });
        }
    }
}
