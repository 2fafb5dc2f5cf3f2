//! Hand-over without a gap: closing notices, and channels that have to be
//! replaced because they end or misbehave (protocol, sections 2.6 and 8;
//! design, section 7).
//!
//! Two ways. *Same URI*: on a closing notice a second socket is opened on the
//! channel's URI; the platform drops the first, what is subscribed belongs to
//! the channel. *New channel*: everything is subscribed and confirmed on a
//! successor in a free slot before the predecessor is emptied and closed; one
//! at a time, jittered. Where no slot is free and the end is near, the channel
//! is broken before the next is made, and the gap is reported as one.
//!
//! Invariant: a topic that was reported live and may have missed an event is
//! reported in a gap before it is reported live again.

use std::time::Duration;

use super::channel::{Channel, Phase, Renew, Replace, Sub, Term};
use super::client::Client;
use super::limits::{HANDOVER_PATIENCE, HANDOVER_PAUSE_MAX, RETIRE_PATIENCE};
use super::session::{self, End, SocketRef};
use super::{Fact, Output};
use crate::ids::Topic;
use crate::notice::{Level, Notice};
use crate::time::{Deadline, Mono, Now};

/// The platform leaves up to a minute after its notice; a little less is counted on.
const CLOSING_PATIENCE: Duration = Duration::from_secs(50);

/// Second sockets after a closing notice are opened within this time, jittered.
const REOPEN_SPREAD: Duration = Duration::from_millis(1500);

/// A channel is replaced this long before an end that cannot be moved, if need be without overlap.
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(10);

/// An end as seen from now on the monotonic clock.
pub(super) fn mono_of(term: Term, now: Now) -> Mono {
    now.mono + term.left(now)
}

impl Client {
    /// Everything that time brings about on channels.
    pub(super) fn roll(&mut self, now: Now) {
        let slots: Vec<u8> = self.channels.keys().copied().collect();
        for slot in slots {
            if let Some(channel) = self.channels.get_mut(&slot) {
                channel.room.turn(now.mono);
            }
            self.roll_socket(slot, now);
            self.roll_life(slot, now);
            self.probe(slot, now);
            self.ask_what_it_holds(slot, now);
        }
        self.read_expiries(now);
        self.finish_handovers(now);
        self.begin_handover(now);
    }

    fn roll_socket(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        match channel.phase {
            Phase::Waiting(until) if until <= now.mono => {
                channel.phase = Phase::Connecting;
                let socket = self.open_socket(slot);
                if let Some(channel) = self.channels.get_mut(&slot) {
                    channel.socket = socket;
                }
            }
            Phase::Retiring(until) => {
                if until <= now.mono {
                    // It did not confirm or end in time: it is told once more, then forgotten.
                    if channel.dead && until + RETIRE_PATIENCE <= now.mono {
                        channel.socket = None;
                        channel.next = None;
                        channel.old = None;
                        self.remove(slot, now);
                    } else if !channel.dead {
                        self.doubt_handed_over(slot, "not-confirmed", now);
                        self.abandon(slot, true, now);
                        let Some(channel) = self.channels.get(&slot) else {
                            return;
                        };
                        let topics: Vec<Topic> = channel.subs.keys().cloned().collect();
                        for topic in topics {
                            if let Some(channel) = self.channels.get_mut(&slot) {
                                channel.forget(&topic);
                            }
                            self.detach(&topic, slot);
                        }
                        self.close_if_emptied(slot);
                    }
                } else {
                    self.close_if_emptied(slot);
                }
            }
            Phase::Open => {
                if channel.reopen_at.is_some_and(|at| at <= now.mono) {
                    channel.reopen_at = None;
                    let next = self.open_socket(slot);
                    if let Some(channel) = self.channels.get_mut(&slot) {
                        channel.next = next;
                    }
                } else if let Some(old) = channel
                    .old
                    .filter(|_| channel.next.is_none() && channel.settled())
                    && !std::mem::replace(&mut channel.old_told, true)
                {
                    self.out.push_back(Output::Session {
                        socket: old,
                        order: session::Order::Close,
                    });
                }
            }
            _ => {}
        }
    }

