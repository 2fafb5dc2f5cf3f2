//! Timers of the model: what is due, in order of time, then of setting.
//!
//! Invariant: timers of one instant come out in the order in which they were
//! set, so that one seed gives one run.

use std::collections::BTreeMap;

use base::time::Mono;

/// A set of timers with a payload each.
#[derive(Debug)]
pub(super) struct Timers<T> {
    due: BTreeMap<(Mono, u64), T>,
    next: u64,
}

impl<T> Timers<T> {
    pub(super) fn new() -> Self {
        Timers {
            due: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn set(&mut self, at: Mono, what: T) {
        self.due.insert((at, self.next), what);
        self.next += 1;
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first timer that is due, taken out.
    pub(super) fn take(&mut self, now: Mono) -> Option<T> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_out_by_time_and_then_in_the_order_of_setting() {
        let mut t = Timers::new();
        t.set(Mono(5), 'b');
        t.set(Mono(3), 'a');
        t.set(Mono(5), 'c');
        assert_eq!(t.next(), Some(Mono(3)));
        assert_eq!(t.take(Mono(2)), None);
        assert_eq!(t.take(Mono(5)), Some('a'));
        assert_eq!(t.take(Mono(5)), Some('b'));
        assert_eq!(t.take(Mono(5)), Some('c'));
        assert_eq!((t.take(Mono(9)), t.next()), (None, None));
    }
}
