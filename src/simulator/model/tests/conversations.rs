//! Conversations: what happens, what is announced, what REST shows.

use super::*;

fn shown(w: &mut World, id: &str) -> Value {
    let answer = w.get(&format!("/conversations/{id}"));
    assert_eq!(answer.status, 200);
    body(&answer)
}

/// The agents' participants.
fn agents(conversation: &Value) -> Vec<Value> {
    conversation["participants"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["purpose"] == "agent")
        .cloned()
        .collect()
}

#[test]
fn a_wrap_up_is_announced_with_the_same_ids_that_rest_shows() {
    let mut w = World::with(&[]);
    let (c, _) = w.listened(1);
    w.seconds(20);
    w.do_it(json!({"command": "end", "conversation": c}));
    w.outs();
    w.seconds(18);
    w.do_it(json!({"command": "wrap-up", "conversation": c, "code": "X", "notes": "n"}));
    let events = w.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["topicName"], topic(&c));
    assert_eq!(events[0]["version"], "2");
    assert!(events[0]["metadata"]["CorrelationId"].is_string());
    let event = &events[0]["eventBody"];
    let agent = &agents(&shown(&mut w, &c))[0];
    let call = &agent["calls"][0];
    assert_eq!(event["conversationId"], c);
    assert_eq!(event["participantId"], agent["id"]);
    assert_eq!(event["sessionId"], call["id"]);
    assert_eq!(event["userId"], agent["userId"]);
    assert_eq!(event["queueId"], agent["queueId"]);
    assert_eq!(event["eventTime"], w.now.wall.0);
    assert_eq!(event["wrapupDurationMs"], 18_000);
    assert_eq!(
        (&event["wrapupCode"], &event["wrapupNotes"]),
        (&json!("X"), &json!("n"))
    );
    assert_eq!(call["afterCallWork"]["state"], "complete");
    assert_eq!(call["wrapup"]["code"], "X");
    assert_eq!(call["wrapup"]["durationSeconds"], 18);
    let end = Wall::parse_rfc3339(call["wrapup"]["endTime"].as_str().unwrap()).unwrap();
    assert!((0..=200).contains(&(w.now.wall.0 - end.0)));
    let truth = &w.p.truth().wrap_ups()[0];
    assert_eq!(
        (truth.frames, truth.emitted, truth.shows_in_rest),
        (1, true, true)
    );
    assert_eq!(truth.rest_end, end);
}

#[test]
fn events_are_kept_for_nobody_who_was_not_connected_and_subscribed() {
    let mut w = World::with(&[]);
    let (c, socket) = w.listened(2);
    w.p.closed(socket, w.now);
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    let channel = w.p.truth().channels().next().unwrap().id.to_owned();
    let again = w.open(&channel);
    w.seconds(5);
    assert!(w.outs().is_empty());
    assert_eq!(w.p.truth().wrap_ups()[0].frames, 0);
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    assert_eq!(w.frames()[0].0, again);
}

#[test]
fn each_channel_gets_its_own_copy_and_each_part_of_a_combined_topic_its_own_event() {
    let mut w = World::with(&[]);
    let (c, _) = w.listened(1);
    let (_, second) = w.connected();
    let combined = format!("v2.detail.events.conversation.{c}?acw&wrapup");
    w.ask(second, "subscribe", &[combined, topic(&c)]);
    w.do_it(json!({"command": "finish", "conversation": c}));
    let events = w.events();
    assert_eq!(events.len(), 3);
    let wrapup = events
        .iter()
        .find(|e| e["topicName"].as_str().unwrap().ends_with(".wrapup"))
        .unwrap();
    assert!(wrapup["eventBody"].get("userId").is_none());
    assert_eq!(w.p.truth().wrap_ups()[0].frames, 2);
}

#[test]
fn the_end_of_the_talk_is_not_the_end_of_the_work() {
    let mut w = World::with(&[]);
    let c = w.start(1, "voice");
    let before = shown(&mut w, &c);
    assert!(before.get("endTime").is_none());
    assert_eq!(
        agents(&before)[0]["calls"][0]["afterCallWork"]["state"],
        "unknown"
    );
    w.do_it(json!({"command": "end", "conversation": c}));
    let pending = shown(&mut w, &c);
    assert!(pending["endTime"].is_string());
    let agent = &agents(&pending)[0];
    assert_eq!(agent["calls"][0]["afterCallWork"]["state"], "pending");
    assert_eq!(agent["calls"][0]["state"], "disconnected");
    assert!(agent["startAcwTime"].is_string() && agent.get("endAcwTime").is_none());
    assert_eq!(agent["wrapupRequired"], true);
}

