//! Refusals that are no fault of the records: what stands before the history
//! manager answers for it (design, section 5).
//!
//! Ten different records refused with the same status, none filed in between,
//! are an outage. "In a row" is up to the next filing: a refusal with another status or a
//! 503 in between does not end it, since an ingress in trouble answers now this, now that.
//!
//! Invariant: bounded; a record counts once for each status.

use base::ids::RecordId;
use base::rows::DestinationRow;

/// So many different records with one status are an outage (design, section 5).
pub(super) const OUTAGE: usize = 10;
/// Statuses that are told apart; the oldest row is forgotten for a further one.
const STATUSES_MAX: usize = 8;

/// The refusals since a record was last filed.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    rows: Vec<(u16, Vec<RecordId>)>,
}

impl Refusals {
    /// As a former process left them.
    pub(super) fn new(kept: &DestinationRow) -> Refusals {
        let mut refusals = Refusals::default();
        for (status, ids) in &kept.refused {
            for id in ids {
                refusals.add(*status, *id);
            }
        }
        refusals
    }

    /// One more. The ten, if this is the refusal that makes an outage of them.
    pub(super) fn add(&mut self, status: u16, id: RecordId) -> Option<Vec<RecordId>> {
        let place = self.rows.iter().position(|(s, _)| *s == status);
        let place = place.unwrap_or_else(|| {
            if self.rows.len() >= STATUSES_MAX {
                self.rows.remove(0);
            }
            self.rows.push((status, Vec::new()));
            self.rows.len() - 1
        });
        let (_, ids) = self.rows.get_mut(place)?;
        if ids.len() >= OUTAGE || ids.contains(&id) {
            return None;
        }
        ids.push(id);
        (ids.len() == OUTAGE).then(|| ids.clone())
    }

    /// The status of the outage, if there is one.
    pub(super) fn outage(&self) -> Option<u16> {
        let outage = self.rows.iter().find(|(_, ids)| ids.len() >= OUTAGE);
        outage.map(|(status, _)| *status)
    }

    /// A record was filed; true if that changes anything.
    pub(super) fn filed(&mut self) -> bool {
        let any = !self.rows.is_empty();
        self.rows.clear();
        any
    }

    /// Every record that is named.
    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.rows.iter().flat_map(|(_, ids)| ids.iter().copied())
    }

    /// To be kept.
    pub(super) fn rows(&self) -> Vec<(u16, Vec<RecordId>)> {
        self.rows.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> RecordId {
        RecordId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn ten_different_records_with_one_status_are_an_outage() {
        let mut r = Refusals::default();
        for n in 0..9 {
            assert_eq!(r.add(404, id(n)), None);
            // Again, and with another status.
            assert_eq!(r.add(404, id(n)), None);
            assert_eq!(r.add(410, id(n)), None);
        }
        assert_eq!(r.outage(), None);
        let ten: Vec<_> = (0..10).map(id).collect();
        assert_eq!(r.add(404, id(9)), Some(ten));
        assert_eq!((r.add(404, id(10)), r.outage()), (None, Some(404)));
        let kept = DestinationRow {
            held_until: None,
            refused: r.rows(),
        };
        assert_eq!(Refusals::new(&kept).outage(), Some(404));
        assert!(r.filed() && !r.filed());
        assert_eq!(r.outage(), None);
    }

    #[test]
    fn however_many_statuses_come_the_table_stays_small() {
        let mut r = Refusals::default();
        for status in 400..500 {
            for n in 0..100 {
                r.add(status, id(n));
            }
        }
        assert!(r.ids().count() <= STATUSES_MAX * OUTAGE);
    }
}
