//! What operators see: health, readiness, metrics, status, pages, and the
//! command line that reads them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{History, Platform, Setup, all, http, wait_for};

#[test]
fn health_and_readiness_tell_their_reasons() {
    let (platform, history) = (Platform::start(), History::start());
    platform.fault(json!({"fault": "fail-rest", "call": "token", "times": 1000,
        "failure": {"with": "status", "status": 503}}));
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let health = http::get(&format!("{}/healthz", gateway.operators)).expect(200);
    assert_eq!(health.json(), json!({"ok": true, "reasons": []}));
    let ready = wait_for("the reason", || {
        let ready = gateway.ready();
        if ready.text.contains("503") {
            Ok(ready)
        } else {
            Err(ready)
        }
    });
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ok"], false);
    assert!(ready.text.contains("no token is held"), "{ready}");
    // Callers are served all the same.
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    platform.fault(json!({"fault": "clear"}));
    gateway.wait_ready();
    gateway.wait_state(&id, "watching");
    assert_eq!(gateway.ready().json(), json!({"ok": true, "reasons": []}));
}

#[test]
fn a_fresh_gateway_is_ready_before_the_first_interaction() {
    let (_platform, _history, _setup, gateway) = all();
    gateway.wait_ready();
    let status = gateway.status();
    assert_eq!(status["level"], "ok", "{status}");
    assert_eq!(status["reasons"], json!([]));
}

#[test]
fn status_counts_what_there_is() {
    let (platform, history, setup, gateway) = all();
    let ids: Vec<String> = (0..5).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
    }
    platform.act(&ids[0], "finish", json!({}));
    history.wait_filed(&ids[0], 1);
    gateway.wait_state(&ids[0], "finished");
    let status = wait_for("the snapshot", || {
        let status = gateway.status();
        let there = status["interactions"]["finished"] == 1 && status["topics"]["live"] == 4;
        if there && status["records"]["delivered"] == 1 {
            Ok(status)
        } else {
            Err(status)
        }
    });
    let states = [
        "accepted", "watching", "settling", "finished", "expired", "stopped", "refused",
    ];
    let counts: BTreeMap<String, u64> =
        serde_json::from_value(status["interactions"].clone()).unwrap();
    assert_eq!(counts.len(), states.len());
    assert!(states.iter().all(|s| counts.contains_key(*s)), "{counts:?}");
    assert_eq!(counts["watching"], 4);
    let states = [
        "queued",
        "delivered",
        "deferred",
        "dead",
        "held",
        "discarded",
    ];
    let counts: BTreeMap<String, u64> = serde_json::from_value(status["records"].clone()).unwrap();
    assert!(states.iter().all(|s| counts.contains_key(*s)), "{counts:?}");
    assert_eq!(counts["delivered"], 1);
    let channels = status["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 1, "{status}");
    assert_eq!(channels[0]["slot"], 1);
    assert_eq!(channels[0]["state"], "live");
    assert_eq!(channels[0]["topics"], 4);
    assert_eq!(channels[0]["tail"].as_str().unwrap().len(), 4);
    assert!(
        status["verdict"].as_str().unwrap().contains("well"),
        "{status}"
    );

    let shown = setup.operate(&["status"]).expect(0);
    assert!(
        shown.out.contains("well") && shown.out.contains("watching"),
        "{}",
        shown.out
    );
    let shown = setup.operate(&["status", "--json"]).expect(0).json();
    assert_eq!(shown["interactions"], status["interactions"]);
    let shape = setup
        .operate(&["records", "shape", "--json"])
        .expect(0)
        .json();
    assert!(shape.is_array(), "{shape}");
}

#[test]
fn metrics_have_the_names_of_the_contract_and_the_form_of_prometheus() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
    wait_for("the numbers", || {
        let finished = gateway.metric("genesys_gateway_interactions{state=\"finished\"}");
        if finished == 1.0 {
            Ok(())
        } else {
            Err(finished)
        }
    });
    assert_eq!(
        gateway.metric("genesys_gateway_records{state=\"delivered\"}"),
        1.0
    );
    assert_eq!(
        gateway.metric("genesys_gateway_channels{state=\"live\"}"),
        1.0
    );
    assert_eq!(gateway.metric("genesys_gateway_topics"), 0.0);
    assert_eq!(gateway.metric("genesys_gateway_history_closed"), 0.0);
    assert_eq!(
        gateway.metric("genesys_gateway_event_to_filed_seconds_count"),
        1.0
    );
    let answer = http::get(&format!("{}/metrics", gateway.operators)).expect(200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut types = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in answer.text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "twice: {name}"
            );
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "twice: {series}");
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|b| types.contains_key(*b)))
                .unwrap_or(name);
            let kind = types.get(base).unwrap_or_else(|| panic!("no type: {name}"));
            assert_eq!(
                kind == "counter",
                base.ends_with("_total"),
                "{base} is a {kind}"
            );
        }
    }
    let states = seen
        .iter()
        .filter(|s| s.starts_with("genesys_gateway_interactions{"));
    assert_eq!(states.count(), 7);
}

