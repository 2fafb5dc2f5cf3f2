//! Gaps, late subscriptions, missing announcements, REST that cannot tell.

use super::world::*;
use crate::*;
use base::notice::Level;
use base::rows::*;

fn trouble() -> FetchOutcome {
    FetchOutcome::Trouble("503".into())
}

#[test]
fn a_late_subscription_is_followed_by_a_check_that_rebuilds_what_was_missed() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.pass(secs(30));
    let before = w.now.wall - secs(10);
    w.live(1);
    w.found(over(1, &[("a", before)]));
    let record = w.only_record();
    assert_eq!(w.record(record).source, Source::Reconciliation);
    assert_eq!(w.record(record).event_time, Some(before));
    assert_eq!(w.state(1), "finished");
    assert_eq!(w.posts, [record]);
}

#[test]
fn what_was_probably_announced_is_rebuilt_only_on_the_second_look() {
    let mut w = World::watching(Settings::default());
    // The routine check happens to come just after the wrap-up.
    w.pass(secs(1200));
    let at = w.now.wall - secs(1);
    let (fetch, _) = w.fetches[0].clone();
    assert_eq!(fetch, Fetch::Calm(c(1)));
    w.fetches[0].1 = w.now;
    w.found(over(1, &[("a", at)]));
    assert!(w.store.records.is_empty() && w.state(1) == "watching");
    w.pass(secs(10));
    w.found(over(1, &[("a", at)]));
    assert_eq!(w.store.records.len(), 1);
    assert_eq!(w.state(1), "finished");
    // And the announcement after all: the same wrap-up.
    w.event(1, "a", at + secs(1));
    assert_eq!(w.store.records.len(), 1);
    let record = w.only_record();
    assert_eq!(w.record(record).matched_time, Some(at + secs(1)));
}

#[test]
fn an_announcement_between_the_two_looks_is_the_one_record() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(1200));
    let at = w.now.wall;
    w.fetches[0].1 = w.now;
    w.found(over(1, &[("a", at)]));
    w.event(1, "a", at + secs(1));
    w.pass(secs(10));
    w.found(over(1, &[("a", at)]));
    let record = w.only_record();
    assert_eq!(w.record(record).source, Source::Notification);
    assert_eq!(w.state(1), "finished");
}

#[test]
fn a_wrap_up_that_a_later_answer_shows_has_a_second_look_of_its_own() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(1200));
    let at = w.now.wall - secs(1);
    w.fetches[0].1 = w.now;
    w.found(over(1, &[("a", at)]));
    w.pass(secs(10));
    // Wrapped up three seconds after the other, and missed only now.
    let both = over(1, &[("a", at), ("b", at + secs(3))]);
    w.found(both.clone());
    assert_eq!(w.store.records.len(), 1);
    w.event(1, "b", at + secs(3));
    w.pass(secs(10));
    w.found(both);
    let mut sources: Vec<_> = w
        .store
        .records
        .values()
        .map(|(row, ..)| row.source)
        .collect();
    sources.sort();
    assert_eq!(sources, [Source::Notification, Source::Reconciliation]);
    assert_eq!(w.state(1), "finished");
}

#[test]
fn after_a_gap_only_an_answer_asked_later_is_evidence() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(1200));
    // A question is out when the gap begins and ends.
    assert_eq!(w.fetches.len(), 1);
    w.pass(secs(1));
    let lost = w.now.wall;
    w.gap(1);
    assert!(!w.filing.watch_state(c(1)).unwrap().live);
    assert_eq!(w.state(1), "watching");
    w.pass(secs(5));
    w.live(1);
    // It shows the conversation over, but from before the gap.
    w.found(conversation(1, true, &[]));
    assert_eq!(w.state(1), "watching");
    assert!(w.filing.watch_state(c(1)).unwrap().owed);
    w.found(over(1, &[("a", lost)]));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
    assert_eq!(w.filing.snapshot(w.now).gaps[&GapCause::Silent], (1, 1));
}

#[test]
fn a_lasting_gap_is_looked_after_every_ten_minutes() {
    let mut w = World::watching(Settings::default());
    w.gap(1);
    w.pass(secs(121));
    w.found(going_on(1));
    for _ in 0..3 {
        assert!(w.fetches.is_empty());
        w.pass(secs(601));
        w.found(going_on(1));
    }
    let lost = w.now.wall;
    w.pass(secs(601));
    w.found(conversation(
        1,
        false,
        &[RestLeg {
            leg: "a",
            state: "complete",
            wrap_up: Some(lost),
        }],
    ));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "settling"));
}

