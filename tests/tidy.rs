//! What no compiler checks: which crate may depend on which, what the pure crates must not reach,
//! where code may be that the compiler cannot check, and that no file grows beyond reading.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates without sockets, files, environment, clock or randomness of their own.
const PURE: [&str; 5] = [
    "node-identity",
    "tunnel-core",
    "cni-protocol",
    "node-status",
    "settings-file",
];

/// What a pure crate must not reach, by whatever way.
const IMPURE: [&str; 14] = [
    "tokio",
    "mio",
    "nix",
    "rustix",
    "socket2",
    "kube",
    "hyper",
    "reqwest",
    "notify",
    "tempfile",
    "rand",
    "chrono",
    "time",
    "getrandom",
];

/// Dependencies that read clock or randomness themselves and are allowed all the same: boringtun
/// behind one module of tunnel-core; ring's randomness is never called.
const LEAKS: [&str; 2] = ["boringtun", "ring"];

/// Which of our crates each of our crates may use.
const EDGES: [(&str, &[&str]); 17] = [
    ("node-identity", &[]),
    ("tunnel-core", &["node-identity"]),
    ("cni-protocol", &[]),
    ("node-status", &[]),
    ("settings-file", &[]),
    ("kept-files", &[]),
    ("service-log", &[]),
    ("loopback-http", &[]),
    ("cluster-api", &["node-identity"]),
    ("cluster-client", &[]),
    (
        "cluster-store",
        &[
            "cluster-api",
            "cluster-client",
            "kept-files",
            "node-identity",
            "node-status",
            "service-log",
        ],
    ),
    ("pod-pool", &["cni-protocol", "kept-files"]),
    ("sotto-cni", &["cni-protocol", "kept-files", "pod-pool"]),
    (
        "sotto-node",
        &[
            "cluster-client",
            "cluster-store",
            "cni-protocol",
            "kept-files",
            "loopback-http",
            "node-identity",
            "node-status",
            "pod-pool",
            "service-log",
            "settings-file",
            "tunnel-core",
        ],
    ),
    (
        "sotto-controller",
        &[
            "cluster-api",
            "cluster-client",
            "cluster-store",
            "kept-files",
            "loopback-http",
            "node-identity",
            "service-log",
            "settings-file",
        ],
    ),
    (
        "sotto",
        &[
            "cluster-api",
            "cluster-client",
            "node-identity",
            "node-status",
        ],
    ),
    (
        "sotto-tests",
        &[
            "cluster-client",
            "cluster-store",
            "node-identity",
            "node-status",
            "tunnel-core",
        ],
    ),
];

/// Longest file without a reason at its top.
const LONGEST: usize = 500;

/// How a longer file says why, in its first three lines.
const REASON: &str = "// Long because";

/// The only folder with code that the compiler cannot check.
const UNCHECKED: &str = "node-daemon/src/io";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Our files whose names end so.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut folders = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

/// A package, as "name version".
fn package(metadata: &BTreeMap<String, String>, id: &Value) -> String {
    metadata[id.as_str().unwrap()].clone()
}

/// One of our own packages: all have the version of this one.
fn ours(crate_name: &str) -> String {
    format!("{crate_name} {}", env!("CARGO_PKG_VERSION"))
}

fn name(package: &str) -> &str {
    package.split(' ').next().unwrap()
}

/// Direct dependencies of every package in the build, without those of tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| {
            let title = format!("{} {}", text(&package["name"]), text(&package["version"]));
            (text(&package["id"]), title)
        })
        .collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let entry = found.entry(package(&names, &node["id"])).or_default();
        for edge in list(&node["deps"]) {
            if list(&edge["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
            {
                entry.insert(package(&names, &edge["pkg"]));
            }
        }
    }
    found
}

