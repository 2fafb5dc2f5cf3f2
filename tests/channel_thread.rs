//! The channel thread against a real WebSocket server on loopback: plain and
//! over TLS, well behaved and not.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use genesys_gateway::ids::Topic;
use genesys_gateway::platform::session::{End, Fact, Order, SessionSettings, SocketRef};
use genesys_gateway::secret::Secret;
use genesys_gateway::shell::channel::{ChannelHandle, ChannelThread, Facts, Full, spawn};
use genesys_gateway::shell::clock::Clock;
use genesys_gateway::shell::dial::Connector;
use genesys_gateway::shell::proxy::Proxy;
use genesys_gateway::shell::tls::Trust;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// Long enough for any machine, short enough to fail in.
const PATIENCE: Duration = Duration::from_secs(20);

const CHANNEL: &str = "streaming-0-verysecretid";
const HEARTBEAT: &str =
    r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}
type Ws = WebSocket<Box<dyn Stream>>;

fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

/// A listener that hands its first connection to `body`; its address, and the thread.
fn listen<T: Send + 'static>(
    body: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        body(tcp)
    });
    (port, thread)
}

fn accept(tcp: TcpStream) -> Ws {
    tungstenite::accept(Box::new(tcp) as Box<dyn Stream>).unwrap()
}

