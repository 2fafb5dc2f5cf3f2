//! Answers as outcomes (protocol, sections 3, 10 and 11).
//!
//! A body is never assumed: proxies and gateways in front of the platform may
//! answer with a web page or nothing (section 10).

use std::time::Duration;

use serde_json::Value;

use super::{Answer, Channel, Failure, Limits, Op, Outcome, TopicState};
use crate::oauth::{self, TokenError};
use base::foreign;
use base::ids::Topic;
use base::plain::{one_line, without};
use base::retry_after;
use base::secret::Secret;
use base::time::Wall;
use base::wire::Response;

/// The most characters kept of the platform's own words.
const WORDS_MAX: usize = 300;

/// The most entries read of any list: twenty channels, or a thousand topics, and room.
const ENTRIES_MAX: usize = 5_000;

/// What an answer means. `now` is for a `Retry-After` that is a date.
#[must_use]
pub fn decode(op: &Op, response: &Response, now: Wall) -> Outcome {
    let result = match (op, response.status) {
        (Op::Token, _) => token(response, now),
        (_, 200..=299) => answer(op, response),
        _ => Err(failure(op, response, now)),
    };
    Outcome {
        result,
        limits: limits(response),
        retry_after: asked_to_wait(response, now),
    }
}

fn token(response: &Response, now: Wall) -> Result<Answer, Failure> {
    match oauth::decode(response, now) {
        Ok(token) => Ok(Answer::Token {
            access_token: token.access_token,
            expires_in: token.expires_in,
        }),
        Err(TokenError::RateLimited { retry_after }) => Err(Failure::RateLimited(retry_after)),
        Err(TokenError::ServerTrouble {
            status,
            retry_after,
        }) => Err(Failure::Server {
            status,
            retry_after,
        }),
        Err(error) => Err(Failure::Login {
            label: error.label(),
            sentence: error.to_string(),
            soon: error.retry_soon(),
            retry_after: error.retry_after(),
        }),
    }
}

fn answer(op: &Op, response: &Response) -> Result<Answer, Failure> {
    match op {
        Op::KeepWarm | Op::Token | Op::RemoveAll(_) => Ok(Answer::Done),
        Op::CreateChannel => {
            let channel = channel(&object(response)?);
            if channel.id.is_none() || channel.connect_uri.is_none() {
                return Err(Failure::Garbled);
            }
            Ok(Answer::Channel(channel))
        }
        Op::ListChannels => Ok(Answer::Channels(
            entities(&object(response)?)?.iter().map(channel).collect(),
        )),
        Op::Subscriptions(_) | Op::AddTopics(..) => Ok(Answer::Topics(
            entities(&object(response)?)?
                .iter()
                .filter_map(topic_state)
                .collect(),
        )),
        // The list was replaced, whatever the body says or lacks.
        Op::Empty(_) => Ok(match object(response).and_then(|o| entities(&o)) {
            Ok(entities) => Answer::Topics(entities.iter().filter_map(topic_state).collect()),
            Err(_) => Answer::Done,
        }),
        Op::IdleTimeout => idle_timeout(&object(response)?),
        Op::TokenIdles => token_idles(&object(response)?),
        Op::Conversation(_) | Op::Conversations(_) => match foreign::text(&response.body) {
            Some(text) if text.trim_start().starts_with('{') => Ok(Answer::Json(text.into_owned())),
            _ => Err(Failure::Garbled),
        },
    }
}

fn object(response: &Response) -> Result<Value, Failure> {
    foreign::value(&response.body)
        .filter(Value::is_object)
        .ok_or(Failure::Garbled)
}

fn entities(listing: &Value) -> Result<Vec<Value>, Failure> {
    let list = listing.get("entities").and_then(Value::as_array);
    let list = list.ok_or(Failure::Garbled)?;
    Ok(list.iter().take(ENTRIES_MAX).cloned().collect())
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member)?.as_str().filter(|text| !text.is_empty())
}

fn channel(value: &Value) -> Channel {
    Channel {
        id: text(value, "id").map(Secret::new),
        connect_uri: text(value, "connectUri").map(Secret::new),
        expires: text(value, "expires").and_then(Wall::parse_rfc3339),
    }
}

