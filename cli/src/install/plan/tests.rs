//! Decisions over what was given, what is installed and what the cluster tells.

use chacha20::ChaCha20Rng;
use clap::Parser;
use node_identity::{Pin, RootCertificate, RootKey, UnixTime};
use rand_core::SeedableRng;

use super::{Addresses, Existing, Found, Ledger, Plan, RootPlan, make, offline};
use crate::arguments::{Arguments, InstallArguments, Verb};
use crate::settings::Installed;
use crate::settings::controller::{InstalledController, PrefixLengths, RangesFrom};
use crate::settings::image::Images;
use crate::settings::node::InstalledNode;

fn arguments(words: &[&str]) -> InstallArguments {
    let line = ["sotto", "install", "--yes"].iter().chain(words);
    let Verb::Install(arguments) = Arguments::try_parse_from(line).unwrap().verb else {
        panic!("another verb than install");
    };
    *arguments
}

fn root(seed: u64) -> RootCertificate {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let key = RootKey::generate(&mut random);
    key.create_certificate(
        &"sotto.test".parse().unwrap(),
        UnixTime(1_800_000_000),
        &mut random,
    )
}

fn nothing() -> Existing {
    Existing {
        installed: None,
        controller: None,
        images: None,
        root: None,
        ledger: Ledger::Absent,
    }
}

fn installed(pin: Pin) -> Installed {
    Installed {
        pins: vec![pin],
        trust_domain: "sotto.test".parse().unwrap(),
        pod_ranges: vec!["10.244.0.0/16".parse().unwrap()],
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        underlay_ranges: vec!["198.51.100.0/24".parse().unwrap()],
        image: "registry.example/sotto-node:v7".parse().unwrap(),
        node: InstalledNode::default(),
    }
}

fn found(range: &str, certain: bool) -> Found {
    Found {
        ranges: vec![range.parse().unwrap()],
        source: "by a test".to_owned(),
        certain,
    }
}

fn certain() -> Addresses {
    Addresses {
        pods: found("10.0.0.0/16", true),
        services: found("10.1.0.0/16", true),
        underlay: found("198.51.100.0/24", true),
        of_nodes: vec![("alice".to_owned(), vec!["10.9.0.0/24".parse().unwrap()])],
    }
}

fn plan(words: &[&str], existing: &Existing, addresses: &Addresses) -> Result<Plan, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let plan = runtime.block_on(make(&arguments(words), existing, addresses));
    plan.map_err(|error| format!("{error:#}"))
}

#[test]
fn what_is_given_wins_over_what_is_installed_and_that_over_what_is_found() {
    let images = Images::of(&"registry.example".parse().unwrap(), &"v7".parse().unwrap());
    let existing = Existing {
        installed: Some(installed(root(1).pin())),
        controller: Some(InstalledController {
            node_label: "node-restriction.kubernetes.io/keys".parse().unwrap(),
            prefix_lengths: PrefixLengths { ipv4: 20, ipv6: 64 },
            ..InstalledController::default()
        }),
        images: Some(images.clone()),
        root: Some(root(1)),
        ledger: Ledger::Written,
    };

    let plan = plan(&["--pod-range", "10.240.0.0/14"], &existing, &certain()).unwrap();

    let Plan {
        values,
        root: found,
        sources,
        notes,
        ..
    } = plan;
    assert_eq!(found, RootPlan::There);
    assert_eq!(values.pins, [root(1).pin()]);
    assert_eq!(values.pod_ranges, ["10.240.0.0/14".parse().unwrap()]);
    assert_eq!(values.service_ranges, ["10.96.0.0/16".parse().unwrap()]);
    assert_eq!(values.images, images);
    assert_eq!(Some(values.controller), existing.controller);
    assert_eq!(sources, ["as given", "as installed", "as installed"]);
    assert!(notes.iter().any(|note| note.contains("alice")), "{notes:?}");
}

#[test]
fn a_guess_is_never_taken_without_a_person() {
    let mut addresses = certain();
    addresses.pods = found("10.244.0.0/23", false);

    let error = plan(&[], &nothing(), &addresses).unwrap_err();

    assert!(error.contains("--pod-range 10.244.0.0/23"), "{error}");
}

#[test]
fn what_nobody_can_be_asked_is_told_at_once() {
    let mut addresses = certain();
    addresses.pods = found("10.244.0.0/23", false);
    addresses.underlay = found("198.51.100.0/24", false);

    let error = plan(&[], &nothing(), &addresses).unwrap_err();

    for option in [
        "--pod-range 10.244.0.0/23",
        "--underlay-range 198.51.100.0/24",
    ] {
        assert!(error.contains(option), "{error}");
    }
}

