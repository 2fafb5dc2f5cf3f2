//! REST and WebSocket over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message};

use crate::support::{Bench, Client, DEADLINE, topic, until};

#[test]
fn a_wrap_up_travels_from_the_control_interface_to_the_subscribed_socket() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    let conversation = bench.start(1);
    client.subscribe(&[topic(&conversation)]);
    bench.control(
        "POST",
        &format!("/conversations/{conversation}/wrap-up"),
        json!({"code": "X", "notes": "ünïcode ✓"}),
    );
    let event = client.next_but_heartbeats();
    assert_eq!(event["topicName"], topic(&conversation));
    assert_eq!(event["eventBody"]["wrapupNotes"], "ünïcode ✓");
    client.send(&json!({"message": "ping"}));
    assert_eq!(client.next_but_heartbeats()["eventBody"]["message"], "pong");
    let model = bench.running.model();
    assert_eq!(model.platform().truth().wrap_ups()[0].frames, 1);
}

#[test]
fn twenty_sockets_carry_a_thousand_topics_each() {
    let bench = Bench::new(&[]);
    let mut clients = Vec::new();
    for c in 0..20u32 {
        let (_, uri) = bench.channel();
        let mut client = Client::open(&uri);
        let topics: Vec<String> = (0..1000)
            .map(|n| topic(&format!("00000000-0000-4000-8000-{:012x}", c * 1000 + n)))
            .collect();
        for part in topics.chunks(200) {
            client.subscribe(part);
        }
        clients.push(client);
    }
    {
        let model = bench.running.model();
        let truth = model.platform().truth();
        assert_eq!(truth.ledger().topics_total_most, 20_000);
        assert_eq!(truth.sockets(), 20);
    }
    // One conversation of each channel wraps up; each client hears its own alone.
    for c in 0..20u32 {
        let id = format!("00000000-0000-4000-8000-{:012x}", c * 1000 + 999);
        bench.control("POST", "/conversations", json!({"id": id}));
        bench.control("POST", &format!("/conversations/{id}/finish"), Value::Null);
        let event = clients[c as usize].next_but_heartbeats();
        assert_eq!(event["eventBody"]["conversationId"], id);
    }
}

#[test]
fn a_burst_of_events_arrives_complete_and_in_order() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    let conversations: Vec<String> = (0..500).map(|_| bench.start(2)).collect();
    let topics: Vec<String> = conversations.iter().map(|c| topic(c)).collect();
    client.subscribe(&topics);
    {
        let mut model = bench.running.model();
        for c in &conversations {
            let finish = json!({"command": "finish", "conversation": c});
            let finish = serde_json::from_value(finish).unwrap();
            model.with(|p, now| p.control(&finish, now)).unwrap();
        }
    }
    for c in &conversations {
        for _ in 0..2 {
            let event = client.next_but_heartbeats();
            assert_eq!(event["eventBody"]["conversationId"], *c);
        }
    }
}

#[test]
fn a_second_socket_closes_the_first_with_a_code() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut first = Client::open(&uri);
    let mut second = Client::open(&uri);
    match first.0.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
    assert!(matches!(first.0.read(), Err(Error::ConnectionClosed)));
    second.send(&json!({"message": "ping"}));
    assert_eq!(second.next()["eventBody"]["message"], "pong");
}

#[test]
fn a_reset_arrives_as_a_reset() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "drop-socket", "channel": "all"}),
    );
    match client.0.read() {
        Err(Error::Io(e)) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    // The channel is still there.
    assert!(Client::try_open(&uri).is_ok());
}

#[test]
fn refused_upgrades_carry_their_status() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    assert_eq!(Client::try_open(&format!("{uri}x")).map(drop), Err(404));
    bench.control("POST", "/faults", json!({"fault": "revoke-tokens"}));
    assert_eq!(Client::try_open(&uri).map(drop), Err(401));
}

#[test]
fn the_client_closing_frees_the_channel() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    client.0.close(None).unwrap();
    while client.0.read().is_ok() {}
    until("the end of the socket", || {
        bench.running.model().platform().truth().sockets() == 0
    });
    // And so does a link that just goes away.
    drop(Client::open(&uri));
    until("the end of the socket", || {
        bench.running.model().platform().truth().sockets() == 0
    });
}

#[test]
fn a_silenced_socket_stays_open_and_answers_no_ping() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "silence", "channel": "all"}),
    );
    client.0.send(Message::Ping(b"p".to_vec().into())).unwrap();
    client.send(&json!({"message": "ping"}));
    client
        .0
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    match client.0.read() {
        Err(Error::Io(e)) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
    client.0.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "speak", "channel": "all"}),
    );
    // What was left unread is answered now.
    let mut seen = (false, false);
    while seen != (true, true) {
        match client.0.read().unwrap() {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"p");
                seen.0 = true;
            }
            Message::Text(text) => seen.1 |= text.as_str().contains("pong"),
            other => panic!("{other:?}"),
        }
    }
    // A silent socket that the client leaves is noticed all the same.
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "silence", "channel": "all"}),
    );
    drop(client);
    until("the end of the socket", || {
        bench.running.model().platform().truth().sockets() == 0
    });
}

