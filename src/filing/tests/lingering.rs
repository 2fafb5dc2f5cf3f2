//! A conversation that is over, with agents who may wrap up late.

use serde_json::{Value, json};

use super::world::*;
use crate::*;
use base::time::Wall;

/// Over since `ended`; each agent with more members of the participant and of its call.
pub(super) fn ended(at: Wall, agents: &[(Value, Value)]) -> String {
    let mut whole: Value = serde_json::from_str(&conversation(1, true, &[])).unwrap();
    whole["endTime"] = json!(at.rfc3339());
    whole["participants"] = agents
        .iter()
        .enumerate()
        .map(|(n, (agent, call))| {
            let leg = ["a", "b", "c"][n];
            let mut call = call.clone();
            call["id"] = json!(format!("s-{leg}"));
            if call.get("state").is_none() {
                call["state"] = json!("disconnected");
            }
            let mut agent = agent.clone();
            agent["id"] = json!(format!("p-{leg}"));
            agent["purpose"] = json!("agent");
            agent["calls"] = json!([call]);
            agent
        })
        .collect();
    whole.to_string()
}

pub(super) fn optional() -> (Value, Value) {
    let agent = json!({"wrapupPrompt": "optional", "wrapupRequired": false});
    (agent, json!({"afterCallWork": {"state": "unknown"}}))
}

fn wrapped(at: Wall) -> (Value, Value) {
    let (agent, mut call) = optional();
    call["wrapup"] = json!({"code": "w", "endTime": at.rfc3339()});
    (agent, call)
}

/// The routine check finds it over just now.
pub(super) fn just_over(settings: Settings) -> (World, Wall) {
    let mut w = World::watching(settings);
    w.pass(secs(1200));
    let at = w.now.wall;
    w.fetches[0].1 = w.now;
    w.found(ended(at, &[optional()]));
    (w, at)
}

#[test]
fn a_wrap_up_that_is_optional_and_late_is_still_taken() {
    let (mut w, at) = just_over(Settings::default());
    assert_eq!((w.state(1), w.watched.len()), ("watching", 1));
    w.pass(secs(5));
    let late = at + secs(5);
    w.event(1, "a", late);
    assert_eq!(w.state(1), "settling");
    w.pass(secs(2));
    w.found(ended(at, &[wrapped(late)]));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
    assert!(w.watched.is_empty());
}

#[test]
fn when_the_time_is_up_rest_is_asked_once_more_and_it_ends() {
    let (mut w, at) = just_over(Settings::default());
    w.pass(secs(299));
    assert!(w.fetches.is_empty() && w.watched.len() == 1);
    w.pass(secs(1));
    assert_eq!(w.fetches.len(), 1);
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "finished");
    assert_eq!(w.reason(1), "conversation-finished");
    assert!(w.watched.is_empty());
}

#[test]
fn the_last_question_finds_what_was_announced_to_nobody() {
    let (mut w, at) = just_over(Settings::default());
    w.pass(secs(300));
    let seen = ended(at, &[wrapped(at + secs(120))]);
    w.found(seen.clone());
    w.pass(secs(10));
    w.found(seen);
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
}

#[test]
fn nought_is_not_at_all() {
    let settings = Settings {
        linger: secs(0),
        ..Settings::default()
    };
    let (w, _) = just_over(settings);
    assert_eq!(w.state(1), "finished");
}

#[test]
fn legs_for_which_no_wrap_up_can_come_are_not_waited_for() {
    let late = json!("2026-01-08T15:35:12.345Z");
    let table = [
        ("optional", optional(), true),
        ("nothing said at all", (json!({}), json!({})), true),
        (
            "complete without a wrap-up",
            (
                json!({}),
                json!({"afterCallWork": {"state": "complete", "endTime": late}}),
            ),
            true,
        ),
        (
            "not applicable, as the platform shows optional work that was not begun",
            (
                json!({"wrapupPrompt": "OPTIONAL"}),
                json!({"afterCallWork": {"state": "notApplicable"}}),
            ),
            true,
        ),
        (
            "the agent may ask for it",
            (
                json!({"wrapupPrompt": "agentRequested"}),
                json!({"afterCallWork": {"state": "notApplicable"}}),
            ),
            true,
        ),
        (
            "the agent did not ask for it",
            (
                json!({"wrapupPrompt": "agentRequested"}),
                json!({"afterCallWork": {"state": "notApplicable"}, "afterCallWorkRequired": false}),
            ),
            false,
        ),
        (
            "not applicable",
            (
                json!({}),
                json!({"afterCallWork": {"state": "notApplicable"}}),
            ),
            false,
        ),
        (
            "never answered",
            (json!({}), json!({"startAlertingTime": late})),
            false,
        ),
        (
            "skipped long ago",
            (json!({"wrapupSkipped": true}), json!({})),
            false,
        ),
        (
            "skipped, by its state",
            (
                json!({}),
                json!({"afterCallWork": {"state": "skipped", "endTime": late}}),
            ),
            false,
        ),
    ];
    for (name, leg, waits) in table {
        let mut w = World::watching(Settings::default());
        w.pass(secs(1200));
        w.fetches[0].1 = w.now;
        let json = ended(w.now.wall, std::slice::from_ref(&leg));
        w.found(json.clone());
        // A leg that was worked on may be announced for some seconds yet.
        w.pass(secs(20));
        if !w.fetches.is_empty() {
            w.found(json);
        }
        assert_eq!(w.state(1) == "watching", waits, "{name}");
    }
}

