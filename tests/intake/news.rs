//! News of conversations: told at once or as soon as there is any, to whoever may read them; the
//! request waits aside and gives its place back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use base::ids::RecordId;
use serde_json::{Value, json};

use super::*;

const API: (&str, &str) = ("Authorization", "Bearer t");

struct Press {
    house: House,
    board: Arc<Board>,
}

impl Press {
    fn new() -> Press {
        let board = Arc::new(Board::default());
        let house = house(With {
            tokens: &["t"],
            desktop: desktop(Some(Duration::from_secs(600)), &board),
            ..With::default()
        });
        Press { house, board }
    }

    /// An interaction with a record of that state.
    fn put(&self, id: &str, state: &str) {
        let record: RecordId = "00000000-0000-4000-8000-000000000007".parse().unwrap();
        let mut view = record_view(record, state);
        view.conversation = Some(id.parse().unwrap());
        view.body = Some(
            json!({"userId": "u-1", "participantId": "p-1", "wrapupCode": "c-1",
                   "wrapupDurationMs": 1500, "wrapupNotes": "personal"})
            .to_string(),
        );
        self.house.port.put_record(view.clone());
        view.body = None;
        self.house.port.put_interaction(InteractionView {
            conversation: id.parse().unwrap(),
            state: "settling".into(),
            accepted_at: ACCEPTED_AT,
            watched_since: Some(ACCEPTED_AT),
            finished_at: None,
            reason: None,
            members: Some("{\"secret\":1}".into()),
            records: vec![view],
        });
        self.board.changed([id.parse().unwrap()]);
    }

