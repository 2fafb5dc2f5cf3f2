//! What happens on sockets: opened, spoken on, ended; and what that means for
//! the channel and its topics (protocol, sections 4 and 8).
//!
//! Invariant: a topic that was reported live and is no longer is reported in a
//! gap in the same step; a fact of a socket that its channel no longer has is ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::CallId;
use super::abandoned::Abandoned;
use super::books::Sub;
use super::calls::{ChannelRef, Purpose};
use super::channel::{Channel, Phase, Renew};
use super::client::{Client, Entry, bit};
use super::limits::{CHANNELS_MAX, RETIRE_PATIENCE};
use super::reasons::{Death, Suspicion};
use super::rest::Op;
use super::session::{self, End, SocketRef};
use super::way::Trouble;
use super::{Fact, Output};
use base::gap::GapCause;
use base::ids::Topic;
use base::notice::{Level, Notice};
use base::time::Now;

impl Client {
    pub(super) fn session(&mut self, socket: SocketRef, fact: session::Fact, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let current = channel.socket == Some(socket);
        let known = current || channel.next == Some(socket) || channel.old == Some(socket);
        if !known {
            return;
        }
        if current
            && matches!(
                fact,
                session::Fact::Heard
                    | session::Fact::Event { .. }
                    | session::Fact::Subscribed { .. }
                    | session::Fact::Unsubscribed { .. }
            )
            && !std::mem::replace(&mut channel.serves, true)
        {
            self.socket_serves(socket.slot, now);
        }
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        match fact {
            session::Fact::Opened => self.opened(socket, now),
            session::Fact::Heard => {
                channel.heard = Some(now.mono);
                channel.silences = 0;
            }
            session::Fact::Event { topic, body, about } => {
                channel.heard = Some(now.mono);
                let twice = match self.topics.get(&topic) {
                    Some(entry) => entry.slots.count_ones() > 1,
                    // A part of a combined topic comes under a name of its own.
                    None => self.channels.values().any(|c| c.successor.is_some()),
                };
                self.out.push_back(Output::Fact(Fact::Event {
                    topic,
                    body,
                    about,
                    socket,
                    twice,
                }));
            }
            session::Fact::Subscribed { ticket } | session::Fact::Unsubscribed { ticket } => {
                channel.unanswered = 0;
                channel.answered = now.mono;
                if let Some(batch) = channel.books.answered(ticket) {
                    if batch.subscribe && !channel.is_probe(&batch) {
                        channel.room.added();
                    }
                    self.confirmed(socket.slot, batch);
                }
            }
            session::Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            } => {
                if result != 0 {
                    channel.answered = now.mono;
                }
                if let Some(batch) = channel.books.answered(ticket) {
                    self.refused(socket.slot, batch, &confirmed, result, &message, now);
                }
            }
            session::Fact::ChannelGone if current => {
                self.doubt_handed_over(socket.slot, GapCause::ChannelGone, now);
                self.die(socket.slot, Death::ChannelGone, now);
            }
            session::Fact::NoLongerSubscribed if current => {
                self.doubt_handed_over(socket.slot, GapCause::NoLongerSubscribed, now);
                self.die(socket.slot, Death::NoLongerSubscribed, now);
            }
            session::Fact::ChannelGone | session::Fact::NoLongerSubscribed => {}
            session::Fact::TokenRevoked => {
                let serial = channel.token_serial;
                self.token_over(serial, Suspicion::TokenRevoked, now);
            }
            session::Fact::Closing => self.closing_notice(socket, now),
            session::Fact::Ended(end) => {
                if let End::Silent { beats } = end {
                    self.fell_silent(socket, beats, now);
                }
                self.ended(socket, end, now);
            }
        }
    }

    pub(super) fn blame_competitor(&mut self, name: String) {
        let text = "a channel died young: another program may be using the same OAuth client";
        self.notice(Notice::new(Level::Error, "channel-evicted", text).on(name));
    }

    /// Sockets that fall silent one after the other tell something about the heartbeats.
    fn fell_silent(&mut self, socket: SocketRef, beats: u32, now: Now) {
        let latest = self.generation;
        let generation = socket.generation;
        if !self.rhythm.fell_silent(generation, beats, latest, now.mono) {
            return;
        }
        let text = match self.rhythm.slow() {
            true => {
                "sockets fall silent although the platform answers: heartbeats seem to come more \
                 seldom than heartbeat-timeout, and twice that is allowed from now on"
            }
            false => "no heartbeats come within twice heartbeat-timeout either: it counts again",
        };
        self.notice(Notice::new(Level::Warn, "heartbeats-seldom", text));
        let all = self.channels.values();
        let open: Vec<SocketRef> = all
            .flat_map(|c| [c.socket, c.next, c.old])
            .flatten()
            .collect();
        for socket in open {
            self.allow_silence(socket);
        }
    }

    fn allow_silence(&mut self, socket: SocketRef) {
        self.out.push_back(Output::Session {
            socket,
            order: session::Order::Patience {
                doubled: self.rhythm.slow(),
            },
        });
    }

    pub(super) fn opened(&mut self, socket: SocketRef, now: Now) {
        if self.rhythm.slow() {
            self.allow_silence(socket);
        }
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        channel.heard = Some(now.mono);
        if channel.next == Some(socket) {
            self.taken_over(socket, now);
            return;
        }
        if channel.phase == Phase::Connecting {
            channel.phase = Phase::Open;
            channel.reopens_failed = 0;
            channel.resync_from = now.mono;
            channel.answered = now.mono;
        }
    }

    /// Asks which topics a channel of an earlier run holds.
    pub(super) fn ask_what_it_holds(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        let due = channel.resync && channel.phase == Phase::Open && channel.resync_from <= now.mono;
        let asked = |p: &Purpose| matches!(p, Purpose::Resync(r) if r.slot == slot);
        if due
            && !self.calls.pending(asked)
            && let Some(id) = channel.id.clone()
        {
            let purpose = Purpose::Resync(ChannelRef {
                slot,
                incarnation: channel.incarnation,
            });
            self.calls.queue(Op::Subscriptions(id), purpose, now);
        }
    }

    /// The current socket is to be closed; what follows is decided when it has ended.
    pub(super) fn close_current(&mut self, slot: u8) {
        if let Some(socket) = self.channels.get(&slot).and_then(|c| c.socket) {
            self.out.push_back(Output::Session {
                socket,
                order: session::Order::Close,
            });
        }
    }

    /// A channel that the platform no longer knows: its topics go elsewhere.
    pub(super) fn die(&mut self, slot: u8, why: Death, now: Now) {
        // Only the platform's word that it is gone tells of somebody else; sockets wear out
        // too, channels end with their token, one of an earlier run may be of any age, and
        // one that was never served was perhaps never let through.
        let serial = self.token.current(now).map(|held| held.serial);
        let young = why.told()
            && self.channels.get(&slot).is_some_and(|c| {
                let age = c.made.map(|at| now.mono.since(at));
                let refused_at_first = why == Death::UpgradeRefused && !c.served;
                age.is_some_and(|age| age < super::limits::YOUNG_CHANNEL)
                    && serial == Some(c.token_serial)
                    && !c.suspect
                    && !refused_at_first
            });
        self.die_of(slot, why, young, now);
    }

    /// `evicted`: a competitor for the platform's channels may be behind it.
    pub(super) fn die_of(&mut self, slot: u8, why: Death, evicted: bool, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        channel.dead = true;
        let name = channel.name();
        self.totals.channels_died += 1;
        if evicted {
            self.create_failures = (self.create_failures + 1).min(8);
            let pause = Duration::from_millis(500 << self.create_failures);
            self.create_from = self.create_from.max(now.mono + self.rng.jitter(pause));
            if why == Death::UpgradeRefused {
                // Said when the next socket serves: else it is not the channel that is refused.
                self.evicted = Some(name);
            } else {
                self.blame_competitor(name);
            }
        } else {
            self.notice(
                Notice::new(
                    Level::Warn,
                    "channel-died",
                    format!("channel is gone ({})", why.cause()),
                )
                .on(name),
            );
        }
        self.lose(slot, why.cause(), now);
        if why.to_be_emptied() {
            self.abandon(slot, !why.told(), now);
        }
        self.remove(slot, now);
    }

    /// The topics that were live on a channel and nowhere else are so no longer.
    pub(super) fn lose(&mut self, slot: u8, why: GapCause, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        // It may have gone before its successor had what it has now.
        let handing_over = channel.successor.is_some();
        let were_live = channel.books.unsettle();
        let (mut lost, mut doubted) = (Vec::new(), Vec::new());
        for topic in were_live {
            let elsewhere = self.live_elsewhere(&topic, slot);
            let serves = |e: &&mut Entry| e.wanted && e.reported;
            let Some(entry) = self.topics.get_mut(&topic).filter(serves) else {
                continue;
            };
            if !elsewhere {
                entry.reported = false;
                entry.dark_since = now.mono;
                self.reported -= 1;
                lost.push(topic);
            } else if handing_over {
                doubted.push(topic);
            }
        }
        self.gap(slot, lost, why, now);
        self.doubt(slot, doubted, why, now);
    }

    /// Topics of a channel that nothing live stood behind for a while.
    pub(super) fn gap(&mut self, slot: u8, topics: Vec<Topic>, cause: GapCause, now: Now) {
        if topics.is_empty() {
            return;
        }
        let name = self
            .channels
            .get(&slot)
            .map_or_else(|| slot.to_string(), Channel::name);
        let text = format!(
            "{} topics are not live ({cause}); what is announced meanwhile is found out over REST",
            topics.len()
        );
        self.notice(Notice::new(Level::Warn, "gap", text).on(name));
        self.totals.gaps += 1;
        self.totals.gap_topics += topics.len() as u64;
        self.last_gap = Some(now.mono);
        self.out
            .push_back(Output::Fact(Fact::Gap { topics, cause }));
    }

    pub(super) fn live_elsewhere(&self, topic: &Topic, but: u8) -> bool {
        let Some(entry) = self.topics.get(topic) else {
            return false;
        };
        let others = entry.slots & !bit(but);
        others != 0
            && (1..=CHANNELS_MAX)
                .filter(|slot| others & bit(*slot) != 0)
                .any(|slot| {
                    self.channels
                        .get(&slot)
                        .is_some_and(|c| c.live(topic) && !c.suspect)
                })
    }

    /// Takes out of what waits to be added over REST what has gone meanwhile: it would be
    /// there again.
    pub(super) fn revise_calls(&mut self) {
        let channels = &self.channels;
        let gone = self.calls.revise(|purpose, topics| {
            let (Purpose::Extend(channel, _) | Purpose::Blame(channel, _)) = purpose else {
                return;
            };
            let channel = channel.of(channels);
            topics.retain(|t| {
                channel.is_some_and(|c| match purpose {
                    Purpose::Extend(..) => c.books.get(t) == Some(Sub::Live),
                    _ => c.books.blames(t),
                })
            });
        });
        for (channel, extending) in gone {
            if extending {
                self.extended(channel, Vec::new());
            }
        }
    }

    /// What waits to be asked about a channel that is given up is not asked any more: some of
    /// it would put topics there again.
    pub(super) fn forget_calls(&mut self, slot: u8) {
        self.calls.forget(|p| {
            let (Purpose::Create(c)
            | Purpose::Resync(c)
            | Purpose::Extend(c, _)
            | Purpose::Blame(c, _)) = p
            else {
                return false;
            };
            c.slot == slot
        });
    }

    /// Takes back what nobody waits for any more, before it is sent.
    pub(super) fn take_back_calls(&mut self) {
        let (channels, abandoned) = (&self.channels, &self.abandoned);
        self.calls.forget(|p| !awaited(p, channels, abandoned));
    }

    /// True while somebody waits for the answer of a call that is waiting or under way, or did
    /// when it was asked for in this very turn: a topic that is given up in the same turn may
    /// leave a new channel without need, and whoever needs the next one takes it.
    #[must_use]
    pub fn awaits(&self, call: CallId, now: Now) -> bool {
        let awaited = |p| awaited(p, &self.channels, &self.abandoned);
        self.calls.purpose(call).is_some_and(awaited)
            || self.calls.queued_at(call) == Some(now.mono)
    }

    /// Takes a channel out of the table; its sockets are told to close, its topics wait.
    pub(super) fn remove(&mut self, slot: u8, now: Now) {
        self.forget_calls(slot);
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        let sockets: Vec<SocketRef> = [channel.socket, channel.next, channel.old]
            .into_iter()
            .flatten()
            .collect();
        let topics = channel.books.close();
        let (successor, predecessor) = (channel.successor.take(), channel.successor_of.take());
        if sockets.is_empty() {
            self.channels.remove(&slot);
        } else {
            // It counts until its sockets are gone.
            channel.phase = Phase::Retiring(now.mono + RETIRE_PATIENCE);
            for socket in sockets {
                self.out.push_back(Output::Session {
                    socket,
                    order: session::Order::Close,
                });
            }
        }
        if let Some(c) = successor.and_then(|s| self.channels.get_mut(&s)) {
            c.successor_of = None;
        }
        if let Some(c) = predecessor.and_then(|s| self.channels.get_mut(&s)) {
            c.successor = None;
            c.linger_until = None;
        }
        for topic in topics {
            self.detach(&topic, slot);
        }
    }

    pub(super) fn ended(&mut self, socket: SocketRef, end: End, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let slot = socket.slot;
        if channel.next == Some(socket) {
            channel.next = None;
            if !channel.retiring() {
                self.not_served(socket, &end, now);
                self.takeover_failed(slot, &end, now);
            } else {
                self.remove_if_socketless(slot, now);
            }
            return;
        }
        if channel.old == Some(socket) {
            channel.old = None;
            // What may have been missed with it was doubted when the next one took over.
            if channel.retiring() {
                self.remove_if_socketless(slot, now);
            }
            return;
        }
        channel.socket = None;
        let served = std::mem::take(&mut channel.serves);
        if channel.retiring() {
            // It ended before it had given up everything.
            self.doubt_handed_over(slot, GapCause::NotConfirmed, now);
            self.abandon(slot, true, now);
            self.remove_if_socketless(slot, now);
            return;
        }
        channel.closing_over();
        if let Some(next) = channel.next.take() {
            // The first ended before the second was seen to be open: perhaps because of
            // it, perhaps earlier. What is live has to be confirmed and checked again.
            channel.socket = Some(next);
            channel.phase = Phase::Connecting;
            self.lose(slot, end.cause(), now);
            return;
        }
        let silent = matches!(end, End::Silent { .. } | End::NoPong);
        if silent {
            channel.silences += 1;
        }
        let name = channel.name();
        let was_open = channel.phase == Phase::Open;
        channel.phase = Phase::Waiting(now.mono);
        // A predecessor goes on by itself while its successor cannot serve yet: making that
        // may take long.
        let successor = channel.successor.filter(|_| !channel.suspect);
        let handing_over = channel.successor.is_some() || channel.successor_of.is_some();
        let followed = channel.successor_of.is_some();
        let worn = channel.attempts >= super::limits::RECONNECTS_MAX || channel.silences >= 3;
        channel.doubted |= Trouble::of(&end).is_some_and(Trouble::of_channel);
        let ready = |c: &Channel| c.phase == Phase::Open;
        let alone = successor.is_some_and(|s| !self.channels.get(&s).is_some_and(ready));
        if was_open {
            let level = if end == End::Ordered {
                Level::Debug
            } else {
                Level::Warn
            };
            self.notice(
                Notice::new(
                    level,
                    "channel-lost",
                    format!("socket lost ({}), reconnecting", describe(&end)),
                )
                .on(name),
            );
        }
        let never_open = matches!(end, End::UpgradeRefused { .. } | End::NotConnected { .. });
        let replace = (never_open || !served) && self.not_served(socket, &end, now);
        let gated = self.way.gated();
        let unauthorized = matches!(end, End::UpgradeRefused { status: 401, .. });
        // The token is over, most likely: make sure of it before the next channel is made.
        if unauthorized && !self.calls.pending(|p| *p == Purpose::Warm) {
            self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
        }
        if handing_over && !alone {
            if followed {
                self.successor_in_vain(now);
            }
            self.handover_socket_lost(slot, end.cause(), now);
        } else if replace && unauthorized {
            self.die_of(slot, Death::UpgradeRefused, false, now);
        } else if replace {
            let refused = matches!(end, End::UpgradeRefused { .. });
            let why = if refused {
                Death::UpgradeRefused
            } else {
                Death::WornOut
            };
            self.die(slot, why, now);
        } else if worn && !gated {
            self.die(slot, Death::WornOut, now);
        } else {
            self.lose(slot, end.cause(), now);
            self.reconnect_later(slot, now);
        }
    }

    pub(super) fn reconnect_later(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        let pause = match channel.attempts {
            0 => self.rng.between(Duration::ZERO, Duration::from_millis(250)),
            n => self.rng.jitter(
                (super::limits::RECONNECT_PAUSE * 2u32.pow(n.min(8)))
                    .min(super::limits::RECONNECT_PAUSE_MAX),
            ),
        };
        channel.attempts += 1;
        channel.phase = Phase::Waiting(now.mono + pause);
        self.totals.reconnects += 1;
    }

    pub(super) fn remove_if_socketless(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        if channel.socket.is_none() && channel.next.is_none() && channel.old.is_none() {
            self.remove(slot, now);
        }
    }

    /// Opens a socket on a channel's URI.
    pub(super) fn open_socket(&mut self, slot: u8) -> Option<SocketRef> {
        let connect_uri = self.channels.get(&slot)?.uri.clone()?;
        self.generation += 1;
        let socket = SocketRef {
            slot,
            generation: self.generation,
        };
        self.out.push_back(Output::OpenSocket {
            socket,
            connect_uri,
        });
        Some(socket)
    }
}

