//! What is counted, and the picture of it all for page, metrics and verdict.
//!
//! Invariant: labels come from closed lists, so that no peer can make the
//! tables grow.

use std::collections::BTreeMap;
use std::time::Duration;

use super::destination::DestinationSnapshot;
use super::interaction::Watched;
use super::machine::{Filing, Kept};
use super::places::GaveWay;
use super::verdict::PostFailure;
use base::ages::ByAge;
use base::fetch::FetchOutcome;
use base::gap::GapCause;
use base::ids::{ConversationId, RecordId};
use base::rows::{
    InteractionState, RecordKind, RecordRow, RecordState, Recovered, Source, StoreTrouble,
};
use base::time::{Mono, Now, Wall};
use base::words;

/// Upper bounds of the latency histogram, in milliseconds; one bucket more has no bound.
pub const LATENCY_BOUNDS_MS: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 10_000, 60_000, 600_000, 3_600_000, 86_400_000,
];

/// How long something took, counted by [`LATENCY_BOUNDS_MS`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// How many per bucket, not cumulative; the bounds are [`LATENCY_BOUNDS_MS`].
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Sum in milliseconds.
    pub sum_ms: u64,
    /// How many in all.
    pub count: u64,
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let ms = base::time::millis(took);
        let bucket = LATENCY_BOUNDS_MS
            .iter()
            .position(|b| ms <= *b)
            .unwrap_or(LATENCY_BOUNDS_MS.len());
        self.buckets[bucket] += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
        self.count += 1;
    }
}

words! {
    /// What may become of an event.
    EventFate {
        /// It is a new record.
        Taken = "taken",
        /// Its wrap-up is a record already.
        Duplicate = "duplicate",
        /// A caller had the conversation stopped.
        Stopped = "stopped",
        /// Nobody asked for the conversation.
        UnknownConversation = "unknown-conversation",
        /// It is not a JSON object.
        Unreadable = "unreadable",
        /// There was no room; it is rebuilt over REST.
        NoRoom = "no-room",
        /// The conversation has too many records.
        Flooded = "flooded",
        /// Its topic is none of ours.
        Foreign = "foreign",
        /// It came over HTTP for a conversation that nobody reported.
        Unreported = "unreported",
    }
}

words! {
    /// How a check over REST asked.
    CheckKind {
        /// For one conversation.
        One = "one",
        /// For many at once.
        Many = "many",
    }
}

words! {
    /// How a check over REST may end.
    CheckOutcome {
        /// It shows what was asked for.
        Found = "found",
        /// The platform knows none.
        NotFound = "not-found",
        /// We may not ask.
        Denied = "denied",
        /// So many cannot be asked for at once.
        TooMany = "too-many",
        /// No answer, or the platform is in trouble.
        Trouble = "trouble",
        /// The answer is not understood.
        NotUnderstood = "not-understood",
    }
}

impl CheckOutcome {
    /// What an answer counts as.
    #[must_use]
    pub fn of(outcome: &FetchOutcome) -> CheckOutcome {
        match outcome {
            FetchOutcome::Found(_) => CheckOutcome::Found,
            FetchOutcome::NotFound => CheckOutcome::NotFound,
            FetchOutcome::Denied(_) => CheckOutcome::Denied,
            FetchOutcome::TooMany => CheckOutcome::TooMany,
            FetchOutcome::Trouble(_) => CheckOutcome::Trouble,
            FetchOutcome::Garbled => CheckOutcome::NotUnderstood,
        }
    }
}

/// Everything that is counted since the start of the process, and the totals of what is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    ended: BTreeMap<InteractionState, u64>,
    over: BTreeMap<RecordState, u64>,
    events: BTreeMap<EventFate, u64>,
    taken: BTreeMap<Source, u64>,
    filed: BTreeMap<Source, u64>,
    failed: BTreeMap<PostFailure, u64>,
    gaps: BTreeMap<GapCause, (u64, u64)>,
    checks: BTreeMap<(CheckKind, CheckOutcome), u64>,
    latency: Latency,
    gap_lengths: Latency,
    /// When this run began, and how long the gateway was not running before.
    began: Mono,
    downtime: Duration,
    pub(super) busy: u64,
}

