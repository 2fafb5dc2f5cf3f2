//! Guards the gate with the real server behind it, over real sockets: everything
//! by which one client could abort, fill, block or confuse that server. After
//! each attack the house still answers.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "listeners/gate_house.rs"]
mod gate_house;
#[path = "listeners/shares.rs"]
mod shares;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gate_house::{
    BIG, House, PATIENCE, Seen, assert_refused, ended, eventually, field, house, house_on, quick,
    read_one, read_to_end, serve, status,
};
use genesys_gateway::shell::gate::GateLimits;

#[test]
fn a_clean_request_passes_with_a_canonical_head_and_the_true_peer() {
    let house = house(quick(), 2);
    let mut s = house.connect();
    let request = "POST /echo?q HTTP/1.1\r\nhost: x\r\nContent-length: 0005\r\ncontent-TYPE: text/plain\r\n\
                   X-Gate-Peer: 6.6.6.6:6\r\nX-Gate-Deadline: 0\r\nCookie: a\r\n\r\nhello";
    for _ in 0..2 {
        s.write_all(request.as_bytes()).unwrap();
        let (head, body) = read_one(&mut s);
        assert_eq!(status(&head), 200);
        assert!(head.starts_with("HTTP/1.1 "));
        assert_eq!(field(&head, "connection"), None);
        assert_eq!(field(&head, "server"), None);
        assert!(field(&head, "date").is_some());
        let me = s.local_addr().unwrap();
        assert!(
            body.starts_with(&format!("POST /echo peer={me} body=hello ")),
            "{body}"
        );
        assert!(body.contains("Content-Length=5;"), "{body}");
        assert!(
            !body.contains("6.6.6.6") && !body.contains("Cookie"),
            "{body}"
        );
    }
}

#[test]
fn a_clean_request_that_comes_in_single_bytes_is_answered() {
    let house = house(quick(), 1);
    let mut s = house.connect();
    s.set_nodelay(true).unwrap();
    for byte in b"\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" {
        s.write_all(&[*byte]).unwrap();
    }
    let (_, body) = read_one(&mut s);
    assert!(body.contains("body=hello"), "{body}");
}

#[test]
fn declared_lengths_of_any_size_are_refused_without_an_allocation() {
    let house = house(quick(), 2);
    for n in [
        "65537",
        "1000000000000000",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "99999999999999999999999999",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n{{}}");
        assert_refused(&house.talk(text.as_bytes()), 413, n);
    }
    house.assert_answers();
    assert_eq!(house.seen.count("/"), 0);
}

#[test]
fn other_versions_leave_neither_thread_nor_connection_behind() {
    let house = house(quick(), 2);
    for _ in 0..100 {
        let got = house.talk(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n");
        assert_refused(&got, 505, "2.0");
    }
    let got = house.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_refused(&got, 505, "preface");
    house.await_no_connections();
    house.assert_answers();
}

#[test]
fn nothing_is_smuggled_past_the_gate() {
    let house = house(quick(), 2);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let n = smuggled.len();
    for (lines, code) in [
        (format!("Content-Length: {n}\r\nContent-Length: 0"), 400),
        (format!("Content-Length: 0\r\nContent-Length: {n}"), 400),
        ("Content-Length: 7, 7".to_owned(), 400),
        ("Content-Length: -7".to_owned(), 400),
        ("Content-Length: +7".to_owned(), 400),
        ("Content-Length: 3x".to_owned(), 400),
        ("Content-Length:".to_owned(), 400),
        (format!("Content-Length : {n}"), 400),
        (format!("X: y\r\n Content-Length: {n}"), 400),
        (format!("X: y\nContent-Length: {n}"), 400),
        (format!("Content-Length: {n}\r\nX: a\0b"), 400),
        ("X\0: a\r\nContent-Length: 0".to_owned(), 400),
        (
            "Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(),
            400,
        ),
        ("Transfer-Encoding: chunked".to_owned(), 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
            501,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(),
            400,
        ),
        ("Transfer-Encoding: chunked, chunked".to_owned(), 501),
        ("Transfer-Encoding: xchunked".to_owned(), 501),
        ("Transfer-Encoding: gzip, chunked".to_owned(), 501),
        ("Transfer-Encoding: \x0bchunked".to_owned(), 400),
        ("X: y".to_owned(), 411),
        ("Host: y\r\nContent-Length: 0".to_owned(), 400),
    ] {
        let text = format!("POST /outer HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n{smuggled}");
        assert_refused(&house.talk(text.as_bytes()), code, &lines);
    }
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET /a b HTTP/1.1",
        "GET",
        "GET / http/1.1",
        "G\0T / HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "CONNECT x:1 HTTP/1.1",
    ] {
        let text = format!("{line}\r\nHost: x\r\n\r\n{smuggled}");
        let got = house.talk(text.as_bytes());
        let code = status(&got);
        assert!(code == 400 || code == 505, "{line}: {got}");
        assert_refused(&got, code, line);
    }
    let got = house.talk(b"GET / HTTP/1.1\r\n\r\n");
    assert_refused(&got, 400, "no host");
    house.assert_answers();
    assert_eq!(*house.seen.paths.lock().unwrap(), ["/alive"]);
}

