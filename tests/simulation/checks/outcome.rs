//! What came of it: how interactions ended, what was filed, and what is owed.

use std::time::Duration;

use base::foreign;
use base::ids::{ConversationId, RecordId};
use base::rows::{Change, InteractionState, RecordKind, RecordRow, RecordState, Source};
use simulator::model::Leg;
use simulator::model::switches::OptionalAcw;

use super::{SKEW_MAX, same_session, whose};
use crate::agenda::{HOUR, MINUTE};
use crate::full::Full;
use crate::net::odd::NOTED;
use crate::plan::Kind;

impl Full {
    /// What became durable.
    pub(crate) fn check_durable(&mut self) {
        let now = self.clock.time;
        for change in std::mem::take(&mut self.disk.durable) {
            self.check_not_refused(&change);
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
    pub(super) fn rest_may_fail(&self) -> bool {
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
            Kind::LimitedLong,
        ];
        kinds.iter().any(|k| self.plan.has(*k))
    }

    /// Nothing is given up for its age that has been over for long.
    pub(super) fn check_expired(&mut self, id: ConversationId) {
        let now = self.clock.time;
        let wall_moves = self.plan.wall_moves() || self.plan.has(Kind::MachineOff);
        let over = self.checks.lives.get(&id).copied().unwrap_or(now);
        if now > over + 2 * HOUR && !self.rest_may_fail() && !wall_moves {
            self.fail(format!("{id} expired, although it was over at {over}"));
        }
    }

    /// What is called finished is finished.
    pub(super) fn check_finished(&mut self, id: ConversationId, code: &str) {
        if code != "conversation-finished" {
            if !self.rest_may_fail() && !self.plan.first_event {
                self.fail(format!("{id} ended as {code}, although REST could tell"));
            }
            return;
        }
        if self.plan.wall_moves() {
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
        let there = |l: &&Leg| l.start < asked;
        let legs = || {
            c.agent_legs
                .iter()
                .filter_map(|(p, l)| c.participants.get(*p)?.legs.get(*l))
                .filter(there)
        };
        let late = |l: &Leg| l.acw.optional && l.acw.wraps.is_empty();
        let over = legs().filter_map(|l| l.disconnected).max();
        let waits = self.plan.switches.optional_acw != OptionalAcw::NotApplicable;
        let aged = self
            .checks
            .accepted
            .get(&id)
            .is_some_and(|t| self.clock.time >= *t + self.plan.max_age);
        if let Some(over) = over
            && waits
            && !aged
            && legs().any(late)
            && at < over + self.settings.linger
        {
            return self.fail(format!(
                "{id} is called finished at {at}, although it was over at {over} and may be wrapped up late"
            ));
        }
        let open = legs().any(|l| {
            // A changed mind afterwards is another matter.
            let done = l.acw.wraps.first().map(|w| w.end).or(l.acw.skipped);
            let working = l.acw.required && done.is_none_or(|e| e > at && !l.acw.optional);
            working || l.disconnected.is_none_or(|d| d > at)
        });
        if open {
            self.fail(format!(
                "{id} is called finished at {at}, but an agent was not done"
            ));
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
        let Some(body) = foreign::value(body.as_bytes()) else {
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
        if self.plan.has(Kind::OddText) && !text("wrapupNotes").starts_with(NOTED) {
            let came = &body["wrapupNotes"];
            return self.fail(format!("the notes of {record} come back as {came}"));
        }
        let wraps = self.net.platform.truth().wrap_ups();
        let mine = self.checks.wraps.get(&id).map_or(&[][..], Vec::as_slice);
        let found = mine
            .iter()
            .copied()
            .filter(|n| {
                let w = &wraps[*n];
                w.participant.to_string() == text("participantId")
                    && same_session(w, text("sessionId"))
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
                // Leaps of days, one after the other, come to more than the month that ended
                // ones are kept.
                None if self.plan.has(Kind::ClockLeap) && self.disk.purged.contains(id) => {}
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
        let given_up = |r: &RecordRow| {
            let tried = self.checks.tried_at_most(r.record, self.clock.time);
            r.state == RecordState::Dead && tried >= self.plan.give_up_after
        };
        let left = self.disk.records.values().find(|r| {
            !(r.row.state.over()
                || self.history.dead.contains_key(&r.row.record)
                || given_up(&r.row))
        });
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
            let leapt = self.plan.has(Kind::ClockLeap) && self.disk.purged_keys.contains(&key);
            if self.checks.results.contains(&n) && many != 1 && !(leapt && many == 0) {
                return self.fail(format!("result {n} is there {many} times"));
            }
        }
        if self.disk.outstanding() > 0 || self.posts > 0 {
            return self.fail(format!(
                "orders are outstanding at the end: {} at the store, {} tries to file",
                self.disk.outstanding(),
                self.posts
            ));
        }
        self.owed();
    }

    /// The promise: every wrap-up of an accepted interaction that the platform knows of.
    pub(super) fn owed(&mut self) {
        let mut trouble = None;
        let wraps = self.net.platform.truth().wrap_ups();
        for n in self.checks.by_http.iter().copied() {
            let w = &wraps[n];
            let dead = self.disk.records.values().any(|r| {
                r.row.conversation == Some(w.conversation)
                    && r.row.state == RecordState::Dead
                    && same_session(w, &r.row.leg.session)
            });
            if !dead && !self.checks.filed.contains_key(&n) {
                let id = w.conversation;
                trouble = Some(format!(
                    "event {n} of {id} was taken over HTTP and never filed"
                ));
            }
        }
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
            // Where the wall clock moves nobody can say how long before its commit on a stalled
            // disk the end was decided.
            let stalled = self.plan.wall_moves() && self.plan.stalls();
            let before = if stalled { 15 * MINUTE } else { MINUTE };
            let late = w.at.0 + before > ended;
            // Refused for good by the history manager: a person has it.
            let dead = self.disk.records.values().any(|r| {
                r.row.conversation == Some(id)
                    && r.row.state == RecordState::Dead
                    && same_session(w, &r.row.leg.session)
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
                            Kind::DiskFull
                                | Kind::DiskError
                                | Kind::DiskBusy
                                | Kind::DiskSlow
                                | Kind::DiskStall
                                | Kind::StopInTrouble
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
