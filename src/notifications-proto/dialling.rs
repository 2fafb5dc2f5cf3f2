//! When a socket is dialled, and what the ends of sockets that never served say of the
//! way to the platform (protocol, section 8): while it is blocked, one channel tries
//! for all.
//!
//! It decides when; it opens no socket itself. Invariant: while the way is blocked at most
//! one socket is being opened, and no channel is made beside one that still waits for its
//! first.

use std::time::Duration;

use super::channel::{Channel, Phase};
use super::client::Client;
use super::reasons::Death;
use super::session::{End, SocketRef};
use super::way::Trouble;
use base::blame::Blame;
use base::notice::{Level, Notice};
use base::time::{Mono, Now};

impl Client {
    /// The first sign of life on a socket: sockets can be had. Channels that were refused as
    /// if they were gone are gone, and the others need not wait any longer.
    pub(super) fn socket_serves(&mut self, slot: u8, now: Now) {
        if let Some(channel) = self.channels.get_mut(&slot) {
            channel.served = true;
            channel.doubted = false;
        }
        if let Some(trouble) = self.way.serves() {
            let text = format!("sockets are served again ({})", trouble.label());
            self.notice(Notice::new(Level::Info, "socket-again", text));
        }
        if let Some(name) = self.evicted.take() {
            self.blame_competitor(name);
        }
        let waiting = self.channels.values().filter(|c| c.waits_for_socket());
        let (gone, others): (Vec<&Channel>, Vec<&Channel>) = waiting.partition(|c| c.doubted);
        let gone: Vec<u8> = gone.iter().map(|c| c.slot).collect();
        let others: Vec<u8> = others.iter().map(|c| c.slot).collect();
        for slot in others {
            let soon = now.mono + self.rng.between(Duration::ZERO, Duration::from_secs(2));
            if let Some(c) = self.channels.get_mut(&slot)
                && let Phase::Waiting(until) = &mut c.phase
            {
                *until = soon.min(*until);
            }
        }
        for slot in gone {
            self.die_of(slot, Death::UpgradeRefused, false, now);
        }
    }

    /// A socket ended before it had served. True if its channel may be to blame after all
    /// and is to be replaced.
    pub(super) fn not_served(&mut self, socket: SocketRef, end: &End, now: Now) -> bool {
        let latest = self.generation;
        let step = self
            .way
            .failed(end, socket.generation, latest, now, &mut self.rng);
        if self.way.gated() {
            self.evicted = None;
        }
        if step.say
            && let Some(trouble) = Trouble::of(end)
        {
            let level = match trouble.blame() {
                Blame::Operator | Blame::Us => Level::Error,
                Blame::Peer | Blame::Environment => Level::Warn,
            };
            let detail = match end {
                End::NotConnected { detail, .. } if !detail.is_empty() => format!(" ({detail})"),
                _ => String::new(),
            };
            let next = self.way.pause().as_secs().max(1);
            let text = format!("{trouble}{detail}; the next try is in {next} s");
            self.notice(Notice::new(level, trouble.label(), text));
        }
        step.replace
    }

    /// The channel whose socket is tried while all others wait; `None` while one is being
    /// opened. New channels first: they tell whether it is the channel or the way.
    pub(super) fn prober(&self) -> Option<u8> {
        let serving = |c: &&Channel| !c.retiring();
        let all = || self.channels.values().filter(serving);
        if all().any(|c| c.phase == Phase::Connecting) {
            return None;
        }
        all()
            .filter(|c| c.waits_for_socket())
            .min_by_key(|c| (c.served, c.attempts, c.slot))
            .map(|c| c.slot)
    }

    /// When a channel without a socket may try again; `None` if it waits for another one.
    pub(super) fn dial_at(&self, channel: &Channel) -> Option<Mono> {
        let Phase::Waiting(until) = channel.phase else {
            return None;
        };
        if self.way.gated() {
            return (self.prober() == Some(channel.slot)).then(|| until.max(self.way.from()));
        }
        // What became of the channel made instead of another tells about this one, too.
        if channel.doubted && self.one_tells() {
            return None;
        }
        Some(until)
    }

    /// A channel is being made, or tries its first socket, that nothing is known against: what
    /// becomes of it tells about those that were refused.
    fn one_tells(&self) -> bool {
        self.channels
            .values()
            .any(|c| !c.served && !c.doubted && !c.retiring() && c.phase != Phase::Open)
    }

    /// A channel is being made, or waits for its first socket.
    pub(super) fn first_socket_pending(&self) -> bool {
        self.channels
            .values()
            .any(|c| !c.served && !c.retiring() && c.phase != Phase::Open)
    }

    /// No channel is made while sockets cannot be had and one waits for its first.
    pub(super) fn may_create(&self, now: Now) -> bool {
        self.create_at(now.mono).is_some_and(|at| at <= now.mono)
    }

    /// When the next channel may be made; `None` until a socket that is tried has served, or
    /// has not.
    pub(super) fn create_at(&self, now: Mono) -> Option<Mono> {
        let callable = self.may_create_at(now);
        if !self.way.gated() {
            let wait = self.way.unproven() && self.trying_the_token();
            // One tells whether it is the channels that are refused.
            let tells = self.way.doubts_channels() && self.one_tells();
            return (!wait && !tells).then_some(callable);
        }
        let from = callable.max(self.way.from());
        (!self.first_socket_pending()).then_some(from)
    }

    /// A channel is being made with the token that is held, or waits for its first socket. What
    /// an earlier token made, or waits for another itself, tells nothing about it.
    fn trying_the_token(&self) -> bool {
        let serial = self.token.serial();
        let tries = |c: &Channel| {
            let made = matches!(c.phase, Phase::Creating) || Some(c.token_serial) == serial;
            made && !c.served && !c.doubted && !c.retiring() && c.phase != Phase::Open
        };
        self.channels.values().any(tries)
    }

    /// A successor got no socket: each try costs a place.
    pub(super) fn successor_in_vain(&mut self, now: Now) {
        if self.way.gated() {
            self.way.made_in_vain(now);
        }
    }
}
