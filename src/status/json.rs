//! The snapshot as JSON: what `GET /status`, the page and `status --json` show.
//!
//! Invariant: members are only added, never renamed; ids and numbers only.

use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::snapshot::Snapshot;
use super::verdict;
use base::ages::ByAge;
use base::rows::RecordState;
use proto::snapshot::ChannelView;

fn seconds(d: Duration) -> u64 {
    d.as_secs()
}

fn counts<K: Display>(of: &[(K, u64)]) -> Value {
    let map: Map<String, Value> = of.iter().map(|(k, n)| (k.to_string(), json!(n))).collect();
    Value::Object(map)
}

/// How old the records of one state are.
pub(crate) fn shape(state: RecordState, ages: &ByAge) -> Value {
    let ages = ages
        .steps()
        .map(|(up_to, n)| json!({"upTo": up_to, "n": n}));
    json!({"state": state.label(), "ages": ages.collect::<Value>()})
}

/// The channels, each with its shard where there is more than one.
fn channels(s: &Snapshot) -> Vec<Value> {
    if s.shards.is_empty() {
        return s
            .platform
            .channels
            .iter()
            .map(|c| channel(c, None))
            .collect();
    }
    let each = s.shards.iter();
    each.flat_map(|(name, shard)| {
        let of = shard.platform.channels.iter();
        of.map(|c| channel(c, Some(name)))
    })
    .collect()
}

fn channel(c: &ChannelView, shard: Option<&str>) -> Value {
    let mut shown = json!({
        "slot": c.slot, "state": c.state.label(), "topics": c.topics, "capacity": c.capacity,
        "ageSeconds": seconds(c.age), "lastHeartbeatSeconds": c.heard.map(seconds),
        "tail": c.tail, "expiresInSeconds": seconds(c.expires_in),
    });
    if let Some(name) = shard {
        shown["shard"] = json!(name);
    }
    shown
}

/// What is of interest of one shard beside the others.
fn shard(name: &str, s: &Snapshot) -> Value {
    let v = verdict::of_shard(s);
    let p = &s.platform;
    json!({
        "name": name, "level": v.level.label(), "reasons": v.reasons,
        "interactions": counts(&s.interactions), "records": counts(&s.records),
        "channels": p.channels.len(),
        "topics": {"live": p.topics_live, "pending": p.topics_pending, "waiting": p.topics_waiting},
        "token": {"held": p.token_held, "expiresInSeconds": seconds(p.token_expires_in)},
        "rest": {"budget": p.rest_allowed, "left": p.rest_left, "waiting": p.rest_waiting},
        "checks": {"due": s.checks_due, "inFlight": s.checks_in_flight},
    })
}

/// The whole snapshot.
#[must_use]
pub fn render(s: &Snapshot) -> String {
    let mut shown = sum(s);
    if !s.shards.is_empty() {
        let each = s.shards.iter();
        shown["shards"] = each.map(|(name, one)| shard(name, one)).collect();
    }
    shown.to_string()
}

fn sum(s: &Snapshot) -> Value {
    let v = verdict::of(s);
    let p = &s.platform;
    let oldest: Map<String, Value> = s
        .oldest_interaction
        .iter()
        .map(|(state, age)| (state.label(), age))
        .chain(
            s.oldest_record
                .iter()
                .map(|(state, age)| (state.label(), age)),
        )
        .map(|(state, age)| (state.to_string(), json!(seconds(*age))))
        .collect();
    let shape: Value = s
        .shape
        .iter()
        .map(|(state, ages)| shape(*state, ages))
        .collect();
    let channels = channels(s);
    let minutes: Vec<Value> = s
        .minutes
        .iter()
        .map(|m| {
            json!({
                "at": m.at.rfc3339(), "events": m.counters.events,
                "filed": m.counters.filed, "failed": m.counters.failed,
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "verdict": v.sentence, "level": v.level.label(), "reasons": v.reasons,
        "at": s.at.rfc3339(), "startedAt": s.started_at.rfc3339(),
        "interactions": counts(&s.interactions), "records": counts(&s.records),
        "oldest": oldest, "shape": shape, "channels": channels,
        "topics": {"live": p.topics_live, "pending": p.topics_pending, "waiting": p.topics_waiting,
            "gaveWay": p.topics_gave_way},
        "sockets": {
            "trouble": p.socket_trouble.map(|(why, _)| why.label()),
            "status": p.socket_trouble.and_then(|(why, _)| why.status()),
            "detail": p.socket_trouble.map(|(why, _)| why.to_string()),
            "seconds": p.socket_trouble.map(|(_, since)| seconds(since)),
            "notLiveSeconds": seconds(p.dark_for),
        },
        "token": {"held": p.token_held, "expiresInSeconds": seconds(p.token_expires_in)},
        "rest": {
            "budget": p.rest_allowed, "left": p.rest_left, "heldSeconds": seconds(p.rest_quiet),
            "waiting": p.rest_waiting,
        },
        "history": {"state": s.history_state.label(), "detail": s.history_detail, "inFlight": s.history_in_flight},
        "checks": {"due": s.checks_due, "inFlight": s.checks_in_flight},
        "gaps": {"total": p.gaps_total, "topics": p.gap_topics_total, "lastSeconds": p.last_gap.map(seconds)},
        "store": {"trouble": s.store_trouble, "uncommitted": s.uncommitted, "damaged": s.damaged, "logBytes": s.log.bytes, "logHeld": s.log.held},
        "minutes": minutes,
        "nextWake": s.next_wake.map(|(within, why)| json!({"inSeconds": within.as_secs_f64(), "why": why})),
    })
}
