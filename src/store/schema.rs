//! The tables, their versions, and how a connection is set up.
//!
//! Migrations go forward only and import no live types: what version 1 wrote
//! must stay readable when the code has moved on. Columns are only ever
//! appended, because salvage reads rows by position.
//!
//! Invariant: `user_version` is the number of migrations applied, and a
//! database with a higher one is refused.

use std::time::Duration;

use rusqlite::{Connection, Result, TransactionBehavior};

/// Marks the file as ours (`PRAGMA application_id`): "gGwy".
pub(super) const APPLICATION_ID: i64 = 0x6747_7779;

/// Every page has this size, fixed at creation, so that salvage need not believe a header.
pub(super) const PAGE_BYTES: usize = 4096;

/// Free pages that stay in the file: 1 MiB that nobody else on a full disk can
/// take, so that outcomes can still be written down there.
pub(super) const FREE_PAGES_KEPT: i64 = 256;

/// The write-ahead log is cut back to this size when it starts over.
const WAL_BYTES_KEPT: i64 = 4 * 1024 * 1024;

/// A write-ahead log of this size is more than checkpoints leave behind: something keeps it
/// from starting over.
pub(super) const WAL_BYTES_LARGE: u64 = 16 * 1024 * 1024;

/// How long another writer (an operator's `sqlite3`) is waited for.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// First value of every row: tells salvage which table a page belongs to when
/// the tree above it is gone.
pub(super) mod mark {
    pub(crate) const INTERACTION: i64 = 1;
    pub(crate) const RECORD: i64 = 2;
    pub(crate) const CHANNEL: i64 = 3;
    pub(crate) const PULSE: i64 = 4;
    pub(crate) const NOTE: i64 = 5;
}

/// One entry per version; never edited once released.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE interaction (
    mark INTEGER NOT NULL DEFAULT 1 CHECK (mark = 1),
    id INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('accepted', 'watching', 'settling', 'finished', 'expired', 'stopped', 'refused')),
    accepted_at INTEGER NOT NULL,
    watched_since INTEGER,
    ended_at INTEGER,
    reason_code TEXT,
    reason_detail TEXT,
    last_event_at INTEGER,
    over_at INTEGER,
    rev INTEGER NOT NULL,
    members TEXT,
    CHECK ((over_at IS NULL) = (state IN ('accepted', 'watching', 'settling')))
) STRICT;
CREATE UNIQUE INDEX interaction_conversation ON interaction (conversation);
CREATE INDEX interaction_live ON interaction (id) WHERE over_at IS NULL;
CREATE INDEX interaction_over ON interaction (over_at, state) WHERE over_at IS NOT NULL;
CREATE INDEX interaction_unerased ON interaction (over_at)
    WHERE over_at IS NOT NULL AND members IS NOT NULL;

CREATE TABLE record (
    mark INTEGER NOT NULL DEFAULT 2 CHECK (mark = 2),
    id INTEGER PRIMARY KEY,
    record TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('after-call-work', 'support-result')),
    conversation TEXT,
    source TEXT NOT NULL CHECK (source IN ('notification', 'reconciliation', 'support-result')),
    participant TEXT NOT NULL,
    session TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    event_time INTEGER,
    matched_time INTEGER,
    content_digest TEXT,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('queued', 'delivered', 'deferred', 'dead', 'held', 'discarded')),
    attempts INTEGER NOT NULL,
    next_try INTEGER,
    patience_from INTEGER NOT NULL,
    delivered_at INTEGER,
    last_error TEXT,
    over_at INTEGER,
    rev INTEGER NOT NULL,
    idem_key TEXT,
    idem_digest BLOB,
    body TEXT,
    members TEXT,
    CHECK ((over_at IS NULL) = (state NOT IN ('delivered', 'discarded')))
) STRICT;
CREATE UNIQUE INDEX record_record ON record (record);
CREATE UNIQUE INDEX record_key ON record (idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX record_conversation ON record (conversation) WHERE conversation IS NOT NULL;
CREATE INDEX record_open ON record (id) WHERE over_at IS NULL;
CREATE INDEX record_over ON record (over_at, state) WHERE over_at IS NOT NULL;
CREATE INDEX record_unerased ON record (over_at)
    WHERE over_at IS NOT NULL AND body IS NOT NULL;

CREATE TABLE channel (
    mark INTEGER NOT NULL DEFAULT 3 CHECK (mark = 3),
    slot INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    connect_uri TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    token_ends_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pulse (
    mark INTEGER NOT NULL DEFAULT 4 CHECK (mark = 4),
    id INTEGER PRIMARY KEY CHECK (id = 1),
    alive_at INTEGER,
    started_at INTEGER,
    rev INTEGER NOT NULL
) STRICT;
INSERT INTO pulse (id, rev) VALUES (1, 0);

CREATE TABLE note (
    mark INTEGER NOT NULL DEFAULT 5 CHECK (mark = 5),
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL
) STRICT;
",
    "
ALTER TABLE record ADD COLUMN patience_used INTEGER NOT NULL DEFAULT 0;
",
    // Whose a row is. The slot of a channel is one of its shard; `slot` itself stays the key of
    // the row, and is the same number only for the shard that was there first.
    "
ALTER TABLE interaction ADD COLUMN shard TEXT NOT NULL DEFAULT 'main';
ALTER TABLE record ADD COLUMN shard TEXT NOT NULL DEFAULT 'main';
ALTER TABLE channel ADD COLUMN shard TEXT NOT NULL DEFAULT 'main';
ALTER TABLE channel ADD COLUMN place INTEGER;
CREATE UNIQUE INDEX channel_place ON channel (shard, coalesce(place, slot));
",
];

/// The newest version that this program knows.
#[allow(clippy::cast_possible_wrap)]
pub(super) const KNOWN_VERSION: i64 = MIGRATIONS.len() as i64;

/// Settings of a connection that writes. They change nothing in a file that is as we make it.
pub(super) fn tune_writer(conn: &Connection) -> Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(64);
    set(conn, "synchronous", "FULL")?;
    set(conn, "secure_delete", "ON")?;
    set(conn, "foreign_keys", "OFF")?;
    // Sorting must not write personal data to temporary files.
    set(conn, "temp_store", "MEMORY")?;
    set(conn, "journal_size_limit", &WAL_BYTES_KEPT.to_string())?;
    set(conn, "cell_size_check", "ON")
}

