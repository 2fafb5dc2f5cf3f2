//! The REST workers.
