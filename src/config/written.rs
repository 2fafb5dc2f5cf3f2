//! What editors put into files of people: byte order marks, other encodings, characters that
//! cannot be seen. Secrets, tokens, keys, certificates, templates and the configuration itself
//! all come through here.
//!
//! A byte order mark at the start is taken off. Everything else that cannot be seen is reported
//! with its place and its name: taking it out silently would hide from the person that the
//! file is not what it looks like.
//!
//! Invariant: no report shows a character that can be seen; it may be part of a secret.

use super::files::Trouble;
use base::plain::{odd_blank, unseen};

const MARK: char = '\u{feff}';

/// A character that should not be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Odd {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1; a byte order mark that was taken off does not count.
    pub(super) column: usize,
    character: char,
}

impl Odd {
    /// `U+200B ZERO WIDTH SPACE`.
    pub(super) fn name(&self) -> String {
        let name = match self.character {
            ' ' => "SPACE",
            '\t' => "CHARACTER TABULATION",
            '\r' => "CARRIAGE RETURN",
            '\n' => "LINE FEED",
            '\0' => "NULL",
            c => unseen(c)
                .or_else(|| odd_blank(c))
                .unwrap_or("CONTROL CHARACTER"),
        };
        format!("U+{:04X} {name}", u32::from(self.character))
    }

    fn trouble(&self, what: &str) -> Trouble {
        Trouble::new(
            format!(
                "line {}, column {} of the file holds {}, {what}",
                self.line,
                self.column,
                self.name()
            ),
            "take it out with an editor that shows it, or write the file anew; cat -A FILE shows what is there",
        )
    }
}

/// Whether the bytes are text of another encoding than ours.
fn encoding(content: &[u8]) -> Result<(), Trouble> {
    let name = match content {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        [0, first, ..] if *first != 0 => "UTF-16BE",
        [first, 0, ..] if *first != 0 => "UTF-16LE",
        _ => return Ok(()),
    };
    Err(Trouble::new(
        format!("the file must be UTF-8 text, and it is {name}"),
        format!("save it as UTF-8, or: iconv -f {name} -t UTF-8 FILE"),
    ))
}

fn unmarked(mut text: String) -> String {
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    text
}

/// The text of a file, its byte order mark taken off.
pub(super) fn text(content: Vec<u8>) -> Result<String, Trouble> {
    encoding(&content)?;
    String::from_utf8(content).map(unmarked).map_err(|error| {
        let (valid, rest) = error
            .as_bytes()
            .split_at(error.utf8_error().valid_up_to());
        let valid = String::from_utf8_lossy(valid);
        let (line, column) = super::raw::position(&valid, valid.len());
        let byte = rest.first().copied().unwrap_or_default();
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = rest {
            return Trouble::new(
                format!(
                    "the file must be UTF-8 text; from line {line}, column {column} on it is UTF-16: its byte order mark stands there"
                ),
                "two files of different encodings were joined: save each as UTF-8 (iconv -f UTF-16 -t UTF-8) and join them then",
            );
        }
        Trouble::new(
            format!(
                "the file must be UTF-8 text; line {line}, column {column} holds the byte 0x{byte:02X}"
            ),
            "save it as UTF-8, or, if that is what it is: iconv -f ISO-8859-1 -t UTF-8 FILE",
        )
    })
}

/// Whether a character may not stand inside of a line.
fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\t') || unseen(c).is_some() || odd_blank(c).is_some()
}

/// The first character of a line, without its line end, that cannot be seen; at the ends blanks
/// count as well. `number` is that of the line, from 1.
fn odd_in_line(line: &str, number: usize) -> Option<Odd> {
    let blank = |c: char| c == ' ' || c == '\t';
    let first = line.chars().take_while(|c| blank(*c)).count();
    let last = line.trim_end_matches(blank).chars().count();
    line.chars().enumerate().find_map(|(at, character)| {
        let end = blank(character) && (at < first || at >= last);
        (is_odd(character) || character == '\t' || end).then_some(Odd {
            line: number,
            column: at + 1,
            character,
        })
    })
}

/// The first character that cannot be seen in a text of many lines. Blanks are free there.
fn odd_in_text(text: &str) -> Option<Odd> {
    text.split('\n').zip(1..).find_map(|(line, number)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.chars().zip(1..).find_map(|(character, column)| {
            is_odd(character).then_some(Odd {
                line: number,
                column,
                character,
            })
        })
    })
}

