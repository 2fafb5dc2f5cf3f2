//! Every order in which one wrap-up, or two, can come to our knowledge.

use super::*;

const C: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
const T: i64 = 1_767_886_512_345;

fn c() -> ConversationId {
    C.parse().unwrap()
}

fn leg(p: &str, s: &str) -> Leg {
    Leg {
        participant: p.into(),
        session: s.into(),
    }
}

/// `n+0` is a notification at T, `r+900` a rebuilt one 900 ms later, `n?a` a notification
/// without a time and with content `a`.
fn sighting(code: &str, leg: &Leg) -> Sighting {
    let source = if code.starts_with('n') {
        Source::Notification
    } else {
        Source::Reconciliation
    };
    let event_time = code[1..].parse::<i64>().ok().map(|d| Wall(T + d));
    Sighting {
        source,
        leg: leg.clone(),
        event_time,
        digest: (source == Source::Notification).then(|| code.to_owned()),
        twin: None,
        received_at: event_time.unwrap_or(Wall(T + 100)),
    }
}

#[test]
fn an_event_says_the_same_however_its_names_are_cased() {
    let said = |name: fn(&str) -> String| {
        let body = serde_json::json!({
            name("eventTime"): T, name("conversationId"): C, name("participantId"): "P",
            name("sessionId"): "S", name("mediaType"): "VOICE", name("wrapupCode"): "w",
        });
        let view = read_event(&body.to_string()).unwrap();
        (view.conversation, view.leg, view.event_time, view.twin)
    };
    let plain = said(str::to_owned);
    assert_eq!((plain.0, plain.2), (Some(c()), Some(Wall(T))));
    assert_eq!(plain.1, leg("p", "s"));
    assert_eq!(said(str::to_ascii_uppercase), plain);
    let pascal = |name: &str| name[..1].to_ascii_uppercase() + &name[1..];
    assert_eq!(said(pascal), plain);
    // The platform's own way of writing goes first.
    let both = r#"{"PARTICIPANTID":"x","participantId":"y","ParticipantId":"z"}"#;
    assert_eq!(read_event(both).unwrap().leg, leg("y", ""));
}

/// Takes sightings one after the other, as the core does, and counts the records.
fn take(seen: &[Sighting]) -> Vec<RecordRow> {
    let mut rows: Vec<RecordRow> = Vec::new();
    for s in seen {
        match find(c(), rows.iter(), s) {
            Finding::Known(_) => {}
            Finding::Match(id) => {
                let row = rows.iter_mut().find(|r| r.record == id).unwrap();
                s.mark(row);
            }
            Finding::New { record, ordinal } => {
                assert!(rows.iter().all(|r| r.record != record), "id used twice");
                rows.push(s.row(c(), record, ordinal, s.received_at));
            }
        }
    }
    rows
}

fn count(codes: &[&str]) -> usize {
    let l = leg("p", "s");
    let seen: Vec<_> = codes.iter().map(|code| sighting(code, &l)).collect();
    take(&seen).len()
}

#[test]
fn one_leg_gives_one_record_per_wrap_up_in_every_order() {
    let table: &[(&[&str], usize)] = &[
        (&["n0", "n0"], 1),
        (&["n0", "n1"], 2),
        (&["n0", "n9000"], 2),
        (&["n0", "r-195"], 1),
        (&["r-195", "n0"], 1),
        (&["r-195", "n0", "n0"], 1),
        (&["r-195", "r-195"], 1),
        (&["r0", "r5000"], 1),
        (&["r0", "r5001"], 2),
        (&["n0", "r5000"], 1),
        (&["n0", "r5001"], 2),
        (&["r0", "n-5000"], 1),
        (&["r0", "n-5001"], 2),
        // A re-wrap soon after is not taken for the matched one.
        (&["r0", "n200", "n3000"], 2),
        (&["r0", "n200", "n3000", "n200", "n3000", "r100"], 2),
        // Announced twice, then seen over REST.
        (&["n0", "n3000", "r2900", "r100"], 2),
        // Rebuilt after a restart, announced late, rebuilt again.
        (&["r0", "n200", "r0", "r300"], 1),
        // Two rebuilt, two announced, crosswise.
        (&["r0", "r9000", "n9100", "n100", "n9100"], 2),
        // Without a time: by content, and near a rebuilt one by receipt.
        (&["n?a", "n?a"], 1),
        (&["n?a", "n?b"], 2),
        (&["n?a", "n0"], 2),
        (&["n?a", "r0"], 1),
        (&["r0", "n?a", "n?a"], 1),
        (&["r0", "n?a", "n?b"], 2),
        (&["r0", "n?a", "n100"], 2),
    ];
    for (codes, expected) in table {
        assert_eq!(count(codes), *expected, "{codes:?}");
    }
}

