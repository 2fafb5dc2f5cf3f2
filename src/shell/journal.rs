//! Notices into log lines: one event, one line, each kind bounded in rate.
//!
//! Invariant: no kind of line is written more often than its bucket allows,
//! whatever comes in from outside; what was left out is counted in the next
//! line of its kind.

use std::time::Duration;

use crate::service::logging::RateLimited;
use base::notice::{Level, Notice};
use base::time::Mono;

/// Lines of one kind in a burst.
const BURST: u32 = 10;

/// One more line of a kind is allowed after this: what goes on for a night is said six times an hour.
const REFILL: Duration = Duration::from_secs(600);

/// Below info, where there may be a line per event: for whoever asked for it.
const DEBUG_BURST: u32 = 1_000;

/// The same for one more of those.
const DEBUG_REFILL: Duration = Duration::from_millis(20);

/// Kinds that are told apart.
const KINDS_MAX: usize = 256;

/// Writes notices.
pub struct Journal {
    /// In front of every line, where there is more than one shard.
    shard: String,
    limiter: RateLimited,
    debug: RateLimited,
}

impl Journal {
    /// With every bucket full.
    #[must_use]
    pub fn new() -> Journal {
        Journal::of("")
    }

    /// Of a shard that is named in each line; of the only one where the name is empty.
    #[must_use]
    pub fn of(shard: &str) -> Journal {
        let shard = match shard {
            "" => String::new(),
            name => format!("[{name}] "),
        };
        Journal {
            shard,
            limiter: RateLimited::new(BURST, REFILL, KINDS_MAX),
            debug: RateLimited::new(DEBUG_BURST, DEBUG_REFILL, KINDS_MAX),
        }
    }

    /// Writes one notice, unless there were too many of its kind.
    pub fn write(&mut self, notice: &Notice, now: Mono) {
        let level = match notice.level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        let limiter = match notice.level {
            Level::Debug => &mut self.debug,
            _ => &mut self.limiter,
        };
        if let Some(suppressed) = limiter.allow(notice.label, now) {
            log::log!(target: TARGET, level, "{}{}", self.shard, line(notice, suppressed));
        }
    }

    /// Says how many were left out of a burst that nothing followed. To be called now and then.
    pub fn settle(&mut self, now: Mono) {
        for (label, n) in self.limiter.owed(now) {
            let label = if label.is_empty() { "others" } else { &label };
            log::warn!(target: TARGET, "{}{label}: {n} more lines like this were not shown", self.shard);
        }
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal::new()
    }
}

/// The target that every notice is written under.
const TARGET: &str = "genesys_gateway";

fn line(notice: &Notice, suppressed: u64) -> String {
    let mut line = format!("{}: {}", notice.label, notice.text);
    if let Some(conversation) = &notice.conversation {
        line.push_str(&format!(" conversation={conversation}"));
    }
    if let Some(channel) = &notice.channel {
        line.push_str(&format!(" channel={channel}"));
    }
    if suppressed > 0 {
        line.push_str(&format!(" (and {suppressed} more like this, not shown)"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_it_concerns_and_what_was_left_out() {
        let notice = Notice::new(Level::Warn, "channel-lost", "socket lost").on("3/ab12");
        assert_eq!(line(&notice, 0), "channel-lost: socket lost channel=3/ab12");
        assert!(line(&notice, 7).ends_with("(and 7 more like this, not shown)"));
    }
}
