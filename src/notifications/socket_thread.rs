//! The thread of one socket on one channel: it dials, then blocks in
//! `poll([socket, eventfd])` and runs the socket's [`Session`].
//!
//! ```text
//! loop ──orders (queue, 256)──► thread ──► socket
//! loop ◄──facts (callback, may block)── thread ◄── socket
//! ```
//!
//! Giving an order never blocks: the queue is bounded, and when it is full the
//! giver is told. Reporting a fact may block while the loop is busy; the thread
//! then stops reading, and the platform's frames wait in the kernel.
//!
//! Every wake-up goes the same way: take orders, read until nothing is left,
//! tick if a deadline has passed, flush, poll. Reading comes before the tick, so
//! that a thread that was held up does not take its own delay for silence, and
//! before the poll, because TLS and WebSocket layers may hold data that poll
//! does not see.
//!
//! Invariant: the last fact of a thread is [`Fact::Ended`], and none shows the
//! connect URI or the channel id. Dropping the handle ends the thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::{Message, Utf8Bytes};

use super::clock::Clock;
use super::dial::{Connector, Socket, Veil, fd_of};
use base::secret::Secret;
use proto::frames::Unknown;
use proto::session::{End, Fact, Input, Order, Output, Session, SessionSettings, SocketRef};

/// Orders that may wait for one thread; the loop is told when there is no room.
pub const ORDERS_MAX: usize = 256;

/// Ids of channels are longer than anything else that stands in their place.
const ID_MIN: usize = 8;

/// Frames read, and orders taken, before the thread looks at everything else again.
const BUDGET: usize = 256;

/// Rounds in which frames kept coming until the clock is looked at nevertheless.
const ROUNDS_WITHOUT_TICK: u32 = 8;

/// How long a polite close usually waits for the other side's answer.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// The close code of a close frame without one (RFC 6455, section 7.1.5).
const NO_CODE: u16 = 1005;

/// Where facts go. It may block; it may not panic.
pub type Facts = Box<dyn Fn(SocketRef, Fact) + Send>;

/// All that a channel thread needs.
pub struct ChannelThread {
    /// Whom it works for.
    pub socket: SocketRef,
    /// Where to connect.
    pub connect_uri: Secret,
    /// How patient it is.
    pub session: SessionSettings,
    /// How sockets are opened.
    pub connector: Arc<Connector>,
    /// Where facts go.
    pub facts: Facts,
    /// The clocks.
    pub clock: Arc<Clock>,
    /// The thread's name.
    pub name: String,
    /// How long a polite close waits for the other side's answer.
    pub farewell: Duration,
}

impl fmt::Debug for ChannelThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelThread({:?})", self.socket)
    }
}

/// The queue of orders is full: the thread is held up, or still dialling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The loop's end of a channel thread. Dropping it closes the socket.
#[derive(Debug)]
pub struct ChannelHandle {
    socket: SocketRef,
    /// `None` once dropped on purpose.
    orders: Option<Sender<Order>>,
    wake: Arc<OwnedFd>,
    given_up: Arc<AtomicBool>,
    over: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// The usual name of a channel's thread, `channel-NN`.
#[must_use]
pub fn name_of(slot: u8) -> String {
    format!("channel-{slot:02}")
}

/// Starts the thread.
///
/// # Errors
/// The system has no thread or no file descriptor left.
pub fn spawn(thread: ChannelThread) -> Result<ChannelHandle, io::Error> {
    let socket = thread.socket;
    // One of an earlier run is known from here on.
    crate::redaction::learn_passing(&thread.connect_uri);
    for id in ids_in(thread.connect_uri.expose()) {
        crate::redaction::learn_passing(&Secret::new(id));
    }
    let (orders, taken) = bounded(ORDERS_MAX);
    let (alive, over) = bounded(0);
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let wake = Arc::new(eventfd(0, flags)?);
    let woken = wake.clone();
    let given_up = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&given_up);
    let thread = std::thread::Builder::new()
        .name(thread.name.clone())
        .spawn(move || {
            // Dropped last: who waits for the end sees it when all else is gone.
            let _alive: Sender<()> = alive;
            Runner::new(thread, taken, woken, gone).run();
        })?;
    Ok(ChannelHandle {
        socket,
        orders: Some(orders),
        wake,
        given_up,
        over,
        thread: Some(thread),
    })
}

/// What of a connect URI gives the channel away by itself: the end of the path, and what is set
/// to something long behind it. Short words would hide half of the log.
fn ids_in(uri: &str) -> impl Iterator<Item = &str> {
    // The host is no secret.
    let (_, behind) = uri.split_once("://").unwrap_or(("", uri));
    let (_, behind) = behind.split_once('/').unwrap_or_default();
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    let values = query
        .split('&')
        .filter_map(|pair| Some(pair.split_once('=')?.1));
    let ids = path.rsplit('/').take(1).chain(values);
    ids.filter(|id| id.len() >= ID_MIN)
}

impl ChannelHandle {
    /// Whom the thread works for.
    #[must_use]
    pub fn socket(&self) -> SocketRef {
        self.socket
    }

