//! A house to attack: the gate, the real server behind it, and a handler that
//! remembers what reached it.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use genesys_gateway::shell::gate::{GateLimits, Listener};
use genesys_gateway::shell::http::cors::Origins;
use genesys_gateway::shell::http::exchange::{Exchange, Reply};
use genesys_gateway::shell::http::served::{Handler, Served, ServedSettings};

/// Whatever a test waits for comes within this time, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const BIG: usize = 6 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) paths: Mutex<Vec<String>>,
    bodies: AtomicUsize,
    latch: Mutex<bool>,
    opened: Condvar,
}

impl Seen {
    pub(crate) fn open_latch(&self) {
        *self.latch.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        let paths = self.paths.lock().unwrap();
        paths.iter().filter(|p| *p == path).count()
    }
}

/// Echoes; `/latched` waits for the test, `/big` gives a big answer, `/alone` is
/// answered at the head, `/guarded` wants a token there.
struct Echo(Arc<Seen>);

impl Handler for Echo {
    fn at_head(&self, x: &Exchange) -> Option<Reply> {
        match (x.path.as_str(), x.header("Authorization")) {
            ("/alone", _) => Some(Reply::json(200, String::from("{}"))),
            ("/guarded", given) if given != Some("Bearer right") => {
                let said = if given.is_some() {
                    "Bearer error=\"invalid_token\""
                } else {
                    "Bearer"
                };
                Some(Reply::json(401, String::from("{}")).with("WWW-Authenticate", said))
            }
            _ => None,
        }
    }

    fn answer(&self, x: &Exchange) -> Reply {
        let seen = &self.0;
        seen.paths.lock().unwrap().push(x.path.clone());
        seen.bodies.fetch_add(x.body.len(), Ordering::Relaxed);
        match x.path.as_str() {
            "/latched" => {
                let latch = seen.latch.lock().unwrap();
                drop(
                    seen.opened
                        .wait_timeout_while(latch, PATIENCE, |open| !*open),
                );
                Reply::json(200, String::from("{}"))
            }
            "/big" => Reply::new(200, "text/plain", vec![b'x'; BIG]),
            _ => {
                let fields: Vec<_> = x.headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
                let body = match x.body.len() {
                    n if n > 65_536 => format!("of {n}"),
                    _ => String::from_utf8_lossy(&x.body).into_owned(),
                };
                let text = format!(
                    "{} {} peer={} body={body} fields={}",
                    x.method,
                    x.path,
                    x.peer,
                    fields.join(";")
                );
                Reply::new(200, "text/plain", text.into_bytes())
            }
        }
    }
}

pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) served: Served,
    pub(crate) seen: Arc<Seen>,
}

pub(crate) fn quick() -> GateLimits {
    GateLimits {
        connections: 64,
        per_peer: 64,
        head: Duration::from_secs(2),
        body: Duration::from_secs(2),
        idle: Duration::from_secs(2),
        answer: Duration::from_secs(5),
        write: Duration::from_secs(2),
        ..GateLimits::default()
    }
}

pub(crate) fn serve(
    listener: Listener,
    limits: GateLimits,
    workers: usize,
    seen: &Arc<Seen>,
) -> Served {
    let settings = ServedSettings {
        listener,
        tls: None,
        name: "test",
        limits,
        workers,
        private_parent: None,
        origins: Origins::default(),
    };
    let handler: Arc<dyn Handler> = Arc::new(Echo(Arc::clone(seen)));
    Served::start(settings, &handler).unwrap()
}

pub(crate) fn house(limits: GateLimits, workers: usize) -> House {
    house_on(TcpListener::bind("127.0.0.1:0").unwrap(), limits, workers)
}

pub(crate) fn house_on(listener: TcpListener, limits: GateLimits, workers: usize) -> House {
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let served = serve(listener.into(), limits, workers, &seen);
    House {
        address,
        served,
        seen,
    }
}

impl House {
    pub(crate) fn connect(&self) -> TcpStream {
        let s = TcpStream::connect(self.address).unwrap();
        s.set_read_timeout(Some(PATIENCE)).unwrap();
        s.set_write_timeout(Some(PATIENCE)).unwrap();
        s
    }

    /// From one of this machine's loopback addresses.
    pub(crate) fn connect_from(&self, from: [u8; 4]) -> TcpStream {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let from = SocketAddr::from((from, 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let s = TcpStream::from(socket);
        s.set_read_timeout(Some(PATIENCE)).unwrap();
        s.set_write_timeout(Some(PATIENCE)).unwrap();
        s
    }

    /// Sends bytes and reads to the end; a reset after an answer is an end.
    pub(crate) fn talk(&self, bytes: &[u8]) -> String {
        let mut s = self.connect();
        let _ = s.write_all(bytes);
        read_to_end(&mut s)
    }

    pub(crate) fn assert_answers(&self) {
        let got = self.talk(b"GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(got.starts_with("HTTP/1.1 200 "), "still answers: {got:?}");
    }

    pub(crate) fn await_no_connections(&self) {
        eventually("all connections end", || self.served.counts().open == 0);
    }
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What was said to whom the gate has ended, or is about to; nothing while it waits.
pub(crate) fn ended(s: &mut TcpStream) -> Option<String> {
    s.set_nonblocking(true).unwrap();
    let waits = s
        .peek(&mut [0])
        .is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    s.set_nonblocking(false).unwrap();
    (!waits).then(|| read_to_end(s))
}

pub(crate) fn read_to_end(s: &mut impl Read) -> String {
    let mut got = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        match s.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => got.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "no end within {PATIENCE:?}; got {:?}",
                    String::from_utf8_lossy(&got)
                )
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// Reads one answer with a declared length.
pub(crate) fn read_one(s: &mut impl Read) -> (String, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        s.read_exact(&mut byte).unwrap_or_else(|e| {
            panic!("{e} after {:?}", String::from_utf8_lossy(&head));
        });
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    s.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim().to_owned())
}

pub(crate) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// A refusal is a problem, says goodbye, and is the only answer.
pub(crate) fn assert_refused(answer: &str, code: u16, case: &str) {
    assert_eq!(status(answer), code, "{case}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        field(head, "content-type").as_deref(),
        Some("application/problem+json"),
        "{case}"
    );
    assert_eq!(
        field(head, "connection").as_deref(),
        Some("close"),
        "{case}"
    );
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], code, "{case}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{case}: {member}");
    }
}
