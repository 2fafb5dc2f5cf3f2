//! A damaged database: carried over into a new file, and set aside.
//!
//! ```text
//!   gateway.db (damaged) ──rows, page by page──► gateway.db.salvage-part
//!   complete: ► gateway.db.salvage
//!   gateway.db ► gateway.db.damaged-2026-11-20T141500Z   (and its log with it)
//!   gateway.db.salvage ► gateway.db
//! ```
//! A crash between two of these steps is mended at the next start: a file
//! named `.salvage` is complete, and takes the place that is empty.
//!
//! Of two copies of a row the one of the later commit is believed. What is
//! carried over as not over may have been filed since: it is filed once more
//! under the same idempotency key.
//!
//! Invariant: the damaged file and its log are renamed, never written to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Result, ToSql, TransactionBehavior};
use serde_json::value::RawValue;

use super::columns::Col;
use super::error::{StoreError, trouble_of_io};
use super::files;
use super::load::{NOTE_DAMAGED, note};
use super::open::io_error;
use super::pages::{Pages, Value};
use super::schema::{self, mark};
use base::ids::{ConversationId, RecordId};
use base::rows::{InteractionState, RecordKind, RecordState, Source, StoreTrouble};
use base::time::Wall;

/// What was carried over from a damaged file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Salvaged {
    /// Where the damaged file is kept.
    pub kept: PathBuf,
    /// What was found wrong with it.
    pub finding: String,
    /// Interactions carried over.
    pub interactions: u64,
    /// Interactions that were lost but whose records name them: they start again.
    pub revived: u64,
    /// Records carried over.
    pub records: u64,
    /// Records among them that are not over and have lost their body.
    pub bodiless: u64,
    /// Rows that were seen and could not be read.
    pub unreadable: u64,
    /// Pages that could not be read, or hold nothing that a page of a database holds. Nobody
    /// knows which rows were on them, and how many.
    pub lost_pages: u64,
}

impl Salvaged {
    /// What is known of what is missing, in words.
    #[must_use]
    pub fn missing(&self) -> String {
        match (self.unreadable, self.lost_pages) {
            (0, 0) => String::from("no page or row was found that cannot be read"),
            (rows, 0) => format!("{rows} rows are unreadable"),
            (rows, pages) => format!(
                "{rows} rows and {pages} whole pages are unreadable, and how many rows were on \
                 those pages nobody knows"
            ),
        }
    }
}

/// An interaction that is lost is started again if a record of it is younger than this:
/// more than twice the default `max-age` of an interaction.
const REVIVED_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Rows per transaction of the new file.
const ROWS_PER_COMMIT: u64 = 4_000;

/// Ends what a crash interrupted: only a complete new file in an empty place is used.
pub(super) fn finish_interrupted(path: &Path) -> std::result::Result<(), StoreError> {
    let ready = files::salvage_of(path);
    if !ready.exists() {
        return Ok(());
    }
    if path.exists() {
        // Interrupted before anything was moved: it is done again from the beginning.
        return files::remove_all(&ready).map_err(|e| io_error(&ready, "removing it", &e));
    }
    let kept = open_new(&ready)
        .and_then(|conn| note(&conn, NOTE_DAMAGED))
        .map_err(|e| beyond_help(path, "reading the new file", &e.to_string()))?;
    let kept = kept.map_or_else(|| files::beside(path, ".damaged"), PathBuf::from);
    move_into_place(path, &ready, &kept).map_err(|e| trouble(path, "moving files", &e))
}

