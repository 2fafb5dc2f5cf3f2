//! Changes to statements.
//!
//! Every change is one modifying statement, or two that the schema cannot
//! refuse, so that a refused change leaves nothing behind and the rest of the
//! batch stands: SQLite undoes a refused statement alone.
//!
//! Invariant: nothing here begins or ends a transaction.

use rusqlite::{Connection, OptionalExtension, Result, ToSql, named_params};

use super::columns::{self, Col};
use super::members::{self, NotMerged};
use base::ids::RecordId;
use base::rows::{
    Change, ChannelRow, DestinationRow, InteractionRow, InteractionState, RecordKind, RecordRow,
    RecordState,
};
use base::time::Wall;

/// A transaction under way.
pub(super) struct Batch<'c> {
    /// Inside of a transaction.
    pub(super) conn: &'c Connection,
    /// When rows are marked over that carry no time of their own.
    pub(super) now: Wall,
    /// Number of this commit: of two copies of a row, salvage believes the higher one.
    pub(super) rev: i64,
    /// Whose changes these are: it changes only what is its own.
    pub(super) shard: &'c str,
}

/// How a change went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Applied {
    /// Done, or done before.
    Done,
    /// A record was added, with these members of its interaction.
    Taken(Option<String>),
    /// Left out, and why.
    Refused(String),
    /// Left out: the members of the interaction would grow too large.
    Outgrown,
    /// Maintenance, and what it touched.
    Maintained(Maintained),
}

/// What maintenance touched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Maintained {
    /// Rows, of both kinds and either change.
    pub(super) rows: u32,
    /// Removed interactions.
    pub(super) interactions: Vec<(InteractionState, u64)>,
    /// Removed records.
    pub(super) records: Vec<(RecordState, u64)>,
}

impl Maintained {
    /// Adds what another change touched.
    pub(super) fn add(&mut self, other: Maintained) {
        self.rows = self.rows.saturating_add(other.rows);
        for (state, n) in other.interactions {
            tally(&mut self.interactions, state, n);
        }
        for (state, n) in other.records {
            tally(&mut self.records, state, n);
        }
    }
}

fn tally<S: PartialEq>(counts: &mut Vec<(S, u64)>, state: S, n: u64) {
    match counts.iter_mut().find(|(s, _)| *s == state) {
        Some((_, count)) => *count += n,
        None => counts.push((state, n)),
    }
}

