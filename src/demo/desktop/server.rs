//! The simulated desktop's own server: its files, and what its agents tell the platform.
//!
//! Invariant: nothing here is done for a page of another origin, or under a name that is not
//! this machine's.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::receiver::{Book, Mood};
use super::people::{Agent, Medium, People};
use crate::shell::http::assets::Pages;
use crate::shell::http::exchange::{Exchange, Reply};
use crate::shell::http::host;
use crate::shell::http::served::Handler;
use crate::shell::problem::Problem;
use base::ids::ConversationId;
use base::time::Wall;
use simulator::ControlError;

/// Records that `GET /history` shows.
const SHOWN_MAX: usize = 200;
const CONVERSATIONS: &str = "/platform/conversations";

/// What the server answers from.
pub(super) struct Desktop {
    pub(super) pages: Pages,
    pub(super) setup: String,
    pub(super) people: People,
    pub(super) history: Book,
    pub(super) mood: Arc<Mutex<Mood>>,
}

/// The body of `GET /setup.json`.
pub(super) fn setup(intake: &str, desktop: &str) -> String {
    json!({
        "pageUrl": format!("{intake}/agent-desktop/"),
        "desktopOrigin": desktop,
        "agents": Agent::NAMES,
    })
    .to_string()
}

#[derive(Deserialize)]
struct Begin {
    media: Medium,
    agent: Agent,
}

#[derive(Deserialize)]
struct Transfer {
    agent: Agent,
}

#[derive(Deserialize)]
struct End {
    agent: Option<Agent>,
}

#[derive(Deserialize)]
struct WrapUp {
    agent: Option<Agent>,
    code: Option<String>,
    notes: Option<String>,
}

#[derive(Deserialize)]
struct History {
    mood: Mood,
}

impl Handler for Desktop {
    fn at_head(&self, x: &Exchange) -> Option<Reply> {
        host::refuse_stranger(x).or_else(|| {
            let foreign = !self.pages.has(&x.path) && !is_own(x);
            foreign.then(|| {
                problem(
                    403,
                    "forbidden",
                    "Only the desktop's own page may ask this.",
                )
            })
        })
    }

    fn answer(&self, x: &Exchange) -> Reply {
        let get = x.is_get();
        let post = x.method == "POST";
        match x.path.as_str() {
            path if get && self.pages.has(path) => {
                self.pages.reply(path, x).unwrap_or_else(nowhere)
            }
            "/setup.json" if get => Reply::json(200, self.setup.clone()),
            "/history" if get => Reply::json(200, self.filed().to_string()),
            "/history" if post => with(x, |asked: History| {
                *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = asked.mood;
                Ok(json!({}))
            }),
            CONVERSATIONS if post => with(x, |asked: Begin| {
                self.people.begin(asked.media, asked.agent)
            }),
            path if post => match act(path) {
                Some((id, "transfer")) => {
                    with(x, |asked: Transfer| self.people.transfer(id, asked.agent))
                }
                Some((id, "end")) => with(x, |asked: End| self.people.end(id, asked.agent)),
                Some((id, "wrapup")) => with(x, |asked: WrapUp| {
                    self.people
                        .wrap_up(id, asked.agent, asked.code, asked.notes)
                }),
                _ => nowhere(),
            },
            _ => nowhere(),
        }
    }
}

impl Desktop {
    /// What the history receiver got, newest last.
    fn filed(&self) -> Value {
        let book = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = book.iter().collect();
        all.sort_by_key(|(_, filed)| filed.received);
        let first = all.len().saturating_sub(SHOWN_MAX);
        let shown = all.iter().skip(first).map(|(key, filed)| {
            json!({
                "recordId": key,
                "conversationId": filed.wrap_up.0,
                "receivedAt": Wall(filed.received).rfc3339(),
            })
        });
        shown.collect()
    }
}

/// Whether a request comes from the desktop's own page, or from no page at all.
fn is_own(x: &Exchange) -> bool {
    let site = x.header("Sec-Fetch-Site");
    let origin = x.header("Origin");
    let named = x.header("Host").map(|host| format!("http://{host}"));
    site.is_none_or(|site| site == "same-origin" || (site == "none" && x.is_get()))
        && origin.is_none_or(|origin| named.is_some_and(|own| own.eq_ignore_ascii_case(origin)))
}

/// Conversation and act of `/platform/conversations/{id}/{act}`.
fn act(path: &str) -> Option<(ConversationId, &str)> {
    let rest = path.strip_prefix(CONVERSATIONS)?.strip_prefix('/')?;
    let (id, act) = rest.split_once('/')?;
    Some((id.parse().ok()?, act))
}

fn with<T: DeserializeOwned>(
    x: &Exchange,
    then: impl FnOnce(T) -> Result<Value, ControlError>,
) -> Reply {
    let body: &[u8] = match x.body.as_slice() {
        b"" => b"{}",
        body => body,
    };
    let asked = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(e) => return problem(400, "bad-request", &format!("The body does not fit: {e}.")),
    };
    match then(asked) {
        Ok(done) => Reply::json(200, done.to_string()),
        Err(e) => {
            let (status, kind) = match e {
                ControlError::NotFound(_) => (404, "unknown"),
                ControlError::Invalid(_) => (400, "bad-request"),
                ControlError::Conflict(_) => (409, "conflict"),
                ControlError::Full(_) => (503, "full"),
            };
            problem(status, kind, &e.to_string())
        }
    }
}

fn nowhere() -> Reply {
    problem(404, "unknown", "There is nothing under this path.")
}

fn problem(status: u16, kind: &'static str, detail: &str) -> Reply {
    Reply::problem(&Problem::new(
        status,
        kind,
        "The desktop simulator did not do this",
        detail,
    ))
}
