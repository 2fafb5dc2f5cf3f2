//! What the environment, an operator or a second process does to the store.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::inspect::{Counts, ShapeRow, open_inspect};
use base::ages::ByAge;
use base::blame::Blame;

fn fails(fact: StoreFact) -> StoreTrouble {
    match fact {
        StoreFact::CommitFailed { ticket: 7, trouble } => trouble,
        other => panic!("it did not fail: {other:?}"),
    }
}

fn refusal(place: &Place) -> StoreError {
    match Store::open(&place.path(), OpenOptions { now: NOW }) {
        Ok(_) => panic!("it was opened"),
        Err(e) => e,
    }
}

#[test]
fn a_second_instance_is_turned_away_until_the_first_is_gone() {
    let place = Place::new();
    let store = place.store();
    let error = refusal(&place);
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!((error.exit_code(), error.blame()), (75, Blame::Operator));
    // Another name for the same file has the same lock.
    let link = place.dir.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let through_link = Store::open(&link, OpenOptions { now: NOW });
    assert!(matches!(through_link, Err(StoreError::InUse { .. })));
    store.close(NOW).unwrap();
    place.store();
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let place = Place::new();
    let store = place.store();
    schema::set(&store.conn, "user_version", "99").unwrap();
    store.close(NOW).unwrap();
    let before = fs::read(place.path()).unwrap();
    let error = refusal(&place);
    assert_eq!(
        error,
        StoreError::Newer {
            path: fs::canonicalize(place.path()).unwrap(),
            found: 99,
            known: schema::KNOWN_VERSION
        }
    );
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("schema version 99"), "{error}");
    assert!(fs::read(place.path()).unwrap() == before);
    assert!(matches!(
        open_inspect(&place.path()),
        Err(StoreError::Newer { found: 99, .. })
    ));
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let place = Place::new();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    let before = fs::read(place.path()).unwrap();
    let error = refusal(&place);
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(fs::read(place.path()).unwrap() == before);
}