#[test]
fn a_rebuilt_record_is_matched_with_the_nearest() {
    let l = leg("p", "s");
    // Both are within reach of the notification.
    let rows = take(&[
        sighting("r0", &l),
        sighting("r5001", &l),
        sighting("n4000", &l),
    ]);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].matched_time, None);
    assert_eq!(rows[1].matched_time, Some(Wall(T + 4000)));
}

#[test]
fn legs_are_compared_by_what_both_name() {
    let table = [
        (("p", "s"), ("p", "s"), true),
        (("p", "s"), ("p", "x"), false),
        (("p", "s"), ("x", "s"), false),
        (("p", ""), ("p", "s"), true),
        (("", "s"), ("p", "s"), true),
        (("p", ""), ("p", ""), true),
        (("p", ""), ("", "s"), false),
        (("", ""), ("p", "s"), false),
        (("", ""), ("", ""), false),
    ];
    for (a, b, same) in table {
        assert_eq!(
            same_leg(&leg(a.0, a.1), &leg(b.0, b.1)),
            same,
            "{a:?} {b:?}"
        );
        assert_eq!(
            same_leg(&leg(b.0, b.1), &leg(a.0, a.1)),
            same,
            "{b:?} {a:?}"
        );
    }
}

#[test]
fn an_event_that_names_only_half_of_its_leg_is_the_wrap_up_that_rest_shows_of_it() {
    let whole = leg("p", "s");
    for half in [leg("p", ""), leg("", "s")] {
        let (event, shown) = (sighting("n+0", &half), sighting("r+900", &whole));
        assert_eq!(take(&[event.clone(), shown.clone()]).len(), 1, "{half:?}");
        assert_eq!(take(&[shown, event]).len(), 1, "{half:?}");
    }
}

#[test]
fn only_a_leg_with_participant_and_session_may_be_tagged_twice() {
    let mark = |p, s| twin_mark(&leg(p, s), Some("VOICE"), Some("x"), None);
    assert!(mark("p", "s").is_some());
    assert_eq!(
        [mark("p", ""), mark("", "s"), mark("", "")],
        [None, None, None]
    );
}

#[test]
fn other_legs_and_other_ordinals_have_other_ids() {
    let rows = take(&[
        sighting("n0", &leg("p", "s")),
        sighting("n0", &leg("q", "s2")),
        sighting("n0", &leg("p", "s3")),
        sighting("n7000", &leg("p", "s")),
        sighting("n14000", &leg("p", "")),
    ]);
    let ordinals: Vec<_> = rows.iter().map(|r| r.ordinal).collect();
    assert_eq!(ordinals, [0, 0, 0, 1, 2]);
}

#[test]
fn events_without_a_leg_are_told_apart_by_time_and_content() {
    let none = Leg::default();
    let mut other = sighting("n0", &none);
    other.digest = Some("other".into());
    let rows = take(&[
        sighting("n0", &none),
        sighting("n0", &none),
        other,
        sighting("n1", &none),
        sighting("n?a", &none),
        sighting("n?a", &none),
        // Never taken for the wrap-up of a leg.
        sighting("r0", &leg("p", "s")),
    ]);
    assert_eq!(rows.len(), 5);
}

