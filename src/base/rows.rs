//! What is durable, as plain rows: the boundary between the core and the store.
//!
//! The core orders [`Change`]s, one batch at a time; the store executes a batch
//! as one transaction, in order. Bodies (interaction members, after-call work,
//! results) pass through here once on their way in and are never held in
//! memory afterwards: forwarders and callers read them from the store.
//!
//! Invariant: nothing here does I/O; every state has one spelling, used in the
//! database, the API, the metrics and the page alike.

use std::time::Duration;

use crate::ids::{ConversationId, RecordId};
use crate::secret::Secret;
use crate::time::Wall;
use crate::words;

words! {
    /// State of an interaction (design, section 3).
    InteractionState {
        /// Committed, waiting for a channel.
        Accepted = "accepted",
        /// Subscription confirmed.
        Watching = "watching",
        /// At least one record taken, conversation not known to be finished.
        Settling = "settling",
        /// The conversation is over and every agent leg is done.
        Finished = "finished",
        /// `max-age` reached without knowing.
        Expired = "expired",
        /// A caller's DELETE.
        Stopped = "stopped",
        /// The platform rejects the topic.
        Refused = "refused",
    }
}

impl InteractionState {
    /// Over, with a reason.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(
            self,
            InteractionState::Finished
                | InteractionState::Expired
                | InteractionState::Stopped
                | InteractionState::Refused
        )
    }
}

words! {
    /// State of a record (design, section 3).
    RecordState {
        /// Waits for its first or next turn.
        Queued = "queued",
        /// Filed.
        Delivered = "delivered",
        /// Waits for its next try.
        Deferred = "deferred",
        /// Needs a person.
        Dead = "dead",
        /// An operator's hand on it.
        Held = "held",
        /// An operator gave it up.
        Discarded = "discarded",
    }
}

impl RecordState {
    /// Nothing more will be done with it.
    #[must_use]
    pub fn over(self) -> bool {
        matches!(self, RecordState::Delivered | RecordState::Discarded)
    }

    /// The states in which something is still to be done.
    pub fn waiting() -> impl Iterator<Item = RecordState> {
        let all = RecordState::ALL.iter().copied();
        all.filter(|state| !state.over())
    }
}

words! {
    /// What a record is (design, section 5).
    RecordKind {
        /// After-call work of one agent leg.
        AfterCallWork = "after-call-work",
        /// A result that BOFE handed in.
        SupportResult = "support-result",
    }
}

words! {
    /// Where a record came from (design, section 5).
    Source {
        /// Announced on a channel.
        Notification = "notification",
        /// Rebuilt over REST.
        Reconciliation = "reconciliation",
        /// Handed in by BOFE.
        SupportResult = "support-result",
    }
}

/// An agent's leg: participant and session, lower case; empty where the platform named none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Leg {
    /// `participantId`.
    pub participant: String,
    /// `sessionId`, the communication id of the REST conversation.
    pub session: String,
}

/// Why an interaction ended: a stable code and a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// Stable code such as `conversation-finished`.
    pub code: String,
    /// A sentence a person can act on.
    pub detail: String,
}

/// An interaction without its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InteractionRow {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Where it stands.
    pub state: InteractionState,
    /// When it was accepted, or last started again.
    pub accepted_at: Wall,
    /// First confirmation of the subscription since then.
    pub watched_since: Option<Wall>,
    /// When it ended.
    pub ended_at: Option<Wall>,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// When the last record was taken.
    pub last_event_at: Option<Wall>,
}