    /// Events may have stopped on this channel without a word.
    pub(super) fn suspect(&mut self, slot: u8, why: &'static str, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.retiring()
            || channel.phase == Phase::Creating
            || std::mem::replace(&mut channel.suspect, true)
        {
            return;
        }
        channel.replace = Some(Replace {
            why,
            from: now.mono,
            by: now.mono,
        });
        let topics: Vec<Topic> = channel.subs.keys().cloned().collect();
        let mut lost = Vec::new();
        for topic in topics {
            let live = self
                .channels
                .values()
                .any(|c| c.slot != slot && !c.suspect && c.live(&topic));
            if let Some(entry) = self.topics.get_mut(&topic)
                && entry.reported
                && !live
            {
                entry.reported = false;
                self.reported -= 1;
                lost.push(topic);
            }
        }
        self.gap(slot, lost, why, now);
    }

    /// The platform will close this socket within a minute.
    pub(super) fn closing_notice(&mut self, socket: SocketRef, now: Now) {
        let spread = self.rng.between(Duration::ZERO, REOPEN_SPREAD);
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let busy = channel.next.is_some()
            || channel.closing_until.is_some()
            || channel.successor.is_some();
        if channel.socket != Some(socket) || channel.phase != Phase::Open || busy {
            return;
        }
        channel.closing_until = Some(now.mono + CLOSING_PATIENCE);
        channel.reopen_at = Some(now.mono + spread);
        channel.reopens_failed = 0;
        let name = channel.name();
        let text = "the platform announced to close the socket; opening the next one";
        self.notice(Notice::new(Level::Debug, "closing-notice", text).on(name));
    }

