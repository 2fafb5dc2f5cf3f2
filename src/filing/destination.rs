//! The health of the one destination, apart from the patience of any record
//! (design, section 5).
//!
//! Open, held by `Retry-After`, closed to us (401, 403, 3xx, or an outage that
//! refuses everything), or down; after down or closed it is opened slowly, so
//! that a backlog does not stampede a service that has just come back.
//!
//! Invariants: while closed or down at most one try is in flight; what was never
//! sent changes nothing; the time in which we tried is counted on the monotonic
//! clock, and none of it while closed or held; what is said of the destination
//! is what it did last.

use std::time::Duration;

use super::refusals::{OUTAGE, Refusals};
use super::verdict::{Later, RETRY_AFTER_MAX, Verdict};
use base::ids::RecordId;
use base::rng::Rng;
use base::rows::DestinationRow;
use base::time::{Mono, Now, Wall};
use base::wire::NoAnswer;
use base::words;

/// Failures to connect in a row that mean "down".
const DOWN_AFTER: u32 = 5;
/// One probe a minute while closed (design, section 5).
const CLOSED_PROBE: Duration = Duration::from_secs(60);
/// First pause between probes of a destination that is down.
const DOWN_PROBE_MIN: Duration = Duration::from_secs(1);
/// Longest pause between probes of a destination that is down.
const DOWN_PROBE_MAX: Duration = Duration::from_secs(60);
/// So much of the time between two outcomes is believed to be time in which we tried: more than
/// any pause and any `timeout` together. A machine that slept may show more.
const TRIED_AT_ONCE: Duration = Duration::from_secs(15 * 60);

/// Why it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shut {
    /// It answers 401, 403 or 3xx.
    ToUs(u16),
    /// It refuses every record with this status; only a filing opens it again.
    Outage(u16),
}

/// What the destination is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    /// Every worker may post.
    Open,
    /// It came back; `limit` at once, doubled by each success.
    Opening { limit: usize, told: bool },
    /// It refuses us; probed once a minute.
    Closed {
        shut: Shut,
        since: Wall,
        probe_at: Mono,
    },
    /// It cannot be reached; probed with growing pauses.
    Down {
        since: Wall,
        probe_at: Mono,
        pause: Duration,
    },
}

/// What it did last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    Nothing,
    Filed,
    /// An earlier try of the record may still be in progress there.
    InProgress,
    Answered(u16),
    Refused(u16),
    NoAnswer(NoAnswer),
}

/// What changed, for a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// It refuses us with this status (said again at each probe).
    Closed(u16),
    /// It refuses everything with this status (said again at each probe); the ten records whose
    /// refusal showed it, the first time.
    Outage(u16, Vec<RecordId>),
    /// It cannot be reached, or does not answer.
    Down(NoAnswer),
    /// It answers again, but has filed nothing yet.
    Answers(u16),
    /// It takes records again.
    Open,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    workers: usize,
    health: Health,
    held_until: Mono,
    /// The same for the store; it outlives the process.
    held_wall: Option<Wall>,
    refusals: Refusals,
    failures: u32,
    tried: Duration,
    counted_to: Mono,
    last: Last,
    last_filed: Option<Wall>,
    unkept: bool,
}

impl Destination {
    /// As a former process left it; open until shown otherwise.
    pub(super) fn new(workers: usize, kept: &DestinationRow, now: Now) -> Destination {
        let refusals = Refusals::new(kept);
        let health = match refusals.outage() {
            Some(status) => Health::Closed {
                shut: Shut::Outage(status),
                since: now.wall,
                probe_at: now.mono,
            },
            None => Health::Open,
        };
        // Whatever the clock has done meanwhile, nobody is left alone for longer than that.
        let held = kept
            .held_until
            .map_or(Duration::ZERO, |t| t.since(now.wall).min(RETRY_AFTER_MAX));
        Destination {
            workers: workers.max(1),
            health,
            held_until: if held.is_zero() {
                Mono(0)
            } else {
                now.mono + held
            },
            held_wall: kept.held_until.filter(|_| !held.is_zero()),
            refusals,
            failures: 0,
            tried: Duration::ZERO,
            counted_to: now.mono,
            last: Last::Nothing,
            last_filed: None,
            unkept: false,
        }
    }

