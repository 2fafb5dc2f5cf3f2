//! Tries against a harsher world: what speaks against the destination and what
//! against the record, patience, 409, outages, and restarts in between.

use super::world::*;
use crate::*;
use base::ids::RecordId;
use base::notice::Level;
use base::rows::RecordState;
use base::time::{Mono, Now};
use base::wire::NoAnswer;

fn many(n: u128, settings: Settings) -> World {
    let mut w = World::new(settings);
    for _ in 0..n {
        give(&mut w);
    }
    w
}

fn give(w: &mut World) {
    w.ask(CallerRequest::SupportResult {
        idempotency_key: None,
        body_digest: [0; 32],
        conversation: None,
        result: "{}".into(),
    });
}

fn one_worker() -> Settings {
    Settings {
        workers: 1,
        ..Settings::default()
    }
}

fn no_answer(why: NoAnswer) -> PostOutcome {
    PostOutcome::NoAnswer(why)
}

fn count(w: &World, state: RecordState) -> u64 {
    w.filing.snapshot(w.now).records[&state]
}

/// The machine is off, or its clock is set: the monotonic clock begins anew.
fn restarted_at(w: World, settings: Settings, wall_later: i64) -> World {
    let now = Now {
        mono: Mono(1),
        wall: base::time::Wall(w.now.wall.0 + wall_later),
    };
    World::restarted(settings, w.store, now, 3)
}

#[test]
fn what_could_not_be_read_says_nothing_of_a_closed_destination() {
    let mut w = many(30, Settings::default());
    for _ in 0..4 {
        w.post_ends(answered(401));
    }
    w.pass(secs(60));
    let failed = w.filing.snapshot(w.now).failed.clone();
    for _ in 0..20 {
        let record = w.post_ends(PostOutcome::NotRead("disk I/O error".into()));
        assert_eq!(w.record(record).attempts, 0);
        assert_eq!(w.record_state(record), "queued");
        let snapshot = w.filing.snapshot(w.now);
        assert!(snapshot.destination.closed);
        assert_eq!(snapshot.failed, failed);
        // No probe after the other, as fast as the disk fails.
        assert!(w.posts.is_empty());
        w.pass(secs(1));
        assert_eq!(w.posts.len(), 1);
    }
    assert_eq!(w.said("history-open"), None);
    assert_eq!(w.said("record-unread"), Some(Level::Warn));
}

#[test]
fn a_record_that_cannot_be_read_waits_ever_longer_and_keeps_its_patience() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    w.post_ends(answered(503));
    let mut reads = 0;
    for _ in 0..8 * 3600 {
        if !w.posts.is_empty() {
            reads += 1;
            w.post_ends(PostOutcome::NotRead("disk I/O error".into()));
        }
        w.pass(secs(1));
    }
    assert!((90..140).contains(&reads), "{reads}");
    w.pass(secs(300));
    w.post_ends(answered(503));
    assert_eq!(
        (w.record_state(record), w.record(record).attempts),
        ("deferred", 2)
    );
}

#[test]
fn records_that_are_broken_off_hold_up_no_others() {
    let mut w = many(108, Settings::default());
    let bad: Vec<RecordId> = w.posts.clone();
    for _ in 0..400 {
        while let Some(record) = w.posts.first().copied() {
            let outcome = if bad.contains(&record) {
                no_answer(NoAnswer::Unknown)
            } else {
                filed()
            };
            assert_eq!(w.post_ends(outcome), record);
        }
        if w.filed.len() == 104 {
            break;
        }
        w.pass(secs(1));
    }
    assert!(w.now.mono < Mono(1_030_000), "{:?}", w.now);
    assert_eq!(w.said("history-down"), None);
    // Alone, and ever more seldom.
    let mut tries = 0;
    for _ in 0..3600 {
        w.pass(secs(1));
        while !w.posts.is_empty() {
            tries += 1;
            w.post_ends(no_answer(NoAnswer::Garbled));
        }
    }
    assert!((40..=100).contains(&tries), "{tries}");
}

