//! The intake over real sockets, gate and server included, with a desk that
//! answers at once, or as a store does: all that wait share the next commit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use base::ids::{ConversationId, RecordId};
use base::rows::InteractionState;
use base::time::Wall;
use filing::{Answer, CallerRequest};
use genesys_gateway::shell::gate::GateLimits;
use genesys_gateway::shell::http::assets::Pages;
use genesys_gateway::shell::http::cors::Origins;
use genesys_gateway::shell::http::intake::{self, IntakeSettings};
use genesys_gateway::shell::http::json::Pointer;
use genesys_gateway::shell::port::{Health, InteractionView, Port, RecordView};

use crate::{line, rate};

const SPAN: Duration = Duration::from_secs(2);

/// What a commit takes where one is pretended.
const COMMIT: Duration = Duration::from_millis(5);

/// Commits one after the other, each for all that wait when it begins.
#[derive(Default)]
struct Turns {
    /// Commits begun and done.
    counts: Mutex<(u64, u64)>,
    bell: Condvar,
}

impl Turns {
    fn wait_for_a_commit(&self) {
        let mut counts = self.counts.lock().unwrap();
        let mine = counts.0 + 1;
        while counts.1 < mine {
            if counts.0 == counts.1 {
                // Nobody is committing: this caller does it for all.
                counts.0 += 1;
                drop(counts);
                std::thread::sleep(COMMIT);
                counts = self.counts.lock().unwrap();
                counts.1 = counts.0;
                self.bell.notify_all();
            } else {
                counts = self.bell.wait(counts).unwrap();
            }
        }
    }
}

struct Stub {
    turns: Option<Turns>,
}

impl Port for Stub {
    fn ask(&self, request: CallerRequest) -> Answer {
        if let Some(turns) = &self.turns {
            turns.wait_for_a_commit();
        }
        match request {
            CallerRequest::Accept { conversation, .. } => Answer::Interaction {
                conversation,
                state: InteractionState::Accepted,
                accepted_at: Wall(1_790_000_000_000),
                fresh: true,
            },
            _ => Answer::NotFound,
        }
    }

    fn interaction(&self, _: ConversationId) -> Result<Option<InteractionView>, String> {
        Ok(None)
    }

    fn record(&self, _: RecordId) -> Result<Option<RecordView>, String> {
        Ok(None)
    }

    fn records(&self, _: Option<&str>, _: usize) -> Result<Vec<RecordView>, String> {
        Ok(Vec::new())
    }

    fn health(&self) -> Health {
        Health {
            ok: true,
            reasons: Vec::new(),
        }
    }

    fn ready(&self) -> Health {
        Health {
            ok: true,
            reasons: Vec::new(),
        }
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn status_json(&self) -> String {
        String::new()
    }
}

fn report(at: SocketAddr, until: Instant) -> usize {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    let body = "{\"conversationId\":\"7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47\",\"customer\":\"C-4711\",\"channel\":\"voice\"}";
    let request = format!(
        "POST /customers/supportInteraction HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = [0u8; 4096];
    let mut done = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).unwrap();
        // The whole answer is far smaller than the buffer, and comes with its length.
        let mut got = 0;
        loop {
            let n = stream.read(&mut buffer[got..]).unwrap();
            assert!(n > 0, "the connection was closed");
            got += n;
            let text = std::str::from_utf8(&buffer[..got]).unwrap();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 202"), "{head}");
                let length: usize = head
                    .lines()
                    .find_map(|l| l.strip_prefix("Content-Length: "))
                    .and_then(|l| l.parse().ok())
                    .unwrap();
                if rest.len() >= length {
                    break;
                }
            }
        }
        done += 1;
    }
    done
}

fn measure(turns: Option<Turns>, connections: usize) -> (usize, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let settings = IntakeSettings {
        listener: listener.into(),
        tls: None,
        tokens: None,
        origins: Origins::new(std::iter::empty()),
        accepts_per_minute: 0,
        conversation_id_at: Pointer::parse("/conversationId").unwrap(),
        pages: Pages::default(),
        desktop: None,
        limits: GateLimits::default(),
        private_parent: None,
    };
    let served = intake::start(settings, Arc::new(Stub { turns })).unwrap();
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| done.fetch_add(report(at, began + SPAN), Ordering::Relaxed));
        }
    });
    let took = began.elapsed();
    served.stop(Duration::from_secs(2));
    (done.into_inner(), took)
}

pub(crate) fn run() {
    println!("  {} workers", GateLimits::default().in_flight);
    for connections in [1, 4, 16, 64] {
        let (done, took) = measure(None, connections);
        line(
            &format!("answered at once, {connections} connections"),
            done,
            "requests",
            took,
        );
    }
    let mut one = None;
    for connections in [1, 4, 16, 64] {
        let (done, took) = measure(Some(Turns::default()), connections);
        let now = line(
            &format!(
                "answered by a commit of {} ms, {connections} connections",
                COMMIT.as_millis()
            ),
            done,
            "requests",
            took,
        );
        let first = *one.get_or_insert(rate(done, took));
        println!("    {:.1} times one connection", now / first);
    }
}
