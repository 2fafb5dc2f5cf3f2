//! The door of the platform client: facts in, orders out, next deadline.
//!
//! One change, then drain completely, then the next change. After every fact
//! [`Client`] looks at what is wanted and at what is there, and orders the
//! difference: timers, hand-overs, places for topics, messages, calls.
//!
//! Invariant: a topic is in `waiting` exactly if it is wanted and on no channel.

use std::collections::{BTreeMap, VecDeque};

use super::abandoned::Abandoned;
use super::answers::astray;
use super::calls::{Calls, Purpose};
use super::channel::{Channel, Phase, Renew, Term};
use super::limits::{CHANNELS_MAX, FETCHES_MAX, REATTACH_PATIENCE};
use super::pacing::{Budget, Priority};
use super::rest::Op;
use super::rhythm::Rhythm;
use super::session::{self};
use super::token::Keeper;
use super::waiting::{Rank, Waiting};
use super::way::Way;
use super::{Fact, Input, Output, Settings};
use base::fetch::{Fetch, FetchOutcome};
use base::ids::Topic;
use base::notice::{Level, Notice};
use base::rng::Rng;
use base::rows::ChannelRow;
use base::secret::Secret;
use base::time::{Alarm, Deadline, Mono, Now, Wall};

/// What is known of a topic.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wanted: bool,
    /// Order of arrival.
    pub(super) seq: u64,
    /// Whether it waits before others.
    pub(super) rank: Rank,
    /// It gives its place to others, and is still on a channel.
    pub(super) leaving: bool,
    /// Whoever watches believes that it is live.
    pub(super) reported: bool,
    /// Since when it is wanted and not live.
    pub(super) dark_since: Mono,
    /// The channels that have it in their books, a bit for each slot.
    pub(super) slots: u32,
}

impl Entry {
    /// It is to be on a channel, and to stay there.
    pub(super) fn stays(&self) -> bool {
        self.wanted && !self.leaving
    }
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

/// A channel that the platform has made and nobody uses.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) id: Secret,
    pub(super) uri: Secret,
    pub(super) expires: Option<Wall>,
    /// The token that made it.
    pub(super) serial: u32,
    pub(super) made: Now,
}

/// The platform leads new channels where they may not go.
#[derive(Debug)]
pub(super) struct Astray {
    /// What is said of it.
    pub(super) sentence: String,
    /// How often in a row.
    pub(super) times: u32,
}

