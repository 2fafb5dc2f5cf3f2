//! What REST says about a conversation: its agent legs, their wrap-ups, and
//! whether it is over (protocol, section 11).
//!
//! Two readers: the prompt one, `GET /api/v2/conversations/{id}`, from which
//! lost records are rebuilt; and the late one, analytics details, which only
//! hints. Everything is optional and of any type; what is not understood counts
//! as missing.
//!
//! Invariant: pure and total; an agent leg about which nothing is known is
//! open, so that ignorance never ends an interaction.

mod rebuild;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::record::{SAME_WRAPUP, leg_id, same_leg, twin_mark};
use base::foreign;
use base::ids::ConversationId;
use base::rows::{Leg, RecordRow};
use base::time::Wall;

/// Agent legs of one conversation that are looked at; more is not a conversation of people.
const LEGS_MAX: usize = 1_000;

/// The answer is not what it should be: the platform's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbled;

/// A conversation as REST shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConversationView {
    /// `endTime`: the last disconnect; after-call work may still run.
    pub ended: Option<Wall>,
    /// A message was put aside by its agent, to be taken up again, perhaps days later.
    pub parked: bool,
    /// The legs of agents, in the order of the answer.
    pub legs: Vec<LegView>,
}

impl ConversationView {
    /// No further event is due, unless it is re-opened.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.ended.is_some() && self.legs.iter().all(|l| l.done)
    }
}

/// One agent leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegView {
    /// Participant and communication.
    pub leg: Leg,
    /// No after-call work is due any more, by the order of trust of protocol, section 11.1.
    pub done: bool,
    /// When its after-call work, or the leg itself, came to an end, if it says.
    pub done_at: Option<Wall>,
    /// After-call work took place or was skipped, so that an event may be under way.
    pub worked: bool,
    /// Done without a wrap-up, and one may still come: see `may_come_late`.
    pub late: bool,
    /// The completed wrap-up, if there is one.
    pub wrap_up: Option<WrapUp>,
}

/// A completed wrap-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrapUp {
    /// The platform's time of it.
    pub time: Wall,
    /// The members of an `eventBody`, rebuilt: JSON object text.
    pub body: String,
    /// See [`twin_mark`].
    pub twin: Option<String>,
    /// The participant's own, of a callback and its call: the legs under which it may have been
    /// announced as well.
    pub shared_with: Vec<Leg>,
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str().filter(|t| !t.is_empty())
}

