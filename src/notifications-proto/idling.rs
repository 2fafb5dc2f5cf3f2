//! The idle timer of the token: kept warm, looked at, and believed only as far
//! as looking confirms it (protocol, sections 2.6 and 14a).
//!
//! Administrators choose which calls reset the timer, so whether keeping warm
//! does is looked at after each try. Where it does not, or its calls do not get
//! through, the next token is due while there is time to hand over every
//! channel of the present one.
//!
//! Of the platform's clock only counts how far its answers move. Invariant: only
//! the call that is looked at counts as keeping warm; other calls may not reset
//! the timer even where that one does.

use std::time::Duration;

use super::limits::{KEEP_WARM, TOKEN_LEAD_MAX};
use base::time::{Mono, Now, Wall};

/// The shortest idle timeout that can be set, and the longest (protocol, section 2.6).
const IDLE_MIN: Duration = Duration::from_secs(300);
const IDLE_MAX: Duration = Duration::from_secs(8 * 3600);

/// Clocks that agree differ by less.
const CLOCKS_AGREE: Duration = Duration::from_secs(60);

/// Only what should have moved the timer by so much tells whether it did.
const MOVES_LEAST: Duration = Duration::from_secs(10);

/// So many looks in a row that saw it move are believed: another call may have moved it once.
const MOVES_BELIEVED: u8 = 3;

/// A token is not replaced for idleness before it is this old, whatever is said of it.
const YOUNG: Duration = Duration::from_secs(60);

/// What the platform said of the idle timer.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The end by the platform's clock; `None` while it has not been asked about this token.
    said: Option<Wall>,
    at: Mono,
    /// The end by ours.
    end: Mono,
    /// From the timer's reset to its end, at least.
    full: Duration,
}

/// What is known of the present token's idle timer.
#[derive(Debug, Default)]
pub(super) struct Idling {
    /// The organisation's timeout, where it could be read.
    organisation: Option<Duration>,
    born: Mono,
    kept_warm: Mono,
    reading: Option<Reading>,
    cools: bool,
    /// Looks in a row that saw it move.
    moves: u8,
    /// A call of then was answered well although the token should have idled out before.
    outlived: Option<Mono>,
    /// The last evidence, on both clocks: ours may have been set since the token came.
    seen: Now,
}

impl Idling {
    /// A new token was got: its timer begins.
    pub(super) fn begun(&mut self, now: Now) {
        self.born = now.mono;
        self.kept_warm = now.mono;
        self.outlived = None;
        self.seen = now;
        // What was found out with the one before holds for this one until it is looked at.
        let known = self.reading.filter(|_| self.cools);
        self.reading = known.map(|r| Reading {
            said: None,
            at: now.mono,
            end: now.mono + r.full,
            full: r.full,
        });
    }

    /// A call that is meant to reset the timer was made then, and answered well.
    pub(super) fn kept_warm(&mut self, asked: Now) {
        self.kept_warm = self.kept_warm.max(asked.mono);
        self.seen = asked;
    }

    /// A call with the token was made then, and answered well: it lives. Where it should have
    /// idled out before, something else has reset its timer, or the end was reckoned too early.
    /// True if that is so: the token may live on for as long as its timer takes. That it does
    /// not the next call to keep it warm shows, and is the smaller evil: whatever hangs on a
    /// token that is over is replaced at once, and there may be no other to replace it with.
    pub(super) fn answered(&mut self, asked: Now) -> bool {
        let over = |(mono, wall): (Mono, Wall)| mono <= asked.mono || wall <= asked.wall;
        let outlived = self.ends().is_some_and(over);
        if outlived {
            self.outlived = Some(asked.mono);
            self.seen = asked;
        }
        outlived
    }

    pub(super) fn last_kept_warm(&self) -> Mono {
        self.kept_warm
    }

    /// What the organisation's idle timeout is; `None` where there is none or nobody may know.
    pub(super) fn organisation(&mut self, idle: Option<Duration>) {
        self.organisation = idle;
    }

    /// When the next call that resets the timer is due.
    pub(super) fn warm_at(&self) -> Mono {
        let every = self.organisation.map_or(KEEP_WARM, |idle| {
            (idle / 3).clamp(Duration::from_secs(20), KEEP_WARM)
        });
        self.kept_warm + every
    }

    /// Calls that are meant to reset the timer do not.
    pub(super) fn cools(&self) -> bool {
        self.cools
    }

    /// When the token idles out, if that is known and nothing more keeps it warm.
    pub(super) fn end(&self) -> Option<Mono> {
        let r = self.reading?;
        let reset = [self.outlived, Some(self.kept_warm).filter(|_| !self.cools)];
        let ends = reset.into_iter().flatten().map(|at| at + r.full);
        Some(ends.fold(r.end, Mono::max))
    }

