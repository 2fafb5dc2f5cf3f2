//! Channels: REST, limits, eviction, life.

use super::*;

fn subscriptions(channel: &str) -> String {
    format!("/notifications/channels/{channel}/subscriptions")
}

fn items(names: &[String]) -> Value {
    names.iter().map(|n| json!({"id": n})).collect()
}

#[test]
fn a_new_channel_has_an_id_an_address_and_a_day_to_live() {
    let mut w = World::with(&[]);
    let answer = body(&w.call("POST", "/notifications/channels", json!({})));
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with("streaming-0-") && id.len() == 38, "{id}");
    assert_eq!(
        answer["connectUri"],
        format!("wss://streaming.simulated.test/channels/{id}")
    );
    let day = Duration::from_secs(86_400);
    assert_eq!(answer["expires"], (w.now.wall + day).rfc3339());
    let head = format!("/notifications/channels/{id}");
    assert_eq!(w.call("HEAD", &head, Value::Null).status, 200);
    let gone = w.call("HEAD", "/notifications/channels/nobody", Value::Null);
    assert_eq!((gone.status, gone.body.len()), (404, 0));
}

#[test]
fn the_listing_shows_channels_of_other_tokens_without_id() {
    let mut w = World::with(&[]);
    let mine = w.channel();
    let other = w.new_token();
    w.call_as(&other, "POST", "/notifications/channels", Value::Null);
    let list = body(&w.get("/notifications/channels"));
    assert_eq!(list["entities"].as_array().unwrap().len(), 1);
    assert_eq!(list["entities"][0]["id"], mine);
    let list = body(&w.get("/notifications/channels?includechannels=oauthclient"));
    assert_eq!(list["entities"].as_array().unwrap().len(), 2);
    assert!(list["entities"][1].get("id").is_none());
    assert!(list["entities"][1].get("connectUri").is_none());
    assert_eq!(
        w.get("/notifications/channels?includechannels=x").status,
        400
    );
}

#[test]
fn posting_topics_adds_putting_replaces_deleting_removes() {
    let mut w = World::with(&[]);
    let channel = w.channel();
    let path = subscriptions(&channel);
    let names: Vec<String> = (0..3).map(|n| topic(&id_number(n))).collect();
    let posted = w.call("POST", &path, items(&names[..2]));
    assert_eq!(posted.status, 200);
    assert_eq!(body(&posted)["entities"][0]["state"], "Permitted");
    w.call("POST", &path, items(&names[1..2]));
    assert_eq!(body(&w.get(&path))["entities"].as_array().unwrap().len(), 2);
    assert_eq!(w.call("PUT", &path, items(&names[2..])).status, 200);
    let left = body(&w.get(&path));
    assert_eq!(left["entities"].as_array().unwrap().len(), 1);
    assert_eq!(left["entities"][0]["id"], names[2]);
    assert_eq!(w.call("DELETE", &path, Value::Null).status, 200);
    assert_eq!(body(&w.get(&path))["entities"], json!([]));
    let (p, listeners) = (&w.p, &w.p.listeners);
    assert!(listeners.is_empty() && p.ledger.topics_total == 0 && p.ledger.held == 0);
}