/// The platform client. See the [module](super).
pub struct Client {
    pub(super) settings: Settings,
    pub(super) rng: Rng,
    pub(super) token: Keeper,
    pub(super) budget: Budget,
    pub(super) calls: Calls,
    pub(super) topics: BTreeMap<Topic, Entry>,
    pub(super) waiting: Waiting,
    /// What was last told of places that are short.
    pub(super) short: (usize, usize),
    pub(super) channels: BTreeMap<u8, Channel>,
    pub(super) out: VecDeque<Output>,
    pub(super) last_seq: u64,
    pub(super) last_incarnation: u64,
    pub(super) generation: u32,
    /// How seldom heartbeats may come.
    pub(super) rhythm: Rhythm,
    /// Whether sockets can be had.
    pub(super) way: Way,
    /// A channel that a competitor may have evicted, unless no other is served either.
    pub(super) evicted: Option<String>,
    pub(super) ticket: u64,
    pub(super) kept: Vec<ChannelRow>,
    /// Until then topics wait for channels of an earlier run to say what they hold.
    pub(super) reattach_until: Mono,
    pub(super) create_from: Mono,
    pub(super) create_failures: u32,
    /// The last channel that was made was led astray.
    pub(super) astray: Option<Astray>,
    pub(super) next_handover: Mono,
    pub(super) reported: usize,
    pub(super) totals: Totals,
    pub(super) last_gap: Option<Mono>,
    pub(super) warm_from: Mono,
    /// The idle timer is not looked at before.
    pub(super) look_from: Mono,
    /// It was said that the token is not kept warm.
    pub(super) cold_said: bool,
    /// Channels given up whose topics are still to be taken off.
    pub(super) abandoned: Abandoned,
    /// Channels made for somebody who had stopped waiting; the next ones are taken from here.
    pub(super) spares: Vec<Spare>,
    /// Channels are not listed again before.
    pub(super) list_from: Mono,
    /// When [`advance`](Client::advance) last looked at the clock: what has come due since
    /// is still to be done.
    pub(super) advanced: Mono,
    pub(super) alarm: Alarm,
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
            waiting: Waiting::default(),
            short: (0, 0),
            channels: BTreeMap::new(),
            out: VecDeque::new(),
            last_seq: 0,
            last_incarnation: 0,
            generation: 0,
            rhythm: Rhythm::default(),
            way: Way::default(),
            evicted: None,
            ticket: 0,
            kept: kept.to_vec(),
            reattach_until: Mono(0),
            create_from: Mono(0),
            create_failures: 0,
            astray: None,
            next_handover: Mono(0),
            reported: 0,
            totals: Totals::default(),
            last_gap: None,
            warm_from: Mono(0),
            look_from: Mono(0),
            cold_said: false,
            abandoned: Abandoned::default(),
            spares: Vec::new(),
            list_from: Mono(0),
            advanced: Mono(0),
            alarm: Alarm::default(),
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
            let refused = self
                .settings
                .streaming
                .judge(row.connect_uri.expose())
                .err();
            if let Some(refused) = refused.as_ref().filter(|_| usable) {
                let name = format!("{}/{}", row.slot, row.id.tail());
                let notice = Notice::new(Level::Error, "connect-uri-refused", astray(refused));
                self.notice(notice.on(name));
            }
            if !usable || refused.is_some() {
                self.abandon_row(row.clone(), now);
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
            channel.served = true;
            channel.noted = true;
            channel.phase = Phase::Waiting(now.mono);
            self.channels.insert(row.slot, channel);
            self.reattach_until = now.mono + REATTACH_PATIENCE;
        }
    }

    /// Takes in one fact. Drain [`Client::poll_output`] before the next.
    pub fn handle(&mut self, input: Input, now: Now) {
        let tick = input == Input::Tick;
        match input {
            Input::Watch(topic) => self.watch(topic, now),
            Input::Unwatch(topic) => self.unwatch(&topic),
            Input::Prefer(topic) => self.prefer(&topic),
            Input::GiveWay(topics) => self.give_way(&topics),
            Input::Fetch(fetch) => {
                let op = match &fetch {
                    Fetch::One(id) | Fetch::Calm(id) => Op::Conversation(*id),
                    Fetch::Many(ids) => Op::Conversations(ids.clone()),
                };
                if self.calls.count(|p| matches!(p, Purpose::Fetch(_))) < FETCHES_MAX {
                    self.calls.queue(op, Purpose::Fetch(fetch), now);
                } else {
                    self.out.push_back(Output::Fact(Fact::Fetched {
                        fetch,
                        asked_at: now,
                        outcome: FetchOutcome::Trouble("too many questions wait".into()),
                    }));
                }
            }
            Input::Session { socket, fact } => self.session(socket, fact, now),
            Input::Answered { call, outcome } => self.answered(call, outcome, now),
            Input::Kept(rows) => self.noted(&rows),
            Input::OtherCredentials => self.token.other_credentials(),
            Input::Tick => {}
        }
        self.advance(now);
        if tick {
            self.alarm.obeyed(self.due(now), now.mono);
        }
    }

    /// The next order; `None` when everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to come back at the latest with [`Input::Tick`], and why.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Deadline> {
        self.alarm.kept(self.due(now))
    }

    fn due(&self, now: Now) -> Option<Deadline> {
        let mut soonest = self.token.deadline(now);
        // While the call is out nothing is due: a deadline in the past would make the loop spin.
        if !self.calls.pending(|p| *p == Purpose::Warm) {
            let warm = self.token.warm_deadline(now).map(|d| Deadline {
                at: d.at.max(self.warm_from),
                ..d
            });
            soonest = Deadline::sooner(soonest, warm);
        }
        let token = self.token.current(now).is_some();
        soonest = Deadline::sooner(soonest, self.abandoned.deadline(token, now));
        soonest = Deadline::sooner(soonest, self.calls.deadline(&self.token, &self.budget, now));
        Deadline::sooner(soonest, self.rollover_deadline(now))
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.out.push_back(Output::Notice(notice));
    }

    /// Orders the difference between what is wanted and what is there.
    fn advance(&mut self, now: Now) {
        self.advanced = now.mono;
        for done in self.calls.overdue(&self.budget, now) {
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
        self.empty_abandoned(now);
        self.send_messages(now);
        // Only when something may be asked: a long quiet must not cost a look at every step.
        if self.budget.possible_at(Priority::Upkeep, now.mono) <= now.mono {
            self.take_back_calls();
            self.revise_calls();
        }
        while let Some(ready) = self.calls.next(&self.token, &mut self.budget, now) {
            if let Some((channel, topics)) = self.calls.adding(ready.call)
                && let Some(c) = channel.of_mut(&mut self.channels)
            {
                c.books.adding_began(topics);
            }
            self.out.push_back(Output::Call {
                call: ready.call,
                op: ready.op,
                token: ready.token,
            });
        }
        self.keep();
        self.tell_short(now);
    }

    /// What a restart would know of.
    fn noted(&mut self, rows: &[ChannelRow]) {
        for row in rows {
            if let Some(channel) = self.channels.get_mut(&row.slot) {
                channel.noted |= channel.id.as_ref() == Some(&row.id);
            }
        }
    }

    fn send_messages(&mut self, now: Now) {
        for channel in self.channels.values_mut() {
            let open = channel.phase == Phase::Open || channel.retiring();
            let Some(socket) = channel.socket.filter(|_| open) else {
                continue;
            };
            if channel.noting_until().is_some_and(|at| at > now.mono) {
                continue;
            }
            // While a second socket takes over, what is new waits for it.
            if channel.next.is_some() || !channel.books.has_mail() {
                continue;
            }
            channel.books.drop_in_large_lots();
            while let Some(batch) = channel.books.take_batch(self.ticket + 1) {
                self.ticket += 1;
                let ticket = self.ticket;
                let topics = batch.topics.clone();
                let order = if batch.subscribe {
                    session::Order::Subscribe { ticket, topics }
                } else {
                    session::Order::Unsubscribe { ticket, topics }
                };
                self.out.push_back(Output::Session { socket, order });
            }
        }
    }

    /// Has the channels kept that a restart could re-attach to, and those that it would
    /// have to empty.
    fn keep(&mut self) {
        let mut kept = self.kept.iter();
        let mut serving = self
            .channels
            .values()
            .filter_map(|c| Some((c.keeping()?, c)));
        let unchanged = serving
            .all(|(slot, c)| kept.next().is_some_and(|k| k.slot == slot && c.kept_as(k)))
            && (self.abandoned.rows()).all(|row| kept.next() == Some(row))
            && kept.next().is_none();
        if unchanged {
            return;
        }
        let serving = self.channels.values().filter_map(|c| {
            let slot = c.keeping()?;
            Some(ChannelRow { slot, ..c.row()? })
        });
        let rows: Vec<ChannelRow> = serving.chain(self.abandoned.rows().cloned()).collect();
        self.kept.clone_from(&rows);
        self.out.push_back(Output::Keep(rows));
    }

    pub(super) fn renewing(&self) -> bool {
        self.channels.values().any(|c| c.renew != Renew::Idle)
    }
}
