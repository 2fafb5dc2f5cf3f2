//! Somebody with a token names conversations that do not exist, more than there are places:
//! those that exist have their places all the same, within two minutes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Gateway, History, Platform, Setup, wait_within};

const PLACES: usize = 20;
const SOON: Duration = Duration::from_secs(120);

fn invent(gateway: &Gateway, from: usize, many: usize) {
    for n in from..from + many {
        let id = format!("00000000-0000-4000-8000-{n:012x}");
        gateway.accept(&id).expect(202);
    }
}

#[test]
fn invented_ids_give_their_places_to_conversations_that_exist_within_two_minutes() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("channels", "max-channels = 1");
    setup.set("channels", &format!("topics-per-channel = {PLACES}"));
    let gateway = setup.start();
    invent(&gateway, 1, PLACES + PLACES / 4);
    wait_within(SOON, "every place to be taken", || {
        let live = gateway.status()["topics"]["live"].as_u64().unwrap();
        if live == PLACES as u64 {
            Ok(())
        } else {
            Err(gateway.status()["topics"].to_string())
        }
    });
    let began = Instant::now();
    let good: Vec<String> = (0..3).map(|_| platform.conversation()).collect();
    for id in &good {
        gateway.accept(id).expect(202);
    }
    // The flood goes on meanwhile.
    invent(&gateway, 1000, 10);
    for id in &good {
        wait_within(SOON, "a place", || {
            match gateway.interaction(id)["state"].as_str() {
                Some("watching") => Ok(()),
                _ => Err(gateway.status()["topics"].to_string()),
            }
        });
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for id in &good {
        platform.act(id, "finish", json!({}));
        history.wait_filed(id, 1);
    }
    assert_eq!(platform.channels_created(), 1);
    assert!(gateway.log().contains("places-short"));
    let status = gateway.status();
    assert!(status["topics"]["gaveWay"].as_u64() > Some(0), "{status}");
    let reasons = status["reasons"].to_string();
    assert!(reasons.contains("gave theirs to others"), "{reasons}");
}
