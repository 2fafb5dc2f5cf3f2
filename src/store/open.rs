//! Opening the database: lock, soundness, version, settings.
//!
//! Invariant: until a file has been found sound, ours, and not newer than this
//! program, nothing is written to it, not even a checkpoint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::{StoreError, trouble_of, trouble_of_io};
use super::files;
use super::schema;
use base::rows::StoreTrouble;

/// What a look at the file says.
pub(super) enum Looked {
    /// Sound: go on with it.
    Sound(Connection),
    /// Damaged, and how that shows.
    Damaged(String),
}

/// The real path, so that one database has one lock file whatever link leads to it.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(real) => return Ok(real),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error(path, "finding it", &e)),
    }
    let directory = files::directory_of(path);
    let Some(name) = path.file_name() else {
        return Err(StoreError::NoDirectory {
            path: path.to_path_buf(),
        });
    };
    match fs::canonicalize(directory) {
        Ok(real) => Ok(real.join(name)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::NoDirectory {
            path: directory.to_path_buf(),
        }),
        Err(e) => Err(io_error(directory, "finding the directory", &e)),
    }
}

/// Opens the file, or makes it, and looks whether it is sound.
pub(super) fn look(path: &Path) -> Result<Looked, StoreError> {
    let size = files::size_of(path).map_err(|e| io_error(path, "finding its size", &e))?;
    let log =
        files::size_of(&files::wal_of(path)).map_err(|e| io_error(path, "finding its log", &e))?;
    if size == 0 && log > 0 {
        // SQLite would throw the log away, and the log is all there is.
        return Ok(Looked::Damaged(
            "the file is empty, but its write-ahead log is not".into(),
        ));
    }
    files::create_private(path).map_err(|e| io_error(path, "opening it for writing", &e))?;
    match sound(path, size == 0) {
        Ok(Ok(conn)) => {
            files::close_to_others(path).map_err(|e| io_error(path, "setting its mode", &e))?;
            Ok(Looked::Sound(conn))
        }
        Ok(Err(refusal)) => Err(refusal),
        Err(e) if trouble_of(&e) == StoreTrouble::Damaged => Ok(Looked::Damaged(e.to_string())),
        Err(e) => Err(sql_error(path, "opening it", &e)),
    }
}

fn sound(path: &Path, new: bool) -> rusqlite::Result<Result<Connection, StoreError>> {
    let mut conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    conn.busy_timeout(schema::BUSY_TIMEOUT)?;
    // A damaged file is evidence: closing it must neither write to it nor remove its log.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let mut empty = new;
    if !new {
        let finding = first_finding(&conn);
        let version = schema::integer(&conn, "user_version")?;
        let ours = schema::integer(&conn, "application_id")? == schema::APPLICATION_ID;
        if ours && version > schema::KNOWN_VERSION {
            // Damaged or not: what a newer program wrote, only that one can carry over whole.
            return Ok(Err(StoreError::Newer {
                path: path.to_path_buf(),
                found: version,
                known: schema::KNOWN_VERSION,
            }));
        }
        if let Some(finding) = finding? {
            return Err(damaged(&finding));
        }
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        if !ours && (tables > 0 || version > 0) {
            return Ok(Err(StoreError::Foreign {
                path: path.to_path_buf(),
            }));
        }
        if version > 0 && !schema::complete(&conn)? {
            return Err(damaged("a table or an index is missing"));
        }
        if version > 0 && !schema::indexes_agree(&conn)? {
            return Err(damaged("an index does not agree with its table"));
        }
        empty = version == 0 && tables == 0;
    }
    schema::tune_writer(&conn)?;
    if empty {
        schema::tune_new_file(&conn)?;
    }
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    if mode != "wal" {
        return Ok(Err(StoreError::Trouble {
            path: path.to_path_buf(),
            trouble: StoreTrouble::Io,
            cause: format!("this file system allows no write-ahead log, only {mode}"),
        }));
    }
    schema::migrate(&mut conn)?;
    Ok(Ok(conn))
}

/// From here on the file is trusted: closing the connection checkpoints and removes the log.
pub(super) fn trust(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// The opposite of [`trust`]: closing leaves file and log as they are.
pub(super) fn distrust(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// The first thing that `quick_check` finds; errors come as rows or as errors.
fn first_finding(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let finding: Option<String> = conn
        .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
        .optional()?;
    Ok(finding.filter(|text| text != "ok"))
}

fn damaged(finding: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(finding.to_owned()),
    )
}

/// An error of the system, with what was being done.
pub(super) fn io_error(path: &Path, doing: &str, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return StoreError::NotAllowed {
            path: path.to_path_buf(),
            cause: format!("{doing}: {error}"),
        };
    }
    StoreError::Trouble {
        path: path.to_path_buf(),
        trouble: trouble_of_io(error),
        cause: format!("{doing}: {error}"),
    }
}

/// An error of the database library, with what was being done.
pub(super) fn sql_error(path: &Path, doing: &str, error: &rusqlite::Error) -> StoreError {
    StoreError::Trouble {
        path: path.to_path_buf(),
        trouble: trouble_of(error),
        cause: format!("{doing}: {error}"),
    }
}
