//! The thin shell.

pub mod assertion;
