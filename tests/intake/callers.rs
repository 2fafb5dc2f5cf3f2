//! What callers rely on beyond the shape of answers.

use std::io::Write;

use super::*;

#[test]
fn an_accepted_interaction_is_answered_with_its_place_and_can_be_seen_there() {
    let house = house(With::default());
    let upper = ID.to_uppercase();
    let got = house.post(INTERACTIONS, &format!("{{\"conversationId\":\"{upper}\"}}"));
    assert_eq!(got.status, 202);
    assert_eq!(
        got.text(),
        format!(
            "{{\"conversationId\":\"{ID}\",\"state\":\"accepted\",\"acceptedAt\":\"2026-01-08T15:35:12.345Z\"}}"
        )
    );
    let location = got.header("location").unwrap().to_owned();
    assert_eq!(location, format!("{INTERACTIONS}/{ID}"));
    assert_eq!(house.get(&location).json()["state"], "accepted");
    assert_eq!(house.get(&location.replace(ID, &upper)).status, 200);
    let again = house.post(INTERACTIONS, &with_id(""));
    assert_eq!(again.status, 200);
    house.port.end(id(), "finished");
    assert_eq!(house.post(INTERACTIONS, &with_id("")).status, 202);
}

#[test]
fn the_other_members_reach_the_port_exactly_as_sent() {
    let house = house(With::default());
    let others = r#""n":123456789012345678901234567890.10E+400,"\u0061b":{ "x" : [ 1.0 , null ] },"e":"\u00e9é\/""#;
    house.post(
        INTERACTIONS,
        &format!(" {{ \"conversationId\" : \"{ID}\" , {others} }} "),
    );
    let CallerRequest::Accept { members, .. } = &house.port.asked()[0] else {
        panic!("{:?}", house.port.asked());
    };
    assert_eq!(members, &format!("{{{others}}}"));
    let shown = house.get(&format!("{INTERACTIONS}/{ID}"));
    assert!(
        shown
            .text()
            .contains(&format!("\"interaction\":{{{others}}}")),
        "{shown:?}"
    );
}

#[test]
fn the_id_is_found_where_the_configuration_says() {
    let nested = house(With {
        id_at: Some("/data/ids/0"),
        ..With::default()
    });
    let body = format!("{{\"data\":{{\"ids\":[\"{ID}\"]}},\"conversationId\":7}}");
    assert_eq!(nested.post(INTERACTIONS, &body).status, 202);
    let CallerRequest::Accept { members, .. } = &nested.port.asked()[0] else {
        panic!();
    };
    assert_eq!(*members, body, "a nested id stays where it is");
    let got = nested.post(INTERACTIONS, &with_id(""));
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["errors"][0]["pointer"], "/data/ids/0");

    // An agent's page knows nothing there but the id: that takes the place of nothing.
    let report = "\"agentDesktop\":{\"alice\":{\"media\":\"voice\"}}";
    let says = |body: &str| {
        let before = nested.port.asked().len();
        assert_eq!(nested.post(INTERACTIONS, body).status, 200);
        match &nested.port.asked()[before] {
            CallerRequest::Accept { members, .. } => members.clone(),
            other => panic!("{other:?}"),
        }
    };
    let page = says(&format!("{{{report},\"data\":{{\"ids\":[\"{ID}\"]}}}}"));
    assert_eq!(page, format!("{{{report}}}"));
    for more in [
        format!("{{{report},\"data\":{{\"ids\":[\"{ID}\"],\"a\":1}}}}"),
        format!("{{{report},\"data\":{{\"ids\":[\"{ID}\"]}},\"x\":1}}"),
    ] {
        assert_eq!(says(&more), more, "whoever says more says that");
    }

    let renamed = house(With {
        id_at: Some("/call~1id"),
        ..With::default()
    });
    let body = format!("{{\"a\":1,\"call/id\":\"{ID}\",\"conversationId\":7}}");
    assert_eq!(renamed.post(INTERACTIONS, &body).status, 202);
    let CallerRequest::Accept { members, .. } = &renamed.port.asked()[0] else {
        panic!();
    };
    assert_eq!(members, "{\"a\":1,\"conversationId\":7}");
}

