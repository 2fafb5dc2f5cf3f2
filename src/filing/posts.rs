//! Tries to file records, and what their outcomes bring about.
//!
//! Invariants: only a record whose body is in the store is tried, and by one try
//! at a time; no try is counted while the destination is closed to us, nor one
//! that was never sent; patience is time in which we tried, whatever the clock on
//! the wall does and however long the machine was off.

use std::ops::Bound;
use std::time::Duration;

use super::destination::Turn;
use super::machine::{Filing, Kept, Remembered};
use super::outbox::{BACKOFF_MAX, backoff};
use super::verdict::{Later, PostFailure, Verdict, verdict};
use super::{Order, PostOutcome};
use base::ids::RecordId;
use base::notice::Level;
use base::rows::RecordState;
use base::time::{Mono, Now};

/// While down, so many rows are looked at with each probe, to make the patience they have used
/// up durable.
const PATIENCE_ROWS: usize = 2_000;
/// And written when it has grown by so much: a restart gives a record back no more than this.
const PATIENCE_STEP: Duration = Duration::from_secs(3600);
/// For so long after a try without an answer a 409 may mean that very try (design, section 5).
const IN_PROGRESS: Duration = Duration::from_secs(60);
/// So often a record comes back from an outage; then it is its own fault.
const OUTAGES_MAX: u8 = 3;

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
            RecordState::Queued if rec.next_try <= now.mono => self.outbox.fresh(id),
            RecordState::Queued => self.outbox.defer(id, rec.next_try),
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
        let mut verdict = verdict(outcome);
        if verdict == Verdict::Conflict && !self.in_progress(id, now) {
            verdict = Verdict::Filed;
        }
        let turn = self.destination.learn(id, &verdict, now, &mut self.rng);
        self.judge(id, verdict, now);
        if let Some(turn) = turn {
            self.tell(turn, now);
        }
        if self.destination.down() {
            self.keep_patience(now);
        }
        self.release_record(id);
    }

    /// Whether an earlier try of the record may still be under way at the other end.
    fn in_progress(&self, id: RecordId, now: Now) -> bool {
        let unanswered = self.records.get(&id).and_then(|rec| rec.unanswered);
        unanswered.is_some_and(|at| now.mono.since(at) < IN_PROGRESS)
    }

    fn judge(&mut self, id: RecordId, verdict: Verdict, now: Now) {
        let tried = self.destination.tried(now.mono);
        let closed = self.destination.closed();
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        if let Verdict::Later {
            how: Later::Unreachable(_) | Later::BrokenOff(_),
            ..
        } = verdict
        {
            rec.unanswered = Some(now.mono);
        }
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
                self.counters.failed(PostFailure::Closed);
                self.queue_record(id, now);
            }
            Verdict::Refused { .. } if closed => {
                // The outage's refusal, not the record's.
                self.counters.failed(PostFailure::Closed);
                self.queue_record(id, now);
            }
            Verdict::Later { .. } if closed => {
                // A probe that told nothing.
                self.queue_record(id, now);
            }
            Verdict::NotSent { error } => {
                // No try, and no time in which we tried.
                rec.tried_at = tried;
                rec.unread = rec.unread.saturating_add(1);
                rec.next_try = now.mono + backoff(u32::from(rec.unread), &mut self.rng);
                self.say(
                    Level::Warn,
                    "record-unread",
                    format!("{error}; record {id} is read again later"),
                );
                self.queue_record(id, now);
            }
            Verdict::Conflict => {
                rec.row.attempts = rec.row.attempts.saturating_add(1);
                rec.row.last_error = Some(String::from(
                    "the history manager answered 409, and an earlier try may be in progress there",
                ));
                if rec.row.state != RecordState::Held {
                    wait(rec, IN_PROGRESS, now);
                }
                self.counters.failed(PostFailure::InProgress);
                self.ledger.dirty_records.insert(id);
                self.queue_record(id, now);
            }
            Verdict::Later {
                retry_after,
                cause,
                error,
                ..
            } => {
                if rec.row.attempts == 0 {
                    rec.tried_at = tried;
                }
                use_patience(rec, tried);
                rec.unread = 0;
                rec.row.attempts = rec.row.attempts.saturating_add(1);
                let given_up = rec.row.patience_used >= self.settings.give_up_after;
                let held = rec.row.state == RecordState::Held;
                rec.row.last_error = Some(error);
                self.counters.failed(cause);
                if held {
                    // The operator's hand is on it.
                } else if given_up {
                    self.counters.failed(PostFailure::GivenUp);
                    let why = rec.row.last_error.as_deref().unwrap_or_default();
                    let error = format!("given up after {} tries: {why}", rec.row.attempts);
                    self.dead(id, error);
                } else {
                    let pause = backoff(rec.row.attempts, &mut self.rng);
                    wait(rec, retry_after.map_or(pause, |r| pause.max(r)), now);
                }
                self.ledger.dirty_records.insert(id);
                self.queue_record(id, now);
            }
            Verdict::Refused { error, .. } => {
                self.needs_person(id, PostFailure::Refused, error, now)
            }
            Verdict::Unreadable { error } => {
                self.needs_person(id, PostFailure::Unreadable, error, now)
            }
        }
    }

    fn needs_person(&mut self, id: RecordId, cause: PostFailure, error: String, now: Now) {
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        rec.row.attempts = rec.row.attempts.saturating_add(1);
        self.counters.failed(cause);
        if rec.row.state == RecordState::Held {
            rec.row.last_error = Some(error);
        } else {
            self.dead(id, error);
        }
        self.ledger.dirty_records.insert(id);
        self.queue_record(id, now);
    }

    /// A person is needed. The reason may quote the answer, so it stays out of the log.
    fn dead(&mut self, id: RecordId, error: String) {
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        let row = &mut rec.row;
        row.state = RecordState::Dead;
        row.next_try = None;
        row.last_error = Some(error);
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
            Turn::Closed(status) => self.say(
                Level::Error,
                "history-closed",
                format!(
                    "the history manager answers {status} and is closed to us: nothing is filed \
                     until it lets us in; check its address, our token and our permission there"
                ),
            ),
            Turn::Outage(status, ten) => {
                let mut back = 0;
                for id in ten {
                    back += usize::from(self.bring_back(id, now));
                }
                let told = match back {
                    0 => String::new(),
                    n => format!("; {n} that were called dead wait with the others"),
                };
                self.say(
                    Level::Error,
                    "history-closed",
                    format!(
                        "the history manager refuses one record after the other with {status}: \
                         that is taken for an outage of what stands before it, and nothing is \
                         filed until it files again; check its address and its ingress{told}"
                    ),
                );
            }
            Turn::Down(why) => self.say(
                Level::Warn,
                "history-down",
                format!(
                    "the history manager {}; records wait, and it is probed",
                    why.sentence()
                ),
            ),
            Turn::Answers(status) => self.say(
                Level::Info,
                "history-open",
                format!(
                    "the history manager can be reached and lets us in again, but answers \
                     {status}; records wait"
                ),
            ),
            Turn::Open => self.say(
                Level::Info,
                "history-open",
                "the history manager takes records again",
            ),
        }
    }

    /// A record that is dead by an outage waits with the others; a person may have had another
    /// idea meanwhile.
    fn bring_back(&mut self, id: RecordId, now: Now) -> bool {
        let dead =
            |rec: &&mut Remembered| rec.row.state == RecordState::Dead && rec.outages < OUTAGES_MAX;
        let Some(rec) = self.records.get_mut(&id).filter(dead) else {
            return false;
        };
        rec.outages += 1;
        rec.row.state = RecordState::Deferred;
        wait(rec, Duration::ZERO, now);
        self.ledger.dirty_records.insert(id);
        self.queue_record(id, now);
        true
    }

    /// Makes the patience that the next rows have used up durable, in rotation.
    fn keep_patience(&mut self, now: Now) {
        let tried = self.destination.tried(now.mono);
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
                && rec.row.state == RecordState::Deferred
                && matches!(rec.kept, Kept::As(_))
                && tried.saturating_sub(rec.tried_at) >= PATIENCE_STEP
            {
                use_patience(rec, tried);
                self.ledger.dirty_records.insert(id);
            }
        }
    }
}

/// The time in which we tried since the record was last looked at is the record's.
fn use_patience(rec: &mut Remembered, tried: Duration) {
    rec.row.patience_used += tried.saturating_sub(rec.tried_at);
    rec.tried_at = tried;
}

fn wait(rec: &mut Remembered, pause: Duration, now: Now) {
    rec.row.state = RecordState::Deferred;
    rec.next_try = now.mono + pause;
    rec.row.next_try = Some(now.wall + pause);
}