/// Makes a new file of what is readable and puts it in the place of the damaged one.
pub(super) fn carry_over(
    path: &Path,
    finding: &str,
    now: Wall,
) -> std::result::Result<Salvaged, StoreError> {
    log::error!(
        "the database {} is damaged ({finding}); carrying over what is readable",
        path.display()
    );
    let kept = files::dated(path, "damaged", now);
    let part = files::beside(path, ".salvage-part");
    let ready = files::salvage_of(path);
    files::remove_all(&part)
        .and_then(|()| files::create_private(&part))
        .map_err(|e| trouble(path, "making a new file", &e))?;
    let pages = Pages::open(path).map_err(|e| trouble(path, "reading it", &e))?;
    let salvaged = build(&part, &pages, &kept, now).map_err(|e| {
        // Half a file is worth nothing, and its space may be what is missing.
        let _ = files::remove_all(&part);
        beyond_help(path, "writing a new file", &e.to_string())
    })?;
    drop(pages);
    files::rename_if_there(&part, &ready)
        .and_then(|()| files::sync_directory(path))
        .and_then(|()| move_into_place(path, &ready, &kept))
        .map_err(|e| trouble(path, "moving files", &e))?;
    let salvaged = Salvaged {
        finding: finding.to_owned(),
        ..salvaged
    };
    log::error!(
        "carried over {} interactions ({} of them started again) and {} records ({} without \
         their body); {}; the damaged file is kept as {}",
        salvaged.interactions + salvaged.revived,
        salvaged.revived,
        salvaged.records,
        salvaged.bodiless,
        salvaged.missing(),
        kept.display()
    );
    Ok(salvaged)
}

/// Forgets that a file was set aside.
pub(super) fn acknowledge_in(conn: &Connection) -> Result<()> {
    conn.execute("DELETE FROM note WHERE name = ?1", [NOTE_DAMAGED])?;
    Ok(())
}

/// Forgets that a damaged file was set aside, beside a running gateway or without one.
/// Removing the damaged file does the same at the next start.
///
/// # Errors
/// [`StoreError`] if there is no database, or it cannot be written.
pub fn acknowledge(path: &Path) -> std::result::Result<(), StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_path_buf(),
        });
    }
    open_new(path)
        .and_then(|conn| acknowledge_in(&conn))
        .map_err(|e| super::open::sql_error(path, "acknowledging", &e))
}

fn open_new(path: &Path) -> Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    schema::tune_writer(&conn)?;
    Ok(conn)
}

/// The old log must be gone from its name before the new file comes: SQLite would replay it.
fn move_into_place(path: &Path, ready: &Path, kept: &Path) -> std::io::Result<()> {
    files::rename_if_there(path, kept)?;
    files::rename_if_there(&files::wal_of(path), &files::wal_of(kept))?;
    files::remove(&files::shm_of(path))?;
    files::sync_directory(path)?;
    files::close_to_others(kept)?;
    std::fs::rename(ready, path)?;
    files::sync_directory(path)
}

fn build(part: &Path, pages: &Pages, kept: &Path, now: Wall) -> Result<Salvaged> {
    let mut conn = open_new(part)?;
    schema::tune_new_file(&conn)?;
    schema::set(&conn, "journal_mode", "WAL")?;
    schema::migrate(&mut conn)?;
    let mut salvaged = Salvaged {
        kept: kept.to_path_buf(),
        ..Salvaged::default()
    };
    // The rows' own uniqueness decides between copies, so commits may come anywhere.
    let begin = "BEGIN IMMEDIATE";
    conn.execute_batch(begin)?;
    let mut rows = 0;
    let mut unreadable = 0;
    let lost = pages.rows(|id, values| {
        rows += 1;
        if rows % ROWS_PER_COMMIT == 0 {
            conn.execute_batch("COMMIT")?;
            conn.execute_batch(begin)?;
        }
        match insert(&conn, id, &values) {
            Ok(true) => Ok(()),
            Ok(false) => {
                unreadable += u64::from(matches!(values.first(), Some(Value::Integer(_))));
                Ok(())
            }
            Err(e) if super::error::trouble_of(&e) == StoreTrouble::Bug => {
                unreadable += 1;
                Ok(())
            }
            Err(e) => Err(e),
        }
    })?;
    conn.execute_batch("COMMIT")?;
    salvaged.unreadable = lost.rows + unreadable;
    salvaged.lost_pages = lost.pages;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    salvaged.interactions = count(&tx, "SELECT count(*) FROM interaction")?;
    salvaged.records = count(&tx, "SELECT count(*) FROM record")?;
    salvaged.bodiless = count(
        &tx,
        "SELECT count(*) FROM record WHERE over_at IS NULL AND body IS NULL",
    )?;
    salvaged.revived = revive(&tx, now)?;
    tx.execute(
        "UPDATE pulse SET rev = 1 + max(rev,
            (SELECT coalesce(max(rev), 0) FROM interaction),
            (SELECT coalesce(max(rev), 0) FROM record))",
        [],
    )?;
    tx.execute(
        "INSERT OR REPLACE INTO note (name, value) VALUES (?1, ?2)",
        (NOTE_DAMAGED, kept.to_string_lossy()),
    )?;
    tx.commit()?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.close().map_err(|(_, e)| e)?;
    Ok(salvaged)
}

