//! Subscribes and unsubscribes of one socket: waiting, in flight, answered
//! (protocol, section 4.3).
//!
//! What the platform leaves undocumented is read so that the worst outcome is a
//! request repeated, never a topic believed live that is not: a confirmation
//! counts only for the topics it can be shown to cover.
//!
//! Invariant: a request taken is answered by exactly one fact, unless the socket
//! ends first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Fact;
use crate::frames::{self, Done, Reply};
use base::ids::Topic;
use base::time::Mono;

/// The most messages unanswered on one socket: enough to hide a round trip, few
/// enough that a reply without an id spoils little.
pub const IN_FLIGHT_MAX: usize = 4;

/// The most orders that wait for their turn on one socket; one more is refused.
pub const ORDERS_WAITING_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) ticket: u64,
    /// What it asks for, in the platform's own word for the result.
    pub(super) kind: Done,
    pub(super) topics: Vec<Topic>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Open,
    Confirmed,
    Refused,
}

#[derive(Debug)]
struct InFlight {
    request: Request,
    correlation: String,
    deadline: Mono,
    verdicts: BTreeMap<Topic, Verdict>,
    /// `result` and `message` of the first refusal.
    refusal: Option<(u16, String)>,
}

#[derive(Debug)]
pub(super) struct Requests {
    reply_deadline: Duration,
    waiting: VecDeque<Request>,
    /// In the order of sending, hence of their deadlines.
    in_flight: VecDeque<InFlight>,
    /// Set for the rest of the socket's life by a reply without an id: with one
    /// request in flight, such a reply is not ambiguous.
    serial: bool,
    sent: u64,
}

impl Requests {
    pub(super) fn new(reply_deadline: Duration) -> Requests {
        Requests {
            reply_deadline,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            serial: false,
            sent: 0,
        }
    }

    /// Takes a request, or answers it at once.
    pub(super) fn take(&mut self, request: Request) -> Option<Fact> {
        if request.topics.is_empty() {
            return Some(confirmed(&request));
        }
        if self.waiting.len() >= ORDERS_WAITING_MAX {
            return Some(Fact::Refused {
                ticket: request.ticket,
                confirmed: Vec::new(),
                result: 0,
                message: String::from("too many orders are waiting on this socket"),
            });
        }
        self.waiting.push_back(request);
        None
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the next reply is overdue.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.in_flight.front().map(|q| q.deadline)
    }

    /// The next message to send, if one may be sent now.
    pub(super) fn next_message(&mut self, now: Mono) -> Option<String> {
        let allowed = if self.serial { 1 } else { IN_FLIGHT_MAX };
        if self.in_flight.len() >= allowed {
            return None;
        }
        let request = self.waiting.pop_front()?;
        self.sent += 1;
        let correlation = self.sent.to_string();
        let text = match request.kind {
            Done::Subscribed => frames::subscribe(&request.topics, &correlation),
            Done::Unsubscribed => frames::unsubscribe(&request.topics, &correlation),
        };
        let verdicts = request.topics.iter().cloned().map(|t| (t, Verdict::Open));
        self.in_flight.push_back(InFlight {
            verdicts: verdicts.collect(),
            request,
            correlation,
            deadline: now + self.reply_deadline,
            refusal: None,
        });
        Some(text)
    }

    /// Applies a reply to the request that it answers.
    pub(super) fn reply(&mut self, reply: &Reply<'_>) -> Vec<Fact> {
        let index = match reply.correlation.as_deref() {
            // An id that is not in flight: late, repeated, or not ours.
            Some(id) => match self.in_flight.iter().position(|q| q.correlation == id) {
                Some(index) => index,
                None => return Vec::new(),
            },
            None => {
                self.serial = true;
                match self.only_one_that_fits(reply) {
                    Some(index) => index,
                    None => return self.refuse_all(reply),
                }
            }
        };
        let Some(q) = self.in_flight.get_mut(index) else {
            return Vec::new();
        };
        q.apply(reply);
        if q.verdicts.values().any(|v| *v == Verdict::Open) {
            return Vec::new();
        }
        let answered = self.in_flight.remove(index);
        answered.map(InFlight::answer).into_iter().collect()
    }

    /// Refuses what is overdue.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<Fact> {
        let mut facts = Vec::new();
        while self.in_flight.front().is_some_and(|q| now >= q.deadline) {
            let Some(mut q) = self.in_flight.pop_front() else {
                break;
            };
            let open = q.verdicts.values().filter(|v| **v == Verdict::Open).count();
            q.refusal.get_or_insert_with(|| {
                let all = q.verdicts.len();
                (0, format!("no reply for {open} of {all} topics in time"))
            });
            facts.push(q.answer());
        }
        facts
    }

    /// The request that a reply without an id must mean: the one that has all its
    /// topics, and that asks for what the reply says was done.
    fn only_one_that_fits(&self, reply: &Reply<'_>) -> Option<usize> {
        let topics = reply.topics.as_deref().filter(|t| !t.is_empty())?;
        let mut fitting = self.in_flight.iter().enumerate().filter(|(_, q)| {
            reply.done.is_none_or(|done| done == q.request.kind)
                && topics.iter().all(|t| q.verdicts.contains_key(t))
        });
        let first = fitting.next()?.0;
        fitting.next().is_none().then_some(first)
    }

    /// Nobody can say whom the reply means: every request in flight is taken as
    /// refused, also if it says 200, because a repeated subscribe is harmless
    /// and a topic wrongly believed live is not.
    fn refuse_all(&mut self, reply: &Reply<'_>) -> Vec<Fact> {
        let all = std::mem::take(&mut self.in_flight);
        all.into_iter()
            .map(|mut q| {
                q.refusal.get_or_insert_with(|| match reply.result {
                    200 => (0, String::from("a reply did not say what it answers")),
                    result => (result, reply.message.clone()),
                });
                q.answer()
            })
            .collect()
    }
}

impl InFlight {
    fn apply(&mut self, reply: &Reply<'_>) {
        let listed = reply.topics.as_deref();
        if reply.result == 200 {
            match listed {
                None => self.decide_open(Verdict::Confirmed),
                Some(topics) => {
                    for topic in topics {
                        if let Some(v) = self.verdicts.get_mut(topic)
                            && *v == Verdict::Open
                        {
                            *v = Verdict::Confirmed;
                        }
                    }
                }
            }
            return;
        }
        let mut named = false;
        for topic in listed.unwrap_or_default() {
            if let Some(v) = self.verdicts.get_mut(topic) {
                *v = Verdict::Refused;
                named = true;
            }
        }
        // 404 speaks of the channel, not of topics.
        if !named || reply.result == 404 {
            self.decide_open(Verdict::Refused);
        }
        self.refusal
            .get_or_insert_with(|| (reply.result, reply.message.clone()));
    }

    fn decide_open(&mut self, verdict: Verdict) {
        for v in self.verdicts.values_mut().filter(|v| **v == Verdict::Open) {
            *v = verdict;
        }
    }

    fn answer(self) -> Fact {
        match self.refusal {
            None => confirmed(&self.request),
            Some((result, message)) => Fact::Refused {
                ticket: self.request.ticket,
                confirmed: self
                    .verdicts
                    .into_iter()
                    .filter(|(_, v)| *v == Verdict::Confirmed)
                    .map(|(topic, _)| topic)
                    .collect(),
                result,
                message,
            },
        }
    }
}

fn confirmed(request: &Request) -> Fact {
    let ticket = request.ticket;
    match request.kind {
        Done::Subscribed => Fact::Subscribed { ticket },
        Done::Unsubscribed => Fact::Unsubscribed { ticket },
    }
}
