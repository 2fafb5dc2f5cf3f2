//! What a client asks for over its socket: ping, subscribe, unsubscribe
//! (protocol, sections 4.2 and 4.3).
//!
//! Invariant: every request is answered once, unless the socket is silent; a
//! refused one changes nothing.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sockets::{Mute, id_of};
use super::switches::{
    EventAgainstReply, FailureBody, OverLimit, PartialPermission, SubscribeExtends,
    UnsubscribeUnknown,
};
use super::topics::Topic;
use super::{Platform, SocketId};
use base::time::Now;

/// Most topics looked at in one request; more are refused as over the limit anyway.
const TOPICS_LOOKED_AT: usize = 10_000;

/// How long before its reply a subscription is live in `event-first`.
const EVENT_FIRST: Duration = Duration::from_millis(500);

/// How long after its reply an unsubscribed topic is live in `event-after-unsubscribe`.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct ClientFrame<'a> {
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    topics: Option<Vec<Cow<'a, str>>>,
    #[serde(default, rename = "correlationId")]
    correlation_id: Option<String>,
}

#[derive(Serialize)]
struct Reply<'a> {
    #[serde(rename = "correlationId", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    topics: &'a [&'a str],
    result: Value,
    status: &'a str,
    message: &'a str,
}

impl Platform {
    pub(super) fn socket_frame(&mut self, socket: SocketId, text: &str, now: Now) {
        let Some(s) = self.sockets.get(&socket) else {
            return;
        };
        if s.mute == Mute::All {
            return;
        }
        let number = s.channel;
        let Ok(frame) = serde_json::from_str::<ClientFrame<'_>>(text) else {
            self.refuse(socket, None, &[], 400, "Message could not be parsed.", now);
            return;
        };
        match frame.message.as_deref() {
            Some("ping") => self.say(
                socket,
                r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#.into(),
            ),
            Some(word @ ("subscribe" | "unsubscribe")) => {
                let names: Vec<&str> = frame
                    .topics
                    .iter()
                    .flatten()
                    .map(AsRef::as_ref)
                    .take(TOPICS_LOOKED_AT)
                    .collect();
                let correlation = frame.correlation_id.as_deref();
                let usable = self
                    .channels
                    .get(&number)
                    .is_some_and(|c| self.tokens.is_alive(c.token));
                if !usable {
                    self.ledger.requests_on_dead_channels += 1;
                    self.refuse(socket, correlation, &names, 404, "Channel not found.", now);
                } else if names.is_empty() {
                    self.refuse(socket, correlation, &names, 400, "No topics given.", now);
                } else if word == "subscribe" {
                    self.subscribe(socket, number, correlation, &names, now);
                } else {
                    self.unsubscribe(socket, number, correlation, &names, now);
                }
            }
            _ => self.refuse(socket, None, &[], 400, "Message type is not known.", now),
        }
    }

    fn subscribe(
        &mut self,
        socket: SocketId,
        number: u64,
        correlation: Option<&str>,
        names: &[&str],
        now: Now,
    ) {
        let whole = self.switches.partial_permission == PartialPermission::Whole;
        let mut good = Vec::with_capacity(names.len());
        let mut good_names = Vec::with_capacity(names.len());
        let mut bad = Vec::new();
        let mut why = String::new();
        for name in names {
            match self.admit(name) {
                Ok(topic) => {
                    good.push(topic);
                    good_names.push(*name);
                }
                Err(refusal) => {
                    bad.push(*name);
                    why = refusal.message(name);
                }
            }
        }
        if !bad.is_empty() && (whole || good.is_empty()) {
            self.journal.add(
                now.wall,
                "subscribe-refused",
                id_of(&self.channels, number),
                || format!("{} of {} topics", bad.len(), names.len()),
            );
            self.refuse(socket, correlation, names, 400, &why, now);
            return;
        }
        if !bad.is_empty() {
            self.refuse(socket, correlation, &bad, 400, &why, now);
        }
        let room = self.room(number, &good, now);
        if room < good.len() {
            self.ledger.over_limit += 1;
            let message = "Too many subscriptions.";
            if self.switches.over_limit == OverLimit::Refuse || room == 0 {
                self.refuse(socket, correlation, &good_names, 400, message, now);
                return;
            }
            let rest = good_names.split_off(room);
            good.truncate(room);
            self.refuse(socket, correlation, &rest, 400, message, now);
        }
        self.journal
            .add(now.wall, "subscribe", id_of(&self.channels, number), || {
                listed(&good_names)
            });
        self.add_topics(number, good);
        self.touch_channel(number, now);
        if self.switches.subscribe_extends == SubscribeExtends::Yes {
            self.extend_channel(number, now);
        }
        let reply = confirmation(
            correlation,
            &good_names,
            "subscribed",
            "Successfully subscribed to topic(s).",
        );
        let extra = match self.switches.event_against_reply {
            EventAgainstReply::EventFirst => EVENT_FIRST,
            _ => Duration::ZERO,
        };
        self.journal.add(
            now.wall + extra,
            "confirmation",
            id_of(&self.channels, number),
            || listed(&good_names),
        );
        self.say_later(socket, reply, extra, now);
    }

    /// How many of these topics, taken in order, fit on the channel.
    pub(super) fn room(&self, number: u64, topics: &[Topic], now: Now) -> usize {
        let Some(channel) = self.channels.get(&number) else {
            return 0;
        };
        let most = self.switches.topics_max as usize;
        let leaving = |t: &Topic| channel.leaving.get(&t.key).is_some_and(|at| *at > now.mono);
        let left = channel.leaving.values().filter(|at| **at > now.mono);
        let mut held = channel.topics.len() + left.count();
        let mut fresh = std::collections::BTreeSet::new();
        for (n, topic) in topics.iter().enumerate() {
            if channel.topics.contains_key(&topic.key) || !fresh.insert(&topic.key) {
                continue;
            }
            held += usize::from(!leaving(topic));
            if held > most {
                return n;
            }
        }
        topics.len()
    }

    fn unsubscribe(
        &mut self,
        socket: SocketId,
        number: u64,
        correlation: Option<&str>,
        names: &[&str],
        now: Now,
    ) {
        let keys: Vec<String> = names.iter().map(|n| n.to_ascii_lowercase()).collect();
        let unknown = self
            .channels
            .get(&number)
            .is_some_and(|c| keys.iter().any(|k| !c.topics.contains_key(k.as_str())));
        if unknown && self.switches.unsubscribe_unknown == UnsubscribeUnknown::Refuse {
            let message = "Not subscribed to topic(s).";
            self.refuse(socket, correlation, names, 400, message, now);
            return;
        }
        self.journal.add(
            now.wall,
            "unsubscribe",
            id_of(&self.channels, number),
            || listed(names),
        );
        let linger = (self.switches.event_against_reply
            == EventAgainstReply::EventAfterUnsubscribe)
            .then(|| now.mono + LINGER);
        self.remove_topics(number, keys.iter().map(String::as_str), linger, now);
        self.touch_channel(number, now);
        let reply = confirmation(
            correlation,
            names,
            "unsubscribed",
            "Successfully unsubscribed from topic(s).",
        );
        self.say_later(socket, reply, Duration::ZERO, now);
    }

    fn refuse(
        &mut self,
        socket: SocketId,
        correlation: Option<&str>,
        topics: &[&str],
        result: u16,
        message: &str,
        now: Now,
    ) {
        let body = self.switches.failure_body;
        let text = to_text(&Reply {
            correlation_id: correlation.filter(|_| body != FailureBody::WithoutCorrelationId),
            topics,
            result: if body == FailureBody::NumericResult {
                json!(result)
            } else {
                json!(result.to_string())
            },
            status: if body == FailureBody::ErrorStatus {
                "error"
            } else {
                "failure"
            },
            message,
        });
        self.say_later(socket, text, Duration::ZERO, now);
    }
}

fn confirmation(correlation: Option<&str>, topics: &[&str], status: &str, message: &str) -> String {
    to_text(&Reply {
        correlation_id: correlation,
        topics,
        result: Value::String("200".into()),
        status,
        message,
    })
}

fn to_text(reply: &Reply<'_>) -> String {
    // Strings and numbers only: serialising them cannot fail.
    serde_json::to_string(reply).unwrap_or_default()
}

/// The only topic, or how many there are.
fn listed(names: &[&str]) -> String {
    match names {
        [one] => (*one).to_owned(),
        many => format!("{} topics", many.len()),
    }
}
