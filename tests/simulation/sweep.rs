//! Beside chance: one small story in which the first, the second, the third …
//! commit, request, message or post fails, once or for long, or the process is
//! killed after the first, the second, the third … order, until the story
//! passes untouched.

use base::ids::ConversationId;
use base::rng::Rng;
use simulator::model::Life;

use crate::agenda::{HOUR, MINUTE, SECOND};
use crate::full::{Ask, Event, Full};
use crate::plan::Plan;

/// More than any step of the story; a sweep that gets here does not end.
const MOST: u64 = 2000;

/// Three conversations with transfer, re-wrap and re-opening, and a result.
fn story(arrange: impl FnOnce(&mut Full)) -> Full {
    let mut world = Full::empty(
        Plan {
            max_channels: 2,
            topics_per_channel: 10,
            ..Plan::calm(5)
        },
        false,
    );
    let mut rng = Rng::new(5);
    for n in 0..3u64 {
        let life = Life {
            id: Some(ConversationId(rng.uuid())),
            agents: 1 + u32::from(n == 1),
            talk_ms: 40 * SECOND,
            acw_ms: 10 * SECOND,
            rewrap_after_ms: (n == 2).then_some(30 * SECOND),
            reopen_after_ms: (n == 0).then_some(20 * SECOND),
            ..Life::default()
        };
        let id = life.id.unwrap();
        let begins = 10 * SECOND + n * 7 * SECOND;
        world.checks.life(id, begins + 3 * MINUTE);
        world.agenda.plan(begins, Event::Begin(Box::new(life)));
    }
    world
        .agenda
        .plan(30 * SECOND, Event::Ask(Ask::Result(1), 0));
    arrange(&mut world);
    world
}

fn passes(what: &str, n: u64, mut world: Full) -> Full {
    world.run_until(4 * MINUTE);
    let end = world.clock.time + 80 * HOUR;
    if let Err(text) = world.settle(end) {
        panic!("{what} {n}: {text}");
    }
    world
}

#[test]
fn every_commit_may_fail_once_or_for_long() {
    for times in [1, 15] {
        for n in 0..MOST {
            let world = passes("commit", n, story(|w| w.disk.fail_from = Some((n, times))));
            if world.disk.commits <= n {
                println!("commits failing {times} times: {n} swept");
                break;
            }
            assert!(n + 1 < MOST);
        }
    }
}

#[test]
fn every_request_may_fail_once_or_for_long() {
    for times in [1, 15] {
        for n in 0..MOST {
            let world = passes("request", n, story(|w| w.net.fail_from = Some((n, times))));
            // Requests that keep the token warm go on for ever.
            if world.net.requests_total <= n || n > 60 {
                println!("requests failing {times} times: {n} swept");
                break;
            }
        }
    }
}

#[test]
fn every_message_may_cost_its_connection_once_or_often() {
    for times in [1, 5] {
        for n in 0..MOST {
            let world = passes("message", n, story(|w| w.net.break_from = Some((n, times))));
            if world.net.frames_up <= n {
                println!("messages breaking {times} times: {n} swept");
                break;
            }
            assert!(n + 1 < MOST);
        }
    }
}

#[test]
fn every_post_may_fail_once_or_for_long() {
    for times in [1, 15] {
        for n in 0..MOST {
            let world = passes("post", n, story(|w| w.history.fail_from = Some((n, times))));
            if world.history.posts <= n {
                println!("posts failing {times} times: {n} swept");
                break;
            }
            assert!(n + 1 < MOST);
        }
    }
}

#[test]
fn the_process_may_be_killed_after_every_order() {
    let most = 150;
    let step = if cfg!(debug_assertions) { 4 } else { 1 };
    for n in (1..most).step_by(step) {
        let world = passes("order", n, story(|w| w.kill_at_output = Some(n)));
        if world.kill_at_output.is_some() {
            println!("kills: {n} swept");
            return;
        }
    }
    println!("kills: {most} swept");
}
