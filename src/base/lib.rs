//! Plain values that every part of the gateway speaks: words, identities, instants, random
//! numbers, secrets, causes and blame, the wire's requests and answers, readers of
//! foreign bytes, what is durable as rows.
//!
//! ```text
//!   base ◄── notifications-proto ◄── notifications ◄─┐
//!     ▲ ▲ ▲                                          ├── genesys-gateway
//!     │ │ └─── filing ◄──────────────────────────────┤
//!     │ └───── store ◄───────────────────────────────┤
//!     └─────── simulator ◄───────────────────────────┘
//! ```
//!
//! It may not decide anything, and does no I/O: it reads no clock, opens no file or socket,
//! starts no thread, takes no lock, and has no order that differs between two runs; its
//! `clippy.toml` holds that. Invariant: nothing here knows another crate of the house.

pub mod words;
pub mod ids;
pub mod time;
pub mod ages;
pub mod rng;
pub mod secret;
pub mod plain;
pub mod authority;
pub mod blame;
pub mod cause;
pub mod gap;
pub mod retry_after;
pub mod wire;
pub mod foreign;
pub mod notice;
pub mod fetch;
pub mod rows;
