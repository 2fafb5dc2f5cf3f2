//! What callers ask: accepted, weighed against memory and store, and answered
//! when the change behind the answer is durable.
//!
//! Invariants: a request changes nothing in memory before it is committed, so a
//! refused one changes nothing at all; every request is answered exactly once,
//! within [`CALLER_OUTCOME_MAX`](super::settings::CALLER_OUTCOME_MAX).

use super::Order;
use super::caller::{Act, Answer, CallerId, CallerRequest, EndReason};
use super::commit::{Ask, Entry, Outcome};
use super::machine::{Filing, Kept};
use super::record::{keyed_result, keyless_result};
use super::settings::{LIVE_INTERACTIONS_MAX, LOOKUPS_MAX, STOPPING, UNDELIVERED_MAX};
use base::ids::{ConversationId, RecordId};
use base::rows::{
    Change, Found, InteractionRow, InteractionState, Leg, Lookup, RecordKind, RecordRow,
    RecordState, Source, StoreOrder,
};
use base::time::Now;

/// What a request is about: within one transaction, one request each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Conversation(ConversationId),
    Record(RecordId),
    Key(String),
}

/// What is to be done with a request now.
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub(super) enum Weighed {
    /// Nothing changes; tell the caller.
    Answer(Answer),
    /// Ask the store first.
    LookUp,
    /// Something it depends on is not durable yet.
    Wait,
    /// Commit this.
    Change(Change, Outcome),
}

impl Ask {
    pub(super) fn subject(&self) -> Option<Subject> {
        match &self.request {
            CallerRequest::Accept { conversation, .. }
            | CallerRequest::Stop { conversation }
            | CallerRequest::Event { conversation, .. } => {
                Some(Subject::Conversation(*conversation))
            }
            CallerRequest::SupportResult {
                idempotency_key, ..
            } => idempotency_key.clone().map(Subject::Key),
            CallerRequest::Act { record, .. } => Some(Subject::Record(*record)),
        }
    }

    fn lookup(&self) -> Option<Lookup> {
        self.subject().map(|subject| match subject {
            Subject::Conversation(id) => Lookup::Interaction(id),
            Subject::Record(id) => Lookup::Record(id),
            Subject::Key(key) => Lookup::Key(key),
        })
    }
}

impl Filing {
    pub(super) fn asked(&mut self, caller: CallerId, request: CallerRequest, now: Now) {
        if self.ledger.stopping {
            self.busy(caller, STOPPING, now);
            return;
        }
        if self.ledger.trouble.is_some() {
            self.busy(caller, "the store cannot commit at present", now);
            return;
        }
        if !self.ledger.room_for_ask() {
            self.busy(caller, "too many requests wait for the store", now);
            return;
        }
        self.ledger.ask_came(caller, now);
        let ask = Ask {
            caller,
            request,
            at: now,
            looked: None,
            looked_at: 0,
        };
        let known = match ask.subject() {
            Some(Subject::Conversation(id)) => self.interactions.contains_key(&id),
            Some(Subject::Record(id)) => self.records.contains_key(&id),
            Some(Subject::Key(_)) => false,
            None => true,
        };
        if known {
            self.ledger.queue.push_back(Entry::Ask(ask));
        } else {
            self.ledger.lookups.push_back(ask);
        }
    }

    pub(super) fn busy(&mut self, caller: CallerId, detail: &str, now: Now) {
        self.counters.busy += 1;
        self.out.push_back(Order::Answer(
            caller,
            Answer::Busy {
                retry_after: self.ledger.retry_after(now.mono),
                detail: detail.to_owned(),
            },
        ));
    }

    /// Refuses what has waited too long for its turn, and tells those whose transaction takes
    /// too long that its outcome is unknown.
    pub(super) fn lose_patience(&mut self, now: Now) {
        if self.ledger.patience_ends().is_none_or(|at| at > now.mono) {
            return;
        }
        for caller in self.ledger.withdraw(now.mono) {
            self.busy(
                caller,
                "the store has not come to it in time; nothing was changed",
                now,
            );
        }
        for caller in self.ledger.outcome_overdue(now.mono) {
            self.out.push_back(Order::Answer(caller, Answer::Unknown));
        }
    }

    /// Answers a request that was let in, unless its caller was told that the outcome is unknown.
    pub(super) fn answer(&mut self, caller: CallerId, answer: Answer) {
        if !self.ledger.ask_ends(caller) {
            return;
        }
        if matches!(answer, Answer::Busy { .. }) {
            self.counters.busy += 1;
        }
        self.out.push_back(Order::Answer(caller, answer));
    }

