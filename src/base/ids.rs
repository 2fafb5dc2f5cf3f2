//! Identifiers that cannot be wrong: parsed once at the edge, compared below it.
//!
//! Invariant: a [`ConversationId`] is a UUID and prints in lower case; nothing
//! below the edge checks it again.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// A conversation of the platform: a UUID, compared and shown in lower case (design, section 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(pub Uuid);

/// A record of ours, and the `Idempotency-Key` under which it is filed (design, section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub Uuid);

/// The text was not a UUID of 36 characters with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAUuid;

impl fmt::Display for NotAUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a UUID such as 7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47")
    }
}

impl std::error::Error for NotAUuid {}

fn hyphenated(text: &str) -> Result<Uuid, NotAUuid> {
    // `Uuid` also reads the braced, URN and bare forms, which no caller here means.
    if text.len() != 36 {
        return Err(NotAUuid);
    }
    Uuid::try_parse(text).map_err(|_| NotAUuid)
}

macro_rules! uuid_newtype {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = NotAUuid;
            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                hyphenated(text).map($name)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
uuid_newtype!(ConversationId);
uuid_newtype!(RecordId);

/// A notification topic: matched without regard to case (protocol, section 4.5), and
/// written as whoever named it wrote it. Cheap to clone.
#[derive(Clone)]
pub struct Topic {
    lower: Arc<str>,
    /// Where that differs.
    written: Option<Arc<str>>,
}

impl Topic {
    /// Any topic name.
    #[must_use]
    pub fn new(name: &str) -> Topic {
        let odd = name.bytes().any(|b| b.is_ascii_uppercase());
        Topic {
            lower: name.to_ascii_lowercase().into(),
            written: odd.then(|| name.into()),
        }
    }

    /// The name, lower case: what two spellings have in common.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.lower
    }

    /// The name as it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.lower)
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Topic) -> bool {
        self.lower == other.lower
    }
}

impl Eq for Topic {}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Topic) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Topic) -> Ordering {
        self.lower.cmp(&other.lower)
    }
}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lower.hash(state);
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_id_is_read_in_any_letter_case_and_shown_in_lower_case() {
        let id: ConversationId = "7C1F4B9E-5D0A-4C58-9A3E-2F6B8D1E0C47".parse().unwrap();
        assert_eq!(id.to_string(), "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47");
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        for bad in [
            "",
            "7c1f4b9e5d0a4c589a3e2f6b8d1e0c47",
            "{7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47}",
            "urn:uuid:7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
            "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c4g",
        ] {
            assert_eq!(bad.parse::<ConversationId>(), Err(NotAUuid), "{bad}");
        }
    }

    #[test]
    fn a_topic_is_one_in_any_case_and_is_written_as_it_was_named() {
        let (a, b) = (Topic::new("v2.Users.X"), Topic::new("v2.users.x"));
        assert_eq!(a, b);
        assert_eq!(a.cmp(&b), Ordering::Equal);
        assert_eq!((a.as_str(), a.written()), ("v2.users.x", "v2.Users.X"));
        assert_eq!(b.written(), "v2.users.x");
    }
}
