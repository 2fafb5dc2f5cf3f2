//! The listeners' common ground: a server behind its gate, requests and replies
//! as plain values.

pub mod exchange;
pub mod served;
