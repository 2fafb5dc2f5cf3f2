//! Keeps a log line that the outside can provoke from filling the log.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says yes at most once in a while, and then how often it said no since.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Mutex<(Option<Instant>, u64)>,
}

/// How many were left out; shown as nothing if none was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeftOut(pub u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " (and {n} more like this, not shown)"),
        }
    }
}

impl Seldom {
    /// Yes at most once in `every`.
    #[must_use]
    pub const fn new(every: Duration) -> Seldom {
        Seldom {
            every,
            last: Mutex::new((None, 0)),
        }
    }

    /// If it is time again: how many were left out since the last time.
    #[must_use]
    pub fn now(&self) -> Option<LeftOut> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_some_and(|at| at.elapsed() < self.every) {
            last.1 = last.1.saturating_add(1);
            return None;
        }
        let left_out = LeftOut(last.1);
        *last = (Some(Instant::now()), 0);
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_the_next_is_counted() {
        let seldom = Seldom::new(Duration::from_secs(3600));
        assert_eq!(seldom.now(), Some(LeftOut(0)));
        assert_eq!(seldom.now(), None);
        assert_eq!(seldom.now(), None);
        assert_eq!(seldom.last.lock().unwrap().1, 2);
        let always = Seldom::new(Duration::ZERO);
        assert!(always.now().is_some() && always.now().is_some());
        assert_eq!(LeftOut(0).to_string(), "");
        assert!(LeftOut(2).to_string().contains("2 more"));
    }
}
