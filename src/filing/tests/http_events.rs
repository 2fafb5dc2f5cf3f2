//! Events over HTTP: the same wrap-up by both ways, in every order, is one record.

use super::world::*;
use crate::caller::EventOutcome::{self, Known, Taken, Unreported};
use crate::*;
use base::rows::*;

fn sent(w: &mut World, n: u128, body: String) -> u64 {
    w.ask(CallerRequest::Event {
        conversation: c(n),
        body,
    })
}

fn told(w: &mut World, n: u128, leg: &str, at: base::time::Wall) -> EventOutcome {
    let caller = sent(w, n, World::event_body(n, leg, at));
    match w.answer_to(caller) {
        Some(Answer::Event(outcome)) => *outcome,
        other => panic!("{other:?}"),
    }
}

fn filing_everything() -> Settings {
    Settings {
        unreported: crate::Unreported::File,
        ..Settings::default()
    }
}

#[test]
fn an_event_that_comes_both_ways_is_one_record_in_either_order_and_over_restarts() {
    for restart in [false, true] {
        for http_first in [false, true] {
            let mut w = World::watching(Settings::default());
            let at = w.now.wall;
            if http_first {
                assert_eq!(told(&mut w, 1, "a", at), Taken);
            } else {
                w.event(1, "a", at);
            }
            if restart {
                w.restart();
                w.live(1);
            }
            if http_first {
                w.event(1, "a", at);
            }
            assert_eq!(told(&mut w, 1, "a", at), Known);
            assert_eq!(w.store.records.len(), 1, "{restart} {http_first}");
            // A re-wrap is another.
            assert_eq!(told(&mut w, 1, "a", at + secs(60)), Taken);
            assert_eq!(told(&mut w, 1, "b", at), Taken);
            assert_eq!(w.store.records.len(), 3);
        }
    }
}

#[test]
fn an_event_over_http_is_the_wrap_up_that_rest_has_shown_and_the_other_way_round() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.pass(secs(30));
    let at = w.now.wall - secs(10);
    w.live(1);
    w.found(over(1, &[("a", at)]));
    assert_eq!(told(&mut w, 1, "a", at + secs(1)), Known);
    let record = w.only_record();
    assert_eq!(w.record(record).matched_time, Some(at + secs(1)));
    assert_eq!(w.store.records[&record].0.matched_time, Some(at + secs(1)));
    // Re-wrapped soon after: another.
    assert_eq!(told(&mut w, 1, "a", at + secs(4)), Taken);

    let mut w = World::new(Settings::default());
    w.accept(1);
    w.pass(secs(30));
    let at = w.now.wall - secs(10);
    assert_eq!(told(&mut w, 1, "a", at + secs(1)), Taken);
    w.live(1);
    w.found(over(1, &[("a", at)]));
    w.only_record();
}

#[test]
fn what_is_announced_while_its_event_over_http_is_being_committed_waits_for_the_outcome() {
    for fails in [false, true] {
        let mut w = World::watching(Settings::default());
        let at = w.now.wall;
        w.commits = Commits::Wait;
        let caller = sent(&mut w, 1, World::event_body(1, "a", at));
        w.event(1, "a", at);
        assert_eq!(w.answer_to(caller), None, "not before the commit");
        if fails {
            w.fail_commit(StoreTrouble::Full);
            assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
            w.commits = Commits::Succeed;
            w.pass(secs(60));
        } else {
            w.commits = Commits::Succeed;
            w.finish_commit();
            assert_eq!(w.answer_to(caller), Some(&Answer::Event(Taken)));
            w.pass(secs(60));
        }
        w.only_record();
    }
}

#[test]
fn an_event_refused_because_the_store_fails_is_not_filed_until_it_is_sent_again() {
    let mut w = World::watching(Settings::default());
    let at = w.now.wall;
    w.commits = Commits::Fail(StoreTrouble::Full);
    let caller = sent(&mut w, 1, World::event_body(1, "a", at));
    assert!(matches!(w.answer_to(caller), Some(Answer::Busy { .. })));
    w.commits = Commits::Succeed;
    w.pass(secs(60));
    assert!(w.store.records.is_empty());
    assert_eq!(told(&mut w, 1, "a", at), Taken);
}