fn less<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, n: u64) {
    let count = map.entry(key).or_default();
    *count = count.saturating_sub(n);
}

impl Counters {
    pub(super) fn new(recovered: &Recovered, now: Now) -> Counters {
        Counters {
            began: now.mono,
            downtime: recovered
                .last_alive
                .map_or(Duration::ZERO, |t| now.wall.since(t)),
            ended: recovered.ended.iter().copied().collect(),
            over: recovered.over.iter().copied().collect(),
            ..Counters::default()
        }
    }

    pub(super) fn ended(&mut self, state: InteractionState, n: u64) {
        *self.ended.entry(state).or_default() += n;
    }

    pub(super) fn restarted(&mut self, was: InteractionState) {
        less(&mut self.ended, was, 1);
    }

    pub(super) fn interaction_purged(&mut self, state: InteractionState, n: u64) {
        less(&mut self.ended, state, n);
    }

    /// Ended interactions in the store.
    pub(super) fn ended_total(&self) -> u64 {
        self.ended.values().sum()
    }

    /// Records in the store that are over.
    pub(super) fn over_total(&self) -> u64 {
        self.over.values().sum()
    }

    pub(super) fn over(&mut self, state: RecordState, n: u64) {
        *self.over.entry(state).or_default() += n;
    }

    pub(super) fn record_purged(&mut self, state: RecordState, n: u64) {
        less(&mut self.over, state, n);
    }

    pub(super) fn event(&mut self, what: EventFate) {
        *self.events.entry(what).or_default() += 1;
    }

    pub(super) fn taken(&mut self, source: Source) {
        *self.taken.entry(source).or_default() += 1;
    }

    pub(super) fn failed(&mut self, cause: PostFailure) {
        *self.failed.entry(cause).or_default() += 1;
    }

    pub(super) fn gap(&mut self, cause: GapCause, topics: usize) {
        let entry = self.gaps.entry(cause).or_default();
        entry.0 += 1;
        entry.1 += topics as u64;
    }

    /// A conversation that was watched before is live again.
    pub(super) fn gap_ended(&mut self, dark_since: Mono, now: Mono) {
        // Dark from the beginning: the gap began when the last run ended.
        let before = if dark_since == self.began {
            self.downtime
        } else {
            Duration::ZERO
        };
        self.gap_lengths.add(now.since(dark_since) + before);
    }

    pub(super) fn check(&mut self, how: CheckKind, outcome: CheckOutcome) {
        *self.checks.entry((how, outcome)).or_default() += 1;
    }

    /// A record is filed, and that is durable.
    pub(super) fn filed(&mut self, row: &RecordRow) {
        *self.filed.entry(row.source).or_default() += 1;
        if row.kind == RecordKind::AfterCallWork
            && let Some(at) = row.delivered_at
        {
            self.latency
                .add(at.since(row.event_time.unwrap_or(row.received_at)));
        }
    }
}

/// The store cannot commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TroubleSnapshot {
    /// Why.
    pub kind: StoreTrouble,
    /// Since when.
    pub since: Wall,
}

