//! The outbox: tries, the destination's health, and the operator's hand.

use super::world::*;
use crate::*;
use base::notice::Level;
use base::rows::*;
use base::wire::NoAnswer;

#[test]
fn a_record_that_fails_is_tried_again_ever_more_seldom_until_it_is_given_up() {
    let settings = Settings {
        give_up_after: secs(3600),
        max_age: secs(400 * 3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    let first = w.now.wall;
    let mut pauses = vec![];
    while w.record_state(record) != "dead" {
        w.post_ends(answered(500));
        let from = w.now.wall;
        while w.posts.is_empty() && w.record_state(record) == "deferred" {
            w.pass(secs(1));
        }
        pauses.push(w.now.wall.since(from).as_secs());
    }
    assert!(pauses[0] <= 2 && pauses[8] >= 190, "{pauses:?}");
    assert!(pauses.iter().all(|p| *p <= 301), "{pauses:?}");
    let lasted = w.now.wall.since(first);
    assert!(lasted >= secs(3600) && lasted <= secs(4000), "{lasted:?}");
    assert_eq!(w.said("record-dead"), Some(Level::Error));
    let row = w.record(record);
    assert_eq!(row.attempts as usize, pauses.len());
    assert!(
        row.last_error
            .as_ref()
            .unwrap()
            .starts_with("given up after")
    );
}

#[test]
fn a_refusal_is_dead_at_once_and_409_is_filed() {
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(answered(422));
    assert_eq!(
        (w.record_state(record), w.record(record).attempts),
        ("dead", 1)
    );
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(answered(409));
    assert_eq!(w.record_state(record), "delivered");
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(PostOutcome::Unreadable("damaged".into()));
    assert_eq!(w.record_state(record), "dead");
    assert_eq!(w.record(record).last_error.as_deref(), Some("damaged"));
}

#[test]
fn closed_to_us_nothing_is_counted_and_no_patience_runs() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    w.post_ends(answered(500));
    w.pass(secs(2));
    w.post_ends(answered(403));
    assert!(w.filing.snapshot(w.now).destination.closed);
    for _ in 0..5 * 60 {
        w.pass(secs(60));
        // The probe.
        w.post_ends(answered(403));
        assert!(w.posts.is_empty());
    }
    assert_eq!(
        (w.record_state(record), w.record(record).attempts),
        ("deferred", 1)
    );
    assert_eq!(w.said("history-closed"), Some(Level::Error));
    w.pass(secs(60));
    w.post_ends(answered(500));
    assert_eq!(w.said("history-open"), Some(Level::Info));
    assert_eq!(
        (w.record_state(record), w.record(record).attempts),
        ("deferred", 2)
    );
}

#[test]
fn a_first_try_that_finds_it_closed_starts_no_patience() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    w.post_ends(answered(401));
    for _ in 0..120 {
        w.pass(secs(60));
        w.post_ends(answered(302));
    }
    w.pass(secs(60));
    w.post_ends(answered(503));
    assert_eq!(
        (w.record_state(record), w.record(record).attempts),
        ("deferred", 1)
    );
}

fn many(n: u128, settings: Settings) -> World {
    let mut w = World::new(settings);
    for _ in 0..n {
        w.ask(CallerRequest::SupportResult {
            idempotency_key: None,
            body_digest: [0; 32],
            conversation: None,
            result: "{}".into(),
        });
    }
    w
}

#[test]
fn an_unreachable_destination_is_probed_by_one_and_opened_slowly() {
    let settings = Settings {
        workers: 8,
        ..Settings::default()
    };
    let mut w = many(100, settings);
    assert_eq!(w.posts.len(), 8);
    while !w.posts.is_empty() {
        w.post_ends(PostOutcome::NoAnswer(NoAnswer::NotSent));
    }
    assert_eq!(w.said("history-down"), Some(Level::Warn));
    let mut probes = 0;
    for _ in 0..600 {
        w.pass(secs(1));
        assert!(w.posts.len() <= 1);
        if !w.posts.is_empty() {
            probes += 1;
            w.post_ends(PostOutcome::NoAnswer(NoAnswer::TimedOut));
        }
    }
    assert!((10..=30).contains(&probes), "{probes}");
    w.pass(secs(61));
    let mut at_once = vec![];
    while w.filed.len() < 100 {
        if w.posts.is_empty() {
            w.pass(secs(300));
        }
        at_once.push(w.posts.len());
        for _ in 0..w.posts.len() {
            w.post_ends(filed());
        }
    }
    // The probe, and then ever more.
    assert_eq!(at_once[..5], [1, 1, 2, 8, 8]);
    assert!(w.filed.values().all(|n| *n == 1));
}

#[test]
fn retry_after_holds_everybody() {
    let mut w = many(10, Settings::default());
    w.post_ends(PostOutcome::Answered {
        status: 503,
        retry_after: Some(secs(600)),
        excerpt: String::new(),
    });
    for _ in 0..3 {
        w.post_ends(filed());
    }
    w.pass(secs(590));
    assert!(w.posts.is_empty());
    assert_eq!(
        w.filing.snapshot(w.now).destination.state,
        HistoryState::Held
    );
    w.pass(secs(11));
    assert_eq!(w.posts.len(), 4);
}

