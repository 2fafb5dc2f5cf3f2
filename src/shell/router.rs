//! Which shard a request is for: decided in one place, once.
//!
//! ```text
//!   known in the store ───────────────────────────► the shard that the store names
//!   asked for at this moment, not committed yet ──► the same shard
//!   new ──────────────────────────────────────────► most places free, then most REST calls
//!                                                   left, then by name
//! ```
//! A decision is durable with the commit of what it is about, and until then it stands here: of
//! two callers that report one conversation at once, the second is sent where the first is. The
//! store is asked and the decision is made under one lock for each part of all ids, so that no
//! third way leads between the two.
//!
//! With one shard nothing is looked up and nothing is remembered.
//!
//! Invariants: a conversation is under way at one shard at any moment; what was decided is given
//! up only when its outcome is known, or the id is given to another shard.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::desk::Readers;
use super::main_loop::Event;
use super::overview::Overview;
use super::published::{Published, Room};
use super::standing::Standing;
use base::ids::ConversationId;
use filing::CallerRequest;

/// The shard of everything that belongs to no conversation.
const MAIN: usize = 0;

/// Locks over the ids: two of them seldom wait for one another.
const PARTS: usize = 64;

/// Decisions whose outcome nobody told in time, kept for so many ids.
const UNTOLD_MAX: usize = 1024;

/// The way to one shard.
pub struct Door {
    /// Its name.
    pub name: String,
    /// Its loop.
    pub events: Sender<Event>,
    /// What it shows of itself.
    pub published: Arc<Published>,
    /// How its client stands.
    pub standing: Arc<Standing>,
    /// Conversations that it can watch at once.
    pub places: usize,
    /// Its conversations are being given to others: nothing about them is let in.
    closing: Mutex<bool>,
    /// Requests about conversations that are under way there.
    under_way: AtomicUsize,
    /// Which snapshot, and how many were sent there since.
    given: Mutex<(u64, usize)>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// The way to the shard whose loop takes `events`.
    #[must_use]
    pub fn new(
        name: &str,
        events: Sender<Event>,
        published: Arc<Published>,
        standing: Arc<Standing>,
        places: usize,
    ) -> Door {
        Door {
            name: name.into(),
            events,
            published,
            standing,
            places,
            closing: Mutex::new(false),
            under_way: AtomicUsize::new(0),
            given: Mutex::new((0, 0)),
        }
    }

    /// Places that nobody has asked for, counting what was sent since the last snapshot.
    pub(super) fn free(&self) -> usize {
        let room = self.published.room();
        let given = self.given_since(&room);
        self.places.saturating_sub(room.wanted + given)
    }

    fn given_since(&self, room: &Room) -> usize {
        let mut given = lock(&self.given);
        if given.0 != room.of {
            *given = (room.of, 0);
        }
        given.1
    }

    /// Whether it watches: it has a token, and was not refused the making of channels.
    pub(super) fn serves(&self) -> bool {
        self.published.room().token_held && self.standing.no_channel().is_none()
    }

    pub(super) fn close(&self) {
        *lock(&self.closing) = true;
    }

    pub(super) fn open(&self) {
        *lock(&self.closing) = false;
    }

    /// Nothing about its conversations is under way.
    pub(super) fn quiet(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }
}

/// Where an id is under way, how often, and how often nobody was told how it ended.
#[derive(Clone, Copy)]
struct Decided {
    shard: usize,
    asks: usize,
    untold: bool,
}

/// See the [module](self).
pub struct Router {
    doors: Vec<Door>,
    readers: Readers,
    parts: Vec<Mutex<BTreeMap<ConversationId, Decided>>>,
    /// Given to another shard that does not know it yet.
    moving: Mutex<BTreeSet<ConversationId>>,
    /// Conversations are changing hands in the store, nobody knows yet which.
    frozen: AtomicBool,
    untold: AtomicUsize,
}

/// Where a request goes; to be kept until it is answered.
pub struct Routed<'a> {
    router: &'a Router,
    shard: usize,
    pinned: Option<ConversationId>,
}

impl Routed<'_> {
    /// The loop that decides about it.
    #[must_use]
    pub fn events(&self) -> &Sender<Event> {
        &self.router.doors[self.shard].events
    }

    /// Its outcome is not known: what was decided stands.
    pub fn untold(mut self) {
        if let Some(id) = self.pinned.take() {
            self.router.release(id, self.shard, true);
        }
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.pinned.take() {
            self.router.release(id, self.shard, false);
        }
    }
}

impl Router {
    /// For at least one shard, the main one first, that share the database at `path`.
    #[must_use]
    pub fn new(doors: Vec<Door>, path: &Path, overview: Arc<Overview>) -> Router {
        Router {
            doors,
            readers: Readers::new(path, overview),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            moving: Mutex::default(),
            frozen: AtomicBool::new(false),
            untold: AtomicUsize::new(0),
        }
    }

    /// The shards.
    #[must_use]
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    fn part(&self, id: ConversationId) -> &Mutex<BTreeMap<ConversationId, Decided>> {
        let byte = id.0.as_bytes()[15];
        &self.parts[usize::from(byte) % PARTS]
    }

