//! From accepted to filed and finished, and the ways it may end otherwise.

use super::world::*;
use crate::*;
use base::notice::Level;
use base::rows::*;

fn until_first() -> Settings {
    Settings {
        until: Until::FirstEvent,
        ..Settings::default()
    }
}

#[test]
fn an_interaction_is_accepted_watched_filed_checked_and_finished() {
    let mut w = World::new(Settings::default());
    let caller = w.accept(1);
    assert!(matches!(
        w.answer_to(caller),
        Some(Answer::Interaction {
            state: InteractionState::Accepted,
            fresh: true,
            ..
        })
    ));
    assert!(w.watched.contains(&t(1)));
    w.live(1);
    assert_eq!(w.state(1), "watching");
    w.found(going_on(1));
    w.pass(secs(300));
    let at = w.now.wall;
    w.event(1, "a", at);
    assert_eq!(w.state(1), "settling");
    let record = w.post_ends(filed());
    assert_eq!(w.record_state(record), "delivered");
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    assert_eq!(
        (w.state(1), w.reason(1).as_str()),
        ("finished", "conversation-finished")
    );
    assert!(!w.watched.contains(&t(1)));
    assert_eq!(w.store.records[&record].2, [r#"{"n":1}"#]);
    let snapshot = w.filing.snapshot(w.now);
    assert_eq!(snapshot.records[&RecordState::Delivered], 1);
    assert_eq!(snapshot.interactions[&InteractionState::Finished], 1);
    assert_eq!(snapshot.latency.count, 1);
    assert_eq!(snapshot.filed[&Source::Notification], 1);
    // Ten minutes later it is forgotten, and so is its record.
    w.pass(secs(700));
    assert_eq!(w.filing.watch_state(c(1)), None);
    assert_eq!(w.filing.record(record), None);
    assert_eq!(w.filing.snapshot(w.now).records[&RecordState::Delivered], 1);
}

#[test]
fn nothing_goes_out_before_its_commit() {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    let caller = w.accept(1);
    assert!(w.answer_to(caller).is_none() && w.watched.is_empty());
    w.finish_commit();
    assert!(w.answer_to(caller).is_some() && w.watched.len() == 1);
    w.live(1);
    w.finish_commit();
    let at = w.now.wall;
    w.event(1, "a", at);
    assert!(w.posts.is_empty());
    w.finish_commit();
    let record = w.post_ends(filed());
    assert_eq!(w.filing.snapshot(w.now).records[&RecordState::Delivered], 0);
    w.finish_commit();
    assert_eq!(w.filing.snapshot(w.now).records[&RecordState::Delivered], 1);
    assert_eq!(w.record_state(record), "delivered");
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    assert!(w.watched.contains(&t(1)));
    w.finish_commit();
    assert!(!w.watched.contains(&t(1)));
}

#[test]
fn an_event_while_the_end_is_being_committed_goes_in_before_the_topic_is_given_up() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.pass(secs(2));
    w.commits = Commits::Wait;
    w.found(over(1, &[("a", at)]));
    assert_eq!(w.outstanding.len(), 1);
    w.event(1, "b", at);
    w.finish_commit();
    assert!(w.watched.contains(&t(1)) && w.state(1) == "finished");
    w.finish_commit();
    assert_eq!(w.store.records.len(), 2);
    assert!(!w.watched.contains(&t(1)));
}

#[test]
fn the_same_event_again_is_no_second_record_and_another_agent_is() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.event(1, "a", at);
    w.event(1, "A", at);
    assert_eq!(w.store.records.len(), 1);
    w.event(1, "b", at);
    assert_eq!(w.store.records.len(), 2);
    w.event(1, "a", at + secs(60));
    assert_eq!(w.store.records.len(), 3);
    let snapshot = w.filing.snapshot(w.now);
    assert_eq!(
        (
            snapshot.events[&EventFate::Taken],
            snapshot.events[&EventFate::Duplicate]
        ),
        (3, 2)
    );
}

#[test]
fn with_first_event_the_topic_is_given_up_after_the_first_committed_record() {
    let mut w = World::watching(until_first());
    let at = w.now.wall;
    w.event(1, "a", at);
    assert_eq!(
        (w.state(1), w.reason(1).as_str()),
        ("finished", "first-event")
    );
    assert!(!w.watched.contains(&t(1)));
    w.post_ends(filed());
}

#[test]
fn with_first_event_a_crash_between_record_and_end_is_made_up_for() {
    let mut w = World::watching(until_first());
    w.commits = Commits::Wait;
    let at = w.now.wall;
    w.event(1, "a", at);
    w.finish_commit();
    assert_eq!(w.state(1), "settling");
    w.commits = Commits::Succeed;
    w.restart();
    assert_eq!(
        (w.state(1), w.reason(1).as_str()),
        ("finished", "first-event")
    );
}