#[test]
fn neither_time_off_nor_a_step_of_the_clock_uses_patience_up() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let week = 7 * 86_400_000;
    for step in [week, -week, 0] {
        let (mut w, record) = World::settling(settings);
        w.post_ends(no_answer(NoAnswer::NotSent));
        w.pass(secs(2));
        w.post_ends(answered(503));
        let mut w = restarted_at(w, settings, step);
        w.pass(secs(301));
        w.post_ends(answered(503));
        // And one while it runs.
        w.now.wall = w.now.wall + secs(86_400);
        w.pass(secs(301));
        w.post_ends(answered(503));
        assert_eq!(w.record_state(record), "deferred", "{step}");
        // An hour in which it is tried is an hour.
        let mut seconds = 0;
        while w.record_state(record) == "deferred" {
            w.pass(secs(1));
            seconds += 1;
            if !w.posts.is_empty() {
                w.post_ends(answered(503));
            }
            assert!(seconds < 3 * 3600);
        }
        assert_eq!(w.record_state(record), "dead");
        assert!((2_000..4_000).contains(&seconds), "{step} {seconds}");
    }
}

#[test]
fn patience_that_was_used_up_stays_so_over_restarts() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    let mut tried = 0;
    while w.record_state(record) != "dead" {
        for _ in 0..600 {
            if !w.posts.is_empty() {
                w.post_ends(answered(503));
            }
            w.pass(secs(1));
            tried += 1;
        }
        w = restarted_at(w, settings, 1000);
        assert!(tried < 3 * 3600);
    }
    assert!(tried >= 3600, "{tried}");
}

#[test]
fn a_held_destination_uses_no_patience_up() {
    let settings = Settings {
        give_up_after: secs(3600),
        ..Settings::default()
    };
    let (mut w, record) = World::settling(settings);
    for _ in 0..10 {
        w.post_ends(PostOutcome::Answered {
            status: 503,
            retry_after: Some(secs(3600)),
            excerpt: String::new(),
        });
        w.pass(secs(3700));
    }
    assert_eq!(w.record_state(record), "deferred");
}

#[test]
fn a_pause_that_was_asked_for_outlives_a_restart() {
    let mut w = many(10, Settings::default());
    w.post_ends(PostOutcome::Answered {
        status: 429,
        retry_after: Some(secs(600)),
        excerpt: String::new(),
    });
    let mut w = restarted_at(w, Settings::default(), 60_000);
    assert!(w.posts.is_empty());
    assert_eq!(
        w.filing.snapshot(w.now).destination.state,
        HistoryState::Held
    );
    w.pass(secs(530));
    assert!(w.posts.is_empty());
    w.pass(secs(12));
    assert_eq!(w.posts.len(), 4);
}

#[test]
fn a_409_soon_after_a_try_without_an_answer_is_asked_again_after_a_minute() {
    for why in [NoAnswer::TimedOut, NoAnswer::Unknown, NoAnswer::Garbled] {
        let (mut w, record) = World::settling(Settings::default());
        w.post_ends(no_answer(why));
        w.pass(secs(2));
        w.post_ends(answered(409));
        assert_eq!(w.record_state(record), "deferred", "{why:?}");
        w.pass(secs(59));
        assert!(w.posts.is_empty());
        w.pass(secs(2));
        // The first one came to nothing.
        w.post_ends(filed());
        assert_eq!(w.record_state(record), "delivered");
    }
    // Long after it, or with answers only, it is filed.
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(no_answer(NoAnswer::TimedOut));
    w.pass(secs(2));
    w.post_ends(answered(409));
    w.pass(secs(61));
    w.post_ends(answered(409));
    assert_eq!(w.record_state(record), "delivered");
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(answered(503));
    w.pass(secs(2));
    w.post_ends(answered(409));
    assert_eq!(w.record_state(record), "delivered");
}

