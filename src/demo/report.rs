//! The demo's account: what happened on the platform against what was filed.
//!
//! Pure. Invariant: nothing is counted as filed that the platform does not know,
//! and nothing is lost or doubled without being counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::receiver::Filed;

/// The account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Report {
    /// Conversations accepted.
    pub(super) conversations: usize,
    /// Conversations of which every wrap-up was filed.
    pub(super) complete: usize,
    /// Wrap-ups on the platform.
    pub(super) wrap_ups: usize,
    /// Of those, filed.
    pub(super) filed: usize,
    /// Of those, not filed.
    pub(super) lost: usize,
    /// Filed under more than one key, or unknown to the platform.
    pub(super) doubled: usize,
    /// Bodies that came again under the same key: harmless.
    pub(super) repeated: usize,
    /// From the wrap-up to its being filed, sorted.
    pub(super) latencies: Vec<Duration>,
}

/// Wrap-ups of one leg, as (conversation, participant, session).
pub(super) type Leg = (String, String, String);

impl Report {
    /// Compares the platform's wrap-ups, a count for each leg, with what was received.
    pub(super) fn new(
        conversations: usize,
        truth: &BTreeMap<Leg, usize>,
        filed: &BTreeMap<String, Filed>,
    ) -> Report {
        let mut received: BTreeMap<&Leg, usize> = BTreeMap::new();
        for one in filed.values() {
            *received.entry(&one.wrap_up).or_default() += 1;
        }
        let mut report = Report {
            conversations,
            ..Report::default()
        };
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        for (leg, happened) in truth {
            let came = received.remove(leg).unwrap_or(0);
            report.wrap_ups += happened;
            report.filed += came.min(*happened);
            report.lost += happened.saturating_sub(came);
            report.doubled += came.saturating_sub(*happened);
            *missing.entry(leg.0.as_str()).or_default() += happened.saturating_sub(came);
        }
        report.doubled += received.values().sum::<usize>();
        report.complete = missing.values().filter(|n| **n == 0).count();
        report.repeated = filed.values().map(|f| f.times as usize - 1).sum();
        report.latencies = filed
            .values()
            .map(|f| Duration::from_millis(u64::try_from(f.received - f.event_time).unwrap_or(0)))
            .collect();
        report.latencies.sort_unstable();
        report
    }

    /// Nothing lost, nothing doubled, and something done.
    pub(super) fn good(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.filed > 0 && self.complete == self.conversations
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }

    /// The summary, one line each.
    pub(super) fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "conversations  {} accepted, {} complete",
                self.conversations, self.complete
            ),
            format!("wrap-ups       {} on the platform", self.wrap_ups),
            format!("filed          {}", self.filed),
            format!("lost           {}", self.lost),
            format!(
                "doubled        {} ({} repeated under the same key, harmless)",
                self.doubled, self.repeated
            ),
            format!(
                "latency        {} ms median, {} ms p99, {} ms at most (outage of the receiver included)",
                self.percentile(50).as_millis(),
                self.percentile(99).as_millis(),
                self.percentile(100).as_millis()
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(n: u8) -> Leg {
        (format!("c{n}"), "p".into(), "s".into())
    }

    fn filed(n: u8, times: u32) -> Filed {
        Filed {
            wrap_up: leg(n),
            event_time: 1000,
            received: 1040,
            times,
        }
    }

    #[test]
    fn what_is_missing_is_lost_and_what_is_too_many_is_doubled() {
        let truth = BTreeMap::from([(leg(1), 1), (leg(2), 2), (leg(3), 1)]);
        let book = BTreeMap::from([
            ("a".to_string(), filed(1, 3)),
            ("b".to_string(), filed(1, 1)),
            ("c".to_string(), filed(2, 1)),
            ("d".to_string(), filed(9, 1)),
        ]);
        let r = Report::new(3, &truth, &book);
        assert_eq!(
            (r.wrap_ups, r.filed, r.lost, r.doubled, r.repeated),
            (4, 2, 2, 2, 2)
        );
        assert_eq!(r.complete, 1);
        assert!(!r.good());
        assert_eq!(r.percentile(50), Duration::from_millis(40));
    }

    #[test]
    fn everything_once_is_good_and_nothing_at_all_is_not() {
        let truth = BTreeMap::from([(leg(1), 1)]);
        let book = BTreeMap::from([("a".to_string(), filed(1, 1))]);
        assert!(Report::new(1, &truth, &book).good());
        assert!(!Report::new(0, &BTreeMap::new(), &BTreeMap::new()).good());
    }
}
