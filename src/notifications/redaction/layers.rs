//! What a text says underneath: escapes and encodings taken off, one layer after the other,
//! every character with the place in the shown text that it comes from.
//!
//! Invariant: linear in the length of the text; nothing here knows a secret.

use super::entities;
use base::plain::unseen;

/// Stands between pieces that do not belong together; no text has it.
pub(super) const BREAK: char = '\u{10ffff}';

/// Fewer characters of base64 or digits of hex hold nothing that is looked for.
const RUN_MIN: usize = 4;

/// A character, and the bytes of the shown text it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub(super) c: char,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A character to compare: in lower case, and whether a blank that was left out precedes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded {
    pub(super) sign: Sign,
    pub(super) gap: bool,
}

/// A byte that was written otherwise, and where.
type Byte = (u8, usize, usize);

pub(super) fn signs(text: &str) -> Vec<Sign> {
    let sign = |(from, c): (usize, char)| Sign {
        c,
        from,
        to: from + c.len_utf8(),
    };
    text.char_indices().map(sign).collect()
}

/// Without blanks, line ends and what cannot be seen, in lower case.
pub(super) fn folded(signs: &[Sign]) -> Vec<Folded> {
    let mut out = Vec::with_capacity(signs.len());
    let mut gap = false;
    for sign in signs {
        if sign.c.is_whitespace() {
            gap = true;
        } else if !is_dropped(sign.c) {
            let sign = Sign {
                c: lower(sign.c),
                ..*sign
            };
            out.push(Folded { sign, gap });
            gap = false;
        }
    }
    out
}

fn is_dropped(c: char) -> bool {
    c.is_whitespace() || c.is_control() || unseen(c).is_some()
}

fn lower(c: char) -> char {
    match c.is_ascii() {
        true => c.to_ascii_lowercase(),
        false => c.to_lowercase().next().unwrap_or(c),
    }
}

/// One layer of escapes less, of whatever kind each of them is: percent, JSON, C and Rust,
/// HTML. `None` if there is none.
pub(super) fn unescaped(signs: &[Sign]) -> Option<Vec<Sign>> {
    if !signs.iter().any(|s| matches!(s.c, '%' | '\\' | '&')) {
        return None;
    }
    let mut out = Vec::with_capacity(signs.len());
    let mut bytes: Vec<Byte> = Vec::new();
    let (mut at, mut changed) = (0, false);
    while let Some(sign) = signs.get(at) {
        let rest = signs.get(at..).unwrap_or_default();
        if let Some((byte, used)) = byte(rest) {
            bytes.push((byte, sign.from, end(rest, used)));
            (at, changed) = (at + used, true);
            continue;
        }
        push_bytes(&mut out, &mut bytes);
        let (c, used) = match sign.c {
            '\\' => escape(rest).unwrap_or(('\\', 1)),
            '&' => entity(rest).unwrap_or(('&', 1)),
            c => (c, 1),
        };
        changed |= used > 1;
        out.push(Sign {
            c,
            from: sign.from,
            to: end(rest, used),
        });
        at += used;
    }
    push_bytes(&mut out, &mut bytes);
    changed.then_some(out)
}

fn end(rest: &[Sign], used: usize) -> usize {
    rest.get(used.saturating_sub(1)).map_or(0, |s| s.to)
}

/// `%C3`, `\xc3`, `\303`.
fn byte(rest: &[Sign]) -> Option<(u8, usize)> {
    let at = |n: usize| rest.get(n).map(|s| s.c);
    let digits = |from: usize, count: usize, radix: u32| {
        let digit =
            |sum: Option<u32>, n: usize| Some(sum? * radix + at(from + n)?.to_digit(radix)?);
        u8::try_from((0..count).fold(Some(0), digit)?).ok()
    };
    match (at(0)?, at(1)?) {
        ('%', _) => Some((digits(1, 2, 16)?, 3)),
        ('\\', 'x' | 'X') => Some((digits(2, 2, 16)?, 4)),
        ('\\', '0'..='3') => Some((digits(1, 3, 8)?, 4)),
        _ => None,
    }
}

/// `\u00e4`, also as a pair of surrogates, `\u{e4}`, `\n` and the like.
fn escape(rest: &[Sign]) -> Option<(char, usize)> {
    let at = |n: usize| rest.get(n).map(|s| s.c);
    let unit = |from: usize| {
        let u = at(from)? == '\\' && at(from + 1)? == 'u';
        let digit = |sum: u32, n: usize| Some(sum * 16 + at(n)?.to_digit(16)?);
        u.then(|| (from + 2..from + 6).try_fold(0, digit))?
    };
    match at(1)? {
        'u' if at(2) == Some('{') => {
            let close = (3..=9).find(|n| at(*n) == Some('}'))?;
            let digit = |sum: u32, n: usize| Some(sum * 16 + at(n)?.to_digit(16)?);
            let code = (3..close).try_fold(0, digit)?;
            Some((char::from_u32(code)?, close + 1))
        }
        'u' => {
            let first = unit(0)?;
            if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, unit(6)) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Some((char::from_u32(code)?, 12));
            }
            Some((
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                6,
            ))
        }
        'n' | 'r' | 't' | 'b' | 'f' | 'v' | '0' => Some(('\n', 2)),
        c @ ('"' | '\'' | '/' | '\\') => Some((c, 2)),
        _ => None,
    }
}

