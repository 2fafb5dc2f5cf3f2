//! Upgrade, requests, heartbeats, closing.

use super::*;

#[test]
fn a_subscribe_is_confirmed_with_its_correlation_id_and_topics_as_sent() {
    let mut w = World::with(&[]);
    let (channel, socket) = w.connected();
    let name = topic(&id_number(1)).to_uppercase().replace("V2", "v2");
    let reply = w.ask(socket, "subscribe", std::slice::from_ref(&name));
    assert_eq!(
        reply,
        json!({"correlationId": "c1", "topics": [name], "result": "200", "status": "subscribed",
               "message": "Successfully subscribed to topic(s)."})
    );
    let listed = body(&w.get(&format!("/notifications/channels/{channel}/subscriptions")));
    assert_eq!(listed["entities"][0]["id"], name);
    let reply = w.ask(socket, "unsubscribe", &[name.to_lowercase()]);
    assert_eq!(reply["status"], "unsubscribed");
    let listed = body(&w.get(&format!("/notifications/channels/{channel}/subscriptions")));
    assert_eq!(listed["entities"], json!([]));
}

#[test]
fn pings_are_answered_in_both_ways() {
    let mut w = World::with(&[]);
    let (_, socket) = w.connected();
    w.p.frame(socket, r#"{"message":"ping"}"#, w.now);
    assert_eq!(
        w.frames()[0].1,
        json!({"topicName": "channel.metadata", "eventBody": {"message": "pong"}})
    );
    w.p.ping(socket, b"x", w.now);
    let pong = SocketOut::Pong {
        socket,
        payload: b"x".to_vec(),
    };
    assert_eq!(w.outs(), [pong]);
}

#[test]
fn heartbeats_come_every_thirty_seconds_unless_the_switch_says_otherwise() {
    for (value, expected) in [("30", 10), ("20", 15), ("60", 5), ("0", 0)] {
        let mut w = World::with(&[("heartbeat-seconds", value)]);
        w.connected();
        w.seconds(301);
        let beats = w.frames();
        assert_eq!(beats.len(), expected, "{value}");
        for (_, beat) in beats {
            assert_eq!(beat["eventBody"]["message"], "WebSocket Heartbeat");
        }
    }
}

#[test]
fn malformed_system_and_empty_subscriptions_are_refused_as_a_whole() {
    let mut w = World::with(&[]);
    let (channel, socket) = w.connected();
    let good = topic(&id_number(1));
    for bad in ["nonsense", "channel.metadata", "v2.system.socket_closing"] {
        let reply = w.ask(socket, "subscribe", &[good.clone(), bad.to_owned()]);
        assert_eq!(reply["result"], "400", "{bad}");
        assert_eq!(reply["status"], "failure");
        assert_eq!(reply["correlationId"], "c1");
        assert_eq!(reply["topics"], json!([good, bad]));
        assert!(reply["message"].is_string());
    }
    assert_eq!(w.ask(socket, "subscribe", &[])["result"], "400");
    let listed = body(&w.get(&format!("/notifications/channels/{channel}/subscriptions")));
    assert_eq!(listed["entities"], json!([]));
}

#[test]
fn frames_that_are_no_requests_are_answered_and_do_not_end_the_socket() {
    let mut w = World::with(&[]);
    let (_, socket) = w.connected();
    for text in [
        "",
        "{",
        "[]",
        "3",
        r#"{"message":"dance"}"#,
        r#"{"message":7}"#,
    ] {
        w.p.frame(socket, text, w.now);
        assert_eq!(w.frames()[0].1["result"], "400", "{text}");
    }
    w.p.frame(socket, r#"{"message":"ping"}"#, w.now);
    assert_eq!(w.frames().len(), 1);
}

#[test]
fn a_failed_request_looks_as_the_switch_says() {
    let bad = ["nonsense".to_owned()];
    let reply = |value: &str| {
        let mut w = World::with(&[("ws-failure-body", value)]);
        let (_, socket) = w.connected();
        w.ask(socket, "subscribe", &bad)
    };
    let usual = reply("failure");
    assert_eq!(
        (&usual["result"], &usual["status"]),
        (&json!("400"), &json!("failure"))
    );
    assert_eq!(reply("error")["status"], "error");
    assert!(
        reply("without-correlation-id")
            .get("correlationId")
            .is_none()
    );
    assert_eq!(reply("numeric-result")["result"], 400);
}

#[test]
fn the_topic_after_the_thousandth_is_refused_or_added_in_part() {
    for (value, kept) in [("refuse", 999), ("partial", 1000)] {
        let mut w = World::with(&[("ws-over-limit", value)]);
        let (_, socket) = w.connected();
        let topics: Vec<String> = (0..999).map(|n| topic(&id_number(n))).collect();
        assert_eq!(w.ask(socket, "subscribe", &topics)["result"], "200");
        // Those that are there already do not count again.
        assert_eq!(w.ask(socket, "subscribe", &topics)["result"], "200");
        let more: Vec<String> = (998..1001).map(|n| topic(&id_number(n))).collect();
        w.send(socket, "subscribe", &more);
        let replies: Vec<Value> = w.frames().into_iter().map(|f| f.1).collect();
        assert_eq!(replies[0]["result"], "400");
        if value == "partial" {
            assert_eq!(replies[0]["topics"], json!([more[2]]));
            assert_eq!(replies[1]["result"], "200");
            assert_eq!(replies[1]["topics"], json!([more[0], more[1]]));
        } else {
            assert_eq!(replies.len(), 1);
        }
        let truth = w.p.truth();
        assert_eq!(truth.channels().next().unwrap().topics, kept, "{value}");
        assert_eq!(truth.ledger().over_limit, 1);
    }
}

#[test]
fn unsubscribing_what_is_not_subscribed_is_as_the_switch_says() {
    for (value, result, left) in [("200", "200", 0), ("400", "400", 1)] {
        let mut w = World::with(&[("unsubscribe-unknown", value)]);
        let (_, socket) = w.connected();
        let (one, two) = (topic(&id_number(1)), topic(&id_number(2)));
        w.ask(socket, "subscribe", std::slice::from_ref(&one));
        let reply = w.ask(socket, "unsubscribe", &[one, two]);
        assert_eq!(reply["result"], result);
        assert_eq!(w.p.truth().channels().next().unwrap().topics, left);
    }
}

#[test]
fn a_refused_topic_fails_the_whole_subscribe_or_itself_alone() {
    for value in ["whole", "per-topic"] {
        let mut w = World::with(&[("ws-partial-permission", value)]);
        let (_, socket) = w.connected();
        w.fault(json!({"fault": "refuse-topics", "pattern": id_number(2)}));
        let topics = [topic(&id_number(1)), topic(&id_number(2))];
        w.send(socket, "subscribe", &topics);
        let replies: Vec<Value> = w.frames().into_iter().map(|f| f.1).collect();
        assert_eq!(replies[0]["result"], "400");
        assert!(
            replies[0]["message"]
                .as_str()
                .unwrap()
                .contains("analytics:conversationDetail:view")
        );
        if value == "whole" {
            assert_eq!(replies[0]["topics"], json!(topics));
            assert_eq!(replies.len(), 1);
        } else {
            assert_eq!(replies[0]["topics"], json!([topics[1]]));
            assert_eq!(replies[1]["topics"], json!([topics[0]]));
            assert_eq!(replies[1]["result"], "200");
        }
    }
}

#[test]
fn a_second_socket_on_a_channel_takes_the_place_of_the_first() {
    for (value, reset) in [("close", false), ("reset", true)] {
        let mut w = World::with(&[("second-socket", value)]);
        let (channel, first) = w.connected();
        let c = w.start(1, "voice");
        w.ask(first, "subscribe", &[topic(&c)]);
        let second = w.open(&channel);
        match &w.outs()[..] {
            [SocketOut::Reset { socket }] => assert!(reset && *socket == first),
            [SocketOut::Close { socket, code, .. }] => {
                assert!(!reset && *socket == first && *code == 1001);
            }
            other => panic!("{other:?}"),
        }
        // The subscriptions belong to the channel; the old socket hears nothing more.
        w.do_it(json!({"command": "finish", "conversation": c}));
        let frames = w.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].0, second);
        // Late words about the old socket change nothing.
        w.p.closed(first, w.now);
        w.p.frame(first, r#"{"message":"ping"}"#, w.now);
        assert!(w.outs().is_empty());
        assert_eq!(w.p.truth().sockets(), 1);
        assert_eq!(w.p.truth().ledger().second_sockets, 1);
    }
}

#[test]
fn the_close_code_is_the_one_of_the_switch() {
    for (value, code) in [
        ("1001", Some(1001)),
        ("1000", Some(1000)),
        ("1006", None),
        ("1011", Some(1011)),
        ("1012", Some(1012)),
    ] {
        let mut w = World::with(&[("close-code", value)]);
        let (_, socket) = w.connected();
        w.fault(json!({"fault": "evict", "channel": "all"}));
        match &w.outs()[..] {
            [
                SocketOut::Close {
                    socket: s, code: c, ..
                },
            ] => {
                assert_eq!((*s, Some(*c)), (socket, code));
            }
            [SocketOut::Reset { socket: s }] => assert_eq!((*s, None), (socket, code)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_maintenance_close_goes_as_the_switch_says() {
    // What is out at once, after half the time, and at its end.
    for (value, counts) in [
        ("notice-then-close", [(1, 0), (1, 0), (1, 1)]),
        ("close-at-once", [(1, 1), (1, 1), (1, 1)]),
        ("notice-twice", [(1, 0), (2, 0), (2, 1)]),
        ("notice-only", [(1, 0), (1, 0), (1, 0)]),
    ] {
        let mut w = World::with(&[("closing-notice", value), ("heartbeat-seconds", "0")]);
        let (channel, _) = w.connected();
        w.fault(json!({"fault": "closing", "channel": "all"}));
        let (mut notices, mut closes) = (0, 0);
        for expected in counts {
            for out in w.outs() {
                match out {
                    SocketOut::Frame { text, .. } => {
                        let frame: Value = serde_json::from_str(&text).unwrap();
                        assert_eq!(frame["topicName"], "v2.system.socket_closing");
                        assert_eq!(frame["eventBody"]["channelId"], channel);
                        notices += 1;
                    }
                    SocketOut::Close { .. } => closes += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((notices, closes), expected, "{value}");
            w.seconds(30);
        }
        // The channel outlives its socket.
        assert_eq!(w.upgrade_status(&channel), 101);
    }
}

#[test]
fn events_and_replies_come_in_the_order_of_the_switch() {
    let run = |value: &str| {
        let mut w = World::with(&[("event-against-reply", value)]);
        let (_, socket) = w.connected();
        let c = w.start(2, "voice");
        w.send(socket, "subscribe", &[topic(&c)]);
        w.do_it(json!({"command": "wrap-up", "conversation": c}));
        w.seconds(1);
        w.send(socket, "unsubscribe", &[topic(&c)]);
        w.do_it(json!({"command": "finish", "conversation": c}));
        w.seconds(1);
        let words: Vec<String> = w
            .frames()
            .iter()
            .map(|(_, f)| {
                let word = if f["status"].is_string() {
                    &f["status"]
                } else {
                    &f["version"]
                };
                word.as_str().unwrap().replace('2', "event")
            })
            .collect();
        words.join(" ")
    };
    assert_eq!(run("reply-first"), "subscribed event unsubscribed");
    assert_eq!(run("event-first"), "event subscribed unsubscribed");
    assert_eq!(
        run("event-after-unsubscribe"),
        "subscribed event unsubscribed event"
    );
}

#[test]
fn a_lingering_topic_that_is_subscribed_again_stays_and_is_heard_once() {
    let mut w = World::with(&[("event-against-reply", "event-after-unsubscribe")]);
    let (c, socket) = w.listened(2);
    w.ask(socket, "unsubscribe", &[topic(&c)]);
    w.ask(socket, "subscribe", &[topic(&c)]);
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    assert_eq!(w.events().len(), 1);
    w.seconds(2);
    w.do_it(json!({"command": "finish", "conversation": c}));
    assert_eq!(w.events().len(), 1);
}

#[test]
fn replies_can_be_late_while_the_request_takes_effect_at_once() {
    let mut w = World::with(&[("reply-delay-ms", "1500")]);
    let (_, socket) = w.connected();
    w.send(socket, "subscribe", &[topic(&id_number(1))]);
    assert_eq!(w.p.truth().channels().next().unwrap().topics, 1);
    w.seconds(1);
    assert!(w.outs().is_empty());
    w.seconds(1);
    assert_eq!(w.frames().len(), 1);
}

#[test]
fn an_upgrade_of_an_unknown_channel_or_path_is_refused_with_404() {
    let mut w = World::with(&[]);
    let (channel, _) = w.connected();
    for path in ["/", "/channels/", "/channels/streaming-0-none", "/stream"] {
        assert_eq!(w.p.upgrade(path, w.now).unwrap_err().status, 404, "{path}");
    }
    // A query does not matter.
    assert!(
        w.p.upgrade(&format!("/channels/{channel}?a=b"), w.now)
            .is_ok()
    );
}

#[test]
fn the_table_of_sockets_is_bounded() {
    let mut settings = Settings::default();
    settings.limits.sockets = 1;
    let mut w = World::of(settings);
    w.connected();
    let other = w.channel();
    assert_eq!(w.upgrade_status(&other), 503);
}
