//! A history manager that is not the limit: it answers 200 as soon as a request is
//! whole, and notes which conversation came when.
//!
//! Invariant: what it is asked for is read in full; a key that comes twice is counted.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::clock::now_ns;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[derive(Default)]
pub(crate) struct Book {
    /// When a record of a conversation came first, in ns since 1970.
    first: Mutex<HashMap<String, u64>>,
    came: Condvar,
    /// Posts, repetitions included.
    pub(crate) posts: AtomicU64,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    pub(crate) book: Arc<Book>,
}

impl Receiver {
    /// One that answers after `delay`.
    pub(crate) fn start(delay: Duration) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/communications", listener.local_addr().unwrap());
        let book = Arc::new(Book::default());
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let book = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &book, delay));
            }
        });
        Receiver { url, book }
    }
}

impl Book {
    pub(crate) fn forget(&self) {
        self.first.lock().unwrap().clear();
    }

    /// Waits until as many conversations have a record; false if that takes too long.
    pub(crate) fn wait_for(&self, count: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut first = self.first.lock().unwrap();
        while first.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            first = self.came.wait_timeout(first, left).unwrap().0;
        }
        true
    }

    pub(crate) fn when(&self, conversation: &str) -> Option<u64> {
        self.first.lock().unwrap().get(conversation).copied()
    }

    pub(crate) fn last(&self) -> u64 {
        let first = self.first.lock().unwrap();
        first.values().copied().max().unwrap_or_default()
    }
}

fn serve(mut stream: TcpStream, book: &Book, delay: Duration) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut block = [0; 64 * 1024];
    loop {
        while let Some((head, whole)) = request(&buffer) {
            let at = now_ns();
            if let Some(id) = conversation(&buffer[head..whole]) {
                let mut first = book.first.lock().unwrap();
                first.entry(id).or_insert(at);
                book.came.notify_all();
            }
            book.posts.fetch_add(1, Ordering::Relaxed);
            buffer.drain(..whole);
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
        match stream.read(&mut block) {
            Ok(n) if n > 0 => buffer.extend_from_slice(&block[..n]),
            _ => return,
        }
    }
}

/// Where the head and the whole of the first request end, if it is all there.
fn request(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).unwrap();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = head + length.unwrap_or(0);
    (buffer.len() >= whole).then_some((head, whole))
}

/// The id as the default body has it near its beginning.
fn conversation(body: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\"conversationId\":\"";
    let at = body.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
    Some(String::from_utf8(body.get(at..at + 36)?.to_vec()).unwrap())
}
