//! Topics that were named in one call, where errors are not ignored: one that is refused takes the
//! others along, as a REST subscribe without `ignoreErrors` adds all or nothing (protocol,
//! section 3).
//!
//! Invariants: only what a call named first is given up with it; a call of which everything was
//! live once has succeeded, and is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use base::ids::Topic;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Together {
    /// Nothing is kept where errors are ignored.
    ignore_errors: bool,
    wanted: BTreeSet<Topic>,
    calls: BTreeMap<u64, Call>,
    last: u64,
    /// Of topics whose call is not decided.
    of: BTreeMap<Topic, u64>,
}

#[derive(Debug)]
struct Call {
    topics: BTreeSet<Topic>,
    pending: BTreeSet<Topic>,
}

impl Together {
    pub(crate) fn new(ignore_errors: bool) -> Together {
        Together {
            ignore_errors,
            wanted: BTreeSet::new(),
            calls: BTreeMap::new(),
            last: 0,
            of: BTreeMap::new(),
        }
    }

    /// The caller names these in one call.
    pub(crate) fn subscribe(&mut self, topics: &[Topic]) {
        if self.ignore_errors {
            return;
        }
        let new = topics.iter().filter(|t| self.wanted.insert((*t).clone()));
        let new: BTreeSet<Topic> = new.cloned().collect();
        if new.is_empty() {
            return;
        }
        self.last += 1;
        for topic in &new {
            self.of.insert(topic.clone(), self.last);
        }
        let call = Call {
            pending: new.clone(),
            topics: new,
        };
        self.calls.insert(self.last, call);
    }

    /// The caller gives these up.
    pub(crate) fn unsubscribe(&mut self, topics: &[Topic]) {
        for topic in topics {
            self.wanted.remove(topic);
            let Some(n) = self.of.remove(topic) else {
                continue;
            };
            if let Some(call) = self.calls.get_mut(&n) {
                call.topics.remove(topic);
            }
            self.settled(n, topic);
        }
    }

    /// The platform has subscribed it.
    pub(crate) fn live(&mut self, topic: &Topic) {
        if let Some(n) = self.of.get(topic) {
            self.settled(*n, topic);
        }
    }

    /// The platform refuses it: the others of its call, which are to be given up.
    pub(crate) fn refused(&mut self, topic: &Topic) -> Vec<Topic> {
        self.wanted.remove(topic);
        let Some(call) = self.of.get(topic).and_then(|n| self.calls.remove(n)) else {
            return Vec::new();
        };
        for topic in &call.topics {
            self.of.remove(topic);
            self.wanted.remove(topic);
        }
        call.topics.into_iter().filter(|t| t != topic).collect()
    }

    fn settled(&mut self, n: u64, topic: &Topic) {
        let Some(call) = self.calls.get_mut(&n) else {
            return;
        };
        call.pending.remove(topic);
        if call.pending.is_empty() {
            for topic in std::mem::take(&mut call.topics) {
                self.of.remove(&topic);
            }
            self.calls.remove(&n);
        }
    }
}

/// What is said of topics that go with this one.
pub(crate) fn given_up_with(topic: &Topic) -> String {
    format!(
        "given up with {}, which is refused: errors are not ignored",
        topic.written()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics<const N: usize>(names: [&str; N]) -> Vec<Topic> {
        names.map(Topic::new).to_vec()
    }

    #[test]
    fn one_that_is_refused_takes_along_what_its_call_named_first_and_nothing_else() {
        let mut together = Together::new(false);
        together.subscribe(&topics(["a", "b"]));
        together.subscribe(&topics(["B", "c", "d", "e"]));
        together.live(&Topic::new("c"));
        together.unsubscribe(&topics(["e"]));
        assert_eq!(together.refused(&Topic::new("d")), topics(["c"]));
        assert_eq!(together.refused(&Topic::new("d")), []);
        // Each may be named again.
        together.subscribe(&topics(["c", "d"]));
        assert_eq!(together.refused(&Topic::new("c")), topics(["d"]));
        assert_eq!(together.refused(&Topic::new("a")), topics(["b"]));
        assert!(together.of.is_empty() && together.calls.is_empty());
        assert!(together.wanted.is_empty());
    }

    #[test]
    fn a_call_that_has_succeeded_is_forgotten() {
        let mut together = Together::new(false);
        together.subscribe(&topics(["a", "b", "c"]));
        together.live(&Topic::new("a"));
        together.live(&Topic::new("b"));
        together.unsubscribe(&topics(["c"]));
        assert_eq!(together.refused(&Topic::new("a")), []);
        assert!(together.of.is_empty() && together.calls.is_empty());
    }

    #[test]
    fn nothing_is_kept_where_errors_are_ignored() {
        let mut together = Together::new(true);
        together.subscribe(&topics(["a", "b"]));
        assert_eq!(together.refused(&Topic::new("a")), []);
        assert!(together.wanted.is_empty());
    }
}
