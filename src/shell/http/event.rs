//! What an event over HTTP holds: the topic's `eventBody`, the frame around it, or EventBridge's
//! envelope around either (protocol, section 6).
//!
//! ```text
//! {"eventTime":…,"conversationId":…}                                    the eventBody
//! {"topicName":"v2.detail.events.conversation.….acw","eventBody":{…}}    the frame
//! {"detail-type":…,"detail":{…}}                                         the envelope around it
//! ```
//!
//! Whoever has a token can send anything, so more is asked of it than over the WebSocket: topic,
//! `detail-type` and `conversationId` name one conversation and this kind of event, the time can be
//! one, and something of a wrap-up is there. What is odd in the rest is forgiven.
//!
//! Invariant: a frame that is taken is the same event whichever way it comes.

use std::time::Duration;

use super::answers::bad_id;
use super::json::{self, Document, Member};
use crate::shell::problem::Problem;
use base::ids::{ConversationId, Topic};
use base::time::Wall;
use filing::conversation_of;
use filing::record::instant;

/// Before this, 2010-01-01, there was no platform that could have sent anything: such a time is
/// one of seconds, or of no clock.
const EVENT_TIME_MIN: Wall = Wall(1_262_304_000_000);

/// How far ahead of this machine's clock the platform's may be.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What tells a wrap-up from any other event of a conversation (protocol, section 6).
const WRAP_UP: [&str; 3] = ["wrapupCode", "wrapupNotes", "wrapupDurationMs"];

/// What else is worth a record where the topic says that it is a wrap-up.
const WHOSE: [&str; 3] = ["participantId", "sessionId", "userId"];

const ID_SHAPE: &str = "has to be a UUID such as 7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event<'a> {
    /// Whose.
    pub(super) conversation: ConversationId,
    /// Its `eventBody`, JSON object text.
    pub(super) body: &'a str,
}

/// Finds the event in a body that came at `now`.
pub(super) fn read<'a>(
    document: Document<'a>,
    members: Vec<Member<'a>>,
    now: Wall,
) -> Result<Event<'a>, Problem> {
    let mut told = Told::default();
    let mut at = At {
        path: String::new(),
        body: document.text(),
        members,
    };
    // What one of AWS's own services, or another topic of the platform, put into the envelope.
    let kind = present(&at.members, "detail-type");
    if let Some(kind) = kind {
        told.topic(kind, "/detail-type")?;
    }
    if let Some(detail) = value(&at.members, "detail") {
        at.enter(detail, "/detail")?;
    }
    let name = value(&at.members, "topicName");
    if let Some(name) = name {
        told.topic(name, &format!("{}/topicName", at.path))?;
    }
    if let Some(event_body) = value(&at.members, "eventBody") {
        if let Some(beside) = present(&at.members, "conversationId") {
            told.conversation(beside, &at.path)?;
        }
        at.enter(event_body, "/eventBody")?;
    } else if name.is_some() {
        return Err(no_object(&format!("{}/eventBody", at.path)));
    }
    if let Some(id) = present(&at.members, "conversationId") {
        told.conversation(id, &at.path)?;
    }
    let Some(conversation) = told.conversation else {
        let what = "is required: the id of the conversation";
        return Err(bad_id(&format!("{}/conversationId", at.path), what));
    };
    at.happened(now)?;
    at.wrapped_up(name.or(kind).is_some())?;
    Ok(Event {
        conversation,
        body: at.body,
    })
}

/// Whose event it is, as far as it was said: once, or several times alike.
#[derive(Default)]
struct Told {
    conversation: Option<ConversationId>,
}

impl Told {
    fn topic(&mut self, name: &str, pointer: &str) -> Result<(), Problem> {
        let topic = Topic::new(&json::string(name).unwrap_or_default());
        // The name of the id may stand in its place: then the event says whose it is.
        let middle = topic
            .as_str()
            .strip_prefix("v2.detail.events.conversation.{");
        if middle.and_then(|m| m.strip_suffix("}.acw")).is_some() {
            return Ok(());
        }
        let whose = conversation_of(&topic).ok_or_else(|| other_topic(pointer))?;
        self.agree(whose, pointer)
    }

