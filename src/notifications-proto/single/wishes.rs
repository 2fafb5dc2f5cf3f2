//! What the caller wants on one channel: topics subscribed, and the channel kept alive.
//!
//! May not open or close sockets. Invariant: a message that is refused as a whole is sent again
//! in halves, until the topic is found that spoils it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Asks, Failure, Item, Single, Ticket};
use crate::limits::TOPICS_PER_MESSAGE_MAX;
use crate::session::{Order, SocketRef};
use base::ids::Topic;
use base::time::{Mono, Now};

/// What was not answered, or refused for a while, is asked again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// The longest that the platform's wish to be asked later is obeyed, and the longest of our own
/// pauses while it has trouble.
const HOLD_MAX: Duration = Duration::from_secs(300);
const TROUBLE_MAX: Duration = Duration::from_secs(60);

/// That subscribes are put off is told again after this.
const HELD_TOLD: Duration = Duration::from_secs(300);

/// Subscribes in a row without an answer until the caller is told.
const UNANSWERED_TOLD: u32 = 3;

/// Messages without an answer on one socket: callers may name topics one by one.
const UNANSWERED_MAX: usize = 4;

/// Between tries to extend the channel's life.
const EXTEND_AGAIN: Duration = Duration::from_secs(300);

impl Single {
    /// Subscribes topics on a socket, so many in a message and so many messages at a time.
    pub(super) fn send(&mut self, socket: SocketRef, topics: Vec<Topic>) {
        self.queue.entry(socket).or_default().extend(topics);
        self.flush(socket);
    }

    /// Sends what waits, as far as answers have left room for it.
    pub(super) fn flush(&mut self, socket: SocketRef) {
        if self.hold.is_some() {
            return;
        }
        loop {
            let unanswered = self.tickets.values().filter(|t| t.socket == socket);
            if unanswered.count() >= UNANSWERED_MAX {
                return;
            }
            if self.is_current(socket) && !self.given_up.is_empty() {
                let topics = take(&mut self.given_up);
                self.ask(socket, topics, Asks::Unsubscribe);
                continue;
            }
            let topics = self.queue.get_mut(&socket).map(take).unwrap_or_default();
            if topics.is_empty() {
                return;
            }
            self.ask(socket, topics, Asks::Subscribe);
        }
    }

    pub(super) fn ask(&mut self, socket: SocketRef, topics: Vec<Topic>, asks: Asks) -> u64 {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let order = match asks {
            Asks::Unsubscribe => Order::Unsubscribe {
                ticket,
                topics: topics.clone(),
            },
            Asks::Subscribe | Asks::Extend => Order::Subscribe {
                ticket,
                topics: topics.clone(),
            },
        };
        let asked = Ticket {
            socket,
            topics,
            asks,
        };
        self.tickets.insert(ticket, asked);
        self.order(socket, order);
        ticket
    }

    pub(super) fn subscribe(&mut self, topics: Vec<Topic>, _now: Now) {
        let (added, over) = self.book.add(topics, self.settings.topics_max);
        if !over.is_empty() {
            let message = format!("a channel holds {} topics", self.settings.topics_max);
            self.item(Item::Refused {
                topics: over,
                result: 0,
                message,
            });
        }
        if let Some(next) = &mut self.next {
            next.pending.extend(added.iter().cloned());
        }
        for topic in &added {
            self.given_up.remove(topic);
        }
        for socket in self.open_sockets() {
            self.send(socket, added.clone());
        }
    }

    pub(super) fn unsubscribe(&mut self, topics: &[Topic]) {
        let gone = self.book.remove(topics);
        if let Some(next) = &mut self.next {
            next.pending.retain(|t| !gone.contains(t));
        }
        if let Some((_, again)) = &mut self.again {
            again.retain(|t| !gone.contains(t));
        }
        for queue in self.queue.values_mut() {
            queue.retain(|t| !gone.contains(t));
        }
        // The channel keeps them over a lost socket, until it is told.
        self.given_up.extend(gone);
        let open = self.current.as_ref().filter(|c| c.open.is_some());
        if let Some(socket) = open.map(|c| c.name) {
            self.flush(socket);
        }
    }

    pub(super) fn unsubscribed(&mut self, ticket: u64, now: Now) {
        if let Some(done) = self.tickets.remove(&ticket) {
            self.flush(done.socket);
        }
        self.proven(ticket, true, now);
    }

    pub(super) fn subscribed(&mut self, ticket: u64, now: Now) {
        let Some(done) = self.tickets.remove(&ticket) else {
            return;
        };
        self.unanswered = 0;
        self.held.0 = 0;
        self.confirmed(done.socket, &done.topics, now);
        self.flush(done.socket);
    }

    pub(super) fn confirmed(&mut self, socket: SocketRef, topics: &[Topic], now: Now) {
        if let Some(next) = self.next.as_mut().filter(|n| n.socket.name == socket) {
            for topic in topics {
                next.pending.remove(topic);
            }
            self.take_over_if_ready(now);
        } else if self.is_current(socket) {
            self.lives_on(now);
            let live = self.book.went_live(topics);
            if !live.is_empty() {
                self.item(Item::Live(live));
            }
        }
    }

    /// Subscribing extends a channel's life (protocol, section 2.6).
    pub(super) fn lives_on(&mut self, now: Now) {
        let life = self.settings.life;
        self.expires = (now.mono + life, now.wall + life);
        self.expiring_told = false;
    }

