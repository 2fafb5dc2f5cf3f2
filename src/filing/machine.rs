//! The filing half itself: what it remembers, and the turn it takes after every fact.
//!
//! Invariant: no fact costs time in proportion to all that is remembered; the
//! orders of one fact are complete when [`Filing::handle`] returns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::caller::EndReason;
use super::checks::{Checks, Class};
use super::commit::Ledger;
use super::destination::Destination;
use super::interaction::{LASTING_TROUBLE, UNWATCHED_AFTER, Watched};
use super::outbox::Outbox;
use super::places::Places;
use super::settings::{
    RECORDS_PER_INTERACTION_MAX, REMEMBER_ENDED, STOPPED_REMEMBERED_MAX, Settings, Until,
};
use super::snapshot::Counters;
use super::{Fact, Order, PlatformFact, topic_of};
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::{Level, Notice};
use base::rng::Rng;
use base::rows::{InteractionState, RecordKind, RecordRow, RecordState, Recovered};
use base::time::{Deadline, Mono, Now};

/// How far a record is on its way into the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// Its body waits in the ledger's queue.
    Waiting,
    /// Its body is in the outstanding transaction.
    OnItsWay,
    /// It is there, in this state.
    As(RecordState),
}

/// A record that is not over, or that belongs to an interaction that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) row: RecordRow,
    pub(super) kept: Kept,
    /// When its next try is due, while it is deferred.
    pub(super) next_try: Mono,
    /// The time in which we tried, up to which its patience is counted.
    pub(super) tried_at: Duration,
    /// When a try of it last ended without an answer.
    pub(super) unanswered: Option<Mono>,
    /// How often in a row it could not be read.
    pub(super) unread: u8,
    /// How often it was brought back from an outage.
    pub(super) outages: u8,
}

/// The filing half of the core; see [`crate`].
pub struct Filing {
    pub(super) settings: Settings,
    pub(super) rng: Rng,
    pub(super) out: VecDeque<Order>,
    pub(super) interactions: BTreeMap<ConversationId, Watched>,
    pub(super) records: BTreeMap<RecordId, Remembered>,
    pub(super) ledger: Ledger,
    pub(super) checks: Checks,
    pub(super) bulk_troubles: u32,
    pub(super) outbox: Outbox,
    pub(super) destination: Destination,
    pub(super) patience_cursor: Option<RecordId>,
    pub(super) expiries: BTreeSet<(Mono, ConversationId)>,
    pub(super) forgets: BTreeSet<(Mono, ConversationId)>,
    pub(super) places: Places,
    /// When it was last said that more has ended than is kept.
    pub(super) shrink_said: Option<Mono>,
    /// Of those in `forgets`, the ones that were stopped or refused.
    pub(super) stopped: BTreeSet<(Mono, ConversationId)>,
    pub(super) live_count: usize,
    pub(super) undelivered: usize,
    pub(super) counters: Counters,
    /// Announcements that wait for a commit; see [`super::http_events`].
    pub(super) held_events: Vec<(Topic, String)>,
    /// Conversations that got a record without an interaction of late, with a ticket since then.
    pub(super) orphaned: BTreeMap<ConversationId, u64>,
}

impl Filing {
    /// Begins with what the store holds: every interaction that has not ended is watched again
    /// and owed a check as of the moment when its topic is live.
    #[must_use]
    pub fn new(settings: Settings, recovered: &Recovered, now: Now, seed: u64) -> Filing {
        let mut filing = Filing {
            rng: Rng::new(seed),
            out: VecDeque::new(),
            interactions: BTreeMap::new(),
            records: BTreeMap::new(),
            ledger: Ledger::default(),
            checks: Checks::new(),
            bulk_troubles: 0,
            outbox: Outbox::default(),
            destination: Destination::new(settings.workers, &recovered.destination, now),
            patience_cursor: None,
            expiries: BTreeSet::new(),
            forgets: BTreeSet::new(),
            places: Places::default(),
            shrink_said: None,
            stopped: BTreeSet::new(),
            live_count: 0,
            undelivered: 0,
            counters: Counters::new(recovered, now),
            held_events: Vec::new(),
            orphaned: BTreeMap::new(),
            settings,
        };
        filing.ledger.maintenance_at = now.mono;
        for row in &recovered.interactions {
            if !row.state.ended() {
                let mut w = Watched::new(row.clone(), &settings, now);
                w.recovered = true;
                w.touched = row.watched_since.is_some();
                filing.watch(w, now);
            }
        }
        for row in &recovered.records {
            filing.recover_record(row, now);
        }
        if settings.until == Until::FirstEvent {
            let had: Vec<_> = filing
                .interactions
                .iter()
                .filter(|(_, w)| w.taken > 0)
                .map(|(id, _)| *id)
                .collect();
            for id in had {
                filing.end_after_first_event(id, now);
            }
        }
        filing.turn(now);
        filing
    }