    /// The same on both clocks, as they stood at the last evidence.
    pub(super) fn ends(&self) -> Option<(Mono, Wall)> {
        let end = self.end()?;
        let ahead = self.seen.wall + end.since(self.seen.mono);
        Some((end, ahead - self.seen.mono.since(end)))
    }

    /// From when on the next token is wanted. Never, while keeping warm works: it is then done
    /// again each time before that.
    pub(super) fn renewal(&self) -> Option<Mono> {
        let lead = (self.reading?.full / 3).min(TOKEN_LEAD_MAX);
        Some(self.end()?.minus(lead).max(self.born + YOUNG))
    }

    /// The end of the timer was looked up at `asked`, after a call of `since` that should have
    /// reset it. True if this tells, and did not before, that such calls do not.
    pub(super) fn looked(&mut self, said: Option<Wall>, since: Mono, asked: Now) -> bool {
        self.seen = asked;
        let Some(said) = said else {
            // There is no idle timeout.
            self.reading = None;
            self.cools = false;
            return false;
        };
        let cooled = self.cools;
        let before = self.reading.and_then(|r| Some((r, r.said?)));
        let (end, full) = match before {
            None => {
                let left = self.left_at_first(said, asked);
                (asked.mono + left, left)
            }
            // Somebody has made it shorter: that says nothing about our calls.
            Some((r, was)) if said < was => {
                let end = r.end.minus(was.since(said));
                (end, end.since(asked.mono))
            }
            Some((r, was)) => {
                let moved = said.since(was);
                let expected = since.since(r.at);
                if expected >= MOVES_LEAST {
                    self.judge(moved >= expected / 2);
                } else if moved.is_zero() {
                    // Many calls shortly after each other: only together they tell.
                    return false;
                }
                let end = r.end + moved.min(IDLE_MAX);
                (end, r.full.max(end.since(asked.mono)))
            }
        };
        self.reading = Some(Reading {
            said: Some(said),
            at: asked.mono,
            end: end.min(asked.mono + IDLE_MAX),
            full: full.clamp(IDLE_MIN, IDLE_MAX),
        });
        self.cools && !cooled
    }

    fn judge(&mut self, moves: bool) {
        match moves {
            true => {
                self.moves = self.moves.saturating_add(1);
                self.cools &= self.moves < MOVES_BELIEVED;
            }
            false => {
                self.moves = 0;
                self.cools = true;
            }
        }
    }

