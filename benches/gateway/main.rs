//! How fast the whole gateway is: the real daemon, the platform simulator in a process of
//! its own, a history receiver that is not the limit.
//!
//! ```text
//! cargo bench --bench gateway                     a few minutes
//! cargo bench --bench gateway -- latency accept   only these parts
//! cargo bench --bench gateway -- gap              the gap of 20,000 conversations, minutes long
//! BENCH_DIR=/var/tmp BENCH_RUNS=5 BENCH_JSON=figures.json cargo bench --bench gateway
//! ```
//!
//! Absolute figures are the machine's; so the floors are taken in the same run (what the
//! disk, the HTTP client, the WebSocket library and the HTTP server do with nothing else
//! to do), and ratios to them stand in the table. The database lies in `BENCH_DIR`, by
//! default in the directory for temporary files: on a file system in memory its figures
//! say nothing. No figure is asserted; only that everything was filed, and once.

// A benchmark that cannot go on stops.
#![allow(clippy::unwrap_used)]

mod callers;
mod clock;
mod daemon;
mod floors;
mod parts;
mod platform;
mod receiver;
mod report;

use std::path::PathBuf;

use report::Table;

/// What the parts share.
pub(crate) struct Bench {
    pub(crate) table: Table,
    pub(crate) runs: usize,
    directory: PathBuf,
}

impl Bench {
    /// A fresh place for a gateway's files.
    pub(crate) fn place(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(&self.directory).unwrap()
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(platform::WORD) {
        return platform::serve();
    }
    // `cargo bench` passes `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let set = |name: &str| std::env::var(name).ok();
    let mut bench = Bench {
        table: Table::default(),
        runs: set("BENCH_RUNS").map_or(3, |n| n.parse().unwrap()),
        directory: set("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from),
    };
    for part in parts::ALL {
        let asked = wanted.iter().any(|w| part.name == w);
        if asked || wanted.is_empty() && part.usual {
            eprintln!("{}", part.name);
            (part.run)(&mut bench);
        }
    }
    parts::compare(&mut bench.table);
    let machine = machine();
    println!("{machine}\n");
    bench.table.print();
    if let Some(at) = set("BENCH_JSON") {
        let json = bench.table.json(&machine);
        std::fs::write(at, format!("{json:#}\n")).unwrap();
    }
}

/// The machine in one line.
fn machine() -> String {
    let read = |at: &str| std::fs::read_to_string(at).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|l| l.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |m| {
        m.trim_start_matches(['\t', ' ', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{model}, {cores} cores, Linux {}, load {}",
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("?")
    )
}
