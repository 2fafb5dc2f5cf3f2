//! What the machine and the libraries do with nothing else to do: the floors that the
//! gateway's figures are set against, taken in the same run.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tungstenite::Message;
use tungstenite::protocol::Role;

use crate::callers::Caller;
use crate::receiver::Receiver;

const SPAN: Duration = Duration::from_secs(2);

/// The body that a record of the benchmark has, about.
pub(crate) const BODY_BYTES: usize = 900;

/// Times a small file is written over and synced on the file system of the database, as a
/// commit in a log that keeps its size: the durations, ascending.
pub(crate) fn syncs(at: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(at.join("floor")).unwrap();
    // Two pages with their frames' heads.
    let page = [7u8; 2 * 4120];
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    let began = Instant::now();
    let mut each = Vec::new();
    let mut place = 0;
    while began.elapsed() < SPAN {
        let from = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &page, place).unwrap();
        file.sync_data().unwrap();
        each.push(from.elapsed());
        place = (place + page.len() as u64) % (1 << 19);
    }
    each.sort();
    each
}

/// Posts a second of the same client library to the same receiver, over so many connections;
/// and how long one takes when it is alone, ascending.
pub(crate) fn posts(receiver: &Receiver, workers: usize) -> (f64, Vec<Duration>) {
    let agent = ureq::Agent::config_builder()
        .max_idle_connections_per_host(workers)
        .build()
        .new_agent();
    let body = "x".repeat(BODY_BYTES);
    let post = || {
        let mut answer = agent.post(&receiver.url).send(&body).unwrap();
        answer.body_mut().read_to_vec().unwrap();
    };
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while began.elapsed() < SPAN {
                    post();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let rate = done.into_inner() as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let mut each = Vec::new();
    while began.elapsed() < SPAN / 2 {
        let from = Instant::now();
        post();
        each.push(from.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    each.sort();
    (rate, each)
}

/// Frames a second that the WebSocket library reads.
pub(crate) fn frames() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let text = "x".repeat(BODY_BYTES);
    let sender = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::WebSocket::from_raw_socket(stream, Role::Server, None);
        while socket.send(Message::text(text.clone())).is_ok() {}
    });
    let stream = TcpStream::connect(at).unwrap();
    let mut socket = tungstenite::WebSocket::from_raw_socket(stream, Role::Client, None);
    let began = Instant::now();
    let mut count = 0usize;
    while began.elapsed() < SPAN {
        socket.read().unwrap();
        count += 1;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    drop(socket);
    sender.join().unwrap();
    rate
}

/// Requests a second that tiny_http answers over so many kept connections.
pub(crate) fn server(connections: usize) -> f64 {
    let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let at = server.server_addr().to_string();
    for _ in 0..16 {
        let server = std::sync::Arc::clone(&server);
        std::thread::spawn(move || {
            while let Ok(mut request) = server.recv() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let _ = request.respond(tiny_http::Response::from_string(body));
            }
        });
    }
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut caller = Caller::new(&at);
                while began.elapsed() < SPAN {
                    caller.report("7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let rate = done.into_inner() as f64 / began.elapsed().as_secs_f64();
    server.unblock();
    rate
}
