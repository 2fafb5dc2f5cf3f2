//! One watched conversation: where it stands, what evidence it is owed, and the
//! rhythm in which REST is asked about it.
//!
//! Invariant: pure; an interaction that has not ended is live, being
//! subscribed, or has a check scheduled (design, guarantee 4).

use std::time::Duration;

use super::checks::Class;
use super::places::Standing;
use super::settings::Settings;
use base::ids::RecordId;
use base::rng::Rng;
use base::rows::{InteractionRow, InteractionState, Leg};
use base::time::{Mono, Now, Wall};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// After an event: most conversations are over when the agent wraps up, so ask soon, then seldom.
const SETTLING: [Duration; 9] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(30),
    MINUTE,
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(600),
    Duration::from_secs(1800),
    HOUR,
];
/// Nothing has happened: it may end with no after-call work due.
const QUIET: [Duration; 3] = [
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    HOUR,
];
/// The customer has left, an agent still writes.
const PENDING: [Duration; 6] = [
    MINUTE,
    Duration::from_secs(120),
    Duration::from_secs(240),
    Duration::from_secs(480),
    Duration::from_secs(960),
    Duration::from_secs(1800),
];
/// A topic that is not live is looked after over REST from then on.
pub(super) const UNWATCHED_AFTER: Duration = Duration::from_secs(120);
/// And then in this rhythm.
pub(super) const UNWATCHED_EVERY: Duration = Duration::from_secs(600);
/// A wrap-up that was not announced is looked for a second time after this.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(10);
/// After-call work that ended this recently may still be announced.
pub(super) const ANNOUNCED_WITHIN: Duration = Duration::from_secs(15);
/// REST cannot tell: the pauses between questions (design, `settle-for`), whatever the reason.
/// A 404 may just be early, a 403 may be somebody changing permissions.
const CANNOT_TELL: [Duration; 4] = [
    MINUTE,
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    HOUR,
];
/// Trouble that lasts this long counts as "cannot tell".
pub(super) const LASTING_TROUBLE: Duration = HOUR;
const TROUBLE_MIN: Duration = Duration::from_secs(5);
const TROUBLE_MAX: Duration = Duration::from_secs(600);

fn beat(rhythm: &[Duration], step: &mut usize) -> Duration {
    let d = rhythm.get(*step).or(rhythm.last()).copied().unwrap_or(HOUR);
    *step = step.saturating_add(1).min(rhythm.len());
    d
}

/// A wrap-up that REST shows and nobody announced yet.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) leg: Leg,
    pub(super) time: Wall,
    /// When it was first missed.
    pub(super) since: Mono,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) row: InteractionRow,
    /// Its after-call-work records, delivered ones included.
    pub(super) records: Vec<RecordId>,
    /// Records taken since it was accepted or started again, and committed or not.
    pub(super) taken: u32,
    /// Records that wait in the ledger's queue: it must not end in the store before they are in.
    pub(super) takes_queued: u32,
    /// Its end is in the store, and its topic was given up.
    pub(super) end_committed: bool,
    /// When it is forgotten, once ended.
    pub(super) forget_at: Mono,
    /// When `max-age` is reached.
    pub(super) expires_at: Mono,
    /// Since when the topic is live.
    pub(super) live_since: Option<Now>,
    /// Since when it is not, if it is not.
    pub(super) dark_since: Mono,
    /// An answer asked at or after this moment is still owed.
    pub(super) owed: Option<Mono>,
    /// It is owed because of a gap.
    pub(super) touched: bool,
    /// REST showed that the customer had left, and no wrap-up has come since.
    pub(super) over_seen: bool,
    /// `max-age` has passed: the next answer ends it.
    pub(super) last_chance: bool,
    /// See [`Missing`].
    pub(super) missing: Vec<Missing>,
    /// First seen finished, although an announcement may be under way.
    pub(super) finish_seen: Option<Mono>,
    /// An earlier process watched it, and this one has not seen it go on: it may have
    /// lingered already.
    pub(super) recovered: bool,
    /// It is over but for wrap-ups that may come late: until then they are waited for.
    pub(super) lingers_until: Option<Mono>,
    /// Of which end.
    lingers_for: Option<Wall>,
    /// When "settled" may be concluded, if REST cannot tell.
    pub(super) settles_at: Option<Mono>,
    /// REST could not tell last time.
    pub(super) cannot_tell: bool,
    /// The conversation exists: REST has shown it, or something came of it.
    pub(super) heard: bool,
    /// When the platform was first asked and did not know it.
    pub(super) unknown_since: Option<Mono>,
    /// And it did not know it a minute later either.
    pub(super) unknown: bool,
    /// It gave its place to others.
    pub(super) gave_way: bool,
    /// It is being asked about because places are short.
    pub(super) hurried: bool,
    /// Where it stands among those that might give way.
    pub(super) standing: Option<(Standing, Mono)>,
    guesses: usize,
    /// For which gap.
    guessed_for: Option<Mono>,
    /// Answers in a row that were not understood.
    pub(super) garbled: u32,
    trouble_since: Option<Mono>,
    troubles: u32,
    settling: usize,
    quiet: usize,
    pending: usize,
}

