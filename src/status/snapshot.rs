//! One snapshot of everything that may be shown.
//!
//! Invariant: plain values; taking one changes nothing and needs no lock on the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::minutes::{Counters, Minute};
use base::ages::ByAge;
use base::gap::GapCause;
use base::rows::{InteractionState, RecordState, Source};
use base::time::Wall;
use filing::{
    CheckKind, CheckOutcome, EventFate, FilingSnapshot, GaveWay, HistoryState, LATENCY_BOUNDS_MS,
    Latency, PostFailure,
};
use proto::snapshot::Snapshot as PlatformSnapshot;
use store::Log;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Wall,
    /// When the process started.
    pub started_at: Wall,
    /// A stop was asked for.
    pub stopping: bool,
    /// The platform client.
    pub platform: PlatformSnapshot,
    /// Interactions by state, in the order of the contract.
    pub interactions: Vec<(InteractionState, u64)>,
    /// Records by state, in the order of the contract.
    pub records: Vec<(RecordState, u64)>,
    /// Age of the oldest interaction by state.
    pub oldest_interaction: BTreeMap<InteractionState, Duration>,
    /// Age of the oldest record by state.
    pub oldest_record: BTreeMap<RecordState, Duration>,
    /// Records that are not over, by state and age.
    pub shape: Vec<(RecordState, ByAge)>,
    /// How the history manager fares.
    pub history_state: HistoryState,
    /// In words.
    pub history_detail: String,
    /// Posts under way.
    pub history_in_flight: u64,
    /// Interactions due for a check.
    pub checks_due: u64,
    /// Questions under way.
    pub checks_in_flight: u64,
    /// Watched interactions that are not live.
    pub dark: u64,
    /// Watched conversations about which REST's answers are not understood, more than once in a row.
    pub not_understood: u64,
    /// Changes that wait for a commit.
    pub uncommitted: u64,
    /// Why nothing can be committed.
    pub store_trouble: Option<String>,
    /// The write-ahead log of the database.
    pub log: Log,
    /// Where the database is.
    pub database: String,
    /// Where a damaged database was set aside.
    pub damaged: Option<String>,
    /// Records taken, by source.
    pub taken: Vec<(Source, u64)>,
    /// Events by what became of them.
    pub events: Vec<(EventFate, u64)>,
    /// Gaps by cause: how many, and the topics in them.
    pub gaps: Vec<(GapCause, u64, u64)>,
    /// Places on channels given to those that waited, by whose they were.
    pub places_given: Vec<(GaveWay, u64)>,
    /// Requests answered "busy".
    pub refused_busy: u64,
    /// Log lines dropped because stderr could not take them.
    pub log_lines_lost: u64,
    /// Tries to file that failed, by cause.
    pub failed: Vec<(PostFailure, u64)>,
    /// From the event to its being filed: upper bounds in seconds, and counts.
    pub latency: Histogram,
    /// From an order to the store to its end.
    pub commit_latency: Histogram,
    /// Requests refused, by listener and cause.
    pub refused: Vec<(&'static str, &'static str, u64)>,
    /// Checks over REST by how they asked and what came of it.
    pub checks: Vec<(CheckKind, CheckOutcome, u64)>,
    /// How long watched conversations were out of sight.
    pub gap_lengths: Histogram,
    /// How long the gateway was not running before this start.
    pub downtime: Duration,
    /// Interactions that are owed an answer over REST.
    pub owed: u64,
    /// Interactions of which REST could not tell the last time.
    pub cannot_tell: u64,
    /// Requests that wait for the store.
    pub callers_waiting: u64,
    /// Records taken and not committed, and the bytes of their bodies.
    pub uncommitted_records: (u64, u64),
    /// Records filed, by source.
    pub filed: Vec<(Source, u64)>,
    /// The last hour.
    pub minutes: Vec<Minute>,
    /// When the loop wakes next, and why.
    pub next_wake: Option<(Duration, &'static str)>,
    /// Where there is more than one: each by its name, the main one first; this is their sum.
    pub shards: Vec<(String, Arc<Snapshot>)>,
}

