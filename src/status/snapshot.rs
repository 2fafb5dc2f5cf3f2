//! One snapshot of everything that may be shown.
//!
//! Invariant: plain values; taking one changes nothing and needs no lock on the loop.

use std::time::Duration;

use super::minutes::Minute;
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
    pub history_in_flight: usize,
    /// Interactions due for a check.
    pub checks_due: usize,
    /// Questions under way.
    pub checks_in_flight: usize,
    /// Watched interactions that are not live.
    pub dark: usize,
    /// Changes that wait for a commit.
    pub uncommitted: usize,
    /// Why nothing can be committed.
    pub store_trouble: Option<String>,
    /// Where a damaged database was set aside.
    pub damaged: Option<String>,
    /// Records taken, by source.
    pub taken: Vec<(&'static str, u64)>,
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
        Histogram { buckets: bounds.iter().map(|b| (*b, 0)).collect(), sum: 0.0, count: 0 }
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
    /// How many records are in this state.
    #[must_use]
    pub fn record(&self, state: &str) -> u64 {
        self.records.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    }

    /// How many interactions are in this state.
    #[must_use]
    pub fn interaction(&self, state: &str) -> u64 {
        self.interactions.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)
    }
}
