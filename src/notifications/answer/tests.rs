use std::time::{Duration, Instant};

use super::super::rest::{Body, HttpSettings, agent, perform};
use super::super::stub::{Stub, Then};
use super::super::tls::Trust;
use base::wire::{NoAnswer, Request, Response};

fn client() -> ureq::Agent {
    agent(&HttpSettings {
        trust: Trust::Only(Vec::new()),
        identity: None,
        proxy: None,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        threads: 1,
    })
}

fn post(stub: &Stub) -> Request {
    Request {
        method: "POST",
        url: format!("http://127.0.0.1:{}/x", stub.port),
        headers: vec![],
        body: b"{}".to_vec(),
    }
}

/// Answers every request with these bytes, and keeps the connection.
fn saying(bytes: &[u8], then: fn() -> Then) -> Stub {
    let bytes = bytes.to_vec();
    Stub::start(move |_, stream| {
        stream.write_all(&bytes).unwrap();
        then()
    })
}

/// Two exchanges with one client: the second answer, and over how many connections.
fn twice(bytes: &[u8], then: fn() -> Then, body: Body) -> (Result<Response, NoAnswer>, usize) {
    let stub = saying(bytes, then);
    let client = client();
    let first = perform(&client, &post(&stub), body);
    let second = perform(&client, &post(&stub), body);
    assert_eq!(first.map(|r| r.status), second.clone().map(|r| r.status));
    let used = stub.got().iter().map(|g| g.connection).max().unwrap() + 1;
    assert_eq!(stub.got().len(), 2, "sent once each");
    (second, used)
}

const KEEP: fn() -> Then = || Then::Keep;
const CLOSE: fn() -> Then = || Then::Close;

#[test]
fn the_status_line_decides_whatever_follows_it() {
    let many: String = (0..300).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(60_000));
    let odd: Vec<(String, &str)> = vec![
        ("HTTP/1.1 100 Continue\r\nDate: now\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "100 with fields"),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "several interim"),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "101"),
        ("HTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\n\tmore\r\nContent-Length: 2\r\n\r\nok".into(), "folded"),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok".into(), "folded length"),
        ("HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length : 2\r\n\r\nok".into(), "blank before the colon"),
        ("HTTP/1.1 200 OK\r\nX-A: a\u{1}b\r\nX-B: \u{0}\r\nContent-Length: 2\r\n\r\nok".into(), "controls"),
        ("HTTP/1.1 200 OK\r\nno colon at all\r\n: nameless\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok".into(), "no fields"),
        (format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok"), "300 fields"),
        (format!("HTTP/1.1 200 OK\r\n{long}Content-Length: 2\r\n\r\nok"), "a long field"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok".into(), "no reason"),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok".into(), "an empty reason"),
        ("HTTP/1.1 200 Sch\u{f6}n\r\nContent-Length: 2\r\n\r\nok".into(), "a reason not in ASCII"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok".into(), "LF alone"),
        ("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "empty lines before"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "HTTP/1.0"),
        ("HTTP/2 200\r\nContent-Length: 2\r\n\r\nok".into(), "HTTP/2 in words"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into(), "both framings"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".into(), "twice the same length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and much more".into(), "more than announced"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok".into(), "a body that may not be"),
    ];
    for (text, what) in odd {
        let (answer, used) = twice(text.as_bytes(), KEEP, Body::Start(1000));
        let status = if text.starts_with("HTTP/1.1 204") {
            204
        } else {
            200
        };
        assert_eq!(answer.map(|r| r.status), Ok(status), "{what}");
        let clean = [
            "100 with fields",
            "several interim",
            "no reason",
            "an empty reason",
            "a reason not in ASCII",
            "300 fields",
            "a long field",
        ];
        assert_eq!(used, if clean.contains(&what) { 1 } else { 2 }, "{what}");
    }
}

#[test]
fn a_length_that_is_none_is_no_answer_lost_and_soon_over() {
    for length in [
        "abc",
        "-1",
        "+2",
        "0x2",
        "",
        "2, 3",
        "99999999999999999999",
        "2 2",
        "2\u{1}",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok");
        let began = Instant::now();
        let (answer, used) = twice(text.as_bytes(), KEEP, Body::Whole(1000));
        assert_eq!(answer.map(|r| r.body), Ok(b"ok".to_vec()), "{length}");
        assert_eq!(used, 2, "{length}");
        assert!(began.elapsed() < Duration::from_secs(4), "{length}");
    }
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\nok");
        let (answer, used) = twice(text.as_bytes(), KEEP, Body::Start(1000));
        assert_eq!((answer.map(|r| r.status), used), (Ok(200), 2), "{coding}");
    }
}

#[test]
fn a_body_that_is_cut_off_or_never_ends_changes_no_status_and_keeps_nobody() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Cut",
        "HTTP/1.1 200 OK\r\n",
    ] {
        let (answer, _) = twice(text.as_bytes(), CLOSE, Body::Start(1000));
        assert_eq!(answer.map(|r| r.status), Ok(200), "{text}");
    }
    // Silence instead of the rest.
    let began = Instant::now();
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
    let (answer, used) = twice(text, KEEP, Body::Start(1000));
    assert_eq!((answer.map(|r| r.status), used), (Ok(200), 2));
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn fields_that_are_read_are_there_behind_however_many_others() {
    let many: String = (0..500)
        .map(|n| format!("X-{n}: {}\r\n", "y".repeat(90)))
        .collect();
    let text = format!("HTTP/1.1 503 X\r\n{many}Retry-After: 77\r\nContent-Length: 0\r\n\r\n");
    let (answer, used) = twice(text.as_bytes(), KEEP, Body::Start(1000));
    let answer = answer.unwrap();
    assert_eq!((answer.status, used), (503, 1));
    assert_eq!(answer.header("Retry-After"), Some("77"));
}

#[test]
fn what_is_no_http_is_no_answer() {
    for text in [
        "SSH-2.0-OpenSSH\r\n",
        "<html>",
        "HTTP/x 200\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
    ] {
        let (answer, _) = twice(text.as_bytes(), KEEP, Body::Start(1000));
        assert_eq!(answer, Err(NoAnswer::Garbled), "{text}");
    }
    for text in ["", "HTT", "HTTP/1.1 20", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (answer, _) = twice(text.as_bytes(), CLOSE, Body::Start(1000));
        assert_eq!(answer, Err(NoAnswer::Unknown), "{text}");
    }
}

#[test]
fn endless_heads_end() {
    let stub = Stub::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream
            .write_all(b"X-More: and more and more and more\r\n")
            .is_ok()
        {}
        Then::Close
    });
    let answer = perform(&client(), &post(&stub), Body::Start(1000));
    assert_eq!(answer.map(|r| r.status), Ok(200));
    let stub = Stub::start(|_, stream| {
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
        Then::Close
    });
    let answer = perform(&client(), &post(&stub), Body::Start(1000));
    assert_eq!(answer, Err(NoAnswer::Garbled));
}

