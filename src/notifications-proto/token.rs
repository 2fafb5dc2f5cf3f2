//! The token and its two deaths: `expires_in`, and the organisation's idle
//! timeout (protocol, section 2.6).
//!
//! ```text
//! none ──due──► asked ──answer──► held ──lead before the end──► asked (the old one still serves)
//!   ▲            │ failure: back off         │ 401, revoked
//!   └────────────┴───────────────────────────┘
//! ```
//!
//! Invariant: at most one request is under way; the secret leaves only through
//! [`Keeper::current`].

use std::time::Duration;

use super::idling::Idling;
use super::limits::TOKEN_LEAD_MAX;
use base::rng::Rng;
use base::secret::Secret;
use base::time::{Deadline, Mono, Now, Wall};

/// A token and when it ends.
#[derive(Clone, Debug)]
pub struct Held {
    /// Counts the tokens of the process, from 1; a channel remembers the one that made it.
    pub serial: u32,
    /// The bearer token.
    pub secret: Secret,
    /// Its end on the monotonic clock.
    pub ends: Mono,
    /// Its end on the wall clock; whichever is nearer is believed.
    pub ends_at: Wall,
    /// When to ask for the next one.
    renew: Mono,
    renew_at: Wall,
}

impl Held {
    fn over(&self, now: Now) -> bool {
        now.mono >= self.ends || now.wall >= self.ends_at
    }

    fn renewal_due(&self, now: Now) -> bool {
        now.mono >= self.renew || now.wall >= self.renew_at
    }
}

/// The end of a token, which idles out at `idles` if that is known.
fn earlier(held: &Held, idles: Option<(Mono, Wall)>) -> (Mono, Wall) {
    let (mono, wall) = idles.unwrap_or((held.ends, held.ends_at));
    (mono.min(held.ends), wall.min(held.ends_at))
}

/// Keeps one token at hand.
#[derive(Debug, Default)]
pub struct Keeper {
    held: Option<Held>,
    /// Serial and end of the one before.
    before: Option<(u32, Mono, Wall)>,
    serials: u32,
    asking: bool,
    retry: Mono,
    failures: u32,
    last_failure: Option<String>,
    /// The last failure was a refusal that only a person can cure.
    refused: bool,
    /// Other credentials came while a request with the old ones was under way.
    overtaken: bool,
    idling: Idling,
    invalidated: u32,
    invalidated_at: Mono,
}

impl Keeper {
    /// The token to use now, if one is held and not over.
    #[must_use]
    pub fn current(&self, now: Now) -> Option<&Held> {
        self.held.as_ref().filter(|h| !h.over(now))
    }

    /// Of the token that was got last, over or not.
    pub fn serial(&self) -> Option<u32> {
        self.held.as_ref().map(|held| held.serial)
    }

    /// True when a request should go out; marks it as under way.
    pub fn ask(&mut self, now: Now) -> bool {
        let wanted = match &self.held {
            None => true,
            Some(h) => {
                let idling = self.idling.renewal().is_some_and(|at| at <= now.mono);
                h.over(now) || h.renewal_due(now) || idling
            }
        };
        if !wanted || self.asking || self.retry > now.mono {
            return false;
        }
        self.asking = true;
        true
    }

    /// A token came; its serial.
    pub fn got(&mut self, secret: Secret, life: Duration, now: Now) -> u32 {
        let life = life.max(Duration::from_secs(10));
        let lead = TOKEN_LEAD_MAX.min(life / 10);
        self.serials += 1;
        self.asking = false;
        self.failures = 0;
        self.last_failure = None;
        self.refused = false;
        self.overtaken = false;
        self.retry = Mono(0);
        self.before = self.held.take().map(|h| {
            let (mono, wall) = earlier(&h, self.idling.ends());
            (h.serial, mono, wall)
        });
        self.idling.begun(now);
        self.held = Some(Held {
            serial: self.serials,
            secret,
            ends: now.mono + life,
            ends_at: now.wall + life,
            renew: now.mono + (life - lead),
            renew_at: now.wall + (life - lead),
        });
        self.serials
    }

