//! The way to the streaming hosts, which all channels share: whether sockets can
//! be had at all, and when the next one may be tried.
//!
//! A proxy that forbids upgrades, a platform that asks for a pause, a name that is not
//! known: such things happen to every channel alike. They are one failure with one
//! pause, however many sockets meet it; while it lasts one socket is dialled at a time,
//! no channel is made while a new one waits for its first socket, and REST that works
//! proves nothing. What a socket serves on is the only proof.
//!
//! A 401 or 404 may be about the channel alone. The first one since a socket served is taken
//! for that, whatever else failed before it; if the channel made instead is refused as well,
//! it is the way. As soon as one of them serves, those that were refused so are gone for
//! certain.
//!
//! It may not touch a channel. Invariant: sockets dialled before a failure was counted
//! are not counted again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::limits::{
    WAY_PAUSE, WAY_PAUSES_PER_SUCCESSOR, WAY_REFUSED_PAUSE_MAX, WAY_UNREACHED_PAUSE_MAX,
};
use super::session::End;
use base::blame::Blame;
use base::cause::Cause;
use base::rng::Rng;
use base::time::{Mono, Now};

/// Failures to connect until all channels wait for one that tries.
const UNREACHED_MIN: u32 = 3;

/// Statuses of refused upgrades that are counted for themselves; all others count as 0.
pub const STATUSES: [u16; 18] = [
    200, 301, 302, 307, 400, 401, 403, 404, 405, 407, 408, 426, 429, 451, 500, 502, 503, 504,
];

/// Why sockets cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The upgrade is answered with this status.
    Refused(u16),
    /// No connection, or one that ends before it has served.
    Unreached(Cause),
}

impl Trouble {
    /// What the end of a socket that never served says.
    #[must_use]
    pub fn of(end: &End) -> Option<Trouble> {
        match end {
            End::Ordered => None,
            End::UpgradeRefused { status, .. } => Some(Trouble::Refused(*status)),
            End::NotConnected { cause, .. } => Some(Trouble::Unreached(*cause)),
            End::Closed(_) | End::Broken(_) => Some(Trouble::Unreached(Cause::BrokenOff)),
            End::Silent { .. } | End::NoPong => Some(Trouble::Unreached(Cause::TimedOut)),
            End::Misbehaved(_) => Some(Trouble::Unreached(Cause::NotWebSocket)),
        }
    }

    /// It may be about the channel alone.
    pub(super) fn of_channel(self) -> bool {
        matches!(self, Trouble::Refused(401 | 404))
    }

    /// The reason code.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Trouble::Refused(_) => "socket-refused",
            Trouble::Unreached(_) => "socket-unreached",
        }
    }

    /// The HTTP status, if there was one.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Trouble::Refused(status) => Some(status),
            Trouble::Unreached(_) => None,
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Trouble::Refused(408 | 425 | 429 | 500..) => Blame::Peer,
            Trouble::Refused(_) => Blame::Operator,
            Trouble::Unreached(cause) => cause.blame(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(status @ (408 | 425 | 429 | 500..)) => write!(
                f,
                "WebSockets are refused with status {status}: the platform, or a proxy on the \
                 way, cannot serve them now"
            ),
            Trouble::Refused(407) => f.write_str(
                "WebSockets are refused with status 407: a proxy on the way wants credentials; \
                 those of [genesys] proxy-credentials-file are sent to the proxy that [genesys] \
                 proxy names, and to no other",
            ),
            Trouble::Refused(status @ 300..=399) => write!(
                f,
                "WebSockets are refused with status {status}, which leads elsewhere and is not \
                 followed: a proxy or firewall on the way, or a login page of the network, \
                 answers in the platform's place"
            ),
            Trouble::Refused(status @ 200..=299) => write!(
                f,
                "WebSockets are refused with status {status}, a page instead of an upgrade: a \
                 web server, or a proxy that knows no WebSockets, answers in the platform's place"
            ),
            Trouble::Refused(status) => write!(
                f,
                "WebSockets are refused with status {status} although REST works: a proxy or \
                 firewall on the way may forbid upgrades to WebSocket"
            ),
            Trouble::Unreached(cause) => write!(
                f,
                "the platform's streaming host could not be reached: {}",
                cause.words()
            ),
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Way {
    /// In a row, without a socket that served.
    failures: u32,
    trouble: Option<Trouble>,
    since: Mono,
    /// Nothing is dialled before.
    from: Mono,
    pause: Duration,
    /// No channel is made before: those that were made got no socket, and each costs a place.
    make_from: Mono,
    /// Since a socket served, a channel was replaced because a refusal may be about it alone.
    doubted: bool,
    /// Another token is held than the one with which sockets could not be had, and none has
    /// served yet.
    unproven: bool,
    /// The last socket that was dialled before the last failure was counted.
    before: u32,
    refused: BTreeMap<u16, u64>,
    unreached: BTreeMap<Cause, u64>,
}

/// What a failure comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// The channel is to be replaced: it may be to blame after all.
    pub(super) replace: bool,
    /// Worth a line.
    pub(super) say: bool,
}

