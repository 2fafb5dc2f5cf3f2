//! Faults strike the world; the process ends, and begins again.

use std::collections::BTreeSet;
use std::time::Duration;

use base::rows::StoreTrouble;
use genesys_gateway::gateway::{self, Gateway};

use super::{Event, Full};
use crate::agenda::{HOUR, MINUTE, SECOND};
use crate::disk::Trouble;
use crate::faults::{self, Blow};
use crate::history::Mood;
use crate::plan::Kind;

impl Full {
    pub(crate) fn strike(&mut self, kind: Kind) {
        let now = self.clock.time;
        self.trace
            .add(&self.clock, "fault", kind as u64, || format!("{kind:?}"));
        let plan = self.plan.clone();
        let held = self.held_topics(kind);
        match faults::inject(kind, &plan, &mut self.net, &mut self.clock, &mut self.rng) {
            Blow::Done(relief) => {
                self.tally.fault(kind);
                for (topic, from) in held.difference(&self.held_topics(kind)) {
                    let last = (from.clone(), now);
                    self.checks.dropped.insert(topic.clone(), last);
                }
                if let Some(at) = relief {
                    self.agenda.plan(at, Event::Relieve(kind));
                }
            }
            Blow::Missed => {}
            Blow::Upper => {
                self.tally.fault(kind);
                self.strike_upper(kind);
            }
            Blow::Die { orderly, down_for } => {
                if self.gateway.is_some() {
                    self.tally.fault(kind);
                    if orderly {
                        self.disk.finish(now, self.clock.now().wall);
                        self.check_durable();
                    }
                    self.end_process(orderly);
                    self.agenda.plan(now + down_for, Event::Boot);
                    if kind == Kind::MachineOff {
                        self.off_until = now + down_for;
                    }
                }
            }
        }
    }

    /// The topics on all channels, each with its channel, where a fault may take some of
    /// them off.
    fn held_topics(&self, kind: Kind) -> BTreeSet<(String, String)> {
        match kind {
            Kind::ExpireChannel
            | Kind::Evict
            | Kind::RevokeTokens
            | Kind::ExpireTokens
            | Kind::LedAstray
            | Kind::FullHouse => {
                let mut held = BTreeSet::new();
                for channel in self.net.platform.truth().channels() {
                    let id = channel.id.to_owned();
                    held.extend(channel.topic_names().map(|t| (t.to_owned(), id.clone())));
                }
                held
            }
            _ => BTreeSet::new(),
        }
    }

    pub(super) fn strike_upper(&mut self, kind: Kind) {
        let now = self.clock.time;
        let most = [20 * SECOND, 10 * MINUTE, 2 * HOUR][self.rng.below(3) as usize];
        let until = now + SECOND + self.rng.below(most);
        let trouble = |what| Some(Trouble { what, until });
        let moody = |world: &mut Full, mood| {
            world.history.mood = mood;
            world.history.until = until;
        };
        match kind {
            Kind::DiskFull => self.disk.trouble = trouble(StoreTrouble::Full),
            Kind::DiskError => {
                self.disk.trouble = Some(Trouble {
                    what: StoreTrouble::Io,
                    until: now + 1 + self.rng.below(MINUTE),
                });
            }
            Kind::DiskBusy => {
                self.disk.trouble = Some(Trouble {
                    what: StoreTrouble::Busy,
                    until: now + 1 + self.rng.below(20 * SECOND),
                });
            }
            Kind::DiskStall => {
                self.disk.latency = (SECOND, 150 * SECOND);
                self.agenda.plan(now + 10 * MINUTE, Event::Relieve(kind));
                self.crowd(12, 3 * MINUTE);
            }
            Kind::StopInTrouble => self.stop_in_trouble(),
            Kind::DiskSlow => {
                self.disk.latency = (200, 6000);
                self.agenda.plan(now + 5 * MINUTE, Event::Relieve(kind));
            }
            Kind::HistoryDown => {
                let accepts = self.rng.chance(50);
                moody(self, Mood::Down { accepts });
            }
            Kind::HistoryRefuses => {
                let status = [408, 425, 429, 500, 502, 503, 504][self.rng.below(7) as usize];
                let after = self.rng.chance(40).then(|| 1 + self.rng.below(120));
                moody(self, Mood::Later(status, after));
            }
            Kind::HistoryClosed => {
                let status = [401, 403, 301, 302, 307][self.rng.below(5) as usize];
                moody(self, Mood::Closed(status));
            }
            Kind::HistorySlow => moody(self, Mood::Slow),
            Kind::HistoryDead => {
                let percent = 5 + self.rng.below(40);
                moody(self, Mood::Dead(percent));
            }
            Kind::HistoryConflict => moody(self, Mood::Conflict),
            Kind::HistoryInProgress => moody(self, Mood::InProgress),
            Kind::HistoryStorm => {
                self.history.storms += 1;
                moody(self, Mood::Storm);
            }
            Kind::Invented => self.invent(),
            Kind::HistoryUnread => self.unread_until = until,
            Kind::EventsOverHttp => {
                let long = 30 * MINUTE + self.http_rng.below(6 * HOUR);
                self.http_until = now + long;
            }
            _ => {}
        }
    }

