//! The table of "finished", and what is rebuilt.

use serde_json::json;

use super::*;

const C: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";

fn c() -> ConversationId {
    C.parse().unwrap()
}

fn t(text: &str) -> Wall {
    Wall::parse_rfc3339(text).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    for (k, v) in from.as_object().unwrap() {
        into[k] = v.clone();
    }
}

/// One voice conversation with a customer and one agent, with these members laid over.
fn conversation(agent: Value, call: Value) -> String {
    let mut base_call = json!({"id": "E40C", "state": "disconnected", "direction": "inbound", "provider": "Edge",
        "connectedTime": "2026-01-08T15:29:52.310Z", "disconnectedTime": "2026-01-08T15:34:53.900Z"});
    merge(&mut base_call, &call);
    let mut base_agent = json!({"id": "B9D2", "purpose": "agent", "userId": "u1", "queueId": "q1",
        "connectedTime": "2026-01-08T15:29:52.310Z", "wrapupRequired": true, "calls": [base_call]});
    merge(&mut base_agent, &agent);
    json!({"id": C, "startTime": "2026-01-08T15:29:31.004Z", "endTime": "2026-01-08T15:34:53.900Z",
        "participants": [
            {"id": "cust", "purpose": "customer", "ani": "tel:+15555550123", "dnis": "tel:+15555550199",
             "externalContactId": "contact-1", "calls": [{"id": "x", "state": "disconnected", "wrapup": {"code": "never", "endTime": "2026-01-08T15:00:00Z"}}]},
            {"id": "queue", "purpose": "acd", "calls": [{"id": "y", "state": "connected"}]},
            base_agent]})
    .to_string()
}

fn view(agent: Value, call: Value) -> ConversationView {
    read_conversation(&conversation(agent, call), c()).unwrap()
}

#[test]
fn a_leg_is_done_by_the_order_of_trust() {
    let wrap = json!({"code": "w", "endTime": "2026-01-08T15:35:12.150Z", "durationSeconds": 18});
    let draft =
        json!({"notes": "draft", "provisional": true, "endTime": "2026-01-08T15:35:12.150Z"});
    let late = "2026-01-08T15:35:12.150Z";
    // Agent's members, call's members, done, with a record due.
    let table = [
        ("nothing said", json!({}), json!({}), false, false),
        (
            "complete",
            json!({}),
            json!({"afterCallWork": {"state": "complete"}}),
            true,
            false,
        ),
        (
            "complete with wrap-up",
            json!({}),
            json!({"afterCallWork": {"state": "complete"}, "wrapup": wrap}),
            true,
            true,
        ),
        (
            "skipped",
            json!({}),
            json!({"afterCallWork": {"state": "skipped"}}),
            true,
            false,
        ),
        (
            "an end without a state",
            json!({}),
            json!({"afterCallWork": {"endTime": late}}),
            true,
            false,
        ),
        (
            "pending",
            json!({}),
            json!({"afterCallWork": {"state": "pending"}}),
            false,
            false,
        ),
        (
            "pending beats the participant's end",
            json!({"endAcwTime": late}),
            json!({"afterCallWork": {"state": "pending"}}),
            false,
            false,
        ),
        (
            "pending with an earlier wrap-up",
            json!({}),
            json!({"afterCallWork": {"state": "pending"}, "wrapup": wrap}),
            false,
            true,
        ),
        (
            "started",
            json!({"startAcwTime": late}),
            json!({}),
            false,
            false,
        ),
        (
            "started and ended",
            json!({"startAcwTime": late, "endAcwTime": late}),
            json!({}),
            true,
            false,
        ),
        (
            "started, wrap-up of an earlier round",
            json!({"startAcwTime": late}),
            json!({"wrapup": wrap}),
            false,
            true,
        ),
        ("a draft", json!({}), json!({"wrapup": draft}), false, false),
        (
            "a draft in complete work",
            json!({}),
            json!({"wrapup": draft, "afterCallWork": {"state": "complete"}}),
            true,
            false,
        ),
        (
            "a wrap-up alone",
            json!({}),
            json!({"wrapup": wrap}),
            true,
            true,
        ),
        (
            "a wrap-up on the participant",
            json!({"wrapup": wrap}),
            json!({}),
            true,
            true,
        ),
        (
            "a code and the end of work",
            json!({"endAcwTime": late}),
            json!({"wrapup": {"code": "w"}}),
            true,
            true,
        ),
        (
            "a code without any end",
            json!({}),
            json!({"wrapup": {"code": "w"}}),
            false,
            false,
        ),
        (
            "wrapupSkipped",
            json!({"wrapupSkipped": true}),
            json!({}),
            true,
            false,
        ),
        (
            "not applicable",
            json!({}),
            json!({"afterCallWork": {"state": "notApplicable"}}),
            true,
            false,
        ),
        (
            "not applicable but connected",
            json!({}),
            json!({"afterCallWork": {"state": "notApplicable"}, "state": "connected"}),
            false,
            false,
        ),
        (
            "not required",
            json!({"wrapupRequired": false}),
            json!({}),
            true,
            false,
        ),
        (
            "not required, terminated",
            json!({"wrapupRequired": false}),
            json!({"state": "terminated"}),
            true,
            false,
        ),
        (
            "not required but connected",
            json!({"wrapupRequired": false}),
            json!({"state": "connected"}),
            false,
            false,
        ),
        (
            "unknown state while connected",
            json!({}),
            json!({"afterCallWork": {"state": "unknown"}, "state": "connected"}),
            false,
            false,
        ),
        (
            "never answered",
            json!({"connectedTime": null}),
            json!({"startAlertingTime": late, "connectedTime": null}),
            true,
            false,
        ),
        (
            "a leg without a state in a conversation that is over",
            json!({"wrapupRequired": false}),
            json!({"state": null}),
            true,
            false,
        ),
        (
            "odd types",
            json!({"wrapupRequired": 7, "startAcwTime": {}}),
            json!({"state": "?", "wrapup": 3, "afterCallWork": "x"}),
            false,
            false,
        ),
    ];
    for (name, agent, call, done, record) in table {
        let view = view(agent, call);
        assert_eq!(view.legs.len(), 1, "{name}");
        assert_eq!(view.legs[0].done, done, "{name}");
        assert_eq!(view.legs[0].wrap_up.is_some(), record, "{name}");
        assert_eq!(view.finished(), done, "{name}");
    }
}

