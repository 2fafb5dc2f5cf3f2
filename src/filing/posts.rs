//! Tries to file records, and what their outcomes bring about.
//!
//! Invariant: only a record whose body is in the store is tried, and by one try
//! at a time; no try is counted, and no patience runs, while the destination is
//! closed to us.

use std::ops::Bound;
use std::time::Duration;

use super::destination::Turn;
use super::machine::{Filing, Kept, Remembered};
use super::outbox::{BACKOFF_MAX, backoff};
use super::rows::RecordState;
use super::verdict::{Verdict, verdict};
use super::{Order, PostOutcome};
use crate::ids::RecordId;
use crate::notice::Level;
use crate::time::{Mono, Now};

/// While closed, so many rows are looked at with each probe, to make the patience they were
/// given durable.
const PATIENCE_ROWS: usize = 2_000;
/// And written when it has grown by so much: a restart costs a record no more patience than this.
const PATIENCE_STEP: Duration = Duration::from_secs(3600);

impl Filing {
    /// Puts a record where its state belongs: in line, in wait, or out.
    pub(super) fn queue_record(&mut self, id: RecordId, now: Now) {
        let Some(rec) = self.records.get(&id) else {
            return;
        };
        if !matches!(rec.kept, Kept::As(_)) {
            return;
        }
        match rec.row.state {
            RecordState::Queued => self.outbox.fresh(id),
            RecordState::Deferred => self
                .outbox
                .defer(id, rec.next_try.min(now.mono + BACKOFF_MAX)),
            _ => self.outbox.remove(id),
        }
    }

    /// Lets out as many tries as the destination's health allows.
    pub(super) fn post(&mut self, now: Now) {
        let limit = self.destination.limit(now.mono);
        let probe = self.destination.closed();
        while let Some(record) = self.outbox.next(limit, now.mono, probe) {
            self.out.push_back(Order::Post { record });
        }
    }

    pub(super) fn post_deadline(&self) -> Option<Mono> {
        let next = self.outbox.next_at()?;
        let limit = |at: Mono| self.destination.limit(at);
        match self.destination.opens_at(Mono(0)) {
            _ if self.outbox.flying() >= limit(Mono::NEVER) => None,
            Some(opens) if self.destination.closed() => Some(opens),
            Some(opens) => Some(opens.max(next)),
            None => Some(next),
        }
    }

    pub(super) fn posted(&mut self, id: RecordId, outcome: &PostOutcome, now: Now) {
        if !self.outbox.landed(id) {
            self.never("the outcome of a try that was not ordered");
            return;
        }
        let verdict = verdict(outcome);
        let turn = self.destination.learn(&verdict, now, &mut self.rng);
        self.judge(id, &verdict, now);
        if let Some(turn) = turn {
            self.tell(turn, now);
        }
        self.release_record(id);
    }

