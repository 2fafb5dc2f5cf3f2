//! The order in which committed records are tried.
//!
//! Fresh ones and deferred ones take turns, so that a backlog cannot starve
//! fresh work. It knows ids and times only; what becomes of a record is decided
//! elsewhere.
//!
//! Invariant: a record is in at most one place: fresh, deferred or in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::ids::RecordId;
use base::rng::Rng;
use base::time::Mono;

/// First pause after a failed try (design, section 5).
pub(super) const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause between tries (design, section 5).
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The pause after the n-th counted try: 1 s doubling to 5 min, with jitter.
pub(super) fn backoff(attempts: u32, rng: &mut Rng) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    rng.jitter((BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX))
        .min(BACKOFF_MAX)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Fresh(u64),
    Deferred(Mono),
    InFlight,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    places: BTreeMap<RecordId, Place>,
    fresh: BTreeSet<(u64, RecordId)>,
    deferred: BTreeSet<(Mono, RecordId)>,
    in_flight: usize,
    sequence: u64,
    deferred_turn: bool,
}

impl Outbox {
    /// Behind the other fresh ones.
    pub(super) fn fresh(&mut self, id: RecordId) {
        self.sequence += 1;
        self.put(id, Place::Fresh(self.sequence));
    }

    /// Not before `at`.
    pub(super) fn defer(&mut self, id: RecordId, at: Mono) {
        self.put(id, Place::Deferred(at));
    }

    fn put(&mut self, id: RecordId, place: Place) {
        if self.in_flight(id) {
            // Its outcome decides where it goes next.
            return;
        }
        self.remove(id);
        match place {
            Place::Fresh(n) => {
                self.fresh.insert((n, id));
            }
            Place::Deferred(at) => {
                self.deferred.insert((at, id));
            }
            Place::InFlight => self.in_flight += 1,
        }
        self.places.insert(id, place);
    }

    /// Out of the queues; one in flight stays so until its outcome.
    pub(super) fn remove(&mut self, id: RecordId) {
        match self.places.get(&id) {
            Some(Place::Fresh(n)) => {
                self.fresh.remove(&(*n, id));
            }
            Some(Place::Deferred(at)) => {
                self.deferred.remove(&(*at, id));
            }
            Some(Place::InFlight) | None => return,
        }
        self.places.remove(&id);
    }

    /// Whether a try is under way.
    pub(super) fn in_flight(&self, id: RecordId) -> bool {
        self.places.get(&id) == Some(&Place::InFlight)
    }

    /// The try has ended; `false` if there was none.
    pub(super) fn landed(&mut self, id: RecordId) -> bool {
        if !self.in_flight(id) {
            return false;
        }
        self.places.remove(&id);
        self.in_flight -= 1;
        true
    }

    /// The next record to try, if fewer than `limit` are in flight. A `probe` of a destination
    /// that is closed may be any record, even one whose time has not come.
    pub(super) fn next(&mut self, limit: usize, now: Mono, probe: bool) -> Option<RecordId> {
        if self.in_flight >= limit {
            return None;
        }
        let fresh = self.fresh.first().map(|f| f.1);
        let deferred = self
            .deferred
            .first()
            .filter(|(at, _)| probe || *at <= now)
            .map(|d| d.1);
        let id = if self.deferred_turn {
            deferred.or(fresh)
        } else {
            fresh.or(deferred)
        }?;
        self.deferred_turn = Some(id) == fresh;
        self.put(id, Place::InFlight);
        Some(id)
    }

    /// When the next record's time comes; [`Mono`] zero for fresh ones.
    pub(super) fn next_at(&self) -> Option<Mono> {
        if self.fresh.is_empty() {
            self.deferred.first().map(|d| d.0)
        } else {
            Some(Mono(0))
        }
    }

    /// Tries under way.
    pub(super) fn flying(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> RecordId {
        RecordId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn fresh_and_deferred_take_turns() {
        let mut o = Outbox::default();
        for n in 0..3 {
            o.fresh(id(n));
            o.defer(id(10 + n), Mono(5));
        }
        let order: Vec<_> = std::iter::from_fn(|| o.next(99, Mono(5), false)).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 12].map(id));
    }

    #[test]
    fn one_kind_alone_is_not_held_back() {
        let mut o = Outbox::default();
        for n in 0..3 {
            o.fresh(id(n));
        }
        o.defer(id(9), Mono(100));
        let order: Vec<_> = std::iter::from_fn(|| o.next(99, Mono(5), false)).collect();
        assert_eq!(order, [0, 1, 2].map(id));
        assert_eq!(o.next_at(), Some(Mono(100)));
        assert_eq!(o.next(99, Mono(5), true), Some(id(9)));
    }

    #[test]
    fn no_more_than_the_limit_is_in_flight_and_nothing_flies_twice() {
        let mut o = Outbox::default();
        for n in 0..9 {
            o.fresh(id(n));
        }
        assert_eq!(o.next(1, Mono(0), false), Some(id(0)));
        assert_eq!(o.next(1, Mono(0), false), None);
        o.fresh(id(0));
        o.defer(id(0), Mono(0));
        o.remove(id(0));
        assert!(o.in_flight(id(0)));
        assert_eq!(o.next(9, Mono(0), false), Some(id(1)));
        assert!(o.landed(id(0)) && !o.landed(id(0)));
    }

    #[test]
    fn pauses_double_from_one_second_to_five_minutes_with_jitter() {
        let mut rng = Rng::new(3);
        for (attempts, seconds) in [
            (1, 1),
            (2, 2),
            (5, 16),
            (9, 256),
            (10, 300),
            (4_000_000_000, 300),
        ] {
            let full = Duration::from_secs(seconds);
            for _ in 0..50 {
                let d = backoff(attempts, &mut rng);
                assert!(
                    d >= full * 3 / 4 && d <= (full * 5 / 4).min(BACKOFF_MAX),
                    "{attempts} {d:?}"
                );
            }
        }
    }
}
