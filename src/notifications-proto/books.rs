//! A channel's books of topics: what is subscribed on it, what is to be, what is to go.
//!
//! ```text
//!            take_batch        confirm
//!   Want ──────────────► Sent ─────────► Live ──┐ shed, take_off
//!    ▲  ◄── unsettle, want_again ──┘  ◄─────────┤
//!   add                                         ▼     take_batch
//!                              (gone) ◄── DropSent ◄── Drop
//! ```
//!
//! They know no socket, no clock and no other channel. Whether a topic is wanted, and what
//! follows from it, is the client's.
//!
//! Invariants ([`Books::audit`]): `want` and `drop` name exactly the topics for which a
//! message has to be sent, and are apart from each other; all of them are in `subs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::limits::{MESSAGES_IN_FLIGHT_MAX, TOPICS_PER_MESSAGE_MAX};
use base::ids::Topic;

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

/// A message under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) subscribe: bool,
    pub(super) topics: Vec<Topic>,
}

/// Topics that are being added over REST; several calls may add the same one.
#[derive(Default, Debug)]
struct Adding(BTreeMap<Topic, u32>);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Books {
    subs: BTreeMap<Topic, Sub>,
    /// Topics that the platform may hold on this channel: a subscribe for them was sent, or
    /// it said so, and nothing has taken them off since.
    told: BTreeSet<Topic>,
    want: BTreeSet<Topic>,
    drop: BTreeSet<Topic>,
    flight: BTreeMap<u64, Batch>,
    /// They are not taken off before that is answered.
    adding: Adding,
    /// Of refused messages, being asked about over REST.
    blamed: BTreeSet<Topic>,
    /// Topics in one unsubscribe: fewer after a refusal, which may be about one of them alone.
    drop_most: usize,
    /// It may hold topics of an earlier run: that could not be found out.
    unsure: bool,
}

impl Books {
    pub(super) fn new() -> Books {
        Books {
            subs: BTreeMap::new(),
            told: BTreeSet::new(),
            want: BTreeSet::new(),
            drop: BTreeSet::new(),
            flight: BTreeMap::new(),
            adding: Adding::default(),
            blamed: BTreeSet::new(),
            drop_most: TOPICS_PER_MESSAGE_MAX,
            unsure: false,
        }
    }

    // What stands in them.

    pub(super) fn get(&self, topic: &Topic) -> Option<Sub> {
        self.subs.get(topic).copied()
    }

    pub(super) fn has(&self, topic: &Topic) -> bool {
        self.subs.contains_key(topic)
    }

    /// Topics in them, those that are going included: as many places are taken.
    pub(super) fn len(&self) -> usize {
        self.subs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subs.is_empty()
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.subs.keys()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Topic> {
        let live = self.subs.iter().filter(|(_, s)| **s == Sub::Live);
        live.map(|(t, _)| t)
    }

    /// Topics that are on the channel, or on their way to it.
    pub(super) fn staying(&self) -> impl Iterator<Item = &Topic> {
        let stays = |s: &Sub| matches!(s, Sub::Want | Sub::Sent | Sub::Live);
        let staying = self.subs.iter().filter(move |(_, s)| stays(s));
        staying.map(|(t, _)| t)
    }

    /// How many of these there are. What an earlier run left on the channel, and what is
    /// being given up, comes on top.
    pub(super) fn kept(&self) -> usize {
        self.staying().count()
    }

    /// The same without a look at each topic: what is being taken off is under way, or about
    /// to be.
    pub(super) fn kept_about(&self) -> usize {
        let off = self.flight.values().filter(|b| !b.subscribe);
        let going = self.drop.len() + off.map(|b| b.topics.len()).sum::<usize>();
        self.subs.len().saturating_sub(going)
    }

    /// Topics put on it that the platform has not spoken about.
    pub(super) fn unconfirmed(&self) -> usize {
        let sent = self.flight.values().filter(|b| b.subscribe);
        self.want.len() + self.blamed.len() + sent.map(|b| b.topics.len()).sum::<usize>()
    }

    /// Nothing is waiting to be subscribed, under way or being asked about.
    pub(super) fn settled(&self) -> bool {
        self.want.is_empty() && self.blamed.is_empty() && !self.flight.values().any(|b| b.subscribe)
    }

    /// Nothing is to be sent, and no answer is awaited.
    pub(super) fn quiet(&self) -> bool {
        self.want.is_empty() && self.drop.is_empty() && self.flight.is_empty()
    }

    /// The platform may hold something on this channel.
    pub(super) fn may_hold(&self) -> bool {
        !self.subs.is_empty() || !self.told.is_empty() || self.unsure
    }

    /// REST is still to be asked about it.
    pub(super) fn blames(&self, topic: &Topic) -> bool {
        self.blamed.contains(topic) && self.get(topic) != Some(Sub::Drop)
    }

    // What the client decides.

    /// Adds a topic to be subscribed.
    pub(super) fn add(&mut self, topic: &Topic) {
        match self.subs.get(topic) {
            Some(Sub::Sent | Sub::Live | Sub::DropSent) => {}
            _ => {
                self.drop.remove(topic);
                self.subs.insert(topic.clone(), Sub::Want);
                self.want.insert(topic.clone());
            }
        }
    }

    /// A topic that was about to be taken off stays, if that was not sent yet: it was live,
    /// and still is if the socket is.
    pub(super) fn keep(&mut self, topic: &Topic, open: bool) {
        let under_way = || self.flight.values().any(|b| b.topics.contains(topic));
        if self.subs.get(topic) != Some(&Sub::Drop) || under_way() {
            return;
        }
        self.drop.remove(topic);
        let sub = if open { Sub::Live } else { Sub::Want };
        self.subs.insert(topic.clone(), sub);
        if sub == Sub::Want {
            self.want.insert(topic.clone());
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
                self.take_off(topic);
                false
            }
        }
    }

