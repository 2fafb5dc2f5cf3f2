//! From a driver to a reader who may be slow: a queue that loses notifications rather than time,
//! and says what it lost.
//!
//! A reader that sleeps costs nothing but what waits: the driver is told when room was made, by
//! whoever reads through the handle. Who reads the queue itself tells nobody, and is looked
//! after, ever more seldom.
//!
//! Invariant: never more than the limits of number and bytes wait; what was dropped is told as
//! [`Item::Overflow`] and a gap of its topics before anything that came later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::error::Error;
use crate::item::Item;

/// What may wait in bytes unless said otherwise: a body has up to 512 KiB.
pub(crate) const BYTES: usize = 16 * 1024 * 1024;
/// Failures that wait beside the limit; those beyond it are logged.
const FAILURES: usize = 12;
/// Sets of missing permissions that are told apart while nobody reads.
const REFUSALS_MAX: usize = 4;
/// What is remembered of things that found no room, in bytes: the names of 20,000 topics with
/// their parts, and more.
const LOST_MAX: usize = 32 * 1024 * 1024;
/// Names of topics have at most so many characters (protocol, section 12).
const NAME_MAX: usize = 200;
/// For a text beside its characters, and for an item beside its texts.
const TEXT: usize = 48;
const ITEM: usize = 160;
/// Between looks at a queue that is read beside the handle.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

type Told = Result<Item, Error>;

/// How much may wait for a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// The reader's end.
pub(crate) struct Items {
    queue: Receiver<Told>,
    room: Arc<Room>,
}

/// How the driver learns that room was made.
struct Room {
    /// It wants to know.
    wanted: AtomicBool,
    /// The queue may be read where nobody says so.
    unseen: AtomicBool,
    bell: Sender<()>,
}

impl Room {
    fn ring(&self) {
        // The driver asks for the bell before it looks at the queue, a reader takes from the queue
        // before it looks whether to ring: one of them sees the other.
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::SeqCst) {
            // One that has been rung and not heard will do.
            let _ = self.bell.try_send(());
        }
    }
}

impl Items {
    /// The next; `None` once everything was told.
    pub(crate) fn recv(&self) -> Option<Told> {
        let item = self.queue.recv().ok();
        self.room.ring();
        item
    }

    /// The next, for so long at most: `Ok(None)` if nothing came, `None` once everything was told.
    pub(crate) fn within(&self, patience: Duration) -> Option<Result<Option<Item>, Error>> {
        let item = match self.queue.recv_timeout(patience) {
            Ok(item) => Some(item.map(Some)),
            Err(RecvTimeoutError::Timeout) => Some(Ok(None)),
            Err(RecvTimeoutError::Disconnected) => None,
        };
        self.room.ring();
        item
    }

