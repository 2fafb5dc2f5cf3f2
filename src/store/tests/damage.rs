//! Damaged files: what is readable goes on, and the damaged file is kept.

use std::fs::{self, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;

use super::*;
use crate::schema::PAGE_BYTES;

const N: u128 = 300;

/// A checkpointed database of `N` interactions with a record each; every tenth body is long.
fn filled() -> Place {
    let place = Place::new();
    let mut store = place.store();
    fill(&mut store, 0..N);
    store.close(NOW).unwrap();
    place
}

fn body(n: u128) -> String {
    let filler = "y".repeat(if n.is_multiple_of(10) { 10_000 } else { 300 });
    format!(r#"{{"n":{n},"filler":"{filler}"}}"#)
}

fn members(n: u128) -> String {
    format!(r#"{{"customer":{n}}}"#)
}

fn fill(store: &mut Store, which: std::ops::Range<u128>) {
    for n in which {
        keep(
            store,
            vec![
                accept(interaction(n), &members(n)),
                take(record(n), &body(n)),
            ],
        );
    }
}

fn overwrite(path: &Path, page: u64, bytes: &[u8]) {
    let file = FileOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, page * PAGE_BYTES as u64).unwrap();
}

fn page_kinds(path: &Path) -> Vec<u8> {
    let mut kinds: Vec<u8> = fs::read(path)
        .unwrap()
        .chunks(PAGE_BYTES)
        .map(|p| p[0])
        .collect();
    kinds[0] = 0;
    kinds
}

/// Opens a damaged database; what is left must be exact, and the old file kept.
#[track_caller]
fn carried_over(place: &Place) -> (Store, Recovered) {
    let before = fs::read(place.path()).unwrap_or_default();
    let (store, recovered) = place.open();
    let kept = recovered.damaged.clone().expect("the damage is noted");
    assert_eq!(
        kept,
        format!("{}.damaged-2026-09-21T141320Z", place.path().display())
    );
    assert!(
        fs::read(&kept).unwrap() == before,
        "the damaged file is kept byte for byte"
    );
    assert_eq!(store.salvaged().unwrap().kept, Path::new(&kept));
    let mut reader = Reader::new(store.path());
    for row in &recovered.records {
        let n = row.record.0.as_u128() & 0xffff;
        assert_eq!(*row, record(n));
        let stored = reader.record(row.record).unwrap().unwrap();
        if let Some(text) = &stored.body {
            assert_eq!(*text, body(n));
        }
        if let Some(text) = &stored.members {
            assert_eq!(*text, members(n));
        }
    }
    (store, recovered)
}

fn bodies(store: &Store, recovered: &Recovered) -> usize {
    let mut reader = Reader::new(store.path());
    recovered
        .records
        .iter()
        .filter(|r| reader.record(r.record).unwrap().unwrap().body.is_some())
        .count()
}

#[test]
fn a_garbage_header_costs_no_row() {
    let place = filled();
    overwrite(&place.path(), 0, &[0xa5; PAGE_BYTES]);
    let (store, recovered) = carried_over(&place);
    assert_eq!(recovered.interactions.len(), N as usize);
    assert_eq!(recovered.records.len(), N as usize);
    assert_eq!(bodies(&store, &recovered), N as usize);
    assert_eq!(recovered.last_alive, Some(NOW));
    let salvaged = store.salvaged().unwrap();
    assert_eq!((salvaged.revived, salvaged.unreadable), (0, 0));
    // The first page is the root of the list of tables.
    assert_eq!(salvaged.lost_pages, 1);
}

#[test]
fn overwritten_inner_pages_cost_no_row() {
    let place = filled();
    let kinds = page_kinds(&place.path());
    // Every inner page of a table or an index; page 2 is the pointer map.
    let inner = (2..kinds.len()).filter(|i| [0x02, 0x05].contains(&kinds[*i]));
    assert!(inner.clone().count() > 1);
    for page in inner {
        overwrite(&place.path(), page as u64, &[0xff; PAGE_BYTES]);
    }
    let (_store, recovered) = carried_over(&place);
    assert_eq!(recovered.interactions.len(), N as usize);
    assert_eq!(recovered.records.len(), N as usize);
}

#[test]
fn overwritten_leaves_cost_only_their_own_rows_and_lost_interactions_start_again() {
    let place = filled();
    let kinds = page_kinds(&place.path());
    let leaves: Vec<usize> = (0..kinds.len()).filter(|i| kinds[*i] == 0x0d).collect();
    let mut rng = base::rng::Rng::new(3);
    let mut garbage = [0; PAGE_BYTES];
    for page in leaves.iter().skip(8).step_by(9) {
        garbage.fill_with(|| rng.next_u64() as u8);
        overwrite(&place.path(), *page as u64, &garbage);
    }
    let (store, recovered) = carried_over(&place);
    let salvaged = store.salvaged().unwrap();
    let (i, r) = (recovered.interactions.len(), recovered.records.len());
    assert!((200..300).contains(&r), "{r} records");
    assert!(salvaged.revived > 0, "{salvaged:?}");
    assert_eq!(salvaged.interactions + salvaged.revived, i as u64);
    for row in &recovered.records {
        let conversation = row.conversation.unwrap();
        assert!(
            recovered
                .interactions
                .iter()
                .any(|i| i.conversation == conversation),
            "{conversation} is watched again"
        );
    }
    for row in &recovered.interactions {
        if row.last_event_at.is_some() {
            assert_eq!(row.state, InteractionState::Accepted);
        } else {
            let n = row.conversation.0.as_u128() & 0xffff;
            assert_eq!(*row, interaction(n));
        }
    }
}

#[test]
fn overwritten_overflow_pages_cost_the_body_and_not_the_record() {
    let place = filled();
    let bytes = fs::read(place.path()).unwrap();
    let overflow: Vec<usize> = bytes
        .chunks(PAGE_BYTES)
        .enumerate()
        .filter(|(_, p)| p[0] == 0 && p[100..200] == [b'y'; 100])
        .map(|(i, _)| i)
        .collect();
    assert!(overflow.len() >= 60, "{} overflow pages", overflow.len());
    for (i, page) in overflow.iter().enumerate().step_by(4) {
        let filler = [0, 0xee][i / 4 % 2];
        overwrite(&place.path(), *page as u64, &[filler; PAGE_BYTES]);
    }
    // Only broken links are found by the check, and some of these pages have none.
    let (store, recovered) = carried_over(&place);
    assert_eq!(recovered.records.len(), N as usize);
    let left = bodies(&store, &recovered);
    assert!((270..295).contains(&left), "{left} bodies");
    assert_eq!(store.salvaged().unwrap().bodiless, N as u64 - left as u64);
}

#[test]
fn a_truncated_file_keeps_the_rows_before_the_cut() {
    let place = filled();
    let size = fs::metadata(place.path()).unwrap().len();
    FileOptions::new()
        .write(true)
        .open(place.path())
        .unwrap()
        .set_len(size / 2 + 700)
        .unwrap();
    let (_store, recovered) = carried_over(&place);
    let r = recovered.records.len();
    assert!((100..N as usize).contains(&r), "{r} records");
}

#[test]
fn commits_that_are_only_in_the_log_are_carried_over_too() {
    let place = Place::new();
    let mut store = place.store();
    fill(&mut store, 0..N / 2);
    store.checkpoint("TRUNCATE").unwrap();
    schema::set(&store.conn, "wal_autocheckpoint", "0").unwrap();
    fill(&mut store, N / 2..N);
    // As a kill leaves it: copied while the log is full.
    let crashed = Place::new();
    for name in place.files() {
        if !name.ends_with(".lock") && !name.ends_with("-shm") {
            fs::copy(place.dir.path().join(&name), crashed.dir.path().join(&name)).unwrap();
        }
    }
    // The log heals what it holds a newer copy of, such as the header; not every index page.
    overwrite(&crashed.path(), 0, &[0; 64]);
    for (page, kind) in page_kinds(&crashed.path()).iter().enumerate() {
        if *kind == 0x0a {
            overwrite(&crashed.path(), page as u64, &[0; PAGE_BYTES]);
        }
    }
    let (_store, recovered) = carried_over(&crashed);
    assert_eq!(recovered.interactions.len(), N as usize);
    assert_eq!(recovered.records.len(), N as usize);
    assert!(
        crashed
            .files()
            .contains(&"gateway.db.damaged-2026-09-21T141320Z-wal".to_owned())
    );
    // An empty file with a full log is not a new database.
    let emptied = Place::new();
    fs::copy(
        place.dir.path().join("gateway.db-wal"),
        emptied.dir.path().join("gateway.db-wal"),
    )
    .unwrap();
    fs::write(emptied.path(), "").unwrap();
    let (_store, recovered) = carried_over(&emptied);
    let r = recovered.records.len();
    assert!((N as usize / 2..N as usize).contains(&r), "{r} records");
}

#[test]
fn a_file_that_is_no_database_at_all_is_kept_and_replaced() {
    let place = Place::new();
    fs::write(
        place.path(),
        "not a database, but long enough to look at ".repeat(400),
    )
    .unwrap();
    let (mut store, recovered) = carried_over(&place);
    assert_eq!(recovered.interactions, vec![]);
    keep(&mut store, vec![accept(interaction(1), "{}")]);
}

#[test]
fn the_damage_is_remembered_until_it_is_acknowledged() {
    let damaged = || {
        let place = filled();
        overwrite(&place.path(), 0, &[1; 100]);
        let (store, recovered) = place.open();
        assert!(recovered.damaged.is_some());
        drop(store);
        let (store, recovered) = place.open();
        assert!(recovered.damaged.is_some(), "still");
        assert!(store.salvaged().is_none(), "carried over once");
        (place, store, recovered.damaged.unwrap())
    };
    let (place, mut store, _) = damaged();
    store.acknowledge().unwrap();
    drop(store);
    assert_eq!(place.open().1.damaged, None);

    let (place, store, _) = damaged();
    acknowledge(&place.path()).unwrap();
    drop(store);
    assert_eq!(place.open().1.damaged, None);

    let (place, store, kept) = damaged();
    drop(store);
    fs::remove_file(kept).unwrap();
    assert_eq!(
        place.open().1.damaged,
        None,
        "whoever removed it has seen it"
    );
}

#[test]
fn a_carrying_over_that_was_interrupted_anywhere_is_finished() {
    // Before anything was moved: a complete new file beside the damaged one.
    let place = filled();
    overwrite(&place.path(), 0, &[1; 100]);
    let ready = files::beside(&place.path(), ".salvage");
    fs::write(&ready, "stale").unwrap();
    fs::write(files::beside(&place.path(), ".salvage-part"), "stale").unwrap();
    let (store, recovered) = carried_over(&place);
    assert_eq!(recovered.records.len(), N as usize);
    drop(store);

    // After the damaged file was moved: the new one takes its place, the old log does not.
    fs::rename(place.path(), &ready).unwrap();
    fs::write(files::wal_of(&place.path()), "old log").unwrap();
    let (_store, recovered) = place.open();
    assert_eq!(recovered.records.len(), N as usize);
    let kept = PathBuf::from(recovered.damaged.unwrap());
    assert_eq!(fs::read(files::wal_of(&kept)).unwrap(), b"old log");
    assert!(!ready.exists());
}

#[test]
fn a_second_damage_in_the_same_second_has_a_name_of_its_own() {
    let place = filled();
    for expected in ["Z", "Z-2", "Z-3"] {
        overwrite(&place.path(), 0, &[1; 100]);
        let (store, recovered) = place.open();
        assert!(recovered.damaged.unwrap().ends_with(expected));
        assert_eq!(recovered.records.len(), N as usize);
        store.close(NOW).unwrap();
    }
}

#[test]
fn an_index_page_from_an_earlier_time_is_noticed_and_no_row_is_lost_from_sight() {
    let place = Place::new();
    let mut store = place.store();
    fill(&mut store, 0..N / 2);
    store.close(NOW).unwrap();
    let early = fs::read(place.path()).unwrap();
    let mut store = place.store();
    fill(&mut store, N / 2..N);
    store.close(NOW).unwrap();
    let late = fs::read(place.path()).unwrap();
    let page = |bytes: &[u8], n: usize| bytes[n * PAGE_BYTES..(n + 1) * PAGE_BYTES].to_vec();
    // A write that the disk acknowledged and forgot: a page that is whole, and old.
    let stale: Vec<usize> = (2..early.len() / PAGE_BYTES)
        .filter(|n| early[n * PAGE_BYTES] == 0x0a && late[n * PAGE_BYTES] == 0x0a)
        .filter(|n| page(&early, *n) != page(&late, *n))
        .collect();
    assert!(!stale.is_empty());
    for n in stale {
        fs::write(place.path(), &late).unwrap();
        overwrite(&place.path(), n as u64, &page(&early, n));
        let (store, recovered) = place.open();
        assert!(recovered.damaged.is_some(), "page {n} is not noticed");
        assert_eq!(recovered.records.len(), N as usize, "page {n}");
        assert_eq!(recovered.interactions.len(), N as usize, "page {n}");
        store.close(NOW).unwrap();
    }
}

#[test]
fn no_damage_keeps_the_store_from_opening() {
    let place = filled();
    let sound = fs::read(place.path()).unwrap();
    let mut rng = base::rng::Rng::new(11);
    for round in 0..25 {
        let mut bytes = sound.clone();
        for _ in 0..=rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            let end = (at + 1 + rng.below(3 * PAGE_BYTES as u64) as usize).min(bytes.len());
            match rng.below(3) {
                0 => bytes[at..end].fill(0),
                1 => bytes[at..end].fill_with(|| rng.next_u64() as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        fs::write(place.path(), &bytes).unwrap();
        let opened = Store::open(&place.path(), OpenOptions { now: NOW });
        let (mut store, recovered) = match opened {
            Ok(opened) => opened,
            Err(e) => panic!("round {round}: {e}"),
        };
        keep(&mut store, vec![accept(interaction(N + round), "{}")]);
        let known: Vec<_> = recovered
            .interactions
            .iter()
            .map(|i| i.conversation)
            .collect();
        for record in &recovered.records {
            let whose = record.conversation.unwrap();
            assert!(known.contains(&whose), "round {round}: {whose} is watched");
        }
        store.close(NOW).unwrap();
    }
}

/// Waits for the next word of the thread.
fn heard<T>(from: &crossbeam_channel::Receiver<T>) -> T {
    from.recv_timeout(std::time::Duration::from_secs(20))
        .expect("nothing was said")
}

/// Whatever the thread finds out, but how large the log is.
fn but_the_log(to: crossbeam_channel::Sender<thread::Aside>) -> impl Fn(thread::Aside) + Send {
    move |word| {
        if !matches!(word, thread::Aside::Log(_)) {
            to.send(word).unwrap();
        }
    }
}

#[test]
fn damage_that_a_commit_finds_is_said_once_and_nothing_is_written_any_more() {
    let place = filled();
    let store = place.store();
    // What is in no cache has to be read, and is not what it was.
    schema::set(&store.conn, "cache_size", "1").unwrap();
    let pages = page_kinds(&place.path()).len() as u64;
    for page in 1..pages {
        overwrite(&place.path(), page, &[0xA5; PAGE_BYTES]);
    }
    let (orders, taken) = crossbeam_channel::bounded(4);
    let (facts, told) = crossbeam_channel::bounded(4);
    let (asides, aside) = crossbeam_channel::bounded(4);
    let thread = thread::spawn_telling(
        store,
        taken,
        move |fact| facts.send(fact).unwrap(),
        but_the_log(asides),
    )
    .unwrap();
    for ticket in 1..=2 {
        let changes = vec![accept(interaction(N + 1), "{}")];
        orders.send(StoreOrder::Commit { ticket, changes }).unwrap();
        let fact = heard(&told);
        assert!(
            matches!(
                fact,
                StoreFact::CommitFailed {
                    trouble: StoreTrouble::Damaged,
                    ..
                }
            ),
            "{fact:?}"
        );
    }
    assert_eq!(
        heard(&aside),
        thread::Aside::Pulse(Err(StoreTrouble::Damaged))
    );
    let before = fs::read(place.path()).unwrap();
    drop(orders);
    thread.join().unwrap();
    assert!(aside.is_empty(), "said once");
    assert!(fs::read(place.path()).unwrap() == before);
}

#[test]
fn the_running_thread_notices_that_the_damaged_file_was_taken_away() {
    let place = filled();
    overwrite(&place.path(), 0, &[1; 100]);
    let (store, recovered) = place.open();
    let kept = recovered.damaged.unwrap();
    let (orders, taken) = crossbeam_channel::bounded(4);
    let (asides, aside) = crossbeam_channel::bounded(4);
    let thread = thread::spawn_telling(store, taken, |_| {}, but_the_log(asides)).unwrap();
    fs::remove_file(kept).unwrap();
    assert_eq!(heard(&aside), thread::Aside::Acknowledged);
    drop(orders);
    thread.join().unwrap();
    assert_eq!(place.open().1.damaged, None);
}

#[test]
fn whole_pages_that_are_lost_are_told_from_rows_however_they_were_lost() {
    for garbage in [0xff_u8, 0x00, 0x3c] {
        let place = filled();
        let kinds = page_kinds(&place.path());
        let leaves: Vec<usize> = (0..kinds.len()).filter(|i| kinds[*i] == 0x0d).collect();
        let lost: Vec<usize> = leaves.into_iter().skip(8).step_by(9).collect();
        for page in &lost {
            overwrite(&place.path(), *page as u64, &[garbage; PAGE_BYTES]);
        }
        let (store, _) = carried_over(&place);
        let salvaged = store.salvaged().unwrap();
        assert_eq!(
            salvaged.lost_pages,
            lost.len() as u64,
            "{garbage:#x} {salvaged:?}"
        );
        assert_eq!(salvaged.unreadable, 0, "{garbage:#x}");
        let said = salvaged.missing();
        assert!(said.contains("nobody knows"), "{said}");
    }
}

#[test]
fn pages_that_are_cut_off_count_as_lost() {
    let place = filled();
    let pages = page_kinds(&place.path()).len() as u64;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(place.path())
        .unwrap();
    file.set_len((pages - 10) * PAGE_BYTES as u64).unwrap();
    drop(file);
    let (store, _) = carried_over(&place);
    let salvaged = store.salvaged().unwrap();
    assert!(salvaged.lost_pages >= 10, "{salvaged:?}");
}
