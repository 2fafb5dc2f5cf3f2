//! One channel's books: its life, its sockets, and what is subscribed on it.
//!
//! ```text
//!            create              opened
//! Creating ─────────► Connecting ───────► Open ──lost──► Waiting ──► Connecting …
//!     │                    │                │  ▲            │
//!     └──────────┬─────────┴──────┬─────────┘  └─ closing notice: a second socket
//!                ▼                ▼               on the same URI takes over
//!             removed ◄──────  Retiring (emptied, closed)
//! ```
//!
//! It may not decide anything: who goes where, and when a channel ends, is
//! decided by [`super::allocation`] and [`super::rollover`].
//!
//! Invariant: `want` and `drop` name exactly the topics for which a message
//! has to be sent; every topic in a batch under way is in `subs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::limits::{CHANNEL_LIFE, EMPTY_CHANNEL_KEPT, NOTING_PATIENCE, TOPICS_PER_MESSAGE_MAX};
use super::reasons::Why;
use super::room::Room;
use super::session::SocketRef;
use base::ids::Topic;
use base::rows::ChannelRow;
use base::secret::Secret;
use base::time::{Mono, Now, Wall};

/// An end on both clocks: the nearer one is believed, because a suspended machine
/// stops the one and an operator may move the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Term {
    pub(super) mono: Mono,
    pub(super) wall: Wall,
}

impl Term {
    /// That long from now.
    pub(super) fn after(d: Duration, now: Now) -> Term {
        Term {
            mono: now.mono + d,
            wall: now.wall + d,
        }
    }

    pub(super) fn left(self, now: Now) -> Duration {
        self.mono.since(now.mono).min(self.wall.since(now.wall))
    }

    pub(super) fn over(self, now: Now) -> bool {
        self.left(now).is_zero()
    }
}

/// Where a topic stands on one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sub {
    /// To be subscribed.
    Want,
    /// Subscribe sent.
    Sent,
    /// Confirmed on this channel.
    Live,
    /// To be unsubscribed.
    Drop,
    /// Unsubscribe sent.
    DropSent,
}

/// Where a channel stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// `POST /channels` is queued or under way.
    Creating,
    /// Its socket is being opened.
    Connecting,
    /// Its socket is open.
    Open,
    /// Lost; reconnects then.
    Waiting(Mono),
    /// Being emptied and closed, at the latest by then.
    Retiring(Mono),
}

/// Why a channel has to be replaced by a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Replace {
    /// What for.
    pub(super) why: Why,
    /// Not before.
    pub(super) from: Mono,
    /// If no place for a successor is free by then, broken before made.
    pub(super) by: Mono,
}

/// How far the renewal of a channel's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Renew {
    /// Not due.
    Idle,
    /// `expires` is being read back: ordinary subscribes may have moved it.
    Reading,
    /// Everything is being subscribed again over the socket.
    Resubscribing,
    /// `expires` is being read back after that.
    ReadingAgain,
    /// The topics are being added once more over REST.
    Posting,
    /// `expires` is being read back for the last time.
    ReadingLast,
}

/// A message under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) subscribe: bool,
    pub(super) topics: Vec<Topic>,
}

/// Topics that are being added over REST; several calls may add the same one.
#[derive(Default, Debug)]
pub(super) struct Adding(BTreeMap<Topic, u32>);

impl Adding {
    /// A call that adds these is made.
    pub(super) fn began(&mut self, topics: &[Topic]) {
        for topic in topics {
            *self.0.entry(topic.clone()).or_default() += 1;
        }
    }

    /// It was answered.
    pub(super) fn ended(&mut self, topics: &[Topic]) {
        for topic in topics {
            if let Some(calls) = self.0.get_mut(topic) {
                *calls -= 1;
                if *calls == 0 {
                    self.0.remove(topic);
                }
            }
        }
    }