/// The one line of a file, without its line end. Empty lines behind it are an editor's; anywhere
/// else they are reported, with their place.
pub(super) fn one_line(text: &str) -> Result<&str, Trouble> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.strip_suffix('\r').unwrap_or(line);
    let more = rest
        .split('\n')
        .zip(2..)
        .find(|(l, _)| !l.trim_ascii().is_empty());
    if let Some((_, number)) = more {
        let what = match line.trim_ascii().is_empty() {
            true => "line 1 of it is empty".to_owned(),
            false => format!("line {number} of it holds more"),
        };
        return Err(Trouble::new(
            format!("the file must hold the secret on one line and nothing else; {what}"),
            "only empty lines may follow it",
        ));
    }
    match odd_in_line(line, 1) {
        Some(odd) => Err(odd.trouble("which would be part of the secret")),
        None => Ok(line),
    }
}

/// Lines of a file that count: not empty, not a comment. With their numbers.
pub(super) fn lines(text: &str) -> Result<Vec<(usize, &str)>, Trouble> {
    let mut found = Vec::new();
    for (line, number) in text.split('\n').zip(1..) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with('#') {
            continue;
        }
        if let Some(odd) = odd_in_line(line, number) {
            return Err(odd.trouble("which would be part of the token"));
        }
        found.push((number, line));
    }
    Ok(found)
}

/// PEM: what stands around the blocks is free, in any encoding that keeps to ASCII there; the
/// blocks are not. Blanks at the ends of lines mean nothing there and are taken off.
pub(super) fn pem(content: &[u8]) -> Result<String, Trouble> {
    encoding(content)?;
    let text = unmarked(String::from_utf8_lossy(content).into_owned());
    let mut inside = false;
    let mut clean = String::with_capacity(text.len());
    for (written, number) in text.split('\n').zip(1..) {
        let line = written.trim_ascii();
        let delimiter = line.contains("-----BEGIN") || line.contains("-----END");
        if (inside || delimiter)
            && let Some(mut odd) = odd_in_line(line, number)
        {
            // Its column is that of the line as it was written.
            odd.column += written.len() - written.trim_ascii_start().len();
            return Err(odd.trouble("which does not belong into PEM"));
        }
        if delimiter {
            inside = line.contains("-----BEGIN");
        }
        clean.push_str(line);
        clean.push('\n');
    }
    Ok(clean)
}

/// A template: characters that cannot be seen are written as escapes.
pub(super) fn template(text: &str) -> Result<(), Trouble> {
    let Some(odd) = odd_in_text(text) else {
        return Ok(());
    };
    let mut trouble = odd.trouble("which cannot be seen");
    trouble.rule.hint = format!(
        "take it out; inside of a JSON string write it as \\u{:04x} if it is meant",
        u32::from(odd.character)
    );
    Err(trouble)
}

/// Base64 with line ends anywhere.
pub(super) fn base64(text: &str) -> Result<(), Trouble> {
    match odd_in_text(text) {
        Some(odd) => Err(odd.trouble("which is not base64")),
        None => Ok(()),
    }
}

/// Places of a TOML file that cannot be seen and are not in a comment; where text is turned
/// around, in comments too.
pub(super) fn odd_in_toml(text: &str) -> Vec<Odd> {
    let mut found = Vec::new();
    let mut state = Toml::Bare;
    let (mut line, mut column) = (1, 1);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut taken = character.len_utf8();
        state = match (state, character) {
            (Toml::Comment, '\n') => Toml::Bare,
            (Toml::Bare, '#') => Toml::Comment,
            (Toml::Bare, '"' | '\'') => {
                let long: String = std::iter::repeat_n(character, 3).collect();
                if rest.starts_with(&long) {
                    taken = 3;
                    Toml::Text(character, 3)
                } else {
                    Toml::Text(character, 1)
                }
            }
            // An escape, of a quotation mark perhaps.
            (Toml::Text('"', n), '\\') if rest[1..].starts_with(['"', '\\']) => {
                taken = 2;
                Toml::Text('"', n)
            }
            (Toml::Text(quote, 3), c) if c == quote => {
                let long: String = std::iter::repeat_n(quote, 3).collect();
                if rest.starts_with(&long) {
                    taken = 3;
                    Toml::Bare
                } else {
                    state
                }
            }
            (Toml::Text(quote, _), c) if c == quote => Toml::Bare,
            // Not closed on its line: the parser will say so.
            (Toml::Text(_, 1), '\n') => Toml::Bare,
            (state, _) => state,
        };
        let at_line_end = rest.starts_with("\r\n");
        let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let counts = state != Toml::Comment || turns;
        if counts && is_odd(character) && character != '\n' && !at_line_end {
            found.push(Odd {
                line,
                column,
                character,
            });
        }
        if character == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += rest[..taken].chars().count();
        }
        rest = &rest[taken..];
    }
    found
}

/// Where in a TOML file a character stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Toml {
    Bare,
    Comment,
    /// In a string of that quotation mark, one of them or three.
    Text(char, u8),
}

#[cfg(test)]
mod tests;
