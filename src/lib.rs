//! Front door; written last.
#![allow(missing_docs)]

pub mod agent_desktop;
pub mod asset;
pub mod cli;
pub mod config;
pub mod filing;
pub mod gateway;
pub mod ids;
pub mod notice;
pub mod plain;
pub mod platform;
pub mod rng;
pub mod run;
pub mod secret;
pub mod service;
pub mod shell;
pub mod simulator;
pub mod status;
pub mod store;
pub mod time;
pub mod wire;
