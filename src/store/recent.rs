//! Records that were committed a moment ago, for whoever files them: what was just in
//! memory need not be read back from the file, for whose lock the writer would have to wait.
//!
//! Invariants: what is given out is what was committed, and nothing has changed it since;
//! it is given out once; the bytes kept have a bound, beyond which the file is read as ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::ids::RecordId;
use base::rows::{Change, RecordKind, RecordRow};

use super::reader::StoredRecord;

/// Bytes of bodies and members that are kept.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What one costs beside its texts, about.
const OVERHEAD: usize = 512;

/// Records that were committed a moment ago, each for one taker; clones share what is kept.
#[derive(Clone, Default)]
pub struct Recent {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    records: HashMap<RecordId, StoredRecord>,
    bytes: usize,
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies are nobody's business.
        write!(f, "Recent({})", self.lock().records.len())
    }
}

impl Recent {
    /// The record as it was committed, if it is still here; it is no longer afterwards.
    #[must_use]
    pub fn take(&self, record: RecordId) -> Option<StoredRecord> {
        self.lock().remove(record)
    }

    /// Notes what a commit has changed; to be called once it is known to stand. `taken` names
    /// the records that it has added, with the members that were copied for each.
    pub(super) fn committed(&self, changes: &[Change], taken: Vec<(usize, Option<String>)>) {
        let mut kept = self.lock();
        let mut taken = taken.into_iter().peekable();
        for (position, change) in changes.iter().enumerate() {
            match change {
                Change::Take { row, body, .. } => {
                    let added = taken.next_if(|(at, _)| *at == position);
                    if let Some((_, members)) = added {
                        kept.add(row, body, members);
                    }
                }
                Change::Record(row) => drop(kept.remove(row.record)),
                Change::Accept { .. }
                | Change::Interaction(_)
                | Change::Destination(_)
                | Change::EraseBodies { .. }
                | Change::Purge { .. }
                | Change::Shrink { .. } => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Each change of it is whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(record: &StoredRecord) -> usize {
    let text = |of: &Option<String>| of.as_ref().map_or(0, String::len);
    OVERHEAD + text(&record.body) + text(&record.members)
}

impl Kept {
    fn add(&mut self, row: &RecordRow, body: &str, members: Option<String>) {
        // Support results carry none, whatever their conversation has.
        let members = members.filter(|_| row.kind == RecordKind::AfterCallWork);
        let size = OVERHEAD + body.len() + members.as_ref().map_or(0, String::len);
        if row.state.over() || self.bytes + size > BYTES_MAX {
            return;
        }
        self.remove(row.record);
        self.bytes += size;
        let record = StoredRecord {
            row: row.clone(),
            body: Some(body.to_owned()),
            members,
        };
        self.records.insert(row.record, record);
    }

    fn remove(&mut self, record: RecordId) -> Option<StoredRecord> {
        let removed = self.records.remove(&record)?;
        self.bytes -= cost(&removed);
        if self.records.is_empty() {
            // After a burst the table gives its memory back.
            self.records = HashMap::new();
        }
        Some(removed)
    }
}
