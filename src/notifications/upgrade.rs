//! From a byte stream to a WebSocket: the client's half of the opening handshake
//! (RFC 6455, section 4.1).
//!
//! The library's own is not used: it wants the field `Connection` to be one word,
//! where middleboxes add others (RFC 9110, 7.6.1: it is a list), and it keeps what else
//! a refusal says to itself. The status line decides; fields that are not understood
//! are left out.
//!
//! Invariants: no answer longer than [`HEAD_MAX`] is read; what comes behind it is the
//! first of the WebSocket's bytes, none lost.

use std::io::{self, Read, Write};

use tungstenite::WebSocket;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};

use super::unreached::Unreached;
use base::cause::Cause;
use base::retry_after;
use base::time::Wall;
use proto::frames::FRAME_MAX;
use proto::oauth::USER_AGENT;
use proto::session::End;

/// The longest head of an answer, interim ones included.
const HEAD_MAX: usize = 64 * 1024;

/// Fields of an answer for which there is room at first.
const FIELDS: usize = 64;

/// Unsent bytes at which the other side counts as not reading: ten times what four
/// requests of a thousand topics take.
const UNSENT_MAX: usize = 4 * 1024 * 1024;

/// Asks for the upgrade and reads the answer. `target` is path and query.
pub(super) fn upgrade<S: Read + Write>(
    mut stream: S,
    authority: &str,
    target: &str,
    now: Wall,
) -> Result<WebSocket<S>, End> {
    let key = generate_key();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
         User-Agent: {USER_AGENT}\r\n\r\n"
    );
    let broken = |e: io::Error| not_connected(Unreached::of_io(&e));
    stream.write_all(request.as_bytes()).map_err(broken)?;
    stream.flush().map_err(broken)?;
    let (answer, rest) = read(&mut stream).map_err(not_connected)?;
    if answer.status != 101 {
        let retry_after = answer.of("retry-after").next();
        return Err(End::UpgradeRefused {
            status: answer.status,
            retry_after: retry_after.and_then(|text| retry_after::parse(text, now)),
        });
    }
    answer.check(&key).map_err(|why| {
        let odd = Unreached::new(Cause::NotWebSocket, why);
        not_connected(odd)
    })?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(UNSENT_MAX)
        .max_message_size(Some(FRAME_MAX))
        .max_frame_size(Some(FRAME_MAX));
    let socket = WebSocket::from_partially_read(stream, rest, Role::Client, Some(config));
    Ok(socket)
}

pub(super) fn not_connected(unreached: Unreached) -> End {
    End::NotConnected {
        cause: unreached.cause,
        detail: unreached.detail,
    }
}

/// The head of the final answer.
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Answer {
    /// The values of a field, line by line.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// A list, on one line or several, contains the token in any case.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.of(name)
            .flat_map(|line| line.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    }

    /// What is missing in a 101.
    fn check(&self, key: &str) -> Result<(), &'static str> {
        if !self.lists("upgrade", "websocket") {
            return Err("it upgrades to something else");
        }
        if !self.lists("connection", "upgrade") {
            return Err("it does not say that the connection is upgraded");
        }
        let accept = derive_accept_key(key.as_bytes());
        let mut keys = self.of("sec-websocket-accept");
        if keys.next().map(str::trim) != Some(accept.as_str()) || keys.any(|k| k.trim() != accept) {
            return Err("it answers another request");
        }
        // Nothing of that was asked for; frames would not be what they seem.
        let named = |name| self.of(name).any(|v| !v.trim().is_empty());
        if named("sec-websocket-extensions") || named("sec-websocket-protocol") {
            return Err("it uses extensions or a protocol that were not asked for");
        }
        Ok(())
    }
}

/// Reads the answer, passing over interim ones; what was read behind it comes along.
fn read(stream: &mut impl Read) -> Result<(Answer, Vec<u8>), Unreached> {
    let mut bytes = Vec::new();
    let mut passed = 0;
    loop {
        if let Some((answer, length)) = parse(&bytes)? {
            bytes.drain(..length);
            passed += length;
            // 101 is an interim status that ends the conversation.
            if !(100..=199).contains(&answer.status) || answer.status == 101 {
                return Ok((answer, bytes));
            }
            continue;
        }
        if passed + bytes.len() >= HEAD_MAX {
            let long = Unreached::new(Cause::NotWebSocket, "the answer is too long");
            return begun(&bytes).ok_or(long);
        }
        let mut chunk = [0; 4096];
        let room = chunk.len().min(HEAD_MAX - passed - bytes.len());
        match stream.read(&mut chunk[..room]) {
            Ok(0) => return begun(&bytes).ok_or_else(|| Cause::BrokenOff.into()),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return begun(&bytes).ok_or_else(|| Unreached::of_io(&e)),
        }
    }
}

