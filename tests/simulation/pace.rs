//! How much the core may do by itself: a bounded number of steps in a second,
//! and no deadline that is still over after it was obeyed.

use crate::agenda::{SECOND, Time};

/// So many ticks in a row may leave the deadline where it is.
const SPINS_MAX: u32 = 3;

/// The steps of the core, counted.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    second: Time,
    in_second: u64,
    spins: u32,
    /// Steps of the whole run.
    pub(crate) steps: u64,
}

impl Pace {
    /// One more step; more than `most` in one virtual second is a livelock.
    pub(crate) fn step(&mut self, now: Time, most: u64) -> Result<(), String> {
        let second = now / SECOND;
        if second != self.second {
            self.second = second;
            self.in_second = 0;
        }
        self.in_second += 1;
        self.steps += 1;
        match self.in_second > most {
            true => Err(format!("{} core steps in one second", self.in_second)),
            false => Ok(()),
        }
    }

    /// After a tick: whether the core spins, its deadline being over again and again.
    pub(crate) fn spins(&mut self, due: Option<Time>, now: Time) -> bool {
        if due.is_some_and(|at| at <= now) {
            self.spins += 1;
        } else {
            self.spins = 0;
        }
        self.spins > SPINS_MAX
    }
}
