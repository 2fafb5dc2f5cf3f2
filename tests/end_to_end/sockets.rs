//! Whatever becomes of sockets and channels: everything is filed, what was
//! missed is rebuilt, and no more channels or sockets are held than allowed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Setup, all, never_within, wait_for, wait_within};

fn heard_often() -> (Platform, History, Setup) {
    let platform = Platform::switched(&[("heartbeat-seconds", "1")]);
    let history = History::start();
    let mut setup = Setup::new(&platform, &history);
    setup.set("channels", "heartbeat-timeout = \"2500ms\"");
    (platform, history, setup)
}

fn watched(platform: &Platform, gateway: &Gateway) -> String {
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    id
}

fn finish(platform: &Platform, id: &str) {
    platform.act(id, "finish", json!({}));
}

fn wait_live_again(platform: &Platform, gateway: &Gateway, id: &str) {
    wait_for("the conversation to be live again", || {
        let status = gateway.status();
        let live = status["topics"]["live"].as_u64() >= Some(1);
        if live && platform.subscribed(id) {
            Ok(())
        } else {
            Err(status)
        }
    });
}

/// The conversation is over and filed, and so is one that comes after it.
fn all_is_well(platform: &Platform, history: &History, gateway: &Gateway, id: &str) -> Value {
    let filed = history.wait_filed(id, 1).remove(0).json();
    gateway.wait_state(id, "finished");
    let next = watched(platform, gateway);
    finish(platform, &next);
    let of_next = history.wait_filed(&next, 1).remove(0).json();
    assert_eq!(of_next["source"], "notification");
    gateway.wait_state(&next, "finished");
    assert!(history.filed().values().all(|n| *n == 1));
    assert_eq!(
        platform
            .0
            .model()
            .platform()
            .truth()
            .ledger()
            .second_sockets,
        0
    );
    filed
}

#[test]
fn a_wrap_up_while_the_socket_is_down_is_rebuilt() {
    for code in [None, Some(1001), Some(1011)] {
        let (platform, history, _setup, gateway) = all();
        let id = watched(&platform, &gateway);
        // The upgrade fails a few times, so that the wrap-up falls into the gap.
        platform.fault(json!({"fault": "fail-rest", "call": "upgrade", "times": 2,
            "failure": {"with": "status", "status": 503}}));
        platform.fault(json!({"fault": "drop-socket", "channel": "all", "code": code}));
        finish(&platform, &id);
        assert_eq!(platform.wrap_ups(&id)[0].frames, 0, "somebody heard it");
        let filed = all_is_well(&platform, &history, &gateway, &id);
        assert_eq!(filed["source"], "reconciliation", "{code:?}");
        assert_eq!(platform.channels_created(), 1, "the channel was good still");
        let gaps = gateway.metric("genesys_gateway_gap_topics_total");
        assert!(gaps >= 1.0, "{gaps}");
        gateway.wait_log("channel-lost");
    }
}

#[test]
fn a_dropped_socket_costs_nothing_when_nothing_happened_meanwhile() {
    let (platform, history, _setup, gateway) = all();
    let id = watched(&platform, &gateway);
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    gateway.wait_log("channel-lost");
    wait_live_again(&platform, &gateway, &id);
    finish(&platform, &id);
    all_is_well(&platform, &history, &gateway, &id);
}

#[test]
fn a_silent_socket_is_found_out_by_its_heartbeat() {
    let (platform, history, setup) = heard_often();
    let gateway = setup.start();
    let id = watched(&platform, &gateway);
    platform.fault(json!({"fault": "silence", "channel": "all"}));
    finish(&platform, &id);
    let filed = all_is_well(&platform, &history, &gateway, &id);
    assert_eq!(filed["source"], "reconciliation");
}

#[test]
fn a_socket_that_answers_but_no_longer_beats_is_found_out_too() {
    let (platform, history, setup) = heard_often();
    let gateway = setup.start();
    let id = watched(&platform, &gateway);
    platform.fault(json!({"fault": "silence", "channel": "all", "replies": true}));
    finish(&platform, &id);
    wait_for("a reconnect", || {
        let upgrades = platform.count("upgrade");
        if upgrades >= 2 { Ok(()) } else { Err(upgrades) }
    });
    all_is_well(&platform, &history, &gateway, &id);
}

