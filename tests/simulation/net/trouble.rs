//! What may happen to links: they are cut, reset, forgotten, or nothing passes at all.

use std::time::Duration;

use proto::session::{self, End, SocketRef};

use super::{Event, HALF_OPEN, Link, Net, Refusal};
use crate::agenda::{SECOND, Time};
use crate::clock::Clock;

impl Net {
    /// The process ended: its sockets and calls with it. The platform hears of it at
    /// once, or after `until_known`, or when its own end of the link gives up.
    pub(crate) fn forget_process(&mut self, until_known: Option<Time>, clock: &Clock) {
        self.epoch += 1;
        self.exchanges.clear();
        self.incoming.clear();
        for (_, link) in std::mem::take(&mut self.links) {
            if let Some(id) = link.platform {
                let at = clock.time + until_known.unwrap_or(HALF_OPEN);
                self.agenda.plan(at, Event::ClosedByClient(id));
            }
        }
        self.peers.clear();
    }

    /// One of the links that are up, or all.
    fn some(&mut self, one: bool, up: impl Fn(&Link) -> bool) -> Vec<SocketRef> {
        let up = self.links.iter().filter(|(_, l)| up(l));
        let mut all: Vec<SocketRef> = up.map(|(s, _)| *s).collect();
        let only = self.rng.below(all.len() as u64) as usize;
        if one && !all.is_empty() {
            all = vec![all[only]];
        }
        all
    }

    /// Cuts links without a word; the platform hears of it after a while.
    pub(crate) fn cut(&mut self, one: bool, until_known: Option<Time>, clock: &Clock) -> usize {
        let some = self.some(one, |l| l.platform.is_some() && !l.cut);
        for socket in &some {
            let Some(link) = self.links.get_mut(socket) else {
                continue;
            };
            link.cut = true;
            if let Some(id) = link.platform {
                let at = clock.time + until_known.unwrap_or(HALF_OPEN);
                self.agenda.plan(at, Event::ClosedByClient(id));
            }
        }
        some.len()
    }

    /// Resets links; what was on the way to the gateway is lost.
    pub(crate) fn reset(&mut self, one: bool, clock: &Clock) -> usize {
        let some = self.some(one, |l| l.platform.is_some());
        for socket in &some {
            let Some(id) = self.links.get_mut(socket).and_then(|l| l.platform.take()) else {
                continue;
            };
            self.peers.remove(&id);
            let end = session::Input::Ended(End::Broken("connection reset".into()));
            self.session(*socket, end, clock);
            let lag = self.lag();
            self.agenda
                .plan(clock.time + lag, Event::ClosedByClient(id));
        }
        some.len()
    }

    /// Nothing passes for a while: refused at once, or swallowed.
    pub(crate) fn outage(&mut self, length: Duration, silent: bool, clock: &Clock) {
        let until = clock.time + length.as_millis() as Time;
        if silent {
            self.weather.black_hole_until = until;
            self.cut(false, Some(90 * SECOND), clock);
        } else {
            self.weather.down_until = until;
            self.reset(false, clock);
        }
    }

    /// What stands between lets no upgrade pass, with REST going on.
    pub(crate) fn refuse_upgrades(
        &mut self,
        status: u16,
        after: Option<u64>,
        until: Time,
        now: Time,
    ) {
        let going_on = self.refusal.filter(|r| now < r.until);
        self.refusal = Some(Refusal {
            status,
            after,
            since: going_on.map_or(now, |r| r.since),
            until,
        });
    }

    pub(crate) fn fair_weather(&mut self) {
        self.refusal = None;
        self.astray_until = 0;
        self.weather.down_until = 0;
        self.weather.black_hole_until = 0;
    }
}