/// An answer that is not whole, or longer than is read: a refusal is one as soon as its status
/// line is there. Nothing else of it is believed.
fn begun(bytes: &[u8]) -> Option<(Answer, Vec<u8>)> {
    let line = bytes.split_inclusive(|b| *b == b'\n').next()?;
    let mut fields = [];
    let mut response = httparse::Response::new(&mut fields);
    // The line by itself, as a head without fields.
    let alone = [line.strip_suffix(b"\n")?.trim_ascii_end(), b"\r\n\r\n"].concat();
    lenient().parse_response(&mut response, &alone).ok()?;
    let status = response.code.filter(|status| *status >= 200)?;
    let fields = Vec::new();
    Some((Answer { status, fields }, Vec::new()))
}

/// The head at the start of these bytes and its length, if it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Unreached> {
    let mut room = FIELDS;
    loop {
        match parse_within(bytes, room) {
            // The shortest field has four bytes: sooner or later there is room for all.
            Err(httparse::Error::TooManyHeaders) if room < HEAD_MAX => room *= 4,
            found => {
                return found.map_err(|e| {
                    let text = format!("what answers does not speak HTTP: {e}");
                    Unreached::new(Cause::NotWebSocket, text)
                });
            }
        }
    }
}

fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

fn parse_within(bytes: &[u8], room: usize) -> Result<Option<(Answer, usize)>, httparse::Error> {
    let mut fields = vec![httparse::EMPTY_HEADER; room];
    let mut response = httparse::Response::new(&mut fields);
    let length = match lenient().parse_response(&mut response, bytes)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let fields = response
        .headers
        .iter()
        .map(|f| {
            let value = String::from_utf8_lossy(f.value).into_owned();
            (f.name.to_owned(), value)
        })
        .collect();
    let status = response.code.unwrap_or(0);
    Ok(Some((Answer { status, fields }, length)))
}

/// Any bytes as the answer to an upgrade: however they are cut, the same comes of them; what is an
/// upgrade answers this very request; nothing behind the head is lost. `KEY` stands for the
/// answer to our key.
#[cfg(any(test, feature = "windows"))]
pub fn fuzz_upgrade(data: &[u8]) {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let accept = derive_accept_key(key.as_bytes());
    let mut bytes = Vec::with_capacity(data.len() + 32);
    let mut rest = data;
    while let Some(at) = rest.windows(3).position(|w| w == b"KEY") {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(accept.as_bytes());
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest);

    let mut stream = bytes.as_slice();
    let at_once = read(&mut stream);
    let mut crumbs = Crumbs(&bytes);
    let (answer, end) = match (at_once, read(&mut crumbs)) {
        (Ok((answer, behind)), Ok((other, begun))) => {
            let end = bytes.len() - stream.len() - behind.len();
            assert_eq!(
                bytes[end..].strip_suffix(stream),
                Some(behind.as_slice()),
                "what stands behind the head comes along as it is"
            );
            assert_eq!(end, bytes.len() - crumbs.0.len() - begun.len());
            assert_eq!(
                (answer.status, &answer.fields),
                (other.status, &other.fields)
            );
            (answer, end)
        }
        (Err(one), Err(other)) => {
            for odd in [one, other] {
                let printable = odd.detail.chars().all(|c| !c.is_control());
                assert!(printable && odd.detail.len() < 500, "{}", odd.detail);
            }
            return;
        }
        (one, other) => panic!("whole {}, in crumbs {}", one.is_ok(), other.is_ok()),
    };
    assert!(end <= HEAD_MAX);
    assert!(answer.status == 101 || !(100..=199).contains(&answer.status));
    if answer.status == 101 && answer.check(key).is_ok() {
        let head = String::from_utf8_lossy(&bytes[..end]);
        assert!(head.contains(&accept), "it answers this very request");
        let other = answer.check("AAAAAAAAAAAAAAAAAAAAAA==");
        assert!(other.is_err(), "and no other");
    }
    for wait in answer.of("retry-after") {
        let _ = retry_after::parse(wait, Wall(1_767_886_512_000));
    }
}

/// A stream that gives seven bytes at a time.
#[cfg(any(test, feature = "windows"))]
struct Crumbs<'a>(&'a [u8]);