#[test]
fn a_good_answer_keeps_its_connection_and_its_body() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX: y\r\n\r\n{\"a\":\"b c\"}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n6;x=y\r\n\"b c\"}\r\n0\r\nT: x\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 11\r\n\r\n{\"a\":\"b c\"}",
    ] {
        let (answer, used) = twice(text.as_bytes(), KEEP, Body::Whole(1000));
        assert_eq!(answer.unwrap().body, b"{\"a\":\"b c\"}", "{text}");
        assert_eq!(used, 1, "{text}");
    }
}

#[test]
fn who_wants_the_whole_answer_is_told_when_its_head_breaks_off() {
    for text in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let (answer, _) = twice(text.as_bytes(), CLOSE, Body::Whole(1000));
        assert_eq!(answer, Err(NoAnswer::Unknown), "{text}");
    }
}

#[test]
fn head_and_body_of_a_request_leave_together() {
    // Whoever reads once has all of it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut block = [0; 64 * 1024];
            let n = std::io::Read::read(&mut stream, &mut block).unwrap();
            seen.push(String::from_utf8(block[..n].to_vec()).unwrap());
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            std::io::Write::write_all(&mut stream, ok).unwrap();
        }
        seen
    });
    let client = client();
    let ask = |method, body: &[u8]| {
        let request = Request {
            method,
            url: format!("http://127.0.0.1:{port}/x"),
            headers: vec![],
            body: body.to_vec(),
        };
        perform(&client, &request, Body::Start(100)).unwrap().status
    };
    assert_eq!(ask("POST", b"{\"a\":1}"), 200);
    assert_eq!(ask("POST", b""), 200);
    assert_eq!(ask("GET", b""), 200);
    let seen = server.join().unwrap();
    assert!(seen[0].ends_with("\r\n\r\n{\"a\":1}"), "{seen:?}");
    assert!(
        seen[1].starts_with("POST ") && seen[1].ends_with("\r\n\r\n"),
        "{seen:?}"
    );
    assert!(
        seen[2].starts_with("GET ") && seen[2].ends_with("\r\n\r\n"),
        "{seen:?}"
    );
}
