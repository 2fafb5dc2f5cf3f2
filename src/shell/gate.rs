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
//! Invariants: the accept thread ends only when told to; connections, requests
//! behind the gate, bytes of head, body and answer, and every wait have a bound;
//! the listener itself is never shut down, because an inherited one belongs to
//! the service manager too.

mod chunked;
mod connection;
mod head;
mod listener;
mod refusal;
mod relay;
mod stream;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::http::cors::Origins;
use super::seldom::Seldom;
use crate::filing::settings::CALLER_OUTCOME_MAX;
pub use listener::Listener;
use refusal::Refusal;
use relay::Door;
use stream::{Peer, Stream};

/// The private field that tells the server who asks: `ip:port` or `unix`.
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
    /// Connections at once of one IPv4 address or one IPv6 /64.
    pub per_peer: usize,
    /// Requests behind the gate at once; others wait for one of them.
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

/// What a gate needs to start.
#[derive(Debug)]
pub struct GateSettings {
    /// The public listener, bound already.
    pub listener: Listener,
    /// The private unix socket of the server, in a directory that only we may enter.
    pub backend: PathBuf,
    /// Name of its threads and log lines.
    pub name: &'static str,
    /// Its bounds.
    pub limits: GateLimits,
    /// Origins whose pages may read what the gate refuses by itself.
    pub origins: Origins,
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
    /// Requests refused because they were not clean, too large or late.
    pub refused: u64,
    /// Of these: too large, head or body.
    pub too_large: u64,
    /// Of these: late.
    pub late: u64,
    /// Of these: without a length.
    pub without_length: u64,
    /// Requests that the server behind the gate left without an answer.
    pub unanswered: u64,
}

#[derive(Default)]
struct Seats {
    taken: usize,
    of_peer: HashMap<u64, usize>,
}

/// What the accept thread, the connections and the handle share.
struct Shared {
    name: &'static str,
    backend: PathBuf,
    limits: GateLimits,
    origins: Origins,
    door: Door,
    seats: Mutex<Seats>,
    seat_left: Condvar,
    stop: AtomicBool,
    /// Becomes readable when the gate stops, and stays so for everyone who polls it.
    stop_signal: OwnedFd,
    accepted: AtomicU64,
    turned_away: AtomicU64,
    refused: AtomicU64,
    too_large: AtomicU64,
    late: AtomicU64,
    without_length: AtomicU64,
    unanswered: AtomicU64,
    complaints: Seldom,
}

/// A place in the table of connections; leaving is dropping it.
struct Seat {
    shared: Arc<Shared>,
    key: Option<u64>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.shared.lock_seats();
        seats.taken = seats.taken.saturating_sub(1);
        if let Some(key) = self.key
            && let Some(n) = seats.of_peer.get_mut(&key)
        {
            *n -= 1;
            if *n == 0 {
                seats.of_peer.remove(&key);
            }
        }
        drop(seats);
        self.shared.seat_left.notify_all();
    }
}

impl Shared {
    fn counts(&self) -> GateCounts {
        GateCounts {
            open: self.lock_seats().taken,
            accepted: self.accepted.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            too_large: self.too_large.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            without_length: self.without_length.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }

    fn lock_seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn seat(self: &Arc<Shared>, peer: Peer) -> Option<Seat> {
        let key = peer.key();
        let mut seats = self.lock_seats();
        if seats.taken >= self.limits.connections {
            return None;
        }
        if let Some(key) = key {
            let of_peer = seats.of_peer.entry(key).or_default();
            if *of_peer >= self.limits.per_peer {
                return None;
            }
            *of_peer += 1;
        }
        seats.taken += 1;
        Some(Seat {
            shared: Arc::clone(self),
            key,
        })
    }

    fn admit(self: &Arc<Shared>, stream: Stream, peer: Peer) {
        let Some(seat) = self.seat(peer) else {
            self.turn_away(stream, "more connections than allowed");
            return;
        };
        self.accepted.fetch_add(1, Ordering::Relaxed);
        // Shared with the thread so that it comes back if there is no thread.
        let stream = Arc::new(Mutex::new(Some(stream)));
        let for_thread = Arc::clone(&stream);
        let shared = Arc::clone(self);
        let spawned = Builder::new()
            .name(format!("{}-conn", self.name))
            .stack_size(CONNECTION_STACK)
            .spawn(move || {
                // The socket closes before the seat is free: the cap bounds descriptors.
                let _seat = seat;
                let stream = for_thread
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if let Some(stream) = stream {
                    connection::serve(&shared, &stream, peer);
                }
            });
        if let Err(e) = spawned {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(stream) = stream {
                self.turn_away(stream, &format!("no thread for a connection: {e}"));
            }
        }
    }

    fn turn_away(&self, stream: Stream, why: &str) {
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
            backend,
            name,
            mut limits,
            origins,
        } = settings;
        let _ = start_of_time();
        listener.set_nonblocking()?;
        rustix::net::listen(&listener, BACKLOG)?;
        let fitting = fitting_connections(limits.in_flight);
        if limits.connections > fitting {
            log::warn!(
                "{name}: {fitting} connections at once instead of {}, because of the limit on open files",
                limits.connections
            );
            limits.connections = fitting;
        }
        let shared = Arc::new(Shared {
            name,
            backend,
            door: Door::new(limits.in_flight),
            limits,
            origins,
            seats: Mutex::default(),
            seat_left: Condvar::new(),
            stop: AtomicBool::new(false),
            stop_signal: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            accepted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
            late: AtomicU64::new(0),
            without_length: AtomicU64::new(0),
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
        let deadline = Instant::now() + grace;
        let mut seats = self.shared.lock_seats();
        while seats.taken > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            seats = self
                .shared
                .seat_left
                .wait_timeout(seats, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        seats.taken
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
