//! What must hold, looked at from outside of the core: by what it orders, by
//! what is on the disk, by what the platform knows and the history manager has.

mod outcome;
mod refused;
mod standing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::foreign;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::Notice;
use base::rows::{Change, InteractionState, RecordState, StoreOrder};
use base::secret::Secret;
use filing::{Answer, CallerId, HistoryState, PostOutcome, conversation_of};
use proto::limits;
use proto::session::{self, SocketRef};
use simulator::model::WrapUp;
use uuid::Uuid;

use crate::agenda::{MINUTE, SECOND, Time};
use crate::full::{Ask, Full};
use crate::history::STORM;
use crate::net::PLACE;

/// Silence, a lost pong and a dead token are noticed within this time.
const DEAF_MAX: Time = 5 * MINUTE;
/// Channels beyond the setting are emptied within so many looks, ten minutes, at a platform
/// whose REST serves.
const HELD_LOOKS_MAX: u32 = 20;
/// So long after the last trouble a channel serves, whatever pauses had grown meanwhile: the
/// longest that the platform may ask for is an hour.
const PEACE_MAX: Time = 75 * MINUTE;
/// Looks in a row after that at which none does.
const IDLE_LOOKS_MAX: u32 = 20;
/// A caller is answered within this time, if only with 503.
const ANSWER_MAX: Time = 60 * SECOND;
/// Channels that one process makes within an hour in which no socket can be had.
const MADE_MAX: u64 = 100;
/// Rebuilt and announced times of one wrap-up differ by less.
pub(crate) const SKEW_MAX: i64 = 2_500;

#[derive(Default)]
pub(crate) struct Checks {
    /// Conversations to which a caller got a 2xx.
    pub(crate) promised: BTreeMap<ConversationId, Time>,
    /// When its life is over.
    lives: BTreeMap<ConversationId, Time>,
    last_life: Time,
    /// When its end became durable, and when it was last started.
    ended: BTreeMap<ConversationId, (Time, InteractionState)>,
    accepted: BTreeMap<ConversationId, Time>,
    /// Announced to the core: conversation, participant, session, event time → when.
    heard: BTreeMap<(ConversationId, String, String, i64), Time>,
    /// Which wrap-up was filed under which record.
    filed: BTreeMap<usize, RecordId>,
    wraps: BTreeMap<ConversationId, Vec<usize>>,
    wraps_seen: usize,
    deaf: BTreeMap<ConversationId, Time>,
    processes: Vec<(Time, Time)>,
    results: BTreeSet<u64>,
    /// Wrap-ups whose events were taken over HTTP, or known there.
    pub(crate) by_http: BTreeSet<usize>,
    /// Channels made so far, as of each look while sockets are refused.
    made: VecDeque<(Time, u64)>,
    /// Channels that had to be replaced after the step before, without those with a successor.
    waited: BTreeSet<u8>,
    /// Requests, by what tells each try apart: refused, and done.
    refused: BTreeSet<String>,
    done: BTreeSet<String>,
    /// Requests to stop that were not refused, by conversation.
    pub(crate) stops_open: BTreeMap<ConversationId, u64>,
    pub(crate) keyless: u64,
    /// Sockets that were told that they will be closed.
    pub(crate) noticed: BTreeSet<SocketRef>,
    /// Channels of a process that ended before its failing disk had them.
    pub(crate) leaked: BTreeSet<String>,
    /// Topics that the platform took off with their channel, with which, and when.
    pub(crate) dropped: BTreeMap<String, (String, Time)>,
    /// When a record was first posted.
    first_posts: BTreeMap<RecordId, Time>,
    held_looks: u32,
    /// Since when nothing hinders anybody.
    pub(crate) peace: Option<Time>,
    /// Looks in a row at which topics are wanted and no channel serves, in peace.
    idle_looks: u32,
    pub(crate) invented: crate::invented::Invented,
    /// When its end was first ordered: what happens later is another story.
    decided: BTreeMap<ConversationId, Time>,
}

impl Checks {
    pub(crate) fn life(&mut self, id: ConversationId, end: Time) {
        self.lives.insert(id, end);
        self.last_life = self.last_life.max(end);
    }

    pub(crate) fn lives_over(&self, now: Time) -> bool {
        now > self.last_life
    }

    pub(crate) fn process_began(&mut self, now: Time) {
        self.processes.push((now, Time::MAX));
        self.deaf.clear();
        // It knows nothing of what was tried.
        self.made.clear();
    }

