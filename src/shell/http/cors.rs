//! Cross-origin requests of browsers, for the origins listed and no other.
//!
//! Invariant: an answer names an origin only if that very origin is listed; a
//! wildcard is never sent.

use super::exchange::{Exchange, Reply};

/// The origins that a browser may call from.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

/// How long a browser may remember a preflight.
const REMEMBER_S: u32 = 600;

impl Origins {
    /// Takes origins such as `https://apps.mypurecloud.de`.
    #[must_use]
    pub fn new(origins: impl IntoIterator<Item = String>) -> Origins {
        let lower = |o: String| o.trim_end_matches('/').to_ascii_lowercase();
        Origins(origins.into_iter().map(lower).collect())
    }

    fn lists(&self, origin: &str) -> bool {
        self.0
            .iter()
            .any(|o| *o != "*" && o.eq_ignore_ascii_case(origin))
    }

    /// The answer to a preflight from a listed origin; nothing for anything else.
    #[must_use]
    pub fn preflight(&self, x: &Exchange, methods: &str) -> Option<Reply> {
        if x.method != "OPTIONS" || x.header("Access-Control-Request-Method").is_none() {
            return None;
        }
        x.header("Origin").filter(|origin| self.lists(origin))?;
        let reply = Reply::empty(204)
            .with("Access-Control-Allow-Methods", methods)
            .with(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key",
            )
            .with("Access-Control-Max-Age", REMEMBER_S.to_string());
        Some(reply)
    }

    /// Lets a listed origin read the reply.
    #[must_use]
    pub fn decorate(&self, x: &Exchange, mut reply: Reply) -> Reply {
        reply.headers.extend(self.fields(x.header("Origin")));
        reply
    }

    /// The header fields that let this origin read an answer, if it is listed.
    #[must_use]
    pub fn fields(&self, origin: Option<&str>) -> Vec<(&'static str, String)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut fields = vec![("Vary", String::from("Origin"))];
        if let Some(origin) = origin.filter(|o| self.lists(o)) {
            fields.push(("Access-Control-Allow-Origin", origin.to_owned()));
            fields.push((
                "Access-Control-Expose-Headers",
                String::from("Location, Retry-After, WWW-Authenticate"),
            ));
        }
        fields
    }
}
