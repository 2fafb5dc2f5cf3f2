//! Text of others, made fit for a log line, an error or a status page.
//!
//! Invariant: the result is one line, bounded, without control characters or
//! characters that turn the direction of text.

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
            out = out.replace(secret, "[hidden]");
        }
    }
    out
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
}
