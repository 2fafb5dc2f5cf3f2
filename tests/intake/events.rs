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
fn the_topic_says_whose_event_it_is() {
    let house = guarded();
    let topic = format!("v2.detail.events.conversation.{OTHER_ID}.acw");
    let frame = format!(r#"{{"topicName":"{topic}","eventBody":{}}}"#, event());
    assert_eq!(sent(&house, frame.as_bytes()).status, 202);
    assert_eq!(reached(&house).0, OTHER_ID.parse().unwrap());
    let bare = format!(r#"{{"topicName":"{topic}","eventBody":{{}}}}"#);
    assert_eq!(sent(&house, bare.as_bytes()).status, 202);
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
            let start = format!(r#"{{"conversationId":"{ID}","x":"#);
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
    let bare = json!({ "conversationId": ID });
    let frame = json!({ "topicName": topic, "eventBody": {} });
    for (event, taken) in [
        (bare.clone(), true),
        (json!({ "detail": bare }), true),
        (frame.clone(), true),
        (json!({ "detail": frame, "detail-type": templated }), true),
        (json!({ "topicName": templated, "eventBody": bare }), true),
        (json!({ "eventBody": bare }), true),
        // The frame counts, not what stands beside it.
        (
            json!({ "conversationId": "x", "topicName": topic, "eventBody": {} }),
            true,
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
