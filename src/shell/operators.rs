//! The operators' listener: health, readiness, metrics, status, the status page,
//! and acts on records (design, section 3). Its gate and its worker are its own,
//! so that a stuck intake cannot blind the operator.
//!
//! Without tokens it is for this machine alone. A browser on this machine is then
//! the way in for strangers' pages, so a request that names another host (a name
//! made to point here) or comes from another origin is refused.
//!
//! Invariant: no answer here has a body of a record except `GET /records/{id}`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::gate::{GateLimits, Listener};
use super::http::answers::{busy, outcome_unknown, unreadable, wrong_method};
use super::http::assets::Pages;
use super::http::auth::Tokens;
use super::http::cors::Origins;
use super::http::exchange::{Exchange, Reply};
use super::http::host;
use super::http::served::{Handler, Served, ServedSettings};
use super::http::view;
use super::port::{Act, Answer, CallerRequest, Health, Port};
use super::problem::{self, Problem};
use base::ids::RecordId;
use notifications::seldom::Seldom;

/// Records in a list when the request names no number.
pub const RECORDS_DEFAULT: usize = 1000;
/// The most records in a list.
pub const RECORDS_MAX: usize = 10_000;

const RECORD_STATES: [&str; 6] = [
    "queued",
    "delivered",
    "deferred",
    "dead",
    "held",
    "discarded",
];

/// What the operators' listener needs to start.
#[derive(Debug)]
pub struct OperatorsSettings {
    /// The listener, bound already.
    pub listener: Listener,
    /// The tokens of operators; none means that the listener is for this machine alone.
    pub tokens: Option<Tokens>,
    /// The status page and what belongs to it; its path is `/`.
    pub pages: Pages,
    /// See [`ServedSettings::private_parent`].
    pub private_parent: Option<PathBuf>,
}

/// The bounds of the operators' gate: few connections, small bodies.
#[must_use]
pub fn limits() -> GateLimits {
    GateLimits {
        connections: 64,
        per_peer: 32,
        reserved: 4,
        in_flight: 16,
        body_bytes: 1024,
        length_required: false,
        hostless: &["/healthz", "/readyz"],
        ..GateLimits::default()
    }
}

/// Starts the operators' listener.
///
/// # Errors
/// The environment: no directory, socket or thread.
pub fn start(settings: OperatorsSettings, port: Arc<dyn Port>) -> io::Result<Served> {
    let handler: Arc<dyn Handler> = Arc::new(Operators {
        tokens: settings.tokens,
        pages: settings.pages,
        port,
        complaints: Seldom::new(Duration::from_secs(60)),
    });
    let served = ServedSettings {
        listener: settings.listener,
        // It stays plain: it is for this machine, or for who reads metrics beside it.
        tls: None,
        name: "status",
        limits: limits(),
        workers: limits().in_flight,
        private_parent: settings.private_parent,
        origins: Origins::default(),
    };
    Served::start(served, &handler)
}

struct Operators {
    tokens: Option<Tokens>,
    pages: Pages,
    port: Arc<dyn Port>,
    complaints: Seldom,
}