    fn has(&self, topic: &Topic) -> bool {
        self.0.contains_key(topic)
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) slot: u8,
    /// Tells this channel from an earlier one in the same slot.
    pub(super) incarnation: u64,
    pub(super) id: Option<Secret>,
    pub(super) uri: Option<Secret>,
    pub(super) created: Mono,
    /// When this process made it: not known of one from an earlier run.
    pub(super) made: Option<Mono>,
    /// A restart would know of it.
    pub(super) noted: bool,
    pub(super) created_at: Wall,
    /// The end of its life.
    pub(super) expires: Term,
    /// The same as the platform put it, on the platform's clock.
    pub(super) expires_said: Option<Wall>,
    /// Its life when it was made.
    pub(super) life: Duration,
    pub(super) token_serial: u32,
    /// The end of the token that made it.
    pub(super) token_ends: Term,
    pub(super) phase: Phase,
    /// The socket in use.
    pub(super) socket: Option<SocketRef>,
    /// A second socket on the same URI, being opened to take over.
    pub(super) next: Option<SocketRef>,
    /// The socket that was taken over from.
    pub(super) old: Option<SocketRef>,
    /// It was told to close.
    pub(super) old_told: bool,
    pub(super) subs: BTreeMap<Topic, Sub>,
    /// Topics that the platform may hold on this channel: a subscribe for them was sent, or
    /// it said so, and nothing has taken them off since.
    pub(super) told: BTreeSet<Topic>,
    pub(super) want: BTreeSet<Topic>,
    pub(super) drop: BTreeSet<Topic>,
    pub(super) flight: BTreeMap<u64, Batch>,
    /// Topics that are being added over REST: they are not taken off before that is answered.
    pub(super) adding: Adding,
    /// It may hold topics of an earlier run: that could not be found out.
    pub(super) unsure: bool,
    /// Topics of refused messages, being asked about over REST.
    pub(super) blamed: BTreeSet<Topic>,
    pub(super) attempts: u32,
    /// Sockets in a row that ended in silence.
    pub(super) silences: u32,
    /// A socket of it has served.
    pub(super) served: bool,
    /// The socket in use has served.
    pub(super) serves: bool,
    /// Its upgrade was answered 401 or 404: as soon as another socket serves, that was about
    /// this channel and it is gone.
    pub(super) doubted: bool,
    pub(super) unanswered: u32,
    /// When the platform last answered a message on it.
    pub(super) answered: Mono,
    /// The topic that was subscribed once more for the answer alone.
    pub(super) probed: Option<Topic>,
    pub(super) heard: Option<Mono>,
    pub(super) empty_since: Option<Mono>,
    pub(super) successor_of: Option<u8>,
    pub(super) successor: Option<u8>,
    pub(super) handover_began: Mono,
    /// Its successor has everything: it stays until then for what is late.
    pub(super) linger_until: Option<Mono>,
    pub(super) handovers_failed: u32,
    pub(super) replace: Option<Replace>,
    /// After a closing notice: open the second socket then.
    pub(super) reopen_at: Option<Mono>,
    pub(super) closing_until: Option<Mono>,
    pub(super) reopens_failed: u32,
    /// Topics in one unsubscribe: fewer after a refusal, which may be about one of them alone.
    pub(super) drop_most: usize,
    /// What the platform says of its room.
    pub(super) room: Room,
    /// Kept from an earlier run: which topics it holds is not known yet.
    pub(super) resync: bool,
    /// Not asked before.
    pub(super) resync_from: Mono,
    pub(super) renew: Renew,
    /// Events may have stopped without a word.
    pub(super) suspect: bool,
    /// The platform no longer knows it, or its sockets were told to close for good.
    pub(super) dead: bool,
}

impl Channel {
    pub(super) fn new(slot: u8, incarnation: u64, now: Mono, wall: Wall) -> Channel {
        Channel {
            slot,
            incarnation,
            id: None,
            uri: None,
            created: now,
            made: None,
            noted: false,
            created_at: wall,
            expires: Term::after(CHANNEL_LIFE, Now { mono: now, wall }),
            expires_said: None,
            life: CHANNEL_LIFE,
            token_serial: 0,
            token_ends: Term::after(CHANNEL_LIFE, Now { mono: now, wall }),
            phase: Phase::Creating,
            socket: None,
            next: None,
            old: None,
            old_told: false,
            subs: BTreeMap::new(),
            told: BTreeSet::new(),
            want: BTreeSet::new(),
            drop: BTreeSet::new(),
            flight: BTreeMap::new(),
            adding: Adding::default(),
            unsure: false,
            blamed: BTreeSet::new(),
            attempts: 0,
            silences: 0,
            served: false,
            serves: false,
            doubted: false,
            unanswered: 0,
            answered: now,
            probed: None,
            heard: None,
            empty_since: None,
            successor_of: None,
            successor: None,
            handover_began: now,
            linger_until: None,
            handovers_failed: 0,
            replace: None,
            reopen_at: None,
            closing_until: None,
            reopens_failed: 0,
            drop_most: TOPICS_PER_MESSAGE_MAX,
            room: Room::Open,
            resync: false,
            resync_from: now,
            renew: Renew::Idle,
            suspect: false,
            dead: false,
        }
    }

