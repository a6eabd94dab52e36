//! `sotto`, also `kubectl sotto`: what Sotto says about itself, for a person at a terminal.
//!
//! Each verb has a file. `world` settles whether the daemon of this machine is asked (`daemon`) or
//! a cluster (`cluster`). `revoke`, `approve`, `install` and `uninstall` change something, in a cluster, and ask
//! before they do; `root create` makes a root without any cluster; all others only look.

mod approve;
mod arguments;
mod ask;
mod cluster;
mod daemon;
mod doctor;
#[cfg(test)]
mod fake;
mod health;
mod identity;
mod install;
mod names;
mod output;
mod peers;
mod printable;
mod revoke;
mod root;
mod roots;
mod settings;
mod status;
mod table;
mod times;
mod uninstall;
mod world;

use std::io::{ErrorKind, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, RootVerb, Verb};
use ask::Consent;
use cluster::Cluster;
use output::{Answer, Verdict};
use revoke::Wait;
use world::World;

/// What shells give a program that was interrupted: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// The name under which kubectl finds its plugins.
const PLUGIN: &str = "kubectl-sotto";

fn main() -> ExitCode {
    let called_as_plugin = std::env::args_os().next().is_some_and(|name| {
        Path::new(&name)
            .file_name()
            .is_some_and(|name| name == PLUGIN)
    });
    let name = if called_as_plugin {
        "kubectl sotto"
    } else {
        "sotto"
    };
    let command = Arguments::command().bin_name(name);
    let arguments = Arguments::from_arg_matches(&command.get_matches());
    let arguments = arguments.unwrap_or_else(|error| error.exit());
    match run(arguments, called_as_plugin) {
        Ok(Some(Verdict::Fine)) => ExitCode::SUCCESS,
        Ok(Some(Verdict::Wrong)) => ExitCode::FAILURE,
        Ok(None) => {
            eprintln!("{name}: interrupted; what is said above was done");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("{name}: {}", printable::printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Carries a verb out. `None`: it was interrupted.
fn run(arguments: Arguments, called_as_plugin: bool) -> Result<Option<Verdict>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start")?;
    let answer = runtime.block_on(async {
        tokio::select! {
            biased;
            answer = carry_out(arguments, called_as_plugin) => answer.map(Some),
            signal = tokio::signal::ctrl_c() => signal.context("wait for signals").map(|()| None),
        }
    })?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    if !answer.text.is_empty() {
        say(answer.text.trim_end())?;
    }
    Ok(Some(answer.verdict))
}

async fn carry_out(arguments: Arguments, called_as_plugin: bool) -> Result<Answer> {
    let Arguments {
        verb,
        place,
        output,
    } = arguments;
    match verb {
        Verb::Status => match world::choose(&place, called_as_plugin)? {
            World::Machine(directory) => {
                let status = daemon::ask(&directory)?;
                Ok(Answer::fine(status::machine::print(&status, output)?))
            }
            World::Cluster => status::run(&Cluster::connect(&place).await?, output).await,
        },
        Verb::Peers { node } => match world::choose(&place, called_as_plugin)? {
            World::Machine(_) if node.is_some() => bail!(
                "report on one node: this machine's daemon only has the whole table; name a \
                 cluster with --kubeconfig or $KUBECONFIG"
            ),
            World::Machine(directory) => {
                let status = daemon::ask(&directory)?;
                Ok(Answer::fine(peers::machine::print(&status, output)?))
            }
            World::Cluster => {
                peers::run(&Cluster::connect(&place).await?, node.as_ref(), output).await
            }
        },
        Verb::Doctor => match world::choose(&place, called_as_plugin)? {
            World::Machine(directory) => doctor::machine::run(&directory, output),
            World::Cluster => doctor::run(&Cluster::connect(&place).await?, output).await,
        },
        Verb::Identity { node, pins } => {
            identity::run(&Cluster::connect(&place).await?, &node, &pins, output).await
        }
        Verb::Revoke { node, yes, no_wait } => {
            let wait = if no_wait {
                Wait::No
            } else {
                Wait::ForController
            };
            let cluster = Cluster::connect(&place).await?;
            revoke::run(&cluster, &node, Consent::of(yes), wait).await
        }
        Verb::Approve { node, key, yes } => {
            let cluster = Cluster::connect(&place).await?;
            approve::run(&cluster, &node, key, Consent::of(yes)).await
        }
        Verb::Root {
            verb: RootVerb::Create(arguments),
        } => root::create(&arguments, &place.namespace),
        Verb::Install(arguments) => install::run(&place, &arguments).await,
        Verb::Uninstall(arguments) => uninstall::run(&place, &arguments).await,
    }
}

/// Prints lines of text. A reader that has read enough is no fault.
pub(crate) fn say(text: &str) -> Result<()> {
    let text = printable::printable_lines(text);
    if cfg!(test) {
        // Nothing but this macro's output is kept apart by the test harness.
        println!("{text}");
        return Ok(());
    }
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("print to standard output: is the disk full?"),
    }
}