    /// The request failed: back off, longer where trying soon makes no sense.
    pub fn failed(
        &mut self,
        why: String,
        retry_after: Option<Duration>,
        hopeless: bool,
        now: Now,
        rng: &mut Rng,
    ) {
        self.asking = false;
        self.failures = (self.failures + 1).min(16);
        let first = if hopeless {
            Duration::from_secs(15)
        } else {
            Duration::from_secs(1)
        };
        let own = (first * 2u32.pow((self.failures - 1).min(6))).min(Duration::from_secs(60));
        let wait = rng.jitter(own).max(
            retry_after
                .unwrap_or_default()
                .min(Duration::from_secs(3600)),
        );
        self.retry = now.mono + wait;
        self.last_failure = Some(why);
        self.refused = hopeless;
        if std::mem::take(&mut self.overtaken) {
            self.other_credentials();
        }
    }

    /// Other credentials are at hand: what the old ones were refused is asked for at once. A
    /// request to wait still holds.
    pub fn other_credentials(&mut self) {
        self.overtaken = self.asking;
        if !self.asking && self.refused {
            self.refused = false;
            self.failures = 0;
            self.retry = Mono(0);
        }
    }

    /// The platform no longer takes token `serial`. True if that was the current one.
    pub fn invalidate(&mut self, serial: u32, now: Now, rng: &mut Rng) -> bool {
        if self.held.as_ref().is_none_or(|h| h.serial != serial) {
            return false;
        }
        self.held = None;
        // A platform that refuses every fresh token must not be asked for them in a tight loop.
        self.invalidated = if now.mono.since(self.invalidated_at) < Duration::from_secs(120) {
            self.invalidated + 1
        } else {
            0
        };
        self.invalidated_at = now.mono;
        if self.invalidated > 1 {
            let wait = rng.jitter(Duration::from_secs(1 << self.invalidated.min(6)));
            self.retry = self.retry.max(now.mono + wait);
        }
        true
    }

    /// When token `serial` ends, if it is the current one or the one before.
    #[must_use]
    pub fn end_of(&self, serial: u32) -> Option<(Mono, Wall)> {
        let held = self.held.as_ref().map(|h| {
            let cold = self.idling.ends().filter(|_| self.idling.cools());
            let (mono, wall) = earlier(h, cold);
            (h.serial, mono, wall)
        });
        [held, self.before]
            .into_iter()
            .flatten()
            .find(|(s, _, _)| *s == serial)
            .map(|(_, mono, wall)| (mono, wall))
    }

    /// A call that is meant to reset the idle timer of token `serial` was made at `asked`, and
    /// answered well.
    pub fn kept_warm(&mut self, serial: u32, asked: Now) {
        if self.held.as_ref().is_some_and(|h| h.serial == serial) {
            self.idling.kept_warm(asked);
        }
    }

    /// A call with token `serial` was made at `asked`, and answered well. True if it should have
    /// idled out before that: it ends later than was said.
    pub fn answered(&mut self, serial: u32, asked: Now) -> bool {
        self.held.as_ref().is_some_and(|h| h.serial == serial) && self.idling.answered(asked)
    }

    /// When the last call was made that is meant to reset the idle timer.
    #[must_use]
    pub fn last_kept_warm(&self) -> Mono {
        self.idling.last_kept_warm()
    }

    /// When token `serial` idles out was looked up at `asked`, after it was kept warm at `since`
    /// and that was answered. True if this tells, and did not before, that such calls do not reset
    /// the idle timer.
    pub fn looked(&mut self, serial: u32, said: Option<Wall>, since: Mono, asked: Now) -> bool {
        self.held.as_ref().is_some_and(|h| h.serial == serial)
            && self.idling.looked(said, since, asked)
    }

    /// Calls that are meant to reset the idle timer do not.
    #[must_use]
    pub fn cools(&self) -> bool {
        self.idling.cools()
    }

