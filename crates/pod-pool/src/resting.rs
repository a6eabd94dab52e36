//! Addresses that rest: a file's name says since when, its content which.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::held::read;
use crate::{PoolError, REST, names_in, remove};

/// What rests, oldest first.
pub(crate) struct Resting {
    entries: std::collections::VecDeque<Entry>,
}

struct Entry {
    path: PathBuf,
    addresses: Vec<IpAddr>,
}

/// Name of a reservation that rests since `now`; names sort by time.
pub(crate) fn name(now: Duration, link: &str) -> String {
    format!("{:020}-{link}.json", now.as_millis())
}

impl Resting {
    /// Reads what still rests and removes what has rested long enough.
    pub(crate) fn read(folder: &Path, now: Duration) -> Result<Self, PoolError> {
        let mut names = names_in(folder)?;
        names.sort();
        let mut entries = std::collections::VecDeque::new();
        for name in names {
            let path = folder.join(&name);
            let addresses = since(&name)
                .filter(|since| now.saturating_sub(*since) < REST)
                .and_then(|_| read(&path))
                .map(|reservation| reservation.addresses);
            match addresses {
                Some(addresses) => entries.push_back(Entry { path, addresses }),
                None => remove(&path)?,
            }
        }
        Ok(Self { entries })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.addresses.contains(&address))
    }

    /// Ends the longest rest; `false` when nothing rests.
    pub(crate) fn wake_oldest(&mut self) -> Result<bool, PoolError> {
        match self.entries.pop_front() {
            Some(entry) => remove(&entry.path).map(|()| true),
            None => Ok(false),
        }
    }
}

fn since(name: &str) -> Option<Duration> {
    let (milliseconds, _) = name.split_once('-')?;
    milliseconds.parse().ok().map(Duration::from_millis)
}
