//! The store thread: orders in, facts out, until the queue is disconnected.
//!
//! It has no opinions: what to commit, and when to try again, is the core's.
//! Invariant: every order gets exactly one fact, those of each shard in the order of arrival.
//! Commits of several shards that wait together are one transaction.

use std::collections::VecDeque;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::shards::MAIN;
use super::{CommitOf, Log, Store};
use base::ids::ConversationId;
use base::rows::{Change, StoreFact, StoreOrder, StoreTrouble};
use base::time::Wall;

/// Without commits the heartbeat is written this often: how exactly a restart
/// knows when the gateway was last running.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// A heartbeat that failed is written again after this, so that the end of the trouble is
/// known soon.
const HEARTBEAT_AGAIN: Duration = Duration::from_secs(5);

/// A checkpoint that a reader held up is tried again after this.
const UPKEEP_AGAIN: Duration = Duration::from_secs(2);

/// After orders, housekeeping is looked at this often, unless something is known to be due: a
/// step of it costs as many calls of the system as a look-up.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// Whether a damaged file that was set aside is still there is looked at this often, while
/// there is one: one call of the system.
const ASIDE_LOOK: Duration = Duration::from_secs(2);

/// What the thread finds out by itself, beside the facts that answer orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aside {
    /// A heartbeat went well, or not; said when that changes.
    Pulse(Result<(), StoreTrouble>),
    /// The damaged file that was set aside is gone: somebody has seen to it.
    Acknowledged,
    /// The write-ahead log has another size, or is held, or not any more.
    Log(Log),
    /// The file was taken away, and at the end of the run its content is being put back.
    PuttingBack,
    /// The file was taken away, and its content is back: a new start goes on with it.
    PutBack,
}

/// What the thread is asked.
pub enum Ask {
    /// A shard's order, by its place among the names.
    Order(usize, StoreOrder),
    /// [`Store::give_away`] the conversations of one shard.
    GiveAway {
        /// Whose.
        from: usize,
        /// To whom, and how many each has room for.
        to: Vec<(usize, u64)>,
        /// Who got which; it has room for the one answer.
        reply: Sender<Given>,
    },
}

/// Which conversation has which shard now; nothing has changed hands where that failed.
pub type Given = Result<Vec<(ConversationId, usize)>, StoreTrouble>;

impl From<StoreOrder> for Ask {
    fn from(order: StoreOrder) -> Ask {
        Ask::Order(0, order)
    }
}

/// Starts the thread. It ends when every sender of `orders` is gone and the
/// queue is empty; then the log is checkpointed and the lock is free.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(
    store: Store,
    orders: Receiver<StoreOrder>,
    facts: impl Fn(StoreFact) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    spawn_telling(store, orders, facts, |_| {})
}

/// As [`spawn`]; what it finds out between orders goes to `asides`, which must not block.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_telling(
    store: Store,
    orders: Receiver<StoreOrder>,
    facts: impl Fn(StoreFact) + Send + 'static,
    asides: impl Fn(Aside) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let names = vec![MAIN.to_owned()];
    spawn_shards(store, names, orders, move |_, fact| facts(fact), asides)
}

/// As [`spawn_telling`] for several shards: facts come with the place of their shard among
/// `names`.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_shards<O: Into<Ask> + Send + 'static>(
    store: Store,
    names: Vec<String>,
    orders: Receiver<O>,
    facts: impl Fn(usize, StoreFact) + Send + 'static,
    asides: impl Fn(Aside) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name("store".into()).spawn(move || {
        Body {
            store,
            names,
            waiting: VecDeque::new(),
            facts,
            asides,
            beaten: Instant::now(),
            looked: Instant::now(),
            upkept: None,
            ordered: false,
            pulse: Ok(()),
            damaged: false,
            log: Log::default(),
            rescue: Rescue::Idle,
        }
        .run(&orders);
    })
}

struct Body<F, A> {
    store: Store,
    /// Of the shards.
    names: Vec<String>,
    /// Taken from the queue, in the order of arrival; empty where there is one shard.
    waiting: VecDeque<Ask>,
    facts: F,
    asides: A,
    /// When something was last written, or tried to be.
    beaten: Instant,
    /// When the damaged file was last looked for.
    looked: Instant,
    /// When housekeeping was last looked at.
    upkept: Option<Instant>,
    /// Something was ordered since.
    ordered: bool,
    pulse: Result<(), StoreTrouble>,
    damaged: bool,
    /// As it was last told.
    log: Log,
    rescue: Rescue,
}

