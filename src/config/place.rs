//! Whether the database's place can be trusted: nobody else may put files or links there, or put
//! another directory in the place of this one.
//!
//! SQLite opens the log beside the database by its name, so what stands under these names must
//! not be another's choice. Whoever may write to the directory could replace the database itself,
//! the sticky bit or not: names that do not exist yet are free for everybody there. Above it, as
//! with the keys of sshd (`StrictModes`), each directory that is passed belongs to root or to us,
//! and nobody else may write to it unless it is sticky (`/tmp`): what is ours is not replaced there.
//!
//! Not refused: what systemd makes for `StateDirectory=`, with `DynamicUser=` too (links of root to
//! `/var/lib/private`); in a container, owners that its user namespace does not know (they are of
//! the host, as root's are), and directories of root that group 0 may write.
//!
//! Invariant: only looks; what it may not look at it says nothing of.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::files::{Trouble, writable_by_others};

/// What stands, or may come to stand, beside the database, by the end of its name.
const FILES: [&str; 14] = [
    "",
    "-wal",
    "-shm",
    "-journal",
    ".lock",
    ".probe",
    ".salvage",
    ".salvage-wal",
    ".salvage-shm",
    ".salvage-part",
    ".salvage-part-wal",
    ".salvage-part-shm",
    ".moved-part",
    ".damaged",
];

/// Links that lead on until the path counts as endless, as for the kernel.
const LINKS_MAX: usize = 40;

const ROOT: u32 = 0;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asking {
    /// The effective user.
    pub(super) us: u32,
    /// The gateway is about to run as this user. Else root may be looking on behalf of the user to
    /// whom the directory belongs.
    pub(super) runs: bool,
    /// The owner that the kernel shows where a user namespace knows none.
    pub(super) unmapped: Option<u32>,
}

impl Asking {
    /// This process.
    pub(super) fn of_process(runs: bool) -> Asking {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let map = read("/proc/self/uid_map");
        let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
        let overflow = read("/proc/sys/kernel/overflowuid").trim().parse();
        Asking {
            us: rustix::process::geteuid().as_raw(),
            runs,
            unmapped: (!whole && !map.is_empty()).then(|| overflow.unwrap_or(65_534)),
        }
    }
}

/// Whether a database may lie at `path`; a warning where only its start will tell.
pub(super) fn check(path: &Path, asking: Asking) -> Result<Option<String>, Trouble> {
    let Ok(path) = std::path::absolute(path) else {
        return Ok(None);
    };
    let Some(parent) = path.parent() else {
        return Ok(None);
    };
    let (Ok(directory), Ok(seen)) = (parent.canonicalize(), std::fs::metadata(parent)) else {
        return Ok(None);
    };
    let refused = |rule: String| {
        Trouble::new(
            rule,
            "a directory of its own serves: owned by the user that runs the gateway, mode 0700, below \
             directories of root or of that user where nobody else may write",
        )
    };
    if may_be_written(&directory, &seen) {
        return Err(refused(format!(
            "others may write to the directory {} (mode {:04o}), and so put files and links beside the database",
            directory.display(),
            mode(&seen)
        )));
    }
    let mut trusted = vec![ROOT, asking.us];
    let mut warning = None;
    if !trusted.contains(&seen.uid()) {
        let rule = format!(
            "the directory {} belongs to another user (number {})",
            directory.display(),
            seen.uid()
        );
        if asking.us != ROOT || asking.runs {
            return Err(refused(rule));
        }
        warning = Some(format!(
            "{rule}: the gateway starts as that user only, and not as root"
        ));
        trusted.push(seen.uid());
    }
    let above = passed(parent);
    for (place, seen) in above.iter().filter(|(place, _)| *place != directory) {
        let known = trusted.contains(&seen.uid()) || asking.unmapped == Some(seen.uid());
        if !known {
            return Err(refused(format!(
                "{} on the way to the database belongs to another user (number {}), who may replace what is there",
                place.display(),
                seen.uid()
            )));
        }
        let sticky = mode(seen) & 0o1000 != 0;
        if !seen.is_symlink() && !sticky && may_be_written(place, seen) {
            let who = if mode(seen) & 0o002 != 0 {
                "everybody"
            } else {
                "its group"
            };
            return Err(refused(format!(
                "{who} may replace what is in the directory {} (mode {:04o})",
                place.display(),
                mode(seen)
            )));
        }
    }
    files(&path, &trusted)?;
    Ok(warning)
}