    fn recover_record(&mut self, row: &RecordRow, now: Now) {
        if self.records.contains_key(&row.record) {
            return;
        }
        if !row.state.over() {
            self.undelivered += 1;
        }
        self.remember_record(row.clone(), Kept::As(row.state), now);
        if let Some(rec) = self.records.get_mut(&row.record) {
            // A try of the former process may have ended with it.
            rec.unanswered = Some(now.mono);
        }
        self.queue_record(row.record, now);
        if row.kind == RecordKind::AfterCallWork
            && let Some(w) = row.conversation.and_then(|c| self.interactions.get_mut(&c))
        {
            w.records.push(row.record);
            if row.received_at >= w.row.accepted_at {
                w.taken += 1;
            }
            let id = w.row.conversation;
            self.heard_of(id);
        }
    }

    /// Puts a row into memory; the caller counts it and attaches it.
    pub(super) fn remember_record(&mut self, mut row: RecordRow, kept: Kept, now: Now) {
        // A clock that was set back meanwhile made it seem days ahead.
        let latest = now.wall + super::outbox::BACKOFF_MAX;
        row.next_try = row.next_try.map(|t| t.min(latest));
        let next_try = row
            .next_try
            .map_or(now.mono, |t| now.mono + t.since(now.wall));
        self.records.insert(
            row.record,
            Remembered {
                kept,
                next_try,
                tried_at: self.destination.tried(now.mono),
                unanswered: None,
                unread: 0,
                outages: 0,
                row,
            },
        );
    }

    /// Puts a conversation into memory, has it watched, and sees to its first check and its end.
    pub(super) fn watch(&mut self, w: Watched, now: Now) {
        let id = w.row.conversation;
        self.expiries.insert((w.expires_at, id));
        self.live_count += 1;
        if w.live_since.is_some() {
            self.checks.schedule(id, now.mono, w.due_class());
        } else {
            let at = now.mono + UNWATCHED_AFTER;
            self.checks.schedule(id, at, w.due_class());
        }
        let known = !w.records.is_empty();
        self.interactions.insert(id, w);
        self.out.push_back(Order::Watch(topic_of(id)));
        if known {
            self.heard_of(id);
        }
        self.sort(id);
    }

    /// Takes in one fact. Drain [`poll_output`](Self::poll_output) before the next.
    pub fn handle(&mut self, fact: Fact, now: Now) {
        match fact {
            Fact::Caller { caller, request } => self.asked(caller, request, now),
            Fact::Platform(fact) => match fact {
                PlatformFact::Live { topic } => self.live(&topic, now),
                PlatformFact::Gap { topics, cause } => self.gap(&topics, cause, now),
                PlatformFact::Refused { topic, detail } => self.refused(&topic, &detail, now),
                PlatformFact::Short { known, others } => {
                    self.short_of_places(known, others, now);
                }
                PlatformFact::Event { topic, body } => self.event(&topic, body, now),
                PlatformFact::Fetched {
                    fetch,
                    asked_at,
                    outcome,
                } => self.fetched(&fetch, asked_at, outcome, now),
            },
            Fact::Store(fact) => self.stored(fact, now),
            Fact::Posted { record, outcome } => self.posted(record, &outcome, now),
            Fact::Tick => {}
            Fact::Stop => self.stop(now),
        }
        self.turn(now);
    }

    /// The next order; `None` when all are given.
    pub fn poll_output(&mut self) -> Option<Order> {
        self.out.pop_front()
    }

