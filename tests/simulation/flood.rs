//! A caller with a token names conversations that do not exist, on and on, while others report
//! real ones, which are over before a place could come free for them: how late are their records.

use std::collections::BTreeMap;

use base::ids::ConversationId;
use base::rng::Rng;
use simulator::model::{Control, Start};

use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::full::{Ask, Event, Full};
use crate::plan::Plan;
use crate::scenarios::{command, go};

/// What is reported, in thousandths of a second between two.
struct Load {
    good: Time,
    invented: Option<Time>,
    length: Time,
    channels: u8,
    topics: usize,
}

/// How long it took from each wrap-up until its record was filed, sorted, and how long
/// after the end of it all the last was.
fn flood(load: &Load, seed: u64) -> (Vec<Time>, Time) {
    let mut world = Full::empty(
        Plan {
            max_channels: load.channels,
            topics_per_channel: load.topics,
            ..Plan::calm(seed)
        },
        false,
    );
    world.audit_every = 5_000;
    go(&mut world, 5 * SECOND);
    let mut rng = Rng::new(seed ^ 0xf100d);
    let (mut talking, mut wrapped): (Vec<(Time, ConversationId)>, BTreeMap<ConversationId, Time>) =
        Default::default();
    let mut took = BTreeMap::new();
    let began = world.clock.time;
    let end = began + load.length;
    let (mut good, mut invented) = (began, began);
    let mut seen = 0;
    loop {
        let now = world.clock.time;
        if now >= good && now < end {
            good += load.good;
            let id = ConversationId(rng.uuid());
            command(
                &mut world,
                &Control::Start(Start {
                    id: Some(id),
                    ..Start::default()
                }),
            );
            let at = now + 1 + rng.below(250);
            world.agenda.plan(at, Event::Ask(Ask::Accept(id, 1), 0));
            talking.push((now, id));
        }
        if let Some(every) = load.invented
            && now >= invented
            && now < end
        {
            invented += every;
            let id = ConversationId(rng.uuid());
            let at = now + 1 + rng.below(250);
            world.agenda.plan(at, Event::Ask(Ask::Accept(id, 0), 0));
        }
        while talking
            .first()
            .is_some_and(|(at, _)| at + 2 * SECOND <= now)
        {
            let id = talking.remove(0).1;
            command(&mut world, &Control::Finish { conversation: id });
            wrapped.insert(id, now);
            world.take_incoming();
        }
        go(&mut world, 250);
        if world.history.filed.len() != seen {
            seen = world.history.filed.len();
            for record in world.history.filed.keys() {
                if let Some(id) = world
                    .disk
                    .records
                    .get(record)
                    .and_then(|r| r.row.conversation)
                    && let Some(at) = wrapped.get(&id)
                {
                    took.entry(id).or_insert(world.clock.time - at);
                }
            }
        }
        if now >= end && talking.is_empty() && took.len() == wrapped.len() {
            break;
        }
        assert!(
            now < end + 3 * HOUR,
            "{} of {} are missing",
            wrapped.len() - took.len(),
            wrapped.len()
        );
    }
    let mut took: Vec<Time> = took.into_values().collect();
    took.sort_unstable();
    (took, world.clock.time - end)
}

#[test]
fn under_a_flood_of_invented_ids_beyond_all_places_records_are_minutes_late_at_most() {
    // Two invented ones a second ask for more than the budget by themselves: 240 questions a
    // minute to be known as unknown, of 270 that checks may have.
    let all: &[Option<Time>] = if cfg!(debug_assertions) {
        &[Some(500)]
    } else {
        &[None, Some(500), Some(250)]
    };
    for invented in all {
        let load = Load {
            good: SECOND,
            invented: *invented,
            length: 10 * MINUTE,
            channels: 4,
            topics: 50,
        };
        let (took, after) = flood(&load, 1);
        let at = |permille: usize| took[took.len() * permille / 1000 - 1] / SECOND;
        println!(
            "invented every {invented:?} ms: {} filed, after {} s at the median, 99 % within {} s, \
             at most {} s; the last {} s after the end",
            took.len(),
            at(500),
            at(990),
            at(1000),
            after / SECOND
        );
        assert_eq!(took.len(), 600);
        assert!(at(1000) <= 5 * 60, "{invented:?}");
        assert!(after <= 4 * MINUTE, "{invented:?}: {after}");
    }
}
