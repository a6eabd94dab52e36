//! For tests: a network namespace of a thread's own, gone with the thread.

use std::process::Command;
use std::thread;

/// Runs the test in a thread with a network namespace of its own, loopback up.
pub(crate) fn in_namespace<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let inside = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("make a namespace");
        ip("link set lo up");
        test()
    };
    match thread::spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs `ip` with these words in the thread's namespace.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split(' '))
        .status()
        .expect("run ip");
    assert!(status.success(), "ip {words}");
}
