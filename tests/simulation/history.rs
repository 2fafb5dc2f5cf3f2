//! The history manager: an idempotent receiver that counts, in moods.

use std::collections::BTreeMap;
use std::time::Duration;

use base::ids::RecordId;
use base::rng::Rng;
use base::wire::NoAnswer;
use filing::PostOutcome;

use crate::agenda::{SECOND, Time};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Good,
    /// Nobody there, or no answer although it accepted.
    Down {
        accepts: bool,
    },
    /// 408, 425, 429, 5xx.
    Later(u16, Option<u64>),
    /// 401, 403, 3xx.
    Closed(u16),
    /// Slower than the forwarders wait; it accepts all the same.
    Slow,
    /// So many in a hundred are refused for good.
    Dead(u64),
    /// It says 409 to what it has.
    Conflict,
    /// A try is not answered in time and goes on; meanwhile it says 409 to the next one.
    InProgress,
    /// Everything is refused with [`STORM`].
    Storm,
}

/// The status of [`Mood::Storm`], which no other mood gives.
pub(crate) const STORM: u16 = 410;

#[derive(Clone, Debug)]
pub(crate) struct Filed {
    pub(crate) times: u32,
    /// Digest of the body that came first.
    pub(crate) body: u64,
}

pub(crate) struct History {
    pub(crate) mood: Mood,
    pub(crate) until: Time,
    pub(crate) filed: BTreeMap<RecordId, Filed>,
    /// Refused for good.
    pub(crate) dead: BTreeMap<RecordId, u16>,
    pub(crate) posts: u64,
    /// A repeated key came with another body.
    pub(crate) changed: bool,
    /// Closed to us: `(status, since)` of the posts seen meanwhile.
    pub(crate) while_closed: Vec<Time>,
    /// Tries that go on although nobody waits: until when, and whether they succeed.
    progress: BTreeMap<RecordId, (Time, bool)>,
    pub(crate) storms: usize,
    /// Posts fail from this one (counted from 0) on, so many times.
    pub(crate) fail_from: Option<(u64, u64)>,
}

impl History {
    pub(crate) fn new() -> History {
        History {
            mood: Mood::Good,
            until: 0,
            filed: BTreeMap::new(),
            dead: BTreeMap::new(),
            posts: 0,
            changed: false,
            while_closed: Vec::new(),
            progress: BTreeMap::new(),
            storms: 0,
            fail_from: None,
        }
    }

    fn accept(&mut self, key: RecordId, body: u64) {
        let filed = self.filed.entry(key).or_insert(Filed { times: 0, body });
        filed.times += 1;
        self.changed |= filed.body != body;
    }

    /// A post arrives. Gives the outcome and how long it takes; `None` for the body
    /// means that the outcome is known before it is read.
    pub(crate) fn post(
        &mut self,
        key: RecordId,
        body: u64,
        now: Time,
        rng: &mut Rng,
    ) -> (Time, PostOutcome) {
        let number = self.posts;
        self.posts += 1;
        if self
            .fail_from
            .is_some_and(|(from, n)| number >= from && number - from < n)
        {
            return (10 * SECOND, PostOutcome::NoAnswer(NoAnswer::TimedOut));
        }
        let mood = if now < self.until {
            self.mood
        } else {
            Mood::Good
        };
        let quick = 5 + rng.below(200);
        match self.progress.get(&key) {
            Some((end, _)) if now < *end => return (quick, answered(409, None)),
            Some((_, true)) => {
                self.progress.remove(&key);
                self.accept(key, body);
                return (quick, answered(409, None));
            }
            _ => {
                self.progress.remove(&key);
            }
        }
        match mood {
            Mood::Good => {
                self.accept(key, body);
                (
                    quick,
                    answered([200, 201, 202, 204][rng.below(4) as usize], None),
                )
            }
            Mood::Conflict => {
                let known = self.filed.contains_key(&key);
                self.accept(key, body);
                (quick, answered(if known { 409 } else { 200 }, None))
            }
            Mood::InProgress if !self.filed.contains_key(&key) && rng.chance(60) => {
                let end = now + 5 * SECOND + rng.below(45 * SECOND);
                self.progress.insert(key, (end, rng.chance(50)));
                (10 * SECOND, PostOutcome::NoAnswer(NoAnswer::TimedOut))
            }
            Mood::InProgress => {
                self.accept(key, body);
                (quick, answered(200, None))
            }
            Mood::Storm => {
                // Also what it has: the answer to the first try may have been lost.
                self.dead.insert(key, STORM);
                (quick, answered(STORM, None))
            }
            Mood::Down { accepts } => {
                let accepts = accepts && rng.chance(50);
                if accepts {
                    self.accept(key, body);
                }
                let how = match (accepts, rng.below(3)) {
                    (false, 0) => NoAnswer::NotSent,
                    (_, 1) => NoAnswer::TimedOut,
                    _ => NoAnswer::Unknown,
                };
                let takes = if how == NoAnswer::TimedOut {
                    10 * SECOND
                } else {
                    quick
                };
                (takes, PostOutcome::NoAnswer(how))
            }
            Mood::Later(status, after) => (quick, answered(status, after)),
            Mood::Closed(status) => {
                self.while_closed.push(now);
                (quick, answered(status, None))
            }
            Mood::Slow => {
                self.accept(key, body);
                (10 * SECOND, PostOutcome::NoAnswer(NoAnswer::TimedOut))
            }
            Mood::Dead(percent) => {
                if !self.filed.contains_key(&key) && rng.chance(percent) {
                    let status = [400, 404, 413, 422][rng.below(4) as usize];
                    self.dead.insert(key, status);
                    return (quick, answered(status, None));
                }
                self.accept(key, body);
                (quick, answered(200, None))
            }
        }
    }
}

fn answered(status: u16, after: Option<u64>) -> PostOutcome {
    PostOutcome::Answered {
        status,
        retry_after: after.map(Duration::from_secs),
        excerpt: String::new(),
    }
}