#[test]
fn acts_do_what_the_contract_says_from_every_state() {
    for state in RecordState::ALL {
        for act in Act::ALL.iter().copied() {
            let (mut w, record) = World::with_record(*state);
            let before = w.record(record).clone();
            let answer = w.act(record, act);
            match act.after(*state) {
                None => {
                    assert_eq!(answer, Answer::WrongState { state: *state });
                    assert_eq!(w.record(record), &before);
                }
                Some(expected) => {
                    assert!(
                        matches!(answer, Answer::Record { state, .. } if state == expected),
                        "{state:?} {act:?} {answer:?}"
                    );
                    assert_eq!(w.record(record).state, expected);
                    // Held, dead and discarded ones are left alone; queued ones are tried.
                    w.pass(secs(61));
                    let tried = w.posts.contains(&record);
                    assert_eq!(tried, expected == RecordState::Queued, "{state:?} {act:?}");
                }
            }
        }
    }
}

#[test]
fn an_act_on_what_nobody_knows_is_404_and_on_what_is_forgotten_is_409() {
    let (mut w, record) = World::settling(Settings::default());
    let at = w.now.wall;
    w.post_ends(filed());
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    w.pass(secs(3600));
    assert_eq!(w.filing.record(record), None);
    let answer = w.act(record, Act::Retry);
    assert_eq!(
        answer,
        Answer::WrongState {
            state: RecordState::Delivered
        }
    );
    let unknown = base::ids::RecordId(uuid::Uuid::from_u128(5));
    assert_eq!(w.act(unknown, Act::Retry), Answer::NotFound);
}

#[test]
fn a_try_under_way_that_succeeds_wins_over_hold_and_discard() {
    for act in [Act::Hold, Act::Discard] {
        let (mut w, record) = World::settling(Settings::default());
        assert!(matches!(w.act(record, act), Answer::Record { .. }));
        w.post_ends(filed());
        assert_eq!(w.record_state(record), "delivered", "{act:?}");
        let snapshot = w.filing.snapshot(w.now);
        assert_eq!(snapshot.records[&RecordState::Delivered], 1);
        assert_eq!(snapshot.records[&RecordState::Discarded], 0);
        assert_eq!(snapshot.filed[&Source::Notification], 1);
    }
    // And with the act still on its way into the store.
    for act in [Act::Hold, Act::Discard] {
        let (mut w, record) = World::settling(Settings::default());
        w.commits = Commits::Wait;
        w.ask(CallerRequest::Act { record, act });
        w.post_ends(filed());
        w.finish_commit();
        w.finish_commit();
        assert_eq!(w.record_state(record), "delivered", "{act:?}");
        let snapshot = w.filing.snapshot(w.now);
        assert_eq!(snapshot.records[&RecordState::Delivered], 1);
        assert_eq!(snapshot.records[&RecordState::Discarded], 0);
    }
}

#[test]
fn a_try_under_way_that_fails_leaves_held_and_discarded_as_they_are() {
    for (act, expected) in [(Act::Hold, "held"), (Act::Discard, "discarded")] {
        for outcome in [answered(500), answered(422), answered(401)] {
            let (mut w, record) = World::settling(Settings::default());
            w.act(record, act);
            w.post_ends(outcome);
            w.pass(secs(700));
            assert_eq!(w.record_state(record), expected);
            assert!(w.posts.is_empty());
        }
    }
}

#[test]
fn fresh_records_are_not_starved_by_a_backlog() {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let mut w = many(20, settings);
    for _ in 0..20 {
        w.post_ends(answered(500));
    }
    w.pass(secs(2));
    let ask = |w: &mut World| {
        w.ask(CallerRequest::SupportResult {
            idempotency_key: Some("fresh".into()),
            body_digest: [0; 32],
            conversation: None,
            result: "{}".into(),
        })
    };
    let caller = ask(&mut w);
    let Some(Answer::SupportResult { record, .. }) = w.answer_to(caller).cloned() else {
        panic!("not taken");
    };
    w.post_ends(answered(500));
    let next = [w.post_ends(answered(500)), w.post_ends(answered(500))];
    assert!(next.contains(&record));
}

#[test]
fn deferred_and_dead_records_survive_a_restart_as_they_are() {
    let (mut w, record) = World::with_record(RecordState::Deferred);
    w.restart();
    w.pass(secs(2));
    assert_eq!(w.posts, [record]);
    assert_eq!(w.record(record).attempts, 1);
    let (mut w, record) = World::with_record(RecordState::Dead);
    w.restart();
    w.pass(secs(600));
    assert!(w.posts.is_empty());
    assert!(matches!(
        w.act(record, Act::Retry),
        Answer::Record {
            state: RecordState::Queued,
            ..
        }
    ));
    assert_eq!(w.posts, [record]);
}
