//! The catalogue of topics that the platform offers, with what each of them requires (protocol,
//! section 3).
//!
//! Asked in the caller's thread with the token that the client holds, beside the machine of the
//! client: nobody else waits for it.
//!
//! Invariant: an answer is read as far as it can be; what is not there is empty, never an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;

use crate::bearer::Bearer;
use crate::clock::Clock;
use crate::error::{Error, Reason};
use crate::rest::{self, Body, CONVERSATIONS_MAX};
use base::secret::Secret;
use base::wire::{NoAnswer, Request, Response};
use proto::rest::{Failure, Op};

/// Without the schemas, which are megabytes.
const PATH: &str = "/api/v2/notifications/availabletopics?expand=description&expand=enforced\
    &expand=visibility&expand=transports&expand=requiresPermissions&expand=permissionDetails\
    &expand=topicParameters";
/// Topics read of one answer at most; the platform has some hundreds.
const TOPICS_MAX: usize = 20_000;
/// Between tries; twice as long each time.
const PAUSE: Duration = Duration::from_millis(500);

/// A kind of topics that can be subscribed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct AvailableTopic {
    /// Its name, with a word in braces for what is to be put in:
    /// `v2.detail.events.conversation.{id}.acw`.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// All permissions that it may require, each once; [`AvailableTopic::requirements`] says how
    /// they belong together.
    pub permissions: Vec<String>,
    /// What is required of whoever subscribes.
    pub requirements: Vec<Requirement>,
    /// Meeting any one of the requirements will do.
    pub any_suffices: bool,
    /// Whether the permissions are enforced; where the platform does not say they are.
    pub enforced: bool,
    /// What is to be put into the name, in its order.
    pub parameters: Vec<String>,
    /// How its events can be had, such as `All`, `Websocket`, `EventBridge`; the list is open.
    pub transports: Vec<String>,
    /// It is a preview, which may change.
    pub preview: bool,
}

/// One requirement of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Requirement {
    /// Which: `requiresPermissions`, `requiresCurrentUser`, `requiresDivisionPermissions`,
    /// `requiresAnyDivisionPermissions`, `requiresUserBeConversationParticipant`; the list is open.
    pub kind: String,
    /// The permissions, such as `analytics:conversationDetail:view`.
    pub permissions: Vec<String>,
    /// A user may subscribe to what is its own without them.
    pub allows_current_user: bool,
    /// Whether it is enforced.
    pub enforced: bool,
}

impl AvailableTopic {
    /// Whether its events come over the notification channels that this crate is about. Some come
    /// over EventBridge alone.
    #[must_use]
    pub fn on_websocket(&self) -> bool {
        let here = |t: &String| ["all", "websocket"].contains(&t.to_ascii_lowercase().as_str());
        self.transports.is_empty() || self.transports.iter().any(here)
    }
}

/// Who asks.
pub(crate) struct Asking {
    pub(crate) agent: Agent,
    /// Without a slash at the end.
    pub(crate) api_url: String,
    pub(crate) bearer: Arc<Bearer>,
    pub(crate) clock: Arc<Clock>,
}

impl Asking {
    /// What the platform offers. Tries again, until then, what may pass by itself.
    pub(crate) fn available(&self, patience: Duration) -> Result<Vec<AvailableTopic>, Error> {
        let now = Instant::now();
        let until = now.checked_add(patience);
        // Who waits for ever is told of the end all the same.
        let until = until.unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        let mut bad: Option<Secret> = None;
        let mut pause = PAUSE;
        loop {
            let token = self.bearer.wait(bad.as_ref(), until)?;
            let left = until.saturating_duration_since(Instant::now());
            let failure = match self.ask(&token, left) {
                Ok(topics) => return Ok(topics),
                Err(Failure::Unauthorized) => {
                    bad = Some(token);
                    continue;
                }
                Err(failure) => failure,
            };
            let asked = match &failure {
                Failure::RateLimited(after) => *after,
                Failure::Server { retry_after, .. } => *retry_after,
                Failure::NoAnswer(_) => None,
                _ => return Err(told(failure)),
            };
            let wait = pause.max(asked.unwrap_or_default());
            pause *= 2;
            // What would come too late is told at once.
            if Instant::now() + wait >= until {
                return Err(told(failure));
            }
            self.bearer.sleep(wait);
        }
    }

    fn ask(&self, token: &Secret, patience: Duration) -> Result<Vec<AvailableTopic>, Failure> {
        let request = Request {
            method: "GET",
            url: format!("{}{PATH}", self.api_url),
            headers: vec![
                ("Accept".into(), "application/json".into()),
                ("User-Agent".into(), proto::oauth::USER_AGENT.into()),
                ("Authorization".into(), format!("Bearer {}", token.expose())),
            ],
            body: Vec::new(),
        };
        let answer = rest::perform_within(
            &self.agent,
            &request,
            Body::Whole(CONVERSATIONS_MAX),
            patience,
        )
        .map_err(Failure::NoAnswer)?;
        match answer.status {
            200..=299 => topics(&answer).ok_or(Failure::Garbled),
            // Refusals read the same whatever was asked for.
            _ => {
                let now = self.clock.now().wall;
                let outcome = rest::understood(&Op::ListChannels, &answer, now);
                Err(outcome.result.err().unwrap_or(Failure::Garbled))
            }
        }
    }
}

