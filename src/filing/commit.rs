//! The ledger: what has changed and is not durable yet (design, guarantees 1 and 2).
//!
//! Two kinds of change. Facts (records taken, outcomes, states) are true in
//! memory at once and stay pending until they are committed: bodies wait in a
//! queue, rows are only marked and read from memory when a batch is formed, so
//! that the latest wins. Requests of callers change nothing in memory until
//! their commit is done, so that a refused one leaves no trace. One that has
//! waited too long for its turn is withdrawn before it is refused; one whose
//! transaction is under way waits for the outcome, and if that takes too long,
//! its caller is told that the outcome is unknown: it may take effect later.
//!
//! Invariants: at most one commit and one look-up are outstanding; the queue is
//! bounded in requests, records and bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::caller::{CallerId, CallerRequest};
use super::settings::{
    CALLER_OUTCOME_MAX, CALLER_TURN_MAX, CALLERS_WAITING_MAX, UNCOMMITTED_BYTES_MAX,
    UNCOMMITTED_RECORDS_MAX,
};
use base::ids::{ConversationId, RecordId};
use base::rows::{Found, InteractionRow, RecordRow, StoreTrouble};
use base::time::{Mono, Now};

const RETRY_MIN: Duration = Duration::from_secs(1);
/// There are a few seconds, and then nothing is tried any more.
const RETRY_AT_THE_END: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// An empty commit costs nothing, and callers wait to be let in again.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// A request that waits.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) caller: CallerId,
    pub(super) request: CallerRequest,
    pub(super) at: Now,
    /// What the store holds, where memory did not know.
    pub(super) looked: Option<Found>,
    /// The ticket of that look-up.
    pub(super) looked_at: u64,
}

/// The body of a record that waits for its commit.
#[derive(Clone)]
pub(super) struct Taking {
    pub(super) record: RecordId,
    pub(super) conversation: ConversationId,
    pub(super) body: String,
}

/// In order of arrival.
#[expect(
    clippy::large_enum_variant,
    reason = "some thousands at most, and boxes would cost as much"
)]
pub(super) enum Entry {
    Take(Taking),
    Ask(Ask),
}

/// What a committed change brings about.
#[expect(clippy::large_enum_variant, reason = "one batch of them at most")]
pub(super) enum Effect {
    /// A record taken from the platform is durable.
    Taken(RecordId),
    /// A row of an interaction is.
    Interaction(InteractionRow),
    /// A row of a record is.
    Record(RecordRow),
    /// What is remembered of the history manager is.
    Destination,
    /// A request is.
    Asked(Ask, Outcome),
    /// An erasure or a purge is done.
    Maintenance,
}

/// What a committed request brings about.
pub(super) enum Outcome {
    /// Members merged; this is the row.
    Merged(InteractionRow),
    /// Started, with the records that the store knew of it, and the state it had ended in there.
    Started {
        row: InteractionRow,
        looked: Option<(Option<InteractionRow>, Vec<RecordRow>)>,
    },
    /// Stopped; this is the row.
    Stopped(InteractionRow),
    /// A support result is in.
    Result(RecordRow),
    /// An event over HTTP is a new record.
    Event(RecordRow),
    /// An event over HTTP is a known record, which remembers it now.
    EventKnown,
    /// An operator's act; this is the row.
    Acted(RecordRow),
}

/// The transaction that is outstanding.
pub(super) struct Batch {
    pub(super) ticket: u64,
    /// One for each change, in order.
    pub(super) effects: Vec<Effect>,
    /// To be put back if it fails.
    pub(super) takings: Vec<Taking>,
    pub(super) interactions: Vec<ConversationId>,
    pub(super) records: Vec<RecordId>,
}

/// The store cannot commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) kind: StoreTrouble,
    pub(super) since: Now,
    pub(super) retry_at: Mono,
    pause: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) queue: VecDeque<Entry>,
    pub(super) dirty_interactions: BTreeSet<ConversationId>,
    pub(super) dirty_records: BTreeSet<RecordId>,
    pub(super) batch: Option<Batch>,
    /// Requests about which the store has to be asked.
    pub(super) lookups: VecDeque<Ask>,
    pub(super) looking: Option<(u64, Vec<Ask>)>,
    pub(super) trouble: Option<Trouble>,
    pub(super) maintenance_at: Mono,
    /// The run is going to end.
    pub(super) stopping: bool,
    /// Requests that wait for their turn, and until when; those who came first are first.
    turns: BTreeMap<CallerId, Mono>,
    /// Requests in the transaction that is outstanding, and until when their callers wait.
    outcomes: BTreeMap<CallerId, Mono>,
    bytes: usize,
    takes: usize,
    tickets: u64,
}

impl Ledger {
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Whether another request may wait.
    pub(super) fn room_for_ask(&self) -> bool {
        self.asks() < CALLERS_WAITING_MAX
    }

    /// Requests whose callers wait.
    pub(super) fn asks(&self) -> usize {
        self.turns.len() + self.outcomes.len()
    }

    /// A request begins to wait for its turn.
    pub(super) fn ask_came(&mut self, caller: CallerId, now: Now) {
        self.turns.insert(caller, now.mono + CALLER_TURN_MAX);
    }

