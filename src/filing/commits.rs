//! What the store reports, and what a committed batch sets free.
//!
//! Invariant: answers, posts, "watch", "unwatch" and the counting of what is
//! over happen here, after the commit, and nowhere else.

use super::caller::{Answer, EventOutcome};
use super::commit::{Ask, Effect, Entry, Outcome};
use super::interaction::Watched;
use super::machine::{Filing, Kept};
use base::ids::RecordId;
use base::notice::Level;
use base::rows::{
    InteractionRow, InteractionState, RecordKind, RecordRow, RecordState, StoreFact, StoreTrouble,
};
use base::time::{Mono, Now};

impl Filing {
    pub(super) fn stored(&mut self, fact: StoreFact, now: Now) {
        match fact {
            StoreFact::Committed {
                ticket,
                refused,
                outgrown,
                erased,
                purged_interactions,
                purged_records,
            } => {
                for (state, n) in purged_interactions {
                    self.counters.interaction_purged(state, n);
                }
                for (state, n) in purged_records {
                    self.counters.record_purged(state, n);
                }
                if erased > 0 {
                    self.ledger.maintenance_at = now.mono;
                }
                self.committed(ticket, &refused, &outgrown, now);
                self.release_events(now);
            }
            StoreFact::CommitFailed { ticket, trouble } => {
                self.commit_failed(ticket, trouble, now);
                self.release_events(now);
            }
            StoreFact::Looked { ticket, found } => self.looked(ticket, Some(found), now),
            StoreFact::LookupFailed { ticket, trouble } => {
                self.say(Level::Error, "store-lookup", trouble.sentence());
                self.looked(ticket, None, now);
            }
            // The platform client's own.
            StoreFact::ChannelsKept { .. } | StoreFact::ChannelsFailed { .. } => {}
        }
    }

    fn committed(&mut self, ticket: u64, refused: &[usize], outgrown: &[usize], now: Now) {
        let Some(batch) = self.ledger.batch.take_if(|b| b.ticket == ticket) else {
            self.never("a commit that is not outstanding");
            return;
        };
        if let Some(trouble) = self.ledger.trouble.take() {
            self.say(
                Level::Warn,
                "store-recovered",
                format!(
                    "the store commits again after {} s",
                    now.mono.since(trouble.since.mono).as_secs()
                ),
            );
        }
        for taking in &batch.takings {
            self.ledger.took(taking);
        }
        for (n, effect) in batch.effects.into_iter().enumerate() {
            if refused.contains(&n) {
                self.refused_change(effect, now);
                continue;
            }
            match effect {
                Effect::Asked(ask, _) if outgrown.contains(&n) => {
                    self.answer(ask.caller, Answer::Outgrown);
                }
                Effect::Taken(id) => self.taken_committed(id, now),
                Effect::Interaction(row) => {
                    if row.state.ended() {
                        self.end_committed(row.conversation, now);
                    }
                }
                Effect::Record(row) => self.row_committed(&row),
                Effect::Asked(ask, outcome) => self.ask_committed(ask, outcome, now),
                Effect::Destination | Effect::Maintenance => {}
            }
        }
    }

    /// The schema refused a change: our bug; the rest goes on.
    fn refused_change(&mut self, effect: Effect, now: Now) {
        let what = match &effect {
            Effect::Taken(_) => "a record",
            Effect::Interaction(_) => "an interaction's state",
            Effect::Record(_) => "a record's state",
            Effect::Asked(..) => "a request",
            Effect::Destination => "what is remembered of the history manager",
            Effect::Maintenance => "an erasure",
        };
        self.say(
            Level::Error,
            "store-refused",
            format!("the store refused {what}; this is a defect of the gateway"),
        );
        match effect {
            Effect::Taken(id) => {
                if let Some(rec) = self.records.remove(&id) {
                    self.undelivered = self.undelivered.saturating_sub(1);
                    self.ledger.dirty_records.remove(&id);
                    if let Some(w) = rec
                        .row
                        .conversation
                        .and_then(|c| self.interactions.get_mut(&c))
                    {
                        w.records.retain(|r| *r != id);
                    }
                }
            }
            // Better to give the topic up than to keep it for ever.
            Effect::Interaction(row) if row.state.ended() => {
                self.end_committed(row.conversation, now);
            }
            Effect::Asked(ask, _) => {
                self.turn_away(ask.caller, "the store refused the change", now);
            }
            _ => {}
        }
    }

