//! `status`: the verdict, then the reasons, then the numbers.
//!
//! Invariant: every member of the snapshot may be missing; what is missing is left out.

use serde_json::Value;

use super::client::{self, Unanswered};
use super::offline::Offline;
use super::show::{self, coloured, columns, plain, span_of, text};
use super::{ExitCode, Terminal, complain};
use crate::config::OperatorConfig;
use base::time::Wall;

/// Shows how the gateway is.
pub(super) fn status(
    operator: &OperatorConfig,
    json: bool,
    now: Wall,
    terminal: &mut Terminal<'_>,
) -> ExitCode {
    match client::ask(operator, "GET", "/status") {
        Ok(answer) if answer.status == 200 && answer.body.is_object() => {
            if json {
                terminal.json(&answer.body);
            } else {
                for line in lines(&answer.body, terminal.colour) {
                    terminal.line(&line);
                }
            }
            ExitCode::Done
        }
        Ok(answer) => super::records::unexpected(&answer),
        Err(why) => without_daemon(operator, &why, json, now, terminal),
    }
}

/// What the database alone tells. The exit code says that the daemon is not there.
fn without_daemon(
    operator: &OperatorConfig,
    why: &Unanswered,
    json: bool,
    now: Wall,
    terminal: &mut Terminal<'_>,
) -> ExitCode {
    complain(&format!(
        "the daemon does not answer at {}: {why}",
        operator.listen
    ));
    let found = Offline::open(&operator.store_path).and_then(|database| database.snapshot(now));
    match found {
        Ok(snapshot) if json => terminal.json(&snapshot),
        Ok(snapshot) => {
            for line in lines(&snapshot, terminal.colour) {
                terminal.line(&line);
            }
        }
        Err(error) => complain(&format!("nor can its database be read: {error}")),
    }
    ExitCode::Unavailable
}

/// The whole text.
pub(super) fn lines(snapshot: &Value, colour: bool) -> Vec<String> {
    let level = text(snapshot, "level");
    let verdict = text(snapshot, "verdict");
    let mut lines = vec![coloured(&verdict, &level, colour)];
    for reason in array(snapshot, "reasons") {
        let sentence = match reason {
            Value::Object(_) => text(reason, "detail"),
            other => plain(other),
        };
        lines.push(format!("  - {sentence}"));
    }
    lines.push(String::new());
    let mut facts: Vec<Vec<String>> = Vec::new();
    let mut fact = |name: &str, what: String| {
        if !what.is_empty() {
            facts.push(vec![name.to_owned(), what]);
        }
    };
    for name in ["interactions", "records"] {
        fact(name, counts(&snapshot[name], plain));
    }
    fact(
        "oldest",
        counts(&snapshot["oldest"], |v| {
            show::seconds(Some(v)).map_or_else(String::new, show::span)
        }),
    );
    fact("topics", counts(&snapshot["topics"], plain));
    fact("token", token(&snapshot["token"]));
    fact("rest", rest(&snapshot["rest"]));
    fact("history", history(&snapshot["history"]));
    fact("version", text(snapshot, "version"));
    lines.extend(columns(&facts, &[]));
    let shards = array(snapshot, "shards");
    if !shards.is_empty() {
        lines.push(String::new());
        lines.extend(shard_table(shards));
    }
    let channels = array(snapshot, "channels");
    if !channels.is_empty() {
        lines.push(String::new());
        lines.extend(channel_table(channels));
    }
    let shape = array(snapshot, "shape");
    if !shape.is_empty() {
        lines.push(String::new());
        lines.extend(show::shape(&snapshot["shape"]));
    }
    lines
}

fn array<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value
        .get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// `name value, name value`; members without a text are left out.
fn counts(value: &Value, show: impl Fn(&Value) -> String) -> String {
    let Some(members) = value.as_object() else {
        return String::new();
    };
    let parts: Vec<String> = members
        .iter()
        .map(|(name, v)| (base::plain::shown(name), show(v)))
        .filter(|(_, shown)| !shown.is_empty())
        .map(|(name, shown)| format!("{name} {shown}"))
        .collect();
    parts.join(", ")
}

fn token(token: &Value) -> String {
    match token.get("held").and_then(Value::as_bool) {
        Some(true) => match span_of(token, "expiresInSeconds") {
            left if left.is_empty() => "held".into(),
            left => format!("held, expires in {left}"),
        },
        Some(false) => "none".into(),
        None => String::new(),
    }
}

fn rest(rest: &Value) -> String {
    let (left, budget) = (text(rest, "left"), text(rest, "budget"));
    if left.is_empty() {
        return String::new();
    }
    let mut shown = format!("{left} of {budget} requests left this minute");
    if show::seconds(rest.get("heldSeconds")).unwrap_or(0) > 0 {
        shown.push_str(&format!(", held for {}", span_of(rest, "heldSeconds")));
    }
    shown
}

fn history(history: &Value) -> String {
    let mut parts = vec![text(history, "state"), text(history, "detail")];
    let in_flight = text(history, "inFlight");
    if !in_flight.is_empty() {
        parts.push(format!("{in_flight} in flight"));
    }
    parts.retain(|p| !p.is_empty());
    parts.join(", ")
}