    /// Slot and the last four characters of the id: all that may be shown.
    pub(super) fn name(&self) -> String {
        match &self.id {
            Some(id) => format!("{}/{}", self.slot, id.tail()),
            None => format!("{}/new", self.slot),
        }
    }

    /// As it is kept for a restart, if it was made.
    pub(super) fn row(&self) -> Option<ChannelRow> {
        Some(ChannelRow {
            slot: self.slot,
            id: self.id.clone()?,
            connect_uri: self.uri.clone()?,
            created_at: self.created_at,
            expires_at: self.expires.wall,
            token_ends_at: self.token_ends.wall,
        })
    }

    /// The slot under which it is kept: its own if a restart could re-attach to it, one
    /// beyond all others if it is being emptied.
    pub(super) fn keeping(&self) -> Option<u8> {
        match (self.id.is_some() && !self.dead, self.retiring()) {
            (false, _) => None,
            (true, false) => Some(self.slot),
            (true, true) => Some(u8::MAX - self.slot),
        }
    }

    /// Nothing is subscribed before then while a restart would not know of it: topics on a
    /// channel that nobody knows cannot be taken off.
    pub(super) fn noting_until(&self) -> Option<Mono> {
        (!self.noted).then(|| self.created + NOTING_PATIENCE)
    }

    /// Nothing of a row has changed that a restart would have to know.
    pub(super) fn kept_as(&self, row: &ChannelRow) -> bool {
        (self.id.as_ref(), self.expires.wall, self.token_ends.wall)
            == (Some(&row.id), row.expires_at, row.token_ends_at)
    }

    pub(super) fn retiring(&self) -> bool {
        matches!(self.phase, Phase::Retiring(_))
    }

    /// Its socket is lost, or was never had, and is to be tried again.
    pub(super) fn waits_for_socket(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// It serves, or its next tries of a socket may well succeed.
    pub(super) fn hopeful(&self) -> bool {
        !self.waits_for_socket() || self.attempts < 3
    }

    /// May serve topics that it does not serve yet.
    pub(super) fn takes_topics(&self) -> bool {
        self.successor.is_none()
            && self.successor_of.is_none()
            && !self.room.full()
            && !self.retiring()
    }

    /// Topics put on it that the platform has not spoken about.
    pub(super) fn unconfirmed(&self) -> usize {
        let sent = self.flight.values().filter(|b| b.subscribe);
        self.want.len() + self.blamed.len() + sent.map(|b| b.topics.len()).sum::<usize>()
    }

    /// Since when it is empty, if it is one that is closed for that alone.
    pub(super) fn idle_since(&self) -> Option<Mono> {
        let spare = self.successor.is_none() && self.successor_of.is_none() && !self.retiring();
        self.empty_since.filter(|_| spare)
    }

    /// When to look whether it is needed any more.
    pub(super) fn idle_until(&self) -> Option<Mono> {
        Some(self.idle_since()? + EMPTY_CHANNEL_KEPT)
    }

    /// Adds a topic to be subscribed.
    pub(super) fn add(&mut self, topic: &Topic) {
        self.empty_since = None;
        match self.subs.get(topic) {
            Some(Sub::Sent | Sub::Live | Sub::DropSent) => {}
            _ => {
                self.drop.remove(topic);
                self.subs.insert(topic.clone(), Sub::Want);
                self.want.insert(topic.clone());
            }
        }
    }

    /// Takes a topic off the channel; true if nothing of it is left there.
    pub(super) fn shed(&mut self, topic: &Topic) -> bool {
        match self.subs.get(topic) {
            None => true,
            Some(Sub::Want) if !self.told.contains(topic) => {
                self.forget(topic);
                true
            }
            // A subscribe under way is undone when it is confirmed.
            Some(Sub::Sent | Sub::DropSent | Sub::Drop) => false,
            // Waiting to be subscribed once more, it may be there from before.
            Some(Sub::Live | Sub::Want) => {
                self.want.remove(topic);
                self.subs.insert(topic.clone(), Sub::Drop);
                self.drop.insert(topic.clone());
                false
            }
        }
    }

    /// Removes every trace of a topic from the books.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.subs.remove(topic);
        self.told.remove(topic);
        self.want.remove(topic);
        self.drop.remove(topic);
        self.blamed.remove(topic);
    }

