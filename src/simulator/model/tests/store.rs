//! The reporting store: analytics details.

use super::*;

fn many(w: &mut World, ids: &str) -> Vec<Value> {
    let answer = w.get(&format!("/analytics/conversations/details?{ids}"));
    assert_eq!(answer.status, 200);
    body(&answer)["conversations"].as_array().unwrap().clone()
}

fn agent_session(conversation: &Value) -> Value {
    conversation["participants"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["purpose"] == "agent")
        .unwrap()["sessions"][0]
        .clone()
}

#[test]
fn analytics_lag_behind_by_the_latency() {
    for latency in [0, 60, 600] {
        let mut w = World::with(&[("analytics-latency-seconds", &latency.to_string())]);
        let c = w.start(1, "voice");
        w.seconds(100);
        w.do_it(json!({"command": "end", "conversation": c}));
        w.seconds(10);
        w.do_it(json!({"command": "wrap-up", "conversation": c, "code": "X", "notes": "n"}));
        if latency > 0 {
            w.seconds(latency - 1);
            let seen = many(&mut w, &format!("id={c}"));
            let segments = agent_session(&seen[0])["segments"].clone();
            assert_eq!(segments[1]["segmentType"], "wrapup");
            assert!(segments[1].get("segmentEnd").is_none());
            w.seconds(1);
        }
        let seen = many(&mut w, &format!("id={c}"));
        assert!(seen[0]["conversationEnd"].is_string());
        let session = agent_session(&seen[0]);
        let wrapup = &session["segments"][1];
        assert_eq!(
            (&wrapup["wrapUpCode"], &wrapup["wrapUpNote"]),
            (&json!("X"), &json!("n"))
        );
        assert!(wrapup["segmentEnd"].is_string());
        assert_eq!(session["metrics"][0]["name"], "tAcw");
        assert_eq!(session["metrics"][0]["value"], 10_000);
        assert_eq!(session["mediaType"], "voice");
        let truth = &w.p.truth().wrap_ups()[0];
        assert_eq!(session["sessionId"], truth.session.to_string());
    }
}

#[test]
fn a_conversation_younger_than_the_latency_is_not_there() {
    let mut w = World::with(&[]);
    let c = w.start(1, "voice");
    w.seconds(59);
    assert!(many(&mut w, &format!("id={c}")).is_empty());
    assert_eq!(
        w.get(&format!("/analytics/conversations/{c}/details"))
            .status,
        404
    );
    w.seconds(1);
    let one = body(&w.get(&format!("/analytics/conversations/{c}/details")));
    assert_eq!(one["conversationId"], c);
    assert!(one.get("conversationEnd").is_none());
}

#[test]
fn the_wrap_up_segment_can_be_missing_at_first() {
    let mut w = World::with(&[("analytics-wrapup", "missing-at-first")]);
    let c = w.start(1, "voice");
    w.do_it(json!({"command": "finish", "conversation": c}));
    w.seconds(61);
    let seen = many(&mut w, &format!("id={c}"));
    assert!(seen[0]["conversationEnd"].is_string());
    assert_eq!(
        agent_session(&seen[0])["segments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    w.seconds(300);
    let seen = many(&mut w, &format!("id={c}"));
    assert_eq!(
        agent_session(&seen[0])["segments"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn skipped_work_shows_as_a_flag() {
    for (value, segments) in [("event", 2), ("no-event", 1)] {
        let mut w = World::with(&[("skipped-acw", value)]);
        let c = w.start(1, "voice");
        w.do_it(json!({"command": "end", "conversation": c}));
        w.do_it(json!({"command": "skip", "conversation": c}));
        w.seconds(61);
        let session = agent_session(&many(&mut w, &format!("id={c}"))[0]);
        assert_eq!(session["acwSkipped"], true);
        assert_eq!(session["segments"].as_array().unwrap().len(), segments);
    }
}

#[test]
fn ids_are_taken_with_commas_and_repeated_and_unknown_ones_are_left_out() {
    let mut w = World::with(&[("analytics-latency-seconds", "0")]);
    let (a, b) = (w.start(1, "voice"), w.start(1, "voice"));
    let unknown = id_number(7);
    for query in [
        format!("id={a},{unknown},{b}"),
        format!("id={a}&id={b}&id={unknown}&id=nonsense"),
        format!("id={a}%2C{b}"),
    ] {
        assert_eq!(many(&mut w, &query).len(), 2, "{query}");
    }
    assert_eq!(w.get("/analytics/conversations/details").status, 400);
}

#[test]
fn too_many_ids_are_refused_with_the_status_of_the_switch() {
    for (most, status) in [("50", "400"), ("100", "413")] {
        let mut w = World::with(&[
            ("analytics-max-ids", most),
            ("analytics-over-max-ids", status),
        ]);
        let ids: Vec<String> = (0..=most.parse().unwrap()).map(id_number).collect();
        let list = |n: usize| format!("/analytics/conversations/details?id={}", ids[..n].join(","));
        let (fits, over) = (list(ids.len() - 1), list(ids.len()));
        assert_eq!(w.get(&fits).status, 200);
        assert_eq!(w.get(&over).status.to_string(), status);
    }
}

#[test]
fn a_query_finds_conversations_by_day_of_start_dimension_and_page() {
    let mut w = World::with(&[("analytics-latency-seconds", "0")]);
    let ids: Vec<String> = (0..5).map(|_| w.start(1, "email")).collect();
    w.do_it(json!({"command": "finish", "conversation": ids[0]}));
    let day = Duration::from_secs(86_400);
    let query = |w: &mut World, extra: Value| {
        let mut q = json!({"interval": format!("{}/{}", w.now.wall.rfc3339(), (w.now.wall + day).rfc3339())});
        for (k, v) in extra.as_object().unwrap() {
            q[k] = v.clone();
        }
        let answer = w.call("POST", "/analytics/conversations/details/query", q);
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let found = body(&answer);
        let n = found["conversations"].as_array().map_or(0, Vec::len);
        (n, found["totalHits"].as_u64().unwrap())
    };
    assert_eq!(query(&mut w, json!({})), (5, 5));
    assert_eq!(
        query(&mut w, json!({"paging": {"pageSize": 2, "pageNumber": 3}})),
        (1, 5)
    );
    let by_id = json!({"conversationFilters": [{"type": "or", "predicates": [
        {"type": "dimension", "dimension": "conversationId", "value": ids[1]},
        {"type": "dimension", "dimension": "conversationId", "value": ids[2]}]}]});
    assert_eq!(query(&mut w, by_id), (2, 2));
    let open = json!({"conversationFilters": [{"type": "and", "predicates": [
        {"type": "dimension", "dimension": "conversationEnd", "operator": "notExists"}]}]});
    assert_eq!(query(&mut w, open), (4, 4));
    let wrapped = json!({"segmentFilters": [{"type": "and", "predicates": [
        {"type": "dimension", "dimension": "segmentType", "operator": "matches", "value": "wrapup"},
        {"type": "dimension", "dimension": "segmentEnd", "operator": "exists"}]}]});
    assert_eq!(query(&mut w, wrapped), (1, 1));
    w.seconds(86_400 * 2);
    w.token = w.new_token();
    assert_eq!(query(&mut w, json!({})), (0, 0));
    for bad in [
        json!({}),
        json!({"interval": "yesterday"}),
        json!({"interval": "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z",
               "paging": {"pageSize": 101, "pageNumber": 1}}),
    ] {
        let answer = w.call("POST", "/analytics/conversations/details/query", bad);
        assert_eq!(answer.status, 400);
    }
}