impl Way {
    /// A socket ended before it had served; `latest` is the last that was dialled.
    pub(super) fn failed(
        &mut self,
        end: &End,
        generation: u32,
        latest: u32,
        now: Now,
        rng: &mut Rng,
    ) -> Step {
        let nothing = Step {
            replace: false,
            say: false,
        };
        let Some(trouble) = Trouble::of(end) else {
            return nothing;
        };
        self.count(trouble);
        if generation <= self.before {
            return nothing;
        }
        self.before = latest;
        let other = self.trouble != Some(trouble);
        if self.failures == 0 {
            self.since = now.mono;
        }
        let first = trouble.of_channel() && !self.doubted;
        self.doubted |= first;
        if first {
            // What was made in vain before was made for another reason.
            self.make_from = Mono(0);
        }
        // A row that something else began says nothing about channels.
        self.failures = if first {
            1
        } else {
            self.failures.saturating_add(1)
        };
        self.trouble = Some(trouble);
        let most = match trouble {
            Trouble::Refused(_) => WAY_REFUSED_PAUSE_MAX,
            Trouble::Unreached(_) => WAY_UNREACHED_PAUSE_MAX,
        };
        let own = (WAY_PAUSE * 2u32.pow((self.failures - 1).min(12))).min(most);
        let asked = match end {
            End::UpgradeRefused { retry_after, .. } => *retry_after,
            _ => None,
        };
        let asked = asked.unwrap_or_default().min(super::limits::RATE_HOLD_MAX);
        self.pause = match first {
            true => asked,
            false => rng.jitter(own).max(asked),
        };
        self.from = now.mono + self.pause;
        Step {
            replace: first || self.replace(trouble),
            // A reset here and there is the network's everyday life.
            say: (other || self.failures.is_power_of_two())
                && (self.failures >= 2
                    || (matches!(trouble, Trouble::Refused(_)) && !trouble.of_channel())),
        }
    }

    /// Ever more seldom: places of channels are few, and each costs one.
    fn replace(&self, trouble: Trouble) -> bool {
        let f = self.failures;
        match trouble {
            t if t.of_channel() => f >= 4 && seldom(f),
            Trouble::Refused(_) => f >= 16 && seldom(f),
            Trouble::Unreached(_) => f >= 8 && seldom(f),
        }
    }

