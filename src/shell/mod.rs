//! The thin blocking shell: thread bodies, sockets, queues. It does what the
//! core says and holds no opinion of its own.

pub mod assertion;
pub mod gate;
pub mod http;
pub mod port;
pub mod problem;
pub mod seldom;
