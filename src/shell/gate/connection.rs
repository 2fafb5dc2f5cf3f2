//! The body of a connection's thread: one request after another.
//!
//! ```text
//! idle ─first byte─► head ─clean─► reception ─► body ─whole─► relay ─answer─► written ─┐
//!  ▲ │                │              │           │             │                       │
//!  │ └─ silence, stop └── refusal ───┼───────────┴─────────────┘── answered, lingering │
//!  │                                 └── answered at the head ─────────────────────────┤
//!  │                     held, aside ──┘ (once what it waits for is there)             │
//!  └──────────────────────────── keep-alive ───────────────────────────────────────────┘
//! ```
//!
//! Invariant: every state has a deadline on its total, and the memory of a
//! connection is bounded by head limit, body limit and one answer.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::chunked::Chunked;
use super::head::{self, Framing, Head, HeadRules, Reading};
use super::refusal::{self, Refusal};
use super::relay;
use super::seats::{ALLOWANCE, Seat};
use super::stream::{Peer, Stream};
use super::tls;
use super::{Held, Shared, Welcome};
use crate::shell::http::exchange::{Exchange, Reply};

pub(super) const CHUNK: usize = 8 * 1024;
/// How long a connection that was just taken in may stay silent once the gate stops.
const AFTER_STOP: Duration = Duration::from_millis(500);
/// How long a connection on a reserved seat may stay silent.
const RESERVED: Duration = Duration::from_secs(2);
/// Whoever moves so much of a body or an answer has got on with it, and is young again among
/// those that wait; less is a trickle, which keeps a seat from nobody.
const GETS_ON: usize = 16 * 1024;
/// So often somebody whose answer is slowed looks whether the seat is needed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Counts what moved, and says each time it is worth mentioning.
fn gets_on(moved: &mut usize, n: usize) -> bool {
    *moved += n;
    let enough = *moved >= GETS_ON;
    if enough {
        *moved = 0;
    }
    enough
}

/// A request that the gate answers by itself.
struct Refused {
    refusal: Refusal,
    /// Whether the answer may have no body.
    bodiless: bool,
    /// The origin of the page that asks.
    origin: Option<String>,
}

impl Refused {
    fn of(head: &Head, refusal: Refusal) -> Refused {
        Refused {
            refusal,
            bodiless: head.method == "HEAD",
            origin: head.origin().map(str::to_owned),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            refusal,
            bodiless: false,
            origin: None,
        }
    }
}

/// Why a connection ends.
enum End {
    /// Nothing more will come, or nobody waits for an answer.
    Over,
    /// Once this is answered.
    Refused(Refused),
}

impl From<Refused> for End {
    fn from(refused: Refused) -> End {
        End::Refused(refused)
    }
}

