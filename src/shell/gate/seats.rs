//! Who may be connected, and how much memory each may hold: a table of seats, and
//! who makes room when it is full.
//!
//! A connection that waits for its peer (it is idle, or the peer is slow with its
//! request or with taking its answer) gives its seat to a newcomer when there is
//! none left, the one that has waited longest first; likewise the memory of its
//! body or answer. One that is being answered is never disturbed. So silence,
//! however much of it and from however many addresses, keeps nobody out.
//!
//! Nor does haste: one that has just moved something, or stands in line with a whole request,
//! makes room only for peers that have less than its own, and always for those.
//!
//! A request that waits for something to happen waits aside: its connection leaves its seat to
//! others, and takes one again for the next request, if there is one.
//!
//! Invariants: never more seats than the limits allow, and no more memory beyond
//! the small allowance of each; what leaves is bounded, too; no call here waits for a peer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::millis_since_start;
use super::stream::{PeerKey, Stream};

/// A peer that has said something this lately is on its way, and not disturbed.
const LATELY: Duration = Duration::from_millis(50);
/// How long memory is asked for.
const MEMORY_PATIENCE: Duration = Duration::from_secs(1);
/// Connections that may be on their way out at once.
pub(super) const LEAVING_MAX: usize = 64;
/// What each connection may hold of a body, and of an answer, without asking.
pub(super) const ALLOWANCE: usize = 64 * 1024;

const WORKS: u64 = u64::MAX;
const SENT_AWAY: u64 = u64::MAX - 1;
/// What a connection waits for, beside since when.
const READS: u64 = 0;
const WRITES: u64 = 1;
const QUEUES: u64 = 2;
const PAUSES: u64 = 3;
const KINDS: u64 = 8;

/// The bounds of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatLimits {
    /// Seats for everybody.
    pub(super) seats: usize,
    /// Of these, for one peer.
    pub(super) per_peer: usize,
    /// Further seats, for requests that are answered at the head alone.
    pub(super) reserved: usize,
    /// Places aside, for requests that wait.
    pub(super) held: usize,
    /// Bytes of bodies and answers beyond [`ALLOWANCE`], of all connections.
    pub(super) memory: usize,
}

#[derive(Default)]
struct OfPeer {
    seats: usize,
    aside: usize,
    bytes: usize,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// By number, which is the order in which they came.
    occupants: HashMap<u64, Weak<Occupant>>,
    of_peer: HashMap<PeerKey, OfPeer>,
    ordinary: usize,
    reserved: usize,
    aside: usize,
    bytes: usize,
    leaving: usize,
}

/// The table of one gate.
pub(super) struct Seats {
    limits: SeatLimits,
    table: Mutex<Table>,
    left: Condvar,
    sent_away: AtomicU64,
}

struct Occupant {
    stream: Stream,
    peer: PeerKey,
    reserved: bool,
    /// Whether it waits aside; changed under the lock of the table.
    aside: AtomicBool,
    /// [`WORKS`], [`SENT_AWAY`], or since when it waits (in milliseconds, times [`KINDS`]) and
    /// for what.
    state: AtomicU64,
    held: AtomicUsize,
}

/// A seat; leaving is dropping it.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    /// There until the seat is dropped, so that the socket closes before the seat is free.
    occupant: Option<Arc<Occupant>>,
}

fn now() -> u64 {
    u64::try_from(millis_since_start(Instant::now())).unwrap_or(u64::MAX / 4)
}

/// Somebody who may be sent away.
struct Waits<'a> {
    occupant: &'a Occupant,
    since: u64,
    /// It is slow or idle, and not on its way or in line.
    for_long: bool,
}

