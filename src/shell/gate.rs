//! The gate: owns a public listener, takes in one whole request at a time under
//! deadlines and bounds, refuses what is not clean, and passes each clean
//! request on to the HTTP server on a private unix socket.
//!
//! The server behind it must never see a byte that has not been checked:
//! exposed as it is, one client can abort the process with a header, fill its
//! memory, hold every worker, or end its listener for good.
//!
//! ```text
//! client ─► accept thread ─(caps)─► a thread per connection ─(one at a time)─► unix socket ─► server
//! ```
//!
//! What can be judged by the head alone (a token, a path, a method) is answered at
//! the head, before any byte of a body is read or asked for; so is health, which
//! then depends on nothing behind the gate.
//!
//! Invariants: the accept thread ends only when told to; connections, requests
//! behind the gate, bytes of head, body and answer, and every wait have a bound,
//! and a share for each peer; who waits for nothing makes room for who asks (see
//! `seats`); the listener itself is never shut down, because an inherited one
//! belongs to the service manager too.

mod chunked;
mod connection;
mod door;
#[cfg(any(test, feature = "windows"))]
mod fuzzing;
mod guesses;
mod head;
mod listener;
mod refusal;
mod relay;
mod seats;
mod stream;
mod tls;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::http::cors::Origins;
use super::http::exchange::{Exchange, Reply};
use super::server_tls::ServerTls;
use door::Door;
use filing::settings::CALLER_OUTCOME_MAX;
#[cfg(any(test, feature = "windows"))]
pub(crate) use fuzzing::{fuzz_body, fuzz_head};
use guesses::Guesses;
pub use listener::Listener;
use notifications::seldom::Seldom;
use refusal::Refusal;
use seats::{SeatLimits, Seats};
use stream::{Peer, Stream};
use tls::TlsStream;

/// The private field that tells the server who asks: `ip:port`, or `unix:` and the user's number.
pub const PEER_FIELD: &str = "X-Gate-Peer";
/// The private field that tells the server until when an answer is of use, in
/// milliseconds as [`is_past`] reads them.
pub const DEADLINE_FIELD: &str = "X-Gate-Deadline";

/// Connections that the kernel holds for us while the accept thread is busy.
const BACKLOG: i32 = 1024;
/// See [`GateLimits::answer`].
const ANSWER_MAX: Duration = Duration::from_secs(75);
// Who has waited for the outcome is told so by the one who knows, and not by the gate.
const _: () = assert!(ANSWER_MAX.as_secs() >= CALLER_OUTCOME_MAX.as_secs() + 10);
const CONNECTION_STACK: usize = 256 * 1024;
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);
/// One log line of a kind in this time, whatever happens.
const LOG_EVERY: Duration = Duration::from_secs(10);

fn start_of_time() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn millis_since_start(at: Instant) -> u128 {
    at.saturating_duration_since(start_of_time()).as_millis()
}

/// Whether the deadline that came in [`DEADLINE_FIELD`] has passed: the gate has
/// answered by itself then, and nobody waits for the server any more.
#[must_use]
pub fn is_past(deadline: &str) -> bool {
    deadline
        .parse::<u128>()
        .is_ok_and(|at| at <= millis_since_start(Instant::now()))
}

