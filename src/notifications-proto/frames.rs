//! The frames of a notification channel as values (protocol, section 4).
//!
//! Incoming frames are read in two steps: the envelope first, borrowed from the
//! text, then only what its topic or result makes of it. Event bodies are never
//! parsed here. Pure.
//!
//! Invariant: no text, however garbled or large, panics or is an error; what is
//! not understood is [`Frame::Unknown`]. Nothing here shows a
//! channel id: topics of system messages carry one and are not handed on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use base::foreign;
use base::ids::Topic;
use base::plain::one_line;
use base::words;

/// The largest frame that is read, in bytes. The platform publishes no limit
/// (protocol, section 4.7); an event has about one kilobyte, a reply to a full
/// message of topics about 80.
pub const FRAME_MAX: usize = 1024 * 1024;

/// The most characters kept of the platform's own words.
pub const MESSAGE_MAX: usize = 200;

/// A frame of the platform.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// To a subscribe or unsubscribe (section 4.3).
    Reply(Reply<'a>),
    /// The heartbeat, or any other text on `channel.metadata` but the pong: that
    /// topic has no other use, and the words may change.
    Heartbeat,
    /// The answer to our ping.
    Pong,
    /// An event (section 4.5).
    Event {
        /// Its topic.
        topic: Topic,
        /// `eventBody` exactly as it came; `null` where there was none.
        body: &'a str,
        /// `metadata.CorrelationId`, in whatever letter case it was written.
        correlation: Option<Cow<'a, str>>,
        /// `version`, from a string or a number.
        version: Option<Cow<'a, str>>,
    },
    /// `v2.system.socket_closing`.
    Closing,
    /// `v2.system.no_longer_subscribed.{channelId}`.
    NoLongerSubscribed,
    /// `v2.system.token_revoked.{id}`.
    TokenRevoked,
    /// Not understood.
    Unknown(Unknown),
}

words! {
    /// How far the reading of a frame came that is not understood.
    Unknown {
        /// A system message, whose meaning is not documented (section 4.6).
        OtherSystem = "other-system",
        /// More than [`FRAME_MAX`].
        TooLarge = "too-large",
        /// Not a JSON object.
        NotAnObject = "not-an-object",
        /// `topicName` is there, and no text.
        TopicNotAString = "topic-not-a-string",
        /// Neither an event nor a reply.
        NeitherTopicNorResult = "neither-topic-nor-result",
    }
}

impl Frame<'_> {
    /// A stable label for logs and counters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Frame::Reply(_) => "reply",
            Frame::Heartbeat => "heartbeat",
            Frame::Pong => "pong",
            Frame::Event { .. } => "event",
            Frame::Closing => "socket-closing",
            Frame::NoLongerSubscribed => "no-longer-subscribed",
            Frame::TokenRevoked => "token-revoked",
            Frame::Unknown(unknown) => unknown.label(),
        }
    }
}

/// Event bodies carry personal data: only the label is shown.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Reply(reply) => reply.fmt(f),
            other => f.write_str(other.label()),
        }
    }
}

/// The answer to a subscribe or unsubscribe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    /// The id we chose, if the platform says which request it answers.
    pub correlation: Option<Cow<'a, str>>,
    /// The topics it speaks of; `None` if the member is missing, empty if it lists none.
    pub topics: Option<Vec<Topic>>,
    /// `result`, from a string or a number; 0 if it is neither or missing.
    pub result: u16,
    /// What `status` says was done.
    pub done: Option<Done>,
    /// `message`, one bounded line; the status where there is no message.
    pub message: String,
}

/// What a reply says was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// `"status":"subscribed"`.
    Subscribed,
    /// `"status":"unsubscribed"`.
    Unsubscribed,
}

/// The health check (section 4.2).
#[must_use]
pub fn ping() -> String {
    String::from(r#"{"message":"ping"}"#)
}

/// A subscribe message (section 4.2).
#[must_use]
pub fn subscribe(topics: &[Topic], correlation: &str) -> String {
    request("subscribe", topics, correlation)
}

/// An unsubscribe message (section 4.2).
#[must_use]
pub fn unsubscribe(topics: &[Topic], correlation: &str) -> String {
    request("unsubscribe", topics, correlation)
}

fn request(message: &'static str, topics: &[Topic], correlation: &str) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'static str,
        topics: Vec<&'a str>,
        #[serde(rename = "correlationId")]
        correlation: &'a str,
    }
    serde_json::to_string(&Message {
        message,
        topics: topics.iter().map(Topic::written).collect(),
        correlation,
    })
    // Strings always serialise; an empty frame would be refused and reported.
    .unwrap_or_default()
}

/// A text frame as far as it can be told; itself where nothing about it is odd, or everything is.
#[must_use]
pub fn told(text: &str) -> Cow<'_, str> {
    Some(text)
        .filter(|text| text.len() <= FRAME_MAX)
        .and_then(|text| foreign::text(text.as_bytes()))
        .unwrap_or(Cow::Borrowed(text))
}