impl<'c> Batch<'c> {
    /// The same transaction, for the changes of a shard.
    pub(super) fn of(&self, shard: &'c str) -> Batch<'c> {
        Batch {
            conn: self.conn,
            now: self.now,
            rev: self.rev,
            shard,
        }
    }

    /// Applies one change.
    ///
    /// # Errors
    /// What the database reports; a refusal by the schema is [`Applied::Refused`] only where
    /// it is found before the statement runs.
    pub(super) fn apply(&self, change: &Change) -> Result<Applied> {
        match change {
            Change::Accept { row, members } => self.accept(row, members),
            Change::Interaction(row) => self.interaction(row),
            Change::Take { row, body, key } => self.take(row, body, key.as_ref()),
            Change::Record(row) => self.record(row),
            Change::Destination(row) => self.destination(row),
            Change::EraseBodies { before, limit } => self.erase(*before, *limit),
            Change::Purge { before, limit } => self.purge(*before, *limit),
            Change::Shrink { rows } => self.shrink(*rows),
        }
    }

    fn accept(&self, row: &InteractionRow, newer: &str) -> Result<Applied> {
        let present: Option<(Option<String>, bool)> = self
            .conn
            .prepare_cached(
                "SELECT members, over_at IS NULL AND shard <> ?2 FROM interaction
                WHERE conversation = ?1",
            )?
            .query_row((Col(row.conversation), self.shard), |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .optional()?;
        let (present, elsewhere) = present.unwrap_or_default();
        let merged = match members::merge(present.as_deref(), newer) {
            Ok(merged) => merged,
            Err(NotMerged::TooLarge) => return Ok(Applied::Outgrown),
            Err(NotMerged::NoObject) => {
                return Ok(Applied::Refused("the members are not an object".into()));
            }
        };
        if elsewhere {
            // It has another shard by now, which goes on with it: what was said of it is kept.
            self.conn
                .prepare_cached(
                    "UPDATE interaction SET members = ?2, rev = ?3 WHERE conversation = ?1",
                )?
                .execute((Col(row.conversation), merged, self.rev))?;
            return Ok(Applied::Done);
        }
        self.conn
            .prepare_cached(
                "INSERT INTO interaction (conversation, state, accepted_at, watched_since,
                    ended_at, reason_code, reason_detail, last_event_at, over_at, rev, members,
                    shard)
                VALUES (:conversation, :state, :accepted_at, :watched_since, :ended_at,
                    :reason_code, :reason_detail, :last_event_at, :over_at, :rev, :members,
                    :shard)
                ON CONFLICT (conversation) DO UPDATE SET
                    state = excluded.state, accepted_at = excluded.accepted_at,
                    watched_since = excluded.watched_since, ended_at = excluded.ended_at,
                    reason_code = excluded.reason_code, reason_detail = excluded.reason_detail,
                    last_event_at = excluded.last_event_at, over_at = excluded.over_at,
                    rev = excluded.rev, members = excluded.members, shard = excluded.shard",
            )?
            .execute(named_params! {
                ":conversation": Col(row.conversation),
                ":state": Col(row.state),
                ":accepted_at": Col(row.accepted_at),
                ":watched_since": row.watched_since.map(Col),
                ":ended_at": row.ended_at.map(Col),
                ":reason_code": row.reason.as_ref().map(|r| &r.code),
                ":reason_detail": row.reason.as_ref().map(|r| &r.detail),
                ":last_event_at": row.last_event_at.map(Col),
                ":over_at": row.state.ended().then(|| Col(row.ended_at.unwrap_or(self.now))),
                ":rev": self.rev,
                ":members": merged,
                ":shard": self.shard,
            })?;
        Ok(Applied::Done)
    }

    fn interaction(&self, row: &InteractionRow) -> Result<Applied> {
        let touched = self
            .conn
            .prepare_cached(
                "UPDATE interaction SET state = :state, accepted_at = :accepted_at,
                    watched_since = :watched_since, ended_at = :ended_at,
                    reason_code = :reason_code, reason_detail = :reason_detail,
                    last_event_at = :last_event_at, rev = :rev,
                    over_at = CASE WHEN :over THEN coalesce(:ended_at, over_at, :now) END
                WHERE conversation = :conversation AND shard = :shard",
            )?
            .execute(named_params! {
                ":conversation": Col(row.conversation),
                ":state": Col(row.state),
                ":accepted_at": Col(row.accepted_at),
                ":watched_since": row.watched_since.map(Col),
                ":ended_at": row.ended_at.map(Col),
                ":reason_code": row.reason.as_ref().map(|r| &r.code),
                ":reason_detail": row.reason.as_ref().map(|r| &r.detail),
                ":last_event_at": row.last_event_at.map(Col),
                ":over": row.state.ended(),
                ":now": Col(self.now),
                ":rev": self.rev,
                ":shard": self.shard,
            })?;
        let there = "SELECT 1 FROM interaction WHERE conversation = ?1";
        self.one_or_elsewhere(
            touched,
            there,
            &Col(row.conversation),
            "there is no such interaction",
        )
    }

    fn take(
        &self,
        row: &RecordRow,
        body: &str,
        key: Option<&(String, [u8; 32])>,
    ) -> Result<Applied> {
        let over_at = row
            .state
            .over()
            .then(|| row.delivered_at.unwrap_or(self.now));
        let with_members = row.kind == RecordKind::AfterCallWork;
        let inserted = self
            .conn
            .prepare_cached(
                "INSERT INTO record (record, kind, conversation, source, participant, session,
                    ordinal, event_time, matched_time, content_digest, received_at, state,
                    attempts, next_try, patience_from, patience_used, delivered_at, last_error, over_at,
                    rev, idem_key, idem_digest, body, members, shard)
                VALUES (:record, :kind, :conversation, :source, :participant, :session,
                    :ordinal, :event_time, :matched_time, :content_digest, :received_at, :state,
                    :attempts, :next_try, :received_at, :patience_used, :delivered_at, :last_error,
                    :over_at, :rev, :idem_key, :idem_digest, :body,
                    CASE WHEN :with_members THEN
                        (SELECT i.members FROM interaction i WHERE i.conversation = :conversation)
                    END, :shard)
                ON CONFLICT (record) DO NOTHING
                RETURNING members",
            )?
            .query_row(
                named_params! {
                ":record": Col(row.record),
                ":kind": Col(row.kind),
                ":conversation": row.conversation.map(Col),
                ":source": Col(row.source),
                ":participant": row.leg.participant,
                ":session": row.leg.session,
                ":ordinal": row.ordinal,
                ":event_time": row.event_time.map(Col),
                ":matched_time": row.matched_time.map(Col),
                ":content_digest": row.content_digest,
                ":received_at": Col(row.received_at),
                ":state": Col(row.state),
                ":attempts": row.attempts,
                ":next_try": row.next_try.map(Col),
                ":patience_used": columns::whole_millis(row.patience_used),
                ":delivered_at": row.delivered_at.map(Col),
                ":last_error": row.last_error,
                ":over_at": over_at.map(Col),
                ":rev": self.rev,
                ":idem_key": key.map(|(k, _)| k),
                ":idem_digest": key.map(|(_, d)| d.as_slice()),
                ":body": body,
                ":with_members": with_members,
                ":shard": self.shard,
                },
                |r| r.get(0),
            )
            .optional()?;
        if let Some(members) = inserted {
            return Ok(Applied::Taken(members));
        }
        // The id is there already. The same wrap-up or result once more is done before, and
        // what has happened to it since stays; anything else under that id is a defect.
        let whose: Option<String> = self
            .conn
            .prepare_cached("SELECT shard FROM record WHERE record = ?1")?
            .query_row([Col(row.record)], |r| r.get(0))
            .optional()?;
        Ok(match find_record(self.conn, row.record)? {
            // One files it, and that is whoever took it first: for this shard it is as good as
            // done, which its forwarders find out.
            Some(_) if whose.is_some_and(|whose| whose != self.shard) => Applied::Done,
            Some(there) if same_origin(&there, row) => Applied::Done,
            _ => Applied::Refused("another record has this id".into()),
        })
    }

