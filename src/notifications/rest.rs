//! HTTP as a client: one exchange, and the pool of REST workers.
//!
//! ```text
//! loop ──jobs (queue)──► rest-1, rest-2 ──► platform
//! loop ◄──outcomes (callback, may block)──┘
//! ```
//!
//! The queue of jobs is bounded; when it is full the giver is told. A worker
//! holds no opinion: it turns a job into a request, and the answer, or its lack,
//! into an outcome.
//!
//! Invariants: every job taken gives exactly one outcome; redirects are never
//! followed, because they would carry the token along; every exchange ends
//! within its time and reads no more than its limit.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use ureq::unversioned::transport::Connector as _;
use ureq::{Agent, AsSendBody, Error};

use super::answer::Answers;
use super::clock::Clock;
use super::proxy::Proxy;
use super::shared::Shared;
use super::tls::{Identity, Trust};
use super::transport::{LaterResolver, TcpConnector, TlsConnector};
use super::unreached::{Unreached, refused_certificate};
use crate::redaction;
use base::cause::Cause;
use base::secret::Secret;
use base::time::Wall;
use base::wire::{NoAnswer, Request, Response};
use proto::rest::{Answer, Channel, Endpoints, Failure, Op, Outcome, decode, encode};

/// The largest answer about conversations.
pub const CONVERSATIONS_MAX: usize = 8 * 1024 * 1024;

/// The largest other answer: a thousand topics with reasons, and room.
pub const ANSWER_MAX: usize = 1024 * 1024;

/// Headers of an answer in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// Idle connections are dropped before usual servers drop them (notes on
/// keep-alive: one closed at the moment of use costs an "outcome unknown").
const IDLE_MAX: Duration = Duration::from_secs(15);

/// For the body of an answer of which only the start is wanted.
const START_MAX: Duration = Duration::from_secs(2);

/// How an agent is made.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Whom to trust.
    pub trust: Trust,
    /// Our own certificate.
    pub identity: Option<Identity>,
    /// The way out, if it is not direct.
    pub proxy: Option<Proxy>,
    /// For a whole exchange, name to last byte.
    pub timeout: Duration,
    /// For name, TCP, proxy and TLS.
    pub connect_timeout: Duration,
    /// Threads that share the agent: as many connections are kept per host.
    pub threads: usize,
}

/// Makes an agent; clones of it share connections.
#[must_use]
pub fn agent(settings: &HttpSettings) -> Agent {
    agent_until(settings, Arc::default())
}

/// The same; connections that are on their way are broken off once it is given up.
#[must_use]
pub fn agent_until(settings: &HttpSettings, given_up: Arc<AtomicBool>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Ours is asked by whoever connects.
        .proxy(None)
        .tls_config(settings.trust.ureq(settings.identity.as_ref()))
        .timeout_global(Some(settings.timeout))
        .timeout_connect(Some(settings.connect_timeout.min(settings.timeout)))
        .max_response_header_size(HEAD_MAX)
        .max_idle_connections(settings.threads.max(1) * 2)
        .max_idle_connections_per_host(settings.threads.max(1))
        .max_idle_age(IDLE_MAX)
        .user_agent(proto::oauth::USER_AGENT)
        .accept_encoding(ureq::config::AutoHeaderValue::None)
        .build();
    let connector = TcpConnector::new(settings.proxy.clone(), given_up)
        .chain(TlsConnector::default())
        .chain(Answers);
    Agent::with_parts(config, connector, LaterResolver)
}

/// What of an answer's body is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// All of it, up to so many bytes; a longer or broken one spoils a 2xx answer.
    /// Of a refusal the start will do.
    Whole(usize),
    /// The start: what is longer is cut, and what breaks off ends there, because
    /// the status alone is the answer.
    Start(usize),
}

/// Why an exchange brought no usable answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spoiled {
    NoAnswer(NoAnswer),
    /// A 2xx answer longer than its limit.
    TooLarge,
}

impl Spoiled {
    fn fate(self) -> NoAnswer {
        match self {
            Spoiled::NoAnswer(no_answer) => no_answer,
            Spoiled::TooLarge => NoAnswer::Garbled,
        }
    }
}

/// One exchange.
///
/// # Errors
/// No answer, with what is known of the request's fate. An answer of any status is no error.
pub fn perform(agent: &Agent, request: &Request, body: Body) -> Result<Response, NoAnswer> {
    exchange(agent, request, body, None).map_err(Spoiled::fate)
}

/// The same, for so long at most where the agent has more patience.
///
/// # Errors
/// As [`perform`].
pub fn perform_within(
    agent: &Agent,
    request: &Request,
    body: Body,
    patience: Duration,
) -> Result<Response, NoAnswer> {
    exchange(agent, request, body, Some(patience)).map_err(Spoiled::fate)
}