    pub(crate) fn process_ended(&mut self, now: Time) {
        let ended = &self.ended;
        self.decided.retain(|id, _| ended.contains_key(id));
        if let Some(last) = self.processes.last_mut() {
            last.1 = now;
        }
    }

    /// For how long there was a process since a record was first posted: no longer was it tried.
    fn tried_at_most(&self, record: RecordId, now: Time) -> Time {
        let Some(first) = self.first_posts.get(&record) else {
            return 0;
        };
        let up = |(began, ended): &(Time, Time)| {
            let from = (*began).max(*first);
            (*ended).min(now).saturating_sub(from)
        };
        self.processes.iter().map(up).sum()
    }

    fn died_within(&self, from: Time, to: Time) -> bool {
        self.processes
            .iter()
            .any(|(_, end)| (from..=to).contains(end))
    }
}

/// The session of the call that a callback led to, and the other way round.
const CALL: u128 = 0xca11;

/// Tells whether a record or an event of that session is of this wrap-up: one that is tagged on
/// a callback and on the call it led to may come by either.
pub(crate) fn same_session(w: &WrapUp, session: &str) -> bool {
    let session: Option<Uuid> = session.parse().ok();
    session.is_some_and(|s| s == w.session || s.as_u128() ^ CALL == w.session.as_u128())
}

/// The session with which a wrap-up is heard of, where a call may stand for its callback.
fn either_session(session: &str) -> String {
    session.parse::<Uuid>().map_or_else(
        |_| session.to_owned(),
        |s| Uuid::from_u128(s.as_u128() & !CALL).to_string(),
    )
}

fn whose(w: &WrapUp) -> (ConversationId, String, String, i64) {
    (
        w.conversation,
        w.participant.to_string(),
        either_session(&w.session.to_string()),
        w.event_time.0,
    )
}

impl Full {
    /// Takes note of what agents did.
    pub(crate) fn note_wraps(&mut self) {
        let wraps = self.net.platform.truth().wrap_ups();
        for (n, w) in wraps.iter().enumerate().skip(self.checks.wraps_seen) {
            self.tally.wrap_ups += 1;
            self.checks.wraps.entry(w.conversation).or_default().push(n);
        }
        let first = std::mem::replace(&mut self.checks.wraps_seen, wraps.len());
        self.send_events(first);
    }

    /// An announcement is handed to the core.
    pub(crate) fn note_event(&mut self, topic: &Topic, body: &str) {
        let body = foreign::value(body.as_bytes());
        let (Some(id), Some(body)) = (conversation_of(topic), body) else {
            return;
        };
        let text = |n: &str| {
            body.get(n)
                .and_then(|v| v.as_str())
                .unwrap_or("")
                .to_owned()
        };
        let time = body.get("eventTime").and_then(serde_json::Value::as_i64);
        if self.gateway.is_some() {
            let key = (
                id,
                text("participantId"),
                either_session(&text("sessionId")),
                time.unwrap_or(0),
            );
            let now = self.clock.time;
            self.checks.heard.entry(key).or_insert(now);
        }
    }

    /// Invariant 1: no 2xx to a caller before the commit.
    pub(crate) fn answered(&mut self, caller: CallerId, answer: Answer) {
        let now = self.clock.time;
        let Some(waiting) = self.callers.remove(&caller) else {
            return self.fail("an answer for a caller who does not wait");
        };
        self.trace
            .add(&self.clock, "answer", caller.0, || format!("{answer:?}"));
        match (&waiting.ask, &answer) {
            (_, Answer::Busy { retry_after, .. }) => {
                self.refused(&waiting);
                let after = (retry_after.as_millis() as Time).clamp(100, 10 * MINUTE);
                self.again(waiting, after);
            }
            (_, Answer::Unknown) => self.again(waiting, SECOND),
            (
                Ask::Accept(id, n),
                Answer::Interaction {
                    conversation,
                    accepted_at,
                    fresh,
                    ..
                },
            ) => {
                let there = self.disk.interactions.get(id);
                if conversation != id || there.is_none() {
                    return self.fail(format!("2xx for {id} before its commit"));
                }
                if there.is_some_and(|i| i.row.accepted_at != *accepted_at) && *fresh {
                    return self.fail(format!("2xx for {id} with a time that is not committed"));
                }
                let mark = format!("c-{n}");
                if there.is_some_and(|i| i.members.as_ref().is_some_and(|m| !m.contains(&mark)))
                    && *n == 1
                {
                    // A later call may have replaced the member; the last one wins.
                    let replaced =
                        there.is_some_and(|i| i.members.as_ref().is_some_and(|m| m.contains("c-")));
                    if !replaced {
                        return self.fail(format!("2xx for {id} without its members"));
                    }
                }
                self.checks.promised.entry(*id).or_insert(now);
                self.unanswered -= 1;
            }
            (
                Ask::Stop(_),
                Answer::Stopping { .. } | Answer::AlreadyEnded { .. } | Answer::NotFound,
            ) => {
                if let (Ask::Stop(id), Answer::Stopping { .. }) = (&waiting.ask, &answer)
                    && !self
                        .disk
                        .interactions
                        .get(id)
                        .is_some_and(|i| i.row.state.ended())
                {
                    return self.fail(format!("the stop of {id} was answered before its commit"));
                }
                self.unanswered -= 1;
            }
            (Ask::Result(n), Answer::SupportResult { record, .. }) => {
                if !self.disk.records.contains_key(record) {
                    return self.fail("2xx for a result before its commit");
                }
                self.checks.results.insert(*n);
                self.unanswered -= 1;
            }
            (Ask::Keyless(_), Answer::SupportResult { record, .. }) => {
                if !self.disk.records.contains_key(record) {
                    return self.fail("2xx for a result before its commit");
                }
                self.unanswered -= 1;
            }
            (Ask::Event(wrap, _), Answer::Event(outcome)) => {
                self.event_answered(*wrap, *outcome);
            }
            (ask, _) => {
                let ask = ask.clone();
                self.fail(format!("{ask:?} was answered with something else"));
            }
        }
    }

