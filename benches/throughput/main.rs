//! How much the parts bear: the core alone, the store alone, the intake alone. What the whole
//! bears is the other benchmark, `gateway`.
//!
//! ```text
//! cargo bench --bench throughput               everything, about a minute
//! cargo bench --bench throughput -- store      only what has this in its name
//! BENCH_DIR=/var/tmp cargo bench --bench throughput -- store    where the database lies
//! ```
//!
//! Absolute numbers depend on the machine; what is compared is measured in the
//! same run and printed as a ratio. The store's numbers are those of the disk:
//! on a file system in memory they say nothing.

// A benchmark that cannot go on stops.
#![allow(clippy::unwrap_used)]

mod core_alone;
mod intake_alone;
mod store_alone;

use std::time::{Duration, Instant};

fn main() {
    // `cargo bench` passes `--bench`; anything else is a filter.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let all: [(&str, fn()); 3] = [
        ("core", core_alone::run),
        ("store", store_alone::run),
        ("intake", intake_alone::run),
    ];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            println!("{name}");
            run();
        }
    }
}

/// Times something once.
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = what();
    (result, began.elapsed())
}

fn rate(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64().max(1e-9)
}

fn line(what: &str, n: usize, unit: &str, took: Duration) -> f64 {
    let rate = rate(n, took);
    println!(
        "  {what:<58} {rate:>10.0} {unit}/s   ({n} in {:.3} s)",
        took.as_secs_f64()
    );
    rate
}
