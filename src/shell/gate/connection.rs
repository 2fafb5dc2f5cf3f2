//! The body of a connection's thread: one request after another.
//!
//! ```text
//! idle ──first byte──► head ──clean──► body ──whole──► relay ──answer──► written ─┐
//!  ▲ │                  │               │                │                        │
//!  │ └─ silence, stop   └──── refusal ──┴────────────────┘── answered, lingering  │
//!  └──────────────────────────── keep-alive ──────────────────────────────────────┘
//! ```
//!
//! Invariant: every state has a deadline on its total, and the memory of a
//! connection is bounded by head limit, body limit and one answer.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Shared;
use super::chunked::Chunked;
use super::head::{self, Framing, Head, HeadRules, Reading};
use super::refusal::Refusal;
use super::relay;
use super::stream::{Peer, Stream};

const CHUNK: usize = 8 * 1024;
/// How long a connection that was just taken in may stay silent once the gate stops.
const AFTER_STOP: Duration = Duration::from_millis(500);

/// What waiting for a request came to.
enum Taken {
    Request(Box<Head>, Vec<u8>),
    /// Nothing more will come; nobody waits for an answer.
    Over,
    /// To be answered; `true` if the answer may have no body; the origin of the page that asks.
    Refused(Refusal, bool, Option<String>),
}

/// Serves one connection to its end.
pub(super) fn serve(shared: &Shared, stream: &Stream, peer: Peer) {
    let mut chunk = vec![0_u8; CHUNK];
    let mut unread: Vec<u8> = Vec::new();
    let mut served = 0_u64;
    loop {
        let (head, body) = match take(shared, stream, &mut unread, &mut chunk, served == 0) {
            Taken::Request(head, body) => (head, body),
            Taken::Over => return,
            Taken::Refused(refusal, bodiless, origin) => {
                shared.count_refusal(refusal);
                let asker = (bodiless, origin.as_deref());
                refuse(shared, stream, refusal, asker, &mut chunk);
                return;
            }
        };
        let limits = &shared.limits;
        let answer = relay::exchange(
            &shared.backend,
            &shared.door,
            (&head, &body),
            peer,
            limits.answer_bytes,
            Instant::now() + limits.answer,
        );
        drop(body);
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => {
                shared.count_refusal(refusal);
                let asker = (head.method == "HEAD", head.origin());
                refuse(shared, stream, refusal, asker, &mut chunk);
                return;
            }
        };
        served += 1;
        let close = !head.keep_alive || shared.stopping();
        let mut out = answer.head.clone();
        if answer.sized {
            out.push_str(&format!("Content-Length: {}\r\n", answer.length));
        }
        out.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "\r\n"
        });
        let mut out = out.into_bytes();
        out.extend_from_slice(&answer.body);
        let sent = stream.write_all_until(Instant::now() + limits.write, &out);
        if sent.is_err() {
            return;
        }
        if close {
            stream.linger(&mut chunk);
            return;
        }
    }
}

fn refuse(
    shared: &Shared,
    stream: &Stream,
    refusal: Refusal,
    (bodiless, origin): (bool, Option<&str>),
    chunk: &mut [u8],
) {
    let answer = refusal.answer(bodiless, &shared.origins.fields(origin));
    let deadline = Instant::now() + shared.limits.write;
    if stream.write_all_until(deadline, &answer).is_ok() {
        stream.linger(chunk);
    }
}