    fn taken_committed(&mut self, id: RecordId, now: Now) {
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        rec.kept = Kept::As(RecordState::Queued);
        let conversation = rec.row.conversation;
        self.queue_record(id, now);
        if let Some(c) = conversation
            && self
                .interactions
                .get(&c)
                .is_some_and(|w| self.first_event_wanted(w))
        {
            self.end_after_first_event(c, now);
        }
    }

    fn row_committed(&mut self, row: &RecordRow) {
        let Some(rec) = self.records.get_mut(&row.record) else {
            return;
        };
        let was = match rec.kept {
            Kept::As(state) => state,
            _ => RecordState::Queued,
        };
        rec.kept = Kept::As(row.state);
        if row.state.over() && was != row.state {
            if was.over() {
                // Discarded while a try was under way that succeeded: it is filed after all.
                self.counters.record_purged(was, 1);
                self.counters.over(row.state, 1);
            } else {
                self.record_over(row.state);
            }
            if row.state == RecordState::Delivered {
                self.counters.filed(row);
            }
        }
        self.release_record(row.record);
    }

    fn ask_committed(&mut self, ask: Ask, outcome: Outcome, now: Now) {
        let caller = ask.caller;
        match outcome {
            Outcome::Merged(row) => {
                let answer = interaction_answer(&row, false);
                self.answer(caller, answer);
            }
            Outcome::Started { row, looked } => {
                let answer = interaction_answer(&row, true);
                self.started(row, looked, now);
                self.answer(caller, answer);
            }
            Outcome::Stopped(row) => {
                let answer = Answer::Stopping {
                    conversation: row.conversation,
                    state: row.state,
                    accepted_at: row.accepted_at,
                    reason: row.reason.clone(),
                };
                self.stopped(row, now);
                self.answer(caller, answer);
            }
            Outcome::Result(row) => {
                let answer = Answer::SupportResult {
                    record: row.record,
                    state: row.state,
                };
                let id = row.record;
                self.counters.taken(row.source);
                self.undelivered += 1;
                self.remember_record(row, Kept::As(RecordState::Queued), now);
                self.queue_record(id, now);
                self.answer(caller, answer);
            }
            Outcome::Event(row) => {
                self.event_committed(row, now);
                self.answer(caller, Answer::Event(EventOutcome::Taken));
            }
            Outcome::EventKnown => self.answer(caller, Answer::Event(EventOutcome::Known)),
            Outcome::Acted(row) => {
                let answer = Answer::Record {
                    record: row.record,
                    state: row.state,
                    attempts: row.attempts,
                    last_error: row.last_error.clone(),
                };
                self.acted(&row, now);
                self.answer(caller, answer);
            }
        }
    }

    fn started(
        &mut self,
        row: InteractionRow,
        looked: Option<(Option<InteractionRow>, Vec<RecordRow>)>,
        now: Now,
    ) {
        let id = row.conversation;
        let mut w = Watched::new(row, &self.settings, now);
        if let Some(prior) = self.interactions.remove(&id) {
            self.forgets.remove(&(prior.forget_at, id));
            self.stopped.remove(&(prior.forget_at, id));
            w.records = prior.records;
            w.takes_queued = prior.takes_queued;
            if prior.end_committed {
                self.counters.restarted(prior.row.state);
            } else if let Some(live) = prior.live_since {
                // Its topic was never given up, so nobody will call it live again.
                w.live_since = Some(live);
                w.owed = Some(now.mono);
                w.row.state = InteractionState::Watching;
                w.row.watched_since = Some(now.wall);
                self.ledger.dirty_interactions.insert(id);
            }
        } else if let Some((before, records)) = looked {
            if let Some(before) = before.filter(|row| row.state.ended()) {
                self.counters.restarted(before.state);
            }
            for row in records {
                if row.kind != RecordKind::AfterCallWork {
                    continue;
                }
                w.records.push(row.record);
                if !self.records.contains_key(&row.record) {
                    if !row.state.over() {
                        self.never("a record that is not over was not in memory");
                        continue;
                    }
                    let kept = Kept::As(row.state);
                    self.remember_record(row, kept, now);
                }
            }
        }
        self.watch(w, now);
    }

