//! Several shards in one snapshot: the sum, with each of them in it.
//!
//! What can be counted is added up; of what can only hold or not, the worse is shown; what
//! belongs to the whole gateway is taken from the first. Nothing of one shard hides in the sum:
//! the verdict goes through each of them.
//!
//! Invariant: pure; with one shard the sum would be that shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::minutes::Minute;
use super::snapshot::{Histogram, Snapshot};
use filing::HistoryState;
use proto::snapshot::Snapshot as PlatformSnapshot;

/// See the [module](self). The first is the main shard.
#[must_use]
pub fn of(shards: Vec<(String, Arc<Snapshot>)>) -> Snapshot {
    let mut each = shards.iter().map(|(_, shard)| shard.as_ref());
    let Some(main) = each.next() else {
        return Snapshot::default();
    };
    let mut sum = main.clone();
    for other in each {
        add(&mut sum, other);
    }
    sum.shards = shards;
    sum
}

fn add(sum: &mut Snapshot, other: &Snapshot) {
    sum.at = sum.at.min(other.at);
    sum.stopping |= other.stopping;
    platform(&mut sum.platform, &other.platform);
    counted(&mut sum.interactions, &other.interactions);
    counted(&mut sum.records, &other.records);
    oldest(&mut sum.oldest_interaction, &other.oldest_interaction);
    oldest(&mut sum.oldest_record, &other.oldest_record);
    for (state, ages) in &other.shape {
        match sum.shape.iter_mut().find(|(s, _)| s == state) {
            Some((_, mine)) => {
                for (mine, theirs) in mine.0.iter_mut().zip(ages.0) {
                    *mine += theirs;
                }
            }
            None => sum.shape.push((*state, *ages)),
        }
    }
    // One history manager: what the shard knows that fares worst with it.
    if badness(other.history_state) > badness(sum.history_state) {
        sum.history_state = other.history_state;
        sum.history_detail.clone_from(&other.history_detail);
    }
    sum.history_in_flight += other.history_in_flight;
    sum.checks_due += other.checks_due;
    sum.checks_in_flight += other.checks_in_flight;
    sum.dark += other.dark;
    sum.not_understood += other.not_understood;
    sum.uncommitted += other.uncommitted;
    sum.store_trouble = sum.store_trouble.take().or(other.store_trouble.clone());
    counted(&mut sum.taken, &other.taken);
    counted(&mut sum.events, &other.events);
    for (cause, gaps, topics) in &other.gaps {
        match sum.gaps.iter_mut().find(|(c, ..)| c == cause) {
            Some((_, g, t)) => {
                *g += gaps;
                *t += topics;
            }
            None => sum.gaps.push((*cause, *gaps, *topics)),
        }
    }
    counted(&mut sum.places_given, &other.places_given);
    sum.refused_busy += other.refused_busy;
    counted(&mut sum.failed, &other.failed);
    histogram(&mut sum.latency, &other.latency);
    histogram(&mut sum.commit_latency, &other.commit_latency);
    for (how, outcome, n) in &other.checks {
        match (sum.checks.iter_mut()).find(|(h, o, _)| h == how && o == outcome) {
            Some((.., mine)) => *mine += n,
            None => sum.checks.push((*how, *outcome, *n)),
        }
    }
    histogram(&mut sum.gap_lengths, &other.gap_lengths);
    sum.downtime = sum.downtime.max(other.downtime);
    sum.owed += other.owed;
    sum.cannot_tell += other.cannot_tell;
    sum.callers_waiting += other.callers_waiting;
    sum.uncommitted_records.0 += other.uncommitted_records.0;
    sum.uncommitted_records.1 += other.uncommitted_records.1;
    counted(&mut sum.filed, &other.filed);
    minutes(&mut sum.minutes, &other.minutes);
    sum.next_wake = [sum.next_wake, other.next_wake]
        .into_iter()
        .flatten()
        .min_by_key(|(within, _)| *within);
}

fn platform(sum: &mut PlatformSnapshot, other: &PlatformSnapshot) {
    let longer = |a: Option<Duration>, b: Option<Duration>| a.is_none_or(|a| b > Some(a));
    let since = |of: &PlatformSnapshot| of.socket_trouble.map(|(_, since)| since);
    if since(other).is_some() && longer(since(sum), since(other)) {
        sum.socket_trouble = other.socket_trouble;
    }
    counted(&mut sum.sockets_refused, &other.sockets_refused);
    counted(&mut sum.sockets_unreached, &other.sockets_unreached);
    sum.dark_for = sum.dark_for.max(other.dark_for);
    sum.channels.extend(other.channels.iter().cloned());
    sum.topics_live += other.topics_live;
    sum.topics_pending += other.topics_pending;
    sum.topics_waiting += other.topics_waiting;
    sum.topics_gave_way += other.topics_gave_way;
    sum.places_free += other.places_free;
    sum.token_held &= other.token_held;
    sum.token_expires_in = sum.token_expires_in.min(other.token_expires_in);
    sum.token_trouble = sum.token_trouble.take().or(other.token_trouble.clone());
    sum.astray = sum.astray.take().or(other.astray.clone());
    sum.token_cools |= other.token_cools;
    sum.rest_allowed += other.rest_allowed;
    sum.rest_left += other.rest_left;
    sum.rest_quiet = sum.rest_quiet.max(other.rest_quiet);
    let held = |of: &PlatformSnapshot| of.rest_held.map(|(_, left)| left);
    if held(other) > held(sum) {
        sum.rest_held = other.rest_held;
    }
    sum.rest_calls_total += other.rest_calls_total;
    sum.rest_limited_total += other.rest_limited_total;
    sum.rest_waiting += other.rest_waiting;
    sum.gaps_total += other.gaps_total;
    sum.gap_topics_total += other.gap_topics_total;
    sum.last_gap = [sum.last_gap, other.last_gap].into_iter().flatten().min();
    sum.handovers_total += other.handovers_total;
    sum.handovers_failed_total += other.handovers_failed_total;
    sum.channels_made_total += other.channels_made_total;
    sum.channels_died_total += other.channels_died_total;
    sum.reconnects_total += other.reconnects_total;
}

