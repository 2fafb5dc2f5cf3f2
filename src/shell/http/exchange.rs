//! A request and its reply as plain values, the way the routes see them.
//!
//! Invariant: nothing here knows the HTTP server; that is `served`'s business alone.

use base::plain::json_shown;
use std::borrow::Cow;
use std::time::Duration;

use super::super::problem::{self, Problem};

/// A request, whole and clean.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The method, as sent: methods are case-sensitive.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// What followed the question mark, or nothing.
    pub query: String,
    /// Names and values; each name occurs once.
    pub headers: Vec<(String, String)>,
    /// The body; empty means none.
    pub body: Vec<u8>,
    /// Who asks: `ip:port`, or `unix`.
    pub peer: String,
    /// The user at the other end of a unix socket, as the kernel knows it.
    pub user: Option<u32>,
}

impl Exchange {
    /// The same with who asks, as the gate writes it: `unix:` goes before a user.
    #[must_use]
    pub fn of_peer(mut self, peer: &str) -> Exchange {
        let user = peer
            .strip_prefix("unix:")
            .and_then(|user| user.parse().ok());
        self.peer = match user {
            Some(_) => String::from("unix"),
            None => peer.to_owned(),
        };
        self.user = user;
        self
    }

    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Whether the method is GET, or HEAD, which is answered like it.
    #[must_use]
    pub fn is_get(&self) -> bool {
        self.method == "GET" || self.method == "HEAD"
    }

    /// The first value of a parameter in the query; parameters here need no decoding.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v)
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Reply {
    /// A reply that must not be cached, of a given media type.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        Reply {
            status,
            headers: vec![
                ("Content-Type", content_type.to_owned()),
                ("Cache-Control", String::from("no-store")),
                ("X-Content-Type-Options", String::from("nosniff")),
            ],
            body: body.into(),
        }
    }

    /// A reply without a body.
    #[must_use]
    pub fn empty(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Cow::Borrowed(&[]),
        }
    }

    /// A JSON reply of text that is JSON already; what a terminal would obey or hide is escaped
    /// in it, since people look at it with `curl` too.
    #[must_use]
    pub fn json(status: u16, text: String) -> Reply {
        Reply::new(status, "application/json", json_shown(&text).into_bytes())
    }

    /// A problem.
    #[must_use]
    pub fn problem(problem: &Problem) -> Reply {
        Reply::new(problem.status, problem::CONTENT_TYPE, problem.body())
    }

    /// Whether it refuses a token that was given and is wrong; one that is merely over is no guess.
    #[must_use]
    pub fn is_wrong_token(&self) -> bool {
        let wrong = |(name, value): &(&str, String)| {
            *name == "WWW-Authenticate"
                && value.contains("invalid_token")
                && !value.contains("expired")
        };
        self.status == 401 && self.headers.iter().any(wrong)
    }

    /// The same reply with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// The same reply saying when to come back, in whole seconds, one at least.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Reply {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        self.with("Retry-After", seconds.to_string())
    }
}
