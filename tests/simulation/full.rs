//! The whole core, with callers, disk and history manager around it.
//!
//! What is checked after every step is in [`checks`](crate::checks); here is
//! how the world turns.

mod events;
mod orders;
mod stops;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use base::ids::{ConversationId, RecordId};
use base::rng::Rng;
use base::rows::{RecordState, StoreFact};
use filing::{CallerId, CallerRequest, PostOutcome, Unreported, Until};
use genesys_gateway::gateway::{Gateway, Input};
use proto::session;
use simulator::model::{Control, Life};

use crate::agenda::{Agenda, HOUR, MINUTE, SECOND, Time};
use crate::checks::Checks;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::faults;
use crate::history::History;
use crate::lives::{draw_life, life_length, make_late, new_platform};
use crate::net::{Incoming, Net};
use crate::pace::Pace;
use crate::plan::{Kind, Plan};
use crate::report::Tally;
use crate::sabotage::Sabotage;
use crate::trace::Trace;

pub(crate) enum Event {
    Begin(Box<Life>),
    /// A caller asks, for the n-th time.
    Ask(Ask, u32),
    Fault,
    Relieve(Kind),
    Boot,
    Look,
    /// The process of that number is asked to stop, and ends a little later.
    Stop(u64),
    Leave(u64),
    PostArrives(u64, RecordId),
    Posted(u64, RecordId, PostOutcome),
}

/// What a caller wants until it has it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Ask {
    Accept(ConversationId, u32),
    Stop(ConversationId),
    Result(u64),
    /// A result without an idempotency key.
    Keyless(u64),
    /// The event of that wrap-up over HTTP, and which of all that come so it is.
    Event(usize, u64),
}

pub(crate) struct Waiting {
    pub(crate) ask: Ask,
    pub(crate) tries: u32,
    pub(crate) since: Time,
}

pub(crate) struct Full {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) net: Net,
    pub(crate) disk: Disk,
    pub(crate) history: History,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) callers: BTreeMap<CallerId, Waiting>,
    /// Asks that have not been answered well yet.
    pub(crate) unanswered: usize,
    pub(crate) checks: Checks,
    pub(crate) tally: Tally,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Trace,
    pub(crate) sabotage: Option<Box<dyn Sabotage>>,
    pub(crate) settings: filing::Settings,
    pub(crate) posts: usize,
    /// Forwarders cannot read the database until then.
    pub(crate) unread_until: Time,
    /// The process is not there before then.
    pub(crate) off_until: Time,
    /// Events come over HTTP as well until then, with draws of their own.
    pub(super) http_until: Time,
    pub(super) http_rng: Rng,
    pub(super) http_events: u64,
    due: Option<Time>,
    rng: Rng,
    last_caller: u64,
    epoch: u64,
    pub(crate) pace: Pace,
    calm: bool,
    /// Outputs in a row after which the process is killed, for the sweep.
    pub(crate) kill_at_output: Option<u64>,
    pub(crate) outputs: u64,
    /// The books are audited after so many steps: 1, but where there are very many topics.
    pub(crate) audit_every: u64,
}

impl Full {
    /// A world with the conversations and faults of its plan.
    pub(crate) fn new(plan: Plan, telling: bool) -> Full {
        let mut world = Full::empty(plan, telling);
        let plan = world.plan.clone();
        let mut late = Rng::new(plan.seed ^ 0x6c_69_76_65);
        for _ in 0..plan.conversations {
            let mut life = draw_life(&plan, &mut world.rng);
            make_late(&mut life, &plan, &mut late);
            let at = world.rng.below(plan.trouble.max(HOUR) * 15 / 16);
            world.agenda.plan(at, Event::Begin(Box::new(life)));
        }
        for n in 0..plan.conversations / 20 {
            let at = world.rng.below(plan.trouble.max(HOUR));
            world.agenda.plan(at, Event::Ask(Ask::Result(n), 0));
        }
        if !plan.kinds.is_empty() {
            let at = world.rng.below(plan.pause);
            world.agenda.plan(at, Event::Fault);
        }
        world
    }

