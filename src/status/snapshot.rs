//! One snapshot of everything that may be shown.
//!
//! Invariant: plain values; taking one changes nothing and needs no lock on the loop.

use std::time::Duration;

use super::minutes::{Counters, Minute};
use crate::filing::snapshot::{AGE_BOUNDS, FilingSnapshot, LATENCY_BOUNDS_MS, Latency};
use crate::platform::snapshot::Snapshot as PlatformSnapshot;
use crate::time::Wall;

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
    /// Changes that wait for a commit.
    pub uncommitted: u64,
    /// Why nothing can be committed.
    pub store_trouble: Option<String>,
    /// Where a damaged database was set aside.
    pub damaged: Option<String>,
    /// Records taken, by source.
    pub taken: Vec<(&'static str, u64)>,
    /// Events by what became of them.
    pub events: Vec<(&'static str, u64)>,
    /// Gaps by cause: how many, and the topics in them.
    pub gaps: Vec<(&'static str, u64, u64)>,
    /// Requests answered "busy".
    pub refused_busy: u64,
    /// Tries to file that ended, by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// From the event to its being filed: upper bounds in seconds, and counts.
    pub latency: Histogram,
    /// From an order to the store to its end.
    pub commit_latency: Histogram,
    /// Requests refused by the listeners, by cause.
    pub refused: Vec<(&'static str, u64)>,
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

/// What the page, the metrics and the command call the age buckets.
pub const AGE_LABELS: [&str; AGE_BOUNDS.len() + 1] = ["1m", "10m", "1h", "6h", "1d", "older"];

impl Snapshot {
    /// Takes in the filing half; gives the counters of the last hour's charts.
    pub fn fill(&mut self, f: &FilingSnapshot) -> Counters {
        self.interactions = f
            .interactions
            .iter()
            .map(|(s, n)| (s.as_str(), *n))
            .collect();
        self.records = f.records.iter().map(|(s, n)| (s.as_str(), *n)).collect();
        self.oldest = f
            .oldest_interaction
            .iter()
            .map(|(s, age)| (s.as_str(), *age))
            .collect();
        self.oldest
            .extend(f.oldest_record.iter().map(|(s, age)| (s.as_str(), *age)));
        self.shape = f
            .shape
            .iter()
            .map(|(s, ages)| {
                (
                    s.as_str(),
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
        self.uncommitted = f.commit_backlog;
        self.store_trouble = f.store_trouble.map(|t| t.kind.sentence().to_string());
        self.taken = f.taken.iter().map(|(s, n)| (s.as_str(), *n)).collect();
        self.events = f.events.iter().map(|(s, n)| (*s, *n)).collect();
        self.gaps = f
            .gaps
            .iter()
            .map(|(cause, (n, topics))| (*cause, *n, *topics))
            .collect();
        let filed: u64 = f.filed.values().sum();
        let failed: u64 = f.failed.values().sum();
        self.outcomes = std::iter::once(("filed", filed))
            .chain(f.failed.iter().map(|(c, n)| (*c, *n)))
            .collect();
        self.refused_busy = f.busy;
        self.latency = latency(&f.latency);
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

fn latency(of: &Latency) -> Histogram {
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
