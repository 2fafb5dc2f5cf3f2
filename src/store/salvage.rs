//! A damaged database: set aside, and carried over. Carrying over is not written yet:
//! a damaged file is an error.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::StoreError;
use super::load::NOTE_DAMAGED;
use crate::time::Wall;

/// What was carried over from a damaged file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Where the damaged file is kept.
    pub kept: PathBuf,
}

/// Ends what a crash interrupted.
pub(super) fn finish_interrupted(_path: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Carries over.
pub(super) fn carry_over(path: &Path, finding: &str, _now: Wall) -> Result<Salvaged, StoreError> {
    Err(StoreError::BeyondHelp {
        path: path.to_path_buf(),
        cause: finding.to_owned(),
    })
}

/// Forgets the note.
pub(super) fn acknowledge_in(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM note WHERE name = ?1", [NOTE_DAMAGED])?;
    Ok(())
}
