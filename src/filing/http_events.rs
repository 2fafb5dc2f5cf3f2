//! Events that come over HTTP (`POST /events/after-call-work`), beside or instead of the
//! WebSocket: the same identity, but with a caller who waits for the commit.
//!
//! Like every request it changes nothing in memory before its commit is done. While its record is
//! on its way into the store, what the platform announces or REST shows of the same conversation
//! waits, because it may be the same wrap-up.
//!
//! A conversation that nobody reported may have records without an interaction. They are only in
//! the store, so whoever decides about such a conversation looks there first, and looks again if a
//! record was added since.

use super::caller::{Answer, EventOutcome};
use super::callers::Weighed;
use super::commit::{Ask, Effect, Outcome};
use super::machine::{Filing, Kept};
use super::record::{Finding, Sighting, find, read_event};
use super::settings::{RECORDS_PER_INTERACTION_MAX, Unreported};
use super::snapshot::EventFate;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::Level;
use base::rows::{Change, Found, InteractionState, RecordRow, Source};
use base::time::Now;

/// Announcements that may wait for one commit; beyond it they are dropped and rebuilt over REST.
const HELD_MAX: usize = 1_000;

/// Conversations remembered as having got a record without an interaction of late.
const ORPHANED_MAX: usize = 4_096;

impl Filing {
    pub(super) fn weigh_event(&mut self, id: ConversationId, body: &str, ask: &Ask) -> Weighed {
        let unreported = |filing: &mut Filing, fate| {
            filing.counters.event(fate);
            Weighed::Answer(Answer::Event(EventOutcome::Unreported))
        };
        let (state, rows) = match (self.interactions.get(&id), &ask.looked) {
            (Some(w), _) => {
                let rows = self.rows_of(w).into_iter().cloned().collect();
                (Some(w.row.state), rows)
            }
            (None, Some(Found::Interaction(row, records))) if !self.outdated(id, records, ask) => {
                let rows: Vec<RecordRow> = records
                    .iter()
                    .map(|r| {
                        self.records
                            .get(&r.record)
                            .map_or(r, |rec| &rec.row)
                            .clone()
                    })
                    .collect();
                (row.as_ref().map(|r| r.state), rows)
            }
            (None, _) => return Weighed::LookUp,
        };
        match (state, self.settings.unreported) {
            (Some(InteractionState::Stopped), _) => return unreported(self, EventFate::Stopped),
            (None, Unreported::Ignore) => return unreported(self, EventFate::Unreported),
            _ => {}
        }
        let Ok(event) = read_event(body) else {
            return unreported(self, EventFate::Unreadable);
        };
        let seen = Sighting {
            source: Source::Notification,
            leg: event.leg,
            event_time: event.event_time,
            digest: Some(event.digest),
            twin: event.twin,
            received_at: ask.at.wall,
        };
        match find(id, rows.iter(), &seen) {
            Finding::Known(record) => self.known_event(record),
            Finding::Match(record) if self.records.contains_key(&record) => {
                self.matched(record, &seen);
                self.known_event(record)
            }
            Finding::Match(record) => match rows.into_iter().find(|r| r.record == record) {
                Some(mut row) => {
                    seen.mark(&mut row);
                    self.counters.event(EventFate::Duplicate);
                    Weighed::Change(Change::Record(row), Outcome::EventKnown)
                }
                None => Weighed::LookUp,
            },
            Finding::New { record, ordinal } => {
                if rows.len() >= RECORDS_PER_INTERACTION_MAX {
                    self.counters.event(EventFate::Flooded);
                    self.say_flooded(id);
                    return Weighed::Answer(
                        self.refusal("there are more wrap-ups than one conversation can have"),
                    );
                }
                if let Some(detail) = self.outbox_full() {
                    return Weighed::Answer(self.refusal(detail));
                }
                let row = seen.row(id, record, ordinal, ask.at.wall);
                Weighed::Change(
                    Change::Take {
                        row: row.clone(),
                        body: body.to_owned(),
                        key: None,
                    },
                    Outcome::Event(row),
                )
            }
        }
    }

    /// "Known" is only said of what is durable.
    fn known_event(&mut self, record: RecordId) -> Weighed {
        if let Some(rec) = self.records.get(&record)
            && !matches!(rec.kept, Kept::As(_))
        {
            return Weighed::Wait;
        }
        self.counters.event(EventFate::Duplicate);
        Weighed::Answer(Answer::Event(EventOutcome::Known))
    }

    /// The record of an event over HTTP is durable.
    pub(super) fn event_committed(&mut self, row: RecordRow, now: Now) {
        let record = row.record;
        let conversation = row.conversation;
        self.counters.event(EventFate::Taken);
        self.counters.taken(row.source);
        self.undelivered += 1;
        let as_kept = Kept::As(row.state);
        self.remember_record(row, as_kept, now);
        self.queue_record(record, now);
        let Some(id) = conversation else {
            return;
        };
        if self.interactions.contains_key(&id) {
            self.attach(id, record, true, now);
            if self
                .interactions
                .get(&id)
                .is_some_and(|w| self.first_event_wanted(w))
            {
                self.end_after_first_event(id, now);
            }
            return;
        }
        let ticket = self.ledger.ticket();
        self.orphaned.insert(id, ticket);
        if self.orphaned.len() > ORPHANED_MAX {
            // A look-up that old has long been answered.
            let oldest = ticket.saturating_sub(ORPHANED_MAX as u64 / 2);
            self.orphaned.retain(|_, t| *t >= oldest);
        }
    }

    /// A record without an interaction was added since the store was asked for this request, or
    /// one that it showed is over by now, and forgotten: it would be taken for waiting.
    pub(super) fn outdated(&self, id: ConversationId, records: &[RecordRow], ask: &Ask) -> bool {
        let added = self.orphaned.get(&id).is_some_and(|t| *t > ask.looked_at);
        added
            || records
                .iter()
                .any(|r| !r.state.over() && !self.records.contains_key(&r.record))
    }

    /// The record of an event over HTTP is on its way into the store.
    pub(super) fn event_under_way(&self, id: ConversationId) -> bool {
        self.ledger.batch.as_ref().is_some_and(|batch| {
            batch.effects.iter().any(
                |e| matches!(e, Effect::Asked(_, Outcome::Event(row)) if row.conversation == Some(id)),
            )
        })
    }

    /// Keeps an announcement until the commit that is under way is done; `false` if there is no room.
    pub(super) fn hold_event(&mut self, topic: &Topic, body: &str) -> bool {
        let room = self.held_events.len() < HELD_MAX;
        if room {
            self.held_events.push((topic.clone(), body.to_owned()));
        }
        room
    }

    /// The commit is done or has failed: what waited for it.
    pub(super) fn release_events(&mut self, now: Now) {
        for (topic, body) in std::mem::take(&mut self.held_events) {
            self.event(&topic, body, now);
        }
    }

    /// Too many wrap-ups of one conversation.
    pub(super) fn say_flooded(&mut self, id: ConversationId) {
        self.say_about(
            id,
            Level::Error,
            "event-flood",
            "more wrap-ups than one conversation can have; the rest is dropped",
        );
    }
}
