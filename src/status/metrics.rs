//! Prometheus text from the one snapshot.
//!
//! Names follow the conventions: base units, `_total` for counters, labels from
//! closed lists only. Invariant: the same set of series whatever came in from
//! outside, so that nobody can grow it.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::snapshot::{Histogram, Snapshot};
use super::verdict::{self, Level};
use base::cause::Cause;
use base::rows::{InteractionState, RecordState};
use filing::HistoryState;
use proto::snapshot::ChannelState;
use proto::way::STATUSES;

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP genesys_gateway_{name} {help}");
        let _ = writeln!(self.0, "# TYPE genesys_gateway_{name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "genesys_gateway_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, "", value);
    }

    fn by<K: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: &[(K, u64)],
    ) {
        self.head(name, kind, help);
        for (key, n) in values {
            self.value(name, &format!("{{{label}=\"{key}\"}}"), n);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, h: &Histogram) {
        self.head(name, "histogram", help);
        for (bound, n) in &h.buckets {
            self.value(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), n);
        }
        self.value(&format!("{name}_bucket"), "{le=\"+Inf\"}", h.count);
        self.value(&format!("{name}_sum"), "", h.sum);
        self.value(&format!("{name}_count"), "", h.count);
    }
}

fn seconds(d: Duration) -> f64 {
    d.as_millis() as f64 / 1000.0
}

