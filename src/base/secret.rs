//! A string that must not be seen.
//!
//! Invariant: neither `Debug` nor `Display` shows it; the one way out is
//! [`Secret::expose`], which a reader can search for. Its bytes are overwritten when
//! it goes; copies that libraries make of what they send are theirs.

use std::fmt;

use zeroize::Zeroize;

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

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
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
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_secret_shows_nothing_but_its_tail_on_demand() {
        let s = Secret::new("streaming-0-abcdefgh");
        assert_eq!(format!("{s:?} {s}"), "[hidden] [hidden]");
        assert_eq!(s.tail(), "efgh");
        assert_eq!(Secret::new("ab").tail(), "ab");
    }

    #[test]
    #[expect(
        clippy::disallowed_types,
        reason = "our own memory, seen as nobody is meant to see it, is a file"
    )]
    fn a_secret_that_goes_leaves_nothing_of_it_in_memory() {
        let text: String = (0..3_000u32)
            .map(|n| char::from(b'a' + (n % 23) as u8))
            .collect();
        let secret = Secret::new(text.clone());
        // The allocator may use the first and last bytes of what is given back.
        let at = secret.expose().as_ptr() as u64 + 1_000;
        // Nothing is allocated from here on, which might take its place.
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut found = vec![0; 1_900];
        memory.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, text.as_bytes()[1_000..2_900]);
        drop(secret);
        memory.read_exact_at(&mut found, at).unwrap();
        assert!(found != text.as_bytes()[1_000..2_900]);
    }
}