#[test]
fn a_refusal_points_to_the_culprit() {
    let house = house(With::default());
    for (body, status, pointer) in [
        (String::from("{}"), 400, "/conversationId"),
        (
            String::from("{\"conversationId\":null}"),
            400,
            "/conversationId",
        ),
        (
            String::from("{\"conversationId\":12}"),
            400,
            "/conversationId",
        ),
        (
            format!("{{\"conversationId\":\"{}\"}}", ID.replace('-', "")),
            400,
            "/conversationId",
        ),
        (
            format!("{{\"conversationId\":\"{{{ID}}}\"}}"),
            400,
            "/conversationId",
        ),
        (
            with_id(&format!(",\"conversationId\":\"{ID}\"")),
            400,
            "/conversationId",
        ),
        (
            with_id(",\"a\":{\"b\":[{\"c\":1,\"c\":2}]}"),
            400,
            "/a/b/0/c",
        ),
        (with_id(",\"a\":[1,2"), 400, "/a"),
        (with_id(",\"a\":tru}"), 400, "/a"),
        (
            with_id(&format!(",\"a\":{}{}", "[".repeat(64), "]".repeat(64))),
            400,
            &format!("/a{}", "/0".repeat(63)),
        ),
        (with_id(",\"a\":\"\\ud800\""), 400, "/a"),
        (with_id("} x"), 400, ""),
        (String::from("\"text\""), 422, ""),
        (String::from("7"), 422, ""),
        (String::from("null"), 422, ""),
    ] {
        let got = house.post(INTERACTIONS, &body);
        assert_eq!(got.status, status, "{body}: {got:?}");
        let problem = got.json();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        assert!(problem["errors"][0]["detail"].is_string());
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
    }
    let mut bytes = with_id(",\"a\":[\"").into_bytes();
    bytes.pop();
    bytes.extend_from_slice(b"\xff\"]}");
    let got = call(house.address, "POST", INTERACTIONS, &[JSON], &bytes);
    assert_eq!(
        (got.status, &got.json()["errors"][0]["pointer"]),
        (400, &"/a/0".into())
    );
    assert!(house.port.asked().is_empty());
}

#[test]
fn bodies_up_to_the_limit_are_taken_and_not_a_byte_more() {
    let house = house(With::default());
    let empty = with_id(",\"a\":\"\"");
    let fill = "x".repeat(65536 - empty.len());
    let full = with_id(&format!(",\"a\":\"{fill}\""));
    assert_eq!(full.len(), 65536);
    assert_eq!(house.post(INTERACTIONS, &full).status, 202);
    let got = house.post(INTERACTIONS, &with_id(&format!(",\"a\":\"{fill}x\"")));
    assert_eq!(got.status, 413);
    assert_eq!(house.port.asked().len(), 1);
}

#[test]
fn media_types_of_json_are_taken_and_no_other() {
    let house = house(With::default());
    let status =
        |headers: &[(&str, &str)]| call(house.address, "POST", RESULTS, headers, b"{}").status;
    for good in [
        "application/json",
        "application/json; charset=UTF-8",
        "application/vnd.bofe+json",
    ] {
        assert_eq!(status(&[("Content-Type", good)]), 202, "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/json",
        "",
    ] {
        assert_eq!(status(&[("Content-Type", bad)]), 415, "{bad}");
    }
    assert_eq!(status(&[]), 415);
    assert_eq!(status(&[JSON, ("Content-Encoding", "gzip")]), 415);
    assert_eq!(status(&[JSON, ("Content-Encoding", "identity")]), 202);
}

#[test]
fn a_support_result_is_filed_as_it_is_and_once_per_key() {
    let house = house(With::default());
    let body = format!(
        " {{\"b\" : 1.50, \"conversationId\":\"{}\"}} ",
        ID.to_uppercase()
    );
    let key = ("Idempotency-Key", "order 66");
    let send = |body: &str, key: (&str, &str)| {
        call(
            house.address,
            "POST",
            RESULTS,
            &[JSON, key],
            body.as_bytes(),
        )
    };
    let first = send(&body, key);
    assert_eq!(first.status, 202);
    assert_eq!(first.json()["state"], "queued");
    let CallerRequest::SupportResult {
        idempotency_key,
        body_digest,
        conversation,
        result,
    } = &house.port.asked()[0]
    else {
        panic!();
    };
    assert_eq!(idempotency_key.as_deref(), Some("order 66"));
    assert_eq!(*body_digest, sha256(body.as_bytes()));
    assert_eq!(*conversation, Some(id()));
    assert_eq!(result, body.trim());
    assert_eq!(send(&body, key).json(), first.json());
    assert_eq!(send("{}", key).status, 422);
    assert_ne!(
        send("{}", ("Idempotency-Key", "another")).json(),
        first.json()
    );
    let long = "k".repeat(256);
    for bad in ["", long.as_str()] {
        assert_eq!(send("{}", ("Idempotency-Key", bad)).status, 400, "{bad}");
    }
    let got = house.post(RESULTS, "{\"conversationId\":null}");
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["errors"][0]["pointer"], "/conversationId");
}