/// Settings of a file, to be given before its first table: without that the
/// `auto_vacuum` is silently ignored.
pub(super) fn tune_new_file(conn: &Connection) -> Result<()> {
    set(conn, "page_size", &PAGE_BYTES.to_string())?;
    set(conn, "auto_vacuum", "INCREMENTAL")?;
    set(conn, "application_id", &APPLICATION_ID.to_string())
}

/// Settings of a connection that only reads.
pub(super) fn tune_reader(conn: &Connection) -> Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    set(conn, "query_only", "ON")?;
    set(conn, "temp_store", "MEMORY")?;
    set(conn, "cell_size_check", "ON")
}

/// Applies what is missing, each version in its own transaction.
pub(super) fn migrate(conn: &mut Connection) -> Result<()> {
    loop {
        let version = integer(conn, "user_version")?;
        let Some(step) = usize::try_from(version)
            .ok()
            .and_then(|v| MIGRATIONS.get(v))
        else {
            return Ok(());
        };
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        set(&tx, "user_version", &(version + 1).to_string())?;
        tx.commit()?;
    }
}

/// Whether every table and index that the newest applied version makes is there.
pub(super) fn complete(conn: &Connection) -> Result<bool> {
    let version = usize::try_from(integer(conn, "user_version")?).unwrap_or(0);
    let mut there = conn.prepare("SELECT count(*) FROM sqlite_schema WHERE name = ?1")?;
    for step in MIGRATIONS.iter().take(version) {
        for line in step.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some("CREATE") {
                continue;
            }
            let mut words = words.skip_while(|w| *w == "UNIQUE");
            let (Some("TABLE" | "INDEX"), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            if there.query_row([name], |r| r.get::<_, i64>(0))? == 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The indexes that cover a part of their table: table, index, which part.
const PARTIAL_INDEXES: [(&str, &str, &str); 8] = [
    ("interaction", "interaction_live", "over_at IS NULL"),
    ("interaction", "interaction_over", "over_at IS NOT NULL"),
    (
        "interaction",
        "interaction_unerased",
        "over_at IS NOT NULL AND members IS NOT NULL",
    ),
    ("record", "record_key", "idem_key IS NOT NULL"),
    ("record", "record_conversation", "conversation IS NOT NULL"),
    ("record", "record_open", "over_at IS NULL"),
    ("record", "record_over", "over_at IS NOT NULL"),
    (
        "record",
        "record_unerased",
        "over_at IS NOT NULL AND body IS NOT NULL",
    ),
];

/// Whether the partial indexes have as many entries as they should. `quick_check` counts
/// only the others, and a page that is whole but old (a write that the disk forgot) would
/// hide rows.
pub(super) fn indexes_agree(conn: &Connection) -> Result<bool> {
    for table in ["interaction", "record"] {
        let ours = PARTIAL_INDEXES.iter().filter(|(t, ..)| *t == table);
        // One pass over the table for all of its indexes.
        let sums: Vec<String> = ours
            .clone()
            .map(|(_, _, part)| format!("count(({part}) OR NULL)"))
            .collect();
        let sql = format!("SELECT {} FROM {table} NOT INDEXED", sums.join(", "));
        let expected: Vec<i64> = conn.query_row(&sql, [], |row| {
            (0..sums.len()).map(|i| row.get(i)).collect()
        })?;
        for ((_, index, part), expected) in ours.zip(expected) {
            let sql = format!("SELECT count(*) FROM {table} INDEXED BY {index} WHERE {part}");
            if conn.query_row(&sql, [], |r| r.get::<_, i64>(0))? != expected {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Sets a pragma; some answer with a row, which is of no interest here.
pub(super) fn set(conn: &Connection, pragma: &str, value: &str) -> Result<()> {
    let mut statement = conn.prepare(&format!("PRAGMA {pragma} = {value}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Reads a pragma that is a number.
pub(super) fn integer(conn: &Connection, pragma: &str) -> Result<i64> {
    conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}
