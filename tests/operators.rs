//! Guards the operators' listener (design, section 3) over real sockets, with the
//! port in memory: what it shows, the acts on records, and who is kept out.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "listeners/client.rs"]
mod client;
#[path = "listeners/memory_port.rs"]
mod memory_port;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::ids::RecordId;
use base::secret::Secret;
use client::{Got, PATIENCE, call, raw, read_answer, request};
use genesys_gateway::shell::http::assets::{Asset, Pages};
use genesys_gateway::shell::http::auth::Tokens;
use genesys_gateway::shell::http::served::Served;
use genesys_gateway::shell::operators::{self, OperatorsSettings};
use genesys_gateway::shell::port::Act;
use memory_port::{MemoryPort, record_view};

static ASSETS: [Asset; 1] = [Asset {
    path: "/",
    content_type: "text/html; charset=utf-8",
    body: b"<!doctype html><title>status</title>",
}];

const STATES: [&str; 6] = [
    "queued",
    "delivered",
    "deferred",
    "dead",
    "held",
    "discarded",
];

struct House {
    address: SocketAddr,
    port: Arc<MemoryPort>,
    _served: Served,
}

fn house(token: Option<&str>) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = Arc::new(MemoryPort::default());
    for (n, state) in STATES.into_iter().enumerate() {
        port.put_record(record_view(record(n), state));
    }
    let settings = OperatorsSettings {
        listener: listener.into(),
        tokens: token.map(|t| Tokens::new(&[Secret::new(t)])),
        pages: Pages::new(&ASSETS, Vec::new(), String::new()),
        private_parent: None,
    };
    House {
        address,
        port: Arc::clone(&port),
        _served: operators::start(settings, port).unwrap(),
    }
}

fn record(n: usize) -> RecordId {
    format!("00000000-0000-4000-8000-{n:012}").parse().unwrap()
}

impl House {
    fn get(&self, path: &str) -> Got {
        call(self.address, "GET", path, &[], b"")
    }

    fn act(&self, n: usize, act: Act) -> Got {
        let path = format!("/records/{}/{}", record(n), act.label());
        call(self.address, "POST", &path, &[], b"")
    }
}

#[test]
fn health_and_readiness_are_answered_without_a_host_and_nothing_else_is() {
    let house = house(None);
    for path in ["/healthz", "/readyz"] {
        for method in ["GET", "HEAD"] {
            for version in ["1.0", "1.1"] {
                for host in ["", "Host:\r\n", "Host: \r\n"] {
                    let text = format!(
                        "{method} {path} HTTP/{version}\r\n{host}Connection: close\r\n\r\n"
                    );
                    let got = raw(house.address, text.as_bytes());
                    assert_eq!(got.status, 200, "{text}");
                }
            }
        }
        let foreign = format!("GET {path} HTTP/1.0\r\nHost: gateway.example\r\n\r\n");
        assert_eq!(raw(house.address, foreign.as_bytes()).status, 403);
        for method in ["OPTIONS", "POST", "DELETE"] {
            let text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
            let got = raw(house.address, text.as_bytes());
            assert_eq!(
                (got.status, got.header("allow")),
                (405, Some("GET, HEAD")),
                "{text}"
            );
        }
    }
    for (line, status) in [
        ("GET /status HTTP/1.0", 403),
        ("GET /status HTTP/1.1", 400),
        ("GET /status HTTP/1.1\r\nHost:", 403),
        ("GET /status HTTP/1.0\r\nHost: ", 403),
        ("OPTIONS /status HTTP/1.0", 403),
        ("GET /healthz/ HTTP/1.0", 403),
        ("GET / HTTP/1.0", 403),
    ] {
        let got = raw(house.address, format!("{line}\r\n\r\n").as_bytes());
        assert_eq!(got.status, status, "{line}");
    }
}

