//! What the platform client reports of topics: live, gap, refused, event; and
//! how a wrap-up becomes a record.
//!
//! Invariant: an event of a watched conversation is taken, known already, or
//! rebuilt over REST later; it is never lost without an error notice.

use std::borrow::Cow;

use super::answers::ANALYTICS_LAG;
use super::caller::EndReason;
use super::commit::Taking;
use super::interaction::{UNWATCHED_AFTER, Watched};
use super::machine::{Filing, Kept};
use super::record::{Finding, Sighting, find, read_event};
use super::settings::Until;
use super::snapshot::EventFate;
use super::{Order, conversation_of};
use base::foreign;
use base::gap::GapCause;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::Level;
use base::rows::{InteractionState, Source};
use base::time::Now;

/// What became of a sighting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// A new record.
    New,
    /// Known already.
    Known,
    /// No room now; it is still to be rebuilt.
    NoRoom,
    /// Given up, with an error notice.
    Flooded,
}

impl Filing {
    pub(super) fn live(&mut self, topic: &Topic, now: Now) {
        let Some(id) = conversation_of(topic) else {
            return;
        };
        let Some(w) = self.interactions.get_mut(&id) else {
            // Nobody asked for it, or it was given up long ago.
            self.out.push_back(Order::Unwatch(topic.clone()));
            return;
        };
        if w.end_committed || w.live_since.is_some() {
            return;
        }
        w.live_since = Some(now);
        if w.ended() {
            return;
        }
        if w.row.watched_since.is_some() {
            self.counters.gap_ended(w.dark_since, now.mono);
        }
        // Whatever was announced before this moment may have been missed.
        w.owed = Some(now.mono);
        let mut changed = false;
        if w.row.watched_since.is_none() {
            w.row.watched_since = Some(now.wall);
            changed = true;
        }
        if w.row.state == InteractionState::Accepted {
            w.row.state = InteractionState::Watching;
            changed = true;
        }
        if changed {
            self.ledger.dirty_interactions.insert(id);
        }
        let class = w.due_class();
        self.checks.schedule(id, now.mono, class);
        self.checks.no_bulk_before(id, now.mono + ANALYTICS_LAG);
        self.sort(id);
        self.give_places(now);
    }

    pub(super) fn gap(&mut self, topics: &[Topic], cause: GapCause, now: Now) {
        let mut touched = 0usize;
        for topic in topics {
            let Some(id) = conversation_of(topic) else {
                continue;
            };
            let Some(w) = self.interactions.get_mut(&id) else {
                continue;
            };
            if w.live_since.take().is_some() {
                w.dark_since = now.mono;
            }
            if w.ended() {
                continue;
            }
            touched += 1;
            // Evidence from before the gap ends nothing.
            w.owed = Some(now.mono);
            w.touched = true;
            let class = w.due_class();
            self.checks.schedule(id, now.mono + UNWATCHED_AFTER, class);
            self.sort(id);
        }
        if touched > 0 {
            self.counters.gap(cause, touched);
            // The warning is the platform client's, which knows the channel.
            self.say(
                Level::Debug,
                "gap-checks",
                format!("{touched} conversations are out of sight ({cause}) and due for a check"),
            );
        }
    }

    pub(super) fn refused(&mut self, topic: &Topic, detail: &str, now: Now) {
        let Some(id) = conversation_of(topic) else {
            return;
        };
        if let Some(w) = self.interactions.get_mut(&id) {
            w.live_since = None;
        }
        self.end(id, EndReason::TopicRefused, detail.to_owned(), now);
    }

