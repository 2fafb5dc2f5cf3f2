//! The store: what the core orders, durable in one SQLite file.
//!
//! ```text
//!   StoreOrder ──► Store::execute ──► one transaction, synced ──► StoreFact
//!                  (store thread)
//!   forwarders ──► Recent (what was committed a moment ago), else Reader
//!   callers ──► Reader (own read-only connection per thread)
//!   command line        ──► inspect (works beside the daemon, or without it)
//! ```
//!
//! Settings: write-ahead log, `synchronous=FULL` (anything less loses
//! acknowledged rows at power loss), `secure_delete`, incremental vacuum,
//! STRICT tables, mode 0600, and a lock of our own beside the file.
//!
//! There is no reserve file for a full disk. What would eat the disk would eat
//! the freed reserve as well; instead free pages and the log stay inside the
//! store's own files, where nobody can take them, and the connection goes on
//! by itself when there is space.
//!
//! Invariants: only the store thread holds the writing connection; a
//! [`StoreFact::Committed`] is sent after
//! the sync and never before it, and only while the names of the files lead to them;
//! a damaged file is set aside, never written to.

mod columns;
mod commit;
mod error;
mod files;
pub mod inspect;
mod load;
mod lock;
mod members;
mod moved;
#[cfg(feature = "windows")]
mod odd;
mod open;
mod pages;
mod reader;
mod recent;
mod salvage;
mod schema;
pub mod shards;
pub mod thread;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use base::ids::ConversationId;
use base::rows::{Found, Lookup, Recovered, StoreFact, StoreOrder, StoreTrouble};
use base::time::Wall;

pub use commit::CommitOf;
pub use error::StoreError;
pub use members::{MEMBERS_BYTES_MAX, NotMerged, merge};
#[cfg(feature = "windows")]
pub use odd::odd_rows;
pub use reader::{Reader, StoredInteraction, StoredRecord};
pub use recent::Recent;
pub use salvage::{Salvaged, acknowledge};

use commit::changed;
use error::trouble_of;
use lock::Lock;
use moved::Bearings;
use open::Looked;
use shards::{Claim, MAIN, Settled};
use writer::Batch;

/// What [`Store::open`] needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// The wall clock: names a damaged file, and goes into the start row.
    pub now: Wall,
}

/// Pages that one step of shrinking frees: a few milliseconds of the store thread.
const VACUUM_STEP_PAGES: i64 = 256;

/// How old the known size of the log may be while orders come.
const LOG_LOOK: Duration = Duration::from_millis(250);

/// A log that a reader holds is tried again after this.
const CUT_AGAIN: Duration = Duration::from_secs(1);

/// The write-ahead log as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// Its size.
    pub bytes: u64,
    /// It is large, and cannot be cut because somebody reads an old state of the database.
    pub held: bool,
}

/// The writing connection, and the lock that goes with it. One per database and process.
#[derive(Debug)]
pub struct Store {
    // Before the lock: the connection is closed while nobody else may open the file.
    conn: Connection,
    path: PathBuf,
    bearings: Bearings,
    /// Where the content was put after the file had been taken away: this connection is of
    /// no more use.
    put_back: Option<PathBuf>,
    /// Number of the last commit.
    rev: i64,
    recent: Recent,
    /// The size of the write-ahead log, and when it was looked at.
    log_looked: Option<(u64, Instant)>,
    /// Erased content is still in the write-ahead log.
    log_holds_erased: bool,
    /// When a reader was last found in the way of cutting a log that is large.
    log_held: Option<Instant>,
    salvaged: Option<Salvaged>,
    /// The damaged file that was set aside and that nobody has acknowledged.
    aside: Option<PathBuf>,
    _lock: Lock,
}

impl Store {
    /// Takes the lock, opens or makes the database, and reads what is not over.
    ///
    /// A damaged file is kept beside under a dated name, and every readable row is carried
    /// over into a new one; [`Recovered::damaged`] names it until [`Store::acknowledge`].
    ///
    /// # Errors
    /// See [`StoreError`]; damage is one only when not even the new file could be made.
    pub fn open(path: &Path, options: OpenOptions) -> Result<(Store, Recovered), StoreError> {
        let (store, mut recovered) = Store::open_shards(path, options, &[Claim::alone()])?;
        Ok((store, recovered.pop().unwrap_or_default()))
    }

