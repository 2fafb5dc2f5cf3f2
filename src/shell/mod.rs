//! The thin blocking shell: thread bodies, sockets, queues. It does what the
//! core says and holds no opinion of its own.

pub mod answer;
pub mod assertion;
pub mod channel;
pub mod clock;
pub mod daemon;
pub mod private;
pub mod reload;
pub mod desk;
pub mod dial;
mod eyeballs;
pub mod forward;
pub mod gate;
pub mod http;
pub mod journal;
pub mod main_loop;
pub mod online;
pub mod operators;
pub mod outside;
pub mod port;
pub mod problem;
pub mod proxy;
pub mod published;
mod reach;
pub mod rest;
pub mod seldom;
pub mod stopped;
#[cfg(test)]
mod stub;
pub mod shared;
pub mod tls;
mod transport;
mod unreached;
mod upgrade;

#[cfg(any(test, feature = "windows"))]
pub(crate) use upgrade::fuzz_upgrade;
