//! The process and its surroundings: exit codes, log, signals, systemd.
//!
//! The only module that looks at the variables of a service manager. No part
//! of the core uses it.

pub mod activation;
pub mod crash;
mod exit;
mod levels;
pub mod logging;
mod outlet;
pub mod output;
pub mod sd;
pub mod signals;

pub use exit::ExitCode;