    /// As [`Store::open`] for several shards: what each of them starts from, in their order.
    /// Rows of shards that are configured no more are given to those that are.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Renamed`] if a shard has another name now.
    pub fn open_shards(
        path: &Path,
        options: OpenOptions,
        claims: &[Claim],
    ) -> Result<(Store, Vec<Recovered>), StoreError> {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
        let path = open::resolve(path)?;
        let lock = Lock::take(&path)?;
        salvage::finish_interrupted(&path)?;
        let mut salvaged = None;
        let (conn, rev, mut recovered) = loop {
            let finding = match open::look(&path)? {
                Looked::Sound(conn) => match load::read_back(&conn, &names) {
                    Ok((rev, recovered)) => break (conn, rev, recovered),
                    Err(e) if trouble_of(&e) == StoreTrouble::Damaged => e.to_string(),
                    Err(e) => return Err(open::sql_error(&path, "reading what is not over", &e)),
                },
                Looked::Damaged(finding) => finding,
            };
            if salvaged.is_some() {
                return Err(StoreError::BeyondHelp {
                    path,
                    cause: format!("the new file is damaged at once: {finding}"),
                });
            }
            salvaged = Some(salvage::carry_over(&path, &finding, options.now)?);
        };
        open::trust(&conn).map_err(|e| open::sql_error(&path, "setting it up", &e))?;
        let bearings =
            Bearings::take(&path).map_err(|e| open::io_error(&path, "finding its files", &e))?;
        let mut store = Store {
            conn,
            path: path.clone(),
            bearings,
            put_back: None,
            rev,
            recent: Recent::default(),
            log_looked: None,
            log_holds_erased: false,
            log_held: None,
            salvaged,
            aside: recovered
                .first()
                .and_then(|main| main.damaged.as_ref())
                .map(PathBuf::from),
            _lock: lock,
        };
        let seen_to = store.acknowledge_if_gone();
        if store.settle(claims, options.now)? {
            recovered = load::recovered(&store.conn, &names)
                .map_err(|e| open::sql_error(&path, "reading what was given to others", &e))?;
        }
        if seen_to {
            for one in &mut recovered {
                one.damaged = None;
            }
        }
        match store.started(options.now) {
            Ok(()) => {}
            // Reading and answering still work, and space may come back.
            Err(e) if trouble_of(&e) == StoreTrouble::Full => {
                log::error!("{} ({})", StoreTrouble::Full.sentence(), path.display());
            }
            Err(e) => return Err(open::sql_error(&path, "writing the start row", &e)),
        }
        files::close_to_others(&path).map_err(|e| open::io_error(&path, "setting its mode", &e))?;
        Ok((store, recovered))
    }

    /// Whether rows changed hands, because shards are configured no more.
    fn settle(&mut self, claims: &[Claim], now: Wall) -> Result<bool, StoreError> {
        let notes_lost = self.salvaged.is_some();
        let agree = shards::agree(&self.conn, claims)
            .map_err(|e| open::sql_error(&self.path, "reading its shards", &e))?;
        // As long as nothing is to be written, a full disk keeps nobody from starting.
        if agree && !notes_lost {
            return Ok(false);
        }
        match self.transact(now, |batch| shards::settle(batch, claims, notes_lost)) {
            Ok(Settled::AsBefore) => Ok(false),
            Ok(Settled::Moved) => Ok(true),
            Ok(Settled::Renamed { was, is }) => Err(StoreError::Renamed { was, is }),
            Err(e) => Err(open::sql_error(&self.path, "sharing it out", &e)),
        }
    }