fn exchange(
    agent: &Agent,
    request: &Request,
    wanted: Body,
    patience: Option<Duration>,
) -> Result<Response, Spoiled> {
    if request.url.parse::<http::Uri>().is_err() {
        let nowhere = NoAnswer::Unreached(Cause::NotAnAddress);
        return Err(Spoiled::NoAnswer(nowhere));
    }
    let mut builder = http::Request::builder()
        .method(request.method)
        .uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    // An empty slice has a length, 0, which servers want of a POST; "no body" is
    // sent in chunks.
    let answer = match request.method {
        "POST" | "PUT" | "PATCH" => {
            let request = builder.body(request.body.as_slice());
            run(agent, request, wanted, patience)
        }
        _ => run(agent, builder.body(()), wanted, patience),
    };
    let (head, body) = answer.map_err(|e| Spoiled::NoAnswer(fate(e)))?.into_parts();
    let status = head.status.as_u16();
    let good = head.status.is_success();
    let (limit, whole) = match wanted {
        Body::Whole(limit) => (limit, good),
        Body::Start(limit) => (limit, false),
    };
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(limit as u64 + 1);
    match reader.read_to_end(&mut bytes) {
        Err(e) if whole => return Err(Spoiled::NoAnswer(fate(e.into()))),
        _ => {}
    }
    if bytes.len() > limit {
        if whole {
            return Err(Spoiled::TooLarge);
        }
        bytes.truncate(limit);
    }
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    // Of a good answer the content counts; of any other the words, which people see, and
    // which may repeat what was sent.
    let body = match good {
        true => bytes,
        false => redaction::foreign_body(bytes),
    };
    Ok(Response {
        status,
        headers,
        body,
    })
}

fn run(
    agent: &Agent,
    request: Result<http::Request<impl AsSendBody>, http::Error>,
    wanted: Body,
    patience: Option<Duration>,
) -> Result<http::Response<ureq::Body>, Error> {
    let mut request = agent.configure_request(request?);
    let timeout = agent.config().timeouts().global;
    if let Some(patience) = patience.filter(|p| timeout.is_none_or(|t| *p < t)) {
        // None at all would be no limit.
        request = request.timeout_global(Some(patience.max(Duration::from_millis(1))));
    }
    if let Body::Start(_) = wanted {
        // The status is the answer: nobody waits for the rest of it.
        request = request.timeout_recv_body(Some(START_MAX));
    }
    agent.run(request.build())
}

/// What is known of a request that brought no answer.
fn fate(error: Error) -> NoAnswer {
    match error {
        Error::Other(e) => match e.downcast_ref::<Unreached>() {
            Some(unreached) => NoAnswer::Unreached(unreached.cause),
            None => NoAnswer::Unknown,
        },
        Error::BadUri(_) => NoAnswer::Unreached(Cause::NotAnAddress),
        Error::Http(_) => NoAnswer::NotSent,
        Error::Timeout(_) => NoAnswer::TimedOut,
        Error::Protocol(_) | Error::LargeResponseHeader(..) | Error::BodyExceedsLimit(_) => {
            NoAnswer::Garbled
        }
        Error::Io(e) => match e.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => NoAnswer::TimedOut,
            _ if refused_certificate(&e) => NoAnswer::Unreached(Cause::ClientCertificate),
            _ => NoAnswer::Unknown,
        },
        _ => NoAnswer::Unknown,
    }
}

/// Composes the token request: credentials, and a fresh assertion where the grant
/// needs one, which may take a while.
pub type TokenRequest = Box<dyn Fn(Wall) -> Result<Request, Failure> + Send + Sync>;

/// Where outcomes go, with the ticket of the job. It may block; it may not panic.
pub type Outcomes = Box<dyn Fn(u64, Outcome) + Send + Sync>;

/// All that REST workers need.
pub struct RestWorkers {
    /// How many; two are enough for 300 requests a minute.
    pub workers: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// Where the platform is.
    pub endpoints: Endpoints,
    /// Made for at least that many threads.
    pub agent: Shared<Agent>,
    /// For [`Op::Token`].
    pub token_request: TokenRequest,
    /// Where outcomes go.
    pub outcomes: Outcomes,
    /// The clocks.
    pub clock: Arc<Clock>,
    /// What the threads' names begin with.
    pub name: String,
    /// Set when they are to end, for the agent's connections that are on their way.
    pub given_up: Arc<AtomicBool>,
}

impl fmt::Debug for RestWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestWorkers({})", self.workers)
    }
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Job {
    /// Echoed.
    pub ticket: u64,
    /// Which call.
    pub op: Op,
    /// Its token; [`Op::Token`] has none.
    pub token: Option<Secret>,
}

/// The queue of jobs is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The loop's end of the REST workers. Dropping it ends them after what they do.
#[derive(Debug)]
pub struct RestPool {
    pool: Pool<Job>,
    agent: Shared<Agent>,
    given_up: Arc<AtomicBool>,
}