#[test]
fn heartbeats_more_seldom_than_the_timeout_cost_a_few_gaps_and_no_more() {
    let (platform, history, setup) = heard_often();
    platform.switch("heartbeat-seconds", "4");
    let gateway = setup.start();
    let id = watched(&platform, &gateway);
    let line = gateway.wait_log("heartbeats-seldom");
    assert!(line.contains(" WARN "), "{line}");
    let sockets = |n| {
        wait_for("a new socket", || match platform.count("upgrade") {
            now if now >= n => Ok(()),
            now => Err(now),
        });
    };
    // The three that it took and the one that lasts: none in the time of several more.
    sockets(4);
    never_within(Duration::from_secs(10), "a new socket", || {
        platform.count("upgrade") > 4
    });
    // A silence is found out all the same.
    platform.fault(json!({"fault": "silence", "channel": "all", "replies": true}));
    finish(&platform, &id);
    sockets(5);
    all_is_well(&platform, &history, &gateway, &id);
}

#[test]
fn an_evicted_channel_is_replaced_however_its_socket_goes() {
    for eviction in ["closed", "silent", "no-longer-subscribed"] {
        let (platform, history, setup) = heard_often();
        platform.switch("eviction", eviction);
        let gateway = setup.start();
        let id = watched(&platform, &gateway);
        platform.fault(json!({"fault": "evict", "channel": "all"}));
        finish(&platform, &id);
        let filed = all_is_well(&platform, &history, &gateway, &id);
        assert_eq!(filed["source"], "reconciliation", "{eviction}");
        assert!(platform.channels_created() >= 2, "{eviction}");
    }
}

#[test]
fn an_expired_channel_is_replaced() {
    for expiry in ["socket-stays", "close"] {
        let (platform, history, setup) = heard_often();
        platform.switch("channel-expiry", expiry);
        let gateway = setup.start();
        let id = watched(&platform, &gateway);
        platform.fault(json!({"fault": "expire-channel", "channel": "all"}));
        // The next subscribe finds out where the socket does not.
        let next = platform.conversation();
        gateway.accept(&next).expect(202);
        gateway.wait_state(&next, "watching");
        finish(&platform, &id);
        finish(&platform, &next);
        history.wait_filed(&next, 1);
        all_is_well(&platform, &history, &gateway, &id);
    }
}

#[test]
fn a_quiet_channel_that_expired_behind_a_beating_socket_is_found_out_by_itself() {
    let (platform, history, setup) = heard_often();
    platform.switch("channel-expiry", "socket-stays");
    let gateway = setup.start();
    let id = watched(&platform, &gateway);
    platform.fault(json!({"fault": "expire-channel", "channel": "all"}));
    finish(&platform, &id);
    assert_eq!(platform.wrap_ups(&id)[0].frames, 0, "somebody heard it");
    // It is asked for a sign of life after two minutes.
    wait_within(Duration::from_secs(160), "the gap to be seen", || {
        let gaps = gateway.metric("genesys_gateway_gap_topics_total");
        if gaps >= 1.0 { Ok(()) } else { Err(gaps) }
    });
    let filed = all_is_well(&platform, &history, &gateway, &id);
    assert_eq!(filed["source"], "reconciliation");
}

#[test]
fn a_maintenance_close_is_prepared_for_and_nothing_is_missed() {
    for notice in ["notice-then-close", "notice-twice", "close-at-once"] {
        let (platform, history) = (Platform::start(), History::start());
        platform.switch("closing-notice", notice);
        platform.switch("closing-seconds", "4");
        let gateway = Setup::new(&platform, &history).start();
        let id = watched(&platform, &gateway);
        platform.fault(json!({"fault": "closing", "channel": "all"}));
        wait_for("the second socket", || {
            let upgrades = platform.count("upgrade");
            if upgrades >= 2 { Ok(()) } else { Err(upgrades) }
        });
        wait_live_again(&platform, &gateway, &id);
        finish(&platform, &id);
        history.wait_filed(&id, 1);
        gateway.wait_state(&id, "finished");
        assert!(history.filed().values().all(|n| *n == 1));
    }
}

#[test]
fn an_event_that_the_platform_forgets_to_send_is_rebuilt_at_the_next_look() {
    let (platform, history, _setup, gateway) = all();
    let id = watched(&platform, &gateway);
    platform.fault(json!({"fault": "events", "mode": "drop", "times": 1}));
    finish(&platform, &id);
    // Nobody can know without a look; a gap is a reason for one.
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    let filed = all_is_well(&platform, &history, &gateway, &id);
    assert_eq!(filed["source"], "reconciliation");
}