#[test]
fn a_conversation_without_end_is_not_finished() {
    let text = conversation(json!({"wrapupRequired": false}), json!({}));
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    whole["endTime"] = Value::Null;
    let view = read_conversation(&whole.to_string(), c()).unwrap();
    assert!(view.legs[0].done && !view.finished());
}

#[test]
fn a_voice_wrap_up_is_rebuilt_with_the_members_of_the_event() {
    let wrap = json!({"code": "code-1", "name": "x", "notes": "a note", "endTime": "2026-01-08T15:35:12.150Z", "durationSeconds": 18});
    let view = view(
        json!({}),
        json!({"afterCallWork": {"state": "complete"}, "wrapup": wrap}),
    );
    let wrap_up = view.legs[0].wrap_up.as_ref().unwrap();
    assert_eq!(wrap_up.time, t("2026-01-08T15:35:12.150Z"));
    let body: Value = serde_json::from_str(&wrap_up.body).unwrap();
    assert_eq!(
        body,
        json!({"eventTime": 1767886512150i64, "conversationId": C, "participantId": "b9d2", "sessionId": "e40c",
            "mediaType": "VOICE", "provider": "Edge", "direction": "INBOUND", "ani": "tel:+15555550123",
            "dnis": "tel:+15555550199", "userId": "u1", "queueId": "q1", "wrapupCode": "code-1",
            "wrapupNotes": "a note", "wrapupDurationMs": 18000, "conversationExternalContactIds": ["contact-1"]})
    );
}

#[test]
fn other_media_bring_their_own_members() {
    let wrap = json!({"code": "w", "endTime": "2026-01-08T15:35:12Z"});
    let whole = json!({"id": C, "participants": [
        {"id": "p", "purpose": "agent", "startAcwTime": "2026-01-08T15:35:02Z", "endAcwTime": "2026-01-08T15:35:12Z",
         "messages": [{"id": "m", "type": "webmessaging", "direction": "inbound", "wrapup": wrap,
            "toAddress": {"addressNormalized": "to"}, "fromAddress": {"addressNormalized": "from"}}]},
        {"id": "p2", "purpose": "agent",
         "callbacks": [{"id": "cb", "direction": "outbound", "wrapup": wrap, "callbackNumbers": ["tel:+1"],
            "callbackUserName": "A", "callbackScheduledTime": "2026-01-08T15:00:00Z"}]},
        {"id": "p3", "purpose": "user", "userId": "u", "emails": [{"id": "e", "subject": "Hello", "wrapup": wrap}]},
        {"id": "p4", "purpose": "user", "emails": [{"id": "station", "wrapup": wrap}]}]});
    let view = read_conversation(&whole.to_string(), c()).unwrap();
    let bodies: Vec<Value> = view
        .legs
        .iter()
        .map(|l| serde_json::from_str(&l.wrap_up.as_ref().unwrap().body).unwrap())
        .collect();
    assert_eq!(bodies.len(), 3);
    assert_eq!(bodies[0]["messageType"], "WEBMESSAGING");
    assert_eq!(
        (&bodies[0]["addressTo"], &bodies[0]["addressFrom"]),
        (&json!("to"), &json!("from"))
    );
    assert_eq!(bodies[0].get("ani"), None);
    assert_eq!(bodies[1]["mediaType"], "CALLBACK");
    assert_eq!(bodies[1]["callbackNumbers"], json!(["tel:+1"]));
    assert_eq!(bodies[1]["callbackScheduledTime"], 1767884400000i64);
    assert_eq!(bodies[2]["subject"], "Hello");
    assert_eq!(bodies[2].get("wrapupDurationMs"), None);
}

