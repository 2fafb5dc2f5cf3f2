//! Events over HTTP: what is taken, in which wrapping, and from whom.

use serde_json::json;

use super::*;

const TOKEN: (&str, &str) = ("Authorization", "Bearer t");

fn guarded() -> House {
    house(With {
        tokens: &["t"],
        ..With::default()
    })
}

fn sent(house: &House, body: &[u8]) -> Got {
    call(house.address, "POST", EVENTS, &[JSON, TOKEN], body)
}

fn event() -> String {
    format!(r#"{{"eventTime":1767886512345,"conversationId":"{ID}","wrapupNotes":"so","n":1e999}}"#)
}

/// The conversation and the body that reached the port last.
fn reached(house: &House) -> (ConversationId, String) {
    match house.port.asked().pop() {
        Some(CallerRequest::Event { conversation, body }) => (conversation, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_tokens_nobody_may_send_events_even_from_this_machine() {
    let house = house(With::default());
    for headers in [&[JSON][..], &[JSON, TOKEN]] {
        let got = call(house.address, "POST", EVENTS, headers, event().as_bytes());
        assert_eq!(got.status, 403);
        assert!(got.text().contains("api-tokens-file"), "{}", got.text());
    }
    assert!(house.port.asked().is_empty());
    let got = call(
        guarded().address,
        "POST",
        EVENTS,
        &[JSON],
        event().as_bytes(),
    );
    assert_eq!(got.status, 401);
    assert!(got.header("www-authenticate").is_some());
}

#[test]
fn the_body_is_the_event_the_frame_or_an_envelope_around_either() {
    let house = guarded();
    let event = event();
    let topic = format!("v2.detail.events.conversation.{}.acw", ID.to_uppercase());
    let frame = format!(
        r#"{{"topicName":"{topic}","version":"2","timestamp":"x","eventBody":{event},"metadata":{{}}}}"#
    );
    let templated = frame.replace(&ID.to_uppercase(), "{id}");
    let envelope = |detail: &str| {
        format!(
            r#"{{"version":"0","id":"x","detail-type":"v2.detail.events.conversation.{{id}}.acw","source":"aws.partner/genesys.com","detail":{detail}}}"#
        )
    };
    for body in [
        event.clone(),
        frame.clone(),
        templated.clone(),
        envelope(&event),
        envelope(&frame),
        envelope(&templated),
    ] {
        let got = sent(&house, body.as_bytes());
        assert_eq!(got.status, 202, "{body}: {}", got.text());
        assert_eq!(got.json()["outcome"], "unreported");
        assert_eq!(reached(&house), (id(), event.clone()), "{body}");
    }
    call(
        house.address,
        "POST",
        INTERACTIONS,
        &[JSON, TOKEN],
        with_id("").as_bytes(),
    );
    assert_eq!(sent(&house, event.as_bytes()).json()["outcome"], "taken");
    assert_eq!(sent(&house, frame.as_bytes()).json()["outcome"], "known");
}

#[test]
fn the_topic_says_whose_event_it_is_where_the_event_does_not() {
    let house = guarded();
    let topic = format!("v2.detail.events.conversation.{OTHER_ID}.acw");
    for said in ["", r#""conversationId":null,"#] {
        let frame = format!(r#"{{"topicName":"{topic}","eventBody":{{{said}"wrapupCode":"c"}}}}"#);
        assert_eq!(sent(&house, frame.as_bytes()).status, 202);
        assert_eq!(reached(&house).0, OTHER_ID.parse().unwrap());
    }
}

/// A body is refused with the type of a problem, and with the member that is to blame.
fn refused_at(house: &House, body: &str, kind: &str, pointer: &str) {
    let got = sent(house, body.as_bytes());
    assert_eq!(got.status, 400, "{body}: {}", got.text());
    let problem = got.json();
    let kind = format!("urn:genesys-gateway:problem:{kind}");
    assert_eq!(problem["type"], kind, "{body}");
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(detail));
}

#[test]
fn what_names_two_conversations_is_nobodys_event() {
    let house = guarded();
    let topic = |id: &str| format!("v2.detail.events.conversation.{id}.acw");
    let (ours, other) = (topic(ID), topic(OTHER_ID));
    let event = event();
    let kind = "bad-conversation-id";
    for (body, pointer) in [
        (
            format!(r#"{{"topicName":"{other}","eventBody":{event}}}"#),
            "/eventBody/conversationId",
        ),
        (
            format!(r#"{{"detail":{{"topicName":"{other}","eventBody":{event}}}}}"#),
            "/detail/eventBody/conversationId",
        ),
        (
            format!(r#"{{"conversationId":"{OTHER_ID}","eventBody":{event}}}"#),
            "/eventBody/conversationId",
        ),
        (
            format!(r#"{{"topicName":"{other}","conversationId":"{ID}","eventBody":{event}}}"#),
            "/conversationId",
        ),
        (
            format!(r#"{{"topicName":"{ours}","conversationId":"x","eventBody":{event}}}"#),
            "/conversationId",
        ),
        (
            format!(
                r#"{{"topicName":"{ours}","eventBody":{{"conversationId":7,"wrapupCode":"c"}}}}"#
            ),
            "/eventBody/conversationId",
        ),
        (
            format!(r#"{{"detail-type":"{other}","detail":{event}}}"#),
            "/detail/conversationId",
        ),
        (
            format!(
                r#"{{"detail-type":"{other}","detail":{{"topicName":"{ours}","eventBody":{event}}}}}"#
            ),
            "/detail/topicName",
        ),
    ] {
        refused_at(&house, &body, kind, pointer);
    }
    assert!(house.port.asked().is_empty());
    // The same conversation, written another way, is the same.
    let agreeing = format!(
        r#"{{"detail-type":"{ours}","detail":{{"topicName":"{}","eventBody":{event}}}}}"#,
        ours.to_uppercase()
    );
    assert_eq!(sent(&house, agreeing.as_bytes()).status, 202);
}

#[test]
fn events_of_other_kinds_are_refused_whatever_stands_in_them() {
    let house = guarded();
    let event = event();
    for kind in [
        "v2.detail.events.conversation.{id}.wrapup",
        "v2.detail.events.conversation.{id}.customer.end",
        "v2.detail.events.conversation.x.acw",
        "v2.detail.events.conversation.*.acw",
        "v2.detail.events.conversation..acw",
        "x.v2.detail.events.conversation.{id}.acw",
        "EC2 Instance State-change Notification",
        "",
    ] {
        let body = format!(r#"{{"detail-type":"{kind}","detail":{event}}}"#);
        refused_at(&house, &body, "other-topic", "/detail-type");
        let body = format!(r#"{{"topicName":"{kind}","eventBody":{event}}}"#);
        refused_at(&house, &body, "other-topic", "/topicName");
        let body = format!(r#"{{"detail":{{"topicName":"{kind}","eventBody":{event}}}}}"#);
        refused_at(&house, &body, "other-topic", "/detail/topicName");
    }
    for kind in ["7", "[]", "{}", "true"] {
        let body = format!(r#"{{"detail-type":{kind},"detail":{event}}}"#);
        refused_at(&house, &body, "other-topic", "/detail-type");
    }
    let beside = event.replace("{\"eventTime", "{\"detail-type\":\"x\",\"eventTime");
    refused_at(&house, &beside, "other-topic", "/detail-type");
    assert!(house.port.asked().is_empty());
}

fn now_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[test]
fn a_time_that_no_event_can_have_is_refused() {
    let house = guarded();
    let now = now_ms();
    let day = 24 * 3_600_000;
    let timed =
        |time: &str| format!(r#"{{"eventTime":{time},"conversationId":"{ID}","wrapupCode":"c"}}"#);
    for odd in [
        // Seconds, as a number, as a fraction, as text.
        (now / 1_000).to_string(),
        format!("{}.5", now / 1_000),
        format!("\"{}\"", now / 1_000),
        "0".into(),
        "-0".into(),
        "1".into(),
        "-1".into(),
        format!("-{now}"),
        "1262303999999".into(),
        // Microseconds, nanoseconds, a clock that leapt.
        (now * 1_000).to_string(),
        (now * 1_000_000).to_string(),
        (now + day + 60_000).to_string(),
        "9223372036854775807".into(),
        "-9223372036854775808".into(),
        "9223372036854775808".into(),
        "1e999".into(),
        "1e300".into(),
        "\"9999-12-31T23:59:59Z\"".into(),
        "\"1970-01-01T00:00:00Z\"".into(),
        // No times at all.
        "\"yesterday\"".into(),
        "\"\"".into(),
        "true".into(),
        "[]".into(),
        "{}".into(),
    ] {
        refused_at(&house, &timed(&odd), "bad-event-time", "/eventTime");
        let enveloped = format!(r#"{{"detail":{{"eventBody":{}}}}}"#, timed(&odd));
        let pointer = "/detail/eventBody/eventTime";
        refused_at(&house, &enveloped, "bad-event-time", pointer);
        let cased = timed(&odd).replace("eventTime", "EVENTTIME");
        refused_at(&house, &cased, "bad-event-time", "/eventTime");
    }
    assert!(house.port.asked().is_empty());
    for good in [
        now.to_string(),
        (now - 30 * day).to_string(),
        // The clocks of two machines differ.
        (now + day - 60_000).to_string(),
        "1262304000000".into(),
        "1.767886512345e12".into(),
        format!("\"{now}\""),
        "\"2026-01-08T15:35:12.345Z\"".into(),
        "null".into(),
    ] {
        let got = sent(&house, timed(&good).as_bytes());
        assert_eq!(got.status, 202, "{good}: {}", got.text());
    }
    let without = format!(r#"{{"conversationId":"{ID}","wrapupCode":"c"}}"#);
    assert_eq!(sent(&house, without.as_bytes()).status, 202);
}

#[test]
fn a_body_with_nothing_of_a_wrap_up_is_refused() {
    let house = guarded();
    let topic = format!("v2.detail.events.conversation.{ID}.acw");
    let kind = "no-wrap-up";
    for rest in [
        "",
        r#","eventTime":1767886512345"#,
        r#","x":1,"wrapupcodes":"c""#,
        // As in the events of other topics.
        r#","eventTime":1767886512345,"participantId":"p","sessionId":"s","mediaType":"VOICE""#,
        r#","wrapupCode":null,"wrapupNotes":null,"wrapupDurationMs":null"#,
        r#","wrapupCode":7"#,
        r#","wrapupCode":"""#,
        r#","wrapupNotes":{}"#,
        r#","wrapupDurationMs":"7""#,
    ] {
        refused_at(&house, &with_id(rest), kind, "/wrapupCode");
        let body = format!(r#"{{"detail":{}}}"#, with_id(rest));
        refused_at(&house, &body, kind, "/detail/wrapupCode");
        let body = format!(r#"{{"eventBody":{}}}"#, with_id(rest));
        refused_at(&house, &body, kind, "/eventBody/wrapupCode");
    }
    for body in [
        "{}",
        r#"{"eventTime":1767886512345}"#,
        r#"{"x":1}"#,
        r#"{"userId":null}"#,
    ] {
        let body = format!(r#"{{"topicName":"{topic}","eventBody":{body}}}"#);
        refused_at(&house, &body, kind, "/eventBody/wrapupCode");
    }
    assert!(house.port.asked().is_empty());
    for rest in [
        r#","wrapupCode":"c""#,
        r#","wrapupNotes":"n""#,
        r#","wrapupDurationMs":0"#,
    ] {
        let body = with_id(rest);
        assert_eq!(sent(&house, body.as_bytes()).status, 202, "{body}");
    }
    // Where the topic says what it is, whose it is will do.
    for body in [
        r#"{"participantId":"p"}"#,
        r#"{"sessionId":"s"}"#,
        r#"{"userId":"u"}"#,
    ] {
        let body = format!(r#"{{"topicName":"{topic}","eventBody":{body}}}"#);
        assert_eq!(sent(&house, body.as_bytes()).status, 202, "{body}");
    }
}

#[test]
fn what_is_no_event_is_refused_with_the_place_to_blame() {
    let house = guarded();
    for (body, status, pointer) in [
        ("{}", 400, "/conversationId"),
        (r#"{"conversationId":"x"}"#, 400, "/conversationId"),
        (r#"{"conversationId":7}"#, 400, "/conversationId"),
        (r#"{"detail":{}}"#, 400, "/detail/conversationId"),
        (r#"{"detail":7}"#, 400, "/detail"),
        (
            r#"{"detail":{"eventBody":{}}}"#,
            400,
            "/detail/eventBody/conversationId",
        ),
        (r#"{"detail":{"eventBody":[]}}"#, 400, "/detail/eventBody"),
        (r#"{"eventBody":"{}"}"#, 400, "/eventBody"),
        (
            r#"{"topicName":"v2.users.x.presence","eventBody":{}}"#,
            400,
            "/topicName",
        ),
        (r#"{"topicName":7,"eventBody":{}}"#, 400, "/topicName"),
        (
            r#"{"topicName":"v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.acw"}"#,
            400,
            "/eventBody",
        ),
        (r#"{"detail":{"a":1,"a":2}}"#, 400, "/detail/a"),
        ("[]", 422, ""),
        ("7", 422, ""),
    ] {
        let got = sent(&house, body.as_bytes());
        assert_eq!(got.status, status, "{body}");
        assert_eq!(got.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    for body in ["", "{", "no", r#"{"a":1,}"#, "{} {}"] {
        assert_eq!(sent(&house, body.as_bytes()).status, 400, "{body}");
    }
    let got = call(house.address, "POST", EVENTS, &[TOKEN], event().as_bytes());
    assert_eq!(got.status, 415);
    let got = call(house.address, "GET", EVENTS, &[TOKEN], b"");
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert!(house.port.asked().is_empty());
}

#[test]
fn the_platforms_odd_text_is_taken_as_far_as_it_can_be_told() {
    let house = guarded();
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for (odd, told) in [
        (br#""so far \ud83d""#.to_vec(), r#""so far \ufffd""#),
        (b"\"M\xfcller\"".to_vec(), "\"M\u{fffd}ller\""),
        (b"1e999".to_vec(), "1e999"),
        (deep.into_bytes(), "null"),
    ] {
        for mark in [&b""[..], b"\xef\xbb\xbf"] {
            let start = format!(r#"{{"conversationId":"{ID}","wrapupCode":"c","x":"#);
            let body = [mark, start.as_bytes(), &odd, b"}"].concat();
            let got = sent(&house, &body);
            assert_eq!(got.status, 202, "{}", got.text());
            assert!(reached(&house).1.contains(told));
        }
    }
}

#[test]
fn what_the_description_says_of_an_event_is_what_is_taken() {
    let house = guarded();
    let whole: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    let mut schema = whole["components"]["schemas"]["AfterCallWorkEvent"].clone();
    schema["components"] = whole["components"].clone();
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let topic = format!("v2.detail.events.conversation.{ID}.acw");
    let templated = "v2.detail.events.conversation.{id}.acw";
    let bare = json!({ "conversationId": ID, "wrapupCode": "c" });
    let named = json!({ "userId": "u" });
    let frame = json!({ "topicName": topic, "eventBody": named });
    for (event, taken) in [
        (bare.clone(), true),
        (json!({ "detail": bare }), true),
        (frame.clone(), true),
        (json!({ "detail": frame, "detail-type": templated }), true),
        (json!({ "detail": bare, "detail-type": topic }), true),
        (json!({ "detail": bare, "detail-type": null }), true),
        (json!({ "topicName": templated, "eventBody": bare }), true),
        (json!({ "eventBody": bare }), true),
        (
            json!({ "conversationId": ID, "topicName": topic, "eventBody": named }),
            true,
        ),
        (
            json!({ "conversationId": ID, "wrapupNotes": "", "wrapupDurationMs": 7,
                "eventTime": "1767886512345" }),
            true,
        ),
        (
            json!({ "conversationId": ID, "wrapupCode": "c", "eventTime": 1767886512345_i64 }),
            true,
        ),
        (
            json!({ "conversationId": ID, "wrapupCode": "c", "eventTime": null }),
            true,
        ),
        (
            json!({ "conversationId": ID, "wrapupCode": "c", "eventTime": 1767886512 }),
            false,
        ),
        (
            json!({ "conversationId": ID, "wrapupCode": "c", "eventTime": -1 }),
            false,
        ),
        (
            json!({ "conversationId": ID, "wrapupCode": "c", "eventTime": "soon" }),
            false,
        ),
        (
            json!({ "topicName": topic, "eventBody": { "userId": "u", "eventTime": true } }),
            false,
        ),
        (json!({ "conversationId": ID }), false),
        (json!({ "conversationId": ID, "wrapupCode": null }), false),
        (json!({ "conversationId": ID, "wrapupNotes": "" }), false),
        (json!({ "conversationId": ID, "participantId": "p" }), false),
        (json!({ "topicName": topic, "eventBody": {} }), false),
        (json!({ "detail": bare, "detail-type": "x" }), false),
        (json!({ "detail": bare, "detail-type": 7 }), false),
        (
            json!({ "conversationId": "x", "topicName": topic, "eventBody": named }),
            false,
        ),
        (json!({ "eventBody": { "conversationId": ID } }), false),
        (
            json!({ "topicName": templated, "eventBody": { "conversationId": ID } }),
            false,
        ),
        (json!({}), false),
        (json!([]), false),
        (json!({ "conversationId": "x" }), false),
        (json!({ "conversationId": 7 }), false),
        (json!({ "conversationId": ID, "eventBody": {} }), false),
        (json!({ "conversationId": ID, "detail": {} }), false),
        (json!({ "conversationId": ID, "detail": null }), false),
        (json!({ "conversationId": ID, "topicName": topic }), false),
        (json!({ "topicName": topic }), false),
        (json!({ "topicName": topic, "eventBody": "x" }), false),
        (json!({ "topicName": templated, "eventBody": {} }), false),
        (
            json!({ "topicName": "v2.users.x.presence", "eventBody": bare }),
            false,
        ),
        (json!({ "topicName": 7, "eventBody": bare }), false),
    ] {
        let got = sent(&house, event.to_string().as_bytes());
        assert_eq!(got.status == 202, taken, "{event}: {got:?}");
        assert_eq!(validator.is_valid(&event), taken, "described: {event}");
    }
}