#[test]
fn a_leg_whose_record_is_here_is_not_waited_for_another_is() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(100));
    let at = w.now.wall;
    w.event(1, "a", at);
    w.pass(secs(2));
    // REST does not show yet what was announced.
    w.found(ended(at, &[optional(), optional()]));
    assert_eq!(w.state(1), "settling");
    w.pass(secs(60));
    w.event(1, "b", at + secs(62));
    w.pass(secs(2));
    w.found(ended(at, &[optional(), optional()]));
    assert_eq!((w.store.records.len(), w.state(1)), (2, "finished"));
}

#[test]
fn what_an_earlier_process_may_have_waited_for_is_not_waited_for_again() {
    for (over_for, state) in [(301, "finished"), (299, "watching")] {
        let mut w = World::watching(Settings::default());
        w.restart();
        w.live(1);
        let at = w.now.wall - secs(over_for);
        w.found(ended(at, &[optional()]));
        assert_eq!(w.state(1), state);
    }
    // It has been seen to go on since: then it cannot have been over.
    let mut w = World::watching(Settings::default());
    w.restart();
    w.live(1);
    w.found(going_on(1));
    w.gap(1);
    w.live(1);
    w.found(ended(w.now.wall - secs(301), &[optional()]));
    assert_eq!(w.state(1), "watching");
}

#[test]
fn a_restart_in_the_middle_waits_for_the_rest_only() {
    let (mut w, at) = just_over(Settings::default());
    w.pass(secs(200));
    w.restart();
    assert_eq!(w.state(1), "watching");
    w.pass(secs(3));
    w.live(1);
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "watching");
    w.pass(secs(96));
    assert!(w.fetches.is_empty());
    w.pass(secs(1));
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn a_clock_that_differs_from_the_platforms_takes_no_time_away() {
    for (before, after) in [(secs(3600), secs(0)), (secs(0), secs(3600))] {
        let mut w = World::watching(Settings::default());
        w.pass(secs(1200));
        let json = ended(w.now.wall - before + after, &[optional()]);
        w.fetches[0].1 = w.now;
        w.found(json.clone());
        w.pass(secs(299));
        assert_eq!((w.state(1), w.fetches.len()), ("watching", 0));
        w.pass(secs(1));
        w.found(json);
        assert_eq!(w.state(1), "finished");
    }
}

#[test]
fn a_gap_in_the_middle_is_made_up_for_before_it_goes_on_waiting() {
    let (mut w, at) = just_over(Settings::default());
    w.pass(secs(30));
    w.gap(1);
    let lost = w.now.wall;
    w.pass(secs(2));
    w.live(1);
    w.found(ended(at, &[optional()]));
    // Still waiting, and the check at the end stands.
    assert_eq!(w.state(1), "watching");
    w.pass(secs(30));
    w.gap(1);
    w.pass(secs(2));
    w.live(1);
    w.found(ended(at, &[wrapped(lost + secs(31))]));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
}

#[test]
fn opened_again_it_goes_on_and_lingers_anew_after_its_second_end() {
    let (mut w, _) = just_over(Settings::default());
    w.pass(secs(300));
    w.found(going_on(1));
    assert_eq!(w.state(1), "watching");
    w.pass(secs(3600));
    let at = w.now.wall;
    w.fetches[0].1 = w.now;
    w.found(ended(at, &[optional(), optional()]));
    w.pass(secs(299));
    assert_eq!((w.state(1), w.fetches.len()), ("watching", 0));
}

