//! Whoever guesses tokens is slowed: each wrong one of a peer is answered later
//! than the one before. A right one is not, whoever else is at that address.
//!
//! Invariant: the table of peers has a bound, and no pause is longer than
//! [`PAUSE_MAX`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stream::PeerKey;

/// The longest pause before an answer.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Wrong tokens that cost nothing: a mistake, a rotation.
const FREE: u32 = 3;
/// After so long without a wrong token, a peer begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const PEERS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Guesses(Mutex<BTreeMap<PeerKey, (u32, Instant)>>);

impl Guesses {
    /// Notes a wrong token, and says how long its answer has to wait.
    pub(super) fn wrong(&self, peer: PeerKey, now: Instant) -> Duration {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, (_, last)| now.saturating_duration_since(*last) < FORGOTTEN_AFTER);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            let oldest = peers.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                peers.remove(&oldest);
            }
        }
        let (wrong, last) = peers.entry(peer).or_insert((0, now));
        *wrong = wrong.saturating_add(1);
        *last = now;
        match wrong.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE
                .saturating_mul(1 << doublings.min(10))
                .min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_token_of_a_peer_waits_longer_up_to_a_bound_and_is_forgotten_in_time() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let (one, other) = (PeerKey::V4(1), PeerKey::V4(2));
        let pauses: Vec<_> = (0..12).map(|_| guesses.wrong(one, now)).collect();
        assert_eq!(pauses[..3], [Duration::ZERO; 3]);
        assert_eq!(pauses[3], FIRST_PAUSE);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[11], PAUSE_MAX);
        assert_eq!(guesses.wrong(other, now), Duration::ZERO);
        assert_eq!(guesses.wrong(one, now + FORGOTTEN_AFTER), Duration::ZERO);
        for n in 0..10_000 {
            guesses.wrong(PeerKey::V6(n), now);
        }
        assert_eq!(guesses.0.lock().unwrap().len(), PEERS_MAX);
    }
}
