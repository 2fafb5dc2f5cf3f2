//! A string that must not be seen.
//!
//! Invariant: neither `Debug` nor `Display` shows it; the one way out is
//! [`Secret::expose`], which a reader can search for.

use std::fmt;

/// A secret: client secret, token, assertion, connect URI, channel id (design, guarantee 9).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, enough to tell two channels apart (design, guarantee 9).
    #[must_use]
    pub fn tail(&self) -> &str {
        let cut = self.0.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
        &self.0[cut..]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_but_its_tail_on_demand() {
        let s = Secret::new("streaming-0-abcdefgh");
        assert_eq!(format!("{s:?} {s}"), "[hidden] [hidden]");
        assert_eq!(s.tail(), "efgh");
        assert_eq!(Secret::new("ab").tail(), "ab");
    }
}
