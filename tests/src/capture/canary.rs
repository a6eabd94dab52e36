//! Random bytes that only the sender and the receiver should ever see.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

/// Length in bytes: long enough that chance never makes one (2^-256 at each offset).
const LENGTH: usize = 32;

/// Bytes of a file that are searched at a time.
const CHUNK: usize = 1 << 20;

/// 32 random bytes to be repeated in a payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary([u8; LENGTH]);

impl Canary {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the kernel has no randomness.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).context("make a canary")?;
        Ok(Self(bytes))
    }

    /// A printable one, for pages that people look at and for names: 32 small letters and digits.
    ///
    /// # Errors
    /// When the kernel has no randomness.
    pub fn printable() -> Result<Self> {
        let Self(mut bytes) = Self::new()?;
        for byte in &mut bytes {
            let digit = *byte % 36;
            *byte = if digit < 26 {
                b'a' + digit
            } else {
                b'0' + digit - 26
            };
        }
        Ok(Self(bytes))
    }

    /// The bytes, once.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes repeated to a length.
    pub fn repeated(&self, length: usize) -> Vec<u8> {
        self.0.iter().copied().cycle().take(length).collect()
    }

    /// How often the bytes are in a buffer, at any offset.
    pub fn count(&self, haystack: &[u8]) -> usize {
        let [first, rest @ ..] = &self.0;
        haystack
            .windows(LENGTH)
            .filter(|window| {
                window
                    .split_first()
                    .is_some_and(|(start, tail)| start == first && tail == rest)
            })
            .count()
    }

    /// How often the bytes are in a file, at any offset.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count_in(&self, file: &Path) -> Result<usize> {
        let mut source = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let mut buffer = Vec::with_capacity(CHUNK + LENGTH);
        let mut found = 0;
        loop {
            let limit = u64::try_from(CHUNK)?;
            let mut chunk = Read::by_ref(&mut source).take(limit);
            if chunk.read_to_end(&mut buffer)? == 0 {
                return Ok(found);
            }
            found += self.count(&buffer);
            // A canary across two chunks is whole in the second; none is counted twice.
            let tail = buffer.len().min(LENGTH - 1);
            buffer.drain(..buffer.len() - tail);
        }
    }
}

impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for byte in self.0 {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_at_every_offset_and_across_chunks() {
        let canary = Canary::new().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();

        for offset in [0, 1, 63, CHUNK - 31, CHUNK - 1, CHUNK, CHUNK + 7] {
            let mut bytes = vec![0; offset];
            bytes.extend(canary.bytes());
            bytes.extend([0; 100]);
            std::fs::write(file.path(), &bytes).unwrap();

            assert_eq!(canary.count_in(file.path()).unwrap(), 1, "at {offset}");
        }
    }

    #[test]
    fn a_repeated_canary_is_counted_each_time_and_a_broken_one_never() {
        let canary = Canary::new().unwrap();
        let mut bytes = canary.repeated(LENGTH * 4 + 5);

        assert_eq!(canary.count(&bytes), 4);

        for start in (0..bytes.len()).step_by(LENGTH) {
            bytes[start] ^= 1;
        }
        assert_eq!(canary.count(&bytes), 0);
    }
}
