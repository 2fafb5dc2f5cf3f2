//! What is read back: everything that is not over at start, and single answers later.
//!
//! Invariant: a row that cannot be read blocks no other row; it is left where
//! it is and counted in the log.

use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::columns::{self, Col, Column};
use super::error::is_unreadable_value;
use super::writer::find_record;
use base::ids::ConversationId;
use base::rows::{Found, InteractionRow, Lookup, RecordRow, Recovered};

/// Name of the note that says where a damaged database was put.
pub(super) const NOTE_DAMAGED: &str = "damaged";

/// Everything that the core starts from. The indexes are named because it must never read
/// whole tables here, a month of what is over included.
pub(super) fn recovered(conn: &Connection) -> Result<Recovered> {
    let mut skipped = 0;
    let interactions = readable(
        conn,
        &format!(
            "SELECT {} FROM interaction INDEXED BY interaction_live
                WHERE over_at IS NULL ORDER BY id",
            columns::INTERACTION
        ),
        [],
        columns::interaction,
        &mut skipped,
    )?;
    let records = readable(
        conn,
        &format!(
            "SELECT {cols}, id FROM record INDEXED BY record_open WHERE over_at IS NULL
            UNION ALL
            SELECT {cols}, id FROM record WHERE over_at IS NOT NULL AND kind = 'after-call-work'
                AND conversation IN (SELECT conversation FROM interaction WHERE over_at IS NULL)
            ORDER BY id",
            cols = columns::RECORD
        ),
        [],
        columns::record,
        &mut skipped,
    )?;
    let channels = readable(
        conn,
        &format!("SELECT {} FROM channel ORDER BY slot", columns::CHANNEL),
        [],
        columns::channel,
        &mut skipped,
    )?;
    let ended = readable(
        conn,
        "SELECT state, count(*) FROM interaction WHERE over_at IS NOT NULL GROUP BY state",
        [],
        state_and_count,
        &mut skipped,
    )?;
    let over = readable(
        conn,
        "SELECT state, count(*) FROM record WHERE over_at IS NOT NULL GROUP BY state",
        [],
        state_and_count,
        &mut skipped,
    )?;
    if skipped > 0 {
        log::error!("{skipped} rows of the database cannot be read and are left alone");
    }
    Ok(Recovered {
        interactions,
        records,
        channels,
        destination: note(conn, columns::NOTE_DESTINATION)?
            .map(|text| columns::destination(&text))
            .unwrap_or_default(),
        ended,
        over,
        last_alive: conn
            .query_row("SELECT alive_at FROM pulse WHERE id = 1", [], |r| {
                columns::get_any(r, 0)
            })
            .optional()?
            .flatten(),
        damaged: note(conn, NOTE_DAMAGED)?,
    })
}

/// A state and how many rows are in it.
pub(super) fn state_and_count<S: Column>(row: &Row<'_>) -> Result<(S, u64)> {
    let n: i64 = row.get(1)?;
    Ok((columns::get(row, 0)?, u64::try_from(n).unwrap_or(0)))
}

/// A note by its name.
pub(super) fn note(conn: &Connection, name: &str) -> Result<Option<String>> {
    conn.query_row("SELECT value FROM note WHERE name = ?1", [name], |r| {
        r.get(0)
    })
    .optional()
}

/// The answer to one question.
pub(super) fn answer(conn: &Connection, question: &Lookup) -> Result<Found> {
    Ok(match question {
        Lookup::Interaction(id) => {
            Found::Interaction(find_interaction(conn, *id)?, records_of(conn, *id)?)
        }
        Lookup::Key(key) => Found::Key(
            conn.prepare_cached(&format!(
                "SELECT {}, idem_digest FROM record WHERE idem_key = ?1",
                columns::RECORD
            ))?
            .query_row([key], |row| {
                let digest: [u8; 32] = row.get(columns::RECORD_COUNT)?;
                Ok((columns::record(row)?, digest))
            })
            .optional()?,
        ),
        Lookup::Record(id) => Found::Record(find_record(conn, *id)?),
    })
}

fn find_interaction(conn: &Connection, id: ConversationId) -> Result<Option<InteractionRow>> {
    conn.prepare_cached(&format!(
        "SELECT {} FROM interaction WHERE conversation = ?1",
        columns::INTERACTION
    ))?
    .query_row([Col(id)], columns::interaction)
    .optional()
}

/// The after-call-work records of an interaction, oldest first.
pub(super) fn records_of(conn: &Connection, id: ConversationId) -> Result<Vec<RecordRow>> {
    conn.prepare_cached(&format!(
        "SELECT {} FROM record WHERE conversation = ?1 AND kind = 'after-call-work'
            ORDER BY received_at, id",
        columns::RECORD
    ))?
    .query_map([Col(id)], columns::record)?
    .collect()
}

/// All rows of a query that can be read; the others are counted.
pub(super) fn readable<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
    skipped: &mut u64,
) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(value) => found.push(value),
            Err(e) if is_unreadable_value(&e) => *skipped += 1,
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}
