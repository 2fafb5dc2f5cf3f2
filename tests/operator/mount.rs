//! A small file system of its own for a test, where this user may mount one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted while it lives.
pub(crate) struct Disk {
    at: PathBuf,
}

fn done(program: &str, words: &[&str]) -> bool {
    Command::new(program)
        .args(words)
        .output()
        .is_ok_and(|o| o.status.success())
}

impl Disk {
    /// A file system of `size` (as `mount` spells it) at `at`; nothing where this user may not
    /// mount, which is said.
    pub(crate) fn mount(at: PathBuf, size: &str) -> Option<Disk> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size},mode=0700");
        let path = at.to_str().unwrap();
        if done("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path]) {
            return Some(Disk { at });
        }
        eprintln!("not tried: a file system of its own takes the right to mount");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path("filler"))
            .unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Gives back what [`Disk::fill`] took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.path("filler")).unwrap();
    }

    pub(crate) fn turn(&self, how: &str) -> bool {
        let options = format!("remount,{how}");
        done("mount", &["-o", &options, self.at.to_str().unwrap()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the gateway may still be on its way out.
        done("umount", &["-l", self.at.to_str().unwrap()]);
    }
}

/// A file that nobody may write while this lives, not even through a descriptor that is open.
pub(crate) struct Immutable(PathBuf);

impl Immutable {
    /// Nothing where the file system or the user cannot do this, which is said.
    pub(crate) fn make(file: &Path) -> Option<Immutable> {
        if done("chattr", &["+i", file.to_str().unwrap()]) {
            let made = Immutable(file.to_owned());
            if OpenOptions::new().append(true).open(file).is_err() {
                return Some(made);
            }
        }
        eprintln!("not tried: making a file immutable takes the right to do so");
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        done("chattr", &["-i", self.0.to_str().unwrap()]);
    }
}