#[test]
fn what_there_is_to_see_is_shown() {
    let house = house(None);
    assert_eq!(house.get("/healthz").json()["ok"], true);
    assert_eq!(house.get("/readyz").json()["ok"], true);
    assert_eq!(house.get("/status").json()["verdict"], "good");
    assert_eq!(house.get("/").body, ASSETS[0].body);
    let metrics = house.get("/metrics");
    assert!(metrics.text().contains("genesys_gateway_topics 0"));
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    house.port.sick.store(true, Ordering::Relaxed);
    for path in ["/healthz", "/readyz"] {
        let got = house.get(path);
        assert_eq!(got.status, 503);
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        let said = got.json();
        assert_eq!(
            (&said["ok"], &said["reasons"]),
            (&false.into(), &vec!["the store does not commit"].into())
        );
        assert_eq!(
            (&said["status"], &said["detail"]),
            (&503.into(), &"the store does not commit".into())
        );
        assert!(said["type"].is_string() && said["title"].is_string());
    }
    for path in [
        "/healthz", "/readyz", "/metrics", "/status", "/", "/records",
    ] {
        let head = call(house.address, "HEAD", path, &[], b"");
        assert_eq!(head.status, house.get(path).status, "{path}");
        assert_ne!(head.header("content-length"), Some("0"));
    }
}

#[test]
fn records_are_listed_by_state_and_shown_one_by_one() {
    let house = house(None);
    let all = house.get("/records").json();
    assert_eq!(all["records"].as_array().unwrap().len(), STATES.len());
    assert!(
        !all.to_string().contains("personal"),
        "lists hold no bodies"
    );
    for (n, state) in STATES.into_iter().enumerate() {
        let list = house.get(&format!("/records?state={state}")).json();
        assert_eq!(list["records"].as_array().unwrap().len(), 1);
        assert_eq!(list["records"][0]["recordId"], record(n).to_string());
        let one = house.get(&format!("/records/{}", record(n))).json();
        assert_eq!(one["state"], state);
        assert_eq!(one["kind"], "after-call-work");
        assert_eq!(one["body"]["note"], "personal");
    }
    let two = house.get("/records?limit=2").json();
    assert_eq!(two["records"].as_array().unwrap().len(), 2);
    for bad in ["state=lost", "limit=0", "limit=x", "limit=1000000"] {
        assert_eq!(house.get(&format!("/records?{bad}")).status, 400, "{bad}");
    }
    for nowhere in [
        "/records/x",
        &format!("/records/{}", record(99)),
        "/records/",
        "/x",
    ] {
        assert_eq!(house.get(nowhere).status, 404, "{nowhere}");
    }
    house.port.unreadable.store(true, Ordering::Relaxed);
    assert_eq!(house.get("/records").status, 503);
}

#[test]
fn acts_go_from_the_states_of_the_contract_and_from_no_other() {
    for act in Act::ALL.iter().copied() {
        let from: &[&str] = match act {
            Act::Retry => &["deferred", "dead", "held"],
            Act::Hold => &["queued", "deferred"],
            Act::Release => &["held"],
            Act::Discard => &["queued", "deferred", "dead", "held"],
        };
        let house = house(None);
        for (n, state) in STATES.into_iter().enumerate() {
            let before = house.port.snapshot();
            let got = house.act(n, act);
            let body = got.json();
            if from.contains(&state) {
                assert_eq!(got.status, 200, "{act:?} {state}");
                assert_eq!(body["recordId"], record(n).to_string());
                assert_eq!(
                    (&body["attempts"], body["lastError"].as_str()),
                    (&2.into(), Some("503 \"down\""))
                );
                assert_ne!(body["state"], state);
                // The whole record, but for its content.
                let seen = house.get(&format!("/records/{}", record(n))).json();
                for member in ["kind", "source", "eventTime", "receivedAt"] {
                    assert_eq!(body[member], seen[member], "{member}");
                    assert!(body[member].is_string(), "{member}");
                }
                assert!(body.get("body").is_none());
            } else {
                assert_eq!(got.status, 409, "{act:?} {state}");
                assert!(body["detail"].as_str().unwrap().contains(state));
                assert_eq!(house.port.snapshot(), before);
            }
        }
        assert_eq!(house.act(99, act).status, 404);
    }
    let house = house(None);
    house.port.busy.store(true, Ordering::Relaxed);
    let got = house.act(2, Act::Retry);
    assert_eq!((got.status, got.header("retry-after")), (503, Some("3")));
    let path = format!("/records/{}/burn", record(0));
    assert_eq!(call(house.address, "POST", &path, &[], b"").status, 404);
}

