//! From a driver to a reader who may be slow: a bounded queue that loses notifications rather
//! than time, and says what it lost.
//!
//! Invariant: never more than the limit of notifications wait; what was dropped is told as
//! [`Item::Overflow`] and a gap of its topics before anything that came later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::error::Error;
use crate::item::Item;

/// Room beyond the limit for what is not a notification: gaps, failures, the end.
const SPARE: usize = 28;
/// Of that, what is kept for saying what was lost, and for the end.
const KEPT: usize = 16;
/// Sets of missing permissions that are told apart while nobody reads.
const REFUSALS_MAX: usize = 4;
/// Topics of one gap that an overflow remembers; a client has at most 20,000.
const TOPICS_MAX: usize = 20_000;

/// What waits for a reader.
pub(crate) type Items = Receiver<Result<Item, Error>>;

/// The next item, for so long at most: `Ok(None)` if nothing came, `None` once everything was told.
pub(crate) fn within(items: &Items, patience: Duration) -> Option<Result<Option<Item>, Error>> {
    match items.recv_timeout(patience) {
        Ok(item) => Some(item.map(Some)),
        Err(RecvTimeoutError::Timeout) => Some(Ok(None)),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// What found no room.
struct Lost {
    notifications: u64,
    topics: BTreeSet<String>,
    since: SystemTime,
    /// By the permissions that are missing, with the last words about them.
    refused: BTreeMap<Vec<String>, (BTreeSet<String>, String)>,
    expiring: Option<SystemTime>,
    closing: bool,
}

/// The driver's end.
pub(crate) struct Outlet {
    items: Sender<Result<Item, Error>>,
    limit: usize,
    lost: Option<Lost>,
    /// When something was told last: nothing before is missing.
    told: SystemTime,
    gone: bool,
}

impl Outlet {
    /// For at most `limit` notifications that wait.
    pub(crate) fn new(limit: usize) -> (Outlet, Items) {
        let limit = limit.max(1);
        let (items, taken) = bounded(limit + SPARE);
        let outlet = Outlet {
            items,
            limit,
            lost: None,
            told: SystemTime::now(),
            gone: false,
        };
        (outlet, taken)
    }

    /// Nobody will read what is told.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Something was dropped and is not told yet: come back soon.
    pub(crate) fn is_behind(&self) -> bool {
        self.lost.is_some()
    }

    /// Never blocks. `live` says which of some topics are live now.
    pub(crate) fn tell(&mut self, item: Item, live: impl Fn(&str) -> bool) {
        self.catch_up(&live);
        if self.lost.is_none() && self.items.len() < self.limit {
            self.told = SystemTime::now();
            self.send(Ok(item));
            return;
        }
        let told = self.told;
        let lost = self.lost.get_or_insert_with(|| Lost {
            notifications: 0,
            topics: BTreeSet::new(),
            since: told,
            refused: BTreeMap::new(),
            expiring: None,
            closing: false,
        });
        let mut remember = |topics: Vec<String>| {
            for topic in topics {
                if lost.topics.len() < TOPICS_MAX {
                    lost.topics.insert(topic);
                }
            }
        };
        match item {
            Item::Notification { topic, .. } => {
                remember(vec![topic]);
                lost.notifications += 1;
            }
            Item::Gap { topics, since, .. } => {
                remember(topics);
                lost.since = lost.since.min(since);
            }
            // What is live is told anew after the gap.
            Item::Live { topics } => remember(topics),
            Item::Refused {
                topics,
                mut missing,
                detail,
            } => {
                // Few different ones are told apart; of the others none is named.
                if lost.refused.len() >= REFUSALS_MAX && !lost.refused.contains_key(&missing) {
                    missing.clear();
                }
                let (all, words) = lost.refused.entry(missing).or_default();
                all.extend(topics);
                *words = detail;
            }
            Item::Expiring { at } => lost.expiring = Some(at),
            Item::Closing => lost.closing = true,
            Item::Heartbeat | Item::Overflow { .. } => {}
        }
    }

    /// A failure between the items. One for which there is no room is logged.
    pub(crate) fn fail(&mut self, error: Error) {
        match self.items.len() < self.limit + SPARE - KEPT {
            true => drop(self.send(Err(error))),
            false => log::warn!("nobody reads what failed: {error}"),
        }
    }

    /// The last word: what was lost, and why it ends.
    pub(crate) fn finish(&mut self, error: Option<Error>) {
        if self.lost.is_some() {
            self.tell_lost(|_| false);
        }
        if let Some(error) = error {
            self.send(Err(error));
        }
    }

    /// Says what was lost, if there is room by now.
    pub(crate) fn catch_up(&mut self, live: impl Fn(&str) -> bool) {
        if self.items.len() + 3 <= self.limit.max(3) {
            self.tell_lost(live);
        }
    }

    fn tell_lost(&mut self, live: impl Fn(&str) -> bool) {
        let Some(lost) = self.lost.take() else {
            return;
        };
        if lost.notifications > 0 {
            self.send(Ok(Item::Overflow {
                lost: lost.notifications,
            }));
        }
        if !lost.topics.is_empty() {
            let topics: Vec<String> = lost.topics.into_iter().collect();
            let again: Vec<String> = topics.iter().filter(|t| live(t)).cloned().collect();
            self.send(Ok(Item::Gap {
                topics,
                since: lost.since,
                cause: "overflow",
            }));
            if !again.is_empty() {
                self.send(Ok(Item::Live { topics: again }));
            }
        }
        for (missing, (topics, detail)) in lost.refused {
            self.send(Ok(Item::Refused {
                topics: topics.into_iter().collect(),
                missing,
                detail,
            }));
        }
        if let Some(at) = lost.expiring {
            self.send(Ok(Item::Expiring { at }));
        }
        if lost.closing {
            self.send(Ok(Item::Closing));
        }
        self.told = SystemTime::now();
    }

    fn send(&mut self, item: Result<Item, Error>) -> bool {
        match self.items.try_send(item) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                self.gone = true;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn event(n: usize) -> Item {
        Item::Notification {
            topic: format!("t{}", n % 3),
            body: n.to_string(),
            correlation_id: None,
            version: None,
        }
    }

    #[test]
    fn a_reader_that_sleeps_costs_bounded_memory_and_hears_what_it_lost() {
        let (mut outlet, items) = Outlet::new(10);
        for n in 0..100_000 {
            outlet.tell(event(n), |_| true);
        }
        assert!(items.len() <= 10 && outlet.is_behind());
        let first: Vec<_> = items.try_iter().map(Result::unwrap).collect();
        assert_eq!(first, (0..10).map(event).collect::<Vec<_>>());
        outlet.tell(event(7), |topic| topic != "t2");
        let rest: Vec<_> = items.try_iter().map(Result::unwrap).collect();
        let [
            Item::Overflow { lost: 99_990 },
            Item::Gap { topics, cause, .. },
            Item::Live { topics: again },
            last,
        ] = &rest[..]
        else {
            panic!("{rest:?}");
        };
        assert_eq!((topics.len(), *cause, again.len()), (3, "overflow", 2));
        assert_eq!(*last, event(7));
    }

    #[test]
    fn a_gap_that_finds_no_room_is_told_with_what_was_lost() {
        let (mut outlet, items) = Outlet::new(4);
        for n in 0..4 {
            outlet.tell(event(n), |_| false);
        }
        let early = SystemTime::UNIX_EPOCH;
        outlet.tell(
            Item::Gap {
                topics: vec!["x".into()],
                since: early,
                cause: "broken",
            },
            |_| false,
        );
        outlet.fail(Error::of_failure(proto::single::Failure::Expired));
        let told: Vec<_> = items.try_iter().collect();
        assert!(told[4].is_err() && told.len() == 5, "{told:?}");
        outlet.catch_up(|_| false);
        let told: Vec<_> = items.try_iter().map(Result::unwrap).collect();
        let [Item::Gap { topics, since, .. }] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((topics.as_slice(), *since), (&["x".to_owned()][..], early));
    }

    #[test]
    fn what_is_told_once_is_told_however_full_it_was_and_so_is_the_end() {
        let (mut outlet, items) = Outlet::new(2);
        for n in 0..5 {
            outlet.tell(event(n), |_| false);
        }
        let before = SystemTime::now();
        for n in 0..20 {
            outlet.tell(Item::Heartbeat, |_| false);
            let topics = vec![format!("refused-{n}")];
            let missing = vec![format!("a:b:{}", n / 10)];
            let detail = "no".to_owned();
            outlet.tell(
                Item::Refused {
                    topics,
                    missing,
                    detail,
                },
                |_| false,
            );
            outlet.fail(Error::new(Reason::ExtensionFailed, "again"));
        }
        outlet.tell(Item::Expiring { at: before }, |_| false);
        outlet.tell(Item::Closing, |_| false);
        outlet.finish(Some(Error::new(Reason::Expired, "over")));
        let told: Vec<_> = items.try_iter().collect();
        assert_eq!(
            told.last().unwrap().as_ref().unwrap_err().reason(),
            Reason::Expired
        );
        let told: Vec<Item> = told.into_iter().filter_map(Result::ok).collect();
        let [
            _,
            _,
            Item::Overflow { lost: 3 },
            Item::Gap { since, .. },
            Item::Refused {
                topics, missing, ..
            },
            Item::Refused { topics: others, .. },
            Item::Expiring { .. },
            Item::Closing,
        ] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert!(*since <= before && topics.len() == 10 && others.len() == 10);
        assert_eq!(missing.as_slice(), ["a:b:0"]);
    }

    #[test]
    fn whom_nobody_hears_notices() {
        let (mut outlet, items) = Outlet::new(4);
        drop(items);
        outlet.tell(event(1), |_| true);
        assert!(outlet.is_gone());
    }
}