fn count(conn: &Connection, sql: &str) -> Result<u64> {
    let n: i64 = conn.query_row(sql, [], |r| r.get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Interactions whose row is lost, from the records that name them. Watched again, they are
/// checked over REST like all others after a restart; what was filed is not filed again.
fn revive(conn: &Connection, now: Wall) -> Result<u64> {
    let n = conn.execute(
        // With max() the other columns are those of the row it was found in.
        "INSERT INTO interaction
            (conversation, state, accepted_at, last_event_at, rev, members, shard)
        SELECT conversation, 'accepted', ?1, newest, 0, members, shard FROM
            (SELECT conversation, max(received_at) AS newest, members, shard FROM record r
            WHERE kind = 'after-call-work' AND conversation IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM interaction i
                    WHERE i.conversation = r.conversation)
            GROUP BY conversation)
        WHERE newest > ?2",
        (Col(now), Col(now - REVIVED_WITHIN)),
    )?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Puts one row into the new file if it makes sense; of two copies the later stays.
fn insert(conn: &Connection, id: i64, values: &[Value]) -> Result<bool> {
    let row = Columns(values);
    let done = match row.integer(0) {
        Some(mark::INTERACTION) => insert_interaction(conn, row),
        Some(mark::RECORD) => insert_record(conn, row),
        Some(mark::CHANNEL) => insert_channel(conn, id, row),
        Some(mark::PULSE) => insert_pulse(conn, row),
        // The note of an earlier damage is replaced by this one's; without the one about the
        // history manager it is asked a few times too often.
        Some(mark::NOTE) => Some(Ok(())),
        _ => None,
    };
    done.transpose().map(|done| done.is_some())
}

fn insert_interaction(conn: &Connection, row: Columns<'_>) -> Option<Result<()>> {
    let conversation: ConversationId = row.text(2)?.parse().ok()?;
    let state = InteractionState::parse(row.text(3)?)?;
    let accepted_at = row.integer(4)?;
    let ended_at = row.integer(6);
    let over_at = state
        .ended()
        .then(|| row.integer(10).or(ended_at).unwrap_or(accepted_at));
    Some(upsert(
        conn,
        "interaction",
        &[
            "conversation",
            "state",
            "accepted_at",
            "watched_since",
            "ended_at",
            "reason_code",
            "reason_detail",
            "last_event_at",
            "over_at",
            "rev",
            "members",
            "shard",
        ],
        &[
            &Col(conversation),
            &Col(state),
            &accepted_at,
            &row.integer(5),
            &ended_at,
            &row.text(7),
            &row.text(8),
            &row.integer(9),
            &over_at,
            &row.integer(11).unwrap_or(0),
            &row.object(12),
            &row.shard(13),
        ],
    ))
}

fn insert_record(conn: &Connection, row: Columns<'_>) -> Option<Result<()>> {
    let record: RecordId = row.text(2)?.parse().ok()?;
    let kind = RecordKind::parse(row.text(3)?)?;
    let conversation: Option<ConversationId> = row.text(4).and_then(|t| t.parse().ok());
    let source = Source::parse(row.text(5)?)?;
    let received_at = row.integer(12)?;
    let state = RecordState::parse(row.text(13)?)?;
    let delivered_at = row.integer(17);
    let over_at = state
        .over()
        .then(|| row.integer(19).or(delivered_at).unwrap_or(received_at));
    let key = row.text(21).zip(row.blob(22));
    Some(upsert(
        conn,
        "record",
        &[
            "record",
            "kind",
            "conversation",
            "source",
            "participant",
            "session",
            "ordinal",
            "event_time",
            "matched_time",
            "content_digest",
            "received_at",
            "state",
            "attempts",
            "next_try",
            "patience_from",
            "delivered_at",
            "last_error",
            "over_at",
            "rev",
            "idem_key",
            "idem_digest",
            "body",
            "members",
            "patience_used",
            "shard",
        ],
        &[
            &Col(record),
            &Col(kind),
            &conversation.map(Col),
            &Col(source),
            &row.text(6)?,
            &row.text(7)?,
            &row.integer(8)?,
            &row.integer(9),
            &row.integer(10),
            &row.text(11),
            &received_at,
            &Col(state),
            &row.integer(14)?,
            &row.integer(15),
            &row.integer(16).unwrap_or(received_at),
            &delivered_at,
            &row.text(18),
            &over_at,
            &row.integer(20).unwrap_or(0),
            &key.map(|(k, _)| k),
            &key.map(|(_, d)| d),
            &row.object(23),
            &row.object(24),
            // Rows of the first version have none.
            &row.integer(25).unwrap_or(0),
            &row.shard(26),
        ],
    ))
}

fn insert_channel(conn: &Connection, slot: i64, row: Columns<'_>) -> Option<Result<()>> {
    let done = conn
        .prepare_cached(
            "INSERT OR IGNORE INTO channel
                (slot, channel, connect_uri, created_at, expires_at, token_ends_at, shard, place)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .and_then(|mut statement| {
            statement.execute([
                &slot as &dyn ToSql,
                &row.text(2),
                &row.text(3),
                &row.integer(4),
                &row.integer(5),
                &row.integer(6),
                &row.shard(7),
                &row.integer(8),
            ])
        });
    Some(done.map(|_| ()))
}

fn insert_pulse(conn: &Connection, row: Columns<'_>) -> Option<Result<()>> {
    let done = conn.execute(
        "UPDATE pulse SET alive_at = ?1, started_at = ?2, rev = ?3 WHERE rev <= ?3",
        (row.integer(2), row.integer(3), row.integer(4)?),
    );
    Some(done.map(|_| ()))
}

/// Inserts; the first of the columns is the key.
fn upsert(conn: &Connection, table: &str, columns: &[&str], values: &[&dyn ToSql]) -> Result<()> {
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    let sets: Vec<String> = columns
        .iter()
        .skip(1)
        .map(|c| format!("{c} = excluded.{c}"))
        .collect();
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}
         WHERE excluded.rev > {table}.rev",
        columns.join(", "),
        places.join(", "),
        columns.first().copied().unwrap_or_default(),
        sets.join(", ")
    );
    conn.prepare_cached(&sql)?.execute(values)?;
    Ok(())
}

/// The values of a row by position in the table's definition, of any version: columns are
/// only ever appended.
#[derive(Clone, Copy)]
struct Columns<'a>(&'a [Value]);

