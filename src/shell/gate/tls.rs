//! A TCP connection that speaks TLS: the session, and the socket under it.
//!
//! The handshake happens in the first read, and so under the deadline of a head. Who speaks
//! plainly where TLS is spoken is found out by the first byte, before any of it is believed, and
//! can be answered plainly.
//!
//! Invariants: as in `stream`, no call blocks past its deadline; what the session keeps has a
//! bound. The session is its connection's own: others touch the socket alone.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection};

use super::stream::{is_tick, left};

/// The first byte of TLS: a record of the type "handshake".
pub(super) const HANDSHAKE: u8 = 0x16;
/// What is encrypted at a time, and what is kept of it until the peer takes it: a record.
const RECORD: usize = 16 * 1024;

const UNHEARD: u8 = 0;
const TLS: u8 = 1;
const PLAIN: u8 = 2;

#[derive(Debug)]
pub(super) struct TlsStream {
    socket: TcpStream,
    session: Mutex<ServerConnection>,
    spoken: AtomicU8,
}

impl TlsStream {
    pub(super) fn new(
        socket: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Result<TlsStream, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        session.set_buffer_limit(Some(RECORD));
        Ok(TlsStream {
            socket,
            session: Mutex::new(session),
            spoken: AtomicU8::new(UNHEARD),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn session(&self) -> MutexGuard<'_, ServerConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the peer turned out to speak plainly.
    pub(super) fn is_plain(&self) -> bool {
        self.spoken.load(Ordering::Acquire) == PLAIN
    }

    /// Whether something that was read from the socket has not been asked for yet.
    pub(super) fn has_read_ahead(&self) -> bool {
        let state = self.session().process_new_packets();
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Listens to the first byte, and leaves it where it is.
    fn hear(&self, deadline: Instant) -> io::Result<()> {
        while self.spoken.load(Ordering::Acquire) == UNHEARD {
            self.socket.set_read_timeout(Some(left(deadline)?))?;
            let mut first = [0];
            match self.socket.peek(&mut first) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    let spoken = if first == [HANDSHAKE] { TLS } else { PLAIN };
                    self.spoken.store(spoken, Ordering::Release);
                }
                Err(e) if is_tick(&e) => {}
                Err(e) => return Err(e),
            }
        }
        match self.is_plain() {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(()),
        }
    }

    pub(super) fn read_until(&self, deadline: Instant, buf: &mut [u8]) -> io::Result<usize> {
        self.hear(deadline)?;
        let mut session = self.session();
        loop {
            match session.reader().read(buf) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a farewell. Where a request ends its own length says.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            self.flush(&mut session, deadline)?;
            self.socket.set_read_timeout(Some(left(deadline)?))?;
            match session.read_tls(&mut &self.socket) {
                Ok(_) => {
                    if let Err(e) = session.process_new_packets() {
                        // The peer is told why, if it takes that at once.
                        let _ = self.flush(&mut session, deadline);
                        return Err(io::Error::new(io::ErrorKind::InvalidData, e));
                    }
                }
                Err(e) if is_tick(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(super) fn write_until(
        &self,
        deadline: Instant,
        bytes: &[u8],
        mut taken: impl FnMut(usize),
    ) -> io::Result<()> {
        let mut session = self.session();
        for record in bytes.chunks(RECORD) {
            let mut rest = record;
            while !rest.is_empty() {
                let n = session.writer().write(rest)?;
                self.flush(&mut session, deadline)?;
                if n == 0 {
                    // Before the handshake is over nothing can be said.
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = rest.get(n..).unwrap_or_default();
                taken(n);
            }
        }
        Ok(())
    }

    /// Sends what the session has to send.
    fn flush(&self, session: &mut ServerConnection, deadline: Instant) -> io::Result<()> {
        while session.wants_write() {
            self.socket.set_write_timeout(Some(left(deadline)?))?;
            match session.write_tls(&mut &self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if is_tick(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) fn farewell(&self, deadline: Instant) {
        if !self.is_plain() {
            let mut session = self.session();
            session.send_close_notify();
            let _ = self.flush(&mut session, deadline);
        }
    }
}