    fn ask(&self, query: &str) -> Value {
        let path = format!("{NEWS}?{query}");
        let got = call(self.house.address, "GET", &path, &[API], b"");
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.header("cache-control"), Some("no-store"));
        got.json()
    }

    fn begin(&self, query: &str) -> TcpStream {
        let mut s = connect(self.house.address);
        let path = format!("{NEWS}?{query}");
        s.write_all(&request("GET", &path, &[API], b"")).unwrap();
        s
    }

    fn open(&self) -> usize {
        self.house.served().counts().open
    }

    fn wait_open(&self, many: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.open() != many {
            assert!(
                Instant::now() < deadline,
                "{} open, not {many}",
                self.open()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn without_a_cursor_everything_is_told_at_once_and_with_one_what_has_changed() {
    let press = Press::new();
    press.put(ID, "delivered");
    let told = press.ask(&format!("ids={ID},{OTHER_ID}"));
    assert_eq!(told["pauseMs"], 0);
    let all = told["conversations"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["state"], "settling");
    assert!(all[0].get("interaction").is_none(), "{told}");
    let record = &all[0]["records"][0];
    assert_eq!(record["state"], "delivered");
    for (name, value) in [
        ("userId", json!("u-1")),
        ("participantId", json!("p-1")),
        ("wrapupCode", json!("c-1")),
        ("wrapupDurationMs", json!(1500)),
    ] {
        assert_eq!(record[name], value, "{name}");
    }
    assert!(!told.to_string().contains("personal"), "{told}");
    assert_eq!(
        all[1],
        json!({"conversationId": OTHER_ID, "state": "unknown"})
    );
    // As reports read it, without what the platform said.
    let path = format!("{INTERACTIONS}/{ID}");
    let got = call(press.house.address, "GET", &path, &[API], b"");
    assert!(got.json()["records"][0].get("userId").is_none());
    // Only what has changed.
    let cursor = told["cursor"].as_str().unwrap().to_owned();
    press.put(OTHER_ID, "queued");
    let told = press.ask(&format!("ids={ID}%2C{OTHER_ID}&since={cursor}"));
    let all = told["conversations"].as_array().unwrap();
    assert_eq!(
        (all.len(), &all[0]["conversationId"]),
        (1, &json!(OTHER_ID))
    );
    // A cursor of another run is none.
    let told = press.ask(&format!("ids={ID}&since=0123456789abcdef-7"));
    assert_eq!(told["conversations"].as_array().unwrap().len(), 1);
}

#[test]
fn a_request_waits_until_there_is_news_and_is_answered_within_a_second_of_it() {
    let press = Press::new();
    press.put(ID, "queued");
    let cursor = press.ask(&format!("ids={ID}"))["cursor"].clone();
    let query = format!("ids={ID},{OTHER_ID}&since={}", cursor.as_str().unwrap());
    let mut waiting = press.begin(&query);
    // News of others are none, and it does not wait for a worker.
    press
        .board
        .changed(["7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c49".parse().unwrap()]);
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "there is no news");
    waiting.set_read_timeout(Some(client::PATIENCE)).unwrap();
    let began = Instant::now();
    press.put(ID, "delivered");
    let got = read_answer(&mut waiting, false);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        got.json()["conversations"][0]["records"][0]["state"],
        "delivered"
    );
    assert_eq!(got.header("connection"), None, "the connection goes on");
    // On the same connection, with the cursor that it gave.
    let next = format!(
        "{NEWS}?ids={ID}&since={}",
        got.json()["cursor"].as_str().unwrap()
    );
    waiting
        .write_all(&request("GET", &next, &[API], b""))
        .unwrap();
    press.put(ID, "dead");
    let got = read_answer(&mut waiting, false);
    assert_eq!(
        got.json()["conversations"][0]["records"][0]["state"],
        "dead"
    );
}

#[test]
fn a_request_without_news_is_answered_after_twenty_five_seconds_with_none() {
    let press = Press::new();
    press.put(ID, "queued");
    let cursor = press.ask(&format!("ids={ID}"))["cursor"].clone();
    let query = format!("ids={ID}&since={}", cursor.as_str().unwrap());
    let began = Instant::now();
    let mut waiting = press.begin(&query);
    waiting
        .set_read_timeout(Some(Duration::from_secs(40)))
        .unwrap();
    let got = read_answer(&mut waiting, false);
    let took = began.elapsed();
    assert!((24..35).contains(&took.as_secs()), "{took:?}");
    let told = got.json();
    assert_eq!(
        (&told["conversations"], &told["pauseMs"]),
        (&json!([]), &json!(0))
    );
    assert_eq!(
        press.ask(&format!("ids={ID}&since=x"))["cursor"],
        told["cursor"]
    );
}

#[test]
fn beyond_the_places_a_request_is_answered_at_once_and_who_goes_away_frees_one() {
    let press = Press::new();
    press.put(ID, "queued");
    let cursor = press.ask(&format!("ids={ID}"))["cursor"].clone();
    let query = format!("ids={ID}&since={}", cursor.as_str().unwrap());
    press.wait_open(0);
    // Of the 16 places one peer has 14.
    let mut waiting: Vec<_> = (0..14).map(|_| press.begin(&query)).collect();
    press.wait_open(14);
    let told = press.ask(&query);
    assert_eq!(
        (&told["conversations"], &told["pauseMs"]),
        (&json!([]), &json!(2000))
    );
    // Callers have their seats all the same.
    for _ in 0..3 {
        let got = call(
            press.house.address,
            "POST",
            INTERACTIONS,
            &[JSON, API],
            with_id("").as_bytes(),
        );
        assert!(got.status < 300, "{got:?}");
    }
    press.wait_open(14);
    drop(waiting.pop());
    press.wait_open(13);
    waiting.push(press.begin(&query));
    press.wait_open(14);
    press.put(ID, "delivered");
    for mut one in waiting {
        let got = read_answer(&mut one, false);
        assert_eq!(got.json()["conversations"].as_array().unwrap().len(), 1);
    }
    press.wait_open(0);
}

#[test]
fn a_stop_answers_who_waits_at_once() {
    let press = Press::new();
    press.put(ID, "queued");
    let cursor = press.ask(&format!("ids={ID}"))["cursor"].clone();
    let query = format!("ids={ID}&since={}", cursor.as_str().unwrap());
    press.wait_open(0);
    let mut waiting = press.begin(&query);
    press.wait_open(1);
    let began = Instant::now();
    let Press { house, .. } = press;
    assert_eq!(house.stop(), 0, "nobody is left behind");
    assert!(began.elapsed() < Duration::from_secs(2));
    let got = read_answer(&mut waiting, false);
    assert_eq!((got.status, &got.json()["pauseMs"]), (200, &json!(2000)));
    assert_eq!(got.header("connection"), Some("close"));
}

#[test]
fn of_conversations_that_a_page_did_not_report_nothing_is_told() {
    let press = Press::new();
    press.put(ID, "queued");
    press.put(OTHER_ID, "queued");
    let same = ("Sec-Fetch-Site", "same-origin");
    let got = call(press.house.address, "POST", TOKEN, &[same], b"");
    let bearer = format!("Bearer {}", got.json()["token"].as_str().unwrap());
    let page = ("Authorization", bearer.as_str());
    let reported = call(
        press.house.address,
        "POST",
        INTERACTIONS,
        &[JSON, page],
        with_id("").as_bytes(),
    );
    assert_eq!(reported.status, 200);
    let path = format!("{NEWS}?ids={ID},{OTHER_ID}");
    let told = call(press.house.address, "GET", &path, &[page], b"").json();
    assert_eq!(told["conversations"][0]["state"], "settling");
    assert_eq!(
        told["conversations"][1],
        json!({"conversationId": OTHER_ID, "state": "unknown"})
    );
    let cursor = told["cursor"].as_str().unwrap();
    // A page that goes on with a cursor hears that, too, and at once: nothing else would come.
    let both = call(
        press.house.address,
        "GET",
        &format!("{path}&since={cursor}"),
        &[page],
        b"",
    );
    let both = both.json();
    assert_eq!(
        both["conversations"],
        json!([{"conversationId": OTHER_ID, "state": "unknown"}])
    );
    assert!(both["pauseMs"].as_u64() > Some(0), "{both}");
    let mut s = connect(press.house.address);
    let path = format!("{NEWS}?ids={ID}&since={cursor}");
    s.write_all(&request("GET", &path, &[page], b"")).unwrap();
    press.put(OTHER_ID, "dead");
    s.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(s.read(&mut [0]).is_err(), "not even that it has changed");
    s.set_read_timeout(Some(client::PATIENCE)).unwrap();
    press.put(ID, "delivered");
    let told = read_answer(&mut s, false).json();
    assert_eq!(told["conversations"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn requests_for_news_that_make_no_sense_are_refused() {
    let press = Press::new();
    let many: Vec<_> = (0..51)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .collect();
    for query in [
        "",
        "?ids=",
        "?ids=x",
        "?since=x",
        &format!("?ids={}", many.join(",")),
    ] {
        let path = format!("{NEWS}{query}");
        let got = call(press.house.address, "GET", &path, &[API], b"");
        assert_eq!(got.status, 400, "{query}");
        assert!(got.text().contains("bad-ids"));
    }
    let got = call(press.house.address, "POST", NEWS, &[API], b"");
    assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")));
    press.house.port.unreadable.store(true, Ordering::Relaxed);
    let path = format!("{NEWS}?ids={ID}");
    let got = call(press.house.address, "GET", &path, &[API], b"");
    assert_eq!(got.status, 503);
}
