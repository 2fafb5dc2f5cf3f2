//! Conversations as the operational store shows them, and the event of a wrap-up
//! (protocol, sections 6 and 11.1).
//!
//! Invariant: the same leg has the same participant and session id in both.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Platform;
use super::conversation::{Acw, Conversation, Leg, Media, Participant, Purpose, Wrap};
use super::rest::{Outcome, Refusal};
use super::switches::{CallbackWrapup, OptionalAcw, Switches, WrapupLevel};
use base::ids::ConversationId;
use base::time::Wall;
use base::wire::Response;

impl Platform {
    pub(super) fn get_conversation(&self, id: &str) -> Outcome {
        let conversation = self.visible(id)?;
        Ok(Response::json(200, &self.conversation_json(conversation)))
    }

    /// The conversation as `GET /conversations/{id}` shows it.
    pub(super) fn conversation_json(&self, conversation: &Conversation) -> Value {
        conversation_json(conversation, View::of(&self.switches), self.division)
    }

    /// A conversation that may be seen.
    fn visible(&self, id: &str) -> Result<&Conversation, Refusal> {
        let id: ConversationId = id.parse().map_err(|_| Refusal::not_found())?;
        if let Some(refused) = self.faults.refused_conversation(id) {
            let refusal = match refused.status {
                403 => Refusal::new(
                    403,
                    "missing.any.division.permissions",
                    "Unable to perform the requested action. You are missing the following permission(s): conversation:communication:view",
                ),
                status => Refusal::of_status(status),
            };
            return Err(Refusal {
                headers: refused.headers,
                ..refusal
            });
        }
        self.conversations.get(&id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn list_conversations(&self, token: u64) -> Response {
        // Without a user there is no "my conversations" (protocol, section 2.2).
        let user = self.tokens.get(token).and_then(|t| t.user);
        let entities: Vec<Value> = self
            .conversations
            .values()
            .filter(|c| user.is_some() && c.end.is_none())
            .filter(|c| c.participants.iter().any(|p| p.user == user))
            .take(100)
            .map(|c| self.conversation_json(c))
            .collect();
        Response::json(
            200,
            &json!({
                "total": entities.len(), "entities": entities, "pageSize": 25, "pageNumber": 1,
                "pageCount": 1, "selfUri": "/api/v2/conversations",
            }),
        )
    }

    pub(super) fn get_wrapup(
        &self,
        id: &str,
        participant: &str,
        communication: Option<(&str, &str)>,
    ) -> Outcome {
        let conversation = self.visible(id)?;
        let wanted = Uuid::try_parse(participant).map_err(|_| Refusal::not_found())?;
        let participant = conversation
            .participants
            .iter()
            .find(|p| p.id == wanted)
            .ok_or_else(Refusal::not_found)?;
        let leg = match communication {
            None => participant.legs.last(),
            Some((member, session)) => {
                let session = Uuid::try_parse(session).map_err(|_| Refusal::not_found())?;
                if member != conversation.media.member() {
                    return Err(Refusal::not_found());
                }
                participant.legs.iter().find(|l| l.session == session)
            }
        };
        let wrap = leg
            .and_then(|l| l.acw.wraps.last())
            .ok_or_else(Refusal::not_found)?;
        let mut body = wrap_json(wrap);
        if let Some(body) = body.as_object_mut() {
            // The single call answers with a model that knows neither.
            body.remove("name");
            body.remove("provisional");
        }
        Ok(Response::json(200, &body))
    }
}

/// How after-call work is shown.
#[derive(Clone, Copy)]
struct View {
    level: WrapupLevel,
    callback: CallbackWrapup,
    optional: OptionalAcw,
}

impl View {
    fn of(switches: &Switches) -> View {
        View {
            level: switches.wrapup_level,
            callback: switches.callback_wrapup,
            optional: switches.optional_acw,
        }
    }
}

fn wrap_json(wrap: &Wrap) -> Value {
    json!({
        "code": wrap.code,
        "name": format!("Code {}", wrap.code.get(..8).unwrap_or(&wrap.code)),
        "notes": wrap.notes,
        "tags": [],
        "durationSeconds": wrap.duration_ms / 1000,
        "endTime": wrap.end.rfc3339(),
        "provisional": false,
    })
}

fn wrapup_of(acw: &Acw) -> Option<Value> {
    match (acw.wraps.last(), &acw.draft) {
        (Some(wrap), _) => Some(wrap_json(wrap)),
        (None, Some(notes)) => Some(json!({"notes": notes, "provisional": true})),
        (None, None) => None,
    }
}

fn after_call_work(leg: &Leg, agent: bool, optional: OptionalAcw) -> Value {
    let acw = &leg.acw;
    let mut out = Map::new();
    if let Some(start) = acw.start {
        out.insert("startTime".into(), json!(start.rfc3339()));
    }
    if let Some(end) = acw.end() {
        out.insert("endTime".into(), json!(end.rfc3339()));
    }
    let state = if !acw.required {
        match optional {
            OptionalAcw::Unknown if agent => "unknown",
            _ => "notApplicable",
        }
    } else if acw.skipped.is_some() {
        "skipped"
    } else if !acw.wraps.is_empty() {
        "complete"
    } else if acw.start.is_some() {
        "pending"
    } else {
        "unknown"
    };
    out.insert("state".into(), json!(state));
    Value::Object(out)
}

fn communication_json(
    conversation: &Conversation,
    participant: &Participant,
    leg: &Leg,
    view: View,
) -> Value {
    let mut out = json!({
        "id": leg.session.to_string(),
        "state": if leg.disconnected.is_some() { "disconnected" } else { "connected" },
        "direction": if conversation.inbound { "inbound" } else { "outbound" },
        "provider": conversation.media.provider(),
        "startAlertingTime": leg.start.rfc3339(),
        "connectedTime": leg.connected.rfc3339(),
    });
    if let Some(end) = leg.disconnected {
        out["disconnectedTime"] = json!(end.rfc3339());
        out["disconnectType"] = json!(leg.disconnect_type);
    }
    match conversation.media {
        Media::Voice => {
            out["self"] = json!({"addressNormalized": conversation.dnis});
            out["other"] = json!({"addressNormalized": conversation.ani});
        }
        Media::Message => {
            out["type"] = json!("webmessaging");
            out["toAddress"] = json!({"addressNormalized": conversation.dnis});
            out["fromAddress"] = json!({"addressNormalized": conversation.ani});
        }
        Media::Email => out["subject"] = json!("Simulated request"),
        Media::Callback => {
            out["callbackNumbers"] = json!([conversation.ani]);
            out["callbackUserName"] = json!("A. Example");
            out["callbackScheduledTime"] = json!(conversation.start.rfc3339());
        }
        Media::Chat => {}
    }
    let agent = participant.purpose == Purpose::Agent;
    let bare = agent && !leg.acw.required && view.optional == OptionalAcw::Bare;
    if participant.purpose != Purpose::Acd && view.level != WrapupLevel::Participant && !bare {
        out["afterCallWork"] = after_call_work(leg, agent, view.optional);
        out["afterCallWorkRequired"] = json!(false);
        if let Some(wrapup) = wrapup_of(&leg.acw) {
            out["wrapup"] = wrapup;
        }
    }
    out
}

/// The session of the call that a callback led to.
fn session_of_call(session: Uuid) -> Uuid {
    Uuid::from_u128(session.as_u128() ^ 0xca11)
}

/// The call that a callback led to, with the same after-call work.
fn led_to(callback: &Value, view: View) -> Value {
    let mut call = callback.clone();
    if let Some(session) = callback["id"].as_str().and_then(|id| id.parse().ok()) {
        call["id"] = json!(session_of_call(session).to_string());
    }
    call["provider"] = json!(Media::Voice.provider());
    if let Some(members) = call.as_object_mut() {
        members.retain(|name, _| !name.starts_with("callback"));
        if view.callback == CallbackWrapup::One {
            members.remove("wrapup");
            members.insert("afterCallWork".into(), json!({"state": "notApplicable"}));
        }
    }
    call
}

/// The event of the call that a callback led to, made of the callback's.
pub(super) fn event_of_call(callback: &Value) -> Value {
    let mut call = callback.clone();
    if let Some(session) = callback["sessionId"]
        .as_str()
        .and_then(|id| id.parse().ok())
    {
        call["sessionId"] = json!(session_of_call(session).to_string());
    }
    call["mediaType"] = json!(Media::Voice.event_name());
    if let Some(members) = call.as_object_mut() {
        members.retain(|name, _| !name.starts_with("callback"));
    }
    call
}

fn participant_json(conversation: &Conversation, participant: &Participant, view: View) -> Value {
    let agent = participant.purpose == Purpose::Agent;
    let mut out = json!({
        "id": participant.id.to_string(),
        "purpose": participant.purpose.name(),
    });
    if let Some(first) = participant.legs.first() {
        out["startTime"] = json!(first.start.rfc3339());
        out["connectedTime"] = json!(first.connected.rfc3339());
    }
    if let Some(end) = participant.end() {
        out["endTime"] = json!(end.rfc3339());
    }
    match participant.purpose {
        Purpose::Customer => {
            out["name"] = json!("Customer");
            out["externalContactId"] = json!(conversation.contact.to_string());
            out["ani"] = json!(conversation.ani);
            out["dnis"] = json!(conversation.dnis);
            out["wrapupRequired"] = json!(false);
        }
        Purpose::Acd => {
            out["name"] = json!("Support");
            out["queueId"] = json!(conversation.queue.to_string());
            out["queueName"] = json!("Support");
        }
        Purpose::Agent => {
            out["participantType"] = json!("Internal");
            out["name"] = json!("Agent");
            out["queueId"] = json!(conversation.queue.to_string());
            out["queueName"] = json!("Support");
            if let Some(user) = participant.user {
                out["userId"] = json!(user.to_string());
            }
        }
    }
    let communications: Vec<Value> = participant
        .legs
        .iter()
        .map(|l| communication_json(conversation, participant, l, view))
        .collect();
    if agent && conversation.media == Media::Callback && view.callback != CallbackWrapup::NoCall {
        out[Media::Voice.member()] = communications.iter().map(|c| led_to(c, view)).collect();
    }
    out[conversation.media.member()] = Value::Array(communications);
    if let (true, Some(last)) = (agent, participant.legs.last()) {
        let acw = &last.acw;
        out["wrapupRequired"] = json!(!acw.optional);
        let prompt = match (acw.optional, view.optional) {
            (false, _) => Some("mandatory"),
            (true, OptionalAcw::Prompt | OptionalAcw::Unknown) => Some("optional"),
            (true, OptionalAcw::Bare | OptionalAcw::NotApplicable) => None,
        };
        if let Some(prompt) = prompt {
            out["wrapupPrompt"] = json!(prompt);
        }
        if acw.skipped.is_some() {
            out["wrapupSkipped"] = json!(true);
        }
        if view.level != WrapupLevel::Communication {
            if let Some(wrapup) = wrapup_of(acw) {
                out["wrapup"] = wrapup;
            }
            if let Some(start) = acw.start {
                out["startAcwTime"] = json!(start.rfc3339());
            }
            if let Some(end) = acw.end() {
                out["endAcwTime"] = json!(end.rfc3339());
            }
        }
    }
    out
}

fn conversation_json(conversation: &Conversation, view: View, division: Uuid) -> Value {
    let mut out = json!({
        "id": conversation.id.to_string(),
        "startTime": conversation.start.rfc3339(),
    });
    if let Some(end) = conversation.end {
        out["endTime"] = json!(end.rfc3339());
    }
    if conversation.media == Media::Voice {
        out["address"] = json!(conversation.dnis);
    }
    out["participants"] = conversation
        .participants
        .iter()
        .map(|p| participant_json(conversation, p, view))
        .collect();
    out["divisions"] = json!([{"division": {"id": division.to_string(), "name": "Home"}}]);
    out["recordingState"] = json!("NONE");
    out["selfUri"] = json!(format!("/api/v2/conversations/{}", conversation.id));
    out
}

/// The `eventBody` of the `.acw` event of a wrap-up; `.wrapup` is the same without the user.
pub(super) fn event_body(
    conversation: &Conversation,
    participant: &Participant,
    leg: &Leg,
    wrap: &Wrap,
    event_time: Wall,
) -> Value {
    let mut out = json!({
        "eventTime": event_time.0,
        "conversationId": conversation.id.to_string(),
        "participantId": participant.id.to_string(),
        "sessionId": leg.session.to_string(),
        "mediaType": conversation.media.event_name(),
        "provider": conversation.media.provider(),
        "direction": if conversation.inbound { "INBOUND" } else { "OUTBOUND" },
    });
    match conversation.media {
        Media::Voice => {
            out["ani"] = json!(conversation.ani);
            out["dnis"] = json!(conversation.dnis);
        }
        Media::Message | Media::Chat | Media::Email => {
            out["addressTo"] = json!(conversation.dnis);
            out["addressFrom"] = json!(conversation.ani);
        }
        Media::Callback => {
            out["callbackUserName"] = json!("A. Example");
            out["callbackNumbers"] = json!([conversation.ani]);
            out["callbackScheduledTime"] = json!(conversation.start.0);
        }
    }
    match conversation.media {
        Media::Message => out["messageType"] = json!("WEBMESSAGING"),
        Media::Email => out["subject"] = json!("Simulated request"),
        _ => {}
    }
    if let Some(user) = participant.user {
        out["userId"] = json!(user.to_string());
    }
    out["queueId"] = json!(conversation.queue.to_string());
    out["wrapupCode"] = json!(wrap.code);
    if !wrap.notes.is_empty() {
        out["wrapupNotes"] = json!(wrap.notes);
    }
    out["wrapupDurationMs"] = json!(wrap.duration_ms);
    out["conversationExternalContactIds"] = json!([conversation.contact.to_string()]);
    out
}