/// Somebody waits for the answer of a call with this purpose.
fn awaited(purpose: &Purpose, channels: &BTreeMap<u8, Channel>, abandoned: &Abandoned) -> bool {
    match purpose {
        Purpose::Create(c) => c.of(channels).is_some_and(|c| c.phase == Phase::Creating),
        Purpose::Resync(c) | Purpose::Blame(c, _) | Purpose::Extend(c, _) => {
            c.of(channels).is_some_and(|c| !c.retiring() && !c.dead)
        }
        Purpose::Empty(id) => abandoned.has(id),
        Purpose::List => channels.values().any(|c| c.renew != Renew::Idle),
        Purpose::Token | Purpose::Warm | Purpose::Idle | Purpose::Look(_) | Purpose::Fetch(_) => {
            true
        }
    }
}

/// The end of a socket in a few words, without what outside input may have put into it.
fn describe(end: &End) -> String {
    match end {
        End::UpgradeRefused { status, .. } => format!("upgrade refused with {status}"),
        End::Closed(code) => format!("closed with {code}"),
        End::NotConnected { cause, .. } => cause.words().into_owned(),
        End::Broken(why) | End::Misbehaved(why) => {
            format!("{}: {why}", end.label())
        }
        End::Ordered | End::Silent { .. } | End::NoPong => end.label().to_string(),
    }
}
