//! Faults that are ordered.

use super::*;

#[test]
fn sockets_are_dropped_with_a_code_or_reset() {
    let mut w = World::with(&[]);
    let (channel, socket) = w.connected();
    w.fault(json!({"fault": "drop-socket", "channel": channel, "code": 1011}));
    assert!(matches!(
        w.outs()[..],
        [SocketOut::Close { code: 1011, .. }]
    ));
    let again = w.open(&channel);
    assert_ne!(socket, again);
    let tail = &channel[channel.len() - 6..];
    w.fault(json!({"fault": "drop-socket", "channel": tail}));
    assert_eq!(w.outs(), [SocketOut::Reset { socket: again }]);
    let command = Control::Fault {
        fault: Fault::Evict {
            channel: "nobody".into(),
        },
    };
    assert!(matches!(
        w.p.control(&command, w.now),
        Err(ControlError::NotFound(_))
    ));
}

#[test]
fn a_silenced_socket_says_nothing_or_only_what_it_is_asked() {
    for replies in [false, true] {
        let mut w = World::with(&[]);
        let (c, socket) = w.listened(2);
        w.fault(json!({"fault": "silence", "channel": "any", "replies": replies}));
        w.do_it(json!({"command": "wrap-up", "conversation": c}));
        w.seconds(100);
        assert!(w.outs().is_empty());
        w.p.frame(socket, r#"{"message":"ping"}"#, w.now);
        w.p.ping(socket, b"", w.now);
        assert_eq!(w.outs().len(), if replies { 2 } else { 0 });
        assert_eq!(w.p.truth().sockets(), 1);
        w.fault(json!({"fault": "speak", "channel": "all"}));
        w.do_it(json!({"command": "wrap-up", "conversation": c}));
        assert_eq!(w.events().len(), 1);
    }
}

#[test]
fn rest_calls_fail_as_ordered_and_then_work_again() {
    let mut w = World::with(&[]);
    let path = "/tokens/timeout";
    w.fault(
        json!({"fault": "fail-rest", "call": "token-timeout", "times": 2,
                   "failure": {"with": "status", "status": 503}}),
    );
    assert_eq!(w.get("/tokens/me").status, 200);
    let answer = w.get(path);
    assert_eq!(answer.status, 503);
    assert_eq!(body(&answer)["code"], "service.unavailable");
    assert_eq!(
        body(&answer)["contextId"],
        answer.header("ININ-Correlation-Id").unwrap()
    );
    assert_eq!(w.get(path).status, 503);
    assert_eq!(w.get(path).status, 200);

    w.fault(json!({"fault": "fail-rest",
                   "failure": {"with": "status", "status": 429, "retryAfter": "42"}}));
    let answer = w.get(path);
    assert_eq!(answer.header("retry-after"), Some("42"));
    assert_eq!(body(&answer)["code"], "too.many.requests.retry.after");

    w.fault(json!({"fault": "fail-rest", "failure": {"with": "html", "status": 502}}));
    let answer = w.get(path);
    assert_eq!(answer.status, 502);
    assert!(answer.body.starts_with(b"<html>"));

    w.fault(json!({"fault": "fail-rest", "failure": {"with": "garbage"}}));
    assert!(serde_json::from_slice::<Value>(&w.get(path).body).is_err());
}

#[test]
fn late_hanging_and_lost_answers_are_marks_that_are_taken_off() {
    let mut w = World::with(&[]);
    for (failure, mark) in [
        (
            json!({"with": "delay", "delayMs": 1500}),
            Mark::Delay(Duration::from_millis(1500)),
        ),
        (json!({"with": "hang"}), Mark::Hang),
        (json!({"with": "no-answer"}), Mark::NoAnswer),
    ] {
        w.fault(json!({"fault": "fail-rest", "call": "channel-create", "failure": failure}));
        let mut answer = w.call("POST", "/notifications/channels", Value::Null);
        assert_eq!(take_marks(&mut answer), Some(mark));
        assert_eq!(take_marks(&mut answer), None);
        assert!(answer.headers.iter().all(|(n, _)| !n.starts_with("x-sim")));
    }
    // The calls took effect, unless it was ordered otherwise.
    assert_eq!(w.p.truth().channels().count(), 3);
    w.fault(json!({"fault": "fail-rest", "call": "channel-create",
                   "failure": {"with": "no-answer", "applied": false}}));
    let mut answer = w.call("POST", "/notifications/channels", Value::Null);
    assert_eq!(take_marks(&mut answer), Some(Mark::NoAnswer));
    assert_eq!(w.p.truth().channels().count(), 3);
}

#[test]
fn an_upgrade_can_be_made_to_fail() {
    let mut w = World::with(&[]);
    let channel = w.channel();
    w.fault(json!({"fault": "fail-rest", "call": "upgrade",
                   "failure": {"with": "status", "status": 503}}));
    assert_eq!(w.upgrade_status(&channel), 503);
    w.fault(json!({"fault": "fail-rest", "call": "upgrade", "failure": {"with": "hang"}}));
    let mut refused =
        w.p.upgrade(&format!("/channels/{channel}"), w.now)
            .unwrap_err();
    assert_eq!(take_marks(&mut refused), Some(Mark::Hang));
    assert_eq!(w.upgrade_status(&channel), 101);
}

#[test]
fn conversations_are_refused_over_rest() {
    let mut w = World::with(&[]);
    let (a, b) = (w.start(1, "voice"), w.start(1, "voice"));
    w.fault(json!({"fault": "refuse-conversations", "conversation": a, "status": 403}));
    let answer = w.get(&format!("/conversations/{a}"));
    assert_eq!(answer.status, 403);
    assert_eq!(body(&answer)["code"], "missing.any.division.permissions");
    assert_eq!(w.get(&format!("/conversations/{b}")).status, 200);
    w.fault(json!({"fault": "refuse-conversations", "status": 404}));
    assert_eq!(w.get(&format!("/conversations/{b}")).status, 404);
    w.fault(json!({"fault": "allow-conversations"}));
    assert_eq!(w.get(&format!("/conversations/{a}")).status, 200);
}

#[test]
fn a_missing_permission_shows_in_every_call_that_needs_it() {
    let mut w = World::with(&[]);
    let (c, socket) = w.listened(1);
    w.fault(json!({"fault": "permissions", "missing": [
        "analytics:conversationDetail:view", "conversation:communication:view"]}));
    assert_eq!(w.get(&format!("/conversations/{c}")).status, 403);
    assert_eq!(
        w.get(&format!("/analytics/conversations/details?id={c}"))
            .status,
        403
    );
    assert_eq!(w.ask(socket, "subscribe", &[topic(&c)])["result"], "400");
    w.fault(json!({"fault": "clear"}));
    assert_eq!(w.get(&format!("/conversations/{c}")).status, 200);
    assert_eq!(w.ask(socket, "subscribe", &[topic(&c)])["result"], "200");
}

#[test]
fn event_faults_last_as_long_as_ordered() {
    let mut w = World::with(&[]);
    let (c, _) = w.listened(4);
    w.fault(json!({"fault": "events", "mode": "drop", "times": 1}));
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    assert_eq!(w.events().len(), 1);
    w.fault(json!({"fault": "events", "mode": "delay", "delayMs": 700}));
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    assert!(w.events().is_empty());
    w.seconds(1);
    assert_eq!(w.events().len(), 1);
    w.fault(json!({"fault": "events", "mode": "in-order"}));
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    assert_eq!(w.events().len(), 1);
    let frames: Vec<u32> = w.p.truth().wrap_ups().iter().map(|t| t.frames).collect();
    assert_eq!(frames, [0, 1, 1, 1]);
}

#[test]
fn strange_frames_are_sent_as_ordered() {
    let mut w = World::with(&[]);
    w.connected();
    for sort in [
        "unknown-topic",
        "unknown-system",
        "not-json",
        "not-an-object",
        "empty",
        "no-topic",
        "foreign-reply",
    ] {
        w.fault(json!({"fault": "noise", "channel": "all", "sort": sort}));
        let outs = w.outs();
        assert!(matches!(&outs[..], [SocketOut::Frame { .. }]), "{sort}");
    }
    w.fault(json!({"fault": "frame", "channel": "all", "text": "hello"}));
    assert!(matches!(&w.outs()[..], [SocketOut::Frame { text, .. }] if text == "hello"));
}

#[test]
fn orders_that_make_no_sense_are_refused_and_change_nothing() {
    let mut w = World::with(&[]);
    for bad in [
        json!({"command": "start", "agents": 0}),
        json!({"command": "start", "agents": 21}),
        json!({"command": "wrap-up", "conversation": id_number(9)}),
        json!({"command": "switch", "name": "no-such", "value": "1"}),
        json!({"command": "fault", "fault": {"fault": "events", "mode": "explode"}}),
        json!({"command": "fault", "fault": {"fault": "refuse-conversations", "status": 200}}),
    ] {
        let command: Control = serde_json::from_value(bad.clone()).unwrap();
        assert!(w.p.control(&command, w.now).is_err(), "{bad}");
    }
    for bad in [
        json!({"command": "dance"}),
        json!({"command": "start", "agent": 1}),
        json!({"command": "end", "conversation": "not-a-uuid"}),
    ] {
        assert!(
            serde_json::from_value::<Control>(bad.clone()).is_err(),
            "{bad}"
        );
    }
    assert_eq!(w.p.truth().conversations().count(), 0);
}
