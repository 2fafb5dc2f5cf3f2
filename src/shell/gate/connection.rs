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
use super::head::{self, Head, HeadRules, Reading};
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
    // The length is within the limit, so it fits; memory still grows by what arrives.
    let wanted = usize::try_from(head.body_len).unwrap_or(usize::MAX);
    let rest = unread.split_off(wanted.min(unread.len()));
    let mut body = std::mem::replace(unread, rest);
    if head.expects_continue && body.len() < wanted {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        if stream.write_all_until(deadline, go_on).is_err() {
            return Taken::Over;
        }
    }
    while body.len() < wanted {
        let room = chunk.len().min(wanted - body.len());
        let Some(into) = chunk.get_mut(..room) else {
            return Taken::Over;
        };
        match stream.read_until(deadline, into) {
            Ok(0) => return Taken::Over,
            Ok(n) => body.extend_from_slice(into.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return Taken::Refused(
                    Refusal::Late,
                    head.method == "HEAD",
                    head.origin().map(str::to_owned),
                );
            }
            Err(_) => return Taken::Over,
        }
    }
    Taken::Request(head, body)
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
