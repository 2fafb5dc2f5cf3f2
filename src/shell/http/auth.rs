//! Bearer tokens of callers (RFC 6750).
//!
//! Invariant: how long a refusal takes tells nothing about a token: digests are
//! compared, all of them, to the end. No token appears in `Debug`.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use ring::digest::{SHA256, digest};

use super::exchange::{Exchange, Reply};
use crate::shell::problem::Problem;
use base::secret::Secret;
use notifications::shared::Shared;

/// The tokens that open a listener; each is as good as any other.
/// Clones share them, so that a reload reaches every connection.
#[derive(Clone)]
pub struct Tokens(Shared<Arc<[[u8; 32]]>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.get().len())
    }
}

/// SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// The bearer token that an exchange carries, whatever it is worth.
pub(super) fn bearer(x: &Exchange) -> Option<&str> {
    // `1*SP` before the token, and nothing is taken off it (RFC 9110, section 11.4).
    let (scheme, token) = x.header("Authorization")?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

fn digests<'a>(tokens: impl IntoIterator<Item = &'a Secret>) -> Arc<[[u8; 32]]> {
    let digest = |token: &Secret| {
        notifications::redaction::learn(token);
        sha256(token.expose().as_bytes())
    };
    tokens.into_iter().map(digest).collect()
}

impl Tokens {
    /// Takes the tokens; an empty list opens to nobody.
    #[must_use]
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a Secret>) -> Tokens {
        Tokens(Shared::new(digests(tokens)))
    }

    /// Other tokens from now on; those before open nothing any more.
    pub fn replace<'a>(&self, tokens: impl IntoIterator<Item = &'a Secret>) {
        self.0.set(digests(tokens));
    }

    pub(super) fn admits(&self, token: &str) -> bool {
        let given = sha256(token.as_bytes());
        let mut found = false;
        for known in self.0.get().iter() {
            let mut difference = 0_u8;
            for (a, b) in known.iter().zip(&given) {
                difference = black_box(difference | (a ^ b));
            }
            found |= difference == 0;
        }
        found
    }

    /// Nothing if the exchange carries one of the tokens, else the refusal.
    #[must_use]
    pub fn refuse(&self, x: &Exchange) -> Option<Reply> {
        let given = bearer(x);
        let (challenge, detail) = match given {
            Some(token) if self.admits(token) => return None,
            Some(_) => (
                "Bearer realm=\"genesys-gateway\", error=\"invalid_token\"",
                "The token is not one of those that this listener knows.",
            ),
            None => (
                "Bearer realm=\"genesys-gateway\"",
                "Send a token in the header Authorization: Bearer.",
            ),
        };
        let problem = Problem::new(401, "unauthorized", "A token is needed", detail);
        Some(Reply::problem(&problem).with("WWW-Authenticate", challenge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_tokens_opens_and_nothing_else_does() {
        let tokens = Tokens::new(&[Secret::new("alpha"), Secret::new("beta")]);
        let with = |value: &str| Exchange {
            headers: vec![("authorization".into(), value.into())],
            ..Exchange::default()
        };
        for good in ["Bearer alpha", "bearer beta", "BEARER  alpha"] {
            assert!(tokens.refuse(&with(good)).is_none(), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer alph",
            "Bearer alphaa",
            "Bearer alpha=",
            "Bearer alpha====",
            "Bearer =alpha",
            "Bearer alpha ",
            "Bearer alpha\t",
            "Bearer \talpha",
            "Bearer\talpha",
            "Bearer alpha, Bearer alpha",
            "Bearer alpha alpha",
            "Bearer \"alpha\"",
            "Bearer Alpha",
            "Bearer token=alpha",
            " Bearer alpha",
            "Basic alpha",
            "alpha",
        ] {
            let reply = tokens.refuse(&with(bad)).expect(bad);
            assert_eq!(reply.status, 401);
            assert!(
                reply
                    .headers
                    .iter()
                    .any(|(n, v)| *n == "WWW-Authenticate" && v.starts_with("Bearer "))
            );
        }
        assert!(tokens.refuse(&Exchange::default()).is_some());
        let none: [Secret; 0] = [];
        assert!(Tokens::new(&none).refuse(&with("Bearer ")).is_some());
        assert_eq!(format!("{tokens:?}"), "2 tokens");
        let elsewhere = tokens.clone();
        tokens.replace(&[Secret::new("gamma")]);
        assert!(elsewhere.refuse(&with("Bearer gamma")).is_none());
        assert!(elsewhere.refuse(&with("Bearer alpha")).is_some());
    }
}
