//! One HTTP/1.1 exchange with the operators' listener, over TCP or a unix socket.
//!
//! Small on purpose: the peer is our own daemon on the other side of a local
//! socket, and no HTTP client at hand speaks over unix sockets.
//!
//! Invariant: bounded in time and in size, whoever answers.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::{Listen, OperatorConfig};

/// For the whole exchange. The daemon answers from a snapshot, within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// For an act, which waits for the disk as long as the daemon does.
const PATIENCE_TO_ACT: Duration = Duration::from_secs(80);
/// Largest answer: ten thousand records of a few hundred bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// Largest head of an answer.
const HEAD_LIMIT: usize = 64 * 1024;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Null` if the body was not JSON.
    pub(super) body: Value,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nobody listens there, or may be spoken to: the daemon is not running, or not for us.
    NotThere(io::Error),
    /// Somebody listens and did not answer in time.
    TooSlow,
    /// Somebody answered something else than HTTP with JSON in it.
    NotOurs(&'static str),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::NotThere(e) => write!(f, "{e}"),
            Unanswered::TooSlow => f.write_str("no answer in time"),
            Unanswered::NotOurs(why) => write!(f, "not an answer of the gateway: {why}"),
        }
    }
}

trait Stream: Read + Write {
    fn patience(&self, left: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn patience(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Stream for UnixStream {
    fn patience(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// Where to knock for a listener: one that binds all addresses is on this one, too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// Asks the daemon. `target` is a path with its query, already encoded.
pub(super) fn ask(
    operator: &OperatorConfig,
    method: &str,
    target: &str,
) -> Result<Answer, Unanswered> {
    let until = Instant::now()
        + match method {
            "POST" => PATIENCE_TO_ACT,
            _ => PATIENCE,
        };
    let (mut stream, host): (Box<dyn Stream>, String) = match &operator.listen {
        Listen::Tcp(address) => {
            let address = reachable(*address);
            let stream =
                TcpStream::connect_timeout(&address, PATIENCE).map_err(Unanswered::NotThere)?;
            (Box::new(stream), address.to_string())
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(Unanswered::NotThere)?;
            (Box::new(stream), "localhost".to_owned())
        }
    };
    let authorization = operator.token.as_ref().map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.expose())
    });
    let length = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n{authorization}{length}Connection: close\r\n\r\n"
    );
    stream
        .patience(left(until)?)
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(|e| broken(&e))?;
    let answer = read_all(stream.as_mut(), until)?;
    parse(&answer)
}

fn left(until: Instant) -> Result<Duration, Unanswered> {
    match until.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(Unanswered::TooSlow),
    }
}

fn broken(error: &io::Error) -> Unanswered {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Unanswered::TooSlow,
        _ => Unanswered::NotOurs("the connection broke"),
    }
}

fn read_all(stream: &mut dyn Stream, until: Instant) -> Result<Vec<u8>, Unanswered> {
    let mut answer = Vec::new();
    let mut block = vec![0u8; 64 * 1024];
    loop {
        stream.patience(left(until)?).map_err(|e| broken(&e))?;
        match stream.read(&mut block) {
            Ok(0) => return Ok(answer),
            Ok(n) => answer.extend_from_slice(&block[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // A peer that closes with our bytes unread; what it said before counts.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset && !answer.is_empty() => {
                return Ok(answer);
            }
            Err(e) => return Err(broken(&e)),
        }
        if answer.len() > ANSWER_LIMIT + HEAD_LIMIT {
            return Err(Unanswered::NotOurs("it does not end"));
        }
        if whole(&answer) {
            return Ok(answer);
        }
    }
}

/// Whether an answer of known length is complete, so that a peer that keeps
/// the connection open does not hold us up.
fn whole(answer: &[u8]) -> bool {
    match head(answer) {
        Ok(Some(head)) => match head.length {
            Length::Known(n) => answer.len() >= head.size.saturating_add(n),
            Length::Chunked => dechunk(&answer[head.size..]).is_ok(),
            Length::ToTheEnd => false,
        },
        _ => false,
    }
}

enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

struct Head {
    status: u16,
    size: usize,
    length: Length,
}

fn head(answer: &[u8]) -> Result<Option<Head>, Unanswered> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(answer) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Unanswered::NotOurs("it is not HTTP")),
    };
    let find = |name: &str| {
        response
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
            .and_then(|h| std::str::from_utf8(h.value).ok())
            .map(str::trim)
    };
    let length = if find("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        Length::Chunked
    } else if let Some(n) = find("content-length") {
        Length::Known(
            n.parse()
                .map_err(|_| Unanswered::NotOurs("its length is not a number"))?,
        )
    } else {
        Length::ToTheEnd
    };
    Ok(Some(Head {
        status: response.code.unwrap_or(0),
        size,
        length,
    }))
}

/// Undoes chunked transfer coding; trailers are left out.
fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>, Unanswered> {
    const CUT: Unanswered = Unanswered::NotOurs("it was cut off");
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            _ => return Err(CUT),
        };
        let size = usize::try_from(size).map_err(|_| CUT)?;
        if size == 0 {
            return Ok(body);
        }
        let end = start.checked_add(size).ok_or(CUT)?;
        body.extend_from_slice(rest.get(start..end).ok_or(CUT)?);
        let after = end.checked_add(2).ok_or(CUT)?;
        rest = rest.get(after..).ok_or(CUT)?;
    }
}

fn parse(answer: &[u8]) -> Result<Answer, Unanswered> {
    let head = head(answer)?.ok_or(Unanswered::NotOurs("it was cut off"))?;
    let rest = &answer[head.size..];
    let body = match head.length {
        Length::Known(n) => rest
            .get(..n)
            .ok_or(Unanswered::NotOurs("it was cut off"))?
            .to_vec(),
        Length::Chunked => dechunk(rest)?,
        Length::ToTheEnd => rest.to_vec(),
    };
    Ok(Answer {
        status: head.status,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_each_of_the_three_framings() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}ignored",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
        ] {
            let answer = parse(answer.as_bytes()).unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body["a"], 1);
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_or_not_http_is_refused() {
        for answer in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\"",
            "HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a",
        ] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (bound, asked) in [
            ("0.0.0.0:7", "127.0.0.1:7"),
            ("[::]:7", "[::1]:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
