//! Tables and relative times for the terminal.

use anstyle::Style;
use jiff::Timestamp;

const HEADING: Style = Style::new().bold();

/// Formats rows under headings. Each column is as wide as its widest cell.
pub(crate) fn text<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(headings[column].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = format!("{HEADING}{}{HEADING:#}\n", line(headings));
    for row in rows {
        text += &line(std::array::from_fn(|column| row[column].as_str()));
        text.push('\n');
    }
    text
}

/// Formats a moment in the past, such as `3m ago`.
pub(crate) fn ago(moment: Timestamp) -> String {
    format!(
        "{} ago",
        approximate(Timestamp::now().as_second() - moment.as_second())
    )
}

/// Formats a moment in the future or the past: `in 3m` or `3m ago`.
pub(crate) fn until(moment: Timestamp) -> String {
    match moment.as_second() - Timestamp::now().as_second() {
        left if left > 0 => format!("in {}", approximate(left)),
        _ => ago(moment),
    }
}

/// Formats seconds in their two largest units, rounded down.
fn approximate(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = seconds.max(0);
    let first = UNITS.iter().position(|(length, _)| seconds >= *length);
    let Some(first) = first else {
        return "0s".to_owned();
    };
    let (length, name) = UNITS[first];
    let mut text = format!("{}{name}", seconds / length);
    if let Some((smaller, name)) = UNITS.get(first + 1) {
        let rest = seconds % length / smaller;
        if rest > 0 {
            text = format!("{text} {rest}{name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::approximate;

    /// A time has at most two units and is never rounded up.
    #[test]
    fn times_are_approximate() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (252, "4m 12s"),
            (3_600, "1h"),
            (3_659, "1h"),
            (7_260, "2h 1m"),
            (90_000, "1d 1h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(approximate(seconds), text);
        }
    }
}
