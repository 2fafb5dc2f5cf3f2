//! The last hour, minute by minute: events taken, records filed, tries failed.
//!
//! Invariant: never more than sixty minutes are kept; counters only grow.

use std::collections::VecDeque;

use base::time::Wall;

/// Minutes kept.
const MINUTES_MAX: usize = 60;

/// Cumulative counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Records taken from events and checks.
    pub events: u64,
    /// Records filed.
    pub filed: u64,
    /// Tries that failed, dead ones included.
    pub failed: u64,
}

/// One minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Minute {
    /// Its beginning.
    pub at: Wall,
    /// What happened in it.
    pub counters: Counters,
}

/// The last hour.
#[derive(Clone, Debug, Default)]
pub struct Minutes {
    kept: VecDeque<Minute>,
    before: Counters,
}

impl Minutes {
    /// Takes in the counters as they are now.
    pub fn update(&mut self, now: Wall, total: Counters) {
        let at = Wall(now.0.div_euclid(60_000) * 60_000);
        if self.kept.back().is_none_or(|m| m.at != at) {
            self.kept.push_back(Minute {
                at,
                counters: Counters::default(),
            });
            while self.kept.len() > MINUTES_MAX {
                self.kept.pop_front();
            }
        }
        if let Some(minute) = self.kept.back_mut() {
            minute.counters.events += total.events.saturating_sub(self.before.events);
            minute.counters.filed += total.filed.saturating_sub(self.before.filed);
            minute.counters.failed += total.failed.saturating_sub(self.before.failed);
        }
        self.before = total;
    }

    /// Oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<Minute> {
        self.kept.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_in_their_minute_and_an_hour_is_kept() {
        let mut m = Minutes::default();
        let c = |events| Counters {
            events,
            filed: events,
            failed: 0,
        };
        m.update(Wall(60_000), c(3));
        m.update(Wall(90_000), c(5));
        m.update(Wall(120_001), c(6));
        let kept = m.kept();
        assert_eq!(
            kept.iter().map(|k| k.counters.events).collect::<Vec<_>>(),
            [5, 1]
        );
        for n in 0..100 {
            m.update(Wall(180_000 + n * 60_000), c(6));
        }
        assert_eq!(m.kept().len(), 60);
    }
}
