//! Who waits for a place, in which order, and how many places are short.
//!
//! Conversations that whoever watches knows to exist go first, then those of which nothing is
//! known; those that were asked to give way come last, and never take the last places, so that
//! they need not give way again at once.
//!
//! Invariant: a topic is in one line exactly if it is wanted and on no channel.

use std::collections::BTreeMap;

use super::channel::{Channel, Phase};
use super::client::Client;
use super::{Fact, Output};
use base::ids::Topic;
use base::time::Now;

/// So many creations of a channel that failed, less those that did not, and no place is hoped
/// for: some 16 s of trying.
const CREATE_FAILURES_LASTING: u32 = 5;

/// Which line a topic waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Rank {
    /// The conversation exists.
    First,
    /// Nothing is known.
    #[default]
    Plain,
    /// It gave way.
    Last,
}

/// The topics that wait, each line in order of arrival.
#[derive(Default)]
pub(super) struct Waiting {
    lines: [BTreeMap<u64, Topic>; 3],
}

impl Waiting {
    pub(super) fn insert(&mut self, rank: Rank, seq: u64, topic: Topic) {
        self.lines[rank as usize].insert(seq, topic);
    }

    /// Numbers are used once only, whatever the line.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Topic> {
        self.lines.iter_mut().find_map(|line| line.remove(&seq))
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.lines.iter().any(|line| line.contains_key(&seq))
    }

    /// Whose turn it is, and whether it comes before those that gave way.
    pub(super) fn first(&self) -> Option<(Rank, &Topic)> {
        [Rank::First, Rank::Plain, Rank::Last]
            .into_iter()
            .find_map(|rank| {
                let (_, topic) = self.lines[rank as usize].first_key_value()?;
                Some((rank, topic))
            })
    }

    pub(super) fn of(&self, rank: Rank) -> usize {
        self.lines[rank as usize].len()
    }

    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(BTreeMap::len).sum()
    }

    /// All but those that gave way.
    pub(super) fn pressing(&self) -> usize {
        self.of(Rank::First) + self.of(Rank::Plain)
    }
}

impl Client {
    /// The conversation is known to exist: it goes before those that may not.
    pub(super) fn prefer(&mut self, topic: &Topic) {
        let Some(entry) = self.topics.get_mut(topic).filter(|e| e.wanted) else {
            return;
        };
        entry.rank = Rank::First;
        // What is being taken off comes back when it is off.
        entry.leaving = false;
        if let Some(topic) = self.waiting.remove(entry.seq) {
            self.waiting.insert(entry.rank, entry.seq, topic);
        }
    }

    /// These give their places up to whoever waits, and wait themselves.
    pub(super) fn give_way(&mut self, topics: &[Topic]) {
        for topic in topics {
            let Some(entry) = self.topics.get_mut(topic).filter(|e| e.wanted) else {
                continue;
            };
            entry.rank = Rank::Last;
            if std::mem::take(&mut entry.reported) {
                self.reported -= 1;
            }
            let slots = entry.slots;
            entry.leaving = slots != 0;
            if let Some(topic) = self.waiting.remove(entry.seq) {
                self.waiting.insert(entry.rank, entry.seq, topic);
            }
            self.take_off_channels(topic, slots);
        }
    }

    /// How many topics wait although no place will come for them by itself. A channel that
    /// cannot be had brings none, unless no channel serves: then places are not what is short.
    fn short_of_places(&self, now: Now) -> (usize, usize) {
        if self.waiting.pressing() == 0 {
            return (0, 0);
        }
        let serves = |c: &Channel| c.phase == Phase::Open && !c.suspect;
        let any_serves = self.channels.values().any(serves);
        let lasting =
            |c: &&Channel| !c.retiring() && c.successor.is_none() && (!any_serves || c.hopeful());
        let capacity = self.settings.topics_per_channel;
        let free: usize = self
            .channels
            .values()
            .filter(lasting)
            .map(|c| capacity.saturating_sub(c.books.kept_about()))
            .sum();
        let max = usize::from(self.settings.max_channels);
        let barred = self.way.gated() || self.create_failures >= CREATE_FAILURES_LASTING;
        let to_come = match any_serves && barred {
            true => 0,
            false => max.saturating_sub(self.places_taken(now)),
        };
        let places = free + to_come * capacity;
        let known = self.waiting.of(Rank::First).saturating_sub(places);
        let all = self.waiting.pressing().saturating_sub(places);
        (known, all - known)
    }

    /// Tells whoever watches when that has changed.
    pub(super) fn tell_short(&mut self, now: Now) {
        let short = self.short_of_places(now);
        if std::mem::replace(&mut self.short, short) != short {
            let (known, others) = short;
            self.out
                .push_back(Output::Fact(Fact::Short { known, others }));
        }
    }
}
