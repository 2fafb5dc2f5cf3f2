//! What the page for Agent Desktop may ask besides reporting and reading: a token of its own, and
//! news of its conversations, for which it waits.
//!
//! A request for news is held on its own connection by the gate, and comes to a worker only once
//! there is something to read.
//!
//! Invariant: of a conversation that the asker may not read nothing is told, not even that it
//! has changed.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::auth;
use super::cors::Origins;
use super::exchange::{Exchange, Reply};
use super::page_tokens::PageTokens;
use super::view::{self, Told};
use crate::shell::board::{Board, Cursor, Waiting};
use crate::shell::gate::Held;
use crate::shell::port::{Port, RecordView};
use crate::shell::problem::Problem;
use base::foreign;
use base::ids::ConversationId;
use notifications::clock::Clock;

/// Conversations of one request.
const IDS_MAX: usize = 50;
/// Records of one conversation whose bodies are looked at, the newest.
const BODIES_MAX: usize = 50;
/// The longest that a request for news is held.
const HELD_MAX: Duration = Duration::from_secs(25);
/// How long the page waits before it asks again where its request could not be held.
const PAUSE_MS: u64 = 2000;

/// What the page may ask.
#[derive(Debug)]
pub struct DesktopSettings {
    /// Tokens of its own; none where the agent types an API token.
    pub tokens: Option<PageTokens>,
    /// Where changes are told.
    pub board: Arc<Board>,
}

/// See the [module](self).
pub(super) struct Desktop {
    pub(super) tokens: Option<PageTokens>,
    board: Arc<Board>,
}

/// Why news cannot be told: a fault of the request, or of the store.
pub(super) type Failed = Result<Problem, String>;

impl Desktop {
    pub(super) fn new(settings: DesktopSettings) -> Desktop {
        Desktop {
            tokens: settings.tokens,
            board: settings.board,
        }
    }

    /// A token for the page.
    pub(super) fn give_token(&self, x: &Exchange) -> Reply {
        let Some(tokens) = &self.tokens else {
            return Reply::empty(404);
        };
        match tokens.give(x, auth::bearer(x), Instant::now()) {
            Ok(given) => {
                let ends = Clock::new().now().wall + given.lifetime;
                let told = json!({
                    "token": given.token,
                    "expiresAt": ends.rfc3339(),
                    "expiresInSeconds": given.lifetime.as_secs(),
                });
                Reply::json(200, told.to_string())
            }
            Err(wait) => {
                let problem = Problem::new(
                    503,
                    "page-tokens-spent",
                    "No more tokens for this address at the moment",
                    "One address is given 60 tokens of the page in a minute.",
                );
                Reply::problem(&problem).retry_after(wait)
            }
        }
    }

    /// What the request waits for, if it has to wait.
    pub(super) fn hold(
        &self,
        x: &Exchange,
        may_read: impl Fn(ConversationId) -> bool,
        origins: &Origins,
    ) -> Option<Box<dyn Held>> {
        let conversations = ids(x).ok()?;
        let since = self.board.read(x.parameter("since")?)?;
        // That one may not be read is an answer, and no news of it would ever come.
        if !conversations.iter().all(|c| may_read(*c)) {
            return None;
        }
        let waiting = self.board.wait(conversations.clone(), since).ok()??;
        Some(Box::new(HeldNews {
            board: Arc::clone(&self.board),
            conversations,
            since,
            waiting,
            until: Instant::now() + HELD_MAX,
            fields: origins.fields(x.header("Origin")),
        }))
    }

    /// All that has changed since the cursor of the request; everything without one.
    pub(super) fn news(
        &self,
        x: &Exchange,
        may_read: impl Fn(ConversationId) -> bool,
        port: &dyn Port,
    ) -> Result<Reply, Failed> {
        let conversations = ids(x).map_err(Ok)?;
        let since = x.parameter("since").and_then(|text| self.board.read(text));
        // Before anything is read: what changes from now on is news the next time.
        let cursor = self.board.cursor();
        let mut told: Vec<Box<RawValue>> = Vec::new();
        let mut unreadable = 0;
        for conversation in conversations {
            let readable = may_read(conversation);
            unreadable += usize::from(!readable);
            if let Some(since) = since
                && readable
                && !self.board.has_changed(conversation, since)
            {
                continue;
            }
            let found = match readable {
                true => port.interaction(conversation).map_err(Err)?,
                false => None,
            };
            let text = match found {
                None => view::unknown(conversation),
                Some(mut found) => {
                    let skipped = found.records.len().saturating_sub(BODIES_MAX);
                    let mut of_records = vec![Told::default(); skipped];
                    for record in found.records.iter().skip(skipped) {
                        let record = port.record(record.record).map_err(Err)?;
                        of_records.push(record.map(|r| told_by(&r)).unwrap_or_default());
                    }
                    found.members = None;
                    view::news(&found, &of_records)
                }
            };
            // Written by us: it is JSON.
            told.extend(RawValue::from_string(text));
        }
        // A request that could not be held is not asked again at once, nor one that goes on naming
        // what it may not read.
        let pause = match since.is_some() && told.len() == unreadable {
            true => PAUSE_MS,
            false => 0,
        };
        Ok(reply(&self.board, cursor, &told, pause))
    }
}

