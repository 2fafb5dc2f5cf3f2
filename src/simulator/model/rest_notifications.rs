//! The REST calls about channels, subscriptions and tokens (protocol, sections 2.6 and 3).
//!
//! Invariant: a refused request changes nothing.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Platform;
use super::rest::{Outcome, Parts, Refusal};
use super::switches::{DeleteStatus, ForeignChannels, MalformedTopic};
use super::topics::{DETAIL_EVENTS, Topic};
use base::time::Now;
use base::wire::{Request, Response};

/// Why a topic is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotAdmitted {
    Malformed,
    Missing(&'static str),
}

impl NotAdmitted {
    pub(super) fn message(self, topic: &str) -> String {
        match self {
            NotAdmitted::Malformed => format!("Invalid topic: {topic}"),
            NotAdmitted::Missing(permission) => format!(
                "The user does not have permission \"{permission}\" required for topic \"{topic}\"."
            ),
        }
    }
}

impl Platform {
    /// A topic that may be subscribed.
    pub(super) fn admit(&self, name: &str) -> Result<Topic, NotAdmitted> {
        let topic = Topic::parse(name).ok_or(NotAdmitted::Malformed)?;
        match self.faults.missing_for(&topic) {
            Some(permission) => Err(NotAdmitted::Missing(permission)),
            None => Ok(topic),
        }
    }

    pub(super) fn post_channel(&mut self, token: u64, now: Now) -> Outcome {
        if self.faults.no_channels.contains(self.client_id_of(token)) {
            return Err(Refusal::of_status(403));
        }
        let owner = self.owner_of(token);
        let number = self.create_channel(token, owner, now);
        Ok(Response::json(200, &self.channel_json(number)))
    }

    fn channel_json(&self, number: u64) -> Value {
        match self.channels.get(&number) {
            Some(channel) => json!({
                "connectUri": format!("{}/channels/{}", self.settings.ws_url, channel.id),
                "id": channel.id,
                "expires": channel.expires.wall.rfc3339(),
            }),
            None => json!({}),
        }
    }

    pub(super) fn list_channels(&self, token: u64, parts: &Parts) -> Outcome {
        let all = match parts.get("includechannels") {
            None | Some("token") => false,
            Some("oauthclient") => true,
            Some(_) => {
                return Err(Refusal::new(
                    400,
                    "invalid.query.param.value",
                    "includechannels takes token or oauthclient.",
                ));
            }
        };
        let owner = self.owner_of(token);
        let entities: Vec<Value> = self
            .channels
            .iter()
            .filter(|(_, c)| c.token == token || all && c.owner == owner)
            .map(|(number, c)| {
                if c.token == token {
                    self.channel_json(*number)
                } else {
                    json!({"expires": c.expires.wall.rfc3339()})
                }
            })
            .collect();
        Ok(Response::json(200, &json!({"entities": entities})))
    }

    /// The channel, if this token may reach it.
    fn reachable(&self, token: u64, id: &str) -> Option<u64> {
        let number = *self.channel_ids.get(id)?;
        let channel = self.channels.get(&number)?;
        // Requests about a channel whose own token is dead find nothing (protocol, section 2.6).
        if !self.tokens.is_alive(channel.token) {
            return None;
        }
        let owner = self.owner_of(token);
        let foreign = channel.token != token;
        let allowed = channel.owner == owner
            && (!foreign || self.switches.foreign_channels == ForeignChannels::Reachable);
        allowed.then_some(number)
    }

    pub(super) fn head_channel(&self, token: u64, id: &str) -> Outcome {
        match self.reachable(token, id) {
            Some(_) => Ok(Response::empty(200)),
            None => Err(Refusal::not_found()),
        }
    }

    pub(super) fn get_subscriptions(&self, token: u64, id: &str) -> Outcome {
        let channel = self
            .reachable(token, id)
            .and_then(|n| self.channels.get(&n))
            .ok_or_else(Refusal::not_found)?;
        let entities: Vec<Value> = channel
            .topics
            .values()
            .map(|t| permitted(id, &t.shown))
            .collect();
        Ok(Response::json(200, &json!({"entities": entities})))
    }

