//! An interaction from its acceptance to its end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Setup, all, http, wait_for};

/// Members that lose something when they are read and written again as numbers and text.
const MEMBERS: &str = r#""customer":{"name":"Zo\u00eb","balance":123456789012345678901234567890.10},"tiny":1e-999,"list":[1,2.50,true,null,{"deep":[]}],"spaced" : "a  b""#;

fn end(platform: &Platform, id: &str) {
    platform.act(id, "end", json!({}));
}

fn wrap_up(platform: &Platform, id: &str, leg: usize) {
    platform.act(id, "wrap-up", json!({"leg": leg}));
}

fn members(of: &Value) -> BTreeSet<String> {
    of.as_object().unwrap().keys().cloned().collect()
}

fn wait_given_up(platform: &Platform, id: &str) {
    wait_for("the topic to be given up", || {
        if platform.has_topic(id) {
            Err("the platform still has it")
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_wrap_up_is_filed_once_with_the_default_body_and_the_topic_given_up_after_that() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    let body = format!(
        r#"{{"conversationId":"{}",{MEMBERS}}}"#,
        id.to_ascii_uppercase()
    );
    let answer = http::post_json(&gateway.interactions(), &body).expect(202);
    let said = answer.json();
    assert_eq!(said["conversationId"], id.as_str());
    assert_eq!(said["state"], "accepted");
    assert!(said["acceptedAt"].is_string());
    assert_eq!(
        answer.header("location"),
        Some(format!("/customers/supportInteraction/{id}").as_str())
    );
    let watched = gateway.wait_state(&id, "watching");
    assert!(watched["watchedSince"].is_string(), "{watched}");

    end(&platform, &id);
    platform.act(
        &id,
        "wrap-up",
        json!({"code": "done", "notes": "all \"well\"\nand good"}),
    );
    let filed = history.wait_filed(&id, 1).remove(0);
    let settling = gateway.interaction(&id);
    assert_eq!(settling["state"], "settling", "{settling}");
    let finished = gateway.wait_state(&id, "finished");
    assert_eq!(finished["reason"]["code"], "conversation-finished");
    assert!(finished["finishedAt"].is_string());
    wait_given_up(&platform, &id);

    // The request.
    assert_eq!(filed.line, "POST /communications HTTP/1.1");
    assert_eq!(filed.header("content-type"), Some("application/json"));
    let sent = filed.json();
    assert_eq!(filed.key(), sent["recordId"].as_str().unwrap());
    let expected = [
        "recordId",
        "kind",
        "conversationId",
        "source",
        "eventTime",
        "receivedAt",
        "afterCallWork",
        "interaction",
    ];
    assert_eq!(members(&sent), expected.map(str::to_owned).into());
    assert_eq!(sent["kind"], "after-call-work");
    assert_eq!(sent["source"], "notification");
    assert_eq!(sent["afterCallWork"]["wrapupCode"], "done");
    assert_eq!(
        sent["afterCallWork"]["wrapupNotes"],
        "all \"well\"\nand good"
    );
    assert_eq!(sent["afterCallWork"]["conversationId"], id.as_str());
    let truth = platform.wrap_ups(&id).remove(0);
    assert_eq!(sent["eventTime"], truth.event_time.rfc3339());
    assert_eq!(sent["afterCallWork"]["eventTime"], truth.event_time.0);
    let as_sent =
        format!(r#""interaction":{{{MEMBERS}}}"#).replace(r#""spaced" : "#, r#""spaced":"#);
    assert!(
        filed.body.contains(&as_sent)
            || filed
                .body
                .contains(&format!(r#""interaction":{{{MEMBERS}}}"#)),
        "{}",
        filed.body
    );

    // What callers see of it, to the byte.
    let shown = http::get(&gateway.interaction_url(&id)).expect(200);
    assert!(
        shown.text.contains("123456789012345678901234567890.10"),
        "{shown}"
    );
    let record = &shown.json()["records"][0];
    assert_eq!(record["recordId"], sent["recordId"]);
    assert_eq!(record["state"], "delivered");
    assert_eq!(record["attempts"], 1);
    assert!(
        record["deliveredAt"].is_string() && record.get("lastError").is_none(),
        "{record}"
    );

    // The order of things on the platform.
    let journal = platform.journal();
    let at = |kind: &str| {
        let found = journal
            .iter()
            .position(|e| e.kind == kind && (kind == "event" || e.what.contains(&id)));
        found.unwrap_or_else(|| panic!("no {kind} in {journal:#?}"))
    };
    assert!(at("subscribe") < at("event") && at("event") < at("unsubscribe"));
    assert!(
        journal[at("unsubscribe")].at.0 >= filed.wall,
        "given up before it was filed"
    );
    assert_eq!(history.receipts().len(), 1);
}

#[test]
fn nothing_is_given_up_before_the_record_is_on_disk_even_if_it_cannot_be_filed() {
    let (platform, history, setup, gateway) = all();
    history.always(crate::support::Reply::Status(503));
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    wrap_up(&platform, &id, 0);
    wait_given_up(&platform, &id);
    let (state, body): (String, String) = setup
        .database()
        .query_row("SELECT state, CAST(body AS TEXT) FROM record", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert!(["queued", "deferred"].contains(&state.as_str()), "{state}");
    assert!(body.contains(&id), "{body}");
    history.always(None);
    history.wait_filed(&id, 1);
}

#[test]
fn every_agent_of_a_transfer_is_filed_and_the_topic_kept_until_the_last() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "transfer", json!({}));
    wrap_up(&platform, &id, 0);
    history.wait_filed(&id, 1);
    // REST is asked two seconds after the event; the second agent still talks.
    let asked = |n: usize| {
        wait_for("a check over REST", || {
            let checks = platform.journal();
            let checks = checks
                .iter()
                .filter(|e| e.what == "Conversation 200")
                .count();
            if checks >= n { Ok(()) } else { Err(checks) }
        });
    };
    asked(2);
    gateway.wait_state(&id, "settling");
    assert!(platform.subscribed(&id));
    end(&platform, &id);
    wrap_up(&platform, &id, 1);
    let filed = history.wait_filed(&id, 2);
    gateway.wait_state(&id, "finished");
    wait_given_up(&platform, &id);
    let sessions: BTreeSet<String> = filed
        .iter()
        .map(|r| r.json()["afterCallWork"]["sessionId"].to_string())
        .collect();
    assert_eq!(sessions.len(), 2);
}

#[test]
fn a_consult_and_a_changed_wrap_up_are_records_of_their_own() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation_with(json!({"agents": 2}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    wrap_up(&platform, &id, 0);
    history.wait_filed(&id, 1);
    platform.act(&id, "rewrap", json!({"leg": 0, "code": "changed"}));
    let filed = history.wait_filed(&id, 2);
    assert_ne!(filed[0].key(), filed[1].key());
    assert_eq!(filed[1].json()["afterCallWork"]["wrapupCode"], "changed");
    end(&platform, &id);
    wrap_up(&platform, &id, 1);
    history.wait_filed(&id, 3);
    gateway.wait_state(&id, "finished");
    assert_eq!(history.receipts().len(), 3);
}

#[test]
fn only_the_first_wrap_up_is_filed_where_only_that_is_wanted() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("tracking", "until = \"first-event\"");
    let gateway = setup.start();
    let id = platform.conversation_with(json!({"agents": 2}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    wrap_up(&platform, &id, 0);
    let finished = gateway.wait_state(&id, "finished");
    assert_eq!(finished["reason"]["code"], "first-event");
    wait_given_up(&platform, &id);
    wrap_up(&platform, &id, 1);
    // Another conversation shows that time has passed.
    let other = platform.conversation();
    gateway.accept(&other).expect(202);
    gateway.wait_state(&other, "watching");
    wrap_up(&platform, &other, 0);
    history.wait_filed(&other, 1);
    history.wait_filed(&id, 1);
}

#[test]
fn frames_that_come_twice_are_filed_once() {
    let (platform, history, _setup, gateway) = all();
    platform.fault(json!({"fault": "events", "mode": "repeat"}));
    let ids: Vec<String> = (0..5).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
        end(&platform, id);
        wrap_up(&platform, id, 0);
    }
    for id in &ids {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
    assert_eq!(history.receipts().len(), 5);
    let duplicates = gateway.metric("genesys_gateway_events_total{outcome=\"duplicate\"}");
    assert!(duplicates >= 5.0, "{duplicates}");
}

#[test]
fn events_that_overtake_each_other_are_all_filed() {
    let (platform, history, _setup, gateway) = all();
    platform.fault(json!({"fault": "events", "mode": "swap"}));
    let id = platform.conversation_with(json!({"agents": 2}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "finish", json!({}));
    let filed = history.wait_filed(&id, 2);
    gateway.wait_state(&id, "finished");
    assert!(filed[0].json()["eventTime"].as_str() >= filed[1].json()["eventTime"].as_str());
    assert_eq!(history.receipts().len(), 2);
}

#[test]
fn skipped_after_call_work_is_filed_where_the_platform_announces_it() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    platform.act(&id, "skip", json!({}));
    let filed = history.wait_filed(&id, 1);
    let code = &filed[0].json()["afterCallWork"]["wrapupCode"];
    assert_eq!(code, "ININ-WRAP-UP-SKIPPED");
    gateway.wait_state(&id, "finished");
}

#[test]
fn an_interaction_without_after_call_work_finishes_with_no_record() {
    let (platform, history) = (
        Platform::switched(&[("optional-acw", "not-applicable")]),
        History::start(),
    );
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let over = platform.conversation_with(json!({"acw": false}));
    end(&platform, &over);
    gateway.accept(&over).expect(202);
    let finished = gateway.wait_state(&over, "finished");
    assert_eq!(finished["records"], json!([]));
    assert_eq!(finished["reason"]["code"], "conversation-finished");
    wait_given_up(&platform, &over);
    assert!(history.receipts().is_empty());
}

#[test]
fn a_wrap_up_that_nobody_is_obliged_to_is_filed_although_it_comes_late() {
    for value in ["prompt", "unknown", "bare"] {
        let (platform, history) = (
            Platform::switched(&[("optional-acw", value)]),
            History::start(),
        );
        let mut setup = Setup::new(&platform, &history);
        setup.set("tracking", "linger = \"4s\"");
        let gateway = setup.start();
        let start = || platform.conversation_with(json!({"acw": false}));
        let (late, missed, none) = (start(), start(), start());
        for id in [&late, &missed, &none] {
            end(&platform, id);
            gateway.accept(id).expect(202);
            gateway.wait_state(id, "watching");
        }
        wrap_up(&platform, &late, 0);
        history.wait_filed(&late, 1);
        gateway.wait_state(&late, "finished");
        // One that was announced to nobody is found when the time is up.
        platform.fault(json!({"fault": "events", "mode": "drop"}));
        wrap_up(&platform, &missed, 0);
        assert!(platform.has_topic(&missed) && platform.has_topic(&none));
        assert_eq!(gateway.wait_state(&none, "finished")["records"], json!([]));
        history.wait_filed(&missed, 1);
        gateway.wait_state(&missed, "finished");
        wait_given_up(&platform, &missed);
    }
}

#[test]
fn a_restart_in_the_middle_of_lingering_loses_no_late_wrap_up() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    let id = platform.conversation_with(json!({"acw": false}));
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    gateway.kill9();
    let gateway = setup.start();
    wait_for("the topic to be live again", || {
        if platform.subscribed(&id) {
            Ok(())
        } else {
            Err("it is not")
        }
    });
    wrap_up(&platform, &id, 0);
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
}

#[test]
fn skipped_work_that_nobody_announces_finishes_with_no_record() {
    let (platform, history) = (
        Platform::switched(&[("skipped-acw", "no-event")]),
        History::start(),
    );
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    platform.act(&id, "skip", json!({}));
    // A gap makes the gateway look sooner than its quarter of an hour.
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    let finished = gateway.wait_state(&id, "finished");
    assert_eq!(finished["records"], json!([]));
    assert!(history.receipts().is_empty());
}

#[test]
fn a_wrap_up_from_before_the_acceptance_is_rebuilt_and_filed() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation();
    end(&platform, &id);
    platform.act(&id, "wrap-up", json!({"code": "early", "notes": "before"}));
    gateway.accept(&id).expect(202);
    let filed = history.wait_filed(&id, 1).remove(0).json();
    gateway.wait_state(&id, "finished");
    assert_eq!(filed["source"], "reconciliation");
    let (work, truth) = (&filed["afterCallWork"], platform.wrap_ups(&id).remove(0));
    assert_eq!(work["wrapupCode"], "early");
    assert_eq!(work["wrapupNotes"], "before");
    assert_eq!(work["participantId"], truth.participant.to_string());
    assert_eq!(work["sessionId"], truth.session.to_string());
    assert_eq!(work["conversationId"], id.as_str());
    assert_eq!(work["mediaType"], "VOICE");
}

#[test]
fn a_re_opened_conversation_is_watched_again_and_only_its_new_wrap_up_filed() {
    let (platform, history, _setup, gateway) = all();
    let id = platform.conversation_with(json!({"media": "email"}));
    let accept = |n: u32| {
        let body = json!({"conversationId": id, "round": n}).to_string();
        http::post_json(&gateway.interactions(), &body)
    };
    accept(1).expect(202);
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    wrap_up(&platform, &id, 0);
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
    platform.act(&id, "reopen", json!({}));
    let again = accept(2).expect(202).json();
    assert_eq!(again["state"], "accepted");
    gateway.wait_state(&id, "watching");
    end(&platform, &id);
    wrap_up(&platform, &id, 1);
    let filed = history.wait_filed(&id, 2);
    let finished = gateway.wait_state(&id, "finished");
    assert_eq!(finished["records"].as_array().unwrap().len(), 2);
    assert_eq!(filed[1].json()["interaction"]["round"], 2);
    assert_eq!(history.receipts().len(), 2);
}

/// The same for every medium, all at once.
#[test]
fn every_medium_is_filed() {
    let (platform, history, _setup, gateway) = all();
    let media = ["voice", "message", "email", "callback", "chat"];
    let ids: Vec<String> = media
        .iter()
        .map(|m| platform.conversation_with(json!({"media": m})))
        .collect();
    accept_and_finish(&platform, &gateway, &ids);
    for (id, medium) in ids.iter().zip(media) {
        let filed = history.wait_filed(id, 1).remove(0).json();
        let seen = filed["afterCallWork"]["mediaType"]
            .as_str()
            .unwrap()
            .to_ascii_lowercase();
        assert_eq!(seen, medium);
        gateway.wait_state(id, "finished");
    }
}

fn accept_and_finish(platform: &Platform, gateway: &Gateway, ids: &[String]) {
    for id in ids {
        gateway.accept(id).expect(202);
    }
    for id in ids {
        gateway.wait_state(id, "watching");
        platform.act(id, "finish", json!({}));
    }
}
