//! The thin blocking shell: thread bodies, sockets, queues. It does what the
//! core says and holds no opinion of its own.

pub mod board;
pub mod daemon;
pub mod private;
pub mod reload;
pub mod desk;
pub mod forward;
pub mod gate;
pub mod http;
pub mod journal;
pub mod main_loop;
pub mod online;
pub mod operators;
pub mod outside;
pub mod overview;
pub mod port;
pub mod problem;
pub mod published;
pub mod server_tls;
pub mod router;
pub mod shares;
pub mod standing;
pub mod stopped;
pub mod twins;

#[cfg(test)]
#[path = "../notifications/stub.rs"]
#[expect(
    dead_code,
    reason = "the tests of the notifications crate use more of it"
)]
mod stub;