fn instant(of: &Value, name: &str) -> Option<Wall> {
    Wall::parse_rfc3339(text(of, name)?)
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Member names of communications and the `mediaType` of their events (protocol, section 11.1).
/// The callback goes before the call it led to: of a wrap-up tagged on both, it is the record's.
const MEDIA: [(&str, &str); 10] = [
    ("callbacks", "CALLBACK"),
    ("calls", "VOICE"),
    ("chats", "CHAT"),
    ("emails", "EMAIL"),
    ("messages", "MESSAGE"),
    ("internalMessages", "INTERNALMESSAGE"),
    ("videos", "VIDEO"),
    ("cobrowsesessions", "COBROWSE"),
    ("screenshares", "SCREENSHARE"),
    ("socialExpressions", "UNKNOWN"),
];

/// Reads `GET /api/v2/conversations/{id}`.
///
/// # Errors
/// Not JSON, not this conversation, or without participants.
pub fn read_conversation(json: &str, id: ConversationId) -> Result<ConversationView, Garbled> {
    let whole = foreign::value(json.as_bytes()).ok_or(Garbled)?;
    if let Some(other) = text(&whole, "id")
        && other.parse() != Ok(id)
    {
        return Err(Garbled);
    }
    let Some(participants) = whole.get("participants").and_then(Value::as_array) else {
        return Err(Garbled);
    };
    let mut legs = Vec::new();
    for participant in participants {
        if !is_agent(participant) {
            continue;
        }
        read_participant(id, &whole, participant, &mut legs);
        if legs.len() >= LEGS_MAX {
            break;
        }
    }
    Ok(ConversationView {
        ended: instant(&whole, "endTime"),
        parked: participants.iter().any(|p| {
            list(p, "messages")
                .iter()
                .chain(list(p, "emails"))
                .any(|c| text(c, "state").is_some_and(|s| s.eq_ignore_ascii_case("parked")))
        }),
        legs,
    })
}

/// `agent`, or `user` for what did not come through a queue; a user without an
/// id is a station or a flow.
fn is_agent(participant: &Value) -> bool {
    match text(participant, "purpose") {
        Some(p) if p.eq_ignore_ascii_case("agent") => true,
        Some(p) if p.eq_ignore_ascii_case("user") => text(participant, "userId").is_some(),
        _ => false,
    }
}

fn read_participant(
    id: ConversationId,
    whole: &Value,
    participant: &Value,
    legs: &mut Vec<LegView>,
) {
    let mut communications: Vec<(Cow<'static, str>, &Value)> = MEDIA
        .iter()
        .flat_map(|(name, media)| {
            let of = list(participant, name).iter();
            of.map(move |c| (Cow::Borrowed(*media), c))
        })
        .collect();
    communications.extend(unknown_media(participant));
    let none = Value::Null;
    if communications.is_empty() {
        // Only what the participant itself says.
        let all = Spoken {
            times: true,
            wrap_up: true,
        };
        legs.push(read_leg(id, whole, participant, ("UNKNOWN", &none), all));
        return;
    }
    // What the participant itself says is about one leg only: the last that ended. Its wrap-up
    // counts only where no communication has one.
    let last = communications
        .iter()
        .enumerate()
        .max_by_key(|(n, (media, c))| {
            // Of a callback and its call it is the callback.
            (instant(c, "disconnectedTime"), media == "CALLBACK", *n)
        })
        .map(|(n, _)| n);
    // Of both of them it tells the times.
    let pair = |a: &str, b: &str| matches!((a, b), ("CALLBACK", "VOICE") | ("VOICE", "CALLBACK"));
    let ended_last = last.and_then(|n| communications.get(n));
    let paired = |media: &str| ended_last.is_some_and(|(other, _)| pair(other, media));
    let inherits = communications.iter().all(|(_, c)| wrap_up_of(c).is_none());
    let first = legs.len();
    for (n, communication) in communications.iter().enumerate() {
        legs.push(read_leg(
            id,
            whole,
            participant,
            (communication.0.as_ref(), communication.1),
            Spoken {
                times: last == Some(n) || paired(&communication.0),
                wrap_up: last == Some(n) && inherits,
            },
        ));
    }
    // Under which of the two it was announced nobody can say.
    let Some(legs) = legs.get_mut(first..).filter(|_| inherits) else {
        return;
    };
    let both = legs.iter().zip(&communications);
    let others = both.filter(|(_, (media, _))| paired(media));
    let others: Vec<Leg> = others.map(|(leg, _)| leg.leg.clone()).collect();
    if let Some(wrap_up) = last.and_then(|n| legs.get_mut(n)?.wrap_up.as_mut()) {
        wrap_up.shared_with = others;
    }
}

/// Communications of media that came after this program was written, under the name that their
/// events probably have (`screenMonitorings` is `SCREENMONITORING`). Only those with a wrap-up are
/// legs: of the others it is not known how they end, and they must not hold the conversation open.
fn unknown_media(participant: &Value) -> impl Iterator<Item = (Cow<'static, str>, &Value)> {
    let members = participant.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !MEDIA.iter().any(|(known, _)| known == name))
        .flat_map(|(name, value)| {
            let media = name.strip_suffix('s').unwrap_or(name).to_ascii_uppercase();
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter(|c| wrap_up_of(c).is_some_and(|w| !w.is_empty()))
                .map(move |c| (Cow::Owned(media.clone()), c))
        })
}

fn wrap_up_of(of: &Value) -> Option<&Map<String, Value>> {
    of.get("wrapup")?.as_object()
}

/// `afterCallWork.state` of a communication, as far as it tells something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AcwState {
    Pending,
    Complete,
    Skipped,
    NotApplicable,
}

impl AcwState {
    /// In whatever letter case it is written.
    fn read(text: &str) -> Option<AcwState> {
        Some(match text.to_ascii_lowercase().as_str() {
            "pending" => AcwState::Pending,
            "complete" => AcwState::Complete,
            "skipped" => AcwState::Skipped,
            "notapplicable" => AcwState::NotApplicable,
            _ => return None,
        })
    }
}