fn take(
    shared: &Shared,
    stream: &Stream,
    unread: &mut Vec<u8>,
    chunk: &mut [u8],
    first: bool,
) -> Taken {
    let limits = &shared.limits;
    if unread.is_empty() && !await_byte(shared, stream, first) {
        return Taken::Over;
    }
    let rules = HeadRules {
        body_max: limits.body_bytes,
        length_required: limits.length_required,
        hostless: limits.hostless,
    };
    let deadline = Instant::now() + limits.head;
    // Parsed when there is something new to judge: a new line, or the first bytes.
    let mut news = !unread.is_empty();
    let (head, used) = loop {
        if news {
            match head::read(unread, rules) {
                Reading::Whole(head, used) if used <= limits.head_bytes => break (head, used),
                Reading::Whole(..) => return Taken::Refused(Refusal::HeadTooLarge, false, None),
                Reading::Refused(refusal) => {
                    return Taken::Refused(
                        refusal,
                        unread.starts_with(b"HEAD "),
                        head::origin(unread),
                    );
                }
                Reading::Partial => {}
            }
        }
        if unread.len() >= limits.head_bytes {
            return Taken::Refused(Refusal::HeadTooLarge, false, None);
        }
        match stream.read_until(deadline, chunk) {
            Ok(0) => return Taken::Over,
            Ok(n) => {
                let got = chunk.get(..n).unwrap_or_default();
                news = unread.is_empty() || got.contains(&b'\n');
                unread.extend_from_slice(got);
            }
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return if unread.is_empty() {
                    Taken::Over
                } else {
                    Taken::Refused(Refusal::Late, false, None)
                };
            }
            Err(_) => return Taken::Over,
        }
    };
    unread.drain(..used);
    take_body(shared, stream, unread, chunk, head)
}

fn take_body(
    shared: &Shared,
    stream: &Stream,
    unread: &mut Vec<u8>,
    chunk: &mut [u8],
    head: Box<Head>,
) -> Taken {
    let deadline = Instant::now() + shared.limits.body;
    let mut intake = BodyIntake::new(head.body, shared.limits.body_bytes);
    let refused = |head: &Head, refusal| {
        let origin = head.origin().map(str::to_owned);
        Taken::Refused(refusal, head.method == "HEAD", origin)
    };
    let mut come = std::mem::take(unread);
    if head.expects_continue && come.is_empty() {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        if stream.write_all_until(deadline, go_on).is_err() {
            return Taken::Over;
        }
    }
    loop {
        let used = match intake.feed(&come) {
            Ok(used) => used,
            Err(refusal) => return refused(&head, refusal),
        };
        if intake.is_whole() {
            come.drain(..used);
            *unread = come;
            return Taken::Request(head, intake.body);
        }
        match stream.read_until(deadline, chunk) {
            Ok(0) => return Taken::Over,
            Ok(n) => {
                come.clear();
                come.extend_from_slice(chunk.get(..n).unwrap_or_default());
            }
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return refused(&head, Refusal::Late);
            }
            Err(_) => return Taken::Over,
        }
    }
}

/// A body that is being taken in; memory grows by what arrives, whatever was declared.
struct BodyIntake {
    body: Vec<u8>,
    rest: Rest,
}

enum Rest {
    Bytes(u64),
    Chunks(Chunked),
}

impl BodyIntake {
    fn new(framing: Framing, max: u64) -> BodyIntake {
        BodyIntake {
            body: Vec::new(),
            rest: match framing {
                Framing::Length(n) => Rest::Bytes(n),
                Framing::Chunked => Rest::Chunks(Chunked::new(max)),
            },
        }
    }

    fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Bytes(left) => *left == 0,
            Rest::Chunks(chunked) => chunked.is_done(),
        }
    }

    /// Takes what belongs to the body, and gives how many bytes that was.
    fn feed(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
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

/// Waits until the peer says something; false if it stays silent, or if the gate
/// stops and this connection has had an answer. One that has had none yet is
/// given a little longer: its request is probably under way.
fn await_byte(shared: &Shared, stream: &Stream, first: bool) -> bool {
    let limits = &shared.limits;
    let patience = if first { limits.head } else { limits.idle };
    let mut deadline = Instant::now() + patience;
    let mut stopping = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut both = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::from_borrowed_fd(shared.stop_signal.as_fd(), PollFlags::IN),
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
