//! The store against real files in directories that vanish with the test.

mod changes;
mod damage;
mod environment;
mod moved;
mod recent;
mod shards;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use base::ids::{ConversationId, RecordId};
use base::rows::{
    Change, InteractionRow, InteractionState, Leg, Reason, RecordKind, RecordRow, RecordState,
    Source,
};

const NOW: Wall = Wall(1_790_000_000_000);

/// A directory with a database in it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gateway.db")
    }

    fn open(&self) -> (Store, Recovered) {
        Store::open(&self.path(), OpenOptions { now: NOW }).unwrap()
    }

    fn store(&self) -> Store {
        self.open().0
    }

    /// Names of the files, sorted.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn conversation(n: u128) -> ConversationId {
    ConversationId(Uuid::from_u128(
        0x7c1f_4b9e_0000_0000_0000_0000_0000_0000 + n,
    ))
}

fn record_id(n: u128) -> RecordId {
    RecordId(Uuid::from_u128(
        0xaaaa_0000_0000_0000_0000_0000_0000_0000 + n,
    ))
}

/// A live interaction without anything optional.
fn interaction(n: u128) -> InteractionRow {
    InteractionRow {
        conversation: conversation(n),
        state: InteractionState::Accepted,
        accepted_at: NOW,
        watched_since: None,
        ended_at: None,
        reason: None,
        last_event_at: None,
    }
}

/// The same, over since `at`.
fn ended(n: u128, at: Wall) -> InteractionRow {
    InteractionRow {
        state: InteractionState::Finished,
        watched_since: Some(Wall(at.0 - 9)),
        ended_at: Some(at),
        reason: Some(Reason {
            code: "conversation-finished".into(),
            detail: "every agent has wrapped up".into(),
        }),
        last_event_at: Some(Wall(at.0 - 1)),
        ..interaction(n)
    }
}

/// A queued after-call-work record of conversation `n`.
fn record(n: u128) -> RecordRow {
    RecordRow {
        record: record_id(n),
        kind: RecordKind::AfterCallWork,
        conversation: Some(conversation(n)),
        source: Source::Notification,
        leg: Leg {
            participant: "participant".into(),
            session: format!("session-{n}"),
        },
        ordinal: 2,
        event_time: Some(Wall(NOW.0 - 5)),
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

fn delivered(n: u128, at: Wall) -> RecordRow {
    RecordRow {
        state: RecordState::Delivered,
        attempts: 1,
        delivered_at: Some(at),
        ..record(n)
    }
}

fn accept(row: InteractionRow, members: &str) -> Change {
    Change::Accept {
        row,
        members: members.into(),
    }
}

fn take(row: RecordRow, body: &str) -> Change {
    Change::Take {
        row,
        body: body.into(),
        key: None,
    }
}

/// Commits and returns the fact.
fn commit(store: &mut Store, changes: Vec<Change>) -> StoreFact {
    store.execute(StoreOrder::Commit { ticket: 7, changes }, NOW)
}

/// Commits; everything must be kept.
#[track_caller]
fn keep(store: &mut Store, changes: Vec<Change>) {
    match commit(store, changes) {
        StoreFact::Committed {
            ticket: 7, refused, ..
        } if refused.is_empty() => {}
        other => panic!("not kept: {other:?}"),
    }
}

#[track_caller]
fn look_up(store: &mut Store, what: Lookup) -> Found {
    let order = StoreOrder::Lookup {
        ticket: 3,
        what: vec![what],
    };
    match store.execute(order, NOW) {
        StoreFact::Looked { ticket: 3, found } if found.len() == 1 => found[0].clone(),
        other => panic!("not answered: {other:?}"),
    }
}

/// Whether the bytes occur in any file of the directory.
fn occurs(dir: &Path, needle: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        std::fs::read(entry.unwrap().path())
            .unwrap()
            .windows(needle.len())
            .any(|w| w == needle.as_bytes())
    })
}
