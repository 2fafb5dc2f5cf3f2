//! Deterministic simulation: the real core against models of the platform, the
//! network, the history manager, the callers and the disk, in virtual time, from
//! one seed (style: one process, one thread, one ordered queue of what happens).
//!
//! Each seed draws its own settings, switches and kinds of faults; a day passes
//! under faults with the invariants checked after every step, then the faults
//! stop and everything has to come to its end.
//!
//! What is decided by the threads that dial and post is not modelled here, because the core has no
//! say in it: which of a host's addresses is tried next and when (the dead ones before a living
//! one) is tested in `src/shell/eyeballs.rs`, interim answers and odd field lines of the history
//! manager in `src/shell/answer/tests.rs` and, over real sockets, in
//! `whatever_stands_around_the_status_line_a_record_is_filed_once`.
//!
//! `SEEDS=10000 FROM=1 cargo test --release --test simulation -- seeds --nocapture`
//! runs many, of the platform half and of the whole gateway (`seeds_of_the_whole` for
//! that one alone); `SEED=7 cargo test --release --test simulation -- replay_full --nocapture`
//! replays one and tells its story (`replay_half` for the platform half; `LINES` and `WIDTH`
//! for more of it). Every run draws from its seed alone, so a seed that fails fails again.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod agenda;
mod checks;
mod clock;
mod disk;
mod faults;
mod flood;
mod full;
mod half;
mod history;
mod invented;
mod lives;
mod net;
mod pace;
mod plan;
mod report;
mod runner;
mod sabotage;
mod saboteur;
mod scenarios;
mod short_gap;
mod sweep;
mod trace;
