//! The platform client: credentials, channels, topics, limits, budget, gaps.
//!
//! Pure: it reads no clock and does no I/O. It knows nothing of after-call
//! work, interactions or the history manager.

pub mod frames;
pub mod rest;
pub mod session;
