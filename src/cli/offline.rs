//! The database as the operators' commands see it when the daemon does not answer.
//!
//! Invariant: read-only; the JSON is that of the operators' listener, so that
//! one way of showing serves both.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ExitCode, complain};
use crate::shell::http::view;
use crate::shell::port::RecordView;
use crate::status::json;
use crate::status::verdict::set_aside;
use base::ages::ByAge;
use base::ids::RecordId;
use base::rows::{RecordRow, RecordState};
use base::time::Wall;
use store::StoreError;
use store::inspect::{Inspect, ShapeRow, open_inspect};

/// A database opened read-only.
pub(super) struct Offline(Inspect);

impl Offline {
    /// Opens it, and says on stderr what has to be known about how.
    pub(super) fn open(path: &Path) -> Result<Offline, StoreError> {
        let inspect = open_inspect(path)?;
        if let Some(remark) = inspect.remark() {
            complain(remark);
        }
        Ok(Offline(inspect))
    }

    /// `{"records":[...]}`, at most `limit`.
    pub(super) fn records(&self, state: Option<&str>, limit: u32) -> Result<Value, StoreError> {
        let rows = self.0.records(state, limit)?;
        let views: Vec<RecordView> = rows.iter().map(|row| view_of(row, None)).collect();
        Ok(parsed(&view::many_records(&views)))
    }

    /// One record with its body while there is one.
    pub(super) fn record(&self, id: RecordId) -> Result<Option<Value>, StoreError> {
        let found = self.0.record(id)?;
        Ok(found.map(|record| parsed(&view::one_record(&view_of(&record.row, record.body)))))
    }

    /// `[{"state","ages":[{"upTo","n"}]}]`, ages as of `now`.
    pub(super) fn shape(&self, now: Wall) -> Result<Value, StoreError> {
        Ok(shape_of(&self.0.shape(now)?))
    }

    /// What `status` can tell without the daemon.
    pub(super) fn snapshot(&self, now: Wall) -> Result<Value, StoreError> {
        let counts = self.0.counts()?;
        let interactions: Map<String, Value> = counts
            .interactions
            .iter()
            .map(|(state, n)| (state.label().to_owned(), json!(n)))
            .collect();
        let records: Map<String, Value> = counts
            .records
            .iter()
            .map(|(state, n)| (state.label().to_owned(), json!(n)))
            .collect();
        let reasons: Vec<String> = self
            .0
            .damaged()?
            // Gone, it is acknowledged.
            .filter(|aside| !matches!(Path::new(aside).try_exists(), Ok(false)))
            .map(|aside| set_aside(&aside))
            .into_iter()
            .collect();
        Ok(json!({
            "verdict": "the gateway does not answer",
            "level": "bad",
            "reasons": reasons,
            "interactions": interactions,
            "records": records,
            "shape": self.shape(now)?,
        }))
    }
}

fn view_of(row: &RecordRow, body: Option<String>) -> RecordView {
    RecordView {
        record: row.record,
        kind: row.kind.label().to_owned(),
        conversation: row.conversation,
        source: row.source.label().to_owned(),
        event_time: row.event_time,
        received_at: row.received_at,
        state: row.state.label().to_owned(),
        attempts: row.attempts,
        delivered_at: row.delivered_at,
        last_error: row.last_error.clone(),
        next_try: row.next_try,
        body,
    }
}

/// Text of ours, so it reads.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// As the listener's `/status` says it: what waits, every state of it, and the same words for ages.
fn shape_of(found: &[ShapeRow]) -> Value {
    let by_age = |state| {
        let row = found.iter().find(|row| row.state == state);
        row.map_or(ByAge::default(), |row| row.by_age)
    };
    RecordState::waiting()
        .map(|state| json::shape(state, &by_age(state)))
        .collect()
}

/// The exit code of a look that neither daemon nor database answered.
pub(super) fn exit_code(error: &StoreError) -> ExitCode {
    match error.exit_code() {
        77 => ExitCode::NoPermission,
        70 => ExitCode::Software,
        _ => ExitCode::Unavailable,
    }
}