#[test]
fn a_fresh_cluster_gets_a_new_root_and_one_with_a_pin_does_not() {
    let fresh = plan(&[], &nothing(), &certain()).unwrap();
    assert_eq!(fresh.root, RootPlan::New);
    assert_eq!(fresh.values.trust_domain.as_str(), "cluster.local");

    let pin = root(2).pin().to_string();
    let pinned = plan(&["--pin", &pin], &nothing(), &certain()).unwrap();
    assert_eq!(pinned.root, RootPlan::Elsewhere);
    assert_eq!(pinned.values.pins, [root(2).pin()]);
}

#[test]
fn an_install_that_was_interrupted_behind_its_root_goes_on_with_it() {
    let existing = Existing {
        root: Some(root(1)),
        ledger: Ledger::Empty,
        ..nothing()
    };
    let found = plan(&[], &existing, &certain()).unwrap();
    assert_eq!(found.root, RootPlan::There);
    assert_eq!(found.values.pins, [root(1).pin()]);
    assert_eq!(found.values.trust_domain.as_str(), "sotto.test");

    let existing = Existing {
        ledger: Ledger::Empty,
        ..nothing()
    };
    assert_eq!(
        plan(&[], &existing, &certain()).unwrap().root,
        RootPlan::New
    );
}

#[test]
fn a_new_root_that_an_interrupted_install_made_is_not_made_again() {
    let existing = Existing {
        root: Some(root(1)),
        ledger: Ledger::Empty,
        ..nothing()
    };

    let found = plan(&["--new-root"], &existing, &certain()).unwrap();

    assert_eq!(found.root, RootPlan::There);
    assert_eq!(found.values.pins, [root(1).pin()]);
}

#[test]
fn a_root_and_its_ledger_are_never_made_anew_one_without_the_other() {
    let without_ledger = Existing {
        root: Some(root(1)),
        ..nothing()
    };
    let error = plan(&[], &without_ledger, &certain()).unwrap_err();
    assert!(error.contains("sotto-ledger is gone"), "{error}");

    let without_root = Existing {
        ledger: Ledger::Written,
        ..nothing()
    };
    let error = plan(&[], &without_root, &certain()).unwrap_err();
    assert!(error.contains("sotto-root is gone"), "{error}");
    let error = plan(&["--new-root"], &without_root, &certain()).unwrap_err();
    assert!(error.contains("sotto-root is gone"), "{error}");
}

#[test]
fn a_root_that_nodes_trust_is_never_replaced_nor_left_without_trust() {
    let existing = Existing {
        installed: Some(installed(root(1).pin())),
        controller: None,
        images: None,
        root: Some(root(1)),
        ledger: Ledger::Written,
    };

    // The line that installed it, run again.
    let again = plan(&["--new-root"], &existing, &certain()).unwrap();
    assert_eq!(again.root, RootPlan::There);
    assert_eq!(again.values.pins, [root(1).pin()]);
    let elsewhere = Existing {
        installed: Some(installed(root(1).pin())),
        ledger: Ledger::Written,
        ..nothing()
    };
    let error = plan(&["--new-root"], &elsewhere, &certain()).unwrap_err();
    assert!(error.contains("never replaced"), "{error}");
    let other = root(2).pin().to_string();
    let error = plan(&["--pin", &other], &existing, &certain()).unwrap_err();
    assert!(error.contains("no node would trust"), "{error}");
    let own = root(1).pin().to_string();
    let both = plan(&["--pin", &other, "--pin", &own], &existing, &certain()).unwrap();
    assert_eq!(both.values.pins.len(), 2);
    let error = plan(&["--trust-domain", "other.test"], &existing, &certain()).unwrap_err();
    assert!(error.contains("speaks for sotto.test"), "{error}");
}

#[test]
fn kl07_the_root_before_is_named_until_nodes_trust_it_no_more() {
    let pins = [root(1).pin().to_string(), root(2).pin().to_string()];
    let mut existing = Existing {
        installed: Some(Installed {
            pins: vec![root(1).pin(), root(2).pin()],
            ..installed(root(1).pin())
        }),
        controller: None,
        images: None,
        root: Some(root(2)),
        ledger: Ledger::Written,
    };
    let previous = |words: &[&str], existing: &Existing| {
        let plan = plan(words, existing, &certain()).unwrap();
        plan.values.controller.previous_pin
    };
    assert_eq!(previous(&[], &existing), None);
    let given = previous(&["--previous-pin", &pins[0]], &existing);
    assert_eq!(given, Some(root(1).pin()));

    existing.controller = Some(InstalledController {
        previous_pin: given,
        ..InstalledController::default()
    });
    assert_eq!(previous(&[], &existing), given);
    let both = ["--pin", &pins[0], "--pin", &pins[1]];
    assert_eq!(previous(&both, &existing), given);
    assert_eq!(previous(&["--pin", &pins[1]], &existing), None);
}

