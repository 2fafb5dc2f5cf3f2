//! Text that is no text, in answers and in frames of the platform: what nobody needs spoils
//! nothing, and what is filed is told as far as it can be told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{between, watched};
use crate::support::middlebox::Manner;
use crate::support::{Gateway, History, Platform, wait_for, wait_within};

/// Wrapped up while nobody hears it.
fn missed(platform: &Platform, ids: &[String], notes: &str) {
    platform.fault(json!({"fault": "events", "mode": "drop", "times": ids.len()}));
    for id in ids {
        platform.act(id, "end", json!({}));
        platform.act(id, "wrap-up", json!({"code": "done", "notes": notes}));
    }
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
}

/// In every object of these answers, a member that nobody needs.
fn odd_in(manner: &mut Manner, path: &'static str, odd: &'static [u8]) {
    manner.edit = Some(Arc::new(move |of, text| {
        let mut out = Vec::new();
        let mut before = b' ';
        for byte in text.replace("Not#es", "\\ud83d").bytes() {
            if of.starts_with(path) && before == b'{' && byte == b'"' {
                out.extend_from_slice(br#""name":"#);
                out.extend_from_slice(odd);
                out.push(b',');
            }
            out.push(byte);
            before = byte;
        }
        out
    }));
}

#[test]
fn odd_text_in_the_answer_about_a_conversation_spoils_no_wrap_up() {
    let (platform, history) = (Platform::start(), History::start());
    let (middle, setup) = between(&platform, &history);
    let gateway = setup.start();
    for odd in [
        &br#""Kunde \ud83d""#[..],
        br#"["\ude00\ud83d", {"\ud800": NaN}]"#,
        b"\"M\xfcller \x01\"",
        br#"1e999"#,
        br#""\x \u12""#,
    ] {
        let id = watched(&platform, &gateway);
        middle.turn(|m| odd_in(m, "/api/v2/conversations/", odd));
        missed(&platform, std::slice::from_ref(&id), "so far Not#es");
        let filed = history.wait_filed(&id, 1).remove(0).json();
        let shown = String::from_utf8_lossy(odd).into_owned();
        assert_eq!(filed["source"], "reconciliation", "{shown}");
        let work = &filed["afterCallWork"];
        assert_eq!(work["wrapupCode"], "done", "{shown}: {filed}");
        assert_eq!(work["wrapupNotes"], "so far \u{fffd}", "{shown}: {filed}");
        gateway.wait_state(&id, "finished");
    }
    assert_eq!(gateway.metric("genesys_gateway_checks_not_understood"), 0.0);
}

/// Takes more than a minute: analytics are not asked before they can know, and not about few.
#[test]
fn odd_text_in_an_answer_about_many_spoils_none_of_them() {
    let (platform, history) = (Platform::start(), History::start());
    platform.switch("analytics-latency-seconds", "0");
    // So few that one by one takes longer than analytics do.
    platform.switch("rest-per-minute", "60");
    let (middle, setup) = between(&platform, &history);
    let gateway = setup.start();
    let ids: Vec<String> = (0..200).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    gateway.wait_state(&ids[199], "watching");
    wait_for(
        "all to be watched",
        || match gateway.status()["topics"]["live"].as_u64() {
            Some(200) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    middle.turn(|m| odd_in(m, "/api/v2/analytics/", br#""Kunde \ud83d""#));
    let some: Vec<String> = ids.iter().skip(5).step_by(40).cloned().collect();
    missed(&platform, &some, "n");
    wait_within(Duration::from_secs(150), "an answer about many", || {
        let found = gateway.metric("genesys_gateway_checks_total{how=\"many\",outcome=\"found\"}");
        if found >= 1.0 { Ok(()) } else { Err(found) }
    });
    for outcome in ["not-understood", "trouble", "not-found"] {
        let series = format!("genesys_gateway_checks_total{{how=\"many\",outcome=\"{outcome}\"}}");
        assert_eq!(gateway.metric(&series), 0.0, "{outcome}");
    }
    platform.switch("rest-per-minute", "300");
    wait_within(Duration::from_secs(90), "all to be filed", || {
        let filed = |id: &&String| !history.filed_of(id).is_empty();
        match some.iter().filter(filed).count() {
            5 => Ok(()),
            n => Err(format!("{n} filed; {}", gateway.status()["checks"])),
        }
    });
    for id in &some {
        let filed = history.wait_filed(id, 1).remove(0).json();
        assert_eq!(filed["source"], "reconciliation");
    }
}

/// The notes in the record that was filed for a conversation.
fn filed_notes(
    history: &History,
    gateway: &Gateway,
    id: &str,
    of: impl Fn(&Value) -> Value,
) -> Value {
    let body = wait_for("it to be filed", || {
        let all = history.receipts_with(id);
        all.first().map(|r| r.json()).ok_or("nothing of it")
    });
    gateway.wait_record(id, "delivered");
    of(&body)
}

#[test]
fn notes_that_end_in_half_a_character_are_filed_as_far_as_they_can_be_told() {
    let (platform, history) = (Platform::start(), History::start());
    let (middle, mut setup) = between(&platform, &history);
    // Each of the same length, so that frames stay frames.
    middle.turn(|m| {
        m.frames = vec![
            ("Half#1", "\\ud83d"),
            ("Half#2", "\\uDE00"),
            ("Half#3", "\\u00 x"),
        ];
    });
    let notes = [
        ("so far Half#1", "so far \u{fffd}"),
        ("Half#2 and on", "\u{fffd} and on"),
        ("äöü Half#1Half#1 😀", "äöü \u{fffd}\u{fffd} 😀"),
    ];
    let plain = |body: &Value| body["afterCallWork"]["wrapupNotes"].clone();
    let shaped = |body: &Value| body["notes"].clone();
    let gateway = setup.start();
    for (sent, told) in notes {
        let id = watched(&platform, &gateway);
        platform.act(&id, "end", json!({}));
        platform.act(&id, "wrap-up", json!({"code": "done", "notes": sent}));
        assert_eq!(filed_notes(&history, &gateway, &id, plain), told);
    }
    drop(gateway);
    let template = r#"{"id": {{ conversationId }}, "notes": {{ afterCallWork.wrapupNotes }},
        "shout": {{ afterCallWork.wrapupNotes | upper }}, "none": {{ afterCallWork.nothing }}}"#;
    setup.write("body.j2", template);
    setup.set("history", "template-file = \"./body.j2\"");
    let gateway = setup.start();
    for (sent, told) in notes {
        let id = watched(&platform, &gateway);
        platform.act(&id, "end", json!({}));
        platform.act(&id, "wrap-up", json!({"code": "done", "notes": sent}));
        assert_eq!(filed_notes(&history, &gateway, &id, shaped), told);
    }
    // An escape that is none, too: never null.
    let id = watched(&platform, &gateway);
    platform.act(&id, "end", json!({}));
    platform.act(
        &id,
        "wrap-up",
        json!({"code": "done", "notes": "it is Half#3"}),
    );
    let told = filed_notes(&history, &gateway, &id, shaped);
    assert!(
        told.as_str().is_some_and(|t| t.starts_with("it is ")),
        "{told}"
    );
}
