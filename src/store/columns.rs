//! Rows to columns and back: the one place that knows which column holds what.
//!
//! Invariant: what is written is read back equal; what cannot be read as what
//! the column holds is an error of that row alone.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};

use crate::filing::rows::{
    ChannelRow, InteractionRow, InteractionState, Leg, Reason, RecordKind, RecordRow, RecordState,
    Source,
};
use crate::ids::{ConversationId, RecordId};
use crate::secret::Secret;
use crate::time::Wall;

macro_rules! as_text {
    ($($type:ty => $write:expr, $read:expr;)+) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                let write: fn(&$type) -> ToSqlOutput<'_> = $write;
                Ok(write(self))
            }
        }
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let read: fn(&str) -> Option<$type> = $read;
                read(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    )+};
}
as_text! {
    ConversationId => |v| v.to_string().into(), |t| t.parse().ok();
    RecordId => |v| v.to_string().into(), |t| t.parse().ok();
    InteractionState => |v| v.as_str().into(), InteractionState::parse;
    RecordState => |v| v.as_str().into(), RecordState::parse;
    RecordKind => |v| v.as_str().into(), RecordKind::parse;
    Source => |v| v.as_str().into(), Source::parse;
    Secret => |v| v.expose().into(), |t| Some(Secret::new(t));
}

impl ToSql for Wall {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Wall {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Wall)
    }
}

/// The columns that [`interaction`] reads, from 0.
pub(super) const INTERACTION: &str = "conversation, state, accepted_at, watched_since, ended_at, \
     reason_code, reason_detail, last_event_at";

/// How many columns [`INTERACTION`] has: what a query asks for besides follows them.
pub(super) const INTERACTION_COUNT: usize = 8;

/// Reads [`INTERACTION`].
pub(super) fn interaction(row: &Row<'_>) -> Result<InteractionRow> {
    Ok(InteractionRow {
        conversation: row.get(0)?,
        state: row.get(1)?,
        accepted_at: row.get(2)?,
        watched_since: row.get(3)?,
        ended_at: row.get(4)?,
        reason: match row.get::<_, Option<String>>(5)? {
            Some(code) => Some(Reason {
                code,
                detail: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            }),
            None => None,
        },
        last_event_at: row.get(7)?,
    })
}

/// The columns that [`record`] reads, from 0.
pub(super) const RECORD: &str = "record, kind, conversation, source, participant, session, \
     ordinal, event_time, matched_time, content_digest, received_at, state, attempts, next_try, \
     patience_from, delivered_at, last_error";

/// How many columns [`RECORD`] has: what a query asks for besides follows them.
pub(super) const RECORD_COUNT: usize = 17;

/// Reads [`RECORD`].
pub(super) fn record(row: &Row<'_>) -> Result<RecordRow> {
    Ok(RecordRow {
        record: row.get(0)?,
        kind: row.get(1)?,
        conversation: row.get(2)?,
        source: row.get(3)?,
        leg: Leg {
            participant: row.get(4)?,
            session: row.get(5)?,
        },
        ordinal: row.get(6)?,
        event_time: row.get(7)?,
        matched_time: row.get(8)?,
        content_digest: row.get(9)?,
        received_at: row.get(10)?,
        state: row.get(11)?,
        attempts: row.get(12)?,
        next_try: row.get(13)?,
        patience_from: row.get(14)?,
        delivered_at: row.get(15)?,
        last_error: row.get(16)?,
    })
}

/// The columns that [`channel`] reads, from 0.
pub(super) const CHANNEL: &str =
    "slot, channel, connect_uri, created_at, expires_at, token_ends_at";

/// Reads [`CHANNEL`].
pub(super) fn channel(row: &Row<'_>) -> Result<ChannelRow> {
    Ok(ChannelRow {
        slot: row.get(0)?,
        id: row.get(1)?,
        connect_uri: row.get(2)?,
        created_at: row.get(3)?,
        expires_at: row.get(4)?,
        token_ends_at: row.get(5)?,
    })
}