impl Occupant {
    /// Whether and since when it waits.
    fn waits(&self, now: u64) -> Option<Waits<'_>> {
        let state = self.state.load(Ordering::Acquire);
        if state == WORKS || state == SENT_AWAY {
            return None;
        }
        let since = state / KINDS;
        let waited = Duration::from_millis(now.saturating_sub(since));
        let for_long = match state % KINDS {
            QUEUES => false,
            _ => waited >= LATELY,
        };
        Some(Waits {
            occupant: self,
            since,
            for_long,
        })
    }

    /// Whether it is we who lag, and not the peer: on a machine that is busy its thread may not
    /// have got to what has come.
    fn is_behind(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        match state % KINDS {
            READS => self.stream.is_ready(false),
            WRITES => self.stream.is_ready(true),
            _ => false,
        }
    }

    /// False if it has got to work meanwhile.
    fn send_away(&self) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state == WORKS || state == SENT_AWAY {
                return false;
            }
            let swapped = self.state.compare_exchange_weak(
                state,
                SENT_AWAY,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match swapped {
                Ok(_) => break,
                Err(other) => state = other,
            }
        }
        // Its thread wakes. Unless it was writing, it can still say why it ends.
        self.stream.wake(state % KINDS == WRITES);
        true
    }

    fn turn(&self, to: u64) -> bool {
        let turned = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state != SENT_AWAY).then_some(to)
            });
        turned.is_ok()
    }
}