/// Says what a text frame is; what was odd about it is mended by [`told`] before.
#[must_use]
pub fn classify(text: &str) -> Frame<'_> {
    if text.len() > FRAME_MAX {
        return Frame::Unknown(Unknown::TooLarge);
    }
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Frame::Unknown(Unknown::NotAnObject);
    };
    if let Some(topic) = envelope.topic_name {
        return match string(topic) {
            Some(name) => on_topic(&name, &envelope),
            None => Frame::Unknown(Unknown::TopicNotAString),
        };
    }
    // A reply has no `topicName` (section 4.3). `result` makes it one; without a
    // result, an id of ours does, and the request is then treated as failed.
    let correlation = envelope.correlation_id.and_then(word);
    if envelope.result.is_none() && (correlation.is_none() || envelope.status.is_none()) {
        return Frame::Unknown(Unknown::NeitherTopicNorResult);
    }
    let status = envelope.status.and_then(string);
    let message = envelope.message.and_then(string).or(status.clone());
    Frame::Reply(Reply {
        correlation,
        topics: envelope.topics.and_then(topics),
        result: envelope.result.and_then(word).map_or(0, |w| {
            // `"0200"` or `"+200"` are not what the platform sends.
            let plain = w.bytes().all(|b| b.is_ascii_digit());
            if plain { w.parse().unwrap_or(0) } else { 0 }
        }),
        done: status.and_then(|s| match s.to_ascii_lowercase().as_str() {
            "subscribed" => Some(Done::Subscribed),
            "unsubscribed" => Some(Done::Unsubscribed),
            _ => None,
        }),
        message: one_line(message.as_deref().unwrap_or(""), MESSAGE_MAX),
    })
}

fn on_topic<'a>(name: &str, envelope: &Envelope<'a>) -> Frame<'a> {
    let body = envelope.event_body;
    // Topic names are matched without regard to case (section 4.5).
    let topic = Topic::new(name);
    let lower = topic.as_str();
    if lower == "channel.metadata" {
        let said = body.and_then(|b| member(b, "message")).and_then(string);
        return match said {
            Some(word) if word.eq_ignore_ascii_case("pong") => Frame::Pong,
            _ => Frame::Heartbeat,
        };
    }
    if let Some(system) = lower.strip_prefix("v2.system.") {
        return match system.split('.').next() {
            Some("socket_closing") => Frame::Closing,
            Some("no_longer_subscribed") => Frame::NoLongerSubscribed,
            Some("token_revoked") => Frame::TokenRevoked,
            _ => Frame::Unknown(Unknown::OtherSystem),
        };
    }
    if lower == "v2.subscription.updated" {
        return Frame::Unknown(Unknown::OtherSystem);
    }
    Frame::Event {
        body: body.map_or("null", RawValue::get),
        version: envelope.version.and_then(word),
        correlation: envelope
            .metadata
            .and_then(|m| member(m, "correlationid"))
            .and_then(string),
        topic,
    }
}

/// The members of any frame that matter; names are matched without regard to
/// case, of repeated ones the last counts.
#[derive(Default)]
struct Envelope<'a> {
    topic_name: Option<&'a RawValue>,
    event_body: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    correlation_id: Option<&'a RawValue>,
    topics: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Key(name)) = map.next_key()? {
                    let slot = match name.to_ascii_lowercase().as_str() {
                        "topicname" => &mut envelope.topic_name,
                        "eventbody" => &mut envelope.event_body,
                        "metadata" => &mut envelope.metadata,
                        "correlationid" => &mut envelope.correlation_id,
                        "topics" => &mut envelope.topics,
                        "result" => &mut envelope.result,
                        "status" => &mut envelope.status,
                        "message" => &mut envelope.message,
                        "version" => &mut envelope.version,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    let value = map.next_value::<&'de RawValue>()?;
                    // A member that is null says no more than one that is missing.
                    *slot = (value.get() != "null").then_some(value);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string that borrows where it can: `&str` alone fails on any escape.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(raw.get()).ok().map(|k| k.0)
}

/// A string or a number, as text; nothing if that is empty.
fn word(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let word = match text.as_bytes().first()? {
        b'"' => string(raw)?,
        b'-' | b'0'..=b'9' => Cow::Borrowed(text),
        _ => return None,
    };
    (!word.is_empty()).then_some(word)
}

/// The names in a list; entries that are no strings are passed over.
fn topics(raw: &RawValue) -> Option<Vec<Topic>> {
    let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    Some(
        entries
            .into_iter()
            .filter_map(|entry| string(entry).map(|name| Topic::new(&name)))
            .collect(),
    )
}

/// One member of an object, its name in lower case, matched without regard to case.
fn member<'a>(raw: &'a RawValue, lower: &str) -> Option<&'a RawValue> {
    struct Find<'n>(&'n str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Key(name)) = map.next_key()? {
                if name.eq_ignore_ascii_case(self.0) {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    deserializer.deserialize_map(Find(lower)).ok().flatten()
}

#[cfg(test)]
mod tests;
