//! Batches in the making: what goes into the next transaction, and in which order.
//!
//! Bodies and requests go first, in order of arrival, then the rows that
//! changed, as they are now, then erasure and purge when they are due.
//!
//! Invariants: formed only while no commit is outstanding; within one batch one
//! request per subject; no end of an interaction goes before its records.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Order;
use super::callers::{Subject, Weighed};
use super::commit::{Ask, Batch, Effect, Entry, Taking};
use super::machine::{Filing, Kept};
use super::settings::{BATCH_BYTES_MAX, BATCH_CHANGES_MAX, MAINTENANCE_ROWS_MAX, SHRINK_ROWS_MAX};
use base::ids::{ConversationId, RecordId};
use base::notice::Level;
use base::rows::{Change, StoreOrder};
use base::time::Now;

/// Erasure and purge are looked after at least this often; more often where what is over is
/// kept for less, so that nothing stays for longer than twice the time that was promised.
const MAINTENANCE_EVERY: Duration = Duration::from_secs(600);
/// But no more often than this.
const MAINTENANCE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// A batch in the making.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    effects: Vec<Effect>,
    takings: Vec<Taking>,
    interactions: Vec<ConversationId>,
    records: Vec<RecordId>,
    subjects: BTreeSet<Subject>,
    bytes: usize,
}

impl Draft {
    fn full(&self) -> bool {
        self.changes.len() >= BATCH_CHANGES_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    fn add(&mut self, change: Change, effect: Effect) {
        self.bytes += match &change {
            Change::Accept { members, .. } => members.len(),
            Change::Take { body, .. } => body.len(),
            _ => 0,
        };
        self.changes.push(change);
        self.effects.push(effect);
    }
}

impl Filing {
    /// Sends what has changed to the store, unless a commit is outstanding.
    pub(super) fn commit(&mut self, now: Now) {
        if self.ledger.batch.is_some() {
            return;
        }
        let probing = match self.ledger.trouble {
            Some(t) if now.mono < t.retry_at => return,
            trouble => trouble.is_some(),
        };
        let mut draft = Draft::default();
        self.draft_queue(&mut draft);
        self.draft_destination(&mut draft);
        self.draft_rows(&mut draft);
        self.draft_maintenance(&mut draft, now);
        if draft.changes.is_empty() && !probing {
            return;
        }
        let ticket = self.ledger.ticket();
        self.ledger.batch = Some(Batch {
            ticket,
            effects: draft.effects,
            takings: draft.takings,
            interactions: draft.interactions,
            records: draft.records,
        });
        self.out.push_back(Order::Store(StoreOrder::Commit {
            ticket,
            changes: draft.changes,
        }));
    }

    /// Bodies and requests, in order of arrival; a second request about one subject waits for
    /// the next batch, because the first may change what it means.
    fn draft_queue(&mut self, draft: &mut Draft) {
        let mut kept = Vec::new();
        while !draft.full()
            && let Some(entry) = self.ledger.queue.pop_front()
        {
            match entry {
                Entry::Take(taking) => self.draft_take(taking, draft),
                Entry::Ask(ask) => {
                    if let Some(ask) = self.draft_ask(ask, draft) {
                        kept.push(Entry::Ask(ask));
                    }
                }
            }
        }
        for entry in kept.into_iter().rev() {
            self.ledger.queue.push_front(entry);
        }
        if draft.full() {
            self.look_up_again(draft);
        }
    }

    /// Requests that are left behind by a full batch and whose key is in it: the store knew
    /// nothing of the key when it was asked, and will.
    fn look_up_again(&mut self, draft: &Draft) {
        let stale = |ask: &Ask| {
            ask.subject()
                .is_some_and(|s| matches!(s, Subject::Key(_)) && draft.subjects.contains(&s))
        };
        if !draft.subjects.iter().any(|s| matches!(s, Subject::Key(_))) {
            return;
        }
        for entry in std::mem::take(&mut self.ledger.queue) {
            match entry {
                Entry::Ask(mut ask) if stale(&ask) => {
                    ask.looked = None;
                    self.ledger.lookups.push_back(ask);
                }
                other => self.ledger.queue.push_back(other),
            }
        }
    }

    fn draft_take(&mut self, taking: Taking, draft: &mut Draft) {
        let Some(rec) = self.records.get_mut(&taking.record) else {
            self.ledger.took(&taking);
            self.never("a body without its record");
            return;
        };
        rec.kept = Kept::OnItsWay;
        if let Some(w) = self.interactions.get_mut(&taking.conversation) {
            w.takes_queued = w.takes_queued.saturating_sub(1);
        }
        draft.add(
            Change::Take {
                row: rec.row.clone(),
                body: taking.body.clone(),
                key: None,
            },
            Effect::Taken(taking.record),
        );
        draft.takings.push(taking);
    }

