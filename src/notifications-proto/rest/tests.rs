use super::*;
use base::rng::Rng;
use base::wire::Response;

const ID: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
const CHANNEL: &str = "streaming-0-fmtdmf8cdis7jh14udg5p89t6z";
const URI: &str = "wss://streaming.mypurecloud.com/channels/streaming-0-fmtdmf8cdis7jh14udg5p89t6z";

fn endpoints() -> Endpoints {
    Endpoints {
        api_url: "https://api.example/".into(),
        login_url: "https://login.example".into(),
    }
}

fn conversation() -> ConversationId {
    ID.parse().unwrap()
}

fn every_op() -> Vec<Op> {
    let channel = || Secret::new(CHANNEL);
    let topics = || vec![Topic::new("a"), Topic::new("b")];
    vec![
        Op::Token,
        Op::CreateChannel,
        Op::ListChannels,
        Op::Subscriptions(channel()),
        Op::AddTopics(channel(), topics()),
        Op::Empty(channel()),
        Op::RemoveAll(channel()),
        Op::KeepWarm,
        Op::TokenIdles,
        Op::IdleTimeout,
        Op::Conversation(conversation()),
        Op::Conversations(vec![conversation(), conversation()]),
    ]
}

fn answer(status: u16, body: &str) -> Response {
    Response {
        status,
        headers: vec![],
        body: body.as_bytes().to_vec(),
    }
}

fn of(op: &Op, status: u16, body: &str) -> Result<Answer, Failure> {
    decode(op, &answer(status, body), Wall(0)).result
}

#[test]
fn every_call_has_its_method_address_and_body() {
    let n = "https://api.example/api/v2/notifications/channels";
    let list = r#"[{"id":"a"},{"id":"b"}]"#;
    let expected = [
        ("POST", "https://login.example/oauth/token".to_owned(), ""),
        ("POST", n.to_owned(), ""),
        ("GET", n.to_owned(), ""),
        ("GET", format!("{n}/{CHANNEL}/subscriptions"), ""),
        (
            "POST",
            format!("{n}/{CHANNEL}/subscriptions?ignoreErrors=true"),
            list,
        ),
        ("PUT", format!("{n}/{CHANNEL}/subscriptions"), "[]"),
        ("DELETE", format!("{n}/{CHANNEL}/subscriptions"), ""),
        ("HEAD", "https://api.example/api/v2/tokens/me".into(), ""),
        (
            "GET",
            "https://api.example/api/v2/tokens/me?preserveIdleTTL=true".into(),
            "",
        ),
        (
            "GET",
            "https://api.example/api/v2/tokens/timeout".into(),
            "",
        ),
        (
            "GET",
            format!("https://api.example/api/v2/conversations/{ID}"),
            "",
        ),
        (
            "GET",
            format!("https://api.example/api/v2/analytics/conversations/details?id={ID}&id={ID}"),
            "",
        ),
    ];
    for (op, (method, url, body)) in every_op().iter().zip(expected) {
        let request = encode(op, &endpoints(), Some(&Secret::new("t0ken")));
        assert_eq!(
            (request.method, request.url.as_str()),
            (method, url.as_str())
        );
        assert_eq!(String::from_utf8_lossy(&request.body), body, "{url}");
        assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
        assert!(
            request
                .header("User-Agent")
                .unwrap()
                .starts_with("genesys-gateway/")
        );
        let kind = request.header("content-type");
        assert_eq!(kind.is_some(), !body.is_empty(), "{url}");
    }
    let bare = encode(&Op::CreateChannel, &endpoints(), None);
    assert_eq!(bare.header("Authorization"), None);
}

#[test]
fn a_channel_id_cannot_leave_its_place_in_the_path() {
    let id = Secret::new("../x?y#z/ä %2f");
    let request = encode(&Op::Subscriptions(id), &endpoints(), None);
    assert_eq!(
        request.url,
        "https://api.example/api/v2/notifications/channels/..%2Fx%3Fy%23z%2F%C3%A4%20%252f/subscriptions"
    );
}

