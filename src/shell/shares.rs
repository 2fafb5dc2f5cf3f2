//! Gives the conversations of a shard that is refused for good to others.
//!
//! ```text
//!   refused, no token ──► nothing about its conversations is let in, what is under way ends
//!     ──► one transaction: each has another shard ──► its own core is told to stop them
//!     ──► the other cores are told to start them: each is checked over REST
//! ```
//! The transaction is what counts: where the gateway ends at any later point, the next start
//! finds each conversation with its new shard. Records stay with the shard that took them, which
//! goes on filing.
//!
//! Invariant: nobody is told to start a conversation before the shard that had it has stopped,
//! so that all that was taken of it is in the store.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::main_loop::{Claim, Event};
use super::router::{Door, Router};
use base::ids::ConversationId;
use filing::{Answer, CallerRequest};
use store::thread::{Ask, Given};

/// How often the shards are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What was under way may take so long to end.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// The store may take so long to take the order.
const GIVEN_WITHIN: Duration = Duration::from_secs(60);

/// Requests that a core is asked at once.
const AT_ONCE: usize = 64;

/// And so long one of them may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(65);

/// A request that found no room is asked again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// Before a shard that could not give away what it has tries again.
const NEXT_TRY: Duration = Duration::from_secs(30);

/// The thread, where there is more than one shard.
pub(super) struct Shares {
    thread: JoinHandle<()>,
    stop: Sender<()>,
}

impl Shares {
    /// Starts it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(router: Arc<Router>, store: Sender<Ask>) -> io::Result<Shares> {
        let (stop, stopped) = bounded(1);
        let thread = Builder::new().name("shares".into()).spawn(move || {
            Body {
                tried: vec![None; router.doors().len()],
                router,
                store,
                stopped,
            }
            .run();
        })?;
        Ok(Shares { thread, stop })
    }

    /// Ends it: before the loops, because it asks them.
    pub(super) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// What came of waiting.
enum Waited<T> {
    Answer(T),
    /// Nobody answers any more, or the gateway stops.
    Over,
    Late,
}

struct Body {
    router: Arc<Router>,
    store: Sender<Ask>,
    stopped: Receiver<()>,
    /// When the conversations of each shard were last given away, or tried to be.
    tried: Vec<Option<Instant>>,
}

impl Body {
    fn run(mut self) {
        while !self.stops(LOOK) {
            for place in 0..self.tried.len() {
                let due = self.tried[place].is_none_or(|at| at.elapsed() >= NEXT_TRY);
                let Some(why) = self.gone(place).filter(|_| due) else {
                    continue;
                };
                self.tried[place] = Some(Instant::now());
                self.give_away(place, &why);
            }
        }
    }

    fn stops(&self, within: Duration) -> bool {
        let told = self.stopped.recv_timeout(within);
        !matches!(told, Err(RecvTimeoutError::Timeout))
    }

    /// Why a shard watches nothing any more, and will not by itself.
    fn gone(&self, place: usize) -> Option<String> {
        let door = &self.router.doors()[place];
        let room = door.published.room();
        if !room.token_held {
            return door.standing.no_token();
        }
        // A channel that is there serves on, whoever may make others.
        door.standing.no_channel().filter(|_| room.reach == 0)
    }