    /// Invariant 2: no unsubscribe before the commit of the end, but where the topic is elsewhere.
    pub(crate) fn check_order(&mut self, socket: SocketRef, order: &session::Order) {
        match order {
            session::Order::Unsubscribe { topics, .. } => {
                for topic in topics {
                    let Some(id) = conversation_of(topic) else {
                        continue;
                    };
                    let over = self
                        .disk
                        .interactions
                        .get(&id)
                        .is_none_or(|i| i.row.state.ended());
                    if over {
                        continue;
                    }
                    // What is not said to be live is checked once it is; what the platform
                    // refuses has nothing to lose.
                    let believed = self
                        .gateway
                        .as_ref()
                        .is_some_and(|g| g.platform().is_live(topic));
                    if !believed {
                        continue;
                    }
                    // What is said on a socket that the platform has closed changes nothing.
                    let Some(here) = self.net.platform_socket(socket) else {
                        continue;
                    };
                    // Where it is gone already there is nothing to lose.
                    let truth = self.net.platform.truth();
                    let holds = truth
                        .channels()
                        .any(|c| c.socket == Some(here) && c.has_topic(topic.as_str()));
                    if !holds {
                        continue;
                    }
                    // Another channel that holds it will do: that its socket or its token
                    // has just gone the gateway is about to hear.
                    let elsewhere = self
                        .net
                        .platform
                        .truth()
                        .channels()
                        .any(|c| c.socket != Some(here) && c.has_topic(topic.as_str()));
                    // The platform dropped the channel that held it, without a word perhaps, so
                    // that nobody could know it yet.
                    let just_dropped =
                        self.checks
                            .dropped
                            .get(topic.as_str())
                            .is_some_and(|(from, at)| {
                                !self.net.is_on(socket, from) && self.clock.time - at < DEAF_MAX
                            });
                    if !elsewhere && !just_dropped {
                        return self.fail(format!(
                            "{topic} is unsubscribed on {socket:?}, its interaction has not ended and it is nowhere else"
                        ));
                    }
                }
            }
            session::Order::Subscribe { topics, .. } => {
                if topics.len() > limits::TOPICS_PER_MESSAGE_MAX {
                    self.fail(format!("{} topics in one message", topics.len()));
                }
            }
            session::Order::Patience { .. } | session::Order::Ping | session::Order::Close => {}
        }
    }

    /// Invariant 3: two sockets on one channel only to take over from one that will be closed.
    pub(crate) fn check_open(&mut self, socket: SocketRef, uri: &Secret) {
        if socket.slot < 1 || socket.slot > self.plan.max_channels {
            return self.fail(format!("a socket for slot {}", socket.slot));
        }
        let others: Vec<SocketRef> = self.net.sockets_on(uri.expose()).collect();
        if !uri.expose().starts_with(&format!("{PLACE}/")) {
            return self.fail("a socket to a foreign host");
        }
        if others.iter().any(|s| !self.checks.noticed.contains(s)) {
            self.fail(format!(
                "two sockets on one channel: {others:?} and {socket:?}"
            ));
        }
    }