    fn stopped(&mut self, row: InteractionRow, now: Now) {
        let id = row.conversation;
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        let was_over = w.ended();
        w.row.state = row.state;
        w.row.ended_at = row.ended_at;
        w.row.reason = row.reason;
        if !was_over {
            self.ended(id);
        }
        self.end_committed(id, now);
    }

    fn acted(&mut self, row: &RecordRow, now: Now) {
        let id = row.record;
        let tried = self.destination.tried(now.mono);
        let Some(rec) = self.records.get_mut(&id) else {
            return;
        };
        if rec.row.state.over() {
            // It was delivered while the act was on its way; that wins, and its row follows.
            rec.kept = Kept::As(row.state);
            if row.state.over() {
                self.record_over(row.state);
            }
            self.ledger.dirty_records.insert(id);
            return;
        }
        let changed = rec.row.attempts != row.attempts;
        rec.row.state = row.state;
        rec.row.next_try = None;
        rec.row.patience_used = row.patience_used;
        rec.tried_at = tried;
        rec.next_try = now.mono;
        rec.unread = 0;
        rec.outages = 0;
        rec.kept = Kept::As(row.state);
        if changed {
            self.ledger.dirty_records.insert(id);
        }
        self.outbox.remove(id);
        if row.state.over() {
            self.record_over(row.state);
            self.release_record(id);
        } else {
            self.queue_record(id, now);
        }
    }

    fn commit_failed(&mut self, ticket: u64, kind: StoreTrouble, now: Now) {
        let Some(batch) = self.ledger.batch.take_if(|b| b.ticket == ticket) else {
            self.never("a failed commit that is not outstanding");
            return;
        };
        let first = self.ledger.failed(kind, batch.effects.is_empty(), now);
        self.say(
            Level::Error,
            "store-trouble",
            if first {
                format!("changes cannot be committed: {}", kind.sentence())
            } else {
                format!("changes still cannot be committed: {}", kind.sentence())
            },
        );
        if batch
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Destination))
        {
            self.destination.not_kept();
        }
        self.ledger.dirty_interactions.extend(batch.interactions);
        self.ledger.dirty_records.extend(batch.records);
        if batch
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Maintenance))
        {
            self.ledger.maintenance_at = Mono(0);
        }
        // Nothing of it happened: bodies back to the front, requests refused.
        for taking in batch.takings.into_iter().rev() {
            if let Some(rec) = self.records.get_mut(&taking.record) {
                rec.kept = Kept::Waiting;
                self.ledger.dirty_records.remove(&taking.record);
            }
            if let Some(w) = self.interactions.get_mut(&taking.conversation) {
                w.takes_queued += 1;
            }
            self.ledger.queue.push_front(Entry::Take(taking));
        }
        for effect in batch.effects {
            if let Effect::Asked(ask, _) = effect {
                self.turn_away(ask.caller, kind.sentence(), now);
            }
        }
        // Those that have not had their turn would wait for the same disk.
        let waiting = std::mem::take(&mut self.ledger.queue);
        for entry in waiting {
            match entry {
                Entry::Take(_) => self.ledger.queue.push_back(entry),
                Entry::Ask(ask) => self.turn_away(ask.caller, kind.sentence(), now),
            }
        }
        for ask in std::mem::take(&mut self.ledger.lookups) {
            self.turn_away(ask.caller, kind.sentence(), now);
        }
    }
}

fn interaction_answer(row: &InteractionRow, fresh: bool) -> Answer {
    Answer::Interaction {
        conversation: row.conversation,
        state: row.state,
        accepted_at: row.accepted_at,
        fresh,
    }
}