    /// Has a topic unsubscribed, whatever is known of it.
    pub(super) fn take_off(&mut self, topic: &Topic) {
        self.want.remove(topic);
        self.subs.insert(topic.clone(), Sub::Drop);
        self.drop.insert(topic.clone());
    }

    /// Removes every trace of a topic.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.subs.remove(topic);
        self.told.remove(topic);
        self.want.remove(topic);
        self.drop.remove(topic);
        self.blamed.remove(topic);
    }

    /// Forgets a topic that is meant for the channel and that the platform does not hold there,
    /// and gives it. What the platform holds already would stay, and be in nobody's books.
    pub(super) fn displace(&mut self) -> Option<Topic> {
        let meant = |t: &&Topic| self.get(t) == Some(Sub::Want) && !self.told.contains(*t);
        let other = self.want.iter().find(meant).cloned()?;
        self.forget(&other);
        Some(other)
    }

    /// Every live topic is to be subscribed once more, staying live meanwhile.
    pub(super) fn resubscribe(&mut self) {
        for (topic, sub) in &self.subs {
            if *sub == Sub::Live {
                self.want.insert(topic.clone());
            }
        }
    }

    /// A live topic is subscribed once more for the answer alone: the one after `last`, or the
    /// first.
    pub(super) fn probe(&mut self, last: Option<Topic>) -> Option<Topic> {
        let live = |(t, s): (&Topic, &Sub)| (*s == Sub::Live).then(|| t.clone());
        let next = last
            .and_then(|last| self.subs.range((Excluded(last), Unbounded)).find_map(live))
            .or_else(|| self.subs.iter().find_map(live))?;
        self.want.insert(next.clone());
        Some(next)
    }

    // Messages.

    /// Something is to be sent.
    pub(super) fn has_mail(&self) -> bool {
        !(self.want.is_empty() && self.drop.is_empty())
    }

    /// The next message to send, under that ticket; as many are under way as may be if there is
    /// none. Unsubscribes first: they make room.
    pub(super) fn take_batch(&mut self, ticket: u64) -> Option<&Batch> {
        if self.flight.len() >= MESSAGES_IN_FLIGHT_MAX {
            return None;
        }
        let batch = self.next_batch()?;
        Some(self.flight.entry(ticket).or_insert(batch))
    }

    fn next_batch(&mut self) -> Option<Batch> {
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

    /// All topics that are to go may go in one message again, if none is under way.
    pub(super) fn drop_in_large_lots(&mut self) {
        if self.drop.is_empty() && self.flight.values().all(|b| b.subscribe) {
            self.drop_most = TOPICS_PER_MESSAGE_MAX;
        }
    }

    /// The message under that ticket was answered, or never will be.
    pub(super) fn answered(&mut self, ticket: u64) -> Option<Batch> {
        self.flight.remove(&ticket)
    }

    /// A call that adds these over REST is made.
    pub(super) fn adding_began(&mut self, topics: &[Topic]) {
        for topic in topics {
            *self.adding.0.entry(topic.clone()).or_default() += 1;
        }
    }

    /// It was answered.
    pub(super) fn adding_ended(&mut self, topics: &[Topic]) {
        for topic in topics {
            if let Some(calls) = self.adding.0.get_mut(topic) {
                *calls -= 1;
                if *calls == 0 {
                    self.adding.0.remove(topic);
                }
            }
        }
    }

    // What the platform says.

    /// REST has spoken about a topic, or is not asked any more.
    pub(super) fn spoken_of(&mut self, topic: &Topic) {
        self.blamed.remove(topic);
    }

    /// The platform confirmed a topic; false if it was not asked to, or is asked to take it off.
    pub(super) fn confirm(&mut self, topic: &Topic) -> bool {
        match self.subs.get(topic) {
            Some(Sub::Want | Sub::Sent) => {
                self.want.remove(topic);
                self.subs.insert(topic.clone(), Sub::Live);
                true
            }
            Some(Sub::Live) => true,
            Some(Sub::Drop | Sub::DropSent) | None => false,
        }
    }

    /// The platform took a topic off: nothing is left of it. False if it was not asked to.
    pub(super) fn dropped(&mut self, topic: &Topic) -> bool {
        let asked = self.subs.get(topic) == Some(&Sub::DropSent);
        if asked {
            self.forget(topic);
        }
        asked
    }

    /// An unsubscribe was not obeyed: it is sent again, in lots of so many if that is given.
    pub(super) fn drop_again(&mut self, topics: &[Topic], most: Option<usize>) {
        self.drop_most = most.unwrap_or(self.drop_most);
        for topic in topics {
            if self.subs.get(topic) == Some(&Sub::DropSent) {
                self.subs.insert(topic.clone(), Sub::Drop);
                self.drop.insert(topic.clone());
            }
        }
    }

    /// A subscribe was not answered: it is sent again, to confirm what is live, too.
    pub(super) fn send_again(&mut self, topics: &[Topic]) {
        for topic in topics {
            if let Some(sub @ Sub::Sent) = self.subs.get_mut(topic) {
                *sub = Sub::Want;
            }
            if matches!(self.subs.get(topic), Some(Sub::Want | Sub::Live)) {
                self.want.insert(topic.clone());
            }
        }
    }

    /// A topic that is not live yet is to be subscribed (once more).
    pub(super) fn want_again(&mut self, topic: &Topic) {
        self.blamed.remove(topic);
        if let Some(sub @ (Sub::Sent | Sub::Want)) = self.subs.get_mut(topic) {
            *sub = Sub::Want;
            self.want.insert(topic.clone());
        }
    }

    /// A subscribe was refused, and nobody asks why: what may have come of it is taken off.
    /// What is live was only to be confirmed.
    pub(super) fn undo(&mut self, topic: &Topic) {
        if matches!(self.subs.get(topic), Some(Sub::Want | Sub::Sent)) {
            self.take_off(topic);
        }
    }

    /// REST is going to be asked about these.
    pub(super) fn blame(&mut self, topics: &[Topic]) {
        for topic in topics {
            if self.subs.contains_key(topic) {
                self.blamed.insert(topic.clone());
            }
        }
    }

    /// The platform says that it holds a topic already.
    pub(super) fn held_already(&mut self, topic: Topic) {
        self.told.insert(topic);
    }

    /// What an earlier run left on it cannot be found out.
    pub(super) fn unsure(&mut self) {
        self.unsure = true;
    }

    /// The platform has said what is on it.
    pub(super) fn sure(&mut self) {
        self.unsure = false;
    }

    /// There may be more on it than is known here.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    // Sockets.

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

    /// Another socket of the channel serves: what was under way on the first is sent again;
    /// what is live is confirmed again, and stays live, since subscriptions are the channel's.
    pub(super) fn resend(&mut self) {
        self.flight.clear();
        for (topic, sub) in &mut self.subs {
            match sub {
                Sub::Sent => {
                    *sub = Sub::Want;
                    self.want.insert(topic.clone());
                }
                Sub::DropSent => {
                    *sub = Sub::Drop;
                    self.drop.insert(topic.clone());
                }
                Sub::Want | Sub::Live | Sub::Drop => {}
            }
        }
        self.resubscribe();
    }

    /// The channel is gone, and with it what it held; gives the topics that were in the books.
    pub(super) fn close(&mut self) -> Vec<Topic> {
        self.told.clear();
        self.want.clear();
        self.drop.clear();
        self.flight.clear();
        self.blamed.clear();
        std::mem::take(&mut self.subs).into_keys().collect()
    }

    /// As if that stood there, for tests of what watches over the books.
    #[cfg(test)]
    pub(super) fn put(&mut self, topic: &Topic, sub: Sub) {
        self.subs.insert(topic.clone(), sub);
    }

    /// Whether the books agree with themselves.
    ///
    /// # Errors
    /// A sentence, if they do not.
    pub(super) fn audit(&self) -> Result<(), String> {
        for topic in &self.want {
            if !matches!(self.get(topic), Some(Sub::Want | Sub::Live)) {
                return Err(format!(
                    "{topic} is to be subscribed: {:?}",
                    self.get(topic)
                ));
            }
        }
        for topic in &self.drop {
            if self.get(topic) != Some(Sub::Drop) {
                return Err(format!("{topic} is to be taken off: {:?}", self.get(topic)));
            }
        }
        Ok(())
    }
}

impl Adding {
    fn has(&self, topic: &Topic) -> bool {
        self.0.contains_key(topic)
    }
}

#[cfg(test)]
mod tests;
