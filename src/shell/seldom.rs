//! Keeps a log line that the outside can provoke from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says yes at most once in a while.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Yes at most once in `every`.
    #[must_use]
    pub const fn new(every: Duration) -> Seldom {
        Seldom {
            every,
            last: Mutex::new(None),
        }
    }

    /// Whether it is time again.
    #[must_use]
    pub fn now(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= self.every);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_the_next_is_not() {
        let seldom = Seldom::new(Duration::from_secs(3600));
        assert!(seldom.now());
        assert!(!seldom.now());
        assert!(Seldom::new(Duration::ZERO).now());
    }
}