impl Watched {
    /// A conversation accepted, started again or recovered; not live yet.
    pub(super) fn new(row: InteractionRow, settings: &Settings, now: Now) -> Watched {
        let age = now.wall.since(row.accepted_at);
        let settles_at = row
            .last_event_at
            .map(|t| now.mono + settings.settle_for.saturating_sub(now.wall.since(t)));
        // Recovered in mid-settling: its first seconds are past.
        let settling = if row.state == InteractionState::Settling {
            3
        } else {
            0
        };
        Watched {
            expires_at: now.mono + settings.max_age.saturating_sub(age),
            settles_at,
            row,
            records: Vec::new(),
            taken: 0,
            takes_queued: 0,
            end_committed: false,
            forget_at: Mono::NEVER,
            live_since: None,
            dark_since: now.mono,
            owed: None,
            touched: false,
            over_seen: false,
            last_chance: false,
            missing: Vec::new(),
            finish_seen: None,
            recovered: false,
            lingers_until: None,
            lingers_for: None,
            cannot_tell: false,
            heard: false,
            unknown_since: None,
            unknown: false,
            gave_way: false,
            hurried: false,
            standing: None,
            guesses: 0,
            guessed_for: None,
            garbled: 0,
            trouble_since: None,
            troubles: 0,
            settling,
            quiet: 0,
            pending: 0,
        }
    }

    /// Whether it is over.
    pub(super) fn ended(&self) -> bool {
        self.row.state.ended()
    }

    /// A record was taken: ask soon whether that was all.
    pub(super) fn record_taken(&mut self, announced: bool, settings: &Settings, now: Now) {
        self.taken = self.taken.saturating_add(1);
        if self.ended() {
            return;
        }
        self.row.state = InteractionState::Settling;
        self.row.last_event_at = Some(now.wall);
        self.settles_at = Some(now.mono + settings.settle_for);
        // What REST itself has just shown need not be asked again at once.
        self.settling = usize::from(!announced);
        self.finish_seen = None;
        self.over_seen = false;
    }

    /// How urgent an answer is, and after a gap how likely it is to show a wrap-up: of those
    /// known to be in after-call work most, then of those from which none has come yet, and
    /// of the older ones rather than of those that have just begun.
    pub(super) fn due_class(&self) -> Class {
        if self.unknown {
            return Class::Unknown;
        }
        if !self.touched {
            return Class::Prompt;
        }
        let tier: u64 = match (self.over_seen, self.taken) {
            (true, _) => 0,
            (false, 0) => 1,
            (false, _) => 2,
        };
        let age = u64::try_from(self.row.accepted_at.0).unwrap_or(0);
        Class::Gap((tier << 60) | age.min((1 << 60) - 1))
    }

    /// The same once a bulk question said nothing of it: one that nobody has heard of and that
    /// has no place, of which there may be very many, makes nobody wait.
    pub(super) fn class_in_bulk(&self) -> Class {
        match self.due_class() {
            Class::Prompt if !self.heard && self.live_since.is_none() => Class::Routine,
            class => class,
        }
    }

    /// Nothing is owed any more.
    pub(super) fn settled_up(&mut self) {
        self.owed = None;
        self.touched = false;
    }

    /// REST showed the conversation.
    pub(super) fn told(&mut self) {
        self.cannot_tell = false;
        self.guesses = 0;
        self.garbled = 0;
        self.trouble_since = None;
        self.troubles = 0;
    }

    /// When to ask after the event just taken.
    pub(super) fn after_event(&mut self, now: Mono) -> Mono {
        now + beat(&SETTLING, &mut self.settling)
    }

