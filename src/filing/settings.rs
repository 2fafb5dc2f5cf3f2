//! What the operator chose for filing (design, section 4: `[tracking]`,
//! `[history]`, `[store]`), and the bounds that nobody chooses.
//!
//! Invariant: plain values only; reading and checking the configuration file
//! happens elsewhere.

use std::time::Duration;

/// When a conversation is given up (`[tracking] until`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// When REST says that it is over and every agent leg is done.
    ConversationFinished,
    /// When its first record is committed.
    FirstEvent,
}

/// What to do with events over HTTP of conversations that nobody reported (`[tracking] unreported`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreported {
    /// Count them.
    Ignore,
    /// File them, with an empty interaction.
    File,
}

/// The operator's choices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `[tracking] until`.
    pub until: Until,
    /// `[tracking] max-age`: then checked over REST once more, then expired.
    pub max_age: Duration,
    /// `[tracking] settle-for`: after the last event, when REST cannot tell.
    pub settle_for: Duration,
    /// `[tracking] linger`: how long a conversation that is over is still watched for legs
    /// without a wrap-up; nought is not at all.
    pub linger: Duration,
    /// `[tracking] unreported`.
    pub unreported: Unreported,
    /// `[history] workers`: posts in flight at most.
    pub workers: usize,
    /// `[history] give-up-after`: then dead.
    pub give_up_after: Duration,
    /// `[store] retain`: ids, times and outcomes of what is over.
    pub retain: Duration,
    /// `[store] keep-bodies`: bodies and members of what is over.
    pub keep_bodies: Duration,
    /// [`ENDED_MAX`], but for tests.
    pub ended_max: u64,
    /// [`KEPT_RECORDS_MAX`], but for tests.
    pub kept_records_max: u64,
}

impl Default for Settings {
    /// The defaults of design, section 4.
    fn default() -> Settings {
        Settings {
            until: Until::ConversationFinished,
            max_age: Duration::from_secs(72 * 3600),
            settle_for: Duration::from_secs(15 * 60),
            linger: Duration::from_secs(5 * 60),
            unreported: Unreported::Ignore,
            workers: 4,
            give_up_after: Duration::from_secs(72 * 3600),
            retain: Duration::from_secs(30 * 86_400),
            keep_bodies: Duration::from_secs(24 * 3600),
            ended_max: ENDED_MAX,
            kept_records_max: KEPT_RECORDS_MAX,
        }
    }
}

/// Undelivered records; beyond it new requests are answered 503. A choice: some 600 bytes each.
pub const UNDELIVERED_MAX: usize = 1_000_000;
/// Interactions watched at once; ten times what the platform's channels can carry, so
/// that a backlog waits here and not in the callers.
pub const LIVE_INTERACTIONS_MAX: usize = 200_000;
/// Ended interactions in the store; beyond it those that somebody made and stopped, and of which
/// nothing was ever filed, go before `retain` is over, the oldest first. Some 300 bytes each.
pub const ENDED_MAX: u64 = 2_000_000;
/// Records that are over in the store; beyond it no further support results are taken until
/// `retain` is over for some. What the platform announces is taken all the same.
pub const KEPT_RECORDS_MAX: u64 = 5_000_000;
/// Rows that go at a time beyond [`ENDED_MAX`]: more than one batch can bring.
pub const SHRINK_ROWS_MAX: u32 = 5_000;
/// Interactions that ended by a caller's or the platform's no and are remembered for late events;
/// beyond it the oldest are forgotten sooner.
pub const STOPPED_REMEMBERED_MAX: usize = 10_000;
/// Requests of callers that wait for the store; beyond it they are answered 503.
pub const CALLERS_WAITING_MAX: usize = 1_024;
/// So long a request waits for its turn; then it is withdrawn, and refused.
pub const CALLER_TURN_MAX: Duration = Duration::from_secs(8);
/// So long after it came a request whose transaction is under way waits for the outcome; then
/// its caller is told that nobody knows (design, section 3).
pub const CALLER_OUTCOME_MAX: Duration = Duration::from_secs(60);
/// What callers are told who come too late.
pub const STOPPING: &str = "the gateway is stopping";
/// Bytes of bodies taken and not yet committed; beyond it bodies are dropped and rebuilt over REST later.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records taken and not yet committed; see [`UNCOMMITTED_BYTES_MAX`]. Everybody may wrap up
/// at once while the disk is slow.
pub const UNCOMMITTED_RECORDS_MAX: usize = 50_000;
/// Changes in one transaction: a commit stays within milliseconds.
pub const BATCH_CHANGES_MAX: usize = 512;
/// Bytes of bodies in one transaction.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Questions in one look-up.
pub const LOOKUPS_MAX: usize = 256;
/// Records of one interaction. A person wraps up a few times; this only stops a flood.
pub const RECORDS_PER_INTERACTION_MAX: usize = 1_000;
/// Rows that one erasure or purge may touch.
pub const MAINTENANCE_ROWS_MAX: u32 = 500;
/// Ended interactions stay in memory this long for late events.
pub const REMEMBER_ENDED: Duration = Duration::from_secs(600);

const _: () = assert!(CALLER_TURN_MAX.as_secs() < CALLER_OUTCOME_MAX.as_secs());
const _: () = assert!(UNCOMMITTED_BYTES_MAX > BATCH_BYTES_MAX);
const _: () = assert!(UNCOMMITTED_RECORDS_MAX > BATCH_CHANGES_MAX);
