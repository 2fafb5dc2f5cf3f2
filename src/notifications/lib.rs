//! Genesys Cloud notifications for any Rust program, without async: the code that
//! `genesys-gateway` runs on, which may not lose one.
//!
//! Two doors:
//!
//! * [`Channel`]: one notification channel, for whoever has its `connectUri` and nothing else.
//! * [`Client`]: credentials in, any number of topics in, one stream of items out; token, channels,
//!   the limits of 20 channels and 1,000 topics, hand-over and gaps are seen to.
//!
//! Both are blocking iterators of [`Item`]s:
//!
//! ```no_run
//! use genesys_notifications::{Client, Item};
//!
//! # fn main() -> Result<(), genesys_notifications::Error> {
//! let client = Client::builder()
//!     .region("mypurecloud.de")
//!     .client_credentials("id of the OAuth client", "its secret")
//!     .connect()?;
//! client.subscribe(["v2.users.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.presence"])?;
//! for item in &client {
//!     match item {
//!         Ok(Item::Notification { topic, body, .. }) => println!("{topic} {body}"),
//!         Ok(Item::Gap { topics, since, .. }) => println!("since {since:?}: {topics:?}"),
//!         Ok(_) => {}
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # In five minutes
//!
//! Without an organisation of your own: `genesys-simulator` is a platform to try with.
//!
//! ```toml
//! [dependencies]
//! genesys-notifications = "0.1"
//! genesys-simulator = "0.1"
//! ```
//!
//! ```
//! # use simulator as genesys_simulator;
//! use genesys_notifications::{Client, Item};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let platform = genesys_simulator::start(Default::default())?;
//! let client = Client::builder()
//!     .hosts(&platform.api_url, &platform.login_url) // of your own: .region("mypurecloud.de")
//!     .client_credentials(&platform.client_id, &platform.client_secret)
//!     .connect()?;
//! let id = platform.begin_conversation()?;
//! client.subscribe([format!("v2.detail.events.conversation.{id}.acw")])?;
//! for item in &client {
//!     match item {
//!         Ok(Item::Live { .. }) => platform.finish_conversation(&id)?, // announced now
//!         Ok(Item::Notification { topic, body, .. }) => {
//!             println!("{topic} {body}");
//!             break;
//!         }
//!         Ok(other) => eprintln!("{other:?}"),
//!         // Told between items: it goes on trying.
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! With an organisation: the OAuth client needs the scope `notifications` and, for each topic, the
//! permissions that [`Client::available_topics`] names. A topic that it may not have is told
//! [`Item::Refused`] with what is missing.
//!
//! # What is promised
//!
//! An event of a topic that was told [`Item::Live`] is told once, or a
//! [`Item::Gap`] of its topic says since when something may be missing. What is not: the platform
//! announces once, to whoever is connected, so that what happens in a gap has to be asked for by
//! other means; two events of one topic with equal bodies, within ten seconds of a hand-over
//! between channels, may be taken for one that came on both. A topic is not live before that is told:
//! what is announced earlier is announced to nobody.
//!
//! [`guide`] shows the way from other clients, row by row with the tests. The crate
//! `genesys-simulator` is a platform to try with: the examples of this crate run against it
//! (`cargo run --example one_channel`, `cargo run --example many_topics`).
//!
//! # Threads
//!
//! ```text
//!   caller ──commands──► driver ──orders──► a thread for each socket ─► streaming host
//!   caller ◄──items────── (decides nothing: │   poll([socket, eventfd])
//!        bounded; a slow   proto does)      └──jobs──► 2 REST workers ─► API, login host
//!        reader loses notifications, and hears which)
//! ```
//!
//! No thread waits for the caller. Dropping a handle ends its threads within a second, but for one
//! that is asking the system for a name, which cannot be broken off.
//!
//! # The rooms
//!
//! A name is dialled with Happy Eyeballs ([`dial`]), through a proxy if one is named
//! ([`proxy`]), with TLS by the machine's roots or those of a file ([`tls`]); the upgrade to a
//! WebSocket is our own, as middleboxes write it. [`rest`] and [`answer`] do HTTP, [`saml`],
//! [`assertion`] and [`credentials`] sign in, [`redaction`] cleans what is shown to people of the
//! secrets that it knows.
//!
//! It may not decide what [`proto`] decides, and knows nothing of after-call work, stores or
//! the history manager. Invariants: every wait has a deadline or a wake-up, every answer, frame
//! and queue a bound; no secret is in a message or an error.

pub mod guide;

mod available;
mod bearer;
mod client;
mod error;
mod item;
mod keeper;
mod missing;
mod outlet;
mod single;
mod together;

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

pub use available::{AvailableTopic, Requirement};
pub use client::{Client, ClientBuilder};
pub use error::{Error, Reason};
pub use item::Item;
pub use keeper::{Forgetful, Keeper, KeptChannel};
pub use single::{Builder, Channel};