    /// When to come back with [`Fact::Tick`] if nothing else happens, and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let at = |at: Option<Mono>, why| at.map(|at| Deadline { at, why });
        let ledger_idle = self.ledger.batch.is_none();
        [
            at(self.ledger.patience_ends(), "a caller's patience"),
            at(self.checks.deadline(), "check over REST"),
            at(self.post_deadline(), "next try to file"),
            at(
                self.expiries.first().map(|e| e.0),
                "max-age of an interaction",
            ),
            at(
                self.forgets.first().map(|f| f.0).filter(|_| ledger_idle),
                "forgetting an ended interaction",
            ),
            at(
                Some(match self.ledger.trouble {
                    Some(t) => t.retry_at,
                    None => self.ledger.maintenance_at,
                })
                .filter(|_| ledger_idle),
                if self.ledger.trouble.is_some() {
                    "next try to commit"
                } else {
                    "erasure and purge"
                },
            ),
        ]
        .into_iter()
        .fold(None, Deadline::sooner)
    }

    /// What time brings, and what may go out now.
    fn turn(&mut self, now: Now) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now.mono
        {
            self.expiries.pop_first();
            self.max_age_reached(id, now);
        }
        // Not while a commit is outstanding: it may start one of them again.
        while self.ledger.batch.is_none()
            && let Some(&(at, id)) = self.forgets.first()
            && at <= now.mono
        {
            self.forgets.pop_first();
            self.stopped.remove(&(at, id));
            self.forget(id);
        }
        while self.ledger.batch.is_none()
            && self.stopped.len() > STOPPED_REMEMBERED_MAX
            && let Some((at, id)) = self.stopped.pop_first()
        {
            self.forgets.remove(&(at, id));
            self.forget(id);
        }
        self.lose_patience(now);
        self.commit(now);
        self.look_up();
        while let Some(fetch) = self.checks.next(now.mono) {
            self.out.push_back(Order::Fetch(fetch));
        }
        self.post(now);
    }

    fn max_age_reached(&mut self, id: ConversationId, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        if w.ended() {
            return;
        }
        let first = !w.last_chance;
        // Should the question find no answer at all, not even a bad one.
        w.expires_at = now.mono + LASTING_TROUBLE;
        self.expiries.insert((w.expires_at, id));
        if first {
            w.last_chance = true;
            w.owed = Some(now.mono);
            self.checks.schedule(id, now.mono, Class::Prompt);
        } else if self.ledger.trouble.is_none() {
            self.expire(id, now, "the platform was asked and has not answered");
        }
    }

    fn forget(&mut self, id: ConversationId) {
        // Its last change, or a record of it, is still on its way into the store.
        let busy = self.ledger.dirty_interactions.contains(&id)
            || self.interactions.get(&id).is_some_and(|w| {
                w.records.iter().any(|r| {
                    self.records
                        .get(r)
                        .is_some_and(|rec| !matches!(rec.kept, Kept::As(_)))
                })
            });
        if busy {
            if let Some(w) = self.interactions.get_mut(&id) {
                w.forget_at = w.forget_at + REMEMBER_ENDED;
                self.forgets.insert((w.forget_at, id));
            }
            return;
        }
        if let Some(w) = self.interactions.remove(&id) {
            for record in w.records {
                self.release_record(record);
            }
        }
    }

    /// Forgets a record that is over for good and that no remembered interaction needs.
    pub(super) fn release_record(&mut self, id: RecordId) {
        if let Some(rec) = self.records.get(&id)
            && matches!(rec.kept, Kept::As(state) if state.over())
            && rec.row.state.over()
            && !self.ledger.dirty_records.contains(&id)
            && !self.outbox.in_flight(id)
            && rec
                .row
                .conversation
                .filter(|_| rec.row.kind == RecordKind::AfterCallWork)
                .is_none_or(|c| !self.interactions.contains_key(&c))
        {
            self.records.remove(&id);
        }
    }

    /// Ends an interaction in memory; the rest follows when that is committed.
    pub(super) fn end(&mut self, id: ConversationId, why: EndReason, detail: String, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        if w.ended() {
            return;
        }
        w.row.state = why.state();
        w.row.ended_at = Some(now.wall);
        w.row.reason = Some(why.told(detail));
        self.ended(id);
        self.ledger.dirty_interactions.insert(id);
    }

    /// Takes an interaction that has just ended out of every schedule.
    pub(super) fn ended(&mut self, id: ConversationId) {
        if let Some(w) = self.interactions.get_mut(&id) {
            self.expiries.remove(&(w.expires_at, id));
            w.settled_up();
            w.missing.clear();
            self.live_count = self.live_count.saturating_sub(1);
        }
        self.checks.cancel(id);
        self.sort(id);
    }

    /// The end of an interaction is durable: give the topic up, say so, remember it a while.
    pub(super) fn end_committed(&mut self, id: ConversationId, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        if w.end_committed || !w.ended() {
            return;
        }
        if w.takes_queued > 0 {
            // A record was taken while the end was on its way: it goes in first (design,
            // guarantee 2), and then the end once more.
            self.ledger.dirty_interactions.insert(id);
            return;
        }
        w.end_committed = true;
        w.live_since = None;
        w.forget_at = now.mono + REMEMBER_ENDED;
        self.forgets.insert((w.forget_at, id));
        let state = w.row.state;
        if matches!(state, InteractionState::Stopped | InteractionState::Refused) {
            self.stopped.insert((w.forget_at, id));
        }
        let (code, detail) = w
            .row
            .reason
            .as_ref()
            .map_or(("", ""), |r| (r.code.as_str(), r.detail.as_str()));
        let level = match state {
            InteractionState::Expired | InteractionState::Refused => Level::Warn,
            _ => Level::Debug,
        };
        let label = match state {
            InteractionState::Expired => "interaction-expired",
            InteractionState::Refused => "interaction-refused",
            InteractionState::Stopped => "interaction-stopped",
            _ => "interaction-finished",
        };
        let notice = Notice::new(level, label, format!("{state} ({code}): {detail}"));
        self.counters.ended(state, 1);
        if self.counters.ended_total() == self.settings.ended_max + 1 {
            self.ledger.maintenance_at = now.mono;
        }
        self.out.push_back(Order::Unwatch(topic_of(id)));
        self.out.push_back(Order::Notice(notice.about(id)));
    }

    /// `until = "first-event"`, and the first record is committed.
    pub(super) fn end_after_first_event(&mut self, id: ConversationId, now: Now) {
        self.end(
            id,
            EndReason::FirstEvent,
            String::from("the first record was taken, and only that was wanted"),
            now,
        );
    }

    pub(super) fn say(&mut self, level: Level, label: &'static str, text: impl Into<String>) {
        self.out
            .push_back(Order::Notice(Notice::new(level, label, text)));
    }

    pub(super) fn say_about(
        &mut self,
        id: ConversationId,
        level: Level,
        label: &'static str,
        text: impl Into<String>,
    ) {
        self.out
            .push_back(Order::Notice(Notice::new(level, label, text).about(id)));
    }

    /// Never happens: a debug build stops, a release says so and goes on.
    pub(super) fn never(&mut self, what: &'static str) {
        debug_assert!(false, "{what}");
        self.say(
            Level::Error,
            "defect",
            format!("this should not happen: {what}"),
        );
    }

    /// The rows of a conversation's records.
    pub(super) fn rows_of(&self, w: &Watched) -> Vec<&RecordRow> {
        w.records
            .iter()
            .filter_map(|r| self.records.get(r))
            .map(|rec| &rec.row)
            .collect()
    }

    /// Marks a record's row for the next batch, unless its body is still to go, which takes the
    /// row along.
    pub(super) fn record_changed(&mut self, id: RecordId) {
        if self
            .records
            .get(&id)
            .is_some_and(|rec| rec.kept != Kept::Waiting)
        {
            self.ledger.dirty_records.insert(id);
        }
    }

    /// Whether so many records of one conversation are enough.
    pub(super) fn flooded(w: &Watched) -> bool {
        w.records.len() >= RECORDS_PER_INTERACTION_MAX
    }

    /// Counts a record as out of the outbox for good.
    pub(super) fn record_over(&mut self, state: RecordState) {
        self.undelivered = self.undelivered.saturating_sub(1);
        self.counters.over(state, 1);
    }
}
