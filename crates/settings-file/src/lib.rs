//! The settings file of a program, from bytes to its shape, or one line that says what to mend.
//!
//! Owns what every settings file has in common: its size, its encoding, and how a key that is
//! unknown, doubled, missing or of another type is told on one line (the parser's own message is a
//! drawing of several). Which keys there are and what their values mean is the program's; reading
//! the file too.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// The longest file that is read, in bytes; a real one has under a hundred lines.
pub const SIZE_LIMIT: usize = 1 << 20;

/// Why a file's bytes are refused, in one line.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The bytes are no text.
    #[error("read configuration {}: {fault}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What is wrong and what cures it.
        fault: &'static str,
    },
    /// The text is no TOML, or a key is unknown, doubled or of another type.
    #[error("read configuration {}, line {line}, `{text}`: {fault}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// That line.
        text: String,
        /// The parser's words.
        fault: String,
    },
    /// A fault of the file as a whole: a key is missing.
    #[error("read configuration {}: {fault}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        fault: String,
    },
}

/// Parses a file's bytes; `path` is for messages.
///
/// # Errors
/// The first thing wrong with them.
pub fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, SettingsError> {
    let not_text = |fault| SettingsError::NotText {
        path: path.to_owned(),
        fault,
    };
    if bytes.len() > SIZE_LIMIT {
        return Err(not_text("longer than 1 MiB, is this the right file?"));
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        return Err(not_text(
            "starts with a byte-order mark, save it as UTF-8 without one",
        ));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| not_text("is not UTF-8 text, save it as UTF-8"))?;
    toml::from_str(text).map_err(|error| located(path, text, &error))
}

fn located(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let path = path.to_owned();
    let fault = error.message().lines().collect::<Vec<_>>().join(", ");
    // The parser lists the keys that it knows.
    let fault = shortened(&fault, 1000);
    let Some(span) = error.span().filter(|span| *span != (0..0)) else {
        return SettingsError::Incomplete { path, fault };
    };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let text = text.lines().nth(line - 1).unwrap_or_default().trim();
    SettingsError::Syntax {
        path,
        line,
        text: one_line(text),
        fault,
    }
}

/// Enough of a text to recognise it by, on one line of a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    // A guess: two rows of a narrow terminal.
    shortened(text, 160)
}

fn shortened(text: &str, longest: usize) -> String {
    let mut short: String = text
        .chars()
        .take(longest)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only their names and types matter")]
    struct Shape {
        port: u16,
        name: String,
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = parse::<Shape>(Path::new("a.toml"), bytes).unwrap_err();
        let text = error.to_string();
        assert!(std::error::Error::source(&error).is_none(), "{text}");
        text
    }

    #[test]
    fn bi05_each_fault_is_one_line_with_file_key_and_value() {
        for (text, expected) in [
            (
                "port = 1\nname = \"a\"\ncolour = \"red\"",
                "line 3, `colour = \"red\"`: unknown field `colour`, expected",
            ),
            ("name = \"a\"", "a.toml: missing field `port`"),
            ("", "a.toml: missing field `port`"),
            (
                "port = \"1\"\nname = \"a\"",
                "line 1, `port = \"1\"`: invalid type",
            ),
            (
                "port = 70000\nname = \"a\"",
                "line 1, `port = 70000`: invalid value",
            ),
            (
                "port = 1\nport = 2\nname = \"a\"",
                "line 2, `port = 2`: duplicate key",
            ),
            ("port = 1\nname = \"a", "line 2, `name = \"a`: "),
        ] {
            let refused = refusal(text.as_bytes());

            assert!(
                refused.contains(expected),
                "`{expected}` is not in `{refused}`"
            );
            assert!(refused.contains("a.toml"), "{refused}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
    }

    #[test]
    fn bi05_bytes_that_are_no_text_are_refused() {
        assert!(refusal(b"\xef\xbb\xbfport = 1").contains("byte-order mark"));
        assert!(refusal(b"port = \xff\xfe").contains("not UTF-8"));
        assert!(refusal(&vec![b' '; SIZE_LIMIT + 1]).contains("longer than 1 MiB"));
    }

    #[test]
    fn bi16_foreign_text_cannot_drive_a_terminal() {
        let refused = refusal("port = 1\nname = \"a\"\n\"\\u001b[2J\\u009b\" = 1".as_bytes());

        assert!(!refused.chars().any(char::is_control), "{refused:?}");
    }

    proptest! {
        #[test]
        fn i5_no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<Shape>(Path::new("a.toml"), &bytes).map_err(|error| error.to_string());
        }
    }
}
