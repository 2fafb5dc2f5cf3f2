//! Genesys Cloud notification channels over blocking sockets: what
//! [`proto`] decides is done here by threads, sockets, TLS, proxies and REST workers.
//!
//! ```text
//!   orders ──► channel thread ─ poll([socket, eventfd]) ─ WebSocket ─► streaming host
//!               (runs the session of its socket)
//!   jobs ────► rest-1, rest-2 ─ HTTP ─► API, login host
//!                 facts of both ──► a queue of whoever owns the client
//! ```
//!
//! A name is dialled with Happy Eyeballs ([`dial`]), through a proxy if one is named
//! ([`proxy`]), with TLS by the machine's roots or those of a file ([`tls`]); the upgrade to a
//! WebSocket is our own, as middleboxes write it. [`rest`] and [`answer`] do HTTP, [`saml`] and
//! [`assertion`] sign in where there is no client secret, [`redaction`] cleans what is shown to
//! people of the secrets that it knows.
//!
//! It may not decide what the client decides, and knows nothing of after-call work, stores or
//! the history manager. Invariants: every wait has a deadline or a wake-up, every answer and
//! frame a bound; no secret is in a message or an error.

mod client;
mod error;
mod item;
mod keeper;
mod outlet;
mod single;

pub mod answer;
pub mod assertion;
pub mod socket_thread;
pub mod clock;
pub mod credentials;
pub mod dial;
mod eyeballs;
pub mod proxy;
mod reach;
pub mod redaction;
pub mod rest;
pub mod saml;
pub mod seldom;
pub mod shared;
#[cfg(test)]
mod stub;
pub mod tls;
mod transport;
mod unreached;
mod upgrade;

#[cfg(any(test, feature = "windows"))]
pub use upgrade::fuzz_upgrade;

pub use client::{Client, ClientBuilder};
pub use error::{Error, Reason};
pub use item::Item;
pub use keeper::{Forgetful, Keeper, KeptChannel};
pub use single::{Builder, Channel};
