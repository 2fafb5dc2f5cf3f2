//! The verdict in words: one sentence, a level, and the reasons behind it.
//!
//! Pure: the same snapshot gives the same verdict. Invariant: the worst reason
//! decides the level; without a reason all is well.

use std::time::Duration;

use super::snapshot::Snapshot;
use base::blame::Blame;
use base::rows::RecordState;
use base::words;
use filing::HistoryState;

words! {
    /// How it is; the worse, the greater.
    Level {
        /// All is well.
        Ok = "ok",
        /// Worth a look; nothing is lost.
        Warn = "warn",
        /// A person is needed.
        Bad = "bad",
    }
}

/// A level, a sentence, and the reasons, worst first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// How it is.
    pub level: Level,
    /// In one sentence.
    pub sentence: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// What is said of a damaged database that was carried over, until it is acknowledged.
#[must_use]
pub fn set_aside(path: &str) -> String {
    format!(
        "a damaged database was set aside as {path}, and what was readable was carried over; \
         when you have seen to it, move or remove that file, and this is no longer said"
    )
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A topic may be on its way for so long without a word about it.
const DARK_TOLERATED: Duration = Duration::from_secs(60);

fn lasting(since: Duration) -> String {
    match since.as_secs() {
        s @ 0..120 => format!("for {s} s"),
        s => format!("for {} minutes", s / 60),
    }
}

/// What a reason is about: what there is once, or what each shard has of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Gateway,
    Shard,
}

/// Judges a snapshot: of several shards what there is once by the sum, and each of them by
/// itself, under its name.
#[must_use]
pub fn of(s: &Snapshot) -> Verdict {
    let mut reasons = found(s);
    if !s.shards.is_empty() {
        reasons.retain(|(scope, ..)| *scope == Scope::Gateway);
        for (name, shard) in &s.shards {
            let own = found(shard).into_iter();
            let own = own.filter(|(scope, ..)| *scope == Scope::Shard);
            reasons.extend(
                own.map(|(scope, level, text)| (scope, level, format!("shard {name}: {text}"))),
            );
        }
    }
    judged(reasons)
}

/// Judges one shard of several, by what it has of its own.
#[must_use]
pub fn of_shard(s: &Snapshot) -> Verdict {
    let mut reasons = found(s);
    reasons.retain(|(scope, ..)| *scope == Scope::Shard);
    judged(reasons)
}

fn judged(mut reasons: Vec<(Scope, Level, String)>) -> Verdict {
    reasons.sort_by_key(|(_, level, _)| std::cmp::Reverse(*level));
    let level = reasons.first().map_or(Level::Ok, |(_, level, _)| *level);
    let sentence = match level {
        Level::Ok => {
            "All is well: what is accepted is watched, what is taken is filed.".to_string()
        }
        Level::Warn => "Working, with something to look at.".to_string(),
        Level::Bad => "A person is needed.".to_string(),
    };
    Verdict {
        level,
        sentence,
        reasons: reasons.into_iter().map(|(.., text)| text).collect(),
    }
}