    /// What goes to the disk: a record is delivered only if the history manager has it.
    pub(crate) fn check_store(&mut self, order: &StoreOrder) {
        let StoreOrder::Commit { changes, .. } = order else {
            return;
        };
        if changes.len() > 600 {
            return self.fail(format!("{} changes in one commit", changes.len()));
        }
        let now = self.clock.time;
        for change in changes {
            if let Change::Interaction(row) = change
                && row.state.ended()
            {
                // Decided perhaps long before, while the disk was slow.
                let wall = self.clock.now().wall;
                let ago = row.ended_at.filter(|_| !self.plan.wall_moves());
                let ago = ago.map_or(0, |at| wall.since(at).as_millis() as Time);
                let decided = now.saturating_sub(ago);
                self.checks
                    .decided
                    .entry(row.conversation)
                    .or_insert(decided);
            }
            let row = match change {
                Change::Record(row) | Change::Take { row, .. } => row,
                _ => continue,
            };
            let known = self.history.filed.contains_key(&row.record);
            if row.state == RecordState::Delivered && !known {
                return self.fail(format!(
                    "{} is delivered, the history manager has it not",
                    row.record
                ));
            }
            if row.state == RecordState::Dead && !self.history.dead.contains_key(&row.record) {
                // Neither an outage of ours nor the wall clock is patience.
                let tried = self.checks.tried_at_most(row.record, now);
                if Duration::from_millis(tried) < self.settings.give_up_after {
                    return self.fail(format!(
                        "{} is dead without a cause, tried for {} s: {:?}",
                        row.record,
                        tried / SECOND,
                        row.last_error
                    ));
                }
            }
        }
    }

    /// What `/status` says of the history manager: its state, and whether it is closed to us.
    pub(crate) fn said_of_history(&self) -> Option<(HistoryState, bool)> {
        let now = self.clock.now();
        let seen = self.gateway.as_ref()?.filing().snapshot(now).destination;
        let said = (seen.state, seen.closed);
        Some(self.sabotage.as_ref().map_or(said, |s| s.said(said)))
    }

    /// That is what it did last; and what was never sent says nothing.
    pub(crate) fn check_said(
        &mut self,
        outcome: &PostOutcome,
        before: Option<(HistoryState, bool)>,
    ) {
        let Some(said) = self.said_of_history() else {
            return;
        };
        let fits = match outcome {
            PostOutcome::Answered {
                status: 200..=299, ..
            } => matches!(
                said.0,
                HistoryState::Open | HistoryState::Opening | HistoryState::Held
            ),
            PostOutcome::Answered { status: 409, .. } => true,
            PostOutcome::Answered { .. } | PostOutcome::NoAnswer(_) => {
                !matches!(said.0, HistoryState::Open | HistoryState::Opening)
            }
            PostOutcome::Unreadable(_) | PostOutcome::NotRead(_) => Some(said) == before,
        };
        if !fits {
            self.fail(format!(
                "after {outcome:?} the history manager is said to be {said:?}, before {before:?}"
            ));
        }
    }

    /// What stands before the history manager costs fewer than ten records each time.
    pub(crate) fn check_storms(&mut self) {
        let dead = |r: &&crate::disk::StoredRecord| {
            let by = self.history.dead.get(&r.row.record);
            r.row.state == RecordState::Dead && by == Some(&STORM)
        };
        let dead = self.disk.records.values().filter(dead).count();
        if dead > 9 * self.history.storms {
            let storms = self.history.storms;
            self.fail(format!("{dead} records died of {storms} storms"));
        }
    }

    /// A post is ordered: its record is committed and not over.
    pub(crate) fn check_post(&mut self, record: RecordId) {
        let now = self.clock.time;
        self.checks.first_posts.entry(record).or_insert(now);
        match self.disk.records.get(&record) {
            None => self.fail(format!("{record} is posted before its commit")),
            Some(r) if r.row.state == RecordState::Delivered => {
                self.fail(format!("{record} is posted although it was delivered"));
            }
            Some(_) => {}
        }
    }

    /// Invariant 9.
    pub(crate) fn check_notice(&mut self, notice: &Notice) {
        self.trace.add(&self.clock, "notice", 0, || {
            format!(
                "{} {:?} {:?} {}",
                notice.label, notice.channel, notice.conversation, notice.text
            )
        });
        let shows = |text: &str| self.net.secrets.iter().any(|s| text.contains(s.as_str()));
        if shows(&notice.text) || notice.channel.as_deref().is_some_and(shows) {
            return self.fail(format!("notice {} shows a secret", notice.label));
        }
        if notice.label == "defect" {
            self.fail(format!("the core reports a defect: {}", notice.text));
        }
    }
}
