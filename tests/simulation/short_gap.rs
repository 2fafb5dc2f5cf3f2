//! A channel full of conversations, many of which are just being wrapped up, loses its
//! socket for a moment: how long until what was missed in it is filed.

use std::collections::BTreeMap;

use base::ids::{ConversationId, RecordId};
use base::rng::Rng;
use base::rows::Source;
use simulator::model::Control;

use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::full::Full;
use crate::plan::Plan;
use crate::scenarios::{command, go, owed, talking};

/// Conversations on the one channel.
const TOPICS: usize = 750;
/// Between two wrap-ups: 50 a second.
const EVERY: Time = 20;

/// In which order agents wrap up.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Who began first.
    AsAccepted,
    /// Anybody, and in the end everybody.
    Any,
    /// Anybody of those whose customers have left, as has been seen over REST.
    AfterTheCustomer,
}

/// How long the wrap-ups that were missed took to be filed, sorted, and how long it was until
/// nobody was owed an answer.
fn drop_for_a_moment(order: Order, seed: u64) -> (Vec<Time>, Time) {
    let mut world = Full::empty(
        Plan {
            max_channels: 2,
            ..Plan::calm(seed)
        },
        false,
    );
    world.audit_every = 500;
    world.net.weather.latency = (50, 50);
    go(&mut world, 5 * SECOND);
    let mut all = talking(&mut world, TOPICS, 5 * MINUTE);
    go(&mut world, 15 * MINUTE);
    assert_eq!(owed(&world), 0);
    if matches!(order, Order::Any | Order::AfterTheCustomer) {
        let mut rng = Rng::new(seed);
        for n in (1..all.len()).rev() {
            all.swap(n, rng.below(n as u64 + 1) as usize);
        }
    }
    if let Order::AfterTheCustomer = order {
        for id in &all[300..420] {
            command(&mut world, &Control::End { conversation: *id });
        }
        // Until the routine checks have seen it.
        go(&mut world, 20 * MINUTE);
    }
    let began = world.clock.time;
    let (mut wrapped, mut filed): (BTreeMap<ConversationId, Time>, BTreeMap<RecordId, Time>) =
        Default::default();
    let mut left = all.iter();
    let dropped = began + 360 * EVERY;
    let mut whole = None;
    while whole.is_none() || world.clock.time < dropped + MINUTE {
        assert!(world.clock.time < began + 10 * MINUTE, "somebody is owed");
        // But for one case the rest talks on, after a second of it.
        let wrapping = world.clock.time < dropped + SECOND
            || matches!(order, Order::Any) && wrapped.len() < TOPICS;
        if world.clock.time == dropped {
            world.net.reset(false, &world.clock);
        }
        if wrapping && let Some(id) = left.next() {
            command(&mut world, &Control::Finish { conversation: *id });
            wrapped.insert(*id, world.clock.time);
            world.take_incoming();
        }
        go(&mut world, if wrapping { EVERY } else { SECOND / 2 });
        for record in world.history.filed.keys() {
            filed.entry(*record).or_insert(world.clock.time);
        }
        if world.clock.time > dropped + 2 * SECOND && owed(&world) == 0 {
            whole.get_or_insert(world.clock.time - dropped);
        }
    }
    let mut took: Vec<Time> = world
        .disk
        .records
        .values()
        .filter(|r| r.row.source == Source::Reconciliation)
        .filter_map(|r| {
            let at = filed.get(&r.row.record)?;
            Some(at - wrapped[&r.row.conversation?])
        })
        .collect();
    took.sort_unstable();
    for id in left {
        command(&mut world, &Control::Finish { conversation: *id });
    }
    let end = world.clock.time + 2 * HOUR;
    world.settle(end).unwrap();
    assert_eq!(world.history.filed.len(), TOPICS);
    (took, whole.expect("everybody has been asked about"))
}

#[test]
fn what_a_moment_without_a_socket_hid_is_filed_within_half_a_minute() {
    for order in [Order::AsAccepted, Order::AfterTheCustomer, Order::Any] {
        let (took, whole) = drop_for_a_moment(order, 1);
        let median = took[took.len() / 2];
        println!(
            "{order:?}: {} missed, filed after {median} ms at the median, {} at most; all asked after {} s",
            took.len(),
            took[took.len() - 1],
            whole / SECOND
        );
        assert!(took.len() >= 5, "{order:?}: {took:?}");
        assert!(median <= 30 * SECOND, "{order:?}: {took:?}");
        assert!(whole <= 3 * MINUTE, "{order:?}: {whole}");
    }
}