#[test]
fn an_ended_interaction_is_shown_with_its_reason_and_its_records() {
    let house = house(With::default());
    let record = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let mut view = InteractionView {
        conversation: id(),
        state: "finished".into(),
        accepted_at: ACCEPTED_AT,
        watched_since: Some(ACCEPTED_AT),
        finished_at: Some(ACCEPTED_AT),
        reason: Some(("conversation-finished".into(), "Every leg is done.".into())),
        members: None,
        records: vec![
            record_view(record, "delivered"),
            record_view(record, "dead"),
        ],
    };
    house.port.put_interaction(view.clone());
    let path = format!("{INTERACTIONS}/{ID}");
    let at = "2026-01-08T15:35:12.345Z";
    let got = house.get(&path);
    assert_eq!(
        got.json(),
        serde_json::json!({
            "conversationId": ID, "state": "finished", "acceptedAt": at, "watchedSince": at, "finishedAt": at,
            "reason": {"code": "conversation-finished", "detail": "Every leg is done."},
            "records": [
                {"recordId": record.to_string(), "source": "notification", "eventTime": at, "receivedAt": at,
                 "state": "delivered", "attempts": 2, "deliveredAt": at},
                {"recordId": record.to_string(), "source": "notification", "eventTime": at, "receivedAt": at,
                 "state": "dead", "attempts": 2, "lastError": "503 \"down\""},
            ],
        })
    );
    assert_eq!(got.header("cache-control"), Some("no-store"));
    view.watched_since = None;
    view.finished_at = None;
    view.reason = None;
    view.records.clear();
    house.port.put_interaction(view);
    let bare = house.get(&path).json();
    assert_eq!(bare.as_object().unwrap().len(), 4, "{bare}");
}

#[test]
fn a_full_store_is_said_with_the_time_to_come_back() {
    let house = house(With::default());
    house.port.busy.store(true, Ordering::Relaxed);
    let got = house.post(INTERACTIONS, &with_id(""));
    assert_eq!((got.status, got.header("retry-after")), (503, Some("3")));
    assert_eq!(got.json()["detail"], "The disk is full.");
    house.port.unreadable.store(true, Ordering::Relaxed);
    let got = house.get(&format!("{INTERACTIONS}/{ID}"));
    assert_eq!((got.status, got.header("retry-after")), (503, Some("5")));
    assert!(
        !got.text().contains("malformed"),
        "what the store says is for the log"
    );
}

#[test]
fn a_connection_survives_refusals_that_left_the_framing_intact() {
    let house = house(With::default());
    let mut s = connect(house.address);
    for (body, status) in [("{", 400), ("[]", 422), ("{}", 202)] {
        std::io::Write::write_all(&mut s, &request("POST", RESULTS, &[JSON], body.as_bytes()))
            .unwrap();
        assert_eq!(read_answer(&mut s, false).status, status);
    }
}

#[test]
fn each_of_several_tokens_opens_what_holds_data_and_pages_need_none() {
    let house = house(With {
        tokens: &["alpha", "beta"],
        ..With::default()
    });
    let status = |value: &str, path: &str| {
        let headers = [("Authorization", value)];
        call(house.address, "GET", path, &headers, b"").status
    };
    let data = format!("{INTERACTIONS}/{ID}");
    assert_eq!(status("Bearer alpha", &data), 404);
    assert_eq!(status("bearer beta", &data), 404);
    for bad in [
        "Bearer gamma",
        "Bearer",
        "Basic alpha",
        "alpha",
        "Bearer alpha beta",
    ] {
        assert_eq!(status(bad, &data), 401, "{bad}");
    }
    let got = house.get(&data);
    assert_eq!(got.status, 401);
    assert!(
        got.header("www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    for public in ["/openapi.json", "/agent-desktop/", "/agent-desktop/page.js"] {
        assert_eq!(house.get(public).status, 200, "{public}");
    }
}

#[test]
fn only_listed_origins_may_read_and_ask_beforehand() {
    let listed = "https://apps.mypurecloud.de";
    let house = house(With {
        origins: &["https://apps.mypurecloud.de", "*"],
        tokens: &["t"],
        ..With::default()
    });
    let preflight = |origin: &str, path: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ];
        call(house.address, "OPTIONS", path, &headers, b"")
    };
    let got = preflight(listed, INTERACTIONS);
    assert_eq!(got.status, 204, "without a token: browsers send none here");
    assert_eq!(got.header("access-control-allow-origin"), Some(listed));
    assert_eq!(got.header("access-control-allow-methods"), Some("POST"));
    assert!(
        got.header("access-control-allow-headers")
            .unwrap()
            .contains("Authorization")
    );
    assert_eq!(got.header("vary"), Some("Origin"));
    for other in [
        "https://evil.example",
        "null",
        "*",
        "https://apps.mypurecloud.de.evil.example",
    ] {
        let got = preflight(other, INTERACTIONS);
        assert!(got.status >= 400, "{other}: {got:?}");
        assert_eq!(got.header("access-control-allow-origin"), None, "{other}");
        assert_eq!(got.header("vary"), Some("Origin"), "{other}");
    }
    // Refusals are readable too, else a page cannot say what was wrong.
    let headers = [JSON, ("Origin", listed)];
    let got = call(house.address, "POST", INTERACTIONS, &headers, b"{}");
    assert_eq!(got.status, 401);
    assert_eq!(got.header("access-control-allow-origin"), Some(listed));
    // Those of the gate as well.
    for (origin, allowed) in [(listed, Some(listed)), ("https://evil.example", None)] {
        for (status, fields) in [(411, "X: y"), (413, "Content-Length: 99999999")] {
            let text = format!(
                "POST {INTERACTIONS} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{fields}\r\n\r\n"
            );
            let got = raw(house.address, text.as_bytes());
            assert_eq!(got.status, status);
            assert_eq!(got.header("access-control-allow-origin"), allowed);
            assert_eq!(got.header("vary"), Some("Origin"));
        }
    }
}

