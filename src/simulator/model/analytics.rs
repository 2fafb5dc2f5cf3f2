//! Conversations as the reporting store shows them: later, and in other words
//! (protocol, section 11.2).
//!
//! Invariant: nothing younger than the latency is shown.

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

use super::Platform;
use super::conversation::{Conversation, Leg, Media, Participant, Purpose};
use super::faults::DETAIL_PERMISSION;
use super::rest::{Outcome, Parts, Refusal};
use super::switches::{AnalyticsOver, AnalyticsWrapup};
use base::ids::ConversationId;
use base::time::{Now, Wall};
use base::wire::Response;

/// How much later the wrap-up is there in `missing-at-first`.
const WRAPUP_LATER: Duration = Duration::from_secs(300);

/// Most entries of a page (protocol, section 7).
const PAGE_MOST: usize = 100;

const DAY_MS: i64 = 86_400_000;

/// Up to when things are shown.
#[derive(Clone, Copy)]
struct Horizon {
    all: Wall,
    wrapup: Wall,
}

impl Platform {
    fn horizon(&self, now: Now) -> Horizon {
        let all = now.wall - Duration::from_secs(self.switches.analytics_latency_seconds);
        let wrapup = match self.switches.analytics_wrapup {
            AnalyticsWrapup::WithConversation => all,
            AnalyticsWrapup::MissingAtFirst => all - WRAPUP_LATER,
        };
        Horizon { all, wrapup }
    }

    fn may_see_analytics(&self) -> Result<(), Refusal> {
        if self.faults.lacks(DETAIL_PERMISSION) {
            return Err(Refusal::new(
                403,
                "missing.any.permissions",
                format!(
                    "Unable to perform the requested action. You are missing the following permission(s): {DETAIL_PERMISSION}"
                ),
            ));
        }
        Ok(())
    }

    fn details(&self, id: &str, horizon: Horizon) -> Option<Value> {
        let id: ConversationId = id.parse().ok()?;
        let conversation = self.conversations.get(&id)?;
        details(conversation, horizon, self.division)
    }

    pub(super) fn analytics_many(&self, parts: &Parts, now: Now) -> Outcome {
        self.may_see_analytics()?;
        // The description says comma-separated, the definition says repeated: both are taken.
        let ids: Vec<&str> = parts
            .query
            .iter()
            .filter(|(name, _)| name == "id")
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .collect();
        if ids.is_empty() {
            return Err(Refusal::new(
                400,
                "bad.request",
                "No conversation ids given.",
            ));
        }
        if ids.len() as u64 > self.switches.analytics_max_ids {
            return Err(match self.switches.analytics_over {
                AnalyticsOver::S400 => {
                    Refusal::new(400, "bad.request", "Too many conversation ids.")
                }
                AnalyticsOver::S413 => {
                    Refusal::new(413, "payload.too.large", "The answer would be too large.")
                }
            });
        }
        let horizon = self.horizon(now);
        let conversations: Vec<Value> = ids
            .iter()
            .filter_map(|id| self.details(id, horizon))
            .collect();
        Ok(Response::json(
            200,
            &json!({"conversations": conversations}),
        ))
    }

    pub(super) fn analytics_one(&self, id: &str, now: Now) -> Outcome {
        self.may_see_analytics()?;
        self.details(id, self.horizon(now))
            .map(|body| Response::json(200, &body))
            .ok_or_else(Refusal::not_found)
    }