#[test]
fn a_channel_is_read_and_one_without_id_or_address_is_garbled() {
    let body = format!(
        r#"{{"connectUri":"{URI}","id":"{CHANNEL}","expires":"2026-01-09T15:30:00.000Z","new":1}}"#
    );
    assert_eq!(
        of(&Op::CreateChannel, 200, &body),
        Ok(Answer::Channel(Channel {
            id: Some(Secret::new(CHANNEL)),
            connect_uri: Some(Secret::new(URI)),
            expires: Wall::parse_rfc3339("2026-01-09T15:30:00Z"),
        }))
    );
    let without_expiry = format!(r#"{{"connectUri":"{URI}","id":"{CHANNEL}","expires":7}}"#);
    assert!(matches!(
        of(&Op::CreateChannel, 200, &without_expiry),
        Ok(Answer::Channel(Channel { expires: None, .. }))
    ));
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"id":"x"}"#,
        r#"{"id":"","connectUri":"u"}"#,
    ] {
        assert_eq!(
            of(&Op::CreateChannel, 200, bad),
            Err(Failure::Garbled),
            "{bad}"
        );
    }
}

#[test]
fn channels_of_other_tokens_are_listed_without_id() {
    let body = format!(
        r#"{{"entities":[{{"id":"{CHANNEL}","connectUri":"{URI}"}},{{"expires":"2026-01-09T11:02:17.512Z"}}]}}"#
    );
    let Ok(Answer::Channels(channels)) = of(&Op::ListChannels, 200, &body) else {
        panic!("no channels");
    };
    assert_eq!(channels.len(), 2);
    assert_eq!(
        (channels[1].id.as_ref(), channels[1].expires.is_some()),
        (None, true)
    );
    assert_eq!(of(&Op::ListChannels, 200, "{}"), Err(Failure::Garbled));
}

#[test]
fn a_rejected_topic_comes_with_its_reason_and_the_missing_permission() {
    let body = r#"{"entities":[
        {"id":"V2.Detail.A","state":"Permitted","selfUri":"/x"},
        {"id":"b","state":"Rejected","rejectionReason":"No permission for this topic","missingPermissions":["analytics:conversationDetail:view"]},
        {"id":"c","state":"rejected"},
        {"id":"d"},
        {"id":"e","missingPermissions":["p"]},
        {"state":"Permitted"}, 7, null]}"#;
    for op in &every_op()[3..=5] {
        let Ok(Answer::Topics(topics)) = of(op, 200, body) else {
            panic!("no topics");
        };
        let read: Vec<_> = topics
            .iter()
            .map(|t| (t.topic.as_str(), t.rejected.as_deref()))
            .collect();
        assert_eq!(
            read,
            [
                ("v2.detail.a", None),
                (
                    "b",
                    Some(
                        "No permission for this topic (missing: analytics:conversationDetail:view)"
                    )
                ),
                ("c", Some("the platform rejects the topic")),
                ("d", None),
                ("e", Some("the platform rejects the topic (missing: p)")),
            ]
        );
    }
}

#[test]
fn a_body_that_is_not_defined_may_be_anything() {
    for body in ["", "null", "ok", "{}", "<html>"] {
        for status in [200, 202, 204] {
            assert_eq!(of(&every_op()[5], status, body), Ok(Answer::Done));
            assert_eq!(of(&Op::KeepWarm, status, body), Ok(Answer::Done));
        }
    }
}

#[test]
fn conversations_are_handed_on_as_they_came_if_they_are_json_objects() {
    let body = "{\"id\": 12345678901234567890123, \"x\":\"\\u00e4\"}\n";
    for op in &[
        Op::Conversation(conversation()),
        Op::Conversations(vec![conversation()]),
    ] {
        assert_eq!(of(op, 200, body), Ok(Answer::Json(body.into())));
        for bad in ["", "[]", "{", "{\"a\":1}x", "<html></html>", "null"] {
            assert_eq!(of(op, 200, bad), Err(Failure::Garbled), "{bad}");
        }
        let not_utf8 = Response {
            body: b"{\"a\":\"\xff\"}".to_vec(),
            ..answer(200, "")
        };
        let told = Answer::Json("{\"a\":\"\u{fffd}\"}".into());
        assert_eq!(decode(op, &not_utf8, Wall(0)).result, Ok(told));
    }
}