fn accept_tls(tcp: TcpStream) -> Result<Ws, String> {
    let pem = std::fs::read(tls_file("test-only-server.certificate.pem")).unwrap();
    let key = std::fs::read(tls_file("test-only-server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&pem).unwrap()],
            PrivateKeyDer::from_pem_slice(&key).unwrap(),
        )
        .unwrap();
    let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let stream = rustls::StreamOwned::new(session, tcp);
    tungstenite::accept(Box::new(stream) as Box<dyn Stream>).map_err(|e| e.to_string())
}

/// A thread under test and what it reports.
struct Rig {
    handle: ChannelHandle,
    facts: Receiver<Fact>,
}

struct Setup {
    slot: u8,
    uri: String,
    session: SessionSettings,
    connector: Connector,
}

impl Setup {
    fn new(uri: String) -> Setup {
        let trust = Trust::load(Some(&tls_file("test-only-ca.certificate.pem"))).unwrap();
        Setup {
            slot: 3,
            uri,
            // Nothing happens by itself within a test, unless the test asks for it.
            session: SessionSettings {
                heartbeat_timeout: Duration::from_secs(120),
                ping_interval: Duration::from_secs(60),
                pong_deadline: Duration::from_secs(60),
                reply_deadline: Duration::from_secs(60),
            },
            connector: Connector::new(trust.rustls().unwrap()),
        }
    }

    fn plain(port: u16) -> Setup {
        Setup::new(format!("ws://127.0.0.1:{port}/channels/{CHANNEL}"))
    }

    fn start(self) -> Rig {
        let (tell, facts) = unbounded();
        self.start_with(Box::new(move |_, fact| tell.send(fact).unwrap()), facts)
    }

    fn start_with(self, tell: Box<dyn Fn(SocketRef, Fact) + Send>, facts: Receiver<Fact>) -> Rig {
        let handle = spawn(ChannelThread {
            socket: SocketRef {
                slot: self.slot,
                generation: 7,
            },
            connect_uri: Secret::new(self.uri),
            session: self.session,
            connector: Arc::new(self.connector),
            facts: tell,
            clock: Arc::new(Clock::new()),
        })
        .unwrap();
        Rig { handle, facts }
    }
}

impl Rig {
    /// The next fact but for mere signs of life.
    fn fact(&self) -> Fact {
        loop {
            match self.facts.recv_timeout(PATIENCE) {
                Ok(Fact::Heard) => {}
                Ok(fact) => return fact,
                Err(_) => panic!("no fact in time"),
            }
        }
    }

    fn opened(self) -> Rig {
        assert_eq!(self.fact(), Fact::Opened);
        self
    }

    /// The end, which must be the last fact, after which the thread is over.
    fn end(self) -> End {
        let end = match self.fact() {
            Fact::Ended(end) => end,
            other => panic!("{other:?} instead of the end"),
        };
        let shown = format!("{end:?}");
        assert!(
            !shown.contains(CHANNEL) && !shown.contains("channels/"),
            "{shown}"
        );
        assert!(self.handle.join(Instant::now() + PATIENCE));
        assert_eq!(
            self.facts.try_recv(),
            Err(crossbeam_channel::TryRecvError::Disconnected)
        );
        end
    }
}

fn topics(names: &[&str]) -> Vec<Topic> {
    names.iter().map(|n| Topic::new(n)).collect()
}

fn text(ws: &mut Ws, text: &str) {
    ws.send(Message::text(text)).unwrap();
}

fn event(n: usize) -> String {
    format!(r#"{{"topicName":"t","eventBody":{{"n":{n}}}}}"#)
}

fn event_fact(n: usize) -> Fact {
    Fact::Event {
        topic: Topic::new("t"),
        body: format!(r#"{{"n":{n}}}"#),
    }
}

/// Reads requests and confirms them until the other side closes; the messages read.
fn confirm_all(ws: &mut Ws) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match ws.read() {
            Ok(Message::Text(message)) => {
                let value: serde_json::Value = serde_json::from_str(&message).unwrap();
                seen.push(message.to_string());
                if value["message"] == "ping" {
                    text(
                        ws,
                        r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#,
                    );
                } else {
                    let reply = serde_json::json!({
                        "correlationId": value["correlationId"], "topics": value["topics"],
                        "result": "200", "status": format!("{}d", value["message"].as_str().unwrap()),
                    });
                    text(ws, &reply.to_string());
                }
            }
            Ok(_) => {}
            Err(_) => return seen,
        }
    }
}

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
        assert_eq!(rig.end(), End::UpgradeRefused(status));
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

fn not_connected(rig: Rig) -> String {
    match rig.end() {
        End::NotConnected(cause) => cause,
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
        assert_eq!(
            not_connected(setup.start()),
            "the handshake did not end in time"
        );
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
    assert!(cause.contains("refused"), "{cause}");

    let cause = not_connected(Setup::new(format!("https://h/channels/{CHANNEL}")).start());
    assert_eq!(cause, "the connect URI is not a WebSocket address");

    let (port, _server) = listen(|mut tcp| tcp.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap());
    not_connected(Setup::plain(port).start());

    let (port, _server) = listen(drop);
    not_connected(Setup::plain(port).start());
}

#[test]
fn a_certificate_of_an_authority_that_is_not_trusted_is_refused() {
    let (port, server) = listen(|tcp| accept_tls(tcp).err());
    let mut setup = Setup::new(format!("wss://localhost:{port}/channels/{CHANNEL}"));
    let other = Trust::load(Some(&tls_file("test-only-other-ca.certificate.pem"))).unwrap();
    setup.connector.tls = other.rustls().unwrap();
    let cause = not_connected(setup.start());
    assert!(cause.contains("certificate"), "{cause}");
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
    let mut setup = Setup::new(format!("ws://streaming.invalid:8080/channels/{CHANNEL}"));
    let address = format!("http://me:secret@127.0.0.1:{proxy_port}");
    setup.connector.proxy = Some(Proxy::parse(&address).unwrap());
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
        (
            "HTTP/1.1 407 Who\r\n\r\n",
            "the proxy wants other credentials (status 407)",
        ),
        ("HTTP/1.1 502 No\r\n\r\n", "the proxy refuses (status 502)"),
        ("HTTP/1.1 302 Go\r\n\r\n", "the proxy refuses (status 302)"),
        ("hello\r\n\r\n", "the proxy's answer is not HTTP"),
    ] {
        let (proxy_port, _asked) = proxy(answer, 0);
        let mut setup = Setup::new(format!("wss://streaming.invalid/channels/{CHANNEL}"));
        let address = format!("http://127.0.0.1:{proxy_port}");
        setup.connector.proxy = Some(Proxy::parse(&address).unwrap());
        assert_eq!(not_connected(setup.start()), cause);
    }
}

#[test]
fn this_machine_is_never_reached_over_a_proxy() {
    let (port, _server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let mut setup = Setup::plain(port);
    setup.connector.proxy = Some(Proxy::parse("http://127.0.0.1:1").unwrap());
    setup.start().opened();
}

#[test]
fn silence_behind_a_link_that_answers_pings_ends_the_socket() {
    let (port, server) = listen(|tcp| confirm_all(&mut accept(tcp)));
    let mut setup = Setup::plain(port);
    setup.session.heartbeat_timeout = Duration::from_millis(600);
    setup.session.ping_interval = Duration::from_millis(100);
    let rig = setup.start().opened();
    assert_eq!(rig.end(), End::Silent);
    let pings = server.join().unwrap();
    assert!(pings.iter().all(|m| m.contains("ping")) && !pings.is_empty());
}

#[test]
fn a_peer_that_vanished_is_found_by_its_missing_pong() {
    let (port, server) = listen(|tcp| {
        let ws = accept(tcp);
        std::thread::sleep(Duration::from_millis(800));
        ws
    });
    let mut setup = Setup::plain(port);
    setup.session.ping_interval = Duration::from_millis(100);
    setup.session.pong_deadline = Duration::from_millis(200);
    assert_eq!(setup.start().opened().end(), End::NoPong);
    drop(server.join().unwrap());
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
        let (port, _server) = listen(move |tcp| {
            let raw = tcp.try_clone().unwrap();
            let mut ws = accept(tcp);
            text(&mut ws, &event(1));
            if reset {
                socket2::SockRef::from(&raw)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                // The event has arrived before the reset may discard it.
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let rig = Setup::plain(port).start().opened();
        assert_eq!(rig.fact(), event_fact(1));
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
            wait.recv_timeout(PATIENCE).unwrap();
            confirm_all(&mut ws)
        });
        let mut setup = Setup::plain(port);
        if tls {
            setup.uri = format!("wss://localhost:{port}/channels/{CHANNEL}");
        }
        let rig = setup.start().opened();
        let many: Vec<Topic> = (0..9_000)
            .map(|n| Topic::new(&format!("v2.detail.events.conversation.{n:036}.acw")))
            .collect();
        for ticket in 0..8 {
            let topics = many.clone();
            rig.handle
                .send(Order::Subscribe { ticket, topics })
                .unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        go.send(()).unwrap();
        for ticket in 0..8 {
            assert_eq!(rig.fact(), Fact::Subscribed { ticket });
        }
        rig.handle.send(Order::Close).unwrap();
        assert_eq!(rig.end(), End::Ordered);
        let messages = server.join().unwrap();
        let ids: Vec<_> = messages
            .iter()
            .map(|m| serde_json::from_str::<serde_json::Value>(m).unwrap()["correlationId"].clone())
            .collect();
        assert_eq!(ids, (1..=8).map(|n| n.to_string()).collect::<Vec<_>>());
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
    setup.session.heartbeat_timeout = Duration::from_millis(500);
    let (callback, facts, permit) = held_up();
    let rig = setup.start_with(callback, facts);
    // Longer than the heartbeat timeout: frames were waiting all the time.
    std::thread::sleep(Duration::from_millis(900));
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
