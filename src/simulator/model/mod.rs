//! The platform as a pure machine.
//!
//! Feed it requests, frames and the time; after every call drain
//! [`Platform::poll`]; call [`Platform::tick`] at [`Platform::next_deadline`].
//! An answer of [`Platform::http`] and a refused [`Platform::upgrade`] may carry
//! a private mark (late, never, connection cut) that [`take_marks`] reads and
//! removes.
//!
//! ```text
//!  http ──► rest ─┬─ tokens · saml        truth  ◄── written by acts
//!                 ├─ rest_notifications   journal ◄── written by all
//!                 ├─ operational
//!                 └─ analytics
//!  upgrade ──► sockets ◄── requests ◄── frame
//!                 │
//!              channels ◄── delivery ◄── acts ◄── orders (control), life (timers)
//! ```
//!
//! Invariant: no I/O, no clock, no threads; the same settings, seed and calls
//! give the same answers. Hash maps are looked up, never iterated.

mod acts;
mod analytics;
mod channels;
mod control;
mod conversation;
mod delivery;
mod faults;
mod journal;
mod life;
mod operational;
mod orders;
mod requests;
mod rest;
mod rest_notifications;
mod saml;
mod settings;
mod sockets;
pub mod switches;
mod timers;
mod tokens;
mod topics;
mod truth;
mod xml;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use base::ids::ConversationId;
use base::rng::Rng;
use base::time::{Mono, Now, Wall};
use base::wire::{Request, Response};

pub use acts::Start;
pub use control::{Control, ControlError, Fault, Target};
pub use conversation::{Acw, Conversation, Leg, Media, Participant, Purpose, SKIPPED_CODE, Wrap};
pub use faults::{Noise, RestFailure};
pub use journal::Entry;
pub use life::Life;
pub use rest::{Call, DELAY_MARK, HANG_MARK, Mark, NO_ANSWER_MARK, take_marks};
pub use saml::{SamlError, certificate_from_pem};
pub use settings::{Client, Limits, Saml, Settings, User};
pub use switches::{Switches, TABLE as SWITCH_TABLE};
pub use truth::{ChannelView, Ledger, Truth, WrapUp};

/// One WebSocket connection; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

/// What the platform does to a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketOut {
    /// A text frame.
    Frame {
        /// Which socket.
        socket: SocketId,
        /// The text.
        text: String,
    },
    /// The answer to a ping.
    Pong {
        /// Which socket.
        socket: SocketId,
        /// The payload of the ping.
        payload: Vec<u8>,
    },
    /// A close frame; the socket is forgotten.
    Close {
        /// Which socket.
        socket: SocketId,
        /// Close code.
        code: u16,
        /// Reason.
        reason: String,
    },
    /// The connection is reset without a close frame; the socket is forgotten.
    Reset {
        /// Which socket.
        socket: SocketId,
    },
}

/// What happens by itself.
#[derive(Debug)]
enum Timer {
    Heartbeat(SocketId),
    Close(SocketId),
    ClosingNotice(SocketId),
    Frame(SocketId, String),
    Event(SocketId, String, Option<usize>),
    Unswap(SocketId, u64),
    StopListening(u64, topics::Topic),
    ChannelExpiry(u64),
    TokenExpiry(u64),
    TokenIdle(u64),
    Step(life::Step),
}

/// The simulated platform.
pub struct Platform {
    settings: Settings,
    switches: Switches,
    limits: Limits,
    rng: Rng,
    organisation: Uuid,
    division: Uuid,
    queue: Uuid,
    timers: timers::Timers<Timer>,
    out: VecDeque<SocketOut>,
    tokens: tokens::Tokens,
    channels: BTreeMap<u64, channels::Channel>,
    channel_ids: HashMap<String, u64>,
    next_channel: u64,
    listeners: HashMap<Arc<str>, channels::Listeners>,
    sockets: BTreeMap<SocketId, sockets::Socket>,
    next_socket: u64,
    next_swap: u64,
    conversations: BTreeMap<ConversationId, Conversation>,
    by_start: BTreeSet<(Wall, ConversationId)>,
    ages: VecDeque<ConversationId>,
    faults: faults::Faults,
    ledger: Ledger,
    journal: journal::Journal,
}

