//! Whose a row is, and what becomes of the rows of a shard that is gone.
//!
//! A shard is one OAuth client's world: its channels, the conversations that were given to it
//! and the records that it took. Each row has one, from the moment it is inserted; a change
//! that another shard orders leaves a row alone, so that a conversation can be given away under
//! the feet of a core that does not know it yet.
//!
//! ```text
//!   removed from the configuration ──next start──► live conversations and their records: to
//!                                                  those with room; all other rows: to the first
//!   refused for good ──while it runs──► live conversations: to others with room; records stay
//! ```
//!
//! Who a shard is lies in a note under its name, so that one that was only given another name
//! is told from one that is gone. With one shard there are no such notes.
//!
//! Invariants: rows change hands within one transaction; a conversation has one shard at any
//! moment.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Result};

use super::columns::{self, Col};
use super::writer::Batch;
use base::ids::ConversationId;

/// The shard that is always there, and whose rows those of older databases are.
pub const MAIN: &str = "main";

/// What a shard's note is called, before its name.
const NOTE_SHARD: &str = "shard:";

/// A shard of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Who signs in: the same text for the same client and user, and for nobody else.
    pub identity: String,
    /// Conversations that it can watch at once.
    pub places: u64,
}

impl Claim {
    /// The one shard of a database that knows of no others.
    #[must_use]
    pub fn alone() -> Claim {
        Claim {
            name: MAIN.into(),
            identity: String::new(),
            places: u64::MAX,
        }
    }
}

/// What settling the claims came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// Every row is where it was.
    AsBefore,
    /// Rows have another shard now.
    Moved,
    /// The client of one name stands in the configuration under another.
    Renamed { was: String, is: String },
}

