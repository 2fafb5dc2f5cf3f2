//! The store on a real disk: what a commit costs, and what sharing one brings.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base::ids::ConversationId;
use base::rows::{Change, InteractionRow, InteractionState, StoreFact, StoreOrder};
use base::time::Wall;
use store::{OpenOptions, Store};
use uuid::Uuid;

use crate::{line, rate};

const NOW: Wall = Wall(1_790_000_000_000);

/// How long each size is measured.
const SPAN: Duration = Duration::from_secs(3);

fn accept(n: u128) -> Change {
    Change::Accept {
        row: InteractionRow {
            conversation: ConversationId(Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            state: InteractionState::Accepted,
            accepted_at: NOW,
            watched_since: None,
            ended_at: None,
            reason: None,
            last_event_at: None,
        },
        members: "{\"customer\":\"C-4711\",\"channel\":\"voice\",\"subject\":\"a few words\"}"
            .into(),
    }
}

pub(crate) fn run() {
    let base = std::env::var_os("BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(&base).unwrap();
    let (mut store, _) =
        Store::open(&directory.path().join("bench.db"), OpenOptions { now: NOW }).unwrap();
    println!("  database in {}", base.display());
    let mut n = 0u128;
    let mut ticket = 0;
    let mut alone = None;
    for size in [1usize, 4, 16, 64, 512] {
        let began = Instant::now();
        let mut commits = 0;
        while began.elapsed() < SPAN {
            ticket += 1;
            let changes = (0..size)
                .map(|_| {
                    n += 1;
                    accept(n)
                })
                .collect();
            let fact = store.execute(StoreOrder::Commit { ticket, changes }, NOW);
            assert!(matches!(fact, StoreFact::Committed { refused, .. } if refused.is_empty()));
            commits += 1;
        }
        let took = began.elapsed();
        let changes = line(
            &format!("commits of {size} accepted interactions"),
            commits * size,
            "interactions",
            took,
        );
        let one = *alone.get_or_insert(changes);
        println!(
            "    {:.0} commits/s, {:.2} ms each; {:.1} times the interactions of commits of one",
            rate(commits, took),
            took.as_secs_f64() * 1000.0 / commits as f64,
            changes / one
        );
    }
    store.close(NOW).unwrap();
}
