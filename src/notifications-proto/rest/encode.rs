//! Calls as requests (protocol, sections 2.6, 3 and 11).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Endpoints, Op};
use crate::oauth::USER_AGENT;
use base::ids::Topic;
use base::secret::Secret;
use base::wire::Request;

/// What stays as it is in a path segment: the unreserved characters (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const CHANNELS: &str = "/api/v2/notifications/channels";

/// The request of a call, with its token if there is one.
///
/// [`Op::Token`] gives the bare `POST` to the token endpoint, without
/// credentials: the real one is `oauth::TokenRequest::encode`.
#[must_use]
pub fn encode(op: &Op, endpoints: &Endpoints, token: Option<&Secret>) -> Request {
    let (method, path, body) = match op {
        Op::Token => ("POST", String::from("/oauth/token"), Vec::new()),
        Op::CreateChannel => ("POST", CHANNELS.into(), Vec::new()),
        Op::ListChannels => ("GET", CHANNELS.into(), Vec::new()),
        Op::Subscriptions(id) => ("GET", subscriptions(id), Vec::new()),
        Op::AddTopics(id, topics) => (
            "POST",
            subscriptions(id) + "?ignoreErrors=true",
            listing(topics),
        ),
        Op::Empty(id) => ("PUT", subscriptions(id), listing(&[])),
        Op::RemoveAll(id) => ("DELETE", subscriptions(id), Vec::new()),
        Op::KeepWarm => ("HEAD", "/api/v2/tokens/me".into(), Vec::new()),
        Op::IdleTimeout => ("GET", "/api/v2/tokens/timeout".into(), Vec::new()),
        Op::TokenIdles => (
            "GET",
            "/api/v2/tokens/me?preserveIdleTTL=true".into(),
            Vec::new(),
        ),
        Op::Conversation(id) => ("GET", format!("/api/v2/conversations/{id}"), Vec::new()),
        Op::Conversations(ids) => {
            // The machine-readable definition repeats the parameter; only its prose
            // speaks of commas (protocol, section 11.2).
            let query: Vec<String> = ids.iter().map(|id| format!("id={id}")).collect();
            let query = query.join("&");
            let path = format!("/api/v2/analytics/conversations/details?{query}");
            ("GET", path, Vec::new())
        }
    };
    let base = match op {
        Op::Token => &endpoints.login_url,
        _ => &endpoints.api_url,
    };
    let mut headers: Vec<(String, String)> = vec![
        ("Accept".into(), "application/json".into()),
        ("User-Agent".into(), USER_AGENT.into()),
    ];
    if let Some(token) = token {
        let value = format!("Bearer {}", token.expose());
        headers.push(("Authorization".into(), value));
    }
    if !body.is_empty() {
        headers.push(("Content-Type".into(), "application/json".into()));
    }
    Request {
        method,
        url: format!("{}{path}", base.trim_end_matches('/')),
        headers,
        body,
    }
}

fn subscriptions(channel: &Secret) -> String {
    let id = utf8_percent_encode(channel.expose(), SEGMENT);
    format!("{CHANNELS}/{id}/subscriptions")
}

fn listing(topics: &[Topic]) -> Vec<u8> {
    #[derive(Serialize)]
    struct ChannelTopic<'a> {
        id: &'a str,
    }
    let list: Vec<_> = topics
        .iter()
        .map(|t| ChannelTopic { id: t.as_str() })
        .collect();
    // Strings always serialise.
    serde_json::to_vec(&list).unwrap_or_default()
}