    /// The next check of a conversation that REST shows and that is not finished; `over` if
    /// its end is set.
    pub(super) fn next_check(&mut self, over: bool, now: Mono, rng: &mut Rng) -> (Mono, Class) {
        let mut after = None;
        let mut class = Class::Prompt;
        if over {
            after = Some(beat(&PENDING, &mut self.pending));
        } else {
            self.pending = 0;
        }
        if self.taken > 0 {
            let d = beat(&SETTLING, &mut self.settling);
            after = Some(after.map_or(d, |a| d.min(a)));
        }
        if self.live_since.is_none() {
            after = Some(after.map_or(UNWATCHED_EVERY, |a| a.min(UNWATCHED_EVERY)));
        }
        let after = after.unwrap_or_else(|| {
            class = Class::Routine;
            rng.jitter(beat(&QUIET, &mut self.quiet))
        });
        (now + after, class)
    }

    /// The next check when REST cannot tell. A gap owes an answer of its own, and brings the
    /// first pauses back; so does a restart, which is one. They are spread, so that very many
    /// that cannot be told about do not come back together.
    pub(super) fn next_guess(&mut self, now: Now, rng: &mut Rng) -> Mono {
        if self.guessed_for != self.owed {
            self.guessed_for = self.owed;
            self.guesses = 0;
        }
        let pause = beat(&CANNOT_TELL, &mut self.guesses);
        let mut at = now.mono + rng.between(pause - pause / 8, pause);
        if let Some(settles) = self.settles_at
            && self.taken > 0
            && settles > now.mono
        {
            at = at.min(settles);
        }
        if self.live_since.is_none() {
            at = at.min(now.mono + UNWATCHED_EVERY);
        }
        at
    }

    /// The question found no answer: when to ask again, and whether that has lasted so long
    /// that it counts as "cannot tell".
    pub(super) fn trouble(&mut self, now: Mono, rng: &mut Rng) -> (Mono, bool) {
        let since = *self.trouble_since.get_or_insert(now);
        let pause = (TROUBLE_MIN * (1 << self.troubles.min(8))).min(TROUBLE_MAX);
        self.troubles = self.troubles.saturating_add(1);
        (
            now + rng.jitter(pause).min(TROUBLE_MAX),
            now.since(since) >= LASTING_TROUBLE,
        )
    }

    /// It is over as an answer that came at `now` shows, and a wrap-up may still come: until
    /// when that is waited for. It may have ended while the answer was on its way.
    ///
    /// The time counts from when it was first seen to be over, so that a clock that differs
    /// from the platform's takes nothing away; only after a restart does it count from the
    /// end as the platform names it, so that it does not begin anew.
    /// Opened again and over once more since the last look, it has another end.
    pub(super) fn lingers(&mut self, ended: Option<Wall>, now: Now, linger: Duration) -> Mono {
        if self.lingers_for != ended && self.lingers_until.take().is_some() {
            self.recovered = false;
        }
        self.lingers_for = ended;
        let before = ended.filter(|_| self.recovered);
        let before = before.map_or(Duration::ZERO, |t| now.wall.since(t));
        *self
            .lingers_until
            .get_or_insert(now.mono + linger.saturating_sub(before))
    }

    /// It was over, it was watched for the whole time that it lingered and for `settle_for`
    /// beyond that, and no wrap-up came. Only where REST no longer tells: what it shows is
    /// better evidence than that nothing was heard.
    pub(super) fn lingered(&self, settle_for: Duration, now: Mono) -> bool {
        self.lingers_until.is_some_and(|t| t + settle_for <= now)
            && self.live_since.is_some()
            && self.owed.is_none()
    }