#[test]
fn an_event_of_a_finished_interaction_is_filed_and_of_a_stopped_one_is_not() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    assert_eq!(w.state(1), "finished");
    w.event(1, "b", at);
    assert_eq!((w.store.records.len(), w.state(1)), (2, "finished"));

    let mut w = World::watching(Settings::default());
    w.stop(1);
    let at = w.now.wall;
    w.event(1, "a", at);
    assert!(w.store.records.is_empty());
    assert_eq!(w.said("event-stopped"), Some(Level::Debug));
}

#[test]
fn an_event_that_nobody_asked_for_is_dropped() {
    let mut w = World::watching(Settings::default());
    let at = w.now.wall;
    w.event(2, "a", at);
    assert!(w.store.records.is_empty());
    assert_eq!(w.said("event-unknown"), Some(Level::Debug));
}

#[test]
fn odd_events_are_filed_and_those_that_cannot_be_lead_to_a_check() {
    let mut w = World::watching(Settings::default());
    w.raw_event(1, "{}".into());
    w.raw_event(1, "{}".into());
    w.raw_event(1, r#"{"eventTime":5}"#.into());
    assert_eq!(w.store.records.len(), 2);
    let before = w.fetches.len();
    w.raw_event(1, "[]".into());
    assert_eq!(w.store.records.len(), 2);
    assert_eq!(w.fetches.len(), before + 1);
    // Filed under the topic's conversation, whatever the body says.
    let at = w.now.wall;
    w.raw_event(1, World::event_body(7, "x", at));
    assert_eq!(w.store.records_of(c(1)).len(), 3);
    assert_eq!(w.said("event-differs"), Some(Level::Debug));
}

#[test]
fn a_refused_topic_ends_with_the_platforms_words() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.tell(Fact::Platform(PlatformFact::Refused {
        topic: t(1),
        detail: "missing conversation:view".into(),
    }));
    assert_eq!(
        (w.state(1), w.reason(1).as_str()),
        ("refused", "topic-refused")
    );
    let row = &w.store.interactions[&c(1)].0;
    assert_eq!(
        row.reason.as_ref().unwrap().detail,
        "missing conversation:view"
    );
    assert_eq!(w.said("interaction-refused"), Some(Level::Warn));
}

#[test]
fn repeating_a_live_id_merges_and_repeating_an_ended_one_starts_it_again() {
    let (mut w, first) = World::settling(Settings::default());
    let at = w.now.wall;
    let again = w.accept(1);
    assert!(matches!(
        w.answer_to(again),
        Some(Answer::Interaction {
            state: InteractionState::Settling,
            fresh: false,
            ..
        })
    ));
    assert_eq!(w.store.records[&first].2.len(), 1);
    w.post_ends(filed());
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    for wait in [1, 3600] {
        // Remembered at first, then from the store.
        w.pass(secs(wait));
        let again = w.accept(1);
        let accepted = w.now.wall;
        assert!(
            matches!(w.answer_to(again), Some(Answer::Interaction { state: InteractionState::Accepted, fresh: true, accepted_at, .. }) if *accepted_at == accepted)
        );
        assert!(w.watched.contains(&t(1)));
        w.live(1);
        // What was filed is not filed again.
        w.found(over(1, &[("a", at)]));
        assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
        let snapshot = w.filing.snapshot(w.now);
        assert_eq!(snapshot.interactions[&InteractionState::Finished], 1);
    }
}

#[test]
fn started_again_before_its_end_is_committed_it_stays_live() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.pass(secs(2));
    w.commits = Commits::Wait;
    w.found(over(1, &[("a", at)]));
    w.fail_commit(StoreTrouble::Busy);
    w.commits = Commits::Succeed;
    // The retry carries the end; meanwhile requests are refused, so take the way round:
    w.pass(secs(5));
    assert_eq!(w.state(1), "finished");

    // While another commit is outstanding, end and repetition meet in one batch.
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.pass(secs(2));
    w.commits = Commits::Wait;
    w.accept(2);
    w.found(over(1, &[("a", at)]));
    let again = w.accept(1);
    w.commits = Commits::Succeed;
    w.finish_commit();
    assert!(matches!(
        w.answer_to(again),
        Some(Answer::Interaction { fresh: true, .. })
    ));
    // Nobody will call the topic live again: it is.
    assert_eq!(w.state(1), "watching");
    assert!(w.filing.watch_state(c(1)).unwrap().live && w.watched.contains(&t(1)));
}

