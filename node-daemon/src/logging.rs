//! The daemon's log.

pub(crate) use service_log::LogFormat;

/// boringtun reports idle sessions that expire as errors; what happens to a session is told by our
/// own events.
const WITHOUT_BORINGTUN: &str = "boringtun=off";

/// Starts logging; a second call changes nothing.
pub(crate) fn start(format: LogFormat) {
    service_log::start(format, &[WITHOUT_BORINGTUN]);
}