    /// Settled as far as one can know: a record was taken, the time is up, and we would have
    /// heard of more.
    pub(super) fn settled(&self, now: Mono) -> bool {
        self.taken > 0 && self.live_since.is_some() && self.settles_at.is_some_and(|t| t <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ids::ConversationId;

    fn watched(now: Now) -> Watched {
        let row = InteractionRow {
            conversation: ConversationId(uuid::Uuid::nil()),
            state: InteractionState::Watching,
            accepted_at: now.wall,
            watched_since: None,
            ended_at: None,
            reason: None,
            last_event_at: None,
        };
        Watched::new(row, &Settings::default(), now)
    }

    fn seconds(w: &mut Watched, over: bool, n: usize) -> Vec<u64> {
        let mut rng = Rng::new(1);
        (0..n)
            .map(|_| w.next_check(over, Mono(0), &mut rng).0.0 / 1000)
            .collect()
    }

    #[test]
    fn after_an_event_rest_is_asked_soon_and_then_less_and_less() {
        let now = Now::default();
        let mut w = watched(now);
        w.live_since = Some(now);
        w.record_taken(true, &Settings::default(), now);
        assert_eq!(w.after_event(Mono(0)), Mono(2000));
        assert_eq!(
            seconds(&mut w, false, 10),
            [15, 30, 60, 120, 300, 600, 1800, 3600, 3600, 3600]
        );
        w.record_taken(true, &Settings::default(), now);
        assert_eq!(w.after_event(Mono(0)), Mono(2000));
    }

    #[test]
    fn one_that_nobody_heard_of_and_that_has_no_place_makes_nobody_wait() {
        let now = Now::default();
        let mut w = watched(now);
        assert_eq!(w.class_in_bulk(), Class::Routine);
        w.heard = true;
        assert_eq!(w.class_in_bulk(), Class::Prompt);
        (w.heard, w.live_since) = (false, Some(now));
        assert_eq!(w.class_in_bulk(), Class::Prompt);
        w.touched = true;
        w.live_since = None;
        assert!(matches!(w.class_in_bulk(), Class::Gap(_)));
    }

    #[test]
    fn pending_after_call_work_is_looked_at_from_one_to_thirty_minutes() {
        let mut w = watched(Now::default());
        w.live_since = Some(Now::default());
        assert_eq!(
            seconds(&mut w, true, 7),
            [60, 120, 240, 480, 960, 1800, 1800]
        );
    }

    #[test]
    fn a_quiet_one_is_looked_at_seldom_and_a_dark_one_every_ten_minutes() {
        let mut w = watched(Now::default());
        assert_eq!(seconds(&mut w, false, 3), [600, 600, 600]);
        w.live_since = Some(Now::default());
        for (got, full) in seconds(&mut w, false, 4)
            .into_iter()
            .zip([900, 1800, 3600, 3600])
        {
            assert!(got >= full * 3 / 4 && got <= full * 5 / 4, "{got} {full}");
        }
    }

    #[test]
    fn trouble_backs_off_and_counts_as_no_answer_after_an_hour() {
        let mut w = watched(Now::default());
        let (mut now, mut rng, mut tries) = (Mono(0), Rng::new(1), 0);
        loop {
            let (at, lasting) = w.trouble(now, &mut rng);
            assert!(at > now && at.since(now) <= TROUBLE_MAX);
            if lasting {
                break;
            }
            now = at;
            tries += 1;
        }
        assert!(
            now.since(Mono(0)) >= LASTING_TROUBLE && (8..=25).contains(&tries),
            "{tries}"
        );
    }

    #[test]
    fn where_rest_cannot_tell_it_is_asked_after_one_five_and_fifteen_minutes_then_hourly() {
        let mut w = watched(Now::default());
        w.live_since = Some(Now::default());
        let mut rng = Rng::new(1);
        let mut expect = |w: &mut Watched, minutes: &[u64]| {
            for m in minutes {
                let at = w.next_guess(Now::default(), &mut rng).0;
                assert!((m * 60_000 * 7 / 8..=m * 60_000).contains(&at), "{at} {m}");
            }
        };
        expect(&mut w, &[1, 5, 15, 60, 60]);
        // A gap is another matter; what it hid is asked about anew.
        w.owed = Some(Mono(1));
        expect(&mut w, &[1, 5, 15, 60, 60]);
        w.told();
        expect(&mut w, &[1]);
        // Out of sight it is looked after more often.
        w.live_since = None;
        expect(&mut w, &[5, 10, 10]);
    }

    #[test]
    fn what_settles_is_asked_about_at_that_moment_if_something_was_taken_of_it() {
        let mut w = watched(Now::default());
        w.live_since = Some(Now::default());
        w.settles_at = Some(Mono(20_000));
        let mut rng = Rng::new(1);
        // A restart found no record of the event.
        assert!(w.next_guess(Now::default(), &mut rng) > Mono(50_000));
        w.told();
        w.taken = 1;
        assert_eq!(w.next_guess(Now::default(), &mut rng), Mono(20_000));
    }

    #[test]
    fn after_a_gap_those_in_after_call_work_go_first_and_the_older_before_the_newer() {
        let touched = |over_seen, taken, accepted| {
            let mut w = watched(Now::default());
            (w.touched, w.over_seen, w.taken) = (true, over_seen, taken);
            w.row.accepted_at = Wall(accepted);
            w.due_class()
        };
        let order = [
            touched(true, 1, 1_000),
            touched(true, 0, 2_000),
            touched(false, 0, 1_000),
            touched(false, 0, 2_000),
            touched(false, 1, 500),
        ];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }
}