#[test]
fn a_chunked_body_goes_on_with_its_exact_length_and_the_next_request_begins_after_it() {
    let house = house(quick(), 2);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let inside = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let next = "GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (body, decoded) in [
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\nhe\r\n003\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n", "hello"),
        ("5;a=b\r\nhello\r\n000\r\n\r\n", "hello"),
        ("0\r\n\r\n", ""),
        (inside.as_str(), smuggled),
    ] {
        let head = "POST /chunked HTTP/1.1\r\nHost: x\r\ntransfer-encoding: Chunked\r\n\r\n";
        let got = house.talk(format!("{head}{body}{next}").as_bytes());
        assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2, "{body:?}: {got}");
        assert!(got.contains(&format!("body={decoded} ")), "{body:?}: {got}");
        assert!(
            got.contains(&format!("Content-Length={};", decoded.len())),
            "{got}"
        );
        assert!(!got.to_lowercase().contains("transfer-encoding"), "{got}");
        // The same in single bytes.
        let mut s = house.connect();
        s.set_nodelay(true).unwrap();
        for byte in format!("{head}{body}{next}").bytes() {
            s.write_all(&[byte]).unwrap();
        }
        assert_eq!(read_to_end(&mut s).matches("HTTP/1.1 200 OK").count(), 2);
    }
    assert_eq!(house.seen.count("/smuggled"), 0);
    for bad in [
        "5\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n",
    ] {
        let head = "POST /bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_refused(
            &house.talk(format!("{head}{bad}{next}").as_bytes()),
            400,
            bad,
        );
    }
    let large = "POST /bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n";
    assert_refused(&house.talk(large.as_bytes()), 413, "declared in a chunk");
    let many = "2000\r\n".to_owned() + &"x".repeat(0x2000) + "\r\n";
    let large = "POST /bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
        + &many.repeat(9);
    assert_refused(&house.talk(large.as_bytes()), 413, "over many chunks");
    assert_eq!(house.seen.count("/bad"), 0);
    house.assert_answers();
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let house = house(quick(), 2);
    let body = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for method in ["POST", "GET", "DELETE", "PUT"] {
        let text = format!(
            "{method} /outer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nContent-Length: 0{}\r\n\r\n{body}\
             GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            body.len(),
            body.len()
        );
        let got = house.talk(text.as_bytes());
        assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2, "{got}");
    }
    assert_eq!(house.seen.count("/smuggled"), 0);
    assert_eq!(house.seen.count("/next"), 4);
}