fn topic_state(value: &Value) -> Option<TopicState> {
    let topic = Topic::new(text(value, "id")?);
    let reason = text(value, "rejectionReason");
    let missing: Vec<&str> = value
        .get("missingPermissions")
        .and_then(Value::as_array)
        .map(|list| list.iter().take(20).filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let rejected = match text(value, "state") {
        Some(state) => state.eq_ignore_ascii_case("rejected"),
        None => reason.is_some() || !missing.is_empty(),
    };
    let sentence = || {
        let reason = reason.unwrap_or("the platform rejects the topic");
        let sentence = match missing.as_slice() {
            [] => reason.to_owned(),
            missing => format!("{reason} (missing: {})", missing.join(", ")),
        };
        one_line(&sentence, WORDS_MAX)
    };
    Some(TopicState {
        topic,
        rejected: rejected.then(sentence),
    })
}

fn idle_timeout(body: &Value) -> Result<Answer, Failure> {
    let enabled = body.get("enableIdleTokenTimeout").and_then(Value::as_bool);
    let seconds = body.get("idleTokenTimeoutSeconds").and_then(Value::as_f64);
    // A year and more is as good as never, and keeps the arithmetic sane.
    let seconds = seconds.filter(|s| (1.0..31_536_000.0).contains(s));
    match (enabled, seconds) {
        (Some(false), _) => Ok(Answer::IdleTimeout(None)),
        (_, Some(s)) => Ok(Answer::IdleTimeout(Some(Duration::from_secs_f64(
            s.floor(),
        )))),
        (Some(true), None) => Err(Failure::Garbled),
        (None, None) => Ok(Answer::IdleTimeout(None)),
    }
}

/// A token that never idles out has no date; a date that cannot be read says nothing.
fn token_idles(body: &Value) -> Result<Answer, Failure> {
    match body.get("dateTokenIdles") {
        None | Some(Value::Null) => Ok(Answer::TokenIdles(None)),
        Some(date) => match date.as_str().and_then(Wall::parse_rfc3339) {
            Some(at) => Ok(Answer::TokenIdles(Some(at))),
            None => Err(Failure::Garbled),
        },
    }
}

fn failure(op: &Op, response: &Response, now: Wall) -> Failure {
    let status = response.status;
    let (code, words) = words(op, response);
    match status {
        // A new token would be refused the same way.
        401 if code == "ip.not.authorized" => Failure::Forbidden(words),
        401 => Failure::Unauthorized,
        403 => Failure::Forbidden(words),
        404 => Failure::NotFound,
        400 if code.ends_with("too.many.subscriptions") => Failure::TooManyTopics,
        429 => Failure::RateLimited(wait(response, now)),
        408 | 500..=599 => Failure::Server {
            status,
            retry_after: asked_to_wait(response, now),
        },
        _ => Failure::BadRequest {
            status,
            detail: words,
        },
    }
}

/// `code`, and code and message in one sentence for people.
fn words(op: &Op, response: &Response) -> (String, String) {
    let body = foreign::value(&response.body).unwrap_or(Value::Null);
    let code = one_line(text(&body, "code").unwrap_or(""), 80);
    let message = text(&body, "message").unwrap_or("");
    let sentence = match (code.as_str(), message) {
        ("", "") if body.is_object() => format!("status {} without words", response.status),
        ("", "") => start_of(&response.body),
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    let sentence = match op {
        Op::Subscriptions(id) | Op::AddTopics(id, _) | Op::Empty(id) | Op::RemoveAll(id) => {
            without(&sentence, &[id.expose()])
        }
        _ => sentence,
    };
    (code, one_line(&sentence, WORDS_MAX))
}

fn start_of(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(body.get(..1024).unwrap_or(body));
    match start.trim_start() {
        "" => String::from("no error body"),
        text if text.starts_with('<') => String::from("a web page instead of an error body"),
        text => text.to_owned(),
    }
}

/// `Retry-After`.
fn asked_to_wait(response: &Response, now: Wall) -> Option<Duration> {
    retry_after::parse(response.header("Retry-After")?, now)
}

/// The same of a 429, which means until the reset of the budget where it does not say: there
/// alone the reset is a request to wait.
fn wait(response: &Response, now: Wall) -> Option<Duration> {
    asked_to_wait(response, now)
        .or_else(|| retry_after::parse(response.header("inin-ratelimit-reset")?, now))
}

fn limits(response: &Response) -> Option<Limits> {
    let number = |name: &str| response.header(name)?.trim().parse::<u32>().ok();
    Some(Limits {
        count: number("inin-ratelimit-count")?,
        // Nothing allowed at all is no budget: the platform says no with 429.
        allowed: number("inin-ratelimit-allowed").filter(|n| *n > 0)?,
        reset: Duration::from_secs(u64::from(number("inin-ratelimit-reset")?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(op: &Op, status: u16, body: &str) -> Result<Answer, Failure> {
        let response = Response {
            status,
            headers: vec![],
            body: body.as_bytes().to_vec(),
        };
        decode(op, &response, Wall(0)).result
    }

    #[test]
    fn a_token_idles_out_at_its_date_or_never_and_a_date_that_is_none_says_nothing() {
        let at = Wall::parse_rfc3339("2026-01-08T15:35:12.345Z");
        for (body, expected) in [
            (
                r#"{"dateTokenIdles":"2026-01-08T15:35:12.345Z","OAuthClient":{}}"#,
                Ok(Answer::TokenIdles(at)),
            ),
            ("{}", Ok(Answer::TokenIdles(None))),
            (r#"{"dateTokenIdles":null}"#, Ok(Answer::TokenIdles(None))),
            (r#"{"dateTokenIdles":"soon"}"#, Err(Failure::Garbled)),
            (r#"{"dateTokenIdles":1767886512}"#, Err(Failure::Garbled)),
            ("[]", Err(Failure::Garbled)),
            ("", Err(Failure::Garbled)),
            ("<html>", Err(Failure::Garbled)),
        ] {
            assert_eq!(of(&Op::TokenIdles, 200, body), expected, "{body}");
        }
    }

    #[test]
    fn the_idle_timeout_counts_only_if_it_is_switched_on() {
        for (body, expected) in [
            (
                r#"{"idleTokenTimeoutSeconds":900,"enableIdleTokenTimeout":true}"#,
                Ok(Some(900)),
            ),
            (
                r#"{"idleTokenTimeoutSeconds":900,"enableIdleTokenTimeout":false}"#,
                Ok(None),
            ),
            (r#"{"idleTokenTimeoutSeconds":900}"#, Ok(Some(900))),
            ("{}", Ok(None)),
            (r#"{"enableIdleTokenTimeout":true}"#, Err(())),
            (
                r#"{"enableIdleTokenTimeout":true,"idleTokenTimeoutSeconds":-3}"#,
                Err(()),
            ),
            (
                r#"{"enableIdleTokenTimeout":true,"idleTokenTimeoutSeconds":1e300}"#,
                Err(()),
            ),
            ("[]", Err(())),
        ] {
            let expected = match expected {
                Ok(seconds) => Ok(Answer::IdleTimeout(seconds.map(Duration::from_secs))),
                Err(()) => Err(Failure::Garbled),
            };
            assert_eq!(of(&Op::IdleTimeout, 200, body), expected, "{body}");
        }
    }
}
