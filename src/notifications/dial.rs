//! From a connect URI to an open WebSocket: name, TCP, proxy, TLS, upgrade, all
//! of it under one deadline.
//!
//! The WebSocket library's own `connect` is not used: it has no time limit, no
//! proxy, no choice of trust, hides the cause and follows redirects.
//!
//! Invariant: no text that leaves here shows the connect URI or the channel id.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};
use tungstenite::WebSocket;
use tungstenite::stream::MaybeTlsStream;

use super::proxy::Proxy;
use super::reach::{Reach, Target, Until, Wire};
use super::shared::Shared;
use super::unreached::Unreached;
use super::upgrade::{not_connected, upgrade};
use base::authority::is_loopback;
use base::cause::Cause;
use base::plain::{one_line, without};
use base::secret::Secret;
use base::time::Wall;
use proto::connect_uri::Address;
use proto::session::End;

/// The most characters of the cause of a failure.
const CAUSE_MAX: usize = 200;

/// An open socket.
pub(super) type Socket = WebSocket<MaybeTlsStream<Wire>>;

/// How sockets are opened; shared by all channel threads.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Whom to trust, or why nobody can be: only what speaks TLS needs to know.
    pub tls: Shared<Result<Arc<ClientConfig>, Cause>>,
    /// The way out, if it is not direct. This machine is never reached over it.
    pub proxy: Shared<Option<Proxy>>,
    /// For the connection to one address; others are tried meanwhile.
    pub connect_timeout: Duration,
    /// For everything from the name to the answer of the upgrade.
    pub handshake_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`), and about
    /// how long a dead peer goes unnoticed by keepalive.
    pub dead_peer_timeout: Duration,
    reach: Arc<Reach>,
}

impl Connector {
    /// A direct connector with the usual patience.
    #[must_use]
    pub fn new(tls: Result<Arc<ClientConfig>, Cause>) -> Connector {
        Connector {
            tls: Shared::new(tls),
            proxy: Shared::new(None),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(20),
            dead_peer_timeout: Duration::from_secs(30),
            reach: Arc::default(),
        }
    }

    /// Opens a socket; it comes back non-blocking. `now` is for what the answer says of time;
    /// whoever does not want it any more says so by `given_up`.
    pub(super) fn dial(
        &self,
        uri: &Secret,
        now: Wall,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Socket, End> {
        let veil = Veil::new(uri);
        let deadline = Instant::now() + self.handshake_timeout;
        let deadline = Until::new(deadline, Arc::clone(given_up));
        self.open(uri.expose(), now, deadline)
            .map_err(|end| match end {
                End::NotConnected { cause, detail } => End::NotConnected {
                    cause,
                    detail: veil.cover(&detail),
                },
                other => other,
            })
    }

    fn open(&self, uri: &str, now: Wall, deadline: Until) -> Result<Socket, End> {
        let address = Address::parse(uri).ok_or_else(|| End::unreached(Cause::NotAnAddress))?;
        let proxy = self.proxy.get().filter(|_| !is_loopback(&address.host));
        let target = Target {
            host: &address.host,
            port: address.port,
            authority: &address.authority,
        };
        let tcp = self
            .reach
            .open(&target, proxy.as_ref(), self.connect_timeout, &deadline)
            .map_err(not_connected)?;
        self.tune(&tcp)
            .map_err(|e| not_connected(Unreached::of_machine(&e)))?;
        let wire = Wire {
            tcp,
            deadline: Some(deadline),
        };
        let stream = match address.secure {
            true => MaybeTlsStream::Rustls(self.secure(wire, &address.host)?),
            false => MaybeTlsStream::Plain(wire),
        };
        let mut socket = upgrade(stream, &address.named, &address.path, now)?;
        let wire = wire_of(socket.get_mut());
        wire.deadline = None;
        wire.tcp
            .set_nonblocking(true)
            .map_err(|e| not_connected(Unreached::of_machine(&e)))?;
        Ok(socket)
    }

    fn secure(
        &self,
        mut wire: Wire,
        host: &str,
    ) -> Result<StreamOwned<ClientConnection, Wire>, End> {
        let config = self.tls.get().map_err(End::unreached)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| End::unreached(Cause::NotAnAddress))?;
        let mut tls = ClientConnection::new(config, name)
            .map_err(|e| not_connected(Unreached::new(Cause::Tls, e.to_string())))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut wire)
                .map_err(|e| not_connected(Unreached::of_io(&e)))?;
        }
        Ok(StreamOwned::new(tls, wire))
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
        one_line(
            &crate::redaction::foreign(&without(text, &hidden)),
            CAUSE_MAX,
        )
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
        let connector = Connector::new(Err(Cause::NoRoots));
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        connector.tune(&tcp).unwrap();
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
    }
}
