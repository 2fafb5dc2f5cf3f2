//! The two clocks, as plain numbers.
//!
//! The core never reads a clock: the shell reads both and hands them in as
//! [`Now`]. [`Mono`] is for intervals and deadlines and never runs backwards;
//! [`Wall`] is for what is shown, stored or promised by the platform. For
//! lifetimes (channel age, token expiry) whichever clock says that the end is
//! nearer is believed, because a suspended machine stops the one and an
//! operator may move the other.
//!
//! Invariant: nothing in this module reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds on the monotonic clock since the process (or the simulation) began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

/// Milliseconds on the wall clock since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Wall(pub i64);

/// One reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For intervals and deadlines.
    pub mono: Mono,
    /// For what is shown, stored or promised by the platform.
    pub wall: Wall,
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

impl Mono {
    /// An instant that never comes: the deadline of something that waits for an event alone.
    pub const NEVER: Mono = Mono(u64::MAX);

    /// Time passed since `earlier`, zero if that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant less `d`, not below the beginning.
    #[must_use]
    pub fn minus(self, d: Duration) -> Mono {
        Mono(self.0.saturating_sub(millis(d)))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(millis(d)))
    }
}

impl Wall {
    /// Time passed since `earlier`, zero if that lies ahead.
    #[must_use]
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds, as in `2026-01-08T15:35:12.345Z`; instants
    /// outside of what a calendar of four-digit years holds are clamped.
    #[must_use]
    pub fn rfc3339(self) -> String {
        const MAX_MS: i64 = 253_402_207_200_000;
        let clamped = self.0.clamp(-MAX_MS / 5, MAX_MS - 1);
        match jiff::Timestamp::from_millisecond(clamped) {
            Ok(t) => format!("{t:.3}"),
            Err(_) => String::from("1970-01-01T00:00:00.000Z"),
        }
    }

    /// Reads RFC 3339, rounding to whole milliseconds; `None` if it is not that.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Wall> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|t| Wall(t.as_millisecond()))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, d: Duration) -> Wall {
        Wall(
            self.0
                .saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;
    fn sub(self, d: Duration) -> Wall {
        Wall(
            self.0
                .saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl Now {
    /// Both clocks moved forward by `d`.
    #[must_use]
    pub fn plus(self, d: Duration) -> Now {
        Now {
            mono: self.mono + d,
            wall: self.wall + d,
        }
    }
}

/// A moment at which something has to be done, and why: the reason is shown on
/// the status page and asserted in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// When; a value in the past means at once.
    pub at: Mono,
    /// Why, as a short noun phrase such as `token renewal`.
    pub why: &'static str,
}

impl Deadline {
    /// The sooner of two deadlines.
    #[must_use]
    pub fn sooner(a: Option<Deadline>, b: Option<Deadline>) -> Option<Deadline> {
        match (a, b) {
            (Some(x), Some(y)) => Some(if y.at < x.at { y } else { x }),
            (x, None) => x,
            (None, y) => y,
        }
    }
}

/// Keeps deadlines out of the past. One that is over and that a tick does not move would
/// make its obeyer turn without end; here it is slowed down and told of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    /// When what was due was last done.
    obeyed: Mono,
    in_a_row: u32,
    stuck: Option<&'static str>,
}

impl Alarm {
    /// What is over after a tick is due this long after it.
    pub const REST: Duration = Duration::from_millis(10);
    /// So many ticks in a row may leave something due at once: one thing leads to another.
    const IN_A_ROW_MAX: u32 = 3;

    /// A tick has been obeyed; `due` is what is due next.
    pub fn obeyed(&mut self, due: Option<Deadline>, now: Mono) {
        self.obeyed = now;
        match due.filter(|d| d.at <= now) {
            Some(due) => {
                self.in_a_row += 1;
                if due.at < now || self.in_a_row > Self::IN_A_ROW_MAX {
                    self.stuck = Some(due.why);
                }
            }
            None => {
                self.in_a_row = 0;
                self.stuck = None;
            }
        }
    }

    /// The deadline as it may be given out.
    #[must_use]
    pub fn kept(&self, due: Option<Deadline>) -> Option<Deadline> {
        due.map(|due| Deadline {
            at: match due.at <= self.obeyed {
                true => self.obeyed + Self::REST,
                false => due.at,
            },
            ..due
        })
    }

    /// Says which deadline lies in the past although it was obeyed.
    ///
    /// # Errors
    /// Never in a correct program: the sentence names the defect.
    pub fn audit(&self) -> Result<(), String> {
        match self.stuck {
            Some(why) => Err(format!("the deadline \"{why}\" lies in the past")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_reads_and_writes_milliseconds_in_utc() {
        let w = Wall(1_767_886_512_345);
        assert_eq!(w.rfc3339(), "2026-01-08T15:35:12.345Z");
        assert_eq!(
            Wall::parse_rfc3339("2026-01-08T16:35:12.345+01:00"),
            Some(w)
        );
        assert_eq!(Wall::parse_rfc3339("yesterday"), None);
        assert_eq!(Wall(0).rfc3339(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_deadline_that_is_obeyed_and_stays_is_slowed_down_and_told_of() {
        let due = |at| {
            Some(Deadline {
                at: Mono(at),
                why: "tea",
            })
        };
        let mut alarm = Alarm::default();
        alarm.obeyed(due(99), Mono(100));
        assert_eq!(alarm.kept(due(99)), due(110));
        assert!(alarm.audit().unwrap_err().contains("tea"));
        alarm.obeyed(due(300), Mono(110));
        assert_eq!(alarm.kept(due(300)), due(300));
        alarm.audit().unwrap();
        for _ in 0..3 {
            alarm.obeyed(due(120), Mono(120));
        }
        alarm.audit().unwrap();
        alarm.obeyed(due(120), Mono(120));
        assert!(alarm.audit().is_err());
    }

    #[test]
    fn absurd_instants_are_clamped_and_do_not_panic() {
        assert!(Wall(i64::MAX).rfc3339().starts_with("9999-"));
        let _ = Wall(i64::MIN).rfc3339();
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
    }
}