fn counted<K: PartialEq + Copy>(sum: &mut Vec<(K, u64)>, other: &[(K, u64)]) {
    for (key, n) in other {
        match sum.iter_mut().find(|(k, _)| k == key) {
            Some((_, mine)) => *mine += n,
            None => sum.push((*key, *n)),
        }
    }
}

fn oldest<K: Ord + Copy>(sum: &mut BTreeMap<K, Duration>, other: &BTreeMap<K, Duration>) {
    for (key, age) in other {
        let mine = sum.entry(*key).or_default();
        *mine = (*mine).max(*age);
    }
}

fn histogram(sum: &mut Histogram, other: &Histogram) {
    if sum.buckets.is_empty() {
        sum.buckets.clone_from(&other.buckets);
    } else {
        for ((_, mine), (_, theirs)) in sum.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }
    sum.sum += other.sum;
    sum.count += other.count;
}

fn minutes(sum: &mut Vec<Minute>, other: &[Minute]) {
    for minute in other {
        match sum.iter_mut().find(|m| m.at == minute.at) {
            Some(mine) => {
                mine.counters.events += minute.counters.events;
                mine.counters.filed += minute.counters.filed;
                mine.counters.failed += minute.counters.failed;
            }
            None => sum.push(*minute),
        }
    }
    sum.sort_by_key(|minute| minute.at);
}

fn badness(state: HistoryState) -> u8 {
    match state {
        HistoryState::Untried => 0,
        HistoryState::Open => 1,
        HistoryState::Opening => 2,
        HistoryState::Failing => 3,
        HistoryState::Held => 4,
        HistoryState::Down => 5,
        HistoryState::Closed => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{json, metrics, verdict};
    use base::rows::InteractionState;

    fn shard(watching: u64, held: bool) -> Arc<Snapshot> {
        let mut one = Snapshot {
            interactions: vec![(InteractionState::Watching, watching)],
            ..Snapshot::default()
        };
        one.platform.token_held = held;
        one.platform.token_trouble = (!held).then(|| "the client is disabled".into());
        one.platform.topics_live = usize::try_from(watching).unwrap();
        Arc::new(one)
    }

    fn two() -> Snapshot {
        of(vec![
            ("main".into(), shard(3, true)),
            ("second".into(), shard(4, false)),
        ])
    }

    #[test]
    fn one_shard_in_trouble_is_named_and_the_others_stay_as_they_are() {
        let sum = two();
        assert_eq!(sum.interaction(InteractionState::Watching), 7);
        let whole = verdict::of(&sum);
        assert_eq!(whole.level, verdict::Level::Bad);
        assert_eq!(
            whole.reasons,
            ["shard second: no token is held: the client is disabled"]
        );
        let of = |n: usize| verdict::of(&sum.shards[n].1).level;
        assert_eq!((of(0), of(1)), (verdict::Level::Ok, verdict::Level::Bad));
    }

    #[test]
    fn the_json_has_the_sum_under_the_old_names_and_each_shard_beside() {
        let shown: serde_json::Value = serde_json::from_str(&json::render(&two())).unwrap();
        assert_eq!(shown["interactions"]["watching"], 7);
        assert_eq!(shown["topics"]["live"], 7);
        assert_eq!(shown["shards"][1]["name"], "second");
        assert_eq!(shown["shards"][1]["level"], "bad");
        assert_eq!(shown["shards"][0]["level"], "ok");
        assert_eq!(shown["shards"][0]["topics"]["live"], 3);
        let alone = json::render(&shard(3, true));
        assert!(!alone.contains("shard"), "{alone}");
    }

    #[test]
    fn metrics_keep_their_names_for_the_sum_and_have_others_for_each_shard() {
        let text = metrics::render(&two());
        assert!(text.contains("genesys_gateway_topics 7\n"));
        assert!(text.contains("genesys_gateway_token_held 0\n"));
        assert!(text.contains("genesys_gateway_shard_topics{shard=\"main\"} 3\n"));
        assert!(text.contains("genesys_gateway_shard_token_held{shard=\"main\"} 1\n"));
        assert!(text.contains("genesys_gateway_shard_token_held{shard=\"second\"} 0\n"));
        assert!(!metrics::render(&shard(3, true)).contains("shard"));
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")) || name.contains("seconds"));
        }
    }
}
