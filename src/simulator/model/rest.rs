//! REST: which call it is, whether it may pass, and how refusals look
//! (protocol, sections 3, 10 and 11).
//!
//! An answer may carry private headers that are no part of the platform's
//! answer: the shell and the simulation read and remove them ([`take_marks`]).
//!
//! Invariant: every answer of the API host carries `ININ-Correlation-Id`, and
//! the `contextId` of an error equals it.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Platform;
use super::faults::RestFailure;
use super::switches::{IdleReset, RateHeaders, RateRetryAfter};
use base::time::Now;
use base::wire::{Request, Response};

/// Private header: the answer is to be given this many milliseconds late.
pub const DELAY_MARK: &str = "x-simulator-delay-ms";
/// Private header: the answer is never to be given, and the connection kept.
pub const HANG_MARK: &str = "x-simulator-hang";
/// Private header: the connection is to be closed without an answer.
pub const NO_ANSWER_MARK: &str = "x-simulator-no-answer";

/// What is to be done with an answer instead of giving it at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Give it this late.
    Delay(Duration),
    /// Never give it; keep the connection.
    Hang,
    /// Close the connection without it.
    NoAnswer,
}

/// Reads and removes the private headers.
pub fn take_marks(response: &mut Response) -> Option<Mark> {
    let mark = if response.header(HANG_MARK).is_some() {
        Some(Mark::Hang)
    } else if response.header(NO_ANSWER_MARK).is_some() {
        Some(Mark::NoAnswer)
    } else {
        response
            .header(DELAY_MARK)
            .and_then(|ms| ms.parse().ok())
            .map(|ms| Mark::Delay(Duration::from_millis(ms)))
    };
    response
        .headers
        .retain(|(n, _)| n != HANG_MARK && n != NO_ANSWER_MARK && n != DELAY_MARK);
    mark
}

/// The calls that the simulator knows, for faults and for counting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `POST /oauth/token`
    Token,
    /// `POST /notifications/channels`
    ChannelCreate,
    /// `GET /notifications/channels`
    ChannelList,
    /// `HEAD /notifications/channels/{id}`
    ChannelHead,
    /// `GET …/subscriptions`
    SubscriptionsGet,
    /// `POST …/subscriptions`
    SubscriptionsPost,
    /// `PUT …/subscriptions`
    SubscriptionsPut,
    /// `DELETE …/subscriptions`
    SubscriptionsDelete,
    /// `GET /notifications/availabletopics`
    AvailableTopics,
    /// `GET` and `HEAD /tokens/me`
    TokenMe,
    /// `GET /users/me`
    UserMe,
    /// `DELETE /tokens/me`
    TokenDelete,
    /// `DELETE /tokens/{userId}`
    TokensOfUser,
    /// `GET /tokens/timeout`
    TokenTimeout,
    /// `GET /conversations/{id}`
    Conversation,
    /// `GET /conversations`
    ConversationList,
    /// The participants' wrap-up calls
    WrapUp,
    /// `GET /analytics/conversations/details`
    AnalyticsDetails,
    /// `GET /analytics/conversations/{id}/details`
    AnalyticsOne,
    /// `POST /analytics/conversations/details/query`
    AnalyticsQuery,
    /// The WebSocket upgrade
    Upgrade,
    /// Anything else
    Unknown,
}

/// The window of the rate limit.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A request taken apart.
pub(super) struct Parts {
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Parts {
    pub(super) fn of(url: &str) -> Parts {
        let path = match url.find("://") {
            Some(at) => {
                let rest = &url[at + 3..];
                rest.find('/').map_or("/", |slash| &rest[slash..])
            }
            None => url,
        };
        let path = path.split('#').next().unwrap_or("");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Parts {
            segments: path
                .split('/')
                .filter(|s| !s.is_empty())
                .take(16)
                .map(decoded)
                .collect(),
            query: query
                .split('&')
                .filter(|p| !p.is_empty())
                .take(5000)
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(&value.replace('+', " ")))
                })
                .collect(),
        }
    }

    /// The first value of a query parameter, its name without regard to case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }
}

