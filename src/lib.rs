//! Front door; written last.
#![allow(missing_docs)]

pub mod agent_desktop;
pub mod asset;
pub mod ids;
pub mod rng;
pub mod secret;
pub mod status;
pub mod time;
pub mod wire;
