//! A simulator of the Genesys Cloud platform: OAuth, REST and WebSockets of its notification
//! service on a port of this machine, for tests of whatever uses that.
//!
//! ```
//! use genesys_simulator::{Fault, Options, start};
//! use std::time::Duration;
//!
//! let platform = start(Options::default())?; // on a free port: platform.api_url
//! platform.switch("heartbeat-seconds", "5")?; // what nobody knows of the platform
//! platform.fault(Fault::RefuseTopics { pattern: "*.acw".into() })?; // hardships
//! platform.advance(Duration::from_secs(24 * 3600))?; // channels end, tokens end
//! platform.journal().iter().for_each(|entry| println!("{entry}"));
//! platform.reset(); // begins anew, at the same address
//! platform.stop(); // or drop it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client signs in with `client_id` and `client_secret` at `login_url` and asks for channels at
//! `api_url`; [`Running::make_channel`] is for one that can do neither. What is announced on
//! `v2.detail.events.conversation.{id}.acw` comes of conversations:
//!
//! ```
//! # let platform = genesys_simulator::start(Default::default())?;
//! let id = platform.begin_conversation()?;
//! // … a client subscribes …
//! platform.finish_conversation(&id)?; // announced now
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything else is [`Running::command`], the same as JSON, and [`Running::model`], which looks
//! behind the scenes. [`SWITCH_TABLE`] lists the switches, [`Fault`] the hardships.
//!
//! # The rooms
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

mod at_hand;
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
    Call, Control, ControlError, Entry, Fault, Life, Media, Noise, Platform, RestFailure,
    SWITCH_TABLE, Settings, Start, Switches, Truth, WrapUp,
};
pub use server::{Model, Options, Running, start};