#[test]
fn a_409_right_after_a_restart_may_be_the_former_process_s_try() {
    let (w, record) = World::settling(Settings::default());
    assert_eq!(w.posts.len(), 1);
    let mut w = restarted_at(w, Settings::default(), 1000);
    w.post_ends(answered(409));
    assert_eq!(w.record_state(record), "deferred");
    w.pass(secs(61));
    w.post_ends(answered(409));
    assert_eq!(w.record_state(record), "delivered");
}

/// 200 records meet an ingress that refuses all of them.
fn storm(w: &mut World, statuses: &[u16], most: usize) {
    let mut refusals = 0;
    for n in 0..most {
        if w.posts.is_empty() {
            w.pass(secs(61));
        }
        if w.posts.is_empty() {
            break;
        }
        let status = statuses[n % statuses.len()];
        refusals += usize::from(status == 404 || status == 410);
        w.post_ends(answered(status));
    }
    assert!(refusals > 0);
}

fn file_all(w: &mut World, expected: usize) {
    for _ in 0..2_000 {
        while !w.posts.is_empty() {
            w.post_ends(filed());
        }
        if w.filed.len() == expected {
            return;
        }
        w.pass(secs(5));
    }
    panic!("{} of {expected} are filed", w.filed.len());
}

#[test]
fn an_ingress_that_refuses_everything_kills_nothing() {
    for statuses in [
        &[404][..],
        &[410],
        &[404, 503],
        &[404, 410],
        &[404, 403],
        &[404, 404, 503, 403, 410],
    ] {
        let mut w = many(200, Settings::default());
        storm(&mut w, statuses, 60);
        assert!(count(&w, RecordState::Dead) < 10, "{statuses:?}");
        assert!(w.filing.snapshot(w.now).destination.closed);
        let dead = count(&w, RecordState::Dead) as usize;
        file_all(&mut w, 200 - dead);
        assert!(w.filed.values().all(|n| *n == 1));
    }
}

#[test]
fn fewer_than_ten_refusals_are_the_records_own() {
    let mut w = many(20, one_worker());
    for _ in 0..9 {
        w.post_ends(answered(404));
    }
    w.post_ends(filed());
    for _ in 0..9 {
        w.post_ends(answered(404));
    }
    assert_eq!(count(&w, RecordState::Dead), 18);
    assert!(!w.filing.snapshot(w.now).destination.closed);
    file_all(&mut w, 2);
    assert_eq!(count(&w, RecordState::Dead), 18);
}

#[test]
fn a_restart_in_the_middle_of_an_outage_forgets_none_of_the_ten() {
    for (before, after) in [(7, 3), (9, 1), (10, 5), (1, 9)] {
        let mut w = many(50, one_worker());
        for _ in 0..before {
            w.post_ends(answered(404));
        }
        let mut w = restarted_at(w, one_worker(), 1000);
        storm(&mut w, &[404], after);
        assert_eq!(count(&w, RecordState::Dead), 0, "{before}");
        assert!(w.filing.snapshot(w.now).destination.closed);
        let mut w = restarted_at(w, one_worker(), 1000);
        assert!(w.posts.len() == 1 && w.filing.snapshot(w.now).destination.closed);
        file_all(&mut w, 50);
    }
}

#[test]
fn a_clock_set_back_over_a_restart_puts_no_try_off_for_days() {
    const DAYS: i64 = 5 * 86_400_000;
    let mut w = many(3, one_worker());
    let record = w.post_ends(answered(503));
    let mut w = restarted_at(w, one_worker(), -DAYS);
    let shown = w.filing.record(record).and_then(|row| row.next_try);
    assert!(shown.unwrap().since(w.now.wall) <= secs(300), "{shown:?}");
    file_all(&mut w, 3);
}