/// A refusal by the API host.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) more: Vec<(&'static str, Value)>,
    pub(super) headers: Vec<(String, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: message.into(),
            more: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn not_found() -> Refusal {
        Refusal::new(404, "not.found", "The requested resource was not found.")
    }

    pub(super) fn of_status(status: u16) -> Refusal {
        let (code, message) = match status {
            400 => ("bad.request", "The request could not be understood."),
            401 => ("bad.credentials", "Invalid login credentials."),
            403 => (
                "missing.permissions",
                "Unable to perform the requested action.",
            ),
            404 => ("not.found", "The requested resource was not found."),
            408 => ("client.timeout", "The client did not finish in time."),
            409 => ("request.conflict", "The request conflicts with the state."),
            413 => ("payload.too.large", "The answer is too large."),
            415 => ("unsupported.media.type", "The media type is not supported."),
            429 => ("too.many.requests", "Rate limit exceeded the maximum."),
            503 => ("service.unavailable", "The service is unavailable."),
            504 => ("request.timeout", "The request timed out."),
            _ => ("internal.server.error", "The server failed."),
        };
        Refusal::new(status, code, message)
    }

    fn into_response(self, context: &str) -> Response {
        let mut body = json!({
            "message": self.message,
            "code": self.code,
            "status": self.status,
            "contextId": context,
            "details": [],
            "errors": [],
        });
        for (name, value) in self.more {
            body[name] = value;
        }
        let mut response = Response::json(self.status, &body);
        response.headers.extend(self.headers);
        response
    }
}

/// What a call comes to.
pub(super) type Outcome = Result<Response, Refusal>;

fn call_of(method: &str, segments: &[&str]) -> Option<Call> {
    let known = match (method, segments) {
        ("POST", ["oauth", "token"]) => Call::Token,
        (_, ["api", "v2", rest @ ..]) => match (method, rest) {
            ("POST", ["notifications", "channels"]) => Call::ChannelCreate,
            ("GET", ["notifications", "channels"]) => Call::ChannelList,
            ("HEAD", ["notifications", "channels", _]) => Call::ChannelHead,
            ("GET", ["notifications", "channels", _, "subscriptions"]) => Call::SubscriptionsGet,
            ("POST", ["notifications", "channels", _, "subscriptions"]) => Call::SubscriptionsPost,
            ("PUT", ["notifications", "channels", _, "subscriptions"]) => Call::SubscriptionsPut,
            ("DELETE", ["notifications", "channels", _, "subscriptions"]) => {
                Call::SubscriptionsDelete
            }
            ("GET", ["notifications", "availabletopics"]) => Call::AvailableTopics,
            ("GET" | "HEAD", ["tokens", "me"]) => Call::TokenMe,
            ("GET", ["users", "me"]) => Call::UserMe,
            ("DELETE", ["tokens", "me"]) => Call::TokenDelete,
            ("GET", ["tokens", "timeout"]) => Call::TokenTimeout,
            ("DELETE", ["tokens", _]) => Call::TokensOfUser,
            ("GET", ["conversations"]) => Call::ConversationList,
            ("GET", ["conversations", _]) => Call::Conversation,
            ("GET", ["conversations", _, "participants", _, "wrapup"])
            | (
                "GET",
                [
                    "conversations",
                    _,
                    _,
                    "participants",
                    _,
                    "communications",
                    _,
                    "wrapup",
                ],
            ) => Call::WrapUp,
            ("GET", ["analytics", "conversations", "details"]) => Call::AnalyticsDetails,
            ("POST", ["analytics", "conversations", "details", "query"]) => Call::AnalyticsQuery,
            ("GET", ["analytics", "conversations", _, "details"]) => Call::AnalyticsOne,
            _ => return None,
        },
        _ => return None,
    };
    Some(known)
}

impl Platform {
    pub(super) fn answer(&mut self, request: &Request, now: Now) -> Response {
        let parts = Parts::of(&request.url);
        let segments: Vec<&str> = parts.segments.iter().map(String::as_str).collect();
        let call = call_of(request.method, &segments).unwrap_or(Call::Unknown);
        *self.ledger.calls.entry(call).or_default() += 1;
        let context = self.rng.uuid().to_string();
        let mut response = self.answer_call(call, request, &parts, &segments, &context, now);
        if call != Call::Token {
            response
                .headers
                .push(("ININ-Correlation-Id".into(), context));
        }
        if request.method == "HEAD" {
            response.body.clear();
        }
        let status = response.status;
        self.journal
            .add(now.wall, "rest", None, || format!("{call:?} {status}"));
        response
    }

