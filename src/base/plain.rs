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
        if c.is_whitespace() || c.is_control() || unseen(c).is_some() {
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

/// The name of a character that cannot be seen or that turns the direction of text, control
/// characters aside: a text made of them can show something else than it says. One table for
/// everything that people see or write.
#[must_use]
pub fn unseen(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{ad}' => "SOFT HYPHEN",
        '\u{34f}' => "COMBINING GRAPHEME JOINER",
        '\u{61c}' => "ARABIC LETTER MARK",
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => "HANGUL FILLER",
        '\u{17b4}' | '\u{17b5}' => "KHMER INHERENT VOWEL",
        '\u{180b}'..='\u{180d}' | '\u{180f}' => "MONGOLIAN VARIATION SELECTOR",
        '\u{180e}' => "MONGOLIAN VOWEL SEPARATOR",
        '\u{200b}' => "ZERO WIDTH SPACE",
        '\u{200c}' => "ZERO WIDTH NON-JOINER",
        '\u{200d}' => "ZERO WIDTH JOINER",
        '\u{200e}' => "LEFT-TO-RIGHT MARK",
        '\u{200f}' => "RIGHT-TO-LEFT MARK",
        '\u{2028}' => "LINE SEPARATOR",
        '\u{2029}' => "PARAGRAPH SEPARATOR",
        '\u{202a}' => "LEFT-TO-RIGHT EMBEDDING",
        '\u{202b}' => "RIGHT-TO-LEFT EMBEDDING",
        '\u{202c}' => "POP DIRECTIONAL FORMATTING",
        '\u{202d}' => "LEFT-TO-RIGHT OVERRIDE",
        '\u{202e}' => "RIGHT-TO-LEFT OVERRIDE",
        '\u{2060}' => "WORD JOINER",
        '\u{2061}'..='\u{2065}' => "INVISIBLE OPERATOR",
        '\u{2066}' => "LEFT-TO-RIGHT ISOLATE",
        '\u{2067}' => "RIGHT-TO-LEFT ISOLATE",
        '\u{2068}' => "FIRST STRONG ISOLATE",
        '\u{2069}' => "POP DIRECTIONAL ISOLATE",
        '\u{206a}'..='\u{206f}' => "DEPRECATED FORMAT CHARACTER",
        '\u{2800}' => "BRAILLE PATTERN BLANK",
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => "VARIATION SELECTOR",
        '\u{feff}' => "ZERO WIDTH NO-BREAK SPACE (BYTE ORDER MARK)",
        '\u{fff0}'..='\u{fff8}' => "UNASSIGNED IGNORABLE",
        '\u{fff9}'..='\u{fffb}' => "INTERLINEAR ANNOTATION",
        '\u{1bca0}'..='\u{1bca3}' => "SHORTHAND FORMAT",
        '\u{1d173}'..='\u{1d17a}' => "MUSICAL FORMAT",
        '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => "TAG",
        _ => return None,
    })
}

/// The name of a blank other than the space of the keyboard: it looks like one and is none.
#[must_use]
pub fn odd_blank(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{a0}' => "NO-BREAK SPACE",
        '\u{1680}' => "OGHAM SPACE MARK",
        '\u{2000}'..='\u{200a}' => "SPACE OF ANOTHER WIDTH",
        '\u{202f}' => "NARROW NO-BREAK SPACE",
        '\u{205f}' => "MEDIUM MATHEMATICAL SPACE",
        '\u{3000}' => "IDEOGRAPHIC SPACE",
        _ => return None,
    })
}

/// Text of others for a terminal or one line of a log: what controls, turns or cannot be seen
/// is escaped, so that nothing is lost and nothing is hidden.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_shown(&mut out, text);
    out
}

/// As [`shown`], at the end of another text.
pub fn push_shown(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() || unseen(c).is_some() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

/// JSON text with everything escaped that a terminal would obey or hide: the same document,
/// because outside of ASCII such characters stand in its strings only.
#[must_use]
pub fn json_shown(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if !c.is_ascii() && (c.is_control() || unseen(c).is_some()) || c == '\u{7f}' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
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
    fn what_turns_or_hides_is_escaped_for_people_and_in_json() {
        for c in "\u{202e}\u{2066}\u{200b}\u{feff}\u{85}\u{e0041}\u{fe0f}\u{7f}".chars() {
            let text = format!("a{c}b");
            assert_eq!(shown(&text), format!("a{}b", c.escape_default()));
            let json = serde_json::Value::String(text).to_string();
            let escaped = json_shown(&json);
            assert!(escaped.bytes().all(|b| b.is_ascii_graphic()), "{escaped}");
            let (one, other): (serde_json::Value, serde_json::Value) = (
                serde_json::from_str(&json).unwrap(),
                serde_json::from_str(&escaped).unwrap(),
            );
            assert_eq!(one, other);
        }
        assert_eq!(shown("Grüße, 東京 \u{1f600} é"), "Grüße, 東京 \u{1f600} é");
        assert_eq!(json_shown("{\"ä\": 1}\n"), "{\"ä\": 1}\n");
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
