//! Hand-over without a gap: closing notices, and channels that have to be
//! replaced because they end or misbehave (protocol, sections 2.6 and 8;
//! design, section 7).
//!
//! *New channel*: everything is subscribed and confirmed on a successor in a free
//! slot; the predecessor lingers for late frames, and is emptied and closed. The
//! most urgent first, by what is lost while it waits. Where no slot is free and the
//! end is near, the channel is broken before the next is made, and the gap is
//! reported as one; after a closing notice a second socket on the *same URI* does
//! it (`closing`).
//!
//! Invariant: a topic that was reported live and may have missed an event is
//! reported in a gap before it is reported live again.

use std::cmp::Reverse;
use std::time::Duration;

use super::channel::{Channel, Phase, Renew, Replace, Term};
use super::client::{Client, Entry};
use super::closing::last_moment;
use super::limits::{HANDOVER_LINGER, HANDOVER_PATIENCE, HANDOVER_PAUSE_MAX, RETIRE_PATIENCE};
use super::reasons::{Suspicion, Why};
use super::session;
use super::{Fact, Output};
use base::gap::GapCause;
use base::ids::Topic;
use base::notice::{Level, Notice};
use base::time::{Deadline, Mono, Now};

/// A channel is replaced this long before an end that cannot be moved, if need be without overlap.
pub(super) const LAST_MOMENT: Duration = Duration::from_secs(10);

/// What is done for a channel that has to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nobody wants what is on it.
    Retire,
    /// A successor is made, which takes over.
    Make,
    /// A second socket on its URI takes over.
    Reopen,
    /// It is given up before its successor is made.
    Break,
}

