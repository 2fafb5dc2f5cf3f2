//! What callers may do besides reporting an interaction once: ask, stop, repeat,
//! send more members, hand in results; and what is erased after them.

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Reply, Setup, all, http, never_within, wait_for};
use std::time::Duration;

fn stop(gateway: &Gateway, id: &str) -> http::Answer {
    http::call("DELETE", &gateway.interaction_url(id), &[], None)
}

fn finish(platform: &Platform, id: &str) {
    platform.act(id, "finish", json!({}));
}

fn results(gateway: &Gateway) -> String {
    format!("{}/customers/supportResult", gateway.intake)
}

#[test]
fn a_stopped_interaction_is_given_up_and_what_was_taken_is_still_filed() {
    let (platform, history, _setup, gateway) = all();
    history.always(Reply::Status(503));
    let id = platform.conversation_with(json!({"agents": 2}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "wrap-up", json!({"leg": 0}));
    history.wait_receipts(1);
    let said = stop(&gateway, &id).expect(202).json();
    assert_eq!(said["state"], "stopped");
    wait_for("the topic to be given up", || {
        if platform.has_topic(&id) {
            Err("it is there")
        } else {
            Ok(())
        }
    });
    platform.act(&id, "wrap-up", json!({"leg": 1}));
    history.always(None);
    history.wait_filed(&id, 1);
    let stopped = gateway.wait_state(&id, "stopped");
    assert_eq!(stopped["reason"]["code"], "stopped");
    assert_eq!(stopped["records"].as_array().unwrap().len(), 1);
    assert_eq!(stop(&gateway, &id).expect(200).json()["state"], "stopped");
    let nobody = "00000000-0000-4000-8000-000000000000";
    stop(&gateway, nobody).expect(404);
    stop(&gateway, "not-a-uuid").expect(404);
    http::get(&gateway.interaction_url(nobody)).expect(404);
}

#[test]
fn stopping_says_why_the_interaction_ended_each_time() {
    let (platform, _history, _setup, gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    assert_eq!(
        stop(&gateway, &id).expect(202).json()["reason"]["code"],
        "stopped"
    );
    assert_eq!(
        stop(&gateway, &id).expect(200).json()["reason"]["code"],
        "stopped"
    );
    let other = platform.conversation();
    gateway.accept(&other).expect(202);
    gateway.wait_state(&other, "watching");
    finish(&platform, &other);
    gateway.wait_state(&other, "finished");
    let ended = stop(&gateway, &other).expect(200).json();
    assert_eq!(ended["reason"]["code"], "conversation-finished");
    let detail = ended["reason"]["detail"].as_str().unwrap();
    assert!(detail.ends_with("; 1 record taken"), "{detail}");
}

#[test]
fn stopping_before_the_channel_is_there_leaves_nothing_watched() {
    let (platform, history) = (Platform::start(), History::start());
    platform.fault(
        json!({"fault": "fail-rest", "call": "channel-create", "times": 2,
        "failure": {"with": "status", "status": 500}}),
    );
    let gateway = Setup::new(&platform, &history).start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    stop(&gateway, &id).expect(202);
    let other = platform.conversation();
    gateway.accept(&other).expect(202);
    gateway.wait_state(&other, "watching");
    assert_eq!(gateway.interaction(&id)["state"], "stopped");
    assert!(!platform.has_topic(&id));
}

#[test]
fn repeating_a_live_interaction_merges_and_records_keep_what_they_had() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation_with(json!({"agents": 2}));
    let post = |members: Value| {
        let mut body = members;
        body["conversationId"] = json!(id);
        http::post_json(&gateway.interactions(), &body.to_string())
    };
    post(json!({"a": 1, "b": {"x": 1, "y": 2}})).expect(202);
    gateway.wait_state(&id, "watching");
    history.always(Reply::Status(503));
    platform.act(&id, "wrap-up", json!({"leg": 0}));
    history.wait_receipts(1);
    let said = post(json!({"b": {"z": 3}, "c": null})).expect(200).json();
    assert_eq!(said["state"], "settling");
    let merged = json!({"a": 1, "b": {"z": 3}, "c": null});
    assert_eq!(gateway.interaction(&id)["interaction"], merged);
    history.always(None);
    let first = history.wait_filed(&id, 1).remove(0).json();
    assert_eq!(first["interaction"], json!({"a": 1, "b": {"x": 1, "y": 2}}));
    finish(&platform, &id);
    let second = history.wait_filed(&id, 2).remove(1).json();
    assert_eq!(second["interaction"], merged);
}

#[test]
fn members_that_would_grow_too_large_are_refused_and_the_rest_stays() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("http", "max-body = \"4MiB\"");
    let gateway = setup.start();
    let id = platform.conversation();
    let with = |key: &str, bytes: usize| {
        let body = json!({"conversationId": id, key: "x".repeat(bytes)}).to_string();
        http::post_json(&gateway.interactions(), &body)
    };
    with("a", 4_000_000).expect(202);
    let refused = with("b", 400_000).expect(413);
    assert!(refused.text.contains("4194304 bytes"), "{}", refused.text);
    // As much as fits goes on being merged, and read.
    with("c", 100_000).expect(200);
    with("a", 4_100_000).expect(413);
    let shown = gateway.interaction(&id);
    assert_eq!(shown["interaction"]["a"].as_str().unwrap().len(), 4_000_000);
    assert_eq!(shown["interaction"]["c"].as_str().unwrap().len(), 100_000);
    assert!(shown["interaction"].get("b").is_none());
    assert!(!gateway.log().contains("defect"), "{}", gateway.log());
    finish(&platform, &id);
    history.wait_filed(&id, 1);
}

