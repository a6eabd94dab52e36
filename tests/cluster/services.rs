//! What people run on a pod network: Services of all kinds, host ports, DNS, probes, webhooks, jobs.

mod endings;
mod host_port;
mod iptables;
mod jobs;
mod large;
mod names;
mod nodes;
mod reach;
mod watch;

use sotto_tests::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let modules = [
        reach::cases(),
        host_port::cases(),
        iptables::cases(),
        names::cases(),
        nodes::cases(),
        jobs::cases(),
        large::cases(),
        endings::cases(),
        watch::cases(),
    ];
    modules.into_iter().flatten().collect()
}
