//! Strict JSON at the edge: what two readers might read differently is refused,
//! and what is accepted is kept as it was sent.
//!
//! Refused beyond the grammar (RFC 8259): a key twice in one object at any depth,
//! nesting beyond [`DEPTH_MAX`], text that is not UTF-8 or not Unicode. A fault
//! names the place by JSON Pointer (RFC 6901).
//!
//! Invariant: no value is converted; numbers of any size pass as text. Memory is
//! bounded by the text, the stack by [`DEPTH_MAX`].

use std::borrow::Cow;
use std::collections::HashSet;

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

fn members(text: &str) -> Option<Vec<Member<'_>>> {
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

enum Step {
    Key(String),
    Index(usize),
}

/// One pass over a text. On a flaw, `path` says where it stands.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Scan<'a> {
        Scan {
            text,
            at: 0,
            path: Vec::new(),
        }
    }

    fn fault(&self, what: Flaw) -> Fault {
        let pointer = self
            .path
            .iter()
            .map(|step| match step {
                Step::Key(key) => format!("/{}", escaped(key)),
                Step::Index(n) => format!("/{n}"),
            })
            .collect();
        Fault { pointer, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What stands here is not what the grammar wants.
    fn wrong(&self) -> Flaw {
        match self.peek() {
            None => Flaw::Unfinished,
            Some(_) => Flaw::Syntax,
        }
    }

    fn eat(&mut self, byte: u8) -> Result<(), Flaw> {
        if self.peek() != Some(byte) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn whole(&mut self) -> Result<(), Flaw> {
        self.value(0)?;
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Flaw::Trailing),
        }
    }

    /// A value with the space before it; gives its text.
    fn value(&mut self, depth: usize) -> Result<&'a str, Flaw> {
        self.space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.object(depth + 1, None)?,
            Some(b'[') => self.array(depth + 1, None)?,
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => return Err(self.wrong()),
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn object(
        &mut self,
        depth: usize,
        mut found: Option<&mut Vec<Member<'a>>>,
    ) -> Result<(), Flaw> {
        if depth > DEPTH_MAX {
            return Err(Flaw::TooDeep);
        }
        self.eat(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut names: HashSet<Cow<'a, str>> = HashSet::new();
        loop {
            self.space();
            let start = self.at;
            let name = self.string()?;
            let raw_name = self.text.get(start..self.at).unwrap_or_default();
            self.path.push(Step::Key(name.clone().into_owned()));
            if !names.insert(name.clone()) {
                return Err(Flaw::DuplicateKey);
            }
            self.space();
            self.eat(b':')?;
            let value = self.value(depth)?;
            self.path.pop();
            if let Some(found) = found.as_deref_mut() {
                found.push(Member {
                    name: name.into_owned(),
                    raw_name,
                    value,
                });
            }
            self.space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(());
            }
            self.eat(b',')?;
        }
    }

    fn array(&mut self, depth: usize, mut found: Option<&mut Vec<&'a str>>) -> Result<(), Flaw> {
        if depth > DEPTH_MAX {
            return Err(Flaw::TooDeep);
        }
        self.eat(b'[')?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            self.path.push(Step::Index(index));
            let value = self.value(depth)?;
            self.path.pop();
            if let Some(found) = found.as_deref_mut() {
                found.push(value);
            }
            self.space();
            if self.peek() == Some(b']') {
                break;
            }
            self.eat(b',')?;
        }
        self.eat(b']')
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        word.bytes().try_for_each(|b| self.eat(b))
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.wrong());
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Flaw> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(Flaw::Syntax);
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// A string; borrowed when nothing in it is escaped.
    fn string(&mut self) -> Result<Cow<'a, str>, Flaw> {
        self.eat(b'"')?;
        let mut decoded: Option<String> = None;
        loop {
            let start = self.at;
            while matches!(self.peek(), Some(b) if b >= 0x20 && b != b'"' && b != b'\\') {
                self.at += 1;
            }
            // Stops at ASCII or the end, so never within a character.
            let plain = self.text.get(start..self.at).unwrap_or_default();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match decoded {
                        None => Cow::Borrowed(plain),
                        Some(mut text) => {
                            text.push_str(plain);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    let text = decoded.get_or_insert_default();
                    text.push_str(plain);
                    text.push(c);
                }
                _ => return Err(self.wrong()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Flaw> {
        let Some(b) = self.peek() else {
            return Err(Flaw::Unfinished);
        };
        let c = match b {
            b'"' | b'\\' | b'/' => char::from(b),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(Flaw::Syntax),
        };
        self.at += 1;
        Ok(c)
    }

    fn code_point(&mut self) -> Result<char, Flaw> {
        let first = self.hex4()?;
        let code = match first {
            0xD800..=0xDBFF => {
                // A low surrogate has to follow.
                if self.peek().is_some_and(|b| b != b'\\') {
                    return Err(Flaw::NotUnicode);
                }
                self.eat(b'\\')?;
                if self.peek().is_some_and(|b| b != b'u') {
                    return Err(Flaw::NotUnicode);
                }
                self.eat(b'u')?;
                match self.hex4()? {
                    low @ 0xDC00..=0xDFFF => 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(Flaw::NotUnicode),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or(Flaw::NotUnicode)
    }

    fn hex4(&mut self) -> Result<u32, Flaw> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or_else(|| self.wrong())?;
            self.at += 1;
            code = code * 16 + digit;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
