//! A database whose file was taken from its name while it is open: removed, or
//! replaced by another, with or without its write-ahead log.
//!
//! SQLite notices nothing: it goes on writing to files that no name leads to,
//! and at the next start all of it would be gone. So the names are looked at
//! before every commit, and what the open connection still sees is copied:
//!
//! ```text
//!   nothing there, or our file without its log ──► into the place itself
//!   another file there                         ──► beside it, under a dated name
//! ```
//! Either way a new start is needed: connections hold the files that are gone.
//!
//! Invariant: a database that is not ours is never written to, renamed or
//! removed, and our log does not stay where it would be replayed over it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ffi};

use super::error::StoreError;
use super::files::{self, Identity};
use super::open::{io_error, sql_error};
use base::time::Wall;

/// Which files the names of the database led to when they were known to be the open ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bearings {
    file: Identity,
    /// SQLite makes it with the first transaction and keeps it while the database is open.
    log: Option<Identity>,
}

impl Bearings {
    /// Taken while the files have just been opened.
    pub(super) fn take(path: &Path) -> io::Result<Bearings> {
        let file = files::identity(path)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Bearings {
            file,
            log: files::identity(&files::wal_of(path))?,
        })
    }

    /// Whether a name leads elsewhere now. Not being allowed to look is no sign of it.
    pub(super) fn lost(&self, path: &Path) -> bool {
        let leads = |path: &Path, to: Identity| match files::identity(path) {
            Ok(found) => found == Some(to),
            Err(_) => true,
        };
        !leads(path, self.file)
            || self
                .log
                .is_some_and(|log| !leads(&files::wal_of(path), log))
    }

    /// Removes the log if it is ours: a log that came with another file belongs to that.
    fn remove_log(&self, path: &Path) -> io::Result<()> {
        let log = files::wal_of(path);
        if self.log.is_some() && files::identity(&log)? == self.log {
            files::remove(&log)?;
        }
        files::sync_directory(path)
    }
}

/// What a commit ends with then: SQLite's own code for it.
pub(super) fn error() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED), None)
}

/// Copies everything that `conn` sees to where the next start looks for it, or beside that if
/// the place is taken; says where it is. Files at the names of the log and the shared memory
/// go away with it: what they held is in the copy, and SQLite would replay them over it.
pub(super) fn put_back(
    conn: &Connection,
    path: &Path,
    bearings: &Bearings,
    now: Wall,
) -> Result<PathBuf, StoreError> {
    let failed = |doing: &str, e: &io::Error| io_error(path, doing, e);
    let found = files::identity(path).map_err(|e| failed("looking who has its place", &e))?;
    let part = files::beside(path, ".moved-part");
    files::remove(&part)
        .and_then(|()| files::create_private(&part))
        .map_err(|e| failed("making a new file", &e))?;
    let copied = copy(conn, path, &part);
    if copied.is_err() {
        // Half a file is worth nothing, and its space may be what is missing.
        let _ = files::remove(&part);
    }
    copied?;
    match found {
        // Complete, and in this order, so that a crash in between is mended at the next start.
        None => {
            let ready = files::salvage_of(path);
            fs::rename(&part, &ready)
                .and_then(|()| files::sync_directory(path))
                .and_then(|()| take_place(&ready, path))
                .map(|()| path.to_path_buf())
        }
        Some(present) if present == bearings.file => {
            take_place(&part, path).map(|()| path.to_path_buf())
        }
        Some(_) => {
            let aside = files::dated(path, "moved", now);
            fs::rename(&part, &aside)
                .and_then(|()| files::sync_directory(path))
                .and_then(|()| bearings.remove_log(path))
                .map(|()| aside)
        }
    }
    .map_err(|e| failed("putting it into its place", &e))
}

fn copy(conn: &Connection, path: &Path, to: &Path) -> Result<(), StoreError> {
    let name = to.to_str().ok_or(io::ErrorKind::InvalidFilename);
    let name = name.map_err(|e| io_error(path, "naming the copy", &e.into()))?;
    conn.execute("VACUUM INTO ?1", [name])
        .map_err(|e| sql_error(path, "copying it", &e))?;
    // SQLite does not sync a copy.
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|e| io_error(path, "syncing the copy", &e))
}

fn take_place(from: &Path, path: &Path) -> io::Result<()> {
    files::remove(&files::wal_of(path))?;
    files::remove(&files::shm_of(path))?;
    files::sync_directory(path)?;
    fs::rename(from, path)?;
    files::sync_directory(path)
}
