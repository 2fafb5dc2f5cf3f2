//! The desk: what the listeners ask, the loop answers; what they read, the
//! store and the published snapshot give.
//!
//! Invariants: no call blocks longer than
//! [`CALLER_OUTCOME_MAX`]; a request that is refused
//! was withdrawn, or never left; a part of those who may ask at once is kept free of those
//! who wait for a disk, so that reading goes on and refusals are quick; nothing here writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{TrySendError, bounded};

use super::main_loop::{Claim, Event};
use super::overview::Overview;
use super::port::{Health, InteractionView, Port, RecordView};
use super::router::Router;
use crate::status;
use base::ids::{ConversationId, RecordId};
use base::rows::{RecordRow, RecordState, StoreTrouble};
use filing::settings::{CALLER_OUTCOME_MAX, CALLER_TURN_MAX};
use filing::{Answer, CallerRequest};
use store::{Reader, StoreError};

/// A commit that takes longer than this is held up by its disk.
const SOON: Duration = Duration::from_secs(1);

/// When a caller that found no room may come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// Read connections kept open; more are opened and closed as needed.
const READERS_KEPT: usize = 16;

/// Read connections to the database, opened as needed and kept.
pub struct Readers {
    path: PathBuf,
    published: Arc<Overview>,
    kept: Mutex<Vec<Reader>>,
}

impl Readers {
    /// For the database at `path`; damage that shows in reading is made known.
    #[must_use]
    pub fn new(path: &Path, published: Arc<Overview>) -> Readers {
        Readers {
            path: path.to_path_buf(),
            published,
            kept: Mutex::new(Vec::new()),
        }
    }

