//! The door between the listeners and the rest: what a caller may ask, and what
//! can be answered.
//!
//! The listeners know HTTP and nothing of the core; whoever implements [`Port`]
//! knows the core and the store and nothing of HTTP. There are two: the loop's,
//! and one in memory against which the listeners are tested.
//!
//! Invariant: every value in a [`CallerRequest`] has been checked; below this
//! door nothing is parsed again.

use base::ids::{ConversationId, RecordId};
use base::time::Wall;

pub use filing::caller::{Act, Answer, CallerRequest, EventOutcome};

/// An interaction as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InteractionView {
    /// The conversation.
    pub conversation: ConversationId,
    /// One of the states of the design, section 3.
    pub state: String,
    /// When it was accepted.
    pub accepted_at: Wall,
    /// When the subscription was first confirmed.
    pub watched_since: Option<Wall>,
    /// When it ended.
    pub finished_at: Option<Wall>,
    /// Code and sentence; for an ended one.
    pub reason: Option<(String, String)>,
    /// JSON object text of the members; none once erased.
    pub members: Option<String>,
    /// The records taken, oldest first.
    pub records: Vec<RecordView>,
}

/// A record as callers and operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// The record.
    pub record: RecordId,
    /// `after-call-work` or `support-result`.
    pub kind: String,
    /// The conversation that it belongs to.
    pub conversation: Option<ConversationId>,
    /// `notification`, `reconciliation` or `support-result`.
    pub source: String,
    /// When it happened, as the platform says.
    pub event_time: Option<Wall>,
    /// When it was taken.
    pub received_at: Wall,
    /// One of the states of the design, section 3.
    pub state: String,
    /// Tries counted so far.
    pub attempts: u32,
    /// When it was filed.
    pub delivered_at: Option<Wall>,
    /// What the last try came to, if it failed.
    pub last_error: Option<String>,
    /// When the next try is due.
    pub next_try: Option<Wall>,
    /// JSON text of what is filed; none once erased, or in a list.
    pub body: Option<String>,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether all is well.
    pub ok: bool,
    /// Why not; or what is worth knowing although it is.
    pub reasons: Vec<String>,
}

/// Whoever answers the listeners. Called by several threads at once; no call may
/// block without a deadline of its own, shorter than that of the gate.
pub trait Port: Send + Sync {
    /// Asks and waits for the outcome, which is committed when it is one;
    /// [`Answer::Busy`] when that takes too long.
    fn ask(&self, request: CallerRequest) -> Answer;

    /// An interaction with its records, from the store.
    ///
    /// # Errors
    /// The store cannot be read; a sentence for the log.
    fn interaction(&self, id: ConversationId) -> Result<Option<InteractionView>, String>;

    /// A record, with its body.
    ///
    /// # Errors
    /// The store cannot be read; a sentence for the log.
    fn record(&self, id: RecordId) -> Result<Option<RecordView>, String>;

    /// Records in a state, or in any; oldest first, `limit` at most, without bodies.
    ///
    /// # Errors
    /// The store cannot be read; a sentence for the log.
    fn records(&self, state: Option<&str>, limit: usize) -> Result<Vec<RecordView>, String>;

    /// Whether the loop turns and the store commits.
    fn health(&self) -> Health;

    /// Whether a new interaction could be watched now.
    fn ready(&self) -> Health;

    /// Prometheus text.
    fn metrics(&self) -> String;

    /// The snapshot as JSON text.
    fn status_json(&self) -> String;
}
