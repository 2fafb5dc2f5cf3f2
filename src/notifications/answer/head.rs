//! The head of an answer, read as it comes: status line, fields, and how long
//! the body is.
//!
//! Invariant: pure; no bytes make it grow beyond its bounds, and whatever leaves
//! a doubt about where the answer ends marks it as not to be followed by another.

use std::fmt::Write as _;

/// Bytes of heads before the answer, interim ones included, that are read at all.
const READ_MAX: usize = 1024 * 1024;
/// The longest line that is understood; what is longer is left out.
const LINE_MAX: usize = 8 * 1024;
/// Fields that are handed on, in bytes: below what the library takes.
const KEPT_MAX: usize = 12 * 1024;
/// Of these so many are kept for fields that somebody reads.
const KEPT_FOR_KNOWN: usize = 6 * 1024;
/// And in number: below what the library takes.
const FIELDS_MAX: usize = 48;
/// Values of a field about framing that are looked at.
const FRAMING_MAX: usize = 8;

/// Fields that somebody reads, besides all `inin-…`.
const KNOWN: [&str; 5] = [
    "retry-after",
    "location",
    "content-type",
    "www-authenticate",
    "date",
];

/// How far the head is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// There is more to come.
    More,
    /// It is complete, or so long that no end is waited for.
    Done,
    /// That is no HTTP.
    Garbage,
}

/// How long the body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length(u64),
    Chunked,
    /// Until the connection is closed, as it may be.
    Close,
    /// Nobody knows.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Status {
    code: u16,
    /// HTTP/1.1, which keeps connections and knows chunks.
    one_one: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Head {
    read: usize,
    line: Vec<u8>,
    /// The line is longer than [`LINE_MAX`].
    overlong: bool,
    status: Option<Status>,
    /// Anything that leaves a doubt.
    doubt: bool,
    /// It has no end that is worth waiting for.
    unending: bool,
    fields: Vec<(String, Vec<u8>)>,
    kept: usize,
    lengths: Vec<Vec<u8>>,
    codings: Vec<Vec<u8>>,
    connection: Vec<Vec<u8>>,
    last: Last,
}

/// Where a folded line belongs.
#[derive(Clone, Copy, Debug, Default)]
enum Last {
    #[default]
    Nowhere,
    Field,
    Length,
    Coding,
}

impl Head {
    /// Takes bytes; how many of them, and how far it is.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Read) {
        for (n, byte) in bytes.iter().enumerate() {
            self.read += 1;
            if self.read > READ_MAX {
                self.unending = true;
                self.doubt = true;
                let read = if self.is_final() {
                    Read::Done
                } else {
                    Read::Garbage
                };
                return (n + 1, read);
            }
            if *byte != b'\n' {
                if self.line.len() < LINE_MAX {
                    self.line.push(*byte);
                } else {
                    self.overlong = true;
                }
                if self.status.is_none() && !may_begin(&self.line) {
                    return (n + 1, Read::Garbage);
                }
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            match line.last() {
                Some(b'\r') => {
                    line.pop();
                }
                _ if self.overlong => {}
                // Lines that end in LF alone are understood differently by different programs.
                _ => self.doubt = true,
            }
            let overlong = std::mem::take(&mut self.overlong);
            match self.line_ends(&line, overlong) {
                Read::More => {}
                read => return (n + 1, read),
            }
        }
        (bytes.len(), Read::More)
    }

    fn is_final(&self) -> bool {
        self.status.is_some_and(|s| s.code >= 200)
    }

    fn line_ends(&mut self, line: &[u8], overlong: bool) -> Read {
        let Some(status) = self.status else {
            // Empty lines before a status line are left over from others.
            if line.is_empty() {
                self.doubt = true;
                return Read::More;
            }
            self.status = status_line(line);
            return match self.status {
                Some(status) => {
                    // Nobody asked for another protocol.
                    self.doubt |= status.code == 101;
                    Read::More
                }
                None => Read::Garbage,
            };
        };
        if !line.is_empty() || overlong {
            self.field(line, overlong);
            return Read::More;
        }
        if status.code >= 200 {
            return Read::Done;
        }
        // An interim answer, whatever it says.
        let (read, doubt) = (self.read, self.doubt);
        *self = Head {
            read,
            doubt,
            ..Head::default()
        };
        Read::More
    }

    fn field(&mut self, line: &[u8], overlong: bool) {
        if let Some(b' ' | b'\t') = line.first() {
            self.doubt = true;
            self.fold(line.trim_ascii());
            return;
        }
        self.last = Last::Nowhere;
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            self.doubt = true;
            return;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let bare = name.trim_ascii_end();
        self.doubt |= bare.len() != name.len();
        if bare.is_empty() || !bare.iter().all(|b| is_token(*b)) {
            self.doubt = true;
            return;
        }
        let name = String::from_utf8_lossy(bare).to_ascii_lowercase();
        let odd = value.iter().any(|b| is_control(*b));
        self.doubt |= odd;
        let framing = match name.as_str() {
            "content-length" => Some((&mut self.lengths, Last::Length)),
            "transfer-encoding" => Some((&mut self.codings, Last::Coding)),
            "connection" => Some((&mut self.connection, Last::Nowhere)),
            _ => None,
        };
        if let Some((values, last)) = framing {
            self.doubt |= overlong || values.len() >= FRAMING_MAX;
            if values.len() < FRAMING_MAX {
                values.push(value.to_vec());
            }
            self.last = last;
            return;
        }
        let known = KNOWN.contains(&name.as_str()) || name.starts_with("inin-");
        let size = name.len() + value.len() + 4;
        let room = if known {
            KEPT_MAX
        } else {
            KEPT_MAX - KEPT_FOR_KNOWN
        };
        let places = if known { FIELDS_MAX } else { FIELDS_MAX / 2 };
        if overlong || odd || self.kept + size > room || self.fields.len() >= places {
            return;
        }
        self.kept += size;
        self.fields.push((name, value.to_vec()));
        self.last = Last::Field;
    }