#[cfg(any(test, feature = "windows"))]
impl Read for Crumbs<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.len().min(7).min(buf.len());
        let (now, later) = self.0.split_at(n);
        buf[..n].copy_from_slice(now);
        self.0 = later;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has its answer ready; `KEY` in it stands for the key's answer.
    struct Peer {
        answer: &'static str,
        asked: Vec<u8>,
        told: Option<io::Cursor<Vec<u8>>>,
    }

    impl Read for Peer {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let told = self.told.get_or_insert_with(|| {
                let asked = String::from_utf8_lossy(&self.asked);
                let key = asked.split("Sec-WebSocket-Key: ").nth(1).unwrap();
                let key = derive_accept_key(key.split("\r\n").next().unwrap().as_bytes());
                io::Cursor::new(self.answer.replace("KEY", &key).into_bytes())
            });
            // In crumbs, as networks like it.
            let room = buf.len().min(7);
            told.read(&mut buf[..room])
        }
    }

    impl Write for Peer {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.asked.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(answer: &'static str) -> Result<WebSocket<Peer>, End> {
        let peer = Peer {
            answer,
            asked: Vec::new(),
            told: None,
        };
        upgrade(peer, "h:1", "/x", Wall(1_767_886_512_000))
    }

    #[test]
    fn a_list_that_contains_the_token_is_an_upgrade_however_it_is_written() {
        for answer in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nupgrade: WEBSOCKET\r\nCONNECTION: Keep-Alive,uPgRaDe\r\nSEC-WEBSOCKET-ACCEPT: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: h2c, websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:  KEY \r\nX-Odd : 1\r\n folded\r\n\r\n",
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
        ] {
            let socket = ask(answer);
            assert!(socket.is_ok(), "{answer}: {:?}", socket.err());
        }
    }

    #[test]
    fn bytes_behind_the_head_are_the_first_of_the_socket() {
        let mut socket = ask(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n\u{1}\u{5}hello",
        );
        // The first byte of a final text frame is no character of its own.
        let bytes = socket.as_mut().unwrap().read();
        assert!(matches!(bytes, Err(tungstenite::Error::Io(_)) | Err(_)));
        let (answer, rest) = read(&mut io::Cursor::new(
            b"HTTP/1.1 101 x\r\n\r\n\x81\x05hello".to_vec(),
        ))
        .unwrap();
        assert_eq!(
            (answer.status, rest.as_slice()),
            (101, &b"\x81\x05hello"[..])
        );
    }

    #[test]
    fn what_is_no_upgrade_is_none() {
        for answer in [
            "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgraded\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            let Err(End::NotConnected { cause, .. }) = ask(answer) else {
                panic!("{answer} was taken");
            };
            assert_eq!(cause, Cause::NotWebSocket, "{answer}");
        }
    }

    #[test]
    fn the_status_of_a_refusal_is_told_however_much_comes_behind_it_or_is_missing() {
        let fields = |n: usize, field: &str| (0..n).map(|_| field).collect::<String>();
        for (rest, whole) in [
            (fields(100, "X-Odd: 1\r\n"), true),
            (fields(600, "X-Odd: 1\r\n"), true),
            (fields(16_000, "a:\r\n"), true),
            (fields(1_000_000, "X-Odd: 1\r\n"), true),
            (format!("X-Odd: {}\r\n", "x".repeat(1_000_000)), true),
            (fields(3, "X-Odd: 1\r\n"), false),
            (String::new(), false),
            ("X-Odd".to_owned(), false),
        ] {
            let end = if whole { "\r\n" } else { "" };
            let answer = format!("HTTP/1.1 407 Proxy Authentication Required\r\n{rest}{end}");
            let told = read(&mut io::Cursor::new(answer.into_bytes())).map(|(a, _)| a.status);
            assert_eq!(told, Ok(407), "{} bytes, {whole}", rest.len());
        }
        // What is no refusal is not taken for one, and an upgrade has to be whole.
        for answer in [
            "HTTP/1.1 101 x\r\n",
            "HTTP/1.1 103 x\r\n",
            "HTTP/1.1 40",
            "SSH-2.0\r\n",
        ] {
            assert!(read(&mut io::Cursor::new(answer)).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_refusal_tells_its_status_and_how_long_to_wait() {
        let wait = |answer| match ask(answer) {
            Err(End::UpgradeRefused {
                status,
                retry_after,
            }) => (status, retry_after.map(|d| d.as_secs())),
            other => panic!("{:?}", other.err()),
        };
        assert_eq!(wait("HTTP/1.1 403 Forbidden\r\n\r\n"), (403, None));
        assert_eq!(
            wait("HTTP/1.0 503 x\r\nretry-after: 30\r\n\r\n"),
            (503, Some(30))
        );
        assert_eq!(
            wait("HTTP/1.1 429 x\r\nRetry-After: Thu, 08 Jan 2026 15:36:12 GMT\r\n\r\n"),
            (429, Some(60))
        );
        assert_eq!(
            wait("HTTP/1.1 503 x\r\nRetry-After: soon\r\n odd : \x7f\r\n\r\n"),
            (503, None)
        );
    }
}