/// A UUID that stands for a name, the same in every run.
fn name_uuid(name: &str) -> Uuid {
    // FNV-1a, twice with different starts: spread is enough, secrecy is not needed.
    let mut bytes = [0u8; 16];
    for (half, start) in [(0, 0xcbf2_9ce4_8422_2325u64), (8, 0x9ae1_6a3b_2f90_404f)] {
        let hash = name.bytes().fold(start, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        bytes[half..half + 8].copy_from_slice(&hash.to_be_bytes());
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

impl Platform {
    /// A platform without channels, tokens or conversations.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Platform {
        Platform {
            switches: settings.switches.clone(),
            limits: settings.limits.clone(),
            rng: Rng::new(seed),
            organisation: name_uuid(&settings.org_name),
            division: name_uuid("division Home"),
            queue: name_uuid("queue Support"),
            timers: timers::Timers::new(),
            out: VecDeque::new(),
            tokens: tokens::Tokens::default(),
            channels: BTreeMap::new(),
            channel_ids: HashMap::new(),
            next_channel: 0,
            listeners: HashMap::new(),
            sockets: BTreeMap::new(),
            next_socket: 0,
            next_swap: 0,
            conversations: BTreeMap::new(),
            by_start: BTreeSet::new(),
            ages: VecDeque::new(),
            faults: faults::Faults::default(),
            ledger: Ledger::default(),
            journal: journal::Journal::new(settings.limits.journal),
            settings,
        }
    }

    /// With numbers of sockets that the one before has not given.
    pub(crate) fn in_place_of(mut self, before: &Platform) -> Platform {
        self.next_socket = before.next_socket;
        self
    }

    /// Whether a frame is the platform's heartbeat.
    pub(crate) fn is_heartbeat(text: &str) -> bool {
        text == sockets::HEARTBEAT
    }

    /// Answers a request to the login or API host, told apart by path.
    /// The answer may carry a private mark: see [`take_marks`].
    pub fn http(&mut self, request: &Request, now: Now) -> Response {
        self.tick(now);
        self.answer(request, now)
    }

    /// A WebSocket upgrade on `/channels/{id}`.
    ///
    /// # Errors
    /// The refusal: 404 unknown, expired or evicted; 401 the token of the
    /// channel is dead; 503 too many sockets; or an ordered failure, which may
    /// carry a private mark.
    pub fn upgrade(&mut self, path: &str, now: Now) -> Result<SocketId, Response> {
        self.tick(now);
        self.open_socket(path, now)
    }

    /// A text frame from the client. Ignored on a socket that is not open.
    pub fn frame(&mut self, socket: SocketId, text: &str, now: Now) {
        self.tick(now);
        self.socket_frame(socket, text, now);
    }

    /// A ping from the client (RFC 6455); answered unless the socket is silent.
    pub fn ping(&mut self, socket: SocketId, payload: &[u8], now: Now) {
        self.tick(now);
        if self
            .sockets
            .get(&socket)
            .is_some_and(|s| s.mute != sockets::Mute::All)
        {
            self.out.push_back(SocketOut::Pong {
                socket,
                payload: payload.to_vec(),
            });
        }
    }

    /// The client closed the socket, or the link is gone.
    pub fn closed(&mut self, socket: SocketId, now: Now) {
        self.tick(now);
        self.forget_socket(socket, now, || "by the client".into());
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The command does not fit; nothing was changed.
    pub fn control(
        &mut self,
        command: &Control,
        now: Now,
    ) -> Result<serde_json::Value, ControlError> {
        self.tick(now);
        self.obey(command, now)
    }

    /// Runs every timer that is due.
    pub fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.take(now.mono) {
            match timer {
                Timer::Heartbeat(socket) => self.heartbeat_due(socket, now),
                Timer::Close(socket) => self.close_socket(socket, "maintenance", now),
                Timer::ClosingNotice(socket) => self.closing_notice(socket, now),
                Timer::Frame(socket, text) => self.say(socket, text),
                Timer::Event(socket, text, wrap_up) => {
                    self.event_frame(socket, text, wrap_up, now);
                }
                Timer::Unswap(socket, turn) => self.unswap_due(socket, turn, now),
                Timer::StopListening(channel, topic) => self.unlisten(channel, &topic),
                Timer::ChannelExpiry(channel) => self.channel_expiry_due(channel, now),
                Timer::TokenExpiry(token) => self.token_expiry_due(token, now),
                Timer::TokenIdle(token) => self.token_idle_due(token, now),
                Timer::Step(step) => self.step_due(step, now),
            }
        }
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.timers.next()
    }

    /// The next thing to do to a socket; drain it after every other call.
    pub fn poll(&mut self) -> Option<SocketOut> {
        self.out.pop_front()
    }

    /// What really happened, for tests.
    #[must_use]
    pub fn truth(&self) -> Truth<'_> {
        Truth(self)
    }

    /// What happened since the last call, the oldest first; bounded by the settings.
    pub fn journal(&mut self) -> impl Iterator<Item = Entry> {
        self.journal.drain()
    }

    /// What happened and is still kept, the oldest first.
    pub fn journal_kept(&self) -> impl Iterator<Item = &Entry> {
        self.journal.kept()
    }

    /// Whether the socket says nothing at all; its shell then leaves unread what comes.
    #[must_use]
    pub fn is_silent(&self, socket: SocketId) -> bool {
        self.sockets
            .get(&socket)
            .is_some_and(|s| s.mute == sockets::Mute::All)
    }

    /// Where the switches stand.
    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// What the platform was set up with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The conversation as `GET /conversations/{id}` would show it.
    #[must_use]
    pub fn shown(&self, id: ConversationId) -> Option<serde_json::Value> {
        self.conversations
            .get(&id)
            .map(|c| self.conversation_json(c))
    }

    fn random_text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        (0..length)
            .map(|_| char::from(LETTERS[self.rng.below(36) as usize]))
            .collect()
    }
}
