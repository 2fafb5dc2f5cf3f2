//! The process and its surroundings: exit codes, log, signals, systemd.

mod exit;

pub use exit::ExitCode;
