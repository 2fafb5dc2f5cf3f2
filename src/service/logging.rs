//! The log: one event on one line of stderr, with a priority for the journal or a timestamp for anybody else.
//!
//! Libraries are heard at warning level and above only, whatever `RUST_LOG`
//! says: below it some of them print requests, and with them secrets. What they say is
//! bounded in rate, because what comes in from outside may be what makes them say it.
//!
//! Nobody waits for stderr but a thread of its own (`outlet`).
//!
//! Invariant: an event never makes two lines and never moves a terminal's cursor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{Level, LevelFilter};

use super::levels;
use super::outlet::Outlet;
use base::plain::push_shown;
use base::time::{Mono, millis};

/// What stands in front of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    /// `<N>` for the journal, which has its own clock.
    Priority,
    /// Time and level.
    Timestamp,
}

/// Starts the log. Levels come from `RUST_LOG`, `info` by default. A second
/// call changes nothing.
pub fn init() {
    start(LevelFilter::Info);
}

/// As [`init`], but silent below errors unless `RUST_LOG` says otherwise: for
/// commands that draw on the terminal themselves.
pub fn init_quiet() {
    start(LevelFilter::Error);
}

/// Whether lines go anywhere.
#[must_use]
pub fn started() -> bool {
    THREAD.get() == Some(&true)
}

/// Waits until what was logged is written, for a second at most: to be called before the
/// process ends.
pub fn flush() {
    if started() {
        OUTLET.flush(LAST_WORDS);
    }
}

/// Lines that were dropped because stderr could not take them.
#[must_use]
pub fn lost() -> u64 {
    OUTLET.dropped()
}

/// How long the end of the process is put off for the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// There is one stderr.
static OUTLET: Outlet = Outlet::new();

/// Set once the log was started: whether its thread runs.
static THREAD: OnceLock<bool> = OnceLock::new();

/// The end of the queue that env_logger writes to.
struct Queue;

impl std::io::Write for Queue {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        OUTLET.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn start(default: LevelFilter) {
    let front = if stderr_is_the_journal() {
        Front::Priority
    } else {
        Front::Timestamp
    };
    let wanted = std::env::var_os("RUST_LOG").unwrap_or_default();
    let (directives, unknown) = levels::parse(&wanted.to_string_lossy());
    let libraries = Libraries::new();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(default);
    for directive in directives {
        match directive.target {
            Some(target) => {
                for module in levels::meant(&target) {
                    builder.filter_module(&module, directive.level);
                }
            }
            None => {
                builder.filter_level(directive.level);
            }
        }
    }
    let queues = *THREAD.get_or_init(|| {
        let thread = std::thread::Builder::new()
            .name("log".into())
            .stack_size(256 * 1024);
        let drain = move || {
            OUTLET.drain(
                |bytes| Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?),
                |lost| {
                    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
                    let message = format!("{lost} log lines were not written: stderr took none");
                    line(front, &time.to_string(), Level::Warn, "", &message)
                },
            );
        };
        thread.spawn(drain).is_ok()
    });
    if queues {
        builder.target(env_logger::Target::Pipe(Box::new(Queue)));
    }
    let result = builder
        .format(move |out, record| {
            if !is_heard(record.target(), record.level()) {
                return Ok(());
            }
            let Some(suppressed) = libraries.allow(record.target()) else {
                return Ok(());
            };
            let time = out.timestamp_millis().to_string();
            let mut message = record.args().to_string();
            if suppressed > 0 {
                // Writing to a String does not fail.
                let _ = write!(message, " (and {suppressed} more from there, not shown)");
            }
            let line = line(front, &time, record.level(), record.target(), &message);
            out.write_all(line.as_bytes())
        })
        .try_init();
    // Only a test harness gets here twice.
    if result.is_ok() {
        for word in unknown {
            log::warn!("RUST_LOG: {word}");
        }
    }
}

fn stderr_is_the_journal() -> bool {
    let Ok(seen) = rustix::fs::fstat(rustix::stdio::stderr()) else {
        return false;
    };
    is_journal(
        std::env::var("JOURNAL_STREAM").ok().as_deref(),
        seen.st_dev,
        seen.st_ino,
    )
}

