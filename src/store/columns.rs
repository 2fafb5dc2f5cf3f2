//! Rows to columns and back: the one place that knows which column holds what.
//!
//! Invariant: what is written is read back equal; what cannot be read as what
//! the column holds is an error of that row alone.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};

use base::ids::{ConversationId, RecordId};
use base::rows::{
    ChannelRow, DestinationRow, InteractionRow, InteractionState, Leg, Reason, RecordKind,
    RecordRow, RecordState, Source,
};
use base::secret::Secret;
use base::time::{Wall, millis};

/// What a column can hold.
pub(super) trait Column: Sized {
    /// As the schema holds it.
    fn write(&self) -> ToSqlOutput<'_>;
    /// Reads [`write`](Column::write).
    fn read(value: ValueRef<'_>) -> FromSqlResult<Self>;
}

macro_rules! as_text {
    ($($type:ty => $write:expr, $read:expr;)+) => {$(
        impl Column for $type {
            fn write(&self) -> ToSqlOutput<'_> {
                let write: fn(&$type) -> ToSqlOutput<'_> = $write;
                write(self)
            }
            fn read(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let read: fn(&str) -> Option<$type> = $read;
                read(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    )+};
}
as_text! {
    ConversationId => |v| v.to_string().into(), |t| t.parse().ok();
    RecordId => |v| v.to_string().into(), |t| t.parse().ok();
    InteractionState => |v| v.label().into(), InteractionState::parse;
    RecordState => |v| v.label().into(), RecordState::parse;
    RecordKind => |v| v.label().into(), RecordKind::parse;
    Source => |v| v.label().into(), Source::parse;
    Secret => |v| v.expose().into(), |t| Some(Secret::new(t));
}

impl Column for Wall {
    fn write(&self) -> ToSqlOutput<'_> {
        self.0.into()
    }

    fn read(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Wall)
    }
}

/// A value of ours on its way into a column, or out of one.
pub(super) struct Col<T>(pub(super) T);

impl<T: Column> ToSql for Col<T> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.write())
    }
}

impl<T: Column> FromSql for Col<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::read(value).map(Col)
    }
}

/// Reads a column that holds a value of ours.
pub(super) fn get<T: Column>(row: &Row<'_>, column: usize) -> Result<T> {
    row.get::<_, Col<T>>(column).map(|col| col.0)
}

/// The same where the column may be empty.
pub(super) fn get_any<T: Column>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    Ok(row.get::<_, Option<Col<T>>>(column)?.map(|col| col.0))
}

/// The columns that [`interaction`] reads, from 0.
pub(super) const INTERACTION: &str = "conversation, state, accepted_at, watched_since, ended_at, \
     reason_code, reason_detail, last_event_at";

/// How many columns [`INTERACTION`] has: what a query asks for besides follows them.
pub(super) const INTERACTION_COUNT: usize = 8;

/// Reads [`INTERACTION`].
pub(super) fn interaction(row: &Row<'_>) -> Result<InteractionRow> {
    Ok(InteractionRow {
        conversation: get(row, 0)?,
        state: get(row, 1)?,
        accepted_at: get(row, 2)?,
        watched_since: get_any(row, 3)?,
        ended_at: get_any(row, 4)?,
        reason: match row.get::<_, Option<String>>(5)? {
            Some(code) => Some(Reason {
                code,
                detail: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            }),
            None => None,
        },
        last_event_at: get_any(row, 7)?,
    })
}

/// The columns that [`record`] reads, from 0.
pub(super) const RECORD: &str = "record, kind, conversation, source, participant, session, \
     ordinal, event_time, matched_time, content_digest, received_at, state, attempts, next_try, \
     delivered_at, last_error, patience_used";

/// The same for a record that another shard files: whoever is told of it has nothing to do with
/// it but to know that its wrap-up was taken.
pub(super) const RECORD_ELSEWHERE: &str = "record, kind, conversation, source, participant, \
     session, ordinal, event_time, matched_time, content_digest, received_at, 'delivered', \
     attempts, NULL, delivered_at, last_error, patience_used";

/// The same where nothing is migrated, because it is only looked at: the first version of the
/// schema knows no used patience.
pub(super) const RECORD_OF_ANY_VERSION: &str = "record, kind, conversation, source, participant, \
     session, ordinal, event_time, matched_time, content_digest, received_at, state, attempts, \
     next_try, delivered_at, last_error, 0";

/// How many columns [`RECORD`] has: what a query asks for besides follows them.
pub(super) const RECORD_COUNT: usize = 17;

/// Reads [`RECORD`].
pub(super) fn record(row: &Row<'_>) -> Result<RecordRow> {
    Ok(RecordRow {
        record: get(row, 0)?,
        kind: get(row, 1)?,
        conversation: get_any(row, 2)?,
        source: get(row, 3)?,
        leg: Leg {
            participant: row.get(4)?,
            session: row.get(5)?,
        },
        ordinal: row.get(6)?,
        event_time: get_any(row, 7)?,
        matched_time: get_any(row, 8)?,
        content_digest: row.get(9)?,
        received_at: get(row, 10)?,
        state: get(row, 11)?,
        attempts: row.get(12)?,
        next_try: get_any(row, 13)?,
        delivered_at: get_any(row, 14)?,
        last_error: row.get(15)?,
        patience_used: Duration::from_millis(u64::try_from(row.get::<_, i64>(16)?).unwrap_or(0)),
    })
}

/// A time span as the schema holds it.
pub(super) fn whole_millis(span: Duration) -> i64 {
    i64::try_from(millis(span)).unwrap_or(i64::MAX)
}

/// Name of the note that holds a [`DestinationRow`].
pub(super) const NOTE_DESTINATION: &str = "destination";

/// The name of the note that is kept for a shard of its own.
pub(super) fn note_of(name: &str, shard: &str) -> String {
    match shard {
        super::shards::MAIN => name.to_owned(),
        shard => format!("{name}:{shard}"),
    }
}

/// What the note holds: `[held until, [[status, [record, …]], …]]`.
type DestinationNote = (Option<i64>, Vec<(u16, Vec<String>)>);

/// A [`DestinationRow`] as text.
pub(super) fn destination_text(row: &DestinationRow) -> String {
    let ids = |ids: &Vec<RecordId>| ids.iter().map(ToString::to_string).collect();
    let note: DestinationNote = (
        row.held_until.map(|t| t.0),
        row.refused.iter().map(|(s, r)| (*s, ids(r))).collect(),
    );
    serde_json::to_string(&note).unwrap_or_default()
}

/// Reads [`destination_text`]; what cannot be read is as good as nothing: it costs the history
/// manager a few tries too many.
pub(super) fn destination(text: &str) -> DestinationRow {
    let (held_until, refused) = serde_json::from_str::<DestinationNote>(text).unwrap_or_default();
    let ids = |ids: Vec<String>| ids.iter().filter_map(|id| id.parse().ok()).collect();
    DestinationRow {
        held_until: held_until.map(Wall),
        refused: refused.into_iter().map(|(s, r)| (s, ids(r))).collect(),
    }
}

/// The columns that [`channel`] reads, from 0.
pub(super) const CHANNEL: &str =
    "coalesce(place, slot), channel, connect_uri, created_at, expires_at, token_ends_at";

/// Reads [`CHANNEL`].
pub(super) fn channel(row: &Row<'_>) -> Result<ChannelRow> {
    Ok(ChannelRow {
        slot: row.get(0)?,
        id: get(row, 1)?,
        connect_uri: get(row, 2)?,
        created_at: get(row, 3)?,
        expires_at: get(row, 4)?,
        token_ends_at: get(row, 5)?,
    })
}
