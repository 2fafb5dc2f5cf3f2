//! The thin blocking shell: thread bodies, sockets, queues. It does what the
//! core says and holds no opinion of its own.

pub mod assertion;
pub mod channel;
pub mod clock;

pub mod dial;
pub mod forward;
pub mod gate;
pub mod http;

pub mod operators;
pub mod port;
pub mod problem;
pub mod proxy;

pub mod rest;
pub mod seldom;
pub mod tls;
