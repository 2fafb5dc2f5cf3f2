//! Runs seeds, and tells what is needed to run one again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crate::full::Full;
use crate::half::Half;
use crate::plan::{GATEWAY_KINDS, Plan};
use crate::report::Tally;

/// Seeds of an ordinary run.
const SEEDS: u64 = if cfg!(debug_assertions) { 6 } else { 24 };

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// New ground with each change, the same ground for the same change.
fn first_seed() -> u64 {
    if let Some(from) = number("FROM") {
        return from;
    }
    let commit = ["GITHUB_SHA", "CI_COMMIT_SHA", "COMMIT"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    match commit.as_deref().and_then(|c| c.get(..8)) {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap_or(1) << 8,
        None => 1,
    }
}

/// A panic of the core is the seed's failure, and the run's no more than any other is.
fn survived(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// One seed of the platform half.
pub(crate) fn half(seed: u64, telling: bool) -> (Result<(), String>, Half) {
    let mut world = Half::new(Plan::draw(seed, &[]), telling);
    let result = survived(|| world.run());
    world.tally.runs = 1;
    (result, world)
}

/// One seed of the whole gateway.
pub(crate) fn full(seed: u64, telling: bool) -> (Result<(), String>, Full) {
    let mut world = Full::new(Plan::draw(seed, GATEWAY_KINDS), telling);
    let result = survived(|| world.run());
    world.tally.runs = 1;
    (result, world)
}

fn tell_full(seed: u64) -> String {
    let (result, world) = full(seed, true);
    format!(
        "{}\n\nplan: {:?}\nseed {seed}: {}\nreplay: SEED={seed} cargo test --release --test simulation -- replay_full --nocapture",
        world.trace.story(),
        world.plan,
        result.err().unwrap_or_default()
    )
}

fn tell_half(seed: u64) -> String {
    let (result, world) = half(seed, true);
    format!(
        "{}\n\nplan: {:?}\nseed {seed} of the platform half: {}\nreplay: SEED={seed} cargo test --release --test simulation -- replay_half --nocapture",
        world.story(),
        world.plan,
        result.err().unwrap_or_default()
    )
}

/// With `HASHES=1` each seed tells the hash of its trace: a change that is to leave behaviour
/// as it was leaves these as they were.
fn tell_hash(seed: u64, hash: u64) {
    if number("HASHES").is_some() {
        println!("trace {seed} {hash:016x}");
    }
}

/// Runs seeds on `threads` threads; panics with the story of the lowest that fails.
fn many(name: &str, run: impl Fn(u64) -> (bool, Tally) + Sync, tell: impl Fn(u64) -> String) {
    let count = number("SEEDS").unwrap_or(SEEDS);
    let from = first_seed();
    let threads = number("THREADS").unwrap_or(2);
    let keep_going = number("KEEP_GOING").is_some();
    let next = AtomicU64::new(from);
    let worst = AtomicU64::new(u64::MAX);
    let began = Instant::now();
    let mut total = Tally::default();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    let mut failed = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= from + count
                            || (!keep_going && worst.load(Ordering::Relaxed) < seed)
                        {
                            return (tally, failed);
                        }
                        let (good, one) = run(seed);
                        tally.add(&one);
                        if !good {
                            worst.fetch_min(seed, Ordering::Relaxed);
                            failed.push(seed);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            let (tally, bad) = worker.join().unwrap();
            total.add(&tally);
            failed.extend(bad);
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!(
        "{name}: seeds {from}.. on {threads} threads in {took:.1} s, {:.1} seeds/s\n{total}",
        total.runs as f64 / took
    );
    failed.sort_unstable();
    if let Some(seed) = failed.first() {
        if failed.len() > 1 {
            println!("failed: {failed:?}");
        }
        panic!("{}", tell(*seed));
    }
}

#[test]
fn seeds_of_the_platform_half() {
    let run = |seed| {
        let (result, world) = half(seed, false);
        if let Err(text) = &result {
            println!("seed {seed}: {text}");
        }
        tell_hash(seed, world.trace_hash());
        (result.is_ok(), world.tally)
    };
    many("platform half", run, tell_half);
}

#[test]
fn replay_half() {
    if let Some(seed) = number("SEED") {
        let (result, world) = half(seed, true);
        println!("{}\nplan: {:?}\n{}", world.story(), world.plan, world.tally);
        result.unwrap();
    }
}

#[test]
fn seeds_of_the_whole_gateway() {
    let run = |seed| {
        let (result, world) = full(seed, false);
        if let Err(text) = &result {
            println!("seed {seed}: {text}");
        }
        tell_hash(seed, world.trace.hash());
        (result.is_ok(), world.tally)
    };
    many("whole gateway", run, tell_full);
}

#[test]
fn replay_full() {
    if let Some(seed) = number("SEED") {
        let (result, world) = full(seed, true);
        println!(
            "{}\nplan: {:?}\n{}",
            world.trace.story(),
            world.plan,
            world.tally
        );
        result.unwrap();
    }
}

/// Seeds that have told something, kept with what it was.
const NAMED: &[(u64, &str)] = &[
    (
        5,
        "a second socket is refused with 404 while the first beats on: the channel was gone",
    ),
    (
        6,
        "the wall clock runs hours ahead: every new channel seemed to have ended",
    ),
    (35, "channels given up keep their topics, and count as held"),
    (
        81,
        "nobody can say whether the token has ended: a 401 was taken for a denial",
    ),
    (
        121,
        "a list put in place of another took off what was being subscribed",
    ),
    (
        141,
        "one way of emptying a channel fails twenty-five times in a row",
    ),
    (
        149,
        "outages outlast the tries at emptying a channel given up",
    ),
    (
        728,
        "after an outage successors were made before their predecessors were emptied",
    ),
    (
        2183,
        "a call waits out a rate limit, and put topics back on a channel given up meanwhile",
    ),
    (
        2778,
        "rate limits for hours: making channels overtook emptying those before them",
    ),
    (
        8323,
        "heartbeats once a minute; a channel is dropped between a confirmation and its arrival",
    ),
    (
        50_094,
        "a clock leaps while a token cools: it ended by the wall clock, lived, and made channel after channel",
    ),
    (
        50_179,
        "a changed wrap-up between the decision that all is over and its commit on a stalled disk",
    ),
    (
        77002,
        "opened again and over again between two looks: it lingered for the end before",
    ),
    (
        910_001,
        "tagged on a callback and its call, then changed in place: REST's second look was new",
    ),
    (
        110_655,
        "a conversation ends while the answer that shows it is on its way: it lingered too short",
    ),
    (
        400_422,
        "a callback's wrap-up, on the participant alone, announced on the call, changed in place: filed twice",
    ),
    (
        401_301,
        "tokens of five minutes, and 404 for every socket: each token tried as many channels as there are places",
    ),
    (
        402_482,
        "twenty closing notices when their channels were to be renewed: one thing due after the other",
    ),
    (
        401_836,
        "channels that are empty since the same moment were closed one a turn, the others late",
    ),
    (
        400_852,
        "topics sent on a socket that is given up are subscribed after its channel was emptied",
    ),
    (
        700_497,
        "sockets refused with 429 for an hour, a token ends in it: no channel served an hour after",
    ),
    (
        100_146,
        "the platform forgets to announce, then refuses to show: finished after one refusal",
    ),
    (
        1_000_744,
        "good answers without a word, for hours: a channel with topics was believed empty",
    ),
    (
        1_001_125,
        "a channel of an earlier run holds more than it may: topics in nobody's books",
    ),
    (
        1_103_279,
        "what channels of an earlier run hold cannot be asked: full by the platform's count alone",
    ),
    (
        2_000_304,
        "two new channels refused with 404 together: each waited for what becomes of itself",
    ),
];

/// The same, of the platform half.
const NAMED_OF_HALF: &[(u64, &str)] = &[
    (
        13,
        "a channel expires without a word, and is handed over as if it had been live",
    ),
    (
        163,
        "the wall clock is set back: a channel kept over a restart seemed to live longer",
    ),
    (
        350,
        "REST admits a topic when its socket has gone: it was believed live",
    ),
];

#[test]
fn named_seeds_stay_good() {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some((seed, what)) = NAMED.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(text) = full(*seed, false).0 {
                panic!("seed {seed} ({what}): {text}");
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        worker();
    });
}

#[test]
fn named_seeds_of_the_platform_half_stay_good() {
    for (seed, what) in NAMED_OF_HALF {
        if let Err(text) = half(*seed, false).0 {
            panic!("seed {seed} of the platform half ({what}): {text}");
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    let (_, first) = full(2, false);
    let (_, second) = full(2, true);
    assert_eq!(first.trace.hash(), second.trace.hash());
    for seed in [3, 4] {
        let (_, first) = half(seed, false);
        let (_, second) = half(seed, true);
        assert_eq!(first.trace_hash(), second.trace_hash(), "seed {seed}");
    }
}
