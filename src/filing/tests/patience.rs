//! How long callers wait for the store: who has not had his turn is refused and withdrawn,
//! who is in a transaction under way learns its outcome, or that nobody knows it.

use super::world::*;
use crate::*;
use base::rows::*;

fn result(key: Option<&str>, digest: u8) -> CallerRequest {
    CallerRequest::SupportResult {
        idempotency_key: key.map(str::to_owned),
        body_digest: [digest; 32],
        conversation: None,
        result: r#"{"a":1}"#.into(),
    }
}

#[test]
fn who_waits_too_long_for_his_turn_is_withdrawn_and_refused_and_nothing_of_it_happens() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Wait;
    let first = w.ask(result(None, 1));
    w.pass(secs(1));
    let later = [
        w.ask(result(None, 2)),
        w.ask(result(Some("k"), 3)),
        w.stop(1),
        w.accept(1),
        w.accept(2),
    ];
    w.pass(secs(7));
    for caller in later {
        assert!(w.answer_to(caller).is_none(), "{caller}");
    }
    w.pass(secs(1));
    for caller in later {
        let answer = w.answer_to(caller);
        assert!(matches!(answer, Some(Answer::Busy { .. })), "{answer:?}");
    }
    assert!(w.answer_to(first).is_none(), "its outcome is waited for");
    w.commits = Commits::Succeed;
    w.finish_commit();
    assert!(matches!(
        w.answer_to(first),
        Some(Answer::SupportResult { .. })
    ));
    w.pass(secs(60));
    assert_eq!((w.state(1), w.store.records.len()), ("watching", 1));
    assert!(!w.store.interactions.contains_key(&c(2)));
}

#[test]
fn a_question_to_the_store_that_is_under_way_is_withdrawn_as_well() {
    let mut w = World::new(Settings::default());
    w.hold_lookups = true;
    let caller = w.accept(5);
    w.pass(secs(9));
    assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
    w.hold_lookups = false;
    w.tell(Fact::Tick);
    w.pass(secs(1));
    assert!(!w.store.interactions.contains_key(&c(5)));
}

#[test]
fn a_transaction_that_takes_longer_than_a_minute_is_told_as_unknown_once_and_takes_effect() {
    for fails in [false, true] {
        let mut w = World::watching(Settings::default());
        w.commits = Commits::Wait;
        let caller = w.ask(result(None, 1));
        w.pass(secs(59));
        assert_eq!(w.answer_to(caller), None);
        w.pass(secs(1));
        assert_eq!(w.answer_to(caller), Some(&Answer::Unknown));
        w.pass(secs(100));
        // The world says if it is answered a second time.
        if fails {
            w.fail_commit(StoreTrouble::Io);
        } else {
            w.finish_commit();
        }
        assert_eq!(w.store.records.len(), usize::from(!fails));
        let snapshot = w.filing.snapshot(w.now);
        assert_eq!(snapshot.callers_waiting, 0);
    }
}

#[test]
fn a_key_that_is_in_a_full_batch_is_looked_up_again_for_those_behind_it() {
    let mut w = World::new(Settings::default());
    w.hold_lookups = true;
    w.accept(1);
    let mut large = result(Some("k"), 1);
    if let CallerRequest::SupportResult { result, .. } = &mut large {
        *result = format!("{{\"a\":\"{}\"}}", "x".repeat(settings::BATCH_BYTES_MAX));
    }
    let callers = [w.ask(large.clone()), w.ask(large)];
    w.hold_lookups = false;
    w.tell(Fact::Tick);
    let [first, second] = callers.map(|caller| w.answer_to(caller).cloned());
    assert!(matches!(first, Some(Answer::SupportResult { .. })));
    assert_eq!(first, second);
}

#[test]
fn the_farewell_counts_what_is_in_memory_alone_and_what_becomes_of_it() {
    let (mut w, record) = World::settling(Settings::default());
    w.post_ends(filed());
    assert!(w.leave().all_on_disk());

    let (mut w, _) = World::settling(Settings::default());
    w.commits = Commits::Wait;
    let under_way = w.ask(result(None, 1));
    w.event(1, "b", w.now.wall);
    let waits = w.ask(result(None, 2));
    w.post_ends(filed());
    w.tell(Fact::Stop);
    let late = w.ask(result(None, 3));
    assert!(matches!(w.answer_to(late), Some(Answer::Busy { .. })));
    let left = w.leave();
    assert_eq!(
        (left.rebuilt, left.gone, left.under_way, left.outcomes),
        (1, 0, 0, 1),
        "{left}"
    );
    assert_eq!(
        (left.unknown, left.refused, left.states),
        (1, 1, 1),
        "{left}"
    );
    assert_eq!(w.answer_to(under_way), Some(&Answer::Unknown));
    assert!(matches!(w.answer_to(waits), Some(Answer::Busy { .. })));
    let said = left.to_string();
    assert!(
        said.contains("1 record taken from the platform: rebuilt"),
        "{said}"
    );
    assert!(!w.store.records.is_empty() && w.store.records.contains_key(&record));
}

#[test]
fn at_a_stop_a_store_in_trouble_is_tried_at_once_and_then_every_half_second() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Fail(StoreTrouble::Full);
    w.event(1, "a", w.now.wall);
    w.pass(secs(40));
    w.tell(Fact::Stop);
    let before = w.notices.len();
    w.pass(secs(3));
    assert!((5..8).contains(&(w.notices.len() - before)), "{before}");
    w.commits = Commits::Succeed;
    w.pass(secs(1));
    assert_eq!(w.store.records.len(), 1);
    assert!(w.leave().all_on_disk());
}

#[test]
fn who_waits_too_long_is_refused_however_late_the_clock_is_looked_at() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Wait;
    w.ask(result(None, 1));
    let later = w.ask(result(None, 2));
    w.now = w.now.plus(secs(30));
    w.tell(Fact::Tick);
    assert!(matches!(w.answer_to(later), Some(Answer::Busy { .. })));
}