    fn conversation(&mut self, id: &str, path: &str) -> Result<(), Problem> {
        let pointer = format!("{path}/conversationId");
        let whose = json::string(id)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad_id(&pointer, ID_SHAPE))?;
        self.agree(whose, &pointer)
    }

    fn agree(&mut self, whose: ConversationId, pointer: &str) -> Result<(), Problem> {
        match self.conversation.replace(whose) {
            Some(other) if other != whose => {
                Err(bad_id(pointer, "is not the conversation of the topic"))
            }
            _ => Ok(()),
        }
    }
}

/// An object in the body, and where.
struct At<'a> {
    path: String,
    body: &'a str,
    members: Vec<Member<'a>>,
}

impl<'a> At<'a> {
    fn enter(&mut self, object: &'a str, name: &str) -> Result<(), Problem> {
        self.path.push_str(name);
        self.members = json::members(object).ok_or_else(|| no_object(&self.path))?;
        self.body = object;
        Ok(())
    }

    /// The time is part of what an event is told from others by: one that cannot be is a record
    /// that nothing else ever matches.
    fn happened(&self, now: Wall) -> Result<(), Problem> {
        let times = self.members.iter().filter(|m| is(m, "eventTime"));
        for said in times.filter(|m| m.value != "null") {
            let what = match instant(said.value) {
                None => "has to be milliseconds since 1970",
                Some(t) if t < EVENT_TIME_MIN => {
                    "has to be milliseconds since 1970, not seconds: this is before 2010"
                }
                Some(t) if t > now + AHEAD_MAX => {
                    "has to be milliseconds since 1970: this is more than a day ahead"
                }
                Some(_) => continue,
            };
            let pointer = format!("{}/eventTime", self.path);
            return Err(Problem::new(
                400,
                "bad-event-time",
                "The time of the event cannot be right",
                format!("The member {pointer} {what}."),
            )
            .blaming(pointer, what));
        }
        Ok(())
    }

    /// Something of a wrap-up is there. Other events of a conversation have ids and times too: so
    /// where no topic says what it is, they are not enough.
    fn wrapped_up(&self, by_topic: bool) -> Result<(), Problem> {
        let has = |name: &str| {
            present(&self.members, name).is_some_and(|v| match v.as_bytes().first() {
                Some(b'"') => !name.ends_with("Ms") && v != "\"\"",
                Some(b'-' | b'0'..=b'9') => name.ends_with("Ms"),
                _ => false,
            })
        };
        if WRAP_UP.iter().any(|n| has(n)) || (by_topic && WHOSE.iter().any(|n| has(n))) {
            return Ok(());
        }
        let what = if by_topic {
            "is required, or another member that tells of the wrap-up or whose it is"
        } else {
            "is required, or wrapupNotes or wrapupDurationMs: nothing else tells an \
             after-call-work event from others where there is no topicName"
        };
        let pointer = format!("{}/wrapupCode", self.path);
        Err(Problem::new(
            400,
            "no-wrap-up",
            "This is no after-call-work event",
            format!("The member {pointer} {what}."),
        )
        .blaming(pointer, what))
    }
}

fn other_topic(pointer: &str) -> Problem {
    let what = "has to be v2.detail.events.conversation.{id}.acw: no other events are taken";
    Problem::new(
        400,
        "other-topic",
        "This is no after-call-work event",
        format!("The member {pointer} {what}."),
    )
    .blaming(pointer, what)
}

/// Names are matched without regard to case, and of several the last counts, as in a frame.
fn value<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().rfind(|m| is(m, name)).map(|m| m.value)
}

/// A member that says something: `null` does not.
fn present<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    value(members, name).filter(|v| *v != "null")
}

