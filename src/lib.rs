//! Front door; written last.
#![allow(missing_docs)]

pub mod ids;
pub mod rng;
pub mod secret;
pub mod simulator;
pub mod time;
pub mod wire;