#[test]
fn agents_who_hand_over_wrap_up_one_by_one() {
    let mut w = World::with(&[]);
    let (c, _) = w.listened(1);
    w.do_it(json!({"command": "transfer", "conversation": c}));
    let middle = shown(&mut w, &c);
    assert!(middle.get("endTime").is_none());
    assert_eq!(agents(&middle).len(), 2);
    assert_eq!(agents(&middle)[0]["calls"][0]["disconnectType"], "transfer");
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    w.do_it(json!({"command": "end", "conversation": c}));
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    let people: Vec<Value> = w
        .events()
        .iter()
        .map(|e| e["eventBody"]["participantId"].clone())
        .collect();
    let expected: Vec<Value> = agents(&shown(&mut w, &c))
        .iter()
        .map(|a| a["id"].clone())
        .collect();
    assert_eq!(people, expected);
    let command = Control::WrapUp {
        conversation: c.parse().unwrap(),
        leg: Some(0),
        code: None,
        notes: None,
    };
    assert!(matches!(
        w.p.control(&command, w.now),
        Err(ControlError::Conflict(_))
    ));
}

#[test]
fn skipped_work_gives_an_event_with_the_system_code_or_none_by_the_switch() {
    for (value, events) in [("event", 1), ("no-event", 0)] {
        let mut w = World::with(&[("skipped-acw", value)]);
        let (c, _) = w.listened(1);
        w.do_it(json!({"command": "end", "conversation": c}));
        w.do_it(json!({"command": "skip", "conversation": c}));
        let seen = w.events();
        assert_eq!(seen.len(), events, "{value}");
        let agent = agents(&shown(&mut w, &c)).remove(0);
        assert_eq!(agent["wrapupSkipped"], true);
        assert_eq!(agent["calls"][0]["afterCallWork"]["state"], "skipped");
        assert!(agent["calls"][0]["afterCallWork"]["endTime"].is_string());
        assert_eq!(agent["calls"][0].get("wrapup").is_some(), events == 1);
        if events == 1 {
            assert_eq!(seen[0]["eventBody"]["wrapupCode"], SKIPPED_CODE);
            assert_eq!(agent["calls"][0]["wrapup"]["code"], SKIPPED_CODE);
            assert!(agent["calls"][0]["wrapup"]["endTime"].is_string());
        }
        let truth = &w.p.truth().wrap_ups()[0];
        assert_eq!(truth.emitted, events == 1);
        assert_eq!(truth.shows_in_rest, events == 1);
    }
}

#[test]
fn optional_after_call_work_is_shown_by_the_switch_and_may_be_done_late() {
    for (value, prompt, state) in [
        ("prompt", Some("optional"), Some("notApplicable")),
        ("unknown", Some("optional"), Some("unknown")),
        ("bare", None, None),
        ("not-applicable", None, Some("notApplicable")),
    ] {
        let mut w = World::with(&[("optional-acw", value)]);
        let answer = w.do_it(json!({"command": "start", "acw": false}));
        let c = answer["conversation"].as_str().unwrap().to_owned();
        w.do_it(json!({"command": "end", "conversation": c}));
        let agent = agents(&shown(&mut w, &c)).remove(0);
        assert_eq!(agent["wrapupRequired"], false, "{value}");
        assert_eq!(agent["wrapupPrompt"].as_str(), prompt, "{value}");
        let call = &agent["calls"][0];
        assert_eq!(call["afterCallWork"]["state"].as_str(), state, "{value}");
        w.do_it(json!({"command": "wrap-up", "conversation": c}));
        let agent = agents(&shown(&mut w, &c)).remove(0);
        assert_eq!(agent["wrapupRequired"], false, "{value}");
        assert_eq!(agent["calls"][0]["afterCallWork"]["state"], "complete");
        assert_eq!(w.p.truth().wrap_ups().len(), 1);
    }
}

#[test]
fn a_changed_wrap_up_is_announced_again_or_changes_in_place_by_the_switch() {
    for (value, events) in [("second-event", 2), ("none", 1)] {
        let mut w = World::with(&[("re-wrap", value)]);
        let (c, _) = w.listened(1);
        w.do_it(json!({"command": "finish", "conversation": c}));
        let first = agents(&shown(&mut w, &c))[0]["wrapup"]["endTime"].clone();
        w.seconds(60);
        w.do_it(json!({"command": "rewrap", "conversation": c, "code": "NEW"}));
        let seen = w.events();
        assert_eq!(seen.len(), events, "{value}");
        let wrapup = agents(&shown(&mut w, &c))[0]["wrapup"].clone();
        assert_eq!(wrapup["code"], "NEW");
        assert_eq!(wrapup["endTime"] == first, events == 1);
        let truth = w.p.truth().wrap_ups();
        assert_eq!(truth.len(), 2);
        assert_eq!((truth[1].ordinal, truth[1].emitted), (1, events == 2));
        assert_eq!(truth[0].superseded.is_some(), events == 2);
        assert_eq!(truth[1].shows_in_rest, events == 2);
        if events == 2 {
            let times: Vec<i64> = seen
                .iter()
                .map(|e| e["eventBody"]["eventTime"].as_i64().unwrap())
                .collect();
            assert_eq!(times[1] - times[0], 60_000);
            assert_eq!(
                seen[0]["eventBody"]["sessionId"],
                seen[1]["eventBody"]["sessionId"]
            );
        }
    }
}