    /// The next message to send: unsubscribes first, they make room.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let adding = &self.adding;
        let off = self.drop.iter().filter(|t| !adding.has(t));
        let mut topics: Vec<Topic> = off.take(self.drop_most).cloned().collect();
        let subscribe = topics.is_empty();
        if subscribe {
            topics.extend(self.want.iter().take(TOPICS_PER_MESSAGE_MAX).cloned());
        }
        for topic in &topics {
            if subscribe {
                self.want.remove(topic);
            } else {
                self.drop.remove(topic);
            }
        }
        if topics.is_empty() {
            return None;
        }
        for topic in &topics {
            let Some(sub) = self.subs.get_mut(topic) else {
                continue;
            };
            match (subscribe, *sub) {
                (true, Sub::Want) => {
                    *sub = Sub::Sent;
                    self.told.insert(topic.clone());
                }
                (false, Sub::Drop) => *sub = Sub::DropSent,
                // Live topics in `want` are subscribed again to extend the channel's life.
                _ => {}
            }
        }
        Some(Batch { subscribe, topics })
    }

    /// The socket is gone: what was under way has to be sent again, what was live
    /// has to be confirmed again. Gives the topics that were live.
    pub(super) fn unsettle(&mut self) -> Vec<Topic> {
        let mut were_live = Vec::new();
        self.flight.clear();
        for (topic, sub) in &mut self.subs {
            match sub {
                Sub::Live => {
                    were_live.push(topic.clone());
                    *sub = Sub::Want;
                }
                Sub::Sent => *sub = Sub::Want,
                Sub::DropSent => *sub = Sub::Drop,
                Sub::Want | Sub::Drop => {}
            }
            if *sub == Sub::Want && !self.blamed.contains(topic) {
                self.want.insert(topic.clone());
            } else if *sub == Sub::Drop {
                self.drop.insert(topic.clone());
            }
        }
        were_live
    }

    /// Every live topic is to be subscribed once more, staying live meanwhile.
    pub(super) fn resubscribe(&mut self) {
        for (topic, sub) in &self.subs {
            if *sub == Sub::Live {
                self.want.insert(topic.clone());
            }
        }
    }

    /// Nothing is waiting to be subscribed, under way or being asked about.
    pub(super) fn settled(&self) -> bool {
        self.want.is_empty() && self.blamed.is_empty() && !self.flight.values().any(|b| b.subscribe)
    }

    /// Topics that are on it or on their way to it. What an earlier run left on it, and
    /// what is being given up, comes on top.
    pub(super) fn kept(&self) -> usize {
        let going = |s: &&Sub| !matches!(s, Sub::Drop | Sub::DropSent);
        self.subs.values().filter(going).count()
    }

    /// The same without a look at each topic: what is being taken off is under way, or about
    /// to be.
    pub(super) fn staying(&self) -> usize {
        let off = self.flight.values().filter(|b| !b.subscribe);
        let going = self.drop.len() + off.map(|b| b.topics.len()).sum::<usize>();
        self.subs.len().saturating_sub(going)
    }

    pub(super) fn live(&self, topic: &Topic) -> bool {
        self.phase == Phase::Open && self.subs.get(topic) == Some(&Sub::Live)
    }

    pub(super) fn flight_has(&self, topic: &Topic) -> bool {
        self.flight.values().any(|b| b.topics.contains(topic))
    }
}
