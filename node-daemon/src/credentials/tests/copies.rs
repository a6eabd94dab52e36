//! What was in a memory that was copied is neither used, shown nor found again.

use std::time::Duration;

use super::{Daemon, World, generation};

/// A daemon with a generation in use and one that waits for the store, when its memory is copied.
fn copied(world: &mut World) -> Daemon {
    let mut daemon = world.enrolled();
    world.pass(Duration::from_secs(12 * 3600));
    daemon.credentials.handle_time(&daemon.peers, world.now);
    assert!(daemon.credentials.candidate.is_some());
    daemon.credentials.handle_memory_copied().unwrap();
    daemon
}

#[test]
fn p10_a_tunnel_key_that_waited_while_memory_was_copied_is_never_used() {
    let mut world = World::new();
    let mut daemon = copied(&mut world);

    assert!(
        daemon
            .credentials
            .poll_install(&daemon.peers, world.now)
            .is_none()
    );
    assert_eq!(daemon.credentials.poll_publish(world.now.moment), None);
}

#[test]
fn p10_a_restart_finds_no_tunnel_key_that_was_copied() {
    let mut world = World::new();
    drop(copied(&mut world));

    assert!(!world.tunnel_keys().exists());
    assert_eq!(generation(&world.start()), 0);
}

#[test]
fn p10_only_a_key_made_after_the_copy_is_shown() {
    let mut world = World::new();
    let before = world.now;
    let mut daemon = copied(&mut world);
    world.pass(Duration::from_secs(1));

    world.round(&mut daemon);

    assert!(daemon.credentials.generations()[0].made > before.wall);
    let newest = daemon.credentials.generations()[0].envelope.to_der();
    assert_eq!(world.shown.nodes[0].envelopes, [newest]);
}