#[test]
fn records_wait_is_a_reason_once_tries_fail() {
    let (_platform, history, _setup, gateway) = all();
    history.always(crate::support::Reply::Status(503));
    let url = format!("{}/customers/supportResult", gateway.intake);
    http::post_json(&url, "{}").expect(202);
    let status = wait_for("the verdict to say that a record waits", || {
        let status = gateway.status();
        if status["reasons"].to_string().contains("next try") {
            Ok(status)
        } else {
            Err(status)
        }
    });
    assert_eq!(status["level"], "warn", "{status}");
}

#[test]
fn pages_are_served_with_a_policy_and_strangers_are_kept_out() {
    let (_platform, _history, _setup, gateway) = all();
    let page = http::get(&format!("{}/", gateway.operators)).expect(200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.header("content-security-policy").is_some());
    // The page for Agent Desktop is one that has to be configured.
    http::get(&format!("{}/agent-desktop/", gateway.intake)).expect(404);
    let description = http::get(&format!("{}/openapi.json", gateway.intake))
        .expect(200)
        .json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let url = format!("{}/status", gateway.operators);
    http::call("GET", &url, &[("Host", "evil.example")], None).expect(403);
    let record = format!(
        "{}/records/00000000-0000-4000-8000-000000000000/retry",
        gateway.operators
    );
    let from_elsewhere = [("Origin", "https://evil.example")];
    http::call("POST", &record, &from_elsewhere, Some("")).expect(403);
    http::get(&format!("{}/nothing", gateway.operators)).expect(404);
}

#[test]
fn only_desktop_origins_may_embed_the_page_and_are_named_to_it() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("http", "allowed-origins = [\"https://bofe.example.com\"]");
    setup.set(
        "agent-desktop",
        "desktop-origins = [\"https://desktop.example\"]",
    );
    let gateway = setup.start();
    let page = http::get(&format!("{}/agent-desktop/", gateway.intake)).expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with("; frame-ancestors https://desktop.example"),
        "{policy}"
    );
    let told = http::get(&format!("{}/agent-desktop/config.json", gateway.intake))
        .expect(200)
        .json();
    assert_eq!(
        told,
        serde_json::json!({
            "desktopOrigins": ["https://desktop.example"], "access": "page",
            "conversationIdKeys": ["GenesysConversationId", "conversationId"],
            "conversationIdAt": "/conversationId",
            "reportOn": ["ESTABLISHED", "ACCEPTED", "CREATED"], "forwardKeys": [],
            "writeBackKey": "CommunicationRecord", "toast": "failures", "titleKeys": [],
            "recording": false, "dial": false,
        })
    );
    let tag = page.header("etag").unwrap().to_owned();
    let known = [("If-None-Match", tag.as_str())];
    let url = format!("{}/agent-desktop/", gateway.intake);
    http::call("GET", &url, &known, None).expect(304);
}

#[test]
fn other_origins_may_call_only_if_they_are_listed() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("http", "allowed-origins = [\"https://bofe.example.com\"]");
    let gateway = setup.start();
    let preflight = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        http::call("OPTIONS", &gateway.interactions(), &headers, None)
    };
    let allowed = preflight("https://bofe.example.com");
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://bofe.example.com")
    );
    let refused = preflight("https://evil.example");
    assert_eq!(refused.header("access-control-allow-origin"), None);
    setup.set("http", "allowed-origins = [\"*\"]");
    setup.ends(&["check"]).expect(78);
}

#[test]
fn listeners_may_be_unix_sockets_and_the_command_line_finds_them() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let socket = setup.path("operators.sock");
    setup.set("status", &format!("listen = \"unix:{}\"", socket.display()));
    let gateway = setup.start();
    let status: Value = setup.operate(&["status", "--json"]).expect(0).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    drop(gateway);
}