fn reply(board: &Board, cursor: Cursor, told: &[Box<RawValue>], pause_ms: u64) -> Reply {
    let told = serde_json::to_string(told).unwrap_or_else(|_| String::from("[]"));
    let cursor = board.show(cursor);
    Reply::json(
        200,
        format!("{{\"cursor\":\"{cursor}\",\"conversations\":{told},\"pauseMs\":{pause_ms}}}"),
    )
}

/// The conversations that a request names, each once.
fn ids(x: &Exchange) -> Result<Vec<ConversationId>, Problem> {
    let bad =
        |detail: String| Problem::new(400, "bad-ids", "The ids are missing or invalid", detail);
    // Browsers escape the comma where a query is made of parts.
    let given = x.parameter("ids").unwrap_or_default();
    let given = given.replace("%2C", ",").replace("%2c", ",");
    let mut all = Vec::new();
    for text in given.split(',') {
        let id = text.parse().map_err(|_| {
            bad(String::from(
                "The parameter ids holds conversation ids, with commas between them.",
            ))
        })?;
        if !all.contains(&id) {
            all.push(id);
        }
        if all.len() > IDS_MAX {
            return Err(bad(format!(
                "The parameter ids holds {IDS_MAX} ids at most."
            )));
        }
    }
    Ok(all)
}

/// What the platform's own words say of who wrapped up, and how.
fn told_by(record: &RecordView) -> Told {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Event {
        user_id: serde_json::Value,
        participant_id: serde_json::Value,
        wrapup_code: serde_json::Value,
        wrapup_duration_ms: serde_json::Value,
    }
    if record.kind != "after-call-work" {
        return Told::default();
    }
    let event: Event = record
        .body
        .as_deref()
        .and_then(|body| foreign::value(body.as_bytes()))
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    Told {
        user_id: text(&event.user_id),
        participant_id: text(&event.participant_id),
        wrapup_code: text(&event.wrapup_code),
        wrapup_duration_ms: event.wrapup_duration_ms.as_u64(),
    }
}

/// A request that waits for news.
struct HeldNews {
    board: Arc<Board>,
    conversations: Vec<ConversationId>,
    since: Cursor,
    waiting: Waiting,
    until: Instant,
    /// What lets a page of another origin read the answer, if it may.
    fields: Vec<(&'static str, String)>,
}

impl HeldNews {
    fn empty(&self, pause_ms: u64) -> Reply {
        let now = self.board.cursor();
        // Asked afterwards: what came before `now` and was not told is seen here.
        let missed = |c: &ConversationId| self.board.has_changed(*c, self.since);
        let cursor = match self.conversations.iter().any(missed) {
            true => self.since,
            false => now,
        };
        let mut reply = reply(&self.board, cursor, &[], pause_ms);
        reply.headers.extend(self.fields.iter().cloned());
        reply
    }
}

impl Held for HeldNews {
    fn bell(&self) -> BorrowedFd<'_> {
        self.waiting.bell()
    }

    fn until(&self) -> Instant {
        self.until
    }

    fn nothing(&self) -> Reply {
        self.empty(0)
    }

    fn no_room(&self) -> Reply {
        self.empty(PAUSE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

    fn asked(query: &str) -> Exchange {
        Exchange {
            query: query.to_owned(),
            ..Exchange::default()
        }
    }

    #[test]
    fn ids_are_read_as_browsers_write_them_and_bounded() {
        let other = ID.replace("47", "48");
        let upper = ID.to_uppercase();
        for query in [
            format!("ids={ID},{other}"),
            format!("since=x&ids={ID}%2C{other}"),
            format!("ids={upper}%2c{other},{ID}"),
        ] {
            assert_eq!(ids(&asked(&query)).unwrap().len(), 2, "{query}");
        }
        let many = |n: usize| {
            let all: Vec<_> = (0..n)
                .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
                .collect();
            format!("ids={}", all.join(","))
        };
        assert_eq!(ids(&asked(&many(50))).unwrap().len(), 50);
        for bad in [
            many(51),
            String::new(),
            String::from("ids="),
            format!("ids={ID},"),
            format!("ids={ID};{other}"),
            format!("ids={ID}%20"),
            String::from("ids=x"),
        ] {
            assert_eq!(ids(&asked(&bad)).unwrap_err().status, 400, "{bad}");
        }
    }
}
