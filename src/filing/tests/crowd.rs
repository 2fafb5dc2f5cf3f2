//! Very many are due at once: questions about many, and what their answers prove.

use super::world::*;
use crate::*;
use base::notice::Level;

/// Many conversations, live again after a gap that touched all of them.
fn crowd(n: u128) -> World {
    let mut w = World::new(Settings::default());
    for i in 0..n {
        w.accept(i);
        w.live(i);
    }
    while !w.fetches.is_empty() {
        let (fetch, asked_at) = w.fetches.remove(0);
        answer_all(&mut w, fetch, asked_at, &|_| None);
    }
    w
}

/// The same, touched by a gap.
fn out_of_sight(n: u128) -> World {
    let mut w = crowd(n);
    w.tell(Fact::Platform(PlatformFact::Gap {
        topics: (0..n).map(t).collect(),
        cause: GapCause::TokenEnded,
    }));
    w
}

/// The same, and live again.
fn back_after_a_gap(n: u128) -> World {
    let mut w = out_of_sight(n);
    for i in 0..n {
        w.live(i);
    }
    w
}

/// Answers a question about quiet conversations, with the wrap-ups that `news` gives.
fn answer_all(
    w: &mut World,
    fetch: Fetch,
    asked_at: base::time::Now,
    news: &dyn Fn(base::ids::ConversationId) -> Option<base::time::Wall>,
) {
    let number = |id: base::ids::ConversationId| id.0.as_u128() - 0xc0_0000;
    let json = match &fetch {
        Fetch::One(id) | Fetch::Calm(id) => match news(*id) {
            Some(at) => over(number(*id), &[("a", at)]),
            None => going_on(number(*id)),
        },
        Fetch::Many(ids) => {
            let list: Vec<_> = ids
                .iter()
                .map(|id| match news(*id) {
                    Some(at) => serde_json::json!({"conversationId": id.to_string(), "participants": [
                        {"purpose": "agent", "participantId": "p-a", "sessions": [{"sessionId": "s-a",
                         "segments": [{"segmentType": "wrapup", "segmentEnd": at.rfc3339()}]}]}]}),
                    None => serde_json::json!({"conversationId": id.to_string()}),
                })
                .collect();
            serde_json::json!({"conversations": list}).to_string()
        }
    };
    w.tell(Fact::Platform(PlatformFact::Fetched {
        fetch,
        asked_at,
        outcome: FetchOutcome::Found(json),
    }));
}

#[test]
fn after_a_gap_of_a_crowd_bulk_answers_find_the_news_and_clear_the_rest_only_later() {
    let mut w = out_of_sight(1000);
    w.pass(secs(10));
    let lost = w.now.wall;
    w.pass(secs(1));
    for n in 0..1000 {
        w.live(n);
    }
    let (mut ones, mut manys) = (0, 0);
    let missed = c(777);
    let news = |id| (id == missed).then_some(lost);
    // Four a second, as the budget allows.
    let mut found_after = None;
    for second in 0..1200u64 {
        for _ in 0..4 {
            if w.fetches.is_empty() {
                break;
            }
            let (fetch, asked_at) = w.fetches.remove(0);
            match fetch {
                Fetch::One(_) | Fetch::Calm(_) => ones += 1,
                Fetch::Many(_) => manys += 1,
            }
            answer_all(&mut w, fetch, asked_at, &news);
        }
        if found_after.is_none() && w.store.interactions[&missed].0.state.ended() {
            found_after = Some(second);
        }
        w.pass(secs(1));
    }
    // One by one until analytics may know, then in bulk.
    assert!(found_after.is_some_and(|s| s < 110), "{found_after:?}");
    assert!(manys >= 12, "{manys}");
    assert!(ones <= 1200, "{ones}");
    assert_eq!(w.filing.snapshot(w.now).owed, 0);
    assert_eq!(w.store.records.len(), 1);
}

#[test]
fn a_bulk_answer_soon_after_the_gap_proves_nothing() {
    let mut w = back_after_a_gap(200);
    assert!(
        w.fetches.iter().all(|(f, _)| !matches!(f, Fetch::Many(_))),
        "nothing is asked in bulk that analytics cannot know yet"
    );
    w.pass(secs(91));
    let (mut ones, mut manys) = (0, 0);
    for _ in 0..20 {
        let (fetch, asked_at) = w.fetches.remove(0);
        match fetch {
            Fetch::One(_) | Fetch::Calm(_) => ones += 1,
            Fetch::Many(_) => manys += 1,
        }
        answer_all(&mut w, fetch, asked_at, &|_| None);
        // Each prompt answer clears one, the others clear nobody.
        assert_eq!(w.filing.snapshot(w.now).owed, 200 - ones);
    }
    assert!(manys >= 4, "{manys}");
}

#[test]
fn too_large_bulk_questions_shrink_and_lose_nobody() {
    let mut w = back_after_a_gap(300);
    w.pass(secs(91));
    let mut smallest = usize::MAX;
    for _ in 0..3000 {
        let Some((fetch, asked_at)) = w.fetches.first().cloned() else {
            break;
        };
        w.fetches.remove(0);
        match &fetch {
            Fetch::Many(ids) if ids.len() > 10 => {
                let outcome = FetchOutcome::TooMany;
                w.tell(Fact::Platform(PlatformFact::Fetched {
                    fetch,
                    asked_at,
                    outcome,
                }));
            }
            Fetch::Many(ids) => {
                smallest = smallest.min(ids.len());
                answer_all(&mut w, fetch, asked_at, &|_| None);
            }
            Fetch::One(_) | Fetch::Calm(_) => answer_all(&mut w, fetch, asked_at, &|_| None),
        }
    }
    assert!((2..=10).contains(&smallest), "{smallest}");
    assert_eq!(w.filing.snapshot(w.now).owed, 0);
}

#[test]
fn questions_about_many_that_bring_no_answer_are_asked_ever_more_seldom() {
    let mut w = back_after_a_gap(300);
    w.pass(secs(91));
    let mut asked = 0;
    for _ in 0..200 {
        while let Some(at) = w
            .fetches
            .iter()
            .position(|(f, _)| matches!(f, Fetch::Many(_)))
        {
            asked += 1;
            w.fetches.swap(0, at);
            w.tell_fetched(FetchOutcome::Trouble("no answer".into()));
        }
        if !w.fetches.is_empty() {
            let (fetch, asked_at) = w.fetches.remove(0);
            answer_all(&mut w, fetch, asked_at, &|_| None);
        }
        w.pass(secs(1));
    }
    assert!((5..=12).contains(&asked), "{asked}");
}

#[test]
fn bulk_answers_that_are_not_understood_twice_in_a_row_are_told_of() {
    let mut w = back_after_a_gap(300);
    w.pass(secs(91));
    for told in [None, Some(Level::Warn)] {
        let many = |w: &World| {
            w.fetches
                .iter()
                .position(|(f, _)| matches!(f, Fetch::Many(_)))
        };
        while many(&w).is_none() {
            if !w.fetches.is_empty() {
                let (fetch, asked_at) = w.fetches.remove(0);
                answer_all(&mut w, fetch, asked_at, &|_| None);
            }
            w.pass(secs(1));
        }
        let at = many(&w).unwrap();
        w.fetches.swap(0, at);
        w.tell_fetched(FetchOutcome::Garbled);
        assert_eq!(w.said("bulk-not-understood"), told);
    }
}