/// Gives each of `conversations` to whoever of `free` has most places left, ties in their order.
fn spread<'a>(
    conversations: &[ConversationId],
    free: &mut [(&'a str, i64)],
) -> Vec<(ConversationId, &'a str)> {
    let mut spread = Vec::with_capacity(conversations.len());
    for conversation in conversations {
        // Of equals the first: `max_by_key` would take the last.
        let most = free.iter_mut().rev().max_by_key(|(_, places)| *places);
        if let Some((shard, places)) = most {
            *places -= 1;
            spread.push((*conversation, *shard));
        }
    }
    spread
}

fn live_of(conn: &Connection, shard: &str) -> Result<Vec<ConversationId>> {
    conn.prepare_cached(
        "SELECT conversation FROM interaction INDEXED BY interaction_live
            WHERE over_at IS NULL AND shard = ?1 ORDER BY id",
    )?
    .query_map([shard], |row| columns::get(row, 0))?
    .collect()
}

fn noted(conn: &Connection) -> Result<BTreeMap<String, String>> {
    conn.prepare("SELECT name, value FROM note WHERE name LIKE 'shard:%'")?
        .query_map([], |row| {
            let name: String = row.get(0)?;
            let name = name.trim_start_matches(NOTE_SHARD).to_owned();
            Ok((name, row.get(1)?))
        })?
        .collect()
}

/// Whether the database knows of these shards and no others, so that nothing is to be written.
/// One that is alone, as there always was, has no note.
pub(super) fn agree(conn: &Connection, claims: &[Claim]) -> Result<bool> {
    let wanted = claims.iter().filter(|_| claims.len() > 1);
    let wanted = wanted.map(|claim| (claim.name.clone(), claim.identity.clone()));
    Ok(noted(conn)? == wanted.collect())
}

/// Every shard that has a row, found by looking at all of them.
fn found(conn: &Connection) -> Result<BTreeSet<String>> {
    conn.prepare(
        "SELECT shard FROM interaction UNION SELECT shard FROM record
            UNION SELECT shard FROM channel",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Holds the shards of the configuration against those of the database: see the module.
/// `notes_lost` says that the notes went with a damaged database.
pub(super) fn settle(batch: &Batch<'_>, claims: &[Claim], notes_lost: bool) -> Result<Settled> {
    let conn = batch.conn;
    let notes = noted(conn)?;
    let claimed = |name: &str| claims.iter().find(|claim| claim.name == name);
    for (was, identity) in &notes {
        let moved = claims
            .iter()
            .find(|claim| claim.identity == *identity && claim.name != *was);
        if let Some(is) = moved
            && claimed(was).is_none_or(|claim| claim.identity != *identity)
        {
            return Ok(Settled::Renamed {
                was: was.clone(),
                is: is.name.clone(),
            });
        }
    }
    let mut gone: BTreeSet<String> = notes.keys().cloned().collect();
    if notes_lost {
        gone.extend(found(conn)?);
    }
    gone.retain(|name| claimed(name).is_none());
    for shard in &gone {
        give_up(batch, shard, claims)?;
    }
    for claim in claims {
        let before = notes.get(&claim.name);
        if before.is_some_and(|identity| *identity != claim.identity) {
            // Channels of another client: of no use to this one.
            conn.execute("DELETE FROM channel WHERE shard = ?1", [&claim.name])?;
        }
        let name = format!("{NOTE_SHARD}{}", claim.name);
        if claims.len() == 1 {
            conn.execute("DELETE FROM note WHERE name = ?1", [name])?;
        } else if before != Some(&claim.identity) {
            conn.execute(
                "INSERT INTO note (name, value) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, &claim.identity),
            )?;
        }
    }
    Ok(if gone.is_empty() {
        Settled::AsBefore
    } else {
        Settled::Moved
    })
}

/// All rows of a shard that is configured no more, to those that are.
fn give_up(batch: &Batch<'_>, shard: &str, claims: &[Claim]) -> Result<()> {
    let conn = batch.conn;
    let mut free = Vec::new();
    for claim in claims {
        let places = i64::try_from(claim.places).unwrap_or(i64::MAX);
        let live = i64::try_from(live_of(conn, &claim.name)?.len()).unwrap_or(i64::MAX);
        free.push((claim.name.as_str(), places.saturating_sub(live)));
    }
    let live = live_of(conn, shard)?;
    for (conversation, to) in spread(&live, &mut free) {
        hand_over(batch, conversation, to)?;
        conn.prepare_cached(
            "UPDATE record SET shard = ?2, rev = ?3 WHERE conversation = ?1 AND shard = ?4",
        )?
        .execute((Col(conversation), to, batch.rev, shard))?;
    }
    let mut rest = 0;
    for table in ["interaction", "record"] {
        let sql = format!("UPDATE {table} SET shard = ?1, rev = ?2 WHERE shard = ?3");
        rest += conn.execute(&sql, (MAIN, batch.rev, shard))?;
    }
    conn.execute("DELETE FROM channel WHERE shard = ?1", [shard])?;
    for note in [
        format!("{NOTE_SHARD}{shard}"),
        columns::note_of(columns::NOTE_DESTINATION, shard),
    ] {
        conn.execute("DELETE FROM note WHERE name = ?1", [note])?;
    }
    log::warn!(
        "shard {shard} is configured no more: its {} unfinished conversations go on with others, \
         {rest} finished rows are kept by {MAIN}",
        live.len()
    );
    Ok(())
}

fn hand_over(batch: &Batch<'_>, conversation: ConversationId, to: &str) -> Result<()> {
    batch
        .conn
        .prepare_cached("UPDATE interaction SET shard = ?2, rev = ?3 WHERE conversation = ?1")?
        .execute((Col(conversation), to, batch.rev))?;
    Ok(())
}

/// The live conversations of `from`, to those with room; who got which. Its records stay.
pub(super) fn give_away(
    batch: &Batch<'_>,
    from: &str,
    to: &[(String, u64)],
) -> Result<Vec<(ConversationId, String)>> {
    let mut free: Vec<(&str, i64)> = to
        .iter()
        .map(|(name, places)| (name.as_str(), i64::try_from(*places).unwrap_or(i64::MAX)))
        .collect();
    let room: i64 = free.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n));
    let mut live = live_of(batch.conn, from)?;
    // What finds no room stays: there is nothing that it would gain.
    live.truncate(usize::try_from(room).unwrap_or(0));
    let given = spread(&live, &mut free);
    for (conversation, to) in &given {
        hand_over(batch, *conversation, to)?;
    }
    Ok(given
        .into_iter()
        .map(|(conversation, to)| (conversation, to.to_owned()))
        .collect())
}