#[test]
fn opened_again_and_over_again_between_two_looks_it_lingers_for_the_second_end() {
    let (mut w, _) = just_over(Settings::default());
    w.pass(secs(300));
    let again = w.now.wall - secs(13);
    w.found(ended(again, &[optional(), optional()]));
    assert_eq!((w.state(1), w.watched.len()), ("watching", 1));
    w.pass(secs(300));
    w.found(ended(again, &[optional(), optional()]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn a_caller_may_stop_it_and_ask_for_it_again_in_the_middle() {
    let (mut w, at) = just_over(Settings::default());
    // The same id again merges, and changes nothing about the time.
    w.pass(secs(100));
    w.accept(1);
    w.pass(secs(100));
    w.stop(1);
    assert_eq!((w.state(1), w.watched.len()), ("stopped", 0));
    w.accept(1);
    w.live(1);
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "watching");
    w.pass(secs(300));
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn max_age_ends_it_in_the_middle() {
    let settings = Settings {
        max_age: secs(1300),
        ..Settings::default()
    };
    let (mut w, at) = just_over(settings);
    w.pass(secs(99));
    assert!(w.fetches.is_empty());
    w.pass(secs(1));
    w.found(ended(at, &[optional()]));
    assert_eq!(w.state(1), "finished");
}

#[test]
fn only_the_first_event_wanted_is_waited_for_too() {
    let settings = Settings {
        until: Until::FirstEvent,
        ..Settings::default()
    };
    let (mut w, at) = just_over(settings);
    assert_eq!(w.state(1), "watching");
    w.pass(secs(5));
    w.event(1, "a", at + secs(5));
    assert_eq!(
        (w.state(1), w.reason(1).as_str()),
        ("finished", "first-event")
    );
}

#[test]
fn what_was_watched_to_the_end_ends_even_if_rest_cannot_tell_any_more() {
    for outcome in [FetchOutcome::NotFound, FetchOutcome::Denied("no".into())] {
        let (mut w, _) = just_over(Settings::default());
        w.pass(secs(300));
        w.tell_fetched(outcome.clone());
        assert_eq!(
            w.state(1),
            "watching",
            "what the platform forgot REST may show yet"
        );
        for _ in 0..20 {
            w.pass(secs(60));
            if !w.fetches.is_empty() {
                w.tell_fetched(outcome.clone());
            }
        }
        assert_eq!(
            (w.state(1), w.reason(1).as_str()),
            ("finished", "settled"),
            "{outcome:?}"
        );

        // But not after a gap, of which nobody could say what it hid.
        let (mut w, _) = just_over(Settings::default());
        w.pass(secs(299));
        w.gap(1);
        w.live(1);
        w.pass(secs(2));
        w.tell_fetched(outcome);
        assert_eq!(w.state(1), "watching");
    }
}

/// What REST shows of a callback and the call it led to, wrapped up with that code.
fn called_back(at: Wall, code: &str) -> String {
    let wrapped = |session| {
        json!([{
            "id": session, "state": "disconnected", "disconnectedTime": at.rfc3339(),
            "wrapup": {"code": code, "endTime": at.rfc3339()},
            "afterCallWork": {"state": "complete", "endTime": at.rfc3339()},
        }])
    };
    let mut whole: Value = serde_json::from_str(&ended(at, &[optional()])).unwrap();
    whole["participants"][0]["calls"] = wrapped("s-call");
    whole["participants"][0]["callbacks"] = wrapped("s-back");
    whole.to_string()
}

/// The same where REST shows the wrap-up on the participant alone, as in older organisations.
fn called_back_by_the_participant(at: Wall, code: &str) -> String {
    let mut whole: Value = serde_json::from_str(&called_back(at, code)).unwrap();
    let participant = &mut whole["participants"][0];
    participant["wrapup"] = participant["calls"][0]["wrapup"].clone();
    for media in ["calls", "callbacks"] {
        let communication = participant[media][0].as_object_mut().unwrap();
        communication.remove("wrapup");
    }
    whole.to_string()
}

#[test]
fn a_wrap_up_tagged_twice_whose_code_changed_in_place_is_the_one_that_was_announced() {
    let shown = [called_back, called_back_by_the_participant];
    let legs = [("s-call", "VOICE"), ("s-back", "CALLBACK")];
    for (called_back, (session, media)) in shown.iter().flat_map(|s| legs.map(|l| (s, l))) {
        for code in ["first", "changed"] {
            let (mut w, at) = just_over(Settings::default());
            w.pass(secs(10));
            let body = json!({
                "participantId": "p-a", "sessionId": session, "mediaType": media,
                "wrapupCode": "first", "eventTime": (at + secs(1)).0,
            });
            w.raw_event(1, body.to_string());
            w.pass(secs(2));
            w.found(called_back(at, code));
            for _ in 0..100 {
                while let Some(_more) = w.fetches.first() {
                    w.found(called_back(at, code));
                }
                w.pass(secs(30));
            }
            assert_eq!(w.store.records.len(), 1, "{session} {code}");
            assert!(
                ["finished", "settled"].contains(&w.state(1)),
                "{}",
                w.state(1)
            );
        }
    }
}
