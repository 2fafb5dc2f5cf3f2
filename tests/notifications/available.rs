//! The catalogue of topics, asked by the token of a client.

use notifications::Reason;

use super::client::builder;
use super::*;

fn slow(platform: &Running, times: u32, status: u16, after: Option<&str>) {
    fault(
        platform,
        json!({"fault": "fail-rest", "call": "available-topics", "times": times,
            "failure": {"with": "status", "status": status, "retryAfter": after}}),
    );
}

#[test]
fn the_topics_that_the_platform_offers_come_with_the_permissions_that_they_require() {
    let platform = platform(&[]);
    let client = builder(&platform).connect().unwrap();
    // The token is on its way: it is waited for.
    let offered = client.available_topics(PATIENCE).unwrap();
    let acw = "v2.detail.events.conversation.{id}.acw";
    let acw = offered.iter().find(|t| t.name == acw).unwrap();
    assert_eq!(acw.permissions, ["analytics:conversationDetail:view"]);
    assert_eq!(acw.parameters, ["id"]);
    assert!(acw.on_websocket() && acw.enforced && !acw.preview);
    assert!(!acw.description.is_empty() && !acw.requirements.is_empty());
}

#[test]
fn what_passes_by_itself_is_asked_again_when_the_platform_wants_it_and_the_rest_is_told() {
    let platform = platform(&[]);
    let client = builder(&platform).connect().unwrap();
    slow(&platform, 1, 429, Some("2"));
    let began = Instant::now();
    assert!(!client.available_topics(PATIENCE).unwrap().is_empty());
    assert!(began.elapsed() >= Duration::from_secs(2));
    slow(&platform, 1, 503, None);
    assert!(!client.available_topics(PATIENCE).unwrap().is_empty());
    // It would come too late.
    slow(&platform, 1, 429, Some("3600"));
    let began = Instant::now();
    let error = client.available_topics(PATIENCE).unwrap_err();
    assert_eq!(error.reason(), Reason::Status(429), "{error}");
    assert!(!error.is_permanent() && began.elapsed() < PATIENCE / 2);
    slow(&platform, 1, 403, None);
    let error = client.available_topics(PATIENCE).unwrap_err();
    assert_eq!(error.reason(), Reason::Forbidden, "{error}");
    fault(
        &platform,
        json!({"fault": "fail-rest", "call": "available-topics", "times": 1,
            "failure": {"with": "hang"}}),
    );
    let began = Instant::now();
    let patience = Duration::from_secs(1);
    let error = client.available_topics(patience).unwrap_err();
    assert_eq!(error.reason(), Reason::Handshake, "{error}");
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}

#[test]
fn whoever_asks_without_a_good_token_is_told_why() {
    let platform = platform(&[]);
    let wrong = builder(&platform).client_credentials(&platform.client_id, "not-the-secret");
    let error = wrong.connect().unwrap().available_topics(PATIENCE);
    assert_eq!(error.unwrap_err().reason(), Reason::Login);
    let client = builder(&platform).connect().unwrap();
    client.available_topics(PATIENCE).unwrap();
    slow(&platform, 1, 401, None);
    let error = client.available_topics(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthorized, "{error}");
    client.close();
    while client.recv().is_some() {}
    let error = client.available_topics(PATIENCE).unwrap_err();
    assert_eq!(error.reason(), Reason::Closed);
}

#[test]
fn a_client_that_is_closed_meanwhile_keeps_nobody_waiting() {
    let platform = platform(&[]);
    let client = builder(&platform).connect().unwrap();
    client.available_topics(PATIENCE).unwrap();
    slow(&platform, 1, 503, Some("15"));
    std::thread::scope(|s| {
        let asked = s.spawn(|| client.available_topics(PATIENCE).unwrap_err().reason());
        let calls = || {
            let model = platform.model();
            let entries = model.platform().journal_kept();
            entries.filter(|e| e.what.contains("503")).count()
        };
        let began = Instant::now();
        while calls() == 0 {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        client.close();
        assert_eq!(asked.join().unwrap(), Reason::Closed);
        assert!(began.elapsed() < PATIENCE / 2);
    });
}
