//! What the history manager answers, and what becomes of the record (design,
//! section 5); acts of operators on records.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::support::history::Receipt;
use crate::support::{
    Gateway, History, Platform, Reply, Setup, all, http, never_within, wait_for, wait_within,
};

/// Hands in a result with a text to find it by; gives the record's id.
fn hand_in(gateway: &Gateway, text: &str) -> String {
    let url = format!("{}/customers/supportResult", gateway.intake);
    let body = json!({"text": text}).to_string();
    let said = http::post_json(&url, &body).expect(202).json();
    said["recordId"].as_str().unwrap().to_owned()
}

fn record(gateway: &Gateway, id: &str) -> Value {
    let url = format!("{}/records/{id}", gateway.operators);
    http::get(&url).expect(200).json()
}

fn wait_record(gateway: &Gateway, id: &str, state: &str) -> Value {
    wait_for(&format!("the record to be {state}"), || {
        let seen = record(gateway, id);
        if seen["state"] == state {
            Ok(seen)
        } else {
            Err(seen)
        }
    })
}

fn same_every_time(receipts: &[Receipt]) {
    for pair in receipts.windows(2) {
        assert_eq!(pair[0].key(), pair[1].key());
        assert_eq!(pair[0].body, pair[1].body);
    }
}

#[test]
fn two_hundreds_and_409_are_filed() {
    let (_platform, history, _setup, gateway) = all();
    for status in [200, 201, 202, 204, 299, 409] {
        let text = format!("answer-{status}-");
        history.script_for(&text, [Reply::Status(status)]);
        let id = hand_in(&gateway, &text);
        let seen = wait_record(&gateway, &id, "delivered");
        assert_eq!(seen["attempts"], 1, "{status}: {seen}");
        assert_eq!(history.receipts_with(&text).len(), 1);
    }
}

#[test]
fn passing_troubles_are_tried_again_with_the_same_key_and_body() {
    let (_platform, history, _setup, gateway) = all();
    let statuses = [408, 425, 429, 500, 502, 503, 599];
    let ids: Vec<String> = statuses
        .iter()
        .map(|status| {
            let text = format!("answer-{status}-");
            history.script_for(&text, [Reply::Status(*status), Reply::Status(*status)]);
            hand_in(&gateway, &text)
        })
        .collect();
    for (id, status) in ids.iter().zip(statuses) {
        let seen = wait_record(&gateway, id, "delivered");
        assert_eq!(seen["attempts"], 3, "{status}: {seen}");
        let receipts = history.receipts_with(&format!("answer-{status}-"));
        assert_eq!(receipts.len(), 3);
        same_every_time(&receipts);
        // 1 s, then 2 s, each within a quarter.
        let pauses = receipts.windows(2).map(|p| p[1].at - p[0].at);
        for (pause, full) in pauses.zip([1.0, 2.0]) {
            let pause = pause.as_secs_f64();
            assert!(
                pause >= full * 0.7,
                "{status}: {pause} s instead of {full} s"
            );
        }
    }
    assert_eq!(gateway.metric("genesys_gateway_history_closed"), 0.0);
}

#[test]
fn while_it_waits_the_record_says_why() {
    let (_platform, history, _setup, gateway) = all();
    history.always(Reply::Status(503));
    let id = hand_in(&gateway, "x");
    let seen = wait_record(&gateway, &id, "deferred");
    let error = seen["lastError"].as_str().unwrap();
    assert!(error.contains("503"), "{error}");
    wait_for("the metric to count it", || {
        let n = gateway.metric("genesys_gateway_records{state=\"deferred\"}");
        if n == 1.0 { Ok(()) } else { Err(n) }
    });
}

/// `Retry-After` in either spelling: until then the destination is left alone.
fn holds(retry_after: &str, at_least: Duration) {
    let (_platform, history, _setup, gateway) = all();
    let header = vec![("Retry-After", retry_after.to_owned())];
    history.script([Reply::Full(503, header, String::from("{}"))]);
    let first = hand_in(&gateway, "first");
    let answered = history.wait_receipts(1)[0].at;
    wait_record(&gateway, &first, "deferred");
    let second = hand_in(&gateway, "second");
    wait_record(&gateway, &first, "delivered");
    wait_record(&gateway, &second, "delivered");
    for receipt in &history.receipts()[1..] {
        let waited = receipt.at - answered;
        assert!(
            waited >= at_least,
            "{waited:?} after {retry_after}: {}",
            receipt.body
        );
    }
}

