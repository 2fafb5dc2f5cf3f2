//! Files of a page: those that are part of the program, and those that are made
//! from the configuration at start.
//!
//! Invariant: every file of a page is sent with the page's policy.

use std::borrow::Cow;

use super::exchange::Reply;

pub use crate::asset::Asset;

/// One file that is made at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// The whole path under which it is served.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub body: String,
}

/// A page with all its files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pages {
    /// Files of the program.
    pub assets: &'static [Asset],
    /// Files made at start.
    pub made: Vec<Made>,
    /// The value of `Content-Security-Policy`; empty means none.
    pub policy: String,
}

impl Pages {
    /// Whether there is a file with exactly this path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.assets.iter().any(|a| a.path == path) || self.made.iter().any(|m| m.path == path)
    }

    /// The file with exactly this path, to be asked for again each time, so that an
    /// update shows.
    #[must_use]
    pub fn reply(&self, path: &str) -> Option<Reply> {
        let asset = self.assets.iter().find(|a| a.path == path);
        let asset = asset.map(|a| (a.content_type, Cow::Borrowed(a.body)));
        let (content_type, body) = asset.or_else(|| {
            let made = self.made.iter().find(|m| m.path == path)?;
            Some((
                made.content_type,
                Cow::Owned(made.body.clone().into_bytes()),
            ))
        })?;
        let mut reply = Reply {
            status: 200,
            headers: vec![
                ("Content-Type", content_type.to_owned()),
                ("Cache-Control", String::from("no-cache")),
                ("X-Content-Type-Options", String::from("nosniff")),
                ("Referrer-Policy", String::from("no-referrer")),
            ],
            body,
        };
        if !self.policy.is_empty() {
            reply = reply.with("Content-Security-Policy", self.policy.clone());
        }
        Some(reply)
    }
}