#[test]
fn pure_crates_reach_no_clock_no_socket_and_no_randomness() {
    let dependencies = dependencies();

    for pure in PURE {
        let mut reached = BTreeSet::new();
        let mut next = vec![ours(pure)];
        while let Some(package) = next.pop() {
            if !LEAKS.contains(&name(&package)) && reached.insert(name(&package).to_owned()) {
                next.extend(dependencies[&package].iter().cloned());
            }
        }

        let banned: Vec<_> = IMPURE
            .iter()
            .filter(|name| reached.contains(**name))
            .collect();
        assert!(banned.is_empty(), "{pure} reaches {banned:?}");
    }
}

#[test]
fn our_crates_depend_on_each_other_in_one_direction() {
    let dependencies = dependencies();
    let all: BTreeSet<&str> = EDGES.iter().map(|(crate_name, _)| *crate_name).collect();

    for (crate_name, allowed) in EDGES {
        let used = dependencies[&ours(crate_name)]
            .iter()
            .map(|package| name(package));
        let wrong: Vec<_> = used
            .filter(|other| all.contains(other) && !allowed.contains(other))
            .collect();
        assert!(wrong.is_empty(), "{crate_name} uses {wrong:?}");
    }
}

#[test]
fn pure_crates_repeat_the_root_lints_and_ban_clock_and_files() {
    let root_lints = std::fs::read_to_string(root().join("clippy.toml")).unwrap();

    for pure in PURE {
        let path = root().join("crates").join(pure).join("clippy.toml");
        let lints = std::fs::read_to_string(&path).unwrap();
        for line in root_lints.lines().filter(|line| line.contains('=')) {
            assert!(lints.contains(line), "{} lacks {line}", path.display());
        }
        for banned in [
            "Instant::now",
            "SystemTime::now",
            "fs::File",
            "UdpSocket",
            "env::var",
        ] {
            assert!(lints.contains(banned), "{} allows {banned}", path.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_500_lines_without_a_reason() {
    let mut long = Vec::new();

    for path in files(".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let explained = text.lines().take(3).any(|line| line.starts_with(REASON));
        if text.lines().count() > LONGEST && !explained {
            long.push(path);
        }
    }

    assert!(long.is_empty(), "longer than {LONGEST} lines: {long:?}");
}

/// Whether a line of code has the keyword: followed by what it marks, or alone at the line's end.
fn marks_unchecked_code(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    // In two parts, so that this file is no find.
    let keyword = concat!("un", "safe");
    code.match_indices(keyword).any(|(start, _)| {
        let (before, after) = (&code[..start], &code[start + keyword.len()..]);
        let next = after.trim_start();
        let marks = ["{", "fn ", "impl ", "trait ", "extern ", "auto ", "("]
            .iter()
            .any(|what| next.starts_with(what));
        !before.ends_with(is_word) && (next.is_empty() || marks)
    })
}

#[test]
fn unchecked_code_is_only_where_the_kernel_is_called() {
    let allowed = root().join(UNCHECKED);
    let mut found = Vec::new();

    for path in files(".rs")
        .into_iter()
        .filter(|path| !path.starts_with(&allowed))
    {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if marks_unchecked_code(line) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }

    assert!(found.is_empty(), "belongs in {UNCHECKED}: {found:?}");
}

#[test]
fn a_flag_of_another_program_is_no_unchecked_code() {
    let line = |text: &str| text.replace('_', concat!("un", "safe"));

    for code in [
        "_ { read() }",
        "pub _ fn read()",
        "let x = _",
        "#[_(no_mangle)]",
    ] {
        assert!(marks_unchecked_code(&line(code)), "{code}");
    }
    for code in ["\"--_-no-fsync\",", "#![deny(_code)]", "// _ {", "x_ {"] {
        assert!(!marks_unchecked_code(&line(code)), "{code}");
    }
}

#[test]
fn every_package_denies_unchecked_code() {
    for path in files("Cargo.toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let inherits = text.contains("[lints]\nworkspace = true\n");
        let denies = text.contains(concat!("un", "safe_code = \"deny\"\n"));
        assert!(inherits || denies, "{} has no lints", path.display());
    }
}
