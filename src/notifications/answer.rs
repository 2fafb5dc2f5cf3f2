//! Answers as peers really send them, made clean before the HTTP library sees
//! them: the status line decides (design, section 5).
//!
//! The library gives up an answer over interim answers with fields, folded lines,
//! blanks before a colon, control characters, too many fields, a nonsense length;
//! a record would be posted again that was filed long ago. [`Answers`] stands
//! between the socket (or its TLS) and the library: it reads the head itself,
//! drops interim answers, and hands on a small head of its own.
//!
//! ```text
//! ureq ◄── HTTP/1.1 200 + clean fields, body as it came ◄── Answer ◄── TLS ◄── TCP
//! ```
//!
//! Invariants: bounded in bytes and in the caller's time; a connection is used
//! again only after an answer whose head and framing leave no doubt, and with
//! nothing left over; what speaks to a proxy (`CONNECT`) passes untouched.

mod head;

use std::io;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time,
};

use self::head::{Head, Read};
use super::transport::gone;
use super::unreached::refused_certificate;

/// Where nobody can tell how long a body is, it ends with so much silence.
const SILENCE: Duration = Duration::from_secs(1);

/// Last in the chain of connectors.
#[derive(Debug, Default)]
pub struct Answers;

impl<In: Transport> Connector<In> for Answers {
    type Out = Answer<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let config = details.config;
        Ok(chained.map(|inner| Answer {
            inner,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stage: Stage::Fresh,
            held: Vec::new(),
            broken: None,
        }))
    }
}

#[derive(Debug)]
enum Stage {
    /// Nothing was sent yet.
    Fresh,
    /// Somebody speaks to a proxy.
    Raw,
    /// Waits for the end of the head.
    Head(Head),
    /// The head is handed on.
    Body {
        /// How long it is nobody knows.
        endless: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Answer<In> {
    inner: In,
    buffers: LazyBuffers,
    stage: Stage,
    /// The head of a request whose body follows at once: both leave together.
    held: Vec<u8>,
    /// The request could not be sent to its end. Perhaps it was answered before.
    broken: Option<Error>,
}

impl<In: Transport> Answer<In> {
    /// The next bytes, if none are waiting; false at the end.
    fn more(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.inner.buffers().input().is_empty() {
            return Ok(true);
        }
        self.inner.await_input(timeout)?;
        Ok(!self.inner.buffers().input().is_empty())
    }

    fn read_head(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let began = Instant::now();
        loop {
            let more = self.more(less(timeout, began.elapsed()));
            let Stage::Head(head) = &mut self.stage else {
                return Ok(false);
            };
            let end = match more {
                Ok(true) => {
                    let input = self.inner.buffers();
                    let (used, read) = head.read(input.input());
                    input.input_consume(used);
                    match read {
                        Read::More => continue,
                        Read::Done => head.clean(self.broken.is_some()),
                        Read::Garbage => Some((GARBAGE.to_vec(), false)),
                    }
                }
                // It ends in the middle of the head: the status line decides.
                Ok(false) | Err(_) => head.cut_off(),
            };
            return match (end, more) {
                (Some((bytes, endless)), _) => {
                    self.stage = Stage::Body { endless };
                    self.put(&bytes)
                }
                (None, more) => match (self.broken.take(), more) {
                    // Why nothing could be sent any more.
                    (_, Err(Error::Io(alert))) if refused_certificate(&alert) => {
                        Err(Error::Io(alert))
                    }
                    (Some(error), _) => Err(error),
                    (None, more) => more,
                },
            };
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let room = self.buffers.input_append_buf();
        let Some(room) = room.get_mut(..bytes.len()) else {
            return Err(Error::Io(io::ErrorKind::OutOfMemory.into()));
        };
        room.copy_from_slice(bytes);
        self.buffers.input_appended(bytes.len());
        Ok(true)
    }

    /// Sends what is held, and so much of what the library has written.
    fn pass_out(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.output();
        let body = output.get(..amount).unwrap_or_default();
        let mut rest = body;
        let mut held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            held.extend_from_slice(body);
            rest = &held;
        }
        let began = Instant::now();
        while !rest.is_empty() && self.broken.is_none() {
            let room = self.inner.buffers().output();
            let n = room.len().min(rest.len());
            let (now, later) = rest.split_at(n);
            for (to, from) in room.iter_mut().zip(now) {
                *to = *from;
            }
            rest = later;
            match self
                .inner
                .transmit_output(n, less(timeout, began.elapsed()))
            {
                Ok(()) => {}
                // Whoever refuses a large body answers and closes without reading it.
                Err(Error::Io(e)) if gone(&e) && !matches!(self.stage, Stage::Raw) => {
                    self.broken = Some(Error::Io(e));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, timeout: NextTimeout, endless: bool) -> Result<bool, Error> {
        let wait = if endless { at_most(timeout) } else { timeout };
        match self.more(wait) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(Error::Timeout(_)) if endless => return Ok(false),
            Err(error) => return Err(error),
        }
        let input = self.inner.buffers();
        let room = self.buffers.input_append_buf();
        let n = input.input().len().min(room.len());
        for (to, from) in room.iter_mut().zip(input.input()) {
            *to = *from;
        }
        input.input_consume(n);
        self.buffers.input_appended(n);
        Ok(n > 0)
    }
}

/// Whether this is the head of a request, whole, that says that a body follows at once.
fn body_follows(output: &[u8]) -> bool {
    let has = |name: &[u8]| {
        let mut starts = output.windows(name.len());
        starts.any(|w| w.eq_ignore_ascii_case(name))
    };
    output.ends_with(b"\r\n\r\n")
        && (has(b"\r\ncontent-length: ") || has(b"\r\ntransfer-encoding: "))
        && !has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\nexpect: ")
}

/// What the library refuses as no HTTP at all.
const GARBAGE: &[u8] = b"?\r\n\r\n";

/// What is left of a timeout; never nothing, because that means for ever.
fn less(timeout: NextTimeout, gone: Duration) -> NextTimeout {
    let mut left = timeout;
    if let time::Duration::Exact(after) = timeout.after {
        let after = after.saturating_sub(gone).max(Duration::from_millis(1));
        left.after = time::Duration::Exact(after);
    }
    left
}

fn at_most(timeout: NextTimeout) -> NextTimeout {
    let mut short = timeout;
    short.after = match timeout.after {
        time::Duration::Exact(after) => time::Duration::Exact(after.min(SILENCE)),
        _ => time::Duration::Exact(SILENCE),
    };
    short
}

impl<In: Transport> Transport for Answer<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.output();
        let output = output.get(..amount).unwrap_or_default();
        match self.stage {
            Stage::Fresh if output.starts_with(b"CONNECT ") => self.stage = Stage::Raw,
            Stage::Fresh | Stage::Body { .. } => {
                self.stage = Stage::Head(Head::default());
                if body_follows(output) {
                    self.held = output.to_vec();
                    return Ok(());
                }
            }
            Stage::Raw | Stage::Head(_) => {}
        }
        self.pass_out(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.held.is_empty() {
            // The body did not follow: whoever is asked decides whether it does.
            self.pass_out(0, timeout)?;
        }
        match self.stage {
            Stage::Head(_) => self.read_head(timeout),
            Stage::Body { endless } => self.pass_on(timeout, endless),
            Stage::Fresh | Stage::Raw => self.pass_on(timeout, false),
        }
    }

    fn is_open(&mut self) -> bool {
        // What nobody asked for belongs to no answer.
        self.broken.is_none() && self.inner.buffers().input().is_empty() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests;