#[test]
fn a_late_announcement_of_what_was_rebuilt_is_not_filed_again() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation_with(json!({"agents": 3}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    let late = json!({"fault": "events", "mode": "delay", "delayMs": 16_000, "times": 1});
    platform.fault(late);
    platform.act(&id, "wrap-up", json!({"leg": 0}));
    platform.act(&id, "wrap-up", json!({"leg": 1}));
    // The second event makes the gateway look; it waits for the first one ten seconds more.
    let filed = history.wait_filed(&id, 2);
    assert_eq!(filed[0].json()["source"], "notification");
    assert_eq!(filed[1].json()["source"], "reconciliation");
    wait_for("the late event to be known again", || {
        let n = gateway.metric("genesys_gateway_events_total{outcome=\"duplicate\"}");
        if n == 1.0 { Ok(()) } else { Err(n) }
    });
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 3);
    gateway.wait_state(&id, "finished");
    assert!(history.filed().values().all(|n| *n == 1));
}

#[test]
fn frames_that_nobody_announced_do_no_harm() {
    let (platform, history, _setup, gateway) = all();
    let id = watched(&platform, &gateway);
    for sort in [
        "unknown-topic",
        "unknown-system",
        "not-json",
        "not-an-object",
        "empty",
        "no-topic",
        "foreign-reply",
    ] {
        platform.fault(json!({"fault": "noise", "channel": "all", "sort": sort}));
    }
    let topic = format!("v2.detail.events.conversation.{id}.acw");
    for body in ["null", "7", "[]", "\"text\"", "{}"] {
        let text = format!(r#"{{"topicName":"{topic}","eventBody":{body}}}"#);
        platform.fault(json!({"fault": "frame", "channel": "all", "text": text}));
    }
    platform.fault(json!({"fault": "frame", "channel": "all",
        "text": format!("{{\"topicName\":\"{topic}\",\"eventBody\":{{\"x\":\"{}\"}}}}", "y".repeat(300_000))}));
    finish(&platform, &id);
    wait_for("the wrap-up to be filed", || {
        let filed = history.filed_of(&id);
        let real = filed
            .iter()
            .filter(|r| r.json()["afterCallWork"]["wrapupCode"].is_string());
        let n = real.count();
        if n == 1 { Ok(()) } else { Err(n) }
    });
    gateway.wait_state(&id, "finished");
}

#[test]
fn topics_beyond_a_channel_go_on_the_next_and_beyond_all_they_wait() {
    let (platform, history) = (Platform::switched(&[("topics-max", "5")]), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("channels", "max-channels = 2");
    setup.set("channels", "topics-per-channel = 5");
    let gateway = setup.start();
    let ids: Vec<String> = (0..12).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    wait_for("ten to be watched", || {
        let n = gateway.status()["interactions"]["watching"].clone();
        if n == 10 { Ok(()) } else { Err(n) }
    });
    let status = wait_for("two to wait", || {
        let status = gateway.status();
        if status["topics"]["waiting"] == 2 {
            Ok(status)
        } else {
            Err(status)
        }
    });
    assert!(
        status["reasons"].to_string().contains("wait for a place"),
        "{status}"
    );
    gateway.ready().expect(503);
    for id in &ids {
        gateway.wait_state(id, "watching");
        finish(&platform, id);
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
    let model = platform.0.model();
    let ledger = model.platform().truth().ledger().clone();
    assert!(
        ledger.topics_most <= 5 && ledger.channels_most <= 2,
        "{ledger:?}"
    );
    assert_eq!(ledger.over_limit, 0);
}

#[test]
fn the_platform_may_be_slow_garbled_or_limited_and_it_all_ends_well() {
    let (platform, history) = (Platform::start(), History::start());
    for failure in [
        json!({"with": "status", "status": 500}),
        json!({"with": "status", "status": 429, "retryAfter": "1"}),
        json!({"with": "html", "status": 502}),
        json!({"with": "no-answer", "applied": true}),
        json!({"with": "garbage"}),
        json!({"with": "delay", "delayMs": 700}),
    ] {
        for call in ["channel-create", "conversation"] {
            platform
                .fault(json!({"fault": "fail-rest", "call": call, "times": 1, "failure": failure}));
        }
    }
    let gateway = Setup::new(&platform, &history).start();
    let ids: Vec<String> = (0..4).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
        finish(&platform, id);
    }
    for id in &ids {
        history.wait_filed(id, 1);
    }
    let model = platform.0.model();
    assert!(model.platform().truth().ledger().channels_created <= 4);
}
