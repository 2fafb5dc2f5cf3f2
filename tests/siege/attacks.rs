//! What is thrown at the gateway: rows 1 to 4 and below of the threat model, each at a rate
//! that leaves the machine to others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::Platform;
use crate::{TOKEN, call, report};

const MIB: usize = 1024 * 1024;

/// One attack; it ends when told to and says how often it struck.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Field, &AtomicBool) -> u64,
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "connections that are silent after one request, from 127.0.0.1 to 127.0.0.9",
        run: silent,
    },
    Attack {
        name: "silent connections to the operators' listener",
        run: silent_operators,
    },
    Attack {
        name: "bodies of 4 MiB that are never finished, 40 at a time",
        run: unfinished,
    },
    Attack {
        name: "bodies of 4 MiB that go on a byte every 20 ms, 24 at a time",
        run: trickle,
    },
    Attack {
        name: "answers of 3 MiB that are never read, 24 at a time",
        run: unread,
    },
    Attack {
        name: "invented conversation ids",
        run: invented,
    },
    Attack {
        name: "POST and DELETE in turn, with ever new ids",
        run: in_turn,
    },
    Attack {
        name: "guessed tokens, 32 at a time",
        run: guesses,
    },
    Attack {
        name: "folded, smuggled and broken requests",
        run: rubbish,
    },
    Attack {
        name: "the wrong `Host`",
        run: wrong_host,
    },
];

/// Where everything is.
pub(crate) struct Field {
    intake: SocketAddr,
    operators: SocketAddr,
    /// As attackers reach it.
    reports: String,
    large: String,
    /// As good callers do.
    pub(crate) good_reports: String,
    pub(crate) health: String,
    number: AtomicU64,
}

impl Field {
    pub(crate) fn new(intake: &str, operators: &str) -> Field {
        let port = |url: &str| url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let (intake_port, operators_port) = (port(intake), port(operators));
        // The address with which this machine would speak to another one.
        let outward = UdpSocket::bind("0.0.0.0:0").and_then(|s| {
            s.connect("192.0.2.1:9")?;
            s.local_addr()
        });
        let here = outward.map_or_else(|_| "127.0.0.1".into(), |a| a.ip().to_string());
        let reports =
            |host: &str| format!("http://{host}:{intake_port}/customers/supportInteraction");
        Field {
            intake: SocketAddr::from(([127, 0, 0, 1], intake_port)),
            operators: SocketAddr::from(([127, 0, 0, 1], operators_port)),
            reports: reports("127.0.0.1"),
            large: format!("{}/{}", reports("127.0.0.1"), large_id()),
            good_reports: reports(&here),
            health: format!("http://127.0.0.1:{operators_port}/healthz"),
            number: AtomicU64::new(1),
        }
    }

    /// One conversation whose members make a large answer.
    pub(crate) fn large_interaction(&self, _platform: &Platform) {
        let body = json!({"conversationId": large_id(), "notes": "n".repeat(3 * MIB)});
        call("POST", &self.reports, Some(&body.to_string()))
            .unwrap()
            .expect(202);
    }

    fn fresh_id(&self) -> String {
        let n = self.number.fetch_add(1, Ordering::Relaxed);
        format!("00000000-0000-4000-9000-{n:012x}")
    }
}

fn large_id() -> &'static str {
    "11111111-0000-4000-9000-000000000000"
}

/// The same for longer, but not beyond the end.
fn rest(ms: u64, over: &AtomicBool) {
    for _ in 0..ms / 50 {
        if !over.load(Ordering::Relaxed) {
            pause(50);
        }
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// From an address of this machine that nobody else uses.
fn connect_from(last: u8, to: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&from.into()).ok()?;
    socket
        .connect_timeout(&to.into(), Duration::from_secs(2))
        .ok()?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .ok()?;
    Some(stream)
}

/// Sends bytes and reads what comes within two seconds at most, up to a few KiB.
fn throw(last: u8, to: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = connect_from(last, to)?;
    stream.write_all(bytes).ok()?;
    let _ = stream.read(&mut [0; 4096]);
    Some(stream)
}

/// What callers do on ordinary days, larger bodies and answers included.
pub(crate) fn ordinary(field: &Field, over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let _ = call("GET", &field.large, None);
        let body = json!({"conversationId": large_id(), "notes": "m".repeat(MIB)});
        let _ = call("POST", &field.reports, Some(&body.to_string()));
        sent += 2;
        pause(50);
    }
    let body = json!({"conversationId": large_id(), "notes": "n".repeat(3 * MIB)});
    let _ = call("POST", &field.reports, Some(&body.to_string()));
    sent
}

fn hold(field: &Field, to: SocketAddr, most: usize, path: &str, over: &AtomicBool) -> u64 {
    let _ = field;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let (mut held, mut sent) = (std::collections::VecDeque::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let last = 1 + (sent % 9) as u8;
        if let Some(stream) = throw(last, to, request.as_bytes()) {
            held.push_back(stream);
        }
        sent += 1;
        if held.len() > most {
            held.pop_front();
        }
        pause(if held.len() < most { 2 } else { 20 });
    }
    sent
}

