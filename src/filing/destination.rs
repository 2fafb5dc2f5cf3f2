//! The health of the one destination, apart from the patience of any record
//! (design, section 5).
//!
//! Open, held by `Retry-After`, closed to us (401, 403, 3xx), or down; after
//! down or closed it is opened slowly, so that a backlog does not stampede a
//! service that has just come back.
//!
//! Invariants: while closed or down at most one try is in flight; the time
//! spent closed is counted, so that no record loses patience over it.

use std::time::Duration;

use super::verdict::Verdict;
use crate::rng::Rng;
use crate::time::{Mono, Now, Wall};

/// Failures to connect in a row that mean "down".
const DOWN_AFTER: u32 = 5;
/// One probe a minute while closed (design, section 5).
const CLOSED_PROBE: Duration = Duration::from_secs(60);
/// First pause between probes of a destination that is down.
const DOWN_PROBE_MIN: Duration = Duration::from_secs(1);
/// Longest pause between probes of a destination that is down.
const DOWN_PROBE_MAX: Duration = Duration::from_secs(60);

/// What the destination is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    /// Every worker may post.
    Open,
    /// It came back; `limit` at once, doubled by each success.
    Opening { limit: usize },
    /// It refuses us; probed once a minute.
    Closed {
        status: u16,
        since: Wall,
        from: Mono,
        probe_at: Mono,
    },
    /// It cannot be reached; probed with growing pauses.
    Down {
        since: Wall,
        probe_at: Mono,
        pause: Duration,
    },
}

/// What changed, for a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// It refuses us with this status (said again at each probe).
    Closed(u16),
    /// It cannot be reached.
    Down,
    /// It takes records again.
    Open,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    workers: usize,
    health: Health,
    held_until: Mono,
    failures: u32,
    closed_total: Duration,
    last_filed: Option<Wall>,
}

impl Destination {
    /// Open until shown otherwise.
    pub(super) fn new(workers: usize) -> Destination {
        Destination {
            workers: workers.max(1),
            health: Health::Open,
            held_until: Mono(0),
            failures: 0,
            closed_total: Duration::ZERO,
            last_filed: None,
        }
    }

    /// How many tries may be in flight now.
    pub(super) fn limit(&self, now: Mono) -> usize {
        if now < self.held_until {
            return 0;
        }
        match self.health {
            Health::Open => self.workers,
            Health::Opening { limit } => limit.min(self.workers),
            Health::Closed { probe_at, .. } | Health::Down { probe_at, .. } => {
                usize::from(now >= probe_at)
            }
        }
    }

    /// When [`limit`](Self::limit) will rise from zero, if it is zero.
    pub(super) fn opens_at(&self, now: Mono) -> Option<Mono> {
        if self.limit(now) > 0 {
            return None;
        }
        Some(match self.health {
            Health::Closed { probe_at, .. } | Health::Down { probe_at, .. } => {
                probe_at.max(self.held_until)
            }
            _ => self.held_until,
        })
    }

    /// Whether it refuses us.
    pub(super) fn closed(&self) -> bool {
        matches!(self.health, Health::Closed { .. })
    }

    /// All the time spent closed so far.
    pub(super) fn closed_total(&self, now: Mono) -> Duration {
        match self.health {
            Health::Closed { from, .. } => self.closed_total + now.since(from),
            _ => self.closed_total,
        }
    }

    /// Learns from a try.
    pub(super) fn learn(&mut self, verdict: &Verdict, now: Now, rng: &mut Rng) -> Option<Turn> {
        match verdict {
            Verdict::Closed { status } => {
                self.failures = 0;
                let probe_at = now.mono + CLOSED_PROBE;
                let (since, from) = match self.health {
                    Health::Closed { since, from, .. } => (since, from),
                    _ => (now.wall, now.mono),
                };
                self.health = Health::Closed {
                    status: *status,
                    since,
                    from,
                    probe_at,
                };
                Some(Turn::Closed(*status))
            }
            Verdict::Later {
                unreachable: true, ..
            } => self.not_reached(now, rng),
            Verdict::Later { retry_after, .. } => {
                if let Some(d) = retry_after {
                    self.held_until = self.held_until.max(now.mono + *d);
                }
                self.reached(now, false)
            }
            Verdict::Filed => {
                self.last_filed = Some(now.wall);
                self.reached(now, true)
            }
            // What could not be read was never sent.
            Verdict::Dead {
                cause: "unreadable",
                ..
            } => self.not_sent(now),
            Verdict::Dead { .. } => self.reached(now, true),
        }
    }

