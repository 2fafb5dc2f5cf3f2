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
    reported: Mutex<Vec<String>>,
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
        self.reported.lock().unwrap().push(id);
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

    /// Every conversation that was reported has its record, once.
    pub(crate) fn all_filed(&self, history: &History) {
        let reported = self.reported.lock().unwrap();
        wait_within(Duration::from_secs(150), "every record", || {
            let mut filed: BTreeMap<String, usize> = BTreeMap::new();
            for receipt in history.receipts().iter().filter(|r| r.filed()) {
                let id = receipt.json()["conversationId"].to_string();
                *filed.entry(id).or_default() += 1;
            }
            let of = |id: &String| filed.get(&format!("\"{id}\"")).copied().unwrap_or(0);
            let twice = reported.iter().filter(|id| of(id) > 1).count();
            assert_eq!(twice, 0, "filed twice");
            match reported.iter().filter(|id| of(id) == 0).count() {
                0 => Ok(()),
                missing => Err(format!("{missing} of {} missing", reported.len())),
            }
        });
    }
}
