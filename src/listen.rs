//! The word `listen`: notifications of any topics as lines of JSON (design, section 6).
//!
//! ```text
//! {"topicName":"v2.…","eventBody":{…},"correlationId":"…","version":"2"}      a notification
//! {"heartbeat":true}   {"live":["v2.…"]}   {"gap":["v2.…"],"since":"…","cause":"…"}
//! {"refused":["v2.…"],"detail":"…"}   {"closing":true}   {"lost":12}             with --all
//! ```
//!
//! It runs beside the gateway with the same credentials, on channels of its own, which count
//! among the twenty of the OAuth client. Invariant: a notification's body is printed as it came,
//! but for line ends between its members.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, bounded, select};
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::ListenOptions;
use crate::config::Config;
use crate::service::ExitCode;
use crate::service::output::{Output, complain};
use crate::service::signals::{self, Signal};
use crate::shell::outside;
use base::plain::json_shown;
use base::time::Wall;
use notifications::{Client, Error, Item, Reason};
use proto::limits::TOPICS_PER_CHANNEL_MAX;

/// `listen`: until SIGTERM or SIGINT, or until nobody reads what is printed.
#[must_use]
pub fn listen(config: &Config, options: &ListenOptions) -> ExitCode {
    let signals = match signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("signals cannot be taken over: {error}"));
            return ExitCode::Software;
        }
    };
    let signals = match while_it_writes(signals) {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("no thread can be started: {error}"));
            return ExitCode::Software;
        }
    };
    let client = match client(config, options) {
        Ok(client) => client,
        Err(error) => {
            complain(&error.to_string());
            return match error.reason() {
                Reason::RefusedTopic => ExitCode::Usage,
                _ => ExitCode::Unavailable,
            };
        }
    };
    let mut left: BTreeSet<String> = options
        .topic
        .iter()
        .map(|t| t.to_ascii_lowercase())
        .collect();
    loop {
        let item = select! {
            recv(signals) -> signal => match signal {
                Ok(Signal::Hangup) => continue,
                Ok(Signal::Terminate) | Err(_) => return ExitCode::Done,
            },
            recv(client.receiver()) -> item => item,
        };
        let line = match item {
            // It ends when it is closed, and nobody here does that.
            Err(_) => return ExitCode::Software,
            Ok(Err(error)) if !error.is_permanent() => {
                complain(&error.to_string());
                continue;
            }
            Ok(Err(error)) => {
                complain(&error.to_string());
                return ExitCode::Unavailable;
            }
            Ok(Ok(item)) => {
                if let Item::Refused { topics, detail, .. } = &item {
                    for topic in topics {
                        left.remove(&topic.to_ascii_lowercase());
                    }
                    complain(&format!("refused: {}: {detail}", topics.join(", ")));
                }
                told(item, options.all)
            }
        };
        if let Some(line) = line
            && Output
                .write_all(format!("{}\n", json_shown(&line)).as_bytes())
                .is_err()
        {
            return ExitCode::Done;
        }
        if left.is_empty() {
            complain("the platform refuses every topic");
            return ExitCode::Unavailable;
        }
    }
}

/// The same signals; where what is printed waits for a reader that does not read, being asked to
/// stop ends the process after a second.
fn while_it_writes(signals: Receiver<Signal>) -> std::io::Result<Receiver<Signal>> {
    let (tell, told) = bounded(4);
    let thread = std::thread::Builder::new().name("patience".into());
    thread.spawn(move || {
        for signal in signals {
            // The loop may have ended.
            let _ = tell.try_send(signal);
            if signal == Signal::Terminate {
                std::thread::sleep(Duration::from_secs(1));
                std::process::exit(i32::from(ExitCode::Done.number()));
            }
        }
    })?;
    Ok(told)
}

fn client(config: &Config, options: &ListenOptions) -> Result<Client, Error> {
    let genesys = &config.genesys;
    let wrong = |what: String| Error::with(Reason::Machine, what);
    // One more for hand-over.
    let channels = options.topic.len().div_ceil(TOPICS_PER_CHANNEL_MAX) + 1;
    let client = Client::builder()
        .region(&genesys.region)
        .hosts(&genesys.api_url, &genesys.login_url)
        .streaming_hosts(genesys.streaming_hosts.iter().cloned())
        .trust(outside::trust(genesys.ca.as_ref()))
        .proxy(outside::proxy(genesys).map_err(wrong)?)
        .grant(
            &genesys.oauth.client_id,
            genesys.oauth.client_secret.expose(),
            outside::grant(genesys).map_err(wrong)?,
        )
        .heartbeat_timeout(config.channels.heartbeat_timeout)
        .max_channels(u8::try_from(channels).unwrap_or(u8::MAX))
        .connect()?;
    client.subscribe(options.topic.iter().cloned())?;
    Ok(client)
}

/// The line of an item, if it is to be printed.
fn told(item: Item, all: bool) -> Option<String> {
    let instant = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or(Duration::ZERO).as_millis();
        Wall(i64::try_from(millis).unwrap_or(i64::MAX)).rfc3339()
    };
    let line = match item {
        Item::Notification {
            topic,
            body,
            correlation_id,
            version,
        } => return Some(notification(&topic, &body, correlation_id, version)),
        Item::Heartbeat => json!({"heartbeat": true}),
        Item::Live { topics } => json!({"live": topics}),
        Item::Gap {
            topics,
            since,
            cause,
        } => json!({"gap": topics, "since": instant(since), "cause": cause}),
        Item::Refused {
            topics,
            missing,
            detail,
        } => json!({"refused": topics, "missing": missing, "detail": detail}),
        Item::Expiring { at } => json!({"expiring": instant(at)}),
        Item::Closing => json!({"closing": true}),
        Item::Overflow { lost } => json!({"lost": lost}),
        _ => return None,
    };
    all.then(|| line.to_string())
}

fn notification(
    topic: &str,
    body: &str,
    correlation_id: Option<String>,
    version: Option<String>,
) -> String {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Notification<'a> {
        topic_name: &'a str,
        event_body: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    }
    // Within a string of JSON there are no line ends.
    let body = body.replace(['\n', '\r'], " ");
    let event_body = RawValue::from_string(body).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let line = serde_json::to_string(&Notification {
        topic_name: topic,
        event_body: &event_body,
        correlation_id,
        version,
    });
    line.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_one_line_with_its_body_as_it_came() {
        let body = "{\"a\" : 12345678901234567890.10,\n \"b\":\"\\u00e4 x\"}";
        let line = notification("v2.X", body, Some("c-1".into()), None);
        assert_eq!(
            line,
            "{\"topicName\":\"v2.X\",\"eventBody\":{\"a\" : 12345678901234567890.10,  \
             \"b\":\"\\u00e4 x\"},\"correlationId\":\"c-1\"}"
        );
    }

    #[test]
    fn what_is_no_notification_is_printed_only_if_all_is_wanted() {
        let gap = || Item::Gap {
            topics: vec!["t".into()],
            since: SystemTime::UNIX_EPOCH,
            cause: "broken",
        };
        assert_eq!(told(gap(), false), None);
        assert_eq!(
            told(gap(), true).as_deref(),
            Some(r#"{"gap":["t"],"since":"1970-01-01T00:00:00.000Z","cause":"broken"}"#)
        );
        assert_eq!(
            told(Item::Heartbeat, true).as_deref(),
            Some(r#"{"heartbeat":true}"#)
        );
    }
}
