//! The board: which conversations have changed, for whoever waits for news of some.
//!
//! The loop's orders to the store say which conversations a transaction changes; once it is
//! committed they go up here, each under the next number. A [`Cursor`] is such a number, and says
//! how far somebody has read.
//!
//! Invariants: what is on the board can be read from the store; the board has a bound, beyond
//! which the oldest changes go, and a cursor older than those counts as none; who waits takes a
//! descriptor, and gives it back when it goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{EventfdFlags, eventfd};

use base::ids::ConversationId;
use base::rows::{Change, StoreFact, StoreOrder};

/// Conversations whose last change is remembered.
const REMEMBERED_MAX: usize = 32_768;

/// How far somebody has read, in this run of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor(u64);

#[derive(Default)]
struct Inner {
    /// The number of the last change.
    last: u64,
    /// Changes up to this one may be forgotten.
    forgotten: u64,
    of: HashMap<ConversationId, u64>,
    by_number: BTreeMap<u64, ConversationId>,
    /// What a transaction under way changes, by its shard's place and its ticket.
    ordered: BTreeMap<(usize, u64), BTreeSet<ConversationId>>,
    waiting: HashMap<ConversationId, BTreeMap<u64, Arc<OwnedFd>>>,
    next_waiting: u64,
}

/// See the [module](self).
pub struct Board {
    /// Tells this run from others.
    run: u64,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the board")
    }
}