    pub(super) fn refused(
        &mut self,
        ticket: u64,
        confirmed: Vec<Topic>,
        result: u16,
        message: String,
        now: Now,
    ) {
        let Some(asked) = self.tickets.remove(&ticket) else {
            return;
        };
        let socket = asked.socket;
        if asked.asks == Asks::Unsubscribe {
            // Not answered or put off is not done; refused is as done as it will be.
            if passes(result) && self.is_current(socket) {
                let left = asked.topics.into_iter().filter(|t| !self.book.has(t));
                self.given_up.extend(left.collect::<Vec<_>>());
                self.hold_on(result, &message, 0, now);
            }
            self.proven(ticket, result != 0, now);
            return;
        }
        let extends = asked.asks == Asks::Extend;
        if !confirmed.is_empty() {
            self.confirmed(socket, &confirmed, now);
        }
        let wanted = |t: &Topic| !confirmed.contains(t) && self.book.has(t);
        let left: Vec<Topic> = asked.topics.iter().filter(|t| wanted(t)).cloned().collect();
        // 404 speaks of the channel, and is told apart.
        if left.is_empty() || result == 404 || !(self.is_current(socket) || self.is_next(socket)) {
            return;
        }
        let passes = passes(result);
        if extends && passes {
            self.failed(Failure::ExtensionFailed(message));
            return;
        }
        if passes && result != 0 {
            let waits = left.len();
            self.queue.entry(socket).or_default().extend(left);
            self.hold_on(result, &message, waits, now);
        } else if passes {
            self.unanswered += 1;
            if self.unanswered == UNANSWERED_TOLD {
                self.failed(Failure::Ambiguous(left.clone()));
            }
            let (_, again) = self
                .again
                .get_or_insert_with(|| (now.mono + AGAIN, BTreeSet::new()));
            again.extend(left);
        } else if left.len() == 1 {
            self.book.remove(&left);
            if let Some(next) = &mut self.next {
                next.pending.retain(|t| !left.contains(t));
            }
            self.item(Item::Refused {
                topics: left,
                result,
                message,
            });
            self.take_over_if_ready(now);
        } else {
            // One of them spoils the message: which one is found by halves.
            let (some, others) = left.split_at(left.len() / 2);
            self.ask(socket, some.to_vec(), asked.asks);
            self.ask(socket, others.to_vec(), asked.asks);
        }
        self.flush(socket);
    }

    /// Nothing more is asked for a while: as long as the platform wants, or ever longer.
    fn hold_on(&mut self, result: u16, message: &str, topics: usize, now: Now) {
        let own = AGAIN * 2u32.pow(self.held.0.min(5));
        self.held.0 = self.held.0.saturating_add(1);
        let own = self.rng.jitter(own.min(TROUBLE_MAX));
        let wait = own.max(seconds_in(message).unwrap_or_default().min(HOLD_MAX));
        let until = now.mono + wait.max(Duration::from_millis(1));
        self.hold = Some(self.hold.map_or(until, |at| at.max(until)));
        let told = self.held.1;
        if topics > 0 && told.is_none_or(|at| now.mono.since(at) >= HELD_TOLD) {
            self.held.1 = Some(now.mono);
            self.failed(Failure::Postponed {
                result,
                topics,
                message: message.to_owned(),
                wait,
            });
        }
    }

    pub(super) fn extend(&mut self, now: Now) {
        self.extend_from = now.mono + EXTEND_AGAIN;
        let wanted = self.book.names();
        let open = self.current.as_ref().filter(|c| c.open.is_some());
        match open.map(|c| c.name) {
            Some(socket) if !wanted.is_empty() => {
                for some in wanted.chunks(TOPICS_PER_MESSAGE_MAX) {
                    self.ask(socket, some.to_vec(), Asks::Extend);
                }
            }
            Some(_) => self.failed(Failure::ExtensionFailed(
                "there is no topic: a channel is extended by subscribing".into(),
            )),
            None => self.failed(Failure::ExtensionFailed("not connected".into())),
        }
    }

    /// When something is to be done about the channel's end.
    pub(super) fn end_at(&self) -> Option<Mono> {
        let at = self.expires.0.minus(self.settings.extend_before);
        match self.settings.manual {
            true => (!self.expiring_told).then_some(at),
            false => {
                let open = self.current.as_ref().is_some_and(|c| c.open.is_some());
                (open && !self.book.is_empty()).then_some(at.max(self.extend_from))
            }
        }
    }
}

/// Whether an answer speaks of now alone; 0 is none.
fn passes(result: u16) -> bool {
    result == 0 || matches!(result, 408 | 425 | 429) || result >= 500
}

/// The platform's wish in its words: `Retry the request in [42] seconds`, or, of the window of a
/// budget, `within [60] seconds` (protocol, section 10).
fn seconds_in(message: &str) -> Option<Duration> {
    let (before, _) = message.rsplit_once("] seconds")?;
    let (_, number) = before.rsplit_once('[')?;
    number.parse().ok().map(Duration::from_secs)
}

/// As many as one message holds.
fn take(topics: &mut BTreeSet<Topic>) -> Vec<Topic> {
    let mut some = Vec::new();
    while some.len() < TOPICS_PER_MESSAGE_MAX
        && let Some(topic) = topics.pop_first()
    {
        some.push(topic);
    }
    some
}
