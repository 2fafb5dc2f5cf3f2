//! Several peers at one listener: whatever one of them, or all but one, take, the other is answered
//! within a second.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use genesys_gateway::shell::gate::GateLimits;

use super::{House, PATIENCE, eventually, house_on, quick, read_one, read_to_end, status};

const MIB: usize = 1024 * 1024;

/// Addresses of this machine that are different peers: loopback, and those by which it would
/// speak to others. A machine without a network has the first alone.
fn peers() -> Vec<IpAddr> {
    let outward = UdpSocket::bind("0.0.0.0:0").and_then(|s| {
        s.connect("192.0.2.1:9")?;
        s.local_addr()
    });
    // Number, index, length of the prefix, scope (00: global).
    let six = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let six = six.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let number = u128::from_str_radix(words.next()?, 16).ok()?;
        (words.nth(2)? == "00").then(|| IpAddr::from(number.to_be_bytes()))
    });
    let mut all = vec![IpAddr::from([127, 0, 0, 1])];
    all.extend(outward.ok().map(|a| a.ip()));
    all.extend(six);
    let more = all.split_off(1);
    all.extend(more.into_iter().filter(|a| !a.is_loopback()));
    all
}

/// A house that all peers reach.
fn open_house(limits: GateLimits, workers: usize) -> House {
    let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
    house_on(listener.unwrap(), limits, workers)
}

fn connect_by(house: &House, peer: IpAddr) -> TcpStream {
    let s = TcpStream::connect(SocketAddr::new(peer, house.address.port())).unwrap();
    s.set_read_timeout(Some(PATIENCE)).unwrap();
    s.set_write_timeout(Some(PATIENCE)).unwrap();
    s
}

/// The good one asks, and has its answer within a second.
fn is_answered(house: &House, peer: IpAddr, request: &[u8], what: &str) {
    let began = Instant::now();
    let mut s = connect_by(house, peer);
    let _ = s.write_all(request);
    let got = read_to_end(&mut s);
    let took = began.elapsed();
    assert!(got.starts_with("HTTP/1.1 200 "), "{what}: {got:?}");
    assert!(took < Duration::from_secs(1), "{what}: {took:?}");
}

const ALIVE: &[u8] = b"GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const LATCHED: &[u8] = b"GET /latched HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The good one, and those that attack; nothing where there is only one peer.
fn good_and_bad() -> Option<(IpAddr, Vec<IpAddr>)> {
    let mut all = peers();
    let good = all.pop()?;
    if all.is_empty() {
        println!("this machine has one address only: nothing is shown");
        return None;
    }
    Some((good, all))
}

#[test]
fn peers_that_keep_the_server_busy_leave_a_place_for_another() {
    let Some((good, bad)) = good_and_bad() else {
        return;
    };
    let limits = GateLimits {
        in_flight: 8,
        answer: PATIENCE,
        ..quick()
    };
    let house = open_house(limits, 8);
    let mut busy: Vec<_> = (0..20)
        .flat_map(|_| bad.iter().map(|peer| connect_by(&house, *peer)))
        .collect();
    for s in &mut busy {
        s.write_all(LATCHED).unwrap();
    }
    eventually("they have their share", || {
        house.seen.count("/latched") >= 4
    });
    for _ in 0..10 {
        is_answered(&house, good, ALIVE, "beside who keeps the server busy");
    }
    let most = if bad.len() == 1 { 4 } else { 7 };
    assert!(house.seen.count("/latched") <= most);
    house.seen.open_latch();
    for s in &mut busy {
        assert_eq!(status(&read_to_end(s)), 200, "they had to wait, no more");
    }
}