    /// Gives an order; never blocks. An order to a thread that is over is
    /// answered by the [`Fact::Ended`] that it has sent.
    ///
    /// # Errors
    /// No room in the queue; nothing was given.
    pub fn send(&self, order: Order) -> Result<(), Full> {
        let Some(orders) = &self.orders else {
            return Ok(());
        };
        match orders.try_send(order) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(Full),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Ends the thread and waits for it until `deadline`. True if it has ended.
    /// While its facts are not taken, it cannot end.
    pub fn join(mut self, deadline: Instant) -> bool {
        self.hang_up();
        // The sender is never used; its drop is the signal.
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = self.over.recv_deadline(deadline)
        {
            return false;
        }
        self.thread.take().is_none_or(|t| t.join().is_ok())
    }

    fn wake(&self) {
        // It fails only when 2^64 - 2 wake-ups are pending; then one more changes nothing.
        let _ = rustix::io::write(self.wake.as_fd(), &1u64.to_ne_bytes());
    }

    fn hang_up(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.orders = None;
        self.wake();
    }
}

impl Drop for ChannelHandle {
    fn drop(&mut self) {
        self.hang_up();
    }
}

struct Runner {
    socket: SocketRef,
    connect_uri: Secret,
    veil: Veil,
    connector: Arc<Connector>,
    facts: Facts,
    clock: Arc<Clock>,
    farewell: Duration,
    session: Session,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    /// The handle is gone: nobody waits for the socket any more.
    given_up: Arc<AtomicBool>,
    /// Its close has been passed on.
    hung_up: bool,
    /// Frames without use for us.
    odd: u64,
}

/// What a step leaves to do.
enum Flow {
    /// Go on.
    On,
    /// The socket is over.
    Over(End),
}

/// Whether the socket has to be watched for room to write.
#[derive(Default)]
struct Line {
    /// Bytes wait for room.
    pending: bool,
    /// A polite close was sent; until when to wait for its answer.
    farewell: Option<Instant>,
}

impl Runner {
    fn new(
        thread: ChannelThread,
        orders: Receiver<Order>,
        wake: Arc<OwnedFd>,
        given_up: Arc<AtomicBool>,
    ) -> Runner {
        let now = thread.clock.now();
        Runner {
            veil: Veil::new(&thread.connect_uri),
            session: Session::new(thread.session, now),
            socket: thread.socket,
            connect_uri: thread.connect_uri,
            connector: thread.connector,
            facts: thread.facts,
            clock: thread.clock,
            farewell: thread.farewell,
            orders,
            wake,
            given_up,
            hung_up: false,
            odd: 0,
        }
    }

    fn run(mut self) {
        let end =
            match self
                .connector
                .dial(&self.connect_uri, self.clock.now().wall, &self.given_up)
            {
                Ok(mut ws) => {
                    let end = self.serve(&mut ws);
                    // One try to say goodbye; the kernel sends it or not.
                    let _ = ws.close(None);
                    end
                }
                Err(end) => end,
            };
        // The socket is closed by now, so that a successor on the same channel
        // never meets it.
        self.session.handle(Input::Ended(end), self.clock.now());
        while let Some(output) = self.session.poll_output() {
            if let Output::Fact(fact) = output {
                self.report(fact);
            }
        }
    }

    fn serve(&mut self, ws: &mut Socket) -> End {
        let mut line = Line::default();
        let mut rounds = 0;
        if let Flow::Over(end) = self.tell(ws, &mut line, Input::Opened) {
            return end;
        }
        loop {
            let (more_orders, flow) = self.take_orders(ws, &mut line);
            if let Flow::Over(end) = flow {
                return end;
            }
            let drained = match self.read(ws, &mut line) {
                Ok(drained) => drained,
                Err(end) => return end,
            };
            rounds = if drained { 0 } else { rounds + 1 };
            if rounds == 0 || rounds >= ROUNDS_WITHOUT_TICK {
                rounds = 0;
                if let Flow::Over(end) = self.tick(ws, &mut line) {
                    return end;
                }
            }
            // Also for the pongs that the library queues by itself.
            match ws.flush() {
                Ok(()) => line.pending = false,
                Err(Error::Io(e)) if is_would_block(&e) => line.pending = true,
                Err(error) => return self.broken(error),
            }
            if line.farewell.is_some_and(|until| Instant::now() >= until) {
                return End::Ordered;
            }
            if drained && !more_orders {
                self.wait(ws, &line);
            }
        }
    }

    /// Passes orders on. True if there may be more.
    fn take_orders(&mut self, ws: &mut Socket, line: &mut Line) -> (bool, Flow) {
        // Cleared before the queue is looked at: an order given in between wakes again.
        let mut counter = [0; 8];
        let _ = rustix::io::read(self.wake.as_fd(), &mut counter);
        for _ in 0..BUDGET {
            let order = match self.orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => return (false, Flow::On),
                Err(TryRecvError::Disconnected) if self.hung_up => return (false, Flow::On),
                Err(TryRecvError::Disconnected) => {
                    self.hung_up = true;
                    Order::Close
                }
            };
            if let Flow::Over(end) = self.tell(ws, line, Input::Order(order)) {
                return (false, Flow::Over(end));
            }
        }
        (true, Flow::On)
    }

