//! The network, the sockets' sessions and the REST workers between the core and
//! the platform's model.
//!
//! Links are as TCP makes them: in order, late, cut without a word, reset with
//! what was on the way lost. The real session state machine runs on the
//! gateway's end of each.
//!
//! Invariant: what was on its way to a process that has ended reaches no other.

mod calls;
pub(crate) mod odd;
mod trouble;

pub(crate) use calls::PLACE;

use std::collections::BTreeMap;

use base::cause::Cause;
use base::retry_after;
use base::rng::Rng;
use base::secret::Secret;
use base::wire::{NoAnswer, Request, Response};
use proto::CallId;
use proto::connect_uri::Streaming;
use proto::oauth::{Grant, TokenRequest};
use proto::rest::{Endpoints, Op, Outcome};
use proto::session::{self, End, Fact, Session, SessionSettings, SocketRef};
use simulator::model::{Mark, Platform, SocketId, SocketOut, take_marks};

use crate::agenda::{Agenda, MINUTE, SECOND, Time};
use crate::clock::Clock;
use crate::trace::Trace;

/// The patience of the channel threads while they connect.
const CONNECT_PATIENCE: Time = 10 * SECOND;
/// The patience of the REST workers.
const REST_PATIENCE: Time = 20 * SECOND;
/// A link of which only one end knows that it is gone lasts this long at the other:
/// TCP sends again for about a quarter of an hour.
const HALF_OPEN: Time = 16 * MINUTE;
/// How long a channel thread reads on after it said goodbye.
const CLOSE_PATIENCE: Time = 2 * SECOND;

/// What the network has for the core.
#[derive(Clone, PartialEq)]
pub(crate) enum Incoming {
    Session(SocketRef, Fact),
    Answered(CallId, Outcome),
}

enum Event {
    Upgrade(u64, SocketRef),
    Upgraded(u64, SocketRef, Result<SocketId, End>),
    ConnectTimeout(u64, SocketRef),
    ToPlatform(SocketId, String),
    ClosedByClient(SocketId),
    ToClient(u64, SocketRef, Downstream),
    /// Planned for this moment; one planned later for an earlier moment replaces it.
    Wake(u64, SocketRef, Time),
    CloseOver(u64, SocketRef),
    Request(u64, CallId, Request),
    Answer(u64, CallId, Result<Response, NoAnswer>),
}

enum Downstream {
    Frame(String),
    Ended(End),
}

struct Link {
    session: Session,
    uri: String,
    platform: Option<SocketId>,
    /// We said goodbye and read on until the platform does.
    closing: bool,
    /// Nothing passes any more, and nobody is told.
    cut: bool,
    up: Time,
    down: Time,
    wake: Option<Time>,
}

struct Exchange {
    op: Op,
    bearer: Option<String>,
}

/// What the network is like in this run.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) latency: (Time, Time),
    /// Until then nothing passes, and everybody is told so.
    pub(crate) down_until: Time,
    /// Until then what is sent disappears.
    pub(crate) black_hole_until: Time,
}

/// What stands between refuses upgrades.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    status: u16,
    after: Option<u64>,
    pub(crate) since: Time,
    pub(crate) until: Time,
}

impl Refusal {
    fn end(self, clock: &Clock) -> End {
        let wait = self.after.map(|s| s.to_string());
        End::UpgradeRefused {
            status: self.status,
            retry_after: wait.and_then(|text| retry_after::parse(&text, clock.now().wall)),
        }
    }
}

pub(crate) struct Net {
    pub(crate) platform: Platform,
    pub(crate) weather: Weather,
    agenda: Agenda<Event>,
    links: BTreeMap<SocketRef, Link>,
    /// The gateway's end of each socket of the platform.
    peers: BTreeMap<SocketId, SocketRef>,
    exchanges: BTreeMap<CallId, Exchange>,
    epoch: u64,
    rng: Rng,
    settings: SessionSettings,
    endpoints: Endpoints,
    login: TokenRequest,
    pub(crate) incoming: std::collections::VecDeque<Incoming>,
    /// When requests reached the platform, by bearer token, for the last minute.
    counted: BTreeMap<String, std::collections::VecDeque<Time>>,
    /// The last call but for a token was served, well or not.
    pub(crate) rest_serves: bool,
    /// What the platform says holds odd text until then.
    pub(crate) odd_until: Time,
    /// Agents' notes hold odd text, always the same with the same code.
    pub(crate) odd_notes: bool,
    /// Channels that are made lead elsewhere until then.
    pub(crate) astray_until: Time,
    /// Upgrades are refused.
    pub(crate) refusal: Option<Refusal>,
    odd_rng: Rng,
    pub(crate) requests_total: u64,
    pub(crate) most_in_a_minute: usize,
    pub(crate) violation: Option<String>,
    /// REST requests get no answer from this one (counted from 0) on, so many times.
    pub(crate) fail_from: Option<(u64, u64)>,
    /// Frames to the platform cost their connection from this one on, so many times.
    pub(crate) break_from: Option<(u64, u64)>,
    pub(crate) frames_up: u64,
    /// What must not be shown: tokens, URIs, channel ids.
    pub(crate) secrets: Vec<String>,
    pub(crate) trace: Trace,
    sockets_most: usize,
}