#[test]
fn a_root_in_files_needs_its_pin_and_minds_no_secret() {
    let words = ["--controller-root-directory", "/etc/sotto-root"];
    let existing = Existing {
        root: Some(root(1)),
        ..nothing()
    };
    let error = plan(&words, &existing, &certain()).unwrap_err();
    assert!(error.contains("--pin"), "{error}");

    let pin = root(2).pin().to_string();
    let with_pin = [&words[..], &["--pin", &pin]].concat();
    let first = plan(&with_pin, &existing, &certain()).unwrap();
    assert_eq!(first.root, RootPlan::Files);
    assert_eq!(first.values.pins, [root(2).pin()]);

    let existing = Existing {
        installed: Some(installed(root(2).pin())),
        controller: Some(first.values.controller.clone()),
        ..existing
    };
    let again = plan(&[], &existing, &certain()).unwrap();
    assert_eq!(again.values.controller, first.values.controller);
    assert_eq!(again.root, RootPlan::Files);
    let back = plan(&["--controller-root-directory", ""], &existing, &certain());
    assert!(back.unwrap_err().contains("no node would trust"));
}

#[test]
fn how_large_a_nodes_range_may_be_is_kept_and_must_fit() {
    let existing = Existing {
        installed: Some(installed(root(1).pin())),
        controller: Some(InstalledController {
            prefix_lengths: PrefixLengths { ipv4: 20, ipv6: 80 },
            ..InstalledController::default()
        }),
        images: None,
        root: Some(root(1)),
        ledger: Ledger::Written,
    };
    let words = ["--node-prefix-length-ipv4", "26"];
    let lengths = plan(&words, &existing, &certain()).unwrap().values;
    let expected = PrefixLengths { ipv4: 26, ipv6: 80 };
    assert_eq!(lengths.controller.prefix_lengths, expected);

    let narrow = ["--pod-range", "10.244.0.0/21"];
    let error = plan(&narrow, &existing, &certain()).unwrap_err();
    assert!(error.contains("--node-prefix-length-ipv4"), "{error}");

    let mut addresses = certain();
    addresses.of_nodes = vec![("bob".to_owned(), vec!["10.244.0.0/19".parse().unwrap()])];
    let notes = plan(&[], &existing, &addresses).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("bob")), "{notes:?}");
}

#[test]
fn ranges_that_overlap_are_refused() {
    let error = plan(&["--pod-range", "10.0.0.0/8"], &nothing(), &certain()).unwrap_err();

    assert!(error.contains("overlap"), "{error}");
}

#[test]
fn no_cluster_is_asked_where_everything_is_given() {
    let pin = root(1).pin().to_string();
    let words = [
        "--print",
        "--pin",
        &pin,
        "--pod-range",
        "10.244.0.0/16,fd00:10:244::/56",
        "--service-range",
        "10.96.0.0/16",
        "--underlay-range",
        "198.51.100.0/24",
    ];

    let values = offline(&arguments(&words)).unwrap().unwrap();

    assert_eq!(values.pod_ranges.len(), 2);
    assert!(values.fill().unwrap().contains(&format!("- --pin={pin}")));
    assert!(offline(&arguments(&["--print"])).unwrap().is_none());
}

#[test]
fn a_controller_that_gives_out_ranges_minds_no_nodes_own() {
    let words = ["--pod-ranges-from", "controller"];

    let plan = plan(&words, &nothing(), &certain()).unwrap();

    assert_eq!(plan.values.controller.ranges_from, RangesFrom::Controller);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn nodes_with_larger_ranges_than_usual_are_let_in_where_all_have_them() {
    let mut addresses = certain();
    let node = |name: &str, range: &str| (name.to_owned(), vec![range.parse().unwrap()]);
    addresses.of_nodes = vec![node("alice", "10.0.0.0/23"), node("bob", "10.0.2.0/23")];
    let lengths = |plan: &Plan| plan.values.controller.prefix_lengths;

    let found = plan(&[], &nothing(), &addresses).unwrap();
    assert_eq!(lengths(&found), PrefixLengths { ipv4: 23, ipv6: 64 });
    assert!(found.notes[0].contains("/23"), "{:?}", found.notes);

    let given = ["--node-prefix-length-ipv4", "24"];
    let given = plan(&given, &nothing(), &addresses).unwrap();
    assert_eq!(lengths(&given), PrefixLengths::default());
    assert!(given.notes[0].contains("stay pending"), "{:?}", given.notes);

    // One that stands out may have made its Node itself.
    addresses.of_nodes.push(node("mallory", "10.0.128.0/17"));
    let mixed = plan(&[], &nothing(), &addresses).unwrap();
    assert_eq!(lengths(&mixed), PrefixLengths::default());
    assert!(mixed.notes[0].contains("stay pending"), "{:?}", mixed.notes);
}
