//! The control interface over HTTP: JSON in, JSON out.
//!
//! Invariant: no route changes anything except through a command or the history receiver.

use serde_json::{Map, Value, json};

use super::connections::Reply;
use super::history::History;
use super::model::{ControlError, Platform, SWITCH_TABLE, WrapUp};
use super::server::Shared;
use base::ids::ConversationId;
use base::time::Now;
use base::wire::{Request, Response};

/// Every route with a sentence; `GET /` shows it.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/", "Lists these routes."),
    (
        "POST",
        "/conversations",
        "Begins a conversation: {id?, media?: voice|message|email|callback|chat, inbound?, agents?, acw?}.",
    ),
    (
        "POST",
        "/lives",
        "Plans the whole life of a conversation: {id?, media?, agents?, acw?, startAfterMs?, talkMs?, acwMs?, skip?, lateMs?, rewrapAfterMs?, reopenAfterMs?}.",
    ),
    (
        "GET",
        "/conversations/{id}",
        "Shows a conversation as REST would, with the wrap-ups that happened.",
    ),
    (
        "POST",
        "/conversations/{id}/wrap-up",
        "An agent finishes after-call work: {leg?, code?, notes?}.",
    ),
    (
        "POST",
        "/conversations/{id}/skip",
        "An agent skips after-call work: {leg?}.",
    ),
    (
        "POST",
        "/conversations/{id}/rewrap",
        "A wrap-up is changed afterwards: {leg?, code?, notes?}.",
    ),
    (
        "POST",
        "/conversations/{id}/draft",
        "An agent saves notes without finishing: {leg?, notes}.",
    ),
    (
        "POST",
        "/conversations/{id}/leave",
        "One agent leaves, the others stay: {leg}.",
    ),
    (
        "POST",
        "/conversations/{id}/transfer",
        "An agent hands over to another one: {leg?, acw?}.",
    ),
    (
        "POST",
        "/conversations/{id}/end",
        "The customer leaves and everybody is disconnected.",
    ),
    (
        "POST",
        "/conversations/{id}/finish",
        "Ends the conversation and wraps up every agent.",
    ),
    (
        "POST",
        "/conversations/{id}/reopen",
        "An ended conversation goes on: {sameParticipant?, acw?}.",
    ),
    (
        "POST",
        "/faults",
        "Orders a hardship: {fault: drop-socket|silence|speak|closing|evict|expire-channel|revoke-tokens|expire-tokens|disable-client|enable-client|forbid-channels|permit-channels|fail-rest|refuse-topics|allow-topics|refuse-conversations|allow-conversations|permissions|events|noise|frame|clear, …}.",
    ),
    (
        "GET",
        "/switches",
        "Lists the switches with values and defaults.",
    ),
    ("POST", "/switches", "Sets switches: {name: value, …}."),
    (
        "GET",
        "/journal",
        "Shows what happened; ?after=N leaves out what is known.",
    ),
    (
        "GET",
        "/truth",
        "Shows every wrap-up, every channel and the counters.",
    ),
    (
        "POST",
        "/history",
        "Stands in for the history manager: takes a filing and answers as the script says, else 201.",
    ),
    (
        "GET",
        "/history",
        "Shows what was filed, with keys, answers and duplicates; ?bodies=false only counts.",
    ),
    (
        "POST",
        "/history/script",
        "Adds to the script: [{status?, retryAfter?, delayMs?, close?, hang?, times?}, …].",
    ),
    ("DELETE", "/history", "Forgets receipts, counts and script."),
    (
        "POST",
        "/commands",
        "Any command as one object: {command, …}.",
    ),
    (
        "POST",
        "/advance",
        "Has time pass at once, a week at most: {seconds}.",
    ),
    (
        "POST",
        "/reset",
        "Begins anew: no tokens, channels, conversations, faults and receipts, the switches as at the start.",
    ),
];

/// Answers a request to the control port.
pub(super) fn answer(request: &Request, shared: &Shared) -> Reply {
    let path = request
        .url
        .find("://")
        .and_then(|at| request.url[at + 3..].find('/').map(|slash| at + 3 + slash))
        .map_or("/", |at| &request.url[at..]);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    if let ("POST", ["history"]) = (request.method, &segments[..]) {
        return shared.history.receive(request, shared);
    }
    let outcome = route(request, &segments, query, shared);
    Reply::Answer(match outcome {
        Ok(value) => Response::json(200, &value),
        Err(error) => {
            let status = match &error {
                ControlError::NotFound(_) => 404,
                ControlError::Invalid(_) => 400,
                ControlError::Conflict(_) => 409,
                ControlError::Full(_) => 503,
            };
            Response::json(status, &json!({"error": error.to_string()}))
        }
    })
}

type Outcome = Result<Value, ControlError>;