    /// A line that goes on with the one before it.
    fn fold(&mut self, more: &[u8]) {
        let value = match self.last {
            Last::Nowhere => None,
            Last::Field => self.fields.last_mut().map(|(_, value)| value),
            Last::Length => self.lengths.last_mut(),
            Last::Coding => self.codings.last_mut(),
        };
        let (size, odd) = (more.len() + 1, more.iter().any(|b| is_control(*b)));
        if let Some(value) = value
            && !odd
            && self.kept + size <= KEPT_MAX
        {
            self.kept += size;
            if !value.is_empty() {
                value.push(b' ');
            }
            value.extend_from_slice(more);
        }
    }

    fn framing(&mut self, status: Status) -> Framing {
        if !self.codings.is_empty() {
            let codings = self.codings.join(&b',');
            let chunked = codings.trim_ascii().eq_ignore_ascii_case(b"chunked");
            // With a length besides, one of two readers sees another end.
            self.doubt |= !self.lengths.is_empty();
            return if chunked && status.one_one {
                Framing::Chunked
            } else {
                Framing::Unknown
            };
        }
        let values = self.lengths.join(&b',');
        if self.lengths.is_empty() {
            return Framing::Close;
        }
        let mut parts = values.split(|b| *b == b',').map(<[u8]>::trim_ascii);
        let first = parts.next().unwrap_or_default();
        let number = std::str::from_utf8(first).ok().and_then(|t| {
            let digits = !t.is_empty() && t.len() <= 18 && t.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| t.parse().ok()).flatten()
        });
        let mut others = 0;
        let same = parts.all(|part| {
            others += 1;
            part == first
        });
        self.doubt |= others > 0;
        match number {
            Some(n) if same => Framing::Length(n),
            _ => Framing::Unknown,
        }
    }

    /// The head to hand on, and whether the body has no known end. Of a request that was not
    /// sent to its end nothing follows on the connection.
    pub(super) fn clean(&mut self, broken: bool) -> Option<(Vec<u8>, bool)> {
        let status = self.status.filter(|s| s.code >= 200)?;
        // Who wants the whole of it is told that it is not the whole.
        let framing = if self.unending {
            Framing::Length(1)
        } else {
            self.framing(status)
        };
        let says = |word: &str| {
            let values = self.connection.iter().flat_map(|v| v.split(|b| *b == b','));
            let mut values = values.map(<[u8]>::trim_ascii);
            values.any(|v| v.eq_ignore_ascii_case(word.as_bytes()))
        };
        let keeps = if status.one_one {
            !says("close")
        } else {
            says("keep-alive") && !says("close")
        };
        let close = self.doubt || broken || !keeps || framing == Framing::Unknown;
        let mut head = format!("HTTP/1.1 {} -\r\n", status.code);
        let written = match framing {
            Framing::Length(n) => write!(head, "content-length: {n}\r\n"),
            Framing::Chunked => write!(head, "transfer-encoding: chunked\r\n"),
            Framing::Close | Framing::Unknown => Ok(()),
        };
        if written.is_err() {
            return None;
        }
        if close {
            head.push_str("connection: close\r\n");
        }
        let mut head = head.into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Some((head, framing == Framing::Unknown))
    }

    /// The same where the head breaks off after a whole status line.
    pub(super) fn cut_off(&mut self) -> Option<(Vec<u8>, bool)> {
        self.unending = true;
        self.doubt = true;
        self.clean(true)
    }
}

/// Whether a status line may begin so, after empty lines.
fn may_begin(line: &[u8]) -> bool {
    let line = if line == b"\r" { &[] } else { line };
    let common = line.len().min(5);
    line.get(..common)
        .zip(b"HTTP/".get(..common))
        .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// `HTTP/1.1 200`, with or without a reason.
fn status_line(line: &[u8]) -> Option<Status> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let version = words.next()?.to_ascii_uppercase();
    let version = version.strip_prefix("HTTP/")?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    if !digits(major) || !digits(minor) {
        return None;
    }
    let code = words.next().filter(|t| t.len() == 3 && digits(t))?;
    let code = code.parse().ok().filter(|c| *c >= 100)?;
    Some(Status {
        code,
        one_one: version == "1.1",
    })
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn is_control(b: u8) -> bool {
    (b < 0x20 && b != b'\t') || b == 0x7f
}