    /// Answers "busy" to a request that was let in.
    pub(super) fn turn_away(&mut self, caller: CallerId, detail: &str, now: Now) {
        let retry_after = self.ledger.retry_after(now.mono);
        self.answer(
            caller,
            Answer::Busy {
                retry_after,
                detail: detail.to_owned(),
            },
        );
    }

    /// Asks the store about what memory does not know: one look-up at a time, many questions each.
    pub(super) fn look_up(&mut self) {
        if self.ledger.looking.is_some() || self.ledger.lookups.is_empty() {
            return;
        }
        let n = self.ledger.lookups.len().min(LOOKUPS_MAX);
        let asks: Vec<Ask> = self.ledger.lookups.drain(..n).collect();
        // Every request in here has a subject; one without would not have come here.
        let what: Vec<Lookup> = asks.iter().filter_map(Ask::lookup).collect();
        let ticket = self.ledger.ticket();
        self.ledger.looking = Some((ticket, asks));
        self.out
            .push_back(Order::Store(StoreOrder::Lookup { ticket, what }));
    }

    pub(super) fn looked(&mut self, ticket: u64, found: Option<Vec<Found>>, now: Now) {
        let Some((_, asks)) = self.ledger.looking.take_if(|(t, _)| *t == ticket) else {
            self.never("an answer to a look-up that is not outstanding");
            return;
        };
        let found = found.filter(|f| f.len() == asks.len());
        let Some(found) = found.filter(|_| self.ledger.trouble.is_none()) else {
            for ask in asks {
                self.turn_away(ask.caller, "the store cannot be read at present", now);
            }
            return;
        };
        for (mut ask, found) in asks.into_iter().zip(found) {
            if !self.ledger.ask_waits(ask.caller) {
                // Withdrawn meanwhile.
                continue;
            }
            ask.looked = Some(found);
            ask.looked_at = ticket;
            self.ledger.queue.push_back(Entry::Ask(ask));
        }
    }

    /// Decides about a request while no commit is outstanding. Memory goes before what the
    /// store said, because it may have changed since.
    pub(super) fn weigh(&mut self, ask: &Ask) -> Weighed {
        match &ask.request {
            CallerRequest::Accept {
                conversation,
                members,
            } => self.weigh_accept(*conversation, members, ask),
            CallerRequest::Stop { conversation } => self.weigh_stop(*conversation, ask),
            CallerRequest::SupportResult {
                idempotency_key,
                body_digest,
                conversation,
                result,
            } => self.weigh_result(
                idempotency_key.as_deref(),
                body_digest,
                *conversation,
                result,
                ask,
            ),
            CallerRequest::Event { conversation, body } => {
                self.weigh_event(*conversation, body, ask)
            }
            CallerRequest::Act { record, act } => self.weigh_act(*record, *act, ask),
        }
    }

    fn weigh_accept(&self, id: ConversationId, members: &str, ask: &Ask) -> Weighed {
        let looked = match (self.interactions.get(&id), &ask.looked) {
            (Some(w), _) if !w.ended() => {
                return Weighed::Change(
                    Change::Accept {
                        row: w.row.clone(),
                        members: members.to_owned(),
                    },
                    Outcome::Merged(w.row.clone()),
                );
            }
            (Some(_), _) => None,
            (None, Some(Found::Interaction(row, records))) if !self.outdated(id, records, ask) => {
                Some((row.clone(), records.clone()))
            }
            (None, _) => return Weighed::LookUp,
        };
        if let Some(detail) = full(self.live_count, self.undelivered) {
            return Weighed::Answer(self.refusal(detail));
        }
        let row = InteractionRow {
            conversation: id,
            state: InteractionState::Accepted,
            accepted_at: ask.at.wall,
            watched_since: None,
            ended_at: None,
            reason: None,
            last_event_at: None,
        };
        Weighed::Change(
            Change::Accept {
                row: row.clone(),
                members: members.to_owned(),
            },
            Outcome::Started { row, looked },
        )
    }

