//! REST calls: queued by priority, sent within the budget, made again after
//! a 401 that was the token's end (protocol, sections 2.6 and 10).
//!
//! A 401 may be the token's end or the call's own business: `HEAD /tokens/me`
//! with the same token decides, before every channel of that token is doubted.
//!
//! It may not know what an answer means; that is for whoever queued the call.
//! Invariant: every call queued comes back exactly once, answered, failed or
//! given up, unless nobody wants it any more while it waits for its turn; never
//! more than [`CALLS_IN_FLIGHT_MAX`] are under way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::channel::Channel;
use super::limits::{CALLS_IN_FLIGHT_MAX, REST_WINDOW};
use super::pacing::{Budget, Priority};
use super::rest::{Failure, Op, Outcome};
use super::token::Keeper;
use super::{CallId, Fetch};
use base::ids::Topic;
use base::rng::Rng;
use base::secret::Secret;
use base::time::{Deadline, Mono, Now};

/// A question that has waited this long for its turn is given back: whoever
/// asked has to be able to go on without an answer. A spent budget alone, which
/// comes back within a window, is no reason for it.
const FETCH_PATIENCE: Duration = Duration::from_secs(150);

const _: () = assert!(FETCH_PATIENCE.as_secs() > 2 * REST_WINDOW.as_secs());

/// Names a channel for the length of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChannelRef {
    pub(super) slot: u8,
    pub(super) incarnation: u64,
}

impl ChannelRef {
    /// The channel that was meant: `None` once it is gone, whoever has its slot now.
    pub(super) fn of(self, channels: &BTreeMap<u8, Channel>) -> Option<&Channel> {
        let channel = channels.get(&self.slot)?;
        (channel.incarnation == self.incarnation).then_some(channel)
    }

    /// The same, to be changed.
    pub(super) fn of_mut(self, channels: &mut BTreeMap<u8, Channel>) -> Option<&mut Channel> {
        let channel = channels.get_mut(&self.slot)?;
        (channel.incarnation == self.incarnation).then_some(channel)
    }
}

/// What a call is for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Purpose {
    Token,
    Warm,
    Idle,
    /// Whether keeping the token warm does; when the last call that should have was made.
    Look(Mono),
    List,
    Create(ChannelRef),
    Resync(ChannelRef),
    Blame(ChannelRef, Vec<Topic>),
    /// Which topics were subscribed once more.
    Extend(ChannelRef, Vec<Topic>),
    /// Takes the topics off a channel that was given up.
    Empty(Secret),
    Fetch(Fetch),
}

impl Purpose {
    fn priority(&self) -> Priority {
        match self {
            Purpose::Token => Priority::Token,
            // Whoever asks alternates between the two, so they keep their order.
            Purpose::Fetch(Fetch::One(_) | Fetch::Many(_)) => Priority::Check,
            Purpose::Fetch(Fetch::Calm(_)) => Priority::Calm,
            _ => Priority::Upkeep,
        }
    }
}

#[derive(Debug)]
struct Job {
    op: Op,
    purpose: Purpose,
    queued: Mono,
    asked: Now,
    serial: u32,
    /// How often it met the end of a token.
    ended: u8,
}

/// How often one call may meet the end of its token before it counts as not answered:
/// tokens that end quicker than they can be used say nothing about the call.
const TOKEN_ENDS_MAX: u8 = 4;

/// What is known of a token that a call was refused with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The platform takes it no longer: the call is made again with the next one.
    Over,
    /// The platform takes it: the refusal is the call's own.
    Good,
    /// It could not be found out: the call counts as not answered.
    Unknown,
}

/// A call that came back.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) purpose: Purpose,
    /// The channel that topics were added to, or may have been.
    pub(super) added_to: Option<Secret>,
    pub(super) asked: Now,
    pub(super) outcome: Outcome,
    /// The token it was made with.
    pub(super) serial: u32,
}

/// A call to make now.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) call: CallId,
    pub(super) op: Op,
    pub(super) token: Option<Secret>,
}

/// What came of an answer.
#[derive(Debug)]
pub(super) enum Answered {
    /// Nothing for anybody yet.
    Later,
    /// For whoever queued it.
    Done(Box<Done>),
    /// A 401: whether the token is over has to be found out with a call of [`Purpose::Warm`].
    Doubt,
}

/// The calls waiting and under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    jobs: BTreeMap<CallId, Job>,
    queues: [VecDeque<CallId>; 4],
    in_flight: usize,
    /// Calls that got a 401 and wait for the verdict on their token.
    doubted: Vec<(CallId, Outcome)>,
    last: u64,
    pub(super) made_total: u64,
}

impl Calls {
    /// Queues a call.
    pub(super) fn queue(&mut self, op: Op, purpose: Purpose, now: Now) {
        self.last += 1;
        let call = CallId(self.last);
        self.queues[purpose.priority() as usize].push_back(call);
        self.jobs.insert(
            call,
            Job {
                op,
                purpose,
                queued: now.mono,
                asked: now,
                serial: 0,
                ended: 0,
            },
        );
    }