/// Counts by upper bound, as Prometheus wants them.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Upper bounds in seconds and how many were at most that.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all, in seconds.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl Histogram {
    /// With these upper bounds, in seconds, ascending.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Histogram {
        Histogram {
            buckets: bounds.iter().map(|b| (*b, 0)).collect(),
            sum: 0.0,
            count: 0,
        }
    }

    /// Counts one observation.
    pub fn observe(&mut self, seconds: f64) {
        for (bound, n) in &mut self.buckets {
            if seconds <= *bound {
                *n += 1;
            }
        }
        self.sum += seconds;
        self.count += 1;
    }
}

impl Snapshot {
    /// Takes in the filing half; gives the counters of the last hour's charts.
    pub fn fill(&mut self, f: &FilingSnapshot) -> Counters {
        self.interactions = all(InteractionState::ALL, &f.interactions);
        self.records = all(RecordState::ALL, &f.records);
        self.oldest_interaction.clone_from(&f.oldest_interaction);
        self.oldest_record.clone_from(&f.oldest_record);
        self.shape = RecordState::waiting()
            .map(|state| (state, f.shape.get(&state).copied().unwrap_or_default()))
            .collect();
        self.history_state = f.destination.state;
        self.history_detail.clone_from(&f.destination.sentence);
        self.history_in_flight = f.posts_in_flight;
        self.checks_due = f.checks_due;
        self.checks_in_flight = f.checks_in_flight;
        self.dark = f.dark;
        self.places_given = all(GaveWay::ALL, &f.places_given);
        self.not_understood = f.not_understood;
        self.uncommitted = f.commit_backlog;
        self.store_trouble = f.store_trouble.map(|t| t.kind.sentence().to_string());
        self.taken = all(Source::ALL, &f.taken);
        self.filed = all(Source::ALL, &f.filed);
        self.events = all(EventFate::ALL, &f.events);
        self.gaps = GapCause::ALL
            .iter()
            .map(|cause| {
                let (gaps, topics) = f.gaps.get(cause).copied().unwrap_or_default();
                (*cause, gaps, topics)
            })
            .collect();
        self.gap_lengths = histogram(&f.gap_lengths);
        self.downtime = f.downtime;
        self.checks = CheckKind::ALL
            .iter()
            .flat_map(|how| CheckOutcome::ALL.iter().map(|outcome| (*how, *outcome)))
            .map(|key| (key.0, key.1, f.checks.get(&key).copied().unwrap_or(0)))
            .collect();
        self.owed = f.owed;
        self.cannot_tell = f.cannot_tell;
        self.callers_waiting = f.callers_waiting;
        self.uncommitted_records = (f.uncommitted_records, f.uncommitted_bytes);
        self.failed = all(PostFailure::ALL, &f.failed);
        self.refused_busy = f.busy;
        self.latency = histogram(&f.latency);
        Counters {
            events: f.taken.values().sum(),
            filed: f.filed.values().sum(),
            failed: f.failed.values().sum(),
        }
    }

    /// How many records are in this state.
    #[must_use]
    pub fn record(&self, state: RecordState) -> u64 {
        self.records
            .iter()
            .find(|(s, _)| *s == state)
            .map_or(0, |(_, n)| *n)
    }

    /// How many interactions are in this state.
    #[must_use]
    pub fn interaction(&self, state: InteractionState) -> u64 {
        self.interactions
            .iter()
            .find(|(s, _)| *s == state)
            .map_or(0, |(_, n)| *n)
    }
}

/// How many there are of each, in the order in which they are listed.
fn all<K: Ord + Copy>(each: &[K], found: &BTreeMap<K, u64>) -> Vec<(K, u64)> {
    let counted = |key: &K| (*key, found.get(key).copied().unwrap_or(0));
    each.iter().map(counted).collect()
}

fn histogram(of: &Latency) -> Histogram {
    let mut sum = 0;
    let below = LATENCY_BOUNDS_MS.iter().zip(of.buckets).map(|(bound, n)| {
        sum += n;
        (*bound as f64 / 1000.0, sum)
    });
    Histogram {
        buckets: below.collect(),
        sum: of.sum_ms as f64 / 1000.0,
        count: of.count,
    }
}
