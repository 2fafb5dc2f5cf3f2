//! Good callers, on another address than the attackers where the machine has one, and what
//! they see.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::attacks::Field;
use crate::support::{History, Platform, http, wait_within};
use crate::{call, report};

/// No record is later than that while the flood goes on: the gateway asks about those that have
/// no place in bulk 90 seconds after they came, and those that are over, up to two a second, go
/// before what invented ids ask for.
const LATE_AT_MOST: Duration = Duration::from_secs(5 * 60);
/// From the wrap-up until analytics are asked.
const ANALYTICS_LAG: Duration = Duration::from_secs(90);
/// Of the platform's 300 calls a minute 270 are for questions about conversations, of which every
/// other may be about places.
const QUESTION_EVERY: Duration = Duration::from_millis(2 * 63_000 / 270);
/// For the clock, and what a machine may have to do besides.
const SPARE: Duration = Duration::from_secs(60);

/// What good callers and the operator saw since the last look.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: usize,
    pub(crate) looks: usize,
    pub(crate) refused: usize,
    pub(crate) last_refusal: Option<String>,
    took: Vec<Duration>,
    slowest_look: Duration,
}

impl Seen {
    pub(crate) fn over(&self, span: Duration) -> usize {
        self.took.iter().filter(|t| **t > span).count()
    }

    pub(crate) fn text(&self) -> String {
        let slowest = self.took.iter().max().copied().unwrap_or_default();
        format!(
            "{} reports, {} looks at health, none refused, slowest {} ms, health {} ms",
            self.answers,
            self.looks,
            slowest.as_millis(),
            self.slowest_look.as_millis()
        )
    }
}

/// See the module.
pub(crate) struct Good<'a> {
    platform: &'a Platform,
    field: &'a Field,
    seen: Mutex<Seen>,
    /// What is over, and since when.
    reported: Mutex<Vec<(Instant, String)>>,
}

impl<'a> Good<'a> {
    pub(crate) fn new(platform: &'a Platform, field: &'a Field) -> Good<'a> {
        Good {
            platform,
            field,
            seen: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// Reports a conversation, lets it end, and so on, twice a second.
    pub(crate) fn work(&self, over: &AtomicBool) {
        let mut waiting: Vec<(Instant, String)> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let id = self.platform.conversation();
            let began = Instant::now();
            let answer = call("POST", &self.field.good_reports, Some(&report(&id)));
            self.note(began.elapsed(), answer, 202);
            waiting.push((Instant::now(), id));
            let old = Duration::from_secs(2);
            while waiting.first().is_some_and(|(at, _)| at.elapsed() > old) {
                self.finish(waiting.remove(0).1);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        for (_, id) in waiting {
            self.finish(id);
        }
    }

    fn finish(&self, id: String) {
        self.platform.act(&id, "finish", json!({}));
        self.reported.lock().unwrap().push((Instant::now(), id));
    }

    /// Asks for health four times a second.
    pub(crate) fn watch_health(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answer = http::try_call("GET", &self.field.health, &[], None);
            let took = began.elapsed();
            let mut seen = self.seen.lock().unwrap();
            seen.looks += 1;
            seen.took.push(took);
            seen.slowest_look = seen.slowest_look.max(took);
            if !answer.as_ref().is_ok_and(|a| a.status == 200) {
                seen.refused += 1;
                seen.last_refusal = Some(format!("{answer:?}"));
            }
            drop(seen);
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn note(&self, took: Duration, answer: Result<http::Answer, String>, status: u16) {
        let mut seen = self.seen.lock().unwrap();
        seen.answers += 1;
        seen.took.push(took);
        if !answer.as_ref().is_ok_and(|a| a.status == status) {
            seen.refused += 1;
            seen.last_refusal = Some(format!("{answer:?}"));
        }
    }

    /// What was seen since the last look.
    pub(crate) fn look(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Every conversation that was reported has its record, once, and none had to wait for the
    /// end of the siege.
    ///
    /// Those that found no place while invented ids had them all have their records over REST
    /// alone: after the time that the platform's analytics lag behind, for a question each, of
    /// which there are so many a minute and no more. So who waits at the end waits as long as
    /// those before it take, and everybody in the siege waited no longer than [`LATE_AT_MOST`].
    pub(crate) fn all_filed(&self, history: &History) {
        let reported = self.reported.lock().unwrap();
        let missing = || {
            let mut filed: BTreeMap<String, usize> = BTreeMap::new();
            for receipt in history.receipts().iter().filter(|r| r.filed()) {
                let id = receipt.json()["conversationId"].as_str().map(str::to_owned);
                *filed.entry(id.unwrap_or_default()).or_default() += 1;
            }
            let of = |id: &String| filed.get(id).copied().unwrap_or(0);
            let twice = reported.iter().filter(|(_, id)| of(id) > 1).count();
            assert_eq!(twice, 0, "filed twice");
            let late = reported.iter().filter(|(_, id)| of(id) == 0);
            late.map(|(at, _)| at.elapsed()).collect::<Vec<_>>()
        };
        let late = missing();
        let oldest = late.iter().max().copied().unwrap_or_default();
        let (n, all) = (late.len(), reported.len());
        println!("{n} of {all} are not filed yet, the oldest for {oldest:?}");
        assert!(oldest <= LATE_AT_MOST, "{n} of {all} missing, {oldest:?}");
        let questions = QUESTION_EVERY * u32::try_from(n).unwrap();
        let began = Instant::now();
        wait_within(ANALYTICS_LAG + questions + SPARE, "every record", || {
            // A look costs more than the pause between two of them is long.
            std::thread::sleep(Duration::from_millis(500));
            match missing().len() {
                0 => Ok(()),
                n => Err(format!("{n} of {all} missing")),
            }
        });
        println!("all of {all} are filed {:?} later", began.elapsed());
    }
}