    fn judge(&mut self, id: RecordId, verdict: &Verdict, now: Now) {
        let closed_total = self.destination.closed_total(now.mono);
        let give_up_after = self.settings.give_up_after;
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        match verdict {
            Verdict::Filed => {
                // Whatever was done to it meanwhile: it is there.
                rec.row.state = RecordState::Delivered;
                rec.row.attempts = rec.row.attempts.saturating_add(1);
                rec.row.delivered_at = Some(now.wall);
                rec.row.next_try = None;
                rec.row.last_error = None;
                self.ledger.dirty_records.insert(id);
            }
            _ if rec.row.state.over() => {}
            Verdict::Closed { .. } => {
                self.counters.failed("closed");
                self.queue_record(id, now);
            }
            Verdict::Later { .. } if self.destination.closed() => {
                // A probe that told nothing.
                self.queue_record(id, now);
            }
            Verdict::Later {
                retry_after,
                cause,
                error,
                ..
            } => {
                if rec.row.attempts == 0 {
                    rec.row.patience_from = now.wall;
                    rec.closed_until = closed_total;
                }
                move_patience_on(rec, closed_total);
                rec.row.attempts = rec.row.attempts.saturating_add(1);
                rec.row.last_error = Some(error.clone());
                let given_up = now.wall.since(rec.row.patience_from) >= give_up_after;
                if rec.row.state == RecordState::Held {
                    // The operator's hand is on it.
                } else if given_up {
                    rec.row.state = RecordState::Dead;
                    rec.row.next_try = None;
                    rec.row.last_error = Some(format!(
                        "given up after {} tries: {error}",
                        rec.row.attempts
                    ));
                } else {
                    let pause = backoff(rec.row.attempts, &mut self.rng);
                    let pause = retry_after.map_or(pause, |r| pause.max(r));
                    rec.row.state = RecordState::Deferred;
                    rec.next_try = now.mono + pause;
                    rec.row.next_try = Some(now.wall + pause);
                }
                let dead = rec.row.state == RecordState::Dead;
                self.counters.failed(cause);
                self.ledger.dirty_records.insert(id);
                if dead {
                    self.counters.failed("given-up");
                    self.dead(id);
                }
                self.queue_record(id, now);
            }
            Verdict::Dead { cause, error } => {
                rec.row.attempts = rec.row.attempts.saturating_add(1);
                rec.row.last_error = Some(error.clone());
                let held = rec.row.state == RecordState::Held;
                if !held {
                    rec.row.state = RecordState::Dead;
                    rec.row.next_try = None;
                }
                self.counters.failed(cause);
                self.ledger.dirty_records.insert(id);
                if !held {
                    self.dead(id);
                }
                self.queue_record(id, now);
            }
        }
    }

    /// A person is needed. The reason may quote the answer, so it stays out of the log.
    fn dead(&mut self, id: RecordId) {
        let Some(row) = self.records.get(&id).map(|rec| &rec.row) else {
            return;
        };
        let text = format!(
            "record {id} is dead after {} {}; see `records show {id}`, then retry or discard it",
            row.attempts,
            if row.attempts == 1 { "try" } else { "tries" }
        );
        match row.conversation {
            Some(c) => self.say_about(c, Level::Error, "record-dead", text),
            None => self.say(Level::Error, "record-dead", text),
        }
    }

    fn tell(&mut self, turn: Turn, now: Now) {
        match turn {
            Turn::Closed(status) => {
                self.say(
                    Level::Error,
                    "history-closed",
                    format!(
                        "the history manager answers {status} and is closed to us: nothing is filed \
                         until it lets us in; check its address, our token and our permission there"
                    ),
                );
                self.keep_patience(now);
            }
            Turn::Down => self.say(
                Level::Warn,
                "history-down",
                "the history manager cannot be reached; records wait, and it is probed",
            ),
            Turn::Open => self.say(
                Level::Info,
                "history-open",
                "the history manager takes records again",
            ),
        }
    }

    /// Makes the patience of the next rows durable, in rotation.
    fn keep_patience(&mut self, now: Now) {
        let closed_total = self.destination.closed_total(now.mono);
        let from = self
            .patience_cursor
            .map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<RecordId> = self
            .records
            .range((from, Bound::Unbounded))
            .take(PATIENCE_ROWS)
            .map(|(id, _)| *id)
            .collect();
        self.patience_cursor = ids.last().copied().filter(|_| ids.len() == PATIENCE_ROWS);
        for id in ids {
            if let Some(rec) = self.records.get_mut(&id)
                && !rec.row.state.over()
                && rec.row.attempts > 0
                && matches!(rec.kept, Kept::As(_))
                && closed_total.saturating_sub(rec.closed_until) >= PATIENCE_STEP
            {
                move_patience_on(rec, closed_total);
                self.ledger.dirty_records.insert(id);
            }
        }
    }
}

/// The time that the destination was closed is not the record's.
fn move_patience_on(rec: &mut Remembered, closed_total: Duration) {
    let closed = closed_total.saturating_sub(rec.closed_until);
    rec.row.patience_from = rec.row.patience_from + closed;
    rec.closed_until = closed_total;
}
