//! Columns of text, and numbers as people write them.

use crate::printable::printable;

/// Lays rows out in columns, two spaces apart; the first row is the heading. The last cell of a row may
/// be longer than its column.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter(|row| row.len() > column + 1)
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Bytes with a unit: `1.4 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut whole, mut tenths, mut unit) = (count, 0, "B");
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        (tenths, whole, unit) = (whole % 1000 / 100, whole / 1000, next);
    }
    format!("{whole}.{tenths} {unit}")
}

/// A span of time in its two largest units: `3h 12m`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        86_400.. => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The span from now to a date, or how long it has passed.
pub(crate) fn until(date: u64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    if date >= now {
        format!("in {}", span(date - now))
    } else {
        format!("{} ago", span(now - date))
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, span, table};

    #[test]
    fn bi16_foreign_text_cannot_drive_a_terminal() {
        let rows = [vec![
            "mallory\u{1b}[2J\r\n".to_owned(),
            "\u{9b}31m".to_owned(),
        ]];

        let text = table(&rows);

        assert_eq!(text, r"mallory\u{1b}[2J\u{d}\u{a}  \u{9b}31m");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["NODE".to_owned(), "TUNNEL".to_owned()],
            vec!["mallory".to_owned(), "up".to_owned()],
        ];

        assert_eq!(table(&rows), "NODE     TUNNEL\nmallory  up");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [bytes(0), bytes(999), bytes(1400), bytes(2_500_000)],
            ["0 B", "999 B", "1.4 kB", "2.5 MB"]
        );
        assert_eq!(
            [span(5), span(125), span(7260), span(90_000)],
            ["5s", "2m 5s", "2h 1m", "1d 1h"]
        );
    }
}
