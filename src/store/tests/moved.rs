//! Files that are taken away from under the open database: nothing is committed to them any
//! more, and what was committed is put back.

use std::fs;

use super::*;

/// A store with a checkpointed interaction, and one that is only in the log.
fn filled() -> (Place, Store) {
    let place = Place::new();
    let mut store = place.store();
    keep(&mut store, vec![accept(interaction(1), r#"{"n":1}"#)]);
    store.close(NOW).unwrap();
    let mut store = place.store();
    keep(
        &mut store,
        vec![
            accept(interaction(2), r#"{"n":2}"#),
            take(record(2), r#"{"code":"done"}"#),
        ],
    );
    (place, store)
}

#[track_caller]
fn commits_nothing_more(store: &mut Store) {
    assert!(store.moved());
    let fact = commit(store, vec![accept(interaction(3), "{}")]);
    let StoreFact::CommitFailed { trouble, .. } = fact else {
        panic!("committed to a file that no name leads to");
    };
    assert_eq!(trouble, StoreTrouble::Moved);
    assert_eq!(store.alive(NOW), Err(StoreTrouble::Moved));
}

#[track_caller]
fn holds_what_was_committed(store: &Store, recovered: &Recovered) {
    let mut ids: Vec<_> = recovered
        .interactions
        .iter()
        .map(|i| i.conversation)
        .collect();
    ids.sort();
    assert_eq!(ids, [conversation(1), conversation(2)]);
    assert_eq!(recovered.damaged, None);
    let mut reader = Reader::new(store.path());
    let stored = reader.record(record_id(2)).unwrap().unwrap();
    assert_eq!(stored.body.as_deref(), Some(r#"{"code":"done"}"#));
    assert_eq!(stored.members.as_deref(), Some(r#"{"n":2}"#));
}

fn modes(place: &Place) -> Vec<u32> {
    use std::os::unix::fs::PermissionsExt;
    let names = place.files().into_iter().filter(|n| !n.ends_with(".lock"));
    names
        .map(|n| fs::metadata(place.dir.path().join(n)).unwrap())
        .map(|m| m.permissions().mode() & 0o777)
        .collect()
}

#[test]
fn a_file_that_was_removed_is_put_back_with_what_was_only_in_its_log() {
    for gone in [&["gateway.db"][..], &["gateway.db", "gateway.db-wal"]] {
        let (place, mut store) = filled();
        assert!(!store.moved());
        for name in gone {
            fs::remove_file(place.dir.path().join(name)).unwrap();
        }
        commits_nothing_more(&mut store);
        assert_eq!(store.put_back(NOW).unwrap(), place.path());
        // Again is nothing more, and this connection stays of no use.
        assert_eq!(store.put_back(NOW).unwrap(), place.path());
        commits_nothing_more(&mut store);
        assert_eq!(modes(&place), [0o600]);
        store.abandon();
        assert_eq!(place.files(), ["gateway.db", "gateway.db.lock"]);

        let (mut store, recovered) = place.open();
        holds_what_was_committed(&store, &recovered);
        keep(&mut store, vec![accept(interaction(3), "{}")]);
        let setting = schema::integer(&store.conn, "auto_vacuum").unwrap();
        assert_eq!(setting, 2, "free pages are still given back");
    }
}

#[test]
fn a_log_that_was_removed_takes_nothing_with_it() {
    let (place, mut store) = filled();
    fs::remove_file(place.dir.path().join("gateway.db-wal")).unwrap();
    commits_nothing_more(&mut store);
    assert_eq!(store.put_back(NOW).unwrap(), place.path());
    store.abandon();
    let (store, recovered) = place.open();
    holds_what_was_committed(&store, &recovered);
}

#[test]
fn a_file_of_somebody_else_in_its_place_is_left_alone() {
    let (place, mut store) = filled();
    let theirs = place.dir.path().join("restored");
    fs::write(&theirs, "theirs").unwrap();
    fs::rename(&theirs, place.path()).unwrap();
    commits_nothing_more(&mut store);
    let kept = store.put_back(NOW).unwrap().to_path_buf();
    let name = "gateway.db.moved-2026-09-21T141320Z";
    assert_eq!(kept, place.dir.path().join(name));
    store.abandon();
    assert_eq!(fs::read(place.path()).unwrap(), b"theirs");
    // Nor is our log replayed over it.
    assert!(!files::wal_of(&place.path()).exists());

    fs::rename(&kept, place.path()).unwrap();
    let (store, recovered) = place.open();
    holds_what_was_committed(&store, &recovered);
}

#[test]
fn putting_back_that_was_cut_short_is_mended_at_the_next_start() {
    let (place, mut store) = filled();
    fs::remove_file(place.path()).unwrap();
    store.put_back(NOW).unwrap();
    store.abandon();
    // As if it had ended before the last rename.
    fs::rename(place.path(), files::salvage_of(&place.path())).unwrap();
    let (store, recovered) = place.open();
    holds_what_was_committed(&store, &recovered);
    assert!(!files::salvage_of(&place.path()).exists());
}

#[test]
fn what_cannot_be_put_back_stays_with_the_open_file_until_it_can() {
    let (place, mut store) = filled();
    let elsewhere = place.dir.path().with_extension("elsewhere");
    fs::rename(place.dir.path(), &elsewhere).unwrap();
    commits_nothing_more(&mut store);
    assert!(store.put_back(NOW).is_err());
    // The directory comes back, and so do the names: nothing has happened.
    fs::rename(&elsewhere, place.dir.path()).unwrap();
    assert!(!store.moved());
    keep(&mut store, vec![accept(interaction(3), "{}")]);
}