    /// The queue itself.
    pub(crate) fn queue(&self) -> &Receiver<Told> {
        self.room.unseen.store(true, Ordering::SeqCst);
        self.room.ring();
        &self.queue
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// What found no room.
struct Lost {
    notifications: u64,
    /// Of which something may be missing.
    topics: BTreeSet<String>,
    /// Which became live, and nothing of them is missing.
    live: BTreeSet<String>,
    /// There were more than can be remembered.
    more: bool,
    bytes: usize,
    since: SystemTime,
    /// By the permissions that are missing, with the last words about them.
    refused: BTreeMap<Vec<String>, (BTreeSet<String>, String)>,
    expiring: Option<SystemTime>,
    closing: bool,
    began: Instant,
}

impl Lost {
    /// Whether there is room to remember one more.
    fn room(&mut self, text: &str) -> bool {
        let room = self.bytes + text.len() + TEXT <= LOST_MAX;
        match room {
            true => self.bytes += text.len() + TEXT,
            false => self.more = true,
        }
        room
    }

    fn missing(&mut self, topics: Vec<String>) {
        for topic in topics {
            // Nothing longer was ever subscribed, or told to be live.
            if topic.len() <= NAME_MAX && !self.topics.contains(&topic) && self.room(&topic) {
                self.topics.insert(topic);
            }
        }
    }

    fn went_live(&mut self, topics: Vec<String>) {
        for topic in topics {
            if !self.live.contains(&topic) && self.room(&topic) {
                self.live.insert(topic);
            }
        }
    }

    fn refused(&mut self, topics: Vec<String>, mut missing: Vec<String>, detail: String) {
        // Few different ones are told apart; of the others none is named.
        if self.refused.len() >= REFUSALS_MAX && !self.refused.contains_key(&missing) {
            missing.clear();
        }
        for topic in topics {
            if self.room(&topic) {
                let (all, _) = self.refused.entry(missing.clone()).or_default();
                all.insert(topic);
            }
        }
        if let Some((_, words)) = self.refused.get_mut(&missing) {
            *words = detail;
        }
    }
}

/// The driver's end.
pub(crate) struct Outlet {
    items: Sender<Told>,
    limits: Limits,
    /// Of what waits: how large each is, and whether it is a heartbeat.
    waiting: VecDeque<(usize, bool)>,
    bytes: usize,
    heartbeats: usize,
    lost: Option<Lost>,
    /// When something was told last: nothing before is missing.
    told: SystemTime,
    gone: bool,
    room: Arc<Room>,
    bell: Receiver<()>,
}

impl Outlet {
    /// For at most so much that waits.
    pub(crate) fn new(limits: Limits) -> (Outlet, Items) {
        let (items, queue) = unbounded();
        let (ring, bell) = bounded(1);
        let room = Arc::new(Room {
            wanted: AtomicBool::new(false),
            unseen: AtomicBool::new(false),
            bell: ring,
        });
        let outlet = Outlet {
            items,
            limits: Limits {
                items: limits.items.max(1),
                bytes: limits.bytes,
            },
            waiting: VecDeque::new(),
            bytes: 0,
            heartbeats: 0,
            lost: None,
            told: SystemTime::now(),
            gone: false,
            room: Arc::clone(&room),
            bell,
        };
        (outlet, Items { queue, room })
    }

    /// Nobody will read what is told.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Rings when room was made for what found none.
    pub(crate) fn bell(&self) -> &Receiver<()> {
        &self.bell
    }

    /// When to look whether there is room, where nobody may ring.
    pub(crate) fn look_within(&self) -> Option<Duration> {
        let lost = self.lost.as_ref()?;
        let unseen = self.room.unseen.load(Ordering::SeqCst);
        unseen.then(|| (lost.began.elapsed() / 4).clamp(LOOKS.0, LOOKS.1))
    }

    /// Never blocks. `live` holds the topics that are live now, in lower case.
    pub(crate) fn tell(&mut self, item: Item, live: &BTreeSet<String>) {
        self.catch_up(live);
        let size = size_of_item(&item);
        self.look();
        if item == Item::Heartbeat && self.heartbeats > 0 {
            // One that waits says as much as two.
            return;
        }
        if self.lost.is_none() && self.fits(size) {
            self.told = SystemTime::now();
            self.send(Ok(item), size);
            return;
        }
        let told = self.told;
        let lost = self.lost.get_or_insert_with(|| Lost {
            notifications: 0,
            topics: BTreeSet::new(),
            live: BTreeSet::new(),
            more: false,
            bytes: 0,
            since: told,
            refused: BTreeMap::new(),
            expiring: None,
            closing: false,
            began: Instant::now(),
        });
        match item {
            Item::Notification { topic, .. } => {
                lost.missing(vec![topic]);
                lost.notifications += 1;
            }
            Item::Gap { topics, since, .. } => {
                lost.missing(topics);
                lost.since = lost.since.min(since);
            }
            Item::Live { topics } => lost.went_live(topics),
            Item::Refused {
                topics,
                missing,
                detail,
            } => lost.refused(topics, missing, detail),
            Item::Expiring { at } => lost.expiring = Some(at),
            Item::Closing => lost.closing = true,
            Item::Heartbeat | Item::Overflow { .. } => {}
        }
        if !self.room.wanted.swap(true, Ordering::SeqCst) {
            // Who made room before nobody wanted to know has not rung.
            fence(Ordering::SeqCst);
            self.catch_up(live);
        }
    }

    /// A failure between the items. One for which there is no room is logged.
    pub(crate) fn fail(&mut self, error: Error) {
        self.look();
        match self.waiting.len() < self.limits.items.saturating_add(FAILURES) {
            true => self.send(Err(error), ITEM),
            false => log::warn!("nobody reads what failed: {error}"),
        }
    }

    /// The last word: what was lost, and why it ends.
    pub(crate) fn finish(&mut self, live: &BTreeSet<String>, error: Option<Error>) {
        self.tell_lost(live, false);
        if let Some(error) = error {
            self.send(Err(error), ITEM);
        }
    }

    /// Says what was lost, if there is room by now.
    pub(crate) fn catch_up(&mut self, live: &BTreeSet<String>) {
        let Some(lost) = self.lost.as_ref().map(|lost| lost.bytes) else {
            return;
        };
        self.look();
        // Half of the room: otherwise a reader who is always too slow would hear of nothing but
        // what it lost.
        let few = self.waiting.len() <= self.limits.items / 2;
        let light = self.bytes + lost <= self.limits.bytes / 2;
        if self.waiting.is_empty() || few && light {
            self.tell_lost(live, true);
        }
    }

    /// What was read meanwhile waits no more.
    fn look(&mut self) {
        let left = self.items.len();
        while self.waiting.len() > left
            && let Some((size, heartbeat)) = self.waiting.pop_front()
        {
            self.bytes -= size;
            self.heartbeats -= usize::from(heartbeat);
        }
    }

    fn fits(&mut self, size: usize) -> bool {
        self.look();
        // One that is larger than the limit must come through all the same.
        let light = self.bytes.saturating_add(size) <= self.limits.bytes;
        self.waiting.len() < self.limits.items && (light || self.waiting.is_empty())
    }

    fn tell_lost(&mut self, live: &BTreeSet<String>, goes_on: bool) {
        let Some(mut lost) = self.lost.take() else {
            return;
        };
        self.room.wanted.store(false, Ordering::SeqCst);
        if lost.notifications > 0 {
            let lost = lost.notifications;
            self.item(Item::Overflow { lost });
        }
        if lost.more {
            // Not all could be remembered: it may have been any.
            lost.topics.extend(live.iter().cloned());
        }
        let is_live = |topic: &&String| goes_on && live.contains(&topic.to_ascii_lowercase());
        let again = lost.topics.union(&lost.live).filter(is_live);
        let again: Vec<String> = again.cloned().collect();
        if !lost.topics.is_empty() {
            self.item(Item::Gap {
                topics: lost.topics.into_iter().collect(),
                since: lost.since,
                cause: "overflow",
            });
        }
        // What is live is told anew after the gap.
        if !again.is_empty() {
            self.item(Item::Live { topics: again });
        }
        for (missing, (topics, detail)) in lost.refused {
            self.item(Item::Refused {
                topics: topics.into_iter().collect(),
                missing,
                detail,
            });
        }
        if let Some(at) = lost.expiring {
            self.item(Item::Expiring { at });
        }
        if lost.closing {
            self.item(Item::Closing);
        }
        self.told = SystemTime::now();
    }

    fn item(&mut self, item: Item) {
        let size = size_of_item(&item);
        self.send(Ok(item), size);
    }

    fn send(&mut self, told: Told, size: usize) {
        let heartbeat = matches!(told, Ok(Item::Heartbeat));
        if self.items.send(told).is_err() {
            self.gone = true;
            return;
        }
        self.waiting.push_back((size, heartbeat));
        self.bytes += size;
        self.heartbeats += usize::from(heartbeat);
    }
}

/// What it costs to have it wait, about.
fn size_of_item(item: &Item) -> usize {
    let all = |topics: &[String]| topics.iter().map(|t| t.len() + TEXT).sum::<usize>();
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    ITEM + match item {
        Item::Notification {
            topic,
            body,
            correlation_id,
            version,
        } => topic.len() + body.len() + text(correlation_id) + text(version),
        Item::Live { topics } | Item::Gap { topics, .. } => all(topics),
        Item::Refused {
            topics,
            missing,
            detail,
        } => all(topics) + all(missing) + detail.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