/// Where there are several OAuth clients: each for itself.
fn shard_table(shards: &[Value]) -> Vec<String> {
    let head = ["shard", "level", "watching", "channels", "token", "rest"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for shard in shards {
        rows.push(vec![
            text(shard, "name"),
            text(shard, "level"),
            text(&shard["interactions"], "watching"),
            text(shard, "channels"),
            token(&shard["token"]),
            rest(&shard["rest"]),
        ]);
    }
    columns(&rows, &[2, 3])
}

fn channel_table(channels: &[Value]) -> Vec<String> {
    let head = [
        "channel",
        "id",
        "state",
        "topics",
        "age",
        "heartbeat",
        "expires in",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for channel in channels {
        let topics = match (text(channel, "topics"), text(channel, "capacity")) {
            (topics, capacity) if capacity.is_empty() => topics,
            (topics, capacity) => format!("{topics}/{capacity}"),
        };
        let heartbeat = match span_of(channel, "lastHeartbeatSeconds") {
            ago if ago.is_empty() => ago,
            ago => format!("{ago} ago"),
        };
        let tail = match text(channel, "tail") {
            tail if tail.is_empty() => tail,
            tail => format!("…{tail}"),
        };
        let slot = match text(channel, "shard") {
            shard if shard.is_empty() => text(channel, "slot"),
            shard => format!("{shard} {}", text(channel, "slot")),
        };
        rows.push(vec![
            slot,
            tail,
            text(channel, "state"),
            topics,
            span_of(channel, "ageSeconds"),
            heartbeat,
            span_of(channel, "expiresInSeconds"),
        ]);
    }
    columns(&rows, &[0, 3, 4, 5, 6])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_verdict_comes_first_then_the_reasons_then_the_numbers() {
        let snapshot = json!({
            "version": "1.2.3", "verdict": "records wait", "level": "warn",
            "reasons": ["the history manager answers 503"],
            "interactions": {"watching": 12}, "records": {"deferred": 3},
            "oldest": {"deferred": 7200},
            "channels": [{"slot": 0, "state": "live", "topics": 12, "capacity": 1000,
                          "ageSeconds": 3660, "lastHeartbeatSeconds": 4, "tail": "cdef",
                          "expiresInSeconds": 82_740}],
            "topics": {"live": 12, "pending": 0, "waiting": 0},
            "token": {"held": true, "expiresInSeconds": 80_000},
            "rest": {"budget": 300, "left": 250, "heldSeconds": 0},
            "history": {"state": "open", "detail": "", "inFlight": 1},
        });
        assert_eq!(
            lines(&snapshot, false).join("\n"),
            "records wait
  - the history manager answers 503

interactions  watching 12
records       deferred 3
oldest        deferred 2h 00m
topics        live 12, pending 0, waiting 0
token         held, expires in 22h 13m
rest          250 of 300 requests left this minute
history       open, 1 in flight
version       1.2.3

channel  id     state   topics     age  heartbeat  expires in
      0  …cdef  live   12/1000  1h 01m     4s ago     22h 59m"
        );
        assert!(lines(&snapshot, true)[0].starts_with("\u{1b}[1;33mrecords wait"));
    }

    #[test]
    fn each_of_several_shards_has_a_line_and_channels_say_whose_they_are() {
        let snapshot = json!({
            "shards": [
                {"name": "main", "level": "ok", "interactions": {"watching": 7}, "channels": 1,
                 "token": {"held": true}, "rest": {"budget": 300, "left": 250}},
                {"name": "second", "level": "bad", "token": {"held": false}},
            ],
            "channels": [{"slot": 3, "shard": "second", "state": "lost"}],
        });
        let shown = lines(&snapshot, false);
        assert!(
            shown.iter().any(|l| l.starts_with("second  bad")),
            "{shown:#?}"
        );
        assert!(
            shown
                .iter()
                .any(|l| l.starts_with("main    ok            7")),
            "{shown:#?}"
        );
        assert!(
            shown.iter().any(|l| l.starts_with("second 3")),
            "{shown:#?}"
        );
    }

    #[test]
    fn a_snapshot_with_nothing_in_it_and_one_of_the_wrong_types_still_show() {
        assert_eq!(lines(&json!({}), false), ["", ""]);
        let odd = json!({"verdict": 3, "reasons": {}, "channels": [1], "shape": [2], "token": [],
                         "rest": "x", "oldest": {"dead": "long"}, "records": [1]});
        assert_eq!(lines(&odd, false)[0], "3");
    }

    #[test]
    fn a_hostile_daemon_cannot_write_to_the_terminal() {
        let odd = json!({"verdict": "\u{1b}]0;x\u{7}", "reasons": ["a\rb"], "records": {"\u{1b}c": 1},
                         "channels": [{"state": "\u{9b}2J"}], "shape": [{"state": "\u{8}", "ages": [{"upTo": "\n", "n": 1}]}]});
        let shown = lines(&odd, false).concat();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
