//! What one kind of REST call, or one conversation, suffers is no other's affair.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::model::Call;

use crate::support::{Gateway, History, Platform, Setup, wait_for, wait_within};

/// How soon what was lost is to be watched again.
const SOON: Duration = Duration::from_secs(10);

fn asked(platform: &Platform, call: Call) -> u64 {
    let model = platform.0.model();
    let truth = model.platform().truth();
    truth.ledger().calls.get(&call).copied().unwrap_or(0)
}

/// One of two watched conversations is answered like this whenever it is asked about; all
/// channels are evicted, twice.
fn one_is_refused(platform: &Platform, gateway: &Gateway, refusal: Value) -> [String; 2] {
    let two = [platform.conversation(), platform.conversation()];
    for id in &two {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
    }
    let mut fault = json!({"fault": "refuse-conversations", "conversation": two[0]});
    for (name, value) in refusal.as_object().unwrap() {
        fault[name] = value.clone();
    }
    platform.fault(fault);
    for _ in 0..3 {
        let before = asked(platform, Call::Conversation);
        platform.fault(json!({"fault": "evict", "channel": "all"}));
        wait_within(SOON, "both to be watched again", || {
            match two.iter().all(|id| platform.subscribed(id)) {
                true => Ok(()),
                false => Err(format!("{refusal} {}", gateway.status()["reasons"])),
            }
        });
        wait_for("a question about either", || {
            match asked(platform, Call::Conversation) - before {
                0 => Err(gateway.status()["rest"].clone()),
                // The one may have asked not to be asked again.
                _ => Ok(()),
            }
        });
    }
    two
}

#[test]
fn a_conversation_that_is_answered_500_again_and_again_does_not_keep_the_others_from_being_watched()
{
    for refusal in [
        json!({"status": 500, "headers": {"inin-ratelimit-count": "2",
            "inin-ratelimit-allowed": "300", "inin-ratelimit-reset": "55"}}),
        json!({"status": 408, "headers": {"inin-ratelimit-reset": "55"}}),
        json!({"status": 404, "headers": {"inin-ratelimit-reset": "55"}}),
        json!({"status": 503, "headers": {"Retry-After": "3600"}}),
        json!({"status": 502, "headers": {"inin-ratelimit-count": "4294967295",
            "inin-ratelimit-allowed": "0", "inin-ratelimit-reset": "99999999999"}}),
        json!({"status": 500, "headers": {"inin-ratelimit-count": "-1",
            "inin-ratelimit-allowed": "many", "inin-ratelimit-reset": ""}}),
    ] {
        let (platform, history) = (Platform::start(), History::start());
        let gateway = Setup::new(&platform, &history).start();
        let [_, other] = one_is_refused(&platform, &gateway, refusal.clone());
        let reasons = gateway.status()["reasons"].to_string();
        assert!(!reasons.contains("limits the rate"), "{refusal} {reasons}");
        platform.act(&other, "finish", json!({}));
        history.wait_filed(&other, 1);
        gateway.wait_state(&other, "finished");
    }
}

/// Accepted and on a channel, all of them.
fn all_watched(platform: &Platform, gateway: &Gateway, n: usize) -> Vec<String> {
    let ids: Vec<String> = (0..n).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        wait_within(Duration::from_secs(90), "it to be watched", || {
            match gateway.interaction(id)["state"].as_str() {
                Some("watching") => Ok(()),
                _ => Err(gateway.status()["channels"].to_string()),
            }
        });
    }
    ids
}

/// A channel on which the platform counts more topics than we do, then with nothing to do.
#[test]
fn a_channel_whose_places_are_freed_late_costs_no_processor_and_is_used_again() {
    let (platform, history) = (
        Platform::switched(&[("topics-max", "10"), ("places-freed-seconds", "20")]),
        History::start(),
    );
    let mut setup = Setup::new(&platform, &history);
    setup.set("channels", "topics-per-channel = 10");
    setup.set("channels", "max-channels = 3");
    setup.env("RUST_LOG", "info");
    let gateway = setup.start();
    // The second ten find places that are free here and not there.
    for n in [20, 10] {
        let ids = all_watched(&platform, &gateway, n);
        for id in &ids {
            platform.act(id, "finish", json!({}));
        }
        for id in &ids {
            history.wait_filed(id, 1);
            gateway.wait_state(id, "finished");
        }
    }
    // Nobody asks it anything meanwhile.
    let (idle, before) = (Duration::from_secs(30), gateway.processor());
    std::thread::sleep(idle);
    let used = gateway.processor() - before;
    assert!(used < idle / 100, "{used:?} of a core in {idle:?}");
    let lines = gateway.lines().len();
    assert!(lines < 30, "{lines} lines");
    // Used again, or gone.
    for id in all_watched(&platform, &gateway, 20) {
        platform.act(&id, "finish", json!({}));
        history.wait_filed(&id, 1);
    }
    let model = platform.0.model();
    let ledger = model.platform().truth().ledger();
    assert!(ledger.over_limit > 0, "no channel was full: {ledger:?}");
    assert!(
        ledger.topics_most <= 10 && ledger.held_most <= 3,
        "{ledger:?}"
    );
    assert_eq!(ledger.evicted_connected, 0);
}
