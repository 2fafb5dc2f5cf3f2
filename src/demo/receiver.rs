//! A history manager for the demo: files what comes under its idempotency key,
//! and can be stopped and started again on the same port.
//!
//! Invariant: what was received is kept over a restart, as a real one would.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// What one body said.
#[derive(Clone, Debug)]
pub(super) struct Filed {
    /// Which wrap-up: conversation, participant, session, time.
    pub(super) wrap_up: (String, String, String),
    /// The platform's time of it, in ms since 1970.
    pub(super) event_time: i64,
    /// When it came, in ms since 1970.
    pub(super) received: i64,
    /// How often it came.
    pub(super) times: u32,
}

/// Bodies by idempotency key.
pub(super) type Book = Arc<Mutex<BTreeMap<String, Filed>>>;

/// A running receiver.
pub(super) struct Receiver {
    server: Arc<tiny_http::Server>,
    thread: JoinHandle<()>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    conversation_id: String,
    after_call_work: AfterCallWork,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AfterCallWork {
    participant_id: String,
    session_id: String,
    event_time: i64,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Receiver {
    /// Listens on loopback; port 0 takes a free one.
    pub(super) fn start(port: u16, book: Book) -> io::Result<(Receiver, SocketAddr)> {
        let server = tiny_http::Server::http(("127.0.0.1", port)).map_err(io::Error::other)?;
        let address = server.server_addr().to_ip().ok_or_else(|| io::Error::other("no address"))?;
        let server = Arc::new(server);
        let taking = server.clone();
        let thread = std::thread::Builder::new().name("history".into()).spawn(move || {
            for mut request in taking.incoming_requests() {
                let status = take(&mut request, &book);
                // Whoever has gone away comes back with the same key.
                let _ = request.respond(tiny_http::Response::empty(status));
            }
        })?;
        Ok((Receiver { server, thread }, address))
    }

    /// Closes the port; requests under way are cut.
    pub(super) fn stop(self) {
        self.server.unblock();
        drop(self.server);
        let _ = self.thread.join();
    }
}

fn take(request: &mut tiny_http::Request, book: &Book) -> u16 {
    let key = request
        .headers()
        .iter()
        .find(|h| h.field.equiv("Idempotency-Key"))
        .map(|h| h.value.as_str().to_string());
    let body: Option<Body> = serde_json::from_reader(request.as_reader()).ok();
    let (Some(key), Some(body)) = (key, body) else { return 400 };
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filed) = book.get_mut(&key) {
        filed.times += 1;
        return 409;
    }
    let acw = body.after_call_work;
    let filed = Filed {
        wrap_up: (body.conversation_id, acw.participant_id, acw.session_id),
        event_time: acw.event_time,
        received: now(),
        times: 1,
    };
    book.insert(key, filed);
    201
}