#[test]
fn stop_answers_by_what_there_is() {
    let mut w = World::watching(Settings::default());
    let caller = w.stop(1);
    assert!(matches!(
        w.answer_to(caller),
        Some(Answer::Stopping {
            state: InteractionState::Stopped,
            ..
        })
    ));
    assert!(!w.watched.contains(&t(1)));
    assert!(w.said("interaction-stopped").is_some());
    for _ in 0..2 {
        let caller = w.stop(1);
        assert!(matches!(
            w.answer_to(caller),
            Some(Answer::AlreadyEnded {
                state: InteractionState::Stopped,
                ..
            })
        ));
        w.pass(secs(3600));
    }
    let caller = w.stop(9);
    assert_eq!(w.answer_to(caller), Some(&Answer::NotFound));
}

#[test]
fn requests_about_one_conversation_are_done_in_their_order() {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    let all = [w.accept(1), w.stop(1), w.accept(1), w.accept(1)];
    w.commits = Commits::Succeed;
    if !w.outstanding.is_empty() {
        w.finish_commit();
    }
    let seen: Vec<_> = all
        .iter()
        .map(|caller| match w.answer_to(*caller).unwrap() {
            Answer::Interaction { fresh: true, .. } => "started",
            Answer::Interaction { fresh: false, .. } => "merged",
            Answer::Stopping { .. } => "stopped",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, ["started", "stopped", "started", "merged"]);
}

fn result(w: &mut World, key: Option<&str>, digest: u8) -> Answer {
    let caller = w.ask(CallerRequest::SupportResult {
        idempotency_key: key.map(str::to_owned),
        body_digest: [digest; 32],
        conversation: None,
        result: r#"{"a":1}"#.into(),
    });
    w.answer_to(caller).cloned().unwrap()
}

#[test]
fn a_support_result_is_filed_once_under_its_key() {
    let mut w = World::new(Settings::default());
    let Answer::SupportResult { record, state } = result(&mut w, Some("k"), 1) else {
        panic!("not taken");
    };
    assert_eq!(state, RecordState::Queued);
    assert_eq!(w.post_ends(filed()), record);
    let again = result(&mut w, Some("k"), 1);
    assert_eq!(
        again,
        Answer::SupportResult {
            record,
            state: RecordState::Delivered
        }
    );
    assert_eq!(result(&mut w, Some("k"), 2), Answer::KeyConflict);
    let Answer::SupportResult { record: other, .. } = result(&mut w, None, 1) else {
        panic!("not taken");
    };
    let Answer::SupportResult { record: third, .. } = result(&mut w, None, 1) else {
        panic!("not taken");
    };
    assert!(other != record && third != other);
}

#[test]
fn two_requests_with_one_key_at_once_are_one_record() {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    w.accept(1);
    let ask = |w: &mut World, digest| {
        w.ask(CallerRequest::SupportResult {
            idempotency_key: Some("k".into()),
            body_digest: [digest; 32],
            conversation: None,
            result: "{}".into(),
        })
    };
    let (a, b, d) = (ask(&mut w, 1), ask(&mut w, 1), ask(&mut w, 2));
    w.commits = Commits::Succeed;
    w.tell(Fact::Tick);
    if !w.outstanding.is_empty() {
        w.finish_commit();
    }
    let record = w.only_record();
    for caller in [a, b] {
        assert!(
            matches!(w.answer_to(caller), Some(Answer::SupportResult { record: r, .. }) if *r == record)
        );
    }
    assert_eq!(w.answer_to(d), Some(&Answer::KeyConflict));
}

#[test]
fn a_restart_watches_everything_again_and_keeps_every_identity() {
    let (mut w, record) = World::settling(Settings::default());
    let at = w.now.wall;
    w.restart();
    assert!(w.watched.contains(&t(1)));
    assert_eq!(w.posts, [record]);
    w.event(1, "a", at);
    assert_eq!(w.store.records.len(), 1);
    w.live(1);
    w.found(over(1, &[("a", at + secs(1))]));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
}

#[test]
fn latency_is_measured_from_the_event_to_the_delivery() {
    let (mut w, _) = World::settling(Settings::default());
    w.pass(std::time::Duration::from_millis(1500));
    w.post_ends(filed());
    let latency = w.filing.snapshot(w.now).latency;
    assert_eq!((latency.sum_ms, latency.buckets[4]), (1500, 1));
}

#[test]
fn the_snapshot_shows_ages_in_buckets() {
    let (mut w, record) = World::with_record(RecordState::Deferred);
    w.pass(secs(2));
    w.post_ends(answered(422));
    assert_eq!(w.record_state(record), "dead");
    w.pass(secs(7200));
    let snapshot = w.filing.snapshot(w.now);
    assert_eq!(
        snapshot.shape[&RecordState::Dead],
        base::ages::ByAge([0, 0, 0, 1, 0, 0])
    );
    assert!(snapshot.oldest_record[&RecordState::Dead] >= secs(7200));
    assert_eq!(snapshot.records[&RecordState::Dead], 1);
    assert_eq!(snapshot.failed[&PostFailure::Refused], 1);
}

#[test]
fn erasure_and_purge_are_ordered_every_ten_minutes_and_at_once_while_there_is_more() {
    let mut w = World::new(Settings::default());
    w.commits = Commits::Wait;
    w.pass(secs(601));
    let changes = |w: &World| w.outstanding.front().map_or(0, |(_, c)| c.len());
    assert_eq!(changes(&w), 2);
    let (ticket, _) = w.outstanding.pop_front().unwrap();
    let more = |ticket, erased| {
        Fact::Store(StoreFact::Committed {
            ticket,
            refused: vec![],
            outgrown: Vec::new(),
            erased,
            purged_interactions: vec![],
            purged_records: vec![],
        })
    };
    w.tell(more(ticket, 500));
    let (ticket, batch) = w.outstanding.pop_front().unwrap();
    assert!(
        matches!(&batch[0], Change::EraseBodies { before, limit: 500 } if *before == w.now.wall - secs(86_400))
    );
    w.tell(more(ticket, 0));
    assert!(w.outstanding.is_empty());
    w.pass(secs(601));
    assert_eq!(changes(&w), 2);
}

#[test]
fn what_is_kept_for_a_short_time_is_looked_after_as_often() {
    let mut w = World::new(Settings {
        keep_bodies: secs(3),
        ..Settings::default()
    });
    w.commits = Commits::Wait;
    let ordered = |w: &mut World| {
        let (ticket, batch) = w.outstanding.pop_front().unwrap();
        assert!(
            matches!(&batch[0], Change::EraseBodies { before, .. } if *before == w.now.wall - secs(3))
        );
        w.tell(Fact::Store(StoreFact::Committed {
            ticket,
            refused: vec![],
            outgrown: Vec::new(),
            erased: 0,
            purged_interactions: vec![],
            purged_records: vec![],
        }));
    };
    w.pass(secs(3));
    ordered(&mut w);
    w.pass(secs(2));
    assert!(w.outstanding.is_empty());
    w.pass(secs(1));
    ordered(&mut w);
}

#[test]
fn stop_of_one_whose_end_is_not_durable_waits_for_it() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.pass(secs(2));
    w.commits = Commits::Wait;
    w.accept(2);
    w.found(over(1, &[("a", at)]));
    let caller = w.stop(1);
    w.finish_commit();
    assert_eq!((w.answer_to(caller), w.state(1)), (None, "settling"));
    w.finish_commit();
    assert!(matches!(
        w.answer_to(caller),
        Some(Answer::AlreadyEnded {
            state: InteractionState::Finished,
            ..
        })
    ));
}

