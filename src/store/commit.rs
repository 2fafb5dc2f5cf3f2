//! The changes of one commit, applied within a transaction that is under way.
//!
//! Invariant: a change that the schema refuses is left out and named, and the others stand; what
//! the environment refuses, it refuses of all.

use base::rows::{Change, StoreTrouble};

use super::error::trouble_of;
use super::writer::{Applied, Batch, Maintained};

/// One shard's commit among those of others.
#[derive(Clone, Copy)]
pub struct CommitOf<'a> {
    /// Whose.
    pub shard: &'a str,
    /// Echoed.
    pub ticket: u64,
    /// In order.
    pub changes: &'a [Change],
}

/// What became of the changes of one commit.
#[derive(Default)]
pub(super) struct Changed {
    /// The database refused these, by their place, and why.
    pub(super) refused: Vec<(usize, String)>,
    /// These would have made members too large.
    pub(super) outgrown: Vec<usize>,
    /// What maintenance touched.
    pub(super) maintained: Maintained,
    /// Records that were added, with the members that were copied.
    pub(super) taken: Vec<(usize, Option<String>)>,
}

/// Applies the changes in order.
///
/// # Errors
/// What the environment reports: nothing of them stands then.
pub(super) fn changed(batch: &Batch<'_>, changes: &[Change]) -> rusqlite::Result<Changed> {
    let mut done = Changed::default();
    for (position, change) in changes.iter().enumerate() {
        match batch.apply(change) {
            Ok(Applied::Done) => {}
            Ok(Applied::Taken(members)) => done.taken.push((position, members)),
            Ok(Applied::Maintained(m)) => done.maintained.add(m),
            Ok(Applied::Outgrown) => done.outgrown.push(position),
            Ok(Applied::Refused(why)) => done.refused.push((position, why)),
            // The statement is undone, the transaction stands.
            Err(e) if trouble_of(&e) == StoreTrouble::Bug && !batch.conn.is_autocommit() => {
                done.refused.push((position, e.to_string()));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
