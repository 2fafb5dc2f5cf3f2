//! How old is what waits, in the few steps that metrics, page and command line show.

use std::time::Duration;

/// What the steps are called, and up to which age they go; a last one, [`OLDER`], has no end.
const AGES: [(&str, Duration); 5] = [
    ("1m", Duration::from_secs(60)),
    ("10m", Duration::from_secs(600)),
    ("1h", Duration::from_secs(3_600)),
    ("6h", Duration::from_secs(6 * 3_600)),
    ("1d", Duration::from_secs(24 * 3_600)),
];

/// What the last step is called.
const OLDER: &str = "older";

/// How many there are of each age, from the youngest on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByAge(pub [u64; AGES.len() + 1]);

impl ByAge {
    /// Counts one of this age.
    pub fn add(&mut self, age: Duration) {
        let step = AGES.iter().position(|(_, bound)| age <= *bound);
        self.0[step.unwrap_or(AGES.len())] += 1;
    }

    /// What the steps are called, and how many are in each.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = AGES.into_iter().map(|(label, _)| label).chain([OLDER]);
        labels.zip(self.0)
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; AGES.len() + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_takes_what_is_as_old_as_its_name_and_the_last_all_that_is_older() {
        let mut ages = ByAge::default();
        assert!(ages.is_empty());
        for seconds in [0, 60, 61, 3_600, 21_600, 86_400, 86_401, 864_000] {
            ages.add(Duration::from_secs(seconds));
        }
        assert!(ages.steps().eq([
            ("1m", 2),
            ("10m", 1),
            ("1h", 1),
            ("6h", 1),
            ("1d", 1),
            ("older", 2),
        ]));
    }
}