    /// Its transaction is under way: it cannot be withdrawn any more.
    pub(super) fn ask_goes(&mut self, ask: &Ask) {
        if self.turns.remove(&ask.caller).is_some() {
            let until = ask.at.mono + CALLER_OUTCOME_MAX;
            self.outcomes.insert(ask.caller, until);
        }
    }

    /// Its caller is being told; false if it was told before.
    pub(super) fn ask_ends(&mut self, caller: CallerId) -> bool {
        self.turns.remove(&caller).is_some() || self.outcomes.remove(&caller).is_some()
    }

    /// Whether its caller still waits.
    pub(super) fn ask_waits(&self, caller: CallerId) -> bool {
        self.turns.contains_key(&caller) || self.outcomes.contains_key(&caller)
    }

    /// When the patience of the next caller ends. Those who came first are the first.
    pub(super) fn patience_ends(&self) -> Option<Mono> {
        let first = |of: &BTreeMap<CallerId, Mono>| of.first_key_value().map(|(_, at)| *at);
        [first(&self.turns), first(&self.outcomes)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Withdraws the requests that have waited too long for their turn, so that nothing of
    /// them can happen any more; gives their callers, to be refused.
    pub(super) fn withdraw(&mut self, until: Mono) -> Vec<CallerId> {
        let over = overdue(&mut self.turns, until);
        if !over.is_empty() {
            // Those about whom the store is being asked are left out when it answers.
            let gone = |ask: &Ask| over.binary_search(&ask.caller).is_ok();
            self.queue
                .retain(|entry| !matches!(entry, Entry::Ask(ask) if gone(ask)));
            self.lookups.retain(|ask| !gone(ask));
        }
        over
    }

    /// The callers who have waited too long for the outcome of their transaction.
    pub(super) fn outcome_overdue(&mut self, until: Mono) -> Vec<CallerId> {
        overdue(&mut self.outcomes, until)
    }

    /// Whether another record with a body of so many bytes may wait.
    pub(super) fn room_for_take(&self, bytes: usize) -> bool {
        self.takes < UNCOMMITTED_RECORDS_MAX && self.bytes + bytes <= UNCOMMITTED_BYTES_MAX
    }

    pub(super) fn take(&mut self, taking: Taking) {
        self.takes += 1;
        self.bytes += taking.body.len();
        self.queue.push_back(Entry::Take(taking));
    }

    /// A taking has left for good.
    pub(super) fn took(&mut self, taking: &Taking) {
        self.takes = self.takes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(taking.body.len());
    }

    /// Notes a failed commit; the pause doubles from 1 s to 30 s, to 5 s if nothing was in it.
    /// `true` if this is the first.
    pub(super) fn failed(&mut self, kind: StoreTrouble, empty: bool, now: Now) -> bool {
        let first = self.trouble.is_none();
        let longest = if empty { PROBE_MAX } else { RETRY_MAX };
        let (since, pause) = self
            .trouble
            .map_or((now, RETRY_MIN), |t| (t.since, (t.pause * 2).min(longest)));
        let pause = if self.stopping {
            RETRY_AT_THE_END
        } else {
            pause
        };
        self.trouble = Some(Trouble {
            kind,
            since,
            retry_at: now.mono + pause,
            pause,
        });
        first
    }

    /// When callers should come back.
    pub(super) fn retry_after(&self, now: Mono) -> Duration {
        self.trouble
            .map_or(Duration::from_secs(5), |t| t.retry_at.since(now))
            .max(Duration::from_secs(1))
    }

    /// Changes not in the store yet.
    pub(super) fn backlog(&self) -> usize {
        self.queue.len()
            + self.dirty_interactions.len()
            + self.dirty_records.len()
            + self.batch.as_ref().map_or(0, |b| b.effects.len())
    }

    /// Records and bytes of bodies not in the store yet.
    pub(super) fn uncommitted(&self) -> (usize, usize) {
        (self.takes, self.bytes)
    }
}

/// Takes out those whose time is up, in order.
fn overdue(of: &mut BTreeMap<CallerId, Mono>, until: Mono) -> Vec<CallerId> {
    let mut over = Vec::new();
    while let Some(first) = of.first_entry().filter(|first| *first.get() <= until) {
        over.push(*first.key());
        first.remove();
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_records_wait_for_the_disk_than_there_is_room_for() {
        let mut ledger = Ledger::default();
        assert!(ledger.room_for_take(UNCOMMITTED_BYTES_MAX));
        assert!(!ledger.room_for_take(UNCOMMITTED_BYTES_MAX + 1));
        let taking = |body: String| Taking {
            record: RecordId(uuid::Uuid::nil()),
            conversation: ConversationId(uuid::Uuid::nil()),
            body,
        };
        ledger.take(taking("x".repeat(1000)));
        assert!(!ledger.room_for_take(UNCOMMITTED_BYTES_MAX - 999));
        ledger.took(&taking("x".repeat(1000)));
        for _ in 0..UNCOMMITTED_RECORDS_MAX {
            assert!(ledger.room_for_take(0));
            ledger.take(taking(String::new()));
        }
        assert!(!ledger.room_for_take(0));
    }
}