fn is(member: &Member<'_>, name: &str) -> bool {
    member.name.eq_ignore_ascii_case(name)
}

fn no_object(pointer: &str) -> Problem {
    Problem::new(
        400,
        "bad-event",
        "The event is missing",
        format!("The member {pointer} has to be a JSON object."),
    )
    .blaming(pointer, "has to be an object")
}

/// Any bytes as the body of an event: what is taken is one, and a frame is the same event as over
/// the WebSocket.
#[cfg(any(test, feature = "windows"))]
pub(crate) fn fuzz_event(data: &[u8]) {
    use base::foreign;
    use base::rows::RecordKind;
    use filing::record::read_event;
    use filing::template::{self, Renderer};
    use proto::frames::{self, Frame};

    let told = foreign::text_within(data, json::DEPTH_MAX);
    let body = told.as_deref().map_or(data, str::as_bytes);
    let Ok(document) = Document::parse(body) else {
        return;
    };
    let Some(members) = document.members() else {
        return;
    };
    let event = match read(document, members.clone(), Wall(1_767_886_512_345)) {
        Ok(event) => event,
        Err(problem) => {
            assert_eq!(problem.status, 400);
            return;
        }
    };
    let seen = read_event(event.body).expect("what is taken is an object");
    let row = template::example(RecordKind::AfterCallWork);
    let renderer = Renderer::new(None).expect("the template that comes with the gateway");
    renderer
        .render(&row, Some(event.body), Some("{}"))
        .expect("what is taken can be filed");
    let whole = foreign::text(data);
    let (Some(whole), None) = (whole, value(&members, "detail")) else {
        return;
    };
    if whole.as_bytes() != body {
        return; // Deeper than callers may nest.
    }
    if let Frame::Event { topic, body, .. } = frames::classify(&whole)
        && let Some(conversation) = conversation_of(&topic)
    {
        assert_eq!(conversation, event.conversation);
        let told = foreign::text(body.trim().as_bytes()).expect("JSON within JSON");
        let other = read_event(&told).expect("an object this way, too");
        assert_eq!(other, seen, "one wrap-up, whichever way it comes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_767_886_512_345);

    #[test]
    fn a_frame_is_the_same_event_however_its_names_are_cased() {
        let body = r#"{"eventTime":1767886512345,"participantId":"p"}"#;
        let topic = "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.acw";
        for text in [
            format!(r#"{{"topicName":"{topic}","eventBody":{body}}}"#),
            format!(r#"{{"TopicName":"{topic}","EVENTBODY":{body}}}"#),
            format!(r#"{{"Detail":{{"topicname":"{topic}","eventbody":{body}}}}}"#),
            // Over the WebSocket the last counts.
            format!(
                r#"{{"topicName":"x","TOPICNAME":"{topic}","eventBody":7,"EventBody":{body}}}"#
            ),
        ] {
            let document = Document::parse(text.as_bytes()).unwrap();
            let event = read(document, document.members().unwrap(), NOW).unwrap();
            assert_eq!(event.body, body, "{text}");
            assert_eq!(
                event.conversation.to_string(),
                "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47"
            );
        }
    }

    #[test]
    fn what_the_envelope_says_it_is_need_not_be_said_again() {
        let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
        let bare = format!(r#"{{"conversationId":"{id}","participantId":"p"}}"#);
        for middle in [id, "{id}", "{conversationId}"] {
            let kind = format!("v2.detail.events.conversation.{middle}.acw");
            let text = format!(r#"{{"detail-type":"{kind}","detail":{bare}}}"#);
            let document = Document::parse(text.as_bytes()).unwrap();
            let event = read(document, document.members().unwrap(), NOW).unwrap();
            assert_eq!(event.body, bare, "{text}");
        }
        let document = Document::parse(bare.as_bytes()).unwrap();
        assert!(read(document, document.members().unwrap(), NOW).is_err());
    }
}