    /// What the organisation's idle timeout is; `None` where there is none.
    pub fn idle_timeout(&mut self, idle: Option<Duration>) {
        self.idling.organisation(idle);
    }

    /// True when a call that resets the idle timer is due.
    #[must_use]
    pub fn warm_due(&self, now: Now) -> bool {
        self.current(now).is_some() && self.idling.warm_at() <= now.mono
    }

    /// Why there is no token, for the status page.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When to ask for a token again; `None` while the answer is out.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<Deadline> {
        if self.asking {
            return None;
        }
        match &self.held {
            None => Some(Deadline {
                at: self.retry,
                why: "token",
            }),
            Some(h) => {
                let to_renewal = h.renew.since(now.mono).min(h.renew_at.since(now.wall));
                let idling = self.idling.renewal().map(|at| at.since(now.mono));
                let to_renewal = idling.map_or(to_renewal, |i| i.min(to_renewal));
                Some(Deadline {
                    at: (now.mono + to_renewal).max(self.retry),
                    why: "token renewal",
                })
            }
        }
    }

    /// When a call that resets the idle timer is due.
    #[must_use]
    pub fn warm_deadline(&self, now: Now) -> Option<Deadline> {
        self.current(now).map(|_| Deadline {
            at: self.idling.warm_at(),
            why: "token kept warm",
        })
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

    #[test]
    fn a_token_is_renewed_at_the_smaller_of_five_minutes_and_a_tenth_of_its_life() {
        for (life, renew) in [(86_400, 86_400 - 300), (300, 270), (3600, 3300)] {
            let mut k = Keeper::default();
            assert!(k.ask(at(0)));
            assert!(!k.ask(at(0)), "one request at a time");
            k.got(Secret::new("t"), Duration::from_secs(life), at(0));
            assert!(!k.ask(at(renew - 1)));
            assert!(k.ask(at(renew)));
            assert!(k.current(at(renew)).is_some(), "the old one still serves");
            assert!(k.current(at(life)).is_none());
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_forward_ends_the_token_early() {
        let mut k = Keeper::default();
        k.got(Secret::new("t"), Duration::from_secs(3600), at(0));
        let jumped = Now {
            mono: Mono(1000),
            wall: Wall(4_000_000),
        };
        assert!(k.current(jumped).is_none());
        assert!(k.ask(jumped));
    }

    #[test]
    fn failures_back_off_and_a_hopeless_one_backs_off_longer() {
        let mut r = Rng::new(3);
        let mut k = Keeper::default();
        assert!(k.ask(at(0)));
        k.failed("down".into(), None, false, at(0), &mut r);
        assert!(!k.ask(at(0)));
        assert!(k.ask(at(2)));
        k.failed("wrong secret".into(), None, true, at(2), &mut r);
        assert!(!k.ask(at(12)));
        assert!(k.ask(at(62)));
        assert_eq!(k.trouble(), Some("wrong secret"));
    }

    #[test]
    fn other_credentials_are_tried_at_once_where_the_old_ones_were_refused() {
        let mut r = Rng::new(3);
        let mut k = Keeper::default();
        assert!(k.ask(at(0)));
        k.failed("wrong secret".into(), None, true, at(0), &mut r);
        assert!(!k.ask(at(1)));
        k.other_credentials();
        assert!(k.ask(at(1)));
        // While a request with the old ones is under way: right after it.
        k.other_credentials();
        assert!(!k.ask(at(1)));
        k.failed("wrong secret".into(), None, true, at(2), &mut r);
        assert!(k.ask(at(2)));
        // The new ones are as bad: no loop.
        k.failed("wrong secret".into(), None, true, at(3), &mut r);
        assert!(!k.ask(at(3)));
        // A platform that is down is not asked faster for it.
        let mut k = Keeper::default();
        assert!(k.ask(at(0)));
        k.failed(
            "down".into(),
            Some(Duration::from_secs(30)),
            false,
            at(0),
            &mut r,
        );
        k.other_credentials();
        assert!(!k.ask(at(1)));
    }

    #[test]
    fn only_the_current_token_can_be_invalidated_and_a_loop_of_it_slows_down() {
        let mut r = Rng::new(3);
        let mut k = Keeper::default();
        let first = k.got(Secret::new("a"), Duration::from_secs(3600), at(0));
        let second = k.got(Secret::new("b"), Duration::from_secs(3600), at(0));
        assert!(!k.invalidate(first, at(1), &mut r));
        assert!(k.invalidate(second, at(1), &mut r));
        assert!(k.ask(at(1)), "the first time at once");
        for _ in 0..4 {
            let s = k.got(Secret::new("c"), Duration::from_secs(3600), at(2));
            assert!(k.invalidate(s, at(2), &mut r));
        }
        assert!(!k.ask(at(2)));
    }

    #[test]
    fn the_idle_timer_is_reset_well_before_it_ends() {
        let mut k = Keeper::default();
        k.got(Secret::new("t"), Duration::from_secs(86_400), at(0));
        assert!(!k.warm_due(at(119)));
        assert!(k.warm_due(at(120)));
        k.idle_timeout(Some(Duration::from_secs(300)));
        assert!(k.warm_due(at(100)));
        k.kept_warm(1, at(100));
        assert!(!k.warm_due(at(150)));
    }

    #[test]
    fn where_calls_do_not_reset_the_idle_timer_the_next_token_comes_before_it_ends() {
        let mut k = Keeper::default();
        k.idle_timeout(Some(Duration::from_secs(300)));
        let day = Duration::from_secs(86_400);
        let serial = k.got(Secret::new("t"), day, at(0));
        // The platform's clock is another one.
        let said = |s: i64| Some(Wall(5_000_000_000 + s * 1000));
        assert!(!k.looked(serial, said(300), Mono(0), at(1)));
        k.kept_warm(serial, at(100));
        assert!(k.looked(serial, said(300), k.last_kept_warm(), at(101)));
        k.kept_warm(serial, at(200));
        assert!(!k.looked(serial, said(300), k.last_kept_warm(), at(201)));
        assert!(k.cools(), "told once");
        assert!(!k.ask(at(195)), "time for every channel is enough");
        assert!(k.deadline(at(195)).unwrap().at <= Mono(201_000));
        assert!(k.ask(at(202)));
        assert!(k.end_of(serial).unwrap().0 <= Mono(301_000));
        let next = k.got(Secret::new("u"), day, at(203));
        assert!(k.end_of(serial).unwrap().0 <= Mono(301_000));
        assert!(k.end_of(next).unwrap().0 <= Mono(503_000), "known by now");
        assert!(!k.looked(next, said(503), Mono(0), at(204)));
        assert!(k.end_of(next).unwrap().0 <= Mono(504_000));
    }

    #[test]
    fn the_token_before_ends_when_nobody_keeps_it_warm_any_more() {
        let mut k = Keeper::default();
        k.idle_timeout(Some(Duration::from_secs(300)));
        let day = Duration::from_secs(86_400);
        let first = k.got(Secret::new("t"), day, at(0));
        k.looked(first, Some(at(300).wall), Mono(0), at(1));
        // The calls that should are refused by something in between: no verdict, yet a plan.
        assert!(!k.ask(at(190)) && k.ask(at(205)) && !k.cools());
        assert_eq!(k.end_of(first).unwrap().0, Mono(86_400_000));
        k.got(Secret::new("u"), day, at(206));
        assert!(k.end_of(first).unwrap().0 <= Mono(301_000));
    }

    #[test]
    fn a_token_is_renewed_by_whichever_clock_is_first_and_kept_warm_from_the_start() {
        let day = 86_400;
        let stands = |s: u64| Now {
            mono: Mono(s * 1000),
            wall: Wall(0),
        };
        let mut k = Keeper::default();
        k.got(Secret::new("t"), Duration::from_secs(day), at(0));
        assert_eq!(k.warm_deadline(at(1)).unwrap().at, Mono(120_000));
        assert!(!k.ask(stands(day - 301)));
        assert!(k.ask(stands(day - 300)), "although the wall clock stands");
    }
}
