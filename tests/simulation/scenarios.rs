//! Hard hours, told one by one.

use base::ids::ConversationId;
use base::rng::Rng;
use filing::topic_of;
use simulator::model::{Control, Fault, Start};

use crate::agenda::{DAY, HOUR, MINUTE, SECOND, Time};
use crate::full::{Ask, Event, Full};
use crate::history::Mood;
use crate::plan::Plan;

pub(crate) fn command(world: &mut Full, control: &Control) {
    world
        .net
        .platform
        .control(control, world.clock.platform())
        .unwrap();
    world.net.collect(&world.clock);
    world.note_wraps();
}

fn fault(world: &mut Full, fault: Fault) {
    command(world, &Control::Fault { fault });
}

/// Conversations under way, told to the gateway within the given time.
pub(crate) fn talking(world: &mut Full, n: usize, within: Time) -> Vec<ConversationId> {
    let mut rng = Rng::new(99 + world.checks.promised.len() as u64);
    let mut all = Vec::with_capacity(n);
    for i in 0..n {
        let id = ConversationId(rng.uuid());
        command(
            world,
            &Control::Start(Start {
                id: Some(id),
                ..Start::default()
            }),
        );
        let at = world.clock.time + 1 + within * i as u64 / n as u64;
        world.agenda.plan(at, Event::Ask(Ask::Accept(id, 1), 0));
        all.push(id);
    }
    all
}

pub(crate) fn go(world: &mut Full, length: Time) {
    world.run_until(world.clock.time + length);
    if let Some(text) = world.violation.take() {
        panic!("{text}");
    }
}

fn live(world: &Full, all: &[ConversationId]) -> usize {
    let client = world.gateway.as_ref().unwrap().platform();
    all.iter()
        .filter(|id| client.is_live(&topic_of(**id)))
        .count()
}

pub(crate) fn owed(world: &Full) -> usize {
    let filing = world.gateway.as_ref().unwrap().filing();
    filing
        .live_interactions()
        .filter(|(_, s)| s.owed || !s.live)
        .count()
}

fn gaps(world: &Full) -> (u64, u64) {
    let s = world
        .gateway
        .as_ref()
        .unwrap()
        .platform()
        .snapshot(world.clock.now());
    (s.gaps_total, s.gap_topics_total)
}

#[test]
fn a_closing_notice_with_a_thousand_topics_loses_nothing_and_doubles_nothing() {
    for seed in 1..=5 {
        assert_eq!(close_a_thousand(seed), (0, 0), "a new channel takes over");
    }
}

/// Whatever is heard first: the notice, the close, the second socket, the successor; and
/// however late. What was missed is asked about at once, not when somebody happens to ask.
#[test]
fn notice_close_and_successor_in_any_order_and_however_late_cost_no_wrap_up_more_than_a_minute() {
    let mut missed = 0;
    for seed in 0..120 {
        let mut rng = Rng::new(seed ^ 0x63_6c_6f_73);
        let mut plan = Plan {
            max_channels: [1, 1, 1, 2, 4][rng.below(5) as usize],
            topics_per_channel: 12,
            ..Plan::calm(seed)
        };
        let notices = ["notice-then-close", "close-at-once", "notice-twice"];
        for (name, value) in [
            ("closing-notice", notices[rng.below(3) as usize]),
            ("closing-seconds", ["1", "5", "60"][rng.below(3) as usize]),
            ("second-socket", ["close", "reset"][rng.below(2) as usize]),
        ] {
            plan.switches.set(name, value).unwrap();
        }
        let mut world = Full::empty(plan, false);
        go(&mut world, 5 * SECOND);
        let all = talking(&mut world, 12, 10 * SECOND);
        go(&mut world, MINUTE);
        assert_eq!(live(&world, &all), 12, "seed {seed}");
        world.net.weather.latency =
            [(5, 60), (50, 900), (5, 4000), (5, 4000)][rng.below(4) as usize];
        let channel = String::from("all");
        fault(&mut world, Fault::Closing { channel });
        world.take_incoming();
        for id in &all {
            go(&mut world, rng.below(600));
            command(&mut world, &Control::Finish { conversation: *id });
            world.take_incoming();
        }
        world.net.weather.latency = (5, 60);
        go(&mut world, MINUTE);
        let truth = world.net.platform.truth();
        missed += truth.wrap_ups().iter().filter(|w| w.frames == 0).count();
        assert_eq!(
            world.history.filed.len(),
            12,
            "seed {seed}: {:?}",
            world.plan
        );
    }
    println!("{missed} wrap-ups met no socket, all were filed within a minute");
    assert!(missed > 20, "{missed} were missed: the story is too kind");
}

