//! The platform client alone, with a small driver in place of the filing half:
//! it watches, gives up, and asks REST after every gap, as the contract between
//! the halves says.
//!
//! What is checked: every wrap-up that happens while its topic is watched comes
//! as an event, or a check asked after it answers; nothing is believed live for
//! long that is not; channels, topics and requests keep their bounds; the books
//! agree after every step; nothing spins; no notice shows a secret.

mod driver;

use std::collections::{BTreeMap, VecDeque};

use base::fetch::Fetch;
use base::ids::{ConversationId, Topic};
use base::rng::Rng;
use base::rows::ChannelRow;
use proto::{Client, Input, Output, session};
use simulator::model::{Control, Life};

use crate::agenda::{Agenda, DAY, HOUR, MINUTE, SECOND, Time};
use crate::clock::Clock;
use crate::faults::{self, Blow};
use crate::lives::{draw_life, life_length, new_platform};
use crate::net::{Incoming, Net};
use crate::pace::Pace;
use crate::plan::{Kind, Plan};
use crate::report::Tally;
use crate::trace::Trace;

/// The driver leaves as many questions unanswered as the filing half may.
const FETCHES_MAX: usize = 4;
/// Silence, a lost pong and a dead token are noticed within this time.
const DEAF_MAX: Time = 5 * MINUTE;
/// More core steps than this in one virtual second is a livelock.
const STEPS_MAX: u64 = 6000;

enum Event {
    Begin(Box<Life>),
    Watch(ConversationId),
    Stop(ConversationId),
    Fault,
    Relieve(Kind),
    Boot,
    Look,
    CheckAgain(ConversationId),
}

#[derive(Default)]
struct Watched {
    live: bool,
    /// A check is due as soon as it is live.
    due: bool,
    asked: bool,
    deaf_since: Option<Time>,
}

struct Owed {
    at: Time,
    participant: String,
    session: String,
    event_time: i64,
}

pub(crate) struct Half {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) net: Net,
    agenda: Agenda<Event>,
    client: Option<Client>,
    due: Option<Time>,
    kept: Vec<ChannelRow>,
    rng: Rng,
    watched: BTreeMap<ConversationId, Watched>,
    /// Lives that go on: the topic is wanted until then.
    ends: BTreeMap<ConversationId, Time>,
    owed: BTreeMap<ConversationId, Vec<Owed>>,
    wraps_seen: usize,
    checks: VecDeque<ConversationId>,
    fetching: usize,
    fetches: VecDeque<Fetch>,
    pub(crate) tally: Tally,
    pub(crate) violation: Option<String>,
    trace: Trace,
    pub(crate) pace: Pace,
    calm: bool,
    processes: u64,
    /// Events come late or out of order for now.
    late_events: bool,
}

fn topic_of(id: ConversationId) -> Topic {
    Topic::new(&format!("v2.detail.events.conversation.{id}.acw"))
}

fn conversation_of(topic: &Topic) -> Option<ConversationId> {
    topic
        .as_str()
        .strip_prefix("v2.detail.events.conversation.")?
        .strip_suffix(".acw")?
        .parse()
        .ok()
}

impl Half {
    pub(crate) fn new(plan: Plan, telling: bool) -> Half {
        let trace = Trace::new(telling);
        let platform = new_platform(&plan, telling);
        let mut rng = Rng::new(plan.seed ^ 0x68_61_6c_66);
        let mut agenda = Agenda::default();
        for _ in 0..plan.conversations {
            let life = draw_life(&plan, &mut rng);
            let at = rng.below(plan.trouble.max(HOUR) * 15 / 16);
            agenda.plan(at, Event::Begin(Box::new(life)));
        }
        if !plan.kinds.is_empty() {
            agenda.plan(rng.below(plan.pause), Event::Fault);
        }
        agenda.plan(0, Event::Boot);
        agenda.plan(30 * SECOND, Event::Look);
        Half {
            clock: Clock::new(),
            net: Net::new(platform, rng.next_u64(), trace.clone()),
            agenda,
            client: None,
            due: None,
            kept: Vec::new(),
            rng,
            watched: BTreeMap::new(),
            ends: BTreeMap::new(),
            owed: BTreeMap::new(),
            wraps_seen: 0,
            checks: VecDeque::new(),
            fetching: 0,
            fetches: VecDeque::new(),
            tally: Tally::default(),
            violation: None,
            trace,
            pace: Pace::default(),
            calm: false,
            processes: 0,
            late_events: false,
            plan,
        }
    }

