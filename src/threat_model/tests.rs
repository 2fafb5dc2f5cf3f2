//! The most memory: the table against the bounds in the code, and the unit against the table.

use crate::shell::daemon::HELD_MAX;
use crate::shell::gate::GateLimits;
use crate::shell::main_loop::STORE_ORDERS_MAX;
use crate::shell::operators;
use filing::settings::{
    BATCH_BYTES_MAX, LIVE_INTERACTIONS_MAX, UNCOMMITTED_BYTES_MAX, UNDELIVERED_MAX,
};
use notifications::rest::CONVERSATIONS_MAX;
use proto::frames::FRAME_MAX;
use proto::limits::{CALLS_IN_FLIGHT_MAX, CHANNELS_MAX};
use store::MEMBERS_BYTES_MAX;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn behind(limits: &GateLimits) -> usize {
    let body = usize::try_from(limits.body_bytes).unwrap();
    limits.in_flight * (4 * body + MEMBERS_BYTES_MAX + limits.answer_bytes)
}

/// The rows of the table, reckoned from the code.
fn reckoned() -> Vec<usize> {
    let intake = GateLimits {
        held: HELD_MAX,
        ..GateLimits::default()
    };
    let operators = operators::limits();
    vec![
        intake.memory_of_connections(),
        intake.memory_of_held(),
        intake.memory,
        behind(&intake),
        operators.memory_of_connections(),
        operators.memory,
        behind(&operators),
        UNDELIVERED_MAX * 600,
        LIVE_INTERACTIONS_MAX * KIB,
        UNCOMMITTED_BYTES_MAX + STORE_ORDERS_MAX * BATCH_BYTES_MAX,
        usize::from(CHANNELS_MAX) * (FRAME_MAX + 4 * MIB),
        CALLS_IN_FLIGHT_MAX * 3 * CONVERSATIONS_MAX,
        4 * 3 * (MEMBERS_BYTES_MAX + FRAME_MAX),
    ]
}

/// The last column of the table.
fn written() -> Vec<usize> {
    include_str!("../threat_model.rs")
        .lines()
        .skip_while(|line| *line != "//! | What | Reckoned as | MiB |")
        .skip(2)
        .map_while(|line| line.strip_prefix("//! |")?.strip_suffix('|'))
        .map(|row| row.rsplit('|').next().unwrap().trim().parse().unwrap())
        .collect()
}

#[test]
fn the_table_of_memory_is_reckoned_from_the_bounds_in_the_code() {
    let mut expected: Vec<usize> = reckoned().iter().map(|bytes| bytes / MIB).collect();
    expected.push(expected.iter().sum());
    assert_eq!(written(), expected);
}

#[test]
fn the_unit_allows_more_memory_than_the_bounds_add_up_to() {
    let unit = include_str!("../../systemd/genesys-gateway.service");
    let max = unit
        .lines()
        .find_map(|line| line.strip_prefix("MemoryMax=")?.strip_suffix('G'))
        .expect("MemoryMax= in whole gibibytes");
    let max: usize = max.parse().unwrap();
    let sum: usize = reckoned().iter().sum();
    assert!(max * 1024 * MIB > sum + sum / 8, "{sum}");
}
