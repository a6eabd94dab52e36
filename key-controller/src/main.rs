//! `sotto-controller`: knows which node is who, allocates pod ranges, signs certificates and the
//! revocation list.
//!
//! Reading order: `arguments` (what can be asked), `app` (what carries it out), `decide` (which
//! request is granted; pure), `ledger` (the only memory), `signer` (the only user of the root's
//! private key), `reconcile` (store and ledger brought together).

mod allocate;
mod app;
mod arguments;
mod brake;
mod config;
mod decide;
mod evidence;
mod http;
mod hygiene;
mod kubernetes;
mod ledger;
mod metrics;
mod naming;
mod reconcile;
mod recover;
mod revocations;
mod signer;
mod state;
mod tally;
mod tokens;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    match app::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
