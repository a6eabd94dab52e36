//! The guard, attacked: a pod packet goes through the tunnel or is dropped, whatever is done to
//! the daemon, the tables, the routes or the device, and whatever a pod or a neighbour sends.
//!
//! Most tests run [`load::Load`] (canaries in both families and directions, to pods and to a
//! Service) while they break something, and search the switch's capture for the canary.

mod faults;
mod flows;
mod life;
mod load;
mod managers;
mod neighbours;
mod pair;
mod pods;
mod ports;
mod raw;
mod repairs;
mod uninstall;

use sotto_tests::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    [
        faults::cases(),
        repairs::cases(),
        managers::cases(),
        pods::cases(),
        ports::cases(),
        neighbours::cases(),
        flows::cases(),
        life::cases(),
        uninstall::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
