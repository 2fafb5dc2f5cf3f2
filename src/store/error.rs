//! What can go wrong with the database, whose fault it is, and how the process ends.
//!
//! Invariant: no variant carries a row's content, so no error shows personal data.

use std::fmt;
use std::path::PathBuf;

use rusqlite::ffi;

use base::blame::Blame;
use base::rows::StoreTrouble;

/// Why the database could not be opened or read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// Another instance holds the database.
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A newer version of the gateway wrote it.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// A sound SQLite database of some other program.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The directory that should hold the database does not exist.
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The client of one shard stands in the configuration under another name.
    Renamed {
        /// What it was called.
        was: String,
        /// What it is called now.
        is: String,
    },
    /// There is no database to look into.
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// File or directory may not be read or written by this user.
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        cause: String,
    },
    /// The environment refuses.
    Trouble {
        /// The database.
        path: PathBuf,
        /// What kind.
        trouble: StoreTrouble,
        /// What was being done, and the system's own words.
        cause: String,
    },
    /// Damaged, and not even a new file could be put in its place.
    BeyondHelp {
        /// The database.
        path: PathBuf,
        /// What was being done, and the system's own words.
        cause: String,
    },
}

impl StoreError {
    /// Who has to act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            StoreError::InUse { .. }
            | StoreError::Newer { .. }
            | StoreError::Foreign { .. }
            | StoreError::NoDirectory { .. }
            | StoreError::Renamed { .. }
            | StoreError::Missing { .. }
            | StoreError::NotAllowed { .. } => Blame::Operator,
            StoreError::Trouble { trouble, .. } => match trouble {
                StoreTrouble::ReadOnly | StoreTrouble::Moved => Blame::Operator,
                StoreTrouble::Bug => Blame::Us,
                _ => Blame::Environment,
            },
            StoreError::BeyondHelp { .. } => Blame::Environment,
        }
    }

    /// The exit code with which the process ends (design, section 6).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreError::InUse { .. } => 75,
            StoreError::Missing { .. } => 69,
            // Another start would find the same until an operator has put another
            // program, or another file, in the place: not to be tried again.
            StoreError::NoDirectory { .. }
            | StoreError::Newer { .. }
            | StoreError::Renamed { .. }
            | StoreError::Foreign { .. } => 78,
            StoreError::NotAllowed { .. } => 77,
            StoreError::Trouble { trouble, .. } => match trouble {
                StoreTrouble::ReadOnly => 77,
                StoreTrouble::Busy => 75,
                _ => 70,
            },
            StoreError::BeyondHelp { .. } => 70,
        }
    }

    /// The trouble that the core would be told of.
    #[must_use]
    pub fn trouble(&self) -> StoreTrouble {
        match self {
            StoreError::Trouble { trouble, .. } => *trouble,
            StoreError::NotAllowed { .. } => StoreTrouble::ReadOnly,
            StoreError::InUse { .. } => StoreTrouble::Busy,
            StoreError::BeyondHelp { .. } => StoreTrouble::Damaged,
            _ => StoreTrouble::Io,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::InUse { path } => write!(
                f,
                "another instance of the gateway holds the database {}; stop it first",
                path.display()
            ),
            StoreError::Newer { path, found, known } => write!(
                f,
                "the database {} has schema version {found}, and this program knows versions up \
                 to {known}; run the newer gateway that wrote it, or restore a copy from before \
                 the upgrade",
                path.display()
            ),
            StoreError::Foreign { path } => write!(
                f,
                "{} is a database of another program; correct [store] path",
                path.display()
            ),
            StoreError::NoDirectory { path } => write!(
                f,
                "the directory {} for the database does not exist; create it or correct [store] \
                 path",
                path.display()
            ),
            StoreError::Renamed { was, is } => write!(
                f,
                "shard {is} has the OAuth client and user that the database knows as shard {was}: \
                 give it its old name again; to rename it in earnest, start once without it, so \
                 that its conversations go on with others, and then with the new name"
            ),
            StoreError::Missing { path } => {
                write!(f, "there is no database at {}", path.display())
            }
            StoreError::NotAllowed { path, cause } => write!(
                f,
                "the database {} may not be read and written by this user: {cause}",
                path.display()
            ),
            StoreError::Trouble {
                path,
                trouble,
                cause,
            } => write!(f, "{} ({}: {cause})", trouble.sentence(), path.display()),
            StoreError::BeyondHelp { path, cause } => write!(
                f,
                "the database {} is damaged and what is readable could not be carried over: \
                 {cause}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}

/// What kind of trouble an error of the database library is.
pub(super) fn trouble_of(error: &rusqlite::Error) -> StoreTrouble {
    use ffi::ErrorCode;
    let Some(failure) = failure_of(error) else {
        return StoreTrouble::Bug;
    };
    match failure.extended_code {
        // The shared-memory file cannot grow: on a full disk this comes before DiskFull does.
        ffi::SQLITE_IOERR_SHMSIZE => return StoreTrouble::Full,
        ffi::SQLITE_READONLY_DBMOVED => return StoreTrouble::Moved,
        ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA => return StoreTrouble::Damaged,
        _ => {}
    }
    match failure.code {
        ErrorCode::DiskFull => StoreTrouble::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreTrouble::ReadOnly,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreTrouble::Damaged,
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => StoreTrouble::Busy,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted => StoreTrouble::Io,
        _ => StoreTrouble::Bug,
    }
}

fn failure_of(error: &rusqlite::Error) -> Option<&ffi::Error> {
    match error {
        rusqlite::Error::SqlInputError { error, .. } => Some(error),
        other => other.sqlite_error(),
    }
}

/// What kind of trouble an error of the system is.
pub(super) fn trouble_of_io(error: &std::io::Error) -> StoreTrouble {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreTrouble::Full,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreTrouble::ReadOnly,
        _ => StoreTrouble::Io,
    }
}

/// The value could not be read as what the column holds, as opposed to the disk failing.
pub(super) fn is_unreadable_value(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}
