//! What must hold, looked at from outside of the core: by what it orders, by
//! what is on the disk, by what the platform knows and the history manager has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use genesys_gateway::filing::rows::{
    Change, InteractionState, RecordKind, RecordState, Source, StoreOrder,
};
use genesys_gateway::filing::{Answer, CallerId, conversation_of, topic_of};
use genesys_gateway::ids::{ConversationId, RecordId, Topic};
use genesys_gateway::notice::Notice;
use genesys_gateway::platform::limits;
use genesys_gateway::platform::session::{self, SocketRef};
use genesys_gateway::secret::Secret;
use genesys_gateway::simulator::model::WrapUp;
use genesys_gateway::simulator::model::switches::ForeignChannels;

use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::full::{Ask, Full};
use crate::plan::Kind;

/// Silence, a lost pong and a dead token are noticed within this time.
const DEAF_MAX: Time = 5 * MINUTE;
/// A caller is answered within this time, if only with 503.
const ANSWER_MAX: Time = 60 * SECOND;
/// Rebuilt and announced times of one wrap-up differ by less.
const SKEW_MAX: i64 = 2_500;

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
    /// Sockets that were told that they will be closed.
    pub(crate) noticed: BTreeSet<SocketRef>,
    /// Channels made by a process that ended before it could note them down.
    pub(crate) leaked: BTreeSet<String>,
    pub(crate) first_seen: BTreeMap<String, Time>,
    held_since: Option<Time>,
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
    }

    pub(crate) fn process_ended(&mut self, now: Time) {
        let ended = &self.ended;
        self.decided.retain(|id, _| ended.contains_key(id));
        if let Some(last) = self.processes.last_mut() {
            last.1 = now;
        }
    }

    fn died_within(&self, from: Time, to: Time) -> bool {
        self.processes
            .iter()
            .any(|(_, end)| (from..=to).contains(end))
    }
}

