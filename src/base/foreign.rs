//! JSON that others wrote: the platform's answers and frames, as far as they can be told.
//!
//! A document is read to find a handful of members. One that nobody needs (half of a surrogate
//! pair in a caller's name, a byte of another encoding, a number beyond every machine type, a
//! list nested a thousand times) must not spoil the others, and must not be handed on as it is:
//! the history manager's parser may be as strict as ours. So every reader of foreign bytes goes
//! through here, and nowhere else is decided what is forgiven:
//!
//! | What | Becomes |
//! |---|---|
//! | a byte order mark before the document, NUL around it | nothing |
//! | bytes that are no UTF-8, half of a surrogate pair, an escape that is none | U+FFFD |
//! | a control character inside a string | its escape |
//! | a value nested deeper than [`DEPTH_MAX`] | `null` |
//! | `NaN`, `Infinity`, `01`, `1.`, `+1` and the like | `null` |
//! | a number beyond a double, for [`value`] alone | `null` |
//!
//! Everything else stays as it is, digit for digit, repeated names included (the last counts).
//! What is no document in spite of all this, such as half an answer or a web page, is refused.
//!
//! Invariants: one pass, linear in time and memory; pure; what [`text`] returns is JSON that a
//! strict parser takes, and is the input itself where nothing was odd.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Value;

/// The deepest nesting that is kept. Strict parsers stop at 128 (`serde_json`) and some sooner;
/// what goes on to the history manager is nested a few levels deeper there.
pub const DEPTH_MAX: usize = 120;

/// The document as a strict parser takes it; numbers keep every digit.
///
/// `None` if it is none, even so.
#[must_use]
pub fn text(document: &[u8]) -> Option<Cow<'_, str>> {
    text_within(document, DEPTH_MAX)
}

/// As [`text()`], with less nesting.
#[must_use]
pub fn text_within(document: &[u8], depth: usize) -> Option<Cow<'_, str>> {
    let text = mended(document, Numbers::AsTheyAre, depth);
    let document = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    document.then_some(text)
}

/// The document read into memory.
///
/// `None` if it is none.
#[must_use]
pub fn value(document: &[u8]) -> Option<Value> {
    serde_json::from_str(&mended(document, Numbers::OfTheMachine, DEPTH_MAX)).ok()
}

/// A JSON string as far as it can be told; `None` for anything else.
#[must_use]
pub fn string(json: &str) -> Option<String> {
    match value(json.as_bytes())? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    AsTheyAre,
    OfTheMachine,
}

/// A document if it was one in spite of all that is forgiven.
fn mended(document: &[u8], numbers: Numbers, deepest: usize) -> Cow<'_, str> {
    let text = match String::from_utf8_lossy(document) {
        Cow::Borrowed(text) => Cow::Borrowed(trimmed(text)),
        Cow::Owned(text) => Cow::Owned(trimmed(&text).to_owned()),
    };
    match Mender::new(&text, numbers, deepest).run() {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

fn trimmed(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}');
    match text.contains('\0') {
        // Inside a string it is escaped later; around the document it is filling.
        true => text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0'),
        false => text,
    }
}

/// Walks over tokens; the grammar between them is left to the parser behind it.
struct Mender<'a> {
    text: &'a str,
    /// Read so far.
    at: usize,
    /// Copied so far.
    copied: usize,
    /// Once something was odd.
    out: Option<String>,
    depth: usize,
    deepest: usize,
    numbers: Numbers,
}

