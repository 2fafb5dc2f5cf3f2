//! What goes over an open socket: requests, events, load from either side.

use super::*;

#[test]
fn a_socket_opens_subscribes_and_hands_events_over() {
    for tls in [false, true] {
        let (port, server) = listen(move |tcp| {
            let mut ws = if tls {
                accept_tls(tcp).unwrap()
            } else {
                accept(tcp)
            };
            text(&mut ws, &event(1));
            text(&mut ws, "rubbish");
            ws.send(Message::binary(vec![0xff, 0])).unwrap();
            confirm_all(&mut ws)
        });
        let mut setup = Setup::plain(port);
        if tls {
            setup.uri = format!("wss://localhost:{port}/channels/{CHANNEL}");
        }
        let rig = setup.start().opened();
        assert_eq!(rig.fact(), event_fact(1));
        let order = Order::Subscribe {
            ticket: 5,
            topics: topics(&["a", "b"]),
        };
        rig.handle.send(order).unwrap();
        assert_eq!(rig.fact(), Fact::Subscribed { ticket: 5 });
        let order = Order::Unsubscribe {
            ticket: 6,
            topics: topics(&["a"]),
        };
        rig.handle.send(order).unwrap();
        assert_eq!(rig.fact(), Fact::Unsubscribed { ticket: 6 });
        rig.handle.send(Order::Close).unwrap();
        assert_eq!(rig.end(), End::Ordered);
        assert_eq!(server.join().unwrap().len(), 2);
    }
}

