//! The REST budget: one for all calls, fed by the rate-limit headers and
//! `Retry-After`, with priorities (protocol, sections 7 and 10).
//!
//! The window slides, so that whatever minute the platform counts by, no more
//! than the allowance falls into it. Calls to the login host are not counted;
//! they are paced by the token keeper.
//!
//! Invariant: [`Budget::take`] never lets more calls into any window than the
//! allowance, and none while the platform has asked for quiet.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::{RATE_HOLD_MAX, REST_PER_MINUTE, REST_WINDOW};
use super::rest::{Failure, Limits, Outcome};
use crate::rng::Rng;
use crate::time::Mono;

/// What a call is worth when calls are scarce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Tokens: never paced by the budget.
    Token,
    /// What keeps channels and the token alive.
    Upkeep,
    /// One conversation.
    Single,
    /// Many conversations.
    Bulk,
}

impl Priority {
    /// Share of the allowance, in percent, that must stay free for what is more urgent.
    fn reserve_percent(self) -> u32 {
        match self {
            Priority::Token | Priority::Upkeep => 0,
            Priority::Single => 10,
            Priority::Bulk => 25,
        }
    }
}

/// The budget's state.
#[derive(Debug)]
pub struct Budget {
    allowed: u32,
    sent: VecDeque<Mono>,
    /// From the headers: no more than this many until then (other users of the same token).
    ceiling: Option<(u32, Mono)>,
    quiet_until: Mono,
    /// After server trouble: checks wait, upkeep goes on.
    slow_until: Mono,
    troubles: u32,
    refusals: u32,
    limited_total: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            allowed: REST_PER_MINUTE,
            sent: VecDeque::new(),
            ceiling: None,
            quiet_until: Mono(0),
            slow_until: Mono(0),
            troubles: 0,
            refusals: 0,
            limited_total: 0,
        }
    }
}

impl Budget {
    fn forget(&mut self, now: Mono) {
        while self
            .sent
            .front()
            .is_some_and(|t| now.since(*t) >= REST_WINDOW)
        {
            self.sent.pop_front();
        }
        if self.ceiling.is_some_and(|(_, until)| until <= now) {
            self.ceiling = None;
        }
    }

    fn usable(&self, priority: Priority) -> usize {
        (self.allowed - self.allowed * priority.reserve_percent() / 100).max(1) as usize
    }

    /// When a call of this priority is possible; `now` or earlier means at once.
    #[must_use]
    pub fn possible_at(&self, priority: Priority, now: Mono) -> Mono {
        if priority == Priority::Token {
            return now;
        }
        let mut at = now.max(self.quiet_until);
        if priority >= Priority::Single {
            at = at.max(self.slow_until);
        }
        if let Some((0, until)) = self.ceiling {
            at = at.max(until);
        }
        let usable = self.usable(priority);
        let fresh = self.sent.partition_point(|t| now.since(*t) >= REST_WINDOW);
        if self.sent.len() - fresh >= usable {
            let freeing = self.sent.len() - usable;
            at = at.max(self.sent.get(freeing).map_or(now, |t| *t + REST_WINDOW));
        }
        at
    }

    /// Takes one call out of the budget, or says when to ask again.
    ///
    /// # Errors
    /// The instant, after `now`, at which the call may be possible.
    pub fn take(&mut self, priority: Priority, now: Mono) -> Result<(), Mono> {
        if priority == Priority::Token {
            return Ok(());
        }
        self.forget(now);
        let at = self.possible_at(priority, now);
        if at > now {
            return Err(at);
        }
        if let Some((left, _)) = &mut self.ceiling {
            *left = left.saturating_sub(1);
        }
        self.sent.push_back(now);
        Ok(())
    }

    /// Learns from an answer. Call once for each counted call.
    pub fn learn(&mut self, outcome: &Outcome, now: Mono, rng: &mut Rng) {
        if let Some(limits) = outcome.limits {
            self.believe(limits, now);
        }
        match &outcome.result {
            Err(Failure::RateLimited(after)) => {
                self.limited_total += 1;
                self.refusals = (self.refusals + 1).min(6);
                let own = Duration::from_secs(5 << (self.refusals - 1).min(4));
                let wait = after
                    .unwrap_or(own)
                    .clamp(Duration::from_secs(1), RATE_HOLD_MAX);
                // Late rather than early: the platform's clock decides.
                let wait =
                    wait + rng.between(Duration::ZERO, wait / 8 + Duration::from_millis(500));
                self.quiet_until = self.quiet_until.max(now + wait);
            }
            Err(Failure::Server { retry_after, .. }) => {
                self.stumble(*retry_after, now, rng);
            }
            Err(Failure::NoAnswer(_)) => self.stumble(None, now, rng),
            _ => {
                self.troubles = 0;
                self.refusals = 0;
            }
        }
    }

