//! Deterministic simulation: the real core against models of the platform, the
//! network, the history manager, the callers and the disk, in virtual time, from
//! one seed (style: one process, one thread, one ordered queue of what happens).
//!
//! Each seed draws its own settings, switches and kinds of faults; a day passes
//! under faults with the invariants checked after every step, then the faults
//! stop and everything has to come to its end.
//!
//! `SEEDS=10000 FROM=1 cargo test --release --test simulation -- seeds --nocapture`
//! runs many; `SEED=7 cargo test --release --test simulation -- replay --nocapture`
//! replays one and tells its story.
//!
//! Seeds known to fail, to begin with. Of 1 to 100 of the whole gateway: 81 (an interaction
//! ends as settled although REST could tell), 88 and 95 (channels beyond the setting still
//! have topics on the platform); of the platform half 163 (a topic is believed live for more
//! than five minutes after it no longer was). A run stops at the first check that fails, so
//! what would have become of its wrap-ups is not known.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod agenda;
mod checks;
mod clock;
mod disk;
mod faults;
mod full;
mod half;
mod history;
mod net;
mod plan;
mod report;
mod runner;
mod saboteur;
mod scenarios;
mod sweep;
mod trace;