#[test]
fn heads_of_any_size_and_any_number_of_lines_are_refused_early() {
    let house = house(quick(), 2);
    let mut long = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    long.resize(8 * 1024 * 1024, b'a');
    let mut many = b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec();
    (0..20_000).for_each(|_| many.extend_from_slice(b"X: y\r\n"));
    many.extend_from_slice(b"\r\n");
    let mut target = b"GET /".to_vec();
    target.resize(100_000, b'a');
    for (bytes, what) in [(long, "long"), (many, "many"), (target, "target")] {
        let mut s = house.connect();
        // The gate stops reading; the rest cannot be written then.
        let mut writer = s.try_clone().unwrap();
        let writing = std::thread::spawn(move || drop(writer.write_all(&bytes)));
        let mut first = [0; 12];
        // A reset may overtake the answer when the client keeps writing.
        match s.read_exact(&mut first) {
            Ok(()) => assert_eq!(&first, b"HTTP/1.1 431", "{what}"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{what}: {e}"),
        }
        drop(s);
        writing.join().unwrap();
    }
    // One header too many, and little enough to be read in whole: never a reset.
    let lines = "X: y\r\n".repeat(64);
    let got = house.talk(format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n").as_bytes());
    assert_refused(&got, 431, "65 fields");
    house.assert_answers();
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let house = house(quick(), 4);
    let mut s = house.connect();
    let all: String = (0..50)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"))
        .collect();
    s.write_all(all.as_bytes()).unwrap();
    for n in 0..50 {
        let (_, body) = read_one(&mut s);
        assert!(body.starts_with(&format!("POST /{n} ")), "{body}");
    }
    let order: Vec<_> = (0..50).map(|n| format!("/{n}")).collect();
    assert_eq!(*house.seen.paths.lock().unwrap(), order);
}

#[test]
fn pipelining_without_reading_is_not_taken_in_without_bound() {
    let house = house(quick(), 1);
    let mut s = house.connect();
    s.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let request = b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut written = 0;
    // Ends in a timeout (the gate reads no more) or an error (it has closed).
    while let Ok(n) = s.write(&request) {
        written += n;
        assert!(written < 64 * 1024 * 1024, "taken in without bound");
    }
    house.assert_answers();
    house.await_no_connections();
}

#[test]
fn slow_bodies_hold_no_worker_and_end_at_a_total_deadline() {
    let limits = GateLimits {
        body: Duration::from_millis(600),
        ..quick()
    };
    let house = house(limits, 1);
    let started = Instant::now();
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut s = house.connect();
            s.write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
                .unwrap();
            s
        })
        .collect();
    house.assert_answers();
    let drips: Vec<_> = slow
        .into_iter()
        .map(|mut s| {
            std::thread::spawn(move || {
                // A byte now and then resets a limit on each read, but not this one.
                let mut drip = s.try_clone().unwrap();
                let dripping = std::thread::spawn(move || {
                    while drip.write_all(b" ").is_ok() && started.elapsed() < PATIENCE {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
                let got = read_to_end(&mut s);
                drop(s);
                dripping.join().unwrap();
                got
            })
        })
        .collect();
    for drip in drips {
        assert_refused(&drip.join().unwrap(), 408, "slow body");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(house.seen.count("/slow"), 0);
}

#[test]
fn slow_heads_and_silence_end_at_a_total_deadline() {
    let limits = GateLimits {
        head: Duration::from_millis(400),
        idle: Duration::from_millis(400),
        ..quick()
    };
    let house = house(limits, 1);
    let mut silent = house.connect();
    let mut idle = house.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    read_one(&mut idle);
    let mut slow = house.connect();
    let mut drip = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        for byte in
            b"GET /slow HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"
        {
            if drip.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_refused(&read_to_end(&mut slow), 408, "slow head");
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(read_to_end(&mut idle), "");
    drop(slow);
    dripping.join().unwrap();
    house.await_no_connections();
    assert_eq!(house.seen.count("/slow"), 0);
}

#[test]
fn an_upgrade_is_an_ordinary_request() {
    let house = house(quick(), 1);
    let body = "b".repeat(5000);
    let text = format!(
        "POST /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5000\r\n\r\n{body}"
    );
    let mut s = house.connect();
    for _ in 0..3 {
        s.write_all(text.as_bytes()).unwrap();
        let (head, got) = read_one(&mut s);
        assert_eq!(status(&head), 200);
        assert!(got.contains(&body) && !got.contains("websocket"));
    }
    house.assert_answers();
}

#[test]
fn where_everybody_is_being_answered_there_is_a_503_at_once_and_room_again_later() {
    let limits = GateLimits {
        connections: 8,
        ..quick()
    };
    let house = house(limits, 8);
    let mut busy: Vec<_> = (0..8).map(|_| house.connect()).collect();
    for s in &mut busy {
        s.write_all(b"GET /latched HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    eventually("all are at work", || house.seen.count("/latched") == 8);
    let got = read_to_end(&mut house.connect());
    assert_refused(&got, 503, "over the cap");
    assert!(field(&got, "retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert!(house.served.counts().turned_away > 0);
    house.seen.open_latch();
    for s in &mut busy {
        assert_eq!(status(&read_one(s).0), 200, "nobody at work was disturbed");
    }
    drop(busy);
    house.await_no_connections();
    house.assert_answers();
}

/// Each of ten newcomers is answered within a second.
fn newcomers_are_answered(house: &House, what: &str) {
    for _ in 0..10 {
        let began = Instant::now();
        // A burst may find everybody just come, once.
        eventually("a newcomer is answered", || {
            house
                .talk(b"GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .starts_with("HTTP/1.1 200 ")
        });
        assert!(began.elapsed() < Duration::from_secs(1), "{what}");
    }
}

#[test]
fn silence_from_any_number_of_connections_keeps_nobody_out() {
    let limits = GateLimits {
        connections: 32,
        per_peer: 32,
        head: PATIENCE,
        body: PATIENCE,
        idle: PATIENCE,
        write: PATIENCE,
        ..quick()
    };
    let house = house(limits, 2);
    let whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
    let half_head = &whole[..20];
    let half_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".as_slice();
    for (what, sent) in [
        ("silent", b"".as_slice()),
        ("idle", whole),
        ("in the head", half_head),
        ("in the body", half_body),
    ] {
        let mut held: Vec<_> = (0..40_u8)
            .map(|n| {
                let mut s = house.connect_from([127, 0, 1, n]);
                let _ = s.write_all(sent);
                if sent == whole {
                    read_one(&mut s);
                }
                s
            })
            .collect();
        newcomers_are_answered(&house, what);
        // Whoever made room in the middle of a request is told so. Which of them it was
        // depends on whose thread began to wait first.
        let cut_short = sent == half_head || sent == half_body;
        let mut made_room = false;
        eventually("somebody made room", || {
            held.retain_mut(|s| {
                let Some(answer) = ended(s) else {
                    return true;
                };
                // Who came while all others had just come was refused at the door.
                if cut_short || !answer.is_empty() {
                    assert_refused(&answer, 503, what);
                }
                made_room |= cut_short || answer.is_empty();
                false
            });
            made_room
        });
    }
    assert!(house.served.counts().sent_away >= 4);
}

#[test]
fn a_trickle_of_bytes_keeps_nobody_out() {
    let limits = GateLimits {
        connections: 32,
        per_peer: 32,
        head: PATIENCE,
        body: PATIENCE,
        ..quick()
    };
    let house = house(limits, 2);
    let head = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".as_slice();
    let body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n".as_slice();
    for (what, sent) in [("in the head", head), ("in the body", body)] {
        let trickling: Vec<_> = (0..32_u8)
            .map(|n| {
                let mut s = house.connect_from([127, 0, 1, n]);
                let _ = s.write_all(sent);
                s
            })
            .collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ends = Instant::now() + 2 * PATIENCE;
            let (stop, trickling) = (&stop, &trickling);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) && Instant::now() < ends {
                    for mut s in trickling {
                        let _ = s.write_all(b"a");
                    }
                    std::thread::sleep(Duration::from_millis(15));
                }
            });
            newcomers_are_answered(&house, what);
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn those_whose_wrong_tokens_are_slowed_make_room_at_once() {
    let limits = GateLimits {
        connections: 100,
        per_peer: 100,
        ..quick()
    };
    let house = house(limits, 2);
    let guess = b"GET /guarded HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n\r\n";
    // Slowed from now on, by up to two seconds.
    let mut s = house.connect();
    for _ in 0..8 {
        s.write_all(guess).unwrap();
        assert_eq!(status(&read_one(&mut s).0), 401);
    }
    let guessing: Vec<_> = (0..200)
        .map(|_| {
            let mut s = house.connect();
            let _ = s.write_all(guess);
            s
        })
        .collect();
    newcomers_are_answered(&house, "guessing");
    drop(guessing);
}

#[test]
fn one_peer_makes_room_for_itself_and_this_machine_is_one_peer() {
    let limits = GateLimits {
        per_peer: 2,
        ..quick()
    };
    let house = house(limits, 4);
    let mut busy: Vec<_> = [[127, 0, 0, 1], [127, 0, 0, 2]]
        .map(|from| house.connect_from(from))
        .into();
    for s in &mut busy {
        s.write_all(b"GET /latched HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    eventually("both are at work", || house.seen.count("/latched") == 2);
    let got = read_to_end(&mut house.connect_from([127, 9, 9, 9]));
    assert_refused(&got, 503, "third of this machine");
    house.seen.open_latch();
    let (head, body) = read_one(&mut busy[1]);
    assert_eq!(status(&head), 200);
    assert_eq!(body, "{}");
    // Now both wait for nothing, and the longer one gives its place.
    read_one(&mut busy[0]);
    std::thread::sleep(Duration::from_millis(100));
    let mut third = house.connect_from([127, 9, 9, 9]);
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (head, body) = read_one(&mut third);
    assert_eq!(status(&head), 200);
    assert!(body.contains("peer=127.9.9.9:"), "{body}");
}

#[test]
fn what_is_answered_at_the_head_has_seats_of_its_own_and_needs_no_worker() {
    let limits = GateLimits {
        connections: 4,
        reserved: 2,
        ..quick()
    };
    let house = house(limits, 1);
    let mut busy: Vec<_> = (0..4).map(|_| house.connect()).collect();
    for s in &mut busy {
        s.write_all(b"GET /latched HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    eventually("the worker is held", || house.seen.count("/latched") == 1);
    eventually("all seats are taken", || house.served.counts().open == 4);
    for _ in 0..20 {
        let began = Instant::now();
        let got = house.talk(b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(status(&got), 200);
        assert_eq!(field(&got, "connection").as_deref(), Some("close"));
        assert!(began.elapsed() < Duration::from_secs(1));
        let got = house.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_refused(&got, 503, "anything else");
    }
    // Silence takes the reserved ones from nobody either.
    let _silent: Vec<_> = (0..6).map(|_| house.connect()).collect();
    std::thread::sleep(Duration::from_millis(100));
    let got = house.talk(b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status(&got), 200);
    house.seen.open_latch();
}

#[test]
fn a_wrong_token_is_refused_before_any_byte_of_the_body_is_asked_for() {
    let house = house(quick(), 1);
    for (line, code) in [
        ("X: y", 401),
        ("Authorization: Bearer wrong", 401),
        ("Authorization: Bearer right", 100),
    ] {
        let text = format!(
            "POST /guarded HTTP/1.1\r\nHost: x\r\n{line}\r\nExpect: 100-continue\r\nContent-Length: 50000\r\n\r\n"
        );
        let mut s = house.connect();
        s.write_all(text.as_bytes()).unwrap();
        let (head, _) = read_one(&mut s);
        assert_eq!(status(&head), code, "{line}");
        if code == 401 {
            assert_eq!(field(&head, "connection").as_deref(), Some("close"));
            assert_eq!(read_to_end(&mut s), "", "{line}: and the connection ends");
        }
    }
    assert_eq!(house.seen.count("/guarded"), 0);
    // Without a body the connection may go on.
    let mut s = house.connect();
    for _ in 0..2 {
        s.write_all(b"GET /guarded HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(status(&read_one(&mut s).0), 401);
    }
}

#[test]
fn guessed_tokens_are_slowed_and_the_right_one_is_not() {
    let house = house(quick(), 1);
    let guess = b"GET /guarded HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n\r\n";
    let mut s = house.connect();
    let mut last = Duration::ZERO;
    for _ in 0..7 {
        let began = Instant::now();
        s.write_all(guess).unwrap();
        assert_eq!(status(&read_one(&mut s).0), 401);
        last = began.elapsed();
    }
    assert!(last >= Duration::from_millis(700), "{last:?}");
    let began = Instant::now();
    let right = b"GET /guarded HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&house.talk(right)), 200);
    assert!(began.elapsed() < Duration::from_millis(700));
}

#[test]
fn unfinished_bodies_share_a_bounded_memory_and_a_whole_one_finds_room() {
    let limits = GateLimits {
        body_bytes: 4 * 1024 * 1024,
        memory: 16 * 1024 * 1024,
        body: PATIENCE,
        ..quick()
    };
    let house = house(limits, 2);
    let head = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n";
    let body = vec![b'x'; 4 * 1024 * 1024];
    let mut held = Vec::new();
    for _ in 0..12 {
        let mut s = house.connect();
        s.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        s.write_all(head.as_bytes()).unwrap();
        let _ = s.write_all(&body[1..]);
        held.push(s);
    }
    let began = Instant::now();
    let mut s = house.connect();
    s.write_all(head.as_bytes()).unwrap();
    s.write_all(&body).unwrap();
    let (got, said) = read_one(&mut s);
    assert_eq!(status(&got), 200, "{said}");
    assert!(said.contains("body=of 4194304"), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    // Those that made room are told so; the last of them still wait.
    let got = read_to_end(&mut held[0]);
    assert_refused(&got, 503, "unfinished");
    let counts = house.served.counts();
    assert!(counts.sent_away + counts.no_memory >= 8, "{counts:?}");
}

#[test]
fn every_connection_of_a_burst_is_answered_while_all_stay_open() {
    let limits = GateLimits {
        connections: 300,
        per_peer: 300,
        idle: PATIENCE,
        head: PATIENCE,
        ..quick()
    };
    let house = house(limits, 2);
    let mut burst: Vec<_> = (0..200).map(|_| house.connect()).collect();
    for round in 0..2 {
        for s in &mut burst {
            s.write_all(b"POST /burst HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n")
                .unwrap();
            s.write_all(&[b'x'; 2000]).unwrap();
        }
        for s in &mut burst {
            assert_eq!(status(&read_one(s).0), 200, "round {round}");
        }
    }
    assert_eq!(house.served.counts().open, 200);
}

#[test]
fn a_client_that_does_not_read_its_answer_holds_no_worker() {
    let limits = GateLimits {
        write: Duration::from_millis(500),
        ..quick()
    };
    let house = house(limits, 1);
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let mut s = house.connect();
        s.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        greedy.push(s);
    }
    eventually("the answers are made", || house.seen.count("/big") == 4);
    house.assert_answers();
    // Whoever does not read loses its connection; whoever reads gets all of it.
    house.await_no_connections();
    let got = house.talk(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(got.split_once("\r\n\r\n").unwrap().1.len(), BIG);
}

#[test]
fn large_answers_have_a_budget_and_small_ones_do_not_need_it() {
    let limits = GateLimits {
        memory: 32 * 1024 * 1024,
        write: PATIENCE,
        ..quick()
    };
    let house = house(limits, 2);
    let mut greedy: Vec<_> = (0..12).map(|_| house.connect()).collect();
    for s in &mut greedy {
        s.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    // Whoever does not take its answer makes room for those who do, large answers too.
    for _ in 0..5 {
        house.assert_answers();
        let began = Instant::now();
        eventually("a large answer is given", || {
            let got = house.talk(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert!(matches!(status(&got), 200 | 503));
            status(&got) == 200 && got.split_once("\r\n\r\n").unwrap().1.len() == BIG
        });
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    let counts = house.served.counts();
    assert!(counts.sent_away > 0);
    assert_eq!(counts.unanswered, 0, "the cause is told apart: {counts:?}");
}

#[test]
fn a_continue_is_sent_only_once_the_head_is_accepted() {
    let house = house(quick(), 1);
    let mut s = house.connect();
    s.write_all(
        b"POST /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    )
    .unwrap();
    let (head, _) = read_one(&mut s);
    assert_eq!(head, "HTTP/1.1 100 Continue\r\n\r\n");
    s.write_all(b"hello").unwrap();
    let (head, body) = read_one(&mut s);
    assert_eq!(status(&head), 200);
    assert!(body.contains("body=hello"));
    let got = house.talk(
        b"POST /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 500000\r\n\r\n",
    );
    assert_refused(&got, 413, "too large, before any body is asked for");
    let got = house
        .talk(b"POST /c HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 5\r\n\r\nhello");
    assert_refused(&got, 417, "another expectation");
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let house = house(quick(), 1);
    let got = house.talk(b"HEAD /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert_eq!(field(head, "content-length").unwrap(), BIG.to_string());
    assert_eq!(body, "");
    let got = house.talk(b"HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(status(&got), 400);
    assert!(
        got.ends_with("\r\n\r\n"),
        "refusals have none either: {got}"
    );
}

#[test]
fn a_refusal_arrives_although_the_body_is_still_being_sent() {
    let house = house(quick(), 1);
    let mut bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".to_vec();
    bytes.resize(100_000, b'x');
    for _ in 0..10 {
        assert_refused(&house.talk(&bytes), 413, "sent with the body");
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_becomes_a_504_and_the_queue_empties_itself() {
    let limits = GateLimits {
        answer: Duration::from_secs(1),
        in_flight: 4,
        ..quick()
    };
    let house = house(limits, 1);
    let mut waiting: Vec<_> = (0..12).map(|_| house.connect()).collect();
    for s in &mut waiting {
        s.write_all(b"GET /latched HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    let mut passed_on = 0;
    for s in &mut waiting {
        let got = read_to_end(s);
        // Nobody knows what becomes of those that were passed on; the others are refused.
        let code = status(&got);
        assert_refused(&got, if code == 504 { 504 } else { 503 }, "no answer");
        passed_on += usize::from(code == 504);
        assert!(field(&got, "retry-after").is_some());
    }
    assert!(passed_on >= 2, "{passed_on}");
    house.seen.open_latch();
    house.assert_answers();
    assert!(
        house.seen.count("/latched") <= 1,
        "the late ones are dropped unread"
    );
    assert_eq!(house.served.counts().unanswered, 12);
}

#[test]
fn stopping_answers_what_is_under_way_and_says_goodbye() {
    let house = house(quick(), 2);
    let mut under_way = house.connect();
    under_way
        .write_all(b"GET /latched HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut idle = house.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    read_one(&mut idle);
    eventually("it is under way", || house.seen.count("/latched") == 1);
    let House {
        address,
        served,
        seen,
    } = house;
    let stopping = std::thread::spawn(move || served.stop(PATIENCE));
    assert_eq!(read_to_end(&mut idle), "", "an idle connection is closed");
    eventually("no more connections", || {
        TcpStream::connect(address).is_err()
    });
    seen.open_latch();
    let got = read_to_end(&mut under_way);
    assert_eq!(status(&got), 200);
    assert_eq!(field(&got, "connection").as_deref(), Some("close"));
    assert_eq!(stopping.join().unwrap(), 0);
}

#[test]
fn an_inherited_listener_keeps_queueing_between_two_instances() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    for _ in 0..3 {
        let served = serve(listener.try_clone().unwrap().into(), quick(), 1, &seen);
        assert_eq!(served.stop(PATIENCE), 0);
        let mut between = TcpStream::connect(address).unwrap();
        between.set_read_timeout(Some(PATIENCE)).unwrap();
        between
            .write_all(b"GET /between HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let served = serve(listener.try_clone().unwrap().into(), quick(), 1, &seen);
        assert_eq!(status(&read_to_end(&mut between)), 200);
        served.stop(PATIENCE);
    }
    assert_eq!(seen.count("/between"), 3);
}

#[test]
fn a_unix_socket_is_served_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let seen = Arc::new(Seen::default());
    let listener = UnixListener::bind(&path).unwrap();
    let served = serve(listener.into(), quick(), 1, &seen);
    let mut s = UnixStream::connect(&path).unwrap();
    s.set_read_timeout(Some(PATIENCE)).unwrap();
    s.write_all(b"POST /u HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        .unwrap();
    let (_, body) = read_one(&mut s);
    assert!(body.starts_with("POST /u peer=unix body=hi "), "{body}");
    served.stop(PATIENCE);
    assert!(path.exists(), "an inherited socket is not unlinked");
}

#[test]
fn garbage_of_every_kind_ends_in_a_refusal_or_an_end() {
    let house = house(quick(), 1);
    let mut rng = base::rng::Rng::new(7);
    for _ in 0..200 {
        let len = 1 + usize::try_from(rng.below(300)).unwrap();
        let bytes: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        let mut s = house.connect();
        let _ = s.write_all(&bytes);
        let _ = s.shutdown(std::net::Shutdown::Write);
        let got = read_to_end(&mut s);
        assert!(got.is_empty() || status(&got) >= 400, "{bytes:?}: {got}");
    }
    house.assert_answers();
    assert_eq!(*house.seen.paths.lock().unwrap(), ["/alive"]);
}

/// Runs in a process of its own, because descriptors are the whole process's.
#[test]
fn descriptors_running_out_end_neither_the_listener_nor_the_server() {
    const CHILD: &str = "GATE_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        run_out_of_descriptors();
        return;
    }
    let me = std::env::current_exe().unwrap();
    let out = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -n 100 && exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(me)
        .arg("descriptors_running_out_end_neither_the_listener_nor_the_server")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn run_out_of_descriptors() {
    let house = house(quick(), 2);
    house.assert_answers();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    assert!(hoard.len() > 20);
    // With each number of free descriptors, the client's own among them.
    for free in 1..20 {
        drop(hoard.pop());
        let Ok(mut s) = TcpStream::connect(house.address) else {
            continue;
        };
        let patience = if free < 3 { 200 } else { 2_000 };
        s.set_read_timeout(Some(Duration::from_millis(patience)))
            .unwrap();
        let _ = s.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut first = [0; 12];
        if s.read_exact(&mut first).is_ok() {
            let code = status(std::str::from_utf8(&first).unwrap());
            assert!(code == 200 || code == 503, "{free} free: {code}");
        }
    }
    drop(hoard);
    house.assert_answers();
}