    /// The second socket on the same URI is open: it serves from now on.
    pub(super) fn taken_over(&mut self, socket: SocketRef) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let earlier = channel.old;
        channel.old = channel.socket.replace(socket);
        channel.old_told = false;
        channel.next = None;
        channel.closing_until = None;
        channel.reopens_failed = 0;
        if channel.phase != Phase::Open && !channel.retiring() {
            channel.phase = Phase::Open;
        }
        // What was under way on the first socket is sent again; what is live is
        // confirmed again, and stays live: subscriptions belong to the channel.
        channel.flight.clear();
        let mut want = Vec::new();
        let mut drop = Vec::new();
        for (topic, sub) in &mut channel.subs {
            match sub {
                Sub::Sent => {
                    *sub = Sub::Want;
                    want.push(topic.clone());
                }
                Sub::DropSent => {
                    *sub = Sub::Drop;
                    drop.push(topic.clone());
                }
                _ => {}
            }
        }
        channel.want.extend(want);
        channel.drop.extend(drop);
        channel.resubscribe();
        self.totals.handovers += 1;
        if let Some(socket) = earlier {
            self.out.push_back(Output::Session {
                socket,
                order: session::Order::Close,
            });
        }
    }

    /// The second socket could not be opened.
    pub(super) fn takeover_failed(&mut self, slot: u8, end: &End, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        channel.reopens_failed += 1;
        if matches!(end, End::UpgradeRefused(401 | 403 | 404)) {
            // The channel is gone already, and who knows since when: its first socket may
            // beat on without bringing events.
            self.suspect(slot, "upgrade-refused", now);
        } else if channel.reopens_failed >= 3 {
            let by = channel.closing_until.unwrap_or(now.mono).minus(LAST_MOMENT);
            channel.replace = Some(Replace {
                why: "closing",
                from: now.mono,
                by,
            });
        } else {
            channel.reopen_at =
                Some(now.mono + Duration::from_secs(u64::from(channel.reopens_failed)));
        }
    }

    /// Topics that stayed live by the books, but may have missed an event.
    pub(super) fn doubt_live(&mut self, slot: u8, cause: &'static str, now: Now) {
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        let live: Vec<Topic> = channel
            .subs
            .iter()
            .filter(|(_, s)| **s == Sub::Live)
            .map(|(t, _)| t.clone())
            .collect();
        let doubted: Vec<Topic> = live
            .into_iter()
            .filter(|t| self.topics.get(t).is_some_and(|e| e.reported))
            .collect();
        self.gap(slot, doubted.clone(), cause, now);
        for topic in doubted {
            self.out.push_back(Output::Fact(Fact::Live { topic }));
        }
    }

    /// A predecessor that turns out to be gone while it gives up its topics, or does not say
    /// that it is not, was perhaps gone long before its successor had them: they are live
    /// there, and may have missed an event.
    pub(super) fn doubt_handed_over(&mut self, slot: u8, cause: &'static str, now: Now) {
        let Some(channel) = self.channels.get(&slot).filter(|c| c.retiring() && !c.dead) else {
            return;
        };
        let doubted: Vec<Topic> = channel
            .subs
            .keys()
            .filter(|t| self.topics.get(*t).is_some_and(|e| e.wanted && e.reported))
            .cloned()
            .collect();
        self.gap(slot, doubted.clone(), cause, now);
        for topic in doubted {
            self.out.push_back(Output::Fact(Fact::Live { topic }));
        }
    }

    /// A channel that takes part in a hand-over has lost its socket, or was not made.
    pub(super) fn handover_socket_lost(&mut self, slot: u8, why: &'static str, now: Now) {
        let predecessor = self.channels.get(&slot).and_then(|c| c.successor_of);
        self.lose(slot, why, now);
        if let Some(predecessor) = predecessor {
            self.totals.handovers_failed += 1;
            if let Some(c) = self.channels.get_mut(&predecessor) {
                c.handovers_failed = (c.handovers_failed + 1).min(6);
                let pause = self
                    .rng
                    .jitter(Duration::from_millis(500 << c.handovers_failed));
                if let Some(replace) = &mut c.replace {
                    replace.from = now.mono + pause;
                }
            }
        }
        // A lost predecessor leaves its successor as an ordinary channel; a lost
        // successor leaves its predecessor in place.
        self.abandon(slot, true, now);
        self.remove(slot, now);
    }

    fn finish_handovers(&mut self, now: Now) {
        let pairs: Vec<(u8, u8)> = self
            .channels
            .values()
            .filter_map(|c| c.successor_of.map(|p| (c.slot, p)))
            .collect();
        for (successor, predecessor) in pairs {
            let Some(channel) = self.channels.get(&successor) else {
                continue;
            };
            if channel.phase == Phase::Open && channel.settled() {
                if let Some(channel) = self.channels.get_mut(&successor) {
                    channel.successor_of = None;
                }
                self.totals.handovers += 1;
                self.retire(predecessor, now);
                self.next_handover =
                    now.mono + self.rng.between(Duration::ZERO, HANDOVER_PAUSE_MAX);
            } else if now.mono.since(channel.handover_began) >= HANDOVER_PATIENCE {
                self.handover_socket_lost(successor, "handover-overdue", now);
            }
        }
    }

    fn handover_running(&self) -> bool {
        self.channels.values().any(|c| c.successor_of.is_some())
    }

    /// The channel whose replacement is most urgent.
    fn next_to_replace(&self) -> Option<(u8, Replace)> {
        let open =
            |c: &&Channel| !c.retiring() && c.successor.is_none() && c.successor_of.is_none();
        self.channels
            .values()
            .filter(open)
            .filter_map(|c| c.replace.map(|r| (c.slot, r)))
            .min_by_key(|(slot, r)| (r.from, r.by, *slot))
    }

    fn begin_handover(&mut self, now: Now) {
        while self.begin_one_handover(now) {}
    }

    /// True if a channel without topics was retired instead: the next one may have its turn.
    fn begin_one_handover(&mut self, now: Now) -> bool {
        if self.handover_running() || now.mono < self.next_handover {
            return false;
        }
        let Some((slot, replace)) = self.next_to_replace().filter(|(_, r)| r.from <= now.mono)
        else {
            return false;
        };
        let wanted: Vec<Topic> = match self.channels.get(&slot) {
            Some(c) => c
                .subs
                .iter()
                .filter(|(t, s)| {
                    matches!(s, Sub::Want | Sub::Sent | Sub::Live)
                        && self.topics.get(*t).is_some_and(|e| e.wanted)
                })
                .map(|(t, _)| t.clone())
                .collect(),
            None => return false,
        };
        if wanted.is_empty() {
            self.retire(slot, now);
            return true;
        }
        if self.token.current(now).is_none() || now.mono < self.create_from {
            return false;
        }
        if self.places_taken(now) >= usize::from(self.settings.max_channels) {
            // Not while a place is about to be free: what serves goes on serving.
            if replace.by <= now.mono && self.abandoned.places(now) == 0 {
                // No place for a successor: broken before made, and reported as a gap.
                let text = format!(
                    "no slot is free: the channel is replaced without overlap ({})",
                    replace.why
                );
                let name = self
                    .channels
                    .get(&slot)
                    .map(Channel::name)
                    .unwrap_or_default();
                self.notice(Notice::new(Level::Warn, "handover-gap", text).on(name));
                self.lose(slot, replace.why, now);
                self.abandon(slot, true, now);
                self.remove(slot, now);
                self.next_handover = now.mono + Duration::from_millis(200);
            }
            return false;
        }
        let Some(successor) = self.create(now) else {
            return false;
        };
        if let Some(c) = self.channels.get_mut(&successor) {
            c.successor_of = Some(slot);
            c.handover_began = now.mono;
        }
        if let Some(c) = self.channels.get_mut(&slot) {
            c.successor = Some(successor);
        }
        for topic in wanted {
            self.place(&topic, successor);
        }
        false
    }

    /// When channels need looking after, and why.
    pub(super) fn rollover_deadline(&self, now: Now) -> Option<Deadline> {
        let mut soonest = None;
        let mut at = |at: Mono, why: &'static str| {
            soonest = Deadline::sooner(soonest, Some(Deadline { at, why }))
        };
        let token = self.token.current(now).is_some();
        for c in self.channels.values() {
            match c.phase {
                Phase::Waiting(until) => at(until, "reconnect"),
                Phase::Retiring(until) if c.dead => at(until + RETIRE_PATIENCE, "retired channel"),
                Phase::Retiring(until) => at(until, "retiring channel"),
                _ => {}
            }
            if c.retiring() || c.phase == Phase::Creating {
                continue;
            }
            if c.resync && c.phase == Phase::Open && c.resync_from > now.mono {
                at(c.resync_from, "what a channel holds");
            }
            if let (Some(t), Phase::Open) = (c.reopen_at, c.phase) {
                at(t, "second socket after a closing notice");
            }
            if let Some(t) = c.closing_until {
                at(t, "closing notice");
            }
            if let Some(t) = c.noting_until().filter(|t| *t > now.mono) {
                at(t, "channel to be kept");
            }
            if let Some(t) = c.probe_due() {
                at(t, "sign of life of a channel");
            }
            if !c.suspect {
                at(mono_of(c.token_ends, now), "token of a channel ends");
            }
            if c.renew == Renew::Idle && c.replace.is_none() && c.phase == Phase::Open {
                at(
                    now.mono + c.renewal_in(self.settings.renew_before, now),
                    "channel life",
                );
            }
            if c.successor_of.is_some() {
                at(c.handover_began + HANDOVER_PATIENCE, "hand-over");
            }
            if let Some(t) = c.idle_until() {
                at(t, "empty channel");
            }
            if let Some(t) = c.room.deadline() {
                at(t, "full channel");
            }
        }
        if self.renewing() && self.list_from > self.advanced {
            at(self.list_from, "channel life");
        }
        if !self.handover_running()
            && token
            && let Some((_, replace)) = self.next_to_replace()
        {
            let full = self.places_taken(now) >= usize::from(self.settings.max_channels);
            let from = if full {
                replace.from.max(replace.by)
            } else {
                replace.from
            };
            // A place that is about to be free wakes us by itself.
            if !full || self.abandoned.places(now) == 0 {
                at(
                    from.max(self.next_handover).max(self.create_from),
                    "hand-over",
                );
            }
        }
        if token && self.create_from > self.advanced {
            at(self.create_from, "channel creation");
        }
        if self.reattach_until > self.advanced {
            at(self.reattach_until, "re-attachment");
        }
        soonest
    }
}
