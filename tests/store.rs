//! The store as the rest of the program uses it: through its thread, on file
//! systems that are full or read-only, and at the size of a busy month.
//!
//! The tests that mount a small file system need root. Where that is refused
//! they say so and pass, unless `GATEWAY_TESTS_REQUIRE_TOOLS=1`.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base::ids::{ConversationId, RecordId};
use base::rows::{
    Change, InteractionRow, InteractionState, Leg, Lookup, RecordKind, RecordRow, RecordState,
    Recovered, Source, StoreFact, StoreOrder, StoreTrouble,
};
use base::time::Wall;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use store::inspect::open_inspect;
use store::{OpenOptions, Reader, Store, StoreError, thread};
use uuid::Uuid;

const NOW: Wall = Wall(1_790_000_000_000);
const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &Path) -> (Store, Recovered) {
    Store::open(path, OpenOptions { now: NOW }).unwrap()
}

fn interaction(n: u128) -> InteractionRow {
    InteractionRow {
        conversation: ConversationId(Uuid::from_u128(n)),
        state: InteractionState::Accepted,
        accepted_at: NOW,
        watched_since: None,
        ended_at: None,
        reason: None,
        last_event_at: None,
    }
}

fn record(n: u128) -> RecordRow {
    RecordRow {
        record: RecordId(Uuid::from_u128(n << 64)),
        kind: RecordKind::AfterCallWork,
        conversation: Some(ConversationId(Uuid::from_u128(n / 3))),
        source: Source::Notification,
        leg: Leg {
            participant: Uuid::from_u128(n).to_string(),
            session: Uuid::from_u128(n + 1).to_string(),
        },
        ordinal: 0,
        event_time: Some(NOW),
        matched_time: None,
        content_digest: None,
        received_at: NOW,
        state: RecordState::Queued,
        attempts: 0,
        next_try: None,
        patience_used: std::time::Duration::ZERO,
        delivered_at: None,
        last_error: None,
    }
}

fn accept(n: u128) -> Change {
    Change::Accept {
        row: interaction(n),
        members: format!(
            r#"{{"customer":"{n}","channel":"voice","note":"{:0>200}"}}"#,
            n
        ),
    }
}

fn take(n: u128, bytes: usize) -> Change {
    Change::Take {
        row: record(n),
        body: format!(r#"{{"wrapUpCode":"{}"}}"#, "w".repeat(bytes)),
        key: None,
    }
}

fn commit(store: &mut Store, changes: Vec<Change>) -> StoreFact {
    store.execute(StoreOrder::Commit { ticket: 1, changes }, NOW)
}

#[track_caller]
fn keep(store: &mut Store, changes: Vec<Change>) {
    match commit(store, changes) {
        StoreFact::Committed { refused, .. } if refused.is_empty() => {}
        other => panic!("not kept: {other:?}"),
    }
}

/// A small file system that is unmounted with the test.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match done {
            Ok(out) if out.status.success() => return Some(SmallDisk { dir }),
            Ok(out) => eprintln!("SKIPPED: {}", String::from_utf8_lossy(&out.stderr)),
            Err(e) => eprintln!("SKIPPED: mount: {e}"),
        }
        assert!(
            std::env::var("GATEWAY_TESTS_REQUIRE_TOOLS").as_deref() != Ok("1"),
            "a small file system is required and cannot be mounted"
        );
        None
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gateway.db")
    }

    fn remount(&self, option: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(self.dir.path())
            .status()
            .unwrap();
        assert!(done.success(), "remount,{option}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path()).status();
    }
}

