//! What a client costs whose reader sleeps: memory, threads, wake-ups.
//!
//! Memory is that of a whole process, and the platform is none of the client's: the client runs in
//! a process of its own, this same program, started again for the one test that is it.
//! `cargo test --test notifications -- sleeps_is_small --nocapture` shows the figures; those of the
//! guide are of that build.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use notifications::Client;

use super::*;

/// All that a client may have.
const TOPICS: usize = 20_000;
/// Frames of half a MiB that nobody reads: many times what may wait.
const LARGE: usize = 400;
/// Small ones after them: more than may wait.
const SMALL: usize = 5000;
/// For all of them, on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// Where the platform is, and its credentials, for the process that is the client.
const PLATFORM: &str = "SLEEPING_CLIENT_PLATFORM";

/// A number of `/proc/self/status`.
fn status_of(path: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let number = line.and_then(|l| l.trim_start_matches(':').split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// KiB that the process holds in memory.
fn memory() -> u64 {
    status_of("/proc/self/status", "VmRSS")
}

/// How often threads with this name went to sleep until now.
fn sleeps(name: &str) -> u64 {
    let mut all = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            let status = path.join("status");
            all += status_of(status.to_str().unwrap(), "voluntary_ctxt_switches");
        }
    }
    all
}

/// The client of the test below, in a process of its own; nothing where nobody started it for that.
#[test]
fn a_client_for_whoever_measures_it() {
    let Ok(platform) = std::env::var(PLATFORM) else {
        return;
    };
    let [api, login, id, secret] = platform.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{platform}");
    };
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let say = |what: serde_json::Value| {
        println!("measured {what}");
        std::io::stdout().flush().unwrap();
    };
    let before = memory();
    let client = Client::builder()
        .hosts(api, login)
        .client_credentials(id, secret)
        .name("sleeper")
        .connect()
        .unwrap();
    let topics: Vec<String> = line().split(' ').map(topic_of).collect();
    client.subscribe(topics).unwrap();
    let began = Instant::now();
    let mut live = 0;
    while live < TOPICS {
        assert!(began.elapsed() < LONG, "{live}");
        if let Ok(Some(Item::Live { topics })) = client.recv_timeout(Duration::from_secs(1)) {
            live += topics.len();
        }
    }
    say(json!({
        "seconds": began.elapsed().as_secs(), "before": before, "live": memory(),
        "threads": threads("sleeper"),
    }));
    line();
    let (asleep, then) = (memory(), sleeps("sleeper"));
    std::thread::sleep(Duration::from_secs(5));
    let wakes = sleeps("sleeper") - then;
    let threads_asleep = threads("sleeper");
    drop(client);
    let dropped = Instant::now();
    while threads("sleeper") > 0 && dropped.elapsed() < 2 * SOON {
        std::thread::sleep(Duration::from_millis(5));
    }
    let millis = u64::try_from(dropped.elapsed().as_millis()).unwrap();
    say(json!({"asleep": asleep, "wakes": wakes, "threads": threads_asleep, "ended": millis}));
}

#[test]
fn a_client_with_twenty_thousand_topics_whose_reader_sleeps_is_small_and_quiet() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..TOPICS).map(|_| conversation(&platform)).collect();
    let place = [
        &platform.api_url,
        &platform.login_url,
        &platform.client_id,
        &platform.client_secret,
    ]
    .map(String::as_str)
    .join(" ");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sleeping::a_client_for_whoever_measures_it"])
        .arg("--nocapture")
        .env(PLATFORM, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut measured = || -> serde_json::Value {
        loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, json)) = line.split_once("measured ") {
                return serde_json::from_str(json).unwrap();
            }
        }
    };
    writeln!(to, "{}", ids.join(" ")).unwrap();
    let live = measured();
    let body = "x".repeat(500 * 1024);
    let text = json!({"topicName": topic_of(&ids[0]), "eventBody": {"notes": body}}).to_string();
    for _ in 0..LARGE {
        fault(
            &platform,
            json!({"fault": "frame", "channel": "any", "text": text}),
        );
    }
    for id in &ids[..SMALL] {
        wrap_up(&platform, id);
    }
    // They are on their way: once nothing moves any more, it sleeps.
    std::thread::sleep(Duration::from_secs(3));
    writeln!(to).unwrap();
    let asleep = measured();
    drop(to);
    assert!(child.wait().unwrap().success());
    println!("live: {live}\nasleep: {asleep}");
    let number = |value: &serde_json::Value, name: &str| value[name].as_u64().unwrap();
    let mib = |value: &serde_json::Value, name: &str| {
        (number(value, name).saturating_sub(number(&live, "before"))) / 1024
    };
    // A driver, two for REST, and one for each of twenty channels.
    assert_eq!(number(&live, "threads"), 23);
    assert_eq!(number(&asleep, "threads"), 23);
    assert!(mib(&live, "live") < 60, "{live}");
    assert!(mib(&asleep, "asleep") < 90, "{asleep}");
    // Signs of life of twenty sockets.
    assert!(number(&asleep, "wakes") < 40, "{asleep}");
    assert!(number(&asleep, "ended") < 4000, "{asleep}");
}
