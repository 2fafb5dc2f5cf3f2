//! Front door; written last.
#![allow(missing_docs)]

pub mod filing;
pub mod ids;
pub mod notice;
pub mod plain;
pub mod platform;
pub mod rng;
pub mod secret;
pub mod shell;
pub mod time;
pub mod wire;
