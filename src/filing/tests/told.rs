//! What is told: the farewell, the picture of now, the sentences.

use std::collections::BTreeSet;

use super::world::*;
use crate::*;
use base::rows::*;

#[test]
fn a_farewell_names_what_is_lost_and_nothing_else() {
    let none = Farewell::default();
    let cases = [
        (
            Farewell { rebuilt: 1, ..none },
            "; 1 record taken from the platform: rebuilt",
        ),
        (
            Farewell { rebuilt: 2, ..none },
            "; 2 records taken from the platform: rebuilt",
        ),
        (
            Farewell { gone: 1, ..none },
            "; 1 record taken from the platform after the end",
        ),
        (
            Farewell { gone: 3, ..none },
            "; 3 records taken from the platform after the end",
        ),
        (
            Farewell {
                outcomes: 1,
                ..none
            },
            "; the outcome of 1 record:",
        ),
        (
            Farewell { states: 2, ..none },
            "; the state of 2 interactions:",
        ),
        (Farewell { unknown: 1, ..none }, "; 1 request of callers"),
    ];
    for (left, said) in cases {
        assert!(!left.all_on_disk(), "{left:?}");
        let text = left.to_string();
        assert!(
            text.starts_with("not everything is on disk (it has not"),
            "{text}"
        );
        assert!(text.contains(said), "{text}");
        assert_eq!(text.matches(';').count(), 1, "{text}");
    }
    // Whoever was refused knows it: nothing of that is lost.
    let left = Farewell {
        refused: 4,
        trouble: Some(StoreTrouble::Full),
        ..none
    };
    assert!(left.all_on_disk());
    assert_eq!(left.to_string(), "everything taken is on disk");
    let left = Farewell {
        rebuilt: 2,
        under_way: 1,
        trouble: Some(StoreTrouble::Full),
        ..none
    };
    let text = left.to_string();
    assert!(
        text.contains("(the disk that holds the database is full"),
        "{text}"
    );
    assert!(
        text.ends_with("; 1 of these may be on disk after all"),
        "{text}"
    );
}

#[test]
fn a_farewell_counts_every_record_and_every_caller() {
    let mut w = World::watching(Settings::default());
    w.accept(2);
    w.live(2);
    w.pass(secs(60));
    w.commits = Commits::Wait;
    w.tell(Fact::Tick);
    for leg in ["a", "b", "c"] {
        w.event(1, leg, w.now.wall);
    }
    let waiting = [w.accept(5), w.accept(6), w.accept(7)];
    let left = w.leave();
    assert_eq!(
        (left.rebuilt, left.gone, left.refused),
        (3, 0, 3),
        "{left:?}"
    );
    assert_eq!(left.trouble, None);
    for caller in waiting {
        let Some(Answer::Busy { retry_after, .. }) = w.answer_to(caller) else {
            panic!("{:?}", w.answer_to(caller))
        };
        assert!(*retry_after >= secs(1));
    }

    let mut w = World::watching(Settings::default());
    w.commits = Commits::Fail(StoreTrouble::ReadOnly);
    w.event(1, "a", w.now.wall);
    let left = w.leave();
    assert_eq!(
        (left.rebuilt, left.trouble),
        (1, Some(StoreTrouble::ReadOnly))
    );
}

#[test]
fn records_after_the_end_of_their_interactions_are_counted_as_gone() {
    let mut w = World::watching(Settings {
        linger: secs(300),
        ..Settings::default()
    });
    w.stop(1);
    w.pass(secs(1));
    assert!(w.store.interactions[&c(1)].0.state.ended());
    w.commits = Commits::Wait;
    w.event(1, "a", w.now.wall);
    w.event(1, "b", w.now.wall);
    let left = w.leave();
    let late = left.rebuilt + left.gone;
    assert_eq!(left.rebuilt, 0, "{left:?}");
    assert_eq!(late, left.gone);
}

#[test]
fn every_trouble_of_the_store_has_a_label_and_a_sentence_of_its_own() {
    use StoreTrouble::*;
    let all = [Full, ReadOnly, Damaged, Moved, Busy, Io, Bug];
    let labels: BTreeSet<_> = all.iter().map(|t| t.label()).collect();
    let sentences: BTreeSet<_> = all.iter().map(|t| t.sentence()).collect();
    assert_eq!((labels.len(), sentences.len()), (7, 7));
    assert!(sentences.iter().all(|s| s.contains("database")));
}