fn route(request: &Request, segments: &[&str], query: &str, shared: &Shared) -> Outcome {
    let history: &History = &shared.history;
    match (request.method, segments) {
        ("GET", []) => Ok(routes()),
        ("POST", ["conversations"]) => command(shared, "start", None, &request.body),
        ("POST", ["lives"]) => command(shared, "life", None, &request.body),
        ("GET", ["conversations", id]) => {
            let id: ConversationId = id
                .parse()
                .map_err(|_| ControlError::NotFound("not a conversation id".into()))?;
            shared.with(|p, _| conversation(p, id))
        }
        ("POST", ["conversations", id, act]) => command(shared, act, Some(id), &request.body),
        ("POST", ["advance"]) => command(shared, "advance", None, &request.body),
        ("POST", ["reset"]) => command(shared, "reset", None, &request.body),
        ("POST", ["faults"]) => {
            let fault: Value = json_body(&request.body)?;
            obey(shared, json!({"command": "fault", "fault": fault}))
        }
        ("GET", ["switches"]) => Ok(shared.with(|p, _| switches(p))),
        ("POST", ["switches"]) => set_switches(shared, &request.body),
        ("GET", ["journal"]) => {
            let after = parameter(query, "after").and_then(|v| v.parse::<u64>().ok());
            Ok(shared.with(|p, _| journal(p, after)))
        }
        ("GET", ["truth"]) => Ok(shared.with(truth)),
        ("GET", ["history"]) => Ok(history.list(parameter(query, "bodies") != Some("false"))),
        ("DELETE", ["history"]) => {
            history.clear();
            Ok(json!({}))
        }
        ("POST", ["history", "script"]) => {
            history.script(&request.body).map_err(ControlError::Invalid)
        }
        ("POST", ["commands"]) => obey(shared, json_body(&request.body)?),
        _ => Err(ControlError::NotFound(
            "no such route; GET / lists them".into(),
        )),
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v)
}

fn json_body(body: &[u8]) -> Outcome {
    serde_json::from_slice(body).map_err(|e| ControlError::Invalid(format!("not JSON: {e}")))
}

/// A command whose name and conversation are in the path.
fn command(shared: &Shared, name: &str, conversation: Option<&str>, body: &[u8]) -> Outcome {
    let mut members = if body.is_empty() {
        Map::new()
    } else {
        match json_body(body)? {
            Value::Object(members) => members,
            _ => return Err(ControlError::Invalid("the body is not an object".into())),
        }
    };
    members.insert("command".into(), json!(name));
    if let Some(id) = conversation {
        members.insert("conversation".into(), json!(id));
    }
    obey(shared, Value::Object(members))
}

fn obey(shared: &Shared, command: Value) -> Outcome {
    shared.order(command)
}

fn set_switches(shared: &Shared, body: &[u8]) -> Outcome {
    let Value::Object(members) = json_body(body)? else {
        return Err(ControlError::Invalid("the body is not an object".into()));
    };
    for (name, value) in &members {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        obey(
            shared,
            json!({"command": "switch", "name": name, "value": value}),
        )?;
    }
    Ok(Value::Object(members))
}

fn routes() -> Value {
    let routes: Vec<Value> = ROUTES
        .iter()
        .map(|(method, path, text)| json!({"method": method, "path": path, "does": text}))
        .collect();
    json!({"routes": routes})
}

fn switches(p: &Platform) -> Value {
    SWITCH_TABLE
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "value": p.switches().get(row.name),
                "default": row.default,
                "takes": row.values.to_string(),
                "does": row.doc,
            })
        })
        .collect()
}

fn journal(p: &Platform, after: Option<u64>) -> Value {
    let entries: Vec<Value> = p
        .journal_kept()
        .filter(|e| after.is_none_or(|n| e.number > n))
        .map(|e| {
            json!({
                "number": e.number, "at": e.at.rfc3339(), "kind": e.kind,
                "channel": e.channel, "what": e.what,
            })
        })
        .collect();
    json!({"entries": entries})
}

fn wrap_up(w: &WrapUp) -> Value {
    json!({
        "conversation": w.conversation.to_string(),
        "participant": w.participant.to_string(),
        "session": w.session.to_string(),
        "leg": w.leg,
        "ordinal": w.ordinal,
        "eventTime": w.event_time.rfc3339(),
        "restEnd": w.rest_end.rfc3339(),
        "code": w.code,
        "durationMs": w.duration_ms,
        "emitted": w.emitted,
        "showsInRest": w.shows_in_rest,
        "superseded": w.superseded.is_some(),
        "frames": w.frames,
    })
}

fn conversation(p: &Platform, id: ConversationId) -> Outcome {
    let shown = p
        .shown(id)
        .ok_or_else(|| ControlError::NotFound(format!("no conversation {id}")))?;
    let truth = p.truth();
    let wrap_ups: Vec<Value> = truth
        .wrap_ups()
        .iter()
        .filter(|w| w.conversation == id)
        .map(wrap_up)
        .collect();
    let finished = truth.conversation(id).is_some_and(|c| c.finished());
    Ok(json!({"finished": finished, "wrapUps": wrap_ups, "shown": shown}))
}

fn truth(p: &mut Platform, now: Now) -> Value {
    let truth = p.truth();
    let l = truth.ledger();
    let channels: Vec<Value> = truth
        .channels()
        .map(|c| {
            json!({
                "channel": c.id.get(c.id.len().saturating_sub(4)..),
                "connected": c.socket.is_some(),
                "topics": c.topics,
                "expiresInMs": c.expires.0.saturating_sub(now.mono.0),
            })
        })
        .collect();
    let calls: Map<String, Value> = l
        .calls
        .iter()
        .map(|(call, n)| (format!("{call:?}"), json!(n)))
        .collect();
    json!({
        "wrapUps": truth.wrap_ups().iter().map(wrap_up).collect::<Vec<Value>>(),
        "channels": channels,
        "sockets": truth.sockets(),
        "tokens": truth.tokens(),
        "conversations": truth.conversations().count(),
        "channelsMost": l.channels_most,
        "heldMost": l.held_most,
        "topicsMost": l.topics_most,
        "topicsTotalMost": l.topics_total_most,
        "overLimit": l.over_limit,
        "evicted": l.evicted,
        "evictedConnected": l.evicted_connected,
        "secondSockets": l.second_sockets,
        "channelsCreated": l.channels_created,
        "tokensGiven": l.tokens_given,
        "rateLimited": l.rate_limited,
        "requestsOnDeadChannels": l.requests_on_dead_channels,
        "calls": calls,
    })
}