    fn fail(&mut self, text: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(format!("{}: {}", self.clock.text(), text.into()));
        }
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    pub(crate) fn story(&self) -> String {
        self.trace.story()
    }

    /// A day of trouble, then peace until everything is in order.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.run_until(self.plan.trouble);
        self.calm = true;
        faults::clear(&self.plan.clone(), &mut self.net, &self.clock);
        // Where sockets of expired channels go on beating, only the next look at the
        // channel's life finds it.
        let gone = [
            Kind::ExpireChannel,
            Kind::Evict,
            Kind::LedAstray,
            Kind::FullHouse,
        ];
        let patience = if gone.iter().any(|k| self.plan.has(*k)) {
            26 * HOUR
        } else {
            90 * MINUTE
        };
        let end = self.clock.time + patience;
        while self.violation.is_none() && self.clock.time < end {
            self.run_until((self.clock.time + 5 * MINUTE).min(end));
            if self.ends.is_empty() && self.watched.is_empty() {
                break;
            }
            if self.ends.values().any(|at| *at > self.clock.time)
                && self.clock.time + 10 * MINUTE > end
            {
                // Long lives go on into the second day.
                return self.finish_long();
            }
        }
        self.verdict()
    }

    fn finish_long(&mut self) -> Result<(), String> {
        let last = self.ends.values().copied().max().unwrap_or(0) + HOUR;
        let limit = self.clock.time + 2 * DAY;
        while self.violation.is_none()
            && !self.watched.is_empty()
            && self.clock.time < last.min(limit)
        {
            self.run_until(self.clock.time + 5 * MINUTE);
        }
        self.verdict()
    }

    fn verdict(&mut self) -> Result<(), String> {
        if self.violation.is_none() && !self.watched.is_empty() {
            let (id, w) = self.watched.iter().next().expect("not empty");
            let owed = self.owed.get(id).map_or(0, Vec::len);
            let text = format!(
                "{} topics are still watched with questions open, such as {id} (live {}, due {}, asked {}, owed {owed}, client {:?})",
                self.watched.len(),
                w.live,
                w.due,
                w.asked,
                self.client.as_ref().map(|c| (
                    c.is_live(&topic_of(*id)),
                    c.snapshot(self.clock.now()).channels
                ))
            );
            self.fail(text);
        }
        if self.violation.is_none() {
            self.run_until(self.clock.time + 2 * MINUTE);
            self.leaks();
        }
        self.tally.virtual_ms += self.clock.time;
        match self.violation.take() {
            Some(text) => Err(text),
            None => Ok(()),
        }
    }

    /// Topics that nobody wants are off all channels that have a socket.
    fn leaks(&mut self) {
        let left: usize = self
            .net
            .platform
            .truth()
            .channels()
            // The sockets of a process that is gone may stay for ever.
            .filter(|c| c.socket.is_some_and(|s| self.net.heard_by_session(s)))
            .map(|c| c.topics)
            .sum();
        if left > 0 {
            self.fail(format!("{left} topics are left on connected channels"));
        }
    }

    pub(crate) fn run_until(&mut self, end: Time) {
        while self.violation.is_none() {
            let core = self.due.filter(|_| self.client.is_some());
            let next = [self.agenda.next(), self.net.next(), core]
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
            self.note_wraps();
            while let Some(incoming) = self.net.incoming.pop_front() {
                self.incoming(incoming);
            }
            if let Some(text) = self.net.violation.take() {
                self.fail(text);
            }
        } else if let Some(event) = self.agenda.take(now) {
            self.happen(event);
            self.note_wraps();
            while let Some(incoming) = self.net.incoming.pop_front() {
                self.incoming(incoming);
            }
        } else {
            self.give(Input::Tick);
            if let Some(Err(text)) = self.client.as_ref().map(Client::audit) {
                self.fail(text);
            }
            if self.pace.spins(self.due, now) {
                let why = self
                    .client
                    .as_ref()
                    .and_then(|c| c.next_deadline(self.clock.now()));
                self.fail(format!("the core spins: {why:?} at {:?}", self.clock.now()));
            }
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Session(socket, fact) => {
                self.trace
                    .add(&self.clock, "fact", u64::from(socket.generation), || {
                        format!("{socket:?} {fact:?}")
                    });
                self.give(Input::Session { socket, fact });
            }
            Incoming::Answered(call, outcome) => self.give(Input::Answered { call, outcome }),
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.clock.time;
        match event {
            Event::Begin(life) => {
                let Some(id) = life.id else { return };
                let length = life_length(&life);
                let watch = match self.rng.below(10) {
                    0 => 0,
                    1 => 20 * SECOND + self.rng.below(length),
                    _ => self.rng.below(15 * SECOND.min(length)),
                };
                let end = now + length + 10 * MINUTE;
                let control = Control::Life(*life);
                if self
                    .net
                    .platform
                    .control(&control, self.clock.platform())
                    .is_ok()
                {
                    self.tally.conversations += 1;
                }
                self.net.collect(&self.clock);
                self.ends.insert(id, end);
                self.agenda.plan(now + watch, Event::Watch(id));
                self.agenda.plan(end, Event::Stop(id));
            }
            // Refused before it was watched.
            Event::Watch(id) if !self.ends.contains_key(&id) => {}
            Event::Watch(id) => {
                self.watched.insert(
                    id,
                    Watched {
                        due: true,
                        ..Watched::default()
                    },
                );
                self.give(Input::Watch(topic_of(id)));
                if self.rng.chance(3) {
                    // Given up and wanted again at once.
                    self.give(Input::Unwatch(topic_of(id)));
                    if let Some(w) = self.watched.get_mut(&id) {
                        *w = Watched {
                            due: true,
                            asked: w.asked,
                            ..Watched::default()
                        };
                    }
                    self.give(Input::Watch(topic_of(id)));
                }
            }
            Event::Stop(id) => {
                let open = self.owed.get(&id).is_some_and(|o| !o.is_empty());
                let asking = self.watched.get(&id).is_some_and(|w| w.asked || w.due);
                if open || asking {
                    self.agenda.plan(now + MINUTE, Event::Stop(id));
                    return;
                }
                self.ends.remove(&id);
                self.owed.remove(&id);
                self.watched.remove(&id);
                self.give(Input::Unwatch(topic_of(id)));
            }
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
                self.late_events &= !matches!(kind, Kind::EventsDelay | Kind::EventsSwap);
                let plan = self.plan.clone();
                faults::relieve(kind, &plan, &mut self.net, &self.clock);
            }
            Event::Boot => self.boot(),
            Event::Look => {
                self.look();
                self.agenda.plan(now + 30 * SECOND, Event::Look);
            }
            Event::CheckAgain(id) => {
                if let Some(w) = self.watched.get_mut(&id) {
                    w.due = true;
                    if w.live {
                        self.check(id);
                    }
                }
            }
        }
    }

    pub(crate) fn strike(&mut self, kind: Kind) {
        let now = self.clock.time;
        self.trace
            .add(&self.clock, "fault", kind as u64, || format!("{kind:?}"));
        let plan = self.plan.clone();
        match faults::inject(kind, &plan, &mut self.net, &mut self.clock, &mut self.rng) {
            Blow::Done(relief) => {
                self.tally.fault(kind);
                self.late_events |= matches!(kind, Kind::EventsDelay | Kind::EventsSwap);
                if let Some(at) = relief {
                    self.agenda.plan(at, Event::Relieve(kind));
                }
            }
            Blow::Missed | Blow::Upper => {}
            Blow::Die { down_for, .. } => {
                if self.client.take().is_some() {
                    self.tally.fault(kind);
                    let known = [Some(0), Some(5 * SECOND), None][self.rng.below(3) as usize];
                    self.net.forget_process(known, &self.clock);
                    self.due = None;
                    self.fetching = 0;
                    self.fetches.clear();
                    self.checks.clear();
                    for w in self.watched.values_mut() {
                        *w = Watched {
                            due: true,
                            ..Watched::default()
                        };
                    }
                    self.agenda.plan(now + down_for, Event::Boot);
                }
            }
        }
    }

    fn boot(&mut self) {
        if self.client.is_some() {
            return;
        }
        self.clock.restart();
        self.processes += 1;
        let settings = proto::Settings {
            max_channels: self.plan.max_channels,
            topics_per_channel: self.plan.topics_per_channel,
            renew_before: std::time::Duration::from_millis(self.plan.renew_before),
            streaming: crate::net::streaming(),
        };
        let seed = self.rng.next_u64();
        self.client = Some(Client::new(settings, &self.kept, self.clock.now(), seed));
        self.drain();
        let wanted: Vec<ConversationId> = self.watched.keys().copied().collect();
        for id in wanted {
            self.give(Input::Watch(topic_of(id)));
        }
    }

    fn give(&mut self, input: Input) {
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
        let Some(client) = &mut self.client else {
            return;
        };
        client.handle(input, self.clock.now());
        let said = self.drain();
        if (said || !quiet || self.pace.steps.is_multiple_of(64))
            && let Some(client) = &self.client
        {
            if let Err(text) = client.audit() {
                self.fail(text);
                return;
            }
            let (channels, topics) = client.held();
            if channels > usize::from(self.plan.max_channels)
                || topics > self.plan.topics_per_channel
            {
                self.fail(format!("{channels} channels, {topics} topics on one"));
            }
        }
    }

    /// True if the core said anything.
    fn drain(&mut self) -> bool {
        let mut said = false;
        while let Some(output) = self.client.as_mut().and_then(Client::poll_output) {
            said = true;
            match output {
                Output::OpenSocket {
                    socket,
                    connect_uri,
                } => {
                    self.trace
                        .add(&self.clock, "open", u64::from(socket.generation), || {
                            format!("{socket:?}")
                        });
                    self.net.open(socket, &connect_uri, &self.clock);
                }
                Output::Session { socket, order } => {
                    self.trace
                        .add(&self.clock, "order", u64::from(socket.generation), || {
                            format!("{socket:?} {order:?}")
                        });
                    self.net.order(socket, order, &self.clock);
                }
                Output::Call { call, op, token } => {
                    if !self
                        .client
                        .as_ref()
                        .is_some_and(|c| c.awaits(call, self.clock.now()))
                    {
                        self.fail(format!("nobody waits for {op:?}"));
                    }
                    self.net.call(call, op, token.as_ref(), &self.clock)
                }
                Output::Keep(rows) => {
                    self.kept.clone_from(&rows);
                    if let Some(client) = &mut self.client {
                        client.handle(Input::Kept(rows), self.clock.now());
                    }
                }
                Output::Fact(fact) => self.fact(fact),
                Output::Notice(notice) => {
                    self.trace.add(&self.clock, "notice", 0, || {
                        format!("{} {:?} {}", notice.label, notice.channel, notice.text)
                    });
                    let shown = self.net.secrets.iter().any(|s| {
                        notice.text.contains(s.as_str())
                            || notice
                                .channel
                                .as_ref()
                                .is_some_and(|c| c.contains(s.as_str()))
                    });
                    if shown {
                        self.fail(format!("notice {} shows a secret", notice.label));
                    }
                }
            }
        }
        let now = self.clock.now();
        self.due = self
            .client
            .as_ref()
            .and_then(|c| c.next_deadline(now))
            .map(|d| self.clock.world(d.at));
        self.ask();
        said
    }
}