impl RestPool {
    /// Starts the threads, named by their number.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(workers: RestWorkers) -> Result<RestPool, io::Error> {
        let agent = workers.agent.clone();
        let given_up = Arc::clone(&workers.given_up);
        let (count, queue, name) = (workers.workers, workers.queue, workers.name.clone());
        let pool = Pool::start(&name, count, queue, move |job: Job| {
            let outcome = work(&workers, &job);
            (workers.outcomes)(job.ticket, outcome);
        })?;
        Ok(RestPool {
            pool,
            agent,
            given_up,
        })
    }

    /// Gives a job; never blocks.
    ///
    /// # Errors
    /// No room in the queue; nothing was given.
    pub fn send(&self, job: Job) -> Result<(), Full> {
        self.pool.send(job).map_err(|_| Full)
    }

    /// Ends the workers: what waits is dropped, what is under way is broken off.
    /// True if all have ended by `deadline`.
    pub fn stop(self, deadline: Instant) -> bool {
        self.given_up.store(true, Ordering::Relaxed);
        self.pool.stop(deadline, || self.agent.get().shutdown())
    }
}

fn work(workers: &RestWorkers, job: &Job) -> Outcome {
    let failed = |failure| Outcome {
        result: Err(failure),
        limits: None,
        retry_after: None,
    };
    let request = match &job.op {
        Op::Token => match (workers.token_request)(workers.clock.now().wall) {
            Ok(request) => request,
            Err(failure) => return failed(failure),
        },
        op => encode(op, &workers.endpoints, job.token.as_ref()),
    };
    let limit = match job.op {
        Op::Conversation(_) | Op::Conversations(_) => CONVERSATIONS_MAX,
        _ => ANSWER_MAX,
    };
    match exchange(&workers.agent.get(), &request, Body::Whole(limit), None) {
        Ok(response) => understood(&job.op, &response, workers.clock.now().wall),
        Err(Spoiled::NoAnswer(no_answer)) => failed(Failure::NoAnswer(no_answer)),
        // As if the platform had refused to send so much: who asked for many asks for fewer.
        Err(Spoiled::TooLarge) => failed(Failure::BadRequest {
            status: 413,
            detail: format!("the answer is larger than {} MiB", limit >> 20),
        }),
    }
}

/// What an answer means; the secrets in it are known from then on.
pub fn understood(op: &Op, response: &Response, now: Wall) -> Outcome {
    let mut outcome = decode(op, response, now);
    let learn = |channel: &Channel| {
        let secrets = channel.id.iter().chain(&channel.connect_uri);
        secrets.for_each(redaction::learn_passing);
    };
    match &outcome.result {
        Ok(Answer::Token { access_token, .. }) => redaction::learn_passing(access_token),
        Ok(Answer::Channel(channel)) => learn(channel),
        _ => {}
    }
    // Of a good answer too some words are shown, and of any that is decoded what they read.
    match &mut outcome.result {
        Ok(Answer::Topics(topics)) => {
            for rejected in topics.iter_mut().filter_map(|t| t.rejected.as_mut()) {
                *rejected = redaction::foreign(rejected);
            }
        }
        Err(
            Failure::Forbidden(words)
            | Failure::BadRequest { detail: words, .. }
            | Failure::Login {
                sentence: words, ..
            },
        ) => *words = redaction::foreign(words),
        _ => {}
    }
    outcome
}

/// Threads that take jobs from one bounded queue.
#[derive(Debug)]
pub struct Pool<T> {
    jobs: Sender<T>,
    waiting: Receiver<T>,
    over: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `count` threads named `name-N`, from 1, and a queue of `queue` jobs.
    ///
    /// # Errors
    /// The environment: a thread could not be started.
    pub fn start(
        name: &str,
        count: usize,
        queue: usize,
        work: impl Fn(T) + Send + Sync + 'static,
    ) -> Result<Pool<T>, io::Error> {
        let (jobs, waiting) = bounded::<T>(queue);
        let (alive, over) = bounded::<()>(0);
        let work = Arc::new(work);
        let mut threads = Vec::new();
        for n in 1..=count.max(1) {
            let (work, alive, taken) = (work.clone(), alive.clone(), waiting.clone());
            let body = move || {
                let _alive: Sender<()> = alive;
                for job in taken {
                    work(job);
                }
            };
            let thread = std::thread::Builder::new().name(format!("{name}-{n}"));
            threads.push(thread.spawn(body)?);
        }
        Ok(Pool {
            jobs,
            waiting,
            over,
            threads,
        })
    }

    /// Gives a job; never blocks.
    ///
    /// # Errors
    /// The job comes back if there is no room.
    pub fn send(&self, job: T) -> Result<(), T> {
        self.jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// Drops what waits, calls `interrupt`, and waits for the threads.
    pub fn stop(self, deadline: Instant, interrupt: impl FnOnce()) -> bool {
        drop(self.jobs);
        for job in self.waiting.try_iter() {
            drop(job);
        }
        interrupt();
        match self.over.recv_deadline(deadline) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => false,
            _ => self.threads.into_iter().all(|t| t.join().is_ok()),
        }
    }
}

#[cfg(test)]
mod tests;
