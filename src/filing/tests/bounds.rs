//! Callers who make and stop, or hand in, without an end: what is kept of it has a bound.

use super::world::*;
use crate::settings::STOPPED_REMEMBERED_MAX;
use crate::*;
use base::notice::Level;
use base::rows::*;

#[test]
fn ended_interactions_are_bounded_by_number_and_the_oldest_without_a_record_go_first() {
    let mut w = World::new(Settings {
        ended_max: 20,
        ..Settings::default()
    });
    // One of which something was filed, before all others.
    w.accept(1);
    w.live(1);
    let at = w.now.wall;
    w.event(1, "a", at);
    w.stop(1);
    for n in 100..300 {
        w.accept(n);
        w.stop(n);
        w.pass(secs(1));
    }
    assert_eq!(w.store.interactions.len(), 20);
    assert_eq!(w.store.records.len(), 1);
    assert!(w.store.interactions.contains_key(&c(1)));
    assert!(w.store.interactions.contains_key(&c(299)));
    assert_eq!(w.said("ended-bound"), Some(Level::Warn));
    let said = w.notices.iter().filter(|n| n.label == "ended-bound");
    assert_eq!(said.count(), 1, "in three minutes");
    // It can be reported again, and starts anew.
    w.accept(100);
    assert_eq!(w.state(100), "accepted");
}

#[test]
fn what_cannot_go_is_looked_for_no_more_often_than_usual() {
    let mut w = World::new(Settings {
        ended_max: 2,
        ..Settings::default()
    });
    for n in 1..10 {
        w.accept(n);
        w.live(n);
        let at = w.now.wall;
        w.event(n, "a", at);
        w.stop(n);
    }
    let before = w.commit_count;
    w.fetches.clear();
    w.pass(secs(60));
    assert!(w.commit_count - before < 20, "{}", w.commit_count - before);
    assert_eq!(w.store.interactions.len(), 9);
}

#[test]
fn stopped_interactions_are_remembered_for_late_events_up_to_a_bound() {
    let mut w = World::new(Settings::default());
    let most = STOPPED_REMEMBERED_MAX as u128;
    for n in 0..most + 50 {
        w.accept(n);
        w.stop(n);
    }
    let known = w.filing.remembered();
    assert!(known <= STOPPED_REMEMBERED_MAX + 1, "{known}");
    let caller = w.stop(3);
    assert!(matches!(
        w.answer_to(caller),
        Some(Answer::AlreadyEnded { .. })
    ));
}

#[test]
fn support_results_are_refused_when_as_many_are_kept_as_there_may_be_and_events_are_not() {
    let mut w = World::new(Settings {
        kept_records_max: 3,
        ..Settings::default()
    });
    let result = |w: &mut World, n: u8| {
        let caller = w.ask(CallerRequest::SupportResult {
            idempotency_key: Some(format!("k-{n}")),
            body_digest: [n; 32],
            conversation: None,
            result: format!("{{\"n\":{n}}}"),
        });
        w.answer_to(caller).cloned()
    };
    for n in 0..3 {
        assert!(matches!(
            result(&mut w, n),
            Some(Answer::SupportResult { .. })
        ));
        w.post_ends(filed());
    }
    assert!(matches!(result(&mut w, 9), Some(Answer::Busy { .. })));
    // A key that is promised is still known.
    assert!(matches!(
        result(&mut w, 1),
        Some(Answer::SupportResult { .. })
    ));
    w.accept(1);
    w.live(1);
    let at = w.now.wall;
    w.event(1, "a", at);
    assert_eq!(w.store.records.len(), 4);
}

#[test]
fn a_support_result_counts_among_what_waits_until_it_is_filed() {
    let mut w = World::new(Settings::default());
    for waiting in 1..=3 {
        w.ask(CallerRequest::SupportResult {
            idempotency_key: None,
            body_digest: [0; 32],
            conversation: None,
            result: "{}".into(),
        });
        assert_eq!(w.filing.undelivered, waiting);
    }
    for waiting in (0..3).rev() {
        w.post_ends(filed());
        assert_eq!(w.filing.undelivered, waiting);
    }
}

#[test]
fn members_that_no_longer_fit_are_refused_and_the_conversation_is_watched_all_the_same() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Wait;
    let caller = w.accept(1);
    let (ticket, batch) = w.outstanding.pop_front().unwrap();
    let at = batch
        .iter()
        .position(|c| matches!(c, Change::Accept { .. }));
    w.tell(Fact::Store(StoreFact::Committed {
        ticket,
        refused: vec![],
        outgrown: vec![at.unwrap()],
        erased: 0,
        purged_interactions: vec![],
        purged_records: vec![],
    }));
    assert_eq!(w.answer_to(caller), Some(&Answer::Outgrown));
    assert_eq!((w.state(1), w.watched.len()), ("watching", 1));
}

#[test]
fn erasure_is_ordered_in_a_large_batch_as_well() {
    let mut w = World::new(Settings::default());
    for n in 0..200 {
        w.accept(n);
    }
    w.pass(secs(595));
    w.commits = Commits::Wait;
    w.accept(999);
    for n in 0..200 {
        w.live(n);
    }
    w.pass(secs(6));
    w.finish_commit();
    let (_, batch) = w.outstanding.front().unwrap();
    assert!(batch.len() > 200, "{}", batch.len());
    let erases = |c: &Change| matches!(c, Change::EraseBodies { .. });
    assert!(batch.iter().any(erases));
}
