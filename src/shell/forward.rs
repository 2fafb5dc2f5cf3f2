//! The forwarders: they post records to the history manager (design, section 5).
//!
//! ```text
//! loop ──record id──► forward-1 … forward-N ──POST──► history manager
//! loop ◄──outcome (callback, may block)──┘
//! ```
//!
//! A record's body is loaded by the worker and held for the time of one post
//! only. Whether, when and how often a record is tried is the core's business.
//!
//! Invariants: every order taken gives exactly one outcome; the idempotency key
//! is the record's id; no outcome shows a token or a configured header.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use ureq::Agent;

use base::ids::RecordId;
use base::plain::one_line;
use base::retry_after;
use base::rows::RecordRow;
use base::secret::Secret;
use base::wire::{Request, Response};
use filing::PostOutcome;
use notifications::clock::Clock;
use notifications::rest::{Body, Full, Pool, perform};
use notifications::shared::Shared;

/// The most characters kept of a refusal.
pub const EXCERPT_MAX: usize = 200;

/// How much of an answer is read, so that the connection can be used again.
const ANSWER_MAX: usize = 64 * 1024;

/// Headers that the forwarder sets itself.
const OWN_HEADERS: [&str; 7] = [
    "content-type",
    "idempotency-key",
    "authorization",
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
];

/// A record with its body and the members of its interaction.
pub type Loaded = (RecordRow, Option<String>, Option<String>);

/// Reads a record from the store: nothing if it is not there; the reason if it cannot be read
/// just now.
pub type Load = Box<dyn Fn(RecordId) -> Result<Option<Loaded>, String> + Send + Sync>;

/// Whether another shard has the record; the reason if that cannot be read just now.
pub type Elsewhere = Box<dyn Fn(RecordId) -> Result<bool, String> + Send + Sync>;

/// Makes the body to post from the row, the record's body and the members; the reason if it cannot.
pub type Render =
    Box<dyn Fn(&RecordRow, Option<&str>, Option<&str>) -> Result<String, String> + Send + Sync>;

/// Where outcomes go. It may block; it may not panic.
pub type Report = Box<dyn Fn(RecordId, PostOutcome) + Send + Sync>;

/// All that forwarders need.
pub struct Forwarders {
    /// How many; `[history] workers`.
    pub workers: usize,
    /// `[history] url`.
    pub url: String,
    /// `[history] headers`.
    pub headers: Vec<(String, String)>,
    /// `[history] bearer-token-file`: read again when it changes, and after a 401.
    pub bearer_token_file: Option<PathBuf>,
    /// Made for at least that many threads, with `[history] timeout`.
    pub agent: Shared<Agent>,
    /// Reads a record.
    pub load: Load,
    /// Whether another shard took a record before, and files it.
    pub elsewhere: Elsewhere,
    /// Makes the body to post.
    pub render: Render,
    /// Where outcomes go.
    pub report: Report,
    /// The clocks.
    pub clock: Arc<Clock>,
}

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarders({})", self.workers)
    }
}

/// Why forwarders cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// `[history] url` is not an `http` or `https` address.
    Url,
    /// This configured header cannot be sent, or is the forwarder's own.
    Header(String),
    /// The token file cannot be read, or holds no token; a sentence without its content.
    Token(PathBuf, String),
    /// The system has no thread left.
    NoThread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Url => f.write_str("[history] url is not an http or https address"),
            StartError::Header(name) => {
                write!(f, "the header {name} of [history] headers cannot be sent")
            }
            StartError::Token(path, why) => write!(f, "{}: {why}", path.display()),
            StartError::NoThread(error) => write!(f, "cannot start a forwarder: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The loop's end of the forwarders. Dropping it ends them after what they do.
#[derive(Debug)]
pub struct ForwardPool {
    pool: Pool<RecordId>,
    agent: Shared<Agent>,
    bearer: Option<Arc<Bearer>>,
}

impl ForwardPool {
    /// Starts threads named `forward-N`.
    ///
    /// # Errors
    /// A setting that cannot work, an unreadable token file, or no thread.
    pub fn start(forwarders: Forwarders) -> Result<ForwardPool, StartError> {
        check(&forwarders)?;
        let bearer = match &forwarders.bearer_token_file {
            Some(path) => Some(Arc::new(Bearer::open(path)?)),
            None => None,
        };
        let agent = forwarders.agent.clone();
        let used = bearer.clone();
        let workers = forwarders.workers.max(1);
        // The core keeps at most `workers` orders unanswered: none has to wait.
        let pool = Pool::start("forward", workers, workers, move |record| {
            let outcome = post(&forwarders, used.as_deref(), record);
            (forwarders.report)(record, outcome);
        });
        Ok(ForwardPool {
            pool: pool.map_err(StartError::NoThread)?,
            agent,
            bearer,
        })
    }

    /// The agent that it posts with, to be replaced.
    #[must_use]
    pub fn agent(&self) -> Shared<Agent> {
        self.agent.clone()
    }

    /// What reads the bearer token's file again.
    pub fn reread_bearer(&self) -> impl Fn() + Send + Sync + use<> {
        let bearer = self.bearer.clone();
        move || {
            if let Some(bearer) = &bearer {
                let _ = bearer.reread();
            }
        }
    }

    /// Orders a record to be posted; never blocks.
    ///
    /// # Errors
    /// No room in the queue; nothing was ordered.
    pub fn send(&self, record: RecordId) -> Result<(), Full> {
        self.pool.send(record).map_err(|_| Full)
    }

    /// Lets posts under way end by themselves until `deadline`; what waits is
    /// dropped. True if all have ended.
    pub fn stop(self, deadline: Instant) -> bool {
        self.pool.stop(deadline, || {})
    }

    /// As [`ForwardPool::stop`], but breaks off what is under way: the history
    /// manager may have filed it nevertheless.
    pub fn abort(self, deadline: Instant) -> bool {
        self.pool.stop(deadline, || self.agent.get().shutdown())
    }
}

fn check(forwarders: &Forwarders) -> Result<(), StartError> {
    let url: http::Uri = forwarders.url.parse().map_err(|_| StartError::Url)?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(StartError::Url);
    }
    for (name, value) in &forwarders.headers {
        let sendable = http::HeaderName::try_from(name).is_ok()
            && http::HeaderValue::try_from(value).is_ok()
            && !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str());
        if !sendable {
            return Err(StartError::Header(one_line(name, 80)));
        }
        // It may be a key; short ones are words such as `true`.
        if value.len() >= 8 {
            notifications::redaction::learn(&Secret::new(value.as_str()));
        }
    }
    Ok(())
}

