//! One instance per database: an advisory lock on a file beside it.
//!
//! SQLite itself lets a second process in. The lock file is never removed:
//! removing it would let two processes hold locks on two files of one name.
//! Invariant: the lock is held exactly as long as the [`Lock`] lives.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::{StoreError, trouble_of_io};
use super::files::beside;
use base::rows::StoreTrouble;

/// Holds the database for this process until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock or says at once that another process has it.
    pub(super) fn take(database: &Path) -> Result<Lock, StoreError> {
        let path = beside(database, ".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|e| match trouble_of_io(&e) {
                StoreTrouble::ReadOnly if e.kind() == ErrorKind::PermissionDenied => {
                    StoreError::NotAllowed {
                        path: path.clone(),
                        cause: e.to_string(),
                    }
                }
                trouble => StoreError::Trouble {
                    path: path.clone(),
                    trouble,
                    cause: format!("opening the lock file: {e}"),
                },
            })?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(StoreError::InUse {
                path: database.to_path_buf(),
            }),
            Err(e) => Err(StoreError::Trouble {
                path,
                trouble: StoreTrouble::Io,
                cause: format!("locking: {e}"),
            }),
        }
    }
}
