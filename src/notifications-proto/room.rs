//! Whether a channel has room by the platform's count, which may lag behind ours: the
//! places of removed topics are perhaps freed late (protocol, section 14).
//!
//! ```text
//! Open ──"too many"──► Full until … ──time──► Trying few ──confirmed, doubling──► Open
//!                        ▲                       │
//!                        └──────"too many"───────┘  (a longer pause each time)
//! ```
//!
//! It may not count topics; what fits by our own count is decided by
//! [`super::allocation`].
//!
//! Invariant: a channel that is said to be full is tried again, at the latest after
//! [`FULL_PAUSE_MAX`].

use std::time::Duration;

use super::limits::{FULL_PAUSE, FULL_PAUSE_MAX, TOPICS_PER_MESSAGE_MAX};
use base::time::Mono;

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// Nothing speaks against our own count.
    Open,
    /// The platform says that it is full: nothing is added before then.
    Full { until: Mono, pause: Duration },
    /// It is tried with so many topics at a time, one message after the other.
    Trying { most: usize, pause: Duration },
}

impl Room {
    /// The platform refused to add more.
    pub(super) fn refused(&mut self, now: Mono) {
        let pause = match *self {
            Room::Open => FULL_PAUSE,
            // Several messages were under way, and each is refused.
            Room::Full { .. } => return,
            Room::Trying { pause, .. } => (pause * 2).min(FULL_PAUSE_MAX),
        };
        let until = now + pause;
        *self = Room::Full { until, pause };
    }

    /// The platform added what it was asked to.
    pub(super) fn added(&mut self) {
        if let Room::Trying { most, .. } = self {
            *most *= 2;
            if *most >= TOPICS_PER_MESSAGE_MAX {
                *self = Room::Open;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn turn(&mut self, now: Mono) {
        if let Room::Full { until, pause } = *self
            && until <= now
        {
            *self = Room::Trying { most: 1, pause };
        }
    }

    /// Takes nothing for now.
    pub(super) fn full(self) -> bool {
        matches!(self, Room::Full { .. })
    }

    /// How many more topics may be put on it while so many wait to be confirmed.
    pub(super) fn allows(self, unconfirmed: usize) -> usize {
        match self {
            Room::Open => usize::MAX,
            Room::Full { .. } => 0,
            Room::Trying { .. } if unconfirmed > 0 => 0,
            Room::Trying { most, .. } => most,
        }
    }

    /// When it is tried again.
    pub(super) fn deadline(self) -> Option<Mono> {
        match self {
            Room::Full { until, .. } => Some(until),
            Room::Open | Room::Trying { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_is_tried_with_one_topic_then_more_and_is_open_again() {
        let mut room = Room::Open;
        room.refused(Mono(0));
        room.refused(Mono(1));
        let until = room.deadline().unwrap();
        assert_eq!(until, Mono(0) + FULL_PAUSE);
        room.turn(Mono(until.0 - 1));
        assert!(room.full() && room.allows(0) == 0);
        room.turn(until);
        assert_eq!((room.allows(0), room.allows(1)), (1, 0));
        for most in [2, 4, 8, 16, 32, 64] {
            room.added();
            assert_eq!(room.allows(0), most);
        }
        room.added();
        assert_eq!(room, Room::Open);
    }

    #[test]
    fn pauses_grow_to_a_bound_while_the_platform_keeps_saying_that_it_is_full() {
        let (mut room, mut now) = (Room::Open, Mono(0));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            room.refused(now);
            let until = room.deadline().unwrap();
            pauses.push(until.since(now));
            now = until;
            room.turn(now);
        }
        assert!(pauses.is_sorted() && pauses.last() == Some(&FULL_PAUSE_MAX));
    }
}
