//! `sotto-cni`: the program that a container runtime executes to attach pods to Sotto.
//!
//! It stands alone: it reads what the daemon left in `node.json`, keeps its reservations as files and
//! needs no daemon to answer. One file per verb (`add` to `version`); `link` owns the kernel's side
//! of one pod, `app` reads the call and prints the answer, `watchdog` ends a call that hangs, `ipam`
//! lets another plugin assign addresses. Words and formats are in the crate `cni-protocol`, addresses
//! in `pod-pool`.

mod add;
mod app;
mod check;
mod deadline;
mod del;
mod failure;
mod gc;
mod guard;
mod input;
mod ipam;
mod link;
mod netlink;
mod netns;
mod node;
mod status;
mod version;
mod watchdog;

fn main() -> std::process::ExitCode {
    app::run()
}
