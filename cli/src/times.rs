//! The clock of this machine, and moments as people read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use node_identity::UnixTime;

use crate::table::span;

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}

/// A moment that an object carries.
pub(crate) fn unix(time: &Time) -> UnixTime {
    UnixTime(u64::try_from(time.0.as_second()).unwrap_or(0))
}

/// How long ago it was: `5m 3s`, or `-`.
pub(crate) fn age(time: Option<&Time>, now: UnixTime) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| span(now.duration_since(unix(time)).as_secs()),
    )
}

/// A date with its distance: `2026-01-02T03:04:05Z, in 2h 3m`.
pub(crate) fn date(time: UnixTime, now: UnixTime) -> String {
    let distance = if time >= now {
        format!("in {}", span(time.duration_since(now).as_secs()))
    } else {
        format!("{} ago", span(now.duration_since(time).as_secs()))
    };
    match i64::try_from(time.0).map(Timestamp::from_second) {
        Ok(Ok(stamp)) => format!("{stamp}, {distance}"),
        Ok(Err(_)) | Err(_) => format!("{time}, {distance}"),
    }
}

#[cfg(test)]
mod tests {
    use node_identity::UnixTime;

    use super::date;

    #[test]
    fn a_date_says_how_far_it_is() {
        assert_eq!(
            date(UnixTime(1_800_000_060), UnixTime(1_800_000_000)),
            "2027-01-15T08:01:00Z, in 1m 0s"
        );
        assert_eq!(
            date(UnixTime(1_800_000_000), UnixTime(1_800_000_005)),
            "2027-01-15T08:00:00Z, 5s ago"
        );
        assert!(date(UnixTime(u64::MAX), UnixTime(0)).contains("after 1970"));
    }
}
