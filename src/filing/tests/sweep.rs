//! A store that fails: at every step in turn, once or for a while, and what
//! must hold all the same.

use super::world::*;
use crate::*;
use base::notice::Level;
use base::rows::*;

/// The whole life of one interaction with two wrap-ups, with the `fail`-th commit failing
/// `times` times. Gives the number of commits.
fn life(fail: Option<usize>, times: usize) -> usize {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    let mut failing = times;
    // Ends commits, one of them badly, until none is outstanding.
    let mut settle = |w: &mut World| {
        for _ in 0..100 {
            if w.outstanding.is_empty() {
                if w.filing.snapshot(w.now).store_trouble.is_none() {
                    return;
                }
                w.pass(secs(5));
            } else if fail == Some(w.commit_count) && failing > 0 {
                failing -= 1;
                w.fail_commit(StoreTrouble::Full);
            } else {
                w.finish_commit();
            }
        }
        panic!("commits without end");
    };
    // A caller comes back when it is refused.
    let mut tries = 0;
    loop {
        let caller = w.accept(1);
        settle(&mut w);
        match w.answer_to(caller).unwrap() {
            Answer::Busy { .. } => {
                assert!(w.store.interactions.is_empty() && w.watched.is_empty());
            }
            Answer::Interaction { fresh: true, .. } => break,
            other => panic!("{other:?}"),
        }
        tries += 1;
        assert!(tries < 10);
    }
    w.live(1);
    settle(&mut w);
    w.found(going_on(1));
    w.pass(secs(30));
    let at = w.now.wall;
    w.event(1, "a", at);
    w.event(1, "a", at);
    settle(&mut w);
    w.event(1, "b", at + secs(1));
    settle(&mut w);
    for _ in 0..2 {
        w.post_ends(answered(503));
        settle(&mut w);
    }
    w.pass(secs(2));
    settle(&mut w);
    while !w.posts.is_empty() {
        w.post_ends(filed());
        settle(&mut w);
    }
    // A store in trouble does not keep the clock from checking; answer whatever is asked.
    for _ in 0..20 {
        w.pass(secs(2));
        settle(&mut w);
        if !w.fetches.is_empty() {
            w.found(over(1, &[("a", at), ("b", at + secs(1))]));
            settle(&mut w);
        }
    }
    assert_eq!(w.state(1), "finished", "{fail:?}");
    assert!(w.watched.is_empty());
    assert_eq!(w.filed.len(), 2);
    assert!(w.filed.values().all(|n| *n == 1));
    assert!(
        w.store
            .records
            .values()
            .all(|(r, ..)| r.state == RecordState::Delivered)
    );
    assert_eq!(w.filing.snapshot(w.now).records[&RecordState::Delivered], 2);
    w.commit_count
}

#[test]
fn whichever_commit_fails_and_however_long_everything_is_filed_once() {
    let commits = life(None, 0);
    assert!(commits >= 8, "{commits}");
    for fail in 0..commits {
        for times in [1, 4] {
            life(Some(fail), times);
        }
    }
}

#[test]
fn a_refused_request_changes_nothing() {
    // Each request against a failing store, in a state where it would be granted.
    let (mut before, record) = World::with_record(RecordState::Dead);
    before.accept(3);
    let requests: Vec<CallerRequest> = vec![
        CallerRequest::Accept {
            conversation: c(1),
            members: "{}".into(),
        },
        CallerRequest::Accept {
            conversation: c(2),
            members: "{}".into(),
        },
        CallerRequest::Stop { conversation: c(1) },
        CallerRequest::SupportResult {
            idempotency_key: Some("k".into()),
            body_digest: [0; 32],
            conversation: None,
            result: "{}".into(),
        },
        CallerRequest::SupportResult {
            idempotency_key: None,
            body_digest: [0; 32],
            conversation: None,
            result: "{}".into(),
        },
        CallerRequest::Act {
            record,
            act: Act::Retry,
        },
        CallerRequest::Act {
            record,
            act: Act::Discard,
        },
    ];
    for request in requests {
        let (mut w, _) = World::with_record(RecordState::Dead);
        let (state, row) = (w.filing.watch_state(c(1)), w.filing.record(record).cloned());
        w.commits = Commits::Fail(StoreTrouble::ReadOnly);
        let caller = w.ask(request);
        assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
        assert_eq!(w.filing.watch_state(c(1)), state);
        assert_eq!(w.filing.record(record).cloned(), row);
        assert_eq!(w.filing.watch_state(c(2)), None);
        assert_eq!(w.said("store-trouble"), Some(Level::Error));
        // Refused at once while the trouble lasts, and granted when it is over.
        let caller = w.accept(5);
        assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
        w.pass(secs(60));
        assert!(w.filing.snapshot(w.now).store_trouble.is_some());
        w.commits = Commits::Succeed;
        // Found out by an empty commit within seconds.
        w.pass(secs(6));
        assert!(w.filing.snapshot(w.now).store_trouble.is_none());
        let caller = w.accept(5);
        assert!(matches!(
            w.answer_to(caller),
            Some(Answer::Interaction { .. })
        ));
        assert_eq!(w.filing.snapshot(w.now).callers_waiting, 0);
    }
}

#[test]
fn requests_beyond_the_bound_are_turned_away() {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    let callers: Vec<u64> = (0..1100).map(|n| w.accept(n)).collect();
    let busy = callers
        .iter()
        .filter(|c| matches!(w.answer_to(**c), Some(Answer::Busy { .. })))
        .count();
    assert_eq!(busy, 1100 - 1024);
    w.commits = Commits::Succeed;
    if !w.outstanding.is_empty() {
        w.finish_commit();
    }
    assert!(callers.iter().all(|c| w.answer_to(*c).is_some()));
    assert_eq!(w.store.interactions.len(), 1024);
}

