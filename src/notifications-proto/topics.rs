//! What becomes of a topic: wanted, placed, confirmed, refused, given up
//! (protocol, sections 3, 4 and 5).
//!
//! Invariant: a topic that is wanted is on a channel or in `waiting`; one that
//! nobody wants is forgotten once no channel has it in its books.

use std::collections::{BTreeMap, BTreeSet};

use super::books::Batch;
use super::calls::{ChannelRef, Purpose};
use super::channel::{Channel, Phase};
use super::client::{Client, Entry, bit};
use super::limits::{CHANNELS_MAX, RESYNC_PAUSE, RESYNC_SOON};
use super::reasons::Death;
use super::rest::{self, Failure, Op, Outcome};
use super::waiting::Rank;
use super::{Fact, Output};
use base::ids::Topic;
use base::notice::{Level, Notice};
use base::time::{Mono, Now};

impl Client {
    pub(super) fn watch(&mut self, topic: Topic, now: Now) {
        let entry = match self.topics.get_mut(&topic) {
            Some(entry) if entry.wanted => return,
            Some(entry) => {
                entry.wanted = true;
                entry.rank = Rank::default();
                entry.leaving = false;
                entry.dark_since = now.mono;
                entry
            }
            None => {
                self.last_seq += 1;
                let fresh = Entry {
                    wanted: true,
                    seq: self.last_seq,
                    rank: Rank::default(),
                    leaving: false,
                    reported: false,
                    dark_since: now.mono,
                    slots: 0,
                };
                self.topics.entry(topic.clone()).or_insert(fresh)
            }
        };
        if entry.slots == 0 {
            self.waiting.insert(entry.rank, entry.seq, topic);
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
                channel.books.keep(&topic, channel.phase == Phase::Open);
                live |= channel.live(&topic) && !channel.suspect;
            }
        }
        if live && !entry.reported {
            entry.reported = true;
            self.reported += 1;
            self.out.push_back(Output::Fact(Fact::Live { topic }));
        }
    }

    pub(super) fn unwatch(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        entry.wanted = false;
        if std::mem::take(&mut entry.reported) {
            self.reported -= 1;
        }
        self.waiting.remove(entry.seq);
        let slots = entry.slots;
        self.take_off_channels(topic, slots);
        self.forget_if_idle(topic);
    }

    /// Has a topic taken off the channels that have it in their books.
    pub(super) fn take_off_channels(&mut self, topic: &Topic, slots: u32) {
        for slot in 1..=CHANNELS_MAX {
            if slots & bit(slot) != 0
                && self
                    .channels
                    .get_mut(&slot)
                    .is_none_or(|c| c.books.shed(topic))
            {
                self.detach(topic, slot);
            }
        }
    }

    /// The topic is no longer in the books of that channel.
    pub(super) fn detach(&mut self, topic: &Topic, slot: u8) {
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.slots &= !bit(slot);
            if entry.slots == 0 && entry.wanted {
                entry.leaving = false;
                self.waiting.insert(entry.rank, entry.seq, topic.clone());
            }
        }
        self.forget_if_idle(topic);
    }

    pub(super) fn forget_if_idle(&mut self, topic: &Topic) {
        if self
            .topics
            .get(topic)
            .is_some_and(|e| !e.wanted && e.slots == 0)
        {
            self.topics.remove(topic);
        }
    }

    /// The platform confirmed a message.
    pub(super) fn confirmed(&mut self, slot: u8, batch: Batch) {
        for topic in batch.topics {
            if batch.subscribe {
                self.confirm(slot, &topic);
            } else {
                self.dropped(slot, &topic);
            }
        }
    }

    /// A topic is confirmed on a channel.
    pub(super) fn confirm(&mut self, slot: u8, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        channel.books.spoken_of(topic);
        if channel.phase != Phase::Open && !channel.retiring() {
            // REST said so, and the socket went meanwhile: the next one confirms it.
            return self.want_again(slot, topic);
        }
        if !channel.books.confirm(topic) {
            return;
        }
        channel.attempts = 0;
        let retiring = channel.retiring();
        let suspect = channel.suspect;
        let wanted = self.topics.get(topic).is_some_and(Entry::stays);
        if !wanted || retiring {
            channel.books.shed(topic);
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
    pub(super) fn dropped(&mut self, slot: u8, topic: &Topic) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if !channel.books.dropped(topic) {
            return;
        }
        let again = !channel.retiring()
            && channel.successor.is_none()
            && !channel.room.full()
            && channel.books.kept() < self.settings.topics_per_channel;
        let wanted = self
            .topics
            .get(topic)
            .is_some_and(|e| e.stays() && e.slots == bit(slot));
        if again && wanted {
            channel.add(topic);
        } else {
            self.detach(topic, slot);
        }
    }

    pub(super) fn refused(
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
                channel.books.drop_again(&batch.topics, None);
            } else if batch.topics.len() > 1 {
                // Perhaps one topic was not there, and none was removed: in smaller lots.
                let half = batch.topics.len().div_ceil(2);
                channel.books.drop_again(&batch.topics, Some(half));
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
                channel.books.send_again(&rest);
            } else if channel.is_probe(&batch) {
                // It was asked for an answer, and that is one; the topic is live already.
                channel.unanswered = 0;
            } else if channel.retiring() {
                // Nobody needs to know which: what may have come there goes.
                for topic in &rest {
                    channel.books.undo(topic);
                }
            } else if let Some(id) = channel.id.clone()
                && !rest.is_empty()
            {
                channel.unanswered = 0;
                channel.books.blame(&rest);
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

    /// A channel of an earlier run says which topics it holds.
    pub(super) fn resynced(&mut self, channel: ChannelRef, outcome: Outcome, now: Now) {
        let Some(c) = channel.of_mut(&mut self.channels) else {
            return;
        };
        match outcome.result {
            Ok(rest::Answer::Topics(states)) => {
                c.resync = false;
                c.books.sure();
                for state in states {
                    let free = self
                        .topics
                        .get(&state.topic)
                        .is_some_and(|e| e.wanted && e.slots == 0);
                    if free && self.make_room(channel.slot) {
                        self.place(&state.topic, channel.slot);
                        if let Some(c) = self.channels.get_mut(&channel.slot) {
                            c.books.held_already(state.topic);
                        }
                    } else if !c_holds(self.channels.get(&channel.slot), &state.topic) {
                        // Nobody wants it here: make room.
                        self.take_off(channel.slot, state.topic);
                    }
                }
            }
            Err(Failure::NotFound) => self.die(channel.slot, Death::NotFound, now),
            // It serves meanwhile; what an earlier run left on it has to be known some day.
            Err(Failure::Server { .. } | Failure::NoAnswer(_) | Failure::Garbled) => {
                let soon = now.mono < self.reattach_until;
                c.resync_from = now.mono + if soon { RESYNC_SOON } else { RESYNC_PAUSE };
            }
            // It cannot be asked: it serves all the same, is asked again if it turns out to be
            // full, and emptied when it is given up.
            _ => {
                c.resync = false;
                c.books.unsure();
            }
        }
    }

    /// Has a topic taken off that a channel holds and that is not in its books.
    pub(super) fn take_off(&mut self, slot: u8, topic: Topic) {
        let seq = self.next_seq();
        let entry = self.topics.entry(topic.clone());
        let entry = entry.or_insert(Entry {
            wanted: false,
            seq,
            rank: Rank::default(),
            leaving: false,
            reported: false,
            dark_since: Mono(0),
            slots: 0,
        });
        entry.slots |= bit(slot);
        self.waiting.remove(entry.seq);
        if let Some(c) = self.channels.get_mut(&slot) {
            c.books.take_off(&topic);
        }
    }

    /// True if one more topic fits on a channel, if need be in place of one that has only
    /// been meant for it.
    pub(super) fn make_room(&mut self, slot: u8) -> bool {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return false;
        };
        if channel.books.kept() < self.settings.topics_per_channel {
            return true;
        }
        let Some(other) = channel.books.displace() else {
            return false;
        };
        self.detach(&other, slot);
        true
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// REST says which topic of a refused message is to blame.
    pub(super) fn blamed(
        &mut self,
        channel: ChannelRef,
        topics: Vec<Topic>,
        outcome: Outcome,
        now: Now,
    ) {
        let Some(c) = channel.of_mut(&mut self.channels) else {
            return;
        };
        let slot = channel.slot;
        match outcome.result {
            Ok(rest::Answer::Topics(states)) => {
                c.room.added();
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
                c.room.refused(now.mono);
                if c.books.is_unsure() {
                    c.resync = true;
                    c.resync_from = now.mono;
                }
                for topic in topics {
                    // It may be there from before, so it is taken off before it goes elsewhere.
                    c.books.spoken_of(&topic);
                    c.books.undo(&topic);
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
            Err(Failure::NotFound) => self.die(slot, Death::NotFound, now),
            _ => {
                for topic in topics {
                    self.want_again(slot, &topic);
                }
            }
        }
    }

    pub(super) fn want_again(&mut self, slot: u8, topic: &Topic) {
        if let Some(channel) = self.channels.get_mut(&slot) {
            channel.books.want_again(topic);
        }
    }

    /// The platform rejects a topic: nobody watches it any more.
    pub(super) fn refuse(&mut self, topic: &Topic, detail: String) {
        let Some(entry) = self.topics.get_mut(topic) else {
            return;
        };
        let wanted = std::mem::take(&mut entry.wanted);
        if std::mem::take(&mut entry.reported) {
            self.reported -= 1;
        }
        let (seq, slots) = (entry.seq, entry.slots);
        self.waiting.remove(seq);
        for slot in 1..=CHANNELS_MAX {
            if slots & bit(slot) == 0 {
                continue;
            }
            // An earlier subscription may outlive the permission: it is taken off.
            match self.channels.get_mut(&slot) {
                Some(channel) if channel.phase == Phase::Open => {
                    channel.books.forget(topic);
                    channel.books.take_off(topic);
                }
                Some(channel) => {
                    channel.books.forget(topic);
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
}

fn c_holds(channel: Option<&Channel>, topic: &Topic) -> bool {
    channel.is_some_and(|c| c.books.has(topic))
}