fn whose(w: &WrapUp) -> (ConversationId, String, String, i64) {
    (
        w.conversation,
        w.participant.to_string(),
        w.session.to_string(),
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
        self.checks.wraps_seen = wraps.len();
    }

    /// An announcement is handed to the core.
    pub(crate) fn note_event(&mut self, topic: &Topic, body: &str) {
        let (Some(id), Ok(body)) = (
            conversation_of(topic),
            serde_json::from_str::<serde_json::Value>(body),
        ) else {
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
                text("sessionId"),
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
                let after = (retry_after.as_millis() as Time).clamp(100, 10 * MINUTE);
                self.again(waiting, after);
            }
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
                    let here = self.net.platform_socket(socket);
                    let elsewhere = self.net.platform.truth().channels().any(|c| {
                        c.socket.is_some() && c.socket != here && c.has_topic(topic.as_str())
                    });
                    if !elsewhere {
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
            session::Order::Close => {}
        }
    }

    /// Invariant 3: two sockets on one channel only to take over from one that will be closed.
    pub(crate) fn check_open(&mut self, socket: SocketRef, uri: &Secret) {
        if socket.slot < 1 || socket.slot > self.plan.max_channels {
            return self.fail(format!("a socket for slot {}", socket.slot));
        }
        let others: Vec<SocketRef> = self.net.sockets_on(uri.expose()).collect();
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
                self.checks.decided.entry(row.conversation).or_insert(now);
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
                let waited = self.clock.time;
                if waited < 60 * HOUR {
                    return self.fail(format!(
                        "{} is dead without a cause: {:?}",
                        row.record, row.last_error
                    ));
                }
            }
        }
    }

    /// What became durable.
    pub(crate) fn check_durable(&mut self) {
        let now = self.clock.time;
        for change in std::mem::take(&mut self.disk.durable) {
            match change {
                Change::Accept { row, .. } => {
                    self.checks.ended.remove(&row.conversation);
                    self.checks.decided.remove(&row.conversation);
                    self.checks.accepted.insert(row.conversation, now);
                }
                Change::Interaction(row) => {
                    if row.state.ended() {
                        let first = self
                            .checks
                            .ended
                            .insert(
                                row.conversation,
                                (
                                    self.checks
                                        .decided
                                        .get(&row.conversation)
                                        .copied()
                                        .unwrap_or(now),
                                    row.state,
                                ),
                            )
                            .is_none();
                        let refused = row.state == InteractionState::Refused;
                        self.tally.refused += u64::from(first && refused);
                        if row.reason.is_none() {
                            self.fail(format!("{} ended without a reason", row.conversation));
                        }
                        if first && row.state == InteractionState::Expired {
                            self.check_expired(row.conversation);
                        }
                        if first && row.state == InteractionState::Finished {
                            let code = row.reason.as_ref().map_or("", |r| r.code.as_str());
                            self.check_finished(row.conversation, code);
                        }
                    } else {
                        self.checks.ended.remove(&row.conversation);
                    }
                }
                _ => {}
            }
        }
    }

    /// REST may be unable to tell for long in this run.
    fn rest_may_fail(&self) -> bool {
        let kinds = [
            Kind::ConversationRefused,
            Kind::PermissionLost,
            Kind::Outage,
            Kind::BlackHole,
            Kind::LoginTrouble,
            Kind::LoginRefused,
            Kind::Unauthorized,
            Kind::Garbage,
            Kind::WebPage,
            Kind::Limited,
        ];
        kinds.iter().any(|k| self.plan.has(*k))
    }

    /// Nothing is given up for its age that has been over for long.
    fn check_expired(&mut self, id: ConversationId) {
        let now = self.clock.time;
        let wall_moves = self.plan.has(Kind::ClockForward) || self.plan.has(Kind::ClockBack);
        let over = self.checks.lives.get(&id).copied().unwrap_or(now);
        if now > over + 2 * HOUR && !self.rest_may_fail() && !wall_moves {
            self.fail(format!("{id} expired, although it was over at {over}"));
        }
    }

    /// What is called finished is finished.
    fn check_finished(&mut self, id: ConversationId, code: &str) {
        if code != "conversation-finished" {
            if !self.rest_may_fail() && !self.plan.first_event {
                self.fail(format!("{id} ended as {code}, although REST could tell"));
            }
            return;
        }
        if self.plan.has(Kind::ClockForward) || self.plan.has(Kind::ClockBack) {
            // The row's time says nothing then.
            return;
        }
        let truth = self.net.platform.truth();
        let Some(c) = truth.conversation(id) else {
            return self.fail(format!("{id} is finished, but never began"));
        };
        let Some(at) = self.disk.interactions.get(&id).and_then(|i| i.row.ended_at) else {
            return self.fail(format!("{id} ended without a time"));
        };
        // What began after the question was asked nobody could know.
        let asked = at - Duration::from_secs(90);
        let open = c
            .agent_legs
            .iter()
            .filter_map(|(p, l)| c.participants.get(*p)?.legs.get(*l))
            .filter(|l| l.start < asked)
            .any(|l| {
                // A changed mind afterwards is another matter.
                let done = l.acw.wraps.first().map(|w| w.end).or(l.acw.skipped);
                let working = l.acw.required && done.is_none_or(|e| e > at);
                working || l.disconnected.is_none_or(|d| d > at)
            });
        if open {
            self.fail(format!(
                "{id} is called finished at {at}, but an agent was not done"
            ));
        }
    }

    /// A post is ordered: its record is committed and not over.
    pub(crate) fn check_post(&mut self, record: RecordId) {
        match self.disk.records.get(&record) {
            None => self.fail(format!("{record} is posted before its commit")),
            Some(r) if r.row.state == RecordState::Delivered => {
                self.fail(format!("{record} is posted although it was delivered"));
            }
            Some(_) => {}
        }
    }

    /// Invariant 5: a new body at the history manager is a wrap-up that it does not have.
    pub(crate) fn check_filed(&mut self, record: RecordId, key: RecordId, body: &str) {
        let Some(row) = self.disk.records.get(&record).map(|r| r.row.clone()) else {
            return;
        };
        if row.kind == RecordKind::SupportResult {
            return;
        }
        let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else {
            return self.fail(format!("the body of {record} is not JSON"));
        };
        let text = |n: &str| body.get(n).and_then(|v| v.as_str()).unwrap_or("");
        let time = body
            .get("eventTime")
            .and_then(serde_json::Value::as_i64)
            .unwrap_or(0);
        let Some(id) = row.conversation else {
            return self.fail("a record without a conversation");
        };
        let wraps = self.net.platform.truth().wrap_ups();
        let mine = self.checks.wraps.get(&id).map_or(&[][..], Vec::as_slice);
        let found = mine
            .iter()
            .copied()
            .filter(|n| {
                let w = &wraps[*n];
                w.participant.to_string() == text("participantId")
                    && w.session.to_string() == text("sessionId")
                    && (w.emitted || w.shows_in_rest)
            })
            .map(|n| {
                let w = &wraps[n];
                let off = match row.source {
                    Source::Notification => (w.event_time.0 - time).abs(),
                    _ => (w.rest_end.0 - time)
                        .abs()
                        .min((w.event_time.0 - time).abs()),
                };
                (off, n)
            })
            .min();
        match found {
            Some((off, n)) if off <= SKEW_MAX => {
                let doubled = self
                    .checks
                    .filed
                    .insert(n, key)
                    .filter(|other| *other != key);
                if let Some(other) = doubled {
                    self.fail(format!(
                        "wrap-up {n} of {id} is filed twice: {other} and {key} ({:?})",
                        row.source
                    ));
                }
            }
            other => self.fail(format!(
                "{record} of {id} was filed, but nobody wrapped up so ({other:?}, {:?})",
                row.source
            )),
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

    /// Invariants 3 and 8, after every step that did something.
    pub(crate) fn check_core(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        let client = gateway.platform();
        if let Err(text) = client.audit() {
            return self.fail(text);
        }
        let (channels, topics) = client.held();
        if channels > usize::from(self.plan.max_channels) || topics > self.plan.topics_per_channel {
            return self.fail(format!("{channels} channels, {topics} topics on one"));
        }
        if self.disk.outstanding() > 3 {
            self.fail(format!(
                "{} orders are outstanding at the store",
                self.disk.outstanding()
            ));
        }
    }

    /// Twice a minute: invariant 4, and what is believed live.
    pub(crate) fn look(&mut self) {
        let now = self.clock.time;
        if let Some(w) = self.callers.values().find(|w| now - w.since > ANSWER_MAX) {
            let text = format!("{:?} has waited {} ms for its answer", w.ask, now - w.since);
            return self.fail(text);
        }
        let ledger = self.net.platform.truth().ledger();
        // A process that follows another serves before it could ask what its channels hold.
        let alone = !(self.plan.has(Kind::Kill) || self.plan.has(Kind::Restart));
        if alone && (ledger.topics_most > self.plan.topics_per_channel || ledger.over_limit > 0) {
            return self.fail(format!(
                "{} topics on a channel, {} subscribes over the limit",
                ledger.topics_most, ledger.over_limit
            ));
        }
        let Some(gateway) = &self.gateway else { return };
        let mut heard: BTreeSet<&str> = BTreeSet::new();
        let (mut sockets, mut held) = (0, 0);
        for c in self.net.platform.truth().channels() {
            // What an earlier token made nobody can empty where REST does not reach it.
            let reachable = self.plan.switches.foreign_channels == ForeignChannels::Reachable;
            let counts = c.usable && (c.socket.is_some() || c.topics > 0 && reachable);
            if !self.checks.first_seen.contains_key(c.id) {
                self.checks.first_seen.insert(c.id.to_owned(), now);
            }
            held += usize::from(counts && !self.checks.leaked.contains(c.id));
            if c.socket.is_some_and(|s| self.net.heard_by_session(s)) {
                sockets += 1;
                heard.extend(c.topic_names());
            }
        }
        let mut trouble = None;
        if sockets > usize::from(self.plan.max_channels) {
            trouble = Some(format!("{sockets} channels have a socket"));
        }
        if held <= usize::from(self.plan.max_channels) {
            self.checks.held_since = None;
        } else {
            // Emptying what was given up takes a request, which may have to wait.
            let since = *self.checks.held_since.get_or_insert(now);
            if now - since > 20 * MINUTE {
                let there: Vec<_> = self
                    .net
                    .platform
                    .truth()
                    .channels()
                    .map(|c| {
                        (
                            c.id.len(),
                            &c.id[c.id.len() - 4..],
                            c.socket,
                            c.topics,
                            c.usable,
                            c.expires,
                        )
                    })
                    .collect();
                let known = gateway.platform().snapshot(self.clock.now()).channels;
                trouble = Some(format!(
                    "{held} channels are held: {there:?}, known: {known:?}"
                ));
            }
        }
        let mut deaf = BTreeMap::new();
        for (id, state) in gateway.filing().live_interactions() {
            let topic = topic_of(id);
            if !gateway.platform().is_wanted(&topic) {
                trouble = Some(format!(
                    "{id} is {:?} and its topic is not wanted",
                    state.state
                ));
            }
            if state.due_at.is_none() && (!state.live || state.owed) {
                trouble = Some(format!("{id} is neither live nor due: {state:?}"));
            }
            if state.live && !gateway.platform().is_live(&topic) {
                trouble = Some(format!("{id} is live for one half and not for the other"));
            }
            if state.live && !heard.contains(topic.as_str()) {
                let since = self.checks.deaf.get(&id).copied().unwrap_or(now);
                deaf.insert(id, since);
                if now - since > DEAF_MAX {
                    trouble = Some(format!(
                        "{id} is believed live, but has not been for {} ms",
                        now - since
                    ));
                }
            }
        }
        self.checks.deaf = deaf;
        if let Some(text) = trouble {
            self.fail(text);
        }
    }

    /// At the end: everything owed is there.
    pub(crate) fn last_look(&mut self) {
        if self.unanswered > 0 {
            return self.fail(format!(
                "{} callers were never answered well",
                self.unanswered
            ));
        }
        for (id, at) in &self.checks.promised {
            match self.disk.interactions.get(id) {
                None => {
                    let text = format!("{id} was promised at {at} and is not on the disk");
                    return self.fail(text);
                }
                Some(i) if !i.row.state.ended() => {
                    let watch = self
                        .gateway
                        .as_ref()
                        .and_then(|g| g.filing().watch_state(*id));
                    let text = format!("{id} never ended: {:?}, {watch:?}", i.row);
                    return self.fail(text);
                }
                Some(_) => {}
            }
        }
        let left = self
            .disk
            .records
            .values()
            .find(|r| !(r.row.state.over() || self.history.dead.contains_key(&r.row.record)));
        if let Some(r) = left {
            let text = format!("{:?} was never filed", r.row);
            return self.fail(text);
        }
        for n in 0..self.checks.results.len() as u64 {
            let key = format!("result-{n}");
            let many = self
                .disk
                .records
                .values()
                .filter(|r| r.key.as_ref().is_some_and(|(k, _)| *k == key))
                .count();
            if self.checks.results.contains(&n) && many != 1 {
                return self.fail(format!("result {n} is there {many} times"));
            }
        }
        if self.disk.outstanding() > 0 || self.posts > 0 {
            return self.fail("orders are outstanding at the end");
        }
        self.owed();
    }

    /// The promise: every wrap-up of an accepted interaction that the platform knows of.
    fn owed(&mut self) {
        let mut trouble = None;
        let wraps = self.net.platform.truth().wrap_ups();
        for (n, w) in wraps.iter().enumerate() {
            let id = w.conversation;
            let Some(promised) = self.checks.promised.get(&id) else {
                continue;
            };
            if self.checks.filed.contains_key(&n) {
                continue;
            }
            let Some((ended, state)) = self.checks.ended.get(&id).copied() else {
                continue;
            };
            let reason = self
                .disk
                .interactions
                .get(&id)
                .and_then(|i| i.row.reason.clone());
            let code = reason.as_ref().map_or("", |r| r.code.as_str());
            if self.plan.first_event {
                continue;
            }
            let late = w.at.0 + MINUTE > ended;
            // Refused for good by the history manager: a person has it.
            let dead = self.disk.records.values().any(|r| {
                r.row.conversation == Some(id)
                    && r.row.state == RecordState::Dead
                    && r.row.leg.session == w.session.to_string()
            });
            if dead {
                continue;
            }
            let heard = self.checks.heard.get(&whose(w)).copied();
            let taken = heard.is_some_and(|at| {
                // Between the announcement and the commit the process may die.
                !self.checks.died_within(at, at + 10 * MINUTE)
                    && !self.plan.kinds.iter().any(|k| {
                        matches!(
                            k,
                            Kind::DiskFull | Kind::DiskError | Kind::DiskBusy | Kind::DiskSlow
                        )
                    })
                    && at > *promised
                    && at < ended
            });
            let shown = w.shows_in_rest
                && !late
                && w.superseded.is_none()
                && state == InteractionState::Finished
                && code == "conversation-finished";
            if taken || shown {
                trouble = Some(format!(
                    "wrap-up {n} of {id} (leg {}, ordinal {}, at {} ms, heard {heard:?}, shown {shown}, superseded {:?}) was never filed; the interaction ended at {ended} as {state:?}, {reason:?}",
                    w.leg, w.ordinal, w.at.0, w.superseded
                ));
                break;
            }
        }
        if let Some(text) = trouble {
            self.fail(text);
        }
    }
}