#[test]
fn retry_after_in_seconds_holds_the_whole_destination() {
    holds("3", Duration::from_secs(3));
}

#[test]
fn retry_after_as_a_date_holds_the_whole_destination() {
    let at = SystemTime::now() + Duration::from_secs(6);
    // A date has whole seconds, and the test its own start-up.
    holds(&http_date(at), Duration::from_secs(2));
}

fn http_date(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = jiff::Timestamp::from_second(i64::try_from(since.as_secs()).unwrap()).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[test]
fn an_answer_that_never_comes_or_breaks_off_is_tried_again() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("history", "timeout = \"500ms\"");
    let gateway = setup.start();
    let cases = [
        ("closes", Reply::Close, "broke the connection"),
        ("hangs", Reply::Hang, "did not answer in time"),
        (
            "dawdles",
            Reply::Late(Duration::from_secs(2), 201),
            "did not answer in time",
        ),
    ];
    for (text, reply, error) in cases {
        history.script_for(text, [reply]);
        let id = hand_in(&gateway, text);
        let seen = wait_record(&gateway, &id, "deferred");
        let said = seen["lastError"].as_str().unwrap();
        assert!(said.contains(error), "{text}: {said}");
        let seen = wait_record(&gateway, &id, "delivered");
        assert_eq!(seen["attempts"], 2, "{text}: {seen}");
        same_every_time(&history.receipts_with(text));
    }
}

#[test]
fn a_history_manager_that_is_down_loses_nothing_and_is_not_stampeded() {
    let (platform, history) = (Platform::start(), History::start());
    // An address that nobody listens on, and that stays ours: other tests take other addresses.
    let place = TcpListener::bind("127.0.0.77:0").unwrap();
    let address = place.local_addr().unwrap();
    let mut setup = Setup::new(&platform, &history);
    setup.set(
        "history",
        &format!("url = \"http://{address}/communications\""),
    );
    drop(place);
    let gateway = setup.start();
    let ids: Vec<String> = (0..40)
        .map(|n| hand_in(&gateway, &format!("n{n}.")))
        .collect();
    wait_for("the verdict to say so", || {
        let status = gateway.status();
        if status["history"]["state"] == "down" {
            Ok(())
        } else {
            Err(status)
        }
    });
    assert_eq!(gateway.metric("genesys_gateway_history_down"), 1.0);
    gateway.wait_log("history-down");
    // Callers are still taken.
    let conversation = platform.conversation();
    gateway.accept(&conversation).expect(202);
    gateway.wait_state(&conversation, "watching");
    let history = History::on(TcpListener::bind(address).unwrap());
    wait_for("everything to be filed", || {
        let n = history.filed().len();
        if n == 40 { Ok(()) } else { Err(n) }
    });
    for id in &ids {
        wait_record(&gateway, id, "delivered");
    }
    assert!(history.filed().values().all(|n| *n == 1));
    gateway.wait_log("history-open");
    wait_for("the metric to say so", || {
        let down = gateway.metric("genesys_gateway_history_down");
        if down == 0.0 { Ok(()) } else { Err(down) }
    });
}

#[test]
fn other_refusals_are_dead_at_once_and_can_be_tried_again_by_command() {
    let (_platform, history, setup, gateway) = all();
    let statuses = [400, 404, 405, 410, 413, 415, 422, 451];
    let ids: Vec<String> = statuses
        .iter()
        .map(|status| {
            let text = format!("answer-{status}-");
            let answer = format!("no field named {status}\nand more");
            history.script_for(&text, [Reply::Full(*status, Vec::new(), answer)]);
            hand_in(&gateway, &text)
        })
        .collect();
    for (id, status) in ids.iter().zip(statuses) {
        let seen = wait_record(&gateway, id, "dead");
        assert_eq!(seen["attempts"], 1);
        let error = seen["lastError"].as_str().unwrap();
        assert!(error.contains(&status.to_string()), "{error}");
        assert!(
            error.contains(&format!("no field named {status}")),
            "{error}"
        );
    }
    let status = wait_for("the snapshot to count them", || {
        let status = gateway.status();
        if status["records"]["dead"] == 8 {
            Ok(status)
        } else {
            Err(status)
        }
    });
    assert_eq!(status["level"], "bad");
    assert!(status["reasons"].to_string().contains("dead"), "{status}");
    gateway.wait_log("record-dead");
    assert!(
        !gateway.log().contains("no field named"),
        "the answer may be personal"
    );

    // One by its id, the others by their state.
    let listed = setup.operate(&["records", "list", "--state", "dead", "--json"]);
    let listed = listed.expect(0).json();
    assert_eq!(listed["records"].as_array().unwrap().len(), 8, "{listed}");
    let shown = setup
        .operate(&["records", "show", &ids[0], "--json"])
        .expect(0);
    assert_eq!(
        shown.json()["lastError"],
        record(&gateway, &ids[0])["lastError"]
    );
    setup.operate(&["records", "retry", &ids[0]]).expect(0);
    wait_record(&gateway, &ids[0], "delivered");
    setup.operate(&["records", "retry", &ids[0]]).expect(1);
    setup
        .operate(&["records", "retry", "--state", "dead", "--yes"])
        .expect(0);
    for id in &ids {
        let seen = wait_record(&gateway, id, "delivered");
        assert_eq!(seen["attempts"], 2);
        assert!(seen.get("lastError").is_none_or(Value::is_null), "{seen}");
    }
    assert!(history.filed().values().all(|n| *n == 1));
    setup
        .operate(&["records", "retry", "00000000-0000-4000-8000-000000000000"])
        .expect(1);
}