    fn stumble(&mut self, asked: Option<Duration>, now: Mono, rng: &mut Rng) {
        self.troubles = (self.troubles + 1).min(7);
        if self.troubles >= 3 {
            let own = Duration::from_millis(250 << self.troubles);
            self.slow_until = self.slow_until.max(now + rng.jitter(own));
        }
        if let Some(asked) = asked {
            self.quiet_until = self.quiet_until.max(now + asked.min(RATE_HOLD_MAX));
        }
    }

    fn believe(&mut self, limits: Limits, now: Mono) {
        // A header of nought would stop the watching for ever; the platform says no with 429.
        self.allowed = limits.allowed.clamp(10, 30_000);
        let left = limits.allowed.saturating_sub(limits.count);
        let reset = limits.reset.min(Duration::from_secs(120));
        // Where the platform counted more than we did, somebody else uses this token.
        self.forget(now);
        let ours = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        self.ceiling = (limits.count > ours).then(|| (left, now + reset + Duration::from_secs(1)));
    }

    /// Calls a minute allowed at present.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Calls left in the present window.
    #[must_use]
    pub fn left(&self, now: Mono) -> u32 {
        let used = self
            .sent
            .iter()
            .filter(|t| now.since(**t) < REST_WINDOW)
            .count();
        let own = self
            .allowed
            .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        match self.ceiling {
            Some((left, until)) if until > now => own.min(left),
            _ => own,
        }
    }

    /// How long the platform wants quiet, from now.
    #[must_use]
    pub fn quiet_for(&self, now: Mono) -> Duration {
        self.quiet_until.since(now)
    }

    /// Answers 429 seen since the start.
    #[must_use]
    pub fn limited_total(&self) -> u64 {
        self.limited_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(b: &mut Budget, p: Priority, now: Mono) -> u32 {
        let mut n = 0;
        while b.take(p, now).is_ok() {
            n += 1;
            assert!(n <= 10_000);
        }
        n
    }

    fn outcome(result: Result<super::super::rest::Answer, Failure>) -> Outcome {
        Outcome {
            result,
            limits: None,
        }
    }

    #[test]
    fn no_window_of_a_minute_sees_more_than_the_allowance() {
        let mut b = Budget::default();
        let mut times = Vec::new();
        let mut now = Mono(0);
        while now < Mono(400_000) {
            match b.take(Priority::Upkeep, now) {
                Ok(()) => times.push(now),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        for (i, t) in times.iter().enumerate() {
            let within = times[i..]
                .iter()
                .take_while(|u| u.since(*t) < Duration::from_secs(60))
                .count();
            assert!(within <= 300, "{within} from {t:?}");
        }
        assert!(times.len() > 1500);
    }

    #[test]
    fn checks_leave_a_share_to_upkeep_and_bulk_leaves_more() {
        let mut b = Budget::default();
        assert_eq!(fill(&mut b, Priority::Bulk, Mono(0)), 225);
        assert_eq!(fill(&mut b, Priority::Single, Mono(0)), 45);
        assert_eq!(fill(&mut b, Priority::Upkeep, Mono(0)), 30);
        assert!(b.take(Priority::Token, Mono(0)).is_ok());
    }

    #[test]
    fn retry_after_holds_everything_but_tokens() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        b.learn(
            &outcome(Err(Failure::RateLimited(Some(Duration::from_secs(42))))),
            Mono(0),
            &mut r,
        );
        let at = b.take(Priority::Upkeep, Mono(41_999)).unwrap_err();
        assert!(at >= Mono(42_000), "{at:?}");
        assert!(b.take(Priority::Token, Mono(0)).is_ok());
        assert!(b.take(Priority::Upkeep, at).is_ok());
    }

    #[test]
    fn a_storm_of_5xx_slows_the_checks_and_not_the_upkeep() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        for _ in 0..20 {
            b.learn(
                &outcome(Err(Failure::Server {
                    status: 502,
                    retry_after: None,
                })),
                Mono(0),
                &mut r,
            );
        }
        assert!(b.take(Priority::Single, Mono(1)).is_err());
        assert!(b.take(Priority::Upkeep, Mono(1)).is_ok());
        assert!(b.take(Priority::Single, Mono(60_000)).is_ok());
    }

    #[test]
    fn the_headers_are_believed() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        let limits = Some(Limits {
            count: 178,
            allowed: 180,
            reset: Duration::from_secs(30),
        });
        b.learn(
            &Outcome {
                result: Ok(super::super::rest::Answer::Done),
                limits,
            },
            Mono(0),
            &mut r,
        );
        assert_eq!(b.left(Mono(0)), 2);
        assert_eq!(fill(&mut b, Priority::Upkeep, Mono(0)), 2);
        assert!(b.take(Priority::Upkeep, Mono(31_500)).is_ok());
    }
}
