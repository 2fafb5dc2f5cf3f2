//! Whether the database's directory can be trusted: nobody else may put files or links there.
//!
//! SQLite opens the log beside the database by its name, so what stands under these names must
//! not be another's choice. Whoever may write to the directory could replace the database itself,
//! the sticky bit or not: names that do not exist yet are free for everybody there.
//!
//! Invariant: only looks; what it may not look at it says nothing of.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::files::{Trouble, writable_by_others};

/// What stands beside the database, by the end of its name.
const FILES: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

/// Whether a database may lie at `path`.
pub(super) fn check(path: &Path) -> Result<(), Trouble> {
    let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) else {
        return Ok(());
    };
    // Through links on the way: what counts is where they lead.
    let (Ok(directory), Ok(seen)) = (directory.canonicalize(), std::fs::metadata(directory)) else {
        return Ok(());
    };
    let mode = |seen: &Metadata| seen.permissions().mode() & 0o7777;
    let refused = |rule: String| {
        Trouble::new(
            rule,
            "a directory of its own serves: owned by the user that runs the gateway, mode 0700",
        )
    };
    if writable_by_others(&seen).is_some() {
        return Err(refused(format!(
            "others may write to the directory {} (mode {:04o}), and so put files and links beside the database",
            directory.display(),
            mode(&seen)
        )));
    }
    let us = rustix::process::geteuid().as_raw();
    if us != 0 && seen.uid() != us && seen.uid() != 0 {
        return Err(refused(format!(
            "the directory {} belongs to another user (number {})",
            directory.display(),
            seen.uid()
        )));
    }
    for above in directory.ancestors().skip(1) {
        if let Ok(seen) = std::fs::metadata(above)
            && mode(&seen) & 0o002 != 0
            && mode(&seen) & 0o1000 == 0
        {
            return Err(refused(format!(
                "everybody may replace what is in the directory {} (mode {:04o})",
                above.display(),
                mode(&seen)
            )));
        }
    }
    for end in FILES {
        let file = beside(path, end);
        let Ok(there) = std::fs::symlink_metadata(&file) else {
            continue;
        };
        let rule = if there.file_type().is_symlink() {
            "is a link, which is not followed"
        } else if !there.is_file() {
            "is not a regular file"
        } else if there.nlink() > 1 {
            "has another name elsewhere (a hard link)"
        } else if there.uid() != seen.uid() && there.uid() != us && there.uid() != 0 {
            "belongs to another user than its directory"
        } else {
            continue;
        };
        return Err(Trouble::new(
            format!("{} {rule}", file.display()),
            "move it away, or name the file itself in store.path",
        ));
    }
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    fn refused(path: &Path) -> String {
        check(path).unwrap_err().rule.rule
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_sticky_or_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.db");
        let mode =
            |mode| std::fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        for good in [0o700, 0o750, 0o755, 0o2755] {
            mode(good);
            check(&path).unwrap();
        }
        for bad in [0o777, 0o1777, 0o702] {
            mode(bad);
            assert!(refused(&path).contains("others may write"), "{bad:o}");
        }
        mode(0o777);
        let below = place.path().join("below");
        std::fs::create_dir(&below).unwrap();
        assert!(refused(&below.join("gateway.db")).contains("everybody may replace"));
        mode(0o1777);
        check(&below.join("gateway.db")).unwrap();
        // Led there by a link, it is the same place.
        mode(0o700);
        symlink("/tmp", place.path().join("link")).unwrap();
        assert!(refused(&place.path().join("link/gateway.db")).contains("others may write"));
    }

    #[test]
    fn links_in_the_place_of_the_database_its_log_or_its_lock_are_refused() {
        for end in FILES {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("gateway.db");
            check(&path).unwrap();
            let target = place.path().join("target");
            std::fs::write(&target, "").unwrap();
            let name = beside(&path, end);
            for to in ["target", "missing"] {
                symlink(place.path().join(to), &name).unwrap();
                assert!(refused(&path).contains("is a link"), "{end} {to}");
                std::fs::remove_file(&name).unwrap();
            }
            std::fs::hard_link(&target, &name).unwrap();
            assert!(refused(&path).contains("hard link"), "{end}");
            std::fs::remove_file(&name).unwrap();
            std::fs::write(&name, "").unwrap();
            check(&path).unwrap();
        }
    }
}