/// The bounds of one gate.
#[derive(Clone, Debug)]
pub struct GateLimits {
    /// Connections at once; lowered at start if the limit on open files asks for it.
    pub connections: usize,
    /// Connections at once of one peer: an IPv4 address, an IPv6 /64, this machine
    /// whatever its loopback address, a user on a unix socket. Shrinks with the whole.
    pub per_peer: usize,
    /// Further connections, for what is answered at the head alone (health).
    pub reserved: usize,
    /// Further connections whose requests wait for something ([`Held`]); seven eighths of them for
    /// one peer. Lowered with `connections`.
    pub held: usize,
    /// Bytes that bodies and answers may take in all, beyond 64 KiB of each; half
    /// of it for one peer.
    pub memory: usize,
    /// Requests behind the gate at once; others wait for one of them. One peer alone
    /// may have seven eighths of them (see `door`).
    pub in_flight: usize,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Bytes of a body.
    pub body_bytes: u64,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Whether a POST has to declare its length or be chunked (else none means no body).
    pub length_required: bool,
    /// Targets that may be asked for without a `Host`, whatever the version: probes
    /// of load balancers leave it out.
    pub hostless: &'static [&'static str],
    /// From the first byte to the end of the head; also the patience with a
    /// connection that says nothing at all.
    pub head: Duration,
    /// For the whole body.
    pub body: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// For the answer of the server behind the gate; longer than a caller waits for the
    /// outcome of a transaction.
    pub answer: Duration,
    /// For the client to take its answer.
    pub write: Duration,
}

impl Default for GateLimits {
    fn default() -> GateLimits {
        GateLimits {
            connections: 512,
            per_peer: 128,
            reserved: 0,
            held: 0,
            memory: 64 * 1024 * 1024,
            in_flight: 64,
            head_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            answer_bytes: 8 * 1024 * 1024,
            length_required: true,
            hostless: &[],
            head: Duration::from_secs(10),
            body: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            answer: ANSWER_MAX,
            write: Duration::from_secs(15),
        }
    }
}

impl GateLimits {
    /// Bytes that connections take at most by themselves, `memory` and what is behind the gate
    /// aside: stacks, heads as bytes and as fields, buffers, bodies or answers up to the allowance.
    #[must_use]
    pub fn memory_of_connections(&self) -> usize {
        let buffers = 2 * connection::CHUNK;
        let each = CONNECTION_STACK + 2 * self.head_bytes + buffers + seats::ALLOWANCE;
        (self.connections + self.reserved + seats::LEAVING_MAX) * each
    }

    /// Bytes that connections whose requests wait take at most by themselves.
    #[must_use]
    pub fn memory_of_held(&self) -> usize {
        self.held * self.memory_of_connections()
            / (self.connections + self.reserved + seats::LEAVING_MAX)
    }
}

/// What a gate needs to start.
#[derive(Debug)]
pub struct GateSettings {
    /// The public listener, bound already.
    pub listener: Listener,
    /// TLS, spoken by every connection over TCP; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// The private unix socket of the server, in a directory that only we may enter.
    pub backend: PathBuf,
    /// Name of its threads and log lines.
    pub name: &'static str,
    /// Its bounds.
    pub limits: GateLimits,
    /// Origins whose pages may read what the gate refuses by itself.
    pub origins: Origins,
    /// Asked with every head, before its body: what it gives is the answer.
    pub reception: Reception,
}

/// Judges a request by its head; the body of the exchange is empty. Must not wait.
#[derive(Clone)]
pub struct Reception(pub Arc<Judge>);

/// What a [`Reception`] asks.
pub type Judge = dyn Fn(&Exchange) -> Welcome + Send + Sync;

/// What becomes of a request by its head.
pub enum Welcome {
    /// This is the answer.
    Answered(Reply),
    /// It goes on to the server.
    Passed,
    /// It goes on once what it waits for is there.
    Held(Box<dyn Held>),
}

/// What a request waits for, on its own connection, which leaves its seat to others meanwhile.
pub trait Held {
    /// Readable once it is there.
    fn bell(&self) -> BorrowedFd<'_>;
    /// It is not waited for any longer than this.
    fn until(&self) -> Instant;
    /// The answer where it did not come, or the gate stops.
    fn nothing(&self) -> Reply;
    /// The answer where no more requests may wait.
    fn no_room(&self) -> Reply;
}

impl std::fmt::Debug for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reception")
    }
}