/// The whole text.
#[must_use]
pub fn render(s: &Snapshot) -> String {
    let mut t = Text(String::with_capacity(8192));
    let p = &s.platform;
    t.head(
        "build_info",
        "gauge",
        "Always 1; the version is in the label.",
    );
    t.value(
        "build_info",
        &format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
        1,
    );
    t.one(
        "start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970.",
        s.started_at.0 as f64 / 1000.0,
    );
    t.by(
        "interactions",
        "gauge",
        "Interactions by state.",
        "state",
        &s.interactions,
    );
    t.by("records", "gauge", "Records by state.", "state", &s.records);
    t.head(
        "oldest_age_seconds",
        "gauge",
        "Age of the oldest interaction or record in a state; 0 if there is none.",
    );
    let going_on = InteractionState::ALL.iter().filter(|state| !state.ended());
    let oldest = going_on
        .map(|state| (state.label(), s.oldest_interaction.get(state)))
        .chain(RecordState::waiting().map(|state| (state.label(), s.oldest_record.get(&state))));
    for (state, age) in oldest {
        t.value(
            "oldest_age_seconds",
            &format!("{{state=\"{state}\"}}"),
            age.map_or(0.0, |age| seconds(*age)),
        );
    }
    let in_state = |state| p.channels.iter().filter(|c| c.state == state).count() as u64;
    let channels: Vec<(ChannelState, u64)> = ChannelState::ALL
        .iter()
        .map(|state| (*state, in_state(*state)))
        .collect();
    t.by(
        "channels",
        "gauge",
        "Notification channels by state.",
        "state",
        &channels,
    );
    t.one(
        "topics",
        "gauge",
        "Topics whose subscription is confirmed.",
        p.topics_live,
    );
    t.one(
        "topics_pending",
        "gauge",
        "Topics being subscribed.",
        p.topics_pending,
    );
    t.one(
        "topics_waiting",
        "gauge",
        "Topics that wait for a place on a channel.",
        p.topics_waiting,
    );
    t.one(
        "watched_dark",
        "gauge",
        "Watched interactions that are not live at this moment.",
        s.dark,
    );
    t.by(
        "records_taken_total",
        "counter",
        "Records taken, by source.",
        "source",
        &s.taken,
    );
    t.by(
        "events_total",
        "counter",
        "Events announced on channels, by what became of them.",
        "outcome",
        &s.events,
    );
    t.head("gaps_total", "counter", "Gaps in the watching, by cause.");
    for (cause, n, _) in &s.gaps {
        t.value("gaps_total", &format!("{{cause=\"{cause}\"}}"), n);
    }
    t.histogram(
        "gap_seconds",
        "How long watched conversations were out of sight, each by itself, until live again.",
        &s.gap_lengths,
    );
    t.one(
        "downtime_seconds",
        "gauge",
        "How long the gateway was not running before this start.",
        seconds(s.downtime),
    );
    t.one(
        "gap_topics_total",
        "counter",
        "Topics touched by gaps.",
        p.gap_topics_total,
    );
    t.one(
        "handovers_total",
        "counter",
        "Hand-overs of channels done.",
        p.handovers_total,
    );
    t.one(
        "handovers_failed_total",
        "counter",
        "Hand-overs of channels given up.",
        p.handovers_failed_total,
    );
    t.one(
        "channels_made_total",
        "counter",
        "Channels made.",
        p.channels_made_total,
    );
    t.one(
        "channels_died_total",
        "counter",
        "Channels that the platform ended.",
        p.channels_died_total,
    );
    t.one(
        "reconnects_total",
        "counter",
        "Reconnects of channel sockets.",
        p.reconnects_total,
    );
    t.head(
        "socket_refused_total",
        "counter",
        "Upgrades to WebSocket refused, by HTTP status.",
    );
    for status in STATUSES.into_iter().chain([0]) {
        let n = p.sockets_refused.iter().find(|(s, _)| *s == status);
        let n = n.map_or(0, |(_, n)| *n);
        let label = match status {
            0 => "{status=\"other\"}".to_string(),
            status => format!("{{status=\"{status}\"}}"),
        };
        t.value("socket_refused_total", &label, n);
    }
    t.head(
        "socket_unreached_total",
        "counter",
        "Sockets that came to nothing before they served, other than by a refusal, by cause.",
    );
    for cause in Cause::ALL {
        let n = p.sockets_unreached.iter().find(|(c, _)| *c == cause);
        let n = n.map_or(0, |(_, n)| *n);
        t.value(
            "socket_unreached_total",
            &format!("{{cause=\"{}\"}}", cause.label()),
            n,
        );
    }
    t.one(
        "socket_trouble_seconds",
        "gauge",
        "For how long no socket could be had; 0 while they can.",
        seconds(p.socket_trouble.map(|(_, since)| since).unwrap_or_default()),
    );
    t.one(
        "topics_dark_seconds",
        "gauge",
        "For how long the topic has been wanted that is not live for longest.",
        seconds(p.dark_for),
    );
    t.one(
        "token_held",
        "gauge",
        "1 if a token is held.",
        u8::from(p.token_held),
    );
    t.one(
        "token_expires_seconds",
        "gauge",
        "Until the token ends.",
        seconds(p.token_expires_in),
    );
    t.one(
        "rest_calls_total",
        "counter",
        "REST calls made.",
        p.rest_calls_total,
    );
    t.one(
        "rest_limited_total",
        "counter",
        "REST calls answered 429.",
        p.rest_limited_total,
    );
    t.one(
        "rest_budget",
        "gauge",
        "REST calls allowed a minute.",
        p.rest_allowed,
    );
    t.one(
        "rest_budget_left",
        "gauge",
        "REST calls left in this minute.",
        p.rest_left,
    );
    t.one(
        "checks_due",
        "gauge",
        "Interactions due for a check over REST.",
        s.checks_due,
    );
    t.one(
        "checks_in_flight",
        "gauge",
        "Checks over REST that are asked and not answered.",
        s.checks_in_flight,
    );
    t.one(
        "checks_owed",
        "gauge",
        "Interactions that are owed an answer over REST.",
        s.owed,
    );
    t.one(
        "checks_not_understood",
        "gauge",
        "Interactions about which REST's answers are not understood, more than once in a row.",
        s.not_understood,
    );
    t.one(
        "checks_unanswerable",
        "gauge",
        "Interactions of which REST could not tell the last time.",
        s.cannot_tell,
    );
    t.by(
        "places_given_total",
        "counter",
        "Places on channels given to those that waited, by what the conversation was.",
        "conversation",
        &s.places_given,
    );
    t.head(
        "checks_total",
        "counter",
        "Checks over REST, for one conversation or many, by outcome.",
    );
    for (how, outcome, n) in &s.checks {
        let labels = format!("{{how=\"{how}\",outcome=\"{outcome}\"}}");
        t.value("checks_total", &labels, n);
    }
    t.by(
        "records_filed_total",
        "counter",
        "Records filed, by source.",
        "source",
        &s.filed,
    );
    let filed = ("filed", s.filed.iter().map(|(_, n)| n).sum());
    let failed = s.failed.iter().map(|(cause, n)| (cause.label(), *n));
    let outcomes: Vec<(&str, u64)> = std::iter::once(filed).chain(failed).collect();
    t.by(
        "history_outcomes_total",
        "counter",
        "Tries to file a record, by outcome.",
        "outcome",
        &outcomes,
    );
    t.one(
        "history_closed",
        "gauge",
        "1 while the history manager refuses us (401, 403, 3xx, or every record alike).",
        u8::from(s.history_state == HistoryState::Closed),
    );
    t.one(
        "history_down",
        "gauge",
        "1 while the history manager cannot be reached.",
        u8::from(s.history_state == HistoryState::Down),
    );
    t.one(
        "history_in_flight",
        "gauge",
        "Tries to file a record under way.",
        s.history_in_flight,
    );
    t.one(
        "uncommitted_changes",
        "gauge",
        "Changes that wait for a commit.",
        s.uncommitted,
    );
    t.one(
        "uncommitted_records",
        "gauge",
        "Records taken that wait for a commit.",
        s.uncommitted_records.0,
    );
    t.one(
        "uncommitted_bytes",
        "gauge",
        "Bodies of the records that wait for a commit.",
        s.uncommitted_records.1,
    );
    t.one(
        "callers_waiting",
        "gauge",
        "Requests that wait for the store.",
        s.callers_waiting,
    );
    t.one(
        "store_damaged",
        "gauge",
        "1 while a damaged database is set aside and not acknowledged.",
        u8::from(s.damaged.is_some()),
    );
    t.one(
        "store_trouble",
        "gauge",
        "1 while nothing can be committed.",
        u8::from(s.store_trouble.is_some()),
    );
    t.one(
        "store_log_bytes",
        "gauge",
        "Size of the write-ahead log of the database.",
        s.log.bytes,
    );
    t.one(
        "store_log_held",
        "gauge",
        "1 while the write-ahead log is large and cannot be cut because another program reads an old state of the database.",
        u8::from(s.log.held),
    );
    t.head(
        "refused_requests_total",
        "counter",
        "Requests that were refused, by listener and cause.",
    );
    for (listener, cause, n) in &s.refused {
        let labels = format!("{{listener=\"{listener}\",cause=\"{cause}\"}}");
        t.value("refused_requests_total", &labels, n);
    }
    t.one(
        "busy_answers_total",
        "counter",
        "Requests answered 503 by the core.",
        s.refused_busy,
    );
    t.one(
        "log_lines_dropped_total",
        "counter",
        "Log lines that were dropped because nobody took them from stderr.",
        s.log_lines_lost,
    );
    t.histogram(
        "event_to_filed_seconds",
        "From the end of the after-call work to its being filed.",
        &s.latency,
    );
    t.histogram(
        "commit_seconds",
        "From an order to the store to its end.",
        &s.commit_latency,
    );
    if !s.shards.is_empty() {
        shards(&mut t, s);
    }
    t.0
}

