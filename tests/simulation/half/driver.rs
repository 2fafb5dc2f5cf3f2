//! The driver in place of the filing half: what it makes of the client's facts,
//! what it asks, and what it checks.

use std::collections::BTreeSet;

use base::fetch::{Fetch, FetchOutcome};
use base::foreign;
use base::ids::{ConversationId, Topic};
use proto::{Fact, Input};

use super::{DEAF_MAX, Event, FETCHES_MAX, Half, Owed, conversation_of, topic_of};
use crate::agenda::{SECOND, Time};
use crate::plan::Kind;

impl Half {
    pub(super) fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Live { topic } => {
                self.trace.add(&self.clock, "live", 0, || topic.to_string());
                let Some(id) = conversation_of(&topic) else {
                    return;
                };
                let Some(w) = self.watched.get_mut(&id) else {
                    return self.fail(format!("{topic} is reported live, nobody watches it"));
                };
                w.live = true;
                w.deaf_since = None;
                if w.due {
                    self.check(id);
                }
            }
            Fact::Gap { topics, cause } => {
                self.trace.add(&self.clock, "gap", topics.len() as u64, || {
                    format!("{cause} {topics:?}")
                });
                self.tally.gaps += 1;
                self.tally.gap_topics += topics.len() as u64;
                for topic in topics {
                    let Some(id) = conversation_of(&topic) else {
                        continue;
                    };
                    if let Some(w) = self.watched.get_mut(&id) {
                        w.live = false;
                        w.due = true;
                        w.deaf_since = None;
                    }
                }
            }
            Fact::Refused { topic, .. } => {
                let Some(id) = conversation_of(&topic) else {
                    return;
                };
                self.trace
                    .add(&self.clock, "refused", 0, || topic.to_string());
                self.tally.refused += 1;
                let p = &self.plan;
                if !(p.has(Kind::TopicRefused) || p.has(Kind::PermissionLost)) {
                    return self.fail(format!("{topic} is refused without a cause"));
                }
                self.watched.remove(&id);
                self.owed.remove(&id);
                self.ends.remove(&id);
            }
            Fact::Event { topic, body, .. } => {
                self.tally.events += 1;
                self.arrived(&topic, &body);
            }
            Fact::Fetched {
                fetch,
                asked_at,
                outcome,
            } => self.fetched(fetch, self.clock.world(asked_at.mono), outcome),
            // Nobody here could give way.
            Fact::Short { .. } => {}
        }
    }

    pub(super) fn arrived(&mut self, topic: &Topic, body: &str) {
        let Some(id) = conversation_of(topic) else {
            return;
        };
        let Some(body) = foreign::value(body.as_bytes()) else {
            return self.fail("an event body is not JSON");
        };
        let text = |name: &str| {
            body.get(name)
                .and_then(|v| v.as_str())
                .unwrap_or("")
                .to_owned()
        };
        let (participant, session) = (text("participantId"), text("sessionId"));
        let time = body.get("eventTime").and_then(serde_json::Value::as_i64);
        if let Some(owed) = self.owed.get_mut(&id) {
            owed.retain(|o| {
                !(o.participant == participant
                    && o.session == session
                    && Some(o.event_time) == time)
            });
        }
    }

    pub(super) fn fetched(&mut self, fetch: Fetch, asked: Time, outcome: FetchOutcome) {
        self.fetching = self.fetching.saturating_sub(1);
        if let Fetch::One(id) = &fetch {
            self.tally.checks += 1;
            let Some(at) = self.fetches.iter().position(|f| *f == fetch) else {
                return self.fail(format!("an answer nobody waits for: {fetch:?}"));
            };
            self.fetches.remove(at);
            let known = self.net.platform.truth().conversation(*id).is_some();
            let Some(w) = self.watched.get_mut(id) else {
                return;
            };
            w.asked = false;
            match outcome {
                FetchOutcome::Found(_) => {
                    if let Some(owed) = self.owed.get_mut(id) {
                        owed.retain(|o| o.at > asked);
                    }
                }
                FetchOutcome::NotFound if !known => {}
                FetchOutcome::NotFound
                | FetchOutcome::Denied(_)
                | FetchOutcome::TooMany
                | FetchOutcome::Trouble(_)
                | FetchOutcome::Garbled => {
                    let again = self.clock.time + 5 * SECOND + self.rng.below(25 * SECOND);
                    self.agenda.plan(again, Event::CheckAgain(*id));
                    w.asked = true;
                    // Held until then, so that nobody stops watching meanwhile.
                    return;
                }
            }
            if w.due && w.live {
                self.check(*id);
            }
        } else {
            let Some(at) = self.fetches.iter().position(|f| *f == fetch) else {
                return self.fail("an answer nobody waits for");
            };
            self.fetches.remove(at);
        }
    }

    pub(super) fn check(&mut self, id: ConversationId) {
        if let Some(w) = self.watched.get_mut(&id) {
            w.due = false;
            w.asked = true;
            self.checks.push_back(id);
        }
    }

    pub(super) fn ask(&mut self) {
        while self.fetching < FETCHES_MAX {
            let Some(id) = self.checks.pop_front() else {
                return;
            };
            if !self.watched.contains_key(&id) {
                continue;
            }
            let fetch = if self.checks.len() > 30 && self.rng.chance(10) {
                self.checks.push_front(id);
                Fetch::Many(self.checks.iter().take(50).copied().collect())
            } else {
                Fetch::One(id)
            };
            self.fetching += 1;
            self.fetches.push_back(fetch.clone());
            self.give(Input::Fetch(fetch));
        }
    }

    /// Takes note of what agents did since the last look.
    pub(super) fn note_wraps(&mut self) {
        let wraps = self.net.platform.truth().wrap_ups();
        if wraps.len() == self.wraps_seen {
            return;
        }
        for w in &wraps[self.wraps_seen..] {
            self.tally.wrap_ups += 1;
            // A frame that is still held back when its socket goes is lost: that is for the
            // check at the end of a conversation, which the driver does not make.
            if self.watched.contains_key(&w.conversation) && w.emitted && !self.late_events {
                self.owed.entry(w.conversation).or_default().push(Owed {
                    at: w.at.0,
                    participant: w.participant.to_string(),
                    session: w.session.to_string(),
                    event_time: w.event_time.0,
                });
            }
        }
        self.wraps_seen = wraps.len();
    }

    /// What is believed live is live, or will soon be known not to be.
    pub(super) fn look(&mut self) {
        if self.client.is_none() {
            return;
        }
        let mut heard: BTreeSet<&str> = BTreeSet::new();
        let truth = self.net.platform.truth();
        for c in truth.channels() {
            if c.socket.is_some_and(|s| self.net.heard_by_session(s)) {
                heard.extend(c.topic_names());
            }
        }
        let now = self.clock.time;
        let mut deaf = None;
        for (id, w) in &mut self.watched {
            if !w.live || heard.contains(topic_of(*id).as_str()) {
                w.deaf_since = None;
            } else {
                let since = *w.deaf_since.get_or_insert(now);
                if now - since > DEAF_MAX {
                    deaf = Some((*id, now - since));
                }
            }
        }
        if let Some((id, ms)) = deaf {
            self.fail(format!(
                "{id} is believed live, but has not been for {ms} ms"
            ));
        }
    }
}