/// The filing half at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilingSnapshot {
    /// Interactions by state, every state present; ended ones are those in the store.
    pub interactions: BTreeMap<InteractionState, u64>,
    /// Age since acceptance of the oldest interaction of each state that has not ended.
    pub oldest_interaction: BTreeMap<InteractionState, Duration>,
    /// Of those that have not ended: topics that are not live.
    pub dark: u64,
    /// Of those that have not ended: owed evidence over REST.
    pub owed: u64,
    /// Of those that have not ended: REST could not tell last time.
    pub cannot_tell: u64,
    /// Of those that have not ended: REST's answers are not understood, more than once in a row.
    pub not_understood: u64,
    /// Records by state as the store has it, every state present.
    pub records: BTreeMap<RecordState, u64>,
    /// Age since receipt of the oldest record of each state that is not over.
    pub oldest_record: BTreeMap<RecordState, Duration>,
    /// Records that are not over, by state and age.
    pub shape: BTreeMap<RecordState, ByAge>,
    /// Tries to file that are under way.
    pub posts_in_flight: u64,
    /// The history manager.
    pub destination: DestinationSnapshot,
    /// Checks that could be asked now.
    pub checks_due: u64,
    /// Checks that are asked and not answered.
    pub checks_in_flight: u64,
    /// Checks by `one` or `many`, and by outcome.
    pub checks: BTreeMap<(CheckKind, CheckOutcome), u64>,
    /// Changes not in the store yet.
    pub commit_backlog: u64,
    /// Records taken and not in the store yet.
    pub uncommitted_records: u64,
    /// Their bodies, in bytes.
    pub uncommitted_bytes: u64,
    /// Requests that wait for the store.
    pub callers_waiting: u64,
    /// Requests answered "busy".
    pub busy: u64,
    /// Set while the store cannot commit.
    pub store_trouble: Option<TroubleSnapshot>,
    /// Events by what became of them: `taken`, `duplicate`, `stopped`, `unknown-conversation`,
    /// `unreadable`, `no-room`, `flooded`, `foreign`, `unreported`.
    pub events: BTreeMap<EventFate, u64>,
    /// Records taken, by source.
    pub taken: BTreeMap<Source, u64>,
    /// Records filed, by source.
    pub filed: BTreeMap<Source, u64>,
    /// Failed tries by cause.
    pub failed: BTreeMap<PostFailure, u64>,
    /// Gaps by cause: how many, and topics touched.
    pub gaps: BTreeMap<GapCause, (u64, u64)>,
    /// How often one gave its place on a channel to those that waited, by why it could.
    pub places_given: BTreeMap<GaveWay, u64>,
    /// From event to filed.
    pub latency: Latency,
    /// How long watched conversations were out of sight, each by itself, until they were live again.
    pub gap_lengths: Latency,
    /// How long the gateway was not running before this start, as far as the store knows.
    pub downtime: Duration,
}

impl Filing {
    /// Where an interaction stands, for the checkers of a simulation and for the API; `None`
    /// if it is not in memory.
    #[must_use]
    pub fn watch_state(&self, conversation: ConversationId) -> Option<WatchState> {
        self.interactions
            .get(&conversation)
            .map(|w| self.state_of(conversation, w))
    }

