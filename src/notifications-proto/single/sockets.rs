//! The sockets of one channel: dialled, lost, opened again, taken over from.
//!
//! May not touch the book of topics but for saying what is live and what is dark.
//! Invariant: at most one socket serves, and at most one is to take over.

use std::time::Duration;

use super::{Asks, Failure, Item, Next, Output, Proof, Single, Socket, Ticket};
use crate::limits::{RECONNECT_PAUSE, RECONNECT_PAUSE_MAX, TOPICS_PER_MESSAGE_MAX};
use crate::session::{self, End, Order, SocketRef};
use base::gap::GapCause;
use base::ids::Topic;
use base::secret::Secret;
use base::time::Now;

/// The same refusal of an upgrade so often in a row is believed.
const REFUSALS_BELIEVED: u32 = 3;

/// A socket that the platform closes so soon after it was opened…
const SHORT: Duration = Duration::from_secs(30);

/// …so often in a row is being replaced by another one on the same channel (protocol, section 8).
const REPLACED_AFTER: u32 = 5;

/// A take-over is given up after this.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(45);

impl Single {
    pub(super) fn open(&mut self, connect_uri: Secret) -> Socket {
        self.generation += 1;
        let name = SocketRef {
            slot: 1,
            generation: self.generation,
        };
        self.out.push_back(Output::Open {
            socket: name,
            connect_uri,
        });
        Socket {
            name,
            open: None,
            served: false,
        }
    }

    pub(super) fn dial(&mut self, now: Now) {
        self.retry = None;
        self.down_since.get_or_insert(now.mono);
        let socket = self.open(self.uri.clone());
        self.current = Some(socket);
    }

    pub(super) fn is_current(&self, socket: SocketRef) -> bool {
        self.current.as_ref().is_some_and(|c| c.name == socket)
    }

    pub(super) fn is_next(&self, socket: SocketRef) -> bool {
        self.next.as_ref().is_some_and(|n| n.socket.name == socket)
    }

    pub(super) fn sign_of_life(&mut self, socket: SocketRef, fact: &session::Fact, now: Now) {
        let alive = matches!(
            fact,
            session::Fact::Heard
                | session::Fact::Event { .. }
                | session::Fact::Subscribed { .. }
                | session::Fact::Closing
        );
        let Some(current) = self.current.as_mut().filter(|c| alive && c.name == socket) else {
            return;
        };
        current.served = true;
        self.heard = now.wall;
        self.attempts = 0;
        self.down_since = None;
        self.refusals = (0, 0);
    }

    pub(super) fn opened(&mut self, socket: SocketRef, now: Now) {
        self.met = true;
        let wanted = self.book.names();
        if let Some(current) = self.current.as_mut().filter(|c| c.name == socket) {
            current.open = Some(now.mono);
            self.send(socket, wanted);
        } else if let Some(next) = self.next.as_mut().filter(|n| n.socket.name == socket) {
            next.socket.open = Some(now.mono);
            self.send(socket, wanted);
            self.take_over_if_ready(now);
        }
    }

    /// Sockets on which what is wanted has to be subscribed.
    pub(super) fn open_sockets(&self) -> Vec<SocketRef> {
        let next = self.next.as_ref().map(|n| &n.socket);
        let all = self.current.iter().chain(next);
        all.filter(|s| s.open.is_some()).map(|s| s.name).collect()
    }

    /// The channel itself is over.
    pub(super) fn gone(&mut self, failure: Failure, now: Now) {
        let cause = match failure {
            Failure::Expired => GapCause::ChannelGone,
            Failure::Replaced => GapCause::NoLongerSubscribed,
            _ => GapCause::TokenRevoked,
        };
        // Another channel that is about to take over goes on alone.
        let elsewhere = self.next.as_ref().is_some_and(|n| n.elsewhere.is_some());
        if elsewhere && failure != Failure::TokenRevoked {
            let live = self.book.all_dark();
            self.gap(live, cause);
            self.switch(now);
            return;
        }
        let live = self.book.all_dark();
        self.gap(live, cause);
        self.end(Some(failure));
    }

    pub(super) fn closing(&mut self, now: Now) {
        self.closing = true;
        self.item(Item::Closing);
        self.next_attempts = 0;
        if !self.settings.manual && self.next.is_none() {
            self.begin_next(None, false, now);
        }
    }