    /// The request again, if it has to wait for the next batch.
    fn draft_ask(&mut self, mut ask: Ask, draft: &mut Draft) -> Option<Ask> {
        let subject = ask.subject();
        if let Some(subject) = &subject
            && draft.subjects.contains(subject)
        {
            if matches!(subject, Subject::Key(_)) {
                // The store will know more after this batch.
                ask.looked = None;
                self.ledger.lookups.push_back(ask);
                return None;
            }
            return Some(ask);
        }
        match self.weigh(&ask) {
            Weighed::Answer(answer) => self.answer(ask.caller, answer),
            Weighed::LookUp => self.ledger.lookups.push_back(ask),
            Weighed::Wait => return Some(ask),
            Weighed::Change(change, outcome) => {
                draft.subjects.extend(subject);
                self.ledger.ask_goes(&ask);
                draft.add(change, Effect::Asked(ask, outcome));
            }
        }
        None
    }

    /// Rows that changed, as they are now.
    fn draft_rows(&mut self, draft: &mut Draft) {
        let dirty: Vec<_> = self
            .ledger
            .dirty_interactions
            .iter()
            .copied()
            .filter(|id| !draft.subjects.contains(&Subject::Conversation(*id)))
            .take(BATCH_CHANGES_MAX)
            .collect();
        for id in dirty {
            if draft.full() {
                return;
            }
            match self.interactions.get(&id) {
                // Its records go first (design, guarantee 2).
                Some(w) if w.ended() && w.takes_queued > 0 => continue,
                Some(w) => {
                    draft.add(
                        Change::Interaction(w.row.clone()),
                        Effect::Interaction(w.row.clone()),
                    );
                    draft.interactions.push(id);
                }
                None => {}
            }
            self.ledger.dirty_interactions.remove(&id);
        }
        let dirty: Vec<_> = self
            .ledger
            .dirty_records
            .iter()
            .copied()
            .filter(|id| !draft.subjects.contains(&Subject::Record(*id)))
            .take(BATCH_CHANGES_MAX)
            .collect();
        for id in dirty {
            if draft.full() {
                return;
            }
            self.draft_record(id, draft);
            self.ledger.dirty_records.remove(&id);
        }
    }

    /// With the rows that it speaks of: after a crash one without the other would be wrong.
    fn draft_destination(&mut self, draft: &mut Draft) {
        let ids = self.destination.refused_ids();
        let room = draft.changes.len() + ids.len() < BATCH_CHANGES_MAX;
        let free = |id: &RecordId| !draft.subjects.contains(&Subject::Record(*id));
        if !self.destination.unkept() || !room || !ids.iter().all(free) {
            return;
        }
        for id in ids {
            if self.ledger.dirty_records.remove(&id) {
                self.draft_record(id, draft);
            }
        }
        if let Some(row) = self.destination.take_kept() {
            draft.add(Change::Destination(row), Effect::Destination);
        }
    }

    fn draft_record(&self, id: RecordId, draft: &mut Draft) {
        if let Some(rec) = self.records.get(&id) {
            draft.add(
                Change::Record(rec.row.clone()),
                Effect::Record(rec.row.clone()),
            );
            draft.records.push(id);
        }
    }

    fn draft_maintenance(&mut self, draft: &mut Draft, now: Now) {
        let no_room = draft.changes.len() + 3 > BATCH_CHANGES_MAX;
        if no_room || now.mono < self.ledger.maintenance_at {
            return;
        }
        let every = MAINTENANCE_EVERY
            .min(self.settings.keep_bodies)
            .min(self.settings.retain)
            .max(MAINTENANCE_AT_MOST_EVERY);
        self.ledger.maintenance_at = now.mono + every;
        draft.add(
            Change::EraseBodies {
                before: now.wall - self.settings.keep_bodies,
                limit: MAINTENANCE_ROWS_MAX,
            },
            Effect::Maintenance,
        );
        draft.add(
            Change::Purge {
                before: now.wall - self.settings.retain,
                limit: MAINTENANCE_ROWS_MAX,
            },
            Effect::Maintenance,
        );
        let ended = self.counters.ended_total();
        let surplus = ended.saturating_sub(self.settings.ended_max);
        if surplus == 0 {
            return;
        }
        let most = u64::from(SHRINK_ROWS_MAX);
        let rows = u32::try_from(surplus.min(most)).unwrap_or(SHRINK_ROWS_MAX);
        draft.add(Change::Shrink { rows }, Effect::Maintenance);
        if self
            .shrink_said
            .is_none_or(|at| now.mono.since(at) >= MAINTENANCE_EVERY)
        {
            self.shrink_said = Some(now.mono);
            self.say(
                Level::Warn,
                "ended-bound",
                format!(
                    "{ended} ended interactions are kept: of those that were stopped, refused or \
                     expired with nothing filed, the oldest go before `retain` is over"
                ),
            );
        }
    }
}
