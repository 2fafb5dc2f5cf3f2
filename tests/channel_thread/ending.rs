//! How a socket ends, and what is said of it.

use super::*;

#[test]
fn silence_behind_a_link_that_answers_pings_ends_the_socket() {
    let (port, server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let mut setup = Setup::plain(port);
    setup.session.heartbeat_timeout = Duration::from_millis(600);
    setup.session.ping_interval = Duration::from_millis(100);
    let rig = setup.start().opened();
    assert_eq!(rig.end(), End::Silent { beats: 0 });
    let pings = server.join().unwrap();
    assert!(pings.iter().all(|m| m.contains("ping")) && !pings.is_empty());
}

#[test]
fn a_peer_that_vanished_is_found_by_its_missing_pong() {
    let (done, wait) = unbounded::<()>();
    let (port, _server) = listen(move |tcp| {
        let _ws = accept(tcp);
        let _ = wait.recv_timeout(PATIENCE);
    });
    let mut setup = Setup::plain(port);
    setup.session.ping_interval = Duration::from_millis(100);
    setup.session.pong_deadline = Duration::from_millis(200);
    assert_eq!(setup.start().opened().end(), End::NoPong);
    drop(done);
}

#[test]
fn every_close_code_is_told_and_answered() {
    for code in [1000, 1001, 1011, 1012, 4000, 1005] {
        let (port, server) = listen(move |tcp| {
            let mut ws = accept(tcp);
            text(&mut ws, &event(1));
            let frame = (code != 1005).then(|| CloseFrame {
                code: code.into(),
                reason: "bye".into(),
            });
            ws.close(frame).unwrap();
            // The close is answered with a close: the library then reports a clean end.
            loop {
                match ws.read() {
                    Err(tungstenite::Error::ConnectionClosed) => return true,
                    Err(_) => return false,
                    Ok(_) => {}
                }
            }
        });
        let rig = Setup::plain(port).start().opened();
        assert_eq!(
            rig.fact(),
            event_fact(1),
            "what came before the close counts"
        );
        assert_eq!(rig.end(), End::Closed(code));
        assert!(server.join().unwrap(), "{code}");
    }
}

#[test]
fn a_connection_that_breaks_says_so() {
    for reset in [true, false] {
        let (seen, wait) = unbounded::<()>();
        let (port, _server) = listen(move |tcp| {
            let raw = tcp.try_clone().unwrap();
            let mut ws = accept(tcp);
            text(&mut ws, &event(1));
            // A reset discards what has not been read yet.
            wait.recv_timeout(PATIENCE).unwrap();
            if reset {
                let socket = socket2::SockRef::from(&raw);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let rig = Setup::plain(port).start().opened();
        assert_eq!(rig.fact(), event_fact(1));
        seen.send(()).unwrap();
        assert!(matches!(rig.end(), End::Broken(_)));
    }
}

#[test]
fn a_frame_over_the_limit_is_misbehaviour() {
    let (port, _server) = listen(|tcp| {
        let mut ws = accept(tcp);
        text(&mut ws, &event(1));
        let _ = ws.send(Message::text("x".repeat(1024 * 1024 + 1)));
        let _ = ws.read();
    });
    let rig = Setup::plain(port).start().opened();
    assert_eq!(rig.fact(), event_fact(1));
    assert!(matches!(rig.end(), End::Misbehaved(_)));
}

#[test]
fn a_dropped_handle_closes_the_socket_and_ends_the_thread() {
    let (port, server) = listen(|tcp| {
        let mut ws = accept(tcp);
        loop {
            match ws.read() {
                Ok(Message::Close(_)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    });
    let rig = Setup::plain(port).start().opened();
    let Rig { handle, facts } = rig;
    drop(handle);
    assert!(server.join().unwrap(), "the other side was told");
    assert_eq!(facts.recv_timeout(PATIENCE), Ok(Fact::Ended(End::Ordered)));
}

#[test]
fn what_arrives_while_the_socket_closes_still_counts() {
    let (port, _server) = listen(|tcp| {
        let mut ws = accept(tcp);
        let mut raw_end = ws.read();
        while !matches!(raw_end, Ok(Message::Close(_)) | Err(_)) {
            raw_end = ws.read();
        }
    });
    let rig = Setup::plain(port).start().opened();
    rig.handle.send(Order::Close).unwrap();
    assert_eq!(rig.end(), End::Ordered);

    // A server that has an event on its way and takes its time with the close.
    let (port, _server) = listen(|tcp| {
        let mut raw = tcp.try_clone().unwrap();
        let _ws = accept(tcp);
        let mut first = [0];
        raw.read_exact(&mut first).unwrap();
        assert_eq!(first[0], 0x88, "a close frame");
        let payload = event(9);
        let mut frame = vec![0x81, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload.as_bytes());
        raw.write_all(&frame).unwrap();
        // The close is never answered.
        let _ = raw.read_to_end(&mut Vec::new());
    });
    let rig = Setup::plain(port).start().opened();
    rig.handle.send(Order::Close).unwrap();
    assert_eq!(rig.fact(), event_fact(9));
    let began = Instant::now();
    assert_eq!(rig.end(), End::Ordered);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn words_of_the_platform_do_not_give_the_channel_away() {
    let (port, _server) = listen(|tcp| {
        let mut ws = accept(tcp);
        ws.read().unwrap();
        text(
            &mut ws,
            &format!(
                r#"{{"correlationId":"1","result":"400","message":"Channel {CHANNEL} is wrong"}}"#
            ),
        );
        let _ = ws.read();
    });
    let rig = Setup::plain(port).start().opened();
    let order = Order::Subscribe {
        ticket: 1,
        topics: topics(&["a"]),
    };
    rig.handle.send(order).unwrap();
    let Fact::Refused {
        message, result, ..
    } = rig.fact()
    else {
        panic!("not refused");
    };
    assert_eq!(
        (result, message.as_str()),
        (400, "Channel [hidden] is wrong")
    );
}
