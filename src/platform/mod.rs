//! The platform client: credentials, channels, topics, limits, budget, gaps.
//!
//! Pure: it reads no clock and does no I/O. It knows nothing of after-call
//! work, interactions or the history manager.

pub mod blame;
pub mod frames;
pub mod oauth;
pub mod printable;
pub mod rest;
pub mod retry_after;
pub mod saml;
pub mod session;
