//! Odd text in what the platform says: as people and machines put it into names, notes and
//! numbers. A strict parser refuses the whole document for it.

use base::rng::Rng;
use serde_json::Value;

/// Half of a surrogate pair, either half, escapes that are none, and characters that no string
/// may hold, NUL among them.
const ODD: [&str; 8] = [
    "\\ud83d",
    "\\udc00",
    "\\ud83d\\ud83d ",
    "\u{1}",
    "\u{0}",
    "\\u0000",
    "\\x",
    "\\u12",
];

/// How strings begin that nobody needs to know anything.
const NEEDLESS: [&str; 6] = [
    "\"Customer",
    "\"Agent",
    "\"Support",
    "\"PureCloud",
    "\"A. Example",
    "\"tel:",
];

/// Values that are none, or too large, or too deep.
const VALUES: [&str; 4] = ["1e999", "NaN", "01", "+1"];

/// How [`noted`] notes begin.
pub(crate) const NOTED: &str = "noted ";

/// A JSON document with odd text in some strings, and in a member of its own.
pub(super) fn text(document: &str, rng: &mut Rng) -> String {
    let mut out = document.to_owned();
    for start in NEEDLESS {
        if rng.chance(50) {
            out = out.replace(start, &format!("{start}{}", pick(&ODD, rng)));
        }
    }
    if let Some(rest) = out.strip_prefix('{').filter(|r| !r.starts_with('}'))
        && rng.chance(70)
    {
        let value = match rng.below(4) {
            0 => pick(&VALUES, rng).to_owned(),
            1 => format!("{}{}", "[".repeat(300), "]".repeat(300)),
            _ => format!("\"{}\"", pick(&ODD, rng)),
        };
        out = format!("{{\"odd{}\":{value},{rest}", pick(&ODD, rng));
    }
    out
}

/// The same of a body, which may hold bytes of another encoding besides.
pub(super) fn body(document: &[u8], rng: &mut Rng) -> Vec<u8> {
    let Ok(document) = std::str::from_utf8(document) else {
        return document.to_vec();
    };
    let mut out = text(document, rng).into_bytes();
    if out.starts_with(b"{\"odd") && rng.chance(50) {
        out.splice(2..2, [0xfc, 0xff]);
    }
    out
}

/// A JSON document in which agents have noted something odd with each wrap-up: always the same
/// with the same code, wherever it is shown, since it is the same wrap-up.
pub(crate) fn noted(document: &str) -> String {
    if !document.contains("\"wrapupCode\"") && !document.contains("\"notes\"") {
        return document.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<Value>(document) else {
        return document.to_owned();
    };
    note(&mut value);
    let mut out = value.to_string();
    for (n, odd) in ODD.iter().enumerate() {
        out = out.replace(&mark(n), &format!("{NOTED}{odd}"));
    }
    out
}

/// The same of a body.
pub(super) fn noted_body(document: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(document) {
        Ok(text) => noted(text).into_bytes(),
        Err(_) => document.to_vec(),
    }
}

fn mark(n: usize) -> String {
    format!("{NOTED}<{n}>")
}

fn note(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(note),
        Value::Object(members) => {
            for (code, notes) in [("wrapupCode", "wrapupNotes"), ("code", "notes")] {
                let Some(code) = members.get(code).and_then(Value::as_str) else {
                    continue;
                };
                if notes == "notes" && !members.contains_key(notes) {
                    continue;
                }
                let sum: usize = code.bytes().map(usize::from).sum();
                members.insert(notes.to_owned(), mark(sum % ODD.len()).into());
            }
            members.values_mut().for_each(note);
        }
        _ => {}
    }
}

fn pick<'a>(from: &[&'a str], rng: &mut Rng) -> &'a str {
    from[rng.below(from.len() as u64) as usize]
}