    pub(super) fn analytics_query(&self, body: &[u8], now: Now) -> Outcome {
        self.may_see_analytics()?;
        let bad = |message: &str| Refusal::new(400, "bad.request", message);
        let query: Query =
            serde_json::from_slice(body).map_err(|_| bad("The query could not be read."))?;
        let (from, to) = query
            .interval
            .split_once('/')
            .and_then(|(a, b)| Some((Wall::parse_rfc3339(a)?, Wall::parse_rfc3339(b)?)))
            .filter(|(from, to)| from < to)
            .ok_or_else(|| bad("The interval is not start/end."))?;
        let paging = query.paging.unwrap_or(Paging {
            page_size: 25,
            page_number: 1,
        });
        if paging.page_size == 0 || paging.page_size > PAGE_MOST || paging.page_number == 0 {
            return Err(bad("The page size is 1 to 100 and pages count from 1."));
        }
        // Conversations that started on a day touched by the interval.
        let first = Wall(from.0.div_euclid(DAY_MS) * DAY_MS);
        let beyond = Wall((to.0 - 1).div_euclid(DAY_MS) * DAY_MS + DAY_MS);
        let horizon = self.horizon(now);
        let least = ConversationId(uuid::Uuid::nil());
        let mut found: Vec<(Wall, Value)> = self
            .by_start
            .range((first, least)..(beyond, least))
            .filter_map(|(_, id)| self.conversations.get(id))
            .filter_map(|c| Some((c, details(c, horizon, self.division)?)))
            .filter(|(c, v)| {
                query
                    .conversation_filters
                    .iter()
                    .all(|f| f.holds(&|p| p.of_conversation(c, v)))
            })
            .filter(|(_, v)| {
                query.segment_filters.is_empty()
                    || any_segment(v, &|leg| {
                        query
                            .segment_filters
                            .iter()
                            .all(|f| f.holds(&|p| p.of_segment(leg)))
                    })
            })
            .map(|(c, v)| {
                let key = match query.order_by.as_deref() {
                    Some("conversationEnd" | "segmentEnd") => c.end.unwrap_or(Wall(i64::MAX)),
                    _ => c.start,
                };
                (key, v)
            })
            .collect();
        match query.order.as_deref() {
            Some("desc") => found.sort_by_key(|(key, _)| std::cmp::Reverse(*key)),
            _ => found.sort_by_key(|(key, _)| *key),
        }
        let total = found.len();
        let skip = (paging.page_number - 1).saturating_mul(paging.page_size);
        let page: Vec<Value> = found
            .into_iter()
            .skip(skip)
            .take(paging.page_size)
            .map(|(_, v)| v)
            .collect();
        let mut answer = json!({"totalHits": total});
        // The platform leaves the member out when there is nothing.
        if !page.is_empty() {
            answer["conversations"] = Value::Array(page);
        }
        Ok(Response::json(200, &answer))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    interval: String,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    order_by: Option<String>,
    #[serde(default)]
    paging: Option<Paging>,
    #[serde(default)]
    conversation_filters: Vec<Filter>,
    #[serde(default)]
    segment_filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paging {
    page_size: usize,
    page_number: usize,
}

#[derive(Deserialize)]
struct Filter {
    r#type: String,
    #[serde(default)]
    clauses: Vec<Filter>,
    #[serde(default)]
    predicates: Vec<Predicate>,
}

impl Filter {
    fn holds(&self, test: &dyn Fn(&Predicate) -> bool) -> bool {
        // Clauses nest once in the definition; serde's own depth limit bounds the rest.
        let mut parts = self
            .clauses
            .iter()
            .map(|c| c.holds(test))
            .chain(self.predicates.iter().map(test));
        if self.r#type == "or" {
            parts.any(|held| held)
        } else {
            parts.all(|held| held)
        }
    }
}

#[derive(Deserialize)]
struct Predicate {
    #[serde(default)]
    dimension: Option<String>,
    #[serde(default)]
    operator: Option<String>,
    #[serde(default)]
    value: Option<String>,
}

impl Predicate {
    fn meets(&self, found: &[Option<&str>]) -> bool {
        match self.operator.as_deref() {
            Some("exists") => found.iter().any(Option::is_some),
            Some("notExists") => found.iter().all(Option::is_none),
            _ => found
                .iter()
                .any(|f| f.is_some() && *f == self.value.as_deref()),
        }
    }

    fn of_conversation(&self, c: &Conversation, shown: &Value) -> bool {
        let id = c.id.to_string();
        let text = |name: &str| shown.get(name).and_then(Value::as_str);
        match self.dimension.as_deref() {
            Some("conversationId") => self.meets(&[Some(&id)]),
            Some(name @ ("conversationStart" | "conversationEnd" | "originatingDirection")) => {
                self.meets(&[text(name)])
            }
            Some("divisionId") => self.meets(&[shown["divisionIds"][0].as_str()]),
            _ => false,
        }
    }

