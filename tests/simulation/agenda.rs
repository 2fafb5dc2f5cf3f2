//! What is going to happen, in order of time, then of planning.
//!
//! Invariant: two entries of one instant come out in the order in which they
//! went in, so that one seed gives one run.

use std::collections::BTreeMap;

/// Milliseconds since the world began.
pub(crate) type Time = u64;

pub(crate) const SECOND: Time = 1000;
pub(crate) const MINUTE: Time = 60 * SECOND;
pub(crate) const HOUR: Time = 60 * MINUTE;
pub(crate) const DAY: Time = 24 * HOUR;

pub(crate) struct Agenda<E> {
    due: BTreeMap<(Time, u64), E>,
    planned: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Agenda {
            due: BTreeMap::new(),
            planned: 0,
        }
    }
}

impl<E> Agenda<E> {
    pub(crate) fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.due.insert((at, self.planned), event);
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first entry, if it is due.
    pub(crate) fn take(&mut self, now: Time) -> Option<E> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
