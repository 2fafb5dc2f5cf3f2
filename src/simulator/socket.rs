//! One WebSocket of the simulator: a tungstenite loop between a queue and the model.
//!
//! Blocks in `poll` on the socket and an eventfd. Pongs are sent by tungstenite
//! itself; a socket that is to be silent is therefore left unread, so that the
//! link stays and nothing answers.
//!
//! Invariant: the model hears of the end of the socket exactly once, and never
//! after it has ended the socket itself.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::model::{SocketId, SocketOut};
use super::server::Shared;

/// Messages read in one turn before others get theirs.
const READS_PER_TURN: usize = 64;
/// How long the other side may take to answer a close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Bytes that a client that does not read may cost.
const WRITE_BACKLOG: usize = 64 * 1024 * 1024;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(WRITE_BACKLOG)
        .max_message_size(Some(4 * 1024 * 1024))
        .max_frame_size(Some(4 * 1024 * 1024))
}

/// How the loop ended.
enum End {
    /// The client closed, or the link broke.
    Client,
    /// The model closed it.
    Model,
}

/// Runs a socket to its end. The handshake has been answered.
pub(super) fn run(
    stream: TcpStream,
    early: Vec<u8>,
    socket: SocketId,
    queue: &Receiver<SocketOut>,
    wake: &Arc<OwnedFd>,
    shared: &Shared,
) {
    if stream.set_nonblocking(true).is_err() {
        shared.closed(socket);
        return;
    }
    let mut ws = WebSocket::from_partially_read(stream, early, Role::Server, Some(config()));
    match turns(&mut ws, socket, queue, wake, shared) {
        End::Client => shared.closed(socket),
        End::Model => {}
    }
}

fn turns(
    ws: &mut WebSocket<TcpStream>,
    socket: SocketId,
    queue: &Receiver<SocketOut>,
    wake: &Arc<OwnedFd>,
    shared: &Shared,
) -> End {
    let mut pending = false;
    // Whether the close frame is out, and until when an answer is waited for.
    let mut closing: Option<Instant> = None;
    loop {
        let _ = rustix::io::read(wake.as_ref(), &mut [0u8; 8]);
        loop {
            let out = match queue.try_recv() {
                Ok(out) => out,
                Err(TryRecvError::Disconnected) if closing.is_none() => {
                    // The queue was full: the client does not read.
                    reset(ws.get_ref());
                    return End::Client;
                }
                Err(_) => break,
            };
            let written = match out {
                SocketOut::Frame { text, .. } => ws.write(Message::text(text)),
                SocketOut::Pong { .. } => Ok(()),
                SocketOut::Close { code, reason, .. } => {
                    closing = Some(Instant::now() + CLOSE_WAIT);
                    ws.close(Some(CloseFrame {
                        code: CloseCode::from(code),
                        reason: reason.into(),
                    }))
                }
                SocketOut::Reset { .. } => {
                    reset(ws.get_ref());
                    return End::Model;
                }
            };
            match written {
                Ok(()) => pending = true,
                Err(e) if would_block(&e) => pending = true,
                Err(_) => return ended(closing),
            }
        }
        let silent = closing.is_none() && shared.is_silent(socket);
        let mut more = false;
        if !silent {
            for turn in 0..READS_PER_TURN {
                match ws.read() {
                    Ok(Message::Text(text)) => shared.frame(socket, text.as_str()),
                    Ok(Message::Ping(payload)) => {
                        pending = true;
                        shared.ping(socket, &payload);
                    }
                    Ok(_) => {}
                    Err(e) if would_block(&e) => break,
                    Err(_) => return ended(closing),
                }
                more = turn + 1 == READS_PER_TURN;
            }
        }
        if pending {
            match ws.flush() {
                Ok(()) => pending = false,
                Err(e) if would_block(&e) => {}
                Err(_) => return ended(closing),
            }
        }
        if more || !queue.is_empty() {
            continue;
        }
        if closing.is_some_and(|until| Instant::now() >= until) {
            return End::Model;
        }
        if wait(ws.get_ref(), wake, silent, pending, closing).is_err() {
            return ended(closing);
        }
    }
}

/// Makes the end of the connection a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn ended(closing: Option<Instant>) -> End {
    if closing.is_some() {
        End::Model
    } else {
        End::Client
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(e) if e.kind() == io::ErrorKind::WouldBlock)
}

/// Waits for something to do. An error means that the link is gone.
fn wait(
    stream: &TcpStream,
    wake: &Arc<OwnedFd>,
    silent: bool,
    pending: bool,
    closing: Option<Instant>,
) -> io::Result<()> {
    let mut flags = PollFlags::RDHUP;
    if !silent {
        flags |= PollFlags::IN;
    }
    if pending {
        flags |= PollFlags::OUT;
    }
    let timeout = closing.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos().max(1_000_000)),
        }
    });
    let mut fds = [
        PollFd::new(stream, flags),
        PollFd::new(wake.as_ref(), PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
    if silent && fds[0].revents().intersects(gone) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(())
}