    fn count(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Refused(status) => {
                let known = STATUSES.contains(&status);
                let status = if known { status } else { 0 };
                *self.refused.entry(status).or_default() += 1;
            }
            Trouble::Unreached(cause) => {
                *self.unreached.entry(cause.alike()).or_default() += 1;
            }
        }
    }

    /// A socket serves. What was wrong, if it was said.
    pub(super) fn serves(&mut self) -> Option<Trouble> {
        let gated = self.gated();
        self.failures = 0;
        self.doubted = false;
        self.unproven = false;
        self.from = Mono(0);
        self.make_from = Mono(0);
        self.trouble.take().filter(|_| gated)
    }

    /// Another token is held: what may have been about the old one's channels proves nothing
    /// about the new one's. True if there was such.
    pub(super) fn other_token(&mut self, now: Now) -> bool {
        let of_channel = self.trouble.is_some_and(Trouble::of_channel);
        self.doubted = false;
        if of_channel {
            self.failures = 0;
            self.unproven = true;
            self.from = self.from.min(now.mono);
        }
        of_channel
    }

    /// All channels wait for one that tries.
    pub(super) fn gated(&self) -> bool {
        match self.trouble {
            None => false,
            // The first one of these is the channel's own.
            Some(t) if t.of_channel() => self.failures >= 2,
            Some(Trouble::Refused(_)) => true,
            Some(Trouble::Unreached(_)) => self.failures >= UNREACHED_MIN,
        }
    }

    /// A socket was refused as if its channel were gone, and none has served since.
    pub(super) fn doubts_channels(&self) -> bool {
        self.doubted
    }

    /// With this token no socket has served yet, and with the one before none could be had.
    pub(super) fn unproven(&self) -> bool {
        self.unproven
    }

    /// When the next socket may be tried.
    pub(super) fn from(&self) -> Mono {
        self.from
    }

    /// The pause after the last failure.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// A channel was made, and got no socket.
    pub(super) fn made_in_vain(&mut self, now: Now) {
        let least = Duration::from_secs(60 * u64::from(self.failures.min(20)));
        let pause = (self.pause * WAY_PAUSES_PER_SUCCESSOR).max(least);
        self.make_from = self.make_from.max(now.mono + pause);
    }

    /// When the next channel may be made.
    pub(super) fn make_from(&self) -> Mono {
        self.make_from
    }

    /// What is wrong, and since when.
    pub(super) fn trouble(&self) -> Option<(Trouble, Mono)> {
        let trouble = self.trouble.filter(|_| self.gated())?;
        Some((trouble, self.since))
    }

    /// Upgrades refused, by status; 0 for those that are not counted for themselves.
    pub(super) fn refused(&self) -> Vec<(u16, u64)> {
        self.refused.iter().map(|(s, n)| (*s, *n)).collect()
    }

    /// Sockets that came to nothing otherwise, by cause.
    pub(super) fn unreached(&self) -> Vec<(Cause, u64)> {
        self.unreached.iter().map(|(c, n)| (*c, *n)).collect()
    }
}

