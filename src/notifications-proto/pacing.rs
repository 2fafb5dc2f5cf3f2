//! The REST budget: one for all calls, fed by the rate-limit headers, with
//! priorities (protocol, sections 7 and 10); and requests to wait.
//!
//! A 429 holds everything but tokens. `Retry-After` of any other status holds
//! calls of that kind, or about that conversation or channel alone; so does a
//! server error that lasts. The budget headers of a refusal feed the budget and
//! are no request to wait.
//!
//! The window slides, so that whatever minute the platform counts by, no more
//! than the allowance falls into it. Calls to the login host are not counted;
//! they are paced by the token keeper.
//!
//! Invariant: [`Budget::take`] never lets more calls into any window than the
//! allowance, and none while the platform has asked for quiet, or for a pause
//! with what the call is about.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::{HELD_SUBJECTS_MAX, RATE_HOLD_MAX, REST_PER_MINUTE, REST_WINDOW};
use super::rest::{Failure, Limits, Op, OpKind, Outcome, Subject};
use base::rng::Rng;
use base::time::Mono;

/// What a call is worth when calls are scarce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Tokens: never paced by the budget.
    Token,
    /// What keeps channels and the token alive.
    Upkeep,
    /// Conversations about which something may have been missed, one or many.
    Check,
    /// One conversation in the ordinary course of things.
    Calm,
}

