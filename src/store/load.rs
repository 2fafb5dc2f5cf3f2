//! What is read back: everything that is not over at start, and single answers later.
//!
//! Invariant: a row that cannot be read blocks no other row; it is left where
//! it is and counted in the log.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Params, Result, Row};

use super::columns::{self, Col, Column};
use super::error::is_unreadable_value;
use super::writer::find_record;
use base::ids::ConversationId;
use base::rows::{Found, InteractionRow, Lookup, RecordRow, RecordState, Recovered};

/// Name of the note that says where a damaged database was put.
pub(super) const NOTE_DAMAGED: &str = "damaged";

/// How many rows are over, by shard and state.
type Over<S> = BTreeMap<String, Vec<(S, u64)>>;

/// The number of the last commit, and what is not over of each shard.
pub(super) fn read_back(
    conn: &Connection,
    shards: &[&str],
) -> rusqlite::Result<(i64, Vec<Recovered>)> {
    let rev = conn.query_row("SELECT coalesce(max(rev), 0) FROM pulse", [], |r| r.get(0))?;
    Ok((rev, recovered(conn, shards)?))
}

/// Everything that each of the shards starts from, in their order.
pub(super) fn recovered(conn: &Connection, shards: &[&str]) -> Result<Vec<Recovered>> {
    let mut ended = over(conn, "interaction", shards)?;
    let mut records_over = over(conn, "record", shards)?;
    let mut all = Vec::with_capacity(shards.len());
    for shard in shards {
        all.push(Recovered {
            ended: ended.remove(*shard).unwrap_or_default(),
            over: records_over.remove(*shard).unwrap_or_default(),
            ..of_shard(conn, shard, shards.len() == 1)?
        });
    }
    Ok(all)
}

/// One shard has everything: it is counted in the index. Where there are several the rows
/// themselves are read, once.
fn over<S: Column>(conn: &Connection, table: &str, shards: &[&str]) -> Result<Over<S>> {
    let (whose, by) = match shards {
        [one] => (format!("'{one}'"), "state"),
        _ => ("shard".to_owned(), "shard, state"),
    };
    let sql = format!(
        "SELECT state, count(*), {whose} FROM {table} WHERE over_at IS NOT NULL GROUP BY {by}"
    );
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(2)?, state_and_count(row)?));
    let mut skipped = 0;
    let mut over = Over::new();
    for (shard, counted) in readable(conn, &sql, [], read, &mut skipped)? {
        over.entry(shard).or_default().push(counted);
    }
    Ok(over)
}

/// What is not over of one shard. The indexes are named because it must never read whole
/// tables here, a month of what is over included.
fn of_shard(conn: &Connection, shard: &str, alone: bool) -> Result<Recovered> {
    let mut skipped = 0;
    let interactions = readable(
        conn,
        &format!(
            "SELECT {} FROM interaction INDEXED BY interaction_live
                WHERE over_at IS NULL AND shard = ?1 ORDER BY id",
            columns::INTERACTION
        ),
        [shard],
        columns::interaction,
        &mut skipped,
    )?;
    // What another shard still has to file of a conversation that was given to this one.
    let others = match alone {
        true => String::new(),
        false => format!(
            "UNION ALL
            SELECT {}, id FROM record INDEXED BY record_open
                WHERE over_at IS NULL AND shard <> ?1 AND kind = 'after-call-work'
                AND conversation IN
                    (SELECT conversation FROM interaction WHERE over_at IS NULL AND shard = ?1)",
            columns::RECORD_ELSEWHERE
        ),
    };
    let records = readable(
        conn,
        &format!(
            "SELECT {cols}, id FROM record INDEXED BY record_open
                WHERE over_at IS NULL AND shard = ?1
            UNION ALL
            SELECT {cols}, id FROM record WHERE over_at IS NOT NULL AND kind = 'after-call-work'
                AND conversation IN
                    (SELECT conversation FROM interaction WHERE over_at IS NULL AND shard = ?1)
            {others}
            ORDER BY id",
            cols = columns::RECORD
        ),
        [shard],
        columns::record,
        &mut skipped,
    )?;
    let channels = readable(
        conn,
        &format!(
            "SELECT {} FROM channel WHERE shard = ?1 ORDER BY 1",
            columns::CHANNEL
        ),
        [shard],
        columns::channel,
        &mut skipped,
    )?;
    if skipped > 0 {
        log::error!("{skipped} rows of the database cannot be read and are left alone");
    }
    Ok(Recovered {
        interactions,
        records,
        channels,
        destination: note(conn, &columns::note_of(columns::NOTE_DESTINATION, shard))?
            .map(|text| columns::destination(&text))
            .unwrap_or_default(),
        ended: Vec::new(),
        over: Vec::new(),
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

/// The answer to one question of a shard.
pub(super) fn answer(conn: &Connection, question: &Lookup, shard: &str) -> Result<Found> {
    Ok(match question {
        Lookup::Interaction(id) => {
            Found::Interaction(find_interaction(conn, *id)?, records_for(conn, *id, shard)?)
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

/// The same, for a shard: what another has to file is over for this one.
fn records_for(conn: &Connection, id: ConversationId, shard: &str) -> Result<Vec<RecordRow>> {
    let sql = format!(
        "SELECT {}, over_at IS NULL AND shard <> ?2 FROM record
            WHERE conversation = ?1 AND kind = 'after-call-work' ORDER BY received_at, id",
        columns::RECORD
    );
    conn.prepare_cached(&sql)?
        .query_map((Col(id), shard), |row| {
            let mut record = columns::record(row)?;
            if row.get(columns::RECORD_COUNT)? {
                record.state = RecordState::Delivered;
                record.next_try = None;
            }
            Ok(record)
        })?
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
