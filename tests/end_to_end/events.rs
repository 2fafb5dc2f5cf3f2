//! Events over HTTP beside the WebSocket, and what odd text in any of it does.

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Setup, http, never_within};
use std::collections::BTreeSet;
use std::time::Duration;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn guarded(setup: &mut Setup) {
    setup.write("tokens", "a-token-of-the-test-0123456789\n");
    setup.set("http", "api-tokens-file = \"./tokens\"");
}

fn accept(gateway: &Gateway, id: &str) {
    let body = json!({"conversationId": id}).to_string();
    let headers = [
        JSON,
        ("Authorization", "Bearer a-token-of-the-test-0123456789"),
    ];
    http::call("POST", &gateway.interactions(), &headers, Some(&body)).expect(202);
}

fn send(gateway: &Gateway, body: &str) -> String {
    let url = format!("{}/events/after-call-work", gateway.intake);
    let headers = [
        JSON,
        ("Authorization", "Bearer a-token-of-the-test-0123456789"),
    ];
    let answer = http::call("POST", &url, &headers, Some(body)).expect(202);
    answer.json()["outcome"].as_str().unwrap().to_owned()
}

fn interaction(gateway: &Gateway, id: &str) -> Value {
    let headers = [("Authorization", "Bearer a-token-of-the-test-0123456789")];
    http::call("GET", &gateway.interaction_url(id), &headers, None)
        .expect(200)
        .json()
}

fn wait_watching(gateway: &Gateway, id: &str) {
    crate::support::wait_for(
        "it to be watched",
        || match interaction(gateway, id)["state"].as_str() {
            Some("watching") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

/// The event of the n-th wrap-up of a conversation, as the platform would have sent it.
fn event_of(platform: &Platform, id: &str, n: usize) -> Value {
    let w = platform.wrap_ups(id).swap_remove(n);
    json!({"eventTime": w.event_time.0, "conversationId": id, "participantId": w.participant.to_string(),
        "sessionId": w.session.to_string(), "wrapupCode": w.code})
}

#[test]
fn an_event_both_ways_is_one_record_in_either_order_and_over_a_kill() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    guarded(&mut setup);
    let mut gateway = setup.start();
    // Over the WebSocket first.
    let first = platform.conversation_with(json!({"agents": 2}));
    accept(&gateway, &first);
    wait_watching(&gateway, &first);
    platform.act(&first, "wrap-up", json!({"leg": 0}));
    history.wait_filed(&first, 1);
    let event = event_of(&platform, &first, 0);
    assert_eq!(send(&gateway, &event.to_string()), "known");
    // Else it is posted once more after the kill, under the same key.
    let state = || interaction(&gateway, &first)["records"][0]["state"].clone();
    crate::support::wait_for("it to be delivered", || match state() {
        state if state == "delivered" => Ok(()),
        other => Err(other.to_string()),
    });
    gateway.kill9();
    let gateway = setup.start();
    assert_eq!(
        send(
            &gateway,
            &json!({"detail": {"eventBody": event}}).to_string()
        ),
        "known"
    );
    // Over HTTP first: the platform announces nothing of it for a while.
    platform.switch("event-delivery", "delay");
    platform.switch("event-fault-delay-ms", "3000");
    let second = platform.conversation_with(json!({"agents": 2}));
    accept(&gateway, &second);
    wait_watching(&gateway, &second);
    platform.act(&second, "wrap-up", json!({"leg": 0}));
    assert_eq!(
        send(&gateway, &event_of(&platform, &second, 0).to_string()),
        "taken"
    );
    history.wait_filed(&second, 1);
    assert_eq!(
        send(&gateway, &event_of(&platform, &second, 0).to_string()),
        "known"
    );
    never_within(Duration::from_secs(5), "a second record", || {
        history.filed_of(&second).len() > 1 || history.filed_of(&first).len() > 1
    });
    assert!(history.filed().values().all(|n| *n == 1));
}

#[test]
fn events_that_nobody_reported_are_counted_or_filed_with_an_empty_interaction() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    guarded(&mut setup);
    let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
    let event =
        json!({"eventTime": 1_767_886_512_345_i64, "conversationId": id, "participantId": "p",
        "sessionId": "s", "wrapupCode": "c"})
        .to_string();
    let mut gateway = setup.start();
    assert_eq!(send(&gateway, &event), "unreported");
    crate::support::wait_for("it to be counted", || {
        let metrics = gateway.metrics();
        let line = metrics.lines().find(|l| l.contains("\"unreported\""));
        match line {
            Some(line) if line.ends_with(" 1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    gateway.sigterm();
    setup.set("tracking", "unreported = \"file\"");
    let gateway = setup.start();
    assert_eq!(send(&gateway, &event), "taken");
    let filed = history.wait_filed(id, 1);
    let body = filed[0].json();
    assert_eq!(body["interaction"], json!({}));
    assert_eq!(body["afterCallWork"]["wrapupCode"], "c");
    assert_eq!(send(&gateway, &event), "known");
    // Reported afterwards: it is the same wrap-up.
    accept(&gateway, id);
    assert_eq!(send(&gateway, &event), "known");
    assert_eq!(
        interaction(&gateway, id)["records"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_wrap_up_tagged_on_a_callback_and_its_call_is_filed_once() {
    let (platform, history) = (
        Platform::switched(&[("callback-wrapup", "two-events")]),
        History::start(),
    );
    let mut setup = Setup::new(&platform, &history);
    guarded(&mut setup);
    let mut gateway = setup.start();
    let callback = || platform.conversation_with(json!({"agents": 2, "media": "callback"}));
    let announced = callback();
    let missed = callback();
    for id in [&announced, &missed] {
        accept(&gateway, id);
        wait_watching(&gateway, id);
    }
    platform.act(&announced, "wrap-up", json!({"leg": 0}));
    history.wait_filed(&announced, 1);
    // REST shows it on both, and the gateway has to look after it was away.
    gateway.kill9();
    platform.act(&missed, "wrap-up", json!({"leg": 0}));
    let gateway = setup.start();
    history.wait_filed(&missed, 1);
    // The call's event by another way, after all that.
    let mut event = event_of(&platform, &announced, 0);
    event["mediaType"] = json!("VOICE");
    event["sessionId"] = json!("e40c7d15-2b8f-4f63-a1d9-7735c0f68e21");
    event["wrapupNotes"] = json!("");
    assert_eq!(send(&gateway, &event.to_string()), "known");
    // One that was filed and not yet noted at the kill comes again, under its key.
    let keys = |id: &str| {
        let filed = history.filed_of(id);
        let keys: BTreeSet<_> = filed.iter().map(|r| r.key().to_owned()).collect();
        keys.len()
    };
    never_within(Duration::from_secs(3), "a second record", || {
        keys(&announced) > 1 || keys(&missed) > 1
    });
}
