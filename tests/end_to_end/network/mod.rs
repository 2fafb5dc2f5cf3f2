//! Networks as they are, not as they should be: refused upgrades, middleboxes, proxies,
//! certificates, names, odd text, and what an operator does about it. What stands in between
//! is `tests/support/middlebox.rs`.

mod causes;
mod odd_text;
pub(crate) mod places;
mod refused;
mod rotation;

use crate::support::{Gateway, History, Middlebox, Platform, Setup, wait_for};
use serde_json::{Value, json};
use simulator::model::Call;

/// All that the platform says comes through the middlebox, over REST and the WebSocket.
fn between(platform: &Platform, history: &History) -> (Middlebox, Setup) {
    let middle = Middlebox::before(&platform.0.api_url, None, |_| {});
    let here = format!("127.0.0.1:{}", middle.port);
    middle.turn(|m| m.streaming = Some(format!("ws://{here}")));
    let mut setup = Setup::new(platform, history);
    setup.set("genesys", &format!("api-url = \"http://{here}\""));
    (middle, setup)
}

/// How often the platform got that call.
fn asked(platform: &Platform, call: Call) -> u64 {
    let model = platform.0.model();
    let truth = model.platform().truth();
    truth.ledger().calls.get(&call).copied().unwrap_or(0)
}

/// Accepted and on a channel.
fn watched(platform: &Platform, gateway: &Gateway) -> String {
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    id
}

/// A conversation from its acceptance to its filing, announced over the WebSocket.
fn works(platform: &Platform, history: &History, gateway: &Gateway) {
    let id = watched(platform, gateway);
    platform.act(&id, "finish", json!({}));
    let filed = history.wait_filed(&id, 1).remove(0).json();
    assert_eq!(filed["source"], "notification");
    gateway.wait_state(&id, "finished");
}

/// The status, once one of its reasons has all these words.
fn wait_reason(gateway: &Gateway, words: &[&str]) -> Value {
    wait_for(&format!("a reason with {words:?}"), || {
        let status = gateway.status();
        let reasons = status["reasons"].as_array().unwrap();
        let has = |reason: &Value| words.iter().all(|w| reason.as_str().unwrap().contains(w));
        match reasons.iter().any(has) {
            true => Ok(status),
            false => Err(status["reasons"].to_string()),
        }
    })
}
