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
mod refusals;
mod draft;
mod events;
mod http_events;
pub mod farewell;
mod interaction;
mod machine;
mod outbox;
mod places;
mod posts;
pub mod reconcile;
pub mod record;
pub mod settings;
pub mod snapshot;
pub mod template;
pub mod verdict;

use std::time::Duration;

use base::fetch::{Fetch, FetchOutcome};
use base::gap::GapCause;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::Notice;
use base::rows::{StoreFact, StoreOrder};
use base::time::Now;

pub use caller::{Act, Answer, CallerId, CallerRequest, EndReason, EventOutcome};
pub use destination::HistoryState;
pub use farewell::Farewell;
pub use machine::Filing;
pub use places::GaveWay;
pub use settings::{Settings, Unreported, Until};
pub use snapshot::{
    CheckKind, CheckOutcome, EventFate, FilingSnapshot, LATENCY_BOUNDS_MS, Latency,
    TroubleSnapshot, WatchState,
};
pub use verdict::PostFailure;

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
    /// The run is going to end: let nothing more in, and commit what is there. The end itself
    /// is [`Filing::leave`].
    Stop,
}

/// What filing hears of the platform, by whatever way it comes.
#[derive(Clone, PartialEq)]
pub enum PlatformFact {
    /// The topic is watched.
    Live {
        /// Which topic.
        topic: Topic,
    },
    /// What was announced on these topics since the last sign of life may be lost. Each is
    /// `Live` again when it is watched again.
    Gap {
        /// Which topics.
        topics: Vec<Topic>,
        /// Why, for the log and metrics.
        cause: GapCause,
    },
    /// The platform rejects the topic; it is no longer watched.
    Refused {
        /// Which topic.
        topic: Topic,
        /// Why, with the missing permission if known.
        detail: String,
    },
    /// So many topics wait, and no place is free for them or about to be: said when it changes.
    Short {
        /// Of those that were preferred.
        known: usize,
        /// Of the others, without those that gave way.
        others: usize,
    },
    /// An event on a topic that is watched, or was until just now.
    Event {
        /// Which topic.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
    },
    /// An [`Order::Fetch`] is answered.
    Fetched {
        /// What was asked.
        fetch: Fetch,
        /// When it was asked: the answer is evidence for no later moment.
        asked_at: Now,
        /// What came.
        outcome: FetchOutcome,
    },
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
    NoAnswer(base::wire::NoAnswer),
    /// The record has no body that could be sent, and none will come: the reason.
    Unreadable(String),
    /// The database could not be read just now: the reason. Not the record's fault.
    NotRead(String),
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
    /// The conversation exists: its topic goes before others where places are short.
    Prefer(Topic),
    /// These give their places to whoever waits, and are still wanted.
    GiveWay(Vec<Topic>),
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