#[test]
fn operators_hold_release_retry_and_discard_what_is_in_the_state_for_it() {
    let (_platform, history, _setup, gateway) = all();
    history.always(Reply::Status(503));
    let id = hand_in(&gateway, "one");
    wait_record(&gateway, &id, "deferred");
    gateway.act(&id, "release").expect(409);
    assert_eq!(gateway.act(&id, "hold").expect(200).json()["state"], "held");
    gateway.act(&id, "hold").expect(409);
    let before = history.receipts().len();
    history.always(None);
    never_within(Duration::from_secs(3), "a try of a held record", || {
        history.receipts().len() > before
    });
    let status = gateway.status();
    assert!(status["reasons"].to_string().contains("held"), "{status}");
    assert_eq!(
        gateway.act(&id, "release").expect(200).json()["state"],
        "queued"
    );
    wait_record(&gateway, &id, "delivered");
    for act in ["retry", "hold", "release", "discard"] {
        let refused = gateway.act(&id, act).expect(409);
        assert_eq!(
            refused.header("content-type"),
            Some("application/problem+json")
        );
    }

    history.always(Reply::Status(400));
    let id = hand_in(&gateway, "two");
    wait_record(&gateway, &id, "dead");
    gateway.act(&id, "hold").expect(409);
    assert_eq!(
        gateway.act(&id, "discard").expect(200).json()["state"],
        "discarded"
    );
    gateway.act(&id, "retry").expect(409);
    wait_for("the verdict to be at ease", || {
        let status = gateway.status();
        if status["level"] == "ok" {
            Ok(())
        } else {
            Err(status)
        }
    });

    // Deferred, then tried now instead of later.
    history.always(Reply::Status(503));
    let id = hand_in(&gateway, "three");
    wait_for("the third try", || {
        let seen = record(&gateway, &id);
        let due = seen["attempts"] == 3 && seen["state"] == "deferred";
        if due { Ok(()) } else { Err(seen) }
    });
    history.always(None);
    let asked = Instant::now();
    gateway.act(&id, "retry").expect(200);
    wait_record(&gateway, &id, "delivered");
    assert!(
        asked.elapsed() < Duration::from_millis(2500),
        "it waited for its time"
    );

    gateway
        .act("00000000-0000-4000-8000-000000000000", "retry")
        .expect(404);
    gateway.act("nonsense", "retry").expect(404);
    let url = format!("{}/records/{id}/retry", gateway.operators);
    http::get(&url).expect(405);
}

#[test]
fn after_give_up_after_a_record_is_dead() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("history", "give-up-after = \"2s\"");
    let gateway = setup.start();
    history.always(Reply::Status(500));
    let id = hand_in(&gateway, "x");
    let seen = wait_record(&gateway, &id, "dead");
    let error = seen["lastError"].as_str().unwrap();
    assert!(
        error.contains("given up") && error.contains("500"),
        "{error}"
    );
    assert!(seen["attempts"].as_u64() >= Some(2), "{seen}");
    history.always(None);
    gateway.act(&id, "retry").expect(200);
    wait_record(&gateway, &id, "delivered");
}