    fn place(&self, name: &str) -> usize {
        let mut doors = self.doors.iter();
        doors.position(|door| door.name == name).unwrap_or(MAIN)
    }

    /// Where a request goes.
    ///
    /// # Errors
    /// It cannot be told now; a sentence for who asks.
    pub fn route(&self, request: &CallerRequest) -> Result<Routed<'_>, String> {
        let to = |shard| Routed {
            router: self,
            shard,
            pinned: None,
        };
        if self.doors.len() == 1 {
            return Ok(to(MAIN));
        }
        match request {
            CallerRequest::Accept { conversation, .. } => self.pinned(*conversation, true),
            CallerRequest::Stop { conversation } | CallerRequest::Event { conversation, .. } => {
                self.pinned(*conversation, false)
            }
            CallerRequest::SupportResult { .. } => Ok(to(MAIN)),
            CallerRequest::Act { record, .. } => {
                let owner = self.readers.read(|r| r.shard_of_record(*record));
                let owner = owner.map_err(|_| "the store cannot be read at present")?;
                Ok(to(owner.map_or(MAIN, |name| self.place(&name))))
            }
        }
    }

    fn pinned(&self, id: ConversationId, accepts: bool) -> Result<Routed<'_>, String> {
        const MOVING: &str = "the conversation is being given to another OAuth client";
        let mut part = lock(self.part(id));
        let shard = match part.get(&id) {
            Some(decided) => decided.shard,
            None => self.decide(id, accepts)?,
        };
        // After the store was asked: what it said may be of just now.
        if self.frozen.load(Ordering::Acquire) || lock(&self.moving).contains(&id) {
            return Err(MOVING.into());
        }
        let door = &self.doors[shard];
        // Under the lock that whoever closes it takes: none slips in behind the count.
        let closing = lock(&door.closing);
        if *closing {
            return Err(MOVING.into());
        }
        door.under_way.fetch_add(1, Ordering::AcqRel);
        drop(closing);
        let decided = part.entry(id).or_insert(Decided {
            shard,
            asks: 0,
            untold: false,
        });
        decided.asks += 1;
        Ok(Routed {
            router: self,
            shard,
            pinned: Some(id),
        })
    }

    /// Of an id that is not under way.
    fn decide(&self, id: ConversationId, accepts: bool) -> Result<usize, String> {
        let owner = self.readers.read(|r| r.shard_of(id));
        let owner = owner.map_err(|_| "the store cannot be read at present")?;
        match owner {
            Some((name, live)) => {
                let shard = self.place(&name);
                // One that is over is started again where it can be watched.
                if accepts && !live && !self.doors[shard].serves() {
                    return Ok(self.choose());
                }
                Ok(shard)
            }
            None if accepts => Ok(self.choose()),
            // There is nothing to be found, and any shard can say so.
            None => Ok(MAIN),
        }
    }

    /// For a new conversation.
    fn choose(&self) -> usize {
        let mut best: Option<(bool, usize, u32, &str, usize)> = None;
        for (place, door) in self.doors.iter().enumerate() {
            if *lock(&door.closing) {
                continue;
            }
            let rest = door.published.room().rest_left;
            let this = (door.serves(), door.free(), rest, door.name.as_str(), place);
            let better = best.is_none_or(|best| {
                let rank = |of: &(bool, usize, u32, &str, usize)| (of.0, of.1, of.2);
                match rank(&this).cmp(&rank(&best)) {
                    std::cmp::Ordering::Equal => this.3 < best.3,
                    other => other.is_gt(),
                }
            });
            if better {
                best = Some(this);
            }
        }
        let place = best.map_or(MAIN, |best| best.4);
        lock(&self.doors[place].given).1 += 1;
        place
    }

    fn release(&self, id: ConversationId, shard: usize, untold: bool) {
        let mut part = lock(self.part(id));
        if let Some(decided) = part.get_mut(&id) {
            decided.asks = decided.asks.saturating_sub(1);
            if untold && !decided.untold && self.untold.load(Ordering::Relaxed) < UNTOLD_MAX {
                decided.untold = true;
                self.untold.fetch_add(1, Ordering::Relaxed);
            }
            if decided.asks == 0 && !decided.untold {
                part.remove(&id);
            }
        }
        drop(part);
        self.doors[shard].under_way.fetch_sub(1, Ordering::AcqRel);
    }

    /// While conversations change hands in the store.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Release);
    }

    /// These have another shard by now, which does not know it yet.
    pub(super) fn moving(&self, ids: impl Iterator<Item = ConversationId>) {
        for id in ids {
            // What was decided before is overtaken.
            let mut part = lock(self.part(id));
            if part.remove(&id).is_some_and(|decided| decided.untold) {
                self.untold.fetch_sub(1, Ordering::Relaxed);
            }
            lock(&self.moving).insert(id);
        }
    }

    /// And now it does.
    pub(super) fn moved(&self, id: ConversationId) {
        lock(&self.moving).remove(&id);
    }
}