/// How far putting back a file that was taken away is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rescue {
    Idle,
    Failed(Instant),
    Done,
}

impl<F: Fn(usize, StoreFact), A: Fn(Aside)> Body<F, A> {
    fn run<O: Into<Ask>>(mut self, orders: &Receiver<O>) {
        loop {
            self.look_aside();
            self.rescue();
            let next = match self.waiting.pop_front() {
                Some(ask) => Ok(ask),
                None => orders.try_recv().map(Into::into),
            };
            let ask = match next {
                Ok(ask) => ask,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Housekeeping only while nobody waits, a small step at a time.
                    let rests = self.upkept.is_some_and(|at| at.elapsed() < UPKEEP_EVERY);
                    if !rests || self.store.upkeep_due() {
                        let upkeep = self.store.upkeep();
                        if upkeep == Ok(true) {
                            self.upkept = None;
                            continue;
                        }
                        if upkeep == Err(StoreTrouble::Damaged) {
                            self.felt(Err(StoreTrouble::Damaged));
                        }
                        self.upkept = Some(Instant::now());
                        self.ordered = false;
                    }
                    self.beat();
                    self.tell_log();
                    match orders.recv_timeout(self.patience()) {
                        Ok(order) => order.into(),
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            if self.names.len() > 1 {
                self.waiting.extend(orders.try_iter().map(Into::into));
            }
            self.ordered = true;
            let (writes, felt) = self.obey(ask);
            self.tell_log();
            if writes {
                self.beaten = Instant::now();
            }
            // A look-up that went well proves nothing about writing.
            if writes || felt == Err(StoreTrouble::Damaged) {
                self.felt(felt);
            }
        }
        self.close();
    }

    /// Whether it was to write, and what that came to.
    fn obey(&mut self, ask: Ask) -> (bool, Result<(), StoreTrouble>) {
        match ask {
            Ask::Order(shard, StoreOrder::Commit { ticket, changes }) => {
                let mut together = vec![(shard, ticket, changes)];
                self.gather(&mut together);
                let commits: Vec<CommitOf<'_>> = together
                    .iter()
                    .map(|(shard, ticket, changes)| CommitOf {
                        shard: name(&self.names, *shard),
                        ticket: *ticket,
                        changes,
                    })
                    .collect();
                let facts = self.store.commit(&commits, wall_now());
                let felt = facts.first().map_or(Ok(()), felt);
                for ((shard, ..), fact) in together.iter().zip(facts) {
                    (self.facts)(*shard, fact);
                }
                (true, felt)
            }
            Ask::Order(shard, order) => {
                let writes = !matches!(order, StoreOrder::Lookup { .. });
                let name = name(&self.names, shard);
                let fact = self.store.execute_for(name, order, wall_now());
                let felt = felt(&fact);
                (self.facts)(shard, fact);
                (writes, felt)
            }
            Ask::GiveAway { from, to, reply } => {
                let to: Vec<(String, u64)> = to
                    .into_iter()
                    .map(|(shard, places)| (name(&self.names, shard).to_owned(), places))
                    .collect();
                let from = name(&self.names, from);
                let given = self.store.give_away(from, &to, wall_now());
                let felt = given.as_ref().map(|_| ()).map_err(|trouble| *trouble);
                let place = |name: &String| self.names.iter().position(|n| n == name);
                let given = given.map(|given| {
                    let placed = |(id, to): (_, String)| Some((id, place(&to)?));
                    given.into_iter().filter_map(placed).collect()
                });
                // Whoever asked may have given up waiting; the next start finds it done.
                let _ = reply.try_send(given);
                (true, felt)
            }
        }
    }

    /// The commits of other shards that wait, each only if nothing that its shard ordered
    /// before it waits as well.
    fn gather(&mut self, together: &mut Vec<(usize, u64, Vec<Change>)>) {
        let mut before: Vec<usize> = Vec::new();
        for ask in std::mem::take(&mut self.waiting) {
            match ask {
                Ask::Order(shard, StoreOrder::Commit { ticket, changes })
                    if !before.contains(&shard) =>
                {
                    together.push((shard, ticket, changes));
                }
                // It moves rows of several: what comes later sees them moved.
                Ask::GiveAway { .. } => {
                    before.extend(0..self.names.len());
                    self.waiting.push_back(ask);
                }
                Ask::Order(shard, _) => {
                    before.push(shard);
                    self.waiting.push_back(ask);
                }
            }
        }
    }

    /// Writes the heartbeat if nothing else was written for so long.
    fn beat(&mut self) {
        let every = match self.pulse {
            Ok(()) => HEARTBEAT,
            Err(_) => HEARTBEAT_AGAIN,
        };
        if !self.damaged && self.beaten.elapsed() >= every {
            self.beaten = Instant::now();
            let beaten = self.store.alive(wall_now());
            // What fails in orders, the core tells people; this fails while nothing is ordered.
            match (self.pulse, beaten) {
                (Ok(()), Err(trouble)) => {
                    log::error!(
                        "store-trouble: nothing can be committed: {}",
                        trouble.sentence()
                    );
                }
                (Err(_), Ok(())) => log::debug!("the heartbeat is written again"),
                _ => {}
            }
            self.felt(beaten);
        }
    }

    fn felt(&mut self, pulse: Result<(), StoreTrouble>) {
        self.damaged |= pulse == Err(StoreTrouble::Damaged);
        if pulse != self.pulse {
            self.pulse = pulse;
            (self.asides)(Aside::Pulse(pulse));
        }
    }

    fn tell_log(&mut self) {
        let log = self.store.log();
        if log == self.log {
            return;
        }
        if log.held && !self.log.held {
            log::warn!(
                "store-log: the write-ahead log has {} MB and cannot be cut, because another \
                 program holds a read transaction open on the database",
                log.bytes / 1_000_000
            );
        } else if self.log.held && !log.held {
            log::info!("store-log: the write-ahead log has been cut");
        }
        self.log = log;
        (self.asides)(Aside::Log(log));
    }

    fn look_aside(&mut self) {
        if self.store.unacknowledged() && self.looked.elapsed() >= ASIDE_LOOK {
            self.looked = Instant::now();
            if self.store.acknowledge_if_gone() {
                (self.asides)(Aside::Acknowledged);
            }
        }
    }

    /// Puts a file back that was taken away; again after a while if that fails.
    fn rescue(&mut self) {
        let due = match self.rescue {
            Rescue::Idle => true,
            Rescue::Failed(at) => at.elapsed() >= HEARTBEAT_AGAIN,
            Rescue::Done => false,
        };
        if self.pulse != Err(StoreTrouble::Moved) || !due {
            return;
        }
        match self.store.put_back(wall_now()) {
            Ok(at) => {
                log::error!(
                    "store-moved: the database file was removed or replaced under the running \
                     gateway; everything that was in it is now in {}",
                    at.display()
                );
                self.rescue = Rescue::Done;
                (self.asides)(Aside::PutBack);
            }
            Err(e) => {
                if self.rescue == Rescue::Idle {
                    log::error!(
                        "store-moved: the database file was removed or replaced under the \
                         running gateway, and what was in it cannot be put back yet; do not end \
                         the gateway before it is: {e}"
                    );
                }
                self.rescue = Rescue::Failed(Instant::now());
            }
        }
    }

    fn patience(&self) -> Duration {
        let pulse = match self.pulse {
            Ok(()) => HEARTBEAT,
            Err(_) => HEARTBEAT_AGAIN,
        };
        let upkeep = if self.store.upkeep_due() {
            UPKEEP_AGAIN
        } else if self.ordered {
            UPKEEP_EVERY
        } else {
            HEARTBEAT
        };
        let aside = if self.store.unacknowledged() {
            ASIDE_LOOK
        } else {
            HEARTBEAT
        };
        pulse.min(upkeep).min(aside)
    }

    fn close(mut self) {
        if self.store.moved() && !self.damaged {
            // The last moment at which somebody still has the files open.
            self.pulse = Err(StoreTrouble::Moved);
            (self.asides)(Aside::PuttingBack);
            if self.rescue != Rescue::Done {
                self.rescue = Rescue::Idle;
            }
            self.rescue();
            self.store.abandon();
        } else if self.damaged {
            self.store.abandon();
        } else if let Err(trouble) = self.store.close(wall_now()) {
            log::warn!(
                "the database was closed without a checkpoint ({}); the next start reads its log",
                trouble.label()
            );
        }
    }
}

/// A place that is none would be a defect: what is nobody's is the first shard's.
fn name(names: &[String], place: usize) -> &str {
    names.get(place).map_or(MAIN, String::as_str)
}

fn felt(fact: &StoreFact) -> Result<(), StoreTrouble> {
    match fact {
        StoreFact::CommitFailed { trouble, .. }
        | StoreFact::ChannelsFailed { trouble, .. }
        | StoreFact::LookupFailed { trouble, .. } => Err(*trouble),
        _ => Ok(()),
    }
}

/// The store's heartbeat is the one thing here that needs a clock.
fn wall_now() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
