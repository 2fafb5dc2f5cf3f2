//! Every change, exactly.

use std::collections::BTreeMap;

use super::*;
use base::rows::{ChannelRow, DestinationRow};
use base::secret::Secret;

fn channel(slot: u8) -> ChannelRow {
    ChannelRow {
        slot,
        id: Secret::new(format!("streaming-5-abc{slot}")),
        connect_uri: Secret::new("wss://streaming.mypurecloud.de/channels/streaming-5-abc"),
        created_at: NOW,
        expires_at: Wall(NOW.0 + 86_400_000),
        token_ends_at: Wall(NOW.0 + 1),
    }
}

#[test]
fn what_was_committed_is_recovered_exactly_after_a_restart() {
    let place = Place::new();
    let live = InteractionRow {
        state: InteractionState::Settling,
        watched_since: Some(Wall(NOW.0 + 1)),
        last_event_at: Some(Wall(NOW.0 + 2)),
        ..interaction(1)
    };
    let deferred = RecordRow {
        state: RecordState::Deferred,
        attempts: 4,
        next_try: Some(Wall(NOW.0 + 60_000)),
        patience_used: std::time::Duration::from_millis(3),
        last_error: Some("503 from the history manager".into()),
        matched_time: Some(Wall(NOW.0 - 4_000)),
        content_digest: Some("00ff".into()),
        source: Source::Reconciliation,
        ..record(1)
    };
    let result = RecordRow {
        kind: RecordKind::SupportResult,
        source: Source::SupportResult,
        conversation: None,
        leg: Leg::default(),
        event_time: None,
        state: RecordState::Dead,
        ..record(2)
    };
    // Over, but of a live interaction: recovered. Over, and of an ended one: only counted.
    let filed = RecordRow {
        conversation: Some(conversation(1)),
        ..delivered(3, NOW)
    };
    let past = delivered(4, NOW);
    let asked_to_wait = DestinationRow {
        held_until: Some(Wall(NOW.0 + 9)),
        refused: vec![(404, vec![result.record, deferred.record])],
    };
    let mut store = place.store();
    keep(
        &mut store,
        vec![
            accept(interaction(1), r#"{"a":1}"#),
            Change::Interaction(live.clone()),
            accept(ended(4, NOW), "{}"),
            take(record(1), r#"{"wrapUpCode":"x"}"#),
            Change::Record(deferred.clone()),
            take(result.clone(), "{}"),
            take(filed.clone(), "{}"),
            take(past, "{}"),
            Change::Destination(asked_to_wait.clone()),
        ],
    );
    let kept = store.execute(
        StoreOrder::Channels {
            ticket: 9,
            rows: vec![channel(2), channel(1)],
        },
        Wall(NOW.0 + 77),
    );
    assert_eq!(kept, StoreFact::ChannelsKept { ticket: 9 });
    // Without a clean stop: the log is read.
    drop(store);
    let (_store, recovered) = place.open();
    assert_eq!(
        recovered,
        Recovered {
            interactions: vec![live],
            records: vec![deferred, result, filed],
            channels: vec![channel(1), channel(2)],
            destination: asked_to_wait,
            ended: vec![(InteractionState::Finished, 1)],
            over: vec![(RecordState::Delivered, 2)],
            last_alive: Some(Wall(NOW.0 + 77)),
            damaged: None,
        }
    );
}

#[test]
fn channels_are_replaced_as_a_whole() {
    let place = Place::new();
    let mut store = place.store();
    for rows in [vec![channel(1), channel(2)], vec![channel(3)]] {
        store.execute(StoreOrder::Channels { ticket: 1, rows }, NOW);
    }
    store.close(NOW).unwrap();
    assert_eq!(place.open().1.channels, vec![channel(3)]);
}

#[test]
fn members_are_merged_over_the_old_ones_and_a_record_keeps_those_of_its_moment() {
    let place = Place::new();
    let mut store = place.store();
    let first = r#"{"z":1.000000000000000000001,"a":"\u00e4\/"}"#;
    keep(
        &mut store,
        vec![
            accept(interaction(1), first),
            take(record(1), "{ \"raw\" : 1e400 }"),
            accept(
                InteractionRow {
                    state: InteractionState::Watching,
                    ..interaction(1)
                },
                r#"{"b":[18446744073709551616],"z":2}"#,
            ),
        ],
    );
    let mut reader = Reader::new(store.path());
    let found = reader.interaction(conversation(1)).unwrap().unwrap();
    assert_eq!(
        found.members.as_deref(),
        Some(r#"{"z":2,"a":"\u00e4\/","b":[18446744073709551616]}"#)
    );
    assert_eq!(found.row.state, InteractionState::Watching);
    assert_eq!(found.records, vec![record(1)]);
    let taken = reader.record(record_id(1)).unwrap().unwrap();
    assert_eq!(taken.members.as_deref(), Some(first));
    assert_eq!(taken.body.as_deref(), Some("{ \"raw\" : 1e400 }"));
    assert!(reader.interaction(conversation(2)).unwrap().is_none());
    assert!(reader.record(record_id(2)).unwrap().is_none());
}

#[test]
fn a_record_that_is_taken_again_is_left_as_it_is() {
    let place = Place::new();
    let mut store = place.store();
    keep(&mut store, vec![take(record(1), r#"{"n":1}"#)]);
    keep(&mut store, vec![Change::Record(delivered(1, NOW))]);
    keep(&mut store, vec![take(record(1), r#"{"n":1}"#)]);
    assert_eq!(
        look_up(&mut store, Lookup::Record(record_id(1))),
        Found::Record(Some(delivered(1, NOW)))
    );
}

#[test]
fn a_refused_change_is_named_and_the_rest_is_kept() {
    let place = Place::new();
    let mut store = place.store();
    keep(&mut store, vec![take(record(1), "{}")]);
    let key = Some(("key".to_owned(), [1; 32]));
    let with_key = |n| Change::Take {
        row: record(n),
        body: "{}".into(),
        key: key.clone(),
    };
    let fact = commit(
        &mut store,
        vec![
            accept(interaction(5), "{}"),
            take(
                RecordRow {
                    ordinal: 9,
                    ..record(1)
                },
                "{}",
            ),
            Change::Record(record(404)),
            with_key(2),
            with_key(3),
            Change::Interaction(interaction(404)),
            accept(interaction(6), "[]"),
            accept(interaction(7), "{}"),
        ],
    );
    assert_eq!(
        fact,
        StoreFact::Committed {
            ticket: 7,
            refused: vec![1, 2, 4, 5, 6],
            outgrown: Vec::new(),
            erased: 0,
            purged_interactions: vec![],
            purged_records: vec![],
        }
    );
    drop(store);
    let (_store, recovered) = place.open();
    assert_eq!(recovered.interactions, vec![interaction(5), interaction(7)]);
    assert_eq!(recovered.records, vec![record(1), record(2)]);
}

#[test]
fn lookups_answer_in_order_and_see_the_commits_before_them() {
    let place = Place::new();
    let mut store = place.store();
    let result = RecordRow {
        kind: RecordKind::SupportResult,
        source: Source::SupportResult,
        ..record(2)
    };
    let order = RecordRow {
        conversation: Some(conversation(1)),
        ..record(3)
    };
    keep(
        &mut store,
        vec![
            accept(interaction(1), "{}"),
            take(record(1), "{}"),
            take(order.clone(), "{}"),
            Change::Take {
                row: RecordRow {
                    conversation: Some(conversation(1)),
                    ..result.clone()
                },
                body: "{}".into(),
                key: Some(("k".into(), [9; 32])),
            },
        ],
    );
    let fact = store.execute(
        StoreOrder::Lookup {
            ticket: 5,
            what: vec![
                Lookup::Key("k".into()),
                Lookup::Interaction(conversation(1)),
                Lookup::Record(record_id(3)),
                Lookup::Key("other".into()),
                Lookup::Interaction(conversation(2)),
            ],
        },
        NOW,
    );
    let result = RecordRow {
        conversation: Some(conversation(1)),
        ..result
    };
    assert_eq!(
        fact,
        StoreFact::Looked {
            ticket: 5,
            found: vec![
                Found::Key(Some((result, [9; 32]))),
                Found::Interaction(Some(interaction(1)), vec![record(1), order.clone()]),
                Found::Record(Some(order)),
                Found::Key(None),
                Found::Interaction(None, vec![]),
            ],
        }
    );
}

#[test]
fn an_interaction_started_again_is_live_again_with_its_old_members() {
    let place = Place::new();
    let mut store = place.store();
    keep(&mut store, vec![accept(interaction(1), r#"{"a":1}"#)]);
    keep(&mut store, vec![Change::Interaction(ended(1, NOW))]);
    keep(&mut store, vec![accept(interaction(1), r#"{"b":2}"#)]);
    let found = Reader::new(store.path())
        .interaction(conversation(1))
        .unwrap()
        .unwrap();
    assert_eq!(found.row, interaction(1));
    assert_eq!(found.members.as_deref(), Some(r#"{"a":1,"b":2}"#));
    drop(store);
    let (_store, recovered) = place.open();
    assert_eq!(recovered.interactions, vec![interaction(1)]);
    assert_eq!(recovered.ended, vec![]);
}

#[test]
fn erased_content_is_in_no_file_after_upkeep_and_what_is_not_over_is_untouched() {
    let place = Place::new();
    let mut store = place.store();
    let long = "x".repeat(9_000);
    keep(
        &mut store,
        vec![
            accept(interaction(1), r#"{"number":"+49-member-secret"}"#),
            take(record(1), &format!(r#"{{"n":"body-secret","l":"{long}"}}"#)),
            accept(interaction(2), r#"{"number":"stays-member"}"#),
            take(record(2), r#"{"n":"stays-body"}"#),
        ],
    );
    store.checkpoint("PASSIVE").unwrap();
    keep(
        &mut store,
        vec![
            Change::Interaction(ended(1, Wall(NOW.0 - 10))),
            Change::Record(RecordRow {
                last_error: Some("refused with 422: repeated-secret: and more".into()),
                ..delivered(1, Wall(NOW.0 - 10))
            }),
        ],
    );
    let erase = |before| Change::EraseBodies { before, limit: 10 };
    let erased = |fact| match fact {
        StoreFact::Committed { erased, .. } => erased,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        erased(commit(&mut store, vec![erase(Wall(NOW.0 - 10))])),
        0,
        "the instant itself is not before"
    );
    assert!(occurs(place.dir.path(), "body-secret"));
    assert_eq!(erased(commit(&mut store, vec![erase(NOW)])), 2);
    assert_eq!(erased(commit(&mut store, vec![erase(NOW)])), 0);
    while store.upkeep().unwrap() {}
    assert!(!store.upkeep_due());
    for gone in [
        "member-secret",
        "body-secret",
        "repeated-secret",
        &long[..200],
    ] {
        assert!(!occurs(place.dir.path(), gone), "{gone} is still there");
    }
    for stays in ["stays-member", "stays-body"] {
        assert!(occurs(place.dir.path(), stays), "{stays} is gone");
    }
    let mut reader = Reader::new(store.path());
    let record = reader.record(record_id(1)).unwrap().unwrap();
    assert_eq!((record.body, record.members), (None, None));
    assert_eq!(
        record.row,
        RecordRow {
            last_error: Some("refused with 422".into()),
            ..delivered(1, Wall(NOW.0 - 10))
        }
    );
    let interaction = reader.interaction(conversation(1)).unwrap().unwrap();
    assert_eq!(interaction.members, None);
}

#[test]
fn erasing_takes_at_most_its_limit_of_each_kind() {
    let place = Place::new();
    let mut store = place.store();
    let past = Wall(NOW.0 - 10);
    keep(
        &mut store,
        (0..5)
            .flat_map(|n| [accept(ended(n, past), "{}"), take(delivered(n, past), "{}")])
            .collect(),
    );
    let mut touched = vec![];
    for _ in 0..4 {
        match commit(
            &mut store,
            vec![Change::EraseBodies {
                before: NOW,
                limit: 2,
            }],
        ) {
            StoreFact::Committed { erased, .. } => touched.push(erased),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(touched, [4, 4, 2, 0]);
}

#[test]
fn purging_removes_what_is_over_and_keeps_records_as_long_as_their_interaction() {
    let place = Place::new();
    let mut store = place.store();
    let old = Wall(NOW.0 - 1_000);
    let discarded = RecordRow {
        state: RecordState::Discarded,
        ..record(5)
    };
    keep(
        &mut store,
        vec![
            // Live interaction with a record that is long over: both stay.
            accept(interaction(1), "{}"),
            take(delivered(1, old), "{}"),
            // Over, and its record not: both stay.
            accept(ended(2, old), "{}"),
            take(record(2), "{}"),
            // Over lately, its record long since: both stay.
            accept(ended(3, NOW), "{}"),
            take(delivered(3, old), "{}"),
            // Over, both: both go.
            accept(ended(4, old), "{}"),
            take(delivered(4, old), "{}"),
            // A record without an interaction in the database goes.
            take(delivered(6, old), "{}"),
        ],
    );
    // Discarded records carry no time of their own: the commit's counts.
    let at = |store: &mut Store, changes, now| {
        store.execute(StoreOrder::Commit { ticket: 1, changes }, now)
    };
    at(&mut store, vec![take(record(5), "{}")], old);
    at(&mut store, vec![Change::Record(discarded.clone())], old);
    let purge = Change::Purge {
        before: Wall(NOW.0 - 500),
        limit: 100,
    };
    assert_eq!(
        commit(&mut store, vec![purge.clone()]),
        StoreFact::Committed {
            ticket: 7,
            refused: vec![],
            outgrown: Vec::new(),
            erased: 4,
            purged_interactions: vec![(InteractionState::Finished, 1)],
            purged_records: vec![(RecordState::Delivered, 2), (RecordState::Discarded, 1)],
        }
    );
    let left: BTreeMap<u128, bool> = (1..=6)
        .map(|n| {
            let found = look_up(&mut store, Lookup::Record(record_id(n)));
            (n, found != Found::Record(None))
        })
        .collect();
    let stays: Vec<u128> = left
        .into_iter()
        .filter(|(_, s)| *s)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(stays, [1, 2, 3]);
    for n in [1, 2, 3] {
        assert_ne!(
            look_up(&mut store, Lookup::Interaction(conversation(n))),
            Found::Interaction(None, vec![])
        );
    }
}

#[test]
fn beyond_the_bound_the_oldest_that_nothing_was_filed_of_go_and_no_others() {
    let place = Place::new();
    let mut store = place.store();
    let stopped = |n: u128, at: i64| InteractionRow {
        state: InteractionState::Stopped,
        ..ended(n, Wall(at))
    };
    commit(
        &mut store,
        vec![
            // The oldest, but something was filed of it.
            accept(stopped(1, 100), "{}"),
            take(delivered(1, Wall(100)), "{}"),
            // Finished by the platform's word.
            accept(ended(2, Wall(110)), "{}"),
            accept(stopped(3, 300), "{}"),
            accept(stopped(4, 200), "{}"),
            accept(stopped(5, 400), "{}"),
            accept(interaction(6), "{}"),
        ],
    );
    let StoreFact::Committed {
        erased,
        purged_interactions,
        ..
    } = commit(&mut store, vec![Change::Shrink { rows: 2 }])
    else {
        panic!("not committed");
    };
    assert_eq!(erased, 2);
    assert_eq!(purged_interactions, [(InteractionState::Stopped, 2)]);
    let left: Vec<u128> = (1..=6)
        .filter(|n| {
            let found = look_up(&mut store, Lookup::Interaction(conversation(*n)));
            !matches!(found, Found::Interaction(None, _))
        })
        .collect();
    assert_eq!(left, [1, 2, 5, 6]);
}
