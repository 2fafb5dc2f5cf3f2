//! Interactions and records as JSON for callers and operators (design, section 3).
//!
//! Invariant: these are the only names under which they leave the process; the
//! inner types carry no serialisation.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::shell::port::{InteractionView, RecordView};
use base::ids::ConversationId;
use base::rows::{self, InteractionState};
use base::time::Wall;
use notifications::redaction;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Brief<'a> {
    conversation_id: String,
    state: &'a str,
    accepted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason<'a>>,
}

/// The answer to a POST or a DELETE.
#[must_use]
pub fn brief(
    conversation: ConversationId,
    state: InteractionState,
    accepted_at: Wall,
    reason: Option<&rows::Reason>,
) -> String {
    text(&Brief {
        conversation_id: conversation.to_string(),
        state: state.label(),
        accepted_at: accepted_at.rfc3339(),
        reason: reason.map(|r| Reason {
            code: &r.code,
            detail: redaction::foreign(&r.detail),
        }),
    })
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'a str,
    detail: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Interaction<'a> {
    conversation_id: String,
    state: &'a str,
    accepted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interaction: Option<&'a RawValue>,
    records: Vec<Record<'a>>,
}

/// What the platform said of who wrapped up, and how; for the page of Agent Desktop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The agent's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The agent's participant in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<String>,
    /// The wrap-up code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapup_code: Option<String>,
    /// How long the after-call work took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapup_duration_ms: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    record_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<String>,
    source: &'a str,
    event_time: Option<String>,
    received_at: String,
    state: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(flatten)]
    told: Option<&'a Told>,
}

/// For whom a record is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eyes {
    Caller,
    Operator,
}

/// What was said last of records, each text cleaned of secrets once: an outage says the same of
/// thousands.
#[derive(Default)]
struct Said<'a>(BTreeMap<&'a str, String>);

impl<'a> Said<'a> {
    fn clean(&mut self, text: &'a str) -> String {
        let cleaned = self.0.entry(text);
        cleaned.or_insert_with(|| redaction::foreign(text)).clone()
    }
}

fn record<'a>(view: &'a RecordView, eyes: Eyes, said: &mut Said<'a>) -> Record<'a> {
    let operator = eyes == Eyes::Operator;
    Record {
        record_id: view.record.to_string(),
        kind: operator.then_some(view.kind.as_str()),
        conversation_id: view
            .conversation
            .filter(|_| operator)
            .map(|c| c.to_string()),
        source: &view.source,
        event_time: view.event_time.map(Wall::rfc3339),
        received_at: view.received_at.rfc3339(),
        state: &view.state,
        attempts: view.attempts,
        delivered_at: view.delivered_at.map(Wall::rfc3339),
        next_try: view.next_try.filter(|_| operator).map(Wall::rfc3339),
        last_error: view.last_error.as_deref().map(|text| said.clean(text)),
        body: view.body.as_deref().filter(|_| operator).and_then(raw),
        told: None,
    }
}

/// An interaction with its records, for callers.
#[must_use]
pub fn interaction(view: &InteractionView) -> String {
    with_told(view, &[])
}

/// The same for who waits for news of it: with what the platform said of each record.
#[must_use]
pub fn news(view: &InteractionView, of_records: &[Told]) -> String {
    with_told(view, of_records)
}

/// A conversation that the asker knows and the gateway does not, or does not tell of.
#[must_use]
pub fn unknown(conversation: ConversationId) -> String {
    format!("{{\"conversationId\":\"{conversation}\",\"state\":\"unknown\"}}")
}

fn with_told(view: &InteractionView, of_records: &[Told]) -> String {
    let mut said = Said::default();
    text(&Interaction {
        conversation_id: view.conversation.to_string(),
        state: &view.state,
        accepted_at: view.accepted_at.rfc3339(),
        watched_since: view.watched_since.map(Wall::rfc3339),
        finished_at: view.finished_at.map(Wall::rfc3339),
        reason: view.reason.as_ref().map(|(code, detail)| Reason {
            code,
            detail: redaction::foreign(detail),
        }),
        interaction: view.members.as_deref().and_then(raw),
        records: view
            .records
            .iter()
            .enumerate()
            .map(|(n, r)| Record {
                told: of_records.get(n),
                ..record(r, Eyes::Caller, &mut said)
            })
            .collect(),
    })
}

/// A record, for operators: with its body while there is one.
#[must_use]
pub fn one_record(view: &RecordView) -> String {
    text(&record(view, Eyes::Operator, &mut Said::default()))
}

/// Records, for operators.
#[must_use]
pub fn many_records(views: &[RecordView]) -> String {
    #[derive(Serialize)]
    struct Records<'a> {
        records: Vec<Record<'a>>,
    }
    let mut said = Said::default();
    text(&Records {
        records: views
            .iter()
            .map(|r| record(r, Eyes::Operator, &mut said))
            .collect(),
    })
}

/// Stored text as it is; what is not JSON (it was when it was stored) is left out.
fn raw(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

fn text(value: &impl Serialize) -> String {
    // Strings, numbers and checked text alone: this cannot fail.
    serde_json::to_string(value).unwrap_or_else(|_| String::from("{}"))
}