#[test]
fn an_id_never_changes() {
    // A change here would file again, after an update, what was filed before it.
    let id = leg_record(c(), &leg("p", "s"), 0);
    assert_eq!(id, leg_record(c(), &leg("p", "s"), 0));
    assert_eq!(id.0.get_version_num(), 8);
    assert_eq!(id.to_string(), "6e44f502-1dc1-89a9-b6f4-7b72634c3749");
    assert_ne!(id, leg_record(c(), &leg("ps", ""), 0));
    let body = [7; 32];
    assert_eq!(keyed_result("a", &body), keyed_result("a", &body));
    assert_ne!(keyed_result("a", &body), keyed_result("b", &body));
    assert_ne!(keyed_result("a", &body), keyed_result("a", &[8; 32]));
    assert_ne!(
        legless_record(c(), None, "d"),
        legless_record(c(), Some(Wall(0)), "d")
    );
}

#[test]
fn an_event_is_read_whatever_its_members_are() {
    let body = r#"{"eventTime":1767886512345,"conversationId":"7C1F4B9E-5D0A-4C58-9A3E-2F6B8D1E0C47",
        "participantId":"B9D2","sessionId":"E40C","wrapupDurationMs":1e999}"#;
    let event = read_event(body).unwrap();
    assert_eq!(event.conversation, Some(c()));
    assert_eq!(event.leg, leg("b9d2", "e40c"));
    assert_eq!(event.event_time, Some(Wall(T)));
    for odd in [
        "{}",
        r#"{"eventTime":null,"participantId":7,"sessionId":null}"#,
        r#"{"eventTime":99999999999999999999999}"#,
        r#"{"participantId":{"a":[1]}}"#,
    ] {
        let event = read_event(odd).unwrap();
        assert!(legless(&event.leg) && event.event_time.is_none(), "{odd}");
    }
    for not in ["", "null", "[]", "7", "{", r#""x""#] {
        assert_eq!(read_event(not), Err(NotAnObject), "{not}");
    }
    for (n, _) in body.char_indices() {
        assert!(read_event(&body[..n]).is_err());
    }
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_members() {
    let a = read_event(r#"{"a":1,"b":2}"#).unwrap();
    let b = read_event(r#"{"b":2,"a":1}"#).unwrap();
    let c = read_event(r#"{"b":1,"a":2}"#).unwrap();
    assert_eq!(a.digest, b.digest);
    assert_ne!(a.digest, c.digest);
    assert_eq!(a.digest.len(), 64);
}

#[test]
fn an_event_time_is_read_however_it_is_written() {
    for time in [
        "1767886512345",
        "\"1767886512345\"",
        "1767886512345.0",
        "1.767886512345e12",
        "\"2026-01-08T15:35:12.345Z\"",
    ] {
        let event = read_event(&format!(r#"{{"eventTime":{time}}}"#)).unwrap();
        assert_eq!(event.event_time, Some(Wall(T)), "{time}");
    }
    for time in [
        "1e999",
        "null",
        "true",
        "[]",
        "\"soon\"",
        "99999999999999999999",
    ] {
        let event = read_event(&format!(r#"{{"eventTime":{time}}}"#)).unwrap();
        assert_eq!(event.event_time, None, "{time}");
    }
}

/// A wrap-up of participant `p` on a session, a medium, with a code, `dt` after T.
fn tagged(source: Source, session: &str, media: &str, code: &str, dt: i64) -> Sighting {
    let leg = leg("p", session);
    Sighting {
        twin: twin_mark(&leg, Some(media), Some(code), Some("notes")),
        source,
        event_time: Some(Wall(T + dt)),
        digest: (source == Source::Notification).then(|| format!("{session}{code}{dt}")),
        received_at: Wall(T + dt + 100),
        leg,
    }
}

#[test]
fn a_wrap_up_tagged_on_a_callback_and_its_call_is_one_record_in_every_order() {
    use Source::{Notification as N, Reconciliation as R};
    type Tag = (Source, &'static str, &'static str, &'static str, i64);
    let table: &[(&[Tag], usize)] = &[
        // One answer shows it twice.
        (
            &[(R, "b", "CALLBACK", "x", 0), (R, "v", "VOICE", "x", 0)],
            1,
        ),
        (
            &[(R, "b", "CALLBACK", "x", 0), (R, "v", "VOICE", "x", 4_900)],
            1,
        ),
        (
            &[(R, "b", "CALLBACK", "x", 0), (R, "v", "VOICE", "x", 5_100)],
            2,
        ),
        (
            &[(R, "b", "CALLBACK", "x", 0), (R, "v", "VOICE", "y", 0)],
            2,
        ),
        // Two events, and one event beside what REST shows.
        (
            &[(N, "b", "CALLBACK", "x", 0), (N, "v", "VOICE", "x", 3)],
            1,
        ),
        (
            &[
                (N, "v", "voice", "x", 0),
                (R, "b", "CALLBACK", "x", -900),
                (R, "v", "VOICE", "x", -900),
            ],
            1,
        ),
        (
            &[
                (R, "b", "CALLBACK", "x", -900),
                (R, "v", "VOICE", "x", -900),
                (N, "v", "VOICE", "x", 0),
                (N, "b", "CALLBACK", "x", 0),
            ],
            1,
        ),
        // Where a medium is not said, the other has to be the callback.
        (&[(N, "b", "CALLBACK", "x", 0), (N, "v", "", "x", 0)], 1),
        (&[(N, "b", "VOICE", "x", 0), (N, "v", "", "x", 0)], 2),
        // A second wrap-up, tagged twice too.
        (
            &[
                (N, "b", "CALLBACK", "x", 0),
                (N, "v", "VOICE", "x", 0),
                (N, "b", "CALLBACK", "y", 2_000),
                (N, "v", "VOICE", "y", 2_000),
            ],
            2,
        ),
        // Transferred away and back, or two mails: each leg has its own.
        (&[(R, "v", "VOICE", "x", 0), (R, "w", "VOICE", "x", 0)], 2),
        (&[(N, "v", "EMAIL", "x", 0), (N, "w", "EMAIL", "x", 0)], 2),
        (
            &[(N, "b", "CALLBACK", "x", 0), (N, "d", "CALLBACK", "x", 0)],
            2,
        ),
    ];
    for (tags, records) in table {
        for turn in 0..tags.len() {
            let mut order = tags.to_vec();
            order.rotate_left(turn);
            for seen in [order.clone(), order.into_iter().rev().collect()] {
                let seen: Vec<_> = seen
                    .into_iter()
                    .map(|(source, s, media, code, dt)| tagged(source, s, media, code, dt))
                    .collect();
                let twice: Vec<_> = seen.iter().chain(&seen).cloned().collect();
                assert_eq!(take(&twice).len(), *records, "{seen:?}");
            }
        }
    }
    // Another participant's is another, notes and all.
    let mut other = tagged(N, "v", "VOICE", "x", 0);
    other.leg.participant = "q".into();
    other.twin = twin_mark(&other.leg, Some("VOICE"), Some("x"), Some("notes"));
    assert_eq!(take(&[tagged(N, "b", "CALLBACK", "x", 0), other]).len(), 2);
    let mut noted = tagged(N, "v", "VOICE", "x", 0);
    noted.twin = twin_mark(&noted.leg, Some("VOICE"), Some("x"), Some("other notes"));
    assert_eq!(take(&[tagged(N, "b", "CALLBACK", "x", 0), noted]).len(), 2);
}

#[test]
fn swapped_late_and_repeated_events_of_one_leg_are_each_taken_once() {
    let l = leg("p", "s");
    let codes = ["n0", "n4000", "n90000"];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let seen: Vec<_> = order
            .iter()
            .chain(&order)
            .map(|n| sighting(codes[*n], &l))
            .collect();
        assert_eq!(take(&seen).len(), 3, "{order:?}");
    }
}