    /// Which bound stands against another record, if one does.
    pub(super) fn outbox_full(&self) -> Option<&'static str> {
        // A record is no interaction: only the outbox counts.
        full(0, self.undelivered)
    }

    pub(super) fn refusal(&self, detail: &str) -> Answer {
        Answer::Busy {
            retry_after: std::time::Duration::from_secs(60),
            detail: detail.to_owned(),
        }
    }

    fn weigh_stop(&self, id: ConversationId, ask: &Ask) -> Weighed {
        let over = |row: &InteractionRow| {
            Weighed::Answer(Answer::AlreadyEnded {
                conversation: id,
                state: row.state,
                accepted_at: row.accepted_at,
                reason: row.reason.clone(),
            })
        };
        match (self.interactions.get(&id), &ask.looked) {
            (Some(w), _) if w.ended() && !w.end_committed => Weighed::Wait,
            (Some(w), _) if w.ended() => over(&w.row),
            (Some(w), _) => {
                let row = InteractionRow {
                    state: EndReason::Stopped.state(),
                    ended_at: Some(ask.at.wall),
                    reason: Some(EndReason::Stopped.told("a caller asked to stop".to_owned())),
                    ..w.row.clone()
                };
                Weighed::Change(Change::Interaction(row.clone()), Outcome::Stopped(row))
            }
            (None, Some(Found::Interaction(Some(row), _))) => over(row),
            (None, Some(Found::Interaction(None, _))) => Weighed::Answer(Answer::NotFound),
            (None, _) => Weighed::LookUp,
        }
    }

    fn weigh_result(
        &mut self,
        key: Option<&str>,
        digest: &[u8; 32],
        conversation: Option<ConversationId>,
        result: &str,
        ask: &Ask,
    ) -> Weighed {
        if key.is_some() {
            match &ask.looked {
                Some(Found::Key(None)) => {}
                Some(Found::Key(Some((_, before)))) if before != digest => {
                    return Weighed::Answer(Answer::KeyConflict);
                }
                Some(Found::Key(Some((row, _)))) => {
                    let state = match self.records.get(&row.record).map(|rec| rec.kept) {
                        Some(Kept::As(state)) => state,
                        _ => row.state,
                    };
                    return Weighed::Answer(Answer::SupportResult {
                        record: row.record,
                        state,
                    });
                }
                _ => return Weighed::LookUp,
            }
        }
        if let Some(detail) = self.outbox_full() {
            return Weighed::Answer(self.refusal(detail));
        }
        if self.counters.over_total() >= self.settings.kept_records_max {
            // Their keys are promised for as long as they are kept.
            return Weighed::Answer(
                self.refusal("as many delivered records are kept as the gateway can hold"),
            );
        }
        let record = match key {
            Some(key) => keyed_result(key, digest),
            None => keyless_result(self.rng.uuid()),
        };
        let row = RecordRow {
            record,
            kind: RecordKind::SupportResult,
            conversation,
            source: Source::SupportResult,
            leg: Leg::default(),
            ordinal: 0,
            event_time: None,
            matched_time: None,
            content_digest: None,
            received_at: ask.at.wall,
            state: RecordState::Queued,
            attempts: 0,
            next_try: None,
            patience_used: std::time::Duration::ZERO,
            delivered_at: None,
            last_error: None,
        };
        Weighed::Change(
            Change::Take {
                row: row.clone(),
                body: result.to_owned(),
                key: key.map(|k| (k.to_owned(), *digest)),
            },
            Outcome::Result(row),
        )
    }

    fn weigh_act(&self, id: RecordId, act: Act, ask: &Ask) -> Weighed {
        let row = match (self.records.get(&id), &ask.looked) {
            (Some(rec), _) => match rec.kept {
                Kept::As(_) => &rec.row,
                _ => return Weighed::Wait,
            },
            // Whatever is not over is in memory.
            (None, Some(Found::Record(Some(row)))) => row,
            (None, Some(Found::Record(None))) => return Weighed::Answer(Answer::NotFound),
            (None, _) => return Weighed::LookUp,
        };
        let Some(state) = act.after(row.state) else {
            return Weighed::Answer(Answer::WrongState { state: row.state });
        };
        let row = acted(row, act, state);
        Weighed::Change(Change::Record(row.clone()), Outcome::Acted(row))
    }
}

/// Which bound stands against taking in more, if one does.
fn full(live: usize, undelivered: usize) -> Option<&'static str> {
    if live >= LIVE_INTERACTIONS_MAX {
        Some("as many interactions are watched as the gateway can hold")
    } else if undelivered >= UNDELIVERED_MAX {
        Some("as many records wait for the history manager as the gateway can hold")
    } else {
        None
    }
}

/// The row after an act. Who is let go again is given the whole patience anew.
fn acted(row: &RecordRow, act: Act, state: RecordState) -> RecordRow {
    let anew = matches!(act, Act::Retry | Act::Release);
    RecordRow {
        state,
        next_try: None,
        patience_used: if anew {
            std::time::Duration::ZERO
        } else {
            row.patience_used
        },
        ..row.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_stand_exactly_where_they_are_set() {
        assert_eq!(full(LIVE_INTERACTIONS_MAX - 1, UNDELIVERED_MAX - 1), None);
        assert!(full(LIVE_INTERACTIONS_MAX, 0).is_some());
        assert!(full(0, UNDELIVERED_MAX).is_some());
    }
}
