//! Foreign text, made fit for a terminal.
//!
//! Names and reasons come from the store and from peers. A control character among them could clear
//! the screen, write over a line or answer as if it were typed; Unicode's invisible ones can show a
//! line in another order than it has.

use anyhow::Context;
use serde::Serialize;

/// The text with such characters spelled out, as `\u{1b}`: one line.
pub(crate) fn printable(text: &str) -> String {
    spell(text, char::is_control, escape)
}

/// As [`printable`], of a text of several lines. Whoever makes such a text has made its parts
/// printable; this is the last look before the terminal.
pub(crate) fn printable_lines(text: &str) -> String {
    spell(text, |c| c.is_control() && c != '\n', escape)
}

fn escape(c: char, shown: &mut String) {
    shown.extend(c.escape_unicode());
}

/// A value as JSON, with such characters as JSON writes them: it is the same value.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let is_control = |c: char| c.is_control() && c != '\n';
    Ok(spell(&text, is_control, |c, shown| {
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    }))
}

/// A value as YAML. Where its writer would leave such characters as they are it is written as JSON,
/// which every reader of YAML reads.
///
/// # Errors
/// When it cannot be written at all.
pub(crate) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value).context("write as YAML")?;
    let is_fit = |c: char| c == '\n' || !(c.is_control() || is_invisible(c));
    if text.chars().all(is_fit) {
        Ok(text)
    } else {
        Ok(json(value)?)
    }
}

fn spell(
    text: &str,
    is_control: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) || is_invisible(c) {
            write(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// What Unicode 17 calls default-ignorable (zero-width characters, bidirectional controls, tags,
/// fillers), line separators and annotation marks.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::{json, printable, yaml};

    const FOREIGN: &str = "mallory\u{1b}[2J\u{7f}\u{9b}31m\r\n\u{202e}";

    #[test]
    fn bi16_foreign_text_has_no_control_characters() {
        assert_eq!(
            printable(FOREIGN),
            r"mallory\u{1b}[2J\u{7f}\u{9b}31m\u{d}\u{a}\u{202e}"
        );
        assert_eq!(printable("Zoë, 日本 -> \\"), "Zoë, 日本 -> \\");
    }

    #[test]
    fn bi16_json_has_none_either_and_is_the_same_value() {
        let text = json(&[FOREIGN]).unwrap();

        assert_eq!(
            text,
            "[\n  \"mallory\\u001b[2J\\u007f\\u009b31m\\r\\n\\u202e\"\n]"
        );
        assert_eq!(
            serde_json::from_str::<Vec<String>>(&text).unwrap(),
            [FOREIGN]
        );
    }

    #[test]
    fn bi16_yaml_has_none_either_and_is_the_same_value() {
        for foreign in [FOREIGN, "\u{202e}", "plain", "two\nlines", "- a: b #c"] {
            let text = yaml(&[foreign]).unwrap();

            assert!(
                text.chars().all(|c| c == '\n' || !c.is_control()),
                "{text:?}"
            );
            assert!(!text.contains('\u{202e}'), "{text:?}");
            assert_eq!(
                serde_saphyr::from_str::<Vec<String>>(&text).unwrap(),
                [foreign]
            );
        }
    }
}