/// `JOURNAL_STREAM` is `device:inode` of the stream that systemd connected to
/// the journal; it is inherited, so stderr may be another one by now.
fn is_journal(variable: Option<&str>, device: u64, inode: u64) -> bool {
    variable
        .and_then(|v| v.split_once(':'))
        .is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

fn is_ours(target: &str) -> bool {
    levels::ours(target).is_some()
}

fn is_heard(target: &str, level: Level) -> bool {
    is_ours(target) || level <= Level::Warn
}

/// Bounds what each library says: ours are bounded where they are made.
struct Libraries {
    since: Instant,
    limiter: Mutex<RateLimited>,
}

impl Libraries {
    fn new() -> Libraries {
        Libraries {
            since: Instant::now(),
            limiter: Mutex::new(RateLimited::new(10, Duration::from_secs(60), 32)),
        }
    }

    /// How many were suppressed before this one, if it may be said.
    fn allow(&self, target: &str) -> Option<u64> {
        if is_ours(target) {
            return Some(0);
        }
        let now = Mono(millis(self.since.elapsed()));
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.allow(target, now)
    }
}

fn line(front: Front, time: &str, level: Level, target: &str, message: &str) -> String {
    let mut line = match front {
        Front::Priority => {
            // The numbers of syslog(3): err, warning, info, debug.
            let priority = match level {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            format!("<{priority}>")
        }
        Front::Timestamp => format!("{time} {level:<5} "),
    };
    if level > Level::Info {
        line.push_str(levels::ours(target).as_deref().unwrap_or(target));
        line.push_str(": ");
    }
    push_shown(&mut line, &notifications::redaction::own(message));
    line.push('\n');
    line
}

#[derive(Clone, Debug)]
struct Bucket {
    /// Lines that may still be written; at most `burst`.
    left: u32,
    /// When `left` was last counted up.
    counted: Mono,
    suppressed: u64,
}

impl Bucket {
    /// Counts up what has become allowed since the last time.
    fn refill(&mut self, every: Duration, burst: u32, now: Mono) {
        let periods = millis(now.since(self.counted)) / millis(every);
        if periods > 0 {
            let gained = u32::try_from(periods).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(gained).min(burst);
            // The part of a period that has begun is kept.
            self.counted = Mono(
                self.counted
                    .0
                    .saturating_add(periods.saturating_mul(millis(every))),
            );
        }
    }

    /// Takes one off, and with it what is to be said about the suppressed ones.
    fn spend(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Bounds how often a line that outside input can cause is written: a token
/// bucket per key, and a count of what was left out.
///
/// Keys beyond the bound share one bucket, so that inventing keys buys nothing.
#[derive(Clone, Debug)]
pub struct RateLimited {
    burst: u32,
    refill: Duration,
    most_keys: usize,
    buckets: BTreeMap<String, Bucket>,
    shared: Bucket,
}

impl RateLimited {
    /// `burst` lines at once, then one per `refill`, for each of at most `most_keys` keys.
    #[must_use]
    pub fn new(burst: u32, refill: Duration, most_keys: usize) -> RateLimited {
        let burst = burst.max(1);
        RateLimited {
            burst,
            refill: refill.max(Duration::from_millis(1)),
            most_keys,
            buckets: BTreeMap::new(),
            shared: Bucket {
                left: burst,
                counted: Mono(0),
                suppressed: 0,
            },
        }
    }

    /// Whether a line of this key may be written now: if so, how many were
    /// suppressed since the last one.
    pub fn allow(&mut self, key: &str, now: Mono) -> Option<u64> {
        if !self.buckets.contains_key(key) {
            if self.buckets.len() >= self.most_keys {
                self.forget_idle(now);
            }
            if self.buckets.len() < self.most_keys {
                self.buckets.insert(
                    key.to_owned(),
                    Bucket {
                        left: self.burst,
                        counted: now,
                        suppressed: 0,
                    },
                );
            }
        }
        let bucket = self.buckets.get_mut(key).unwrap_or(&mut self.shared);
        bucket.refill(self.refill, self.burst, now);
        let spent = bucket.spend();
        if spent.is_none() {
            bucket.suppressed = bucket.suppressed.saturating_add(1);
        }
        spent
    }

    /// What was suppressed and may be said by now, so that a burst which nothing follows is
    /// counted as well: keys with their counts, each taken off the key's allowance. The
    /// shared bucket answers to the empty key.
    pub fn owed(&mut self, now: Mono) -> Vec<(String, u64)> {
        let (refill, burst) = (self.refill, self.burst);
        let shared = std::iter::once((String::new(), &mut self.shared));
        self.buckets
            .iter_mut()
            .map(|(key, bucket)| (key.clone(), bucket))
            .chain(shared)
            .filter(|(_, bucket)| bucket.suppressed > 0)
            .filter_map(|(key, bucket)| {
                bucket.refill(refill, burst, now);
                bucket.spend().map(|n| (key, n))
            })
            .collect()
    }

    /// Drops keys that have been silent long enough to have their whole burst
    /// again; what they owe is reported by the shared bucket.
    fn forget_idle(&mut self, now: Mono) {
        let whole = self.refill.saturating_mul(self.burst);
        let mut owed = 0u64;
        self.buckets.retain(|_, bucket| {
            let idle = now.since(bucket.counted) >= whole;
            if idle {
                owed = owed.saturating_add(bucket.suppressed);
            }
            !idle
        });
        self.shared.suppressed = self.shared.suppressed.saturating_add(owed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_priorities_and_no_timestamps() {
        for (level, start) in [
            (Level::Error, "<3>"),
            (Level::Warn, "<4>"),
            (Level::Info, "<6>"),
            (Level::Debug, "<7>"),
            (Level::Trace, "<7>"),
        ] {
            let line = line(
                Front::Priority,
                "TIME",
                level,
                "genesys_gateway::x",
                "a message",
            );
            assert!(line.starts_with(start) && line.ends_with("a message\n"));
            assert!(!line.contains("TIME"));
        }
    }

    #[test]
    fn others_get_time_and_level() {
        let line = line(Front::Timestamp, "TIME", Level::Info, "t", "ready");
        assert_eq!(line, "TIME INFO  ready\n");
    }

    #[test]
    fn one_event_stays_on_one_line() {
        let line = line(
            Front::Priority,
            "",
            Level::Warn,
            "t",
            "first\n<0>forged\r\u{1b}[2J\u{85}\u{2028}ä",
        );
        assert_eq!(line, "<4>first\\n<0>forged\\r\\u{1b}[2J\\u{85}\\u{2028}ä\n");
    }

    #[test]
    fn the_journal_is_recognised_by_device_and_inode() {
        assert!(is_journal(Some("8:1234"), 8, 1234));
        for other in [
            None,
            Some("8:1235"),
            Some("9:1234"),
            Some(""),
            Some("8"),
            Some("a:b"),
        ] {
            assert!(!is_journal(other, 8, 1234), "{other:?}");
        }
    }

    #[test]
    fn libraries_are_heard_from_warnings_up_only() {
        assert!(is_heard("genesys_gateway::shell", Level::Trace));
        assert!(is_heard("genesys_store::thread", Level::Info));
        assert!(is_heard("tungstenite::handshake", Level::Warn));
        assert!(!is_heard("tungstenite::handshake", Level::Info));
        assert!(!is_heard("genesys_gateway_other", Level::Debug));
    }

    #[test]
    fn a_library_that_is_made_to_complain_is_cut_short_and_we_are_not() {
        let libraries = Libraries::new();
        let of = |target: &str| {
            (0..100)
                .filter(|_| libraries.allow(target).is_some())
                .count()
        };
        assert_eq!(of("rustls::conn"), 10);
        assert_eq!(of("genesys_gateway::shell"), 100);
    }

    #[test]
    fn a_burst_is_written_then_one_per_period_with_the_count_of_the_rest() {
        let mut limited = RateLimited::new(2, Duration::from_secs(10), 8);
        let at = |seconds: u64| Mono(seconds * 1000);
        assert_eq!(limited.allow("a", at(0)), Some(0));
        assert_eq!(limited.allow("a", at(0)), Some(0));
        for _ in 0..5 {
            assert_eq!(limited.allow("a", at(9)), None);
        }
        assert_eq!(limited.allow("b", at(9)), Some(0), "another key");
        assert_eq!(limited.allow("a", at(10)), Some(5));
        assert_eq!(limited.allow("a", at(11)), None);
        assert_eq!(limited.allow("a", at(1000)), Some(1));
    }

    #[test]
    fn what_was_suppressed_is_owed_once_even_if_nothing_follows() {
        let mut limited = RateLimited::new(1, Duration::from_secs(10), 1);
        for _ in 0..4 {
            limited.allow("a", Mono(0));
            limited.allow("b", Mono(0));
        }
        assert_eq!(limited.owed(Mono(9_000)), [], "not yet");
        assert_eq!(
            limited.owed(Mono(10_000)),
            [("a".to_owned(), 3), (String::new(), 3)]
        );
        assert_eq!(limited.owed(Mono(60_000)), [], "said already");
        assert_eq!(limited.allow("a", Mono(60_000)), Some(0));
    }

    #[test]
    fn invented_keys_share_one_bucket_and_the_table_stays_bounded() {
        let mut limited = RateLimited::new(1, Duration::from_secs(10), 4);
        let written = (0..1000)
            .filter(|n| limited.allow(&format!("key {n}"), Mono(1)).is_some())
            .count();
        assert_eq!(written, 5, "four keys and the shared bucket");
        assert_eq!(limited.buckets.len(), 4);
        // Once they are silent there is room again, and nothing suppressed is forgotten.
        assert_eq!(limited.allow("new", Mono(60_000)), Some(0));
        assert_eq!(limited.shared.suppressed, 995);
    }
}
