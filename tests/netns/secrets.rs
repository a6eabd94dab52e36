//! What somebody finds who may look at a running daemon: its log at the finest level, its pages, its
//! `/proc`, what support collects of it, and what is left of one that crashed. No key is in any of it.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use nix::sys::signal::Signal;
use serde_json::Value;
use sotto_tests::capture::Canary;
use sotto_tests::case::Case;
use sotto_tests::cases;
use sotto_tests::cluster::Pair;
use sotto_tests::lab::{DaemonSettings, Lab, Node, program};
use sotto_tests::traffic;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        kl14_no_key_is_in_what_support_collects_of_a_daemon_or_in_its_proc,
        kl14_a_daemon_that_crashes_leaves_no_core,
        kl14_keys_are_found_in_whatever_form_they_are_written,
    ]
}

/// Most bytes of a file of `/proc` that are read; only a process's memory has more.
const MOST: u64 = 8 << 20;

/// A private key, and how to find it.
struct Secret {
    what: String,
    bytes: Vec<u8>,
}

impl Secret {
    /// The key as it is, in halves, and as programs write bytes down.
    fn forms(&self) -> Vec<Vec<u8>> {
        let bytes = &self.bytes;
        let (one, other) = bytes.split_at(bytes.len() / 2);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = |half: &[u8]| format!("{half:?}").trim_matches(['[', ']']).to_owned();
        let mut forms = vec![one.to_vec(), other.to_vec()];
        let (start, end) = hex.split_at(hex.len() / 2);
        let mut texts = vec![list(one), list(other)];
        for text in [start, end] {
            texts.extend([text.to_owned(), text.to_uppercase()]);
        }
        // In the middle of something longer, base64 begins at any of three places.
        for skip in 0..3 {
            let part = bytes.get(skip..skip + 27).unwrap_or_default();
            texts.push(Base64::encode_string(part));
            texts.push(Base64UrlUnpadded::encode_string(part));
        }
        forms.extend(texts.into_iter().map(String::into_bytes));
        forms
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let found = |form: &Vec<u8>| text.windows(form.len()).any(|window| window == form);
        self.forms().iter().any(found)
    }
}

/// The private keys that a daemon keeps on this node.
fn secrets(node: &Node) -> Result<Vec<Secret>> {
    let read = |file: &str| -> Result<Value> { Ok(serde_json::from_slice(&node.read(file)?)?) };
    let identity = read("/var/lib/sotto/identity.json")?;
    let pem = identity.pointer("/key").and_then(Value::as_str);
    let pem = pem.context("no identity key")?;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = Base64::decode_vec(&body).map_err(|error| anyhow::anyhow!("{error}"))?;
    // PKCS #8 of an Ed25519 key (RFC 8410): 16 bytes, then the 32 of the key.
    let key = der.get(16..48).context("no Ed25519 key")?.to_vec();
    let mut secrets = vec![Secret {
        what: "identity key".to_owned(),
        bytes: key,
    }];
    let tunnel = read("/run/sotto/tunnel-keys.json")?;
    let generations = tunnel.pointer("/generations").and_then(Value::as_array);
    for generation in generations.context("no generations")? {
        let text = generation.pointer("/key").and_then(Value::as_str);
        let bytes = Base64::decode_vec(text.context("no tunnel key")?);
        secrets.push(Secret {
            what: "tunnel key".to_owned(),
            bytes: bytes.map_err(|error| anyhow::anyhow!("{error}"))?,
        });
    }
    ensure!(
        secrets.len() >= 2 && secrets.iter().all(|it| it.bytes.len() == 32),
        "not the keys that this test knows"
    );
    Ok(secrets)
}

fn holds_none(what: &str, text: &[u8], secrets: &[Secret]) -> Result<()> {
    for secret in secrets {
        ensure!(!secret.is_in(text), "{what} holds the {}", secret.what);
    }
    Ok(())
}

/// Everything below `/proc/<pid>` that can be read, but the memory itself.
fn files_of(folder: &Path, depth: u8) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type();
        let memory = ["mem", "pagemap"].iter().any(|it| name == *it);
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth > 0 {
            files.extend(files_of(&path, depth - 1));
        } else if kind.is_ok_and(|kind| kind.is_file()) && !memory {
            files.push(path);
        }
    }
    files
}

