//! The simulator as its users meet it: real sockets, the control interface,
//! and its answers against the schemas of the platform.

mod control;
mod schemas;
mod sockets;
mod support;
