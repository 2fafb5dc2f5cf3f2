//! What may happen to links: they are cut, reset, forgotten, or nothing passes at all.

use std::time::Duration;

use genesys_gateway::platform::session::{self, End, SocketRef};

use super::{Event, HALF_OPEN, Net};
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

    /// Cuts links without a word; the platform hears of it after a while.
    pub(crate) fn cut(&mut self, one: bool, until_known: Option<Time>, clock: &Clock) -> usize {
        let open: Vec<SocketRef> = self
            .links
            .iter()
            .filter(|(_, l)| l.platform.is_some() && !l.cut)
            .map(|(s, _)| *s)
            .collect();
        let only = self.rng.below(open.len() as u64) as usize;
        let mut touched = 0;
        for (n, socket) in open.iter().enumerate() {
            if one && n != only {
                continue;
            }
            touched += 1;
            if let Some(link) = self.links.get_mut(socket) {
                link.cut = true;
                if let Some(id) = link.platform {
                    let at = clock.time + until_known.unwrap_or(HALF_OPEN);
                    self.agenda.plan(at, Event::ClosedByClient(id));
                }
            }
        }
        touched
    }

    /// Resets links; what was on the way to the gateway is lost.
    pub(crate) fn reset(&mut self, one: bool, clock: &Clock) -> usize {
        let open: Vec<SocketRef> = self
            .links
            .iter()
            .filter(|(_, l)| l.platform.is_some())
            .map(|(s, _)| *s)
            .collect();
        let only = self.rng.below(open.len() as u64) as usize;
        let mut touched = 0;
        for (n, socket) in open.iter().enumerate() {
            if one && n != only {
                continue;
            }
            touched += 1;
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
        touched
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

    pub(crate) fn fair_weather(&mut self) {
        self.weather.down_until = 0;
        self.weather.black_hole_until = 0;
    }
}