fn kl14_no_key_is_in_what_support_collects_of_a_daemon_or_in_its_proc(lab: &Lab) -> Result<()> {
    let settings = DaemonSettings {
        log_filter: "trace".to_owned(),
        ..DaemonSettings::default()
    };
    let pair = Pair::raise_with(lab, &settings, &settings)?;
    traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, &Canary::new()?)?;
    let node = &pair.alice.node;
    // A restart takes keys from disk, and logs that it did.
    pair.alice.daemon.stop()?;
    let daemon = node.start(&settings)?;
    traffic::exchange_all(&pair.alice.pod, &pair.bob.pod, &Canary::new()?)?;
    let mut all = secrets(node)?;
    all.extend(secrets(&pair.bob.node)?);

    let log = daemon.log();
    ensure!(log.contains(" DEBUG "), "the log says little");
    holds_none("the log", log.as_bytes(), &all)?;
    holds_none("bob's log", pair.bob.daemon.log().as_bytes(), &all)?;
    for page in ["/metrics", "/healthz", "/readyz"] {
        holds_none(page, node.http(page)?.as_bytes(), &all)?;
    }
    let sotto = program("sotto")?;
    for verb in [vec!["status"], vec!["peers"], vec!["doctor"]] {
        for form in [vec![], vec!["-o", "json"]] {
            let line = [&form[..], &verb[..]].concat();
            let said = node.output(&sotto, &line, &[], "")?;
            holds_none(&line.join(" "), &said.stdout, &all)?;
            holds_none(&line.join(" "), &said.stderr, &all)?;
        }
    }
    for command in [
        "nft list ruleset",
        "ip -s -d link",
        "ip route show table all",
    ] {
        holds_none(command, node.shell(command)?.as_bytes(), &all)?;
    }
    let files = files_of(Path::new(&format!("/proc/{}", daemon.pid())), 3);
    let mut read = 0;
    for path in files {
        let mut text = Vec::new();
        let opened = File::open(&path).map(|file| file.take(MOST).read_to_end(&mut text));
        read += usize::from(opened.is_ok() && !text.is_empty());
        holds_none(&path.display().to_string(), &text, &all)?;
    }
    ensure!(read > 20, "only {read} files of /proc could be read");
    Ok(())
}

fn kl14_a_daemon_that_crashes_leaves_no_core(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let daemon = &pair.alice.daemon;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let core = limits.lines().find(|line| line.contains("core file size"));
    let core: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
    ensure!(core.get(4..6) == Some(&["0", "0"]), "{core:?}");
    // Who has the daemon's user and no capability may not look into it: it is not dumpable.
    let powerless = format!(
        "setpriv --inh-caps=-all --bounding-set=-all cat /proc/{}/environ",
        daemon.pid()
    );
    ensure!(
        pair.alice.node.shell(&powerless).is_err(),
        "its environment can be read"
    );

    daemon.signal(Signal::SIGABRT)?;
    let ended = daemon.wait()?;

    ensure!(ended.signal() == Some(Signal::SIGABRT as i32), "{ended}");
    ensure!(!ended.core_dumped(), "a core was left");
    holds_none(
        "the log",
        daemon.log().as_bytes(),
        &secrets(&pair.alice.node)?,
    )
}

/// The search itself: it finds what it is to find.
fn kl14_keys_are_found_in_whatever_form_they_are_written(lab: &Lab) -> Result<()> {
    let pair = Pair::raise(lab)?;
    let all = secrets(&pair.alice.node)?;
    for secret in &all {
        let bytes = &secret.bytes;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let longer = [&[1][..], bytes, &[2]].concat();
        let written = [
            bytes.clone(),
            format!("key={hex}").into_bytes(),
            hex.to_uppercase().into_bytes(),
            format!("{bytes:?}").into_bytes(),
            Base64::encode_string(bytes).into_bytes(),
            Base64::encode_string(&longer).into_bytes(),
            Base64UrlUnpadded::encode_string(bytes).into_bytes(),
        ];
        for text in written {
            ensure!(
                holds_none("the text", &text, &all).is_err(),
                "{} is not found in {:?}",
                secret.what,
                String::from_utf8_lossy(&text)
            );
        }
    }
    for file in [
        "/var/lib/sotto/identity.json",
        "/run/sotto/tunnel-keys.json",
    ] {
        let text = pair.alice.node.read(file)?;
        ensure!(holds_none(file, &text, &all).is_err(), "not in {file}");
    }
    Ok(())
}
