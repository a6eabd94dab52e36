//! The highest generation this node ever used: what it has once signed it never goes below.
//!
//! It is on disk before the generation is, so that no crash can make one come back. (What other
//! nodes have used is the floor's business, `peers/disk.rs`.)

use std::path::{Path, PathBuf};

use node_identity::{Generation, UnixTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::error;

use kept_files::{FileError, Loaded};

/// The file's name in the state directory.
pub(crate) const MARK_FILE: &str = "generation.json";

/// Most bytes of it: two numbers.
const MARK_LIMIT: u64 = 4096;

/// Why there is no next generation.
#[derive(Debug, Error)]
pub(crate) enum MarkError {
    /// It cannot be put on disk.
    #[error("keep the generation mark")]
    Unkept(#[source] FileError),
    /// The last number there is was used. Peers remember it for as long as they know this node, so
    /// that only another node UID begins anew.
    #[error(
        "make a generation: the last number is used, see {}; revoke this node and join it again with a new token",
        path.display()
    )]
    UsedUp {
        /// The mark's file.
        path: PathBuf,
    },
}

/// The mark and the file that remembers it.
#[derive(Debug)]
pub(crate) struct GenerationMark {
    path: PathBuf,
    highest: Option<Generation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkFile {
    version: u32,
    generation: Generation,
}

impl GenerationMark {
    /// Reads the mark. A file that cannot be understood is set aside and said so: the clock then
    /// stands in for it, as on a new node.
    ///
    /// # Errors
    /// When the state directory cannot be read or written.
    pub(crate) fn load(state_directory: &Path) -> Result<Self, FileError> {
        let path = state_directory.join(MARK_FILE);
        let highest = match kept_files::load(&path, MARK_LIMIT, parse)? {
            Loaded::Absent => None,
            Loaded::Whole(generation) => Some(generation),
            Loaded::Refused { fault, aside } => {
                error!(file = %path.display(), fault, aside = %aside.display(), "Generation mark refused, the clock stands in for it");
                None
            }
        };
        Ok(Self { path, highest })
    }

    /// Takes the next generation, above every earlier one and near the clock; it is on disk before
    /// this returns.
    ///
    /// # Errors
    /// When the file cannot be written, or no number is left: then no generation may be used.
    pub(crate) fn advance(
        &mut self,
        published: Option<Generation>,
        now: UnixTime,
    ) -> Result<Generation, MarkError> {
        let previous = self.highest.max(published);
        let next = Generation::next(now, previous);
        if Some(next) <= previous {
            return Err(MarkError::UsedUp {
                path: self.path.clone(),
            });
        }
        let file = MarkFile {
            version: 1,
            generation: next,
        };
        // Two numbers always serialize; an empty file would be refused by name at the next start.
        kept_files::write(
            &self.path,
            &serde_json::to_vec(&file).unwrap_or_default(),
            0o600,
        )
        .map_err(MarkError::Unkept)?;
        self.highest = Some(next);
        Ok(next)
    }
}

fn parse(bytes: &[u8]) -> Result<Generation, String> {
    let file: MarkFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version == 1 {
        Ok(file.generation)
    } else {
        Err(format!("version {} is unknown here", file.version))
    }
}

#[cfg(test)]
mod tests {
    use node_identity::{Generation, UnixTime};

    use super::{GenerationMark, MARK_FILE};

    #[test]
    fn generations_only_rise_whatever_clock_and_store_say() {
        let directory = tempfile::tempdir().unwrap();
        let mut mark = GenerationMark::load(directory.path()).unwrap();

        let first = mark.advance(None, UnixTime(1000)).unwrap();
        let clock_back = mark.advance(None, UnixTime(5)).unwrap();
        let published = mark
            .advance(Some(Generation(5000)), UnixTime(1002))
            .unwrap();
        let restarted = GenerationMark::load(directory.path())
            .unwrap()
            .advance(None, UnixTime(1003))
            .unwrap();

        assert_eq!(
            [first.0, clock_back.0, published.0, restarted.0],
            [1000, 1001, 5001, 5002]
        );
    }

    #[test]
    fn a_generation_is_refused_and_never_repeated_when_numbers_run_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut mark = GenerationMark::load(directory.path()).unwrap();
        let before = Some(Generation(u64::MAX - 1));

        let last = mark.advance(before, UnixTime(1000)).unwrap();
        let repeated = mark.advance(None, UnixTime(1000)).unwrap_err().to_string();
        let mut restarted = GenerationMark::load(directory.path()).unwrap();

        assert_eq!(last, Generation(u64::MAX));
        assert!(repeated.contains("revoke this node"), "{repeated}");
        assert!(restarted.advance(None, UnixTime(1000)).is_err());
    }

    #[test]
    fn bi13_a_mark_broken_at_any_byte_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MARK_FILE);
        let load = || GenerationMark::load(directory.path()).unwrap().highest;
        GenerationMark::load(directory.path())
            .unwrap()
            .advance(None, UnixTime(1000))
            .unwrap();
        let whole = std::fs::read(&path).unwrap();

        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(load(), None);
            let mut flipped = whole.clone();
            flipped[at] ^= 0x80;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(load(), None);
        }
        std::fs::write(
            &path,
            String::from_utf8(whole)
                .unwrap()
                .replace("\"version\":1", "\"version\":2"),
        )
        .unwrap();
        assert_eq!(load(), None);
    }
}
