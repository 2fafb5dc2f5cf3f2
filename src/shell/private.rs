//! Directories for this process alone, which go when it ends, however it ends.
//!
//! A process that is killed leaves its directory behind; the next one that makes one in the same
//! place takes it away. Whether somebody still uses one is told by a lock on the directory
//! itself, which the system lets go with the process.
//!
//! Invariant: nothing is removed but directories of this user, with names of this kind, that no
//! process holds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock};

/// Entries of the parent that are looked at; more are somebody else's trouble.
const LOOKED_AT: usize = 100_000;

/// See the [module](self).
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    /// Locked as long as it is open.
    _held: File,
}

impl PrivateDirectory {
    /// Makes one in `parent`, mode 0700, called `NAME.PID.N`, and removes what predecessors left.
    ///
    /// # Errors
    /// The environment: the parent takes no directory.
    pub fn make(parent: &Path, name: &str) -> io::Result<PrivateDirectory> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        sweep(parent, name);
        // The process number alone may be that of a predecessor which was killed.
        for _ in 0..100 {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{name}.{}.{n}", std::process::id()));
            // Fails if anything is there, a link included: nobody can prepare the place.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            }
            // Another process that sweeps may have come in between.
            if let Ok(held) = hold(&path) {
                return Ok(PrivateDirectory { path, _held: held });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Opens and locks a directory that nobody holds, and makes sure that it is still the one there.
fn hold(path: &Path) -> io::Result<File> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    let (held, there) = (directory.metadata()?, std::fs::symlink_metadata(path)?);
    if (held.dev(), held.ino()) != (there.dev(), there.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(directory)
}

/// Removes what processes that are gone left behind.
fn sweep(parent: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    let ours = rustix::process::geteuid().as_raw();
    for entry in entries.take(LOOKED_AT).map_while(Result::ok) {
        let called = entry.file_name();
        let Some(pid) = called.to_str().and_then(|called| maker(called, name)) else {
            continue;
        };
        // A version without locks may still run.
        if pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists() {
            continue;
        }
        let path = entry.path();
        let Ok(held) = hold(&path) else {
            continue;
        };
        if held.metadata().is_ok_and(|seen| seen.uid() == ours) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// The process number in `NAME.PID.N`.
fn maker(called: &str, name: &str) -> Option<u32> {
    let (pid, n) = called
        .strip_prefix(name)?
        .strip_prefix('.')?
        .split_once('.')?;
    let _: u64 = n.parse().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const NAME: &str = "genesys-gateway";

    #[test]
    fn it_is_for_this_user_alone_and_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let made = PrivateDirectory::make(parent.path(), NAME).unwrap();
        let mode = std::fs::metadata(made.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = made.path().to_owned();
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("0.sock"), "").unwrap();
            path
        };
        // No process has a number of this size.
        let stale = ["genesys-gateway.4194999.0", "genesys-gateway.4194999.17"].map(make);
        let elsewhere = make("kept");
        let kept = [
            "genesys-gateway.1.0",
            "genesys-gateway.4194999",
            "genesys-gateway.4194999.x",
            "genesys-gateway-demo.4194999.0",
            "other.4194999.0",
        ]
        .map(make);
        let link = parent.path().join("genesys-gateway.4194999.1");
        symlink(&elsewhere, &link).unwrap();
        let one = PrivateDirectory::make(parent.path(), NAME).unwrap();
        let two = PrivateDirectory::make(parent.path(), NAME).unwrap();
        assert!(one.path().exists() && two.path().exists(), "held");
        assert!(stale.iter().all(|path| !path.exists()));
        assert!(kept.iter().all(|path| path.join("0.sock").exists()));
        assert!(link.exists() && elsewhere.join("0.sock").exists());
    }
}