/// A record without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordRow {
    /// Its id and idempotency key.
    pub record: RecordId,
    /// What it is.
    pub kind: RecordKind,
    /// Whose it is; a support result may have none.
    pub conversation: Option<ConversationId>,
    /// Where it came from.
    pub source: Source,
    /// Which leg wrapped up.
    pub leg: Leg,
    /// The n-th wrap-up of that leg, from 0.
    pub ordinal: u32,
    /// The platform's time of the wrap-up.
    pub event_time: Option<Wall>,
    /// For a rebuilt record: the `eventTime` of the notification found to be the same wrap-up.
    pub matched_time: Option<Wall>,
    /// What of the content tells wrap-ups apart, or together, where participant, session and time
    /// do not; made and read in `filing::record`.
    pub content_digest: Option<String>,
    /// When we took it.
    pub received_at: Wall,
    /// Where it stands.
    pub state: RecordState,
    /// Counted tries.
    pub attempts: u32,
    /// When the next try is due.
    pub next_try: Option<Wall>,
    /// How much of `give-up-after` is used up: time in which we tried, in whole milliseconds.
    pub patience_used: Duration,
    /// When it was filed.
    pub delivered_at: Option<Wall>,
    /// Why the last try failed; no personal data.
    pub last_error: Option<String>,
}

/// What a restart must not forget of the history manager.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DestinationRow {
    /// Until when it asked to be left alone (`Retry-After`).
    pub held_until: Option<Wall>,
    /// The records it refused since it last filed one, by status; a few of each.
    pub refused: Vec<(u16, Vec<RecordId>)>,
}

/// A channel as it is kept for a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelRow {
    /// Which of the slots, from 1; beyond the 20 that can be held for one that was given up
    /// and is to be emptied.
    pub slot: u8,
    /// The channel's id.
    pub id: Secret,
    /// Where to connect.
    pub connect_uri: Secret,
    /// When we made it.
    pub created_at: Wall,
    /// When the platform lets it end.
    pub expires_at: Wall,
    /// When the token that made it ends.
    pub token_ends_at: Wall,
}

/// One durable change. A batch of them is one transaction, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Insert or restart an interaction; `members` are merged at the top level over
    /// what is there (the row's other columns are replaced).
    Accept {
        /// The new columns.
        row: InteractionRow,
        /// JSON object text.
        members: String,
    },
    /// Replace the columns of an interaction, keep its members.
    Interaction(InteractionRow),
    /// Insert a record with its body; an after-call-work record also takes a copy of
    /// the members its interaction has at this point of the batch.
    Take {
        /// The columns.
        row: RecordRow,
        /// `afterCallWork` or `result`: JSON object text.
        body: String,
        /// The caller's `Idempotency-Key` and the digest of the body it came with.
        key: Option<(String, [u8; 32])>,
    },
    /// Replace the columns of a record, keep its body.
    Record(RecordRow),
    /// Replace what is remembered of the history manager.
    Destination(DestinationRow),
    /// Erase (securely) bodies of records that were over, and members of interactions
    /// that had ended, before `before`; at most `limit` rows of each.
    EraseBodies {
        /// The instant.
        before: Wall,
        /// Rows of each kind at most.
        limit: u32,
    },
    /// Remove rows of what was over before `before`: records that are over and whose
    /// interaction has ended, ended interactions without records; at most `limit` of each.
    Purge {
        /// The instant.
        before: Wall,
        /// Rows of each kind at most.
        limit: u32,
    },
    /// Remove so many of the oldest interactions that ended without a record and not by the
    /// platform's word (stopped, refused, expired), however young.
    Shrink {
        /// So many at most.
        rows: u32,
    },
}

words! {
    /// Why the store could not do it.
    StoreTrouble {
        /// The disk, or the quota, is full.
        Full = "full",
        /// File or directory is read-only.
        ReadOnly = "read-only",
        /// The file is damaged.
        Damaged = "damaged",
        /// The file was removed or replaced while it was open.
        Moved = "moved",
        /// Another process holds a lock.
        Busy = "busy",
        /// Another I/O error.
        Io = "io",
        /// A change was refused by the schema: our bug.
        Bug = "bug",
    }
}

