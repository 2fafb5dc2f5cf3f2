//! The metrics: well-formed, the same series at all times, and true.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Gateway, History, Platform, Reply, Setup, all, http, wait_for};

/// Series with their values, and families with their kinds.
struct Text {
    series: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

#[track_caller]
fn parsed(text: &str) -> Text {
    let (mut series, mut kinds, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.') && help.len() > 8, "{line}");
            assert!(helped.insert(name.to_owned()), "{name} is explained twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "{line}");
            kinds.insert(name.to_owned(), kind.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(
                series.insert(name.to_owned(), value).is_none(),
                "{name} twice"
            );
        }
    }
    assert!(text.ends_with('\n'));
    Text { series, kinds }
}

fn family<'a>(text: &Text, series: &'a str) -> (&'a str, String) {
    let name = series.split('{').next().unwrap();
    for suffix in ["_bucket", "_sum", "_count"] {
        if let Some(base) = name.strip_suffix(suffix)
            && text.kinds.get(base).is_some_and(|k| k == "histogram")
        {
            return (base, "histogram".into());
        }
    }
    (name, text.kinds[name].clone())
}

#[track_caller]
fn keeps_the_conventions(text: &Text) {
    for name in text.kinds.keys() {
        assert!(
            text.series.keys().any(|s| family(text, s).0 == name),
            "{name} is empty"
        );
        assert!(name.starts_with("genesys_gateway_"), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
    }
    for series in text.series.keys() {
        let (name, kind) = family(text, series);
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        for unit in ["_ms", "_millis", "_minutes", "_kib"] {
            assert!(!name.ends_with(unit), "{name}: base units");
        }
        for label in series.split_once('{').map_or("", |(_, l)| l).split(',') {
            let value = label.split('"').nth(1).unwrap_or("");
            assert!(value.len() <= 24, "{series}");
        }
    }
    // Buckets are cumulative and end with all.
    let histograms = text.kinds.iter().filter(|(_, k)| *k == "histogram");
    for (name, _) in histograms {
        let mut buckets: Vec<(f64, f64)> = text
            .series
            .iter()
            .filter_map(|(s, n)| {
                let le = s.strip_prefix(&format!("{name}_bucket{{le=\""))?;
                let le = le.strip_suffix("\"}")?;
                Some((
                    if le == "+Inf" {
                        f64::INFINITY
                    } else {
                        le.parse().unwrap()
                    },
                    *n,
                ))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(
            buckets.windows(2).all(|w| w[0].1 <= w[1].1),
            "{name}: {buckets:?}"
        );
        assert_eq!(
            buckets.last().unwrap().1,
            text.series[&format!("{name}_count")],
            "{name}"
        );
    }
}

/// Prometheus' own opinion, where its tool is installed.
fn promtool_agrees(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        eprintln!("not tried: promtool is not installed");
        return;
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

fn wrap_up(platform: &Platform, gateway: &Gateway, id: &str) {
    gateway.accept(id).expect(202);
    gateway.wait_state(id, "watching");
    platform.act(id, "end", json!({}));
    platform.act(id, "wrap-up", json!({"code": "done"}));
}

fn reaches(gateway: &Gateway, series: &str, least: f64) {
    wait_for(&format!("{series} to reach {least}"), || {
        let n = gateway.metric(series);
        if n >= least { Ok(()) } else { Err(n) }
    });
}

fn refused(cause: &str) -> String {
    format!("genesys_gateway_refused_requests_total{{listener=\"http\",cause=\"{cause}\"}}")
}

#[test]
fn the_series_are_the_same_before_and_after_whatever_happened_and_the_numbers_are_true() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let first = parsed(&gateway.metrics());
    keeps_the_conventions(&first);

    // A wrap-up that is filed at once, one that is filed at the third try, one that dies.
    let ids: Vec<String> = (0..3).map(|_| platform.conversation()).collect();
    history.script_for(&ids[1], [Reply::Status(503), Reply::Close]);
    history.script_for(&ids[2], [Reply::Status(400)]);
    for id in &ids {
        wrap_up(&platform, &gateway, id);
    }
    gateway.wait_record(&ids[0], "delivered");
    gateway.wait_record(&ids[1], "delivered");
    gateway.wait_record(&ids[2], "dead");
    // A gap: live, lost, live again.
    let watched = platform.conversation();
    gateway.accept(&watched).expect(202);
    gateway.wait_state(&watched, "watching");
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    reaches(&gateway, "genesys_gateway_gap_seconds_count", 1.0);
    // Refusals of every kind.
    let url = gateway.interactions();
    let json_type = ("Content-Type", "application/json");
    http::call("POST", &url, &[json_type], Some("{")).expect(400);
    http::call("POST", &url, &[json_type], Some("[1]")).expect(422);
    http::call("POST", &url, &[("Content-Type", "text/plain")], Some("x")).expect(415);
    http::call("POST", &url, &[json_type], Some(&"x".repeat(70_000))).expect(413);
    http::call("PATCH", &url, &[json_type], Some("{}")).expect(405);
    http::get(&format!("{url}/7c1f4b9e-5d0a-4c58-9a3e-000000000000")).expect(404);

    for (series, least) in [
        ("genesys_gateway_records{state=\"delivered\"}", 2.0),
        ("genesys_gateway_records{state=\"dead\"}", 1.0),
        ("genesys_gateway_oldest_age_seconds{state=\"dead\"}", 0.0),
        (
            "genesys_gateway_records_taken_total{source=\"notification\"}",
            3.0,
        ),
        (
            "genesys_gateway_records_filed_total{source=\"notification\"}",
            2.0,
        ),
        ("genesys_gateway_events_total{outcome=\"taken\"}", 3.0),
        (
            "genesys_gateway_history_outcomes_total{outcome=\"filed\"}",
            2.0,
        ),
        (
            "genesys_gateway_history_outcomes_total{outcome=\"server-error\"}",
            1.0,
        ),
        (
            "genesys_gateway_history_outcomes_total{outcome=\"refused\"}",
            1.0,
        ),
        ("genesys_gateway_event_to_filed_seconds_count", 2.0),
        ("genesys_gateway_commit_seconds_count", 5.0),
        ("genesys_gateway_interactions{state=\"watching\"}", 1.0),
        ("genesys_gateway_topics", 1.0),
        ("genesys_gateway_channels{state=\"live\"}", 1.0),
        ("genesys_gateway_rest_calls_total", 2.0),
        ("genesys_gateway_gap_topics_total", 1.0),
        ("genesys_gateway_reconnects_total", 1.0),
        ("genesys_gateway_token_held", 1.0),
        (
            "genesys_gateway_checks_total{how=\"one\",outcome=\"found\"}",
            1.0,
        ),
        (&refused("malformed"), 1.0),
        (&refused("unprocessable"), 1.0),
        (&refused("media-type"), 1.0),
        (&refused("too-large"), 1.0),
        (&refused("method"), 1.0),
        (&refused("not-found"), 1.0),
    ] {
        reaches(&gateway, series, least);
    }
    let left = gateway.metric("genesys_gateway_rest_budget_left");
    assert!(
        left < gateway.metric("genesys_gateway_rest_budget"),
        "{left}"
    );

    promtool_agrees(&gateway.metrics());
    let last = parsed(&gateway.metrics());
    keeps_the_conventions(&last);
    let names = |t: &Text| t.series.keys().cloned().collect::<BTreeSet<_>>();
    let grown: Vec<_> = names(&last)
        .symmetric_difference(&names(&first))
        .cloned()
        .collect();
    assert!(grown.is_empty(), "{grown:?}");
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("genesys_gateway_build_info{{version=\"{version}\"}}");
    assert_eq!(last.series[&build], 1.0);
}

#[test]
fn the_time_without_a_gateway_is_part_of_the_gap() {
    let (platform, _history, setup, mut gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    assert_eq!(gateway.sigterm().0, 0);
    let ended = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let gateway = setup.start();
    reaches(&gateway, "genesys_gateway_gap_seconds_count", 1.0);
    let most = ended.elapsed().as_secs_f64() + 1.0;
    let gap = gateway.metric("genesys_gateway_gap_seconds_sum");
    let down = gateway.metric("genesys_gateway_downtime_seconds");
    assert!(
        (1.9..=most).contains(&down) && (down..=most).contains(&gap),
        "{down} {gap} {most}"
    );
}