#[test]
fn a_disk_that_is_really_full_fails_commits_until_there_is_space_again() {
    let Some(disk) = SmallDisk::mount(4 * 1024 * 1024) else {
        return;
    };
    let (mut store, _) = open(&disk.path());
    keep(&mut store, vec![accept(0)]);
    let mut kept = vec![];
    let mut failed = vec![];
    let mut n = 1;
    // Until it has failed several times in a row, as it does for hours in life.
    while failed.len() < 5 {
        assert!(n < 10_000, "the disk is never full");
        match commit(&mut store, vec![take(n, 20_000), take(n + 1, 20_000)]) {
            StoreFact::Committed { refused, .. } => {
                assert!(refused.is_empty());
                kept.extend([n, n + 1]);
            }
            StoreFact::CommitFailed { trouble, .. } => {
                assert_eq!(trouble, StoreTrouble::Full);
                failed.extend([n, n + 1]);
            }
            other => panic!("{other:?}"),
        }
        n += 2;
    }
    assert!(kept.len() > 20, "{} kept", kept.len());
    // Reading goes on.
    let mut reader = Reader::new(store.path());
    assert!(reader.record(record(kept[0]).record).unwrap().is_some());
    for id in &failed {
        assert!(reader.record(record(*id).record).unwrap().is_none());
    }
    disk.remount("size=64m");
    keep(
        &mut store,
        failed.iter().map(|n| take(*n, 20_000)).collect(),
    );
    kept.extend(failed);
    kept.sort_unstable();
    drop(reader);
    drop(store);
    let (_store, recovered) = open(&disk.path());
    assert_eq!(recovered.damaged, None);
    let rows: Vec<RecordRow> = kept.into_iter().map(record).collect();
    let mut found = recovered.records;
    found.sort_by_key(|r| r.record);
    assert_eq!(found, rows);
}

#[test]
fn a_start_on_a_full_disk_reads_what_is_there_and_goes_on_when_there_is_space() {
    let Some(disk) = SmallDisk::mount(4 * 1024 * 1024) else {
        return;
    };
    let (mut store, _) = open(&disk.path());
    keep(&mut store, vec![accept(0), take(0, 100)]);
    // As a kill leaves it, with log and shared memory; then something eats the disk.
    let crashed = disk.dir.path().join("crashed");
    std::fs::create_dir(&crashed).unwrap();
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] {
        std::fs::copy(disk.dir.path().join(name), crashed.join(name)).unwrap();
    }
    std::fs::write(crashed.join("gateway.db.lock"), "").unwrap();
    drop(store);
    let filler = disk.dir.path().join("filler");
    let mut chunk = 1 << 20;
    let mut file = std::fs::File::create(&filler).unwrap();
    while chunk > 0 {
        if std::io::Write::write_all(&mut file, &vec![0; chunk]).is_err() {
            chunk /= 2;
        }
    }
    let (mut store, recovered) = open(&crashed.join("gateway.db"));
    assert_eq!(recovered.interactions, vec![interaction(0)]);
    assert_eq!(recovered.records, vec![record(0)]);
    match commit(&mut store, (1..100).map(|n| take(n, 20_000)).collect()) {
        StoreFact::CommitFailed { trouble, .. } => assert_eq!(trouble, StoreTrouble::Full),
        other => panic!("{other:?}"),
    }
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    keep(&mut store, vec![take(1, 20_000)]);
}

#[test]
fn a_read_only_file_system_ends_with_77_and_can_still_be_inspected() {
    let Some(disk) = SmallDisk::mount(4 * 1024 * 1024) else {
        return;
    };
    let (mut store, _) = open(&disk.path());
    keep(&mut store, vec![take(1, 10)]);
    store.close(NOW).unwrap();
    disk.remount("ro");
    let error = Store::open(&disk.path(), OpenOptions { now: NOW }).unwrap_err();
    assert_eq!(error.exit_code(), 77, "{error}");
    let inspect = open_inspect(&disk.path()).unwrap();
    assert_eq!(inspect.records(None, 10).unwrap(), vec![record(1)]);
    assert!(inspect.remark().is_some());
    disk.remount("rw");
    // With a log that cannot be read in place: what is not yet written back is left out.
    let (mut store, _) = open(&disk.path());
    keep(&mut store, vec![take(2, 10)]);
    let copy = disk.dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["gateway.db", "gateway.db-wal"] {
        std::fs::copy(disk.dir.path().join(name), copy.join(name)).unwrap();
    }
    drop(store);
    disk.remount("ro");
    let inspect = open_inspect(&copy.join("gateway.db")).unwrap();
    assert_eq!(inspect.records(None, 10).unwrap(), vec![record(1)]);
    let remark = inspect.remark().unwrap();
    assert!(remark.contains("newest changes"), "{remark}");
    disk.remount("rw");
}

/// A running store thread.
struct Running {
    orders: Sender<StoreOrder>,
    facts: Receiver<StoreFact>,
    thread: std::thread::JoinHandle<()>,
}

fn run(store: Store) -> Running {
    let (orders, queue) = bounded(8);
    let (told, facts) = unbounded();
    let thread = thread::spawn(store, queue, move |fact| {
        let _ = told.send(fact);
    })
    .unwrap();
    Running {
        orders,
        facts,
        thread,
    }
}