/// One try, and then silence: the destination is closed to us.
fn closes(status: u16) -> (Platform, History, Setup, Gateway, [String; 2]) {
    let (platform, history, setup, gateway) = all();
    let elsewhere = format!("{}/elsewhere", history.url);
    let location = vec![("Location", elsewhere)];
    history.always(Reply::Full(status, location, String::from("go away")));
    let first = hand_in(&gateway, "first");
    history.wait_receipts(1);
    wait_for("the gateway to say so", || {
        let status = gateway.status();
        if status["history"]["state"] == "closed" {
            Ok(())
        } else {
            Err(status)
        }
    });
    let second = hand_in(&gateway, "second");
    assert_eq!(gateway.metric("genesys_gateway_history_closed"), 1.0);
    let said = gateway.status();
    assert_eq!(said["level"], "bad");
    assert!(
        said["reasons"].to_string().contains(&status.to_string()),
        "{said}"
    );
    let line = gateway.wait_log("history-closed");
    assert!(
        line.contains("ERROR") && line.contains(&status.to_string()),
        "{line}"
    );
    for id in [&first, &second] {
        let seen = record(&gateway, id);
        assert_eq!(seen["state"], "queued", "{seen}");
        assert_eq!(seen["attempts"], 0, "{seen}");
    }
    never_within(
        Duration::from_secs(3),
        "another try, or a redirect followed",
        || history.receipts().len() > 1,
    );
    (platform, history, setup, gateway, [first, second])
}

#[test]
fn a_destination_that_answers_403_is_left_alone() {
    closes(403);
}

#[test]
fn a_destination_that_redirects_is_left_alone_and_not_followed() {
    let (_platform, history, ..) = closes(307);
    let receipts = history.receipts();
    assert!(
        receipts
            .iter()
            .all(|r| r.line.starts_with("POST /communications "))
    );
}

#[test]
fn a_destination_that_answers_401_is_probed_after_a_minute_and_everything_filed() {
    let (platform, history, _setup, gateway, ids) = closes(401);
    // Work goes on meanwhile.
    let conversation = platform.conversation();
    gateway.accept(&conversation).expect(202);
    gateway.wait_state(&conversation, "watching");
    platform.act(&conversation, "finish", json!({}));
    gateway.wait_state(&conversation, "finished");
    history.always(None);
    wait_within(Duration::from_secs(75), "the probe", || {
        let n = history.filed().len();
        if n == 3 { Ok(()) } else { Err(n) }
    });
    let receipts = history.receipts();
    let pause = receipts[1].at - receipts[0].at;
    assert!(pause >= Duration::from_secs(55), "probed after {pause:?}");
    for id in &ids {
        let seen = wait_record(&gateway, id, "delivered");
        assert_eq!(
            seen["attempts"], 1,
            "tries while closed are not counted: {seen}"
        );
    }
    gateway.wait_log("history-open");
    wait_for("the metric to say so", || {
        let closed = gateway.metric("genesys_gateway_history_closed");
        if closed == 0.0 { Ok(()) } else { Err(closed) }
    });
}

#[test]
fn configured_headers_and_the_bearer_token_go_along_and_a_new_token_is_picked_up() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write("token", "old-token\n");
    setup.set("history", "bearer-token-file = \"./token\"");
    setup.set("history", "headers = { X-Source = \"genesys\" }");
    let gateway = setup.start();
    let first = hand_in(&gateway, "first");
    wait_record(&gateway, &first, "delivered");
    setup.write("token", "a-newer-token\n");
    let second = hand_in(&gateway, "second");
    wait_record(&gateway, &second, "delivered");
    let receipts = history.receipts();
    assert_eq!(receipts[0].header("x-source"), Some("genesys"));
    assert_eq!(
        receipts[0].header("authorization"),
        Some("Bearer old-token")
    );
    assert_eq!(
        receipts[1].header("authorization"),
        Some("Bearer a-newer-token")
    );
}