impl Default for Board {
    fn default() -> Board {
        let mut run = [0; 8];
        // Without random bytes a cursor of another run could be taken for one of this.
        if SystemRandom::new().fill(&mut run).is_err() {
            run = u64::from(std::process::id()).to_le_bytes();
        }
        Board {
            run: u64::from_le_bytes(run),
            inner: Mutex::default(),
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An order goes to the store, from the shard with that place.
    pub fn ordered(&self, shard: usize, order: &StoreOrder) {
        let StoreOrder::Commit { ticket, changes } = order else {
            return;
        };
        let of = |change: &Change| match change {
            Change::Accept { row, .. } | Change::Interaction(row) => Some(row.conversation),
            Change::Take { row, .. } | Change::Record(row) => row.conversation,
            _ => None,
        };
        let changed: BTreeSet<_> = changes.iter().filter_map(of).collect();
        if !changed.is_empty() {
            self.lock().ordered.insert((shard, *ticket), changed);
        }
    }

    /// The store has answered an order.
    pub fn answered(&self, shard: usize, fact: &StoreFact) {
        match fact {
            StoreFact::Committed { ticket, .. } => {
                let changed = self.lock().ordered.remove(&(shard, *ticket));
                self.changed(changed.into_iter().flatten());
            }
            StoreFact::CommitFailed { ticket, .. } => {
                self.lock().ordered.remove(&(shard, *ticket));
            }
            _ => {}
        }
    }

    /// These have changed, and what they are now can be read.
    pub fn changed(&self, conversations: impl IntoIterator<Item = ConversationId>) {
        let mut inner = self.lock();
        let mut bells = BTreeMap::new();
        for conversation in conversations {
            inner.last += 1;
            let number = inner.last;
            if let Some(before) = inner.of.insert(conversation, number) {
                inner.by_number.remove(&before);
            }
            inner.by_number.insert(number, conversation);
            if let Some(waiting) = inner.waiting.get(&conversation) {
                bells.extend(waiting.iter().map(|(n, bell)| (*n, Arc::clone(bell))));
            }
            while inner.by_number.len() > REMEMBERED_MAX
                && let Some((oldest, of)) = inner.by_number.pop_first()
            {
                inner.of.remove(&of);
                inner.forgotten = oldest;
            }
        }
        drop(inner);
        for bell in bells.values() {
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    /// The place up to which whoever reads now has read.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor(self.lock().last)
    }

    /// A cursor as it is handed out.
    #[must_use]
    pub fn show(&self, cursor: Cursor) -> String {
        format!("{:016x}-{}", self.run, cursor.0)
    }

    /// A cursor that was handed out by this run and is not too old to go by.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Cursor> {
        let (run, number) = text.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let inner = self.lock();
        let ours = run == format!("{:016x}", self.run);
        (ours && (inner.forgotten..=inner.last).contains(&number)).then_some(Cursor(number))
    }

    /// Whether it has changed since.
    #[must_use]
    pub fn has_changed(&self, conversation: ConversationId, since: Cursor) -> bool {
        let inner = self.lock();
        let last = inner
            .of
            .get(&conversation)
            .copied()
            .unwrap_or(inner.forgotten);
        last > since.0
    }

    /// A bell that rings once one of these has changed; nothing if one has since.
    ///
    /// # Errors
    /// The environment: no descriptor.
    pub fn wait(
        self: &Arc<Board>,
        conversations: Vec<ConversationId>,
        since: Cursor,
    ) -> io::Result<Option<Waiting>> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut inner = self.lock();
        let changed =
            |c: &ConversationId| inner.of.get(c).copied().unwrap_or(inner.forgotten) > since.0;
        if conversations.iter().any(changed) {
            return Ok(None);
        }
        let number = inner.next_waiting;
        inner.next_waiting += 1;
        for conversation in &conversations {
            let waiting = inner.waiting.entry(*conversation).or_default();
            waiting.insert(number, Arc::clone(&bell));
        }
        drop(inner);
        Ok(Some(Waiting {
            board: Arc::clone(self),
            number,
            conversations,
            bell,
        }))
    }
}

/// Somebody who waits; dropping it is going away.
pub struct Waiting {
    board: Arc<Board>,
    number: u64,
    conversations: Vec<ConversationId>,
    bell: Arc<OwnedFd>,
}

impl Waiting {
    /// Readable once there is news.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.board.lock();
        for conversation in &self.conversations {
            if let Some(waiting) = inner.waiting.get_mut(conversation) {
                waiting.remove(&self.number);
                if waiting.is_empty() {
                    inner.waiting.remove(conversation);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn conversation(n: usize) -> ConversationId {
        format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
    }

    fn rings(waiting: &Waiting) -> bool {
        let mut bell = [PollFd::from_borrowed_fd(waiting.bell(), PollFlags::IN)];
        poll(&mut bell, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_bell_rings_for_those_waited_for_and_no_others() {
        let board = Arc::new(Board::default());
        let (a, b, c) = (conversation(1), conversation(2), conversation(3));
        let cursor = board.cursor();
        let waiting = board.wait(vec![a, b], cursor).unwrap().unwrap();
        board.changed([c]);
        assert!(!rings(&waiting));
        board.changed([b, c]);
        assert!(rings(&waiting));
        assert!(board.has_changed(b, cursor) && !board.has_changed(a, cursor));
        assert!(board.wait(vec![a, b], cursor).unwrap().is_none(), "at once");
        assert!(!board.has_changed(b, board.cursor()));
        drop(waiting);
        assert!(board.lock().waiting.is_empty());
    }

    #[test]
    fn a_change_is_on_the_board_once_it_is_committed_and_not_before() {
        let board = Arc::new(Board::default());
        let a = conversation(1);
        let row = base::rows::InteractionRow {
            conversation: a,
            state: base::rows::InteractionState::Accepted,
            accepted_at: base::time::Wall(1),
            watched_since: None,
            ended_at: None,
            reason: None,
            last_event_at: None,
        };
        let commit = |ticket| StoreOrder::Commit {
            ticket,
            changes: vec![Change::Interaction(row.clone())],
        };
        let cursor = board.cursor();
        board.ordered(0, &commit(1));
        assert!(!board.has_changed(a, cursor));
        board.answered(
            0,
            &StoreFact::CommitFailed {
                ticket: 1,
                trouble: base::rows::StoreTrouble::Full,
            },
        );
        assert!(!board.has_changed(a, cursor));
        board.ordered(0, &commit(2));
        board.answered(
            0,
            &StoreFact::Committed {
                ticket: 2,
                refused: Vec::new(),
                outgrown: Vec::new(),
                erased: 0,
                purged_interactions: Vec::new(),
                purged_records: Vec::new(),
            },
        );
        assert!(board.has_changed(a, cursor));
        assert!(board.lock().ordered.is_empty());
    }

    #[test]
    fn cursors_of_other_runs_and_too_old_ones_count_as_none() {
        let board = Arc::new(Board::default());
        let first = board.show(board.cursor());
        assert!(board.read(&first).is_some());
        for n in 0..=REMEMBERED_MAX {
            board.changed([conversation(n)]);
        }
        assert_eq!(board.lock().of.len(), REMEMBERED_MAX);
        assert!(
            board.read(&first).is_none(),
            "a change since may be forgotten"
        );
        let now = board.show(board.cursor());
        assert_eq!(board.read(&now), Some(board.cursor()));
        let other = Board::default();
        other.changed([conversation(1)]);
        let ahead = format!("{:016x}-{}", board.run, u64::MAX);
        for bad in [
            other.show(other.cursor()),
            String::new(),
            String::from("-"),
            String::from("0-0"),
            ahead,
            format!("{now}0"),
            format!(" {now}"),
            now.to_uppercase().replace('-', "--"),
        ] {
            assert!(board.read(&bad).is_none(), "{bad}");
        }
        // What was forgotten has not changed since a cursor that is good.
        assert!(!board.has_changed(conversation(0), board.cursor()));
    }
}