#[test]
fn the_store_thread_answers_every_order_in_turn_and_leaves_a_clean_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let running = run(open(&path).0);
    for ticket in 1..=5 {
        let changes = vec![accept(u128::from(ticket))];
        let what = vec![Lookup::Interaction(
            interaction(u128::from(ticket)).conversation,
        )];
        running
            .orders
            .send(StoreOrder::Commit { ticket, changes })
            .unwrap();
        running
            .orders
            .send(StoreOrder::Lookup { ticket, what })
            .unwrap();
    }
    drop(running.orders);
    for expected in 1..=5 {
        match running.facts.recv_timeout(PATIENCE).unwrap() {
            StoreFact::Committed { ticket, .. } => assert_eq!(ticket, expected),
            other => panic!("{other:?}"),
        }
        match running.facts.recv_timeout(PATIENCE).unwrap() {
            StoreFact::Looked { ticket, found } => {
                assert_eq!(ticket, expected);
                assert!(matches!(
                    &found[..],
                    [base::rows::Found::Interaction(Some(_), _)]
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    running.thread.join().unwrap();
    assert!(!dir.path().join("gateway.db-wal").exists(), "checkpointed");
    let (_store, recovered) = open(&path);
    assert_eq!(recovered.interactions.len(), 5);
    assert!(recovered.last_alive.is_some_and(|at| at > Wall(0)));
}

#[test]
fn the_store_thread_erases_from_its_log_too_while_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let running = run(open(&path).0);
    let over = RecordRow {
        state: RecordState::Delivered,
        delivered_at: Some(NOW),
        ..record(1)
    };
    let changes = vec![
        Change::Take {
            row: over,
            body: r#"{"n":"erase-this-note"}"#.into(),
            key: None,
        },
        Change::EraseBodies {
            before: Wall(NOW.0 + 1),
            limit: 10,
        },
    ];
    running
        .orders
        .send(StoreOrder::Commit { ticket: 1, changes })
        .unwrap();
    running.facts.recv_timeout(PATIENCE).unwrap();
    let holds = |name: &str| {
        std::fs::read(dir.path().join(name))
            .unwrap()
            .windows(15)
            .any(|w| w == b"erase-this-note")
    };
    let deadline = Instant::now() + PATIENCE;
    while holds("gateway.db-wal") || holds("gateway.db") {
        assert!(Instant::now() < deadline, "waited for the log to be cut");
        std::thread::yield_now();
    }
    drop(running.orders);
    running.thread.join().unwrap();
}

#[test]
fn a_second_process_is_turned_away_by_the_lock_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let held = Command::new("flock")
        .arg(dir.path().join("gateway.db.lock"))
        .args(["-c", "echo held; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut held) = held else {
        eprintln!("SKIPPED: no flock program");
        assert!(std::env::var("GATEWAY_TESTS_REQUIRE_TOOLS").as_deref() != Ok("1"));
        return;
    };
    let mut said = [0; 5];
    std::io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut said).unwrap();
    let error = Store::open(&path, OpenOptions { now: NOW }).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!(error.exit_code(), 75);
    drop(held.stdin.take());
    held.wait().unwrap();
    open(&path);
}

#[test]
fn a_busy_months_worth_of_rows_is_written_and_read_back_quickly() {
    const INTERACTIONS: u128 = 20_000;
    const RECORDS: u128 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let (mut store, _) = open(&path);
    let all: Vec<Change> = (0..INTERACTIONS)
        .map(accept)
        .chain((0..RECORDS).map(|n| take(n, 400)))
        .collect();
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    for batch in all.chunks(512) {
        let batch_began = Instant::now();
        keep(&mut store, batch.to_vec());
        slowest = slowest.max(batch_began.elapsed());
    }
    let written = began.elapsed();
    drop(store);
    let began = Instant::now();
    let (_store, recovered) = open(&path);
    let read = began.elapsed();
    eprintln!("written in {written:?}, slowest batch {slowest:?}, read back in {read:?}");
    assert_eq!(recovered.interactions.len() as u128, INTERACTIONS);
    assert_eq!(recovered.records.len() as u128, RECORDS);
    // Without optimisation, beside other tests: only an order of magnitude is asserted.
    assert!(read < Duration::from_secs(15), "{read:?}");
}
