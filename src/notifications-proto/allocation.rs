//! Which topic goes on which channel, when the next channel is opened and an
//! empty one closed (protocol, section 7; design, guarantees 3 and 4).
//!
//! Topics fill the lowest slot first, so that high slots run empty and close.
//! The next channel is opened before the present ones are full; the last slot
//! is kept free for hand-over until topics would have to wait for it.
//!
//! Invariant: no channel gets more topics than `topics-per-channel`, counting
//! those being given up; the table never holds more than `max-channels`.

use super::Output;
use super::calls::{ChannelRef, Purpose};
use super::channel::{Channel, Phase};
use super::client::{Client, Spare, bit};
use super::limits::{OPEN_AHEAD_PLACES, RETIRE_PATIENCE, SPARE_KEPT};
use super::pacing::Priority;
use super::rest::Op;
use super::session;
use super::waiting::Rank;
use base::ids::Topic;
use base::time::{Mono, Now};

impl Client {
    fn capacity(&self) -> usize {
        self.settings.topics_per_channel
    }

    fn open_ahead(&self) -> usize {
        OPEN_AHEAD_PLACES.min(self.capacity() / 10).max(1)
    }

    /// Puts a topic into a channel's books.
    pub(super) fn place(&mut self, topic: &Topic, slot: u8) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        entry.slots |= bit(slot);
        self.waiting.remove(entry.seq);
        channel.add(topic);
    }

    pub(super) fn allocate(&mut self, now: Now) {
        // Channels of an earlier run first say what they hold, else topics land on two; but
        // where they are refused only one that serves topics tells whether all of them are gone.
        let asking = now.mono < self.reattach_until;
        let holding = asking
            && !self.way.doubts_channels()
            && self.channels.values().any(|c| c.resync && !c.retiring());
        if !holding {
            self.place_waiting(asking);
            self.open_channels(now);
        }
        self.close_empty(now);
    }

    /// `asking`: not on channels of an earlier run that may be full.
    fn place_waiting(&mut self, asking: bool) {
        if self.waiting.len() == 0 {
            return;
        }
        let slots: Vec<u8> = self.channels.keys().copied().collect();
        for slot in slots {
            let mut placed = 0;
            while let Some(channel) = self.channels.get(&slot) {
                let usable = channel.phase == Phase::Open
                    && channel.takes_topics()
                    && !(asking && channel.resync)
                    && !channel.suspect
                    && channel.closing_until.is_none()
                    && channel.next.is_none();
                let most = channel
                    .room
                    .allows(channel.books.unconfirmed().saturating_sub(placed));
                if !usable || channel.books.len() >= self.capacity() || placed >= most {
                    break;
                }
                let Some((rank, topic)) = self.waiting.first() else {
                    return;
                };
                // Who gave way leaves some places for those that come next.
                if rank == Rank::Last && self.free_places() <= self.open_ahead() {
                    return;
                }
                let topic = topic.clone();
                self.place(&topic, slot);
                placed += 1;
            }
        }
    }

    /// Places on one channel, if it serves or soon will.
    fn places_on(&self, c: &Channel) -> usize {
        match c.takes_topics() && !c.suspect && c.hopeful() {
            true => self.capacity().saturating_sub(c.books.len()),
            false => 0,
        }
    }

    /// Places on channels that serve, or soon will.
    fn free_places(&self) -> usize {
        self.channels.values().map(|c| self.places_on(c)).sum()
    }

    /// The same once the hand-overs that are due have been done: a successor has the
    /// places of its predecessor.
    fn free_places_to_come(&self) -> usize {
        let lasting = |c: &&Channel| c.successor.is_none() && !c.room.full() && !c.retiring();
        self.channels
            .values()
            .filter(lasting)
            .map(|c| self.capacity().saturating_sub(c.books.len()))
            .sum()
    }

    /// Places of `max-channels` that no new channel can have.
    pub(super) fn places_taken(&self, now: Now) -> usize {
        // One that is being made for nobody counts on the platform as soon as it is; of those
        // that were, the next channel is one.
        let orphan =
            |p: &Purpose| matches!(p, Purpose::Create(c) if c.of(&self.channels).is_none());
        let unused = self.spares.len().saturating_sub(1) + self.calls.count(orphan);
        self.channels.len() + self.abandoned.places(now) + unused
    }

    /// From when on a channel may be made: what cannot be sent is not begun, else it would be
    /// given up and begun again and again.
    pub(super) fn may_create_at(&self, now: Mono) -> Mono {
        self.create_from
            .max(self.way.make_from())
            .max(self.budget.held_until(&Op::CreateChannel))
            .max(self.budget.possible_at(Priority::Upkeep, now))
    }

    fn open_channels(&mut self, now: Now) {
        if !self.may_create(now) || self.token.current(now).is_none() {
            return;
        }
        let max = usize::from(self.settings.max_channels);
        while self.places_taken(now) < max {
            let need = self.waiting.len();
            let short = self.free_places() < self.waiting.pressing();
            // The last slot is for hand-over until somebody would have to wait.
            let room = self.places_taken(now) + 1 < max || max == 1;
            let ahead = room && self.free_places_to_come() < need + self.open_ahead();
            if !(short || ahead) || !self.may_create(now) || self.create(now).is_none() {
                return;
            }
        }
    }

    /// Puts a new channel into the lowest free slot and orders it.
    pub(super) fn create(&mut self, now: Now) -> Option<u8> {
        let slot = (1..=self.settings.max_channels).find(|s| !self.channels.contains_key(s))?;
        self.last_incarnation += 1;
        let incarnation = self.last_incarnation;
        self.channels
            .insert(slot, Channel::new(slot, incarnation, now.mono, now.wall));
        if let Some(spare) = self.take_spare(now) {
            self.made(slot, spare);
            return Some(slot);
        }
        self.calls.queue(
            Op::CreateChannel,
            Purpose::Create(ChannelRef { slot, incarnation }),
            now,
        );
        Some(slot)
    }

    /// A channel that was made for nobody, if the token that made it is still the one.
    fn take_spare(&mut self, now: Now) -> Option<Spare> {
        let serial = self.token.current(now)?.serial;
        self.spares
            .retain(|s| s.serial == serial && now.mono.since(s.made.mono) < SPARE_KEPT);
        (!self.spares.is_empty()).then(|| self.spares.remove(0))
    }

    fn close_empty(&mut self, now: Now) {
        for channel in self.channels.values_mut() {
            if channel.books.is_empty() && channel.phase == Phase::Open {
                channel.empty_since.get_or_insert(now.mono);
            } else {
                channel.empty_since = None;
            }
        }
        // Many may be at once, and none is left for later: its time would lie in the past.
        let long_empty = |c: &&Channel| c.idle_until().is_some_and(|at| at <= now.mono);
        while let Some((slot, room)) = self
            .channels
            .values()
            .rev()
            .find(long_empty)
            .map(|c| (c.slot, self.places_on(c)))
        {
            if let Some(channel) = self.channels.get_mut(&slot) {
                channel.empty_since = Some(now.mono);
            }
            if self.free_places() >= self.waiting.len() + self.open_ahead() + room {
                self.retire(slot, now);
            }
        }
    }

    /// Empties a channel and closes it: emptied and unconnected, it is the first that
    /// the platform evicts (a channel cannot be deleted).
    pub(super) fn retire(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.retiring() {
            return;
        }
        channel.successor = None;
        let open = channel.phase == Phase::Open && channel.socket.is_some();
        if !open {
            if !channel.dead {
                self.abandon(slot, true, now);
            }
            self.remove(slot, now);
            return;
        }
        channel.phase = Phase::Retiring(now.mono + RETIRE_PATIENCE);
        channel.replace = None;
        self.forget_calls(slot);
        let Some(channel) = self.channels.get(&slot) else {
            return;
        };
        let topics: Vec<Topic> = channel.books.topics().cloned().collect();
        for topic in topics {
            let Some(channel) = self.channels.get_mut(&slot) else {
                return;
            };
            channel.books.spoken_of(&topic);
            if channel.books.shed(&topic) {
                self.detach(&topic, slot);
            }
        }
        self.close_if_emptied(slot);
    }

    /// A retiring channel without topics is closed.
    pub(super) fn close_if_emptied(&mut self, slot: u8) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.retiring()
            && channel.books.is_empty()
            && !std::mem::replace(&mut channel.dead, true)
        {
            let sockets: Vec<_> = [channel.socket, channel.next, channel.old]
                .into_iter()
                .flatten()
                .collect();
            for socket in sockets {
                self.out.push_back(Output::Session {
                    socket,
                    order: session::Order::Close,
                });
            }
        }
    }
}
