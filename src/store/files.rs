//! The files of a database: their names and their modes.
//!
//! Invariant: database, write-ahead log and shared memory are readable by
//! their owner alone, whatever the umask (design, section 7: they hold channel
//! ids, connect URIs and personal data).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::trouble_of_io;
use base::rows::StoreTrouble;
use base::time::Wall;

/// The path with `suffix` appended to its last component.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// SQLite's write-ahead log of a database.
pub(super) fn wal_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// SQLite's shared memory of a database.
pub(super) fn shm_of(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// A complete new database that has only to be moved into an empty place.
pub(super) fn salvage_of(path: &Path) -> PathBuf {
    beside(path, ".salvage")
}

/// A name beside the database that says what the file is and since when; not in use yet.
pub(super) fn dated(path: &Path, what: &str, now: Wall) -> PathBuf {
    let stamp = now.rfc3339();
    let seconds: String = stamp.chars().take(19).filter(|c| *c != ':').collect();
    let name = format!(".{what}-{seconds}Z");
    let mut free = beside(path, &name);
    let mut n = 2;
    while free.exists() && n < 1_000 {
        free = beside(path, &format!("{name}-{n}"));
        n += 1;
    }
    free
}

/// Which file a name leads to: as long as a file is open, no other has the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The file at `path`, if there is one.
pub(super) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match fs::metadata(path) {
        Ok(m) => Ok(Some(Identity {
            device: m.dev(),
            inode: m.ino(),
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Size of a file, 0 if there is none.
pub(super) fn size_of(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(m) => Ok(m.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// Makes an empty file of mode 0600 unless there is one. SQLite gives its two
/// companions the mode of the database.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    close_to_others(path)
}

/// Sets mode 0600 on whichever of the three files exist; not on what a link leads to.
pub(super) fn close_to_others(path: &Path) -> io::Result<()> {
    for file in [path.to_path_buf(), wal_of(path), shm_of(path)] {
        match fs::symlink_metadata(&file) {
            Ok(m) if m.is_symlink() => return Err(rustix::io::Errno::LOOP.into()),
            Ok(m) if m.permissions().mode() & 0o777 != 0o600 => {
                fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a database with its companions; what is not there is fine.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    for file in [wal_of(path), shm_of(path), path.to_path_buf()] {
        remove(&file)?;
    }
    Ok(())
}

/// Removes a file; if it is not there that is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Renames a file; if it is not there that is fine.
pub(super) fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes renames in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Why a database cannot be written although its library only says "I/O error": a medium that
/// turned read-only and a quota look like that to it. Nothing if writing works beside it.
pub(super) fn why_not_written(path: &Path) -> Option<StoreTrouble> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;
    let refused = |file: &Path| {
        matches!(
            access(file, Access::WRITE_OK),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM)
        )
    };
    if refused(path) || refused(&wal_of(path)) {
        return Some(StoreTrouble::ReadOnly);
    }
    let probe = beside(path, ".probe");
    let written = remove(&probe)
        .and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&probe)
        })
        .and_then(|mut file| {
            file.write_all(&[0; PROBE_BYTES])?;
            file.sync_all()
        });
    // It is empty of meaning; the next probe removes it.
    let _ = remove(&probe);
    match trouble_of_io(&written.err()?) {
        StoreTrouble::Io => None,
        trouble => Some(trouble),
    }
}

/// More than any file system keeps beside the file's own blocks.
const PROBE_BYTES: usize = 64 * 1024;

/// The directory that holds `path`.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}
