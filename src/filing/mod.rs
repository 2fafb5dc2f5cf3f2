//! The filing half of the core: interactions, after-call-work records, the
//! outbox and the history manager.
//!
//! It knows no sockets, channels or tokens, only "watch this topic", "topic is
//! live", "event", "gap in these topics", "this conversation as REST shows it".
//! It reads no clock and does no I/O: facts come in with [`Filing::handle`],
//! orders come out of [`Filing::poll_output`] until it is empty, and then
//! [`Filing::next_deadline`] says when to come back, and why.
//!
//! Invariants: nothing is answered, unwatched or posted before the change
//! behind it is committed; a watched conversation is live, being subscribed,
//! or due for a check.

mod answers;
pub mod caller;
mod callers;
mod checks;
mod commit;
mod commits;
pub mod destination;
mod draft;
mod events;
mod interaction;
mod machine;
mod outbox;
mod posts;
pub mod reconcile;
pub mod record;
pub mod rows;
pub mod settings;
mod snapshot;
pub mod template;
pub mod verdict;

use std::time::Duration;

use crate::ids::{ConversationId, RecordId, Topic};
use crate::notice::Notice;
use crate::time::Now;

pub use caller::{Act, Answer, CallerId, CallerRequest};
pub use machine::Filing;
pub use rows::{StoreFact, StoreOrder};
pub use settings::{Settings, Until};
pub use snapshot::{
    AGE_BOUNDS, FilingSnapshot, LATENCY_BOUNDS_MS, Latency, TroubleSnapshot, WatchState,
};

/// What filing is told.
#[derive(Clone, PartialEq)]
pub enum Fact {
    /// A caller waits for an [`Order::Answer`].
    Caller {
        /// Who.
        caller: CallerId,
        /// What.
        request: CallerRequest,
    },
    /// From the platform client.
    Platform(PlatformFact),
    /// From the store.
    Store(StoreFact),
    /// A try to file a record has ended.
    Posted {
        /// Which record.
        record: RecordId,
        /// How it went.
        outcome: PostOutcome,
    },
    /// Time has passed; look at the deadlines.
    Tick,
}

/// What the platform client tells filing.
#[derive(Clone, PartialEq)]
pub enum PlatformFact {
    /// The subscription of this topic is confirmed.
    Live {
        /// Which topic.
        topic: Topic,
    },
    /// These topics were live, or may have been, and were not for a while or are
    /// not now: whatever was announced since the last sign of life is lost. Each is
    /// reported `Live` again when it is. Until then they are being subscribed.
    Gap {
        /// Which topics.
        topics: Vec<Topic>,
        /// Label of the cause, for the log and metrics.
        cause: &'static str,
    },
    /// The platform rejects the topic; it is no longer watched.
    Refused {
        /// Which topic.
        topic: Topic,
        /// Why, with the missing permission if known.
        detail: String,
    },
    /// An event on a watched topic, or on one just given up.
    Event {
        /// Which topic.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
    },
    /// A conversation, or several, as REST shows them.
    Fetched {
        /// What was asked.
        fetch: Fetch,
        /// When it was asked: the answer is evidence for no later moment.
        asked_at: Now,
        /// What came.
        outcome: FetchOutcome,
    },
}

/// A question to the platform about conversations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetch {
    /// `GET /api/v2/conversations/{id}` (protocol, section 11.1): prompt.
    One(ConversationId),
    /// `GET /api/v2/analytics/conversations/details?id=…` (section 11.2): late, many at once.
    Many(Vec<ConversationId>),
}

/// What a question brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchOutcome {
    /// The JSON as it came: a `Conversation`, or `{"conversations":[…]}`.
    Found(String),
    /// 404.
    NotFound,
    /// 401 that a new token did not cure, or 403: REST cannot tell.
    Denied(String),
    /// Too many ids, or too large an answer: ask for fewer.
    TooMany,
    /// No answer, 5xx, garbled; ask again later.
    Trouble(String),
}

/// How a try to file a record ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PostOutcome {
    /// The history manager answered.
    Answered {
        /// Status code.
        status: u16,
        /// `Retry-After`, already parsed; not yet capped.
        retry_after: Option<Duration>,
        /// The start of the answer, one line, no control characters; kept only for refusals.
        excerpt: String,
    },
    /// It did not.
    NoAnswer(crate::wire::NoAnswer),
    /// The record's body could not be read or rendered: the reason.
    Unreadable(String),
}

/// What filing orders.
#[derive(Clone, PartialEq)]
pub enum Order {
    /// Tell a caller.
    Answer(CallerId, Answer),
    /// Watch a topic: subscribe it and keep it live. Idempotent.
    Watch(Topic),
    /// Give a topic up. Idempotent.
    Unwatch(Topic),
    /// Ask REST about conversations; at most [`FETCHES_OUTSTANDING_MAX`] unanswered.
    Fetch(Fetch),
    /// For the store.
    Store(StoreOrder),
    /// File a record: the body is read from the store by the forwarder. At most
    /// `workers` unanswered.
    Post {
        /// Which record.
        record: RecordId,
    },
    /// For people.
    Notice(Notice),
}

/// How many [`Order::Fetch`] may be unanswered: enough to keep the REST workers
/// busy, few enough that an urgent check never waits behind many.
pub const FETCHES_OUTSTANDING_MAX: usize = 4;

/// The topic of a conversation's after-call work (protocol, section 5).
#[must_use]
pub fn topic_of(conversation: ConversationId) -> Topic {
    Topic::new(&format!("v2.detail.events.conversation.{conversation}.acw"))
}

/// The conversation that a topic is about; `None` for any other topic.
#[must_use]
pub fn conversation_of(topic: &Topic) -> Option<ConversationId> {
    topic
        .as_str()
        .strip_prefix("v2.detail.events.conversation.")?
        .strip_suffix(".acw")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
