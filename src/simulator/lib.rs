//! A simulator of the Genesys Cloud platform, as far as the gateway meets it.
//!
//! [`model`] is the platform as a pure machine: OAuth, REST, notification
//! channels, conversations and their wrap-ups, with every undocumented
//! behaviour as a switch and every known hardship as a fault. The simulation
//! tests drive it in virtual time.
//!
//! The rest puts sockets around it: one port for REST, OAuth and WebSocket,
//! one for the control interface, which also holds a receiver that stands in
//! for the history manager.
//!
//! ```text
//!  api port ──► connection threads ──┐                      ┌── control port
//!                (HTTP, then maybe   ├─► Mutex<the model> ◄─┤   connection threads
//!                 a WebSocket)       │        ▲             └── history receiver
//!                                    │        │
//!                       queue + wake per      timer thread
//!                       socket      ◄─┘
//! ```
//!
//! Invariant: the simulator uses nothing of the gateway except the plain values
//! of `time`, `ids`, `rng`, `secret` and `wire`; it shares no code with the
//! platform client that it is there to try.

mod command;
mod connections;
mod control_http;
mod history;
mod http1;
pub mod model;
mod server;
mod socket;

pub use command::{RunError, run_command};
pub use model::{
    Call, Control, ControlError, Fault, Life, Media, Noise, Platform, RestFailure, Settings, Start,
    Switches, Truth, WrapUp,
};
pub use server::{Model, Options, Running, start};
