//! The journal: few lines, each of use, none with a secret or with personal data.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::{History, Platform, Reply, Setup, http, wait_for};

/// Passes bytes on to `to` and keeps what comes back.
fn tap(to: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(&to).unwrap();
            let up = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let (mut from, mut to) = up;
                let _ = std::io::copy(&mut from, &mut to);
            });
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let (mut from, mut to) = (far, near);
                let mut block = [0; 4096];
                while let Ok(n @ 1..) = from.read(&mut block) {
                    shared.lock().unwrap().extend_from_slice(&block[..n]);
                    if to.write_all(&block[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (at, kept)
}

/// The level of a line with a timestamp.
fn level(line: &str) -> &str {
    line.split_whitespace().nth(1).unwrap_or_default()
}

const NOTES: &str = "the customer's cat is called Minka";

/// Wraps up so many conversations and waits until they are filed.
fn work(platform: &Platform, history: &History, gateway: &crate::support::Gateway, n: usize) {
    let ids: Vec<String> = (0..n).map(|_| platform.conversation()).collect();
    for id in &ids {
        let body = json!({"conversationId": id, "phone": "+15555550123"}).to_string();
        http::post_json(&gateway.interactions(), &body).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
        platform.act(id, "end", json!({}));
        platform.act(id, "wrap-up", json!({"code": "done", "notes": NOTES}));
    }
    for id in &ids {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
}

#[test]
fn a_start_a_busy_day_and_a_stop_are_a_handful_of_lines() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "");
    let mut gateway = setup.start();
    gateway.wait_ready();
    work(&platform, &history, &gateway, 60);
    assert_eq!(gateway.sigterm().0, 0);
    let lines = gateway.lines();
    assert!((4..=7).contains(&lines.len()), "{lines:#?}");
    assert!(lines.iter().all(|l| level(l) == "INFO"), "{lines:#?}");
    let effective: Vec<_> = lines
        .iter()
        .filter(|l| l.contains("configuration: "))
        .collect();
    assert_eq!(effective.len(), 1);
    for (key, value) in [
        ("store.path", "\"gateway.db\""),
        ("channels.max-channels", "20 (default)"),
        ("genesys.oauth.client-secret-file", "\"./client-secret\""),
    ] {
        let wanted = format!("{key} = {value}");
        assert!(
            effective[0].contains(&wanted),
            "{wanted} in {}",
            effective[0]
        );
    }
    assert!(!effective[0].contains(&platform.0.client_secret));
}

#[test]
fn whatever_the_level_no_library_prints_below_warnings_and_nothing_prints_a_secret() {
    let (platform, history) = (Platform::start(), History::start());
    let login = platform
        .0
        .login_url
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let (at, kept) = tap(login);
    for level_wanted in ["trace", "trace,tungstenite=trace,ureq=trace,rustls=trace"] {
        let mut setup = Setup::new(&platform, &history);
        setup.set("genesys", &format!("login-url = \"http://{at}\""));
        setup.write("intake-tokens", "a-token-of-a-caller-0123456789\n");
        setup.set(
            "history",
            "headers = { X-Api-Key = \"key-of-the-history-0123456789\" }",
        );
        setup.env("RUST_LOG", level_wanted);
        let mut gateway = setup.start();
        gateway.wait_ready();
        work(&platform, &history, &gateway, 3);
        platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
        work(&platform, &history, &gateway, 2);
        let channels: Vec<String> = platform.channels().into_iter().map(|c| c.id).collect();
        assert!(!channels.is_empty());
        assert_eq!(gateway.sigterm().0, 0);

        let answers = String::from_utf8_lossy(&kept.lock().unwrap()).into_owned();
        let tokens: Vec<&str> = answers
            .split("\"access_token\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(
            tokens.iter().any(|t| t.len() > 10),
            "the tap heard no token: {answers}"
        );
        let mut secrets = vec![
            platform.0.client_secret.as_str(),
            "key-of-the-history-0123456789",
            "/channels/",
        ];
        secrets.extend(&tokens);
        secrets.extend(channels.iter().map(String::as_str));
        for line in gateway.lines() {
            for secret in &secrets {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
            match level(&line) {
                "DEBUG" | "TRACE" => {
                    let target = line.split_whitespace().nth(2).unwrap();
                    assert!(target.starts_with("genesys_gateway"), "{line}");
                }
                "INFO" | "WARN" | "ERROR" => {
                    assert!(
                        !line.contains("Minka") && !line.contains("5550123"),
                        "{line}"
                    );
                }
                other => panic!("{other:?} is no level: {line}"),
            }
        }
    }
}

#[test]
fn what_the_outside_can_bring_about_is_said_a_few_times_and_names_what_it_concerns() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "info");
    let gateway = setup.start();
    gateway.wait_ready();
    // Records that the history manager refuses: an error each, because a person is needed.
    let ids: Vec<String> = (0..40).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    // Ten with one status would be an outage.
    for (some, status) in ids.chunks(8).zip([400, 404, 410, 413, 422]) {
        history.always(Reply::Status(status));
        for id in some {
            gateway.wait_state(id, "watching");
            platform.act(id, "end", json!({}));
            platform.act(id, "wrap-up", json!({"code": "done"}));
        }
        for id in some {
            gateway.wait_record(id, "dead");
        }
    }
    // Sockets that drop again and again.
    for _ in 0..4 {
        platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
        platform.wait_connected();
    }
    // And channels that are taken away: said, and made up for although nobody waits for a place.
    for _ in 0..3 {
        platform.fault(json!({"fault": "evict", "channel": "all"}));
        platform.wait_connected();
        // Taken away before it serves, its successor waits longer than this test does.
        gateway.wait_ready();
    }
    // Requests that are no HTTP.
    for _ in 0..50 {
        let at = gateway.intake.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"NONSENSE\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 64]);
    }
    wait_for("the refusals to be counted", || {
        let n = gateway.metric(
            "genesys_gateway_refused_requests_total{listener=\"http\",cause=\"not-clean\"}",
        );
        if n >= 50.0 { Ok(()) } else { Err(n) }
    });
    let lines = gateway.lines();
    let of = |label: &str| lines.iter().filter(|l| l.contains(label)).count();
    assert!((1..=10).contains(&of("record-dead: ")), "{lines:#?}");
    assert!((1..=10).contains(&of("channel-lost: ")), "{lines:#?}");
    assert!((1..=10).contains(&of("channel-evicted: ")), "{lines:#?}");
    assert!(lines.len() < 40, "{lines:#?}");
    for line in &lines {
        if line.contains("record-dead: ") {
            assert!(line.contains(" conversation="), "{line}");
        }
        if line.contains("channel-lost: ") || line.contains(" gap: ") {
            assert!(line.contains(" channel="), "{line}");
        }
    }
}
