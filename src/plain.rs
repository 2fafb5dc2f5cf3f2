//! Text of others, made fit for a log line, an error or a status page.
//!
//! Invariant: a line is one line, bounded, without control characters or
//! characters that turn the direction of text.

/// Runs of this many characters of the base64, URL-safe base64 or percent alphabets are
/// taken for secrets. Client secrets of the platform have 43, tokens 86, assertions
/// thousands; words and error codes stay below.
const HIDDEN_RUN: usize = 32;

const HIDDEN: &str = "[hidden]";

/// The first `max` characters of `text` as one line: control characters and line
/// breaks become spaces, runs of white space one space, a cut is marked by `…`.
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() || turns_text(c) {
            gap = count > 0;
            continue;
        }
        let needed = 1 + usize::from(gap);
        if count + needed > max {
            if max > 0 {
                while count > max - 1 {
                    out.pop();
                    count -= 1;
                }
                out.push('…');
            }
            return out;
        }
        if gap {
            out.push(' ');
        }
        out.push(c);
        count += needed;
        gap = false;
    }
    out
}

/// Bidirectional and invisible formatting characters: a text made of them can
/// show something else than it says.
fn turns_text(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Replaces every occurrence of each secret by `[hidden]`. Secrets shorter than
/// four characters are left alone: they hide nothing and would shred the text.
#[must_use]
pub fn without(text: &str, secrets: &[&str]) -> String {
    let mut out = text.to_owned();
    for secret in secrets {
        if secret.len() >= 4 && out.contains(secret) {
            out = out.replace(secret, HIDDEN);
        }
    }
    out
}

/// As [`one_line`], and every run of characters that is long enough to be a client secret, a
/// token or an assertion is hidden (design, guarantee 9). For the words of those to whom
/// secrets are shown.
#[must_use]
pub fn discreet(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    // Before it is cut: half a secret may look harmless.
    while !rest.is_empty() {
        let run = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(run);
        out.push_str(if run.len() < HIDDEN_RUN { run } else { HIDDEN });
        let others = after.find(in_run).unwrap_or(after.len());
        let (others, after) = after.split_at(others);
        out.push_str(others);
        rest = after;
    }
    one_line(&out, max)
}

fn in_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '%' | '.' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_bounded_line() {
        assert_eq!(
            one_line(" a\r\n\tb\u{1b}[0m\u{202e}c\u{7}", 80),
            "a b [0m c"
        );
        assert_eq!(one_line("", 5), "");
        assert_eq!(one_line("short", 5), "short");
        assert_eq!(one_line("shorts", 5), "shor…");
        assert_eq!(one_line("shor ts", 5), "shor…");
        assert_eq!(one_line("ä ".repeat(99).as_str(), 4).chars().count(), 4);
        assert_eq!(one_line("abc", 0), "");
    }

    #[test]
    fn every_length_limit_is_kept() {
        for max in 0..20 {
            let cut = one_line("a  b\ncd efg\u{0} hijk  lmnop", max);
            assert!(cut.chars().count() <= max, "{max}: {cut}");
        }
    }

    #[test]
    fn secrets_are_taken_out() {
        assert_eq!(
            without(
                "channel streaming-0-abc is gone",
                &["streaming-0-abc", "", "is"]
            ),
            "channel [hidden] is gone"
        );
    }

    #[test]
    fn what_is_long_enough_to_be_a_secret_is_hidden() {
        let secret = "Zm9v".repeat(11);
        assert_eq!(
            discreet(&format!("got '{secret}'\n from you"), 80),
            "got '[hidden]' from you"
        );
        assert_eq!(discreet(&"A".repeat(31), 80), "A".repeat(31));
        assert_eq!(discreet(&"A".repeat(32), 80), HIDDEN);
        // Not cut into a harmless-looking piece by the limit either.
        assert!(!discreet(&format!("{}{secret}", "x ".repeat(35)), 80).contains("Zm9v"));
        assert!(!discreet(&secret, 10).contains("Zm9v"));
        assert_eq!(discreet(&"ä ".repeat(500), 10).chars().count(), 10);
    }
}
