//! Who is let through to the server behind the gate: a bounded number at once, and a share of it
//! for each peer.
//!
//! A peer may have seven times as many inside as places are left free beside them and one more, so
//! that one alone has seven eighths, two somewhat less than half each, and so on: a place is free for
//! who comes next, unless very many are greedy. It has to be more than may wait for the store at
//! once (three quarters): who is refused for that is refused at once, and not in a line.
//! Whoever finds none waits in line. The first in line goes first, except that those go before who
//! have fewer inside, so that the length of one peer's line is nobody else's matter.
//!
//! Invariants: never more inside than the bound, and nobody is let in beyond the share of its peer;
//! who leaves is followed at once by whoever may enter then.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stream::PeerKey;

/// So many a peer may have inside for each place that is left free.
const SHARE: usize = 7;
/// So long a request waits for a place; what has not been passed on can be refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often somebody in line looks whether it has to go.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Door {
    line: Mutex<Line>,
    max: usize,
}

#[derive(Default)]
struct Line {
    inside: usize,
    /// Of these: of each peer that has any.
    of_peer: HashMap<PeerKey, usize>,
    /// In the order in which they came; as many as there are connections at most.
    waiting: Vec<Arc<Waiting>>,
}

struct Waiting {
    peer: PeerKey,
    called: Condvar,
}

/// A place inside; leaving is dropping it.
pub(super) struct Place<'a> {
    door: &'a Door,
    peer: PeerKey,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.door.lock();
        line.inside = line.inside.saturating_sub(1);
        if let Some(inside) = line.of_peer.get_mut(&self.peer) {
            *inside = inside.saturating_sub(1);
            if *inside == 0 {
                line.of_peer.remove(&self.peer);
            }
        }
        line.call(self.door.max);
    }
}

impl Line {
    fn of(&self, peer: PeerKey) -> usize {
        self.of_peer.get(&peer).copied().unwrap_or(0)
    }

    /// Lets in whoever may enter; they are waiting no more.
    fn call(&mut self, max: usize) {
        loop {
            let next = (self.waiting.iter().enumerate())
                .map(|(n, w)| (self.of(w.peer), n))
                .min();
            let free = max.saturating_sub(self.inside);
            let may = |of: usize| of < SHARE * free.saturating_sub(1) || (of == 0 && free > 0);
            let Some((inside, n)) = next.filter(|(of, _)| may(*of)) else {
                return;
            };
            let next = self.waiting.remove(n);
            self.inside += 1;
            self.of_peer.insert(next.peer, inside + 1);
            next.called.notify_one();
        }
    }
}

impl Door {
    pub(super) fn new(max: usize) -> Door {
        Door {
            line: Mutex::default(),
            max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, until `deadline` at most, and not if it has to go meanwhile.
    pub(super) fn enter(
        &self,
        peer: PeerKey,
        deadline: Instant,
        has_to_go: impl Fn() -> bool,
    ) -> Option<Place<'_>> {
        let deadline = deadline.min(Instant::now() + PATIENCE);
        let me = Arc::new(Waiting {
            peer,
            called: Condvar::new(),
        });
        let mut line = self.lock();
        line.waiting.push(Arc::clone(&me));
        line.call(self.max);
        loop {
            let Some(n) = line.waiting.iter().position(|w| Arc::ptr_eq(w, &me)) else {
                return Some(Place { door: self, peer });
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || has_to_go() {
                line.waiting.remove(n);
                return None;
            }
            line = (me.called.wait_timeout(line, left.min(LOOK_EVERY)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerKey = PeerKey::V4(1);
    const OTHER: PeerKey = PeerKey::User(Some(7));

    fn at_once(door: &Door, peer: PeerKey) -> Option<Place<'_>> {
        door.enter(peer, Instant::now(), || false)
    }

    fn fill(door: &Door, peer: PeerKey) -> Vec<Place<'_>> {
        std::iter::from_fn(|| at_once(door, peer)).collect()
    }

    #[test]
    fn however_many_peers_take_all_they_get_a_place_is_left_for_the_next() {
        let door = Door::new(64);
        let mut held = Vec::new();
        for peer in 0..63 {
            let got = fill(&door, PeerKey::V4(peer));
            if peer == 0 {
                assert_eq!(got.len(), 56);
            }
            assert!(!got.is_empty(), "{peer}");
            held.extend(got);
            if held.len() == 63 {
                break;
            }
        }
        // Whoever leaves makes room for others, not for more of the same.
        held.truncate(56);
        assert!(at_once(&door, PeerKey::V4(0)).is_none());
        assert!(at_once(&door, OTHER).is_some());
    }

    #[test]
    fn a_door_of_one_lets_one_in() {
        let door = Door::new(1);
        let inside = at_once(&door, ONE);
        assert!(inside.is_some());
        assert!(at_once(&door, ONE).is_none() && at_once(&door, OTHER).is_none());
        drop(inside);
        assert!(at_once(&door, OTHER).is_some());
        let line = door.lock();
        assert!(line.of_peer.is_empty() && line.waiting.is_empty() && line.inside == 0);
    }

    #[test]
    fn who_has_to_go_leaves_the_line() {
        let door = Door::new(1);
        let _inside = at_once(&door, ONE);
        let began = Instant::now();
        let waited = door.enter(OTHER, began + Duration::from_secs(20), || true);
        assert!(waited.is_none() && began.elapsed() < Duration::from_secs(10));
        assert!(door.lock().waiting.is_empty());
    }

    #[test]
    fn who_has_fewer_inside_goes_before_a_line_of_any_length() {
        let door = Door::new(4);
        let mut held = fill(&door, ONE);
        assert_eq!(held.len(), 3);
        let others = fill(&door, OTHER);
        assert_eq!(others.len(), 1);
        let until = Instant::now() + Duration::from_secs(20);
        let (told, came) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for n in 0..20 {
                let (door, told) = (&door, told.clone());
                scope.spawn(move || {
                    let place = door.enter(ONE, until, || false);
                    told.send((n, place.is_some())).unwrap();
                });
            }
            let waiting = |many| {
                while door.lock().waiting.len() != many {
                    assert!(Instant::now() < until);
                    std::thread::yield_now();
                }
            };
            waiting(20);
            drop(others);
            // One place is free, and not for the line: it is the next peer's at once.
            assert!(came.try_recv().is_err());
            let third = at_once(&door, PeerKey::Machine);
            assert!(third.is_some());
            drop(third);
            waiting(20);
            held.clear();
            for _ in 0..20 {
                assert!(came.recv().unwrap().1);
            }
        });
        assert_eq!(fill(&door, OTHER).len(), 3);
    }
}