    /// Reads what is there. True if nothing is left.
    fn read(&mut self, ws: &mut Socket, line: &mut Line) -> Result<bool, End> {
        for _ in 0..BUDGET {
            let flow = match ws.read() {
                Ok(Message::Text(text)) => self.tell(ws, line, Input::Text(&text)),
                Ok(Message::Close(frame)) => {
                    let code = frame.map_or(NO_CODE, |f| f.code.into());
                    return Err(End::Closed(code));
                }
                Ok(_) => self.tell(ws, line, Input::OtherFrame),
                Err(Error::Io(e)) if is_would_block(&e) => return Ok(true),
                Err(error) => return Err(self.broken(error)),
            };
            if let Flow::Over(end) = flow {
                return Err(end);
            }
        }
        Ok(false)
    }

    fn tick(&mut self, ws: &mut Socket, line: &mut Line) -> Flow {
        match self.session.next_deadline() {
            Some(deadline) if deadline.at <= self.clock.now().mono => {
                self.tell(ws, line, Input::Tick)
            }
            _ => Flow::On,
        }
    }

    /// One input to the session, and all that follows from it.
    fn tell(&mut self, ws: &mut Socket, line: &mut Line, input: Input<'_>) -> Flow {
        self.session.handle(input, self.clock.now());
        let mut flow = Flow::On;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Fact(fact) => self.report(fact),
                Output::Odd(unknown) => self.odd(unknown),
                Output::Send(text) => {
                    if let Flow::On = flow {
                        flow = self.send(ws, line, text);
                    }
                }
                Output::Close { polite: false } => flow = Flow::Over(End::Ordered),
                Output::Close { polite: true } => {
                    line.farewell = Some(Instant::now() + self.farewell);
                    match ws.close(None) {
                        Ok(()) => {}
                        Err(Error::Io(e)) if is_would_block(&e) => line.pending = true,
                        Err(_) => flow = Flow::Over(End::Ordered),
                    }
                }
            }
        }
        flow
    }

    /// The first few of a socket, then ever fewer: the log has a bound.
    fn odd(&mut self, unknown: Unknown) {
        self.odd += 1;
        if self.odd <= 8 || self.odd.is_power_of_two() {
            let (slot, n) = (self.socket.slot, self.odd);
            log::debug!("channel {slot}: a frame without use for us ({unknown}), number {n}");
        }
    }

    /// "Would block" means queued: the frame must not be sent again, only flushed.
    fn send(&self, ws: &mut Socket, line: &mut Line, text: String) -> Flow {
        match ws.send(Message::Text(Utf8Bytes::from(text))) {
            Ok(()) => Flow::On,
            Err(Error::Io(e)) if is_would_block(&e) => {
                line.pending = true;
                Flow::On
            }
            Err(error) => Flow::Over(self.broken(error)),
        }
    }

    fn report(&self, fact: Fact) {
        let fact = match fact {
            Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            } => Fact::Refused {
                ticket,
                confirmed,
                result,
                message: self.veil.cover(&message),
            },
            other => other,
        };
        (self.facts)(self.socket, fact);
    }

    fn broken(&self, error: Error) -> End {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => End::Closed(NO_CODE),
            // Over TLS the library's words for it are a page long.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                End::Broken("the connection ended without a close frame".into())
            }
            Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                End::Broken("the connection ended without a close frame".into())
            }
            Error::Io(e) => End::Broken(self.veil.cover(&e.to_string())),
            Error::Tls(e) => End::Broken(self.veil.cover(&e.to_string())),
            Error::WriteBufferFull(_) => End::Broken("the other side does not read".into()),
            other => End::Misbehaved(self.veil.cover(&other.to_string())),
        }
    }

    /// Blocks until the socket is ready, an order comes, or something is due.
    fn wait(&self, ws: &Socket, line: &Line) {
        let due = self.session.next_deadline();
        let due = due.map(|d| self.clock.until(d.at));
        let farewell = line
            .farewell
            .map(|until| until.saturating_duration_since(Instant::now()));
        let patience = match (due, farewell) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = patience.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        let mut interest = PollFlags::IN;
        if line.pending {
            interest |= PollFlags::OUT;
        }
        let socket = fd_of(ws);
        let mut fds = [
            PollFd::from_borrowed_fd(socket, interest),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
        ];
        // An interrupted wait is a wake-up without a cause, which does no harm.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

fn is_would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_channel_is_found_wherever_it_stands_and_nothing_short() {
        let ids = |uri| ids_in(uri).collect::<Vec<_>>();
        assert_eq!(ids("wss://h/channels/streaming-0-abc"), ["streaming-0-abc"]);
        assert_eq!(
            ids("wss://h/channels/streaming-0-abc?x=1"),
            ["streaming-0-abc"]
        );
        assert_eq!(
            ids("wss://h/c?v=2&channel=streaming-0-abc"),
            ["streaming-0-abc"]
        );
        for nothing in ["wss://h/", "wss://streaming.example", "streaming.example"] {
            assert!(ids(nothing).is_empty(), "{nothing}");
        }
    }
}
