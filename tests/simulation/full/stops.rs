//! A stop in the middle of store trouble, and the farewell held against the disk; callers who
//! come in a crowd.

use base::rows::StoreTrouble;
use filing::Farewell;
use genesys_gateway::gateway::Input;

use super::{Ask, Event, Full};
use crate::agenda::{MINUTE, SECOND, Time};
use crate::disk::Trouble;

/// How long the shell lets the loop go on after a stop.
const LOOP_STOP: Time = 4 * SECOND;

impl Full {
    /// So many callers with a result but no key, within that time; each repeats until it is
    /// taken, also where it was told that nobody knows.
    pub(super) fn crowd(&mut self, n: u64, within: Time) {
        for _ in 0..n {
            self.checks.keyless += 1;
            let at = self.clock.time + self.rng.below(within);
            let ask = Ask::Keyless(self.checks.keyless);
            self.agenda.plan(at, Event::Ask(ask, 0));
        }
    }

    pub(super) fn stop_in_trouble(&mut self) {
        let now = self.clock.time;
        let until = now + SECOND + self.rng.below(3 * MINUTE);
        match self.rng.below(3) {
            0 => self.disk.latency = (SECOND, 60 * SECOND),
            n => {
                let what = [StoreTrouble::Full, StoreTrouble::Io][n as usize - 1];
                self.disk.trouble = Some(Trouble { what, until });
            }
        }
        self.crowd(4, MINUTE);
        let at = now + self.rng.below(90 * SECOND);
        self.agenda.plan(at, Event::Stop(self.epoch));
    }

    pub(super) fn stop(&mut self, epoch: u64) {
        if epoch == self.epoch && self.gateway.is_some() {
            self.give(Input::Stop);
            let at = self.clock.time + LOOP_STOP;
            self.agenda.plan(at, Event::Leave(epoch));
        }
    }

    pub(super) fn leave(&mut self, epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        let now = self.clock.now();
        let Some(mut left) = self.gateway.as_mut().map(|g| g.leave(now)) else {
            return;
        };
        if let Some(s) = &mut self.sabotage {
            s.farewell(&mut left);
        }
        self.drain();
        if !self.callers.is_empty() {
            return self.fail("somebody still waits for an answer after the farewell");
        }
        self.check_farewell(left);
        self.end_process(true);
        self.disk.latency = (1, 15);
        let down_for = SECOND + self.rng.below(5 * MINUTE);
        self.agenda.plan(self.clock.time + down_for, Event::Boot);
    }

    /// What is said to be in memory alone is, and nothing else.
    fn check_farewell(&mut self, left: Farewell) {
        let Some(gateway) = &self.gateway else { return };
        let (mut missing, mut gone, mut differs) = (0, 0, 0);
        for row in gateway.filing().rows() {
            match self.disk.records.get(&row.record) {
                None => {
                    missing += 1;
                    let ended = row
                        .conversation
                        .and_then(|c| self.disk.interactions.get(&c))
                        .is_none_or(|i| i.row.state.ended());
                    gone += usize::from(ended);
                }
                Some(there) => differs += usize::from(there.row.state != row.state),
            }
        }
        let said = left.rebuilt + left.gone;
        // What is under way may be durable already.
        let open = self.disk.outstanding() > 0;
        let whole = (said - left.under_way.min(said)..=said).contains(&missing)
            && (gone == left.gone || open && gone <= left.gone)
            && differs <= left.outcomes;
        if !whole {
            self.fail(format!(
                "the farewell is wrong: {left:?}, but {missing} records are missing, {gone} of \
                 them for good, and {differs} differ"
            ));
        }
    }
}