#[test]
fn the_wrap_up_is_shown_where_the_switch_says() {
    for (value, on_participant, on_communication) in [
        ("both", true, true),
        ("participant", true, false),
        ("communication", false, true),
    ] {
        let mut w = World::with(&[("wrapup-level", value)]);
        let c = w.start(1, "message");
        w.do_it(json!({"command": "finish", "conversation": c}));
        let agent = agents(&shown(&mut w, &c)).remove(0);
        let message = &agent["messages"][0];
        assert_eq!(agent.get("wrapup").is_some(), on_participant, "{value}");
        assert_eq!(agent.get("endAcwTime").is_some(), on_participant, "{value}");
        assert_eq!(message.get("wrapup").is_some(), on_communication, "{value}");
        assert_eq!(
            message.get("afterCallWork").is_some(),
            on_communication,
            "{value}"
        );
    }
}

#[test]
fn a_draft_is_shown_as_provisional_until_the_wrap_up() {
    let mut w = World::with(&[]);
    let c = w.start(1, "voice");
    w.do_it(json!({"command": "end", "conversation": c}));
    w.do_it(json!({"command": "draft", "conversation": c, "notes": "later"}));
    let call = agents(&shown(&mut w, &c))[0]["calls"][0].clone();
    assert_eq!(
        call["wrapup"],
        json!({"notes": "later", "provisional": true})
    );
    assert_eq!(call["afterCallWork"]["state"], "pending");
    w.do_it(json!({"command": "wrap-up", "conversation": c}));
    let call = agents(&shown(&mut w, &c))[0]["calls"][0].clone();
    assert_eq!(call["wrapup"]["provisional"], false);
}

#[test]
fn where_no_after_call_work_is_due_none_is_shown_and_none_announced() {
    let mut w = World::with(&[]);
    let answer = w.do_it(json!({"command": "start", "acw": false}));
    let c = answer["conversation"].as_str().unwrap().to_owned();
    w.do_it(json!({"command": "finish", "conversation": c}));
    let agent = agents(&shown(&mut w, &c)).remove(0);
    assert_eq!(agent["calls"][0]["afterCallWork"]["state"], "notApplicable");
    assert_eq!(agent["wrapupRequired"], false);
    assert!(w.p.truth().wrap_ups().is_empty());
    assert!(
        w.p.truth()
            .conversation(c.parse().unwrap())
            .unwrap()
            .finished()
    );
}

#[test]
fn a_reopened_conversation_gives_another_wrap_up_on_a_new_session() {
    for same in [false, true] {
        let mut w = World::with(&[]);
        let (c, _) = w.listened(1);
        w.do_it(json!({"command": "finish", "conversation": c}));
        w.seconds(3600);
        w.events();
        w.do_it(json!({"command": "reopen", "conversation": c, "sameParticipant": same}));
        let open = shown(&mut w, &c);
        assert!(open.get("endTime").is_none());
        assert_eq!(agents(&open).len(), if same { 1 } else { 2 });
        w.do_it(json!({"command": "finish", "conversation": c}));
        let truth = w.p.truth().wrap_ups();
        assert_eq!(truth.len(), 2);
        assert_ne!(truth[0].session, truth[1].session);
        assert_eq!(truth[0].participant == truth[1].participant, same);
        assert_eq!(truth[0].superseded, None);
        assert_eq!(w.events().len(), 1);
    }
}

#[test]
fn a_planned_life_runs_by_itself() {
    let mut w = World::with(&[]);
    let (_, socket) = w.connected();
    let answer = w.do_it(json!({
        "command": "life", "agents": 2, "media": "email", "startAfterMs": 1000,
        "talkMs": 60_000, "acwMs": 10_000, "rewrapAfterMs": 5000, "reopenAfterMs": 100_000,
    }));
    let c = answer["conversation"].as_str().unwrap().to_owned();
    // A topic can be subscribed before its conversation exists.
    assert_eq!(w.get(&format!("/conversations/{c}")).status, 404);
    assert_eq!(w.ask(socket, "subscribe", &[topic(&c)])["result"], "200");
    w.seconds(400);
    let events = w.events();
    let legs: Vec<usize> = w.p.truth().wrap_ups().iter().map(|t| t.leg).collect();
    assert_eq!(legs, [0, 1, 1, 2]);
    assert_eq!(events.len(), 4);
    assert_eq!(events[0]["eventBody"]["mediaType"], "EMAIL");
    let conversation = w.p.truth().conversation(c.parse().unwrap()).unwrap();
    assert!(conversation.finished());
}