#[test]
fn the_same_event_twice_at_once_is_taken_once() {
    for reported in [false, true] {
        let mut w = World::new(filing_everything());
        if reported {
            w.accept(1);
        }
        let at = w.now.wall;
        w.commits = Commits::Wait;
        w.hold_lookups = true;
        let callers: Vec<_> = (0..3)
            .map(|_| sent(&mut w, 1, World::event_body(1, "a", at)))
            .collect();
        w.hold_lookups = false;
        w.commits = Commits::Succeed;
        if reported {
            w.finish_commit();
        }
        w.tell(Fact::Tick);
        w.pass(secs(1));
        let taken = callers
            .iter()
            .filter(|id| w.answer_to(**id) == Some(&Answer::Event(Taken)))
            .count();
        let known = callers
            .iter()
            .filter(|id| w.answer_to(**id) == Some(&Answer::Event(Known)))
            .count();
        assert_eq!((taken, known), (1, 2), "{reported}");
        w.only_record();
    }
}

#[test]
fn an_event_of_a_conversation_that_nobody_reported_is_counted_or_filed_as_the_operator_says() {
    let mut w = World::new(Settings::default());
    let at = w.now.wall;
    assert_eq!(told(&mut w, 1, "a", at), Unreported);
    assert!(w.store.records.is_empty());
    assert_eq!(w.filing.snapshot(w.now).events[&EventFate::Unreported], 1);

    let mut w = World::new(filing_everything());
    assert_eq!(told(&mut w, 1, "a", at), Taken);
    let record = w.only_record();
    assert_eq!(w.posts, [record]);
    assert!(w.watched.is_empty(), "nothing is watched for it");
    assert_eq!(told(&mut w, 1, "a", at), Known);
    w.post_ends(filed());
    // Filed and forgotten, also by the process.
    assert_eq!(told(&mut w, 1, "a", at), Known);
    w.restart();
    assert_eq!(told(&mut w, 1, "a", at), Known);
    // Reported after all: what was filed is not filed again.
    w.accept(1);
    w.live(1);
    w.event(1, "a", at);
    w.found(over(1, &[("a", at)]));
    w.only_record();
    assert_eq!(w.state(1), "finished");
}

#[test]
fn an_event_of_an_ended_conversation_is_filed_long_after_and_one_of_a_stopped_one_never() {
    let mut w = World::watching(Settings::default());
    let at = w.now.wall;
    w.event(1, "a", at);
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    assert_eq!(w.state(1), "finished");
    w.pass(secs(2 * 86_400));
    assert!(w.filing.watch_state(c(1)).is_none(), "forgotten");
    assert_eq!(told(&mut w, 1, "a", at), Known);
    assert_eq!(told(&mut w, 1, "b", at), Taken);

    let mut w = World::watching(filing_everything());
    w.stop(1);
    let at = w.now.wall;
    assert_eq!(told(&mut w, 1, "a", at), Unreported);
    w.restart();
    assert_eq!(told(&mut w, 1, "a", at), Unreported);
    assert!(w.store.records.is_empty());
}

#[test]
fn an_interaction_goes_on_after_an_event_over_http_as_after_an_announcement() {
    let mut w = World::watching(Settings::default());
    let at = w.now.wall;
    assert_eq!(told(&mut w, 1, "a", at), Taken);
    assert_eq!(w.state(1), "settling");
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    assert_eq!(w.state(1), "finished");

    let mut w = World::watching(Settings {
        until: Until::FirstEvent,
        ..Settings::default()
    });
    assert_eq!(told(&mut w, 1, "a", at), Taken);
    assert_eq!(w.state(1), "finished");
}

#[test]
fn what_was_filed_and_forgotten_while_a_look_up_was_on_its_way_is_neither_lost_nor_waiting_again() {
    for again in [false, true] {
        let mut w = World::new(filing_everything());
        let at = w.now.wall;
        assert_eq!(told(&mut w, 1, "a", at), Taken);
        let record = w.only_record();
        w.hold_lookups = true;
        let caller = match again {
            true => sent(&mut w, 1, World::event_body(1, "a", at)),
            false => w.accept(1),
        };
        // The store has looked; the answer comes after the record is delivered.
        let (ticket, what) = w.lookups.pop_front().unwrap();
        let found = what.iter().map(|l| w.store.look(l)).collect();
        w.post_ends(filed());
        assert_eq!(w.record(record).state, RecordState::Delivered);
        w.hold_lookups = false;
        w.tell(Fact::Store(StoreFact::Looked { ticket, found }));
        if again {
            assert_eq!(w.answer_to(caller), Some(&Answer::Event(Known)));
        } else {
            assert!(matches!(
                w.answer_to(caller),
                Some(Answer::Interaction { .. })
            ));
            w.live(1);
            w.event(1, "a", at);
        }
        w.pass(secs(600));
        assert_eq!(w.only_record(), record);
        assert_eq!(w.record(record).state, RecordState::Delivered);
    }
}