impl Priority {
    /// Share of the allowance, in percent, that must stay free for what is more urgent.
    fn reserve_percent(self) -> u32 {
        match self {
            Priority::Token | Priority::Upkeep => 0,
            Priority::Check => 10,
            Priority::Calm => 30,
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
    kinds: [Held; OpKind::ALL.len()],
    /// Whom alone the platform wants to be left in peace, and until when.
    subjects: Vec<(OpKind, Subject, Mono)>,
    refusals: u32,
    limited_total: u64,
}

/// How it goes with calls of one kind.
#[derive(Clone, Debug, Default)]
struct Held {
    until: Mono,
    /// Server errors in a row, but for those of one subject alone.
    troubles: u32,
    /// Whom the last one was about.
    last: Option<Subject>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            allowed: REST_PER_MINUTE,
            sent: VecDeque::new(),
            ceiling: None,
            quiet_until: Mono(0),
            kinds: Default::default(),
            subjects: Vec::new(),
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

    /// Until when calls of that kind, or about that subject, are held for themselves; what has
    /// passed holds nothing.
    #[must_use]
    pub fn held_until(&self, op: &Op) -> Mono {
        let kind = self.held(op.kind()).until;
        self.subject_held_until(op).map_or(kind, |at| at.max(kind))
    }

    /// The same about its subject alone.
    #[must_use]
    pub fn subject_held_until(&self, op: &Op) -> Option<Mono> {
        if self.subjects.is_empty() {
            return None;
        }
        let (kind, subject) = (op.kind(), op.subject()?);
        let mut held = self.subjects.iter();
        let held = held.find(|(k, s, _)| *k == kind && *s == subject);
        held.map(|(_, _, until)| *until)
    }

    fn held(&self, kind: OpKind) -> &Held {
        &self.kinds[kind as usize]
    }

    /// The kind of calls that is held for longest, and for how long.
    #[must_use]
    pub fn longest_hold(&self, now: Mono) -> Option<(OpKind, Duration)> {
        let left = |kind: OpKind| (kind, self.held(kind).until.since(now));
        let held = OpKind::ALL.map(left).into_iter();
        held.filter(|(_, left)| !left.is_zero())
            .max_by_key(|(_, left)| *left)
    }

    /// When a call of this priority is possible; `now` or earlier means at once.
    #[must_use]
    pub fn possible_at(&self, priority: Priority, now: Mono) -> Mono {
        if priority == Priority::Token {
            return now;
        }
        let mut at = now.max(self.quiet_until);
        if let Some((0, until)) = self.ceiling {
            at = at.max(until);
        }
        let usable = self.usable(priority);
        // Not all of it at once, so that the budget comes back evenly; what is urgent is
        // through with its share after a third of the window, and who asks may know better by
        // then whom to ask about.
        let parts = match priority {
            Priority::Token | Priority::Upkeep => None,
            Priority::Check => Some(3),
            Priority::Calm => Some(6),
        };
        if let Some(parts) = parts {
            let (part, most) = (REST_WINDOW / 6, (usable / parts).max(1));
            let recent = self.sent.partition_point(|t| now.since(*t) >= part);
            if self.sent.len() - recent >= most {
                let freeing = self.sent.len() - most;
                at = at.max(self.sent.get(freeing).map_or(now, |t| *t + part));
            }
        }
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
    pub fn learn(&mut self, op: &Op, outcome: &Outcome, now: Mono, rng: &mut Rng) {
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
                return;
            }
            Err(Failure::Server { .. } | Failure::NoAnswer(_)) => self.stumble(op, now, rng),
            _ => {
                self.refusals = 0;
                let held = &mut self.kinds[op.kind() as usize];
                (held.troubles, held.last) = (0, None);
            }
        }
        if let Some(asked) = outcome.retry_after {
            self.hold(op, asked, now);
        }
    }

    /// Trouble with one conversation again and again slows that conversation, by whoever asks
    /// about it, and not the others.
    fn stumble(&mut self, op: &Op, now: Mono, rng: &mut Rng) {
        let subject = op.subject();
        let held = &mut self.kinds[op.kind() as usize];
        if subject.is_some() && held.last == subject {
            return;
        }
        held.last = subject;
        held.troubles = (held.troubles + 1).min(7);
        // What keeps channels and the token alive has pauses of its own.
        let checks = matches!(op, Op::Conversation(_) | Op::Conversations(_));
        if held.troubles >= 3 && checks {
            let own = Duration::from_millis(250 << held.troubles);
            held.until = held.until.max(now + rng.jitter(own));
        }
    }

    /// The platform asks to wait with such a call.
    fn hold(&mut self, op: &Op, asked: Duration, now: Mono) {
        let until = now + asked.min(RATE_HOLD_MAX);
        let held = &mut self.kinds[op.kind() as usize];
        let Some(subject) = op.subject().filter(|_| held.troubles < 2) else {
            held.until = held.until.max(until);
            return;
        };
        let kind = op.kind();
        self.subjects
            .retain(|(k, s, at)| *at > now && !(*k == kind && *s == subject));
        if self.subjects.len() >= HELD_SUBJECTS_MAX {
            self.subjects.remove(0);
        }
        self.subjects.push((kind, subject, until));
    }

    fn believe(&mut self, limits: Limits, now: Mono) {
        // A header of nearly nothing would stop the watching; the platform says no with 429.
        self.allowed = limits.allowed.clamp(10, 30_000);
        let left = limits.allowed.saturating_sub(limits.count);
        // The window is a minute, whatever is said of its end.
        let reset = limits.reset.min(REST_WINDOW);
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
    use super::super::rest::Answer;
    use super::*;

    fn fill(b: &mut Budget, p: Priority, now: Mono) -> u32 {
        let mut n = 0;
        while b.take(p, now).is_ok() {
            n += 1;
            assert!(n <= 10_000);
        }
        n
    }

    fn conversation(n: u128) -> Op {
        Op::Conversation(base::ids::ConversationId(uuid::Uuid::from_u128(n)))
    }

    fn server(status: u16) -> Outcome {
        Outcome::of(Err(Failure::Server {
            status,
            retry_after: None,
        }))
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
    fn checks_leave_a_share_to_upkeep() {
        let mut b = Budget::default();
        for at in [0, 10_500, 21_000] {
            assert_eq!(fill(&mut b, Priority::Check, Mono(at)), 90);
        }
        assert_eq!(fill(&mut b, Priority::Check, Mono(31_500)), 0);
        assert_eq!(fill(&mut b, Priority::Upkeep, Mono(31_500)), 30);
        assert!(b.take(Priority::Token, Mono(0)).is_ok());
    }

    #[test]
    fn calm_checks_are_spread_and_leave_most_at_once_and_a_third_always() {
        let mut b = Budget::default();
        assert_eq!(fill(&mut b, Priority::Calm, Mono(0)), 35);
        let (mut now, mut made) = (Mono(0), 35);
        while now < Mono(60_000) {
            match b.take(Priority::Calm, now) {
                Ok(()) => made += 1,
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert_eq!(made, 210);
        assert_eq!(fill(&mut b, Priority::Check, Mono(60_000)), 55);
        assert_eq!(fill(&mut b, Priority::Upkeep, Mono(60_000)), 35);
    }

    #[test]
    fn retry_after_holds_everything_but_tokens() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        let limited = Failure::RateLimited(Some(Duration::from_secs(42)));
        b.learn(
            &conversation(1),
            &Outcome::of(Err(limited)),
            Mono(0),
            &mut r,
        );
        let at = b.take(Priority::Upkeep, Mono(41_999)).unwrap_err();
        assert!(at >= Mono(42_000), "{at:?}");
        assert!(b.take(Priority::Token, Mono(0)).is_ok());
        assert!(b.take(Priority::Upkeep, at).is_ok());
    }

    #[test]
    fn a_storm_of_5xx_slows_calls_of_that_kind_and_no_others() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        for n in 0..20 {
            b.learn(&conversation(n), &server(502), Mono(0), &mut r);
            b.learn(&Op::CreateChannel, &server(502), Mono(0), &mut r);
        }
        assert!(b.held_until(&conversation(99)) >= Mono(24_000));
        assert!(b.held_until(&conversation(99)) <= Mono(60_000));
        for op in [Op::CreateChannel, Op::KeepWarm, Op::Conversations(vec![])] {
            assert!(b.held_until(&op) <= Mono(0), "{op:?}");
        }
        assert!(b.take(Priority::Check, Mono(1)).is_ok());
        assert_eq!(b.quiet_for(Mono(0)), Duration::ZERO);
        b.learn(
            &conversation(3),
            &Outcome::of(Ok(Answer::Done)),
            Mono(0),
            &mut r,
        );
        for _ in 0..2 {
            b.learn(&conversation(3), &server(502), Mono(60_000), &mut r);
        }
        assert!(b.held_until(&conversation(99)) <= Mono(60_000));
    }

    #[test]
    fn one_conversation_that_fails_again_and_again_slows_no_other() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        for _ in 0..20 {
            b.learn(&conversation(1), &server(500), Mono(0), &mut r);
        }
        assert!(b.held_until(&conversation(2)) <= Mono(0));
    }

    #[test]
    fn retry_after_holds_whom_it_was_said_of_and_when_others_are_in_trouble_too_the_kind() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        let asked = |status: u16, secs: u64| Outcome {
            retry_after: Some(Duration::from_secs(secs)),
            ..match status {
                404 => Outcome::of(Err(Failure::NotFound)),
                status => server(status),
            }
        };
        b.learn(&conversation(1), &asked(503, 40), Mono(0), &mut r);
        b.learn(&conversation(2), &asked(404, 50), Mono(0), &mut r);
        assert_eq!(b.held_until(&conversation(1)), Mono(40_000));
        assert_eq!(b.held_until(&conversation(2)), Mono(50_000));
        assert!(b.held_until(&conversation(3)) <= Mono(0));
        for n in 4..6 {
            b.learn(&conversation(n), &asked(503, 30), Mono(0), &mut r);
        }
        assert_eq!(b.held_until(&conversation(3)), Mono(30_000));
        b.learn(&Op::CreateChannel, &asked(503, 1_000_000), Mono(0), &mut r);
        assert_eq!(b.held_until(&Op::CreateChannel), Mono(3_600_000));
        assert!(b.held_until(&Op::KeepWarm) <= Mono(0));
        assert!(b.take(Priority::Upkeep, Mono(0)).is_ok());
        assert_eq!(
            b.longest_hold(Mono(0)),
            Some((OpKind::Creation, Duration::from_secs(3600)))
        );
    }

    #[test]
    fn those_left_in_peace_for_themselves_are_bounded() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        for n in 0..10_000 {
            let outcome = Outcome {
                retry_after: Some(Duration::from_secs(60)),
                ..Outcome::of(Err(Failure::NotFound))
            };
            b.learn(&conversation(n), &outcome, Mono(0), &mut r);
        }
        assert_eq!(b.subjects.len(), HELD_SUBJECTS_MAX);
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
            &Op::KeepWarm,
            &Outcome {
                limits,
                ..Outcome::of(Ok(Answer::Done))
            },
            Mono(0),
            &mut r,
        );
        assert_eq!(b.left(Mono(0)), 2);
        assert_eq!(fill(&mut b, Priority::Upkeep, Mono(0)), 2);
        assert!(b.take(Priority::Upkeep, Mono(31_500)).is_ok());
    }

    #[test]
    fn what_was_said_last_of_a_conversation_counts_and_is_forgotten_when_it_is_over() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        let asked = |secs: u64| Outcome {
            retry_after: Some(Duration::from_secs(secs)),
            ..Outcome::of(Err(Failure::NotFound))
        };
        b.learn(&conversation(1), &asked(40), Mono(0), &mut r);
        b.learn(&conversation(2), &asked(90), Mono(0), &mut r);
        b.learn(&conversation(1), &asked(10), Mono(1_000), &mut r);
        assert_eq!(b.held_until(&conversation(1)), Mono(11_000));
        assert_eq!(b.held_until(&conversation(2)), Mono(90_000));
        assert_eq!(b.subjects.len(), 2);
        b.learn(&conversation(3), &asked(10), Mono(50_000), &mut r);
        assert_eq!(b.subjects.len(), 2, "the first was over");
        b.learn(&conversation(3), &asked(10), Mono(90_000), &mut r);
        assert_eq!(b.subjects.len(), 1, "so is the second, at its very end");
    }

    #[test]
    fn what_is_left_comes_back_with_the_window_and_is_never_more_than_the_platform_says() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        for ms in [0, 1_000] {
            assert!(b.take(Priority::Upkeep, Mono(ms)).is_ok());
        }
        assert_eq!(b.left(Mono(1_000)), 298);
        assert_eq!(b.left(Mono(62_999)), 298);
        assert_eq!(b.left(Mono(63_000)), 299);
        assert_eq!(b.left(Mono(64_000)), 300);
        let said = |count, secs| Outcome {
            limits: Some(Limits {
                count,
                allowed: 300,
                reset: Duration::from_secs(secs),
            }),
            ..Outcome::of(Ok(Answer::Done))
        };
        b.learn(&Op::KeepWarm, &said(290, 20), Mono(70_000), &mut r);
        assert_eq!(b.left(Mono(70_000)), 10);
        assert_eq!(b.left(Mono(90_999)), 10);
        assert_eq!(
            b.left(Mono(91_000)),
            300,
            "a second after the window it spoke of"
        );
        // However late it says that the window ends: it is a minute.
        b.learn(&Op::KeepWarm, &said(300, 3_600), Mono(100_000), &mut r);
        assert_eq!(b.take(Priority::Upkeep, Mono(100_000)), Err(Mono(164_000)));
        assert!(b.take(Priority::Upkeep, Mono(164_000)).is_ok());
    }

    #[test]
    fn refusals_in_a_row_make_the_quiet_longer_up_to_a_bound() {
        let mut b = Budget::default();
        let mut r = Rng::new(1);
        let limited = |after| Outcome::of(Err(Failure::RateLimited(after)));
        let mut now = Mono(0);
        for least in [5, 10, 20, 40, 80, 80, 80] {
            b.learn(&Op::KeepWarm, &limited(None), now, &mut r);
            let quiet = b.quiet_for(now);
            let most = Duration::from_millis(least * 1000 * 9 / 8 + 500);
            assert!(
                (Duration::from_secs(least)..=most).contains(&quiet),
                "{quiet:?}"
            );
            now = now + quiet;
        }
        assert_eq!(b.limited_total(), 7);
        b.learn(&Op::KeepWarm, &Outcome::of(Ok(Answer::Done)), now, &mut r);
        b.learn(&Op::KeepWarm, &limited(None), now, &mut r);
        assert!(
            b.quiet_for(now) < Duration::from_secs(7),
            "it was answered meanwhile"
        );
    }
}
