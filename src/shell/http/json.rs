//! Strict JSON at the edge: what two readers might read differently is refused,
//! and what is accepted is kept as it was sent.
//!
//! Refused beyond the grammar (RFC 8259): a key twice in one object at any depth,
//! nesting beyond [`DEPTH_MAX`], text that is not UTF-8 or not Unicode. A fault
//! names the place by JSON Pointer (RFC 6901).
//!
//! Invariant: no value is converted; numbers of any size pass as text. Memory is
//! bounded by the text, the stack by [`DEPTH_MAX`].

mod scan;

use std::borrow::Cow;

use scan::Scan;

/// How deep objects and arrays may nest.
pub const DEPTH_MAX: usize = 64;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON Pointer of the culprit; empty means the whole text.
    pub pointer: String,
    /// What is wrong there.
    pub what: Flaw,
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The text ends too early.
    Unfinished,
    /// Something stands where the grammar allows it not.
    Syntax,
    /// Something follows after the value.
    Trailing,
    /// A key occurs twice in its object.
    DuplicateKey,
    /// Nested beyond [`DEPTH_MAX`].
    TooDeep,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Half of a surrogate pair.
    NotUnicode,
}

impl Flaw {
    /// A sentence fragment for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Flaw::Unfinished => "the JSON text ends too early",
            Flaw::Syntax => "the JSON text is malformed here",
            Flaw::Trailing => "something follows after the JSON value",
            Flaw::DuplicateKey => "this key occurs twice in its object",
            Flaw::TooDeep => "objects and arrays are nested too deeply here",
            Flaw::NotUtf8 => "the text is not UTF-8 here",
            Flaw::NotUnicode => "a string holds half of a surrogate pair",
        }
    }
}

/// A member of an object, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, decoded.
    pub name: String,
    /// The key as sent, quotes included.
    pub raw_name: &'a str,
    /// The value as sent.
    pub value: &'a str,
}

/// A text that has been found to be one strict JSON value.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a>(&'a str);

impl<'a> Document<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// The peer: the first fault in the text.
    pub fn parse(bytes: &'a [u8]) -> Result<Document<'a>, Fault> {
        let (text, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(e) => {
                let clean = bytes.get(..e.valid_up_to()).unwrap_or_default();
                (std::str::from_utf8(clean).unwrap_or_default(), true)
            }
        };
        let mut scan = Scan::new(text);
        let outcome = scan.whole();
        match outcome {
            // The clean part is a beginning: the place where it ends is to blame.
            Err(Flaw::Unfinished) if broken => Err(scan.fault(Flaw::NotUtf8)),
            Err(what) => Err(scan.fault(what)),
            Ok(()) if broken => Err(scan.fault(Flaw::NotUtf8)),
            Ok(()) => Ok(Document(text.trim_ascii())),
        }
    }

    /// The text, without the space around it.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The members in the order sent; nothing if it is not an object.
    #[must_use]
    pub fn members(self) -> Option<Vec<Member<'a>>> {
        members(self.0)
    }

    /// The value at a place, as sent.
    #[must_use]
    pub fn at(self, place: &Pointer) -> Option<&'a str> {
        let mut here = self.0;
        for token in &place.0 {
            here = match here.as_bytes().first() {
                Some(b'{') => {
                    let found = members(here)?.into_iter().find(|m| m.name == *token)?;
                    found.value
                }
                Some(b'[') => {
                    // RFC 6901: digits without leading zeros.
                    if token.len() > 1 && token.starts_with('0') {
                        return None;
                    }
                    let index: usize = token.parse().ok()?;
                    elements(here)?.get(index).copied()?
                }
                _ => return None,
            };
        }
        Some(here)
    }
}

/// The content of a JSON string; nothing if the value is not a string.
#[must_use]
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let mut scan = Scan::new(value);
    if scan.peek() != Some(b'"') {
        return None;
    }
    scan.string().ok()
}

/// The text of an object with these members.
#[must_use]
pub fn object<'a>(members: impl Iterator<Item = &'a Member<'a>>) -> String {
    let mut out = String::from("{");
    for member in members {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(member.raw_name);
        out.push(':');
        out.push_str(member.value);
    }
    out.push('}');
    out
}

/// A JSON Pointer to a place within an object (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Reads a pointer; nothing if it is not one, or points to the whole text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Pointer> {
        let rest = text.strip_prefix('/')?;
        let mut tokens = Vec::new();
        for raw in rest.split('/') {
            let mut token = String::new();
            let mut chars = raw.chars();
            while let Some(c) = chars.next() {
                token.push(match c {
                    '~' => match chars.next()? {
                        '0' => '~',
                        '1' => '/',
                        _ => return None,
                    },
                    c => c,
                });
            }
            tokens.push(token);
        }
        Some(Pointer(tokens))
    }

    /// The member of the outermost object within which the place is, or which is the place.
    #[must_use]
    pub fn outermost(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// True if the value of [`Pointer::outermost`] holds nothing but the way to the place.
    #[must_use]
    pub fn is_all_of(&self, value: &str) -> bool {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(value) else {
            return false;
        };
        let mut at = &value;
        for token in self.0.iter().skip(1) {
            let next = match at {
                serde_json::Value::Object(inner) if inner.len() == 1 => inner.get(token),
                serde_json::Value::Array(inner) if token == "0" && inner.len() == 1 => {
                    inner.first()
                }
                _ => None,
            };
            match next {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }

    /// The key, if the pointer points to a member of the outermost object.
    #[must_use]
    pub fn top_level(&self) -> Option<&str> {
        match self.0.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for token in &self.0 {
            write!(f, "/{}", escaped(token))?;
        }
        Ok(())
    }
}

fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// The members of an object in the order sent; nothing if it is none.
pub(super) fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut found = Vec::new();
    let mut scan = Scan::new(text);
    scan.space();
    if scan.peek() != Some(b'{') {
        return None;
    }
    scan.object(1, Some(&mut found)).ok()?;
    Some(found)
}

fn elements(text: &str) -> Option<Vec<&str>> {
    let mut found = Vec::new();
    let mut scan = Scan::new(text);
    scan.array(1, Some(&mut found)).ok()?;
    Some(found)
}

#[cfg(test)]
mod tests;