#[test]
fn a_participants_wrap_up_goes_to_its_last_leg_only() {
    let whole = json!({"id": C, "endTime": "2026-01-08T15:34:53Z", "participants": [
        {"id": "p", "purpose": "agent", "wrapup": {"code": "w", "endTime": "2026-01-08T15:35:12Z"},
         "wrapupRequired": false, "calls": [
            {"id": "late", "state": "disconnected", "disconnectedTime": "2026-01-08T15:34:00Z"},
            {"id": "early", "state": "disconnected", "disconnectedTime": "2026-01-08T15:31:00Z"}]}]});
    let view = read_conversation(&whole.to_string(), c()).unwrap();
    let with: Vec<_> = view
        .legs
        .iter()
        .filter(|l| l.wrap_up.is_some())
        .map(|l| l.leg.session.as_str())
        .collect();
    assert_eq!(with, ["late"]);
    assert!(view.finished());
}

#[test]
fn two_agents_finish_one_by_one() {
    let wrap = json!({"code": "w", "endTime": "2026-01-08T15:35:12Z"});
    let mut whole = json!({"id": C, "endTime": "2026-01-08T15:34:53Z", "participants": [
        {"id": "a", "purpose": "agent", "calls": [{"id": "1", "state": "disconnected", "wrapup": wrap, "afterCallWork": {"state": "complete"}}]},
        {"id": "b", "purpose": "agent", "calls": [{"id": "2", "state": "disconnected", "wrapup": {"provisional": true}, "afterCallWork": {"state": "pending"}}]}]});
    let view = read_conversation(&whole.to_string(), c()).unwrap();
    assert_eq!(
        view.legs.iter().map(|l| l.done).collect::<Vec<_>>(),
        [true, false]
    );
    whole["participants"][1]["calls"][0]["afterCallWork"]["state"] = json!("complete");
    assert!(
        read_conversation(&whole.to_string(), c())
            .unwrap()
            .finished()
    );
}

#[test]
fn garbled_answers_are_refused_and_never_panic() {
    let good = conversation(json!({}), json!({}));
    for bad in ["", "[]", "{}", "null", r#"{"id":"x","participants":[]}"#] {
        assert_eq!(read_conversation(bad, c()), Err(Garbled), "{bad}");
    }
    for n in (0..good.len()).step_by(7) {
        assert_eq!(read_conversation(&good[..n], c()), Err(Garbled));
    }
    let other = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    assert_eq!(read_conversation(&good, other), Err(Garbled));
    assert_eq!(read_details("7"), Err(Garbled));
    assert_eq!(read_details("{}"), Ok(vec![]));
}

#[test]
fn analytics_hint_at_wrap_ups_and_ends() {
    let session = |extra: Value| {
        let mut s = json!({"sessionId": "S", "segments": [{"segmentType": "interact", "segmentEnd": "2026-01-08T15:34:53Z"}]});
        merge(&mut s, &extra);
        json!({"conversations": [{"conversationId": C.to_uppercase(), "participants": [
            {"participantId": "P", "purpose": "agent", "sessions": [s]}]}]})
        .to_string()
    };
    let hint = |extra: Value| read_details(&session(extra)).unwrap().remove(0);
    let none: [RecordRow; 0] = [];
    assert!(!hint(json!({})).news(none.iter()));
    assert!(!hint(json!({"segments": [{"segmentType": "wrapup"}]})).news(none.iter()));
    for extra in [
        json!({"segments": [{"segmentType": "wrapup", "segmentEnd": "2026-01-08T15:35:12Z"}]}),
        json!({"metrics": [{"name": "tAcw", "value": 3}]}),
        json!({"acwSkipped": true}),
    ] {
        let hint = hint(extra);
        assert_eq!(hint.conversation, c());
        assert_eq!(
            hint.worked[0].0,
            Leg {
                participant: "p".into(),
                session: "s".into()
            }
        );
        assert!(hint.news(none.iter()));
    }
    let ended = json!({"conversations": [{"conversationId": C, "conversationEnd": "2026-01-08T15:34:53Z"}, {"odd": 1}]});
    let hints = read_details(&ended.to_string()).unwrap();
    assert!(hints.len() == 1 && hints[0].ended && hints[0].news(none.iter()));
}