    /// Every interaction in memory that has not ended.
    pub fn live_interactions(&self) -> impl Iterator<Item = (ConversationId, WatchState)> + '_ {
        self.interactions
            .iter()
            .filter(|(_, w)| !w.ended())
            .map(|(id, w)| (*id, self.state_of(*id, w)))
    }

    /// Interactions in memory, ended ones included.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.interactions.len()
    }

    fn state_of(&self, id: ConversationId, w: &Watched) -> WatchState {
        WatchState {
            state: w.row.state,
            accepted_at: w.row.accepted_at,
            live: w.live_since.is_some(),
            due_at: self.checks.due_at(id),
            owed: w.owed.is_some(),
            records: w.records.len(),
        }
    }

    /// The row of a record in memory: not over, or of a remembered interaction.
    #[must_use]
    pub fn record(&self, record: RecordId) -> Option<&RecordRow> {
        self.records.get(&record).map(|r| &r.row)
    }

    /// The rows of the records that are in memory, for checkers.
    pub fn rows(&self) -> impl Iterator<Item = &RecordRow> {
        self.records.values().map(|rec| &rec.row)
    }

    /// Whether anything changed that no commit has confirmed yet.
    #[must_use]
    pub fn uncommitted(&self) -> bool {
        self.ledger.backlog() > 0
    }

    /// The picture of now. Walks everything that is remembered: at most once a second.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> FilingSnapshot {
        let mut interactions: BTreeMap<_, u64> = InteractionState::ALL
            .iter()
            .map(|s| (*s, self.counters.ended.get(s).copied().unwrap_or(0)))
            .collect();
        let mut oldest_interaction: BTreeMap<InteractionState, Duration> = BTreeMap::new();
        let (mut dark, mut owed, mut cannot_tell, mut not_understood) = (0, 0, 0, 0);
        for w in self.interactions.values() {
            if w.end_committed {
                continue;
            }
            *interactions.entry(w.row.state).or_default() += 1;
            if w.ended() {
                continue;
            }
            older(
                &mut oldest_interaction,
                w.row.state,
                now.wall.since(w.row.accepted_at),
            );
            dark += u64::from(w.live_since.is_none());
            owed += u64::from(w.owed.is_some());
            cannot_tell += u64::from(w.cannot_tell);
            not_understood += u64::from(w.garbled >= super::answers::GARBLED_LASTS);
        }
        let mut records: BTreeMap<_, u64> = RecordState::ALL
            .iter()
            .map(|s| (*s, self.counters.over.get(s).copied().unwrap_or(0)))
            .collect();
        let mut oldest_record: BTreeMap<RecordState, Duration> = BTreeMap::new();
        let mut shape: BTreeMap<RecordState, ByAge> = BTreeMap::new();
        for rec in self.records.values() {
            let state = match rec.kept {
                Kept::As(state) => state,
                Kept::Waiting | Kept::OnItsWay => RecordState::Queued,
            };
            if state.over() {
                continue;
            }
            *records.entry(state).or_default() += 1;
            let age = now.wall.since(rec.row.received_at);
            older(&mut oldest_record, state, age);
            shape.entry(state).or_default().add(age);
        }
        let (checks_due, checks_in_flight) = self.checks.counts(now.mono);
        let (uncommitted_records, uncommitted_bytes) = self.ledger.uncommitted();
        FilingSnapshot {
            interactions,
            oldest_interaction,
            dark,
            owed,
            cannot_tell,
            not_understood,
            records,
            oldest_record,
            shape,
            posts_in_flight: self.outbox.flying() as u64,
            destination: self.destination.snapshot(now),
            checks_due: checks_due as u64,
            checks_in_flight: checks_in_flight as u64,
            checks: self.counters.checks.clone(),
            commit_backlog: self.ledger.backlog() as u64,
            uncommitted_records: uncommitted_records as u64,
            uncommitted_bytes: uncommitted_bytes as u64,
            callers_waiting: self.ledger.asks() as u64,
            busy: self.counters.busy,
            store_trouble: self.ledger.trouble.map(|t| TroubleSnapshot {
                kind: t.kind,
                since: t.since.wall,
            }),
            events: self.counters.events.clone(),
            taken: self.counters.taken.clone(),
            filed: self.counters.filed.clone(),
            failed: self.counters.failed.clone(),
            gaps: self.counters.gaps.clone(),
            places_given: self.places.given.clone(),
            latency: self.counters.latency.clone(),
            gap_lengths: self.counters.gap_lengths.clone(),
            downtime: self.counters.downtime,
        }
    }
}

fn older<K: Ord>(map: &mut BTreeMap<K, Duration>, key: K, age: Duration) {
    let oldest = map.entry(key).or_default();
    *oldest = (*oldest).max(age);
}

/// Where an interaction stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchState {
    /// Its state, which may not be committed yet.
    pub state: InteractionState,
    /// When it was accepted.
    pub accepted_at: Wall,
    /// The topic is live.
    pub live: bool,
    /// When REST is asked next; the past if as soon as possible.
    pub due_at: Option<Mono>,
    /// Evidence over REST is owed, after a gap or a late subscription.
    pub owed: bool,
    /// Records known of it.
    pub records: usize,
}
