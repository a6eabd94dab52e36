//! The demo: two nodes, a switch with Eve on it, Mallory, and a killed daemon. `make demo`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sotto_tests::isolation;
use sotto_tests::story::{self, Sink, Store};

/// Shows on this machine what Sotto promises, in network namespaces that are gone afterwards.
#[derive(Parser)]
struct Arguments {
    /// Print one JSON object at the end instead of the story.
    #[arg(long)]
    json: bool,
    /// Keep the objects in a Kubernetes API server instead of a folder: `make demo-kubernetes`.
    #[arg(long)]
    kubernetes: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    isolation::require()?;
    isolation::enter()?;
    let sink = if arguments.json {
        Sink::Json
    } else {
        Sink::Terminal
    };
    let store = if arguments.kubernetes {
        Store::Kubernetes
    } else {
        Store::Folder
    };
    let report = story::tell(sink, store)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{}", report.table());
        println!(
            "{:.1} s. Everything the demo made is gone.",
            report.seconds()
        );
    }
    if report.is_kept() {
        return Ok(ExitCode::SUCCESS);
    }
    for broken in report.broken() {
        eprintln!("demo: not as promised: {broken}");
    }
    Ok(ExitCode::FAILURE)
}
