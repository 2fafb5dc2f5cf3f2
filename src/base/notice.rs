//! What the core has to say to people: one place turns notices into log lines.
//!
//! A notice is data: a level, a stable label that rate limits and tests can
//! key on, and a sentence. Invariant: no notice carries a secret, nor personal
//! data at any level above debug (design, guarantee 9).

use crate::ids::ConversationId;

/// How much it matters (style: error means data may be lost or a person is needed).
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Level {
    /// Data may be lost or a person is needed.
    Error,
    /// Unexpected, but handled.
    Warn,
    /// Lifecycle; a handful of lines a day.
    Info,
    /// May be one per event.
    Debug,
}

/// One thing worth a line in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// Stable label such as `channel-lost`; the rate limit's key.
    pub label: &'static str,
    /// The conversation it concerns.
    pub conversation: Option<ConversationId>,
    /// The channel it concerns: slot and the last four characters of its id.
    pub channel: Option<String>,
    /// A sentence without a full stop.
    pub text: String,
}

impl Notice {
    /// A notice that concerns neither a conversation nor a channel.
    #[must_use]
    pub fn new(level: Level, label: &'static str, text: impl Into<String>) -> Notice {
        Notice {
            level,
            label,
            conversation: None,
            channel: None,
            text: text.into(),
        }
    }

    /// The same, about a conversation.
    #[must_use]
    pub fn about(mut self, conversation: ConversationId) -> Notice {
        self.conversation = Some(conversation);
        self
    }

    /// The same, about a channel.
    #[must_use]
    pub fn on(mut self, channel: impl Into<String>) -> Notice {
        self.channel = Some(channel.into());
        self
    }
}