fn told(failure: Failure) -> Error {
    let status = |n: u16| format!("the catalogue of topics was answered with {n}");
    match failure {
        Failure::Forbidden(words) => Error::new(Reason::Forbidden, words),
        Failure::NotFound => Error::new(Reason::Status(404), status(404)),
        Failure::BadRequest { status: n, detail } => {
            Error::new(Reason::Status(n), format!("{}: {detail}", status(n)))
        }
        Failure::RateLimited(after) => {
            let seconds = after.map(|d| format!("; asked to wait {} s", d.as_secs()));
            let words = format!("{}{}", status(429), seconds.unwrap_or_default());
            Error::new(Reason::Status(429), words)
        }
        Failure::Server { status: n, .. } => Error::new(Reason::Status(n), status(n)),
        Failure::NoAnswer(NoAnswer::NotSent) | Failure::Garbled => Error::new(
            Reason::BadMessage,
            "the catalogue of topics was answered with something else",
        ),
        Failure::NoAnswer(why) => Error::new(
            Reason::Handshake,
            format!("the platform {}", why.sentence()),
        ),
        other => Error::new(Reason::BadMessage, format!("{other:?}")),
    }
}

/// `None` if it is no list of topics.
fn topics(answer: &Response) -> Option<Vec<AvailableTopic>> {
    let body = base::foreign::value(&answer.body)?;
    let entities = body.get("entities")?.as_array()?;
    Some(entities.iter().filter_map(topic).take(TOPICS_MAX).collect())
}

fn topic(value: &Value) -> Option<AvailableTopic> {
    let requirements: Vec<Requirement> = list(value, "permissionDetails")
        .iter()
        .map(requirement)
        .collect();
    let mut permissions = texts(value, "requiresPermissions");
    for permission in requirements.iter().flat_map(|r| &r.permissions) {
        if !permissions.contains(permission) {
            permissions.push(permission.clone());
        }
    }
    Some(AvailableTopic {
        name: text(value, "id").filter(|name| !name.is_empty())?,
        description: text(value, "description").unwrap_or_default(),
        permissions,
        requirements,
        any_suffices: flag(value, "requiresAnyValidator").unwrap_or(false),
        enforced: flag(value, "enforced").unwrap_or(true),
        parameters: texts(value, "topicParameters"),
        transports: texts(value, "transports"),
        preview: text(value, "visibility").is_some_and(|v| v.eq_ignore_ascii_case("preview")),
    })
}

fn requirement(value: &Value) -> Requirement {
    Requirement {
        kind: text(value, "type").unwrap_or_default(),
        permissions: texts(value, "permissions"),
        allows_current_user: flag(value, "allowsCurrentUser").unwrap_or(false),
        enforced: flag(value, "enforced").unwrap_or(true),
    }
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    let list = value.get(member).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value, member: &str) -> Vec<String> {
    let texts = list(value, member).iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member)?.as_str().map(str::to_owned)
}

fn flag(value: &Value, member: &str) -> Option<bool> {
    value.get(member)?.as_bool()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(body: &str) -> Option<Vec<AvailableTopic>> {
        topics(&Response {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn topics_are_read_with_their_permissions_each_once() {
        let body = json!({"entities": [
            {"id": "v2.users.{id}.presence", "description": "Presence.", "visibility": "Public",
             "transports": ["All"], "requiresPermissions": ["a:b:view"], "enforced": true,
             "requiresAnyValidator": true, "topicParameters": ["id"],
             "permissionDetails": [
                {"type": "requiresCurrentUser", "enforced": true},
                {"type": "requiresPermissions", "permissions": ["a:b:view", "c:d:*"],
                 "allowsCurrentUser": true, "enforced": false}]},
            {"id": "v2.audits", "transports": ["EventBridge"], "visibility": "Preview"},
        ]});
        let read = of(&body.to_string()).unwrap();
        let [presence, audits] = &read[..] else {
            panic!("{read:?}");
        };
        assert_eq!(presence.permissions, ["a:b:view", "c:d:*"]);
        assert_eq!(presence.requirements[0].kind, "requiresCurrentUser");
        assert!(!presence.requirements[1].enforced);
        assert!(presence.requirements[1].allows_current_user);
        assert!(presence.any_suffices && presence.on_websocket() && !presence.preview);
        assert_eq!(presence.parameters, ["id"]);
        assert!(audits.preview && !audits.on_websocket() && audits.enforced);
        assert!(audits.permissions.is_empty());
    }

    #[test]
    fn what_is_odd_in_one_topic_spoils_no_other_and_what_is_no_list_is_told() {
        let odd = r#"{"entities":[null,{},{"id":""},{"id":7},"x",
            {"id":"a","transports":"All","permissionDetails":[1,{"permissions":[2,"p:q:r"]}]}]}"#;
        let read = of(odd).unwrap();
        assert_eq!((read.len(), read[0].name.as_str()), (1, "a"));
        assert_eq!(read[0].permissions, ["p:q:r"]);
        for nothing in ["", "[]", "{}", "<html>", r#"{"entities":{}}"#] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }
}
