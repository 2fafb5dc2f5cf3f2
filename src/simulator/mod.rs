//! A simulator of the Genesys Cloud platform, as far as the gateway meets it.
//!
//! [`model`] is the platform as a pure machine: OAuth, REST, notification
//! channels, conversations and their wrap-ups, with every undocumented
//! behaviour as a switch and every known hardship as a fault. The simulation
//! tests drive it in virtual time.
//!
//! Invariant: nothing outside of this module is used by it except the plain
//! values of `time`, `ids`, `rng`, `secret` and `wire`; the simulator shares no
//! code with the platform client that it is there to try.

pub mod model;

pub use model::Platform;