#[test]
fn an_act_needs_no_declared_length() {
    let house = house(None);
    let text = format!(
        "POST /records/{}/hold HTTP/1.1\r\nHost: localhost\r\n\r\n",
        record(0)
    );
    assert_eq!(raw(house.address, text.as_bytes()).status, 200);
}

#[test]
fn other_methods_are_refused_with_the_right_ones() {
    let house = house(None);
    let before = house.port.snapshot();
    let act = format!("/records/{}/discard", record(0));
    for path in [
        "/healthz", "/readyz", "/metrics", "/status", "/", "/records", &act,
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let allowed = if path == act { "POST" } else { "GET, HEAD" };
            let got = call(house.address, method, path, &[], b"");
            if allowed.contains(method) {
                continue;
            }
            assert_eq!(got.status, 405, "{method} {path}");
            assert_eq!(got.header("allow"), Some(allowed), "{method} {path}");
        }
    }
    let before = before.replace("\"queued\"", "\"discarded\"");
    assert_eq!(house.port.snapshot(), before, "only the POST acted");
}

#[test]
fn a_token_is_asked_for_where_one_is_configured() {
    let house = house(Some("t"));
    let before = house.port.snapshot();
    // The page itself holds nothing, and asks for the token.
    assert_eq!(house.get("/").status, 200);
    for path in ["/healthz", "/metrics", "/status", "/records"] {
        let got = house.get(path);
        assert_eq!(got.status, 401, "{path}");
        assert!(got.header("www-authenticate").is_some());
        let headers = [("Authorization", "Bearer t"), ("Host", "gateway.example")];
        assert_eq!(call(house.address, "GET", path, &headers, b"").status, 200);
    }
    assert_eq!(house.act(0, Act::Hold).status, 401);
    assert_eq!(house.port.snapshot(), before);
}

#[test]
fn strangers_pages_neither_see_nor_act_through_a_browser_on_this_machine() {
    let house = house(None);
    let before = house.port.snapshot();
    let own = format!("127.0.0.1:{}", house.address.port());
    let origin = format!("http://{own}");
    // A name made to point to this machine.
    for host in [
        "evil.example",
        "localhost.evil.example",
        "10.1.2.3",
        "localhost:evil.example",
        "localhost:80:evil.example",
        "127.0.0.1:80:evil",
        "127.0.0.1:99999",
        "[::1]:evil",
        "[127.0.0.1]:80",
    ] {
        let got = call(house.address, "GET", "/status", &[("Host", host)], b"");
        assert_eq!(got.status, 403, "{host}");
    }
    let act = format!("/records/{}/hold", record(0));
    for headers in [
        [("Host", own.as_str()), ("Origin", "https://evil.example")],
        [("Host", own.as_str()), ("Origin", "null")],
        [("Host", own.as_str()), ("Origin", "http://127.0.0.1:1")],
        [("Host", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
        [("Host", own.as_str()), ("Sec-Fetch-Site", "same-site")],
        [("Host", "evil.example"), ("Origin", "http://evil.example")],
    ] {
        let got = call(house.address, "POST", &act, &headers, b"");
        assert_eq!(got.status, 403, "{headers:?}");
    }
    assert_eq!(house.port.snapshot(), before);
    let headers = [
        ("Host", own.as_str()),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    assert_eq!(call(house.address, "POST", &act, &headers, b"").status, 200);
}

#[test]
fn a_unix_socket_needs_neither_token_nor_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("status.sock");
    let settings = OperatorsSettings {
        listener: UnixListener::bind(&path).unwrap().into(),
        tokens: None,
        pages: Pages::new(&ASSETS, Vec::new(), String::new()),
        private_parent: Some(directory.path().to_owned()),
    };
    let served = operators::start(settings, Arc::new(MemoryPort::default())).unwrap();
    let mut s = UnixStream::connect(&path).unwrap();
    s.set_read_timeout(Some(PATIENCE)).unwrap();
    s.write_all(&request("GET", "/status", &[("Host", "gateway")], b""))
        .unwrap();
    assert_eq!(read_answer(&mut s, false).status, 200);
    drop(s);
    assert_eq!(served.stop(PATIENCE), 0);
    let left: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["status.sock"], "the private directory is gone");
}