#[test]
fn an_order_to_an_idle_thread_goes_out_at_once() {
    let (port, server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let rig = Setup::plain(port).start().opened();
    let mut slowest = Duration::ZERO;
    for ticket in 0..200 {
        let began = Instant::now();
        let order = Order::Subscribe {
            ticket,
            topics: topics(&["a"]),
        };
        rig.handle.send(order).unwrap();
        assert_eq!(rig.fact(), Fact::Subscribed { ticket });
        slowest = slowest.max(began.elapsed());
    }
    // Nothing else wakes the thread for 60 s: a lost wake-up would show.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    drop(rig);
    assert_eq!(server.join().unwrap().len(), 200);
}

#[test]
fn frames_that_trickle_in_byte_by_byte_are_whole_in_the_end() {
    let (port, _server) = listen(|tcp| {
        let mut raw = tcp.try_clone().unwrap();
        raw.set_nodelay(true).unwrap();
        let mut ws = accept(tcp);
        for n in 0..3 {
            let payload = event(n);
            // An unmasked text frame of fewer than 126 bytes.
            let mut frame = vec![0x81, u8::try_from(payload.len()).unwrap()];
            frame.extend(payload.as_bytes());
            for byte in frame {
                raw.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = ws.read();
    });
    let rig = Setup::plain(port).start().opened();
    for n in 0..3 {
        assert_eq!(rig.fact(), event_fact(n));
    }
}

#[test]
fn a_ping_of_the_protocol_is_answered_although_nothing_else_happens() {
    let (port, server) = listen(|tcp| {
        let mut ws = accept(tcp);
        ws.send(Message::Ping(b"are you there".to_vec().into()))
            .unwrap();
        ws.read().unwrap()
    });
    let rig = Setup::plain(port).start().opened();
    let pong = server.join().unwrap();
    assert_eq!(pong, Message::Pong(b"are you there".to_vec().into()));
    drop(rig);
}

#[test]
fn messages_larger_than_the_socket_holds_arrive_once_each_and_whole() {
    for tls in [false, true] {
        let (go, wait) = unbounded::<()>();
        let (port, server) = listen(move |tcp| {
            let mut ws = if tls {
                accept_tls(tcp).unwrap()
            } else {
                accept(tcp)
            };
            // Nothing is read for a while: the writes of the thread meet a full socket.
            // And nothing is answered until all is read, so that nothing but room to
            // write wakes the thread.
            wait.recv_timeout(PATIENCE).unwrap();
            let ids: Vec<String> = (0..4)
                .map(|_| {
                    let message = ws.read().unwrap();
                    let text = message.to_text().unwrap();
                    let value: serde_json::Value = serde_json::from_str(text).unwrap();
                    value["correlationId"].as_str().unwrap().to_owned()
                })
                .collect();
            for id in &ids {
                text(
                    &mut ws,
                    &format!(r#"{{"correlationId":"{id}","result":"200"}}"#),
                );
            }
            assert_eq!(confirm_all(&mut ws), [""; 0]);
            ids
        });
        let mut setup = Setup::plain(port);
        if tls {
            setup.uri = format!("wss://localhost:{port}/channels/{CHANNEL}");
        }
        let rig = setup.start().opened();
        // Four messages of nearly a megabyte are more than loopback buffers.
        let many: Vec<Topic> = (0..13_000)
            .map(|n| Topic::new(&format!("v2.detail.events.conversation.{n:036}.acw")))
            .collect();
        for ticket in 0..4 {
            let topics = many.clone();
            rig.handle
                .send(Order::Subscribe { ticket, topics })
                .unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        go.send(()).unwrap();
        for ticket in 0..4 {
            assert_eq!(rig.fact(), Fact::Subscribed { ticket });
        }
        rig.handle.send(Order::Close).unwrap();
        assert_eq!(rig.end(), End::Ordered);
        assert_eq!(server.join().unwrap(), ["1", "2", "3", "4"]);
    }
}

/// A callback that waits for a permit before each fact.
fn held_up() -> (Facts, Receiver<Fact>, Sender<()>) {
    let (tell, facts) = unbounded();
    let (permit, permits) = unbounded::<()>();
    let callback = move |_, fact| {
        let _ = permits.recv();
        tell.send(fact).unwrap();
    };
    (Box::new(callback), facts, permit)
}

#[test]
fn a_busy_loop_slows_the_platform_down_and_loses_nothing() {
    const EVENTS: usize = 5_000;
    let (port, server) = listen(|tcp| {
        let mut ws = accept(tcp);
        text(&mut ws, HEARTBEAT);
        for n in 0..EVENTS {
            text(&mut ws, &event(n));
        }
        text(&mut ws, HEARTBEAT);
        confirm_all(&mut ws)
    });
    let mut setup = Setup::plain(port);
    setup.session.heartbeat_timeout = Duration::from_millis(1_000);
    let (callback, facts, permit) = held_up();
    let rig = setup.start_with(callback, facts);
    // Longer than the heartbeat timeout: frames were waiting all the time.
    std::thread::sleep(Duration::from_millis(1_600));
    drop(permit);
    let rig = rig.opened();
    for n in 0..EVENTS {
        assert_eq!(
            rig.fact(),
            event_fact(n),
            "the thread took its own delay for silence"
        );
    }
    drop(rig);
    server.join().unwrap();
}

#[test]
fn orders_to_a_thread_that_is_held_up_are_bounded() {
    let (port, _server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let (callback, facts, permit) = held_up();
    let rig = Setup::plain(port).start_with(callback, facts);
    let order = |ticket| Order::Subscribe {
        ticket,
        topics: topics(&["a"]),
    };
    let taken = (0..1_000)
        .take_while(|t| rig.handle.send(order(*t)).is_ok())
        .count();
    assert_eq!(taken, 256);
    assert_eq!(rig.handle.send(Order::Close), Err(Full));
    drop(permit);
    let rig = rig.opened();
    for ticket in 0..256 {
        assert_eq!(rig.fact(), Fact::Subscribed { ticket });
    }
}

#[test]
fn an_idle_thread_does_not_spin() {
    let (port, _server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let mut setup = Setup::plain(port);
    // Its thread has a name of its own among the tests.
    setup.slot = 19;
    let rig = setup.start().opened();
    let name = "channel-19";
    let ticks = || {
        let mut total = 0;
        for entry in std::fs::read_dir("/proc/self/task").unwrap() {
            let path = entry.unwrap().path();
            let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if comm.trim() == name {
                let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
                let fields: Vec<&str> = stat
                    .rsplit(')')
                    .next()
                    .unwrap()
                    .split_whitespace()
                    .collect();
                total = total
                    .max(fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap());
            }
        }
        total
    };
    std::thread::sleep(Duration::from_millis(600));
    // A spinning thread would have used dozens of the 10 ms ticks.
    assert!(ticks() < 10, "{}", ticks());
    drop(rig);
}
