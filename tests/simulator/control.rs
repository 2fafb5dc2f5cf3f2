//! The control interface and the history receiver.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Bench, Client, topic, until};

#[test]
fn the_root_lists_every_route_with_a_sentence() {
    let bench = Bench::new(&[]);
    let routes = bench.control("GET", "/", Value::Null);
    let routes = routes["routes"].as_array().unwrap();
    assert!(routes.len() > 20);
    for route in routes {
        assert!(route["does"].as_str().unwrap().ends_with('.'), "{route}");
    }
    let conversation = bench.start(1);
    // Every route that it lists is there.
    for route in routes {
        let path = route["path"]
            .as_str()
            .unwrap()
            .replace("{id}", &conversation);
        let method = route["method"].as_str().unwrap();
        let body = if method == "POST" {
            json!({})
        } else {
            Value::Null
        };
        let answer = bench.try_control(method, &path, &body);
        assert_ne!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
    let answer = bench.try_control("GET", "/nowhere", &Value::Null);
    assert_eq!(answer.status, 404);
}

#[test]
fn a_conversation_can_be_led_through_its_life() {
    let bench = Bench::new(&[]);
    let c = bench.start(1);
    let act = |name: &str, body: Value| {
        bench.control("POST", &format!("/conversations/{c}/{name}"), body)
    };
    act("transfer", json!({}));
    act("wrap-up", json!({"leg": 0, "code": "A"}));
    act("end", Value::Null);
    act("draft", json!({"leg": 1, "notes": "soon"}));
    act("skip", json!({"leg": 1}));
    act("rewrap", json!({"leg": 0, "code": "B"}));
    act("reopen", json!({"sameParticipant": true}));
    act("leave", json!({"leg": 2}));
    act("finish", Value::Null);
    let seen = bench.control("GET", &format!("/conversations/{c}"), Value::Null);
    assert_eq!(seen["finished"], true);
    let codes: Vec<&str> = seen["wrapUps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes[..3], ["A", "ININ-WRAP-UP-SKIPPED", "B"]);
    assert_eq!(codes.len(), 4);
    let again = bench.try_control("POST", &format!("/conversations/{c}/skip"), &json!({}));
    assert_eq!(again.status, 409);
    let shown = bench.rest("GET", &format!("/conversations/{c}"), Value::Null);
    assert_eq!(shown.json(), seen["shown"]);
}

#[test]
fn mistakes_are_answered_with_what_is_wrong() {
    let bench = Bench::new(&[]);
    for (path, body, status) in [
        ("/conversations", json!({"agents": 99}), 400),
        ("/conversations", json!({"agent": 1}), 400),
        ("/conversations", json!([]), 400),
        ("/conversations/not-an-id/end", json!({}), 400),
        (
            "/conversations/00000000-0000-4000-8000-000000000001/end",
            json!({}),
            404,
        ),
        (
            "/conversations/00000000-0000-4000-8000-000000000001/dance",
            json!({}),
            400,
        ),
        ("/faults", json!({"fault": "rain"}), 400),
        (
            "/faults",
            json!({"fault": "evict", "channel": "nobody"}),
            404,
        ),
        ("/switches", json!({"re-wrap": "maybe"}), 400),
        ("/switches", json!({"no-such-switch": 1}), 404),
        ("/history/script", json!({"status": 500}), 400),
    ] {
        let answer = bench.try_control("POST", path, &body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn switches_are_listed_set_and_read_back() {
    let bench = Bench::new(&[]);
    bench.control(
        "POST",
        "/switches",
        json!({"heartbeat-seconds": 20, "close-code": "1012"}),
    );
    let list = bench.control("GET", "/switches", Value::Null);
    let value = |name: &str| {
        list.as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == name)
            .unwrap()["value"]
            .clone()
    };
    assert_eq!(value("heartbeat-seconds"), "20");
    assert_eq!(value("close-code"), "1012");
    assert_eq!(value("re-wrap"), "second-event");
}

#[test]
fn journal_and_truth_tell_what_happened_without_secrets() {
    let bench = Bench::new(&[]);
    let (id, uri) = bench.channel();
    let mut client = Client::open(&uri);
    let c = bench.start(1);
    client.subscribe(&[topic(&c)]);
    bench.control("POST", &format!("/conversations/{c}/finish"), Value::Null);
    client.next_but_heartbeats();
    let journal = bench.control("GET", "/journal", Value::Null);
    let entries = journal["entries"].as_array().unwrap();
    let kinds: Vec<&str> = entries
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    for kind in [
        "token",
        "rest",
        "channel-created",
        "upgrade",
        "conversation",
        "subscribe",
        "wrap-up",
        "event",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let text = journal.to_string();
    assert!(!text.contains(&id) && !text.contains(&bench.token));
    let last = entries.last().unwrap()["number"].as_u64().unwrap();
    let newer = bench.control("GET", &format!("/journal?after={last}"), Value::Null);
    assert_eq!(newer["entries"], json!([]));
    let truth = bench.control("GET", "/truth", Value::Null);
    assert_eq!(truth["wrapUps"][0]["frames"], 1);
    assert_eq!(truth["channels"][0]["topics"], 1);
    assert_eq!(truth["channels"][0]["connected"], true);
    assert_eq!(truth["calls"]["ChannelCreate"], 1);
    assert!(!truth.to_string().contains(&id));
}

#[test]
fn a_planned_life_runs_in_scaled_time() {
    let bench = Bench::scaled(200, &[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    let c = bench.control(
        "POST",
        "/lives",
        json!({"agents": 2, "startAfterMs": 20_000}),
    );
    let c = c["conversation"].as_str().unwrap().to_owned();
    client.subscribe(&[topic(&c)]);
    let sessions: Vec<Value> = (0..2)
        .map(|_| client.next_but_heartbeats()["eventBody"]["sessionId"].clone())
        .collect();
    assert_ne!(sessions[0], sessions[1]);
    until("the end of the life", || {
        bench.control("GET", &format!("/conversations/{c}"), Value::Null)["finished"] == true
    });
}

fn file(bench: &Bench, key: Option<&str>) -> Result<u16, ureq::Error> {
    let mut request = bench
        .agent
        .post(format!("{}/history", bench.running.control_url))
        .content_type("application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    request
        .send(r#"{"recordId":"r"}"#)
        .map(|a| a.status().as_u16())
}

#[test]
fn the_history_receiver_follows_its_script_and_counts_duplicates() {
    let bench = Bench::new(&[]);
    bench.control(
        "POST",
        "/history/script",
        json!([{"status": 503, "retryAfter": "3"}, {"close": true}, {"delayMs": 300, "status": 200}]),
    );
    assert_eq!(file(&bench, Some("a")).unwrap(), 503);
    assert!(file(&bench, Some("a")).is_err());
    let began = Instant::now();
    assert_eq!(file(&bench, Some("a")).unwrap(), 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(file(&bench, Some("a")).unwrap(), 201);
    assert_eq!(file(&bench, Some("b")).unwrap(), 201);
    assert_eq!(file(&bench, None).unwrap(), 201);
    let seen = bench.control("GET", "/history", Value::Null);
    assert_eq!(seen["received"], 6);
    assert_eq!(seen["filed"], 2);
    assert_eq!(seen["duplicates"], 1);
    assert_eq!(seen["withoutKey"], 1);
    let statuses: Vec<&Value> = seen["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["status"])
        .collect();
    assert_eq!(json!(statuses), json!([503, null, 200, 201, 201, 201]));
    assert_eq!(seen["receipts"][0]["idempotencyKey"], "a");
    assert_eq!(seen["receipts"][0]["body"]["recordId"], "r");
    let counts = bench.control("GET", "/history?bodies=false", Value::Null);
    assert!(counts.get("receipts").is_none());
    bench.control("DELETE", "/history", Value::Null);
    assert_eq!(bench.control("GET", "/history", Value::Null)["received"], 0);
}

#[test]
fn time_that_is_advanced_ends_tokens_and_channels_each_when_it_would_have() {
    let bench = Bench::new(&[]);
    bench.rest("POST", "/notifications/channels", json!({}));
    let before = bench.control("GET", "/truth", Value::Null);
    let left = |truth: &Value| truth["channels"][0]["expiresInMs"].as_u64();
    let lives = left(&before).unwrap();
    bench.control("POST", "/advance", json!({"seconds": 3600}));
    let later = left(&bench.control("GET", "/truth", Value::Null)).unwrap();
    assert!(lives - later >= 3_600_000 && lives - later < 3_660_000);
    bench.control("POST", "/advance", json!({"seconds": 48 * 3600}));
    let gone = bench.control("GET", "/truth", Value::Null);
    assert_eq!((left(&gone), gone["tokens"].as_u64()), (None, Some(0)));
    assert_eq!(bench.rest("HEAD", "/tokens/me", Value::Null).status, 401);
    for wrong in [
        json!({}),
        json!({"seconds": -1}),
        json!({"seconds": 604_801}),
        json!({"seconds": 1.5}),
        json!({"seconds": 1, "minutes": 1}),
    ] {
        let answer = bench.try_control("POST", "/advance", &wrong);
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[test]
fn a_planned_life_passes_within_a_moment_and_heartbeats_come_as_one() {
    let bench = Bench::new(&[("heartbeat-seconds", "1")]);
    let life = json!({"talkMs": 60_000, "acwMs": 60_000});
    let id = bench.control("POST", "/lives", life)["conversation"].clone();
    let uri = bench.running.make_channel().unwrap();
    let mut ws = Client::open(&uri);
    ws.subscribe(&[topic(id.as_str().unwrap())]);
    bench.control("POST", "/advance", json!({"seconds": 12 * 3600}));
    let mut beats = 0;
    let event = loop {
        let frame = ws.next();
        match frame["topicName"].as_str() {
            Some("channel.metadata") => beats += 1,
            Some(_) => break frame,
            None => {}
        }
    };
    assert!(event["topicName"].as_str().unwrap().ends_with(".acw"));
    assert!(beats < 10, "{beats}");
}

#[test]
fn after_a_reset_nothing_is_left_but_address_and_credentials() {
    let mut bench = Bench::new(&[("re-wrap", "none")]);
    let id = bench.start(1);
    let uri = bench.running.make_channel().unwrap();
    let mut ws = Client::open(&uri);
    bench.control("POST", "/switches", json!({"heartbeat-seconds": 1}));
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "refuse-topics", "pattern": "*"}),
    );
    for n in 0..2 {
        bench.control("POST", "/reset", json!({}));
        assert!(n > 0 || ws.0.read().is_err(), "it is cut off");
        let stale = bench.rest("HEAD", "/tokens/me", Value::Null);
        assert_eq!(stale.status, 401);
        bench.token = bench.login().json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let truth = bench.control("GET", "/truth", Value::Null);
        assert_eq!(truth["channels"], json!([]));
        assert_eq!(truth["conversations"], 0);
        let switches = bench.control("GET", "/switches", Value::Null);
        let row = |name: &str| {
            let rows = switches.as_array().unwrap();
            rows.iter().find(|r| r["name"] == name).unwrap()["value"].clone()
        };
        assert_eq!(
            (row("re-wrap"), row("heartbeat-seconds")),
            (json!("none"), json!("30"))
        );
        let gone = bench.try_control("GET", &format!("/conversations/{id}"), &Value::Null);
        assert_eq!(gone.status, 404);
        // And it goes on from there.
        let c = bench.start(1);
        let fresh = bench.running.make_channel().unwrap();
        assert_ne!(fresh, uri);
        let mut ws = Client::open(&fresh);
        ws.subscribe(&[topic(&c)]);
        bench.control("POST", &format!("/conversations/{c}/finish"), json!({}));
        while ws.next()["topicName"]
            .as_str()
            .is_none_or(|t| !t.ends_with(".acw"))
        {}
    }
}
