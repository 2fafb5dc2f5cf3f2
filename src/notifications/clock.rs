//! The one place that reads the clocks; everyone else is told (style of the core:
//! see [`base::time`]).
//!
//! Invariant: the monotonic half never runs backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base::time::{Mono, Now, Wall, millis};

/// Both clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Monotonic time begins now.
    #[must_use]
    pub fn new() -> Clock {
        Clock {
            began: Instant::now(),
        }
    }

    /// One reading of both.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A machine that thinks it is before 1970.
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(0),
        };
        Now {
            mono: Mono(millis(self.began.elapsed())),
            wall: Wall(wall),
        }
    }

    /// How long to wait from now until `at`; zero if that has passed.
    #[must_use]
    pub fn until(&self, at: Mono) -> Duration {
        let due = Duration::from_millis(at.0);
        due.saturating_sub(self.began.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_move_and_a_wait_ends_when_it_is_due() {
        let clock = Clock::new();
        let first = clock.now();
        let due = first.mono + Duration::from_millis(20);
        while !clock.until(due).is_zero() {
            std::thread::sleep(clock.until(due));
        }
        let second = clock.now();
        assert!(second.mono >= due, "{second:?}");
        assert!(second.wall > Wall(1_700_000_000_000));
        assert_eq!(clock.until(first.mono), Duration::ZERO);
    }
}