    /// Reads with one of them.
    ///
    /// # Errors
    /// The database cannot be read; a sentence.
    pub fn read<T>(
        &self,
        what: impl FnOnce(&mut Reader) -> Result<T, StoreError>,
    ) -> Result<T, String> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut reader = kept.unwrap_or_else(|| Reader::new(&self.path));
        let read = what(&mut reader).map_err(|e| {
            if e.trouble() == StoreTrouble::Damaged {
                self.published.store_is_over(StoreTrouble::Damaged);
            }
            e.to_string()
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_ok() && kept.len() < READERS_KEPT {
            kept.push(reader);
        }
        read
    }
}

/// Who waits for the core.
struct Waiting {
    now: Mutex<Askers>,
    left: Condvar,
    max: usize,
}

#[derive(Default)]
struct Askers {
    all: usize,
    /// Of these: for longer than [`SOON`].
    long: usize,
}

/// A place among those who wait; leaving is dropping it.
struct Place<'a> {
    of: &'a Waiting,
    long: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Askers> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one soon. Where half of them wait for a slow disk there is none
    /// for another.
    fn enter(&self) -> Option<Place<'_>> {
        let until = Instant::now() + SOON;
        let mut now = self.lock();
        loop {
            if now.long * 2 >= self.max {
                return None;
            }
            if now.all < self.max {
                now.all += 1;
                return Some(Place {
                    of: self,
                    long: false,
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            now = self
                .left
                .wait_timeout(now, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Place<'_> {
    fn takes_long(&mut self) {
        self.long = true;
        self.of.lock().long += 1;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut now = self.of.lock();
        now.all = now.all.saturating_sub(1);
        now.long = now.long.saturating_sub(usize::from(self.long));
        drop(now);
        self.of.left.notify_one();
    }
}

/// The desk of one listener.
pub struct Desk {
    router: Arc<Router>,
    waiting: Waiting,
    published: Arc<Overview>,
    readers: Readers,
}

impl Desk {
    /// A desk in front of the loops that `router` knows, reading the database at `path`. Of
    /// the `workers` of its listener some never wait for the core.
    #[must_use]
    pub fn new(router: Arc<Router>, published: Arc<Overview>, path: &Path, workers: usize) -> Desk {
        Desk {
            router,
            waiting: Waiting {
                now: Mutex::default(),
                left: Condvar::new(),
                max: (workers * 3 / 4).max(1),
            },
            readers: Readers::new(path, published.clone()),
            published,
        }
    }
}

impl Port for Desk {
    fn ask(&self, request: CallerRequest) -> Answer {
        let busy = |detail: &str| Answer::Busy {
            retry_after: COME_BACK,
            detail: detail.into(),
        };
        let Some(mut place) = self.waiting.enter() else {
            return busy("as many requests as may wait for the store");
        };
        let routed = match self.router.route(&request) {
            Ok(routed) => routed,
            Err(why) => return busy(&why),
        };
        let (reply, answer) = bounded(1);
        let claim = Claim::default();
        let asked = Event::Caller {
            request,
            claim: claim.clone(),
            reply,
        };
        let began = Instant::now();
        match routed.events().try_send(asked) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return busy("too many requests are waiting"),
            Err(TrySendError::Disconnected(_)) => return busy("the gateway is stopping"),
        }
        if let Ok(answer) = answer.recv_timeout(SOON) {
            return answer;
        }
        place.takes_long();
        // Once the loop has it, the core withdraws it, or tells the outcome, or that there is
        // none yet.
        if let Ok(answer) = answer.recv_deadline(began + CALLER_TURN_MAX) {
            return answer;
        }
        if claim.first() {
            return busy("the request has not had its turn in time");
        }
        let answer = answer.recv_deadline(began + CALLER_OUTCOME_MAX);
        let answer = answer.unwrap_or(Answer::Unknown);
        if answer == Answer::Unknown {
            routed.untold();
        }
        answer
    }

    fn interaction(&self, id: ConversationId) -> Result<Option<InteractionView>, String> {
        let Some(stored) = self.readers.read(|r| r.interaction(id))? else {
            return Ok(None);
        };
        Ok(Some(InteractionView {
            conversation: id,
            state: stored.row.state.label().into(),
            accepted_at: stored.row.accepted_at,
            watched_since: stored.row.watched_since,
            finished_at: stored.row.ended_at,
            reason: stored.row.reason.map(|r| (r.code, r.detail)),
            members: stored.members,
            records: stored.records.iter().map(|row| view(row, None)).collect(),
        }))
    }

    fn record(&self, id: RecordId) -> Result<Option<RecordView>, String> {
        Ok(self
            .readers
            .read(|r| r.record(id))?
            .map(|stored| view(&stored.row, stored.body)))
    }

    fn records(&self, state: Option<&str>, limit: usize) -> Result<Vec<RecordView>, String> {
        let state = state
            .map(|s| RecordState::parse(s).ok_or_else(|| format!("no such state: {s}")))
            .transpose()?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let rows = self.readers.read(|r| r.records(state, limit))?;
        Ok(rows.iter().map(|row| view(row, None)).collect())
    }

    fn health(&self) -> Health {
        let reasons = self.published.health();
        Health {
            ok: reasons.is_empty(),
            reasons,
        }
    }

    fn ready(&self) -> Health {
        let reasons = self.published.readiness();
        Health {
            ok: reasons.is_empty(),
            reasons,
        }
    }

    fn metrics(&self) -> String {
        status::metrics::render(&self.published.snapshot())
    }

    fn status_json(&self) -> String {
        status::json::render(&self.published.snapshot())
    }
}

fn view(row: &RecordRow, body: Option<String>) -> RecordView {
    RecordView {
        record: row.record,
        kind: row.kind.label().into(),
        conversation: row.conversation,
        source: row.source.label().into(),
        event_time: row.event_time,
        received_at: row.received_at,
        state: row.state.label().into(),
        attempts: row.attempts,
        delivered_at: row.delivered_at,
        last_error: row.last_error.clone(),
        next_try: row.next_try,
        body,
    }
}
