//! What an event over HTTP holds: the topic's `eventBody`, the frame around it, or EventBridge's
//! envelope around either (protocol, section 6).
//!
//! ```text
//! {"eventTime":…,"conversationId":…}                                    the eventBody
//! {"topicName":"v2.detail.events.conversation.….acw","eventBody":{…}}    the frame
//! {"detail-type":…,"detail":{…}}                                         the envelope around it
//! ```
//!
//! Invariant: the conversation is the topic's where there is one, as over the WebSocket; a frame
//! is the same event whichever way it comes.

use super::intake::bad_id;
use super::json::{self, Document, Member};
use crate::filing::conversation_of;
use crate::ids::{ConversationId, Topic};
use crate::shell::problem::Problem;

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event<'a> {
    /// Whose.
    pub(super) conversation: ConversationId,
    /// Its `eventBody`, JSON object text.
    pub(super) body: &'a str,
}

/// Finds the event in a body.
pub(super) fn read<'a>(
    document: Document<'a>,
    mut members: Vec<Member<'a>>,
) -> Result<Event<'a>, Problem> {
    let mut path = String::new();
    let mut body = document.text();
    let mut conversation = None;
    if let Some(detail) = value(&members, "detail") {
        path.push_str("/detail");
        members = object(detail, &path)?;
        body = detail;
    }
    if let Some(name) = value(&members, "topicName") {
        let topic = json::string(name).unwrap_or_default();
        let topic = Topic::new(&topic);
        let named = topic.as_str();
        if !(named.starts_with("v2.detail.events.conversation.") && named.ends_with(".acw")) {
            let what =
                "has to be v2.detail.events.conversation.{id}.acw: no other events are taken";
            return Err(Problem::new(
                400,
                "other-topic",
                "This is no after-call-work event",
                format!("The member {path}/topicName {what}."),
            )
            .blaming(format!("{path}/topicName"), what));
        }
        // `{id}` itself may stand there: then the event says whose it is.
        conversation = conversation_of(&topic);
    }
    if let Some(event_body) = value(&members, "eventBody") {
        path.push_str("/eventBody");
        members = object(event_body, &path)?;
        body = event_body;
    } else if value(&members, "topicName").is_some() {
        return Err(no_object(&format!("{path}/eventBody")));
    }
    let pointer = format!("{path}/conversationId");
    let conversation = match (conversation, value(&members, "conversationId")) {
        (Some(topics), _) => topics,
        (None, Some(id)) => json::string(id)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                bad_id(
                    &pointer,
                    "has to be a UUID such as 7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
                )
            })?,
        (None, None) => {
            return Err(bad_id(&pointer, "is required: the id of the conversation"));
        }
    };
    Ok(Event { conversation, body })
}

/// Names are matched without regard to case, and of several the last counts, as in a frame.
fn value<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    let named = |m: &&Member<'a>| m.name.eq_ignore_ascii_case(name);
    members.iter().rfind(named).map(|m| m.value)
}

fn object<'a>(text: &'a str, pointer: &str) -> Result<Vec<Member<'a>>, Problem> {
    json::members(text).ok_or_else(|| no_object(pointer))
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
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_event(data: &[u8]) {
    use crate::filing::record::read_event;
    use crate::filing::rows::RecordKind;
    use crate::filing::template::{self, Renderer};
    use crate::foreign;
    use crate::platform::frames::{self, Frame};

    let told = foreign::text_within(data, json::DEPTH_MAX);
    let body = told.as_deref().map_or(data, str::as_bytes);
    let Ok(document) = Document::parse(body) else {
        return;
    };
    let Some(members) = document.members() else {
        return;
    };
    let event = match read(document, members.clone()) {
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

    #[test]
    fn a_frame_is_the_same_event_however_its_names_are_cased() {
        let body = r#"{"eventTime":1,"participantId":"p"}"#;
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
            let event = read(document, document.members().unwrap()).unwrap();
            assert_eq!(event.body, body, "{text}");
            assert_eq!(
                event.conversation.to_string(),
                "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47"
            );
        }
    }
}