/// Which of the participant's own members are about a leg.
#[derive(Clone, Copy)]
struct Spoken {
    times: bool,
    wrap_up: bool,
}

fn read_leg(
    id: ConversationId,
    whole: &Value,
    participant: &Value,
    (media, communication): (&str, &Value),
    spoken: Spoken,
) -> LegView {
    let leg = Leg {
        participant: leg_id(text(participant, "id")),
        session: leg_id(text(communication, "id")),
    };
    let wrap_up = wrap_up_of(communication)
        .or_else(|| wrap_up_of(participant).filter(|_| spoken.wrap_up))
        .filter(|w| !w.is_empty());
    let provisional = wrap_up.is_some_and(|w| w.get("provisional") == Some(&Value::Bool(true)));
    let wrap_up_value = wrap_up
        .map(|w| Value::Object(w.clone()))
        .unwrap_or_default();
    let wrap_up_end = instant(&wrap_up_value, "endTime");

    let none = Value::Null;
    let acw = communication.get("afterCallWork").unwrap_or(&none);
    let acw_state = text(acw, "state").and_then(AcwState::read);
    let acw_end = instant(acw, "endTime");
    let acw_start = instant(acw, "startTime");
    let (start_acw, end_acw) = if spoken.times {
        (
            instant(participant, "startAcwTime"),
            instant(participant, "endAcwTime"),
        )
    } else {
        (None, None)
    };
    let state = text(communication, "state").map(str::to_ascii_lowercase);
    let ended = match state.as_deref() {
        Some(state) => matches!(state, "disconnected" | "terminated"),
        // It does not say; `endTime` of the whole is missing while anyone is connected.
        None => instant(participant, "endTime")
            .or(instant(whole, "endTime"))
            .is_some(),
    };
    let skipped = participant.get("wrapupSkipped") == Some(&Value::Bool(true));
    let required = participant.get("wrapupRequired") == Some(&Value::Bool(true));
    // Offered to somebody who never took it: nobody has anything to wrap up.
    let never_taken = text(communication, "startAlertingTime").is_some()
        && text(communication, "connectedTime").is_none()
        && text(participant, "connectedTime").is_none();

    // The order of trust of protocol, section 11.1, with what keeps it open in between.
    let (done, worked) = if matches!(acw_state, Some(AcwState::Complete | AcwState::Skipped))
        || acw_end.is_some()
    {
        (true, true)
    } else if acw_state == Some(AcwState::Pending) {
        (false, false)
    } else if end_acw.is_some() {
        (true, true)
    } else if provisional || start_acw.is_some() || (acw_start.is_some() && wrap_up_end.is_none()) {
        (false, false)
    } else if wrap_up_end.is_some() || (skipped && ended) {
        (true, true)
    } else if acw_state == Some(AcwState::NotApplicable) && ended {
        (true, false)
    } else {
        (
            ended && wrap_up.is_none() && (!required || never_taken),
            false,
        )
    };

    // A completed wrap-up has an end, or a code and the end of the work around it.
    let time = wrap_up.filter(|_| !provisional).and_then(|_| {
        let code = text(&wrap_up_value, "code").is_some();
        wrap_up_end.or(if code { acw_end.or(end_acw) } else { None })
    });
    let disconnected = instant(communication, "disconnectedTime");
    let none_comes = never_taken
        || skipped
        || acw_state == Some(AcwState::Skipped)
        || (acw_state == Some(AcwState::NotApplicable)
            && !may_come_late(participant, communication));
    LegView {
        late: done && time.is_none() && !none_comes,
        done_at: [wrap_up_end, acw_end, end_acw]
            .into_iter()
            .flatten()
            .max()
            .or(disconnected),
        done,
        worked,
        wrap_up: time.map(|time| WrapUp {
            time,
            shared_with: Vec::new(),
            twin: twin_mark(
                &leg,
                Some(media),
                text(&wrap_up_value, "code"),
                text(&wrap_up_value, "notes"),
            ),
            body: rebuild::event_body(&rebuild::Parts {
                conversation: id,
                whole,
                participant,
                media,
                communication,
                leg: &leg,
                wrap_up: &wrap_up_value,
                time,
                work: acw_start.or(start_acw).zip(acw_end.or(end_acw)),
            }),
        }),
        leg,
    }
}