impl StoreTrouble {
    /// A sentence a person can act on.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            StoreTrouble::Full => "the disk that holds the database is full; free some space on it",
            StoreTrouble::ReadOnly => {
                "the database or its directory is read-only; make it writable"
            }
            StoreTrouble::Damaged => {
                "the database is damaged; restart to carry over what is readable"
            }
            StoreTrouble::Moved => {
                "the database file was removed or replaced under the running gateway; what was \
                 in it is put back, for a new start"
            }
            StoreTrouble::Busy => "another program holds a lock on the database; end it",
            StoreTrouble::Io => {
                "the disk that holds the database reports errors; look at the kernel log"
            }
            StoreTrouble::Bug => "the database refused a change; this is a defect of the gateway",
        }
    }
}

/// What the core wants of the store.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreOrder {
    /// One transaction. At most one is outstanding.
    Commit {
        /// Echoed.
        ticket: u64,
        /// In order.
        changes: Vec<Change>,
    },
    /// Reads, seeing every commit before it. At most one is outstanding.
    Lookup {
        /// Echoed.
        ticket: u64,
        /// Answered in order.
        what: Vec<Lookup>,
    },
    /// Replaces the kept channels. At most one is outstanding.
    Channels {
        /// Echoed.
        ticket: u64,
        /// All of them.
        rows: Vec<ChannelRow>,
    },
}

/// One question to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// An interaction and all its after-call-work records.
    Interaction(ConversationId),
    /// A support result by the caller's key.
    Key(String),
    /// A record.
    Record(RecordId),
}

/// The answer to one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The interaction, and the records of its conversation: events that nobody reported have
    /// some without one.
    Interaction(Option<InteractionRow>, Vec<RecordRow>),
    /// The record under that key and the digest of the body it came with.
    Key(Option<(RecordRow, [u8; 32])>),
    /// The record.
    Record(Option<RecordRow>),
}

/// What the store reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreFact {
    /// The transaction is durable. `refused` names changes (by position) that the schema
    /// refused and that were left out: our bug, to be logged, never to block the rest.
    /// `erased` counts rows that `EraseBodies` and `Purge` touched, so that the core asks
    /// again while there are more.
    Committed {
        /// Echoed.
        ticket: u64,
        /// Positions of refused changes.
        refused: Vec<usize>,
        /// Positions of accepts that were left out because the members of the interaction
        /// would have grown too large.
        outgrown: Vec<usize>,
        /// Rows touched by maintenance changes.
        erased: u32,
        /// Ended interactions that `Purge` removed, by state.
        purged_interactions: Vec<(InteractionState, u64)>,
        /// Records that `Purge` removed, by state.
        purged_records: Vec<(RecordState, u64)>,
    },
    /// Nothing of the transaction was kept.
    CommitFailed {
        /// Echoed.
        ticket: u64,
        /// Why.
        trouble: StoreTrouble,
    },
    /// Answers, in the order of the questions.
    Looked {
        /// Echoed.
        ticket: u64,
        /// One each.
        found: Vec<Found>,
    },
    /// The questions could not be answered.
    LookupFailed {
        /// Echoed.
        ticket: u64,
        /// Why.
        trouble: StoreTrouble,
    },
    /// The kept channels were replaced.
    ChannelsKept {
        /// Echoed.
        ticket: u64,
    },
    /// They were not.
    ChannelsFailed {
        /// Echoed.
        ticket: u64,
        /// Why.
        trouble: StoreTrouble,
    },
}

/// What the store holds at start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Every interaction that has not ended.
    pub interactions: Vec<InteractionRow>,
    /// Every record that is not over, and every after-call-work record of the interactions above.
    pub records: Vec<RecordRow>,
    /// The kept channels.
    pub channels: Vec<ChannelRow>,
    /// What is remembered of the history manager.
    pub destination: DestinationRow,
    /// Ended interactions by state.
    pub ended: Vec<(InteractionState, u64)>,
    /// Records that are over, by state.
    pub over: Vec<(RecordState, u64)>,
    /// When the gateway was last known to run, from the store's own heartbeat row.
    pub last_alive: Option<Wall>,
    /// Set when a damaged database was set aside and not yet acknowledged: where it is kept.
    pub damaged: Option<String>,
}