/// Serves one connection to its end.
pub(super) fn serve(shared: &Shared, seat: &Seat, peer: Peer) {
    let Some(stream) = seat.stream() else {
        return;
    };
    let mut connection = Connection {
        shared,
        seat,
        stream,
        peer,
        chunk: vec![0_u8; CHUNK],
        unread: Vec::new(),
    };
    let mut first = true;
    loop {
        match connection.one_request(first) {
            Ok(true) => first = false,
            Ok(false) => return stream.linger(&mut connection.chunk),
            Err(End::Over) => return,
            Err(End::Refused(refused)) => return connection.refuse(&refused),
        }
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    stream: &'a Stream,
    peer: Peer,
    chunk: Vec<u8>,
    unread: Vec<u8>,
}

impl Connection<'_> {
    /// Takes a request and answers it; whether another may follow.
    fn one_request(&mut self, first: bool) -> Result<bool, End> {
        let limits = &self.shared.limits;
        let head = self.take_head(first)?;
        if !self.seat.works() {
            return Err(Refused::of(&head, Refusal::Busy).into());
        }
        let held = match (self.shared.reception.0)(&asked(&head, self.peer)) {
            Welcome::Answered(reply) => return self.answer_at_head(&head, &reply),
            Welcome::Passed => None,
            Welcome::Held(held) => Some(held),
        };
        if self.seat.is_reserved() {
            return Err(Refused::of(&head, Refusal::Busy).into());
        }
        if let Some(held) = held
            && let Some(reply) = self.wait_for(&*held)?
        {
            return self.answer_at_head(&head, &reply);
        }
        let body = self.take_body(&head)?;
        let answer = relay::exchange(
            &self.shared.backend,
            &self.shared.door,
            self.seat,
            (&head, body),
            self.peer,
            limits.answer_bytes,
            Instant::now() + limits.answer,
        )
        .map_err(|refusal| Refused::of(&head, refusal))?;
        let close = !head.keep_alive || self.shared.stopping() || !self.seat.comes_back();
        let mut out = answer.head;
        if answer.sized {
            out.push_str(&format!("Content-Length: {}\r\n", answer.length));
        }
        self.send(out, &answer.body, close)
    }

    /// Sends an answer whose head lacks its last lines; whether another request may follow.
    fn send(&self, mut head: String, body: &[u8], close: bool) -> Result<bool, End> {
        head.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        let mut out = head.into_bytes();
        let deadline = Instant::now() + self.shared.limits.write;
        self.seat.writes();
        let mut moved = 0;
        let mut taken = |n: usize| {
            if gets_on(&mut moved, n) {
                self.seat.writes();
            }
        };
        // A small answer leaves in one packet; a large one is not copied for that.
        let sent = if body.len() <= CHUNK {
            out.extend_from_slice(body);
            self.stream.write_until(deadline, &out, &mut taken)
        } else {
            self.stream
                .write_until(deadline, &out, &mut taken)
                .and_then(|()| self.stream.write_until(deadline, body, &mut taken))
        };
        sent.map_err(|_| End::Over)?;
        self.seat.hold(0);
        Ok(!close)
    }

    /// What could be judged by the head. A body that was announced is never read.
    fn answer_at_head(&self, head: &Head, reply: &Reply) -> Result<bool, End> {
        if reply.is_wrong_token() {
            self.slow_down();
        }
        let body = match head.method.as_str() {
            "HEAD" => &[],
            _ => &*reply.body,
        };
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\n",
            reply.status,
            refusal::phrase(reply.status),
            refusal::http_date()
        );
        for (name, value) in &reply.headers {
            // A value that would break the head is left out.
            if value.bytes().all(|b| matches!(b, b' '..=b'~')) {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !matches!(reply.status, 204 | 304) {
            out.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
        }
        let unread = head.body != Framing::Length(0);
        let close = unread
            || !head.keep_alive
            || self.seat.is_reserved()
            || self.shared.stopping()
            || !self.seat.comes_back();
        self.send(out, body, close)
    }

    /// Waits aside until what the request waits for is there; else the answer.
    fn wait_for(&self, held: &dyn Held) -> Result<Option<Reply>, End> {
        if !self.seat.goes_aside() {
            self.shared
                .complain(|| String::from("no more requests may wait; they come again"));
            return Ok(Some(held.no_room()));
        }
        loop {
            let left = held.until().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(held.nothing()));
            }
            let mut all = [
                // What else it says can wait; that it goes away cannot.
                PollFd::new(self.stream, PollFlags::RDHUP),
                PollFd::from_borrowed_fd(self.shared.stop_signal.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(held.bell(), PollFlags::IN),
            ];
            let outcome = poll(&mut all, Some(&timespec(left)));
            let [socket, stop, bell] = &all;
            match outcome {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) if !socket.revents().is_empty() => return Err(End::Over),
                Ok(_) if !bell.revents().is_empty() => return Ok(None),
                Ok(_) if !stop.revents().is_empty() => return Ok(Some(held.no_room())),
                Ok(_) | Err(_) => return Ok(Some(held.no_room())),
            }
        }
    }

    /// The pause before the answer to a wrong token, during which the seat may be taken.
    fn slow_down(&self) {
        let pause = self.shared.guesses.wrong(self.peer.key(), Instant::now());
        if pause.is_zero() {
            return;
        }
        let peer = self.peer;
        self.shared
            .complain(|| format!("wrong tokens come from {peer}; their answers are slowed"));
        self.seat.pauses();
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Whoever has to go goes soon: few may be on their way out at a time.
            if left.is_zero() || self.seat.is_sent_away() {
                return;
            }
            let mut stop = [PollFd::from_borrowed_fd(
                self.shared.stop_signal.as_fd(),
                PollFlags::IN,
            )];
            let look = timespec(left.min(LOOK_EVERY));
            if poll(&mut stop, Some(&look)).is_ok_and(|n| n > 0) {
                return;
            }
        }
    }

    fn refuse(&mut self, refused: &Refused) {
        let shared = self.shared;
        shared.count_refusal(refused.refusal);
        let fields = shared.origins.fields(refused.origin.as_deref());
        let answer = refused.refusal.answer(refused.bodiless, &fields);
        let patience = match self.seat.is_sent_away() {
            true => AFTER_STOP,
            false => shared.limits.write,
        };
        let deadline = Instant::now() + patience;
        self.seat.writes();
        if self.stream.write_all_until(deadline, &answer).is_ok() {
            self.stream.linger(&mut self.chunk);
        }
    }

    /// What the end of the stream, or of the patience, means in the middle of a request.
    fn broken_off(&self, e: Option<&std::io::Error>) -> Result<(), Refusal> {
        match e {
            _ if self.seat.is_sent_away() => Err(Refusal::Busy),
            Some(e) if e.kind() == std::io::ErrorKind::TimedOut => Err(Refusal::Late),
            _ => Ok(()),
        }
    }

    fn take_head(&mut self, first: bool) -> Result<Box<Head>, End> {
        let limits = &self.shared.limits;
        self.seat.waits();
        if self.unread.is_empty() && !self.await_byte(first) {
            return Err(End::Over);
        }
        let rules = HeadRules {
            body_max: limits.body_bytes,
            length_required: limits.length_required,
            hostless: limits.hostless,
        };
        // A whole head comes at once from whoever looks at health.
        let patience = match self.seat.is_reserved() {
            true => RESERVED.min(limits.head),
            false => limits.head,
        };
        let deadline = Instant::now() + patience;
        self.seat.waits();
        // Parsed when there is something new to judge: a new line, or the first bytes.
        let mut news = !self.unread.is_empty();
        loop {
            if self.unread.first() == Some(&tls::HANDSHAKE) {
                self.shared.complain(|| {
                    format!(
                        "{} speaks TLS to this port, which speaks plain HTTP",
                        self.peer
                    )
                });
                return Err(Refused::from(Refusal::Tls).into());
            }
            if news {
                match head::read(&self.unread, rules) {
                    Reading::Whole(head, used) if used <= limits.head_bytes => {
                        self.unread.drain(..used);
                        return Ok(head);
                    }
                    Reading::Whole(..) => return Err(Refused::from(Refusal::HeadTooLarge).into()),
                    Reading::Refused(refusal) => {
                        return Err(End::Refused(Refused {
                            refusal,
                            bodiless: self.unread.starts_with(b"HEAD "),
                            origin: head::origin(&self.unread),
                        }));
                    }
                    Reading::Partial => {}
                }
            }
            if self.unread.len() >= limits.head_bytes {
                return Err(Refused::from(Refusal::HeadTooLarge).into());
            }
            let read = self.stream.read_until(deadline, &mut self.chunk);
            let n = match read {
                Ok(n) if n > 0 => n,
                Err(_) if self.stream.is_plain_to_tls() => {
                    self.shared.complain(|| {
                        format!(
                            "{} speaks plainly to this port, which speaks TLS",
                            self.peer
                        )
                    });
                    return Err(Refused::from(Refusal::NotTls).into());
                }
                other => {
                    // Nobody who has said nothing waits for an answer.
                    if !self.unread.is_empty() {
                        self.broken_off(other.err().as_ref())
                            .map_err(Refused::from)?;
                    }
                    return Err(End::Over);
                }
            };
            let got = self.chunk.get(..n).unwrap_or_default();
            news = self.unread.is_empty() || got.contains(&b'\n');
            self.unread.extend_from_slice(got);
        }
    }

    fn take_body(&mut self, head: &Head) -> Result<Vec<u8>, End> {
        let deadline = Instant::now() + self.shared.limits.body;
        let refused = |refusal| End::Refused(Refused::of(head, refusal));
        let mut intake = BodyIntake::new(head.body, self.shared.limits.body_bytes);
        let mut come = std::mem::take(&mut self.unread);
        let mut moved = 0;
        self.seat.waits();
        if head.expects_continue && come.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            let sent = self.stream.write_all_until(deadline, go_on);
            sent.map_err(|_| End::Over)?;
        }
        loop {
            let used = intake.feed(&come).map_err(refused)?;
            if let Some(most) = intake.outgrows(ALLOWANCE) {
                // For all that may come, at once: bodies that hold a part and want the next would
                // wait for each other.
                if !self.seat.hold_in_line(most - ALLOWANCE, deadline) {
                    return Err(refused(Refusal::NoMemory));
                }
                intake.make_room(most);
            }
            if intake.is_whole() {
                come.drain(..used);
                self.unread = come;
                if !self.seat.works() {
                    return Err(refused(Refusal::Busy));
                }
                return Ok(intake.into_body());
            }
            match self.stream.read_until(deadline, &mut self.chunk) {
                Ok(n) if n > 0 => {
                    if gets_on(&mut moved, n) {
                        self.seat.waits();
                    }
                    come.clear();
                    come.extend_from_slice(self.chunk.get(..n).unwrap_or_default());
                }
                other => {
                    self.broken_off(other.err().as_ref()).map_err(refused)?;
                    return Err(End::Over);
                }
            }
        }
    }

    /// Waits until the peer says something; false if it stays silent, or if the gate
    /// stops and this connection has had an answer. One that has had none yet is
    /// given a little longer: its request is probably under way.
    fn await_byte(&self, first: bool) -> bool {
        if self.stream.has_read_ahead() {
            return true;
        }
        let limits = &self.shared.limits;
        let patience = match (self.seat.is_reserved(), first) {
            (true, _) => RESERVED,
            (false, true) => limits.head,
            (false, false) => limits.idle,
        };
        let mut deadline = Instant::now() + patience;
        let mut stopping = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let timeout = timespec(left);
            let mut both = [
                PollFd::new(self.stream, PollFlags::IN),
                PollFd::from_borrowed_fd(self.shared.stop_signal.as_fd(), PollFlags::IN),
            ];
            let outcome = if stopping {
                poll(&mut both[..1], Some(&timeout))
            } else {
                poll(&mut both, Some(&timeout))
            };
            let [socket, signal] = &both;
            match outcome {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) if !socket.revents().is_empty() => return true,
                Ok(_) if first && !signal.revents().is_empty() => {
                    stopping = true;
                    deadline = deadline.min(Instant::now() + AFTER_STOP);
                }
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

/// The request as far as the head tells it.
fn asked(head: &Head, peer: Peer) -> Exchange {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let fields = head.fields.iter();
    let exchange = Exchange {
        method: head.method.clone(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: fields.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        ..Exchange::default()
    };
    exchange.of_peer(&peer.to_string())
}

fn timespec(of: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(of.subsec_nanos()),
    }
}

/// A body that is being taken in; until it has outgrown the allowance, memory grows by what
/// arrives, whatever was declared.
pub(super) struct BodyIntake {
    body: Vec<u8>,
    rest: Rest,
    /// Bytes that it has at the end, at most.
    most: usize,
    has_room: bool,
}

enum Rest {
    Bytes(u64),
    Chunks(Chunked),
}

impl BodyIntake {
    pub(super) fn new(framing: Framing, max: u64) -> BodyIntake {
        let (most, rest) = match framing {
            Framing::Length(n) => (n, Rest::Bytes(n)),
            Framing::Chunked => (max, Rest::Chunks(Chunked::new(max))),
        };
        BodyIntake {
            body: Vec::new(),
            rest,
            most: usize::try_from(most).unwrap_or(usize::MAX),
            has_room: false,
        }
    }

    /// Once it is longer than `allowance` and until it has room: the bytes that it needs in all.
    fn outgrows(&self, allowance: usize) -> Option<usize> {
        (!self.has_room && self.body.len() > allowance).then_some(self.most.max(self.body.len()))
    }

    fn make_room(&mut self, most: usize) {
        self.body
            .reserve_exact(most.saturating_sub(self.body.len()));
        self.has_room = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Bytes(left) => *left == 0,
            Rest::Chunks(chunked) => chunked.is_done(),
        }
    }

    /// The body as far as it has come.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Takes what belongs to the body, and gives how many bytes that was.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match &mut self.rest {
            Rest::Bytes(left) => {
                let n = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                self.body
                    .extend_from_slice(bytes.get(..n).unwrap_or_default());
                *left = left.saturating_sub(n as u64);
                Ok(n)
            }
            Rest::Chunks(chunked) => chunked.feed(bytes, &mut self.body),
        }
    }
}