/// How many gaps of how many topics it took.
fn close_a_thousand(seed: u64) -> (u64, u64) {
    let mut world = Full::empty(
        Plan {
            max_channels: 2,
            ..Plan::calm(seed)
        },
        false,
    );
    world.audit_every = 50;
    go(&mut world, 5 * SECOND);
    let all = talking(&mut world, 1000, 5 * MINUTE);
    go(&mut world, 10 * MINUTE);
    assert_eq!(live(&world, &all), 1000);
    let old: Vec<_> = world
        .net
        .platform
        .truth()
        .channels()
        .filter_map(|c| c.socket)
        .collect();
    fault(
        &mut world,
        Fault::Closing {
            channel: "all".into(),
        },
    );
    let began = world.clock.time;
    let mut dropped = None;
    for id in &all[..700] {
        command(&mut world, &Control::Finish { conversation: *id });
        world.take_incoming();
        go(&mut world, 100);
        let there = world
            .net
            .platform
            .truth()
            .channels()
            .any(|c| c.socket.is_some_and(|s| old.contains(&s)));
        if !there {
            dropped.get_or_insert(world.clock.time - began);
        }
    }
    let dropped = dropped.expect("the old sockets are gone");
    assert!(
        dropped < 50 * SECOND,
        "the old sockets were dropped after {dropped} ms"
    );
    let gaps = gaps(&world);
    for id in &all[700..] {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    let end = world.clock.time + 2 * HOUR;
    world.settle(end).unwrap();
    assert_eq!(world.history.filed.len(), 1000);
    println!(
        "1,000 topics handed over {dropped} ms after the notice, {} in a gap, 1,000 filed once",
        gaps.1
    );
    gaps
}

#[test]
fn all_twenty_sockets_dropped_with_twenty_thousand_conversations_become_whole_within_the_budget() {
    // A build without optimisation tells a smaller story.
    let (n, each) = if cfg!(debug_assertions) {
        (2000, 100)
    } else {
        (20_000, 1000)
    };
    let plan = Plan {
        topics_per_channel: each,
        ..Plan::calm(2)
    };
    let mut world = Full::empty(plan, false);
    world.audit_every = 20_000;
    go(&mut world, 5 * SECOND);
    let all = talking(&mut world, n, 40 * MINUTE);
    for _ in 0..40 {
        go(&mut world, 5 * MINUTE);
        if world.checks.promised.len() == all.len() && owed(&world) == 0 {
            break;
        }
    }
    assert_eq!((live(&world, &all), owed(&world)), (n, 0));
    let (requests, filed) = (world.net.requests_total, world.history.filed.len());
    let began = world.clock.time;
    world.net.reset(false, &world.clock);
    // One in twenty wraps up before a socket is back.
    for id in all.iter().step_by(20) {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    world.take_incoming();
    let mut all_live = None;
    let mut all_filed = None;
    while all_filed.is_none() || owed(&world) > 0 {
        go(&mut world, 5 * SECOND);
        let waited = world.clock.time - began;
        if live(&world, &all) + n / 20 >= n {
            all_live.get_or_insert(waited);
        }
        if world.history.filed.len() == filed + n / 20 {
            all_filed.get_or_insert(waited);
        }
        assert!(
            waited < 4 * HOUR,
            "{} filed, {} owed after {waited} ms",
            world.history.filed.len() - filed,
            owed(&world)
        );
    }
    println!(
        "{n} conversations after all sockets dropped: live again after {:.1} s, the missed wrap-ups filed after {:.0} s, whole after {:.0} s, {} REST requests, at most {} in a minute",
        all_live.unwrap() as f64 / 1000.0,
        all_filed.unwrap() as f64 / 1000.0,
        (world.clock.time - began) as f64 / 1000.0,
        world.net.requests_total - requests,
        world.net.most_in_a_minute,
    );
}

#[test]
fn a_restart_reattaches_to_its_channels_and_makes_no_new_one() {
    for orderly in [true, false] {
        let plan = Plan {
            max_channels: 4,
            topics_per_channel: 20,
            ..Plan::calm(3)
        };
        let mut world = Full::empty(plan, false);
        go(&mut world, 5 * SECOND);
        let all = talking(&mut world, 50, MINUTE);
        go(&mut world, 5 * MINUTE);
        assert_eq!(live(&world, &all), 50);
        let made = world.net.platform.truth().ledger().channels_created;
        world.kill();
        if !orderly {
            // Somebody wraps up meanwhile.
            command(
                &mut world,
                &Control::Finish {
                    conversation: all[7],
                },
            );
        }
        go(&mut world, 10 * SECOND);
        world.boot();
        go(&mut world, 20 * SECOND);
        assert_eq!(live(&world, &all), if orderly { 50 } else { 49 });
        assert_eq!(world.net.platform.truth().ledger().channels_created, made);
        for id in &all {
            let _ = world.net.platform.control(
                &Control::Finish { conversation: *id },
                world.clock.platform(),
            );
            world.net.collect(&world.clock);
        }
        let end = world.clock.time + 2 * HOUR;
        world.settle(end).unwrap();
        assert_eq!(world.history.filed.len(), 50);
    }
}

#[test]
fn for_two_days_of_short_tokens_every_conversation_is_live_or_due() {
    let mut plan = Plan {
        max_channels: 3,
        topics_per_channel: 50,
        ..Plan::calm(4)
    };
    for (name, value) in [
        ("token-lifetime-seconds", "3600"),
        ("idle-token-timeout-seconds", "300"),
        ("channel-life-seconds", "86400"),
    ] {
        plan.switches.set(name, value).unwrap();
    }
    let mut world = Full::empty(plan, false);
    go(&mut world, 5 * SECOND);
    let all = talking(&mut world, 60, MINUTE);
    go(&mut world, 5 * MINUTE);
    assert_eq!(live(&world, &all), 60);
    let mut dark = 0;
    while world.clock.time < 2 * DAY {
        go(&mut world, 10 * SECOND);
        dark += 60 - live(&world, &all);
    }
    let truth = world.net.platform.truth();
    println!(
        "48 hours: {} channels made, {} tokens, gaps {:?}, {dark} topics seen dark",
        truth.ledger().channels_created,
        truth.ledger().tokens_given,
        gaps(&world)
    );
    assert_eq!((dark, gaps(&world)), (0, (0, 0)));
    for id in &all {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    let end = world.clock.time + 2 * HOUR;
    world.settle(end).unwrap();
    assert_eq!(world.history.filed.len(), 60);
}

#[test]
fn heartbeats_once_a_minute_make_three_gaps_and_then_none_for_a_day() {
    let mut plan = Plan {
        max_channels: 3,
        topics_per_channel: 50,
        ..Plan::calm(5)
    };
    plan.switches.set("heartbeat-seconds", "60").unwrap();
    let mut world = Full::empty(plan, false);
    go(&mut world, 5 * SECOND);
    let all = talking(&mut world, 20, MINUTE);
    go(&mut world, 10 * MINUTE);
    let (early, _) = gaps(&world);
    assert_eq!(early, 3);
    assert_eq!(live(&world, &all), 20);
    go(&mut world, DAY);
    assert_eq!(gaps(&world).0, early);
    for id in &all {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    let end = world.clock.time + 2 * HOUR;
    world.settle(end).unwrap();
    assert_eq!(world.history.filed.len(), 20);
}

#[test]
fn channels_whose_places_are_freed_late_are_used_again_and_nothing_spins() {
    let mut plan = Plan {
        max_channels: 2,
        topics_per_channel: 10,
        ..Plan::calm(6)
    };
    for (name, value) in [("topics-max", "10"), ("places-freed-seconds", "120")] {
        plan.switches.set(name, value).unwrap();
    }
    let mut world = Full::empty(plan, false);
    go(&mut world, 5 * SECOND);
    let first = talking(&mut world, 20, 10 * SECOND);
    go(&mut world, MINUTE);
    assert_eq!(live(&world, &first), 20);
    for id in &first {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    world.take_incoming();
    go(&mut world, 30 * SECOND);
    // The next ones meet channels that are empty by our count and full by the platform's.
    let second = talking(&mut world, 15, 10 * SECOND);
    go(&mut world, 15 * SECOND);
    assert!(world.net.platform.truth().ledger().over_limit > 0);
    go(&mut world, 5 * MINUTE);
    assert_eq!(live(&world, &second), 15);
    for id in &second {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    world.take_incoming();
    go(&mut world, 10 * MINUTE);
    let steps = world.pace.steps;
    go(&mut world, HOUR);
    let steps = world.pace.steps - steps;
    assert!(steps < 3000, "{steps} steps in an idle hour");
    assert_eq!(world.history.filed.len(), 35);
}

/// The machine is off for days, or its clock is set, while records wait: neither is time in which
/// we tried.
#[test]
fn days_without_power_and_clocks_that_are_set_give_no_record_up() {
    let days = 4 * 24 * HOUR;
    for (n, (off, step)) in [
        (days, 0),
        (SECOND, days as i64),
        (SECOND, -(days as i64)),
        (days, -2 * days as i64),
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = Full::empty(Plan::calm(9_000 + n as u64), false);
        for result in 0..30 {
            world
                .agenda
                .plan(SECOND, Event::Ask(Ask::Result(result), 0));
        }
        world.history.mood = Mood::Later(503, None);
        world.history.until = off + 2 * HOUR;
        world.run_until(10 * MINUTE);
        world.kill();
        let back = world.clock.time + off;
        world.agenda.plan(back, Event::Boot);
        world.clock.wall_off += step;
        world.run_until(back + 30 * MINUTE);
        // And once more while it runs.
        world.clock.wall_off += step;
        let end = back + 12 * HOUR;
        world.run_until(end);
        assert_eq!(world.violation, None);
        assert_eq!(world.history.filed.len(), 30, "{off} {step}");
    }
}