impl<'a> Mender<'a> {
    fn new(text: &'a str, numbers: Numbers, deepest: usize) -> Mender<'a> {
        Mender {
            text,
            at: 0,
            copied: 0,
            out: None,
            depth: 0,
            deepest,
            numbers,
        }
    }

    /// The mended text; `None` where there was nothing to mend.
    fn run(mut self) -> Option<String> {
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' if self.depth >= self.deepest => {
                    let from = self.at;
                    self.pass_over();
                    self.replace(from, "null");
                }
                b'{' | b'[' => {
                    self.depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                b'-' | b'+' | b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => self.word(),
                _ => self.at += 1,
            }
        }
        let rest = self.text.get(self.copied..).unwrap_or_default();
        self.out.map(|mut out| {
            out.push_str(rest);
            out
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Puts `with` where `from..at` stood.
    fn replace(&mut self, from: usize, with: &str) {
        let out = self.out.get_or_insert_default();
        out.push_str(self.text.get(self.copied..from).unwrap_or_default());
        out.push_str(with);
        self.copied = self.at;
    }

    /// A string, from quote to quote.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(),
                0..=0x1f => {
                    let from = self.at;
                    self.at += 1;
                    self.replace(from, &format!("\\u{byte:04x}"));
                }
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) {
        let from = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                match self.unit() {
                    Some(0xd800..=0xdbff) => {
                        let first = self.at;
                        let follows = self.text.get(first..).is_some_and(|t| t.starts_with("\\u"));
                        if follows {
                            self.at += 2;
                            if matches!(self.unit(), Some(0xdc00..=0xdfff)) {
                                return;
                            }
                        }
                        self.at = first;
                        self.replace(from, "\\ufffd");
                    }
                    Some(0xdc00..=0xdfff) | None => self.replace(from, "\\ufffd"),
                    Some(_) => {}
                }
            }
            // The backslash alone is odd; what follows is read as it stands.
            Some(_) => self.replace(from, "\\ufffd"),
            None => {}
        }
    }

    /// Four hexadecimal digits; where they are not four, nothing is taken.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    /// A number or a literal.
    fn word(&mut self) {
        let from = self.at;
        while matches!(
            self.peek(),
            Some(b'-' | b'+' | b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        ) {
            self.at += 1;
        }
        let word = self.text.get(from..self.at).unwrap_or_default();
        let numeric = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let odd = match word {
            "true" | "false" | "null" => false,
            "NaN" | "Infinity" => true,
            _ if numeric => !legal(word) || (self.numbers == Numbers::OfTheMachine && !held(word)),
            // Not for us to say what it is.
            _ => false,
        };
        if odd {
            self.replace(from, "null");
        }
    }

    /// A value that is nested too deep, to its last bracket.
    fn pass_over(&mut self) {
        let mut open = 0usize;
        let mut in_string = false;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'\\' if in_string => {
                    // What is escaped ends no string; it may be a character of several bytes.
                    self.at += self
                        .text
                        .get(self.at..)
                        .and_then(|t| t.chars().next())
                        .map_or(0, char::len_utf8);
                }
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open -= 1;
                    if open == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }
}

/// A number by the grammar of RFC 8259, section 6.
fn legal(word: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(word).is_ok()
}

