//! The door of the platform client: facts in, orders out, next deadline.
//!
//! One change, then drain completely, then the next change. After every fact
//! [`Client`] looks at what is wanted and at what is there, and orders the
//! difference: timers, hand-overs, places for topics, messages, calls.
//!
//! Invariant: a topic is in `waiting` exactly if it is wanted and on no channel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::calls::{Answered, Calls, ChannelRef, Done, Purpose};
use super::channel::{Batch, Channel, Phase, Renew, Sub, Term};
use super::limits::{CHANNELS_MAX, MESSAGES_IN_FLIGHT_MAX, REATTACH_PATIENCE, RETIRE_PATIENCE};
use super::pacing::Budget;
use super::rest::{self, Failure, Op, Outcome};
use super::session::{self, End, SocketRef};
use super::token::Keeper;
use super::{CallId, ChannelRow, Fact, Fetch, FetchOutcome, Input, Output, Settings};
use crate::ids::Topic;
use crate::notice::{Level, Notice};
use crate::rng::Rng;
use crate::secret::Secret;
use crate::time::{Deadline, Mono, Now};

/// What a channel of an earlier run holds is asked again after this, first and later.
const RESYNC_SOON: Duration = Duration::from_millis(500);
const RESYNC_PAUSE: Duration = Duration::from_secs(30);

/// Channels given up whose topics are still to be taken off, at most.
const CLEARING_MAX: usize = 64;

/// How often that is tried for one channel: for about half an hour.
const CLEAR_TRIES_MAX: u32 = 10;

/// What is known of a topic.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wanted: bool,
    /// Order of arrival.
    pub(super) seq: u64,
    /// Whoever watches believes that it is live.
    pub(super) reported: bool,
    /// The channels that have it in their books, a bit for each slot.
    pub(super) slots: u32,
}

pub(super) fn bit(slot: u8) -> u32 {
    1u32 << slot
}

/// Counters since the start.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Totals {
    pub(super) gaps: u64,
    pub(super) gap_topics: u64,
    pub(super) handovers: u64,
    pub(super) handovers_failed: u64,
    pub(super) channels_made: u64,
    pub(super) channels_died: u64,
    pub(super) reconnects: u64,
}

/// The platform client. See the [module](super).
pub struct Client {
    pub(super) settings: Settings,
    pub(super) rng: Rng,
    pub(super) token: Keeper,
    pub(super) budget: Budget,
    pub(super) calls: Calls,
    pub(super) topics: BTreeMap<Topic, Entry>,
    pub(super) waiting: BTreeMap<u64, Topic>,
    pub(super) channels: BTreeMap<u8, Channel>,
    pub(super) out: VecDeque<Output>,
    pub(super) last_seq: u64,
    pub(super) last_incarnation: u64,
    generation: u32,
    ticket: u64,
    kept: Vec<ChannelRow>,
    /// Until then topics wait for channels of an earlier run to say what they hold.
    pub(super) reattach_until: Mono,
    pub(super) create_from: Mono,
    pub(super) create_failures: u32,
    pub(super) next_handover: Mono,
    pub(super) reported: usize,
    pub(super) totals: Totals,
    pub(super) last_gap: Option<Mono>,
    warm_from: Mono,
    /// Channels given up whose topics are still to be taken off: when, which, how many tries.
    pub(super) clearing: VecDeque<(Mono, Secret, u32)>,
    /// Channels are not listed again before.
    pub(super) list_from: Mono,
    /// When [`advance`](Client::advance) last looked at the clock: what has come due since
    /// is still to be done.
    pub(super) advanced: Mono,
}

impl Client {
    /// A client that knows the channels of an earlier run and re-attaches to those that still live.
    #[must_use]
    pub fn new(settings: Settings, kept: &[ChannelRow], now: Now, seed: u64) -> Client {
        let mut client = Client {
            settings: Settings {
                max_channels: settings.max_channels.clamp(1, CHANNELS_MAX),
                ..settings
            },
            rng: Rng::new(seed),
            token: Keeper::default(),
            budget: Budget::default(),
            calls: Calls::default(),
            topics: BTreeMap::new(),
            waiting: BTreeMap::new(),
            channels: BTreeMap::new(),
            out: VecDeque::new(),
            last_seq: 0,
            last_incarnation: 0,
            generation: 0,
            ticket: 0,
            kept: kept.to_vec(),
            reattach_until: Mono(0),
            create_from: Mono(0),
            create_failures: 0,
            next_handover: Mono(0),
            reported: 0,
            totals: Totals::default(),
            last_gap: None,
            warm_from: Mono(0),
            clearing: VecDeque::new(),
            list_from: Mono(0),
            advanced: Mono(0),
        };
        client.reattach(kept, now);
        client.advance(now);
        client
    }