    /// True if a call for this purpose is waiting or under way.
    pub(super) fn pending(&self, wanted: impl Fn(&Purpose) -> bool) -> bool {
        self.jobs.values().any(|j| wanted(&j.purpose))
    }

    /// How many calls are waiting or under way for such a purpose.
    pub(super) fn count(&self, wanted: impl Fn(&Purpose) -> bool) -> usize {
        self.jobs.values().filter(|j| wanted(&j.purpose)).count()
    }

    /// What a call is for, while it is waiting or under way.
    pub(super) fn purpose(&self, call: CallId) -> Option<&Purpose> {
        self.jobs.get(&call).map(|j| &j.purpose)
    }

    /// When it was asked for.
    pub(super) fn queued_at(&self, call: CallId) -> Option<Mono> {
        self.jobs.get(&call).map(|j| j.queued)
    }

    /// The next call to make, if one may be made now.
    pub(super) fn next(&mut self, keeper: &Keeper, budget: &mut Budget, now: Now) -> Option<Ready> {
        let priorities = [
            Priority::Token,
            Priority::Upkeep,
            Priority::Check,
            Priority::Calm,
        ];
        for priority in priorities {
            let Some(at) = self.first_not_held(priority, budget, now.mono) else {
                continue;
            };
            if self.in_flight >= CALLS_IN_FLIGHT_MAX {
                return None;
            }
            let token = match priority {
                Priority::Token => None,
                _ => match keeper.current(now) {
                    Some(held) => Some(held),
                    None => return None,
                },
            };
            if budget.take(priority, now.mono).is_err() {
                return None;
            }
            let Some(call) = self.queues[priority as usize].remove(at) else {
                continue;
            };
            let Some(job) = self.jobs.get_mut(&call) else {
                continue;
            };
            job.asked = now;
            job.serial = token.map_or(0, |t| t.serial);
            self.in_flight += 1;
            self.made_total += 1;
            return Some(Ready {
                call,
                op: job.op.clone(),
                token: token.map(|t| t.secret.clone()),
            });
        }
        None
    }

    /// The place of the first call whose kind, or subject, is not held for itself.
    fn first_not_held(&self, priority: Priority, budget: &Budget, now: Mono) -> Option<usize> {
        let free = |call: &CallId| {
            let job = self.jobs.get(call);
            job.is_none_or(|j| budget.held_until(&j.op) <= now)
        };
        self.queues[priority as usize].iter().position(free)
    }

