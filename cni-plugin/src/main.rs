//! `sotto-cni`: the program that a container runtime executes to attach pods to Sotto.
//!
//! It stands alone: it reads what the daemon left in `node.json`, keeps its reservations as files and
//! needs no daemon to answer. One file per verb (`add` to `version`); `ipam` owns addresses, `link`
//! the kernel's side of one pod, `app` reads the call and prints the answer. Words and formats are in
//! the crate `cni-protocol`.

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

fn main() -> std::process::ExitCode {
    app::run()
}