#[test]
fn a_missing_directory_is_the_configurations_fault() {
    let error = Store::open(
        Path::new("/nonexistent-directory/gateway.db"),
        OpenOptions { now: NOW },
    )
    .unwrap_err();
    assert!(matches!(error, StoreError::NoDirectory { .. }), "{error}");
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn a_file_that_may_not_be_written_ends_with_77() {
    let place = Place::new();
    place.store().close(NOW).unwrap();
    if rustix::process::geteuid().is_root() {
        // No permission stops root; a directory in the place of the lock file does.
        fs::remove_file(place.dir.path().join("gateway.db.lock")).unwrap();
        fs::create_dir(place.dir.path().join("gateway.db.lock")).unwrap();
        assert!(matches!(refusal(&place), StoreError::Trouble { .. }));
        return;
    }
    fs::set_permissions(place.path(), Permissions::from_mode(0o400)).unwrap();
    let error = refusal(&place);
    assert!(matches!(error, StoreError::NotAllowed { .. }), "{error}");
    assert_eq!(error.exit_code(), 77);
}

#[test]
fn a_database_that_turns_read_only_fails_commits_and_still_answers() {
    let place = Place::new();
    let mut store = place.store();
    keep(&mut store, vec![accept(interaction(1), "{}")]);
    schema::set(&store.conn, "query_only", "ON").unwrap();
    assert_eq!(
        fails(commit(&mut store, vec![accept(interaction(2), "{}")])),
        StoreTrouble::ReadOnly
    );
    assert_ne!(
        look_up(&mut store, Lookup::Interaction(conversation(1))),
        Found::Interaction(None, vec![])
    );
    schema::set(&store.conn, "query_only", "OFF").unwrap();
    keep(&mut store, vec![accept(interaction(2), "{}")]);
}

#[test]
fn every_file_is_for_its_owner_alone_whatever_the_umask_was() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o666)).unwrap();
    let mut store = place.store();
    keep(&mut store, vec![accept(interaction(1), "{}")]);
    assert_eq!(
        place.files(),
        [
            "gateway.db",
            "gateway.db-shm",
            "gateway.db-wal",
            "gateway.db.lock"
        ]
    );
    for name in place.files() {
        let mode = fs::metadata(place.dir.path().join(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_file_is_set_up_for_durability_erasure_and_shrinking() {
    let place = Place::new();
    let store = place.store();
    let read = |pragma| schema::integer(&store.conn, pragma).unwrap();
    assert_eq!(read("synchronous"), 2, "FULL");
    assert_eq!(read("secure_delete"), 1);
    assert_eq!(read("auto_vacuum"), 2, "incremental");
    assert_eq!(read("page_size"), 4096);
    assert_eq!(read("user_version"), schema::KNOWN_VERSION);
    let mode: String = store
        .conn
        .query_row("PRAGMA journal_mode", [], |r| r.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_full_disk_keeps_nothing_of_a_batch_and_the_store_goes_on_when_there_is_space() {
    let place = Place::new();
    let mut store = place.store();
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(3_000));
    keep(&mut store, vec![take(record(0), &big)]);
    let pages = schema::integer(&store.conn, "page_count").unwrap();
    schema::set(&store.conn, "max_page_count", &(pages + 20).to_string()).unwrap();
    let batch = |from: u128| (from..from + 8).map(|n| take(record(n), &big)).collect();
    let mut kept: Vec<u128> = vec![0];
    let mut from = 1;
    let trouble = loop {
        assert!(from < 100, "the disk is never full");
        match commit(&mut store, batch(from)) {
            StoreFact::Committed { .. } => kept.extend(from..from + 8),
            other => break fails(other),
        }
        from += 8;
    };
    assert_eq!(trouble, StoreTrouble::Full);
    assert!(kept.len() > 1, "some fitted");
    for n in from..from + 8 {
        assert_eq!(
            look_up(&mut store, Lookup::Record(record_id(n))),
            Found::Record(None),
            "nothing of the batch is kept"
        );
    }
    // What needs no space still works: a record that was filed is marked so.
    keep(&mut store, vec![Change::Record(delivered(0, NOW))]);
    schema::set(&store.conn, "max_page_count", "100000").unwrap();
    keep(&mut store, batch(from));
    kept.extend(from..from + 8);
    drop(store);
    let (mut store, recovered) = place.open();
    assert_eq!(recovered.damaged, None);
    for n in kept {
        assert_ne!(
            look_up(&mut store, Lookup::Record(record_id(n))),
            Found::Record(None)
        );
    }
}

#[test]
fn another_writer_makes_it_busy_and_nothing_else() {
    let place = Place::new();
    let mut store = place.store();
    store
        .conn
        .busy_timeout(std::time::Duration::from_millis(20))
        .unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        fails(commit(&mut store, vec![accept(interaction(1), "{}")])),
        StoreTrouble::Busy
    );
    other.execute_batch("ROLLBACK").unwrap();
    keep(&mut store, vec![accept(interaction(1), "{}")]);
}

#[test]
fn the_file_shrinks_after_a_backlog_in_small_steps() {
    let place = Place::new();
    let mut store = place.store();
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(9_000));
    let old = Wall(NOW.0 - 1_000);
    for from in (0..1_200).step_by(300) {
        keep(
            &mut store,
            (from..from + 300)
                .map(|n| take(delivered(n, old), &big))
                .collect(),
        );
    }
    store.cut_log().unwrap();
    let size = || fs::metadata(place.path()).unwrap().len();
    let full = size();
    assert!(full > 11_000_000, "{full}");
    let mut touched = 0;
    loop {
        let purge = Change::Purge {
            before: NOW,
            limit: 500,
        };
        match commit(&mut store, vec![purge]) {
            StoreFact::Committed { erased: 0, .. } => break,
            StoreFact::Committed { erased, .. } => touched += erased,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(touched, 1_200);
    let mut steps = 0;
    while store.upkeep().unwrap() {
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
    let kept = 4096 * (schema::FREE_PAGES_KEPT + VACUUM_STEP_PAGES + 20);
    assert!(size() < kept as u64, "{} of {full}", size());
    assert_eq!(fs::metadata(files::wal_of(&place.path())).unwrap().len(), 0);
    assert!(matches!(open::look(&place.path()), Ok(Looked::Sound(_))));
}

#[test]
fn a_reader_holds_up_the_cutting_of_the_log_and_nothing_else() {
    let place = Place::new();
    let mut store = place.store();
    let past = Wall(NOW.0 - 1);
    keep(
        &mut store,
        vec![take(delivered(1, past), r#"{"s":"erase-me"}"#)],
    );
    let reader = Connection::open(place.path()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader
        .query_row("SELECT count(*) FROM record", [], |_| Ok(()))
        .unwrap();
    commit(
        &mut store,
        vec![Change::EraseBodies {
            before: NOW,
            limit: 1,
        }],
    );
    assert_eq!(store.upkeep(), Ok(false));
    assert!(store.upkeep_due());
    keep(&mut store, vec![accept(interaction(2), "{}")]);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(store.upkeep(), Ok(false));
    assert!(!store.upkeep_due());
    assert!(!occurs(place.dir.path(), "erase-me"));
}

#[test]
fn the_heartbeat_is_written_with_commits_and_alone() {
    let place = Place::new();
    let (mut store, recovered) = place.open();
    assert_eq!(recovered.last_alive, None, "never ran before");
    store.alive(Wall(NOW.0 + 5)).unwrap();
    drop(store);
    let (mut store, recovered) = place.open();
    assert_eq!(recovered.last_alive, Some(Wall(NOW.0 + 5)));
    let order = StoreOrder::Commit {
        ticket: 1,
        changes: vec![],
    };
    store.execute(order, Wall(NOW.0 + 6));
    drop(store);
    let (store, recovered) = place.open();
    assert_eq!(recovered.last_alive, Some(Wall(NOW.0 + 6)));
    store.close(Wall(NOW.0 + 9)).unwrap();
    assert_eq!(place.open().1.last_alive, Some(Wall(NOW.0 + 9)));
}

#[test]
fn a_reader_starts_over_after_an_error() {
    let place = Place::new();
    let mut reader = Reader::new(&place.path());
    assert!(matches!(
        reader.record(record_id(1)),
        Err(StoreError::Missing { .. })
    ));
    let mut store = place.store();
    keep(
        &mut store,
        vec![take(record(1), "{}"), take(delivered(2, NOW), "{}")],
    );
    assert!(reader.record(record_id(1)).unwrap().is_some());
    let queued = reader.records(Some(RecordState::Queued), 10).unwrap();
    assert_eq!(queued, vec![record(1)]);
    let oldest = reader.records(None, 1).unwrap();
    assert_eq!(oldest, vec![record(1)]);
}

#[test]
fn inspection_needs_no_lock_and_counts_by_state_and_age() {
    let place = Place::new();
    assert!(matches!(
        open_inspect(&place.path()),
        Err(StoreError::Missing { .. })
    ));
    let mut store = place.store();
    let at = |n, ms: i64| RecordRow {
        received_at: Wall(NOW.0 - ms),
        ..record(n)
    };
    keep(
        &mut store,
        vec![
            accept(interaction(1), r#"{"a":1}"#),
            accept(ended(2, NOW), "{}"),
            take(at(1, 60_000), r#"{"b":2}"#),
            take(at(2, 60_001), "{}"),
            take(at(3, 90_000_000), "{}"),
            take(delivered(4, NOW), "{}"),
            // A clock that was moved back makes no age, and no panic.
            take(at(5, -5_000), "{}"),
        ],
    );
    let inspect = open_inspect(&place.path()).unwrap();
    assert_eq!(inspect.remark(), None);
    assert_eq!(
        inspect.counts().unwrap(),
        Counts {
            interactions: vec![
                (InteractionState::Accepted, 1),
                (InteractionState::Finished, 1)
            ],
            records: vec![(RecordState::Queued, 4), (RecordState::Delivered, 1)],
        }
    );
    assert_eq!(
        inspect.shape(NOW).unwrap(),
        vec![
            ShapeRow {
                state: RecordState::Queued,
                by_age: ByAge([2, 1, 0, 0, 0, 1])
            },
            ShapeRow {
                state: RecordState::Delivered,
                by_age: ByAge([1, 0, 0, 0, 0, 0])
            },
        ]
    );
    assert_eq!(inspect.records(Some("delivered"), 9).unwrap().len(), 1);
    assert_eq!(inspect.records(None, 3).unwrap().len(), 3);
    let found = inspect.record(record_id(1)).unwrap().unwrap();
    assert_eq!(found.body.as_deref(), Some(r#"{"b":2}"#));
    assert_eq!(found.members.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(inspect.damaged().unwrap(), None);
    // It sees what is committed meanwhile, and goes on without the gateway.
    keep(&mut store, vec![Change::Record(delivered(1, NOW))]);
    assert_eq!(inspect.records(Some("delivered"), 9).unwrap().len(), 2);
    store.close(NOW).unwrap();
    assert_eq!(inspect.records(Some("delivered"), 9).unwrap().len(), 2);
}

#[test]
fn a_database_of_the_first_version_is_read_as_it_is_and_migrated_at_the_start() {
    let place = Place::new();
    let mut store = place.store();
    let row = RecordRow {
        attempts: 3,
        patience_used: std::time::Duration::from_secs(7),
        ..record(1)
    };
    keep(&mut store, vec![take(row.clone(), "{}")]);
    let back = "DROP INDEX channel_place;
        ALTER TABLE interaction DROP COLUMN shard;
        ALTER TABLE channel DROP COLUMN place; ALTER TABLE channel DROP COLUMN shard;
        ALTER TABLE record DROP COLUMN shard; ALTER TABLE record DROP COLUMN patience_used";
    store.conn.execute_batch(back).unwrap();
    schema::set(&store.conn, "user_version", "1").unwrap();
    drop(store);
    let seen = open_inspect(&place.path())
        .unwrap()
        .records(None, 9)
        .unwrap();
    let unused = RecordRow {
        patience_used: std::time::Duration::ZERO,
        ..row
    };
    assert_eq!(seen, std::slice::from_ref(&unused));
    let (store, recovered) = place.open();
    assert_eq!(recovered.records, [unused]);
    let version = schema::integer(&store.conn, "user_version").unwrap();
    assert_eq!(version, schema::KNOWN_VERSION);
}
