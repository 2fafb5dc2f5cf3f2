//! The connection threads of both ports: admitted, counted, answered.
//!
//! Invariant: a thread's place is given back however it ends; no private mark
//! of the model leaves on the wire.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::control_http;
use super::http1::{Connection, Unread};
use super::model::{Mark, take_marks};
use super::server::{Entered, Port, Shared, hold};
use super::socket;
use base::wire::Response;

/// Connections at once, both ports together; beyond it they are closed unanswered.
/// Two descriptors each, three with a WebSocket: this stays below the usual limit of 1024.
const CONNECTIONS: usize = 300;

/// Counts a connection while it lives.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        hold(&self.shared.streams).remove(&self.number);
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Starts a thread for a connection, if there is a place.
pub(super) fn admit(stream: TcpStream, shared: &Arc<Shared>, base: &Arc<str>, port: Port) {
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_nodelay(true))
        .and_then(|()| stream.try_clone());
    let Ok(twin) = prepared else { return };
    if shared.connections.load(Ordering::Acquire) >= CONNECTIONS {
        return;
    }
    shared.connections.fetch_add(1, Ordering::AcqRel);
    let number = shared.next_stream.fetch_add(1, Ordering::AcqRel) as u64;
    hold(&shared.streams).insert(number, twin);
    let place = Place {
        shared: Arc::clone(shared),
        number,
    };
    if shared.is_stopping() {
        return;
    }
    let base = Arc::clone(base);
    // If no thread can be had, the place is dropped and the connection closed.
    let _ = thread::Builder::new()
        .name("simulator-connection".into())
        .stack_size(512 * 1024)
        .spawn(move || {
            serve(Connection::new(stream), &place.shared, &base, port);
        });
}

/// What comes of one request.
pub(super) enum Reply {
    /// An answer, and the connection goes on.
    Answer(Response),
    /// The connection is closed without an answer.
    Drop,
    /// Nothing is answered; the connection stays until the client closes it.
    Hang,
}

fn serve(mut connection: Connection, shared: &Shared, base: &str, port: Port) {
    loop {
        let incoming = match connection.read(base) {
            Ok(incoming) => incoming,
            Err(Unread::Over) => return,
            Err(Unread::Refuse(status)) => {
                let _ = connection.write(&Response::empty(status), false, false);
                return;
            }
        };
        if let (Port::Api, Some(key)) = (port, &incoming.websocket_key) {
            let path = incoming.request.url.strip_prefix(base).unwrap_or("/");
            match shared.enter(path) {
                Ok(entered) => run_socket(connection, key, &entered, shared),
                Err(refusal) => match settle(refusal, shared) {
                    Reply::Answer(answer) => {
                        let _ = connection.write(&answer, false, false);
                    }
                    Reply::Drop => {}
                    Reply::Hang => hang(&connection),
                },
            }
            return;
        }
        let reply = match port {
            Port::Api => {
                let answer = shared.with(|p, now| p.http(&incoming.request, now));
                settle(answer, shared)
            }
            Port::Control => control_http::answer(&incoming.request, shared),
        };
        let answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::Drop => return,
            Reply::Hang => return hang(&connection),
        };
        let head_only = incoming.request.method == "HEAD";
        let keep = incoming.keep_alive && !shared.is_stopping();
        if connection.write(&answer, head_only, keep).is_err() || !keep {
            return;
        }
    }
}

/// Interprets and removes the private mark of an answer.
fn settle(mut answer: Response, shared: &Shared) -> Reply {
    match take_marks(&mut answer) {
        None => Reply::Answer(answer),
        Some(Mark::NoAnswer) => Reply::Drop,
        Some(Mark::Hang) => Reply::Hang,
        Some(Mark::Delay(d)) => {
            if shared.sleep(d) {
                Reply::Answer(answer)
            } else {
                Reply::Drop
            }
        }
    }
}

/// Keeps a connection without a word until the client, or `stop`, ends it.
fn hang(connection: &Connection) {
    let mut stream = connection.stream();
    let mut sink = [0u8; 1024];
    while let Ok(n) = io::Read::read(&mut stream, &mut sink) {
        if n == 0 {
            return;
        }
    }
}

/// Answers a WebSocket handshake and runs the socket to its end.
fn run_socket(connection: Connection, key: &str, entered: &Entered, shared: &Shared) {
    let (socket, queue, wake) = entered;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let (mut stream, early) = connection.into_parts();
    if io::Write::write_all(&mut stream, switch.as_bytes()).is_ok() {
        socket::run(stream, early, *socket, queue, wake, shared);
    } else {
        shared.closed(*socket);
    }
    shared.leave(*socket);
}