impl Table {
    /// Sends away whoever has waited longest among those that `may`; false if nobody has.
    fn make_room(&mut self, now: u64, may: impl Fn(&Waits<'_>) -> bool) -> bool {
        if self.leaving >= LEAVING_MAX {
            return false;
        }
        let mut all: Vec<_> = (self.occupants.iter())
            .filter_map(|(number, occupant)| Some((*number, occupant.upgrade()?)))
            // Who is aside has nothing that could be given to another.
            .filter(|(_, occupant)| !occupant.aside.load(Ordering::Acquire))
            .filter_map(|(number, occupant)| {
                let since = occupant.waits(now).filter(&may)?.since;
                Some((since, number, occupant))
            })
            .collect();
        all.sort_unstable_by_key(|(since, number, _)| (*since, *number));
        for (_, number, occupant) in all {
            let still = occupant.waits(now).map(|w| Waits {
                for_long: w.for_long && !occupant.is_behind(),
                ..w
            });
            if still.is_some_and(|w| may(&w)) && occupant.send_away() {
                self.forget(number, &occupant);
                self.leaving += 1;
                return true;
            }
        }
        false
    }

    /// The peers that have so much.
    fn whose(&self, much: impl Fn(&OfPeer) -> bool) -> HashSet<PeerKey> {
        let those = self.of_peer.iter().filter(|(_, of)| much(of));
        those.map(|(peer, _)| *peer).collect()
    }

    /// Whether it was still known.
    fn forget(&mut self, number: u64, occupant: &Occupant) -> bool {
        if self.occupants.remove(&number).is_none() {
            return false;
        }
        let held = occupant.held.swap(0, Ordering::AcqRel);
        self.bytes = self.bytes.saturating_sub(held);
        let aside = occupant.aside.load(Ordering::Acquire);
        if occupant.reserved {
            self.reserved = self.reserved.saturating_sub(1);
        } else if aside {
            self.aside = self.aside.saturating_sub(1);
        } else {
            self.ordinary = self.ordinary.saturating_sub(1);
        }
        if let Some(of_peer) = self.of_peer.get_mut(&occupant.peer) {
            of_peer.bytes = of_peer.bytes.saturating_sub(held);
            if aside {
                of_peer.aside = of_peer.aside.saturating_sub(1);
            } else if !occupant.reserved {
                of_peer.seats = of_peer.seats.saturating_sub(1);
            }
            if of_peer.seats == 0 && of_peer.aside == 0 && of_peer.bytes == 0 {
                self.of_peer.remove(&occupant.peer);
            }
        }
        true
    }

    fn open(&self) -> usize {
        self.ordinary + self.reserved + self.aside + self.leaving
    }
}

impl Seats {
    pub(super) fn new(limits: SeatLimits) -> Arc<Seats> {
        Arc::new(Seats {
            limits,
            table: Mutex::default(),
            left: Condvar::new(),
            sent_away: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are open, those on their way out among them.
    pub(super) fn taken(&self) -> usize {
        self.lock().open()
    }

    /// Connections that made room for others so far.
    pub(super) fn sent_away(&self) -> u64 {
        self.sent_away.load(Ordering::Relaxed)
    }

    /// A seat for a connection that was just accepted, or the connection back.
    pub(super) fn take(self: &Arc<Seats>, stream: Stream, peer: PeerKey) -> Result<Seat, Stream> {
        let now = now();
        let mut table = self.lock();
        let of_peer = table.of_peer.get(&peer).map_or(0, |of| of.seats);
        let mut reserved = false;
        let mut sent = 0;
        if of_peer >= self.limits.per_peer {
            match table.make_room(now, |w| {
                w.for_long && w.occupant.peer == peer && !w.occupant.reserved
            }) {
                true => sent += 1,
                false => reserved = true,
            }
        }
        if !reserved && table.ordinary >= self.limits.seats {
            let richer = table.whose(|of| of.seats > of_peer + 1);
            match table.make_room(now, |w| {
                !w.occupant.reserved && (w.for_long || richer.contains(&w.occupant.peer))
            }) {
                true => sent += 1,
                false => reserved = true,
            }
        }
        if reserved && table.reserved >= self.limits.reserved {
            match self.limits.reserved > 0
                && table.make_room(now, |w| w.for_long && w.occupant.reserved)
            {
                true => sent += 1,
                false => return Err(stream),
            }
        }
        self.sent_away.fetch_add(sent, Ordering::Relaxed);
        let number = table.next;
        table.next += 1;
        let occupant = Arc::new(Occupant {
            stream,
            peer,
            reserved,
            aside: AtomicBool::new(false),
            state: AtomicU64::new(now * KINDS + READS),
            held: AtomicUsize::new(0),
        });
        table.occupants.insert(number, Arc::downgrade(&occupant));
        if reserved {
            table.reserved += 1;
        } else {
            table.ordinary += 1;
            table.of_peer.entry(peer).or_default().seats += 1;
        }
        Ok(Seat {
            seats: Arc::clone(self),
            number,
            occupant: Some(occupant),
        })
    }

    /// Waits until everybody has left, `deadline` at the latest; gives how many have not.
    pub(super) fn await_empty(&self, deadline: Instant) -> usize {
        let mut table = self.lock();
        loop {
            let taken = table.open();
            let left = deadline.saturating_duration_since(Instant::now());
            if taken == 0 || left.is_zero() {
                return taken;
            }
            table = self
                .left
                .wait_timeout(table, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Seat {
    fn occupant(&self) -> Option<&Occupant> {
        self.occupant.as_deref()
    }

    /// The connection; there as long as the seat is.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.occupant().map(|o| &o.stream)
    }

    /// Whether only what is answered at the head may be asked from this seat.
    pub(super) fn is_reserved(&self) -> bool {
        self.occupant().is_some_and(|o| o.reserved)
    }

    /// From now on it waits for its peer to say something, or to say more.
    pub(super) fn waits(&self) {
        if let Some(o) = self.occupant() {
            o.turn(now() * KINDS + READS);
        }
    }

    /// From now on it waits for its peer to take an answer, or more of it.
    pub(super) fn writes(&self) {
        if let Some(o) = self.occupant() {
            o.turn(now() * KINDS + WRITES);
        }
    }

    /// From now on it waits because we let it wait.
    pub(super) fn pauses(&self) {
        if let Some(o) = self.occupant() {
            o.turn(now() * KINDS + PAUSES);
        }
    }

    /// From now on it waits for others: its whole request to be passed on, or its body for memory.
    pub(super) fn queues(&self) {
        if let Some(o) = self.occupant() {
            o.turn(now() * KINDS + QUEUES);
        }
    }

    /// From now on it is being answered, and is not sent away; false if it was already.
    pub(super) fn works(&self) -> bool {
        self.occupant().is_some_and(|o| o.turn(WORKS))
    }

    /// Leaves the seat to others while its request waits; false if there is no place aside.
    pub(super) fn goes_aside(&self) -> bool {
        let Some(me) = self.occupant() else {
            return false;
        };
        let most = self.seats.limits.held;
        let mut table = self.seats.lock();
        let known = table.occupants.contains_key(&self.number);
        let of_peer = table.of_peer.get(&me.peer).map_or(0, |of| of.aside);
        // As for requests behind the gate: a part is left to others.
        let share = most - most / 8;
        if !known || me.reserved || table.aside >= most || of_peer >= share {
            return false;
        }
        if !me.aside.swap(true, Ordering::AcqRel) {
            table.ordinary = table.ordinary.saturating_sub(1);
            table.aside += 1;
            let of_peer = table.of_peer.entry(me.peer).or_default();
            of_peer.seats = of_peer.seats.saturating_sub(1);
            of_peer.aside += 1;
        }
        true
    }

    /// Takes a seat again if it was aside; false if there is none, and nobody makes room.
    pub(super) fn comes_back(&self) -> bool {
        let Some(me) = self.occupant() else {
            return false;
        };
        let mut table = self.seats.lock();
        if !me.aside.load(Ordering::Acquire) {
            return true;
        }
        let limits = &self.seats.limits;
        let of_peer = table.of_peer.get(&me.peer).map_or(0, |of| of.seats);
        let known = table.occupants.contains_key(&self.number);
        if !known || table.ordinary >= limits.seats || of_peer >= limits.per_peer {
            return false;
        }
        me.aside.store(false, Ordering::Release);
        table.aside = table.aside.saturating_sub(1);
        table.ordinary += 1;
        let of_peer = table.of_peer.entry(me.peer).or_default();
        of_peer.aside = of_peer.aside.saturating_sub(1);
        of_peer.seats += 1;
        true
    }

    /// Whether it has made room for another.
    pub(super) fn is_sent_away(&self) -> bool {
        self.occupant()
            .is_none_or(|o| o.state.load(Ordering::Acquire) == SENT_AWAY)
    }

    /// The same as [`hold`](Seat::hold), and asks again for a while: those who hold
    /// memory may have got it just now. `deadline` ends that earlier.
    pub(super) fn hold_soon(&self, bytes: usize, deadline: Instant) -> bool {
        let deadline = deadline.min(Instant::now() + MEMORY_PATIENCE);
        while !self.hold(bytes) {
            if self.is_sent_away() || Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LATELY / 4);
        }
        true
    }

    /// The same for who was waiting for its peer, and holds nothing yet: while it has to wait for
    /// memory, it is in line, and not slow.
    pub(super) fn hold_in_line(&self, bytes: usize, deadline: Instant) -> bool {
        if self.hold(bytes) {
            return true;
        }
        self.queues();
        let held = self.hold_soon(bytes, deadline);
        self.waits();
        held
    }

    /// Asks to hold `bytes` in all beyond the allowance; what was held before stays
    /// held if the answer is no.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let Some(me) = self.occupant() else {
            return false;
        };
        let limits = &self.seats.limits;
        let now = now();
        let mut table = self.seats.lock();
        if !table.occupants.contains_key(&self.number) {
            return false;
        }
        let held = me.held.load(Ordering::Acquire);
        let more = bytes.saturating_sub(held);
        loop {
            let of_peer = table.of_peer.get(&me.peer).map_or(0, |of| of.bytes);
            let holds = |w: &Waits<'_>| {
                w.occupant.held.load(Ordering::Acquire) > 0 && !std::ptr::eq(w.occupant, me)
            };
            let made = if of_peer + more > limits.memory / 2 {
                table.make_room(now, |w| {
                    w.for_long && holds(w) && w.occupant.peer == me.peer
                })
            } else if table.bytes + more > limits.memory {
                let richer = table.whose(|of| of.bytes > of_peer + more);
                table.make_room(now, |w| {
                    (w.for_long || richer.contains(&w.occupant.peer)) && holds(w)
                })
            } else {
                break;
            };
            if !made {
                return false;
            }
            self.seats.sent_away.fetch_add(1, Ordering::Relaxed);
        }
        table.bytes = table.bytes.saturating_sub(held) + bytes;
        let of_peer = table.of_peer.entry(me.peer).or_default();
        of_peer.bytes = of_peer.bytes.saturating_sub(held) + bytes;
        me.held.store(bytes, Ordering::Release);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(occupant) = self.occupant.take() else {
            return;
        };
        let seats = &self.seats;
        let mut table = seats.lock();
        let known = table.forget(self.number, &occupant);
        if known {
            // It counts as leaving until its socket is closed.
            table.leaving += 1;
        }
        drop(table);
        drop(occupant);
        let mut table = seats.lock();
        table.leaving = table.leaving.saturating_sub(1);
        drop(table);
        seats.left.notify_all();
    }
}

#[cfg(test)]
mod tests;