/// What stands beside the database is a file of ours, or will be.
fn files(path: &Path, trusted: &[u32]) -> Result<(), Trouble> {
    for end in FILES {
        let file = beside(path, end);
        let Ok(there) = std::fs::symlink_metadata(&file) else {
            continue;
        };
        let elsewhere = "move it away, or name the file itself in store.path";
        let (rule, hint) = if there.is_symlink() {
            (String::from("is a link, which is not followed"), elsewhere)
        } else if !there.is_file() {
            (String::from("is not a regular file"), elsewhere)
        } else if there.nlink() > 1 {
            let rule = "has another name elsewhere (a hard link)";
            (String::from(rule), elsewhere)
        } else if !trusted.contains(&there.uid()) {
            let rule = format!("belongs to another user (number {})", there.uid());
            (rule, "chown it to the user that runs the gateway")
        } else if may_be_written(&file, &there) {
            (
                format!("may be written by others (mode {:04o})", mode(&there)),
                "look at what it holds, then chmod 0600",
            )
        } else {
            continue;
        };
        return Err(Trouble::new(format!("{} {rule}", file.display()), hint));
    }
    Ok(())
}

fn mode(seen: &Metadata) -> u32 {
    seen.permissions().mode() & 0o7777
}

/// Whether somebody besides the owner and root may write there. With an access list the bits of
/// the group are the most that anybody on the list has.
fn may_be_written(path: &Path, seen: &Metadata) -> bool {
    let listed = || {
        let list = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0]);
        list.is_ok_and(|bytes| bytes > 0)
    };
    writable_by_others(seen).is_some() || (mode(seen) & 0o020 != 0 && listed())
}