#[test]
fn deleting_subscriptions_answers_with_the_status_of_the_switch() {
    for status in [200, 202, 204] {
        let mut w = World::with(&[("delete-subscriptions-status", &status.to_string())]);
        let channel = w.channel();
        let answer = w.call("DELETE", &subscriptions(&channel), Value::Null);
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
}

#[test]
fn more_than_a_thousand_topics_are_refused_over_rest() {
    let mut w = World::with(&[]);
    let channel = w.channel();
    let path = subscriptions(&channel);
    let names: Vec<String> = (0..1001).map(|n| topic(&id_number(n))).collect();
    for method in ["POST", "PUT"] {
        let answer = w.call(method, &path, items(&names));
        assert_eq!(answer.status, 400);
        let error = body(&answer);
        assert_eq!(
            error["code"],
            "notification.subscription.too.many.subscriptions"
        );
        assert_eq!(error["limit"]["value"], 1000);
        assert_eq!(body(&w.get(&path))["entities"], json!([]));
    }
    assert_eq!(w.call("PUT", &path, items(&names[..1000])).status, 200);
    assert_eq!(w.call("PUT", &path, items(&names[1..])).status, 200);
}

#[test]
fn one_topic_without_permission_fails_the_request_unless_errors_are_ignored() {
    let mut w = World::with(&[]);
    let channel = w.channel();
    let path = subscriptions(&channel);
    w.fault(json!({"fault": "refuse-topics", "pattern": "*0002.acw"}));
    let names: Vec<String> = (1..3).map(|n| topic(&id_number(n))).collect();
    let answer = w.call("POST", &path, items(&names));
    assert_eq!(answer.status, 403);
    assert_eq!(body(&answer)["code"], "notification.unauthorized.topic");
    assert_eq!(body(&w.get(&path))["entities"], json!([]));
    let answer = w.call("POST", &format!("{path}?ignoreErrors=true"), items(&names));
    assert_eq!(answer.status, 200);
    let entities = &body(&answer)["entities"];
    assert_eq!(entities[0]["state"], "Permitted");
    assert_eq!(entities[1]["state"], "Rejected");
    assert_eq!(
        entities[1]["missingPermissions"],
        json!(["analytics:conversationDetail:view"])
    );
    assert_eq!(body(&w.get(&path))["entities"].as_array().unwrap().len(), 1);
}

#[test]
fn a_malformed_topic_is_refused_or_with_the_switch_rejected() {
    for (value, ignored) in [("400", 400), ("rejected", 200)] {
        let mut w = World::with(&[("malformed-topic", value)]);
        let channel = w.channel();
        let path = subscriptions(&channel);
        let names = [topic("not-a-uuid"), topic(&id_number(1))];
        let answer = w.call("POST", &path, items(&names));
        assert_eq!(answer.status, 400);
        assert_eq!(body(&answer)["code"], "notification.invalid.topic");
        let answer = w.call("POST", &format!("{path}?ignoreErrors=true"), items(&names));
        assert_eq!(answer.status, ignored);
        if ignored == 200 {
            assert_eq!(body(&answer)["entities"][0]["state"], "Rejected");
            assert_eq!(body(&answer)["entities"][1]["state"], "Permitted");
        }
    }
}

#[test]
fn bodies_that_are_no_topic_lists_are_refused() {
    let mut w = World::with(&[]);
    let channel = w.channel();
    for bad in [json!({}), json!(["x"]), json!([{"name": "x"}]), json!("x")] {
        let answer = w.call("POST", &subscriptions(&channel), bad);
        assert_eq!(answer.status, 400);
    }
    let request = Request {
        method: "POST",
        url: format!(
            "https://api.simulated.test/api/v2{}",
            subscriptions(&channel)
        ),
        headers: vec![("Authorization".into(), format!("Bearer {}", w.token))],
        body: b"[]".to_vec(),
    };
    assert_eq!(w.p.http(&request, w.now).status, 415);
}

#[test]
fn subscriptions_of_an_unknown_channel_are_not_found() {
    let mut w = World::with(&[]);
    let path = subscriptions("nobody");
    assert_eq!(body(&w.get(&path))["code"], "not.found");
    let put = w.call("PUT", &path, json!([]));
    assert_eq!(put.status, 404);
    assert_eq!(body(&put)["code"], "entity.not.found");
    assert_eq!(w.call("POST", &path, json!([])).status, 404);
    assert_eq!(w.call("DELETE", &path, Value::Null).status, 404);
}

#[test]
fn the_twenty_first_channel_evicts_an_unconnected_one_before_a_connected_one() {
    let mut w = World::with(&[]);
    let all: Vec<String> = (0..20).map(|_| w.channel()).collect();
    w.open(&all[0]);
    w.seconds(1);
    w.outs();
    w.channel();
    assert_eq!(w.upgrade_status(&all[1]), 404);
    for id in &all[2..] {
        w.open(id);
    }
    assert_eq!(w.p.truth().channels().count(), 20);
    assert_eq!(w.p.truth().ledger().evicted_connected, 0);
    // The one made last has no socket: it goes next; then a live one dies.
    w.channel();
    assert_eq!(w.p.truth().ledger().evicted_connected, 0);
    let newest = w.p.truth().channels().last().unwrap().id.to_owned();
    w.open(&newest);
    w.channel();
    assert_eq!(w.p.truth().ledger().evicted_connected, 1);
    assert_eq!(w.upgrade_status(&all[0]), 404);
    assert_eq!(w.p.truth().ledger().channels_most, 20);
}

#[test]
fn the_choice_of_whom_to_evict_follows_the_switch() {
    for (value, victim) in [("oldest-used", 1), ("oldest-created", 0)] {
        let mut w = World::with(&[("eviction-choice", value)]);
        let all: Vec<String> = (0..20)
            .map(|_| {
                w.seconds(1);
                w.channel()
            })
            .collect();
        w.call("PUT", &subscriptions(&all[0]), json!([]));
        w.channel();
        assert_eq!(w.upgrade_status(&all[victim]), 404, "{value}");
        assert_eq!(w.upgrade_status(&all[1 - victim]), 101, "{value}");
    }
}

#[test]
fn an_evicted_channel_loses_its_socket_as_the_switch_says() {
    for value in ["closed", "silent", "no-longer-subscribed"] {
        let mut w = World::with(&[("eviction", value)]);
        let (c, socket) = w.listened(1);
        let id = w.p.truth().channels().next().unwrap().id.to_owned();
        w.fault(json!({"fault": "evict", "channel": id}));
        let outs = w.outs();
        match value {
            "closed" => assert!(matches!(outs[..], [SocketOut::Close { .. }])),
            "silent" => assert!(outs.is_empty()),
            _ => {
                let [SocketOut::Frame { text, .. }] = &outs[..] else {
                    panic!("{outs:?}");
                };
                let frame: Value = serde_json::from_str(text).unwrap();
                assert_eq!(
                    frame["topicName"],
                    format!("v2.system.no_longer_subscribed.{id}")
                );
                assert_eq!(frame["eventBody"]["reason"], "another_channel_subscribed");
            }
        }
        w.do_it(json!({"command": "finish", "conversation": c}));
        w.p.frame(socket, r#"{"message":"ping"}"#, w.now);
        w.seconds(100);
        assert!(w.outs().is_empty(), "{value}");
        assert_eq!(w.upgrade_status(&id), 404);
        assert_eq!(w.get(&subscriptions(&id)).status, 404);
    }
}

#[test]
fn a_channel_that_is_not_renewed_expires_after_a_day() {
    for (value, closed) in [("socket-stays", false), ("close", true)] {
        let mut w = World::with(&[
            ("channel-expiry", value),
            ("token-lifetime-seconds", "172800"),
        ]);
        let (c, socket) = w.listened(1);
        let id = w.p.truth().channels().next().unwrap().id.to_owned();
        w.seconds(86_399);
        assert_eq!(
            w.call(
                "HEAD",
                &format!("/notifications/channels/{id}"),
                Value::Null
            )
            .status,
            200
        );
        w.outs();
        w.seconds(1);
        assert_eq!(
            w.call(
                "HEAD",
                &format!("/notifications/channels/{id}"),
                Value::Null
            )
            .status,
            404
        );
        let outs = w.outs();
        assert_eq!(
            outs.iter().any(|o| matches!(o, SocketOut::Close { .. })),
            closed
        );
        w.do_it(json!({"command": "finish", "conversation": c}));
        assert!(w.events().is_empty());
        if !closed {
            let reply = w.ask(socket, "subscribe", &[topic(&c)]);
            assert_eq!(reply["result"], "404");
            w.seconds(31);
            assert_eq!(w.frames().len(), 1, "the heartbeat goes on");
        }
        assert_eq!(w.upgrade_status(&id), 404);
    }
}

#[test]
fn subscribing_extends_the_life_of_a_channel_over_the_socket_only_with_the_switch() {
    for (value, over_socket) in [("yes", true), ("no", false)] {
        let mut w = World::with(&[
            ("ws-subscribe-extends", value),
            ("token-lifetime-seconds", "172800"),
        ]);
        let (id, socket) = w.connected();
        let head = format!("/notifications/channels/{id}");
        w.seconds(80_000);
        w.outs();
        w.ask(socket, "subscribe", &[topic(&id_number(1))]);
        w.seconds(10_000);
        let alive = w.call("HEAD", &head, Value::Null).status == 200;
        assert_eq!(alive, over_socket, "{value}");
        if alive {
            w.call("PUT", &subscriptions(&id), items(&[topic(&id_number(1))]));
            w.seconds(80_000);
            assert_eq!(w.call("HEAD", &head, Value::Null).status, 200);
            w.seconds(10_000);
            assert_eq!(w.p.truth().channels().count(), 0);
        }
    }
}

#[test]
fn a_channel_of_another_token_is_reachable_or_not_by_the_switch() {
    for (value, status) in [("reachable", 200), ("not-found", 404)] {
        let mut w = World::with(&[("channels-of-other-tokens", value)]);
        let id = w.channel();
        let other = w.new_token();
        let answer = w.call_as(&other, "GET", &subscriptions(&id), Value::Null);
        assert_eq!(answer.status, status);
    }
}

#[test]
fn the_catalogue_of_topics_shows_what_is_asked_for() {
    let mut w = World::with(&[]);
    let plain = body(&w.get("/notifications/availabletopics"));
    let acw = &plain["entities"][0];
    assert_eq!(acw["id"], "v2.detail.events.conversation.{id}.acw");
    assert!(acw.get("transports").is_none());
    let full = body(&w.get(
        "/notifications/availabletopics?expand=requiresPermissions&expand=permissionDetails&expand=transports",
    ));
    let acw = &full["entities"][0];
    assert_eq!(
        acw["requiresPermissions"],
        json!(["analytics:conversationDetail:view"])
    );
    assert_eq!(acw["transports"], json!(["All"]));
    assert!(acw["permissionDetails"].is_array());
}
