//! What the caller wants on one channel: topics subscribed, and the channel kept alive.
//!
//! May not open or close sockets. Invariant: a message that is refused as a whole is sent again
//! in halves, until the topic is found that spoils it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Failure, Item, Single, Ticket};
use crate::limits::TOPICS_PER_MESSAGE_MAX;
use crate::session::{Order, SocketRef};
use base::ids::Topic;
use base::time::{Mono, Now};

/// What was not answered, or refused for a while, is asked again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// Subscribes in a row without an answer until the caller is told.
const UNANSWERED_TOLD: u32 = 3;

/// Between tries to extend the channel's life.
const EXTEND_AGAIN: Duration = Duration::from_secs(300);

impl Single {
    /// Subscribes topics on a socket, so many in a message.
    pub(super) fn send(&mut self, socket: SocketRef, topics: Vec<Topic>, extends: bool) {
        for some in topics.chunks(TOPICS_PER_MESSAGE_MAX) {
            self.send_one(socket, some.to_vec(), extends);
        }
    }

    pub(super) fn send_one(&mut self, socket: SocketRef, topics: Vec<Topic>, extends: bool) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let order = Order::Subscribe {
            ticket,
            topics: topics.clone(),
        };
        let sent = Ticket {
            socket,
            topics,
            extends,
        };
        self.tickets.insert(ticket, sent);
        self.order(socket, order);
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
        for socket in self.open_sockets() {
            self.send(socket, added.clone(), false);
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
        for socket in self.open_sockets() {
            for some in gone.chunks(TOPICS_PER_MESSAGE_MAX) {
                self.last_ticket += 1;
                let order = Order::Unsubscribe {
                    ticket: self.last_ticket,
                    topics: some.to_vec(),
                };
                self.order(socket, order);
            }
        }
    }

    pub(super) fn subscribed(&mut self, ticket: u64, now: Now) {
        let Some(done) = self.tickets.remove(&ticket) else {
            return;
        };
        self.unanswered = 0;
        self.confirmed(done.socket, &done.topics, now);
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
        let Some(ticket) = self.tickets.remove(&ticket) else {
            return;
        };
        let (socket, extends) = (ticket.socket, ticket.extends);
        if !confirmed.is_empty() {
            self.confirmed(socket, &confirmed, now);
        }
        let wanted = |t: &Topic| !confirmed.contains(t) && self.book.has(t);
        let left: Vec<Topic> = ticket
            .topics
            .iter()
            .filter(|t| wanted(t))
            .cloned()
            .collect();
        // 404 speaks of the channel, and is told apart.
        if left.is_empty() || result == 404 || !(self.is_current(socket) || self.is_next(socket)) {
            return;
        }
        if extends {
            self.failed(Failure::ExtensionFailed(message));
            return;
        }
        if result == 0 || matches!(result, 408 | 429) || result >= 500 {
            self.unanswered += u32::from(result == 0);
            if result == 0 && self.unanswered == UNANSWERED_TOLD {
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
            self.send_one(socket, some.to_vec(), false);
            self.send_one(socket, others.to_vec(), false);
        }
    }

    pub(super) fn extend(&mut self, now: Now) {
        self.extend_from = now.mono + EXTEND_AGAIN;
        let wanted = self.book.names();
        let open = self.current.as_ref().filter(|c| c.open.is_some());
        match open.map(|c| c.name) {
            Some(socket) if !wanted.is_empty() => self.send(socket, wanted, true),
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