    fn answer_call(
        &mut self,
        call: Call,
        request: &Request,
        parts: &Parts,
        segments: &[&str],
        context: &str,
        now: Now,
    ) -> Response {
        let failure = self.faults.next_rest(call);
        let mark = match failure {
            None => None,
            Some(failure) => match failed(failure, context) {
                Ok(mut response) => {
                    self.add_rate(call, request, &mut response, now);
                    return response;
                }
                Err(mark) => Some(mark),
            },
        };
        let mut response = match call {
            Call::Token => self.oauth_token(request, now),
            _ => self
                .api(call, request, parts, segments, now)
                .unwrap_or_else(|refusal| refusal.into_response(context)),
        };
        self.add_rate(call, request, &mut response, now);
        if let Some((name, value)) = mark {
            response.headers.push((name.into(), value));
        }
        response
    }

    fn api(
        &mut self,
        call: Call,
        request: &Request,
        parts: &Parts,
        segments: &[&str],
        now: Now,
    ) -> Outcome {
        let token = self.authenticate(request)?;
        // "preserveIdleTTL" looks at the token without keeping it alive.
        let counts = match self.switches.idle_reset {
            IdleReset::All => !(call == Call::TokenMe && parts.is_true("preserveIdleTTL")),
            IdleReset::Some => matches!(call, Call::Conversation | Call::AnalyticsDetails),
        };
        if counts {
            self.note_use(token, now);
        }
        self.rate(token, now)?;
        let has_json = request
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/json"));
        if !request.body.is_empty() && !has_json {
            return Err(Refusal::of_status(415));
        }
        self.dispatch(call, request, parts, segments, token, now)
    }

    /// Puts the state of the budget on an answer (protocol, section 14).
    fn add_rate(&mut self, call: Call, request: &Request, response: &mut Response, now: Now) {
        let wanted = match self.switches.rate_headers {
            RateHeaders::Always => true,
            RateHeaders::GoodOnly => (200..300).contains(&response.status),
            RateHeaders::Never => false,
        };
        let token = match call {
            Call::Token => None,
            _ => self.authenticate(request).ok(),
        };
        let Some(token) = token.and_then(|t| self.tokens.get(t)).filter(|_| wanted) else {
            return;
        };
        let left = RATE_WINDOW.saturating_sub(now.mono.since(token.window.0));
        let reset = left.as_millis().div_ceil(1000) as u64;
        let (count, allowed) = (token.window.1, self.switches.rest_per_minute);
        for (name, value) in [("count", count), ("allowed", allowed), ("reset", reset)] {
            let name = format!("inin-ratelimit-{name}");
            if response.header(&name).is_none() {
                response.headers.push((name, value.to_string()));
            }
        }
    }

