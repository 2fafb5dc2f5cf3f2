//! What happened, for people and for tests that ask for the order of things.
//!
//! Invariant: bounded, and without secrets: of a channel id only the last four
//! characters are kept.

use std::collections::VecDeque;

use base::time::Wall;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 0 since the beginning.
    pub number: u64,
    /// When.
    pub at: Wall,
    /// What, as a short word such as `subscribe` or `rest`.
    pub kind: &'static str,
    /// The last four characters of the channel id, if a channel was concerned.
    pub channel: Option<String>,
    /// Topic, conversation, status or count, as text.
    pub what: String,
}

/// A bounded ring of entries.
#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    most: usize,
    next: u64,
}

impl Journal {
    pub(super) fn new(most: usize) -> Self {
        Journal {
            entries: VecDeque::new(),
            most,
            next: 0,
        }
    }

    /// Adds an entry; `what` is only rendered if it is kept.
    pub(super) fn add(
        &mut self,
        at: Wall,
        kind: &'static str,
        channel: Option<&str>,
        what: impl FnOnce() -> String,
    ) {
        if self.most == 0 {
            return;
        }
        if self.entries.len() == self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.next,
            at,
            kind,
            channel: channel.map(|id| tail(id).to_owned()),
            what: what(),
        });
        self.next += 1;
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn drain(&mut self) -> std::collections::vec_deque::Drain<'_, Entry> {
        self.entries.drain(..)
    }
}

/// The last four characters.
pub(super) fn tail(id: &str) -> &str {
    let cut = id.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
    &id[cut..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_forgets_the_oldest_and_keeps_four_characters_of_a_channel() {
        let mut j = Journal::new(2);
        for n in 0..3 {
            j.add(Wall(n), "event", Some("streaming-0-abcdwxyz"), || {
                n.to_string()
            });
        }
        let kept: Vec<Entry> = j.drain().collect();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0].what, "1");
        assert_eq!(kept[0].channel.as_deref(), Some("wxyz"));
    }
}