    /// How many tries may be in flight now.
    pub(super) fn limit(&self, now: Mono) -> usize {
        if now < self.held_until {
            return 0;
        }
        match self.health {
            Health::Open => self.workers,
            Health::Opening { limit, .. } => limit.min(self.workers),
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

    /// Whether it cannot be reached.
    pub(super) fn down(&self) -> bool {
        matches!(self.health, Health::Down { .. })
    }

    /// The time in which we tried, since this process began: neither closed nor held.
    pub(super) fn tried(&self, now: Mono) -> Duration {
        if self.closed() {
            return self.tried;
        }
        let from = self.counted_to.max(self.held_until);
        self.tried + now.since(from).min(TRIED_AT_ONCE)
    }

    /// Learns from a try of a record.
    pub(super) fn learn(
        &mut self,
        id: RecordId,
        verdict: &Verdict,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Turn> {
        self.tried = self.tried(now.mono);
        self.counted_to = now.mono;
        match verdict {
            Verdict::Closed { status } => {
                self.last = Last::Answered(*status);
                // An outage that shows another face is one all the same.
                let shut = match self.outage() {
                    Some(outage) => Shut::Outage(outage),
                    None => Shut::ToUs(*status),
                };
                self.close(shut, now);
                Some(match shut {
                    Shut::ToUs(status) => Turn::Closed(status),
                    Shut::Outage(status) => Turn::Outage(status, Vec::new()),
                })
            }
            Verdict::Later {
                how, retry_after, ..
            } => {
                if let Some(d) = retry_after {
                    self.hold(*d, now);
                }
                match *how {
                    Later::Unreachable(why) => {
                        self.last = Last::NoAnswer(why);
                        self.not_reached(why, now, rng)
                    }
                    Later::BrokenOff(why) => {
                        self.last = Last::NoAnswer(why);
                        self.probe_again(now, rng);
                        None
                    }
                    Later::Answered(status) => {
                        self.last = Last::Answered(status);
                        self.reached(status, now)
                    }
                }
            }
            Verdict::Conflict => {
                self.last = Last::InProgress;
                self.reached(409, now)
            }
            Verdict::Filed => {
                self.last = Last::Filed;
                self.last_filed = Some(now.wall);
                self.unkept |= self.refusals.filed();
                self.filed()
            }
            Verdict::Refused { status, .. } => {
                self.last = Last::Refused(*status);
                self.refused(id, *status, now)
            }
            // What was never sent says nothing; the next record may be the probe.
            Verdict::Unreadable { .. } => self.not_sent(now.mono),
            // But not at once: the database fails for that one, too.
            Verdict::NotSent { .. } => self.not_sent(now.mono + DOWN_PROBE_MIN),
        }
    }

    /// The status with which it refuses everything, while it does.
    fn outage(&self) -> Option<u16> {
        match self.health {
            Health::Closed {
                shut: Shut::Outage(status),
                ..
            } => Some(status),
            _ => None,
        }
    }

    fn hold(&mut self, d: Duration, now: Now) {
        if now.mono + d > self.held_until {
            self.held_until = now.mono + d;
            self.held_wall = Some(now.wall + d);
            self.unkept = true;
        }
    }

    fn close(&mut self, shut: Shut, now: Now) {
        self.failures = 0;
        let since = match self.health {
            Health::Closed { since, .. } => since,
            _ => now.wall,
        };
        self.health = Health::Closed {
            shut,
            since,
            probe_at: now.mono + CLOSED_PROBE,
        };
    }

    fn refused(&mut self, id: RecordId, status: u16, now: Now) -> Option<Turn> {
        let ten = self.refusals.add(status, id);
        self.unkept = true;
        // Not yet; or already, and then every refusal is the outage's.
        if let Some(outage) = self.refusals.outage() {
            self.close(Shut::Outage(outage), now);
            return Some(Turn::Outage(outage, ten.unwrap_or_default()));
        }
        self.reached(status, now)
    }

    fn not_reached(&mut self, why: NoAnswer, now: Now, rng: &mut Rng) -> Option<Turn> {
        self.failures = self.failures.saturating_add(1);
        match self.health {
            Health::Closed { .. } | Health::Down { .. } => {
                self.probe_again(now, rng);
                None
            }
            Health::Open if self.failures < DOWN_AFTER => None,
            Health::Open | Health::Opening { .. } => {
                self.health = Health::Down {
                    since: now.wall,
                    probe_at: now.mono + rng.jitter(DOWN_PROBE_MIN),
                    pause: DOWN_PROBE_MIN,
                };
                Some(Turn::Down(why))
            }
        }
    }

    /// The probe told nothing: as it was, as far as we know.
    fn probe_again(&mut self, now: Now, rng: &mut Rng) {
        match &mut self.health {
            Health::Closed { probe_at, .. } => *probe_at = now.mono + CLOSED_PROBE,
            Health::Down {
                probe_at, pause, ..
            } => {
                *pause = (*pause * 2).min(DOWN_PROBE_MAX);
                *probe_at = now.mono + rng.jitter(*pause).min(DOWN_PROBE_MAX);
            }
            Health::Open | Health::Opening { .. } => {}
        }
    }

    /// It answered, and the record is not filed.
    fn reached(&mut self, status: u16, now: Now) -> Option<Turn> {
        self.failures = 0;
        match self.health {
            Health::Open | Health::Opening { .. } => None,
            // An ingress in trouble answers now this, now that.
            Health::Closed {
                shut: shut @ Shut::Outage(_),
                ..
            } => {
                self.close(shut, now);
                None
            }
            Health::Closed { .. } | Health::Down { .. } => {
                self.health = Health::Opening {
                    limit: 1,
                    told: false,
                };
                Some(Turn::Answers(status))
            }
        }
    }

    fn filed(&mut self) -> Option<Turn> {
        self.failures = 0;
        let (limit, told) = match self.health {
            Health::Open => return None,
            Health::Opening { limit, told } => (limit.saturating_mul(2), told),
            Health::Closed { .. } | Health::Down { .. } => (1, false),
        };
        self.health = if limit >= self.workers {
            Health::Open
        } else {
            Health::Opening { limit, told: true }
        };
        (!told).then_some(Turn::Open)
    }

    fn not_sent(&mut self, next: Mono) -> Option<Turn> {
        match &mut self.health {
            Health::Closed { probe_at, .. } | Health::Down { probe_at, .. } => *probe_at = next,
            _ => {}
        }
        None
    }

    /// What a restart must not forget, if it has changed since it was last asked for.
    pub(super) fn take_kept(&mut self) -> Option<DestinationRow> {
        std::mem::take(&mut self.unkept).then(|| DestinationRow {
            held_until: self.held_wall,
            refused: self.refusals.rows(),
        })
    }

    /// What was asked for is not in the store.
    pub(super) fn not_kept(&mut self) {
        self.unkept = true;
    }

    /// Whether [`take_kept`](Self::take_kept) would give anything.
    pub(super) fn unkept(&self) -> bool {
        self.unkept
    }

    /// The records whose rows belong with [`take_kept`](Self::take_kept) in one commit.
    pub(super) fn refused_ids(&self) -> Vec<RecordId> {
        self.refusals.ids().collect()
    }

    /// For the status page.
    pub(super) fn snapshot(&self, now: Now) -> DestinationSnapshot {
        let held = now.mono < self.held_until;
        let (state, since, sentence) = match self.health {
            Health::Closed {
                shut: Shut::ToUs(status),
                since,
                ..
            } => (
                HistoryState::Closed,
                Some(since),
                format!(
                    "the history manager answers {status} and is closed to us; check its address, \
                     our token and our permission there{}",
                    self.last_probe(status)
                ),
            ),
            Health::Closed {
                shut: Shut::Outage(status),
                since,
                ..
            } => (
                HistoryState::Closed,
                Some(since),
                format!(
                    "{OUTAGE} different records were refused with {status} and none was filed in \
                     between: probably by what stands before the history manager; check its \
                     address and its ingress{}",
                    self.last_probe(status)
                ),
            ),
            Health::Down { since, .. } => (
                HistoryState::Down,
                Some(since),
                match self.last {
                    Last::NoAnswer(why) => format!(
                        "the history manager {}; it is probed, records wait",
                        why.sentence()
                    ),
                    _ => String::from(
                        "the history manager cannot be reached; it is probed, records wait",
                    ),
                },
            ),
            _ if held => (
                HistoryState::Held,
                None,
                format!(
                    "the history manager asked for a pause of another {} s",
                    self.held_until.since(now.mono).as_secs()
                ),
            ),
            Health::Opening { .. } | Health::Open => self.said_of_the_last(),
        };
        DestinationSnapshot {
            state,
            since,
            sentence,
            closed: self.closed(),
            last_filed: self.last_filed,
        }
    }

    /// What the last probe of a closed destination brought, if it was something else.
    fn last_probe(&self, status: u16) -> String {
        match self.last {
            Last::Answered(other) | Last::Refused(other) if other != status => {
                format!("; to the last probe it answered {other}")
            }
            Last::InProgress => String::from("; to the last probe it answered 409"),
            Last::NoAnswer(why) => format!("; at the last probe it {}", why.sentence()),
            _ => String::new(),
        }
    }

    fn said_of_the_last(&self) -> (HistoryState, Option<Wall>, String) {
        let (state, sentence) = match self.last {
            Last::Nothing => (
                HistoryState::Untried,
                String::from("no record was tried since the start"),
            ),
            Last::Filed => match self.health {
                Health::Opening { limit, .. } => (
                    HistoryState::Opening,
                    format!("the history manager is back; {limit} posts at once, soon more"),
                ),
                _ => (
                    HistoryState::Open,
                    String::from("the history manager takes records"),
                ),
            },
            Last::Refused(status) => (
                HistoryState::Failing,
                format!("the history manager refused the last record with {status}"),
            ),
            Last::InProgress => (
                HistoryState::Failing,
                String::from(
                    "the history manager answered 409 to the last record, whose earlier try may \
                     be in progress there; it is asked again",
                ),
            ),
            Last::Answered(status) => (
                HistoryState::Failing,
                format!("the history manager answered {status} to the last try; records wait"),
            ),
            Last::NoAnswer(why) => (
                HistoryState::Failing,
                format!(
                    "the history manager {} at the last try; the record waits",
                    why.sentence()
                ),
            ),
        };
        (state, None, sentence)
    }
}

words! {
    /// How the history manager fares, as far as it is shown.
    #[derive(Default)]
    HistoryState {
        /// No record was tried since the start.
        #[default]
        Untried = "untried",
        /// It takes records.
        Open = "open",
        /// It is back, and is given a little more at a time.
        Opening = "opening",
        /// It did not take the last record.
        Failing = "failing",
        /// It asked for a pause.
        Held = "held",
        /// It cannot be reached.
        Down = "down",
        /// It refuses us, or every record alike.
        Closed = "closed",
    }
}

/// The destination for people and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DestinationSnapshot {
    /// How it fares.
    pub state: HistoryState,
    /// Since when it is down or closed.
    pub since: Option<Wall>,
    /// A sentence without a full stop: what it did last.
    pub sentence: String,
    /// `genesys_gateway_history_closed`.
    pub closed: bool,
    /// When a record was last filed in this process.
    pub last_filed: Option<Wall>,
}

#[cfg(test)]
mod tests;
