//! One snapshot of everything that may be shown.
//!
//! Invariant: plain values; taking one changes nothing and needs no lock on the loop.

use std::collections::BTreeMap;
use std::time::Duration;

use super::minutes::{Counters, Minute};
use base::gap::GapCause;
use base::rows::{RecordState, Source};
use base::time::Wall;
use filing::snapshot::{
    AGE_BOUNDS, CHECK_OUTCOMES, EVENT_OUTCOMES, FilingSnapshot, LATENCY_BOUNDS_MS, Latency,
};
use filing::verdict::CAUSES;
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
    pub interactions: Vec<(&'static str, u64)>,
    /// Records by state, in the order of the contract.
    pub records: Vec<(&'static str, u64)>,
    /// Age of the oldest by state, interactions and records.
    pub oldest: Vec<(&'static str, Duration)>,
    /// Records that are not over, by state and age.
    pub shape: Vec<(&'static str, Vec<(&'static str, u64)>)>,
    /// `open`, `held`, `down`, `closed`.
    pub history_state: &'static str,
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
    pub taken: Vec<(&'static str, u64)>,
    /// Events by what became of them.
    pub events: Vec<(&'static str, u64)>,
    /// Gaps by cause: how many, and the topics in them.
    pub gaps: Vec<(&'static str, u64, u64)>,
    /// Places on channels given to those that waited, by whose they were.
    pub places_given: Vec<(&'static str, u64)>,
    /// Requests answered "busy".
    pub refused_busy: u64,
    /// Log lines dropped because stderr could not take them.
    pub log_lines_lost: u64,
    /// Tries to file that ended, by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// From the event to its being filed: upper bounds in seconds, and counts.
    pub latency: Histogram,
    /// From an order to the store to its end.
    pub commit_latency: Histogram,
    /// Requests refused, by listener and cause.
    pub refused: Vec<(&'static str, &'static str, u64)>,
    /// Checks over REST by `one` or `many`, and by outcome.
    pub checks: Vec<(&'static str, &'static str, u64)>,
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
    pub filed: Vec<(&'static str, u64)>,
    /// The last hour.
    pub minutes: Vec<Minute>,
    /// When the loop wakes next, and why.
    pub next_wake: Option<(Duration, &'static str)>,
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

/// The states of records that are not over, in the order of the table of ages.
pub const WAITING: [RecordState; 4] = [
    RecordState::Queued,
    RecordState::Deferred,
    RecordState::Dead,
    RecordState::Held,
];

/// What the page, the metrics and the command call the age buckets.
pub const AGE_LABELS: [&str; AGE_BOUNDS.len() + 1] = ["1m", "10m", "1h", "6h", "1d", "older"];

impl Snapshot {
    /// Takes in the filing half; gives the counters of the last hour's charts.
    pub fn fill(&mut self, f: &FilingSnapshot) -> Counters {
        self.interactions = f
            .interactions
            .iter()
            .map(|(s, n)| (s.label(), *n))
            .collect();
        self.records = f.records.iter().map(|(s, n)| (s.label(), *n)).collect();
        self.oldest = f
            .oldest_interaction
            .iter()
            .map(|(s, age)| (s.label(), *age))
            .collect();
        self.oldest
            .extend(f.oldest_record.iter().map(|(s, age)| (s.label(), *age)));
        let none = [0; AGE_LABELS.len()];
        self.shape = WAITING
            .iter()
            .map(|s| {
                let ages = f.shape.get(s).unwrap_or(&none);
                (
                    s.label(),
                    AGE_LABELS.into_iter().zip(ages.iter().copied()).collect(),
                )
            })
            .collect();
        self.history_state = f.destination.state;
        self.history_detail.clone_from(&f.destination.sentence);
        self.history_in_flight = f.posts_in_flight;
        self.checks_due = f.checks_due;
        self.checks_in_flight = f.checks_in_flight;
        self.dark = f.dark;
        self.places_given = f.places_given.to_vec();
        self.not_understood = f.not_understood;
        self.uncommitted = f.commit_backlog;
        self.store_trouble = f.store_trouble.map(|t| t.kind.sentence().to_string());
        self.taken = of_sources(&f.taken);
        self.filed = of_sources(&f.filed);
        self.events = with_all(&EVENT_OUTCOMES, f.events.iter().map(|(s, n)| (*s, *n)));
        self.gaps = GapCause::ALL
            .iter()
            .map(|cause| {
                let (gaps, topics) = f.gaps.get(cause).copied().unwrap_or_default();
                (cause.label(), gaps, topics)
            })
            .collect();
        self.gap_lengths = histogram(&f.gap_lengths);
        self.downtime = f.downtime;
        self.checks = ["one", "many"]
            .into_iter()
            .flat_map(|how| {
                CHECK_OUTCOMES
                    .into_iter()
                    .map(move |outcome| (how, outcome))
            })
            .map(|key| (key.0, key.1, f.checks.get(&key).copied().unwrap_or(0)))
            .collect();
        self.owed = f.owed;
        self.cannot_tell = f.cannot_tell;
        self.callers_waiting = f.callers_waiting;
        self.uncommitted_records = (f.uncommitted_records, f.uncommitted_bytes);
        let filed: u64 = f.filed.values().sum();
        let failed: u64 = f.failed.values().sum();
        self.outcomes = std::iter::once(("filed", filed))
            .chain(with_all(&CAUSES, f.failed.iter().map(|(c, n)| (*c, *n))))
            .collect();
        self.refused_busy = f.busy;
        self.latency = histogram(&f.latency);
        Counters {
            events: f.taken.values().sum(),
            filed,
            failed,
        }
    }

    /// How many records are in this state.
    #[must_use]
    pub fn record(&self, state: &str) -> u64 {
        self.records
            .iter()
            .find(|(s, _)| *s == state)
            .map_or(0, |(_, n)| *n)
    }

    /// How many interactions are in this state.
    #[must_use]
    pub fn interaction(&self, state: &str) -> u64 {
        self.interactions
            .iter()
            .find(|(s, _)| *s == state)
            .map_or(0, |(_, n)| *n)
    }
}

/// What is known, in its order and with zeroes, then whatever else there is.
fn with_all(
    known: &[&'static str],
    found: impl Iterator<Item = (&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    let mut all: Vec<_> = known.iter().map(|key| (*key, 0)).collect();
    for (key, n) in found {
        match all.iter_mut().find(|(k, _)| *k == key) {
            Some((_, sum)) => *sum += n,
            None => all.push((key, n)),
        }
    }
    all
}

fn of_sources(found: &BTreeMap<Source, u64>) -> Vec<(&'static str, u64)> {
    [
        Source::Notification,
        Source::Reconciliation,
        Source::SupportResult,
    ]
    .into_iter()
    .map(|s| (s.label(), found.get(&s).copied().unwrap_or(0)))
    .collect()
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
