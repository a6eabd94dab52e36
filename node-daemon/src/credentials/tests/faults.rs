//! What cannot be read or written for a while delays this node's papers, and no more.

use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::CERTIFICATE_FILE;
use super::super::refused::TRY_AGAIN;
use super::{World, generation};
use crate::enrol::Ask;
use crate::generation::Due;
use crate::marks::MARK_FILE;
use crate::sample;

#[test]
fn a_token_that_cannot_be_read_yet_only_delays_the_request() {
    let mut world = World::new();
    let mut daemon = world.start();
    let token = sample::token_file(&world.config).to_owned();
    let whole = std::fs::read(&token).unwrap();
    kept_files::write(&token, &whole, 0o644).unwrap();

    assert_eq!(world.round(&mut daemon), None);
    assert!(daemon.credentials.request_refused.said.contains("token"));
    kept_files::write(&token, &whole[..10], 0o600).unwrap();
    world.pass(TRY_AGAIN);
    assert_eq!(world.round(&mut daemon), None);
    kept_files::write(&token, &whole, 0o600).unwrap();
    assert_eq!(world.round(&mut daemon), None, "not each second");
    world.pass(TRY_AGAIN);

    assert!(matches!(world.round(&mut daemon), Some(Ask::Submit(_))));
}

#[test]
fn a_certificate_that_cannot_be_kept_is_not_used_until_it_can() {
    let mut world = World::new();
    let mut daemon = world.start();
    let Some(Ask::Submit(request)) = world.round(&mut daemon) else {
        panic!("nothing was asked")
    };
    world.issue(&request);
    let path = world.config.state_directory.join(CERTIFICATE_FILE);
    std::fs::create_dir(&path).unwrap();

    world.round(&mut daemon);
    assert!(daemon.credentials.certificate().is_none());
    assert_eq!(generation(&daemon), 0);
    std::fs::remove_dir(&path).unwrap();
    world.pass(TRY_AGAIN);
    world.round(&mut daemon);

    assert!(daemon.credentials.certificate().is_some() && path.exists());
}

#[test]
fn a_generation_that_was_asked_for_is_made_once_it_can_be() {
    let mut world = World::new();
    let mut daemon = world.enrolled();
    let before = generation(&daemon);
    world.pass(Duration::from_secs(1));
    let mark = world.config.state_directory.join(MARK_FILE);
    std::fs::remove_file(&mark).unwrap();
    std::fs::create_dir(&mark).unwrap();

    daemon.credentials.want_generation(Due::Copied);
    world.round(&mut daemon);
    assert_eq!(generation(&daemon), before, "the mark cannot be written");
    std::fs::remove_dir(&mark).unwrap();
    world.pass(TRY_AGAIN);
    world.round(&mut daemon);
    let after = generation(&daemon);
    world.pass(TRY_AGAIN);
    world.round(&mut daemon);

    assert!(after > before);
    assert_eq!(generation(&daemon), after, "once");
}

#[test]
fn bi13_what_stands_in_place_of_a_paper_is_set_aside_and_the_daemon_goes_on() {
    let mut world = World::new();
    world.enrolled();
    let state = &world.config.state_directory;
    let papers = [
        state.join(CERTIFICATE_FILE),
        state.join(MARK_FILE),
        world.tunnel_keys(),
    ];
    let folder = |path: &Path| std::fs::create_dir_all(path.join("full")).unwrap();
    // A hole: nothing is written.
    let endless = |path: &Path| {
        let file = std::fs::File::create(path).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    let pipe = |path: &Path| mkfifo(path, Mode::S_IRUSR).unwrap();

    let kinds: [&dyn Fn(&Path); 3] = [&folder, &endless, &pipe];
    for (kind, make) in kinds.into_iter().enumerate() {
        for path in &papers {
            kept_files::clear(path).unwrap();
            make(path);
        }

        let mut daemon = world.start();

        assert!(daemon.credentials.certificate().is_none(), "kind {kind}");
        assert_eq!(generation(&daemon), 0, "kind {kind}");
        for path in &papers {
            assert!(!path.exists(), "kind {kind}: {}", path.display());
        }
        world.pass(Duration::from_secs(1));
        world.round(&mut daemon);
        assert!(daemon.credentials.certificate().is_some() && generation(&daemon) > 0);
    }
}