fn post(forwarders: &Forwarders, bearer: Option<&Bearer>, record: RecordId) -> PostOutcome {
    match (forwarders.elsewhere)(record) {
        Ok(false) => {}
        // As the history manager would say of what it has: it is not posted by two.
        Ok(true) => {
            return PostOutcome::Answered {
                status: 409,
                retry_after: None,
                excerpt: String::new(),
            };
        }
        Err(reason) => return PostOutcome::NotRead(one_line(&reason, EXCERPT_MAX)),
    }
    let (row, body, members) = match (forwarders.load)(record) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return PostOutcome::Unreadable("it is not in the database".into()),
        Err(reason) => return PostOutcome::NotRead(one_line(&reason, EXCERPT_MAX)),
    };
    let rendered = (forwarders.render)(&row, body.as_deref(), members.as_deref());
    let body = match rendered {
        Ok(body) => body,
        Err(reason) => return PostOutcome::Unreadable(one_line(&reason, EXCERPT_MAX)),
    };
    let mut request = Request {
        method: "POST",
        url: forwarders.url.clone(),
        headers: vec![
            ("Content-Type".into(), "application/json".into()),
            ("Idempotency-Key".into(), record.to_string()),
        ],
        body: body.into_bytes(),
    };
    request.headers.extend(forwarders.headers.iter().cloned());
    let token = bearer.map(Bearer::current);
    let answer = send(forwarders, &request, token.as_ref());
    let answer = match (answer, bearer, token) {
        // Perhaps the token was changed a moment ago: worth one more try at once.
        (Ok(answer), Some(bearer), Some(used)) if answer.status == 401 => match bearer.reread() {
            Some(new) if new != used => send(forwarders, &request, Some(&new)),
            _ => Ok(answer),
        },
        (answer, ..) => answer,
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(no_answer) => return PostOutcome::NoAnswer(no_answer),
    };
    let now = forwarders.clock.now().wall;
    PostOutcome::Answered {
        status: answer.status,
        retry_after: answer
            .header("Retry-After")
            .and_then(|value| retry_after::parse(value, now)),
        excerpt: excerpt(&answer),
    }
}

fn send(
    forwarders: &Forwarders,
    request: &Request,
    token: Option<&Secret>,
) -> Result<Response, base::wire::NoAnswer> {
    let mut request = request.clone();
    if let Some(token) = token {
        let value = format!("Bearer {}", token.expose());
        request.headers.push(("Authorization".into(), value));
    }
    perform(&forwarders.agent.get(), &request, Body::Start(ANSWER_MAX))
}

/// The beginning of what a refusal says; what may be secret of it is hidden as it comes in.
fn excerpt(answer: &Response) -> String {
    match answer.status {
        200..=299 | 409 => String::new(),
        _ => one_line(&String::from_utf8_lossy(&answer.body), EXCERPT_MAX),
    }
}

/// A token in a file that others may replace at any time.
#[derive(Debug)]
struct Bearer {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    stamp: Option<(SystemTime, u64)>,
    token: Secret,
}

impl Bearer {
    fn open(path: &Path) -> Result<Bearer, StartError> {
        Ok(Bearer {
            path: path.to_owned(),
            held: Mutex::new(read(path)?),
        })
    }

    /// The token as of now. A file that has become unreadable leaves the last one standing.
    fn current(&self) -> Secret {
        let held = self.held().clone();
        if stamp(&self.path) == held.stamp {
            return held.token;
        }
        self.reread().unwrap_or(held.token)
    }

    /// The token in the file, whatever its stamp says.
    fn reread(&self) -> Option<Secret> {
        match read(&self.path) {
            Ok(new) => {
                let token = new.token.clone();
                *self.held() = new;
                Some(token)
            }
            Err(error) => {
                log::warn!("the last bearer token stays in use: {error}");
                // Not again until the file changes.
                self.held().stamp = stamp(&self.path);
                None
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // Plain values are whole whatever happened to the other holder.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Held, StartError> {
    // Taken first: a change in between is seen as one the next time.
    let stamp = stamp(path);
    let token =
        crate::config::bearer_token(path).map_err(|why| StartError::Token(path.to_owned(), why))?;
    notifications::redaction::learn(&token);
    Ok(Held { stamp, token })
}

#[cfg(test)]
mod tests;
