//! One channel: its life, its sockets, and its `Books`.
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
//! Invariant: what stands on it is in its books and nowhere else.

use std::time::Duration;

use super::books::{Books, Sub};
use super::limits::{CHANNEL_LIFE, EMPTY_CHANNEL_KEPT, NOTING_PATIENCE};
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
    pub(super) books: Books,
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
            books: Books::new(),
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
        !self.waits_for_socket() || (self.attempts < 3 && !self.doubted)
    }

    /// May serve topics that it does not serve yet.
    pub(super) fn takes_topics(&self) -> bool {
        self.successor.is_none()
            && self.successor_of.is_none()
            && !self.room.full()
            && !self.retiring()
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
        self.books.add(topic);
    }

    pub(super) fn live(&self, topic: &Topic) -> bool {
        self.phase == Phase::Open && self.books.get(topic) == Some(Sub::Live)
    }
}