#[test]
fn every_medium_has_its_own_member_and_its_own_event_fields() {
    for (media, member, name, field) in [
        ("voice", "calls", "VOICE", "ani"),
        ("message", "messages", "MESSAGE", "messageType"),
        ("email", "emails", "EMAIL", "subject"),
        ("callback", "callbacks", "CALLBACK", "callbackNumbers"),
        ("chat", "chats", "CHAT", "addressFrom"),
    ] {
        let mut w = World::with(&[]);
        let (_, socket) = w.connected();
        let c = w.start(1, media);
        w.ask(socket, "subscribe", &[topic(&c)]);
        w.do_it(json!({"command": "finish", "conversation": c}));
        let event = w.events().remove(0);
        assert_eq!(event["eventBody"]["mediaType"], name);
        assert!(event["eventBody"].get(field).is_some(), "{media}");
        let agent = agents(&shown(&mut w, &c)).remove(0);
        let session = agent[member][0]["id"].as_str().unwrap().to_owned();
        let participant = agent["id"].as_str().unwrap().to_owned();
        let at = format!(
            "/conversations/{member}/{c}/participants/{participant}/communications/{session}/wrapup"
        );
        let single = body(&w.get(&at));
        assert_eq!(single["code"], event["eventBody"]["wrapupCode"]);
        let plain = body(&w.get(&format!(
            "/conversations/{c}/participants/{participant}/wrapup"
        )));
        assert_eq!(plain, single);
    }
}

#[test]
fn the_metadata_of_an_event_is_spelled_as_the_switch_says() {
    for (value, key) in [
        ("CorrelationId", Some("CorrelationId")),
        ("correlationId", Some("correlationId")),
        ("absent", None),
    ] {
        let mut w = World::with(&[("metadata-key", value)]);
        let (c, _) = w.listened(1);
        w.do_it(json!({"command": "finish", "conversation": c}));
        let event = w.events().remove(0);
        match key {
            Some(key) => assert!(event["metadata"][key].is_string()),
            None => assert!(event.get("metadata").is_none()),
        }
    }
}

#[test]
fn event_frames_are_repeated_swapped_delayed_or_dropped_by_the_switch() {
    let run = |value: &str| {
        let mut w = World::with(&[("event-delivery", value)]);
        let (c, _) = w.listened(2);
        w.do_it(json!({"command": "wrap-up", "conversation": c, "leg": 0}));
        w.do_it(json!({"command": "wrap-up", "conversation": c, "leg": 1}));
        let legs = |w: &mut World| -> Vec<String> {
            let people: Vec<String> =
                w.p.truth()
                    .wrap_ups()
                    .iter()
                    .map(|t| t.participant.to_string())
                    .collect();
            w.events()
                .iter()
                .map(|e| {
                    let id = e["eventBody"]["participantId"].as_str().unwrap();
                    people.iter().position(|p| p == id).unwrap().to_string()
                })
                .collect()
        };
        let at_once = legs(&mut w).concat();
        w.seconds(10);
        (at_once, legs(&mut w).concat())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(run("in-order"), pair("01", ""));
    assert_eq!(run("repeat"), pair("0011", ""));
    assert_eq!(run("swap"), pair("10", ""));
    assert_eq!(run("delay"), pair("", "01"));
    assert_eq!(run("drop"), pair("", ""));
}

#[test]
fn an_event_held_back_comes_alone_if_no_other_follows() {
    let mut w = World::with(&[("event-delivery", "swap")]);
    let (c, _) = w.listened(1);
    w.do_it(json!({"command": "finish", "conversation": c}));
    assert!(w.events().is_empty());
    w.seconds(2);
    assert_eq!(w.events().len(), 1);
}

#[test]
fn the_oldest_finished_conversation_is_forgotten_when_the_table_is_full() {
    let mut settings = Settings::default();
    settings.limits.conversations = 2;
    let mut w = World::of(settings);
    let (a, b) = (w.start(1, "voice"), w.start(1, "voice"));
    let start = Control::Start(Start::default());
    assert!(matches!(
        w.p.control(&start, w.now),
        Err(ControlError::Full(_))
    ));
    w.do_it(json!({"command": "finish", "conversation": b}));
    w.start(1, "voice");
    assert_eq!(w.get(&format!("/conversations/{a}")).status, 200);
    assert_eq!(w.get(&format!("/conversations/{b}")).status, 404);
}