    /// What is left the first time: by the clocks, where what they say makes sense, and by the
    /// organisation's timeout; the shorter one, for a token may have a timeout of its own.
    fn left_at_first(&self, said: Wall, asked: Now) -> Duration {
        let age = asked.mono.since(self.born);
        let by_clock = said.since(asked.wall);
        let sane = by_clock + age + CLOCKS_AGREE >= IDLE_MIN && by_clock <= IDLE_MAX + CLOCKS_AGREE;
        let known = match self.organisation {
            Some(idle) => Some(idle.max(IDLE_MIN).saturating_sub(age)),
            // Nothing else tells: the shortest.
            None if !sane => Some(IDLE_MIN.saturating_sub(age)),
            None => None,
        };
        let by_clock = Some(by_clock).filter(|_| sane);
        let both = [by_clock, known].into_iter().flatten();
        both.min().unwrap_or(IDLE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Now {
        Now {
            mono: Mono(s * 1000),
            wall: Wall(s as i64 * 1000),
        }
    }

    /// Kept warm at that second, and looked at right after it.
    fn warm_and_look(i: &mut Idling, second: u64, idles: u64) -> bool {
        i.kept_warm(at(second));
        i.looked(Some(at(idles).wall), at(second).mono, at(second + 1))
    }

    fn begun(organisation: Option<u64>) -> Idling {
        let mut i = Idling::default();
        i.organisation(organisation.map(Duration::from_secs));
        i.begun(at(0));
        i
    }

    #[test]
    fn a_timer_that_moves_or_is_not_there_changes_nothing() {
        let mut i = begun(Some(300));
        assert!(!i.looked(None, Mono(0), at(1)));
        assert_eq!(i.renewal(), None);
        for n in 0..20 {
            assert!(!warm_and_look(&mut i, n * 100, n * 100 + 300));
            let renewal = i.renewal().unwrap();
            assert!(renewal > at((n + 1) * 100 + 30).mono, "{renewal:?} at {n}");
        }
        assert!(!i.cools());
    }

    #[test]
    fn a_timer_that_somebody_makes_shorter_is_believed_and_blames_nobody() {
        let mut i = begun(Some(28_800));
        warm_and_look(&mut i, 0, 28_800);
        assert!(!warm_and_look(&mut i, 120, 420));
        assert!(!i.cools());
        assert_eq!(i.end(), Some(at(420).mono));
        assert!(!warm_and_look(&mut i, 240, 540));
        assert!(!i.cools());
    }

    #[test]
    fn it_is_believed_to_move_again_only_after_three_looks() {
        let mut i = begun(Some(300));
        warm_and_look(&mut i, 0, 300);
        assert!(warm_and_look(&mut i, 100, 300));
        // Another call moved it.
        assert!(!warm_and_look(&mut i, 200, 480));
        assert!(i.cools());
        assert_eq!(i.end(), Some(at(480).mono), "what is seen is believed");
        assert!(!warm_and_look(&mut i, 300, 480));
        for n in 4..7 {
            assert!(i.cools());
            warm_and_look(&mut i, n * 100, n * 100 + 300);
        }
        assert!(!i.cools());
    }

    #[test]
    fn many_calls_in_quick_succession_tell_together() {
        let mut i = begun(Some(300));
        warm_and_look(&mut i, 0, 300);
        let told = (1..30).filter(|n| warm_and_look(&mut i, n * 9, 300));
        assert_eq!(told.count(), 1);
        assert!(i.cools());
    }

    #[test]
    fn the_first_look_believes_the_shorter_of_what_makes_sense() {
        for (organisation, said, asked, left) in [
            (Some(300), 300, 1, 299),
            // The clocks differ.
            (Some(300), 500_000, 1, 299),
            (Some(900), 0, 1, 899),
            (None, 500_000, 1, 299),
            (None, 0, 100, 200),
            // The token's own timeout is another one.
            (Some(28_800), 300, 1, 299),
            (Some(28_800), 300, 150, 150),
            (None, 28_800, 1, 28_799),
            // Not a second is what an organisation can set.
            (Some(1), 300, 1, 299),
        ] {
            let mut i = begun(organisation);
            assert!(!i.looked(Some(at(said).wall), Mono(0), at(asked)));
            let end = i.reading.map(|r| r.end);
            let expected = Some(at(asked + left).mono);
            assert_eq!(end, expected, "{organisation:?} {said} {asked}");
        }
    }

    #[test]
    fn a_token_that_is_taken_after_its_end_has_not_idled_out() {
        let mut i = begun(None);
        warm_and_look(&mut i, 0, 300);
        warm_and_look(&mut i, 100, 300);
        assert!(i.cools());
        assert!(!i.answered(at(299)), "it tells nothing before the end");
        assert_eq!(i.end(), Some(at(300).mono));
        assert!(i.answered(at(300)));
        assert_eq!(i.end(), Some(at(600).mono));
        assert!(!i.answered(at(400)));
        assert!(i.answered(at(700)));
        assert_eq!(i.end(), Some(at(1000).mono));
        // The next token has lived through nothing yet.
        i.begun(at(710));
        assert_eq!(i.end(), Some(at(1010).mono));
    }

    #[test]
    fn a_wall_clock_that_is_set_ends_no_token_that_is_seen_to_live() {
        let ends = |mono: u64, wall: u64| Some((at(mono).mono, at(wall).wall));
        let mut i = begun(None);
        warm_and_look(&mut i, 0, 300);
        assert_eq!(i.ends(), ends(300, 300));
        let set = |second| Now {
            mono: at(second).mono,
            wall: at(second + 9000).wall,
        };
        assert!(i.answered(set(10)), "by the wall clock it is over");
        assert_eq!(i.ends(), ends(310, 9310));
        i.kept_warm(set(100));
        assert_eq!(i.ends(), ends(400, 9400));
        assert!(!i.answered(set(200)));
    }

    #[test]
    fn nonsense_neither_overflows_nor_asks_for_tokens_without_pause() {
        let mut i = begun(None);
        for (n, said) in [i64::MAX, i64::MIN, 0, i64::MAX, 1, 0]
            .into_iter()
            .enumerate()
        {
            let second = n as u64 * 100;
            i.begun(at(second));
            i.looked(Some(Wall(said)), Mono(0), at(second + 1));
            i.looked(
                Some(Wall(-said.saturating_add(1))),
                at(second + 1).mono,
                at(second + 2),
            );
            let renewal = i.renewal().unwrap();
            assert!(renewal >= at(second).mono + YOUNG, "{said}");
            assert!(renewal <= at(second + 3).mono + IDLE_MAX, "{said}");
        }
    }
}