    /// The process ends without a word.
    pub(crate) fn kill(&mut self) {
        self.end_process(false);
    }

    /// What the process counted, before it is gone.
    pub(super) fn count_up(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        let seen = gateway.platform().snapshot(self.clock.now());
        self.tally.gaps += seen.gaps_total;
        self.tally.gap_topics += seen.gap_topics_total;
    }

    /// The process ends; in order, its sockets are closed by then.
    pub(super) fn end_process(&mut self, orderly: bool) {
        self.trace.add(&self.clock, "kill", self.epoch, String::new);
        self.count_up();
        self.gateway = None;
        self.due = None;
        self.epoch += 1;
        self.posts = 0;
        let known = match orderly {
            true => Some(0),
            false => [Some(0), Some(5 * SECOND), None][self.rng.below(3) as usize],
        };
        self.net.forget_process(known, &self.clock);
        self.disk.crash();
        // Where the disk fails, watching goes on with channels that a restart does not know.
        let failing = [
            Kind::DiskFull,
            Kind::DiskError,
            Kind::DiskBusy,
            Kind::DiskSlow,
            Kind::DiskStall,
            Kind::StopInTrouble,
        ];
        if failing.iter().any(|k| self.plan.has(*k)) {
            let known = |id: &str| self.disk.channels.iter().any(|c| c.id.expose() == id);
            let truth = self.net.platform.truth();
            let unknown = truth
                .channels()
                .filter(|c| !known(c.id))
                .map(|c| c.id.to_owned());
            self.checks.leaked.extend(unknown);
        }
        self.checks.process_ended(self.clock.time);
        for (_, waiting) in std::mem::take(&mut self.callers) {
            self.again(waiting, SECOND);
        }
    }

    pub(crate) fn boot(&mut self) {
        if self.gateway.is_some() {
            return;
        }
        self.clock.restart();
        let mut recovered = self.disk.recovered();
        let mut filing = self.settings;
        let mut streaming = crate::net::streaming();
        if let Some(s) = &mut self.sabotage {
            s.recovered(&mut recovered);
            s.settings(&mut filing);
            streaming = s.streaming(streaming);
        }
        let settings = gateway::Settings {
            platform: proto::Settings {
                max_channels: self.plan.max_channels,
                topics_per_channel: self.plan.topics_per_channel,
                renew_before: Duration::from_millis(self.plan.renew_before),
                streaming,
            },
            filing,
        };
        let seed = self.rng.next_u64();
        self.checks.process_began(self.clock.time);
        self.gateway = Some(Gateway::new(settings, &recovered, self.clock.now(), seed));
        self.drain();
    }
}