#[test]
fn a_template_reshapes_the_body() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write(
        "body.j2",
        r#"{"id": {{ recordId }}, "k": {{ kind }},
            {%- if kind == "support-result" %} "r": {{ result.text }}
            {%- else %} "who": {{ interaction.customer.id }}, "note": {{ afterCallWork.wrapupNotes }},
            "at": {{ eventTime }}, "none": {{ interaction.missing }}{% endif %}}"#,
    );
    setup.set("history", "template-file = \"./body.j2\"");
    let gateway = setup.start();
    let conversation = platform.conversation();
    let body = format!(
        r#"{{"conversationId":"{conversation}","customer":{{"id":12345678901234567890123}}}}"#
    );
    http::post_json(&gateway.interactions(), &body).expect(202);
    gateway.wait_state(&conversation, "watching");
    platform.act(&conversation, "wrap-up", json!({"notes": "\"quoted\"\n\\"}));
    let filed = history.wait_receipts(1).remove(0);
    let sent = filed.json();
    assert_eq!(sent["id"], filed.key());
    assert_eq!(sent["note"], "\"quoted\"\n\\");
    assert_eq!(sent["none"], Value::Null);
    assert!(
        filed.body.contains(r#""who": 12345678901234567890123"#),
        "{}",
        filed.body
    );
    assert_eq!(sent.as_object().unwrap().len(), 6);
    hand_in(&gateway, "te\"xt");
    let filed = history.wait_receipts(2).remove(1);
    assert_eq!(filed.json()["r"], "te\"xt");
}

#[test]
fn a_template_that_gives_no_json_is_refused_at_the_start() {
    for (template, words) in [
        ("{% if %}", "line 1"),
        (r#"{"id": "{{ recordId }}"}"#, "not JSON"),
        (
            r#"{% if kind == "after-call-work" %}{}{% endif %}"#,
            "support-result",
        ),
    ] {
        let (platform, history) = (Platform::start(), History::start());
        let mut setup = Setup::new(&platform, &history);
        setup.write("body.j2", template);
        setup.set("history", "template-file = \"./body.j2\"");
        for word in ["run", "check"] {
            let ended = setup.ends(&[word]);
            assert_eq!(ended.code, 78, "{word} {template}: {ended:#?}");
            let said = format!("{}{}", ended.out, ended.log);
            assert!(
                said.contains(words) && said.contains("template"),
                "{word}: {said}"
            );
        }
    }
}

#[test]
fn whatever_stands_around_the_status_line_a_record_is_filed_once() {
    let (_platform, history, _setup, gateway) = all();
    for (n, answer) in [
        "HTTP/1.1 100 Continue\r\nDate: now\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A : a\u{1}\r\nContent-Length: none\r\n\r\nok",
        "HTTP/1.0 200\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("odd-answer-{n}-");
        history.script_for(&text, [Reply::Raw(answer)]);
        let id = hand_in(&gateway, &text);
        let seen = wait_record(&gateway, &id, "delivered");
        assert_eq!(seen["attempts"], 1, "{answer}: {seen}");
        assert_eq!(history.receipts_with(&text).len(), 1);
    }
}

/// A receiver that is still at the first try answers 409 to the second.
#[test]
fn a_409_while_the_first_try_is_in_progress_is_asked_again_after_a_minute() {
    let (_platform, history, _setup, gateway) = all();
    history.script_for(
        "slow-",
        [Reply::Close, Reply::Status(409), Reply::Status(201)],
    );
    let id = hand_in(&gateway, "slow-");
    wait_for("two tries", || match history.receipts_with("slow-").len() {
        2 => Ok(()),
        n => Err(n),
    });
    wait_for("the second try to be judged", || {
        let seen = record(&gateway, &id);
        let conflict = |e: &str| e.contains("409");
        match seen["state"] == "deferred" && seen["lastError"].as_str().is_some_and(conflict) {
            true => Ok(()),
            false => Err(seen),
        }
    });
    wait_within(std::time::Duration::from_secs(80), "the third try", || {
        let seen = record(&gateway, &id);
        if seen["state"] == "delivered" {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert_eq!(history.receipts_with("slow-").len(), 3);
}

/// An ingress without its backend; the gateway is started anew in the middle of it.
#[test]
fn an_ingress_that_answers_404_to_everything_kills_no_record() {
    let (_platform, history, setup, mut gateway) = all();
    history.always(Reply::Status(404));
    let ids: Vec<String> = (0..40)
        .map(|n| hand_in(&gateway, &format!("storm-{n}-")))
        .collect();
    wait_for("the outage to be noticed", || {
        match gateway.metric("genesys_gateway_history_closed") {
            1.0 => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(
        gateway.metric("genesys_gateway_records{state=\"dead\"}"),
        0.0
    );
    gateway.kill9();
    history.always(Reply::Status(201));
    let gateway = setup.start();
    for id in &ids {
        wait_record(&gateway, id, "delivered");
    }
    assert!(history.receipts_with("storm-").len() < 40 + 20);
}
