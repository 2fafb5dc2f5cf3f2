//! What tests of the whole program share: the real binary with a configuration
//! of its own, the simulated platform in this process, a history manager that
//! answers by a script, HTTP, and waiting with a deadline.
//!
//! Included by path into several test binaries, none of which uses all of it.

#![allow(dead_code, unused_imports, clippy::unwrap_used)]

pub(crate) mod authority;
pub(crate) mod gateway;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod middlebox;
pub(crate) mod platform;
pub(crate) mod shim;
pub(crate) mod wait;

pub(crate) use authority::{Authority, Time};
pub(crate) use gateway::{Gateway, Setup};
pub(crate) use history::{History, Reply};
pub(crate) use middlebox::Middlebox;
pub(crate) use platform::Platform;
pub(crate) use shim::Shim;
pub(crate) use wait::{PATIENCE, never_within, wait_for, wait_within};

/// A gateway with defaults between a platform and a history manager.
pub(crate) fn all() -> (Platform, History, Setup, Gateway) {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    (platform, history, setup, gateway)
}
