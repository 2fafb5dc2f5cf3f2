//! The grammar: one pass over a text, without a copy of what is not escaped.
//!
//! Invariant: the pass ends at the first flaw, and its path says where that is.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{DEPTH_MAX, Fault, Flaw, Member, escaped};

enum Step {
    Key(String),
    Index(usize),
}

/// One pass over a text. On a flaw, `path` says where it stands.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Scan<'a> {
        Scan {
            text,
            at: 0,
            path: Vec::new(),
        }
    }

    pub(super) fn fault(&self, what: Flaw) -> Fault {
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

    pub(super) fn peek(&self) -> Option<u8> {
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

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn whole(&mut self) -> Result<(), Flaw> {
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

    pub(super) fn object(
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

    pub(super) fn array(
        &mut self,
        depth: usize,
        mut found: Option<&mut Vec<&'a str>>,
    ) -> Result<(), Flaw> {
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
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Flaw> {
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
