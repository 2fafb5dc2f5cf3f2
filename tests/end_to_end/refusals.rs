//! Topics that the platform refuses, alone and among others.

use serde_json::{Value, json};

use crate::support::{History, Platform, Setup, all, wait_for};

fn refuse(platform: &Platform, id: &str) {
    platform.fault(json!({"fault": "refuse-topics", "pattern": id}));
}

#[test]
fn a_refused_topic_ends_the_interaction_with_the_platforms_words_and_can_be_tried_again() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    refuse(&platform, &id);
    gateway.accept(&id).expect(202);
    let refused = gateway.wait_state(&id, "refused");
    let reason = &refused["reason"];
    assert_eq!(reason["code"], "topic-refused");
    let detail = reason["detail"].as_str().unwrap();
    assert!(
        detail.contains("analytics:conversationDetail:view"),
        "{detail}"
    );
    assert!(refused["finishedAt"].is_string(), "{refused}");
    gateway.wait_log("interaction-refused");
    wait_for("the count", || {
        let n = gateway.metric("genesys_gateway_interactions{state=\"refused\"}");
        if n == 1.0 { Ok(()) } else { Err(n) }
    });
    // The permission is granted, and the caller reports it again.
    platform.fault(json!({"fault": "allow-topics"}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
}

/// Many are subscribed with one message; the platform refuses it, or answers in parts.
#[test]
fn a_refused_topic_among_many_does_not_stand_in_the_way_of_the_others() {
    for (switch, value) in [
        ("ws-partial-permission", "whole"),
        ("ws-partial-permission", "per-topic"),
        ("ws-failure-body", "error"),
        ("ws-failure-body", "without-correlation-id"),
        ("ws-failure-body", "numeric-result"),
    ] {
        let (platform, history) = (Platform::switched(&[(switch, value)]), History::start());
        let setup = Setup::new(&platform, &history);
        let mut gateway = setup.start();
        gateway.wait_ready();
        // Accepted while no channel can be had, so that they all go into one message.
        let ids: Vec<String> = (0..30).map(|_| platform.conversation()).collect();
        gateway.kill9();
        platform.fault(json!({"fault": "evict", "channel": "all"}));
        platform.fault(
            json!({"fault": "fail-rest", "call": "channel-create", "times": 2,
            "failure": {"with": "status", "status": 500}}),
        );
        let bad = [&ids[3], &ids[17]];
        for id in bad {
            refuse(&platform, id);
        }
        let gateway = setup.start();
        for id in &ids {
            gateway.accept(id).expect(202);
        }
        for id in ids.iter().filter(|id| !bad.contains(id)) {
            gateway.wait_state(id, "watching");
            platform.act(id, "finish", json!({}));
        }
        for id in bad {
            gateway.wait_state(id, "refused");
        }
        for id in ids.iter().filter(|id| !bad.contains(id)) {
            history.wait_filed(id, 1);
        }
        let subscribed: Vec<String> = platform
            .journal()
            .iter()
            .filter(|e| e.kind.starts_with("subscribe"))
            .map(|e| format!("{} {}", e.kind, e.what))
            .collect();
        assert!(
            subscribed
                .iter()
                .any(|s| s.starts_with("subscribe-refused"))
                || value == "per-topic",
            "{switch}={value}: {subscribed:#?}"
        );
    }
}

#[test]
fn a_conversation_that_rest_may_not_show_settles_by_time() {
    let (platform, history) = (Platform::start(), History::start());
    platform.fault(json!({"fault": "refuse-conversations", "status": 403}));
    let mut setup = Setup::new(&platform, &history);
    setup.set("tracking", "settle-for = \"3s\"");
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 1);
    let finished = gateway.wait_state(&id, "finished");
    assert_eq!(finished["reason"]["code"], "settled");
    let detail = finished["reason"]["detail"].as_str().unwrap();
    assert!(detail.contains("1 record taken"), "{detail}");
}

#[test]
fn an_interaction_that_never_ends_expires_after_one_more_look() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("tracking", "max-age = \"3s\"");
    let gateway = setup.start();
    let (endless, missed) = (platform.conversation(), platform.conversation());
    gateway.accept(&endless).expect(202);
    gateway.accept(&missed).expect(202);
    gateway.wait_state(&endless, "watching");
    gateway.wait_state(&missed, "watching");
    // The last look finds what nobody announced.
    platform.fault(json!({"fault": "events", "mode": "drop"}));
    platform.act(&missed, "finish", json!({}));
    let expired: Value = gateway.wait_state(&endless, "expired");
    assert_eq!(expired["reason"]["code"], "max-age");
    assert_eq!(expired["records"], json!([]));
    gateway.wait_log("interaction-expired");
    history.wait_filed(&missed, 1);
    gateway.wait_state(&missed, "finished");
}