    /// Drops what waits for its turn and is not wanted any more.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&Purpose) -> bool) {
        let queue = &mut self.queues[Priority::Upkeep as usize];
        let jobs = &mut self.jobs;
        queue.retain(|call| {
            let drop = jobs.get(call).is_none_or(|j| unwanted(&j.purpose));
            if drop {
                jobs.remove(call);
            }
            !drop
        });
    }

    /// Lets what topics are to be added be looked at once more, before that is asked for;
    /// a call for which none are left is dropped. Gives the channels of such.
    pub(super) fn revise(
        &mut self,
        still: impl Fn(&Purpose, &mut Vec<Topic>),
    ) -> Vec<(ChannelRef, bool)> {
        let queue = &mut self.queues[Priority::Upkeep as usize];
        let jobs = &mut self.jobs;
        let mut dropped = Vec::new();
        queue.retain(|call| {
            let Some(job) = jobs.get_mut(call) else {
                return false;
            };
            let Op::AddTopics(_, topics) = &mut job.op else {
                return true;
            };
            still(&job.purpose, topics);
            if let Purpose::Extend(_, told) | Purpose::Blame(_, told) = &mut job.purpose
                && told.len() != topics.len()
            {
                told.clone_from(topics);
            }
            if !topics.is_empty() {
                return true;
            }
            match &job.purpose {
                Purpose::Extend(channel, _) => dropped.push((*channel, true)),
                Purpose::Blame(channel, _) => dropped.push((*channel, false)),
                _ => {}
            }
            jobs.remove(call);
            false
        });
        dropped
    }

    /// What a call adds, and where.
    pub(super) fn adding(&self, call: CallId) -> Option<(ChannelRef, &[Topic])> {
        match &self.jobs.get(&call)?.purpose {
            Purpose::Extend(channel, topics) | Purpose::Blame(channel, topics) => {
                Some((*channel, topics))
            }
            _ => None,
        }
    }

    /// An answer came.
    pub(super) fn answered(
        &mut self,
        call: CallId,
        outcome: Outcome,
        budget: &mut Budget,
        now: Now,
        rng: &mut Rng,
    ) -> Answered {
        let Some(job) = self.jobs.get_mut(&call) else {
            return Answered::Later;
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        let priority = job.purpose.priority();
        if priority != Priority::Token {
            budget.learn(&job.op, &outcome, now.mono, rng);
        }
        match &outcome.result {
            Err(Failure::RateLimited(_)) if priority != Priority::Token => {
                // The budget is quiet now; the call keeps its turn. What may be limited for
                // itself alone is tried in its other way then.
                job.op = match std::mem::replace(&mut job.op, Op::Token) {
                    Op::Empty(channel) => Op::RemoveAll(channel),
                    Op::RemoveAll(channel) => Op::Empty(channel),
                    op => op,
                };
                self.again(call, priority);
                Answered::Later
            }
            Err(Failure::Unauthorized)
                if job.purpose != Purpose::Warm && priority != Priority::Token =>
            {
                if job.ended >= TOKEN_ENDS_MAX {
                    return self.finish(call, not_told(outcome));
                }
                self.doubted.push((call, outcome));
                Answered::Doubt
            }
            _ => self.finish(call, outcome),
        }
    }

    /// Back into its queue, in the order in which the calls were queued.
    fn again(&mut self, call: CallId, priority: Priority) {
        let queue = &mut self.queues[priority as usize];
        let at = queue.iter().position(|other| *other > call);
        queue.insert(at.unwrap_or(queue.len()), call);
    }

    fn finish(&mut self, call: CallId, outcome: Outcome) -> Answered {
        match self.jobs.remove(&call) {
            Some(job) => Answered::Done(Box::new(Done {
                added_to: match job.op {
                    Op::AddTopics(channel, _) => Some(channel),
                    _ => None,
                },
                purpose: job.purpose,
                asked: job.asked,
                outcome,
                serial: job.serial,
            })),
            None => Answered::Later,
        }
    }

    /// The verdict on token `serial`, for the calls that were refused with it; those that
    /// were refused with an earlier one are made again.
    pub(super) fn verdict(&mut self, serial: u32, verdict: Verdict) -> Vec<Done> {
        let mut failed = Vec::new();
        for (call, outcome) in std::mem::take(&mut self.doubted) {
            let Some(job) = self.jobs.get_mut(&call) else {
                continue;
            };
            if job.serial > serial {
                self.doubted.push((call, outcome));
                continue;
            }
            if verdict == Verdict::Over || job.serial < serial {
                job.ended += 1;
                let priority = job.purpose.priority();
                self.again(call, priority);
                continue;
            }
            let outcome = match verdict {
                Verdict::Unknown => not_told(outcome),
                _ => outcome,
            };
            if let Answered::Done(done) = self.finish(call, outcome) {
                failed.push(*done);
            }
        }
        failed
    }

    /// Some calls wait for the verdict on their token.
    pub(super) fn in_doubt(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// Questions that have waited too long for their turn, or that the platform does not want
    /// to hear for longer than that, given up.
    pub(super) fn overdue(&mut self, budget: &Budget, now: Now) -> Vec<Done> {
        let mut given_up = Vec::new();
        for priority in [Priority::Check, Priority::Calm] {
            let jobs = &mut self.jobs;
            self.queues[priority as usize].retain(|call| {
                let waits = jobs.get(call).is_some_and(|j| {
                    let patience = j.queued + FETCH_PATIENCE;
                    now.mono < patience
                        && budget.held_until(&j.op) < patience
                        // Whoever asks about it has to go on with the others.
                        && budget.subject_held_until(&j.op).is_none_or(|at| at <= now.mono)
                });
                if waits {
                    return true;
                }
                if let Some(job) = jobs.remove(call) {
                    let not_sent = Failure::NoAnswer(base::wire::NoAnswer::NotSent);
                    given_up.push(Done {
                        added_to: None,
                        purpose: job.purpose,
                        asked: job.asked,
                        outcome: Outcome::of(Err(not_sent)),
                        serial: 0,
                    });
                }
                false
            });
        }
        given_up
    }

    /// When a waiting call may be made, or is given up.
    pub(super) fn deadline(&self, keeper: &Keeper, budget: &Budget, now: Now) -> Option<Deadline> {
        let mut soonest = None;
        let priorities = [
            Priority::Token,
            Priority::Upkeep,
            Priority::Check,
            Priority::Calm,
        ];
        let mut blocked = self.in_flight >= CALLS_IN_FLIGHT_MAX;
        for priority in priorities {
            let queue = &self.queues[priority as usize];
            let Some(call) = queue.front() else {
                continue;
            };
            let queued = self.jobs.get(call).map_or(now.mono, |j| j.queued);
            if priority >= Priority::Check {
                let give_up = Deadline {
                    at: queued + FETCH_PATIENCE,
                    why: "question given up",
                };
                soonest = Deadline::sooner(soonest, Some(give_up));
            }
            if blocked || (priority != Priority::Token && keeper.current(now).is_none()) {
                continue;
            }
            let held = queue.iter().filter_map(|c| self.jobs.get(c));
            let held = held.map(|j| budget.held_until(&j.op)).min();
            let held = held.unwrap_or(Mono(0));
            soonest = Deadline::sooner(
                soonest,
                Some(Deadline {
                    at: budget.possible_at(priority, now.mono).max(held),
                    why: "request budget",
                }),
            );
            // What is held for itself lets others pass.
            blocked = held <= now.mono;
        }
        soonest
    }

    /// Calls waiting, by priority from upkeep to bulk.
    pub(super) fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }
}

/// A 401 of which nobody knows what it was about: the platform gave no answer that counts.
fn not_told(refused: Outcome) -> Outcome {
    Outcome {
        result: Err(Failure::Server {
            status: 401,
            retry_after: None,
        }),
        ..refused
    }
}