/// The directories and links that are passed on the way to `path`, itself included.
fn passed(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        });
        parts.collect()
    };
    let mut here = PathBuf::from("/");
    let mut all: Vec<(PathBuf, Metadata)> = std::fs::symlink_metadata(&here)
        .map(|seen| (here.clone(), seen))
        .into_iter()
        .collect();
    let mut left: VecDeque<OsString> = parts(path).into();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(part);
        let Ok(seen) = std::fs::symlink_metadata(&next) else {
            return all;
        };
        let is_link = seen.is_symlink();
        all.push((next.clone(), seen));
        if !is_link {
            here = next;
            continue;
        }
        links += 1;
        let Ok(target) = std::fs::read_link(&next) else {
            return all;
        };
        if links > LINKS_MAX {
            return all;
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    all
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
    use std::os::unix::fs::{chown, symlink};

    const NOBODY: u32 = 65_534;

    fn us() -> Asking {
        Asking::of_process(true)
    }

    fn taken(path: &Path) {
        assert_eq!(check(path, us()), Ok(None));
    }

    /// A place, and where a database may lie two directories below.
    fn two_below() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        (place, below.join("gateway.db"))
    }

    fn refused(path: &Path) -> String {
        check(path, us()).unwrap_err().rule.rule
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Foreign owners can only be made by root.
    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_sticky_or_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.db");
        for good in [0o700, 0o750, 0o755, 0o2755] {
            set(place.path(), good);
            taken(&path);
        }
        for bad in [0o777, 0o1777, 0o702] {
            set(place.path(), bad);
            assert!(refused(&path).contains("others may write"), "{bad:o}");
        }
        set(place.path(), 0o777);
        let below = place.path().join("below");
        std::fs::create_dir(&below).unwrap();
        assert!(refused(&below.join("gateway.db")).contains("everybody may replace"));
        set(place.path(), 0o1777);
        taken(&below.join("gateway.db"));
        // Led there by a link, it is the same place.
        set(place.path(), 0o700);
        symlink("/tmp", place.path().join("link")).unwrap();
        assert!(refused(&place.path().join("link/gateway.db")).contains("others may write"));
    }

    #[test]
    fn a_directory_above_that_a_group_may_write_is_refused_unless_it_is_sticky() {
        if !is_root() {
            return;
        }
        let (place, path) = two_below();
        chown(place.path(), None, Some(NOBODY)).unwrap();
        for bad in [0o770, 0o775, 0o2775] {
            set(place.path(), bad);
            assert!(refused(&path).contains("its group may replace"), "{bad:o}");
        }
        set(place.path(), 0o1775);
        taken(&path);
        // Group 0 is root's own: so directories are made for containers.
        chown(place.path(), None, Some(0)).unwrap();
        set(place.path(), 0o775);
        taken(&path);
    }

    #[test]
    fn directories_and_links_of_another_user_on_the_way_are_refused() {
        if !is_root() {
            return;
        }
        let (place, path) = two_below();
        chown(place.path().join("a"), Some(NOBODY), None).unwrap();
        assert!(refused(&path).contains("who may replace"));
        // Where a user namespace does not know the owner, it is the host's.
        let mapped = Asking {
            unmapped: Some(NOBODY),
            ..us()
        };
        assert_eq!(check(&path, mapped), Ok(None));
        chown(place.path().join("a"), Some(0), None).unwrap();
        taken(&path);
        // The directory itself: refused to root that runs, told to root that looks.
        let below = path.parent().unwrap();
        chown(below, Some(NOBODY), None).unwrap();
        assert!(refused(&path).contains("belongs to another user"));
        let looks = Asking::of_process(false);
        let warning = check(&path, looks).unwrap().unwrap();
        assert!(warning.contains("starts as that user only"), "{warning}");
        assert_eq!(check(&path, Asking { us: NOBODY, ..us() }), Ok(None));
        assert!(check(&path, Asking { us: 1000, ..us() }).is_err());
        chown(below, Some(0), None).unwrap();
        // A link that another may change is not followed, wherever it leads.
        let link = place.path().join("link");
        symlink(below, &link).unwrap();
        taken(&link.join("gateway.db"));
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        assert!(refused(&link.join("gateway.db")).contains("link on the way"));
    }

    #[test]
    fn every_directory_that_links_lead_through_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["open", "good"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        symlink("../good", at("open/second")).unwrap();
        symlink("open/second", at("first")).unwrap();
        let path = at("first/gateway.db");
        taken(&path);
        set(&at("open"), 0o777);
        assert!(refused(&path).contains("everybody may replace"));
        // As systemd does it for a dynamic user: a link of root, and a directory that is closed.
        set(&at("open"), 0o700);
        taken(&path);
        symlink("loop", at("loop")).unwrap();
        assert_eq!(
            passed(&at("loop")).len(),
            passed(place.path()).len() + LINKS_MAX + 1
        );
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gateway.db");
        for end in ["", "-wal", ".salvage", ".lock"] {
            let file = beside(&path, end);
            std::fs::write(&file, "").unwrap();
            for bad in [0o666, 0o602] {
                set(&file, bad);
                assert!(
                    refused(&path).contains("written by others"),
                    "{end} {bad:o}"
                );
            }
            set(&file, 0o644);
            taken(&path);
            if is_root() {
                chown(&file, Some(NOBODY), None).unwrap();
                assert!(refused(&path).contains("belongs to another user"), "{end}");
                chown(&file, Some(0), Some(NOBODY)).unwrap();
                set(&file, 0o660);
                assert!(refused(&path).contains("written by others"), "{end}");
            }
            std::fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn links_in_the_place_of_anything_that_we_make_there_are_refused() {
        for end in FILES {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("gateway.db");
            taken(&path);
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
            std::fs::create_dir(&name).unwrap();
            assert!(refused(&path).contains("regular file"), "{end}");
            std::fs::remove_dir(&name).unwrap();
            std::fs::write(&name, "").unwrap();
            set(&name, 0o600);
            taken(&path);
        }
    }
}
