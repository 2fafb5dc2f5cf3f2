//! Reading beside the store thread: each forwarder and each caller's thread has
//! a connection of its own, opened at the first question.
//!
//! Invariant: a reader never writes, and sees one moment of the database per
//! question. After an error it starts over with a new connection.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::columns;
use super::error::StoreError;
use super::load;
use super::open::sql_error;
use super::schema;
use super::writer::find_record;
use base::ids::{ConversationId, RecordId};
use base::rows::{InteractionRow, RecordRow, RecordState};

/// An interaction with what is kept of it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredInteraction {
    /// Its columns.
    pub row: InteractionRow,
    /// JSON object text of the members; `None` once erased.
    pub members: Option<String>,
    /// Its after-call-work records, oldest first.
    pub records: Vec<RecordRow>,
}

/// A record with what is filed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its columns.
    pub row: RecordRow,
    /// JSON object text of `afterCallWork` or `result`; `None` once erased.
    pub body: Option<String>,
    /// JSON object text of the members that the interaction had when the record was taken;
    /// `None` for a support result, or once erased.
    pub members: Option<String>,
}

/// A read-only view for one thread.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    conn: Option<Connection>,
}

impl Reader {
    /// A reader of the database at `path` (see [`super::Store::path`]); opens nothing yet.
    #[must_use]
    pub fn new(path: &Path) -> Reader {
        Reader {
            path: path.to_path_buf(),
            conn: None,
        }
    }

    /// An interaction with its members and records.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn interaction(
        &mut self,
        id: ConversationId,
    ) -> Result<Option<StoredInteraction>, StoreError> {
        self.read(|conn| {
            let found = conn
                .prepare_cached(&format!(
                    "SELECT {}, members FROM interaction WHERE conversation = ?1",
                    columns::INTERACTION
                ))?
                .query_row([columns::Col(id)], |row| {
                    Ok((
                        columns::interaction(row)?,
                        row.get(columns::INTERACTION_COUNT)?,
                    ))
                })
                .optional()?;
            Ok(match found {
                Some((row, members)) => Some(StoredInteraction {
                    row,
                    members,
                    records: load::records_of(conn, id)?,
                }),
                None => None,
            })
        })
    }

    /// Whose an interaction is, and whether it goes on; `None` if nobody reported it.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn shard_of(&mut self, id: ConversationId) -> Result<Option<(String, bool)>, StoreError> {
        self.read(|conn| {
            let sql = "SELECT shard, over_at IS NULL FROM interaction WHERE conversation = ?1";
            conn.prepare_cached(sql)?
                .query_row([columns::Col(id)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }

    /// Whose a record is.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn shard_of_record(&mut self, id: RecordId) -> Result<Option<String>, StoreError> {
        self.read(|conn| {
            conn.prepare_cached("SELECT shard FROM record WHERE record = ?1")?
                .query_row([columns::Col(id)], |row| row.get(0))
                .optional()
        })
    }

    /// A record with its body and the copied members.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn record(&mut self, id: RecordId) -> Result<Option<StoredRecord>, StoreError> {
        self.read(|conn| stored_record(conn, id))
    }

    /// Records, oldest first, in one state or in any, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn records(
        &mut self,
        state: Option<RecordState>,
        limit: u32,
    ) -> Result<Vec<RecordRow>, StoreError> {
        self.read(|conn| list_records(conn, state.map(RecordState::label), limit))
    }

    /// A record without its body.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read; the next call tries anew.
    pub fn row(&mut self, id: RecordId) -> Result<Option<RecordRow>, StoreError> {
        self.read(|conn| find_record(conn, id))
    }

    fn read<T>(
        &mut self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => open(&self.path)?,
        };
        let asked = conn.transaction().and_then(|tx| question(&tx));
        match asked {
            Ok(answer) => {
                self.conn = Some(conn);
                Ok(answer)
            }
            Err(e) => Err(sql_error(&self.path, "reading", &e)),
        }
    }
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_path_buf(),
        });
    }
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .and_then(|conn| schema::tune_reader(&conn).map(|()| conn))
    .map_err(|e| sql_error(path, "opening it for reading", &e))
}

/// A record with its body and the copied members.
pub(super) fn stored_record(
    conn: &Connection,
    id: RecordId,
) -> rusqlite::Result<Option<StoredRecord>> {
    conn.prepare_cached(&format!(
        "SELECT {}, body, members FROM record WHERE record = ?1",
        columns::RECORD_OF_ANY_VERSION
    ))?
    .query_row([columns::Col(id)], |row| {
        Ok(StoredRecord {
            row: columns::record(row)?,
            body: row.get(columns::RECORD_COUNT)?,
            members: row.get(columns::RECORD_COUNT + 1)?,
        })
    })
    .optional()
}

/// Records, oldest first. What cannot be read is left out.
pub(super) fn list_records(
    conn: &Connection,
    state: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<RecordRow>> {
    let mut skipped = 0;
    load::readable(
        conn,
        &format!(
            "SELECT {} FROM record WHERE ?1 IS NULL OR state = ?1 ORDER BY id LIMIT ?2",
            columns::RECORD_OF_ANY_VERSION
        ),
        (state, limit),
        columns::record,
        &mut skipped,
    )
}
