//! After a closing notice: the platform closes the socket within a minute (protocol,
//! section 8), and the channel is replaced by a new one before that, as any channel
//! that ends ([`super::rollover`]).
//!
//! Only where no place is free for a new one, or it is not ready in time, a second
//! socket is opened on the channel's own URI. The platform drops the first one for it,
//! perhaps before the second can hear anything, and perhaps it had closed the first one
//! before: the order in which we hear of that tells nothing, since two links are as
//! late as they like. So what is live there may have missed an event, and is checked.

use std::time::Duration;

use super::Output;
use super::channel::{Channel, Phase, Replace};
use super::client::Client;
use super::reasons::{Suspicion, Why};
use super::rollover::LAST_MOMENT;
use super::session::{self, End, SocketRef};
use base::gap::GapCause;
use base::notice::{Level, Notice};
use base::time::{Mono, Now};

/// The platform leaves up to a minute after its notice; a little less is counted on.
const CLOSING_PATIENCE: Duration = Duration::from_secs(50);

/// Successors after a closing notice are made within this time, jittered.
const MAKE_SPREAD: Duration = Duration::from_millis(500);

/// Second sockets after a closing notice are opened within this time, jittered.
const REOPEN_SPREAD: Duration = Duration::from_millis(1500);

/// Second sockets refused in a row after which nothing is left but to wait for the close.
const REOPENS_MAX: u32 = 3;

/// Until when a successor may take over a channel that is closed at the latest by then.
pub(super) fn last_moment(closed: Mono) -> Mono {
    closed.minus(LAST_MOMENT)
}

impl Channel {
    /// A second socket on its URI has a chance.
    pub(super) fn may_reopen(&self) -> bool {
        self.reopens_failed < REOPENS_MAX && self.next.is_none() && self.phase == Phase::Open
    }

    /// It is about to be closed, and its successor is not ready.
    pub(super) fn takeover_overdue(&self, now: Mono) -> bool {
        self.linger_until.is_none() && self.closing_until.is_some_and(|at| last_moment(at) <= now)
    }

    /// It will not be closed: it was, or another socket serves.
    pub(super) fn closing_over(&mut self) {
        self.closing_until = None;
        self.reopen_at = None;
        self.replace = self.replace.filter(|r| r.why != Why::Closing);
    }
}

impl Client {
    /// The platform will close this socket within a minute.
    pub(super) fn closing_notice(&mut self, socket: SocketRef, now: Now) {
        let spread = self.rng.between(Duration::ZERO, MAKE_SPREAD);
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let busy = channel.next.is_some() || channel.closing_until.is_some();
        if channel.socket != Some(socket) || channel.phase != Phase::Open || busy {
            return;
        }
        let closed = now.mono + CLOSING_PATIENCE;
        channel.closing_until = Some(closed);
        channel.reopens_failed = 0;
        // One that watches no more is replaced anyhow.
        if !channel.suspect {
            channel.replace = Some(Replace {
                why: Why::Closing,
                from: now.mono + spread,
                by: last_moment(closed),
            });
        }
        let name = channel.name();
        let text = "the platform announced to close the socket; a new channel takes over";
        self.notice(Notice::new(Level::Debug, "closing-notice", text).on(name));
    }

    /// Has a second socket opened on the channel's URI.
    pub(super) fn reopen(&mut self, slot: u8, now: Now) {
        let spread = self.rng.between(Duration::ZERO, REOPEN_SPREAD);
        if let Some(channel) = self.channels.get_mut(&slot) {
            channel.replace = channel.replace.filter(|r| r.why != Why::Closing);
            channel.reopen_at = Some(now.mono + spread);
        }
        // It stays: its life, which nobody looked after while it was to be replaced, may be due.
        self.roll_life(slot, now);
    }

    /// The second socket on the same URI is open: it serves from now on.
    pub(super) fn taken_over(&mut self, socket: SocketRef, now: Now) {
        let Some(channel) = self.channels.get_mut(&socket.slot) else {
            return;
        };
        let earlier = channel.old;
        channel.old = channel.socket.replace(socket);
        channel.old_told = false;
        channel.next = None;
        channel.closing_over();
        channel.reopens_failed = 0;
        if channel.phase != Phase::Open && !channel.retiring() {
            channel.phase = Phase::Open;
        }
        channel.books.resend();
        self.totals.handovers += 1;
        if let Some(socket) = earlier {
            self.out.push_back(Output::Session {
                socket,
                order: session::Order::Close,
            });
        }
        self.doubt_live(socket.slot, GapCause::Reopened, now);
    }

    /// The second socket could not be opened.
    pub(super) fn takeover_failed(&mut self, slot: u8, end: &End, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        channel.reopens_failed += 1;
        if matches!(
            end,
            End::UpgradeRefused {
                status: 401 | 404,
                ..
            }
        ) {
            // The channel is gone already, and who knows since when: its first socket may
            // beat on without bringing events.
            self.suspect(slot, Suspicion::UpgradeRefused, now);
        } else if channel.reopens_failed >= REOPENS_MAX {
            channel.replace = channel.closing_until.map(|closed| Replace {
                why: Why::Closing,
                from: now.mono,
                by: last_moment(closed),
            });
        } else {
            channel.reopen_at =
                Some(now.mono + Duration::from_secs(u64::from(channel.reopens_failed)));
        }
    }
}
