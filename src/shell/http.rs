//! The listeners' common ground and the intake: a server behind its gate,
//! requests and replies as plain values, strict JSON, tokens, origins.
//!
//! Nothing here decides what becomes of an interaction: that is behind
//! [`Port`](super::port::Port).

pub(crate) mod answers;
pub mod assets;
pub mod auth;
pub mod cors;
pub mod desktop;
mod event;
pub mod exchange;
pub mod host;
pub mod intake;
pub mod json;
pub mod page_tokens;
mod quota;
pub mod served;
pub mod view;

#[cfg(any(test, feature = "windows"))]
pub(crate) use event::fuzz_event;