    fn reattach(&mut self, kept: &[ChannelRow], now: Now) {
        for row in kept {
            let usable = row.slot >= 1
                && row.slot <= self.settings.max_channels
                && row.expires_at > now.wall
                && row.token_ends_at > now.wall
                && !self.channels.contains_key(&row.slot);
            if !usable {
                self.clear_later(row.id.clone(), 0, now.mono);
                continue;
            }
            self.last_incarnation += 1;
            let mut channel =
                Channel::new(row.slot, self.last_incarnation, now.mono, row.created_at);
            channel.id = Some(row.id.clone());
            channel.uri = Some(row.connect_uri.clone());
            channel.expires = Term {
                mono: now.mono + row.expires_at.since(now.wall),
                wall: row.expires_at,
            };
            channel.life = row.expires_at.since(row.created_at);
            channel.token_ends = Term {
                mono: now.mono + row.token_ends_at.since(now.wall),
                wall: row.token_ends_at,
            };
            channel.resync = true;
            channel.phase = Phase::Waiting(now.mono);
            self.channels.insert(row.slot, channel);
            self.reattach_until = now.mono + REATTACH_PATIENCE;
        }
    }

    /// Takes in one fact. Drain [`Client::poll_output`] before the next.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Watch(topic) => self.watch(topic),
            Input::Unwatch(topic) => self.unwatch(&topic),
            Input::Fetch(fetch) => {
                let op = match &fetch {
                    Fetch::One(id) => Op::Conversation(*id),
                    Fetch::Many(ids) => Op::Conversations(ids.clone()),
                };
                self.calls.queue(op, Purpose::Fetch(fetch), now);
            }
            Input::Session { socket, fact } => self.session(socket, fact, now),
            Input::Answered { call, outcome } => self.answered(call, outcome, now),
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// The next order; `None` when everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to come back at the latest with [`Input::Tick`], and why.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Deadline> {
        let mut soonest = self.token.deadline(now);
        // While the call is out nothing is due: a deadline in the past would make the loop spin.
        if !self.calls.pending(|p| *p == Purpose::Warm) {
            let warm = self.token.warm_deadline(now).map(|d| Deadline {
                at: d.at.max(self.warm_from),
                ..d
            });
            soonest = Deadline::sooner(soonest, warm);
        }
        if self.token.current(now).is_some()
            && let Some(at) = self.clearing.iter().map(|(at, _, _)| *at).min()
        {
            let why = "channel given up";
            soonest = Deadline::sooner(soonest, Some(Deadline { at, why }));
        }
        soonest = Deadline::sooner(soonest, self.calls.deadline(&self.token, &self.budget, now));
        Deadline::sooner(soonest, self.rollover_deadline(now))
    }

    fn watch(&mut self, topic: Topic) {
        let entry = match self.topics.get_mut(&topic) {
            Some(entry) if entry.wanted => return,
            Some(entry) => {
                entry.wanted = true;
                entry
            }
            None => {
                self.last_seq += 1;
                let fresh = Entry {
                    wanted: true,
                    seq: self.last_seq,
                    reported: false,
                    slots: 0,
                };
                self.topics.entry(topic.clone()).or_insert(fresh)
            }
        };
        if entry.slots == 0 {
            self.waiting.insert(entry.seq, topic);
            return;
        }
        // It is still on a channel that was about to give it up.
        let mut live = false;
        for slot in 1..=CHANNELS_MAX {
            if entry.slots & bit(slot) == 0 {
                continue;
            }
            if let Some(channel) = self.channels.get_mut(&slot) {
                if channel.retiring() {
                    continue;
                }
                if channel.subs.get(&topic) == Some(&Sub::Drop) && !channel.flight_has(&topic) {
                    channel.drop.remove(&topic);
                    // Not sent yet: it was live and still is, if the socket is.
                    let sub = if channel.phase == Phase::Open {
                        Sub::Live
                    } else {
                        Sub::Want
                    };
                    channel.subs.insert(topic.clone(), sub);
                    if sub == Sub::Want {
                        channel.want.insert(topic.clone());
                    }
                }
                live |= channel.live(&topic) && !channel.suspect;
            }
        }
        if live && !entry.reported {
            entry.reported = true;
            self.reported += 1;
            self.out.push_back(Output::Fact(Fact::Live { topic }));
        }
    }

    fn unwatch(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        entry.wanted = false;
        if std::mem::take(&mut entry.reported) {
            self.reported -= 1;
        }
        self.waiting.remove(&entry.seq);
        let slots = entry.slots;
        for slot in 1..=CHANNELS_MAX {
            if slots & bit(slot) != 0 && self.channels.get_mut(&slot).is_none_or(|c| c.shed(topic))
            {
                self.detach(topic, slot);
            }
        }
        self.forget_if_idle(topic);
    }

    /// The topic is no longer in the books of that channel.
    pub(super) fn detach(&mut self, topic: &Topic, slot: u8) {
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.slots &= !bit(slot);
            if entry.slots == 0 && entry.wanted {
                self.waiting.insert(entry.seq, topic.clone());
            }
        }
        self.forget_if_idle(topic);
    }

    fn forget_if_idle(&mut self, topic: &Topic) {
        if self
            .topics
            .get(topic)
            .is_some_and(|e| !e.wanted && e.slots == 0)
        {
            self.topics.remove(topic);
        }
    }

    fn session(&mut self, socket: SocketRef, fact: session::Fact, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let current = channel.socket == Some(socket);
        let known = current || channel.next == Some(socket) || channel.old == Some(socket);
        if !known {
            return;
        }
        match fact {
            session::Fact::Opened => self.opened(socket, now),
            session::Fact::Heard => {
                channel.heard = Some(now.mono);
                channel.silences = 0;
            }
            session::Fact::Event { topic, body } => {
                channel.heard = Some(now.mono);
                self.out
                    .push_back(Output::Fact(Fact::Event { topic, body }));
            }
            session::Fact::Subscribed { ticket } | session::Fact::Unsubscribed { ticket } => {
                channel.unanswered = 0;
                if let Some(batch) = channel.flight.remove(&ticket) {
                    self.confirmed(socket.slot, batch);
                }
            }
            session::Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            } => {
                if let Some(batch) = channel.flight.remove(&ticket) {
                    self.refused(socket.slot, batch, &confirmed, result, &message, now);
                }
            }
            session::Fact::ChannelGone if current => {
                self.doubt_handed_over(socket.slot, "channel-gone", now);
                self.die(socket.slot, "channel-gone", now);
            }
            session::Fact::NoLongerSubscribed if current => {
                self.doubt_handed_over(socket.slot, "no-longer-subscribed", now);
                self.die(socket.slot, "no-longer-subscribed", now);
            }
            session::Fact::ChannelGone | session::Fact::NoLongerSubscribed => {}
            session::Fact::TokenRevoked => {
                let serial = channel.token_serial;
                self.token_over(serial, "token-revoked", now);
            }
            session::Fact::Closing => self.closing_notice(socket, now),
            session::Fact::Ended(end) => self.ended(socket, end, now),
        }
    }

    fn opened(&mut self, socket: SocketRef, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        channel.heard = Some(now.mono);
        if channel.next == Some(socket) {
            self.taken_over(socket);
            return;
        }
        if channel.phase == Phase::Connecting {
            channel.phase = Phase::Open;
            channel.reopens_failed = 0;
            channel.resync_from = now.mono;
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

    /// The platform confirmed a message.
    fn confirmed(&mut self, slot: u8, batch: Batch) {
        for topic in batch.topics {
            if batch.subscribe {
                self.confirm(slot, &topic);
            } else {
                self.dropped(slot, &topic);
            }
        }
    }

    /// A topic is confirmed on a channel.
    fn confirm(&mut self, slot: u8, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        channel.blamed.remove(topic);
        match channel.subs.get(topic) {
            Some(Sub::Want | Sub::Sent) => {
                channel.want.remove(topic);
                channel.subs.insert(topic.clone(), Sub::Live);
                channel.attempts = 0;
            }
            Some(Sub::Live) => channel.attempts = 0,
            _ => return,
        }
        let retiring = channel.retiring();
        let suspect = channel.suspect;
        let wanted = self.topics.get(topic).is_some_and(|e| e.wanted);
        if !wanted || retiring {
            channel.shed(topic);
        } else if !suspect {
            self.report_live(topic);
        }
    }

    pub(super) fn report_live(&mut self, topic: &Topic) {
        if let Some(entry) = self.topics.get_mut(topic)
            && !entry.reported
        {
            entry.reported = true;
            self.reported += 1;
            self.out.push_back(Output::Fact(Fact::Live {
                topic: topic.clone(),
            }));
        }
    }

    /// A topic is off a channel; wanted again meanwhile, it goes back on.
    fn dropped(&mut self, slot: u8, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.subs.get(topic) != Some(&Sub::DropSent) {
            return;
        }
        channel.forget(topic);
        let again = !channel.retiring()
            && channel.successor.is_none()
            && channel.kept() < self.settings.topics_per_channel;
        let wanted = self
            .topics
            .get(topic)
            .is_some_and(|e| e.wanted && e.slots == bit(slot));
        if again && wanted {
            channel.add(topic);
        } else {
            self.detach(topic, slot);
        }
    }

    fn refused(
        &mut self,
        slot: u8,
        batch: Batch,
        confirmed: &[Topic],
        result: u16,
        message: &str,
        now: Now,
    ) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        let incarnation = channel.incarnation;
        if !batch.subscribe {
            // An unsubscribe that is refused or not answered: the topic is taken to be
            // off if the platform spoke, and asked about again on the next socket if not.
            if result == 0 {
                channel.unanswered += 1;
                for topic in &batch.topics {
                    if channel.subs.get(topic) == Some(&Sub::DropSent) {
                        channel.subs.insert(topic.clone(), Sub::Drop);
                        channel.drop.insert(topic.clone());
                    }
                }
            } else if batch.topics.len() > 1 {
                // Perhaps one topic was not there, and none was removed: in smaller lots.
                channel.drop_most = batch.topics.len().div_ceil(2);
                for topic in &batch.topics {
                    if channel.subs.get(topic) == Some(&Sub::DropSent) {
                        channel.subs.insert(topic.clone(), Sub::Drop);
                        channel.drop.insert(topic.clone());
                    }
                }
            } else {
                for topic in &batch.topics {
                    self.dropped(slot, topic);
                }
            }
        } else {
            let sure: BTreeSet<&Topic> = confirmed.iter().collect();
            let rest: Vec<Topic> = batch
                .topics
                .iter()
                .filter(|t| !sure.contains(t))
                .cloned()
                .collect();
            if result == 0 {
                channel.unanswered += 1;
                for topic in &rest {
                    if let Some(sub @ Sub::Sent) = channel.subs.get_mut(topic) {
                        *sub = Sub::Want;
                    }
                    if matches!(channel.subs.get(topic), Some(Sub::Want | Sub::Live)) {
                        channel.want.insert(topic.clone());
                    }
                }
            } else if let Some(id) = channel.id.clone()
                && !rest.is_empty()
            {
                channel.unanswered = 0;
                for topic in &rest {
                    if channel.subs.contains_key(topic) {
                        channel.blamed.insert(topic.clone());
                    }
                }
                let name = channel.name();
                let text = format!(
                    "a subscribe of {} topics was refused ({result} {message}); asking which",
                    rest.len()
                );
                self.notice(Notice::new(Level::Debug, "subscribe-refused", text).on(name));
                let purpose = Purpose::Blame(ChannelRef { slot, incarnation }, rest.clone());
                self.calls.queue(Op::AddTopics(id, rest), purpose, now);
            }
            for topic in confirmed {
                self.confirm(slot, topic);
            }
        }
        if self.channels.get(&slot).is_some_and(|c| c.unanswered >= 3) {
            // It beats but does not answer: such a socket is of no use.
            if let Some(channel) = self.channels.get_mut(&slot) {
                channel.unanswered = 0;
            }
            self.close_current(slot);
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
    pub(super) fn die(&mut self, slot: u8, why: &'static str, now: Now) {
        // Only the platform's word that it is gone tells of somebody else; sockets wear out too.
        let young = why != "worn-out"
            && self.channels.get(&slot).is_some_and(|c| {
                now.mono.since(c.created) < super::limits::YOUNG_CHANNEL && !c.resync
            });
        self.die_of(slot, why, young, now);
    }

    /// `evicted`: a competitor for the platform's channels may be behind it.
    fn die_of(&mut self, slot: u8, why: &'static str, evicted: bool, now: Now) {
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
            let text = "a channel died young: another program may be using the same OAuth client";
            self.notice(Notice::new(Level::Error, "channel-evicted", text).on(name));
        } else {
            self.notice(
                Notice::new(
                    Level::Warn,
                    "channel-died",
                    format!("channel is gone ({why})"),
                )
                .on(name),
            );
        }
        self.lose(slot, why, now);
        if why != "not-found" {
            self.clear_abandoned(slot, now);
        }
        self.remove(slot, now);
    }

    /// The topics that were live on a channel and nowhere else are so no longer.
    pub(super) fn lose(&mut self, slot: u8, why: &'static str, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        let were_live = channel.unsettle();
        let mut lost = Vec::new();
        for topic in were_live {
            let elsewhere = self.live_elsewhere(&topic, slot);
            if let Some(entry) = self.topics.get_mut(&topic)
                && entry.wanted
                && entry.reported
                && !elsewhere
            {
                entry.reported = false;
                self.reported -= 1;
                lost.push(topic);
            }
        }
        self.gap(slot, lost, why, now);
    }

    /// Topics of a channel that nothing live stood behind for a while.
    pub(super) fn gap(&mut self, slot: u8, topics: Vec<Topic>, cause: &'static str, now: Now) {
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

    fn live_elsewhere(&self, topic: &Topic, but: u8) -> bool {
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

    /// Has the topics taken off a channel that is given up although the platform may still
    /// know it: with topics it counts as held, and is not the first to be evicted.
    pub(super) fn clear_abandoned(&mut self, slot: u8, now: Now) {
        if let Some(c) = self.channels.get(&slot)
            && let Some(id) = c.id.clone()
            && !c.subs.is_empty()
        {
            self.clear_later(id, 0, now.mono);
        }
    }

    fn clear_later(&mut self, id: Secret, tries: u32, at: Mono) {
        if tries >= CLEAR_TRIES_MAX {
            return;
        }
        if self.clearing.len() >= CLEARING_MAX {
            self.clearing.pop_front();
        }
        self.clearing.push_back((at, id, tries));
    }

    fn clear_due(&mut self, now: Now) {
        if self.token.current(now).is_none() {
            return;
        }
        for _ in 0..self.clearing.len() {
            let Some((at, id, tries)) = self.clearing.pop_front() else {
                return;
            };
            if at <= now.mono {
                let purpose = Purpose::Clear(id.clone(), tries);
                self.calls
                    .queue(Op::ReplaceTopics(id, Vec::new()), purpose, now);
            } else {
                self.clearing.push_back((at, id, tries));
            }
        }
    }

    fn cleared(&mut self, id: Secret, tries: u32, outcome: &Outcome, now: Now) {
        // A good answer without a list may be a proxy's.
        let again = matches!(
            outcome.result,
            Ok(rest::Answer::Done)
                | Err(Failure::Server { .. } | Failure::NoAnswer(_) | Failure::Unauthorized)
        );
        if again {
            let pause = Duration::from_secs(5 << tries.min(6));
            let at = now.mono + self.rng.jitter(pause);
            self.clear_later(id, tries + 1, at);
        }
    }

    /// Takes a channel out of the table; its sockets are told to close, its topics wait.
    pub(super) fn remove(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        let sockets: Vec<SocketRef> = [channel.socket, channel.next, channel.old]
            .into_iter()
            .flatten()
            .collect();
        let topics: Vec<Topic> = channel.subs.keys().cloned().collect();
        let (successor, predecessor) = (channel.successor.take(), channel.successor_of.take());
        channel.subs.clear();
        channel.told.clear();
        channel.want.clear();
        channel.drop.clear();
        channel.flight.clear();
        channel.blamed.clear();
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
        }
        for topic in topics {
            self.detach(&topic, slot);
        }
    }

    fn ended(&mut self, socket: SocketRef, end: End, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let slot = socket.slot;
        if channel.next == Some(socket) {
            channel.next = None;
            if !channel.retiring() {
                self.takeover_failed(slot, &end, now);
            } else {
                self.remove_if_socketless(slot, now);
            }
            return;
        }
        if channel.old == Some(socket) {
            channel.old = None;
            if channel.retiring() {
                self.remove_if_socketless(slot, now);
            } else if !matches!(end, End::Closed(_) | End::Ordered) {
                // It broke before everything sent on it was read.
                self.doubt_live(slot, "handed-over-broken", now);
            }
            return;
        }
        channel.socket = None;
        if channel.retiring() {
            // It ended before it had given up everything.
            self.doubt_handed_over(slot, "not-confirmed", now);
            self.clear_abandoned(slot, now);
            self.remove_if_socketless(slot, now);
            return;
        }
        channel.closing_until = None;
        channel.reopen_at = None;
        if let Some(next) = channel.next.take() {
            // The first ended before the second was seen to be open: perhaps because of
            // it, perhaps earlier. What is live has to be confirmed and checked again.
            channel.socket = Some(next);
            channel.phase = Phase::Connecting;
            self.lose(slot, end.label(), now);
            return;
        }
        let silent = matches!(end, End::Silent | End::NoPong);
        if silent {
            channel.silences += 1;
        }
        let name = channel.name();
        let was_open = channel.phase == Phase::Open;
        channel.phase = Phase::Waiting(now.mono);
        let gone = matches!(end, End::UpgradeRefused(401 | 403 | 404));
        let handing_over = channel.successor.is_some() || channel.successor_of.is_some();
        let worn = channel.attempts >= super::limits::RECONNECTS_MAX || channel.silences >= 3;
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
        if end == End::UpgradeRefused(401) {
            // The token is over, most likely: make sure of it before the next channel is made.
            if !self.calls.pending(|p| *p == Purpose::Warm) {
                self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
            }
            self.die_of(slot, "upgrade-refused", false, now);
        } else if gone {
            self.die(slot, "upgrade-refused", now);
        } else if handing_over {
            self.handover_socket_lost(slot, end.label(), now);
        } else if worn {
            self.die(slot, "worn-out", now);
        } else {
            self.lose(slot, end.label(), now);
            self.reconnect_later(slot, now);
        }
    }

    fn reconnect_later(&mut self, slot: u8, now: Now) {
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

    fn remove_if_socketless(&mut self, slot: u8, now: Now) {
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

    pub(super) fn notice(&mut self, notice: Notice) {
        self.out.push_back(Output::Notice(notice));
    }

    fn answered(&mut self, call: CallId, outcome: Outcome, now: Now) {
        match self
            .calls
            .answered(call, outcome, &mut self.budget, now, &mut self.rng)
        {
            Answered::Later => {}
            Answered::Doubt => {
                if !self.calls.pending(|p| *p == Purpose::Warm) {
                    self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
                }
            }
            Answered::Done(done) => self.done(done, now),
        }
    }

    fn done(&mut self, done: Done, now: Now) {
        let current = self.token.current(now).map(|h| h.serial);
        if done.outcome.result.is_ok() && current == Some(done.serial) {
            self.token.warmed(now);
        }
        match done.purpose {
            Purpose::Token => self.token_answered(done.outcome, now),
            Purpose::Warm => self.warm_answered(done.serial, &done.outcome, now),
            Purpose::Idle => match done.outcome.result {
                Ok(rest::Answer::IdleTimeout(idle)) => self.token.idle_timeout(idle),
                // Without the permission to read it the shortest one is assumed.
                _ => self.token.idle_timeout(None),
            },
            Purpose::List => self.listed(&done.outcome, now),
            Purpose::Create(channel) => self.created(channel, done.serial, done.outcome, now),
            Purpose::Resync(channel) => self.resynced(channel, done.outcome, now),
            Purpose::Blame(channel, topics) => self.blamed(channel, topics, done.outcome, now),
            Purpose::Extend(channel) => self.extended(channel, now),
            Purpose::Clear(id, tries) => self.cleared(id, tries, &done.outcome, now),
            Purpose::Fetch(fetch) => {
                let outcome = fetch_outcome(&fetch, done.outcome.result);
                self.out.push_back(Output::Fact(Fact::Fetched {
                    fetch,
                    asked_at: done.asked,
                    outcome,
                }));
            }
        }
    }

    fn token_answered(&mut self, outcome: Outcome, now: Now) {
        match outcome.result {
            Ok(rest::Answer::Token {
                access_token,
                expires_in,
            }) => {
                let first = self.token.failures() > 0;
                let serial = self.token.got(access_token, expires_in, now);
                if first {
                    self.notice(Notice::new(
                        Level::Info,
                        "token-again",
                        "a token is held again",
                    ));
                }
                self.calls.queue(Op::IdleTimeout, Purpose::Idle, now);
                for done in self.calls.verdict(serial, true) {
                    self.done(done, now);
                }
            }
            Err(Failure::Login {
                label,
                sentence,
                retry_after,
            }) => {
                let hopeless = !matches!(label, "rate-limited" | "server-trouble" | "garbled");
                self.notice(Notice::new(Level::Error, "token-refused", sentence.clone()));
                self.token
                    .failed(sentence, retry_after, hopeless, now, &mut self.rng);
            }
            other => {
                let (why, after) = match other {
                    Err(Failure::RateLimited(after)) => (
                        "the login host limits the rate of requests".to_string(),
                        after,
                    ),
                    Err(Failure::Server {
                        status,
                        retry_after,
                    }) => (format!("the login host answers {status}"), retry_after),
                    Err(Failure::NoAnswer(why)) => {
                        (format!("the login host {}", why.sentence()), None)
                    }
                    _ => (
                        "the login host gave an answer that is not understood".to_string(),
                        None,
                    ),
                };
                self.notice(Notice::new(Level::Warn, "token-failed", why.clone()));
                self.token.failed(why, after, false, now, &mut self.rng);
            }
        }
    }

    fn warm_answered(&mut self, serial: u32, outcome: &Outcome, now: Now) {
        let over = matches!(outcome.result, Err(Failure::Unauthorized));
        let sure = over || outcome.result.is_ok();
        if over {
            self.token_over(serial, "token-ended", now);
        } else if outcome.result.is_ok() {
            for done in self.calls.verdict(serial, false) {
                self.done(done, now);
            }
        }
        if !sure {
            // Server trouble: ask again soon, the doubted calls wait.
            self.warm_from = now.mono + Duration::from_secs(5);
            for done in self.calls.verdict(serial, false) {
                self.done(done, now);
            }
        }
    }

    /// The platform no longer takes token `serial`: the channels made with it may be mute.
    pub(super) fn token_over(&mut self, serial: u32, why: &'static str, now: Now) {
        if self.token.invalidate(serial, now, &mut self.rng) {
            self.notice(Notice::new(
                Level::Warn,
                "token-over",
                format!("the platform ended the token ({why})"),
            ));
        }
        let slots: Vec<u8> = self
            .channels
            .values()
            .filter(|c| c.token_serial == serial)
            .map(|c| c.slot)
            .collect();
        for slot in slots {
            self.suspect(slot, why, now);
        }
    }

    fn created(&mut self, channel: ChannelRef, serial: u32, outcome: Outcome, now: Now) {
        let Some(c) = self
            .channels
            .get_mut(&channel.slot)
            .filter(|c| c.incarnation == channel.incarnation)
        else {
            return;
        };
        match outcome.result {
            Ok(rest::Answer::Channel(rest::Channel {
                id: Some(id),
                connect_uri: Some(uri),
                expires,
            })) => {
                c.id = Some(id);
                c.uri = Some(uri);
                c.token_serial = serial;
                c.created = now.mono;
                c.created_at = now.wall;
                c.begin_life(expires, now);
                if let Some((mono, wall)) = self.token.end_of(serial) {
                    c.token_ends = Term { mono, wall };
                }
                c.phase = Phase::Connecting;
                self.totals.channels_made += 1;
                self.create_failures = self.create_failures.saturating_sub(1);
                let socket = self.open_socket(channel.slot);
                if let Some(c) = self.channels.get_mut(&channel.slot) {
                    c.socket = socket;
                }
            }
            other => {
                self.create_failures = (self.create_failures + 1).min(8);
                let pause = Duration::from_millis(250 << self.create_failures);
                self.create_from = self.create_from.max(now.mono + self.rng.jitter(pause));
                let text = format!(
                    "a channel could not be made: {}",
                    describe_failure(other.err().as_ref())
                );
                self.notice(Notice::new(Level::Warn, "channel-not-made", text));
                if self
                    .channels
                    .get(&channel.slot)
                    .is_some_and(|c| c.successor_of.is_some())
                {
                    self.handover_socket_lost(channel.slot, "not-made", now);
                } else {
                    self.remove(channel.slot, now);
                }
            }
        }
    }

    /// A channel of an earlier run says which topics it holds.
    fn resynced(&mut self, channel: ChannelRef, outcome: Outcome, now: Now) {
        let Some(c) = self
            .channels
            .get_mut(&channel.slot)
            .filter(|c| c.incarnation == channel.incarnation)
        else {
            return;
        };
        match outcome.result {
            Ok(rest::Answer::Topics(states)) => {
                c.resync = false;
                for state in states {
                    let free = self
                        .topics
                        .get(&state.topic)
                        .is_some_and(|e| e.wanted && e.slots == 0);
                    if free && self.make_room(channel.slot) {
                        self.place(&state.topic, channel.slot);
                        if let Some(c) = self.channels.get_mut(&channel.slot) {
                            c.told.insert(state.topic);
                        }
                    } else if !c_holds(self.channels.get(&channel.slot), &state.topic) {
                        // Nobody wants it here: make room.
                        let seq = self.next_seq();
                        let entry = self.topics.entry(state.topic.clone());
                        let entry = entry.or_insert(Entry {
                            wanted: false,
                            seq,
                            reported: false,
                            slots: 0,
                        });
                        entry.slots |= bit(channel.slot);
                        self.waiting.remove(&entry.seq);
                        if let Some(c) = self.channels.get_mut(&channel.slot) {
                            c.subs.insert(state.topic.clone(), Sub::Drop);
                            c.drop.insert(state.topic);
                        }
                    }
                }
            }
            Err(Failure::NotFound) => self.die(channel.slot, "not-found", now),
            // It serves meanwhile; what an earlier run left on it has to be known some day.
            Err(Failure::Server { .. } | Failure::NoAnswer(_) | Failure::Garbled) => {
                let soon = now.mono < self.reattach_until;
                c.resync_from = now.mono + if soon { RESYNC_SOON } else { RESYNC_PAUSE };
            }
            // It cannot be asked: it serves all the same, and is replaced if it turns out to be full.
            _ => c.resync = false,
        }
    }

    /// True if one more topic fits on a channel, if need be in place of one that has only
    /// been meant for it.
    fn make_room(&mut self, slot: u8) -> bool {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return false;
        };
        if channel.kept() < self.settings.topics_per_channel {
            return true;
        }
        let meant = |t: &&Topic| channel.subs.get(*t) == Some(&Sub::Want);
        let Some(other) = channel.want.iter().find(meant).cloned() else {
            return false;
        };
        channel.forget(&other);
        self.detach(&other, slot);
        true
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// REST says which topic of a refused message is to blame.
    fn blamed(&mut self, channel: ChannelRef, topics: Vec<Topic>, outcome: Outcome, now: Now) {
        let Some(c) = self
            .channels
            .get_mut(&channel.slot)
            .filter(|c| c.incarnation == channel.incarnation)
        else {
            return;
        };
        let slot = channel.slot;
        match outcome.result {
            Ok(rest::Answer::Topics(states)) => {
                let mut verdicts: BTreeMap<Topic, Option<String>> =
                    states.into_iter().map(|s| (s.topic, s.rejected)).collect();
                for topic in topics {
                    match verdicts.remove(&topic) {
                        Some(None) => self.confirm(slot, &topic),
                        Some(Some(why)) => self.refuse(&topic, why),
                        None => self.want_again(slot, &topic),
                    }
                }
            }
            Err(Failure::TooManyTopics) => {
                c.sealed = true;
                for topic in topics {
                    if let Some(c) = self.channels.get_mut(&slot) {
                        c.forget(&topic);
                    }
                    self.detach(&topic, slot);
                }
            }
            Err(Failure::BadRequest { detail, .. } | Failure::Forbidden(detail)) => {
                if let [topic] = topics.as_slice() {
                    self.refuse(topic, detail);
                } else if let Some(id) = c.id.clone() {
                    let (left, right) = topics.split_at(topics.len() / 2);
                    for half in [left, right] {
                        let purpose = Purpose::Blame(channel, half.to_vec());
                        self.calls
                            .queue(Op::AddTopics(id.clone(), half.to_vec()), purpose, now);
                    }
                }
            }
            Err(Failure::NotFound) => self.die(slot, "not-found", now),
            _ => {
                for topic in topics {
                    self.want_again(slot, &topic);
                }
            }
        }
    }

    fn want_again(&mut self, slot: u8, topic: &Topic) {
        if let Some(channel) = self.channels.get_mut(&slot) {
            channel.blamed.remove(topic);
            if let Some(sub @ (Sub::Sent | Sub::Want)) = channel.subs.get_mut(topic) {
                *sub = Sub::Want;
                channel.want.insert(topic.clone());
            }
        }
    }

    /// The platform rejects a topic: nobody watches it any more.
    fn refuse(&mut self, topic: &Topic, detail: String) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        let wanted = std::mem::take(&mut entry.wanted);
        if std::mem::take(&mut entry.reported) {
            self.reported -= 1;
        }
        let (seq, slots) = (entry.seq, entry.slots);
        self.waiting.remove(&seq);
        for slot in 1..=CHANNELS_MAX {
            if slots & bit(slot) == 0 {
                continue;
            }
            // An earlier subscription may outlive the permission: it is taken off.
            match self.channels.get_mut(&slot) {
                Some(channel) if channel.phase == Phase::Open => {
                    channel.forget(topic);
                    channel.subs.insert(topic.clone(), Sub::Drop);
                    channel.drop.insert(topic.clone());
                }
                Some(channel) => {
                    channel.forget(topic);
                    self.detach(topic, slot);
                }
                None => self.detach(topic, slot),
            }
        }
        if wanted {
            self.out.push_back(Output::Fact(Fact::Refused {
                topic: topic.clone(),
                detail,
            }));
        }
    }

    /// Orders the difference between what is wanted and what is there.
    fn advance(&mut self, now: Now) {
        self.advanced = now.mono;
        for done in self.calls.overdue(now) {
            self.done(done, now);
        }
        if self.token.ask(now) {
            self.calls.queue(Op::Token, Purpose::Token, now);
        }
        if self.token.warm_due(now)
            && now.mono >= self.warm_from
            && !self.calls.pending(|p| *p == Purpose::Warm)
        {
            self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
        }
        self.roll(now);
        self.allocate(now);
        self.clear_due(now);
        self.send_messages();
        while let Some(ready) = self.calls.next(&self.token, &mut self.budget, now) {
            self.out.push_back(Output::Call {
                call: ready.call,
                op: ready.op,
                token: ready.token,
            });
        }
        self.keep();
    }

    fn send_messages(&mut self) {
        for channel in self.channels.values_mut() {
            let open = channel.phase == Phase::Open || channel.retiring();
            let Some(socket) = channel.socket.filter(|_| open) else {
                continue;
            };
            // While a second socket takes over, what is new waits for it.
            if channel.next.is_some() || (channel.want.is_empty() && channel.drop.is_empty()) {
                continue;
            }
            if channel.drop.is_empty() && channel.flight.values().all(|b| b.subscribe) {
                channel.drop_most = super::TOPICS_PER_MESSAGE_MAX;
            }
            while channel.flight.len() < MESSAGES_IN_FLIGHT_MAX {
                let Some(batch) = channel.next_batch() else {
                    break;
                };
                self.ticket += 1;
                let ticket = self.ticket;
                let topics = batch.topics.clone();
                let order = if batch.subscribe {
                    session::Order::Subscribe { ticket, topics }
                } else {
                    session::Order::Unsubscribe { ticket, topics }
                };
                channel.flight.insert(ticket, batch);
                self.out.push_back(Output::Session { socket, order });
            }
        }
    }

    fn keep(&mut self) {
        let lasting = |c: &&Channel| c.id.is_some() && c.uri.is_some() && !c.dead && !c.retiring();
        let same = |c: &Channel, row: &ChannelRow| {
            (c.slot, c.id.as_ref(), c.expires.wall, c.token_ends.wall)
                == (row.slot, Some(&row.id), row.expires_at, row.token_ends_at)
        };
        let mut kept = self.kept.iter();
        let unchanged = self
            .channels
            .values()
            .filter(lasting)
            .all(|c| kept.next().is_some_and(|row| same(c, row)));
        if unchanged && kept.next().is_none() {
            return;
        }
        let row = |c: &Channel| {
            Some(ChannelRow {
                slot: c.slot,
                id: c.id.clone()?,
                connect_uri: c.uri.clone()?,
                created_at: c.created_at,
                expires_at: c.expires.wall,
                token_ends_at: c.token_ends.wall,
            })
        };
        let rows: Vec<ChannelRow> = self
            .channels
            .values()
            .filter(lasting)
            .filter_map(row)
            .collect();
        self.kept.clone_from(&rows);
        self.out.push_back(Output::Keep(rows));
    }

    pub(super) fn renewing(&self) -> bool {
        self.channels.values().any(|c| c.renew != Renew::Idle)
    }
}

fn c_holds(channel: Option<&Channel>, topic: &Topic) -> bool {
    channel.is_some_and(|c| c.subs.contains_key(topic))
}

/// The end of a socket in a few words, without what outside input may have put into it.
fn describe(end: &End) -> String {
    match end {
        End::UpgradeRefused(status) => format!("upgrade refused with {status}"),
        End::Closed(code) => format!("closed with {code}"),
        End::NotConnected(why) | End::Broken(why) | End::Misbehaved(why) => {
            format!("{}: {why}", end.label())
        }
        End::Ordered | End::Silent | End::NoPong => end.label().to_string(),
    }
}

fn describe_failure(failure: Option<&Failure>) -> String {
    match failure {
        Some(Failure::Forbidden(why)) => format!("403 {why}"),
        Some(Failure::BadRequest { status, detail }) => format!("{status} {detail}"),
        Some(Failure::Server { status, .. }) => format!("the platform answers {status}"),
        Some(Failure::NoAnswer(why)) => format!("the platform {}", why.sentence()),
        Some(Failure::Unauthorized) => "the token is not accepted".to_string(),
        Some(Failure::NotFound) => "404".to_string(),
        _ => "an answer that is not understood".to_string(),
    }
}

fn fetch_outcome(fetch: &Fetch, result: Result<rest::Answer, Failure>) -> FetchOutcome {
    match result {
        Ok(rest::Answer::Json(text)) => FetchOutcome::Found(text),
        Ok(_) | Err(Failure::Garbled) => {
            FetchOutcome::Trouble("an answer that is not understood".into())
        }
        Err(Failure::NotFound) => FetchOutcome::NotFound,
        Err(Failure::Unauthorized) => FetchOutcome::Denied("401".into()),
        Err(Failure::Forbidden(why)) => FetchOutcome::Denied(why),
        Err(Failure::BadRequest { .. } | Failure::TooManyTopics)
            if matches!(fetch, Fetch::Many(_)) =>
        {
            FetchOutcome::TooMany
        }
        Err(failure) => FetchOutcome::Trouble(describe_failure(Some(&failure))),
    }
}

impl Channel {
    pub(super) fn flight_has(&self, topic: &Topic) -> bool {
        self.flight.values().any(|b| b.topics.contains(topic))
    }
}