    fn record(&self, row: &RecordRow) -> Result<Applied> {
        let touched = self
            .conn
            .prepare_cached(
                "UPDATE record SET kind = :kind, conversation = :conversation, source = :source,
                    participant = :participant, session = :session, ordinal = :ordinal,
                    event_time = :event_time, matched_time = :matched_time,
                    content_digest = :content_digest, received_at = :received_at, state = :state,
                    attempts = :attempts, next_try = :next_try, patience_used = :patience_used,
                    delivered_at = :delivered_at, last_error = :last_error, rev = :rev,
                    over_at = CASE WHEN :over THEN coalesce(:delivered_at, over_at, :now) END
                WHERE record = :record AND shard = :shard",
            )?
            .execute(named_params! {
                ":record": Col(row.record),
                ":kind": Col(row.kind),
                ":conversation": row.conversation.map(Col),
                ":source": Col(row.source),
                ":participant": row.leg.participant,
                ":session": row.leg.session,
                ":ordinal": row.ordinal,
                ":event_time": row.event_time.map(Col),
                ":matched_time": row.matched_time.map(Col),
                ":content_digest": row.content_digest,
                ":received_at": Col(row.received_at),
                ":state": Col(row.state),
                ":attempts": row.attempts,
                ":next_try": row.next_try.map(Col),
                ":patience_used": columns::whole_millis(row.patience_used),
                ":delivered_at": row.delivered_at.map(Col),
                ":last_error": row.last_error,
                ":over": row.state.over(),
                ":now": Col(self.now),
                ":rev": self.rev,
                ":shard": self.shard,
            })?;
        let there = "SELECT 1 FROM record WHERE record = ?1";
        self.one_or_elsewhere(touched, there, &Col(row.record), "there is no such record")
    }

    /// A row that another shard has by now is that one's to change: done.
    fn one_or_elsewhere(
        &self,
        touched: usize,
        there: &str,
        key: &dyn ToSql,
        why: &str,
    ) -> Result<Applied> {
        if touched == 1 || self.conn.prepare_cached(there)?.exists([key])? {
            return Ok(Applied::Done);
        }
        Ok(Applied::Refused(why.into()))
    }