/// A double holds it, with room for how parsers round.
fn held(word: &str) -> bool {
    word.parse::<f64>().is_ok_and(|n| n.abs() <= 1e308)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(document: impl AsRef<[u8]>) -> Option<String> {
        text(document.as_ref()).map(Cow::into_owned)
    }

    #[test]
    fn what_is_legal_stays_as_it_is_without_a_copy() {
        for legal in [
            r#"{"a":1e999,"b":123456789012345678901234567890.10,"c":"\ud83d\ude00 \u00e4 \/","a":2}"#,
            r#"["\\ud83d", "\\", "\"", -0.5E-3, true, null, {}]"#,
            "7",
            "\"\u{fffd}\"",
        ] {
            assert!(
                matches!(text(legal.as_bytes()), Some(Cow::Borrowed(t)) if t == legal),
                "{legal}"
            );
        }
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert_eq!(mend(&deep), Some(deep.clone()));
        assert!(value(deep.as_bytes()).is_some());
    }

    #[test]
    fn what_is_odd_becomes_what_a_strict_parser_takes() {
        for (odd, told) in [
            (&br#"{"n":"Kunde \ud83d"}"#[..], r#"{"n":"Kunde \ufffd"}"#),
            (
                br#"["\ude00\ud83d","\ud83d\ud83d\ude00"]"#,
                r#"["\ufffd\ufffd","\ufffd\ud83d\ude00"]"#,
            ),
            (
                br#"["\ud83d\n","\ud83dx","\uD83D\u0041"]"#,
                r#"["\ufffd\n","\ufffdx","\ufffd\u0041"]"#,
            ),
            (br#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#),
            (
                br#"["\u12","\u","\x41","\u00g0"]"#,
                r#"["\ufffd12","\ufffd","\ufffdx41","\ufffd00g0"]"#,
            ),
            (b"[\"M\xfcller\"]", "[\"M\u{fffd}ller\"]"),
            (b"[\"\xed\xa0\xbd\"]", "[\"\u{fffd}\u{fffd}\u{fffd}\"]"),
            (b"\xef\xbb\xbf{\"a\":1}", r#"{"a":1}"#),
            (b"{\"a\":1}\r\n\0\0", r#"{"a":1}"#),
            (b"[\"a\tb\nc\0\"]", r#"["a\u0009b\u000ac\u0000"]"#),
            (
                b"[NaN,-Infinity,Infinity,01,1.,.5,+1,-,1e]",
                "[null,null,null,null,null,null,null,null,null]",
            ),
            ("[\"\\ä\"]".as_bytes(), "[\"\\ufffdä\"]"),
        ] {
            assert_eq!(
                mend(odd).as_deref(),
                Some(told),
                "{}",
                String::from_utf8_lossy(odd)
            );
            assert!(value(odd).is_some());
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_cut_out_and_the_rest_is_read() {
        for n in [DEPTH_MAX, 129, 100_000] {
            let deep = format!(
                r#"{{"a":{}"]}}\" ä\ä"{},"b":7}}"#,
                r#"{"x":["#.repeat(n / 2),
                "]}".repeat(n / 2)
            );
            let read = value(deep.as_bytes()).expect("it is read");
            assert_eq!(read["b"], 7);
            let told = mend(&deep).expect("it is told");
            assert!(serde_json::from_str::<Value>(&told).is_ok());
        }
    }

    #[test]
    fn a_number_beyond_a_double_spoils_nothing() {
        let long = format!(
            r#"{{"a":1e999,"b":-1e400,"c":{},"d":5,"e":1e-999}}"#,
            "9".repeat(400)
        );
        let read = value(long.as_bytes()).expect("it is read");
        assert_eq!(
            (&read["a"], &read["c"], &read["d"]),
            (&Value::Null, &Value::Null, &Value::from(5))
        );
        assert_eq!(mend(&long), Some(long.clone()));
    }

    #[test]
    fn what_is_no_document_stays_refused() {
        for bad in [
            "",
            "\u{feff}",
            "{",
            r#"{"a":"#,
            r#"{"a":"x"#,
            r#"{"a":"x\"#,
            "<html></html>",
            "{} {}",
            "{\"a\":1,}",
            "nul",
            "nonsense",
            "{'a':1}",
            "]",
            &"[".repeat(500),
        ] {
            assert_eq!(mend(bad), None, "{bad}");
            assert_eq!(value(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_string_is_told_as_far_as_it_can_be() {
        assert_eq!(
            string(r#""so far \ud83d""#).as_deref(),
            Some("so far \u{fffd}")
        );
        assert_eq!(string("7"), None);
        assert_eq!(string("null"), None);
    }

    #[test]
    fn no_bytes_at_all_panic_and_what_is_told_is_always_strict() {
        let mut rng = crate::rng::Rng::new(0xf0_4e16);
        let seed: &[u8] =
            b"{\"a\":[\"\\ud83d\\ude00\\n\xfc\",1e999,-01,NaN,{\"b\":null}],\"c\":\"\\u\"}";
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                let with = b"\"\\{}[]u\xed\xff0d,:eE+-. "[rng.below(19) as usize];
                match rng.below(3) {
                    0 => bytes[at] = with,
                    1 => bytes.insert(at, with),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Some(told) = text(&bytes) {
                assert!(serde_json::from_str::<IgnoredAny>(&told).is_ok());
                assert!(value(&bytes).is_some(), "{told}");
                assert_eq!(text(told.as_bytes()).as_deref(), Some(&*told));
            }
        }
    }
}