    pub(super) fn event(&mut self, topic: &Topic, body: String, now: Now) {
        let Some(id) = conversation_of(topic) else {
            self.counters.event(EventFate::Foreign);
            return;
        };
        let Some(w) = self.interactions.get(&id) else {
            self.counters.event(EventFate::UnknownConversation);
            self.say_about(
                id,
                Level::Debug,
                "event-unknown",
                "an event came for a conversation that nobody asked for; dropped",
            );
            return;
        };
        if w.row.state == InteractionState::Stopped {
            self.counters.event(EventFate::Stopped);
            self.say_about(
                id,
                Level::Debug,
                "event-stopped",
                "an event came for a conversation that a caller had stopped; dropped",
            );
            return;
        }
        // It may be the very wrap-up that is on its way into the store.
        if self.event_under_way(id) && self.hold_event(topic, &body) {
            return;
        }
        // From here on it is JSON that a strict parser takes: what is stored, digested and filed.
        let told = foreign::text(body.trim().as_bytes()).map(Cow::into_owned);
        let read = told.and_then(|body| Some((read_event(&body).ok()?, body)));
        let Some((event, body)) = read else {
            self.counters.event(EventFate::Unreadable);
            self.say_about(
                id,
                Level::Warn,
                "event-unreadable",
                "an event came that is not a JSON object; the conversation is checked over REST",
            );
            self.owe_check(id, now);
            return;
        };
        if event.conversation.is_some_and(|c| c != id) {
            self.say_about(
                id,
                Level::Debug,
                "event-differs",
                "an event names another conversation than its topic; filed under the topic's",
            );
        }
        let seen = Sighting {
            source: Source::Notification,
            leg: event.leg,
            event_time: event.event_time,
            digest: Some(event.digest),
            twin: event.twin,
            received_at: now.wall,
        };
        match self.take(id, seen, body, now) {
            Taken::New => self.counters.event(EventFate::Taken),
            Taken::Known => self.counters.event(EventFate::Duplicate),
            Taken::Flooded => self.counters.event(EventFate::Flooded),
            Taken::NoRoom => {
                self.counters.event(EventFate::NoRoom);
                self.say_about(
                    id,
                    Level::Error,
                    "event-no-room",
                    "the store is behind and memory is full: an event was dropped, to be rebuilt over REST",
                );
                self.owe_check(id, now);
            }
        }
    }

    /// Evidence from now on is owed.
    fn owe_check(&mut self, id: ConversationId, now: Now) {
        if let Some(w) = self.interactions.get_mut(&id)
            && !w.ended()
        {
            w.owed = Some(now.mono);
            w.touched = true;
            let class = w.due_class();
            self.checks.schedule(id, now.mono, class);
        }
    }

    /// Makes a record of a wrap-up that is not known yet.
    pub(super) fn take(
        &mut self,
        id: ConversationId,
        seen: Sighting,
        body: String,
        now: Now,
    ) -> Taken {
        let Some(w) = self.interactions.get(&id) else {
            return Taken::Known;
        };
        let rows = self.rows_of(w);
        let (record, ordinal) = match find(id, rows.into_iter(), &seen) {
            Finding::Known(_) => return Taken::Known,
            Finding::Match(record) => {
                self.matched(record, &seen);
                return Taken::Known;
            }
            Finding::New { record, ordinal } => (record, ordinal),
        };
        if self.records.contains_key(&record) {
            self.never("a new record has the id of a known one");
            return Taken::Known;
        }
        if Filing::flooded(w) {
            self.say_flooded(id);
            return Taken::Flooded;
        }
        if !self.ledger.room_for_take(body.len()) {
            return Taken::NoRoom;
        }
        let row = seen.row(id, record, ordinal, now.wall);
        self.counters.taken(seen.source);
        self.undelivered += 1;
        self.remember_record(row, Kept::Waiting, now);
        self.ledger.take(Taking {
            record,
            conversation: id,
            body,
        });
        if let Some(w) = self.interactions.get_mut(&id) {
            w.takes_queued += 1;
        }
        self.attach(id, record, seen.source == Source::Notification, now);
        Taken::New
    }

    /// A rebuilt record is the same wrap-up as a notification, and remembers it.
    pub(super) fn matched(&mut self, record: RecordId, seen: &Sighting) {
        if let Some(rec) = self.records.get_mut(&record) {
            seen.mark(&mut rec.row);
        }
        self.record_changed(record);
    }

    /// A record is one of its interaction's from now on, which goes on accordingly.
    pub(super) fn attach(
        &mut self,
        id: ConversationId,
        record: RecordId,
        announced: bool,
        now: Now,
    ) {
        let settings = self.settings;
        if let Some(w) = self.interactions.get_mut(&id) {
            w.records.push(record);
            w.record_taken(announced, &settings, now);
            if !w.ended() {
                self.ledger.dirty_interactions.insert(id);
                if announced && settings.until == Until::ConversationFinished {
                    let at = w.after_event(now.mono);
                    let class = w.due_class();
                    self.checks.schedule(id, at, class);
                    // What comes after a gap speaks against one that was lost in it.
                    self.checks.reclass(id, class);
                }
            }
        }
        self.heard_of(id);
    }

    /// The first record of an interaction is durable and nothing more was wanted.
    pub(super) fn first_event_wanted(&self, w: &Watched) -> bool {
        self.settings.until == Until::FirstEvent && !w.ended()
    }
}
