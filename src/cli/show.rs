//! Showing: aligned columns, spans of time, colour.
//!
//! Invariant: every text that comes in from outside leaves without control characters.

use serde_json::Value;

use base::plain::shown;

/// A member's text, cleaned; numbers and booleans as JSON writes them; empty if it is not there.
pub(super) fn text(value: &Value, member: &str) -> String {
    plain(value.get(member).unwrap_or(&Value::Null))
}

/// A value as text, cleaned.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => shown(s),
        other => shown(&other.to_string()),
    }
}

/// A span of time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s:02}s"),
        (0, _, _) => format!("{h}h {m:02}m"),
        _ => format!("{d}d {h:02}h"),
    }
}

/// A member that is a number of seconds, as a span; empty if it is not there.
pub(super) fn span_of(value: &Value, member: &str) -> String {
    seconds(value.get(member)).map_or_else(String::new, span)
}

/// A number of seconds, whole or not; negative ones are zero.
pub(super) fn seconds(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|f| f.max(0.0) as u64))
}

/// Rows of equal length in columns, two spaces apart; the columns in `right` are set to the right.
pub(super) fn columns(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = (*widest).max(width),
                None => widths.push(width),
            }
        }
    }
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let width = widths.get(at).copied().unwrap_or(0);
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                if at > 0 {
                    line.push_str("  ");
                }
                if right.contains(&at) {
                    line.push_str(&gap);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&gap);
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

/// The first `most` characters, with an ellipsis if there were more.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The verdict in bold green, yellow or red.
pub(super) fn coloured(text: &str, level: &str, colour: bool) -> String {
    let code = match level {
        "ok" => "32",
        "warn" => "33",
        "bad" => "31",
        _ => "0",
    };
    if colour {
        format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// The rows and columns of the queue's shape, as `qshape` prints them.
pub(super) fn shape(shape: &Value) -> Vec<String> {
    let states = shape.as_array().map_or(&[][..], Vec::as_slice);
    let ages = |state: &Value| {
        state
            .get("ages")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut columns_of: Vec<String> = Vec::new();
    for state in states {
        for age in ages(state) {
            let name = bound(&age);
            if !columns_of.contains(&name) {
                columns_of.push(name);
            }
        }
    }
    let mut head = vec![String::new(), "total".to_owned()];
    head.extend(columns_of.iter().cloned());
    let mut rows = vec![head];
    for state in states {
        let ages = ages(state);
        let n = |age: &Value| age.get("n").and_then(Value::as_u64).unwrap_or(0);
        let total = ages.iter().map(n).fold(0u64, u64::saturating_add);
        let mut row = vec![text(state, "state"), total.to_string()];
        for column in &columns_of {
            row.push(
                ages.iter()
                    .find(|age| bound(age) == *column)
                    .map_or_else(|| "0".to_owned(), |age| n(age).to_string()),
            );
        }
        rows.push(row);
    }
    let right: Vec<usize> = (1..rows.first().map_or(1, Vec::len)).collect();
    columns(&rows, &right)
}

/// The heading of an age: what it goes up to, in seconds or as the daemon says it; beyond the last bound `older`.
fn bound(age: &Value) -> String {
    match age.get("upTo") {
        None | Some(Value::Null) => "older".to_owned(),
        Some(up_to) => match (seconds(Some(up_to)), plain(up_to)) {
            (Some(s), _) => format!("<={}", short(s)),
            (None, word) if word.starts_with(|c: char| c.is_ascii_digit()) => format!("<={word}"),
            (None, word) => word,
        },
    }
}

fn short(seconds: u64) -> String {
    match seconds {
        s if s >= 86_400 && s.is_multiple_of(86_400) => format!("{}d", s / 86_400),
        s if s >= 3600 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 01s"),
            (3660, "1h 01m"),
            (90_000, "1d 01h"),
        ] {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        let value = json!({"lastError": "503 \u{1b}[2J\nforged", "n": 3});
        assert_eq!(text(&value, "lastError"), "503 \\u{1b}[2J\\nforged");
        assert_eq!(text(&value, "n"), "3");
        assert_eq!(text(&value, "missing"), "");
    }

    #[test]
    fn the_shape_is_a_table_of_states_and_ages() {
        let lines = shape(&json!([
            {"state": "queued", "ages": [{"upTo": 300, "n": 2}, {"upTo": 3600, "n": 0}, {"upTo": null, "n": 1}]},
            {"state": "dead", "ages": [{"upTo": "1h", "n": 40}]},
        ]));
        assert_eq!(
            lines,
            [
                "        total  <=5m  <=1h  older",
                "queued      3     2     0      1",
                "dead       40     0    40      0",
            ]
        );
    }
}
