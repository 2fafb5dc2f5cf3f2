//! What the person who runs the gateway sees and does: trouble with the disk and with the
//! database, the journal, the metrics, the status, the command line (design, sections 2, 3
//! and 6). The real binary between a simulated platform and a scripted history manager.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod command;
mod damage;
mod disk;
mod farewell;
mod journal;
mod metrics;
mod mount;
mod stall;
mod status;
mod stderr;
