//! The log's way out: a reader that has stopped, words that nobody knows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, History, Platform, Setup, http, wait_within};

const LOST: &str = "genesys_gateway_log_lines_dropped_total";

/// Requests that are refused, each with a line at debug level.
fn babble(gateway: &Gateway, n: usize) {
    let at = gateway.intake.trim_start_matches("http://");
    for _ in 0..n {
        let mut stream = TcpStream::connect(at).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 4"));
    }
}

#[test]
fn a_stderr_that_nobody_reads_holds_neither_callers_nor_records_nor_the_end() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "trace");
    let mut gateway = setup.start();
    let log = gateway.reader();
    let held = log.lock().unwrap();
    wait_within(Duration::from_secs(60), "log lines to be dropped", || {
        babble(&gateway, 100);
        let lost = gateway.metric(LOST);
        if lost > 0.0 { Ok(()) } else { Err(lost) }
    });
    // The loop has things to say about these.
    let ids: Vec<String> = (0..5).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
        platform.act(id, "end", json!({}));
        platform.act(id, "wrap-up", json!({"code": "done", "notes": "n"}));
    }
    for id in &ids {
        gateway.wait_record(id, "delivered");
    }
    assert_eq!(
        http::get(&format!("{}/healthz", gateway.operators)).status,
        200
    );
    // Read again, the log says how many are missing.
    drop(held);
    gateway.wait_log("log lines were not written");
    // And once more, for the end.
    let held = log.lock().unwrap();
    babble(&gateway, 1500);
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(held);
}

#[test]
fn an_unknown_word_in_rust_log_silences_nothing_and_is_said() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    for word in ["verbose", "warning", "genesys_gateway=loud", "info,hyper"] {
        setup.env("RUST_LOG", word);
        let mut gateway = setup.start();
        gateway.wait_log("RUST_LOG: ");
        assert_eq!(gateway.sigterm().0, 0);
        gateway.wait_log("stopped; ");
    }
}