#[test]
fn a_conversation_never_live_is_looked_after_too() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.pass(secs(121));
    w.found(over(1, &[]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn an_answer_from_before_the_first_live_ends_nothing() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.pass(secs(121));
    assert_eq!(w.fetches.len(), 1);
    w.pass(secs(1));
    w.live(1);
    w.found(over(1, &[]));
    assert_eq!(w.state(1), "watching");
    w.found(over(1, &[]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn nothing_settles_while_the_topic_is_dark() {
    let denied = || FetchOutcome::Denied("no".into());
    let (mut w, _) = World::settling(Settings::default());
    w.gap(1);
    for _ in 0..60 {
        w.pass(secs(60));
        if !w.fetches.is_empty() {
            w.tell_fetched(denied());
        }
        assert_eq!(w.state(1), "settling");
    }
    w.live(1);
    w.tell_fetched(denied());
    assert_eq!((w.state(1), w.reason(1).as_str()), ("finished", "settled"));
}

#[test]
fn two_agents_wrap_up_and_the_topic_is_kept_until_both_are_done() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    let legs = |state, wrap_up| {
        [
            RestLeg {
                leg: "a",
                state: "complete",
                wrap_up: Some(at),
            },
            RestLeg {
                leg: "b",
                state,
                wrap_up,
            },
        ]
    };
    w.pass(secs(2));
    for _ in 0..8 {
        w.found(conversation(1, true, &legs("pending", None)));
        assert_eq!(w.state(1), "settling");
        w.pass(secs(1801));
    }
    let later = w.now.wall;
    w.event(1, "b", later);
    w.found(conversation(1, true, &legs("pending", None)));
    w.pass(secs(2));
    w.found(conversation(1, true, &legs("complete", Some(later))));
    assert_eq!((w.store.records.len(), w.state(1)), (2, "finished"));
}

#[test]
fn skipped_work_just_now_may_still_be_announced() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    let seen = |n: &World| {
        let mut text = over(1, &[("a", at), ("b", n.now.wall)]);
        // The second leg's was skipped.
        let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let call = &mut whole["participants"][1]["calls"][0];
        call["afterCallWork"]["state"] = "skipped".into();
        call.as_object_mut().unwrap().remove("wrapup");
        text = whole.to_string();
        text
    };
    w.pass(secs(2));
    let json = seen(&w);
    w.found(json.clone());
    assert_eq!(w.state(1), "settling");
    w.event(1, "b", at + secs(2));
    w.pass(secs(12));
    w.found(json);
    assert_eq!((w.store.records.len(), w.state(1)), (2, "finished"));

    // And without an announcement it ends on the second look.
    let (mut w, _) = World::settling(Settings::default());
    w.pass(secs(2));
    let json = seen(&w);
    w.found(json.clone());
    w.pass(secs(12));
    w.found(json);
    assert_eq!(w.state(1), "finished");
}

#[test]
fn a_quiet_conversation_that_ends_without_work_is_finished_with_no_record() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(1200));
    w.found(conversation(
        1,
        true,
        &[RestLeg {
            leg: "a",
            state: "notApplicable",
            wrap_up: None,
        }],
    ));
    assert_eq!(w.state(1), "finished");
    assert!(w.store.records.is_empty());
}

#[test]
fn when_rest_cannot_tell_it_settles_after_the_last_event() {
    for outcome in [FetchOutcome::NotFound, FetchOutcome::Denied("no".into())] {
        let (mut w, _) = World::settling(Settings::default());
        w.pass(secs(2));
        w.tell_fetched(outcome.clone());
        let mut asked = 0;
        while w.state(1) == "settling" {
            w.pass(secs(60));
            if !w.fetches.is_empty() {
                asked += 1;
                w.tell_fetched(outcome.clone());
            }
            assert!(asked < 5);
        }
        assert_eq!((w.state(1), w.reason(1).as_str()), ("finished", "settled"));
        let row = &w.store.interactions[&c(1)].0;
        let settled_after = row.ended_at.unwrap().since(row.last_event_at.unwrap());
        assert!(
            settled_after >= secs(900) && settled_after <= secs(1000),
            "{settled_after:?}"
        );
    }
}

#[test]
fn a_quiet_one_about_which_rest_cannot_tell_is_asked_about_hourly_until_max_age() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.live(1);
    w.tell_fetched(FetchOutcome::NotFound);
    w.pass(secs(60));
    // 404 right after acceptance may just be early.
    w.tell_fetched(FetchOutcome::NotFound);
    let mut asked = 0;
    while w.state(1) == "watching" {
        w.pass(secs(600));
        if !w.fetches.is_empty() {
            asked += 1;
            w.tell_fetched(FetchOutcome::NotFound);
        }
    }
    assert_eq!((w.state(1), w.reason(1).as_str()), ("expired", "max-age"));
    assert!((70..95).contains(&asked), "{asked}");
    assert_eq!(w.said("interaction-expired"), Some(Level::Warn));
}