/// Everything that is to be said, in the order in which it is said.
fn found(s: &Snapshot) -> Vec<(Scope, Level, String)> {
    let mut reasons: Vec<(Scope, Level, String)> = Vec::new();
    let mut say = |scope, level, text: String| reasons.push((scope, level, text));
    if s.stopping {
        say(
            Scope::Gateway,
            Level::Warn,
            "the gateway is stopping".into(),
        );
    }
    if let Some(trouble) = &s.store_trouble {
        say(
            Scope::Gateway,
            Level::Bad,
            format!("nothing can be committed: {trouble}"),
        );
    }
    if s.log.held {
        say(
            Scope::Gateway,
            Level::Warn,
            format!(
                "the write-ahead log of the database has {} MB and goes on growing, because \
                 another program holds a read transaction open (a forgotten sqlite3, a backup \
                 that hangs): find it with \"fuser -v {}-shm\" and end it; the log is then \
                 cut by itself",
                s.log.bytes / 1_000_000,
                s.database
            ),
        );
    }
    if let Some(path) = &s.damaged {
        say(Scope::Gateway, Level::Warn, set_aside(path));
    }
    if !s.platform.token_held {
        match &s.platform.token_trouble {
            Some(why) => say(Scope::Shard, Level::Bad, format!("no token is held: {why}")),
            None => say(
                Scope::Shard,
                Level::Warn,
                "no token is held yet: it is being asked for".into(),
            ),
        }
    }
    if let Some(why) = &s.platform.astray {
        say(Scope::Shard, Level::Bad, why.clone());
    }
    if let Some((trouble, since)) = s.platform.socket_trouble {
        let level = match trouble.blame() {
            Blame::Operator | Blame::Us => Level::Bad,
            Blame::Peer | Blame::Environment => Level::Warn,
        };
        let since = lasting(since);
        say(
            Scope::Shard,
            level,
            format!("{}: {trouble}, {since}", trouble.label()),
        );
    }
    let (waiting, pending) = (s.platform.topics_waiting, s.platform.topics_pending);
    if s.platform.dark_for >= DARK_TOLERATED && waiting + pending > 0 {
        let topics = counted((waiting + pending) as u64, "topic is", "topics are");
        let since = lasting(s.platform.dark_for);
        say(
            Scope::Shard,
            Level::Warn,
            format!("not-live: {topics} not live, one of them {since}"),
        );
    }
    if s.platform.token_cools {
        say(Scope::Shard, Level::Warn, proto::TOKEN_COOLS.into());
    }
    match s.history_state {
        HistoryState::Closed => say(
            Scope::Gateway,
            Level::Bad,
            format!("the history manager refuses us: {}", s.history_detail),
        ),
        HistoryState::Down => say(
            Scope::Gateway,
            Level::Warn,
            format!(
                "the history manager cannot be reached: {}",
                s.history_detail
            ),
        ),
        // What it did last is of interest while something waits for it.
        HistoryState::Failing
            if s.record(RecordState::Queued) + s.record(RecordState::Deferred) > 0 =>
        {
            say(Scope::Gateway, Level::Warn, s.history_detail.clone());
        }
        HistoryState::Held => say(
            Scope::Gateway,
            Level::Warn,
            format!(
                "the history manager asked for a pause: {}",
                s.history_detail
            ),
        ),
        HistoryState::Failing
        | HistoryState::Untried
        | HistoryState::Open
        | HistoryState::Opening => {}
    }
    let dead = s.record(RecordState::Dead);
    if dead > 0 {
        say(
            Scope::Gateway,
            Level::Bad,
            format!(
                "{} dead and {} a person",
                counted(dead, "record is", "records are"),
                if dead == 1 { "needs" } else { "need" }
            ),
        );
    }
    let deferred = s.record(RecordState::Deferred);
    if deferred > 0 {
        say(
            Scope::Gateway,
            Level::Warn,
            format!("{deferred} records could not be filed yet and wait for their next try"),
        );
    }
    let held = s.record(RecordState::Held);
    if held > 0 {
        say(
            Scope::Gateway,
            Level::Warn,
            format!(
                "{} held by an operator",
                counted(held, "record is", "records are")
            ),
        );
    }
    if s.platform.topics_waiting > 0 {
        let gave_way = match s.platform.topics_gave_way {
            0 => String::new(),
            n => format!(
                "; {n} of them gave theirs to others, as the platform does not know them or they are \
                 over"
            ),
        };
        say(
            Scope::Shard,
            Level::Warn,
            format!(
                "{} for a place on a channel{gave_way}",
                counted(
                    s.platform.topics_waiting as u64,
                    "interaction waits",
                    "interactions wait"
                )
            ),
        );
    }
    if s.dark > 0 {
        say(
            Scope::Shard,
            Level::Warn,
            format!(
                "{} not live at this moment",
                counted(
                    s.dark,
                    "watched conversation is",
                    "watched conversations are"
                )
            ),
        );
    }
    if s.not_understood > 0 {
        say(
            Scope::Shard,
            Level::Warn,
            format!(
                "the platform's answers about {} not understood: what was missed of them cannot be rebuilt",
                counted(s.not_understood, "conversation are", "conversations are")
            ),
        );
    }
    let quiet = s.platform.rest_quiet.as_secs();
    if quiet > 0 {
        say(
            Scope::Shard,
            Level::Warn,
            format!("the platform limits the rate of requests for another {quiet} s"),
        );
    }
    if let Some((kind, left)) = s.platform.rest_held
        && left.as_secs() > 0
    {
        say(
            Scope::Shard,
            Level::Warn,
            format!(
                "after errors of the platform, calls {} wait for another {} s; all others go on",
                kind.sentence(),
                left.as_secs()
            ),
        );
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reason_decides_and_comes_first() {
        let mut s = Snapshot::default();
        s.platform.token_held = true;
        assert_eq!(of(&s).level, Level::Ok);
        s.platform.token_cools = true;
        assert_eq!(of(&s).reasons, [proto::TOKEN_COOLS]);
        assert_eq!(of(&s).level, Level::Warn);
        s.platform.token_cools = false;
        s.platform.topics_waiting = 3;
        assert_eq!(of(&s).level, Level::Warn);
        s.records = vec![(RecordState::Deferred, 2)];
        let v = of(&s);
        assert!(v.reasons.iter().any(|r| r.contains("2 records")), "{v:?}");
        s.records.clear();
        s.history_state = HistoryState::Closed;
        s.history_detail = "it answers 401".into();
        let v = of(&s);
        assert_eq!(v.level, Level::Bad);
        assert!(
            v.reasons[0].contains("401") && v.reasons[1].contains("3 interactions"),
            "{:?}",
            v.reasons
        );
    }
}
