//! How a socket comes to be: the upgrade, TLS, the proxy, and everything that is not one.

use super::*;

#[test]
fn a_refused_upgrade_ends_with_its_status() {
    for status in [401, 403, 404, 302, 429, 503] {
        let (port, server) = listen(move |mut tcp| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                tcp.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let answer = format!(
                "HTTP/1.1 {status} No\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nno"
            );
            tcp.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head).unwrap()
        });
        let rig = Setup::plain(port).start();
        assert_eq!(rig.end(), End::refused(status));
        let head = server.join().unwrap();
        assert!(
            head.starts_with(&format!("GET /channels/{CHANNEL} HTTP/1.1\r\n")),
            "{head}"
        );
        let lower = head.to_ascii_lowercase();
        assert!(
            !lower.contains("authorization"),
            "the upgrade carries no token"
        );
        assert!(lower.contains("user-agent: genesys-gateway/"), "{head}");
    }
}

fn not_connected(rig: Rig) -> Cause {
    match rig.end() {
        End::NotConnected { cause, .. } => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_that_trickles_ends_at_its_deadline() {
    let (port, _server) = listen(|mut tcp| {
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n".iter().cycle() {
            std::thread::sleep(Duration::from_millis(20));
            if tcp.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    for tls in [false, true] {
        let (silent, _server) = listen(|mut tcp| tcp.read_to_end(&mut Vec::new()));
        let port = if tls { silent } else { port };
        let mut setup = Setup::plain(port);
        if tls {
            setup.uri = format!("wss://localhost:{port}/channels/{CHANNEL}");
        }
        setup.connector.handshake_timeout = Duration::from_millis(400);
        let began = Instant::now();
        assert_eq!(not_connected(setup.start()), Cause::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn what_is_not_there_or_not_a_websocket_says_so() {
    let port = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    let cause = not_connected(Setup::plain(port).start());
    assert_eq!(cause, Cause::Refused);

    let cause = not_connected(Setup::new(format!("https://h/channels/{CHANNEL}")).start());
    assert_eq!(cause, Cause::NotAnAddress);

    let (port, _server) = listen(|mut tcp| tcp.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap());
    let cause = not_connected(Setup::plain(port).start());
    assert_eq!(cause, Cause::NotWebSocket);

    let (port, _server) = listen(drop);
    let cause = not_connected(Setup::plain(port).start());
    assert_eq!(cause, Cause::BrokenOff);
}

#[test]
fn a_certificate_of_an_authority_that_is_not_trusted_is_refused() {
    let (port, server) = listen(|tcp| accept_tls(tcp).err());
    let setup = Setup::new(format!("wss://localhost:{port}/channels/{CHANNEL}"));
    let other = Trust::load(Some(&tls_file("test-only-other-ca.certificate.pem"))).unwrap();
    setup.connector.tls.set(Ok(other.rustls().unwrap()));
    let cause = not_connected(setup.start());
    assert_eq!(cause, Cause::CertificateIssuer);
    assert!(server.join().unwrap().is_some());
}

/// A proxy that answers `CONNECT` with `answer` and then, if it is yes, passes
/// everything on to `port`; what it was asked.
fn proxy(answer: &'static str, port: u16) -> (u16, JoinHandle<String>) {
    listen(move |mut tcp| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            tcp.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        tcp.write_all(answer.as_bytes()).unwrap();
        if answer.contains(" 200 ") {
            let mut onward = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut back_from, mut back_to) =
                (onward.try_clone().unwrap(), tcp.try_clone().unwrap());
            let back = std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
            let _ = std::io::copy(&mut tcp, &mut onward);
            let _ = onward.shutdown(std::net::Shutdown::Write);
            let _ = back.join();
        }
        String::from_utf8(head).unwrap()
    })
}

#[test]
fn a_proxy_is_asked_for_a_tunnel_and_believed_only_if_it_says_yes() {
    let (port, server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let (proxy_port, asked) = proxy(
        "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n",
        port,
    );
    let setup = Setup::new(format!("ws://streaming.invalid:8080/channels/{CHANNEL}"));
    let address = format!("http://me:secret@127.0.0.1:{proxy_port}");
    let parsed = Proxy::parse(&address).unwrap();
    setup.connector.proxy.set(Some(parsed));
    let rig = setup.start().opened();
    rig.handle.send(Order::Close).unwrap();
    assert_eq!(rig.end(), End::Ordered);
    server.join().unwrap();
    let head = asked.join().unwrap();
    assert!(
        head.starts_with("CONNECT streaming.invalid:8080 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"),
        "{head}"
    );

    for (answer, cause) in [
        ("HTTP/1.1 407 Who\r\n\r\n", Cause::ProxyCredentials),
        ("HTTP/1.1 403 No\r\n\r\n", Cause::ProxyRefuses(403)),
        ("HTTP/1.1 502 No\r\n\r\n", Cause::ProxyRefuses(502)),
        ("HTTP/1.1 302 Go\r\n\r\n", Cause::ProxyRefuses(302)),
        (
            "HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 407 Who\r\n\r\n",
            Cause::ProxyCredentials,
        ),
        ("hello\r\n\r\n", Cause::ProxyOdd),
    ] {
        let (proxy_port, _asked) = proxy(answer, 0);
        let setup = Setup::new(format!("wss://streaming.invalid/channels/{CHANNEL}"));
        let address = format!("http://127.0.0.1:{proxy_port}");
        let parsed = Proxy::parse(&address).unwrap();
        setup.connector.proxy.set(Some(parsed));
        assert_eq!(not_connected(setup.start()), cause);
    }
}

#[test]
fn this_machine_is_never_reached_over_a_proxy() {
    let (port, _server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let setup = Setup::plain(port);
    let parsed = Proxy::parse("http://127.0.0.1:1").unwrap();
    setup.connector.proxy.set(Some(parsed));
    setup.start().opened();
}
