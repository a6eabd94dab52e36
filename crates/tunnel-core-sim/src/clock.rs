//! One time for everything: the simulator's, boringtun's, and each node's idea of the time of day.
//!
//! boringtun reads `Instant` (mocked here) and, when a `Tunn` is made, the system's wall clock (not
//! mocked); handshake timestamps count from there. So a `Tunn` is made at a mocked instant that lies
//! as far back as the system's clock is behind the node's, and its timestamps come out as the node's
//! own clock would have them, also after that was stepped.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use mock_instant::MockClock;
use node_identity::UnixTime;
use tunnel_core::moment::Moment;

/// The time of day when every simulation begins: far ahead of the system's, so that a mocked instant
/// for it lies in the past.
pub const START: UnixTime = UnixTime(2_400_000_000);

/// The time since boot when every simulation begins.
pub const BEGIN: Moment = Moment::since_boot(Duration::from_secs(1_000));

/// Where boringtun's clock stands at boot: beyond any distance between two wall clocks.
const MOCK_BOOT: Duration = Duration::from_secs(4_800_000_000);

/// How exact a timestamp is. Making a `Tunn` takes microseconds, unless the thread is interrupted.
const EXACT: Duration = Duration::from_millis(1);

thread_local! {
    static WALL: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sets the time for whatever this thread does next, for a node whose clock shows `wall`.
pub fn set(now: Moment, wall: Duration) {
    MockClock::set_time(MOCK_BOOT + now.as_since_boot());
    WALL.set(wall);
}

/// Makes a `Tunn` whose timestamps start at the present node's wall clock.
pub fn around_tunn(make: &mut dyn FnMut()) {
    let now = MockClock::time();
    loop {
        let began = system();
        MockClock::set_time((now + began).saturating_sub(WALL.get()));
        make();
        if system().saturating_sub(began) < EXACT {
            break;
        }
    }
    MockClock::set_time(now);
}

/// The time of day, in whole seconds.
#[must_use]
pub fn seconds(wall: Duration) -> UnixTime {
    UnixTime(wall.as_secs())
}

fn system() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("the system's clock is past 1970")
}