    /// A world in which nothing happens by itself, but that the process starts.
    pub(crate) fn empty(plan: Plan, telling: bool) -> Full {
        let trace = Trace::new(telling);
        let platform = new_platform(&plan, telling);
        let mut rng = Rng::new(plan.seed ^ 0x66_75_6c_6c);
        let mut agenda = Agenda::default();
        agenda.plan(0, Event::Boot);
        agenda.plan(30 * SECOND, Event::Look);
        let settings = filing::Settings {
            until: if plan.first_event {
                Until::FirstEvent
            } else {
                Until::ConversationFinished
            },
            max_age: Duration::from_millis(plan.max_age),
            workers: plan.workers,
            give_up_after: Duration::from_millis(plan.give_up_after),
            unreported: match plan.unreported {
                true => Unreported::File,
                false => Unreported::Ignore,
            },
            ..filing::Settings::default()
        };
        let mut net = Net::new(platform, rng.next_u64(), trace.clone());
        net.odd_notes = plan.has(Kind::OddText);
        Full {
            clock: Clock::new(),
            net,
            disk: Disk::new(),
            history: History::new(),
            gateway: None,
            agenda,
            callers: BTreeMap::new(),
            unanswered: 0,
            checks: Checks::default(),
            tally: Tally::default(),
            violation: None,
            trace,
            sabotage: None,
            settings,
            posts: 0,
            unread_until: 0,
            off_until: 0,
            http_until: 0,
            http_rng: Rng::new(plan.seed ^ 0x68_74_74_70_65),
            http_events: 0,
            due: None,
            rng,
            last_caller: 0,
            epoch: 0,
            pace: Pace::default(),
            calm: false,
            kill_at_output: None,
            outputs: 0,
            audit_every: 1,
            plan,
        }
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(format!("{}: {}", self.clock.text(), text.into()));
        }
    }

    /// A day of trouble, then peace until everything is in order.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.run_until(self.plan.trouble);
        self.peace();
        let end = self.clock.time.max(self.off_until) + self.plan.max_age + 6 * HOUR;
        self.settle(end)
    }

    /// No more faults.
    pub(crate) fn peace(&mut self) {
        self.calm = true;
        self.checks.peace = Some(self.clock.time);
        let plan = self.plan.clone();
        faults::clear(&plan, &mut self.net, &self.clock);
        self.disk.trouble = None;
        self.disk.latency = (1, 15);
        self.history.until = 0;
        self.unread_until = 0;
        self.http_until = 0;
    }

    /// Goes on until everything is in order, at the latest until then.
    pub(crate) fn settle(&mut self, end: Time) -> Result<(), String> {
        while self.violation.is_none() && self.clock.time < end {
            self.run_until((self.clock.time + 5 * MINUTE).min(end));
            // What is written every few seconds may have been ordered in this very moment.
            if self.disk.outstanding() > 0 {
                self.run_until(self.clock.time + SECOND);
            }
            if self.everything_over() {
                break;
            }
        }
        if self.violation.is_none() {
            self.last_look();
            self.check_storms();
        }
        self.tally.virtual_ms += self.clock.time;
        self.count_up();
        match self.violation.take() {
            Some(text) => Err(text),
            None => Ok(()),
        }
    }

    fn everything_over(&self) -> bool {
        self.unanswered == 0
            && self.callers.is_empty()
            && self.posts == 0
            && self.checks.lives_over(self.clock.time)
            && self.disk.interactions.values().all(|i| i.row.state.ended())
            && self
                .disk
                .records
                .values()
                .all(|r| r.row.state.over() || r.row.state == RecordState::Dead)
            && self
                .gateway
                .as_ref()
                .is_some_and(|g| !g.filing().uncommitted())
    }

    pub(crate) fn run_until(&mut self, end: Time) {
        while self.violation.is_none() {
            let core = self.due.filter(|_| self.gateway.is_some());
            let next = [self.agenda.next(), self.net.next(), self.disk.next(), core]
                .into_iter()
                .flatten()
                .min();
            match next {
                Some(at) if at <= end => self.clock.time = self.clock.time.max(at),
                _ => {
                    self.clock.time = self.clock.time.max(end);
                    return;
                }
            }
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.clock.time;
        if self.net.next().is_some_and(|at| at <= now) {
            self.net.step(&self.clock);
        } else if self.disk.next().is_some_and(|at| at <= now) {
            let wall = self.clock.now().wall;
            let fact = self.disk.step(now, wall, &mut self.rng);
            self.check_durable();
            if let Some(fact) = fact
                && self.gateway.is_some()
            {
                self.trace
                    .add(&self.clock, "store", 0, || store_text(&fact));
                self.give(Input::Store(fact));
            }
        } else if let Some(event) = self.agenda.take(now) {
            self.happen(event);
        } else {
            self.give(Input::Tick);
            if let Some(Err(text)) = self.gateway.as_ref().map(Gateway::audit) {
                self.fail(text);
            }
            if self.pace.spins(self.due, now) {
                let why = self
                    .gateway
                    .as_ref()
                    .and_then(|g| g.next_deadline(self.clock.now()));
                let channels = self
                    .gateway
                    .as_ref()
                    .map(|g| g.platform().snapshot(self.clock.now()).channels);
                self.fail(format!("the core spins: {why:?} {channels:?}"));
            }
        }
        self.note_wraps();
        self.take_incoming();
        if let Some(text) = self.net.violation.take().or(self.disk.violation.take()) {
            self.fail(text);
        }
    }

    pub(crate) fn take_incoming(&mut self) {
        while let Some(incoming) = self.net.incoming.pop_front() {
            match incoming {
                Incoming::Session(socket, fact) => {
                    self.trace
                        .add(&self.clock, "fact", u64::from(socket.generation), || {
                            format!("{socket:?} {fact:?}")
                        });
                    if fact == session::Fact::Closing {
                        self.checks.noticed.insert(socket);
                    }
                    if let session::Fact::Event { topic, body, .. } = &fact {
                        self.tally.events += 1;
                        let (topic, body) = (topic.clone(), body.clone());
                        self.note_event(&topic, &body);
                    }
                    self.give(Input::Session { socket, fact });
                }
                Incoming::Answered(call, outcome) => self.give(Input::Answered { call, outcome }),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.clock.time;
        match event {
            Event::Begin(life) => self.begin(*life),
            Event::Ask(ask, tries) => self.ask(ask, tries),
            Event::Fault => {
                if self.calm || now >= self.plan.trouble {
                    return;
                }
                let kind = self.plan.draw_kind(&mut self.rng);
                self.strike(kind);
                let pause = self.plan.draw_pause(&mut self.rng);
                self.agenda.plan(now + pause, Event::Fault);
            }
            Event::Relieve(kind) => {
                let plan = self.plan.clone();
                if matches!(kind, Kind::DiskSlow | Kind::DiskStall) {
                    self.disk.latency = (1, 15);
                }
                faults::relieve(kind, &plan, &mut self.net, &self.clock);
            }
            Event::Boot => self.boot(),
            Event::Stop(epoch) => self.stop(epoch),
            Event::Leave(epoch) => self.leave(epoch),
            Event::Look => {
                self.look();
                self.look_at_places();
                self.agenda.plan(now + 30 * SECOND, Event::Look);
            }
            Event::PostArrives(epoch, record) => self.post_arrives(epoch, record),
            Event::Posted(epoch, record, outcome) => {
                if epoch == self.epoch {
                    self.posts = self.posts.saturating_sub(1);
                    let before = self.said_of_history();
                    self.give(Input::Posted {
                        record,
                        outcome: outcome.clone(),
                    });
                    self.check_said(&outcome, before);
                }
            }
        }
    }

    fn begin(&mut self, life: Life) {
        let Some(id) = life.id else { return };
        let now = self.clock.time;
        let length = life_length(&life);
        let asked = match self.rng.below(12) {
            0 => 0,
            // Late: perhaps after everything.
            1 => 20 * SECOND + self.rng.below(length + 10 * MINUTE),
            _ => self.rng.below(15 * SECOND.min(length)),
        };
        let control = Control::Life(life);
        let ahead = self.rng.chance(4);
        self.checks.life(id, now + length + asked);
        // Nobody reports some of those whose events come over HTTP.
        let unreported = self.plan.has(Kind::EventsOverHttp) && self.http_rng.chance(8);
        if !unreported {
            self.agenda
                .plan(now + asked, Event::Ask(Ask::Accept(id, 1), 0));
        }
        if ahead && !unreported {
            // The caller is quicker than the platform.
            self.agenda.plan(now, Event::Ask(Ask::Accept(id, 0), 0));
        }
        if self.rng.chance(5) && !unreported {
            let again = now + asked + self.rng.below(length);
            self.agenda.plan(again, Event::Ask(Ask::Accept(id, 2), 0));
        }
        if self.rng.chance(3) && !unreported {
            let stop = now + asked + self.rng.below(2 * length);
            self.agenda.plan(stop, Event::Ask(Ask::Stop(id), 0));
        }
        if self
            .net
            .platform
            .control(&control, self.clock.platform())
            .is_ok()
        {
            self.tally.conversations += 1;
        }
        self.net.collect(&self.clock);
    }

    /// A caller asks; it tries again until it is answered.
    pub(crate) fn ask(&mut self, ask: Ask, tries: u32) {
        let now = self.clock.time;
        if tries == 0 {
            self.unanswered += 1;
        }
        if self.gateway.is_none() {
            // Callers knock until it is there again; only the last knocks are worth a step.
            let knock = now.max(self.off_until.saturating_sub(10 * MINUTE));
            let again = knock + SECOND + self.rng.below(10 * SECOND);
            self.agenda.plan(again, Event::Ask(ask, tries + 1));
            return;
        }
        self.last_caller += 1;
        let caller = CallerId(self.last_caller);
        let request = match &ask {
            Ask::Accept(conversation, n) => CallerRequest::Accept {
                conversation: *conversation,
                members: format!("{{\"customer\":\"c-{n}\",\"try\":{tries}}}"),
            },
            Ask::Stop(conversation) => CallerRequest::Stop {
                conversation: *conversation,
            },
            Ask::Result(n) => CallerRequest::SupportResult {
                idempotency_key: Some(format!("result-{n}")),
                body_digest: [*n as u8; 32],
                conversation: None,
                result: format!("{{\"number\":{n},\"try\":{tries}}}"),
            },
            Ask::Keyless(n) => CallerRequest::SupportResult {
                idempotency_key: None,
                body_digest: [0; 32],
                conversation: None,
                result: format!("{{\"keyless\":{n},\"try\":{tries}}}"),
            },
            Ask::Event(wrap, n) => self.event_over_http(*wrap, *n, tries),
        };
        self.trace
            .add(&self.clock, "ask", caller.0, || format!("{ask:?}"));
        if let Ask::Stop(id) = &ask {
            *self.checks.stops_open.entry(*id).or_default() += 1;
        }
        self.callers.insert(
            caller,
            Waiting {
                ask,
                tries,
                since: now,
            },
        );
        self.give(Input::Caller { caller, request });
    }

    pub(crate) fn again(&mut self, waiting: Waiting, after: Time) {
        let at = self.clock.time + after + self.rng.below(SECOND);
        self.agenda
            .plan(at, Event::Ask(waiting.ask, waiting.tries + 1));
    }
}

fn store_text(fact: &StoreFact) -> String {
    let mut text = format!("{fact:?}");
    text.truncate(200);
    text
}