    fn not_reached(&mut self, now: Now, rng: &mut Rng) -> Option<Turn> {
        self.failures = self.failures.saturating_add(1);
        match self.health {
            // Still closed as far as we know; the probe told nothing.
            Health::Closed {
                status,
                since,
                from,
                ..
            } => {
                self.health = Health::Closed {
                    status,
                    since,
                    from,
                    probe_at: now.mono + CLOSED_PROBE,
                };
                None
            }
            Health::Down { since, pause, .. } => {
                let pause = (pause * 2).min(DOWN_PROBE_MAX);
                self.health = Health::Down {
                    since,
                    probe_at: now.mono + rng.jitter(pause).min(DOWN_PROBE_MAX),
                    pause,
                };
                None
            }
            Health::Open if self.failures < DOWN_AFTER => None,
            Health::Open | Health::Opening { .. } => {
                self.health = Health::Down {
                    since: now.wall,
                    probe_at: now.mono + rng.jitter(DOWN_PROBE_MIN),
                    pause: DOWN_PROBE_MIN,
                };
                Some(Turn::Down)
            }
        }
    }

    fn reached(&mut self, now: Now, success: bool) -> Option<Turn> {
        self.failures = 0;
        match self.health {
            Health::Open => None,
            Health::Opening { limit } => {
                if success {
                    let limit = limit.saturating_mul(2);
                    self.health = if limit >= self.workers {
                        Health::Open
                    } else {
                        Health::Opening { limit }
                    };
                }
                None
            }
            Health::Closed { from, .. } => {
                self.closed_total += now.mono.since(from);
                self.health = self.opening();
                Some(Turn::Open)
            }
            Health::Down { .. } => {
                self.health = self.opening();
                Some(Turn::Open)
            }
        }
    }

    /// A probe that never left: the next record may be the probe at once.
    fn not_sent(&mut self, now: Now) -> Option<Turn> {
        match &mut self.health {
            Health::Closed { probe_at, .. } | Health::Down { probe_at, .. } => {
                *probe_at = now.mono;
            }
            _ => {}
        }
        None
    }

    fn opening(&self) -> Health {
        if self.workers > 1 {
            Health::Opening { limit: 1 }
        } else {
            Health::Open
        }
    }

    /// For the status page.
    pub(super) fn snapshot(&self, now: Now) -> DestinationSnapshot {
        let held = now.mono < self.held_until;
        let (state, since, sentence) = match self.health {
            Health::Closed { status, since, .. } => (
                "closed",
                Some(since),
                format!(
                    "the history manager answers {status} and is closed to us; check its address, \
                     our token and our permission there"
                ),
            ),
            Health::Down { since, .. } => (
                "down",
                Some(since),
                String::from("the history manager cannot be reached; it is probed, records wait"),
            ),
            _ if held => (
                "held",
                None,
                format!(
                    "the history manager asked for a pause of another {} s",
                    self.held_until.since(now.mono).as_secs()
                ),
            ),
            Health::Opening { limit } => (
                "opening",
                None,
                format!("the history manager is back; {limit} posts at once, soon more"),
            ),
            Health::Open => (
                "open",
                None,
                String::from("the history manager takes records"),
            ),
        };
        DestinationSnapshot {
            state,
            since,
            sentence,
            closed: self.closed(),
            last_filed: self.last_filed,
        }
    }
}