/// What a gate has done so far; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Connections open now.
    pub open: usize,
    /// Connections taken in.
    pub accepted: u64,
    /// Connections turned away because of a cap.
    pub turned_away: u64,
    /// Connections that waited for nothing, or too long, and made room for others.
    pub sent_away: u64,
    /// Requests refused because they were not clean, too large or late.
    pub refused: u64,
    /// Of these: too large, head or body.
    pub too_large: u64,
    /// Of these: late.
    pub late: u64,
    /// Of these: without a length.
    pub without_length: u64,
    /// Of these: there was no memory left for its body or its answer.
    pub no_memory: u64,
    /// Requests that the server behind the gate left without an answer.
    pub unanswered: u64,
}

/// What the accept thread, the connections and the handle share.
struct Shared {
    name: &'static str,
    tls: Option<ServerTls>,
    backend: PathBuf,
    limits: GateLimits,
    origins: Origins,
    door: Door,
    reception: Reception,
    seats: Arc<Seats>,
    guesses: Guesses,
    stop: AtomicBool,
    /// Becomes readable when the gate stops, and stays so for everyone who polls it.
    stop_signal: OwnedFd,
    accepted: AtomicU64,
    turned_away: AtomicU64,
    refused: AtomicU64,
    too_large: AtomicU64,
    late: AtomicU64,
    without_length: AtomicU64,
    no_memory: AtomicU64,
    unanswered: AtomicU64,
    complaints: Seldom,
}

impl Shared {
    fn counts(&self) -> GateCounts {
        GateCounts {
            open: self.seats.taken(),
            sent_away: self.seats.sent_away(),
            no_memory: self.no_memory.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            too_large: self.too_large.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            without_length: self.without_length.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn count_refusal(&self, refusal: Refusal) {
        if matches!(
            refusal,
            Refusal::Unanswered | Refusal::Broken | Refusal::Busy
        ) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            self.complain(|| format!("a request was left without an answer ({refusal:?})"));
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let among = match refusal {
                Refusal::BodyTooLarge(_) | Refusal::HeadTooLarge => Some(&self.too_large),
                Refusal::Late => Some(&self.late),
                Refusal::NoLength => Some(&self.without_length),
                Refusal::NoMemory => Some(&self.no_memory),
                _ => None,
            };
            if let Some(count) = among {
                count.fetch_add(1, Ordering::Relaxed);
            }
            log::debug!("{}: a request was refused ({refusal:?})", self.name);
        }
    }

    /// Says it as a warning, at most once in [`LOG_EVERY`].
    fn complain(&self, what: impl FnOnce() -> String) {
        if let Some(left_out) = self.complaints.now() {
            log::warn!("{}: {}{left_out}", self.name, what());
        }
    }

    /// The connection as it is spoken here; nothing where there can be no session.
    fn spoken(&self, stream: Stream) -> Option<Stream> {
        match (&self.tls, stream) {
            (Some(tls), Stream::Tcp(socket)) => match TlsStream::new(socket, tls.config()) {
                Ok(stream) => Some(Stream::Tls(Box::new(stream))),
                Err(e) => {
                    self.complain(|| format!("no TLS session can be had: {e}"));
                    None
                }
            },
            (_, stream) => Some(stream),
        }
    }

    fn admit(self: &Arc<Shared>, stream: Stream, peer: Peer) {
        let Some(stream) = self.spoken(stream) else {
            return;
        };
        let seat = match self.seats.take(stream, peer.key()) {
            Ok(seat) => Arc::new(seat),
            Err(stream) => return self.turn_away(&stream, "more connections than allowed"),
        };
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(self);
        // Kept here so that it can be answered if there is no thread.
        let for_thread = Arc::clone(&seat);
        let spawned = Builder::new()
            .name(format!("{}-conn", self.name))
            .stack_size(CONNECTION_STACK)
            .spawn(move || connection::serve(&shared, &for_thread, peer));
        if let (Err(e), Some(stream)) = (spawned, seat.stream()) {
            self.turn_away(stream, &format!("no thread for a connection: {e}"));
        }
    }

    fn turn_away(&self, stream: &Stream, why: &str) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        self.complain(|| format!("connections are turned away with 503: {why}"));
        stream.dismiss(&Refusal::Busy.answer(false, &[]));
    }