    fn give_away(&self, from: usize, why: &str) {
        let doors = self.router.doors();
        let room = |(place, door): (usize, &Door)| {
            let takes = place != from && door.serves();
            let free = u64::try_from(door.free()).unwrap_or(u64::MAX);
            (takes && free > 0).then_some((place, free))
        };
        let to: Vec<(usize, u64)> = doors.iter().enumerate().filter_map(room).collect();
        if to.is_empty() {
            return;
        }
        let door = &doors[from];
        door.close();
        let given = match self.quiet(door) {
            true => {
                self.router.freeze(true);
                self.given(from, to)
            }
            false => None,
        };
        let given = given.unwrap_or_default();
        self.router.moving(given.iter().map(|(id, _)| *id));
        self.router.freeze(false);
        door.open();
        if given.is_empty() {
            return;
        }
        log::warn!(
            "shard-refused: the platform refuses shard {} ({why}); its {} unfinished \
             conversations go on with others",
            door.name,
            given.len()
        );
        let stop = |(conversation, _): &(ConversationId, usize)| {
            let conversation = *conversation;
            (from, CallerRequest::Stop { conversation })
        };
        let stopped = self.ask_all(given.iter().map(stop).collect(), |_| {});
        door.published
            .given_away(u64::try_from(given.len()).unwrap_or(u64::MAX));
        let start = |(conversation, to): &(ConversationId, usize)| {
            let members = "{}".into();
            let conversation = *conversation;
            (
                *to,
                CallerRequest::Accept {
                    conversation,
                    members,
                },
            )
        };
        let started = stopped
            && self.ask_all(given.iter().map(start).collect(), |request| {
                if let CallerRequest::Accept { conversation, .. } = request {
                    self.router.moved(*conversation);
                }
            });
        if started {
            log::info!(
                "shard-refused: {} conversations of shard {} are with others, each owed a check",
                given.len(),
                door.name
            );
        }
        // Otherwise the gateway ends, and the next start goes on with them.
    }

    fn quiet(&self, door: &Door) -> bool {
        let until = Instant::now() + QUIET_WITHIN;
        while !door.quiet() {
            if Instant::now() >= until || self.stops(Duration::from_millis(20)) {
                return false;
            }
        }
        true
    }

    fn given(&self, from: usize, to: Vec<(usize, u64)>) -> Option<Vec<(ConversationId, usize)>> {
        let (reply, given): (Sender<Given>, _) = bounded(1);
        let ask = Ask::GiveAway { from, to, reply };
        self.store.send_timeout(ask, GIVEN_WITHIN).ok()?;
        // Once it has the order it will be carried out: what came of it must be known.
        loop {
            match self.wait(&given, GIVEN_WITHIN) {
                Waited::Answer(given) => return given.ok(),
                Waited::Over => return None,
                Waited::Late => {}
            }
        }
    }

    fn wait<T>(&self, answer: &Receiver<T>, within: Duration) -> Waited<T> {
        select! {
            recv(answer) -> answer => answer.map_or(Waited::Over, Waited::Answer),
            recv(self.stopped) -> _ => Waited::Over,
            default(within) => Waited::Late,
        }
    }

    /// Asks the loops, a few at a time, each until it has an answer; false if the gateway stops.
    fn ask_all(
        &self,
        requests: Vec<(usize, CallerRequest)>,
        mut done: impl FnMut(&CallerRequest),
    ) -> bool {
        let mut waiting: VecDeque<(usize, CallerRequest)> = requests.into();
        while !waiting.is_empty() {
            let n = waiting.len().min(AT_ONCE);
            let asked: Vec<_> = waiting
                .drain(..n)
                .map(|(place, request)| {
                    let (reply, answer) = bounded(1);
                    let event = Event::Caller {
                        request: request.clone(),
                        claim: Claim::default(),
                        reply,
                    };
                    let sent = self.router.doors()[place].events.try_send(event).is_ok();
                    (place, request, sent.then_some(answer))
                })
                .collect();
            let mut again = false;
            for (place, request, answer) in asked {
                let answer = answer.map(|a| self.wait(&a, ANSWERED_WITHIN));
                match answer {
                    Some(Waited::Answer(answer))
                        if !matches!(answer, Answer::Busy { .. } | Answer::Unknown) =>
                    {
                        done(&request);
                    }
                    // Whether it is done, the same request will tell.
                    _ => {
                        waiting.push_back((place, request));
                        again = true;
                    }
                }
            }
            let pause = if again { AGAIN } else { Duration::ZERO };
            if self.stops(pause) {
                return false;
            }
        }
        true
    }
}
