//! The members of an after-call-work event, rebuilt from a conversation as REST
//! shows it (protocol, section 11.1, last table).
//!
//! Invariant: names and types are those of the event (protocol, section 6);
//! only what is known is there.

use serde_json::{Map, Value};

use super::text;
use base::ids::ConversationId;
use base::rows::Leg;
use base::time::Wall;

/// Where the members are.
pub(super) struct Parts<'a> {
    pub(super) conversation: ConversationId,
    pub(super) whole: &'a Value,
    pub(super) participant: &'a Value,
    pub(super) media: &'a str,
    pub(super) communication: &'a Value,
    pub(super) leg: &'a Leg,
    pub(super) wrap_up: &'a Value,
    pub(super) time: Wall,
    /// Start and end of the after-call work.
    pub(super) work: Option<(Wall, Wall)>,
}

/// JSON object text.
pub(super) fn event_body(parts: &Parts<'_>) -> String {
    let Parts {
        participant,
        communication,
        wrap_up,
        ..
    } = parts;
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let string = |t: &str| Some(Value::from(t));
    let upper = |t: Option<&str>| t.map(|t| Value::from(t.to_ascii_uppercase()));

    put("eventTime", Some(Value::from(parts.time.0)));
    put("conversationId", string(&parts.conversation.to_string()));
    put(
        "participantId",
        Some(Value::from(parts.leg.participant.as_str()))
            .filter(|_| !parts.leg.participant.is_empty()),
    );
    put(
        "sessionId",
        Some(Value::from(parts.leg.session.as_str())).filter(|_| !parts.leg.session.is_empty()),
    );
    put("mediaType", string(parts.media));
    if parts.media == "MESSAGE" {
        put("messageType", upper(text(communication, "type")));
    }
    put("provider", text(communication, "provider").and_then(string));
    put("direction", upper(text(communication, "direction")));
    addresses(parts, &mut put);
    if parts.media == "CALLBACK" {
        put(
            "callbackUserName",
            text(communication, "callbackUserName").and_then(string),
        );
        put(
            "callbackNumbers",
            communication
                .get("callbackNumbers")
                .filter(|v| v.is_array())
                .cloned(),
        );
        put(
            "callbackScheduledTime",
            super::instant(communication, "callbackScheduledTime").map(|t| Value::from(t.0)),
        );
    }
    if parts.media == "EMAIL" {
        put("subject", text(communication, "subject").and_then(string));
    }
    put("userId", text(participant, "userId").and_then(string));
    put("queueId", text(participant, "queueId").and_then(string));
    put("wrapupCode", text(wrap_up, "code").and_then(string));
    put("wrapupNotes", text(wrap_up, "notes").and_then(string));
    put("wrapupDurationMs", duration(parts));
    put(
        "conversationExternalContactIds",
        externals(parts.whole, "externalContactId"),
    );
    put(
        "conversationExternalOrganizationIds",
        externals(parts.whole, "externalOrganizationId"),
    );
    Value::Object(out).to_string()
}

fn duration(parts: &Parts<'_>) -> Option<Value> {
    let said = parts
        .wrap_up
        .get("durationSeconds")
        .and_then(Value::as_i64)
        .map(|s| s.saturating_mul(1000));
    let worked = || {
        parts
            .work
            .map(|(from, to)| to.0.saturating_sub(from.0).max(0))
    };
    said.or_else(worked).map(Value::from)
}

fn normalized<'a>(communication: &'a Value, name: &str) -> Option<&'a str> {
    let address = communication.get(name)?;
    text(address, "addressNormalized").or_else(|| text(address, "addressRaw"))
}

/// Calling and called number for voice, addresses for the rest. What the agent's participant
/// does not say, the customer's does.
fn addresses(parts: &Parts<'_>, put: &mut impl FnMut(&str, Option<Value>)) {
    let communication = parts.communication;
    let said = |name: &str| {
        text(parts.participant, name)
            .or_else(|| {
                super::list(parts.whole, "participants")
                    .iter()
                    .filter(|p| matches!(text(p, "purpose"), Some("customer" | "external")))
                    .find_map(|p| text(p, name))
            })
            .map(Value::from)
    };
    match parts.media {
        "VOICE" | "CALLBACK" => {
            let outbound = text(communication, "direction")
                .is_some_and(|d| d.eq_ignore_ascii_case("outbound"));
            let (calling, called) = if outbound {
                ("self", "other")
            } else {
                ("other", "self")
            };
            put(
                "ani",
                said("ani").or_else(|| normalized(communication, calling).map(Value::from)),
            );
            put(
                "dnis",
                said("dnis").or_else(|| normalized(communication, called).map(Value::from)),
            );
        }
        _ => {
            let of = |name: &str| {
                normalized(communication, name)
                    .or_else(|| customers(parts).find_map(|c| normalized(c, name)))
                    .map(Value::from)
            };
            put("addressTo", of("toAddress"));
            put("addressFrom", of("fromAddress"));
        }
    }
}

/// The customer's communications of the kinds that carry addresses.
fn customers<'a>(parts: &Parts<'a>) -> impl Iterator<Item = &'a Value> {
    super::list(parts.whole, "participants")
        .iter()
        .filter(|p| matches!(text(p, "purpose"), Some("customer" | "external")))
        .flat_map(|p| {
            ["messages", "emails"]
                .into_iter()
                .flat_map(move |name| super::list(p, name).iter())
        })
}

/// Distinct ids over all participants.
fn externals(whole: &Value, name: &str) -> Option<Value> {
    let mut ids: Vec<&str> = Vec::new();
    for participant in super::list(whole, "participants") {
        if let Some(id) = text(participant, name)
            && !ids.contains(&id)
            && ids.len() < 100
        {
            ids.push(id);
        }
    }
    (!ids.is_empty()).then(|| Value::from(ids))
}
