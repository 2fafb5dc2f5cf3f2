//! What callers and load balancers put on the wire, byte by byte: bodies in chunks, HTTP/1.0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{History, Platform, Setup, all, wait_for};

fn dial(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// The whole answer to these bytes, until the connection is closed.
fn tell(url: &str, bytes: &str) -> String {
    let mut stream = dial(url);
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    word.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

fn head(path: &str, fields: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\n{fields}\r\n"
    )
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn bodies_in_chunks_are_taken_however_they_are_cut_and_filed_as_they_are() {
    let (platform, history, _setup, gateway) = all();
    for (n, fields) in [
        CHUNKED,
        "transfer-encoding: CHUNKED\r\n",
        "Transfer-Encoding:chunked\r\nExpect: 100-continue\r\n",
        "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let id = platform.conversation();
        let body = json!({"conversationId": id, "name": "Kunde ü", "n": n}).to_string();
        let mut chunks = Vec::new();
        // Pieces may end in the middle of a character.
        for (k, piece) in body.as_bytes().chunks(7).enumerate() {
            let extension = if k % 2 == 0 { ";a=b" } else { "" };
            let size = format!("{:X}{extension}\r\n", piece.len());
            chunks.extend([size.as_bytes(), piece, b"\r\n"].concat());
        }
        let trailer = if n == 3 { "X-Sum: 1\r\n" } else { "" };
        chunks.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        let mut stream = dial(&gateway.intake);
        let head = head("/customers/supportInteraction", fields);
        stream.write_all(head.as_bytes()).unwrap();
        for few in chunks.chunks(5) {
            stream.write_all(few).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let last = answer.rsplit("HTTP/1.1 ").next().unwrap_or_default();
        assert!(last.starts_with("202"), "{fields}: {answer}");
        gateway.wait_state(&id, "watching");
        platform.act(&id, "finish", json!({}));
        let filed = history.wait_filed(&id, 1).remove(0).json();
        assert_eq!(filed["interaction"], json!({"name": "Kunde ü", "n": n}));
    }
}

#[test]
fn framing_that_two_readers_may_read_differently_is_refused_and_changes_nothing() {
    let (platform, history, _setup, gateway) = all();
    let path = "/customers/supportResult";
    let body = "{\"text\":\"smuggled\"}";
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (fields, body) in [
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            chunks.as_str(),
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", &chunks),
        ("Transfer-Encoding: gzip, chunked\r\n", &chunks),
        ("Transfer-Encoding: xchunked\r\n", &chunks),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            &chunks,
        ),
        (CHUNKED, "-5\r\n"),
        (CHUNKED, "5 \n12345\n0\n\n"),
        (CHUNKED, "0x5\r\n12345\r\n0\r\n\r\n"),
        (CHUNKED, "fffffffffffffffff\r\n"),
        (CHUNKED, "10001\r\n"),
        ("", ""),
    ] {
        let answer = tell(&gateway.intake, &format!("{}{body}", head(path, fields)));
        let got = status(&answer);
        assert!(
            [400, 411, 413, 501].contains(&got),
            "{fields:?} {body:?}: {answer}"
        );
        if fields.is_empty() {
            assert_eq!(got, 411);
        }
        if body == "10001\r\n" {
            assert_eq!(got, 413);
        }
    }
    // What follows a refused body is never a request.
    let two = "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n";
    let next = format!(
        "{}{body}",
        head(path, &format!("Content-Length: {}\r\n", body.len()))
    );
    let answer = tell(&gateway.intake, &format!("{}{next}", head(path, two)));
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    assert!(history.receipts().is_empty());
}

#[test]
fn load_balancers_may_ask_for_health_in_http_1_0_without_a_host_and_nothing_else() {
    let (platform, history) = (Platform::start(), History::start());
    let gateway = Setup::new(&platform, &history).start();
    gateway.wait_ready();
    for request in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /readyz HTTP/1.0\r\n\r\n",
        "HEAD /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.0\r\nUser-Agent: balancer\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        wait_for("200", || match status(&tell(&gateway.operators, request)) {
            200 => Ok(()),
            other => Err(format!("{other} for {request:?}")),
        });
    }
    for request in [
        "GET /status HTTP/1.0\r\n\r\n",
        "GET /metrics HTTP/1.0\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n",
    ] {
        let answer = tell(&gateway.operators, request);
        assert_eq!(status(&answer), 403, "{request:?}");
    }
}