fn seldom(f: u32) -> bool {
    f.is_power_of_two() || f.is_multiple_of(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::Wall;

    fn at(secs: u64) -> Now {
        Now {
            mono: Mono(1_000 + secs * 1000),
            wall: Wall(1_767_886_512_000),
        }
    }

    #[test]
    fn twenty_sockets_refused_at_once_are_one_failure() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let steps: Vec<Step> = (1..=20)
            .map(|n| way.failed(&End::refused(403), n, 20, at(0), &mut rng))
            .collect();
        assert_eq!(steps.iter().filter(|s| s.say).count(), 1);
        assert!(way.from().since(at(0).mono) <= Duration::from_millis(1250));
        assert_eq!(way.refused(), [(403, 20)]);
    }

    #[test]
    fn the_pause_grows_to_minutes_and_a_longer_one_asked_for_is_kept() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        for n in 1..=12 {
            way.failed(&End::refused(503), n, n, at(0), &mut rng);
        }
        let pause = way.pause();
        assert!(pause >= Duration::from_secs(225) && pause <= Duration::from_secs(375));
        for (asked, kept) in [(1_000, 1_000), (100_000, 3_600)] {
            let end = End::UpgradeRefused {
                status: 503,
                retry_after: Some(Duration::from_secs(asked)),
            };
            let n = way.before + 1;
            way.failed(&end, n, n, at(0), &mut rng);
            assert_eq!(way.pause(), Duration::from_secs(kept));
        }
    }

    #[test]
    fn another_token_is_tried_at_once_where_the_old_one_may_be_to_blame() {
        for (status, soon) in [(401, true), (404, true), (403, false), (503, false)] {
            let (mut way, mut rng) = (Way::default(), Rng::new(1));
            for n in 1..=6 {
                way.failed(&End::refused(status), n, n, at(0), &mut rng);
            }
            assert!(way.from() > at(0).mono);
            assert_eq!(way.other_token(at(0)), soon, "{status}");
            assert_eq!(way.from() <= at(0).mono, soon, "{status}");
            assert_eq!(way.gated(), !soon, "{status}");
            // But with one channel, not with as many as there are places.
            assert_eq!(way.unproven(), soon, "{status}");
            way.failed(&End::refused(status), 7, 7, at(0), &mut rng);
            assert_eq!(way.unproven(), soon, "{status}");
            way.serves();
            assert!(!way.unproven(), "{status}");
        }
    }

    #[test]
    fn channels_are_replaced_ever_more_seldom_while_sockets_are_refused() {
        for (end, replaced) in [
            (End::refused(404), vec![1, 4, 8, 16, 32, 64, 128, 192]),
            (End::refused(403), vec![16, 32, 64, 128, 192]),
            (
                End::unreached(Cause::Refused),
                vec![8, 16, 32, 64, 128, 192],
            ),
        ] {
            let (mut way, mut rng) = (Way::default(), Rng::new(1));
            let found: Vec<u32> = (1..=200)
                .filter(|n| way.failed(&end, *n, *n, at(0), &mut rng).replace)
                .collect();
            assert_eq!(found, replaced, "{end:?}");
        }
    }

    #[test]
    fn a_refusal_that_may_be_about_the_channel_is_taken_for_that_whatever_failed_before() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let refusals = [503, 503, 404, 401, 503, 404, 404];
        let replaced: Vec<bool> = (1..)
            .zip(refusals)
            .map(|(n, status)| {
                way.failed(&End::refused(status), n, n, at(0), &mut rng)
                    .replace
            })
            .collect();
        // The first of a row, and then the fourth: changing troubles are no new row.
        assert_eq!(replaced, [false, false, true, false, false, true, false]);
        assert!(way.pause() >= Duration::from_secs(12), "nor a short pause");
        way.serves();
        assert!(
            way.failed(&End::refused(404), 8, 8, at(0), &mut rng)
                .replace
        );
        assert_eq!(way.pause(), Duration::ZERO);
    }

    #[test]
    fn what_was_made_in_vain_keeps_nobody_from_replacing_a_channel_that_is_doubted() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        for n in 1..=10 {
            way.failed(&End::refused(429), n, n, at(0), &mut rng);
        }
        way.made_in_vain(at(0));
        assert!(way.make_from() >= at(600).mono);
        way.failed(&End::refused(401), 11, 11, at(9), &mut rng);
        assert!(way.make_from() <= at(9).mono, "the first is another matter");
        way.made_in_vain(at(9));
        way.failed(&End::refused(401), 12, 12, at(10), &mut rng);
        assert!(way.make_from() > at(60).mono, "the second is not");
        way.serves();
        assert!(way.make_from() <= at(10).mono);
    }

    #[test]
    fn a_trouble_that_goes_on_is_said_ever_more_seldom_and_another_one_at_once() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let end = |n| End::refused(if n < 10 { 503 } else { 429 });
        let said: Vec<u32> = (1..=15)
            .filter(|n| way.failed(&end(*n), *n, *n, at(0), &mut rng).say)
            .collect();
        assert_eq!(said, [1, 2, 4, 8, 10]);
    }

    #[test]
    fn sockets_that_come_to_nothing_are_counted_by_cause() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        let [a, b] = [Cause::Refused, Cause::TimedOut];
        // Each counts, also those that were dialled before the first failure was known.
        for (n, cause) in (1..).zip([a, b, a, a]) {
            way.failed(&End::unreached(cause), n, 4, at(0), &mut rng);
        }
        way.serves();
        let counted: BTreeMap<Cause, u64> = way.unreached().into_iter().collect();
        assert_eq!(counted, BTreeMap::from([(a, 3), (b, 1)]));
        assert_eq!(way.refused(), []);
    }

    #[test]
    fn only_what_serves_ends_the_trouble() {
        let (mut way, mut rng) = (Way::default(), Rng::new(1));
        way.failed(&End::refused(403), 1, 1, at(0), &mut rng);
        assert!(way.gated() && way.trouble().is_some());
        assert_eq!(way.serves(), Some(Trouble::Refused(403)));
        assert!(!way.gated());
        for n in 2..=3 {
            let reset = End::Broken("reset".into());
            way.failed(&reset, n, n, at(0), &mut rng);
        }
        assert!(!way.gated(), "two resets are everyday life");
        assert_eq!(way.serves(), None);
    }
}
