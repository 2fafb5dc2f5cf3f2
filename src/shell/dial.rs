//! From a connect URI to an open WebSocket: name, TCP, proxy, TLS, upgrade, all
//! of it under one deadline but for the name, whose own limits are the machine's
//! (`/etc/resolv.conf`).
//!
//! The WebSocket library's own `connect` is not used: it has no time limit, no
//! proxy, no choice of trust, hides the cause and follows redirects.
//!
//! Invariant: no text that leaves here shows the connect URI or the channel id.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Connector as TlsConnector, WebSocket, client_tls_with_config};

use super::proxy::Proxy;
use super::shared::Shared;
use crate::authority::is_loopback;
use crate::plain::{one_line, without};
use crate::platform::connect_uri::Address;
use crate::platform::frames::FRAME_MAX;
use crate::platform::oauth::USER_AGENT;
use crate::platform::session::End;
use crate::secret::Secret;

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The most bytes of a proxy's answer to `CONNECT`.
const PROXY_ANSWER_MAX: usize = 8 * 1024;

/// Unsent bytes at which the other side counts as not reading: ten times what four
/// requests of a thousand topics take.
const UNSENT_MAX: usize = 4 * 1024 * 1024;

/// The most characters of the cause of a failure.
const CAUSE_MAX: usize = 200;

/// An open socket.
pub(super) type Socket = WebSocket<MaybeTlsStream<Wire>>;