#[test]
fn an_event_that_finds_no_room_is_rebuilt_later() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(30));
    w.commits = Commits::Wait;
    let at = w.now.wall;
    // Nine events of 8 MiB: the ninth does not fit.
    let filler = "x".repeat(8 * 1024 * 1024 - 200);
    for n in 0..9i64 {
        let body = World::event_body(1, &format!("leg{n}"), at);
        let body = body.replacen('{', &format!(r#"{{"filler":"{filler}","#), 1);
        w.raw_event(1, body);
    }
    assert_eq!(w.said("event-no-room"), Some(Level::Error));
    assert!(w.filing.watch_state(c(1)).unwrap().owed);
    w.commits = Commits::Succeed;
    w.finish_commit();
    assert_eq!(w.store.records.len(), 8);
    let legs: Vec<_> = (0..9)
        .map(|n| {
            let leg: &'static str = [
                "leg0", "leg1", "leg2", "leg3", "leg4", "leg5", "leg6", "leg7", "leg8",
            ][n];
            (leg, at)
        })
        .collect();
    for _ in 0..4 {
        w.found(over(1, &legs));
        w.pass(secs(11));
        if w.state(1) == "finished" {
            break;
        }
    }
    assert_eq!((w.store.records.len(), w.state(1)), (9, "finished"));
}

#[test]
fn everybody_may_wrap_up_at_once_while_the_disk_is_slow() {
    let mut w = World::watching(Settings::default());
    for n in 2..=40 {
        w.accept(n);
        w.live(n);
    }
    w.pass(secs(30));
    w.commits = Commits::Wait;
    let at = w.now.wall;
    for n in 1..=40 {
        for leg in 0..500 {
            w.event(n, &format!("leg{leg}"), at);
        }
    }
    assert_eq!(w.said("event-no-room"), None);
    w.commits = Commits::Succeed;
    w.finish_commit();
    assert_eq!(w.store.records.len(), 20_000);
}

#[test]
fn a_change_that_the_schema_refuses_does_not_block_the_rest() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Wait;
    let caller = w.accept(2);
    let at = w.now.wall;
    w.event(1, "a", at);
    let (ticket, _) = w.outstanding.pop_front().unwrap();
    w.tell(Fact::Store(StoreFact::Committed {
        ticket,
        refused: vec![0],
        outgrown: Vec::new(),
        erased: 0,
        purged_interactions: vec![],
        purged_records: vec![],
    }));
    assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
    assert_eq!(w.said("store-refused"), Some(Level::Error));
    w.finish_commit();
    assert_eq!(w.store.records.len(), 1);
}

#[test]
fn a_failed_look_up_is_answered_busy() {
    let mut w = World::new(Settings::default());
    w.hold_lookups = true;
    let caller = w.accept(1);
    let (ticket, _) = w.lookups.pop_front().unwrap();
    w.tell(Fact::Store(StoreFact::LookupFailed {
        ticket,
        trouble: StoreTrouble::Io,
    }));
    assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
    w.hold_lookups = false;
    let caller = w.accept(1);
    assert!(matches!(
        w.answer_to(caller),
        Some(Answer::Interaction { .. })
    ));
}

#[test]
fn a_crash_at_every_commit_loses_nothing_that_was_answered() {
    for crash in 0..12 {
        let mut w = World::new(Settings::default());
        let at = w.now.wall + secs(60);
        let mut steps = 0;
        let mut accepted = false;
        // The same story again and again until it is told; a crash takes back what is not durable.
        for _ in 0..60 {
            w.commits = Commits::Wait;
            if !accepted {
                let caller = w.accept(1);
                if !w.outstanding.is_empty() {
                    w.finish_commit();
                }
                accepted = matches!(w.answer_to(caller), Some(Answer::Interaction { .. }));
            }
            w.live(1);
            if w.now.wall >= at && w.state(1) != "finished" {
                w.event(1, "a", at);
            }
            steps += 1;
            if steps == crash {
                w.restart();
                continue;
            }
            while !w.outstanding.is_empty() {
                w.finish_commit();
            }
            if !w.posts.is_empty() {
                w.post_ends(filed());
            }
            if steps == crash + 1 {
                w.restart();
                continue;
            }
            while !w.outstanding.is_empty() {
                w.finish_commit();
            }
            w.pass(secs(20));
            while !w.fetches.is_empty() {
                if w.now.wall > at {
                    w.found(over(1, &[("a", at)]));
                } else {
                    w.found(going_on(1));
                }
            }
        }
        assert_eq!(w.state(1), "finished", "{crash}");
        assert_eq!(w.store.records.len(), 1, "{crash}");
        assert_eq!(w.filed.len(), 1, "{crash}");
    }
}

#[test]
fn an_end_waits_until_every_record_before_it_is_in() {
    let mut w = World::watching(Settings::default());
    w.pass(secs(30));
    w.commits = Commits::Wait;
    let at = w.now.wall;
    // More than fit into one transaction.
    for n in 0..900 {
        w.event(1, &format!("{n}"), at);
    }
    w.finish_commit();
    w.pass(secs(2));
    w.found(over(1, &[]));
    while !w.outstanding.is_empty() {
        let ends = w.outstanding[0]
            .1
            .iter()
            .any(|change| matches!(change, Change::Interaction(row) if row.state.ended()));
        let in_now = w.outstanding[0]
            .1
            .iter()
            .filter(|change| matches!(change, Change::Take { .. }))
            .count();
        if ends {
            assert_eq!(w.store.records.len() + in_now, 900);
        }
        w.finish_commit();
    }
    assert_eq!((w.store.records.len(), w.state(1)), (900, "finished"));
}
