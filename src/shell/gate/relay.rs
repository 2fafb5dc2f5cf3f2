//! Passes one clean request to the server behind the gate and takes its answer
//! in whole, so that a slow client never holds a worker.
//!
//! Each request has a connection of its own, speaks HTTP/1.0 (the server then
//! always declares the length of its answer) and carries two private fields:
//! who asks, and until when an answer is of use.
//!
//! Invariant: never more requests behind the gate than
//! [`GateLimits::in_flight`](super::GateLimits::in_flight), a share of them for each peer (see
//! `door`), and no more bytes of answers in memory than [`GateLimits::memory`](super::GateLimits::memory) allows.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::door::Door;
use super::head::Head;
use super::refusal::Refusal;
use super::seats::{ALLOWANCE, Seat};
use super::stream::{Peer, Stream};
use super::{DEADLINE_FIELD, PEER_FIELD, millis_since_start};
use notifications::seldom::Seldom;

/// Lines that a stream of requests could bring about.
static UNREACHED: Seldom = Seldom::new(Duration::from_secs(60));
static TOO_LONG: Seldom = Seldom::new(Duration::from_secs(60));

const ANSWER_HEAD_MAX: usize = 16 * 1024;

/// An answer, taken in whole.
pub(super) struct Answer {
    /// Status line and fields without framing; lines end in CRLF.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// For a HEAD, what the body would have measured.
    pub(super) length: usize,
    /// False where the status forbids a length.
    pub(super) sized: bool,
}

/// Asks the server behind the gate; blocks until `deadline` at most.
pub(super) fn exchange(
    backend: &Path,
    door: &Door,
    seat: &Seat,
    (head, body): (&Head, Vec<u8>),
    peer: Peer,
    answer_max: usize,
    deadline: Instant,
) -> Result<Answer, Refusal> {
    seat.queues();
    let place = door.enter(peer.key(), deadline, || seat.is_sent_away());
    let _place = place.ok_or(Refusal::Busy)?;
    if !seat.works() || !has_descriptors() {
        return Err(Refusal::Busy);
    }
    let stream = UnixStream::connect(backend)
        .map(Stream::Unix)
        .map_err(|e| {
            if let Some(left_out) = UNREACHED.now() {
                log::error!("the server behind the gate cannot be reached: {e}{left_out}");
            }
            Refusal::Busy
        })?;
    let request = canonical(head, body.len(), peer, deadline);
    // A server that answered early has closed: its answer is still worth reading.
    let _ = stream
        .write_all_until(deadline, request.as_bytes())
        .and_then(|()| stream.write_all_until(deadline, &body));
    drop(body);
    take(&stream, seat, head.method == "HEAD", answer_max, deadline)
}

/// Whether a few descriptors can still be had. The server behind the gate takes
/// two for a connection and ends, or panics, when it gets one of them only; so
/// it is not asked at all while they are scarce.
fn has_descriptors() -> bool {
    const NEEDED: usize = 6;
    let mut held = Vec::with_capacity(NEEDED);
    (0..NEEDED).all(|_| match std::fs::File::open("/dev/null") {
        Ok(file) => {
            held.push(file);
            true
        }
        Err(_) => false,
    })
}

pub(super) fn canonical(head: &Head, body_len: usize, peer: Peer, deadline: Instant) -> String {
    let mut text = format!("{} {} HTTP/1.0\r\n", head.method, head.target);
    for (name, value) in &head.fields {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!(
        "{PEER_FIELD}: {peer}\r\n{DEADLINE_FIELD}: {}\r\nContent-Length: {body_len}\r\nConnection: close\r\n\r\n",
        millis_since_start(deadline)
    ));
    text
}

fn take(
    stream: &Stream,
    seat: &Seat,
    bodiless: bool,
    answer_max: usize,
    deadline: Instant,
) -> Result<Answer, Refusal> {
    let mut bytes: Vec<u8> = Vec::with_capacity(1024);
    let mut chunk = vec![0_u8; 16 * 1024];
    let (head, used) = loop {
        let n = read_some(stream, &mut chunk, deadline)?;
        if bytes.len() > ANSWER_HEAD_MAX {
            return Err(Refusal::Broken);
        }
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if let Some(found) = parse(&bytes)? {
            break found;
        }
    };
    let wanted = if bodiless || !head.sized {
        0
    } else {
        head.length
    };
    if wanted > answer_max {
        if let Some(left_out) = TOO_LONG.now() {
            log::error!("an answer of {wanted} bytes is above the limit of {answer_max}{left_out}");
        }
        return Err(Refusal::Broken);
    }
    // The body has served; what it took goes to the answer.
    if !seat.hold_soon(wanted.saturating_sub(ALLOWANCE), deadline) {
        return Err(Refusal::NoMemory);
    }
    let mut body = bytes.split_off(used);
    body.truncate(wanted);
    body.reserve_exact(wanted - body.len());
    while body.len() < wanted {
        let n = read_some(stream, &mut chunk, deadline)?;
        let n = n.min(wanted - body.len());
        body.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
    Ok(Answer {
        head: head.text,
        body,
        length: head.length,
        sized: head.sized,
    })
}

/// Some bytes of the answer. One that breaks off is none: what became of the
/// request is unknown then.
fn read_some(stream: &Stream, chunk: &mut [u8], deadline: Instant) -> Result<usize, Refusal> {
    match stream.read_until(deadline, chunk) {
        Ok(0) | Err(_) => Err(Refusal::Unanswered),
        Ok(n) => Ok(n),
    }
}

struct AnswerHead {
    text: String,
    length: usize,
    sized: bool,
}

fn parse(bytes: &[u8]) -> Result<Option<(AnswerHead, usize)>, Refusal> {
    /// Framing and connection are ours to say; the product name is nobody's business.
    const WITHHELD: [&str; 7] = [
        "Connection",
        "Content-Length",
        "Keep-Alive",
        "Server",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ];
    let mut table = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut table);
    let used = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Refusal::Broken),
    };
    let status = answer.code.unwrap_or_default();
    if status < 200 {
        return Err(Refusal::Broken);
    }
    let mut text = format!(
        "HTTP/1.1 {status} {}\r\n",
        answer.reason.unwrap_or_default()
    );
    let mut length = None;
    for field in answer.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        if field.name.eq_ignore_ascii_case("Content-Length") {
            length = value.trim().parse::<usize>().ok();
        }
        if WITHHELD.iter().any(|w| w.eq_ignore_ascii_case(field.name)) {
            continue;
        }
        text.push_str(field.name);
        text.push_str(": ");
        text.push_str(&value);
        text.push_str("\r\n");
    }
    let sized = !matches!(status, 204 | 304);
    let length = match (length, sized) {
        (Some(n), _) => n,
        (None, false) => 0,
        (None, true) => return Err(Refusal::Broken),
    };
    Ok(Some((
        AnswerHead {
            text,
            length,
            sized,
        },
        used,
    )))
}
