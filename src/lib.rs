//! Front door; written last.
#![allow(missing_docs)]

pub mod ids;
pub mod rng;
pub mod secret;
pub mod shell;
pub mod time;
pub mod wire;
