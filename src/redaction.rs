//! What is shown to people, cleared of the secrets that are known.
//!
//! A login host, a proxy or the history manager may echo what it was sent, as it is or encoded;
//! how long a secret is says nothing about whether it may be read. The exact secrets are known,
//! so they are looked for: as they are, percent-encoded (twice as well), with the escapes of
//! JSON and of HTML, in base64 at each of the three alignments, and as `id:secret` in base64.
//!
//! A secret of fewer than [`WHOLE_WORD_BELOW`] characters is hidden where it stands as a word
//! of its own, in words of others only: anything more would shred every text.
//!
//! Invariants: the number of secrets is bounded, and a secret that was replaced stays known
//! until that many newer ones are; nothing here prints one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::secret::Secret;

/// Secrets shorter than this are hidden as whole words of others only.
pub const WHOLE_WORD_BELOW: usize = 4;

/// Secrets that files hold: tokens of callers and operators, client secret, passwords.
const LASTING_MAX: usize = 1024;

/// Secrets that come and go: tokens, assertions, channels. The youngest are kept.
const PASSING_MAX: usize = 256;

/// The first bytes of a longer secret give it away as well as all of them.
const NEEDLE_MAX: usize = 96;

const HIDDEN: &str = "[hidden]";

/// Which secrets a text is cleared of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    /// Words of others: all.
    Foreign,
    /// A line of our own: those of four characters and more.
    Own,
}

struct Needle {
    bytes: Vec<u8>,
    /// Only between characters that cannot belong to it.
    word: bool,
    /// What surrounds it belongs to it: a longer secret, or base64 of more than the secret.
    run: bool,
}

/// The forms of one secret that are looked for.
struct Known {
    secret: Secret,
    needles: Vec<Needle>,
}

/// The secrets that are known, the youngest last.
#[derive(Default)]
struct Registry {
    lasting: VecDeque<Known>,
    passing: VecDeque<Known>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    lasting: VecDeque::new(),
    passing: VecDeque::new(),
});

fn registry() -> MutexGuard<'static, Registry> {
    // Plain values are whole whatever happened to the other holder.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this secret of a file or of the configuration is hidden.
pub fn learn(secret: &Secret) {
    add(&mut registry().lasting, secret, LASTING_MAX);
}

/// The same for one that comes and goes.
pub fn learn_passing(secret: &Secret) {
    add(&mut registry().passing, secret, PASSING_MAX);
}

/// Words of others, without any secret that is known.
#[must_use]
pub fn foreign(text: &str) -> String {
    clean(&registry(), text, Text::Foreign)
}

/// The same for a body that need not be text.
#[must_use]
pub fn foreign_body(body: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&body);
    let cleaned = foreign(&text);
    match cleaned == text {
        true => body,
        false => cleaned.into_bytes(),
    }
}

/// A line of our own, without any secret that is known and longer than a word.
#[must_use]
pub fn own(text: &str) -> String {
    clean(&registry(), text, Text::Own)
}

fn add(list: &mut VecDeque<Known>, secret: &Secret, most: usize) {
    if secret.expose().is_empty() {
        return;
    }
    if let Some(at) = list.iter().position(|known| known.secret == *secret) {
        // The youngest again.
        let known = list.remove(at);
        list.extend(known);
        return;
    }
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(Known {
        secret: secret.clone(),
        needles: needles(secret.expose()),
    });
}

fn needles(secret: &str) -> Vec<Needle> {
    let bytes = secret.as_bytes();
    let start = bytes.get(..NEEDLE_MAX).unwrap_or(bytes);
    let short = secret.chars().count() < WHOLE_WORD_BELOW;
    let mut all = vec![Needle {
        bytes: start.to_vec(),
        word: short,
        run: start.len() < bytes.len(),
    }];
    for url_safe in [false, true] {
        let encode = |bytes: &[u8]| match url_safe {
            true => URL_SAFE_NO_PAD.encode(bytes),
            false => STANDARD_NO_PAD.encode(bytes),
        };
        all.push(Needle {
            bytes: encode(start).into_bytes(),
            word: start.len() == bytes.len(),
            run: start.len() < bytes.len(),
        });
        for before in 0..3 {
            let padded: Vec<u8> = std::iter::repeat_n(0, before)
                .chain(start.iter().copied())
                .collect();
            let encoded = encode(&padded);
            // Only the characters that hold nothing but bits of the secret.
            let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            let inner = encoded.get(from..to).unwrap_or_default();
            if inner.len() >= WHOLE_WORD_BELOW {
                all.push(Needle {
                    bytes: inner.as_bytes().to_vec(),
                    word: false,
                    run: true,
                });
            }
        }
    }
    all.sort_by(|a, b| (&a.bytes, a.word).cmp(&(&b.bytes, b.word)));
    all.dedup_by(|a, b| a.bytes == b.bytes && a.run == b.run && a.word == b.word);
    all
}

