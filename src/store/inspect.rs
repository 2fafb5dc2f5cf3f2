//! Looking into the database from outside, with or without a running gateway.
//!
//! Invariant: takes no lock of ours and changes no row. A directory that may
//! not be written is no obstacle: then the file is read as it lies there, and
//! [`Inspect::remark`] says what that leaves out.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::columns;
use super::error::StoreError;
use super::files;
use super::load::{self, NOTE_DAMAGED};
use super::open::{io_error, sql_error};
use super::reader::{StoredRecord, list_records, stored_record};
use super::schema;
use base::ages::ByAge;
use base::ids::RecordId;
use base::rows::{InteractionState, RecordRow, RecordState};
use base::time::Wall;

/// How many records of a state are how old, counted from when they were taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShapeRow {
    /// The state.
    pub state: RecordState,
    /// How old they are.
    pub by_age: ByAge,
}

/// How many there are of each state, those with none left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Interactions.
    pub interactions: Vec<(InteractionState, u64)>,
    /// Records.
    pub records: Vec<(RecordState, u64)>,
}

/// A read-only look into a database.
#[derive(Debug)]
pub struct Inspect {
    conn: Connection,
    path: std::path::PathBuf,
    remark: Option<String>,
}

/// Opens the database for looking, without the lock.
///
/// # Errors
/// [`StoreError`]: missing, not allowed, of another program, newer, or unreadable.
pub fn open_inspect(path: &Path) -> Result<Inspect, StoreError> {
    match File::open(path) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing {
                path: path.to_path_buf(),
            });
        }
        Err(e) => return Err(io_error(path, "opening it for reading", &e)),
    }
    let (conn, remark) = match connect(path, false) {
        Ok(conn) => (conn, None),
        Err(e) if wants_to_write(&e) => {
            let conn = connect(path, true).map_err(|e| sql_error(path, "opening it", &e))?;
            (conn, Some(remark(path)))
        }
        Err(e) => return Err(sql_error(path, "opening it for reading", &e)),
    };
    let inspect = Inspect {
        conn,
        path: path.to_path_buf(),
        remark,
    };
    inspect.check()?;
    Ok(inspect)
}

impl Inspect {
    /// What the reader of the answers should know about how they were read.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Records, oldest first, in one state or in any, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn records(&self, state: Option<&str>, limit: u32) -> Result<Vec<RecordRow>, StoreError> {
        self.told(list_records(&self.conn, state, limit))
    }

    /// A record with its body and the copied members.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn record(&self, id: RecordId) -> Result<Option<StoredRecord>, StoreError> {
        self.told(stored_record(&self.conn, id))
    }

    /// Records by state and age, one row per state that has any, in the order of the contract.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn shape(&self, now: Wall) -> Result<Vec<ShapeRow>, StoreError> {
        self.told(shape(&self.conn, now))
    }

    /// How many there are of each state, in the order of the contract.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.told(counts(&self.conn))
    }

    /// Where a damaged database was set aside that nobody has acknowledged yet.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn damaged(&self) -> Result<Option<String>, StoreError> {
        self.told(load::note(&self.conn, NOTE_DAMAGED))
    }

    fn check(&self) -> Result<(), StoreError> {
        let version = self.told(schema::integer(&self.conn, "user_version"))?;
        let tables: i64 = self.told(self.conn.query_row(
            "SELECT count(*) FROM sqlite_schema",
            [],
            |r| r.get(0),
        ))?;
        let ours = self.told(schema::integer(&self.conn, "application_id"))?;
        if ours != schema::APPLICATION_ID && tables > 0 {
            return Err(StoreError::Foreign {
                path: self.path.clone(),
            });
        }
        if version > schema::KNOWN_VERSION {
            return Err(StoreError::Newer {
                path: self.path.clone(),
                found: version,
                known: schema::KNOWN_VERSION,
            });
        }
        if version == 0 {
            // Just being made, or never was.
            return Err(StoreError::Missing {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|e| sql_error(&self.path, "reading", &e))
    }
}

fn connect(path: &Path, as_it_lies: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if as_it_lies {
        Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    schema::tune_reader(&conn)?;
    // The files beside it are only touched by the first read.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// Reading a write-ahead log takes shared memory beside it, which may not be made here.
fn wants_to_write(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    )
}

fn remark(path: &Path) -> String {
    let log = files::size_of(&files::wal_of(path)).unwrap_or(0);
    if log == 0 {
        return "the directory may not be written, so the file was read without locking".into();
    }
    format!(
        "the directory may not be written, so the file was read as it lies there: the newest \
         changes ({log} bytes of write-ahead log) are missing; run this as the gateway's user"
    )
}

fn shape(conn: &Connection, now: Wall) -> rusqlite::Result<Vec<ShapeRow>> {
    let mut rows: Vec<ShapeRow> = RecordState::ALL
        .iter()
        .map(|state| ShapeRow {
            state: *state,
            by_age: ByAge::default(),
        })
        .collect();
    let mut statement = conn.prepare("SELECT state, received_at FROM record")?;
    let mut found = statement.query([])?;
    while let Some(record) = found.next()? {
        let (Ok(state), Ok(at)) = (
            columns::get::<RecordState>(record, 0),
            columns::get::<Wall>(record, 1),
        ) else {
            continue;
        };
        let age = now.since(at);
        if let Some(row) = rows.iter_mut().find(|row| row.state == state) {
            row.by_age.add(age);
        }
    }
    rows.retain(|row| !row.by_age.is_empty());
    Ok(rows)
}

fn counts(conn: &Connection) -> rusqlite::Result<Counts> {
    let mut skipped = 0;
    let mut counts = Counts {
        interactions: load::readable(
            conn,
            "SELECT state, count(*) FROM interaction GROUP BY state",
            [],
            load::state_and_count,
            &mut skipped,
        )?,
        records: load::readable(
            conn,
            "SELECT state, count(*) FROM record GROUP BY state",
            [],
            load::state_and_count,
            &mut skipped,
        )?,
    };
    counts.interactions.sort_unstable();
    counts.records.sort_unstable();
    Ok(counts)
}
