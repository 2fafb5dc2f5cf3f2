//! The topics of one channel: which are wanted, and which of them are live.
//!
//! Invariant: what is live is wanted, and there are never more than the limit.

use std::collections::BTreeMap;

use base::ids::Topic;

/// Each topic that is wanted, and whether it is live.
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<Topic, bool>);

impl Book {
    /// Those that were not wanted before, and those for which there is no room.
    pub(super) fn add(&mut self, topics: Vec<Topic>, max: usize) -> (Vec<Topic>, Vec<Topic>) {
        let (mut added, mut over) = (Vec::new(), Vec::new());
        for topic in topics {
            if self.0.contains_key(&topic) {
                continue;
            }
            if self.0.len() >= max {
                over.push(topic);
                continue;
            }
            self.0.insert(topic.clone(), false);
            added.push(topic);
        }
        (added, over)
    }

    /// Those that were wanted until now.
    pub(super) fn remove(&mut self, topics: &[Topic]) -> Vec<Topic> {
        let gone = topics.iter().filter(|t| self.0.remove(t).is_some());
        gone.cloned().collect()
    }

    pub(super) fn has(&self, topic: &Topic) -> bool {
        self.0.contains_key(topic)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> Vec<Topic> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Topic, bool)> {
        self.0.iter().map(|(topic, live)| (topic, *live))
    }

    /// Those of them that are wanted and were not live.
    pub(super) fn went_live(&mut self, topics: &[Topic]) -> Vec<Topic> {
        let mut live = Vec::new();
        for topic in topics {
            if let Some(was) = self.0.get_mut(topic)
                && !std::mem::replace(was, true)
            {
                live.push(topic.clone());
            }
        }
        live
    }

    /// Nothing is live any more; what was.
    pub(super) fn all_dark(&mut self) -> Vec<Topic> {
        let mut was = Vec::new();
        for (topic, live) in &mut self.0 {
            if std::mem::take(live) {
                was.push(topic.clone());
            }
        }
        was
    }
}
