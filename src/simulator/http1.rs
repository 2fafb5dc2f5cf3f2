//! HTTP/1.1 as the simulator's two ports speak it: blocking, keep-alive.
//!
//! For loopback and for clients that behave; it bounds what it reads, and it is
//! no example for a port that strangers reach.
//!
//! Invariant: nothing is kept of a request once its answer is written, except
//! the bytes that came after it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use base::wire::{Request, Response};

/// Longest head, in bytes: a hundred ids in a query are 4 KiB, and more is tried.
const HEAD_MAX: usize = 256 * 1024;
/// Longest body, in bytes: a thousand topics are 100 KiB.
const BODY_MAX: usize = 8 * 1024 * 1024;
const HEADERS_MAX: usize = 100;

/// A request as it came, with what the connection needs to know of it.
pub(super) struct Incoming {
    /// Its method is `?` if it is none of the usual ones.
    pub(super) request: Request,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
    /// The `Sec-WebSocket-Key`, if it asks for a WebSocket.
    pub(super) websocket_key: Option<String>,
}

/// Why no request was read.
pub(super) enum Unread {
    /// The connection ended, or broke.
    Over,
    /// It cannot be answered with anything but this status, and then the end.
    Refuse(u16),
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Unread::Over
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream and the bytes that were read beyond the last request.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    fn more(&mut self) -> Result<(), Unread> {
        let mut chunk = [0u8; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        if n == 0 {
            return Err(Unread::Over);
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(())
    }

    /// Reads the next request; `base` goes before its path to make a URL.
    pub(super) fn read(&mut self, base: &str) -> Result<Incoming, Unread> {
        let (mut incoming, framing, expects) = loop {
            if let Some((end, incoming, framing, expects)) = head(&self.buffer, base)? {
                self.buffer.drain(..end);
                break (incoming, framing, expects);
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(Unread::Refuse(431));
            }
            self.more()?;
        };
        if expects && self.buffer.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        incoming.request.body = match framing {
            Framing::Length(length) => self.exactly(length)?,
            Framing::Chunked => self.chunked()?,
        };
        Ok(incoming)
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Unread> {
        if length > BODY_MAX {
            return Err(Unread::Refuse(413));
        }
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            let (skip, size) = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete(found)) => break found,
                    Ok(httparse::Status::Partial) if self.buffer.len() < HEAD_MAX => {
                        self.more()?;
                    }
                    _ => return Err(Unread::Refuse(400)),
                }
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_MAX - body.len() {
                return Err(Unread::Refuse(413));
            }
            self.buffer.drain(..skip);
            // Trailers are not taken: the last chunk must be followed by an empty line.
            let mut chunk = self.exactly(size + 2)?;
            if chunk.split_off(size) != b"\r\n" {
                return Err(Unread::Refuse(400));
            }
            body.append(&mut chunk);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Writes an answer.
    pub(super) fn write(
        &mut self,
        response: &Response,
        head_only: bool,
        keep_alive: bool,
    ) -> io::Result<()> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\n",
            response.status,
            reason(response.status)
        );
        for (name, value) in &response.headers {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        if response.status != 204 {
            out.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
        }
        if !keep_alive {
            out.push_str("Connection: close\r\n");
        }
        out.push_str("\r\n");
        let mut bytes = out.into_bytes();
        if !head_only && response.status != 204 {
            bytes.extend_from_slice(&response.body);
        }
        self.stream.write_all(&bytes)
    }
}

/// How the body is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

type Head = (usize, Incoming, Framing, bool);

/// The head at the start of the buffer, if it is complete: where it ends, the
/// request, how its body goes, and whether the client waits for a word.
fn head(buffer: &[u8], base: &str) -> Result<Option<Head>, Unread> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let end = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Unread::Refuse(400)),
    };
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|h| {
            (
                h.name.to_owned(),
                String::from_utf8_lossy(h.value).into_owned(),
            )
        })
        .collect();
    let request = Request {
        method: method(parsed.method.unwrap_or("")),
        url: format!("{base}{}", parsed.path.unwrap_or("/")),
        headers,
        body: Vec::new(),
    };
    let framing = match (
        request.header("transfer-encoding"),
        request.header("content-length"),
    ) {
        (None, None) => Framing::Length(0),
        (None, Some(text)) => Framing::Length(text.parse().map_err(|_| Unread::Refuse(400))?),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (Some(_), None) => return Err(Unread::Refuse(501)),
        (Some(_), Some(_)) => return Err(Unread::Refuse(400)),
    };
    let says = |name: &str, word: &str| {
        request
            .header(name)
            .is_some_and(|v| v.to_ascii_lowercase().split(',').any(|w| w.trim() == word))
    };
    let keep_alive = if parsed.version == Some(1) {
        !says("connection", "close")
    } else {
        says("connection", "keep-alive")
    };
    let websocket_key = (request.method == "GET"
        && says("connection", "upgrade")
        && says("upgrade", "websocket")
        && request.header("sec-websocket-version") == Some("13"))
    .then(|| request.header("sec-websocket-key").map(str::to_owned))
    .flatten();
    let expects = says("expect", "100-continue");
    Ok(Some((
        end,
        Incoming {
            request,
            keep_alive,
            websocket_key,
        },
        framing,
        expects,
    )))
}

fn method(name: &str) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("?")
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Unknown")
}
