//! The simulator at hand: what a test does with it from Rust, and what the control interface does
//! the same way.
//!
//! Invariants: time that is advanced passes as it would have, timer after timer; after a reset
//! nothing that began before can reach the platform.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::model::{Control, ControlError, Entry, Fault, Platform, SocketId, SocketOut, Start};
use super::server::{Running, Shared, hold};
use base::ids::ConversationId;
use base::time::{Mono, millis};

/// The most that time is advanced at once.
const ADVANCE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl Running {
    /// Carries out a command, JSON text as the control interface takes it, such as
    /// `{"command":"start"}`, `{"command":"fault","fault":{"fault":"drop-socket","channel":"all"}}`,
    /// `{"command":"advance","seconds":3600}` or `{"command":"reset"}`.
    ///
    /// # Errors
    /// The command is not understood or does not fit; nothing was changed.
    pub fn command(&self, command: &str) -> Result<Value, ControlError> {
        let command = serde_json::from_str(command);
        self.shared
            .order(command.map_err(|e| ControlError::Invalid(e.to_string()))?)
    }

    /// Begins a conversation that an agent talks in, and gives its id.
    ///
    /// # Errors
    /// A bound of the model is reached.
    pub fn begin_conversation(&self) -> Result<String, ControlError> {
        let begun = self.control(&Control::Start(Start::default()))?;
        let id = begun["conversation"].as_str();
        Ok(id.unwrap_or_default().to_owned())
    }

    /// Ends a conversation, and has its agents finish their after-call work: that is announced on
    /// `v2.detail.events.conversation.{id}.acw`.
    ///
    /// # Errors
    /// There is no such conversation, or it is over.
    pub fn finish_conversation(&self, id: &str) -> Result<(), ControlError> {
        let conversation: ConversationId = id
            .parse()
            .map_err(|_| ControlError::NotFound(format!("no conversation {id}")))?;
        self.control(&Control::Finish { conversation }).map(drop)
    }

    /// Puts a switch to a value; [`SWITCH_TABLE`](super::model::SWITCH_TABLE) lists them.
    ///
    /// # Errors
    /// There is no such switch, or it does not take that value.
    pub fn switch(&self, name: &str, value: &str) -> Result<(), ControlError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.control(&Control::Switch { name, value }).map(drop)
    }

    /// Orders a hardship.
    ///
    /// # Errors
    /// It does not fit: there is no such channel, for example.
    pub fn fault(&self, fault: Fault) -> Result<(), ControlError> {
        self.control(&Control::Fault { fault }).map(drop)
    }

    /// What happened, the oldest first; the last 4,096 unless the settings say otherwise.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.model().platform().journal_kept().cloned().collect()
    }

    /// Has time pass at once, a week at most: tokens and channels end, planned conversations go
    /// on, each when it would have. Heartbeats in a row come as one. The clocks of whoever uses
    /// the platform stay as they are.
    ///
    /// # Errors
    /// It is more than a week; nothing was changed.
    pub fn advance(&self, by: Duration) -> Result<(), ControlError> {
        self.shared.advance(by)
    }

    /// As it was when it was started: without tokens, channels, conversations, faults, journal
    /// and receipts, the switches where the settings put them. Sockets are reset. Addresses,
    /// credentials and time stay.
    pub fn reset(&self) {
        self.shared.reset();
    }

    fn control(&self, command: &Control) -> Result<Value, ControlError> {
        self.model().with(|p, now| p.control(command, now))
    }
}

impl Shared {
    /// Carries out a command of the control interface.
    pub(super) fn order(&self, command: Value) -> Result<Value, ControlError> {
        match command["command"].as_str() {
            Some("advance") => {
                let passed = Duration::from_secs(seconds(&command)?);
                self.advance(passed)?;
                Ok(json!({"now": self.now().wall.rfc3339()}))
            }
            Some("reset") => {
                self.reset();
                Ok(json!({}))
            }
            _ => {
                let command: Control = serde_json::from_value(command)
                    .map_err(|e| ControlError::Invalid(format!("not understood: {e}")))?;
                let outcome = self.with(|p, now| p.control(&command, now));
                self.wake_sockets();
                outcome
            }
        }
    }

    pub(super) fn advance(&self, by: Duration) -> Result<(), ControlError> {
        if by > ADVANCE_MAX {
            return Err(ControlError::Invalid(
                "time is advanced by a week at most, 604800 seconds".into(),
            ));
        }
        let mut core = hold(&self.core);
        let until = Mono(self.now().mono.0.saturating_add(millis(by)));
        let mut last = BTreeMap::new();
        loop {
            let due = core.platform.next_deadline().filter(|at| *at <= until);
            self.leap(due.unwrap_or(until));
            let now = self.now();
            core.platform.tick(now);
            core.drain_but(|out| repeats(out, &mut last));
            if due.is_none() {
                break;
            }
        }
        drop(core);
        self.woken();
        Ok(())
    }

    fn reset(&self) {
        let mut core = hold(&self.core);
        let fresh = self.fresh(&core.platform);
        core.replace(fresh);
        drop(core);
        self.history.clear();
        self.woken();
    }

    fn woken(&self) {
        self.wake_sockets();
        self.timer_rings();
    }
}

/// `seconds`, and nothing else.
fn seconds(command: &Value) -> Result<u64, ControlError> {
    let members = command.as_object().map_or(0, serde_json::Map::len);
    let seconds = command["seconds"].as_u64().filter(|_| members == 2);
    seconds.ok_or_else(|| ControlError::Invalid("advance takes seconds, a whole number".into()))
}

/// The heartbeat after a heartbeat.
fn repeats(out: &SocketOut, last: &mut BTreeMap<SocketId, bool>) -> bool {
    let SocketOut::Frame { socket, text } = out else {
        return false;
    };
    let beat = Platform::is_heartbeat(text);
    last.insert(*socket, beat) == Some(true) && beat
}

/// Without its number: instant, kind, channel, and what.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.rfc3339(), self.kind)?;
        if let Some(channel) = &self.channel {
            write!(f, " …{channel}")?;
        }
        write!(f, " {}", self.what)
    }
}