    pub(super) fn rollover(&mut self, uri: Secret, now: Now) {
        // A second socket on the same channel is no other channel.
        let elsewhere = (uri != self.uri).then_some(uri);
        match &mut self.next {
            // It is on its way already.
            Some(next) if next.elsewhere == elsewhere => {
                next.asked = true;
                return;
            }
            Some(_) => self.give_up_next("another roll-over was asked for"),
            None => {}
        }
        self.begin_next(elsewhere, true, now);
    }

    /// After the platform's notice there is a minute: one that could not take over is followed by
    /// another.
    pub(super) fn take_over_again(&mut self, asked: Option<Duration>, now: Now) {
        let open = self.current.as_ref().is_some_and(|c| c.open.is_some());
        if !self.closing || self.settings.manual || !open || self.next.is_some() {
            return;
        }
        let doubled = RECONNECT_PAUSE * 2u32.pow(self.next_attempts.min(4));
        self.next_attempts += 1;
        let pause = self.rng.jitter(doubled).max(asked.unwrap_or_default());
        self.next_retry = Some(now.mono + pause.max(Duration::from_millis(1)));
    }

    pub(super) fn begin_next(&mut self, elsewhere: Option<Secret>, asked: bool, now: Now) {
        self.next_retry = None;
        let uri = elsewhere.clone().unwrap_or_else(|| self.uri.clone());
        let socket = self.open(uri);
        self.next = Some(Next {
            socket,
            elsewhere,
            pending: self.book.names().into_iter().collect(),
            until: now.mono + TAKEOVER_PATIENCE,
            proof: Proof::Open,
            closing: false,
            asked,
        });
    }

    /// Takes over once everything is confirmed. Another channel's first has an answer from the
    /// socket before: what that missed because it was dead already, nobody heard.
    pub(super) fn take_over_if_ready(&mut self, now: Now) {
        let Some(next) = self.next.as_mut() else {
            return;
        };
        if next.socket.open.is_none() || !next.pending.is_empty() {
            return;
        }
        let before = self.current.as_ref().filter(|c| c.open.is_some());
        let before = before.map(|c| c.name).filter(|_| next.elsewhere.is_some());
        let Some(before) = before.filter(|_| !self.book.is_empty()) else {
            return self.switch(now);
        };
        match next.proof {
            Proof::Given => self.switch(now),
            Proof::Asked(_) => {}
            Proof::Open => {
                let mut topics = self.book.names();
                topics.truncate(TOPICS_PER_MESSAGE_MAX);
                let ticket = self.ask(before, topics, Asks::Unsubscribe);
                if let Some(next) = &mut self.next {
                    next.proof = Proof::Asked(ticket);
                }
            }
        }
    }

    /// The socket before has answered, or has not, since everything was confirmed on the next.
    pub(super) fn proven(&mut self, ticket: u64, alive: bool, now: Now) {
        let asked = |n: &&mut Next| n.proof == Proof::Asked(ticket);
        let Some(next) = self.next.as_mut().filter(asked) else {
            return;
        };
        next.proof = Proof::Given;
        if !alive {
            let live = self.book.all_dark();
            self.gap(live, GapCause::NotConfirmed);
        }
        self.take_over_if_ready(now);
    }

    pub(super) fn next_overdue(&mut self, now: Now) {
        let ready = |n: &Next| n.socket.open.is_some() && n.pending.is_empty();
        if self.next.as_ref().is_some_and(ready) {
            let live = self.book.all_dark();
            self.gap(live, GapCause::NotConfirmed);
            self.switch(now);
        } else {
            self.give_up_next("it was not ready in time");
            self.take_over_again(None, now);
        }
    }

    /// Nobody answers what was asked on it any more.
    pub(super) fn forget(&mut self, socket: SocketRef, current: bool) {
        self.queue.remove(&socket);
        let given_up = |t: &&Ticket| t.socket == socket && t.asks == Asks::Unsubscribe && current;
        let lost = self.tickets.values().filter(given_up);
        let left = lost.flat_map(|t| t.topics.iter().filter(|t| !self.book.has(t)).cloned());
        self.given_up.extend(left);
        self.tickets.retain(|_, ticket| ticket.socket != socket);
    }

