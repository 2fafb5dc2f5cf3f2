//! Identifiers that cannot be wrong: parsed once at the edge, compared below it.
//!
//! Invariant: a [`ConversationId`] is a UUID and prints in lower case; nothing
//! below the edge checks it again.

use std::fmt;
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

/// A notification topic, in lower case: the platform's topics are matched
/// without regard to case (protocol, section 4.5). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Any topic name, lowered.
    #[must_use]
    pub fn new(name: &str) -> Topic {
        Topic(name.to_ascii_lowercase().into())
    }

    /// The name, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
}
