//! The last run's tunnel keys: in use once they are believed, and until then the node has none.

use std::time::Duration;

use node_identity::{Floor, UnixTime};

use super::{World, generation};

#[test]
fn without_a_root_the_last_runs_key_is_not_in_use_until_the_root_comes() {
    let mut world = World::new();
    let before = generation(&world.enrolled());
    let roots = std::mem::take(&mut world.shown.roots);
    world.pass(Duration::from_secs(5));

    let mut daemon = world.start();
    world.round(&mut daemon);
    assert!(daemon.credentials.generations().is_empty(), "not ready");
    assert!(
        daemon
            .credentials
            .last_run_refused
            .said
            .contains("no pinned root")
    );
    world.shown.roots = roots;
    world.round(&mut daemon);

    assert_eq!(generation(&daemon), before);
}

#[test]
fn behind_time_the_last_runs_key_is_not_in_use_until_the_clock_is_right() {
    let mut world = World::new();
    let before = generation(&world.enrolled());
    let right = world.now.wall;
    world.now.wall = UnixTime(right.0 - 7200);
    world.now.moment += Duration::from_secs(5);

    let mut daemon = world.start();
    world.round(&mut daemon);
    assert!(daemon.credentials.generations().is_empty(), "not ready");
    drop(daemon);
    let mut daemon = world.start();
    world.now.wall = right.plus(Duration::from_secs(7));
    world.now.moment += Duration::from_secs(2);
    world.round(&mut daemon);

    assert_eq!(generation(&daemon), before);
}

#[test]
fn in_place_of_a_last_runs_key_that_is_never_believed_again_a_new_one_is_made() {
    let mut world = World::new();
    let mut first = world.enrolled();
    let before = generation(&first);
    world.pass(Duration::from_secs(12 * 3600));
    let keys = std::fs::read(world.tunnel_keys()).unwrap();
    world.round(&mut first);
    let newest = generation(&first);
    assert!(newest > before);
    // As if a later daemon had not been able to write its keys.
    kept_files::write(&world.tunnel_keys(), &keys, 0o600).unwrap();
    let newest_envelope = &first.credentials.generations()[0].envelope;
    let mut floor = Floor::default();
    floor.observe(
        &first
            .peers
            .judge_own(newest_envelope, world.now.wall)
            .unwrap(),
    );

    let mut daemon = world.start_with(floor);
    assert!(daemon.credentials.generations().is_empty(), "not ready");
    world.pass(Duration::from_secs(1));
    world.round(&mut daemon);

    assert!(generation(&daemon) > newest);
}
