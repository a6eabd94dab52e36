//! PEM, as certificate signing requests carry it: one block, standard base64.

use crate::{decode, encode};

/// Longest line of base64, RFC 7468 section 2.
const LINE: usize = 64;

/// Writes one block.
#[must_use]
pub fn write(label: &str, der: &[u8]) -> Vec<u8> {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, letter) in encode(der).chars().enumerate() {
        if index > 0 && index.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text.into_bytes()
}

/// Reads what is exactly one block, in lines of any length.
#[must_use]
pub fn read(label: &str, text: &[u8]) -> Option<Vec<u8>> {
    let body = std::str::from_utf8(text)
        .ok()?
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    decode(&body.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn one_block_is_read_and_everything_else_is_refused() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![7; length];
            assert_eq!(read("X", &write("X", &der)), Some(der));
        }

        let one = String::from_utf8(write("X", &[7; 60])).unwrap();
        for wrong in [
            one.replace("BEGIN X", "BEGIN Y"),
            one.replace("-----END X-----", ""),
            format!("{one}{one}"),
            one.replace('B', "*"),
            String::new(),
        ] {
            assert_eq!(read("X", wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read("X", &[0xff, 0xfe]), None);
    }
}
