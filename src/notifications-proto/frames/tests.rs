use super::*;
use base::rng::Rng;

const TOPIC: &str = "v2.detail.events.conversation.4fce4357-7abc-44b9-81e5-64e1e9e0ccf1.acw";

fn reply(text: &str) -> Reply<'_> {
    match classify(text) {
        Frame::Reply(reply) => reply,
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn requests_are_written_as_the_platform_reads_them() {
    let topics = [Topic::new(TOPIC)];
    assert_eq!(
        subscribe(&topics, "12"),
        format!(r#"{{"message":"subscribe","topics":["{TOPIC}"],"correlationId":"12"}}"#)
    );
    assert_eq!(
        unsubscribe(&[Topic::new("a\"b"), Topic::new("C")], "x"),
        r#"{"message":"unsubscribe","topics":["a\"b","C"],"correlationId":"x"}"#
    );
    assert_eq!(ping(), r#"{"message":"ping"}"#);
}

#[test]
fn a_confirmation_is_read_with_its_id_topics_and_result() {
    let text = format!(
        r#"{{"correlationId":"12","topics":["{TOPIC}"],"result":"200","status":"subscribed","message":"Successfully subscribed to topic(s)."}}"#
    );
    assert_eq!(
        reply(&text),
        Reply {
            correlation: Some("12".into()),
            topics: Some(vec![Topic::new(TOPIC)]),
            result: 200,
            done: Some(Done::Subscribed),
            message: "Successfully subscribed to topic(s).".into(),
        }
    );
}

#[test]
fn a_result_is_read_from_a_string_or_a_number_and_anything_else_is_zero() {
    for (written, read) in [
        (r#""200""#, 200),
        ("200", 200),
        (r#""404""#, 404),
        ("400", 400),
        (r#""""#, 0),
        (r#""ok""#, 0),
        (r#""+200""#, 0),
        ("200.0", 0),
        ("-200", 0),
        ("99999999", 0),
        ("true", 0),
        ("[200]", 0),
        (r#"{"code":200}"#, 0),
    ] {
        let text = format!(r#"{{"correlationId":"1","result":{written}}}"#);
        assert_eq!(reply(&text).result, read, "{written}");
    }
}

#[test]
fn a_reply_may_lack_almost_everything() {
    let bare = reply(r#"{"result":"400"}"#);
    assert_eq!(
        (bare.correlation, bare.topics, bare.result),
        (None, None, 400)
    );
    let nulls = reply(r#"{"result":"400","correlationId":null,"topics":null,"message":null}"#);
    assert_eq!((nulls.correlation, nulls.topics), (None, None));
    let empty = reply(r#"{"result":"400","correlationId":"","topics":[]}"#);
    assert_eq!((empty.correlation, empty.topics), (None, Some(vec![])));
    let numbered = reply(r#"{"result":"200","correlationId":7,"topics":["A",1,null,"b"]}"#);
    assert_eq!(numbered.correlation.as_deref(), Some("7"));
    assert_eq!(
        numbered.topics,
        Some(vec![Topic::new("a"), Topic::new("b")])
    );
    let without_result = reply(r#"{"correlationId":"9","status":"failure"}"#);
    assert_eq!(
        (without_result.result, without_result.message.as_str()),
        (0, "failure")
    );
}

#[test]
fn the_words_of_a_reply_are_bounded_and_carry_no_control_characters() {
    let text = format!(
        r#"{{"result":"400","message":"bad\r\n\u001b[31m{}"}}"#,
        "x".repeat(10_000)
    );
    let message = reply(&text).message;
    assert!(message.starts_with("bad [31mxxx"), "{message}");
    assert_eq!(message.chars().count(), MESSAGE_MAX);
}

#[test]
fn every_kind_of_frame_is_told_apart() {
    for (text, label) in [
        (
            r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#,
            "heartbeat",
        ),
        (
            r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#,
            "pong",
        ),
        (
            r#"{"topicName":"Channel.Metadata","eventBody":{"Message":"PONG"}}"#,
            "pong",
        ),
        (r#"{"topicName":"channel.metadata"}"#, "heartbeat"),
        (
            r#"{"topicName":"channel.metadata","eventBody":"pong"}"#,
            "heartbeat",
        ),
        (
            r#"{"topicName":"v2.system.socket_closing","eventBody":{"message":"Websocket closing soon"}}"#,
            "socket-closing",
        ),
        (
            r#"{"topicname":"V2.System.Socket_Closing"}"#,
            "socket-closing",
        ),
        (
            r#"{"topicName":"v2.system.no_longer_subscribed.streaming-0-abc","eventBody":{}}"#,
            "no-longer-subscribed",
        ),
        (
            r#"{"topicName":"v2.system.token_revoked.abc"}"#,
            "token-revoked",
        ),
        (
            r#"{"topicName":"v2.system.a.b","eventBody":{"systemTopicType":"x"}}"#,
            "other-system",
        ),
        (
            r#"{"topicName":"v2.system.socket_closing_soon"}"#,
            "other-system",
        ),
        (r#"{"topicName":"v2.subscription.updated"}"#, "other-system"),
        (
            r#"{"topicName":"v2.detail.events.conversation.x.acw","eventBody":{}}"#,
            "event",
        ),
        (r#"{"topicName":"","eventBody":{}}"#, "event"),
        (r#"{"topicName":7,"eventBody":{}}"#, "topic-not-a-string"),
        (r#"{"topicName":null}"#, "neither-topic-nor-result"),
        (r#"{"message":"pong"}"#, "neither-topic-nor-result"),
        (r#"{"status":"subscribed"}"#, "neither-topic-nor-result"),
        ("{}", "neither-topic-nor-result"),
        ("[]", "not-an-object"),
        (r#"["v2.system.socket_closing",{}]"#, "not-an-object"),
        ("null", "not-an-object"),
        ("7", "not-an-object"),
        (r#""topicName""#, "not-an-object"),
        ("", "not-an-object"),
        ("<html>", "not-an-object"),
        (r#"{"topicName":"channel.metadata"} x"#, "not-an-object"),
    ] {
        assert_eq!(classify(text).label(), label, "{text}");
    }
}

#[test]
fn an_event_keeps_its_body_byte_for_byte() {
    let body =
        "{ \"eventTime\" : 1767886512345678901234,\n \"wrapupNotes\":\"\\u00e4 \\\"x\\\"\" }";
    for metadata in [
        r#"{"CorrelationId":"c-1"}"#,
        r#"{"type":"x","correlationid":"c-1"}"#,
    ] {
        let text = format!(
            r#"{{"version":"2","new":[{{}}],"topicName":"V2.Detail.X.ACW","eventBody":{body},"metadata":{metadata}}}"#
        );
        let Frame::Event {
            topic,
            body: got,
            correlation,
            version,
        } = classify(&text)
        else {
            panic!("not an event");
        };
        assert_eq!(version.as_deref(), Some("2"));
        assert_eq!(topic.written(), "V2.Detail.X.ACW");
        assert_eq!(topic, Topic::new("v2.detail.x.acw"));
        assert_eq!(got, body);
        assert_eq!(correlation.as_deref(), Some("c-1"));
    }
    for odd in ["", r#","metadata":7"#, r#","metadata":{"correlationId":7}"#] {
        let text = format!(r#"{{"topicName":"t"{odd}}}"#);
        let Frame::Event {
            body, correlation, ..
        } = classify(&text)
        else {
            panic!("not an event: {text}");
        };
        assert_eq!((body, correlation), ("null", None), "{text}");
    }
}

#[test]
fn escaped_names_are_understood() {
    let text =
        r#"{"topic\u004eame":"channel\u002emetadata","eventBody":{"mess\u0061ge":"p\u006fng"}}"#;
    assert_eq!(classify(text), Frame::Pong);
}

#[test]
fn nothing_of_an_event_is_shown_for_debugging() {
    let text = r#"{"topicName":"t.secret","eventBody":{"wrapupNotes":"private"}}"#;
    assert_eq!(format!("{:?}", classify(text)), "event");
}

#[test]
fn a_frame_over_the_limit_or_nested_without_end_is_unknown_and_not_fatal() {
    let huge = format!(
        r#"{{"topicName":"t","eventBody":"{}"}}"#,
        "x".repeat(FRAME_MAX)
    );
    assert_eq!(classify(&huge), Frame::Unknown(Unknown::TooLarge));
    let open = "[".repeat(200_000);
    assert_eq!(classify(&open).label(), "not-an-object");
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(classify(&deep), Frame::Unknown(_)));
    let deep_topics = format!(
        r#"{{"result":"200","topics":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let _ = classify(&deep_topics);
}

fn samples() -> Vec<String> {
    vec![
        format!(r#"{{"correlationId":"12","topics":["{TOPIC}"],"result":"200","status":"subscribed","message":"Successfully."}}"#),
        r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#.into(),
        r#"{"topicName":"v2.system.no_longer_subscribed.s-0","eventBody":{"channelId":"s-0","reason":"another_channel_subscribed"}}"#.into(),
        format!(r#"{{"topicName":"{TOPIC}","version":"2","eventBody":{{"eventTime":1,"wrapupNotes":"äöü \u2028 \ud83d\ude00"}},"metadata":{{"CorrelationId":"c"}}}}"#),
    ]
}

#[test]
fn every_prefix_of_a_frame_is_unknown() {
    for text in samples() {
        assert!(!matches!(classify(&text), Frame::Unknown(_)), "{text}");
        for cut in (0..text.len()).filter(|i| text.is_char_boundary(*i)) {
            assert!(
                matches!(classify(&text[..cut]), Frame::Unknown(_)),
                "{}",
                &text[..cut]
            );
        }
    }
}

#[test]
fn random_damage_never_panics() {
    let mut rng = Rng::new(20_260_108);
    let alphabet = b"{}[]\",:\\u0dnulltruef-1e+.\x00\x1f topicNameresult\xc3\xa4";
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 {
            samples()[rng.below(4) as usize].clone().into_bytes()
        } else {
            Vec::new()
        };
        for _ in 0..=rng.below(24) {
            let byte = if rng.chance(50) {
                alphabet[rng.below(alphabet.len() as u64) as usize]
            } else {
                rng.below(256) as u8
            };
            let at = rng.below(bytes.len() as u64 + 1) as usize;
            if rng.chance(50) || at >= bytes.len() {
                bytes.insert(at, byte);
            } else {
                bytes[at] = byte;
            }
        }
        if let Frame::Reply(reply) = classify(&String::from_utf8_lossy(&bytes)) {
            assert!(reply.message.chars().count() <= MESSAGE_MAX);
        }
    }
}
