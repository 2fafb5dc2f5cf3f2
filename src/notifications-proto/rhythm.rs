//! Whether the platform's heartbeats come more seldom than `heartbeat-timeout` allows.
//!
//! The period is not published: others saw 30 s, and up to 60 s have to be expected
//! (protocol, section 14). Beyond the timeout every healthy socket would be given up, over
//! and over, a gap each time. So where sockets fall silent one after the other before they
//! have heard two heartbeats, although the platform answers, twice the timeout is allowed.
//! Where that does not help there are no heartbeats, and the setting counts again.
//!
//! It may not touch a socket, and knows nothing of the timeout itself.
//!
//! Invariant: only sockets that lived under the present allowance speak against it.

use std::time::Duration;

use base::time::Mono;

/// Sockets that fell silent early, one after the other, until the allowance is changed.
const EARLY_MAX: u32 = 3;
/// They are one after the other if no more time than this lies between two.
const EARLY_WITHIN: Duration = Duration::from_secs(600);
/// Heartbeats on one socket that prove that it was not too early: one may come by chance.
const BEATS_PROVE: u32 = 2;
/// If the longer allowance did not help, it is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    early: u32,
    last: Mono,
    slow: bool,
    /// The last socket that was opened before the allowance changed.
    before: u32,
    not_before: Mono,
}

impl Rhythm {
    /// Twice the timeout is allowed.
    pub(super) fn slow(&self) -> bool {
        self.slow
    }

    /// A socket fell silent after so many heartbeats, `latest` being the last that was opened.
    /// True if the allowance has changed by that.
    pub(super) fn fell_silent(
        &mut self,
        generation: u32,
        beats: u32,
        latest: u32,
        now: Mono,
    ) -> bool {
        if beats >= BEATS_PROVE || generation <= self.before {
            return false;
        }
        if now.since(self.last) > EARLY_WITHIN {
            self.early = 0;
        }
        self.last = now;
        self.early += 1;
        if self.early < EARLY_MAX || (!self.slow && now < self.not_before) {
            return false;
        }
        self.early = 0;
        self.before = latest;
        if self.slow {
            self.not_before = now + AGAIN_AFTER;
        }
        self.slow = !self.slow;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono(secs * 1000)
    }

    /// Sockets one after the other, each silent after 40 s; when the allowance changed.
    fn changes(rhythm: &mut Rhythm, from: u64, beats: u32, sockets: u32) -> Vec<u64> {
        let mut changed = Vec::new();
        let base = rhythm.before;
        for n in 1..=sockets {
            let now = from + 40 * u64::from(n);
            if rhythm.fell_silent(base + n, beats, base + n, at(now)) {
                changed.push(now);
            }
        }
        changed
    }

    #[test]
    fn three_sockets_silent_from_the_start_are_allowed_more() {
        let mut rhythm = Rhythm::default();
        assert_eq!(changes(&mut rhythm, 0, 1, 3), [120]);
        assert!(rhythm.slow());
    }

    #[test]
    fn a_silence_after_regular_heartbeats_changes_nothing() {
        let mut rhythm = Rhythm::default();
        assert!(changes(&mut rhythm, 0, 2, 50).is_empty());
        assert!(!rhythm.slow());
    }

    #[test]
    fn silences_that_are_far_apart_have_nothing_to_do_with_each_other() {
        let mut rhythm = Rhythm::default();
        for n in 1..20 {
            assert!(!rhythm.fell_silent(n, 0, n, at(u64::from(n) * 601)));
        }
    }

    #[test]
    fn sockets_from_before_the_change_do_not_undo_it() {
        let mut rhythm = Rhythm::default();
        // Twenty at once, as after a restart.
        let changed = (1..=20).filter(|n| rhythm.fell_silent(*n, 0, 20, at(40)));
        assert_eq!(changed.collect::<Vec<_>>(), [3]);
        assert!(rhythm.slow());
    }

    #[test]
    fn where_there_are_no_heartbeats_at_all_the_setting_counts_again_for_an_hour() {
        let mut rhythm = Rhythm::default();
        assert_eq!(changes(&mut rhythm, 0, 0, 6), [120, 240]);
        assert!(!rhythm.slow());
        assert!(changes(&mut rhythm, 240, 0, 89).is_empty());
        assert_eq!(changes(&mut rhythm, 240 + 3600, 0, 1), [3880]);
    }
}
