//! The thin blocking shell: thread bodies, sockets, queues. It does what the
//! core says and holds no opinion of its own.

pub mod assertion;
pub mod channel;
pub mod clock;
pub mod dial;
pub mod forward;
pub mod proxy;
pub mod rest;
#[cfg(test)]
mod stub;
pub mod tls;