/// Whether an agent may wrap up a leg for which no after-call work is due, by what the
/// participant's `wrapupPrompt` says (protocol, section 11.1): `optional` always, with
/// `agentRequested` unless the agent is known not to have asked for it.
///
/// Only where the platform says `notApplicable` does this decide. A leg about which it says
/// nothing of the kind, or whose work is complete without a wrap-up to be seen, may have one
/// late; one that was skipped, or offered to somebody who never took it, has none.
fn may_come_late(participant: &Value, communication: &Value) -> bool {
    match text(participant, "wrapupPrompt") {
        Some(p) if p.eq_ignore_ascii_case("optional") => true,
        Some(p) if p.eq_ignore_ascii_case("agentRequested") => {
            communication.get("afterCallWorkRequired") != Some(&Value::Bool(false))
        }
        _ => false,
    }
}

/// What analytics details hint at for one conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    /// Which.
    pub conversation: ConversationId,
    /// `conversationEnd` is set.
    pub ended: bool,
    /// Its participants cannot be told: it proves nothing.
    pub odd: bool,
    /// Legs whose after-call work is over: with the time of it, if it says.
    pub worked: Vec<(Leg, Option<Wall>)>,
}

impl Hint {
    /// Something here is not known from the records at hand: the prompt question is worth asking.
    pub fn news<'a>(&self, known: impl Iterator<Item = &'a RecordRow> + Clone) -> bool {
        self.ended
            || self.odd
            || self.worked.iter().any(|(leg, time)| {
                !known.clone().any(|row| {
                    same_leg(&row.leg, leg)
                        && time
                            .zip(row.event_time)
                            .is_none_or(|(a, b)| a.since(b).max(b.since(a)) <= SAME_WRAPUP)
                })
            })
    }
}

/// Reads `GET /api/v2/analytics/conversations/details?id=…`.
///
/// # Errors
/// Not JSON or without `conversations`.
pub fn read_details(json: &str) -> Result<Vec<Hint>, Garbled> {
    let whole = foreign::value(json.as_bytes()).ok_or(Garbled)?;
    // An answer to unknown ids alone may leave the list out.
    let conversations = match whole.get("conversations") {
        Some(Value::Array(list)) => list.as_slice(),
        None | Some(Value::Null) if whole.is_object() => &[],
        _ => return Err(Garbled),
    };
    let mut hints = Vec::new();
    for conversation in conversations {
        let Some(Ok(id)) = text(conversation, "conversationId").map(str::parse) else {
            continue;
        };
        let mut worked = Vec::new();
        for participant in list(conversation, "participants") {
            if !is_agent(participant) {
                continue;
            }
            for session in list(participant, "sessions") {
                if let Some(time) = worked_at(session) {
                    worked.push((
                        Leg {
                            participant: leg_id(text(participant, "participantId")),
                            session: leg_id(text(session, "sessionId")),
                        },
                        time,
                    ));
                }
                if worked.len() >= LEGS_MAX {
                    break;
                }
            }
        }
        hints.push(Hint {
            conversation: id,
            ended: instant(conversation, "conversationEnd").is_some(),
            odd: match conversation.get("participants") {
                None | Some(Value::Null) => false,
                Some(Value::Array(list)) => !list.iter().all(Value::is_object),
                Some(_) => true,
            },
            worked,
        });
    }
    Ok(hints)
}

/// `Some` if the session's after-call work is over: a wrap-up segment with an end, the metric
/// `tAcw`, or `acwSkipped` (protocol, section 11.2).
fn worked_at(session: &Value) -> Option<Option<Wall>> {
    let segment = list(session, "segments")
        .iter()
        .filter(|s| text(s, "segmentType").is_some_and(|t| t.eq_ignore_ascii_case("wrapup")))
        .filter_map(|s| instant(s, "segmentEnd"))
        .max();
    if segment.is_some() {
        return Some(segment);
    }
    let metric = list(session, "metrics")
        .iter()
        .any(|m| text(m, "name") == Some("tAcw"));
    let skipped = session.get("acwSkipped") == Some(&Value::Bool(true));
    (metric || skipped).then_some(None)
}

#[cfg(test)]
mod tests;