#[test]
fn pages_are_served_with_their_types() {
    let house = house(With::default());
    for asset in &ASSETS {
        let got = house.get(asset.path);
        assert_eq!(got.body, asset.body);
        assert_eq!(got.header("content-type"), Some(asset.content_type));
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("content-security-policy"), Some(POLICY));
        let head = call(house.address, "HEAD", asset.path, &[], b"");
        assert_eq!(
            head.header("content-length").unwrap(),
            asset.body.len().to_string()
        );
    }
    for asset in &ASSETS {
        let tag = house.get(asset.path);
        let tag = tag.header("etag").unwrap();
        for method in ["GET", "HEAD"] {
            let mut s = connect(house.address);
            // Twice on one connection: an answer without a body ends where its head ends.
            for _ in 0..2 {
                let known = [("If-None-Match", tag)];
                s.write_all(&request(method, asset.path, &known, b""))
                    .unwrap();
                let again = read_answer(&mut s, true);
                assert_eq!(again.status, 304, "{method}");
                assert_eq!(again.header("etag"), Some(tag));
                assert_eq!(again.header("cache-control"), Some("no-cache"));
                assert_eq!(again.header("content-security-policy"), Some(POLICY));
                assert_eq!(again.header("content-length"), None);
            }
        }
    }
    let made = house.get("/agent-desktop/config.json");
    assert_eq!(made.text(), "{\"desktopOrigins\":[]}");
    assert_eq!(made.header("content-security-policy"), Some(POLICY));
    for other in [
        "/agent-desktop/../agent-desktop/",
        "/agent-desktop//page.js",
        "/agent-desktop/PAGE.js",
        "/agent-desktop/%70age.js",
    ] {
        assert_eq!(house.get(other).status, 404, "{other}");
    }
}

#[test]
fn where_there_is_no_page_there_is_nothing_of_it() {
    let house = house(With {
        no_page: true,
        ..With::default()
    });
    for path in [
        "/agent-desktop",
        "/agent-desktop/",
        "/agent-desktop/config.json",
        "/agent-desktop/page.js",
        "/agent-desktop/token",
        "/agent-desktop/news",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let got = call(house.address, method, path, &[], b"");
            assert_eq!(got.status, 404, "{method} {path}");
        }
    }
}

#[test]
fn a_caller_beyond_its_quota_is_told_when_to_come_back_and_live_ones_may_be_repeated() {
    let house = house(With {
        accepts_per_minute: 2,
        ..With::default()
    });
    let body = |n: u32| format!("{{\"conversationId\":\"7c1f4b9e-5d0a-4c58-9a3e-{n:012}\"}}");
    assert_eq!(house.post(INTERACTIONS, &body(1)).status, 202);
    // A repetition costs nothing, nor does what is refused.
    assert_eq!(house.post(INTERACTIONS, &body(1)).status, 200);
    assert_eq!(house.post(INTERACTIONS, "{}").status, 400);
    assert_eq!(house.post(INTERACTIONS, &body(2)).status, 202);
    let asked = house.port.asked().len();
    let got = house.post(INTERACTIONS, &body(3));
    assert_eq!(got.status, 503);
    let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(house.port.asked().len(), asked, "nothing was asked for");
    assert_eq!(house.post(INTERACTIONS, &body(1)).status, 200);
    assert_eq!(house.post(RESULTS, "{}").status, 202);
}
