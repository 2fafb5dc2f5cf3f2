//! Front door; written last.
#![allow(missing_docs)]

pub mod plain;
pub mod cli;
pub mod config;
pub mod service;
pub mod filing;
pub mod ids;
pub mod notice;
pub mod platform;
pub mod rng;
pub mod secret;
pub mod shell;
pub mod simulator;
pub mod store;
pub mod time;
pub mod wire;
