//! A receiver that stands in for the history manager: takes what the gateway
//! files, answers by a script, and counts what came twice.
//!
//! Invariant: a record is *filed* when its key was answered with 2xx or 409; a
//! key answered with 2xx again is a *duplicate*.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::connections::Reply;
use super::server::{Shared, hold};
use base::time::Wall;
use base::wire::{Request, Response};

/// Receipts kept; beyond it the oldest go, and are still counted.
const RECEIPTS: usize = 100_000;
/// Longest script.
const SCRIPT: usize = 10_000;

/// How some requests are answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Answer {
    /// Status of the answer.
    status: u16,
    /// `Retry-After` in seconds, or a date.
    retry_after: Option<String>,
    /// How late, in milliseconds of the platform's time.
    delay_ms: u64,
    /// The connection is closed without an answer.
    close: bool,
    /// Nothing is answered, and the connection kept.
    hang: bool,
    /// For how many requests.
    times: u64,
}

impl Default for Answer {
    fn default() -> Self {
        Answer {
            status: 201,
            retry_after: None,
            delay_ms: 0,
            close: false,
            hang: false,
            times: 1,
        }
    }
}

struct Receipt {
    at: Wall,
    key: Option<String>,
    status: Option<u16>,
    content_type: Option<String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    receipts: VecDeque<Receipt>,
    received: u64,
    filed: BTreeMap<String, u64>,
    duplicates: u64,
    without_key: u64,
}

/// The receiver.
#[derive(Default)]
pub(super) struct History(Mutex<State>);

impl History {
    /// Takes one filing and answers as the script says; 201 without a script.
    pub(super) fn receive(&self, request: &Request, shared: &Shared) -> Reply {
        let at = shared.now().wall;
        let key = request.header("idempotency-key").map(str::to_owned);
        let answer = {
            let mut state = hold(&self.0);
            let answer = state.next();
            let status = (!answer.close && !answer.hang).then_some(answer.status);
            state.note(Receipt {
                at,
                key,
                status,
                content_type: request.header("content-type").map(str::to_owned),
                body: request.body.clone(),
            });
            answer
        };
        if answer.delay_ms > 0 && !shared.sleep(Duration::from_millis(answer.delay_ms)) {
            return Reply::Drop;
        }
        if answer.close {
            return Reply::Drop;
        }
        if answer.hang {
            return Reply::Hang;
        }
        let mut response = Response::json(answer.status, &json!({}));
        if let Some(after) = answer.retry_after {
            response.headers.push(("Retry-After".into(), after));
        }
        Reply::Answer(response)
    }

    /// Adds to the script.
    pub(super) fn script(&self, body: &[u8]) -> Result<Value, String> {
        let answers: Vec<Answer> =
            serde_json::from_slice(body).map_err(|e| format!("not a list of answers: {e}"))?;
        let mut state = hold(&self.0);
        if state.script.len() + answers.len() > SCRIPT {
            return Err("the script is too long".into());
        }
        if answers.iter().any(|a| !(200..=599).contains(&a.status)) {
            return Err("a status is 200 to 599".into());
        }
        state
            .script
            .extend(answers.into_iter().filter(|a| a.times > 0));
        Ok(json!({"answers": state.script.len()}))
    }

    /// Everything, or without the bodies.
    pub(super) fn list(&self, bodies: bool) -> Value {
        let state = hold(&self.0);
        let mut out = json!({
            "received": state.received,
            "filed": state.filed.len(),
            "duplicates": state.duplicates,
            "withoutKey": state.without_key,
            "script": state.script.len(),
        });
        if bodies {
            out["receipts"] = state.receipts.iter().map(Receipt::json).collect();
        }
        out
    }

    /// Forgets receipts, counts and script.
    pub(super) fn clear(&self) {
        *hold(&self.0) = State::default();
    }
}

impl State {
    fn next(&mut self) -> Answer {
        let Some(first) = self.script.front_mut() else {
            return Answer::default();
        };
        let answer = first.clone();
        first.times -= 1;
        if first.times == 0 {
            self.script.pop_front();
        }
        answer
    }

    fn note(&mut self, receipt: Receipt) {
        self.received += 1;
        match &receipt.key {
            None => self.without_key += 1,
            Some(key) => {
                let taken = receipt.status.is_some_and(|s| (200..300).contains(&s));
                if taken || receipt.status == Some(409) {
                    let times = self.filed.entry(key.clone()).or_default();
                    if taken {
                        *times += 1;
                        self.duplicates += u64::from(*times > 1);
                    }
                }
            }
        }
        if self.receipts.len() >= RECEIPTS {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
    }
}

impl Receipt {
    fn json(&self) -> Value {
        // A body that is not JSON is shown as text.
        let body = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)));
        json!({
            "at": self.at.rfc3339(),
            "idempotencyKey": self.key,
            "status": self.status,
            "contentType": self.content_type,
            "body": body,
        })
    }
}