/// Where the model's platform leads, and nothing else does.
pub(crate) fn streaming() -> Streaming {
    Streaming::new("https://api.simulated.test", "simulated.test", &[])
}

impl Net {
    pub(crate) fn new(platform: Platform, seed: u64, trace: Trace) -> Net {
        let s = platform.settings();
        let endpoints = Endpoints {
            api_url: s.api_url.clone(),
            login_url: s.login_url.clone(),
        };
        let login = TokenRequest {
            login_url: s.login_url.clone(),
            client_id: s.client_id.clone(),
            client_secret: s.client_secret.clone(),
            grant: Grant::ClientCredentials,
        };
        let secrets = vec![s.client_secret.expose().to_owned()];
        Net {
            platform,
            weather: Weather {
                latency: (5, 60),
                down_until: 0,
                black_hole_until: 0,
            },
            agenda: Agenda::default(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            epoch: 0,
            rng: Rng::new(seed),
            settings: SessionSettings::default(),
            endpoints,
            login,
            incoming: std::collections::VecDeque::new(),
            counted: BTreeMap::new(),
            rest_serves: false,
            odd_until: 0,
            odd_notes: false,
            astray_until: 0,
            refusal: None,
            odd_rng: Rng::new(seed ^ 0x6f_64_64_74),
            requests_total: 0,
            most_in_a_minute: 0,
            violation: None,
            fail_from: None,
            break_from: None,
            frames_up: 0,
            secrets,
            trace,
            sockets_most: 0,
        }
    }

    fn lag(&mut self) -> Time {
        let (low, high) = self.weather.latency;
        low + self.rng.below(high - low + 1)
    }

    fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// When something is due here or on the platform.
    pub(crate) fn next(&self) -> Option<Time> {
        let platform = self.platform.next_deadline().map(|m| m.0);
        match (self.agenda.next(), platform) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets one thing happen that is due.
    pub(crate) fn step(&mut self, clock: &Clock) {
        if self
            .platform
            .next_deadline()
            .is_some_and(|m| m.0 <= clock.time)
        {
            self.platform.tick(clock.platform());
            self.collect(clock);
        } else if let Some(event) = self.agenda.take(clock.time) {
            self.happen(event, clock);
        }
    }

    /// Takes over what the platform does to sockets. Call after every command to it.
    pub(crate) fn collect(&mut self, clock: &Clock) {
        while let Some(out) = self.platform.poll() {
            let (id, what) = match out {
                SocketOut::Frame { socket, text } => (socket, Downstream::Frame(text)),
                SocketOut::Pong { .. } => continue,
                SocketOut::Close { socket, code, .. } => {
                    (socket, Downstream::Ended(End::Closed(code)))
                }
                SocketOut::Reset { socket } => (
                    socket,
                    Downstream::Ended(End::Broken("reset by peer".into())),
                ),
            };
            let over = matches!(what, Downstream::Ended(_));
            let peer = if over {
                self.peers.remove(&id)
            } else {
                self.peers.get(&id).copied()
            };
            let lag = self.lag();
            let Some(socket) = peer else { continue };
            let Some(link) = self.links.get_mut(&socket) else {
                continue;
            };
            if over {
                link.platform = None;
            }
            if link.cut || clock.time < self.weather.black_hole_until {
                link.cut |= over;
                continue;
            }
            let at = (clock.time + lag).max(link.down);
            link.down = at;
            self.agenda
                .plan(at, Event::ToClient(self.epoch, socket, what));
        }
    }

    fn happen(&mut self, event: Event, clock: &Clock) {
        let epoch = self.epoch;
        match event {
            Event::Upgrade(e, socket) => self.upgrade(e, socket, clock),
            Event::Upgraded(e, socket, result) => {
                let known = e == epoch && self.links.get(&socket).is_some_and(|l| !l.closing);
                match result {
                    Ok(_) if known => {
                        self.session(socket, session::Input::Opened, clock);
                    }
                    Ok(id) => self.agenda.plan(clock.time + 1, Event::ClosedByClient(id)),
                    Err(end) if known => self.session(socket, session::Input::Ended(end), clock),
                    Err(_) => {}
                }
            }
            Event::ConnectTimeout(e, socket) => {
                let waiting = e == epoch
                    && self
                        .links
                        .get(&socket)
                        .is_some_and(|l| l.session.next_deadline().is_none() && !l.closing);
                if waiting {
                    let end = End::unreached(Cause::TimedOut);
                    self.session(socket, session::Input::Ended(end), clock);
                }
            }
            Event::ToPlatform(id, text) => {
                self.trace.add(clock, "up", id.0, || text.clone());
                let number = self.frames_up;
                // Pings are not what is tried here.
                self.frames_up += u64::from(!text.contains("ping"));
                if self
                    .break_from
                    .is_some_and(|(from, n)| number >= from && number - from < n)
                    && !text.contains("ping")
                {
                    self.reset(false, clock);
                    return;
                }
                self.platform.frame(id, &text, clock.platform());
                self.collect(clock);
            }
            Event::ClosedByClient(id) => {
                self.peers.remove(&id);
                self.platform.closed(id, clock.platform());
                self.collect(clock);
            }
            Event::ToClient(e, socket, what) if e == epoch && self.links.contains_key(&socket) => {
                match what {
                    Downstream::Frame(text) => {
                        let text = self.oddly(text, clock);
                        self.trace
                            .add(clock, "down", u64::from(socket.generation), || text.clone());
                        self.session(socket, session::Input::Text(&text), clock);
                    }
                    Downstream::Ended(end) => {
                        self.session(socket, session::Input::Ended(end), clock);
                    }
                }
            }
            Event::ToClient(..) => {}
            Event::Wake(e, socket, at) if e == epoch => {
                let Some(link) = self.links.get_mut(&socket) else {
                    return;
                };
                // Left to plan its next, what was replaced would never die out:
                // each long-lived link would wake more often with every hour.
                if link.wake != Some(at) {
                    return;
                }
                link.wake = None;
                let due = link.session.next_deadline().map(|d| clock.world(d.at));
                match due {
                    Some(at) if at <= clock.time => {
                        self.session(socket, session::Input::Tick, clock);
                    }
                    Some(at) => self.wake_at(socket, at),
                    None => {}
                }
            }
            Event::Wake(..) => {}
            Event::CloseOver(e, socket) => {
                if e == epoch && self.links.contains_key(&socket) {
                    self.session(socket, session::Input::Ended(End::Ordered), clock);
                }
            }
            Event::Request(e, call, request) => self.request(e, call, request, clock),
            Event::Answer(e, call, result) if e == epoch => self.answer(call, result, clock),
            Event::Answer(..) => {}
        }
    }

    fn wake_at(&mut self, socket: SocketRef, at: Time) {
        let epoch = self.epoch;
        if let Some(link) = self.links.get_mut(&socket)
            && link.wake.is_none_or(|w| at < w)
        {
            link.wake = Some(at);
            self.agenda.plan(at, Event::Wake(epoch, socket, at));
        }
    }

    fn session(&mut self, socket: SocketRef, input: session::Input<'_>, clock: &Clock) {
        let lag = self.lag();
        let epoch = self.epoch;
        let Some(link) = self.links.get_mut(&socket) else {
            return;
        };
        link.session.handle(input, clock.now());
        let mut over = false;
        while let Some(output) = link.session.poll_output() {
            match output {
                session::Output::Send(text) => {
                    if let Some(id) = link.platform.filter(|_| !link.cut && !link.closing) {
                        let at = (clock.time + lag).max(link.up);
                        link.up = at;
                        self.agenda.plan(at, Event::ToPlatform(id, text));
                    }
                }
                session::Output::Close { polite } => {
                    link.closing = true;
                    if let Some(id) = link.platform.filter(|_| !link.cut) {
                        let at = (clock.time + lag).max(link.up);
                        self.agenda.plan(at, Event::ClosedByClient(id));
                    }
                    let patience = if polite && link.platform.is_some() {
                        (2 * lag).min(CLOSE_PATIENCE)
                    } else {
                        0
                    };
                    self.agenda
                        .plan(clock.time + patience, Event::CloseOver(epoch, socket));
                }
                session::Output::Fact(fact) => {
                    over |= matches!(fact, Fact::Ended(_));
                    self.incoming.push_back(Incoming::Session(socket, fact));
                }
                session::Output::Odd(_) => {}
            }
        }
        if over {
            self.links.remove(&socket);
            return;
        }
        if let Some(d) = self
            .links
            .get(&socket)
            .and_then(|l| l.session.next_deadline())
        {
            self.wake_at(socket, clock.world(d.at));
        }
    }

    fn upgrade(&mut self, epoch: u64, socket: SocketRef, clock: &Clock) {
        let Some(link) = self.links.get(&socket).filter(|_| epoch == self.epoch) else {
            return;
        };
        let path = link.uri.clone();
        let path = path.split_once("://").map_or("", |(_, rest)| rest);
        let path = path.find('/').map_or("", |at| &path[at..]).to_owned();
        let lag = self.lag();
        if let Some(refusal) = self.refusal.filter(|r| clock.time < r.until) {
            let end = Err(refusal.end(clock));
            let told = Event::Upgraded(epoch, socket, end);
            self.agenda.plan(clock.time + lag, told);
            return;
        }
        let result = match self.platform.upgrade(&path, clock.platform()) {
            Ok(id) => {
                if let Some(link) = self.links.get_mut(&socket) {
                    link.platform = Some(id);
                    link.down = clock.time + lag;
                }
                self.peers.insert(id, socket);
                Ok(id)
            }
            Err(mut response) => match take_marks(&mut response) {
                Some(Mark::Hang) => {
                    self.collect(clock);
                    return;
                }
                Some(Mark::NoAnswer) => Err(End::unreached(Cause::BrokenOff)),
                Some(Mark::Delay(_)) | None => Err(refused(&response, clock)),
            },
        };
        self.agenda
            .plan(clock.time + lag, Event::Upgraded(epoch, socket, result));
        self.collect(clock);
    }

    /// `OpenSocket`.
    pub(crate) fn open(&mut self, socket: SocketRef, uri: &Secret, clock: &Clock) {
        let lag = self.lag();
        if self.links.contains_key(&socket) {
            self.fail(format!("socket {socket:?} was opened twice"));
        }
        self.links.insert(
            socket,
            Link {
                session: Session::new(self.settings, clock.now()),
                uri: uri.expose().to_owned(),
                platform: None,
                closing: false,
                cut: false,
                up: clock.time,
                down: clock.time,
                wake: None,
            },
        );
        self.sockets_most = self.sockets_most.max(self.links.len());
        if self.links.len() > 60 {
            self.fail(format!("{} sockets are open", self.links.len()));
        }
        if clock.time < self.weather.down_until {
            let end = Err(End::unreached(Cause::Unreachable));
            self.agenda
                .plan(clock.time + 1, Event::Upgraded(self.epoch, socket, end));
        } else {
            if clock.time >= self.weather.black_hole_until {
                self.agenda
                    .plan(clock.time + 2 * lag, Event::Upgrade(self.epoch, socket));
            }
            self.agenda.plan(
                clock.time + CONNECT_PATIENCE,
                Event::ConnectTimeout(self.epoch, socket),
            );
        }
    }

    /// An order for a session; ignored if the socket is gone.
    pub(crate) fn order(&mut self, socket: SocketRef, order: session::Order, clock: &Clock) {
        self.session(socket, session::Input::Order(order), clock);
    }

    /// Sockets that are open, or being opened, on a channel.
    pub(crate) fn sockets_on<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = SocketRef> + 'a {
        let mine = move |l: &Link| l.uri == uri && !l.closing;
        self.links
            .iter()
            .filter(move |(_, l)| mine(l))
            .map(|(s, _)| *s)
    }

    /// The socket was opened on the channel with this id.
    pub(crate) fn is_on(&self, socket: SocketRef, channel: &str) -> bool {
        self.links
            .get(&socket)
            .is_some_and(|l| l.uri.ends_with(&format!("/{channel}")))
    }

    /// The platform's end of a socket.
    pub(crate) fn platform_socket(&self, socket: SocketRef) -> Option<SocketId> {
        self.links.get(&socket)?.platform
    }

    /// The platform's socket reaches a session that listens.
    pub(crate) fn heard_by_session(&self, id: SocketId) -> bool {
        self.peers
            .get(&id)
            .and_then(|s| self.links.get(s))
            .is_some_and(|l| !l.cut && !l.closing)
    }
}

/// A refused upgrade as the shell would tell it.
fn refused(response: &Response, clock: &Clock) -> End {
    let wait = response.header("retry-after");
    End::UpgradeRefused {
        status: response.status,
        retry_after: wait.and_then(|text| retry_after::parse(text, clock.now().wall)),
    }
}
