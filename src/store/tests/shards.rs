//! Rows of several shards in one database: whose they are, who may change them, and what becomes
//! of them when a shard goes.

use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};

use super::*;
use crate::shards::Claim;
use crate::thread::{Ask, spawn_shards};
use base::rows::{ChannelRow, DestinationRow};
use base::secret::Secret;

fn claim(name: &str, places: u64) -> Claim {
    Claim {
        name: name.into(),
        identity: format!("client of {name}"),
        places,
    }
}

fn three() -> [Claim; 3] {
    [claim(MAIN, 10), claim("second", 10), claim("third", 10)]
}

fn open(place: &Place, claims: &[Claim]) -> (Store, Vec<Recovered>) {
    Store::open_shards(&place.path(), OpenOptions { now: NOW }, claims).unwrap()
}

#[track_caller]
fn keep_for(store: &mut Store, shard: &str, changes: Vec<Change>) {
    let order = StoreOrder::Commit { ticket: 7, changes };
    match store.execute_for(shard, order, NOW) {
        StoreFact::Committed { refused, .. } if refused.is_empty() => {}
        other => panic!("not kept: {other:?}"),
    }
}

fn found_by(store: &mut Store, shard: &str, n: u128) -> (Option<InteractionRow>, Vec<RecordRow>) {
    let order = StoreOrder::Lookup {
        ticket: 3,
        what: vec![Lookup::Interaction(conversation(n))],
    };
    match store.execute_for(shard, order, NOW) {
        StoreFact::Looked { mut found, .. } => match found.remove(0) {
            Found::Interaction(row, records) => (row, records),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn channel(slot: u8, tail: &str) -> ChannelRow {
    ChannelRow {
        slot,
        id: Secret::new(format!("streaming-{tail}")),
        connect_uri: Secret::new(format!("wss://x/channels/streaming-{tail}")),
        created_at: NOW,
        expires_at: NOW,
        token_ends_at: NOW,
    }
}

fn ids(recovered: &Recovered) -> Vec<ConversationId> {
    let mut ids: Vec<ConversationId> = recovered
        .interactions
        .iter()
        .map(|row| row.conversation)
        .collect();
    ids.sort();
    ids
}

#[test]
fn each_shard_starts_from_its_own_rows_and_the_sum_is_all_of_them() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    for (n, shard) in [(1, MAIN), (2, "second"), (3, "second"), (4, "third")] {
        let changes = vec![accept(interaction(n), "{}"), take(record(n), "{}")];
        keep_for(&mut store, shard, changes);
    }
    keep_for(&mut store, "third", vec![accept(ended(5, NOW), "{}")]);
    for (shard, slots) in [("second", 3), (MAIN, 2), ("third", 3), ("second", 2)] {
        let rows = (1..=slots).map(|slot| channel(slot, &format!("{shard}-{slot}")));
        let order = StoreOrder::Channels {
            ticket: 9,
            rows: rows.collect(),
        };
        let kept = store.execute_for(shard, order, NOW);
        assert_eq!(kept, StoreFact::ChannelsKept { ticket: 9 });
    }
    let held = DestinationRow {
        held_until: Some(NOW),
        refused: Vec::new(),
    };
    keep_for(
        &mut store,
        "second",
        vec![Change::Destination(held.clone())],
    );
    drop(store);
    let (_store, all) = open(&place, &three());
    let own: Vec<Vec<ConversationId>> = all.iter().map(ids).collect();
    let expected = [vec![1], vec![2, 3], vec![4]];
    let expected: Vec<Vec<_>> = expected
        .iter()
        .map(|of| of.iter().map(|n| conversation(*n)).collect())
        .collect();
    assert_eq!(own, expected);
    let records: Vec<usize> = all.iter().map(|one| one.records.len()).collect();
    assert_eq!(records, [1, 2, 1]);
    let slots = |one: &Recovered| -> Vec<(u8, String)> {
        let of = |row: &ChannelRow| (row.slot, row.id.expose().to_owned());
        one.channels.iter().map(of).collect()
    };
    for (one, (shard, n)) in all.iter().zip([(MAIN, 2), ("second", 2), ("third", 3)]) {
        let expected: Vec<(u8, String)> = (1..=n)
            .map(|slot| (slot, format!("streaming-{shard}-{slot}")))
            .collect();
        assert_eq!(slots(one), expected);
    }
    let ended: Vec<Vec<(InteractionState, u64)>> = all.iter().map(|r| r.ended.clone()).collect();
    assert_eq!(
        ended,
        [vec![], vec![], vec![(InteractionState::Finished, 1)]]
    );
    assert_eq!(all[1].destination, held);
    assert_eq!(all[0].destination, DestinationRow::default());
}

#[test]
fn a_shard_changes_nothing_of_another_but_what_a_caller_said_is_kept() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    keep_for(
        &mut store,
        "second",
        vec![accept(interaction(1), r#"{"a":1}"#), take(record(1), "{}")],
    );
    let mut row = interaction(1);
    row.state = InteractionState::Watching;
    keep_for(&mut store, MAIN, vec![Change::Interaction(ended(1, NOW))]);
    keep_for(&mut store, MAIN, vec![accept(ended(1, NOW), r#"{"b":2}"#)]);
    keep_for(&mut store, MAIN, vec![Change::Record(delivered(1, NOW))]);
    let (found, records) = found_by(&mut store, "second", 1);
    assert_eq!(found.unwrap().state, InteractionState::Accepted);
    assert_eq!(records[0].state, RecordState::Queued);
    let mut reader = Reader::new(&place.path());
    let members = reader
        .interaction(conversation(1))
        .unwrap()
        .unwrap()
        .members;
    assert_eq!(members.as_deref(), Some(r#"{"a":1,"b":2}"#));
    assert_eq!(
        reader.shard_of(conversation(1)).unwrap(),
        Some(("second".to_owned(), true))
    );
    // Whoever files it is one, and for the other its wrap-up is known and done.
    let (_, records) = found_by(&mut store, MAIN, 1);
    assert_eq!(records[0].state, RecordState::Delivered);
    let again = StoreOrder::Commit {
        ticket: 7,
        changes: vec![take(record(1), "{}")],
    };
    match store.execute_for(MAIN, again, NOW) {
        StoreFact::Committed { refused, .. } => assert_eq!(refused, [0; 0]),
        other => panic!("{other:?}"),
    }
    let owner = reader.shard_of_record(record_id(1)).unwrap();
    assert_eq!(owner.as_deref(), Some("second"));
    // Once it is over, whoever starts it again has it.
    keep_for(
        &mut store,
        "second",
        vec![Change::Interaction(ended(1, NOW))],
    );
    keep_for(&mut store, "third", vec![accept(interaction(1), "{}")]);
    assert_eq!(
        reader.shard_of(conversation(1)).unwrap(),
        Some(("third".to_owned(), true))
    );
}

#[test]
fn each_shard_erases_and_removes_what_is_its_own() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    for (n, shard) in [(1, MAIN), (2, "second")] {
        let changes = vec![accept(ended(n, NOW), "{}"), take(delivered(n, NOW), "{}")];
        keep_for(&mut store, shard, changes);
    }
    let order = StoreOrder::Commit {
        ticket: 1,
        changes: vec![Change::Purge {
            before: Wall(NOW.0 + 1),
            limit: 10,
        }],
    };
    match store.execute_for("second", order, NOW) {
        StoreFact::Committed {
            purged_interactions,
            purged_records,
            ..
        } => {
            assert_eq!(purged_interactions, [(InteractionState::Finished, 1)]);
            assert_eq!(purged_records, [(RecordState::Delivered, 1)]);
        }
        other => panic!("{other:?}"),
    }
    assert!(found_by(&mut store, MAIN, 1).0.is_some());
    assert!(found_by(&mut store, "second", 2).0.is_none());
}

#[test]
fn conversations_of_a_shard_that_is_gone_go_to_those_with_room_and_their_records_with_them() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    for n in 1..=2 {
        keep_for(&mut store, MAIN, vec![accept(interaction(n), "{}")]);
    }
    for n in 10..16 {
        let changes = vec![accept(interaction(n), "{}"), take(record(n), "{}")];
        keep_for(&mut store, "third", changes);
    }
    keep_for(
        &mut store,
        "third",
        vec![accept(ended(20, NOW), "{}"), take(record(20), "{}")],
    );
    drop(store);
    let (store, all) = open(&place, &[claim(MAIN, 10), claim("second", 10)]);
    // Main has two of its own: with them each has four.
    assert_eq!((ids(&all[0]).len(), ids(&all[1]).len()), (4, 4));
    assert_eq!((all[0].records.len(), all[1].records.len()), (3, 4));
    drop(store);
    let (store, all) = open(&place, &[Claim::alone()]);
    assert_eq!((ids(&all[0]).len(), all[0].records.len()), (8, 7));
    drop(store);
    // As if there had never been others: no shard is known but the one.
    let (_, all) = open(&place, &[claim(MAIN, 10), claim("third", 10)]);
    assert_eq!((ids(&all[0]).len(), ids(&all[1]).len()), (8, 0));
}

#[test]
fn a_shard_with_another_name_is_refused_and_so_are_two_that_changed_places() {
    let place = Place::new();
    drop(open(&place, &three()));
    let renamed = |claims: &[Claim]| {
        let opened = Store::open_shards(&place.path(), OpenOptions { now: NOW }, claims);
        opened.map(|_| ()).unwrap_err()
    };
    let mut others = three();
    others[1].name = "other".into();
    let error = renamed(&others);
    assert_eq!(
        error,
        StoreError::Renamed {
            was: "second".into(),
            is: "other".into()
        }
    );
    assert_eq!(error.exit_code(), 78);
    let mut swapped = three();
    swapped[1].name = "third".into();
    swapped[2].name = "second".into();
    assert!(matches!(renamed(&swapped), StoreError::Renamed { .. }));
    // Another client under a known name is another client: its predecessor's channels go.
    let mut replaced = three();
    replaced[2].identity = "another".into();
    drop(open(&place, &replaced));
    // In earnest: once without it, then with the new name.
    drop(open(&place, &[replaced[0].clone(), replaced[2].clone()]));
    let mut others = replaced;
    others[1].name = "other".into();
    drop(open(&place, &others));
}

#[test]
fn live_conversations_are_given_away_at_once_and_what_finds_no_room_stays() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    for n in 1..=5 {
        let changes = vec![accept(interaction(n), "{}"), take(record(n), "{}")];
        keep_for(&mut store, "second", changes);
    }
    keep_for(&mut store, "second", vec![accept(ended(6, NOW), "{}")]);
    let room = [(MAIN.to_owned(), 3), ("third".to_owned(), 1)];
    let given = store.give_away("second", &room, NOW).unwrap();
    assert_eq!(given.len(), 4);
    assert_eq!(given.iter().filter(|(_, to)| to == MAIN).count(), 3);
    drop(store);
    let (_, all) = open(&place, &three());
    let live: Vec<usize> = all.iter().map(|one| one.interactions.len()).collect();
    assert_eq!(live, [3, 1, 1]);
    // The records are still the second's to file; the others know of them.
    let queued = |one: &Recovered| {
        let state = |record: &&RecordRow| record.state == RecordState::Queued;
        one.records.iter().filter(state).count()
    };
    let all_queued: Vec<usize> = all.iter().map(queued).collect();
    assert_eq!(all_queued, [0, 5, 0]);
    assert_eq!((all[0].records.len(), all[2].records.len()), (3, 1));
}

#[test]
fn commits_that_wait_together_are_one_and_each_shard_keeps_its_order() {
    let place = Place::new();
    let (store, _) = open(&place, &three());
    let names: Vec<String> = three().map(|claim| claim.name).to_vec();
    let (orders, taken) = bounded(16);
    let (facts, heard) = unbounded();
    let rev = |path: &Path| -> i64 {
        let conn = Connection::open(path).unwrap();
        let read = conn.query_row("SELECT rev FROM pulse", [], |r| r.get(0));
        read.unwrap()
    };
    let before = rev(&place.path());
    let commit = |shard: usize, n: u128| {
        let changes = vec![accept(interaction(n), "{}")];
        let ticket = u64::try_from(n).unwrap();
        Ask::Order(shard, StoreOrder::Commit { ticket, changes })
    };
    let look = |shard: usize, n: u128| {
        let what = vec![Lookup::Interaction(conversation(n))];
        let ticket = u64::try_from(n).unwrap();
        Ask::Order(shard, StoreOrder::Lookup { ticket, what })
    };
    // All of it waits before the thread begins. The third looks before it commits.
    for ask in [
        commit(0, 1),
        look(2, 3),
        commit(1, 2),
        commit(2, 3),
        look(1, 2),
    ] {
        orders.send(ask).unwrap();
    }
    let thread = spawn_shards(
        store,
        names,
        taken,
        move |shard, fact| facts.send((shard, fact)).unwrap(),
        |_| {},
    )
    .unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (shard, fact) = heard.recv_timeout(Duration::from_secs(10)).unwrap();
        seen.push(match fact {
            StoreFact::Committed { ticket, .. } => (shard, ticket, None),
            StoreFact::Looked { ticket, found } => {
                let there = matches!(&found[0], Found::Interaction(Some(_), _));
                (shard, ticket, Some(there))
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        seen,
        [
            (0, 1, None),
            (1, 2, None),
            (2, 3, Some(false)),
            (2, 3, None),
            (1, 2, Some(true))
        ]
    );
    assert_eq!(rev(&place.path()) - before, 2, "two transactions for three");
    drop(orders);
    thread.join().unwrap();
}

#[test]
fn rows_of_the_versions_before_are_those_of_the_first_shard() {
    let place = Place::new();
    let (mut store, _) = place.open();
    keep(
        &mut store,
        vec![accept(interaction(1), "{}"), take(record(1), "{}")],
    );
    let rows = vec![channel(1, "one"), channel(20, "twenty")];
    store.execute(StoreOrder::Channels { ticket: 1, rows }, NOW);
    // Without the columns, as those versions wrote it.
    store
        .conn
        .execute_batch(
            "DROP INDEX channel_place;
            ALTER TABLE interaction DROP COLUMN shard; ALTER TABLE record DROP COLUMN shard;
            ALTER TABLE channel DROP COLUMN place; ALTER TABLE channel DROP COLUMN shard;
            PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(store);
    let (store, all) = open(&place, &three());
    assert_eq!((all[0].interactions.len(), all[0].records.len()), (1, 1));
    let slots: Vec<u8> = all[0].channels.iter().map(|row| row.slot).collect();
    assert_eq!(slots, [1, 20]);
    assert!(all[1].interactions.is_empty() && all[1].channels.is_empty());
    assert_eq!(
        schema::integer(&store.conn, "user_version").unwrap(),
        schema::KNOWN_VERSION
    );
}

#[test]
fn a_damaged_database_is_carried_over_with_whose_each_row_is() {
    let place = Place::new();
    let (mut store, _) = open(&place, &three());
    for (n, shard) in [(1, MAIN), (2, "second"), (3, "third")] {
        let changes = vec![accept(interaction(n), "{}"), take(record(n), "{}")];
        keep_for(&mut store, shard, changes);
        let rows = vec![channel(1, shard)];
        store.execute_for(shard, StoreOrder::Channels { ticket: 1, rows }, NOW);
    }
    store.close(NOW).unwrap();
    // The header is gone: nothing but the pages tells.
    let mut bytes = std::fs::read(place.path()).unwrap();
    bytes[..100].fill(0);
    std::fs::write(place.path(), bytes).unwrap();
    let (store, all) = open(&place, &three());
    assert!(store.salvaged().is_some());
    for (n, one) in (1u128..).zip(&all) {
        assert_eq!(ids(one), [conversation(n)]);
        assert_eq!((one.records.len(), one.channels.len()), (1, 1));
    }
    drop(store);
    // The notes are written anew: one that goes now is known.
    let (_, all) = open(&place, &[claim(MAIN, 10), claim("third", 10)]);
    assert_eq!(ids(&all[0]).len() + ids(&all[1]).len(), 3);
}