impl<'a> Columns<'a> {
    fn integer(self, at: usize) -> Option<i64> {
        match self.0.get(at) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }

    fn text(self, at: usize) -> Option<&'a str> {
        match self.0.get(at) {
            Some(Value::Text(t)) => Some(t),
            _ => None,
        }
    }

    fn blob(self, at: usize) -> Option<&'a [u8]> {
        match self.0.get(at) {
            Some(Value::Blob(b)) => Some(b),
            _ => None,
        }
    }

    /// Whose the row is; rows of the first two versions are all of the one shard there was.
    fn shard(self, at: usize) -> &'a str {
        self.text(at).unwrap_or(super::shards::MAIN)
    }

    /// A text that is a JSON object: an overwritten page may well be valid text.
    fn object(self, at: usize) -> Option<&'a str> {
        self.text(at).filter(|text| {
            serde_json::from_str::<&RawValue>(text).is_ok_and(|v| v.get().starts_with('{'))
        })
    }
}

fn trouble(path: &Path, doing: &str, error: &std::io::Error) -> StoreError {
    match trouble_of_io(error) {
        StoreTrouble::ReadOnly => io_error(path, doing, error),
        _ => beyond_help(path, doing, &error.to_string()),
    }
}

fn beyond_help(path: &Path, doing: &str, cause: &str) -> StoreError {
    StoreError::BeyondHelp {
        path: path.to_path_buf(),
        cause: format!("{doing}: {cause}"),
    }
}
