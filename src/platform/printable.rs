//! Text of others, made fit for a log line or a status page.
//!
//! Invariant: the result is one bounded line without control characters, and
//! without any run of characters that is long enough to be a client secret, a
//! token or an assertion (design, guarantee 9).

/// Runs of this many characters of the base64, URL-safe base64 or percent
/// alphabets are hidden. Client secrets of the platform have 43, tokens 86,
/// assertions thousands; words and error codes stay below.
pub const HIDDEN_RUN: usize = 32;

const HIDDEN: &str = "[hidden]";

/// At most `limit` characters of `text` (an ellipsis included), controls and
/// line breaks turned into spaces, runs of spaces into one, and long runs
/// without a break hidden.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    // Twice the limit is read at most, plus one run, so that a huge text costs little.
    let mut rest = text;
    while !rest.is_empty() && length <= limit {
        let run = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        if run >= HIDDEN_RUN {
            out.push_str(HIDDEN);
            length += HIDDEN.len();
            rest = &rest[run..];
            continue;
        }
        // Either a short run or, if it is empty, one character that ends runs.
        let step = if run == 0 {
            rest.chars().next().map_or(0, char::len_utf8)
        } else {
            run
        };
        for c in rest[..step].chars() {
            let c = if unprintable(c) { ' ' } else { c };
            if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
                continue;
            }
            out.push(c);
            length += 1;
        }
        rest = &rest[step..];
    }
    let out = out.trim_end();
    match out.char_indices().nth(limit) {
        None => out.to_owned(),
        Some(_) => {
            let cut = out
                .char_indices()
                .nth(limit.saturating_sub(1))
                .map_or(0, |(i, _)| i);
            format!("{}…", &out[..cut])
        }
    }
}

fn in_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '%' | '.' | '~')
}

/// Controls, and the format characters that turn or hide text in a terminal.
fn unprintable(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_line_breaks_become_single_spaces() {
        assert_eq!(
            printable("  a\r\n\tb\u{1b}[31mc\u{202e}d \n", 80),
            "a b [31mc d"
        );
    }

    #[test]
    fn what_is_long_enough_to_be_a_secret_is_hidden() {
        let secret = "Zm9v".repeat(11);
        assert_eq!(
            printable(&format!("got '{secret}' from you"), 80),
            "got '[hidden]' from you"
        );
        assert_eq!(printable(&"A".repeat(31), 80), "A".repeat(31));
        assert_eq!(printable(&"A".repeat(32), 80), HIDDEN);
        // Not cut into a harmless-looking piece by the limit either.
        assert!(!printable(&format!("{}{secret}", "x ".repeat(35)), 80).contains("Zm9v"));
    }

    #[test]
    fn length_is_bounded_in_characters_and_cuts_are_visible() {
        let cut = printable(&"ä ".repeat(500), 10);
        assert_eq!(cut.chars().count(), 10);
        assert!(cut.ends_with('…'));
        assert_eq!(printable("short", 5), "short");
        assert_eq!(printable("shorts", 5), "shor…");
        assert_eq!(printable("", 5), "");
        assert_eq!(printable("abc", 0), "…");
    }
}
