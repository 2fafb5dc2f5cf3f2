//! The simulator as its users meet it: real sockets, the control interface,
//! and its answers against the schemas of the platform.

// Helpers of tests are tests as well, which the lints do not see.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod command;
mod control;
mod schemas;
mod sockets;
mod support;