    pub(super) fn write_subscriptions(
        &mut self,
        token: u64,
        id: &str,
        request: &Request,
        parts: &Parts,
        replace: bool,
        now: Now,
    ) -> Outcome {
        let Some(number) = self.reachable(token, id) else {
            return Err(if replace {
                Refusal::new(404, "entity.not.found", "Subscription list not found.")
            } else {
                Refusal::not_found()
            });
        };
        let names = topic_ids(&request.body)?;
        let ignore = parts.is_true("ignoreErrors");
        let mut good = Vec::with_capacity(names.len());
        let mut entities = Vec::with_capacity(names.len());
        for name in &names {
            match self.admit(name) {
                Ok(topic) => {
                    entities.push(permitted(id, &topic.shown));
                    good.push(topic);
                }
                Err(why @ NotAdmitted::Malformed) => {
                    if !ignore || self.switches.malformed_topic == MalformedTopic::Refuse {
                        return Err(Refusal::new(
                            400,
                            "notification.invalid.topic",
                            why.message(name),
                        ));
                    }
                    entities.push(json!({
                        "id": name, "state": "Rejected", "rejectionReason": why.message(name),
                    }));
                }
                Err(why @ NotAdmitted::Missing(permission)) => {
                    if !ignore {
                        return Err(Refusal::new(
                            403,
                            "notification.unauthorized.topic",
                            why.message(name),
                        ));
                    }
                    entities.push(json!({
                        "id": name, "state": "Rejected", "rejectionReason": why.message(name),
                        "missingPermissions": [permission],
                    }));
                }
            }
        }
        let most = self.switches.topics_max as usize;
        let fits = if replace {
            let distinct: std::collections::BTreeSet<&str> = good.iter().map(|t| &*t.key).collect();
            distinct.len() <= most
        } else {
            self.room(number, &good, now) == good.len()
        };
        if !fits {
            self.ledger.over_limit += 1;
            let mut refusal = Refusal::new(
                400,
                "notification.subscription.too.many.subscriptions",
                "Too many subscriptions",
            );
            refusal.more.push((
                "limit",
                json!({"key": "notification.subscriptions.per.channel.max",
                       "namespace": "notifications", "value": most}),
            ));
            return Err(refusal);
        }
        if replace && let Some(channel) = self.channels.get(&number) {
            let kept: std::collections::BTreeSet<&str> = good.iter().map(|t| &*t.key).collect();
            let gone: Vec<String> = channel
                .topics
                .keys()
                .filter(|k| !kept.contains(&***k))
                .map(|k| k.to_string())
                .collect();
            self.remove_topics(number, gone.iter().map(String::as_str), None, now);
        }
        let count = good.len();
        self.add_topics(number, good);
        self.touch_channel(number, now);
        self.extend_channel(number, now);
        self.journal.add(now.wall, "subscribe", Some(id), || {
            format!("{count} topics over REST")
        });
        Ok(Response::json(200, &json!({"entities": entities})))
    }

    pub(super) fn delete_subscriptions(&mut self, token: u64, id: &str, now: Now) -> Outcome {
        let number = self.reachable(token, id).ok_or_else(Refusal::not_found)?;
        if let Some(channel) = self.channels.get(&number) {
            let gone: Vec<String> = channel.topics.keys().map(|k| k.to_string()).collect();
            self.remove_topics(number, gone.iter().map(String::as_str), None, now);
        }
        self.touch_channel(number, now);
        self.journal
            .add(now.wall, "unsubscribe", Some(id), || "all over REST".into());
        Ok(Response::empty(match self.switches.delete_status {
            DeleteStatus::S200 => 200,
            DeleteStatus::S202 => 202,
            DeleteStatus::S204 => 204,
        }))
    }

    /// `GET /users/me`: of the user whom a token acts for.
    pub(super) fn user_info(&self, token: u64) -> Outcome {
        let user = self.tokens.get(token).and_then(|t| t.user);
        let user = user.ok_or_else(|| {
            Refusal::new(400, "bad.request", "This request requires a user context.")
        })?;
        Ok(Response::json(200, &json!({"id": user.to_string()})))
    }

