//! A disk that is slow or broken, a loop that hangs, and names: a small library between the gateway
//! and the system's own, made by the system's C compiler.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::Setup;

/// Compiled once for each test program; nothing where there is no compiler.
fn library() -> Option<&'static PathBuf> {
    static MADE: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let (source, library) = (
            directory.path().join("disk.c"),
            directory.path().join("disk.so"),
        );
        fs::write(&source, include_str!("disk.c")).unwrap();
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .is_ok_and(|o| o.status.success());
        if !done {
            eprintln!("not tried: a disk with troubles of its own takes a C compiler");
        }
        done.then_some((directory, library))
    });
    made.as_ref().map(|(_, library)| library)
}

/// The switches of one gateway.
pub(crate) struct Shim(PathBuf);

impl Shim {
    /// For the gateways that are started from this setup from now on.
    pub(crate) fn preload(setup: &mut Setup) -> Option<Shim> {
        let library = library()?;
        let switches = setup.path("shim");
        fs::create_dir_all(&switches).unwrap();
        setup.env("LD_PRELOAD", library.to_str().unwrap());
        setup.env("DISK_SHIM", switches.to_str().unwrap());
        Some(Shim(switches))
    }

    /// Every sync that begins from now on takes so many seconds.
    pub(crate) fn slow(&self, seconds: f64) {
        self.turn("slow", &seconds.to_string());
    }

    /// Every sync fails.
    pub(crate) fn broken(&self) {
        self.turn("broken", "");
    }

    /// The loop does not come back.
    pub(crate) fn hang(&self) {
        self.turn("hang", "");
    }

    /// The wall clock is so many seconds ahead of the true one, or behind it.
    pub(crate) fn clock(&self, seconds: i64) {
        self.turn("clock", &seconds.to_string());
    }

    /// The name has these addresses, one after the other; `again`: no name server answers,
    /// `hang`: for a minute nobody says even that.
    pub(crate) fn name(&self, name: &str, addresses: &[&str]) {
        self.turn(&format!("name-{name}"), &addresses.join("\n"));
    }

    /// The disk is as good as any.
    pub(crate) fn well(&self) {
        for name in ["slow", "broken"] {
            let _ = fs::remove_file(self.0.join(name));
        }
    }

    fn turn(&self, name: &str, to: &str) {
        // Whole from the beginning: it may be read at any moment.
        fs::write(self.0.join("new"), to).unwrap();
        fs::rename(self.0.join("new"), self.0.join(name)).unwrap();
    }
}
