//! Between the core and the world: facts in, orders out, each looked at.

use base::ids::RecordId;
use filing::PostOutcome;
use genesys_gateway::gateway::{Gateway, Input, Output};
use proto::rest::Op;
use proto::session;

use super::{Event, Full};
use crate::agenda::SECOND;

/// More core steps than this in one virtual second is a livelock.
const STEPS_MAX: u64 = 20_000;

impl Full {
    pub(crate) fn give(&mut self, input: Input) {
        let inputs = match &mut self.sabotage {
            Some(s) => s.input(input),
            None => vec![input],
        };
        for input in inputs {
            self.give_one(input);
        }
    }

    pub(super) fn give_one(&mut self, input: Input) {
        if let Err(text) = self.pace.step(self.clock.time, STEPS_MAX) {
            return self.fail(text);
        }
        let quiet = matches!(
            input,
            Input::Tick
                | Input::Session {
                    fact: session::Fact::Heard,
                    ..
                }
        );
        let Some(gateway) = &mut self.gateway else {
            return;
        };
        gateway.handle(input, self.clock.now());
        let said = self.drain();
        let due = self.pace.steps.is_multiple_of(self.audit_every);
        if (said || !quiet) && due || self.pace.steps.is_multiple_of(64 * self.audit_every) {
            self.check_core();
        }
    }

    /// True if the core said anything.
    pub(super) fn drain(&mut self) -> bool {
        let mut said = false;
        while let Some(output) = self.gateway.as_mut().and_then(Gateway::poll_output) {
            said = true;
            self.outputs += 1;
            let outputs = match &mut self.sabotage {
                Some(s) => s.output(output),
                None => vec![output],
            };
            for output in outputs {
                self.obey(output);
            }
            if self.kill_at_output.is_some_and(|n| n <= self.outputs) {
                self.kill_at_output = None;
                self.kill();
                self.agenda.plan(self.clock.time + SECOND, Event::Boot);
                return true;
            }
        }
        let more = self.sabotage.as_mut().map(|s| s.more()).unwrap_or_default();
        for output in more {
            self.obey(output);
        }
        let now = self.clock.now();
        self.due = self
            .gateway
            .as_ref()
            .and_then(|g| g.next_deadline(now))
            .map(|d| self.clock.world(d.at));
        if let Some(s) = &mut self.sabotage {
            self.due = s.due(self.due);
        }
        said
    }

    pub(super) fn obey(&mut self, output: Output) {
        match output {
            Output::Answer(caller, answer) => self.answered(caller, answer),
            Output::OpenSocket {
                socket,
                connect_uri,
            } => {
                self.trace
                    .add(&self.clock, "open", u64::from(socket.generation), || {
                        format!("{socket:?}")
                    });
                self.check_open(socket, &connect_uri);
                self.net.open(socket, &connect_uri, &self.clock);
            }
            Output::Session { socket, order } => {
                self.trace
                    .add(&self.clock, "order", u64::from(socket.generation), || {
                        format!("{socket:?} {order:?}")
                    });
                self.check_order(socket, &order);
                self.net.order(socket, order, &self.clock);
            }
            Output::Call { call, op, token } => {
                let awaited = self.gateway.as_ref();
                let own = self.sabotage.as_ref().is_some_and(|s| s.calls());
                let now = self.clock.now();
                if !own && !awaited.is_some_and(|g| g.platform().awaits(call, now)) {
                    self.fail(format!("nobody waits for {op:?}"));
                }
                let asks = matches!(op, Op::Conversation(_) | Op::Conversations(_));
                self.tally.checks += u64::from(asks);
                self.net.call(call, op, token.as_ref(), &self.clock)
            }
            Output::Store(order) => {
                self.check_store(&order);
                self.disk.lie |= self.sabotage.as_mut().is_some_and(|s| s.lies());
                self.disk.order(order, self.clock.time, &mut self.rng);
            }
            Output::Post { record } => {
                self.check_post(record);
                self.posts += 1;
                self.tally.posts += 1;
                if self.posts > self.plan.workers {
                    self.fail(format!("{} posts are under way", self.posts));
                }
                let at = self.clock.time + 1 + self.rng.below(20);
                self.agenda.plan(at, Event::PostArrives(self.epoch, record));
            }
            Output::Notice(notice) => self.check_notice(&notice),
        }
    }

    pub(super) fn post_arrives(&mut self, epoch: u64, record: RecordId) {
        // A body that a dead process has sent arrives all the same, half of the time.
        if epoch != self.epoch && self.rng.chance(50) {
            return;
        }
        if self.clock.time < self.unread_until && epoch == self.epoch {
            let outcome = PostOutcome::NotRead("disk I/O error".to_owned());
            let at = self.clock.time + 1;
            self.agenda.plan(at, Event::Posted(epoch, record, outcome));
            return;
        }
        let Some(body) = self.disk.records.get(&record).and_then(|r| r.body.clone()) else {
            let why = "the body is not there".to_owned();
            let outcome = PostOutcome::Unreadable(why);
            self.agenda
                .plan(self.clock.time, Event::Posted(epoch, record, outcome));
            return;
        };
        let key = match &mut self.sabotage {
            Some(s) => s.key(record),
            None => record,
        };
        let before = self.history.filed.len();
        let digest = body.bytes().fold(7u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let (takes, outcome) = self
            .history
            .post(key, digest, self.clock.time, &mut self.rng);
        self.trace
            .add(&self.clock, "post", 0, || format!("{record} {outcome:?}"));
        if self.history.changed {
            self.fail(format!("{record} came again with another body"));
        }
        if self.history.filed.len() > before {
            self.tally.filed += 1;
            self.check_filed(record, key, &body);
        }
        self.agenda.plan(
            self.clock.time + takes,
            Event::Posted(epoch, record, outcome),
        );
    }
}
