//! The channel thread against a real WebSocket server on loopback: plain and
//! over TLS, well behaved and not.
#![allow(clippy::unwrap_used)]

mod connecting;
mod ending;
mod traffic;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::cause::Cause;
use base::ids::Topic;
use base::secret::Secret;
use crossbeam_channel::{Receiver, Sender, unbounded};
use notifications::clock::Clock;
use notifications::dial::Connector;
use notifications::proxy::Proxy;
use notifications::socket_thread::{
    ChannelHandle, ChannelThread, FAREWELL, Facts, Full, name_of, spawn,
};
use notifications::tls::Trust;
use proto::session::{About, End, Fact, Order, SessionSettings, SocketRef};
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
    // Small, so that a server that does not read is felt soon.
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(16 * 1024).unwrap();
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
            connector: Connector::new(Ok(trust.rustls().unwrap())),
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
            name: name_of(self.slot),
            farewell: FAREWELL,
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
        about: About::default(),
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
