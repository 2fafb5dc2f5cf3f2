//! Problem details: the one shape of every error answer (RFC 9457; design, section 3).
//!
//! A problem has a stable `type` for programs and a sentence for people. It may
//! not carry a secret or what a caller sent beyond the name of the culprit.
//!
//! Invariant: every problem has `type`, `title`, `status` and `detail`, and its
//! status is 400 or above.

use serde::Serialize;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

const TYPE_PREFIX: &str = "urn:genesys-gateway:problem:";

/// One error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, 400 or above.
    pub status: u16,
    /// The last part of `type`: stable, in kebab-case.
    pub kind: &'static str,
    /// The same for every problem of the kind.
    pub title: &'static str,
    /// What is wrong this time and, where it helps, what to do.
    pub detail: String,
    /// The places in the body that are to blame.
    pub errors: Vec<Culprit>,
}

/// A place in the body that is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Culprit {
    /// JSON Pointer (RFC 6901); empty means the whole body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Culprit]>::is_empty")]
    errors: &'a [Culprit],
}

impl Problem {
    /// A problem without culprits.
    #[must_use]
    pub fn new(
        status: u16,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        debug_assert!(status >= 400, "a problem is an error");
        Problem {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The same problem with one more culprit.
    #[must_use]
    pub fn blaming(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        self.errors.push(Culprit {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// The JSON text.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let body = Body {
            r#type: format!("{TYPE_PREFIX}{}", self.kind),
            title: self.title,
            status: self.status,
            detail: &self.detail,
            errors: &self.errors,
        };
        // Strings and numbers alone: this cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_the_standard_and_names_its_culprits() {
        let plain = Problem::new(404, "unknown", "Not found", "There is no \"x\" here.");
        assert_eq!(
            String::from_utf8(plain.body()).unwrap(),
            r#"{"type":"urn:genesys-gateway:problem:unknown","title":"Not found","status":404,"detail":"There is no \"x\" here."}"#
        );
        let blamed: serde_json::Value =
            serde_json::from_slice(&plain.blaming("/a~1b/0", "is twice there").body()).unwrap();
        assert_eq!(blamed["errors"][0]["pointer"], "/a~1b/0");
        assert_eq!(blamed["errors"][0]["detail"], "is twice there");
    }
}
