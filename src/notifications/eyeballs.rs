//! Which of a name's addresses is tried when (RFC 8305, without async): the families
//! take turns, the next attempt starts a quarter of a second after the one before or
//! as soon as one has failed, and the address that was good the last time goes first.
//!
//! Pure: it knows no clock and no socket; time is what has passed since the start.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Between the starts of two attempts (RFC 8305, section 5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried.
pub(super) const ADDRESSES_MAX: usize = 16;

/// The attempts at one name.
#[derive(Debug)]
pub(super) struct Race {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    next_at: Duration,
}

impl Race {
    /// In the order in which the system prefers them, interleaved.
    pub(super) fn new(addresses: Vec<SocketAddr>, last_good: Option<SocketAddr>) -> Race {
        Race {
            waiting: ordered(addresses, last_good),
            running: 0,
            next_at: Duration::ZERO,
        }
    }

    /// The attempt to start now, if any.
    pub(super) fn start(&mut self, now: Duration) -> Option<SocketAddr> {
        if self.running > 0 && now < self.next_at {
            return None;
        }
        let address = self.waiting.pop_front()?;
        self.running += 1;
        self.next_at = now + STAGGER;
        Some(address)
    }

    /// One that was started has failed: the next need not wait.
    pub(super) fn failed(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.next_at = Duration::ZERO;
    }

    /// When the next one starts.
    pub(super) fn next_at(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.next_at)
    }

    /// All have failed.
    pub(super) fn over(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

fn ordered(addresses: Vec<SocketAddr>, last_good: Option<SocketAddr>) -> VecDeque<SocketAddr> {
    let mut distinct: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    let first_is_six = distinct.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut those): (VecDeque<_>, VecDeque<_>) = distinct
        .into_iter()
        .partition(|a| a.is_ipv6() == first_is_six);
    let mut order = VecDeque::new();
    while !(these.is_empty() && those.is_empty()) {
        order.extend(these.pop_front());
        order.extend(those.pop_front());
    }
    if let Some(at) = last_good.and_then(|good| order.iter().position(|a| *a == good))
        && let Some(good) = order.remove(at)
    {
        order.push_front(good);
    }
    order.truncate(ADDRESSES_MAX);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn families_take_turns_and_the_last_good_address_goes_first() {
        let known = [
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "192.0.2.1:1",
            "192.0.2.2:1",
        ];
        let turns = [
            "[2001:db8::1]:1",
            "192.0.2.1:1",
            "[2001:db8::2]:1",
            "192.0.2.2:1",
        ];
        assert_eq!(ordered(list(&known), None), list(&turns));
        let good = "192.0.2.2:1".parse().unwrap();
        let first = ordered(list(&known), Some(good));
        assert_eq!((first[0], first.len()), (good, 4));
        let gone = "192.0.2.9:1".parse().unwrap();
        assert_eq!(ordered(list(&known), Some(gone)), list(&turns));
        let twice = ["192.0.2.1:1", "192.0.2.1:1"];
        assert_eq!(ordered(list(&twice), None).len(), 1);
    }

    #[test]
    fn attempts_start_a_quarter_of_a_second_apart_or_when_one_has_failed() {
        let mut race = Race::new(list(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]), None);
        assert!(race.start(millis(0)).is_some());
        assert_eq!(race.start(millis(249)), None);
        assert_eq!(race.next_at(), Some(millis(250)));
        assert!(race.start(millis(250)).is_some());
        race.failed();
        assert!(race.start(millis(251)).is_some());
        assert_eq!((race.next_at(), race.over()), (None, false));
        race.failed();
        race.failed();
        assert!(race.over());
    }
}
