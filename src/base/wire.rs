//! One HTTP exchange as plain values, so that codecs, the simulator's model and
//! the simulation speak of requests without a socket.
//!
//! Invariant: no I/O, and `Debug` of either shows no header value and no body,
//! because both may carry secrets or personal data.

use std::borrow::Cow;
use std::fmt;

use crate::cause::Cause;

/// A request as the core composes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Method in upper case.
    pub method: &'static str,
    /// Absolute URL.
    pub url: String,
    /// Header names and values, in order; names in any case.
    pub headers: Vec<(String, String)>,
    /// Body; empty means none.
    pub body: Vec<u8>,
}

/// An answer as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names and values, in order; names in any case.
    pub headers: Vec<(String, String)>,
    /// Body, already cut to the caller's limit.
    pub body: Vec<u8>,
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_str())
}

impl Request {
    /// The first header of that name, without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl Response {
    /// An answer with a status, no headers and no body.
    #[must_use]
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Response {
        Response {
            status,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// The first header of that name, without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.method, self.body.len())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// Why an exchange brought no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// Nobody was free to send it.
    NotSent,
    /// Name resolution, refusal, proxy, TLS: the request did not leave.
    Unreached(Cause),
    /// The request left, or may have; what became of it is unknown.
    Unknown,
    /// The deadline passed; what became of the request is unknown.
    TimedOut,
    /// The answer was larger than the limit or not HTTP.
    Garbled,
}

impl NoAnswer {
    /// A sentence fragment for people.
    #[must_use]
    pub fn sentence(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            NoAnswer::Unreached(cause) => {
                return Cow::Owned(format!("could not be reached: {}", cause.words()));
            }
            NoAnswer::NotSent => "was not asked",
            NoAnswer::Unknown => "broke the connection before answering",
            NoAnswer::TimedOut => "did not answer in time",
            NoAnswer::Garbled => "gave an answer that is not understood",
        })
    }
}
