//! A history manager for the demo: files what comes under its idempotency key,
//! and can be stopped and started again on the same port.
//!
//! Invariant: what was received is kept over a restart, as a real one would.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Bodies that are remembered; beyond them the oldest go.
const BOOK_MAX: usize = 10_000;

/// Bytes of one request at most.
const REQUEST_MAX: usize = 1024 * 1024;

type Streams = Arc<Mutex<Vec<TcpStream>>>;

/// A running receiver.
pub(super) struct Receiver {
    mood: Arc<Mutex<Mood>>,
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    streams: Streams,
    thread: JoinHandle<()>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    conversation_id: String,
    after_call_work: AfterCallWork,
}

/// What a receiver does with bodies that it has not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mood {
    /// It files them.
    #[default]
    Files,
    /// It refuses them for good: 422.
    Refuses,
    /// It cannot at the moment: 503.
    Unavailable,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AfterCallWork {
    participant_id: String,
    session_id: String,
    event_time: i64,
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Receiver {
    /// Listens on loopback; port 0 takes a free one.
    pub(super) fn start(port: u16, book: Book) -> io::Result<(Receiver, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let streams = Streams::default();
        let mood = Arc::new(Mutex::new(Mood::default()));
        let (ending, taken) = (stopping.clone(), streams.clone());
        let moods = mood.clone();
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if ending.load(Ordering::Acquire) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    if let Ok(other) = stream.try_clone() {
                        lock(&taken).push(other);
                    }
                    let (book, mood) = (book.clone(), moods.clone());
                    // Without a thread the connection is dropped, and the sender comes back.
                    let _ = std::thread::Builder::new()
                        .name("history-caller".into())
                        .spawn(move || serve(&stream, &book, &mood));
                }
            })?;
        Ok((
            Receiver {
                mood,
                address,
                stopping,
                streams,
                thread,
            },
            address,
        ))
    }

    /// What it does with bodies from now on; shared with whoever may change it.
    pub(super) fn mood(&self) -> Arc<Mutex<Mood>> {
        self.mood.clone()
    }

    /// Closes the port and cuts every connection, as the end of a process does.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread so that it sees the end.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.join();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests of one connection until it ends.
fn serve(mut stream: &TcpStream, book: &Book, mood: &Mutex<Mood>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut buffer = Vec::new();
    let mut block = [0u8; 8192];
    loop {
        match request(&buffer) {
            Ok(Some((key, head, length))) if buffer.len() >= head + length => {
                let now = *lock(mood);
                let status = take(key, &buffer[head..head + length], book, now);
                buffer.drain(..head + length);
                let answer = format!("HTTP/1.1 {status} Demo\r\nContent-Length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
            Ok(_) if buffer.len() <= REQUEST_MAX => {}
            _ => return,
        }
        match stream.read(&mut block) {
            Ok(n) if n > 0 => buffer.extend_from_slice(&block[..n]),
            _ => return,
        }
    }
}

/// The idempotency key, and the lengths of head and body, once the head is whole.
fn request(buffer: &[u8]) -> Result<Option<(Option<String>, usize, usize)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(buffer)? else {
        return Ok(None);
    };
    let find = |name: &str| {
        let header = parsed
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(str::to_string)
    };
    let length = find("Content-Length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    Ok(Some((find("Idempotency-Key"), head, length)))
}

fn take(key: Option<String>, body: &[u8], book: &Book, mood: Mood) -> u16 {
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let (Some(key), Some(body)) = (key, body) else {
        return 400;
    };
    let mut book = lock(book);
    if let Some(filed) = book.get_mut(&key) {
        filed.times += 1;
        return 409;
    }
    match mood {
        Mood::Files => {}
        Mood::Refuses => return 422,
        Mood::Unavailable => return 503,
    }
    if book.len() >= BOOK_MAX {
        let oldest = book.iter().min_by_key(|(_, filed)| filed.received);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            book.remove(&oldest);
        }
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
