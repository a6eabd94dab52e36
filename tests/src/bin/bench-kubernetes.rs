//! What Sotto costs an API server, by the number of nodes. `make bench-kubernetes`.
//!
//! Each size is a cluster of its own: etcd, kube-apiserver, the controller, and as many daemons'
//! stores. What the figures mean is in BENCHMARKS.md.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sotto_tests::isolation;
use sotto_tests::kubernetes::load::{Load, table};

/// Measures the load of many daemons on one API server.
#[derive(Parser)]
struct Arguments {
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 100, 200, 500])]
    nodes: Vec<usize>,
    /// Seconds of rest.
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// Changes of a key.
    #[arg(long, default_value_t = 20)]
    changes: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-kubernetes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    isolation::require()?;
    // A daemon has four connections or so, and the API server has their other ends.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the limit of open files")?;
    isolation::enter()?;
    let mut loads = Vec::new();
    let measured = arguments.nodes.iter().copied().try_for_each(|nodes| {
        let load = Load {
            nodes,
            rest: Duration::from_secs(arguments.rest),
            changes: arguments.changes,
        };
        let measured = load.measure();
        loads.push(measured.with_context(|| format!("measure {nodes} nodes"))?);
        Ok(())
    });
    println!("{}", table(&loads));
    measured
}