/// Each shard for itself, under names of their own: the others are sums, and a label on them
/// would have everybody who adds them up count twice. Only where there is more than one.
fn shards(t: &mut Text, s: &Snapshot) {
    type Value = fn(&Snapshot) -> f64;
    const EACH: [(&str, &str, Value); 9] = [
        (
            "shard_topics",
            "Topics whose subscription is confirmed, by shard.",
            |s| s.platform.topics_live as f64,
        ),
        (
            "shard_topics_waiting",
            "Topics that wait for a place on a channel, by shard.",
            |s| s.platform.topics_waiting as f64,
        ),
        (
            "shard_topics_dark_seconds",
            "For how long the topic has been wanted that is not live for longest, by shard.",
            |s| seconds(s.platform.dark_for),
        ),
        ("shard_token_held", "1 if a token is held, by shard.", |s| {
            f64::from(u8::from(s.platform.token_held))
        }),
        (
            "shard_token_expires_seconds",
            "Until the token ends, by shard.",
            |s| seconds(s.platform.token_expires_in),
        ),
        (
            "shard_rest_budget_left",
            "REST calls left in this minute, by shard.",
            |s| f64::from(s.platform.rest_left),
        ),
        (
            "shard_checks_owed",
            "Interactions that are owed an answer over REST, by shard.",
            |s| s.owed as f64,
        ),
        (
            "shard_watched_dark",
            "Watched interactions that are not live at this moment, by shard.",
            |s| s.dark as f64,
        ),
        (
            "shard_level",
            "0 while all is well with a shard, 1 when it is worth a look, 2 when a person is needed.",
            |s| match verdict::of_shard(s).level {
                Level::Ok => 0.0,
                Level::Warn => 1.0,
                Level::Bad => 2.0,
            },
        ),
    ];
    for (name, help, value) in EACH {
        t.head(name, "gauge", help);
        for (shard, one) in &s.shards {
            t.value(name, &format!("{{shard=\"{shard}\"}}"), value(one));
        }
    }
    t.head(
        "shard_channels",
        "gauge",
        "Notification channels by shard and state.",
    );
    for (shard, one) in &s.shards {
        for state in ChannelState::ALL {
            let channels = one.platform.channels.iter();
            let n = channels.filter(|c| c.state == *state).count();
            let labels = format!("{{shard=\"{shard}\",state=\"{state}\"}}");
            t.value("shard_channels", &labels, n);
        }
    }
    t.head(
        "shard_interactions",
        "gauge",
        "Interactions by shard and state.",
    );
    for (shard, one) in &s.shards {
        for (state, n) in &one.interactions {
            let labels = format!("{{shard=\"{shard}\",state=\"{state}\"}}");
            t.value("shard_interactions", &labels, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_its_help_and_type_and_every_line_its_value() {
        let mut s = Snapshot {
            interactions: vec![(InteractionState::Watching, 3)],
            ..Snapshot::default()
        };
        s.latency = Histogram::new(&[0.1, 1.0]);
        s.latency.observe(0.5);
        let text = render(&s);
        assert!(text.contains("genesys_gateway_interactions{state=\"watching\"} 3\n"));
        assert!(text.contains("genesys_gateway_event_to_filed_seconds_bucket{le=\"1\"} 1\n"));
        assert!(text.contains("genesys_gateway_history_closed 0\n"));
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = name
                .trim_end_matches("_bucket")
                .trim_end_matches("_sum")
                .trim_end_matches("_count");
            assert!(text.contains(&format!("# TYPE {base} ")), "{line}");
            assert!(
                line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn every_metric_has_a_place_on_the_dashboard_and_what_is_asked_for_exists() {
        let dashboard = include_str!("../../systemd/grafana/genesys-gateway.json");
        let rules = include_str!("../../systemd/prometheus/genesys-gateway.rules.yml");
        // With a shard in it, so that what there is only with several counts too.
        let text = render(&Snapshot {
            shards: vec![("main".into(), std::sync::Arc::default())],
            ..Snapshot::default()
        });
        let names: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let asked = |of: &'static str| {
            of.split("genesys_gateway_").skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                rest[..end.unwrap_or(rest.len())].trim_end_matches("_bucket")
            })
        };
        for name in &names {
            let name = name.trim_start_matches("genesys_gateway_");
            assert!(
                asked(dashboard).any(|n| n == name),
                "{name} is shown nowhere"
            );
        }
        for name in asked(dashboard).chain(asked(rules)) {
            let name = format!("genesys_gateway_{name}");
            assert!(names.contains(&name.as_str()), "there is no {name}");
        }
    }
}
