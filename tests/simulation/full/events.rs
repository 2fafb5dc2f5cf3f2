//! Events that come over HTTP, as an organisation sends them that has them already: beside
//! the socket, before it, after it, again and again, or for conversations that nobody reported.

use base::foreign;
use filing::{CallerRequest, EventOutcome, Unreported};

use super::{Ask, Event, Full};
use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::checks::{SKEW_MAX, same_session};
use crate::net::odd;
use crate::plan::Kind;

impl Full {
    /// Whoever sends events sends those of the wrap-ups from `first` on, if anybody does now.
    pub(crate) fn send_events(&mut self, first: usize) {
        let now = self.clock.time;
        if now >= self.http_until {
            return;
        }
        let wraps = self.net.platform.truth().wrap_ups();
        let emitted: Vec<usize> = (first..wraps.len()).filter(|n| wraps[*n].emitted).collect();
        for n in emitted {
            let times =
                1 + u64::from(self.http_rng.chance(30)) + u64::from(self.http_rng.chance(5));
            for _ in 0..times {
                // At once it is before the socket; a queue may keep it for long.
                let late = [5, 200, 5 * SECOND, 3 * MINUTE, 2 * HOUR];
                let late: Time = late[self.http_rng.below(late.len() as u64) as usize];
                let at = now + self.http_rng.below(late);
                self.http_events += 1;
                let ask = Ask::Event(n, self.http_events);
                self.agenda.plan(at, Event::Ask(ask, 0));
            }
        }
    }

    pub(super) fn event_over_http(&self, wrap: usize, n: u64, tries: u32) -> CallerRequest {
        let w = &self.net.platform.truth().wrap_ups()[wrap];
        let media = self
            .net
            .platform
            .truth()
            .conversation(w.conversation)
            .map_or_else(String::new, |c| format!("{:?}", c.media).to_uppercase());
        let body = serde_json::json!({
            "eventTime": w.event_time.0,
            "conversationId": w.conversation.to_string(),
            "participantId": w.participant.to_string(),
            "sessionId": w.session.to_string(),
            "mediaType": media,
            "wrapupCode": w.code,
            "wrapupDurationMs": w.duration_ms,
            "http": n,
            "try": tries,
        });
        let body = body.to_string();
        CallerRequest::Event {
            conversation: w.conversation,
            // The intake hands on what a strict parser takes.
            body: match self.plan.has(Kind::OddText) {
                true => foreign::text(odd::noted(&body).as_bytes())
                    .map_or(body.clone(), |text| text.into_owned()),
                false => body,
            },
        }
    }

    /// A 2xx for an event is true: its record is on the disk, or there is none to be.
    pub(crate) fn event_answered(&mut self, wrap: usize, outcome: EventOutcome) {
        let w = &self.net.platform.truth().wrap_ups()[wrap];
        let id = w.conversation;
        let there = self.disk.records.values().any(|r| {
            let times = [r.row.event_time, r.row.matched_time];
            r.row.conversation == Some(id)
                && same_session(w, &r.row.leg.session)
                && times.into_iter().flatten().any(|t| {
                    let off = (t.0 - w.event_time.0).abs();
                    off.min((t.0 - w.rest_end.0).abs()) <= SKEW_MAX
                })
        });
        let reported = self.disk.interactions.get(&id);
        let stopped = reported.is_some_and(|i| i.row.state.label() == "stopped");
        let filed = reported.is_some() || self.settings.unreported == Unreported::File;
        match outcome {
            EventOutcome::Taken | EventOutcome::Known if !there => {
                self.fail(format!("2xx for event {wrap} of {id} before its commit"));
            }
            EventOutcome::Taken | EventOutcome::Known => {
                self.checks.by_http.insert(wrap);
            }
            EventOutcome::Unreported if filed && !stopped => {
                self.fail(format!("event {wrap} of {id} is nobody's, it is said"));
            }
            EventOutcome::Unreported => {}
        }
        self.unanswered -= 1;
    }
}
