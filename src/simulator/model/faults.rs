//! Faults: hardships that are ordered, not configured.
//!
//! Invariant: every list here is bounded; a fault that is used up is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use uuid::Uuid;

use super::rest::Call;
use super::switches::EventDelivery;
use super::topics::{Topic, glob};
use base::ids::ConversationId;

/// Longest list of faults of one sort.
pub(super) const FAULTS_MOST: usize = 10_000;

/// A frame that no documentation announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// An event of an unknown topic.
    UnknownTopic,
    /// A system frame of an unknown sort.
    UnknownSystem,
    /// Text that is not JSON.
    NotJson,
    /// JSON that is not an object.
    NotAnObject,
    /// An empty text frame.
    Empty,
    /// An object without a topic name.
    NoTopic,
    /// A confirmation with a correlation id that was never used.
    ForeignReply,
}

/// How a REST call is made to fail. An upgrade that is to be late is refused
/// late, with 503; one that is to hang is never answered.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    tag = "with"
)]
pub enum RestFailure {
    /// A status with an API error body; nothing is done.
    Status {
        /// The status, 400 to 599.
        status: u16,
        /// The `code` member; a common one for the status if missing.
        #[serde(default)]
        code: Option<String>,
        /// `Retry-After` in seconds, or any text.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// A status with a page of HTML, as of a proxy; nothing is done.
    Html {
        /// The status.
        status: u16,
    },
    /// The call never ends. The shell keeps the connection open.
    Hang {
        /// Whether the call takes effect all the same.
        #[serde(default = "yes")]
        applied: bool,
    },
    /// The connection is closed without an answer.
    NoAnswer {
        /// Whether the call takes effect all the same.
        #[serde(default = "yes")]
        applied: bool,
    },
    /// The answer is right and late.
    Delay {
        /// How late.
        delay_ms: u64,
    },
    /// Status 200 with a body that is not JSON.
    Garbage,
}

fn yes() -> bool {
    true
}

/// Failures waiting for their calls.
#[derive(Clone, Debug)]
pub(super) struct RestFault {
    pub(super) call: Option<Call>,
    pub(super) times: u32,
    pub(super) failure: RestFailure,
}

/// What happens to event frames until it is over.
#[derive(Clone, Debug)]
pub(super) struct EventFault {
    pub(super) mode: EventDelivery,
    pub(super) percent: u64,
    pub(super) delay_ms: u64,
    pub(super) times: Option<u32>,
}

/// How a conversation is refused over REST.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
}

/// All faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) rest: VecDeque<RestFault>,
    /// Ids of clients that get no token.
    pub(super) disabled: BTreeSet<String>,
    /// Ids of clients that may make no channels.
    pub(super) no_channels: BTreeSet<String>,
    pub(super) events: Option<EventFault>,
    pub(super) refused_patterns: Vec<String>,
    pub(super) refused_topics_of: BTreeMap<Uuid, ()>,
    pub(super) refused_conversations: BTreeMap<ConversationId, Refused>,
    pub(super) refused_all_conversations: Option<Refused>,
    pub(super) missing_permissions: Vec<String>,
}

/// The permission that the detail topics need ([inferred], protocol, section 2.7).
pub(super) const DETAIL_PERMISSION: &str = "analytics:conversationDetail:view";

/// The permission that `GET /conversations/{id}` needs.
pub(super) const COMMUNICATION_PERMISSION: &str = "conversation:communication:view";

impl Faults {
    /// The failure for this call, if one waits; it is counted as used.
    pub(super) fn next_rest(&mut self, call: Call) -> Option<RestFailure> {
        let at = self
            .rest
            .iter()
            .position(|f| f.call.is_none_or(|wanted| wanted == call))?;
        let fault = self.rest.get_mut(at)?;
        let failure = fault.failure.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.rest.remove(at);
        }
        Some(failure)
    }

    pub(super) fn lacks(&self, permission: &str) -> bool {
        self.missing_permissions.iter().any(|p| p == permission)
    }

    /// The permission that is missing for a topic, if one is.
    pub(super) fn missing_for(&self, topic: &Topic) -> Option<&'static str> {
        let conversation = topic.conversation();
        let refused = self.refused_patterns.iter().any(|p| glob(p, &topic.key))
            || conversation.is_some_and(|id| self.refused_topics_of.contains_key(&id))
            || conversation.is_some() && self.lacks(DETAIL_PERMISSION);
        refused.then_some(DETAIL_PERMISSION)
    }

    /// How a conversation is refused over REST, if it is.
    pub(super) fn refused_conversation(&self, id: ConversationId) -> Option<Refused> {
        let lacking = || {
            self.lacks(COMMUNICATION_PERMISSION).then(|| Refused {
                status: 403,
                headers: Vec::new(),
            })
        };
        let one = self.refused_conversations.get(&id);
        one.or(self.refused_all_conversations.as_ref())
            .cloned()
            .or_else(lacking)
    }
}
