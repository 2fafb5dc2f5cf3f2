//! The whole program from outside: the real binary between a simulated platform
//! and a scripted history manager, over real sockets (design, sections 2 to 6).

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod chaos;
mod desk_news;
mod desktop_demo;
mod echoes;
mod events;
mod hostile_hour;
mod life;
mod listen;
mod limits;
mod login;
mod network;
mod operators;
mod outbox;
mod places;
mod refusals;
mod reload;
mod restarts;
mod secrets;
mod shards;
mod sockets;
mod streaming;
mod tls;
mod wire;