#[test]
fn requests_with_one_key_in_one_look_up_are_one_record() {
    let mut w = World::new(Settings::default());
    w.hold_lookups = true;
    w.accept(1);
    let callers: Vec<u64> = [1, 1, 2]
        .into_iter()
        .map(|digest| {
            w.ask(CallerRequest::SupportResult {
                idempotency_key: Some("k".into()),
                body_digest: [digest; 32],
                conversation: None,
                result: "{}".into(),
            })
        })
        .collect();
    w.hold_lookups = false;
    w.tell(Fact::Tick);
    let record = w.only_record();
    for caller in &callers[..2] {
        assert!(
            matches!(w.answer_to(*caller), Some(Answer::SupportResult { record: r, .. }) if *r == record)
        );
    }
    assert_eq!(w.answer_to(callers[2]), Some(&Answer::KeyConflict));
}

#[test]
fn what_is_being_started_again_is_not_forgotten_meanwhile() {
    let (mut w, _) = World::settling(Settings::default());
    let at = w.now.wall;
    w.post_ends(filed());
    w.pass(secs(2));
    w.found(over(1, &[("a", at)]));
    w.pass(secs(595));
    w.commits = Commits::Wait;
    w.accept(1);
    w.pass(secs(30));
    w.tell(Fact::Tick);
    w.commits = Commits::Succeed;
    w.finish_commit();
    w.live(1);
    w.found(over(1, &[("a", at)]));
    assert_eq!((w.store.records.len(), w.state(1)), (1, "finished"));
}