    fn accept_loop(self: &Arc<Shared>, listener: &Listener) {
        while !self.stopping() {
            let mut both = [
                PollFd::new(listener, PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop_signal.as_fd(), PollFlags::IN),
            ];
            if let Err(e) = poll(&mut both, None)
                && e != rustix::io::Errno::INTR
            {
                self.complain(|| format!("waiting for connections: {e}"));
                self.pause();
                continue;
            }
            if self.stopping() {
                return;
            }
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.complain(|| format!("taking a connection: {e}"));
                        self.pause();
                    }
                },
            }
        }
    }

    fn pause(&self) {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(AFTER_ACCEPT_ERROR.subsec_nanos()),
        };
        let mut stop = [PollFd::from_borrowed_fd(
            self.stop_signal.as_fd(),
            PollFlags::IN,
        )];
        let _ = poll(&mut stop, Some(&timeout));
    }
}

/// A gate at work.
pub struct Gate {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Gate {
    /// Takes over the listener.
    ///
    /// # Errors
    /// The environment: no event descriptor, no thread, or a listener that is none.
    pub fn start(settings: GateSettings) -> io::Result<Gate> {
        let GateSettings {
            listener,
            tls,
            backend,
            name,
            mut limits,
            origins,
            reception,
        } = settings;
        let _ = start_of_time();
        listener.set_nonblocking()?;
        rustix::net::listen(&listener, BACKLOG)?;
        let fitting = fitting_connections(limits.in_flight);
        // Each takes two descriptors: its socket, and the bell.
        limits.held = limits.held.min(fitting / 8);
        let fitting = fitting.saturating_sub(2 * limits.held).max(8);
        if limits.connections > fitting {
            log::warn!(
                "{name}: {fitting} connections at once instead of {}, because of the limit on open files",
                limits.connections
            );
            // The bound for one peer keeps its share of the whole.
            limits.per_peer = (limits.per_peer * fitting / limits.connections).max(1);
            limits.connections = fitting;
        }
        let seats = Seats::new(SeatLimits {
            seats: limits.connections,
            per_peer: limits.per_peer,
            reserved: limits.reserved,
            held: limits.held,
            memory: limits.memory,
        });
        let shared = Arc::new(Shared {
            name,
            tls,
            backend,
            door: Door::new(limits.in_flight),
            limits,
            origins,
            reception,
            seats,
            guesses: Guesses::default(),
            stop: AtomicBool::new(false),
            stop_signal: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            accepted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
            late: AtomicU64::new(0),
            without_length: AtomicU64::new(0),
            no_memory: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            complaints: Seldom::new(LOG_EVERY),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = Builder::new()
            .name(format!("{name}-gate"))
            .spawn(move || for_thread.accept_loop(&listener))?;
        Ok(Gate {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> GateCounts {
        self.shared.counts()
    }

    /// The same for whoever outlives the borrow, such as the metrics.
    #[must_use]
    pub fn counter(&self) -> Box<dyn Fn() -> GateCounts + Send> {
        let shared = Arc::clone(&self.shared);
        Box::new(move || shared.counts())
    }

    /// Closes our descriptor of the listener, lets requests under way be answered
    /// with `Connection: close`, and waits for them, `grace` at most. Gives the
    /// number of connections that are still open.
    pub fn stop(mut self, grace: Duration) -> usize {
        self.halt();
        self.shared.seats.await_empty(Instant::now() + grace)
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.shared.stop_signal, &1_u64.to_ne_bytes());
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.halt();
    }
}

/// How many connections fit under the limit on open files, if half of them are
/// left to everything else: one descriptor a connection, three a request under way.
fn fitting_connections(in_flight: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let Some(soft) = limit.current else {
        return usize::MAX;
    };
    let half = usize::try_from(soft / 2).unwrap_or(usize::MAX);
    half.saturating_sub(in_flight.saturating_mul(3)).max(8)
}