#[test]
fn what_a_gap_hid_is_found_within_minutes_where_rest_refuses_it_for_a_while() {
    for outcome in [FetchOutcome::NotFound, FetchOutcome::Denied("no".into())] {
        let mut w = World::watching(Settings::default());
        w.pass(secs(100));
        w.gap(1);
        let lost = w.now.wall;
        w.pass(secs(5));
        w.live(1);
        for pause in [60, 300, 900] {
            w.tell_fetched(outcome.clone());
            w.pass(secs(pause * 7 / 8 - 1));
            assert!(w.fetches.is_empty(), "before {pause}");
            w.pass(secs(pause / 8 + 2));
        }
        w.found(over(1, &[("a", lost)]));
        assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
    }
}

#[test]
fn at_max_age_one_more_answer_decides() {
    let aged = || {
        let settings = Settings {
            max_age: secs(600),
            ..Settings::default()
        };
        let mut w = World::watching(settings);
        w.pass(secs(599));
        assert!(w.fetches.is_empty());
        w.pass(secs(2));
        w
    };
    let mut w = aged();
    w.found(going_on(1));
    assert_eq!(w.state(1), "expired");

    let mut w = aged();
    w.found(over(1, &[]));
    assert_eq!(w.state(1), "finished");

    // A wrap-up that nobody announced is rebuilt before it ends.
    let mut w = aged();
    let at = w.now.wall - secs(60);
    let shown = || {
        conversation(
            1,
            false,
            &[RestLeg {
                leg: "a",
                state: "complete",
                wrap_up: Some(at),
            }],
        )
    };
    w.found(shown());
    w.pass(secs(11));
    w.found(shown());
    assert_eq!((w.store.records.len(), w.state(1)), (1, "expired"));

    // Not even a bad answer: it ends all the same.
    let mut w = aged();
    w.pass(secs(3500));
    assert_eq!((w.state(1), w.fetches.len()), ("watching", 1));
    w.pass(secs(200));
    assert_eq!(w.state(1), "expired");
    w.found(going_on(1));

    // No answer for an hour is "cannot tell".
    let mut w = aged();
    for _ in 0..40 {
        if !w.fetches.is_empty() {
            w.tell_fetched(trouble());
        }
        if w.state(1) != "watching" {
            break;
        }
        w.pass(secs(300));
    }
    assert_eq!(w.state(1), "expired");
}

#[test]
fn max_age_counts_from_acceptance_over_a_restart() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(71 * 3600));
    w.restart();
    w.live(1);
    w.found(going_on(1));
    w.pass(secs(3601));
    assert!(!w.fetches.is_empty());
    while !w.fetches.is_empty() {
        w.found(going_on(1));
    }
    assert_eq!(w.state(1), "expired");
}

#[test]
fn garbled_answers_are_trouble_and_change_nothing() {
    let (mut w, _) = World::settling(Settings::default());
    w.pass(secs(2));
    for text in ["", "[]", "{}", &over(2, &[])] {
        w.found(text.to_owned());
        assert_eq!(w.state(1), "settling");
        w.pass(secs(60));
    }
}

#[test]
fn answers_that_are_not_understood_again_and_again_are_said_and_counted_until_one_is() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.live(1);
    w.tell_fetched(FetchOutcome::Garbled);
    assert_eq!(w.said("check-not-understood"), None);
    assert_eq!(w.filing.snapshot(w.now).not_understood, 0);
    w.pass(secs(60));
    w.found(r#"{"participants":7}"#.into());
    assert_eq!(w.said("check-not-understood"), Some(Level::Warn));
    assert_eq!(w.filing.snapshot(w.now).not_understood, 1);
    w.pass(secs(120));
    w.found(going_on(1));
    assert_eq!(w.filing.snapshot(w.now).not_understood, 0);
}

#[test]
fn an_event_with_odd_text_is_stored_as_a_strict_parser_takes_it() {
    let mut w = World::watching(Settings::default());
    let body = format!(
        "{{\"eventTime\":{},\"participantId\":\"p\",\"sessionId\":\"s\",\"wrapupNotes\":\"so far \\ud83d\",\"x\":NaN}}",
        w.now.wall.0
    );
    w.raw_event(1, body);
    let record = w.only_record();
    let stored = &w.store.records[&record].1;
    assert!(
        stored.contains(r#""wrapupNotes":"so far \ufffd","x":null"#),
        "{stored}"
    );
}