/// `&#228;`, `&#xe4;`, `&auml;`.
fn entity(rest: &[Sign]) -> Option<(char, usize)> {
    let name: String = rest
        .iter()
        .skip(1)
        .take(entities::LONGEST + 1)
        .map(|s| s.c)
        .collect();
    if let Some(number) = name.strip_prefix('#') {
        let (radix, digits, before) = match number.strip_prefix(['x', 'X']) {
            Some(hex) => (16, hex, 3),
            None => (10, number, 2),
        };
        let count = digits.chars().take_while(|c| c.is_digit(radix)).count();
        let code = u32::from_str_radix(digits.get(..count)?, radix).ok()?;
        let semicolon = digits.chars().nth(count) == Some(';');
        return Some((
            char::from_u32(code)?,
            before + count + usize::from(semicolon),
        ));
    }
    let (name, _) = name.split_once(';')?;
    Some((entities::named(name)?, name.chars().count() + 2))
}

/// Bytes as text; those that are no UTF-8 as Latin-1.
fn push_bytes(out: &mut Vec<Sign>, bytes: &mut Vec<Byte>) {
    let mut rest = bytes.as_slice();
    while let Some((first, from, to)) = rest.first() {
        let head: Vec<u8> = rest.iter().take(4).map(|(b, ..)| *b).collect();
        let whole = (1..=head.len()).rev().find_map(|n| {
            let text = std::str::from_utf8(head.get(..n)?).ok()?;
            text.chars().next()
        });
        let (c, used) = match whole {
            Some(c) => (c, c.len_utf8()),
            None => (char::from(*first), 1),
        };
        let to = rest.get(used - 1).map_or(*to, |(.., to)| *to);
        out.push(Sign { c, from: *from, to });
        rest = rest.get(used..).unwrap_or_default();
    }
    bytes.clear();
}

/// What the text holds in base64, of either alphabet and wrapped or not, and in hex: read from
/// each place at which a group of characters may begin.
pub(super) fn unpacked(signs: &[Sign]) -> Vec<Vec<Sign>> {
    let seen: Vec<&Sign> = signs.iter().filter(|s| !is_dropped(s.c)).collect();
    let mut all = Vec::new();
    for (value, width) in [(sextet as fn(char) -> Option<u32>, 6), (nibble, 4)] {
        // Four characters of base64 hold three bytes, two digits one.
        let group: usize = if width == 6 { 4 } else { 2 };
        let mut readings = vec![Vec::new(); group];
        let mut run: Vec<(u32, &Sign)> = Vec::new();
        let mut close = |run: &mut Vec<(u32, &Sign)>| {
            if run.len() >= RUN_MIN {
                for (before, reading) in readings.iter_mut().enumerate() {
                    let run = run.get(before..).unwrap_or_default();
                    push_bytes(reading, &mut packed(run, width));
                    reading.push(Sign {
                        c: BREAK,
                        from: 0,
                        to: 0,
                    });
                }
            }
            run.clear();
        };
        for sign in &seen {
            match value(sign.c) {
                Some(bits) => run.push((bits, sign)),
                // Filling ends a piece; what follows is read at every place as well.
                None if width == 6 && sign.c == '=' => {}
                None => close(&mut run),
            }
        }
        close(&mut run);
        all.extend(readings.into_iter().filter(|r| !r.is_empty()));
    }
    all
}

fn packed(run: &[(u32, &Sign)], width: u32) -> Vec<Byte> {
    let mut bytes = Vec::with_capacity(run.len());
    let (mut bits, mut have, mut from) = (0u32, 0, 0);
    for (value, sign) in run {
        if have == 0 {
            from = sign.from;
        }
        bits = (bits << width | value) & 0xffff;
        have += width;
        if have >= 8 {
            have -= 8;
            bytes.push(((bits >> have & 0xff) as u8, from, sign.to));
            from = sign.from;
        }
    }
    bytes
}

fn sextet(c: char) -> Option<u32> {
    Some(match c {
        'A'..='Z' => u32::from(c) - u32::from('A'),
        'a'..='z' => u32::from(c) - u32::from('a') + 26,
        '0'..='9' => u32::from(c) - u32::from('0') + 52,
        '+' | '-' => 62,
        '/' | '_' => 63,
        _ => return None,
    })
}

fn nibble(c: char) -> Option<u32> {
    c.to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(signs: &[Sign]) -> String {
        signs.iter().map(|s| s.c).collect()
    }

    #[test]
    fn one_layer_of_escapes_of_every_kind_is_taken_off_at_a_time() {
        for (text, expected) in [
            ("%70%C3%a4%25", "pä%"),
            ("%e4x", "äx"),
            ("%2541", "%41"),
            ("\\u0070\\u00E4\\ud83d\\ude00", "pä😀"),
            ("\\u{e4}\\\\u0070", "ä\\u0070"),
            ("\\xc3\\xa4\\303\\244", "ää"),
            ("\\\"\\/", "\"/"),
            ("&#112;&#xE4;&auml;&amp;&#228 &lt;", "pää&ä <"),
        ] {
            assert_eq!(read(&unescaped(&signs(text)).unwrap()), expected, "{text}");
        }
        for text in [
            "100 % & so on",
            "%",
            "%g0",
            "\\",
            "\\u12",
            "&#;",
            "&x;",
            "&",
            "\\ud800%",
        ] {
            let _ = unescaped(&signs(text));
        }
        assert!(unescaped(&signs("100 % & so on \\w")).is_none());
    }

    #[test]
    fn every_character_knows_where_it_stands_in_the_text() {
        let text = "a%C3%A4\\u0062&#99;";
        let found = unescaped(&signs(text)).unwrap();
        let places: Vec<&str> = found.iter().map(|s| &text[s.from..s.to]).collect();
        assert_eq!(places, ["a", "%C3%A4", "\\u0062", "&#99;"]);
        let text = "..aHVzaA==..";
        let unpacked = unpacked(&signs(text));
        let hush = unpacked
            .iter()
            .find(|s| read(s).starts_with("hush"))
            .unwrap();
        assert_eq!((hush[0].from, hush[3].to), (2, 8));
    }
}