    /// Where the database is, links resolved: what readers should open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was committed a moment ago.
    #[must_use]
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// What was carried over at this start, if the file was damaged.
    #[must_use]
    pub fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_ref()
    }

    /// Forgets that a damaged file was set aside: somebody has seen to it.
    ///
    /// # Errors
    /// [`StoreError::Trouble`] if that could not be written.
    pub fn acknowledge(&mut self) -> Result<(), StoreError> {
        salvage::acknowledge_in(&self.conn)
            .map_err(|e| open::sql_error(&self.path, "acknowledging", &e))?;
        self.aside = None;
        Ok(())
    }

    /// Whether a damaged file was set aside and not acknowledged yet.
    #[must_use]
    pub fn unacknowledged(&self) -> bool {
        self.aside.is_some()
    }

    /// Acknowledges if the damaged file is no longer where it was put: whoever took it away
    /// has seen it. True if that has just happened.
    pub fn acknowledge_if_gone(&mut self) -> bool {
        let gone = self
            .aside
            .as_ref()
            // Not being allowed to look is no sign that it is gone.
            .is_some_and(|kept| matches!(kept.try_exists(), Ok(false)));
        gone && self.acknowledge().is_ok()
    }

    /// Closes a database that turned out to be damaged, without another write: it is the
    /// evidence, and what the next start carries over. One that was moved is closed so as
    /// well: at its names there are other files by now.
    pub fn abandon(self) {
        // Nothing can be done about an error on the way out.
        let _ = open::distrust(&self.conn);
        drop(self);
    }

    /// Whether the files were removed or replaced since they were opened: nothing more is
    /// committed, since it would be gone with this process.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.bearings.lost(&self.path)
    }

    /// Copies what was committed to where the next start looks for it, or beside that under a
    /// dated name where another file has the place; says where. Done once.
    ///
    /// # Errors
    /// What kept it from being done; nothing is lost by it while the process lives.
    pub fn put_back(&mut self, now: Wall) -> Result<&Path, StoreError> {
        let at = match self.put_back.take() {
            Some(at) => at,
            None => moved::put_back(&self.conn, &self.path, &self.bearings, now)?,
        };
        Ok(self.put_back.insert(at))
    }

    /// Executes one order and reports; `now` becomes the heartbeat.
    ///
    /// A commit is one transaction. When the environment fails, nothing of it is kept.
    /// Changes that the schema refuses are left out and named, the others stand. Taking a
    /// record that is there already (same origin: kind, conversation, leg, ordinal, digest,
    /// time of receipt) is done before: nothing is overwritten, and nothing refused.
    pub fn execute(&mut self, order: StoreOrder, now: Wall) -> StoreFact {
        self.execute_for(MAIN, order, now)
    }

    /// The same for a shard.
    pub fn execute_for(&mut self, shard: &str, order: StoreOrder, now: Wall) -> StoreFact {
        match order {
            StoreOrder::Commit { ticket, changes } => {
                let one = CommitOf {
                    shard,
                    ticket,
                    changes: &changes,
                };
                let mut facts = self.commit(&[one], now);
                facts.pop().unwrap_or(StoreFact::CommitFailed {
                    ticket,
                    trouble: StoreTrouble::Bug,
                })
            }
            StoreOrder::Lookup { ticket, what } => match self.look_up(&what, shard) {
                Ok(found) => StoreFact::Looked { ticket, found },
                Err(e) => StoreFact::LookupFailed {
                    ticket,
                    trouble: self.note_trouble("a lookup", &e),
                },
            },
            StoreOrder::Channels { ticket, rows } => {
                match self.transact(now, |batch| batch.of(shard).channels(&rows)) {
                    Ok(()) => {
                        // The replaced connect URIs are secrets.
                        self.log_holds_erased = true;
                        StoreFact::ChannelsKept { ticket }
                    }
                    Err(e) => StoreFact::ChannelsFailed {
                        ticket,
                        trouble: self.note_trouble("keeping channels", &e),
                    },
                }
            }
        }
    }

    /// Writes the heartbeat alone, for times without commits.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn alive(&mut self, now: Wall) -> Result<(), StoreTrouble> {
        self.transact(now, |_| Ok(())).map_err(|e| self.trouble(&e))
    }

    /// One small step of housekeeping: gives free pages back to the file system, then cuts
    /// the write-ahead log if erased content is still in it. Says whether another step is
    /// worth while now.
    ///
    /// # Errors
    /// What kept it from being done; nothing is lost by it, ask again later.
    pub fn upkeep(&mut self) -> Result<bool, StoreTrouble> {
        self.upkeep_step().map_err(|e| self.trouble(&e))
    }

    /// Whether erased content still waits to be cut out of the write-ahead log: a reader was in
    /// the way of [`Store::upkeep`].
    #[must_use]
    pub fn upkeep_due(&self) -> bool {
        self.log_holds_erased || self.log_is_large()
    }

    /// How large the write-ahead log is, and whether somebody who reads keeps it from being cut.
    #[must_use]
    pub fn log(&self) -> Log {
        Log {
            bytes: self.log_bytes(),
            held: self.log_held.is_some(),
        }
    }

    fn log_bytes(&self) -> u64 {
        self.log_looked.map_or(0, |(bytes, _)| bytes)
    }

    fn look_at_log(&mut self) {
        // What cannot be looked at is not known to be large.
        let bytes = files::size_of(&files::wal_of(&self.path)).unwrap_or(0);
        self.log_looked = Some((bytes, Instant::now()));
    }

    /// While orders come one after the other, the log is looked at now and then only.
    fn look_at_log_sometimes(&mut self) {
        let fresh = |(_, at): (u64, Instant)| at.elapsed() < LOG_LOOK;
        if !self.log_looked.is_some_and(fresh) {
            self.look_at_log();
        }
    }

    fn log_is_large(&self) -> bool {
        self.log_bytes() > schema::WAL_BYTES_LARGE
    }

    /// Checkpoints and closes; the lock is free afterwards.
    ///
    /// # Errors
    /// What kept the checkpoint from being done; the log is then read at the next start.
    pub fn close(mut self, now: Wall) -> Result<(), StoreTrouble> {
        let beaten = self.alive(now);
        let checkpointed = self.cut_log().map_err(|e| trouble_of(&e));
        self.conn
            .close()
            .map_err(|(_, e)| trouble_of(&e))
            .and(beaten)
            .and(checkpointed.map(|_| ()))
    }

    /// Gives the live conversations of a shard to others that have so many places; who got
    /// which. One transaction; what finds no room stays where it is, and its records do.
    ///
    /// # Errors
    /// What kept it from being done; nothing has changed hands then.
    pub fn give_away(
        &mut self,
        from: &str,
        to: &[(String, u64)],
        now: Wall,
    ) -> Result<Vec<(ConversationId, String)>, StoreTrouble> {
        self.transact(now, |batch| shards::give_away(batch, from, to))
            .map_err(|e| self.note_trouble("giving conversations away", &e))
    }

    /// Commits of several shards in one transaction; a fact for each, in their order.
    pub fn commit(&mut self, all: &[CommitOf<'_>], now: Wall) -> Vec<StoreFact> {
        let outcome = self.transact(now, |batch| {
            let each = |of: &CommitOf<'_>| changed(&batch.of(of.shard), of.changes);
            all.iter().map(each).collect::<rusqlite::Result<Vec<_>>>()
        });
        match outcome {
            Ok(outcomes) => all
                .iter()
                .zip(outcomes)
                .map(|(of, outcome)| {
                    self.recent.committed(of.changes, outcome.taken);
                    for (position, why) in &outcome.refused {
                        log::error!("the database refused change {position} of a commit: {why}");
                    }
                    self.log_holds_erased |= outcome.maintained.rows > 0;
                    StoreFact::Committed {
                        ticket: of.ticket,
                        refused: outcome.refused.into_iter().map(|(p, _)| p).collect(),
                        outgrown: outcome.outgrown,
                        erased: outcome.maintained.rows,
                        purged_interactions: outcome.maintained.interactions,
                        purged_records: outcome.maintained.records,
                    }
                })
                .collect(),
            Err(e) => {
                let trouble = self.note_trouble("a commit", &e);
                let failed = |of: &CommitOf<'_>| StoreFact::CommitFailed {
                    ticket: of.ticket,
                    trouble,
                };
                all.iter().map(failed).collect()
            }
        }
    }

    fn look_up(&mut self, what: &[Lookup], shard: &str) -> rusqlite::Result<Vec<Found>> {
        let tx = self.conn.transaction()?;
        what.iter()
            .map(|question| load::answer(&tx, question, shard))
            .collect()
    }

    fn started(&mut self, now: Wall) -> rusqlite::Result<()> {
        self.transact(now, |batch| {
            batch.pulse()?;
            batch.conn.execute(
                "UPDATE pulse SET started_at = ?1 WHERE id = 1",
                [columns::Col(now)],
            )?;
            Ok(())
        })
    }

    /// Runs `work` and the heartbeat in one transaction. On a full disk a checkpoint may free
    /// room in the log, whose pages have their place in the file already; then once more.
    fn transact<T>(
        &mut self,
        now: Wall,
        work: impl Fn(&Batch<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let done = match self.attempt(now, &work) {
            Err(e) if trouble_of(&e) == StoreTrouble::Full => {
                self.checkpoint("PASSIVE")?;
                self.attempt(now, &work)
            }
            other => other,
        };
        self.look_at_log_sometimes();
        done
    }

    fn attempt<T>(
        &mut self,
        now: Wall,
        work: impl Fn(&Batch<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if self.moved() {
            return Err(moved::error());
        }
        let rev = self.rev.saturating_add(1);
        // Dropped without a commit, the transaction is rolled back.
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let batch = Batch {
            conn: &tx,
            now,
            rev,
            shard: MAIN,
        };
        let result = work(&batch)?;
        batch.pulse()?;
        tx.commit()?;
        self.rev = rev;
        Ok(result)
    }

    fn upkeep_step(&mut self) -> rusqlite::Result<bool> {
        self.look_at_log();
        let free = schema::integer(&self.conn, "freelist_count")?;
        let surplus = free - schema::FREE_PAGES_KEPT;
        // A few pages come and go all the time; only a backlog is worth the writing.
        if surplus >= VACUUM_STEP_PAGES {
            let mut vacuum = self
                .conn
                .prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})"))?;
            // Each row that is stepped over frees one page.
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            self.log_holds_erased = true;
            // Without progress (a file that somebody rewrote without the setting) there is no end.
            return Ok(schema::integer(&self.conn, "freelist_count")? < free);
        }
        let large = self.log_is_large();
        // Each try writes back what can be: not with every order.
        let due = self.log_held.is_none_or(|at| at.elapsed() >= CUT_AGAIN);
        if self.log_holds_erased || large && due {
            let cut = self.cut_log()?;
            self.look_at_log();
            if cut {
                self.log_holds_erased = false;
                self.log_held = None;
            } else if large {
                self.log_held = Some(Instant::now());
            }
        }
        if !large {
            self.log_held = None;
        }
        Ok(false)
    }

    /// Writes the whole log back and cuts it to nothing; false if a reader was in the way.
    fn cut_log(&mut self) -> rusqlite::Result<bool> {
        // Not worth holding up commits for: it comes round again.
        self.conn.busy_timeout(Duration::ZERO)?;
        let done = self.checkpoint("TRUNCATE");
        self.conn.busy_timeout(schema::BUSY_TIMEOUT)?;
        done
    }

    fn checkpoint(&self, mode: &str) -> rusqlite::Result<bool> {
        self.conn
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok(row.get::<_, i64>(0)? == 0)
            })
    }

    fn trouble(&self, error: &rusqlite::Error) -> StoreTrouble {
        match trouble_of(error) {
            StoreTrouble::Io => files::why_not_written(&self.path).unwrap_or(StoreTrouble::Io),
            trouble => trouble,
        }
    }

    fn note_trouble(&self, doing: &str, error: &rusqlite::Error) -> StoreTrouble {
        let trouble = self.trouble(error);
        // The core tells people; this is for whoever looks for the system's own words.
        log::debug!("{doing} failed ({}): {error}", trouble.label());
        trouble
    }
}