    fn destination(&self, row: &DestinationRow) -> Result<Applied> {
        self.conn
            .prepare_cached(
                "INSERT INTO note (name, value) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute((
                columns::note_of(columns::NOTE_DESTINATION, self.shard),
                columns::destination_text(row),
            ))?;
        Ok(Applied::Done)
    }

    /// `secure_delete` overwrites what is freed in the file; the copies in the write-ahead
    /// log go with the truncating checkpoint that follows (`Store::upkeep`).
    /// Of an error the words before the first colon stay, which are ours: the history manager
    /// may have repeated what it was sent.
    fn erase(&self, before: Wall, limit: u32) -> Result<Applied> {
        let records = self
            .conn
            .prepare_cached(
                "UPDATE record SET body = NULL, members = NULL, rev = ?3,
                    last_error = substr(last_error, 1, instr(last_error || ': ', ': ') - 1)
                WHERE id IN
                    (SELECT id FROM record WHERE over_at IS NOT NULL AND body IS NOT NULL
                        AND over_at < ?1 AND shard = ?4 ORDER BY over_at LIMIT ?2)",
            )?
            .execute((Col(before), limit, self.rev, self.shard))?;
        let interactions = self
            .conn
            .prepare_cached(
                "UPDATE interaction SET members = NULL, rev = ?3 WHERE id IN
                    (SELECT id FROM interaction WHERE over_at IS NOT NULL AND members IS NOT NULL
                        AND over_at < ?1 AND shard = ?4 ORDER BY over_at LIMIT ?2)",
            )?
            .execute((Col(before), limit, self.rev, self.shard))?;
        Ok(Applied::Maintained(Maintained {
            rows: u32::try_from(records + interactions).unwrap_or(u32::MAX),
            ..Maintained::default()
        }))
    }

    /// A record stays as long as its interaction does, because started again that must not
    /// file it twice.
    fn purge(&self, before: Wall, limit: u32) -> Result<Applied> {
        let mut done = Maintained::default();
        let mut records = self.conn.prepare_cached(
            "DELETE FROM record WHERE id IN
                (SELECT id FROM record r WHERE over_at IS NOT NULL AND over_at < ?1
                    AND NOT EXISTS (SELECT 1 FROM interaction i
                        WHERE i.conversation = r.conversation
                        AND (i.over_at IS NULL OR i.over_at >= ?1))
                    AND shard = ?3 ORDER BY over_at LIMIT ?2)
            RETURNING state",
        )?;
        let mut rows = records.query((Col(before), limit, self.shard))?;
        while let Some(row) = rows.next()? {
            tally(&mut done.records, columns::get(row, 0)?, 1);
            done.rows = done.rows.saturating_add(1);
        }
        let mut interactions = self.conn.prepare_cached(
            "DELETE FROM interaction WHERE id IN
                (SELECT id FROM interaction i WHERE over_at IS NOT NULL AND over_at < ?1
                    AND NOT EXISTS (SELECT 1 FROM record r WHERE r.conversation = i.conversation)
                    AND shard = ?3 ORDER BY over_at LIMIT ?2)
            RETURNING state",
        )?;
        let mut rows = interactions.query((Col(before), limit, self.shard))?;
        while let Some(row) = rows.next()? {
            tally(&mut done.interactions, columns::get(row, 0)?, 1);
            done.rows = done.rows.saturating_add(1);
        }
        Ok(Applied::Maintained(done))
    }

    /// No promise needs these: there is nothing of them that could be filed twice.
    fn shrink(&self, rows: u32) -> Result<Applied> {
        let mut done = Maintained::default();
        let mut interactions = self.conn.prepare_cached(
            "DELETE FROM interaction WHERE id IN
                (SELECT id FROM interaction i WHERE over_at IS NOT NULL
                    AND state IN ('stopped', 'refused', 'expired')
                    AND NOT EXISTS (SELECT 1 FROM record r WHERE r.conversation = i.conversation)
                    AND shard = ?2 ORDER BY over_at LIMIT ?1)
            RETURNING state",
        )?;
        let mut rows = interactions.query((rows, self.shard))?;
        while let Some(row) = rows.next()? {
            tally(&mut done.interactions, columns::get(row, 0)?, 1);
            done.rows = done.rows.saturating_add(1);
        }
        Ok(Applied::Maintained(done))
    }

    /// Replaces the kept channels. Those of the first shard lie under their slots, as in a
    /// database that knows of no others; the others behind them.
    pub(super) fn channels(&self, rows: &[ChannelRow]) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM channel WHERE shard = ?1")?
            .execute([self.shard])?;
        let mut insert = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO channel
                (slot, channel, connect_uri, created_at, expires_at, token_ends_at, shard, place)
            VALUES (
                CASE ?7 WHEN 'main' THEN ?1
                    ELSE (SELECT max(255, coalesce(max(slot), 0)) + 1 FROM channel) END,
                ?2, ?3, ?4, ?5, ?6, ?7, ?1)",
        )?;
        for row in rows {
            insert.execute((
                row.slot,
                Col(row.id.clone()),
                Col(row.connect_uri.clone()),
                Col(row.created_at),
                Col(row.expires_at),
                Col(row.token_ends_at),
                self.shard,
            ))?;
        }
        Ok(())
    }

    /// The heartbeat; part of every commit.
    pub(super) fn pulse(&self) -> Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO pulse (id, alive_at, rev) VALUES (1, ?1, ?2)
                ON CONFLICT (id) DO UPDATE SET alive_at = excluded.alive_at, rev = excluded.rev",
            )?
            .execute((Col(self.now), self.rev))?;
        Ok(())
    }
}

/// A record by its id.
pub(super) fn find_record(conn: &Connection, id: RecordId) -> Result<Option<RecordRow>> {
    let sql = format!("SELECT {} FROM record WHERE record = ?1", columns::RECORD);
    conn.prepare_cached(&sql)?
        .query_row([Col(id)], columns::record)
        .optional()
}

/// Equal in what is fixed when a record is taken.
fn same_origin(a: &RecordRow, b: &RecordRow) -> bool {
    a.kind == b.kind
        && a.conversation == b.conversation
        && a.leg == b.leg
        && a.ordinal == b.ordinal
        && a.content_digest == b.content_digest
        && a.received_at == b.received_at
}