/// A channel that has to be replaced, for those who look at who goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// Which.
    pub slot: u8,
    /// It watches no more.
    pub suspect: bool,
    /// The platform said that it will close it.
    pub closing: bool,
    /// A successor is being made.
    pub under_way: bool,
    /// It holds topics that are wanted, and no pause keeps anybody from making a successor.
    pub due: bool,
}

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
        // What this brought about may be what another channel waited for.
        while let Some(slot) = self.due_to_dial(now) {
            self.roll_socket(slot, now);
        }
        self.read_expiries(now);
    }

    fn due_to_dial(&self, now: Now) -> Option<u8> {
        let due = |c: &&Channel| self.dial_at(c).is_some_and(|at| at <= now.mono);
        self.channels.values().find(due).map(|c| c.slot)
    }

    fn roll_socket(&mut self, slot: u8, now: Now) {
        let dial = self.channels.get(&slot).and_then(|c| self.dial_at(c));
        let gated = self.way.gated();
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        match channel.phase {
            Phase::Waiting(_) if dial.is_some_and(|at| at <= now.mono) => {
                channel.phase = Phase::Connecting;
                if gated {
                    // Its turn came late: a hand-over has its time from here on.
                    channel.handover_began = now.mono;
                }
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
                        self.doubt_handed_over(slot, GapCause::NotConfirmed, now);
                        self.abandon(slot, true, now);
                        let Some(channel) = self.channels.get(&slot) else {
                            return;
                        };
                        let topics: Vec<Topic> = channel.books.topics().cloned().collect();
                        for topic in topics {
                            if let Some(channel) = self.channels.get_mut(&slot) {
                                channel.books.forget(&topic);
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
                if channel.takeover_overdue(now.mono)
                    && let Some(successor) = channel.successor
                {
                    self.handover_socket_lost(successor, GapCause::Closing, now);
                    self.reopen(slot, now);
                } else if channel.reopen_at.is_some_and(|at| at <= now.mono) {
                    channel.reopen_at = None;
                    let next = self.open_socket(slot);
                    if let Some(channel) = self.channels.get_mut(&slot) {
                        channel.next = next;
                    }
                } else if let Some(old) = channel
                    .old
                    .filter(|_| channel.next.is_none() && channel.books.settled())
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
    pub(super) fn suspect(&mut self, slot: u8, why: Suspicion, now: Now) {
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
            why: Why::Suspect(why),
            from: now.mono,
            by: now.mono,
        });
        // What its successor has was perhaps missed before the successor had it.
        let handing_over = channel.successor.is_some();
        let topics: Vec<Topic> = channel.books.topics().cloned().collect();
        let (mut lost, mut doubted) = (Vec::new(), Vec::new());
        for topic in topics {
            let live = self
                .channels
                .values()
                .any(|c| c.slot != slot && !c.suspect && c.live(&topic));
            let Some(entry) = self.topics.get_mut(&topic).filter(|e| e.reported) else {
                continue;
            };
            if !live {
                entry.reported = false;
                entry.dark_since = now.mono;
                self.reported -= 1;
                lost.push(topic);
            } else if handing_over {
                doubted.push(topic);
            }
        }
        self.gap(slot, lost, why.cause(), now);
        self.doubt(slot, doubted, why.cause(), now);
    }

    /// Topics that are live, but may have missed an event.
    pub(super) fn doubt(&mut self, slot: u8, doubted: Vec<Topic>, cause: GapCause, now: Now) {
        self.gap(slot, doubted.clone(), cause, now);
        for topic in doubted {
            self.out.push_back(Output::Fact(Fact::Live { topic }));
        }
    }

    /// Topics that stayed live by the books, but may have missed an event.
    pub(super) fn doubt_live(&mut self, slot: u8, cause: GapCause, now: Now) {
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        let reported = |t: &&Topic| self.topics.get(*t).is_some_and(|e| e.reported);
        let doubted: Vec<Topic> = channel.books.live().filter(reported).cloned().collect();
        self.doubt(slot, doubted, cause, now);
    }

    /// A predecessor that turns out to be gone while it gives up its topics, or does not say
    /// that it is not, was perhaps gone long before its successor had them: they are live
    /// there, and may have missed an event.
    pub(super) fn doubt_handed_over(&mut self, slot: u8, cause: GapCause, now: Now) {
        let Some(channel) = self.channels.get(&slot).filter(|c| c.retiring() && !c.dead) else {
            return;
        };
        let doubted: Vec<Topic> = channel
            .books
            .topics()
            .filter(|t| self.topics.get(*t).is_some_and(|e| e.wanted && e.reported))
            .cloned()
            .collect();
        self.doubt(slot, doubted, cause, now);
    }

    /// A channel that takes part in a hand-over has lost its socket, or was not made.
    pub(super) fn handover_socket_lost(&mut self, slot: u8, why: GapCause, now: Now) {
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
            let overdue = self.handover_due(channel) <= now.mono;
            if channel.phase == Phase::Open && channel.books.settled() {
                if self.lingers(predecessor, now) {
                    continue;
                }
                if let Some(channel) = self.channels.get_mut(&successor) {
                    channel.successor_of = None;
                }
                self.totals.handovers += 1;
                self.lose_what_stays(predecessor, successor, now);
                self.retire(predecessor, now);
                self.next_handover =
                    now.mono + self.rng.between(Duration::ZERO, HANDOVER_PAUSE_MAX);
            } else if overdue {
                self.successor_in_vain(now);
                self.handover_socket_lost(successor, GapCause::HandoverOverdue, now);
            }
        }
    }

    /// When a successor has to have taken over. What we keep it waiting for is not its fault:
    /// one that has not been dialled yet is worth more than the next one that would be made.
    fn handover_due(&self, channel: &Channel) -> Mono {
        let began = match self.way.gated() && channel.waits_for_socket() {
            true => channel.handover_began.max(self.way.from()),
            false => channel.handover_began,
        };
        began + HANDOVER_PATIENCE
    }

    /// A predecessor whose topics are all live on its successor stays for a moment, for what
    /// is late on its socket, unless somebody needs its place.
    fn lingers(&mut self, predecessor: u8, now: Now) -> bool {
        let full = self.places_taken(now) >= usize::from(self.settings.max_channels);
        let needed = full
            && (self.waiting.pressing() > 0
                || self
                    .to_replace()
                    .any(|(c, r)| r.from <= now.mono && c.slot != predecessor));
        let Some(channel) = self.channels.get_mut(&predecessor) else {
            return false;
        };
        if channel.phase != Phase::Open || channel.suspect || needed {
            return false;
        }
        *channel
            .linger_until
            .get_or_insert(now.mono + HANDOVER_LINGER)
            > now.mono
    }

    /// What the successor could not take over is live no longer once its predecessor goes.
    fn lose_what_stays(&mut self, predecessor: u8, successor: u8, now: Now) {
        let (Some(old), Some(new)) = (
            self.channels.get(&predecessor),
            self.channels.get(&successor),
        ) else {
            return;
        };
        let left: Vec<Topic> = old
            .books
            .topics()
            .filter(|t| !new.live(t))
            .cloned()
            .collect();
        let mut lost = Vec::new();
        for topic in left {
            let elsewhere = self.live_elsewhere(&topic, predecessor);
            if let Some(entry) = self.topics.get_mut(&topic)
                && entry.reported
                && !elsewhere
            {
                entry.reported = false;
                self.reported -= 1;
                lost.push(topic);
            }
        }
        self.gap(predecessor, lost, GapCause::NotHandedOver, now);
    }

    /// Channels that have to be replaced and are not yet.
    fn to_replace(&self) -> impl Iterator<Item = (&Channel, Replace)> {
        let open =
            |c: &&Channel| !c.retiring() && c.successor.is_none() && c.successor_of.is_none();
        self.channels
            .values()
            .filter(open)
            .filter_map(|c| c.replace.map(|r| (c, r)))
    }

    /// A hand-over under way that this one has to wait for: they go one at a time, but one
    /// that watches no more does not wait for one that still does, nor a closing one for any.
    fn waits_its_turn(&self, channel: &Channel, replace: Replace) -> bool {
        let before = |c: &Channel| {
            let predecessor = c.successor_of.and_then(|p| self.channels.get(&p));
            !channel.suspect || predecessor.is_none_or(|p| p.suspect)
        };
        let mut under_way = self.channels.values().filter(|c| c.successor_of.is_some());
        replace.why != Why::Closing && under_way.any(before)
    }

    /// What is to be done for a channel that has to be replaced, and when, as things stand.
    fn step(&self, channel: &Channel, replace: Replace, now: Now) -> Option<(Mono, Step)> {
        let from = replace.from.max(self.next_handover);
        if !self.wanted_on(channel).any(|_| true) {
            return Some((from, Step::Retire));
        }
        let full = self.places_taken(now) >= usize::from(self.settings.max_channels);
        let token = self.token.current(now).is_some();
        let turn = !self.waits_its_turn(channel, replace);
        // While sockets cannot be had, what becomes of one that is tried wakes us.
        let create = self.create_at(self.advanced);
        let may_make = create.filter(|_| !full && token && turn);
        let make = may_make.map(|at| (from.max(at), Step::Make));
        if replace.why == Why::Closing {
            let last = match full && !self.place_to_come(now) {
                true => replace.from,
                false => replace.by.max(replace.from),
            };
            let reopen = channel.may_reopen().then_some((last, Step::Reopen));
            return make.filter(|(at, _)| *at < replace.by).or(reopen);
        }
        // Not while a place is about to be free: what serves goes on serving, and it wakes
        // us by itself.
        let alone = full && token && self.abandoned.places(now) == 0;
        let may_break = create.filter(|_| alone);
        make.or(may_break.map(|at| (from.max(replace.by).max(at), Step::Break)))
    }

    /// A place of `max-channels` will soon be free.
    fn place_to_come(&self, now: Now) -> bool {
        let goes = |c: &Channel| c.retiring() || c.successor.is_some();
        self.abandoned.places(now) > 0 || self.channels.values().any(goes)
    }

    fn wanted_on<'a>(&'a self, channel: &'a Channel) -> impl Iterator<Item = &'a Topic> {
        let wanted = |t: &&Topic| self.topics.get(*t).is_some_and(Entry::stays);
        channel.books.staying().filter(wanted)
    }

    /// The most urgent channel for which something is to be done now: first those that watch
    /// no more, then those whose end is nearest; the fuller first.
    fn most_urgent(&self, now: Now) -> Option<(u8, Replace, Step)> {
        self.to_replace()
            .filter_map(|(c, r)| self.step(c, r, now).map(|(at, step)| (c, r, at, step)))
            .filter(|(_, _, at, _)| *at <= now.mono)
            .min_by_key(|(c, r, ..)| (!c.suspect, r.by, Reverse(c.books.len()), c.slot))
            .map(|(c, r, _, step)| (c.slot, r, step))
    }

    /// Channels that have to be replaced.
    pub fn to_be_replaced(&self, now: Now) -> impl Iterator<Item = Replacement> + '_ {
        let serving = self.channels.values().filter(|c| !c.retiring());
        let of = move |c: &'_ Channel, r: Replace| Replacement {
            slot: c.slot,
            suspect: c.suspect,
            closing: r.why == Why::Closing,
            under_way: c.successor.is_some(),
            due: r.from <= now.mono && self.wanted_on(c).any(|_| true),
        };
        serving.filter_map(move |c| c.replace.map(|r| of(c, r)))
    }

    fn begin_handover(&mut self, now: Now) {
        // Each step leaves one channel less.
        for _ in 0..=self.channels.len() {
            let Some((slot, replace, step)) = self.most_urgent(now) else {
                return;
            };
            match step {
                Step::Retire => self.retire(slot, now),
                Step::Reopen => self.reopen(slot, now),
                Step::Break => self.break_off(slot, replace, now),
                Step::Make => self.make_successor(slot, now),
            }
        }
    }

    /// No place for a successor: broken before made, and reported as a gap.
    fn break_off(&mut self, slot: u8, replace: Replace, now: Now) {
        let text = format!(
            "no slot is free: the channel is replaced without overlap ({})",
            replace.why.cause()
        );
        let name = self
            .channels
            .get(&slot)
            .map(Channel::name)
            .unwrap_or_default();
        self.notice(Notice::new(Level::Warn, "handover-gap", text).on(name));
        self.lose(slot, replace.why.cause(), now);
        self.abandon(slot, true, now);
        self.remove(slot, now);
        self.next_handover = now.mono + Duration::from_millis(200);
    }

    fn make_successor(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        let wanted: Vec<Topic> = self.wanted_on(channel).cloned().collect();
        let Some(successor) = self.create(now) else {
            return;
        };
        if let Some(c) = self.channels.get_mut(&successor) {
            c.successor_of = Some(slot);
            c.handover_began = now.mono;
        }
        if let Some(c) = self.channels.get_mut(&slot) {
            c.successor = Some(successor);
            c.linger_until = None;
        }
        for topic in wanted {
            self.place(&topic, successor);
        }
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
                Phase::Waiting(_) => {
                    if let Some(t) = self.dial_at(c) {
                        at(t, "reconnect");
                    }
                }
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
            let overdue = self.handover_due(c);
            let last = c.successor.and(c.closing_until.map(last_moment));
            for t in [c.successor_of.map(|_| overdue), c.linger_until, last] {
                if let Some(t) = t.filter(|t| *t > self.advanced) {
                    at(t, "hand-over");
                }
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
        for (c, replace) in self.to_replace() {
            if let Some((t, _)) = self.step(c, replace, now) {
                at(t, "hand-over");
            }
        }
        let create_from = match self.way.gated() {
            true => self.may_create_at(self.advanced).max(self.way.from()),
            false => self.may_create_at(self.advanced),
        };
        if token && create_from > self.advanced {
            at(create_from, "channel creation");
        }
        if self.reattach_until > self.advanced {
            at(self.reattach_until, "re-attachment");
        }
        soonest
    }
}