    fn of_segment(&self, leg: &SegmentView<'_>) -> bool {
        let text = |value: &Value, name: &str| -> Option<String> {
            value.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let found = match self.dimension.as_deref() {
            Some(name @ ("userId" | "purpose")) => text(leg.participant, name),
            Some("mediaType") => text(leg.session, "mediaType"),
            Some(name @ ("queueId" | "segmentType" | "segmentEnd" | "wrapUpCode")) => {
                text(leg.segment, name)
            }
            _ => return false,
        };
        self.meets(&[found.as_deref()])
    }
}

struct SegmentView<'a> {
    participant: &'a Value,
    session: &'a Value,
    segment: &'a Value,
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn any_segment(conversation: &Value, test: &dyn Fn(&SegmentView<'_>) -> bool) -> bool {
    list(conversation, "participants")
        .iter()
        .any(|participant| {
            list(participant, "sessions").iter().any(|session| {
                list(session, "segments").iter().any(|segment| {
                    test(&SegmentView {
                        participant,
                        session,
                        segment,
                    })
                })
            })
        })
}

/// The conversation as of the horizon; `None` if it had not begun by then.
fn details(c: &Conversation, horizon: Horizon, division: uuid::Uuid) -> Option<Value> {
    if c.start > horizon.all {
        return None;
    }
    let mut out = json!({
        "conversationId": c.id.to_string(),
        "conversationStart": c.start.rfc3339(),
        "divisionIds": [division.to_string()],
        "originatingDirection": if c.inbound { "inbound" } else { "outbound" },
    });
    if let Some(end) = c.end.filter(|e| *e <= horizon.all) {
        out["conversationEnd"] = json!(end.rfc3339());
    }
    out["participants"] = c
        .participants
        .iter()
        .filter_map(|p| participant(c, p, horizon))
        .collect();
    Some(out)
}

fn participant(c: &Conversation, p: &Participant, horizon: Horizon) -> Option<Value> {
    let sessions: Vec<Value> = p
        .legs
        .iter()
        .filter(|l| l.start <= horizon.all)
        .map(|l| session(c, p, l, horizon))
        .collect();
    if sessions.is_empty() {
        return None;
    }
    let mut out = json!({
        "participantId": p.id.to_string(),
        "participantName": match p.purpose {
            Purpose::Customer => "Customer",
            Purpose::Acd => "Support",
            Purpose::Agent => "Agent",
        },
        "purpose": p.purpose.name(),
    });
    if let Some(user) = p.user {
        out["userId"] = json!(user.to_string());
    }
    if p.purpose == Purpose::Customer {
        out["externalContactId"] = json!(c.contact.to_string());
    }
    out["sessions"] = Value::Array(sessions);
    Some(out)
}

fn session(c: &Conversation, p: &Participant, l: &Leg, horizon: Horizon) -> Value {
    let mut out = json!({
        "sessionId": l.session.to_string(),
        "mediaType": c.media.event_name().to_ascii_lowercase(),
        "direction": if c.inbound { "inbound" } else { "outbound" },
        "provider": c.media.provider(),
    });
    match c.media {
        Media::Voice => {
            out["ani"] = json!(c.ani);
            out["dnis"] = json!(c.dnis);
        }
        Media::Callback => {
            out["callbackNumbers"] = json!([c.ani]);
            out["callbackUserName"] = json!("A. Example");
            out["callbackScheduledTime"] = json!(c.start.rfc3339());
        }
        Media::Message => {
            out["messageType"] = json!("webmessaging");
            out["addressFrom"] = json!(c.ani);
            out["addressTo"] = json!(c.dnis);
        }
        Media::Email | Media::Chat => {
            out["addressFrom"] = json!(c.ani);
            out["addressTo"] = json!(c.dnis);
        }
    }
    let ended = l.disconnected.filter(|d| *d <= horizon.all);
    let mut talk = json!({
        "segmentType": "interact",
        "segmentStart": l.connected.rfc3339(),
        "queueId": c.queue.to_string(),
    });
    if let Some(end) = ended {
        talk["segmentEnd"] = json!(end.rfc3339());
        talk["disconnectType"] = json!(match l.disconnect_type {
            "" => "system",
            known => known,
        });
    }
    if c.media == Media::Email {
        talk["subject"] = json!("Simulated request");
    }
    let mut segments = vec![talk];
    let mut metrics = Vec::new();
    let acw = &l.acw;
    let begun = acw.start.filter(|s| *s <= horizon.wrapup);
    if let (Purpose::Agent, Some(begun), Some(_)) = (p.purpose, begun, ended) {
        let mut work = json!({
            "segmentType": "wrapup",
            "segmentStart": begun.rfc3339(),
            "queueId": c.queue.to_string(),
        });
        // The wrap-up that was the latest at the horizon.
        let wrap = acw.wraps.iter().rev().find(|w| w.end <= horizon.wrapup);
        if let Some(wrap) = wrap {
            work["segmentEnd"] = json!(wrap.end.rfc3339());
            work["wrapUpCode"] = json!(wrap.code);
            if !wrap.notes.is_empty() {
                work["wrapUpNote"] = json!(wrap.notes);
            }
            metrics.push(json!({
                "name": "tAcw",
                "value": wrap.duration_ms,
                "emitDate": wrap.end.rfc3339(),
            }));
            segments.push(work);
        } else if acw.skipped.is_none_or(|s| s > horizon.wrapup) {
            segments.push(work);
        }
        if acw.skipped.is_some_and(|s| s <= horizon.wrapup) {
            out["acwSkipped"] = json!(true);
        }
    }
    out["segments"] = Value::Array(segments);
    if !metrics.is_empty() {
        out["metrics"] = Value::Array(metrics);
    }
    out
}