#[test]
fn a_line_of_whole_requests_takes_no_seat_from_another_peer() {
    let Some((good, bad)) = good_and_bad() else {
        return;
    };
    let limits = GateLimits {
        connections: 16,
        per_peer: 16,
        in_flight: 4,
        answer: PATIENCE,
        ..quick()
    };
    let house = open_house(limits, 4);
    // One peer leaves a place behind the gate; two may take the last of four for as long as they
    // are answered. It is seats that this is about.
    let mut busy: Vec<_> = (0..16).map(|_| connect_by(&house, bad[0])).collect();
    for s in &mut busy {
        s.write_all(LATCHED).unwrap();
    }
    eventually("they are in", || house.seen.count("/latched") >= 2);
    eventually("they are all there", || house.served.counts().open == 16);
    for _ in 0..5 {
        is_answered(&house, good, ALIVE, "beside a long line");
    }
    house.seen.open_latch();
    let mut answered = 0;
    for s in &mut busy {
        let got = read_to_end(s);
        let said = status(&got);
        assert!(matches!(said, 200 | 503), "{got}");
        answered += usize::from(said == 200);
    }
    assert!(answered >= 10, "only few made room: {answered}");
}

/// Bodies that never end, from every bad peer: most of it at once, then `step` bytes every
/// 20 ms, until told to stop.
fn never_end(house: &House, bad: &[IpAddr], each: usize, step: usize, over: &AtomicBool) {
    let head = format!(
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        4 * MIB
    );
    std::thread::scope(|scope| {
        for peer in bad {
            for _ in 0..each {
                let head = &head;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let mut s = connect_by(house, *peer);
                        let mut alive = s.write_all(head.as_bytes()).is_ok()
                            && s.write_all(&vec![b'x'; 5 * MIB / 2]).is_ok();
                        let bytes = vec![b'x'; step];
                        while alive && !over.load(Ordering::Relaxed) {
                            alive = s.write_all(&bytes).is_ok();
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                });
            }
        }
    });
}

fn large_bodies_beside(step: usize, what: &str) {
    let Some((good, bad)) = good_and_bad() else {
        return;
    };
    let limits = GateLimits {
        body_bytes: 4 * MIB as u64,
        memory: 32 * MIB,
        body: PATIENCE,
        ..quick()
    };
    let house = open_house(limits, 8);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| never_end(&house, &bad, 6, step, &over));
        // Told even if an answer does not come.
        struct Tell<'a>(&'a AtomicBool);
        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _tell = Tell(&over);
        eventually("they are there", || {
            house.served.counts().open >= 6 * bad.len()
        });
        std::thread::sleep(Duration::from_millis(300));
        let mut request = format!(
            "POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            4 * MIB
        )
        .into_bytes();
        request.resize(request.len() + 4 * MIB, b'x');
        for _ in 0..10 {
            is_answered(&house, good, &request, what);
            is_answered(&house, good, ALIVE, what);
        }
    });
}

#[test]
fn a_trickle_of_large_bodies_holds_no_memory_against_another_peer() {
    large_bodies_beside(1, "beside a trickle");
}

#[test]
fn large_bodies_that_get_on_all_the_time_hold_no_memory_against_another_peer() {
    large_bodies_beside(20 * 1024, "beside haste");
}

#[test]
fn large_answers_that_are_fetched_all_the_time_keep_nobody_waiting() {
    let Some((good, bad)) = good_and_bad() else {
        return;
    };
    let limits = GateLimits {
        in_flight: 8,
        memory: 24 * MIB,
        ..quick()
    };
    let house = open_house(limits, 8);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..24 {
            let (house, over, peer) = (&house, &over, bad[n % bad.len()]);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut s = connect_by(house, peer);
                    let _ = s.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
                    // Slowly, so that what is held is held for long.
                    let mut chunk = vec![0; MIB / 2];
                    while !over.load(Ordering::Relaxed) && s.read(&mut chunk).is_ok_and(|n| n > 0) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
        eventually("they fetch", || house.seen.count("/big") > 8);
        let asked = (0..10).map(|_| {
            let began = Instant::now();
            let mut s = connect_by(&house, good);
            s.write_all(b"GET /alive HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            (status(&read_one(&mut s).0), began.elapsed())
        });
        let asked: Vec<_> = asked.collect();
        over.store(true, Ordering::Relaxed);
        let soon = Duration::from_secs(1);
        assert!(
            asked.iter().all(|(s, t)| *s == 200 && *t < soon),
            "{asked:?}"
        );
    });
}