    pub(super) fn token_info(&self, token: u64) -> Response {
        let client = self.client_id_of(token).to_owned();
        let token = self.tokens.get(token);
        let user = token.and_then(|t| t.user);
        let organisation =
            json!({"id": self.organisation.to_string(), "name": self.settings.org_name});
        let mut body = json!({
            "organization": organisation,
            "homeOrganization": organisation,
            "authorizedScope": ["analytics", "conversations", "notifications"],
            "OAuthClient": {
                "id": client,
                "name": "Simulated client",
                "authorizedGrantType": if user.is_some() { "SAML2-BEARER" } else { "CLIENT-CREDENTIALS" },
                "scope": ["analytics", "conversations", "notifications"],
                "state": "active",
                "organization": organisation,
            },
        });
        if let Some(idles) = token.and_then(|t| t.idles) {
            body["dateTokenIdles"] = json!(idles.rfc3339());
        }
        Response::json(200, &body)
    }

    pub(super) fn delete_tokens_of(&mut self, user: &str, now: Now) -> Outcome {
        let user = Uuid::try_parse(user).map_err(|_| Refusal::not_found())?;
        let theirs: Vec<u64> = self
            .tokens
            .numbers()
            .into_iter()
            .filter(|n| self.tokens.get(*n).is_some_and(|t| t.user == Some(user)))
            .collect();
        for number in theirs {
            self.end_token(number, "revoked", now);
        }
        Ok(Response::empty(200))
    }

    pub(super) fn token_timeout(&self) -> Response {
        let seconds = self.switches.idle_timeout_seconds;
        // The definition knows no value below five minutes; a shorter switch is shown as that.
        Response::json(
            200,
            &json!({
                "idleTokenTimeoutSeconds": if seconds == 0 { 28_800 } else { seconds.max(300) },
                "enableIdleTokenTimeout": seconds > 0,
                "inactivityTimeoutUnit": "Minutes",
                "inactivityTimeoutGroupsEnabled": false,
            }),
        )
    }
}

fn permitted(channel: &str, topic: &str) -> Value {
    json!({
        "id": topic,
        "state": "Permitted",
        "selfUri": format!("/api/v2/notifications/channels/{channel}/subscriptions"),
    })
}

fn topic_ids(body: &[u8]) -> Result<Vec<String>, Refusal> {
    #[derive(serde::Deserialize)]
    struct Item {
        id: String,
    }
    serde_json::from_slice::<Vec<Item>>(body)
        .map(|items| items.into_iter().map(|i| i.id).collect())
        .map_err(|_| Refusal::new(400, "bad.request", "The body is not an array of topics."))
}

/// The catalogue of topics: the detail events of conversations.
pub(super) fn available_topics(parts: &Parts) -> Response {
    let wanted = |name: &str| {
        parts
            .query
            .iter()
            .any(|(n, v)| n.eq_ignore_ascii_case("expand") && v.split(',').any(|part| part == name))
    };
    let entities: Vec<Value> = DETAIL_EVENTS
        .iter()
        .map(|event| {
            let mut topic = json!({"id": format!("v2.detail.events.conversation.{{id}}.{event}")});
            let permission = super::faults::DETAIL_PERMISSION;
            for (name, value) in [
                (
                    "description",
                    json!(format!("Detail event {event} of a conversation.")),
                ),
                ("visibility", json!("Public")),
                ("transports", json!(["All"])),
                ("requiresPermissions", json!([permission])),
                (
                    "permissionDetails",
                    json!([{"type": "requiresPermissions", "permissions": [permission],
                            "allowsCurrentUser": false, "enforced": true}]),
                ),
                ("enforced", json!(true)),
                ("topicParameters", json!(["id"])),
            ] {
                if wanted(name) {
                    topic[name] = value;
                }
            }
            topic
        })
        .collect();
    Response::json(200, &json!({"entities": entities}))
}