#[test]
fn time_runs_faster_by_the_scale() {
    let bench = Bench::scaled(100, &[]);
    let (_, uri) = bench.channel();
    let began = Instant::now();
    let mut client = Client::open(&uri);
    for _ in 0..3 {
        assert_eq!(client.next()["eventBody"]["message"], "WebSocket Heartbeat");
    }
    let took = began.elapsed();
    // Three heartbeats of thirty seconds in nine tenths of a second.
    assert!(took >= Duration::from_millis(800), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    bench.control(
        "POST",
        "/faults",
        json!({"fault": "closing", "channel": "all"}),
    );
    assert_eq!(
        client.next_but_heartbeats()["topicName"],
        "v2.system.socket_closing"
    );
    loop {
        match client.0.read().unwrap() {
            Message::Close(_) => break,
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rest_connections_are_kept_and_pipelined_requests_answered_in_order() {
    let bench = Bench::new(&[]);
    let address = bench.running.api_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let one = format!(
        "HEAD /api/v2/tokens/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        bench.token
    );
    let two = "GET /api/v2/tokens/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream
        .write_all(format!("{one}{one}{two}").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let statuses: Vec<&str> = text.lines().filter(|l| l.starts_with("HTTP/1.1")).collect();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 401 Unauthorized"
        ]
    );
    assert!(text.contains("authentication.required"));
}

#[test]
fn a_body_in_chunks_is_taken() {
    let bench = Bench::new(&[]);
    let address = bench.running.control_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "POST /history HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    for part in [head, "3\r\n{\"a\r\n4\r\n\":1}", "\r\n0\r\n\r\n"] {
        stream.write_all(part.as_bytes()).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
    let seen = bench.control("GET", "/history", Value::Null);
    assert_eq!(seen["receipts"][0]["body"], json!({"a": 1}));
}

#[test]
fn what_is_not_http_is_refused() {
    let bench = Bench::new(&[]);
    let address = bench.running.api_url.strip_prefix("http://").unwrap();
    for (bytes, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
            "501",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_owned(),
            "413",
        ),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(!text.contains("x-simulator"));
    }
}

#[test]
fn late_lost_and_hanging_answers_are_so_on_the_wire() {
    let bench = Bench::scaled(10, &[]);
    let order = |failure: Value| {
        let fault = json!({"fault": "fail-rest", "call": "token-timeout", "failure": failure});
        bench.control("POST", "/faults", fault);
    };
    order(json!({"with": "delay", "delayMs": 3000}));
    let began = Instant::now();
    let answer = bench.rest("GET", "/tokens/timeout", Value::Null);
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(answer.headers.get("x-simulator-delay-ms").is_none());
    order(json!({"with": "no-answer"}));
    assert!(
        bench
            .try_rest("GET", "/tokens/timeout", Value::Null)
            .is_err()
    );
    order(json!({"with": "hang"}));
    let address = bench.running.api_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET /api/v2/tokens/timeout HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        bench.token
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let hung = stream.read(&mut [0u8; 16]).unwrap_err();
    assert_eq!(hung.kind(), std::io::ErrorKind::WouldBlock);
    order(json!({"with": "status", "status": 429, "retryAfter": "7"}));
    let answer = bench.rest("GET", "/tokens/timeout", Value::Null);
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "7");
}

#[test]
fn stopping_ends_sockets_hanging_calls_and_threads_within_the_deadline() {
    let bench = Bench::new(&[]);
    let (_, uri) = bench.channel();
    let mut client = Client::open(&uri);
    for failure in [
        json!({"with": "hang"}),
        json!({"with": "delay", "delayMs": 600_000}),
    ] {
        let fault = json!({"fault": "fail-rest", "call": "token-timeout", "failure": failure});
        bench.control("POST", "/faults", fault);
    }
    let address = bench
        .running
        .api_url
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "GET /api/v2/tokens/timeout HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            bench.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        waiting.push(stream);
    }
    until("both calls", || {
        bench
            .running
            .model()
            .platform()
            .truth()
            .ledger()
            .calls
            .values()
            .sum::<u64>()
            >= 4
    });
    let began = Instant::now();
    bench.running.stop();
    assert!(began.elapsed() < Duration::from_secs(4));
    for mut stream in waiting {
        assert!(matches!(stream.read(&mut [0u8; 16]), Ok(0) | Err(_)));
    }
    assert!(client.0.read().is_err());
    assert!(TcpStream::connect(&address).is_err());
}