#[test]
fn an_operators_hand_on_one_of_the_ten_is_respected() {
    let mut w = many(50, one_worker());
    let mut first = Vec::new();
    for _ in 0..9 {
        first.push(w.post_ends(answered(404)));
    }
    w.act(first[0], Act::Discard);
    w.act(first[1], Act::Retry);
    // Refused once more: it counts once.
    let mut seen = w.post_ends(answered(404));
    for _ in 0..60 {
        if count(&w, RecordState::Dead) == 0 {
            break;
        }
        seen = w.post_ends(answered(404));
    }
    assert!(w.filing.snapshot(w.now).destination.closed, "{seen}");
    assert_eq!(w.record_state(first[0]), "discarded");
    file_all(&mut w, 49);
    assert_eq!(w.record_state(first[0]), "discarded");
}

#[test]
fn records_that_are_refused_again_and_again_do_not_close_it_for_ever() {
    let mut w = many(12, one_worker());
    let bad: Vec<RecordId> = w.store.records.keys().copied().collect();
    for _ in 0..400 {
        give(&mut w);
        for _ in 0..20 {
            let Some(record) = w.posts.first().copied() else {
                break;
            };
            let outcome = if bad.contains(&record) {
                answered(422)
            } else {
                filed()
            };
            assert_eq!(w.post_ends(outcome), record);
        }
        w.pass(secs(20));
    }
    assert_eq!(count(&w, RecordState::Dead), 12);
    assert_eq!(w.filed.len(), 400);
    assert!(!w.filing.snapshot(w.now).destination.closed);
}

#[test]
fn what_is_said_of_the_history_manager_is_what_it_did_last() {
    let mut w = many(100, Settings::default());
    let said = |w: &World| w.filing.snapshot(w.now).destination.sentence;
    assert!(!said(&w).contains("takes records"));
    w.post_ends(filed());
    assert!(said(&w).contains("takes records"));
    for _ in 0..20 {
        w.post_ends(answered(503));
        assert_eq!(
            w.filing.snapshot(w.now).destination.state,
            HistoryState::Failing
        );
        assert!(said(&w).contains("503"), "{}", said(&w));
    }
    w.post_ends(answered(401));
    while !w.posts.is_empty() {
        w.post_ends(answered(401));
    }
    w.pass(secs(61));
    w.post_ends(answered(503));
    assert!(said(&w).contains("503"), "{}", said(&w));
    assert_eq!(w.said("history-open"), Some(Level::Info));
}

#[test]
fn a_closed_destination_is_probed_by_what_waits_however_long_that_was_to_wait() {
    let mut w = many(1, one_worker());
    let long = w.posts[0];
    for _ in 0..9 {
        w.post_ends(answered(500));
        w.pass(secs(301));
        assert_eq!(w.posts, [long]);
    }
    w.post_ends(answered(500));
    give(&mut w);
    let closed = w.post_ends(answered(403));
    w.act(closed, Act::Discard);
    w.pass(secs(61));
    assert_eq!(w.posts, [long]);
}

#[test]
fn a_record_that_is_refused_is_brought_back_from_three_outages_and_no_more() {
    let mut w = many(10, one_worker());
    let bad: Vec<RecordId> = w.store.records.keys().copied().collect();
    for _ in 0..12 {
        for _ in 0..40 {
            match w.posts.first() {
                None => w.pass(secs(61)),
                Some(record) if bad.contains(record) => {
                    w.post_ends(answered(422));
                }
                Some(_) => {
                    w.post_ends(filed());
                }
            }
        }
        give(&mut w);
    }
    assert_eq!(count(&w, RecordState::Dead), 10);
    let attempts: Vec<u32> = bad.iter().map(|r| w.record(*r).attempts).collect();
    assert!(attempts.iter().all(|n| (3..=5).contains(n)), "{attempts:?}");
}

#[test]
fn what_is_remembered_of_refusals_is_kept_when_the_store_is_well_again() {
    let mut w = many(1, one_worker());
    w.commits = Commits::Wait;
    w.post_ends(answered(422));
    let refused = |w: &World| w.store.destination.refused.len();
    w.fail_commit(base::rows::StoreTrouble::Full);
    assert_eq!(refused(&w), 0);
    w.commits = Commits::Succeed;
    w.pass(secs(5));
    assert_eq!(refused(&w), 1);
}