fn clean(registry: &Registry, text: &str, of: Text) -> String {
    let needles: Vec<&Needle> = registry
        .lasting
        .iter()
        .chain(&registry.passing)
        .filter(|k| of == Text::Foreign || k.secret.expose().chars().count() >= WHOLE_WORD_BELOW)
        .flat_map(|k| &k.needles)
        .collect();
    let mut first = [false; 256];
    for needle in &needles {
        if let Some(byte) = needle.bytes.first() {
            first[usize::from(*byte)] = true;
        }
    }
    // What may begin an escape.
    for byte in *b"%\\&+" {
        first[usize::from(byte)] = true;
    }
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let found = first[usize::from(*byte)]
            .then(|| {
                needles
                    .iter()
                    .filter_map(|n| Some((end(n, bytes, at)?, n.run)))
                    .max()
            })
            .flatten();
        let Some((mut to, run)) = found else {
            out.push(*byte);
            at += 1;
            continue;
        };
        if run {
            while out.last().is_some_and(|b| in_run(*b)) {
                out.pop();
            }
            while bytes.get(to).is_some_and(|b| in_run(*b)) {
                to += 1;
            }
        }
        out.extend_from_slice(HIDDEN.as_bytes());
        at = to;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the needle ends that begins at `at`, whatever way each of its bytes is written.
fn end(needle: &Needle, text: &[u8], at: usize) -> Option<usize> {
    let outside = |b: Option<&u8>| b.is_none_or(|b| !b.is_ascii_alphanumeric());
    if needle.word && !outside(at.checked_sub(1).and_then(|before| text.get(before))) {
        return None;
    }
    let mut ends = vec![at];
    for want in &needle.bytes {
        let mut next = Vec::new();
        for at in &ends {
            steps(text, *at, *want, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        ends = next;
        if ends.is_empty() {
            return None;
        }
    }
    let fits = |to: &usize| !needle.word || outside(text.get(*to));
    ends.into_iter().filter(fits).max()
}

/// The places after one byte of a secret, for every way in which it may be written here.
fn steps(text: &[u8], at: usize, want: u8, ends: &mut Vec<usize>) {
    let Some(rest) = text.get(at..) else {
        return;
    };
    let hex = |from: usize, digits: usize| {
        let digits = std::str::from_utf8(rest.get(from..from + digits)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let want_code = Some(u32::from(want));
    match rest {
        [b, ..] if *b == want => ends.push(at + 1),
        [b'+', ..] if want == b' ' => ends.push(at + 1),
        _ => {}
    }
    if rest.starts_with(b"%25") && hex(3, 2) == want_code {
        ends.push(at + 5);
    }
    if rest.first() == Some(&b'%') && hex(1, 2) == want_code {
        ends.push(at + 3);
    }
    if rest.first() == Some(&b'\\') {
        // Escapes may have been escaped once more.
        let slashes = rest.iter().take(4).take_while(|b| **b == b'\\').count();
        if rest.get(slashes) == Some(&b'u') && hex(slashes + 1, 4) == want_code {
            ends.push(at + slashes + 5);
        }
        if rest.get(slashes) == Some(&want) && matches!(want, b'/' | b'"') {
            ends.push(at + slashes + 1);
        }
        if want == b'\\' && slashes > 1 {
            ends.extend((2..=slashes).map(|n| at + n));
        }
    }
    if rest.first() == Some(&b'&')
        && let Some(semicolon) = rest.iter().take(10).position(|b| *b == b';')
        && let Some(Ok(name)) = rest.get(1..semicolon).map(std::str::from_utf8)
    {
        let code = match name {
            "amp" => Some(u32::from(b'&')),
            "lt" => Some(u32::from(b'<')),
            "gt" => Some(u32::from(b'>')),
            "quot" => Some(u32::from(b'"')),
            "apos" => Some(u32::from(b'\'')),
            _ => match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
                Some(hex) => u32::from_str_radix(hex, 16).ok(),
                None => name.strip_prefix('#').and_then(|n| n.parse().ok()),
            },
        };
        if code == want_code {
            ends.push(at + semicolon + 1);
        }
    }
}

fn in_run(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn knowing(secrets: &[&str]) -> Registry {
        let mut registry = Registry::default();
        for secret in secrets {
            add(&mut registry.lasting, &Secret::new(*secret), LASTING_MAX);
        }
        registry
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|b| format!("%{b:02x}")).collect()
    }

    fn json(text: &str) -> String {
        text.bytes().map(|b| format!("\\u{b:04X}")).collect()
    }

    #[test]
    fn a_known_secret_is_hidden_however_long_it_is_and_however_it_is_written() {
        for secret in [
            "s3cr",
            "hush-hush",
            "p@ss/w\"o\\rd% +&<",
            "a-secret-of-the-client-0815",
        ] {
            let known = knowing(&[secret]);
            let pair = format!("some-client:{secret}");
            for echoed in [
                secret.to_owned(),
                percent(secret),
                secret
                    .replace('%', "%25")
                    .replace('/', "%2F")
                    .replace('+', "%2B"),
                json(secret),
                serde_json::Value::from(secret).to_string(),
                serde_json::Value::from(serde_json::Value::from(secret).to_string()).to_string(),
                secret.replace('/', "\\/"),
                secret.bytes().map(|b| format!("&#{b};")).collect(),
                secret.bytes().map(|b| format!("&#x{b:x};")).collect(),
                secret.replace('&', "&amp;").replace('<', "&lt;"),
                STANDARD.encode(secret),
                URL_SAFE.encode(secret),
                STANDARD.encode(&pair),
                STANDARD.encode(format!("x{pair}y")),
                STANDARD.encode(format!("xy{pair}")),
                percent(&STANDARD.encode(&pair)),
            ] {
                let cleaned = clean(&known, &format!("you sent <{echoed}>, wrong"), Text::Own);
                assert!(cleaned.contains(HIDDEN), "{secret} as {echoed}: {cleaned}");
                assert!(!cleaned.contains(&echoed), "{cleaned}");
            }
        }
    }

    #[test]
    fn a_very_short_secret_is_hidden_as_a_word_of_others_only() {
        let known = knowing(&["is"]);
        let text = "this 'is' wrong";
        assert_eq!(clean(&known, text, Text::Foreign), "this '[hidden]' wrong");
        assert_eq!(clean(&known, text, Text::Own), text);
        assert_eq!(clean(&knowing(&[""]), text, Text::Foreign), text);
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        let known = knowing(&["a-secret-of-the-client-0815", "hush"]);
        for text in [
            "",
            "100 % of it & more\\n + Grüße",
            "%",
            "\\u",
            "&#;",
            "hus",
            "Hush",
        ] {
            assert_eq!(clean(&known, text, Text::Foreign), text);
        }
    }

    #[test]
    fn the_number_of_secrets_is_bounded_and_the_oldest_is_forgotten_first() {
        let mut list = VecDeque::new();
        for n in 0..20 {
            add(&mut list, &Secret::new(format!("secret-{n}")), 4);
            add(&mut list, &Secret::new("secret-0"), 4);
        }
        let kept: Vec<&str> = list.iter().map(|k| k.secret.expose()).collect();
        assert_eq!(kept, ["secret-17", "secret-18", "secret-19", "secret-0"]);
        let long = Secret::new("0123456789abcdef".repeat(1000));
        let mut known = Registry::default();
        add(&mut known.passing, &long, 4);
        let text = format!("got {} here", long.expose());
        assert_eq!(clean(&known, &text, Text::Own), "got [hidden] here");
    }
}
