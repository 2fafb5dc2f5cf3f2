//! The public library over real sockets, against the simulated platform: one channel, whoever
//! made it.
#![allow(clippy::unwrap_used)]

mod available;
mod client;
mod hostile;
mod one_channel;
mod passing_time;
mod sleeping;

use std::time::{Duration, Instant};

use notifications::{Channel, Error, Item};
use serde_json::json;
use simulator::{Options, Running};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A second, and what a busy machine takes beside.
const SOON: Duration = Duration::from_secs(4);

/// A platform with these switches.
fn platform(switches: &[(&str, &str)]) -> Running {
    let platform = simulator::start(Options::default()).unwrap();
    for (name, value) in switches {
        platform.switch(name, value).unwrap();
    }
    platform
}

fn fault(platform: &Running, fault: serde_json::Value) {
    let command = json!({"command": "fault", "fault": fault});
    platform.command(&command.to_string()).unwrap();
}

fn conversation(platform: &Running) -> String {
    platform.begin_conversation().unwrap()
}

fn topic_of(conversation: &str) -> String {
    format!("v2.detail.events.conversation.{conversation}.acw")
}

fn wrap_up(platform: &Running, conversation: &str) {
    platform.finish_conversation(conversation).unwrap();
}

/// Items until one that is looked for, which is given back; what came before goes to `seen`.
#[track_caller]
fn until(channel: &Channel, seen: &mut Vec<Item>, wanted: impl Fn(&Item) -> bool) -> Item {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match channel.recv_timeout(Duration::from_millis(200)) {
            Ok(Some(item)) if wanted(&item) => return item,
            Ok(Some(item)) => seen.push(item),
            Ok(None) => {}
            Err(error) => panic!("{error:?} after {seen:#?}"),
        }
    }
    panic!("not in time; seen: {seen:#?}");
}

/// The error that ends a channel, or is told between its items.
#[track_caller]
fn failure(channel: &Channel) -> Error {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Err(error) = channel.recv_timeout(Duration::from_millis(200)) {
            return error;
        }
    }
    panic!("no failure in time");
}

fn is_live(item: &Item) -> bool {
    matches!(item, Item::Live { .. })
}

fn is_event(item: &Item) -> bool {
    matches!(item, Item::Notification { .. })
}

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok());
    names.filter(|n| n.starts_with(name)).count()
}