fn silent(field: &Field, over: &AtomicBool) -> u64 {
    hold(field, field.intake, 600, "/openapi.json", over)
}

fn silent_operators(field: &Field, over: &AtomicBool) -> u64 {
    hold(field, field.operators, 100, "/healthz", over)
}

/// The head of a report of 4 MiB, and most of its body.
fn large_body() -> (String, Vec<u8>) {
    let head = format!(
        "POST /customers/supportInteraction HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{{\"conversationId\":\"",
        4 * MIB
    );
    let most = vec![b'a'; 4 * MIB - 4096];
    (head, most)
}

fn unfinished(field: &Field, over: &AtomicBool) -> u64 {
    let (head, most) = large_body();
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let mut held = Vec::new();
        for n in 0..40 {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let Some(mut stream) = connect_from(1 + n % 9, field.intake) else {
                continue;
            };
            let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
            sent += 1;
            if stream.write_all(head.as_bytes()).is_ok() {
                let _ = stream.write_all(&most);
            }
            held.push(stream);
        }
        rest(3_000, over);
    }
    sent
}

fn unread(field: &Field, over: &AtomicBool) -> u64 {
    let request = format!(
        "GET /customers/supportInteraction/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
        large_id()
    );
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let mut held = Vec::new();
        for n in 0..24 {
            if let Some(mut stream) = connect_from(1 + n % 9, field.intake) {
                let _ = stream.write_all(request.as_bytes());
                held.push(stream);
                sent += 1;
            }
            rest(100, over);
        }
        rest(20_000, over);
    }
    sent
}

/// Two a second, so that a long siege has more of them than there are places.
fn invented(field: &Field, over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let _ = call("POST", &field.reports, Some(&report(&field.fresh_id())));
        sent += 1;
        pause(500);
    }
    sent
}

fn in_turn(field: &Field, over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let id = field.fresh_id();
        let _ = call("POST", &field.reports, Some(&report(&id)));
        let _ = call("DELETE", &format!("{}/{id}", field.reports), None);
        sent += 2;
        pause(20);
    }
    sent
}

/// Many at once, as who guesses in earnest would: each answer is slowed, all of them together hold
/// what they can.
fn guesses(field: &Field, over: &AtomicBool) -> u64 {
    at_once(32, over, |n, sent| {
        apart(n, sent, over);
        let request = format!(
            "GET /customers/supportInteraction/{} HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer guess-{sent:032}\r\n\r\n",
            large_id()
        );
        let _ = throw(1 + n % 9, field.intake, request.as_bytes());
        rest(1_000, over);
    })
}

/// Bodies whose last KiB takes longer than anybody waits for it.
fn trickle(field: &Field, over: &AtomicBool) -> u64 {
    let (head, most) = large_body();
    at_once(24, over, |n, sent| {
        apart(n, sent, over);
        let Some(mut stream) = connect_from(1 + n % 9, field.intake) else {
            return pause(100);
        };
        let mut alive =
            stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&most).is_ok();
        while alive && !over.load(Ordering::Relaxed) {
            alive = stream.write_all(b"a").is_ok();
            pause(20);
        }
        // So often a body of megabytes is the machine's own affair.
        rest(4_000, over);
    })
}

/// They do not all begin at the same moment.
fn apart(n: u8, sent: u64, over: &AtomicBool) {
    if sent < 32 {
        rest(u64::from(n) * 100, over);
    }
}

/// Many that do the same until it is over; each is told its number and how many went before.
fn at_once(many: u8, over: &AtomicBool, strike: impl Fn(u8, u64) + Sync) -> u64 {
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..many {
            let (sent, strike) = (&sent, &strike);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    strike(n, sent.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    sent.into_inner()
}

fn rubbish(field: &Field, over: &AtomicBool) -> u64 {
    let long = "x".repeat(20_000);
    let all = [
        String::from("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
        String::from(
            "POST /customers/supportInteraction HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ),
        String::from("\r\n\r\n\0\0\0\x16\x03\x01"),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"),
        String::from("GET / HTTP/1.1\nHost: x\n\n"),
        String::from("GET / HTTP/2.0\r\n"),
    ];
    let mut sent = 0u64;
    while !over.load(Ordering::Relaxed) {
        let text = &all[(sent % all.len() as u64) as usize];
        let last = 1 + (sent % 9) as u8;
        let to = if sent.is_multiple_of(2) {
            field.intake
        } else {
            field.operators
        };
        if let Some(mut stream) = connect_from(last, to) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read(&mut [0; 1024]);
        }
        sent += 1;
        pause(50);
    }
    sent
}

fn wrong_host(field: &Field, over: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for path in ["/status", "/metrics", "/"] {
            let text =
                format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
            let _ = throw(2, field.operators, text.as_bytes());
            sent += 1;
        }
        pause(100);
    }
    sent
}