/// How sockets are opened; shared by all channel threads.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Whom to trust.
    pub tls: Shared<Arc<ClientConfig>>,
    /// The way out, if it is not direct. This machine is never reached over it.
    pub proxy: Option<Proxy>,
    /// For one TCP connection; the next address is tried after that.
    pub connect_timeout: Duration,
    /// For everything from the first connection to the answer of the upgrade.
    pub handshake_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`), and about
    /// how long a dead peer goes unnoticed by keepalive.
    pub dead_peer_timeout: Duration,
}

impl Connector {
    /// A direct connector with the usual patience.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Connector {
        Connector {
            tls: Shared::new(tls),
            proxy: None,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(20),
            dead_peer_timeout: Duration::from_secs(30),
        }
    }

    /// Opens a socket; it comes back non-blocking.
    pub(super) fn dial(&self, uri: &Secret) -> Result<Socket, End> {
        let veil = Veil::new(uri);
        self.open(uri.expose()).map_err(|end| match end {
            End::NotConnected(cause) => End::NotConnected(veil.cover(&cause)),
            other => other,
        })
    }

    fn open(&self, uri: &str) -> Result<Socket, End> {
        let target = Address::parse(uri).ok_or_else(not_an_address)?;
        let deadline = Instant::now() + self.handshake_timeout;
        let proxy = self.proxy.as_ref().filter(|_| !is_loopback(&target.host));
        let tcp = match proxy {
            Some(proxy) => self.connect(&proxy.host, proxy.port, deadline),
            None => self.connect(&target.host, target.port, deadline),
        };
        let mut wire = Wire {
            tcp: tcp.map_err(|cause| match proxy {
                Some(_) => End::NotConnected(format!("the proxy cannot be reached: {cause}")),
                None => End::NotConnected(cause),
            })?,
            deadline: Some(deadline),
        };
        if let Some(proxy) = proxy {
            tunnel(&mut wire, proxy, &target).map_err(End::NotConnected)?;
        }
        let mut socket = self.upgrade(&target.uri, wire)?;
        let wire = wire_of(socket.get_mut());
        wire.deadline = None;
        wire.tcp
            .set_nonblocking(true)
            .map_err(|e| End::NotConnected(e.to_string()))?;
        Ok(socket)
    }

    fn connect(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, String> {
        let addresses: Vec<SocketAddr> = (host, port)
            .to_socket_addrs()
            .map_err(|e| format!("the name {host} is not found: {e}"))?
            .take(ADDRESSES_MAX)
            .collect();
        let mut cause = format!("the name {host} has no address");
        for address in addresses {
            let patience = self.connect_timeout.min(left(deadline));
            if patience.is_zero() {
                return Err(String::from("no connection in time"));
            }
            match TcpStream::connect_timeout(&address, patience) {
                Ok(tcp) => {
                    self.tune(&tcp).map_err(|e| format!("{address}: {e}"))?;
                    return Ok(tcp);
                }
                Err(e) => cause = format!("{address}: {e}"),
            }
        }
        Err(cause)
    }

    /// Keepalive finds a dead peer while nothing is unacknowledged; with a write
    /// pending only the user timeout does.
    fn tune(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        let third = (self.dead_peer_timeout / 3).max(Duration::from_secs(1));
        let keepalive = TcpKeepalive::new()
            .with_time(third)
            .with_interval(third)
            .with_retries(2);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(self.dead_peer_timeout))
    }

    fn upgrade(&self, uri: &str, wire: Wire) -> Result<Socket, End> {
        let mut request = tungstenite::client::IntoClientRequest::into_client_request(uri)
            .map_err(|_| not_an_address())?;
        request.headers_mut().insert(
            http::header::USER_AGENT,
            http::HeaderValue::from_static(USER_AGENT),
        );
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(16 * 1024)
            .max_write_buffer_size(UNSENT_MAX)
            .max_message_size(Some(FRAME_MAX))
            .max_frame_size(Some(FRAME_MAX));
        let tls = TlsConnector::Rustls(self.tls.get());
        match client_tls_with_config(request, wire, Some(config), Some(tls)) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Interrupted(_)) => Err(too_slow()),
            Err(HandshakeError::Failure(error)) => Err(match error {
                Error::Http(answer) => End::UpgradeRefused(answer.status().as_u16()),
                Error::Io(e) if is_timeout(&e) => too_slow(),
                Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                    End::NotConnected("the connection was closed instead of upgraded".into())
                }
                other => End::NotConnected(other.to_string()),
            }),
        }
    }
}

/// Text of libraries and peers, cleared of what gives the channel away.
pub(super) struct Veil(Vec<String>);

impl Veil {
    /// Hides the URI, its path and query, and the id at the end of the path.
    pub(super) fn new(uri: &Secret) -> Veil {
        let mut hidden = vec![uri.expose().to_owned()];
        if let Ok(uri) = uri.expose().parse::<http::Uri>() {
            hidden.extend(uri.path_and_query().map(|p| p.as_str().to_owned()));
            hidden.extend(uri.path().rsplit('/').next().map(str::to_owned));
            hidden.extend(uri.query().map(str::to_owned));
        }
        Veil(hidden)
    }

    pub(super) fn cover(&self, text: &str) -> String {
        let hidden: Vec<&str> = self.0.iter().map(String::as_str).collect();
        one_line(&without(text, &hidden), CAUSE_MAX)
    }
}

fn not_an_address() -> End {
    End::NotConnected("the connect URI is not a WebSocket address".into())
}

fn too_slow() -> End {
    End::NotConnected("the handshake did not end in time".into())
}

/// Asks a proxy for a way through. The answer is read byte by byte, so that
/// nothing behind it is lost.
fn tunnel(wire: &mut Wire, proxy: &Proxy, target: &Address) -> Result<(), String> {
    let mut request = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nUser-Agent: {USER_AGENT}\r\n",
        target.authority
    );
    if let Some(authorization) = proxy.authorization() {
        request += &format!("Proxy-Authorization: {}\r\n", authorization.expose());
    }
    request += "\r\n";
    let broken = |e: io::Error| match is_timeout(&e) {
        true => String::from("the proxy did not answer in time"),
        false => format!("the proxy broke the connection: {e}"),
    };
    wire.write_all(request.as_bytes()).map_err(broken)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_ANSWER_MAX {
            return Err(String::from("the proxy's answer is too long"));
        }
        let mut byte = [0];
        wire.read_exact(&mut byte).map_err(broken)?;
        head.extend_from_slice(&byte);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    match (answer.parse(&head), answer.code) {
        (Ok(_), Some(200..=299)) => Ok(()),
        (Ok(_), Some(407)) => Err(String::from(
            "the proxy wants other credentials (status 407)",
        )),
        (Ok(_), Some(code)) => Err(format!("the proxy refuses (status {code})")),
        _ => Err(String::from("the proxy's answer is not HTTP")),
    }
}

/// A TCP stream whose blocking reads and writes all end at one instant, however
/// the bytes trickle; without a deadline it is left as it is.
#[derive(Debug)]
pub(super) struct Wire {
    tcp: TcpStream,
    deadline: Option<Instant>,
}

impl Wire {
    fn patience(&self) -> io::Result<Option<Duration>> {
        match self.deadline.map(left) {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            patience => Ok(patience),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience()? {
            self.tcp.set_read_timeout(Some(patience))?;
        }
        self.tcp.read(buf)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(patience) = self.patience()? {
            self.tcp.set_write_timeout(Some(patience))?;
        }
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

fn wire_of(stream: &mut MaybeTlsStream<Wire>) -> &mut Wire {
    match stream {
        MaybeTlsStream::Plain(wire) => wire,
        MaybeTlsStream::Rustls(tls) => &mut tls.sock,
        // The enum is open, but no other backend is compiled in.
        _ => unreachable!("a TLS backend that was not asked for"),
    }
}

/// What to poll.
pub(super) fn fd_of(socket: &Socket) -> BorrowedFd<'_> {
    match socket.get_ref() {
        MaybeTlsStream::Plain(wire) => wire.as_fd(),
        MaybeTlsStream::Rustls(tls) => tls.sock.as_fd(),
        _ => unreachable!("a TLS backend that was not asked for"),
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Which of the two a timed-out socket reports differs by system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_veil_covers_the_uri_and_every_part_that_gives_the_channel_away() {
        let uri = "wss://streaming.example/channels/streaming-0-abcdefgh?key=hush";
        let veil = Veil::new(&Secret::new(uri));
        for text in [
            format!("cannot reach {uri}"),
            "GET /channels/streaming-0-abcdefgh?key=hush HTTP/1.1".into(),
            "channel streaming-0-abcdefgh is gone".into(),
            "key=hush is wrong".into(),
        ] {
            let covered = veil.cover(&text);
            assert!(
                !covered.contains("abcdefgh") && !covered.contains("hush"),
                "{covered}"
            );
            assert!(covered.contains("[hidden]"), "{covered}");
        }
        assert_eq!(veil.cover("a\nb"), "a b");
    }

    #[test]
    fn a_connection_finds_a_dead_peer_by_itself() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trust = crate::shell::tls::Trust::Only(Vec::new());
        let connector = Connector::new(trust.rustls().unwrap());
        let deadline = Instant::now() + Duration::from_secs(5);
        let tcp = connector.connect("127.0.0.1", port, deadline).unwrap();
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
        assert!(tcp.nodelay().unwrap());
        let past = Instant::now();
        assert!(connector.connect("127.0.0.1", port, past).is_err());
    }
}