#[test]
fn repeating_an_ended_interaction_starts_it_again_and_files_nothing_twice() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    finish(&platform, &id);
    history.wait_filed(&id, 1);
    let first = gateway.wait_state(&id, "finished");
    gateway.accept(&id).expect(202);
    let second = wait_for("it to finish again", || {
        let seen = gateway.interaction(&id);
        if seen["state"] == "finished" && seen["finishedAt"] != first["finishedAt"] {
            Ok(seen)
        } else {
            Err(seen)
        }
    });
    assert_eq!(second["records"], first["records"]);
    assert_eq!(history.receipts().len(), 1);
}

#[test]
fn a_support_result_is_filed_through_the_same_outbox() {
    let (_platform, history, _setup, gateway) = all();
    let url = results(&gateway);
    let id = "7C1F4B9E-5D0A-4C58-9A3E-2F6B8D1E0C47";
    let body = format!(r#"{{"conversationId":"{id}","amount":12345678901234567890.10,"ok":true}}"#);
    let said = http::post_json(&url, &body).expect(202).json();
    let record = said["recordId"].as_str().unwrap().to_owned();
    assert_eq!(said["state"], "queued");
    let filed = history.wait_receipts(1).remove(0);
    assert_eq!(filed.key(), record);
    let sent = filed.json();
    assert_eq!(sent["recordId"], record.as_str());
    assert_eq!(sent["kind"], "support-result");
    assert_eq!(sent["source"], "support-result");
    assert_eq!(sent["conversationId"], id.to_ascii_lowercase());
    assert!(sent["receivedAt"].is_string());
    assert_eq!(sent.as_object().unwrap().len(), 6, "{sent}");
    assert!(
        filed.body.contains(&format!(r#""result":{body}"#)),
        "{}",
        filed.body
    );

    // Without a conversation, and without a key: each is one of its own.
    let again = http::post_json(&url, r#"{"n":1}"#).expect(202).json();
    let and_again = http::post_json(&url, r#"{"n":1}"#).expect(202).json();
    assert_ne!(again["recordId"], and_again["recordId"]);
    let all = history.wait_receipts(3);
    assert!(all[1].json().get("conversationId").is_none());

    let refused = http::post_json(&url, r#"{"conversationId":7}"#).expect(400);
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(refused.json()["errors"][0]["pointer"], "/conversationId");
    http::post_json(&url, "[1]").expect(422);
    assert_eq!(history.receipts().len(), 3);
}

#[test]
fn a_support_result_with_a_key_is_taken_once() {
    let (_platform, history, _setup, gateway) = all();
    let url = results(&gateway);
    let post = |key: &str, body: &str| http::post_keyed(&url, key, body);
    let first = post("key-1", r#"{"n":1}"#).expect(202).json();
    history.wait_receipts(1);
    let again = wait_for("the first record to be delivered", || {
        let again = post("key-1", r#"{"n":1}"#).expect(202).json();
        if again["state"] == "delivered" {
            Ok(again)
        } else {
            Err(again)
        }
    });
    assert_eq!(again["recordId"], first["recordId"]);
    let conflict = post("key-1", r#"{"n":2}"#).expect(422);
    assert_eq!(
        conflict.header("content-type"),
        Some("application/problem+json")
    );
    let other = post("key-2", r#"{"n":1}"#).expect(202).json();
    assert_ne!(other["recordId"], first["recordId"]);
    let keys: Vec<String> = history
        .wait_receipts(2)
        .iter()
        .map(|r| r.key().to_owned())
        .collect();
    assert_eq!(
        keys,
        [&first, &other].map(|r| r["recordId"].as_str().unwrap())
    );
}

#[test]
fn many_callers_with_one_key_at_once_make_one_record() {
    let (_platform, history, _setup, gateway) = all();
    let url = results(&gateway);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| http::post_keyed(&url, "one", r#"{"n":1}"#).expect(202)))
            .collect();
        let answers = calls.into_iter().map(|c| c.join().unwrap().json());
        answers
            .map(|a| a["recordId"].as_str().unwrap().to_owned())
            .collect()
    });
    assert!(ids.windows(2).all(|w| w[0] == w[1]), "{ids:?}");
    history.wait_receipts(1);
    never_within(Duration::from_millis(500), "a second filing", || {
        history.receipts().len() > 1
    });
}

#[test]
fn a_refused_request_changes_nothing() {
    let (_platform, history, _setup, gateway) = all();
    let url = gateway.interactions();
    let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
    for (body, status) in [
        (format!(r#"{{"conversationId":"{id}","#), 400),
        (
            format!(r#"{{"conversationId":"{id}","conversationId":"{id}"}}"#),
            400,
        ),
        (r#"{"conversationId":"no"}"#.into(), 400),
        ("{}".into(), 400),
        (r#""text""#.into(), 422),
        (
            format!(
                r#"{{"conversationId":"{id}","x":"{}"}}"#,
                "x".repeat(70_000)
            ),
            413,
        ),
    ] {
        let answer = http::post_json(&url, &body);
        assert_eq!(answer.status, status, "{answer}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"].is_string() && problem["type"].is_string(),
            "{problem}"
        );
    }
    let text = [("Content-Type", "text/plain")];
    http::call("POST", &url, &text, Some("{}")).expect(415);
    let put = http::call("PUT", &url, &[], Some("{}")).expect(405);
    assert!(put.header("allow").unwrap().contains("POST"));
    http::get(&gateway.interaction_url(id)).expect(404);
    let status = gateway.status();
    let counts = status["interactions"].as_object().unwrap().values();
    assert!(counts.into_iter().all(|n| n == 0), "{status}");
    assert!(history.receipts().is_empty());
}

#[test]
fn callers_need_a_token_where_tokens_are_configured() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write(
        "tokens",
        "first-token-of-a-caller\nsecond-token-of-a-caller\n",
    );
    setup.set("http", "api-tokens-file = \"./tokens\"");
    let gateway = setup.start();
    let id = platform.conversation();
    let body = json!({"conversationId": id}).to_string();
    let post = |authorization: &str| {
        let json = ("Content-Type", "application/json");
        let headers = [json, ("Authorization", authorization)];
        http::call("POST", &gateway.interactions(), &headers, Some(&body))
    };
    let refused = http::post_json(&gateway.interactions(), &body).expect(401);
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    post("Bearer wrong").expect(401);
    post("Basic second-token-of-a-caller").expect(401);
    post("Bearer second-token-of-a-caller").expect(202);
}

#[test]
fn bodies_and_members_are_erased_when_they_have_served() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("store", "keep-bodies = \"0s\"");
    let gateway = setup.start();
    let (id, note) = (platform.conversation(), "a note of the customer");
    let secret = "a member that BOFE sent";
    let body = json!({"conversationId": id, "said": secret}).to_string();
    http::post_json(&gateway.interactions(), &body).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "wrap-up", json!({"notes": note}));
    history.wait_filed(&id, 1);
    let live = platform.conversation();
    http::post_json(
        &gateway.interactions(),
        &json!({"conversationId": live, "kept": true}).to_string(),
    )
    .expect(202);
    platform.act(&id, "end", json!({}));
    gateway.wait_state(&id, "finished");
    gateway.wait_record(&id, "delivered");
    // Where nothing is to be kept, erasure comes round every second.
    let erased = wait_for("the members to be erased", || {
        let seen = gateway.interaction(&id);
        if seen.get("interaction").is_none() {
            Ok(seen)
        } else {
            Err(seen)
        }
    });
    assert_eq!(erased["state"], "finished");
    assert_eq!(erased["records"].as_array().unwrap().len(), 1);
    assert_eq!(
        gateway.interaction(&live)["interaction"],
        json!({"kept": true})
    );
    let holds = |text: &str| {
        let files = std::fs::read_dir(setup.directory()).unwrap().flatten();
        let files = files.filter(|f| f.file_name().to_string_lossy().starts_with("gateway.db"));
        files
            .map(|f| (f.path(), std::fs::read(f.path()).unwrap()))
            .find(|(_, bytes)| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
            .map(|(path, _)| path)
    };
    drop(gateway);
    let mut gateway = setup.start();
    assert_eq!(gateway.sigterm().0, 0);
    assert_eq!(holds(note), None);
    assert_eq!(holds(secret), None);
}