    fn authenticate(&self, request: &Request) -> Result<u64, Refusal> {
        let Some(value) = request.header("authorization") else {
            return Err(Refusal::new(
                401,
                "authentication.required",
                "No authentication bearer token specified in authorization header.",
            ));
        };
        value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.tokens.find(token.trim()))
            .ok_or_else(|| Refusal::of_status(401))
    }

    /// Counts the request, or refuses it.
    fn rate(&mut self, token: u64, now: Now) -> Result<(), Refusal> {
        let allowed = self.switches.rest_per_minute;
        let Some(token) = self.tokens.get_mut(token) else {
            return Err(Refusal::of_status(401));
        };
        if now.mono.since(token.window.0) >= RATE_WINDOW {
            token.window = (now.mono, 0);
        }
        let left = RATE_WINDOW.saturating_sub(now.mono.since(token.window.0));
        let reset = left.as_millis().div_ceil(1000) as u64;
        if token.window.1 >= allowed {
            self.ledger.rate_limited += 1;
            return Err(match self.switches.rate_retry_after {
                RateRetryAfter::With => Refusal {
                    headers: vec![("Retry-After".into(), reset.to_string())],
                    ..Refusal::new(
                        429,
                        "too.many.requests.retry.after",
                        format!(
                            "Rate limit exceeded the maximum. Retry the request in [{reset}] seconds"
                        ),
                    )
                },
                RateRetryAfter::Without => Refusal::new(
                    429,
                    "too.many.requests",
                    format!(
                        "Rate limit exceeded the maximum [{allowed}] requests within [60] seconds"
                    ),
                ),
            });
        }
        token.window.1 += 1;
        Ok(())
    }

    fn dispatch(
        &mut self,
        call: Call,
        request: &Request,
        parts: &Parts,
        segments: &[&str],
        token: u64,
        now: Now,
    ) -> Outcome {
        // The first two segments are `api` and `v2`.
        let at = |n: usize| segments.get(n).copied().unwrap_or("");
        match call {
            Call::ChannelCreate => self.post_channel(token, now),
            Call::ChannelList => self.list_channels(token, parts),
            Call::ChannelHead => self.head_channel(token, at(4)),
            Call::SubscriptionsGet => self.get_subscriptions(token, at(4)),
            Call::SubscriptionsPost | Call::SubscriptionsPut => {
                let replace = call == Call::SubscriptionsPut;
                self.write_subscriptions(token, at(4), request, parts, replace, now)
            }
            Call::SubscriptionsDelete => self.delete_subscriptions(token, at(4), now),
            Call::AvailableTopics => Ok(super::rest_notifications::available_topics(parts)),
            Call::TokenMe => Ok(self.token_info(token)),
            Call::UserMe => self.user_info(token),
            Call::TokenDelete => {
                self.end_token(token, "logout", now);
                Ok(Response::empty(200))
            }
            Call::TokensOfUser => self.delete_tokens_of(at(3), now),
            Call::TokenTimeout => Ok(self.token_timeout()),
            Call::ConversationList => Ok(self.list_conversations(token)),
            Call::Conversation => self.get_conversation(at(3)),
            Call::WrapUp if segments.len() == 7 => self.get_wrapup(at(3), at(5), None),
            Call::WrapUp => self.get_wrapup(at(4), at(6), Some((at(3), at(8)))),
            Call::AnalyticsDetails => self.analytics_many(parts, now),
            Call::AnalyticsOne => self.analytics_one(at(4), now),
            Call::AnalyticsQuery => self.analytics_query(&request.body, now),
            Call::Token | Call::Upgrade | Call::Unknown => Err(Refusal::not_found()),
        }
    }

    /// The failure that waits for the next upgrade, if one does.
    pub(super) fn refuse_upgrade(&mut self, now: Now) -> Option<Response> {
        *self.ledger.calls.entry(Call::Upgrade).or_default() += 1;
        let failure = self.faults.next_rest(Call::Upgrade)?;
        self.journal
            .add(now.wall, "upgrade-refused", None, || "fault".into());
        Some(match failed(failure, "") {
            Ok(response) => response,
            Err((name, value)) => {
                let mut response = Response::empty(503);
                response.headers.push((name.into(), value));
                response
            }
        })
    }
}

/// The answer of a failure in place of the call's own, or the mark to put on that.
fn failed(failure: RestFailure, context: &str) -> Result<Response, (&'static str, String)> {
    match failure {
        RestFailure::Status {
            status,
            code,
            retry_after,
        } => {
            let mut refusal = Refusal::of_status(status);
            if let (429, Some(after)) = (status, &retry_after) {
                refusal.code = "too.many.requests.retry.after".into();
                refusal.message = format!(
                    "Rate limit exceeded the maximum. Retry the request in [{after}] seconds"
                );
            }
            if let Some(code) = code {
                refusal.code = code;
            }
            let after = retry_after.map(|after| ("Retry-After".into(), after));
            refusal.headers.extend(after);
            Ok(refusal.into_response(context))
        }
        RestFailure::Html { status } => Ok(Response {
            status,
            headers: vec![("Content-Type".into(), "text/html".into())],
            body: format!("<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>").into_bytes(),
        }),
        RestFailure::Garbage => Ok(Response {
            status: 200,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: b"{\"id\": \"cut".to_vec(),
        }),
        RestFailure::Hang { applied: false } => {
            let mut response = Response::empty(200);
            response.headers.push((HANG_MARK.into(), "1".into()));
            Ok(response)
        }
        RestFailure::NoAnswer { applied: false } => {
            let mut response = Response::empty(200);
            response.headers.push((NO_ANSWER_MARK.into(), "1".into()));
            Ok(response)
        }
        RestFailure::Hang { applied: true } => Err((HANG_MARK, "1".into())),
        RestFailure::NoAnswer { applied: true } => Err((NO_ANSWER_MARK, "1".into())),
        RestFailure::Delay { delay_ms } => Err((DELAY_MARK, delay_ms.to_string())),
    }
}
