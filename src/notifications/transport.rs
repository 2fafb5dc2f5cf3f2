//! How the HTTP library gets its connections: by [`Reach`], as WebSockets do, with the
//! cause in words if it does not get one.
//!
//! Invariant: an error of a connector is an [`Unreached`]: nothing was sent.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use http::Uri;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, RustlsConnector,
    ShutdownHandle, Transport,
};

use super::proxy::Proxy;
use super::reach::{Reach, Target, Until, is_timeout, left};
use super::unreached::{Unreached, cause_of_tls};
use base::authority::{bare, is_loopback, port};
use base::cause::Cause;

/// For one address, while others are tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the library sees no end there is one nevertheless.
const LONGEST: Duration = Duration::from_secs(3600);

/// Names are looked up by whoever connects; the library wants some address.
#[derive(Debug)]
pub(super) struct LaterResolver;

impl Resolver for LaterResolver {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut nowhere = self.empty();
        nowhere.push(([0, 0, 0, 0], 0).into());
        Ok(nowhere)
    }
}

/// Name, TCP and proxy.
#[derive(Debug)]
pub(super) struct TcpConnector {
    reach: Reach,
    proxy: Option<Proxy>,
    given_up: Arc<AtomicBool>,
}

impl TcpConnector {
    /// Connections that are on their way are broken off once they are given up.
    pub(super) fn new(proxy: Option<Proxy>, given_up: Arc<AtomicBool>) -> TcpConnector {
        TcpConnector {
            reach: Reach::default(),
            proxy,
            given_up,
        }
    }

    fn open(&self, uri: &Uri, deadline: Instant) -> Result<TcpStream, Unreached> {
        let authority = uri.authority().ok_or(Cause::NotAnAddress)?;
        let default = match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        let host = authority.host();
        let port = port(authority, default).ok_or(Cause::NotAnAddress)?;
        let named = format!("{host}:{port}");
        let target = Target {
            host: bare(host),
            port,
            authority: &named,
        };
        // This machine is never reached over a proxy.
        let proxy = self.proxy.as_ref().filter(|_| !is_loopback(host));
        let until = Until::new(deadline, Arc::clone(&self.given_up));
        let tcp = self.reach.open(&target, proxy, PATIENCE, &until)?;
        tcp.set_nodelay(true)
            .map_err(|e| Unreached::of_machine(&e))?;
        Ok(tcp)
    }
}

impl Connector for TcpConnector {
    type Out = Tcp;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Tcp>, Error> {
        let left = (*details.timeout.after).min(LONGEST);
        let tcp = self
            .open(details.uri, Instant::now() + left)
            .map_err(|e| told(details.uri, e))?;
        let stream = Arc::new(Handle(tcp));
        let whole: Arc<dyn ShutdownHandle> = stream.clone();
        (details.register_shutdown)(Arc::downgrade(&whole))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Tcp {
            stream,
            buffers,
            broken: None,
        }))
    }
}

/// TLS where the address asks for it.
#[derive(Debug, Default)]
pub(super) struct TlsConnector(RustlsConnector);

impl Connector<Tcp> for TlsConnector {
    type Out = Either<Tcp, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<Tcp>,
    ) -> Result<Option<Self::Out>, Error> {
        let secured = self.0.connect(details, chained).map_err(|e| {
            let unreached = match &e {
                Error::Rustls(tls) => Unreached::new(cause_of_tls(tls), e.to_string()),
                Error::Io(io) => Unreached::of_io(io),
                Error::Timeout(_) => Cause::TimedOut.into(),
                _ => Unreached::new(Cause::Tls, e.to_string()),
            };
            told(details.uri, unreached)
        })?;
        Ok(secured.map(|either| match either {
            Either::A(plain) => Either::A(plain),
            Either::B(tls) => Either::B(Box::new(tls) as Box<dyn Transport>),
        }))
    }
}

/// The addresses that were tried are for whoever looks closely.
fn told(uri: &Uri, unreached: Unreached) -> Error {
    let host = uri.host().unwrap_or_default();
    log::debug!("{host} could not be reached: {unreached}");
    Error::Other(Box::new(unreached))
}

/// Breaks off what another thread reads or writes.
#[derive(Debug)]
struct Handle(TcpStream);

impl ShutdownHandle for Handle {
    fn shutdown(&self) {
        // An error means that it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A TCP connection as the HTTP library wants it.
pub(super) struct Tcp {
    stream: Arc<Handle>,
    buffers: LazyBuffers,
    /// Nothing can be sent any more. Whoever closed may have said why before: a TLS server that
    /// does not take our certificate sends an alert. So the first failure is told when nothing
    /// is left to read.
    broken: Option<io::ErrorKind>,
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tcp")
    }
}

/// Until when one read or write may last; `None` without an end.
fn until(timeout: &NextTimeout) -> Result<Option<Instant>, Error> {
    let over = || Error::Timeout(timeout.reason);
    if timeout.after.is_not_happening() {
        return Ok(None);
    }
    let patience = timeout.not_zero().ok_or_else(over)?;
    Ok(Some(Instant::now() + (*patience).min(LONGEST)))
}

fn patience(until: Option<Instant>, timeout: &NextTimeout) -> Result<Option<Duration>, Error> {
    match until.map(left) {
        Some(Duration::ZERO) => Err(Error::Timeout(timeout.reason)),
        patience => Ok(patience),
    }
}

fn failed(error: io::Error, timeout: &NextTimeout) -> Error {
    match is_timeout(&error) {
        true => Error::Timeout(timeout.reason),
        false => Error::Io(error),
    }
}

/// The other side has closed.
pub(super) fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let until = until(&timeout)?;
        if let Some(broken) = self.broken {
            return Err(io::Error::from(broken).into());
        }
        let stream = &self.stream.0;
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            match send(stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_to_send(stream, until, &timeout)?,
                Err(e) if gone(&e.into()) => {
                    self.broken = Some(io::Error::from(e).kind());
                    return Ok(());
                }
                Err(e) => return Err(failed(e.into(), &timeout)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let until = until(&timeout)?;
        let mut stream = &self.stream.0;
        let amount = loop {
            // Waiting within the read, and not in a poll before it: what a peer says last is
            // taken as it comes, before the reset that may follow at its heels.
            stream.set_read_timeout(patience(until, &timeout)?)?;
            match (stream.read(self.buffers.input_append_buf()), self.broken) {
                (Ok(0) | Err(_), Some(broken)) => return Err(io::Error::from(broken).into()),
                (Ok(n), _) => break n,
                (Err(e), _) if e.kind() == io::ErrorKind::Interrupted => {}
                (Err(e), _) => return Err(failed(e, &timeout)),
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Idle, neither closed nor with bytes that nobody asked for.
    fn is_open(&mut self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let quiet = recv(&self.stream.0, &mut [0; 1], flags);
        self.broken.is_none() && matches!(quiet, Err(Errno::AGAIN))
    }
}

/// Until something can be sent, or it turns out that nothing ever will.
fn wait_to_send(
    stream: &TcpStream,
    until: Option<Instant>,
    timeout: &NextTimeout,
) -> Result<(), Error> {
    let left = patience(until, timeout)?.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut [PollFd::new(stream, PollFlags::OUT)], left.as_ref()) {
        Ok(0) => Err(Error::Timeout(timeout.reason)),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(failed(e.into(), timeout)),
    }
}