#[test]
fn the_picture_counts_every_interaction_once_and_says_what_it_lacks() {
    let mut w = World::new(Settings::default());
    for n in 1..=4 {
        w.accept(n);
    }
    let picture = w.filing.snapshot(w.now);
    assert_eq!(picture.dark, 4, "none is live yet");
    for n in 1..=3 {
        w.live(n);
    }
    let picture = w.filing.snapshot(w.now);
    assert_eq!(picture.dark, 1);
    while !w.fetches.is_empty() {
        w.tell_fetched(FetchOutcome::Denied("no".into()));
    }
    let picture = w.filing.snapshot(w.now);
    let of = |state| picture.interactions[&state];
    assert_eq!(
        of(InteractionState::Accepted) + of(InteractionState::Watching),
        4
    );
    assert!(picture.owed > 0 && picture.cannot_tell > 0, "{picture:?}");
    assert_eq!(picture.interactions.len(), InteractionState::ALL.len());
    assert_eq!(picture.records.len(), RecordState::ALL.len());
    assert!(w.filing.watch_state(c(1)).is_some_and(|s| s.live));
    assert!(w.filing.watch_state(c(4)).is_some_and(|s| !s.live));
    assert!(w.filing.watch_state(c(9)).is_none());
    w.stop(4);
    w.pass(secs(1));
    let picture = w.filing.snapshot(w.now);
    assert_eq!(picture.interactions[&InteractionState::Stopped], 1);
    assert_eq!(picture.dark, 0);
}

#[test]
fn gaps_and_the_topics_in_them_are_counted_by_their_cause() {
    let mut w = World::watching(Settings::default());
    for cause in [GapCause::Silent, GapCause::Closing, GapCause::Silent] {
        w.tell(Fact::Platform(PlatformFact::Gap {
            topics: vec![t(1)],
            cause,
        }));
    }
    let gaps = w.filing.snapshot(w.now).gaps;
    assert_eq!(
        gaps.into_iter().collect::<Vec<_>>(),
        [(GapCause::Closing, (1, 1)), (GapCause::Silent, (2, 2)),]
    );
}

#[test]
fn what_waits_for_the_disk_is_in_the_picture_until_it_is_there() {
    let mut w = World::watching(Settings::default());
    w.commits = Commits::Wait;
    w.tell(Fact::Tick);
    let before = w.filing.snapshot(w.now).commit_backlog;
    let body = World::event_body(1, "a", w.now.wall);
    let bytes = body.len() as u64;
    w.raw_event(1, body);
    w.event(1, "b", w.now.wall);
    w.event(1, "d", w.now.wall);
    let picture = w.filing.snapshot(w.now);
    assert!(w.filing.uncommitted());
    assert_eq!(picture.uncommitted_records, 3);
    assert_eq!(picture.uncommitted_bytes, 3 * bytes);
    assert!(picture.commit_backlog >= before + 3, "{picture:?}");
    while !w.outstanding.is_empty() {
        w.finish_commit();
    }
    let picture = w.filing.snapshot(w.now);
    assert_eq!(
        (
            picture.uncommitted_records,
            picture.uncommitted_bytes,
            picture.commit_backlog
        ),
        (0, 0, 0)
    );
    assert!(!w.filing.uncommitted());
}

#[test]
fn what_became_of_an_event_is_said_in_one_word() {
    let words: Vec<&str> = EventOutcome::ALL.iter().map(|o| o.label()).collect();
    assert_eq!(words, ["taken", "known", "unreported"]);
}

#[test]
fn a_check_that_is_still_to_come_is_not_due() {
    let mut w = World::watching(Settings::default());
    let counted = |w: &World| {
        let picture = w.filing.snapshot(w.now);
        (picture.checks_due, picture.checks_in_flight)
    };
    assert_eq!(counted(&w), (0, 0));
    w.gap(1);
    w.live(1);
    w.pass(secs(5));
    assert_eq!(counted(&w), (0, 1));
}

#[test]
fn checks_are_counted_by_what_came_of_them() {
    let mut w = World::new(Settings::default());
    w.accept(1);
    w.live(1);
    for (outcome, counted) in [
        (FetchOutcome::Trouble("x".into()), CheckOutcome::Trouble),
        (FetchOutcome::NotFound, CheckOutcome::NotFound),
        (FetchOutcome::Denied("x".into()), CheckOutcome::Denied),
        (FetchOutcome::TooMany, CheckOutcome::TooMany),
        (FetchOutcome::Garbled, CheckOutcome::NotUnderstood),
        (FetchOutcome::Found(going_on(1)), CheckOutcome::Found),
    ] {
        while w.fetches.is_empty() {
            w.pass(secs(60));
        }
        w.tell_fetched(outcome);
        assert_eq!(
            w.filing.snapshot(w.now).checks[&(CheckKind::One, counted)],
            1,
            "{counted}"
        );
    }
}