enum Route<'a> {
    Metrics,
    Status,
    Records,
    Record(&'a str),
    Act(&'a str, Act),
    Page(&'a str),
}

impl Handler for Operators {
    fn at_head(&self, x: &Exchange) -> Option<Reply> {
        self.judge(x).err()
    }

    fn answer(&self, x: &Exchange) -> Reply {
        match self.judge(x) {
            Ok(route) => self.follow(&route, x),
            Err(reply) => reply,
        }
    }
}

impl Operators {
    fn find<'x>(&self, x: &'x Exchange) -> Option<Route<'x>> {
        match x.path.as_str() {
            "/metrics" => Some(Route::Metrics),
            "/status" => Some(Route::Status),
            "/records" => Some(Route::Records),
            path => match path.strip_prefix("/records/") {
                Some(rest) => match rest.split_once('/') {
                    None => Some(Route::Record(rest)),
                    Some((id, word)) => Act::parse(word).map(|act| Route::Act(id, act)),
                },
                None => self.pages.has(path).then_some(Route::Page(path)),
            },
        }
    }

    /// Strangers, paths, methods: all that the head tells. What is not to go on is
    /// answered; so is health, whatever the workers do.
    fn judge<'x>(&self, x: &'x Exchange) -> Result<Route<'x>, Reply> {
        let probed = match x.path.as_str() {
            "/healthz" => Some(self.port.health()),
            "/readyz" => Some(self.port.ready()),
            _ => None,
        };
        let found = self.find(x);
        if let Some(refusal) = self.refuse(found.as_ref(), probed.is_some(), x) {
            return Err(refusal);
        }
        match (probed, found) {
            (None, None) => Err(nowhere()),
            (None, Some(Route::Act(..))) if x.method != "POST" => Err(wrong_method("POST")),
            (None, Some(route @ Route::Act(..))) => Ok(route),
            _ if !x.is_get() => Err(wrong_method("GET, HEAD")),
            (Some(found), _) => Err(health(&found)),
            (None, Some(route)) => Ok(route),
        }
    }

    fn follow(&self, route: &Route<'_>, x: &Exchange) -> Reply {
        match route {
            Route::Act(id, act) => match id.parse() {
                Ok(record) => self.act(record, *act),
                Err(_) => unknown_record(),
            },
            Route::Metrics => Reply::new(
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                self.port.metrics().into_bytes(),
            ),
            Route::Status => Reply::json(200, self.port.status_json()),
            Route::Page(path) => self.pages.reply(path, x).unwrap_or_else(nowhere),
            Route::Records => self.list(x),
            Route::Record(id) => match id.parse() {
                Ok(record) => self.show(record),
                Err(_) => unknown_record(),
            },
        }
    }

    /// Strangers: without a token where one is needed, or led here by a page. The
    /// page itself holds nothing of anybody and asks for the token: a browser that
    /// opens it cannot send one.
    fn refuse(&self, route: Option<&Route<'_>>, probe: bool, x: &Exchange) -> Option<Reply> {
        match &self.tokens {
            Some(_) if matches!(route, Some(Route::Page(_))) && x.is_get() => {}
            Some(tokens) => {
                if let Some(refusal) = tokens.refuse(x) {
                    return Some(refusal);
                }
            }
            None => {
                // A load balancer's probe names no host, and no browser leaves it out.
                let hostless = probe && x.header("Host").is_none();
                if !hostless && let Some(refusal) = host::refuse_stranger(x) {
                    return Some(refusal);
                }
            }
        }
        let from_page = x.header("Sec-Fetch-Site").is_some_and(|site| {
            !site.eq_ignore_ascii_case("same-origin") && !site.eq_ignore_ascii_case("none")
        });
        if !x.is_get() && (from_page || !same_origin(x)) {
            return Some(forbidden("A page of another origin may not act here."));
        }
        None
    }

    fn act(&self, record: RecordId, act: Act) -> Reply {
        match self.port.ask(CallerRequest::Act { record, act }) {
            Answer::Record {
                record,
                state,
                attempts,
                last_error,
            } => {
                // What the act made of it is in the answer; a look into the store may find
                // what happened since, and gives what does not change.
                if let Ok(Some(mut found)) = self.port.record(record) {
                    if found.state != state.label() {
                        (found.delivered_at, found.next_try) = (None, None);
                    }
                    found.state = state.label().to_owned();
                    found.attempts = attempts;
                    found.last_error = last_error;
                    found.body = None;
                    return Reply::json(200, view::one_record(&found));
                }
                let mut body = serde_json::json!({
                    "recordId": record.to_string(),
                    "state": state.label(),
                    "attempts": attempts,
                });
                if let (Some(error), Some(object)) = (last_error, body.as_object_mut()) {
                    let error = notifications::redaction::foreign(&error);
                    object.insert(String::from("lastError"), error.into());
                }
                Reply::json(200, body.to_string())
            }
            Answer::NotFound => unknown_record(),
            Answer::WrongState { state } => Reply::problem(&Problem::new(
                409,
                "wrong-state",
                "The act does not fit the state of the record",
                format!("The record is {state}; {} is not possible from there.", act),
            )),
            Answer::Busy {
                retry_after,
                detail,
            } => busy(retry_after, &detail),
            Answer::Unknown => outcome_unknown(),
            _ => {
                log::error!("an operator was given an answer to a caller");
                Reply::problem(&Problem::new(
                    500,
                    "internal",
                    "Internal error",
                    "The answer could not be formed. This is a fault of the gateway.",
                ))
            }
        }
    }

    fn show(&self, record: RecordId) -> Reply {
        match self.port.record(record) {
            Ok(Some(found)) => Reply::json(200, view::one_record(&found)),
            Ok(None) => unknown_record(),
            Err(e) => unreadable(&e, &self.complaints),
        }
    }

    fn list(&self, x: &Exchange) -> Reply {
        let state = x.parameter("state").filter(|s| !s.is_empty());
        if let Some(state) = state
            && !RECORD_STATES.contains(&state)
        {
            return bad_query(&format!("state is one of {}", RECORD_STATES.join(", ")));
        }
        let limit = match x.parameter("limit").map(str::parse::<usize>) {
            None => RECORDS_DEFAULT,
            Some(Ok(n)) if (1..=RECORDS_MAX).contains(&n) => n,
            Some(_) => return bad_query(&format!("limit is a number from 1 to {RECORDS_MAX}")),
        };
        match self.port.records(state, limit) {
            Ok(found) => Reply::json(200, view::many_records(&found)),
            Err(e) => unreadable(&e, &self.complaints),
        }
    }
}

/// Not well is an error answer, hence a problem, with `ok` and `reasons` besides.
fn health(health: &Health) -> Reply {
    let mut body = serde_json::json!({"ok": health.ok, "reasons": health.reasons});
    if health.ok {
        return Reply::json(200, body.to_string());
    }
    let problem = Problem::new(503, "not-well", "Not well", health.reasons.join("; "));
    if let (Some(body), Ok(serde_json::Value::Object(members))) = (
        body.as_object_mut(),
        serde_json::from_slice(&problem.body()),
    ) {
        body.extend(members);
    }
    Reply::new(503, problem::CONTENT_TYPE, body.to_string().into_bytes())
}

fn unknown(detail: &str) -> Reply {
    Reply::problem(&Problem::new(404, "unknown", "Not found", detail))
}

fn nowhere() -> Reply {
    unknown("There is nothing under this path.")
}

fn unknown_record() -> Reply {
    unknown("No record with this id is known here.")
}

fn forbidden(detail: &str) -> Reply {
    Reply::problem(&Problem::new(403, "forbidden", "Not from here", detail))
}

fn bad_query(rule: &str) -> Reply {
    Reply::problem(&Problem::new(
        400,
        "bad-query",
        "The query is not understood",
        format!("In the query, {rule}."),
    ))
}

/// Whether a request has no origin (it is not from a page), or that of this listener.
fn same_origin(x: &Exchange) -> bool {
    let Some(origin) = x.header("Origin") else {
        return true;
    };
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match (authority, x.header("Host")) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}