#[test]
fn each_status_has_its_failure() {
    let bad = |status, detail: &str| Failure::BadRequest {
        status,
        detail: detail.into(),
    };
    let server = |status| Failure::Server {
        status,
        retry_after: None,
    };
    let op = Op::Conversation(conversation());
    for (status, body, expected) in [
        (
            401,
            r#"{"code":"bad.credentials","message":"Invalid login credentials."}"#,
            Failure::Unauthorized,
        ),
        (401, "", Failure::Unauthorized),
        (
            401,
            r#"{"code":"ip.not.authorized","message":"No."}"#,
            Failure::Forbidden("ip.not.authorized: No.".into()),
        ),
        (
            403,
            r#"{"code":"missing.permissions","message":"Needs \"a:b:view\"\r\n."}"#,
            Failure::Forbidden("missing.permissions: Needs \"a:b:view\" .".into()),
        ),
        (
            403,
            "<html>Forbidden</html>",
            Failure::Forbidden("a web page instead of an error body".into()),
        ),
        (
            403,
            "{}",
            Failure::Forbidden("status 403 without words".into()),
        ),
        (404, r#"{"code":"not.found"}"#, Failure::NotFound),
        (404, "<html>", Failure::NotFound),
        (
            400,
            r#"{"code":"notification.subscription.too.many.subscriptions"}"#,
            Failure::TooManyTopics,
        ),
        (
            400,
            r#"{"code":"notification.invalid.topic","message":"x"}"#,
            bad(400, "notification.invalid.topic: x"),
        ),
        (
            400,
            r#"{"code":"response.entity.too.large"}"#,
            bad(400, "response.entity.too.large"),
        ),
        (413, "", bad(413, "no error body")),
        (405, "plain words\u{7}", bad(405, "plain words")),
        (302, "", bad(302, "no error body")),
        (100, "", bad(100, "no error body")),
        (429, "", Failure::RateLimited(None)),
        (408, "", server(408)),
        (500, "", server(500)),
        (501, "{", server(501)),
        (502, "<html>", server(502)),
        (504, r#"{"code":"request.timeout"}"#, server(504)),
    ] {
        assert_eq!(of(&op, status, body), Err(expected), "{status} {body}");
    }
}

#[test]
fn waiting_times_and_limits_are_read_from_the_headers_in_any_letter_case() {
    let mut response = answer(429, "");
    response.headers = vec![
        ("ININ-RateLimit-Count".into(), "301".into()),
        ("inin-ratelimit-allowed".into(), "300".into()),
        ("Inin-Ratelimit-Reset".into(), " 61 ".into()),
        ("RETRY-AFTER".into(), "42".into()),
    ];
    let outcome = decode(&Op::CreateChannel, &response, Wall(0));
    assert_eq!(
        outcome.result,
        Err(Failure::RateLimited(Some(Duration::from_secs(42))))
    );
    let limits = Limits {
        count: 301,
        allowed: 300,
        reset: Duration::from_secs(61),
    };
    assert_eq!(outcome.limits, Some(limits));
    response.headers.pop();
    let outcome = decode(&Op::CreateChannel, &response, Wall(0));
    assert_eq!(
        outcome.result,
        Err(Failure::RateLimited(Some(Duration::from_secs(61))))
    );
    response.headers[0].1 = "many".into();
    assert_eq!(decode(&Op::KeepWarm, &response, Wall(0)).limits, None);
    response.status = 503;
    response.headers = vec![("Retry-After".into(), "Thu, 01 Jan 1970 00:00:09 GMT".into())];
    assert_eq!(
        decode(&Op::KeepWarm, &response, Wall(2000)).result,
        Err(Failure::Server {
            status: 503,
            retry_after: Some(Duration::from_secs(7)),
        })
    );
}

#[test]
fn the_reset_of_the_budget_is_a_request_to_wait_with_429_alone_and_retry_after_always() {
    let op = Op::Conversation(conversation());
    let with = |status, name: &str, value: &str| {
        let mut response = answer(status, "");
        response.headers = vec![(name.into(), value.into())];
        decode(&op, &response, Wall(0))
    };
    let asked = |outcome: &Outcome| match &outcome.result {
        Err(Failure::RateLimited(after)) => *after,
        Err(Failure::Server { retry_after, .. }) => *retry_after,
        _ => outcome.retry_after,
    };
    for status in [200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
        let reset = with(status, "inin-ratelimit-reset", "55");
        let waits = (status == 429).then_some(Duration::from_secs(55));
        assert_eq!(asked(&reset), waits, "{status}");
        assert_eq!(reset.retry_after, None, "{status}");
        let after = with(status, "Retry-After", "7");
        assert_eq!(asked(&after), Some(Duration::from_secs(7)), "{status}");
        assert_eq!(after.retry_after, asked(&after), "{status}");
    }
}

#[test]
fn a_budget_that_makes_no_sense_is_none() {
    for (count, allowed, reset) in [
        ("-1", "300", "10"),
        ("1", "0", "10"),
        ("1", "many", "10"),
        ("1", "300", ""),
        ("1", "300", "99999999999999999999"),
        ("1.5", "300", "10"),
    ] {
        let mut response = answer(500, "");
        for (name, value) in [("count", count), ("allowed", allowed), ("reset", reset)] {
            let name = format!("inin-ratelimit-{name}");
            response.headers.push((name, value.into()));
        }
        let outcome = decode(&Op::KeepWarm, &response, Wall(0));
        assert_eq!(outcome.limits, None, "{count} {allowed} {reset}");
    }
}

#[test]
fn the_login_host_has_its_own_errors() {
    assert_eq!(
        of(
            &Op::Token,
            200,
            r#"{"access_token":"abc","token_type":"bearer","expires_in":86399}"#
        ),
        Ok(Answer::Token {
            access_token: Secret::new("abc"),
            expires_in: Duration::from_secs(86_399),
        })
    );
    let body = r#"{"error":"invalid_client","description":"authentication failed"}"#;
    for status in [400, 401] {
        let Err(Failure::Login { label, .. }) = of(&Op::Token, status, body) else {
            panic!("not a refusal of the login host");
        };
        assert_eq!(label, "wrong-secret");
    }
    assert!(matches!(
        of(&Op::Token, 503, ""),
        Err(Failure::Server { status: 503, .. })
    ));
    assert_eq!(of(&Op::Token, 429, "{}"), Err(Failure::RateLimited(None)));
}

#[test]
fn the_words_of_an_error_are_bounded_and_do_not_give_the_channel_away() {
    let body = format!(
        r#"{{"code":"x","message":"Channel {CHANNEL} is gone {}"}}"#,
        "x".repeat(100_000)
    );
    let Err(Failure::Forbidden(words)) = of(&every_op()[3], 403, &body) else {
        panic!("not forbidden");
    };
    assert!(
        words.starts_with("x: Channel [hidden] is gone xxx"),
        "{words}"
    );
    assert!(words.chars().count() <= 300);
}

#[test]
fn nothing_shown_for_debugging_holds_a_secret() {
    for op in every_op() {
        assert!(!format!("{op:?}").contains(CHANNEL), "{op:?}");
        let request = encode(&op, &endpoints(), Some(&Secret::new("t0ken")));
        let shown = format!("{request:?}");
        assert!(
            !shown.contains("t0ken") && !shown.contains(CHANNEL),
            "{shown}"
        );
    }
    let body = format!(r#"{{"connectUri":"{URI}","id":"{CHANNEL}"}}"#);
    let shown = format!("{:?}", of(&Op::CreateChannel, 200, &body));
    assert!(!shown.contains("streaming"), "{shown}");
}

#[test]
fn no_damaged_answer_panics() {
    let samples = [
        format!(
            r#"{{"connectUri":"{URI}","id":"{CHANNEL}","expires":"2026-01-09T15:30:00.000Z"}}"#
        ),
        r#"{"entities":[{"id":"a","state":"Rejected","missingPermissions":["x"]}]}"#.into(),
        r#"{"message":"m","code":"c","status":403,"details":[],"errors":[]}"#.into(),
        r#"{"idleTokenTimeoutSeconds":900,"enableIdleTokenTimeout":true}"#.into(),
    ];
    let ops = every_op();
    for text in &samples {
        for cut in 0..=text.len() {
            for op in &ops {
                for status in [200, 403] {
                    let _ = of(op, status, &text[..cut]);
                }
            }
        }
    }
    let mut rng = Rng::new(5);
    for _ in 0..3000 {
        let mut body = samples[rng.below(4) as usize].clone().into_bytes();
        for _ in 0..=rng.below(6) {
            let at = rng.below(body.len() as u64) as usize;
            body[at] = rng.below(256) as u8;
        }
        let response = Response {
            status: 100 + rng.below(500) as u16,
            headers: vec![("Retry-After".into(), format!("{}", rng.next_u64()))],
            body,
        };
        let _ = decode(&ops[rng.below(10) as usize], &response, Wall(i64::MAX));
    }
}

#[test]
fn what_nobody_needs_cannot_spoil_what_is_needed_in_any_answer() {
    let spoilers: [&[u8]; 7] = [
        br#""Kunde \ud83d""#,
        b"\"M\xfcller\"",
        b"1e999",
        b"NaN",
        b"\"a\tb\"",
        &[b'9'; 400],
        &[[b'['; 5_000], [b']'; 5_000]].concat(),
    ];
    for spoiler in spoilers {
        for mark in [&b""[..], b"\xef\xbb\xbf"] {
            let odd =
                |start: &str, end: &str| [mark, start.as_bytes(), spoiler, end.as_bytes()].concat();
            let of = |op: &Op, status, body: Vec<u8>| {
                let response = Response {
                    status,
                    headers: vec![],
                    body,
                };
                decode(op, &response, Wall(0)).result
            };
            let made = odd(
                &format!(r#"{{"id":"a","id":"{CHANNEL}","x":"#),
                &format!(r#","connectUri":"{URI}"}}"#),
            );
            assert!(
                matches!(of(&Op::CreateChannel, 200, made), Ok(Answer::Channel(c)) if c.id == Some(Secret::new(CHANNEL)))
            );
            let listed = odd(
                r#"{"x":"#,
                r#","entities":[{"id":"v2.a","state":"Permitted"}]}"#,
            );
            assert!(
                matches!(of(&Op::Subscriptions(Secret::new(CHANNEL)), 200, listed.clone()), Ok(Answer::Topics(t)) if t.len() == 1)
            );
            assert!(
                matches!(of(&Op::ListChannels, 200, listed), Ok(Answer::Channels(c)) if c.len() == 1)
            );
            let idle = odd(
                r#"{"x":"#,
                r#","enableIdleTokenTimeout":true,"idleTokenTimeoutSeconds":900}"#,
            );
            assert_eq!(
                of(&Op::IdleTimeout, 200, idle),
                Ok(Answer::IdleTimeout(Some(std::time::Duration::from_secs(
                    900
                ))))
            );
            let token = odd(
                r#"{"x":"#,
                r#","access_token":"abc","token_type":"bearer","expires_in":3600}"#,
            );
            assert!(matches!(
                of(&Op::Token, 200, token),
                Ok(Answer::Token { .. })
            ));
            let refused = odd(
                r#"{"x":"#,
                r#","error":"invalid_client","description":"authentication failed"}"#,
            );
            assert!(matches!(
                of(&Op::Token, 401, refused),
                Err(Failure::Login {
                    label: "wrong-secret",
                    ..
                })
            ));
            let full = odd(
                r#"{"x":"#,
                r#","code":"notification.subscription.too.many.subscriptions"}"#,
            );
            assert_eq!(
                of(&Op::AddTopics(Secret::new(CHANNEL), vec![]), 400, full),
                Err(Failure::TooManyTopics)
            );
            for op in [Op::Conversation(conversation()), Op::Conversations(vec![])] {
                let body = odd(r#"{"x":"#, r#","participants":[]}"#);
                let Ok(Answer::Json(text)) = of(&op, 200, body) else {
                    panic!("not understood");
                };
                assert!(
                    base::foreign::value(text.as_bytes())
                        .is_some_and(|v| v["participants"].is_array())
                );
            }
        }
    }
}