#[test]
fn a_hint_at_a_wrap_up_that_is_known_is_no_news_and_one_at_another_time_is() {
    let at = t("2026-01-08T15:35:12Z");
    let leg = Leg {
        participant: "p".into(),
        session: "s".into(),
    };
    let seen = crate::record::Sighting {
        source: base::rows::Source::Notification,
        leg: leg.clone(),
        event_time: Some(at),
        digest: None,
        twin: None,
        received_at: at,
    };
    let known = seen.row(c(), base::ids::RecordId(uuid::Uuid::nil()), 0, at);
    let news = |time: Option<Wall>| {
        let hint = Hint {
            conversation: c(),
            ended: false,
            odd: false,
            worked: vec![(leg.clone(), time)],
        };
        hint.news([&known].into_iter())
    };
    let s = std::time::Duration::from_secs;
    assert!(!news(None) && !news(Some(at)));
    assert!(!news(Some(at + s(5))) && !news(Some(at - s(5))));
    assert!(news(Some(at + s(6))) && news(Some(at - s(6))));
}

#[test]
fn whoever_has_a_user_id_is_an_agent_only_by_purpose() {
    for (purpose, legs) in [("agent", 2), ("user", 2), ("customer", 1), ("external", 1)] {
        let mut whole: Value = serde_json::from_str(&conversation(json!({}), json!({}))).unwrap();
        whole["participants"][0]["purpose"] = json!(purpose);
        whole["participants"][0]["userId"] = json!("u2");
        let view = read_conversation(&whole.to_string(), c()).unwrap();
        assert_eq!(view.legs.len(), legs, "{purpose}");
    }
}

#[test]
fn what_nobody_needs_cannot_spoil_a_conversation_or_a_bulk_answer() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for odd in [
        r#""Kunde \ud83d""#,
        "1e999",
        "-Infinity",
        "\"a\u{1}b\"",
        &deep,
    ] {
        let plain = conversation(
            json!({}),
            json!({"wrapup": {"code": "c", "notes": "NOTES", "endTime": "2026-01-08T15:35:12Z"}}),
        );
        let told = read_conversation(&plain, c()).unwrap();
        let spoiled = plain.replacen('{', &format!(r#"{{"name":{odd},"#), 1);
        assert_eq!(read_conversation(&spoiled, c()), Ok(told), "{odd}");
        let noted = plain.replace("NOTES", r"so far \ud83d");
        let body = &read_conversation(&noted, c()).unwrap().legs[0]
            .wrap_up
            .clone()
            .unwrap()
            .body;
        assert!(body.contains("so far \u{fffd}"), "{body}");
        let many = format!(
            r#"{{"conversations":[{odd},{{"conversationId":{odd}}},{{"conversationId":"{C}","x":{odd},"conversationEnd":"2026-01-08T15:35:12Z","participants":[]}}]}}"#
        );
        let hints = read_details(&many).unwrap();
        assert_eq!(hints.len(), 1);
        assert!(hints[0].ended && !hints[0].odd);
    }
}

#[test]
fn a_bulk_answer_whose_participants_cannot_be_told_proves_nothing() {
    for participants in ["7", "{}", r#"[null]"#, r#""\ud83d""#] {
        let json = format!(
            r#"{{"conversations":[{{"conversationId":"{C}","participants":{participants}}}]}}"#
        );
        let hints = read_details(&json).unwrap();
        assert!(hints[0].news(std::iter::empty()), "{participants}");
    }
}

#[test]
fn media_that_came_later_are_legs_only_with_a_wrap_up() {
    let with = |extra: Value| {
        view(
            extra,
            json!({"wrapup": {"code": "c", "endTime": "2026-01-08T15:35:12Z"}}),
        )
    };
    let plain = with(json!({}));
    assert_eq!(plain.legs.len(), 1);
    // Neither holds the conversation open, nor is it a leg.
    let monitored = with(
        json!({"screenMonitorings": [{"id": "m", "state": "connected"}], "odd": [7, null], "conversations": "x"}),
    );
    assert_eq!(monitored, plain);
    let monitored = with(
        json!({"screenMonitorings": [{"id": "m", "state": "disconnected",
        "wrapup": {"code": "m", "endTime": "2026-01-08T15:36:12Z"}}]}),
    );
    assert_eq!(monitored.legs.len(), 2);
    let body = &monitored.legs[1].wrap_up.as_ref().unwrap().body;
    assert!(body.contains(r#""mediaType":"SCREENMONITORING""#), "{body}");
}

#[test]
fn a_parked_message_is_seen_and_keeps_the_conversation_open() {
    let parked = json!({"id": C, "participants": [{"id": "p", "purpose": "agent",
        "messages": [{"id": "s", "state": "parked", "parkTime": "2026-01-08T15:35:12Z"}]}]});
    let view = read_conversation(&parked.to_string(), c()).unwrap();
    assert!(view.parked && !view.finished() && !view.legs[0].done);
}
