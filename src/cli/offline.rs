//! The database as the operators' commands see it when the daemon does not answer.
//!
//! Invariant: read-only; the JSON is that of the operators' listener, so that
//! one way of showing serves both.

use std::path::Path;

use serde_json::Value;

use crate::ids::RecordId;
use crate::time::Wall;

/// A database opened read-only.
pub trait Offline {
    /// `{"records":[...]}`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read; a sentence says why.
    fn records(&self, state: Option<&str>, limit: usize) -> Result<Value, String>;

    /// One record, `None` if there is none of that id.
    ///
    /// # Errors
    /// As above.
    fn record(&self, id: RecordId) -> Result<Option<Value>, String>;

    /// `[{"state","ages":[{"upTo","n"}]}]` as of `now`.
    ///
    /// # Errors
    /// As above.
    fn shape(&self, now: Wall) -> Result<Value, String>;

    /// `{"interactions":{state: n},"records":{state: n}}`.
    ///
    /// # Errors
    /// As above.
    fn counts(&self) -> Result<Value, String>;
}

/// Opens the database at a path, or says in a sentence why not.
pub type OpenOffline = fn(&Path) -> Result<Box<dyn Offline>, String>;