    /// The next socket is the one from now on.
    pub(super) fn switch(&mut self, now: Now) {
        let Some(next) = self.next.take() else {
            return;
        };
        if let Some(old) = self.current.replace(next.socket) {
            self.leaving.insert(old.name);
            self.order(old.name, Order::Close);
        }
        self.retry = None;
        self.next_retry = None;
        self.closing = false;
        self.short_lives = 0;
        if let Some(uri) = next.elsewhere {
            self.uri = uri;
            self.rolled = !self.leaving.is_empty();
            self.given_up.clear();
        }
        let open = self.current.as_ref().is_some_and(|c| c.open.is_some());
        if open {
            self.heard = now.wall;
            self.down_since = None;
            self.attempts = 0;
            self.refusals = (0, 0);
            self.lives_on(now);
        }
        let confirmed: Vec<Topic> = match open {
            true => self
                .book
                .names()
                .into_iter()
                .filter(|t| !next.pending.contains(t))
                .collect(),
            false => Vec::new(),
        };
        let live = self.book.went_live(&confirmed);
        if !live.is_empty() {
            self.item(Item::Live(live));
        }
        if next.closing {
            self.closing(now);
        }
    }

    pub(super) fn next_lost(&mut self, end: &End, now: Now) {
        if self.next.take().is_some_and(|n| n.asked) {
            self.failed(Failure::RolloverFailed(end.label().to_owned()));
        }
        let asked = match end {
            End::UpgradeRefused { retry_after, .. } => *retry_after,
            _ => None,
        };
        self.take_over_again(asked, now);
    }

    pub(super) fn give_up_next(&mut self, why: &str) {
        if let Some(next) = self.next.take() {
            self.order(next.socket.name, Order::Close);
            self.leaving.insert(next.socket.name);
            // What is on its way there may come on the socket that serves, too.
            self.rolled |= next.elsewhere.is_some();
            if next.asked {
                self.failed(Failure::RolloverFailed(why.to_owned()));
            }
        }
    }

    /// The socket that served is over.
    pub(super) fn lost(&mut self, end: &End, now: Now) {
        let Some(lost) = self.current.take() else {
            return;
        };
        self.next_retry = None;
        // A second socket on the same channel hears all that this one would have, and so does
        // another channel's on which all is confirmed; a close is a sign of life.
        let goes_on =
            |n: &Next| n.socket.open.is_some() && (n.elsewhere.is_none() || n.pending.is_empty());
        if matches!(end, End::Closed(_)) && self.next.as_ref().is_some_and(goes_on) {
            return self.switch(now);
        }
        let live = self.book.all_dark();
        self.gap(live, end.cause());
        // Another channel's that is not open yet may never be: this one is tried beside it.
        let instead = |n: &Next| n.elsewhere.is_none() || n.socket.open.is_some();
        if self.next.as_ref().is_some_and(instead) {
            return self.switch(now);
        }
        if !self.met {
            return self.end(Some(Failure::of(end)));
        }
        if self.closing && self.settings.manual {
            return self.end(Some(Failure::Closing));
        }
        let noticed = std::mem::take(&mut self.closing);
        let short = lost.open.is_some_and(|at| now.mono.since(at) < SHORT);
        let pushed = matches!(end, End::Closed(_)) && short && lost.served && !noticed;
        self.short_lives = match pushed {
            true => self.short_lives + 1,
            false => 0,
        };
        if self.short_lives >= REPLACED_AFTER {
            return self.end(Some(Failure::Replaced));
        }
        if let End::UpgradeRefused { status, .. } = end {
            let (last, times) = self.refusals;
            self.refusals = (*status, if last == *status { times + 1 } else { 1 });
            let lasting = matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429);
            if lasting && self.refusals.1 >= REFUSALS_BELIEVED {
                // A channel that served and is not known any more has ended (protocol, section 8).
                let failure = match status {
                    404 | 410 => Failure::Expired,
                    status => Failure::Refused(*status),
                };
                return self.end(Some(failure));
            }
        }
        let since = *self.down_since.get_or_insert(now.mono);
        if now.mono.since(since) >= self.settings.give_up_after {
            let last = Box::new(Failure::of(end));
            return self.end(Some(Failure::ReconnectFailed(last)));
        }
        self.retry_later(end, now);
    }

    pub(super) fn retry_later(&mut self, end: &End, now: Now) {
        let own = match self.attempts {
            0 => self.rng.between(Duration::ZERO, Duration::from_millis(250)),
            n => {
                let doubled = RECONNECT_PAUSE * 2u32.pow(n.min(8));
                self.rng.jitter(doubled.min(RECONNECT_PAUSE_MAX))
            }
        };
        let asked = match end {
            End::UpgradeRefused { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = own.max(asked.unwrap_or_default().min(self.settings.give_up_after));
        self.attempts += 1;
        // A deadline of now would be one of the past.
        self.retry = Some(now.mono + pause.max(Duration::from_millis(1)));
    }
}
