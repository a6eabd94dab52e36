//! Carries out one verb. `app/folders` and `app/cluster` wire a running controller together.

mod cluster;
mod folders;
mod pace;

use std::io::{ErrorKind, Write, stdout};
use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use getrandom::SysRng;
use node_identity::{TrustDomain, UnixTime};
use rand_core::UnwrapErr;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::arguments::{Arguments, RootVerb, State, TokenVerb, Verb};
use crate::config::{Home, Settings};
use crate::ledger::{Ledger, LedgerFile};
use crate::signer::Signer;
use crate::tokens::{self, Invitation};
use crate::{hygiene, state, verbs};

/// Carries out what the command line asks for.
pub(crate) fn run() -> Result<()> {
    hygiene::forbid_core_dumps().context("switch core dumps off")?;
    match Arguments::parse().verb {
        Verb::Root(RootVerb::Create {
            state,
            trust_domain,
        }) => {
            create_root(&state.folder()?, trust_domain)?;
        }
        Verb::Root(RootVerb::Pin { state }) => {
            say(&ledger(&state)?.read()?.pin.to_string())?;
        }
        Verb::Token(TokenVerb::Create {
            state,
            node,
            addresses,
            ttl,
        }) => {
            create_token(
                &state,
                &Invitation {
                    name: node,
                    addresses,
                    lifetime: ttl,
                },
            )?;
        }
        Verb::Token(TokenVerb::List { state }) => {
            say(&verbs::tokens(&ledger(&state)?.read()?, now()?))?;
        }
        Verb::Nodes { state } => {
            say(&verbs::nodes(&ledger(&state)?.read()?, now()?))?;
        }
        Verb::Revoke { state, node } => {
            let file = ledger(&state)?;
            let revoked = verbs::revoke(&file, &node, now()?)?;
            let until_when = verbs::until_when(&revoked, now()?);
            say(&format!("revoked {node} ({}), {until_when}", revoked.uid))?;
        }
        Verb::Approve { state, node } => {
            let (uid, key) = verbs::approve(&ledger(&state)?, &node)?;
            say(&format!("approved key {key} for {node} ({uid})"))?;
        }
        Verb::Run(given) => {
            let settings = given.read()?;
            service_log::start(settings.log_format, &[]);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .context("start the async runtime")?
                .block_on(serve(settings))?;
        }
    }
    Ok(())
}

/// The ledger of a folder that nobody else can have touched.
fn ledger(state: &State) -> Result<LedgerFile> {
    let folder = state.folder()?;
    state::check(&folder)?;
    Ok(LedgerFile::in_folder(&folder))
}

fn create_root(folder: &Path, trust_domain: TrustDomain) -> Result<()> {
    state::create(folder)?;
    let _held = state::lock(folder)?;
    let file = LedgerFile::in_folder(folder);
    file.check_absent()?;
    let pin = Signer::create(folder, &trust_domain, now()?, &mut random())?;
    file.create(&Ledger::empty(trust_domain, pin))?;
    say(&pin.to_string())
}

fn create_token(state: &State, invitation: &Invitation) -> Result<()> {
    if let Some(settings) = state.settings()? {
        let foreign = |address: &&IpAddr| !settings.may_be_underlay(**address);
        if let Some(address) = invitation.addresses.iter().find(foreign) {
            bail!("--address {address}: lies outside underlay_ranges, the node would be refused");
        }
    }
    let now = now()?;
    let issued = ledger(state)?.update(|ledger| {
        tokens::invite(ledger, invitation, now, &mut random()).map_err(anyhow::Error::from)
    })?;
    if issued.needs_approval {
        eprintln!(
            "note: {name} is live; when it asks with another key, allow it with \
             `sotto-controller approve {name}`",
            name = invitation.name
        );
    }
    say(&issued.token.to_string())
}

async fn serve(settings: Settings) -> Result<()> {
    settings.log();
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let ended = Ended(terminate, interrupt);
    match settings.home.clone() {
        Home::Folders { state, store } => folders::serve(settings, &state, &store, ended).await,
        Home::Kubernetes(home) => cluster::serve(settings, &home, ended).await,
    }?;
    info!("Controller stopped");
    Ok(())
}

/// The signals that end a controller.
struct Ended(Signal, Signal);

impl Ended {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Settings that contradict what has been promised to nodes are refused before anything starts.
fn check_against(settings: &Settings, ledger: &Ledger) -> Result<()> {
    if settings.trust_domain != ledger.trust_domain {
        bail!(
            "trust_domain = {:?}: the root was made for {:?}; write that, or make another root in \
             another folder",
            settings.trust_domain.as_str(),
            ledger.trust_domain.as_str()
        );
    }
    for node in ledger
        .nodes
        .values()
        .filter(|node| node.revoked_until.is_none())
    {
        if !settings.covers(&node.pod_ranges) {
            bail!(
                "cluster_pod_ranges: node {} has {}, which lies outside; put the range back or \
                 revoke the node",
                node.name,
                node.pod_ranges
            );
        }
    }
    Ok(())
}

/// Prints a text. A reader that has read enough is no fault.
fn say(text: &str) -> Result<()> {
    match writeln!(stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("print to standard output: is the disk full?"),
    }
}

fn now() -> Result<UnixTime> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("read the clock: it stands before 1970, set it")?;
    Ok(UnixTime(since.as_secs()))
}

fn random() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