/// The destination for people and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DestinationSnapshot {
    /// `open`, `opening`, `held`, `down` or `closed`.
    pub state: &'static str,
    /// Since when it is down or closed.
    pub since: Option<Wall>,
    /// A sentence without a full stop.
    pub sentence: String,
    /// `genesys_gateway_history_closed`.
    pub closed: bool,
    /// When a record was last filed in this process.
    pub last_filed: Option<Wall>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Now {
        Now::default().plus(Duration::from_secs(s))
    }

    fn unreachable() -> Verdict {
        Verdict::Later {
            retry_after: None,
            unreachable: true,
            cause: "not-reached",
            error: String::new(),
        }
    }

    fn busy(retry_after: Option<u64>) -> Verdict {
        Verdict::Later {
            retry_after: retry_after.map(Duration::from_secs),
            unreachable: false,
            cause: "server-error",
            error: String::new(),
        }
    }

    #[test]
    fn five_failures_in_a_row_mean_down_and_then_one_probe_at_a_time() {
        let (mut d, mut rng) = (Destination::new(8), Rng::new(1));
        for _ in 0..4 {
            assert_eq!(d.learn(&unreachable(), at(1), &mut rng), None);
            assert_eq!(d.limit(at(1).mono), 8);
        }
        assert_eq!(d.learn(&unreachable(), at(1), &mut rng), Some(Turn::Down));
        assert_eq!(d.limit(at(1).mono), 0);
        let mut t = at(1).mono;
        for _ in 0..20 {
            t = d.opens_at(t).unwrap();
            assert_eq!(d.limit(t), 1);
            let now = Now {
                mono: t,
                wall: Wall(0),
            };
            d.learn(&unreachable(), now, &mut rng);
            let pause = d.opens_at(t).unwrap().since(t);
            assert!(pause <= DOWN_PROBE_MAX, "{pause:?}");
        }
    }

    #[test]
    fn a_success_between_failures_begins_the_run_again() {
        let (mut d, mut rng) = (Destination::new(8), Rng::new(1));
        for _ in 0..10 {
            for _ in 0..4 {
                d.learn(&unreachable(), at(1), &mut rng);
            }
            d.learn(&Verdict::Filed, at(1), &mut rng);
        }
        assert_eq!(d.limit(at(1).mono), 8);
    }

    #[test]
    fn after_down_it_opens_slowly() {
        let (mut d, mut rng) = (Destination::new(8), Rng::new(1));
        for _ in 0..5 {
            d.learn(&unreachable(), at(1), &mut rng);
        }
        assert_eq!(d.learn(&Verdict::Filed, at(9), &mut rng), Some(Turn::Open));
        let mut seen = vec![d.limit(at(9).mono)];
        for _ in 0..3 {
            d.learn(&Verdict::Filed, at(9), &mut rng);
            seen.push(d.limit(at(9).mono));
        }
        assert_eq!(seen, [1, 2, 4, 8]);
    }

    #[test]
    fn closed_is_probed_once_a_minute_and_its_time_is_counted() {
        let (mut d, mut rng) = (Destination::new(4), Rng::new(1));
        let closed = Verdict::Closed { status: 401 };
        assert_eq!(d.learn(&closed, at(10), &mut rng), Some(Turn::Closed(401)));
        assert_eq!(d.opens_at(at(10).mono), Some(at(70).mono));
        assert_eq!(d.learn(&closed, at(70), &mut rng), Some(Turn::Closed(401)));
        assert_eq!(d.limit(at(129).mono), 0);
        assert_eq!(d.limit(at(130).mono), 1);
        assert_eq!(d.learn(&unreachable(), at(130), &mut rng), None);
        assert!(d.closed());
        assert_eq!(d.learn(&busy(None), at(190), &mut rng), Some(Turn::Open));
        assert_eq!(d.closed_total(at(500).mono), Duration::from_secs(180));
    }

    #[test]
    fn retry_after_holds_the_whole_destination() {
        let (mut d, mut rng) = (Destination::new(4), Rng::new(1));
        d.learn(&busy(Some(120)), at(0), &mut rng);
        assert_eq!(d.limit(at(119).mono), 0);
        assert_eq!(d.opens_at(at(5).mono), Some(at(120).mono));
        assert_eq!(d.limit(at(120).mono), 4);
        assert_eq!(d.snapshot(at(0)).state, "held");
    }
}
