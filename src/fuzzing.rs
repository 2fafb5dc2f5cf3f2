//! Every reader of foreign bytes, as a target for a fuzzer: bytes in, and an
//! invariant that must hold whatever they are. Not part of the program.
//!
//! The same targets run twice: under `cargo fuzz` (the folder `fuzz`, coverage
//! guided, a nightly toolchain), and as library tests over the corpus in
//! `fuzz/corpus` with seeded mutations, bounded and the same each time
//! (`FUZZ_RUNS=100000 cargo test --release --lib fuzzing` for more of them).
//! What a fuzzer finds goes into the corpus, or becomes a test beside the reader. `fuzz/run
//! SECONDS` takes all of them through libFuzzer, with the versions of `Cargo.lock`.
//!
//! What ran last under libFuzzer with AddressSanitizer, from the corpus of the folder, as two
//! processes of the lowest priority on a virtual machine of two cores that others kept more than
//! busy (so minutes are long and executions few); learnt are inputs that reached something new:
//!
//! | Target | Minutes | Executions | Learnt |
//! |---|---|---|---|
//! | `head` | 1.5 | 201,245 | 1537 |
//! | `body` | 1.5 | 18,577 | 235 |
//! | `intake_body` | 1.5 | 4,324 | 225 |
//! | `event` | 1.5 | 4,495 | 486 |
//! | `upgrade` | 1.5 | 6,387 | 435 |
//! | `frames` | 1.5 | 1,882 | 365 |
//! | `rest_answer` | 1.5 | 1,134 | 301 |
//! | `oauth_answer` | 1.5 | 10,987 | 691 |
//! | `configuration` | 1.5 | 323 | 104 |
//! | `files` | 1.5 | 2,400 | 357 |
//! | `template` | 1.5 | 546 | 173 |
//! | `rows` | 1.5 | 265 | 50 |
//!
//! It found no fault of a reader. Fifty thousand mutations of each corpus (`FUZZ_RUNS=50000`;
//! `rows`, where each run makes a database, did not get that far) found three targets that were
//! stricter than the readers mean to be: numbers beyond a double, a `Retry-After` of a century,
//! an empty password. Writing the target `event` found that names in another letter case were
//! read over the WebSocket and not over HTTP.
//!
//! Invariant: a target asserts something about what was read, not only that
//! reading came back.

use std::time::Duration;

use crate::gateway::{self, Gateway};
use crate::shell::http::json::Document;
use base::foreign;
use base::ids::{ConversationId, Topic};
use base::rng::Rng;
use base::rows;
use base::secret::Secret;
use base::time::{Now, Wall};
use base::wire::Response;
use filing::reconcile;
use filing::template::Renderer;
use proto::limits::RATE_HOLD_MAX;
use proto::pacing::Budget;
use proto::rest::{self, Op};
use proto::session::{Fact, Input, Order, Output, Session, SessionSettings};
use proto::{frames, oauth};

/// A target: its name, which is that of its corpus too, and what it does.
pub struct Target {
    /// Names the fuzz target and the corpus.
    pub name: &'static str,
    /// Panics if the invariant does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "head",
        run: crate::shell::gate::fuzz_head,
    },
    Target {
        name: "body",
        run: crate::shell::gate::fuzz_body,
    },
    Target {
        name: "intake_body",
        run: intake_body,
    },
    Target {
        name: "event",
        run: crate::shell::http::fuzz_event,
    },
    Target {
        name: "upgrade",
        run: notifications::fuzz_upgrade,
    },
    Target {
        name: "frames",
        run: session_frames,
    },
    Target {
        name: "rest_answer",
        run: rest_answer,
    },
    Target {
        name: "oauth_answer",
        run: oauth_answer,
    },
    Target {
        name: "configuration",
        run: configuration,
    },
    Target {
        name: "files",
        run: files,
    },
    Target {
        name: "template",
        run: template,
    },
    Target {
        name: "rows",
        run: rows_on_load,
    },
];

/// Runs the target of that name; for the fuzz folder, where each has a program of its own.
///
/// # Panics
/// The invariant does not hold, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|t| t.name == name);
    (target.expect("a target of that name").run)(data);
}

/// Splits off the first byte, which chooses between variants.
fn choice(data: &[u8]) -> (usize, &[u8]) {
    match data.split_first() {
        Some((first, rest)) => (usize::from(*first), rest),
        None => (0, data),
    }
}

/// Strict JSON: what is taken, `serde_json` takes too, and the members are those it finds.
fn intake_body(data: &[u8]) {
    let Ok(document) = Document::parse(data) else {
        return;
    };
    // A number may be beyond every machine type: it is kept digit for digit.
    let strict: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(data);
    assert!(strict.is_ok(), "what is taken is JSON for others, too");
    let value = foreign::value(data).expect("a document");
    let members = document.members();
    assert_eq!(members.is_some(), value.is_object());
    if let (Some(members), Some(object)) = (members, value.as_object()) {
        assert_eq!(members.len(), object.len(), "no name twice, none lost");
        let text = crate::shell::http::json::object(members.iter());
        let again = foreign::value(text.as_bytes()).expect("written as read");
        assert_eq!(again, value);
    }
}

/// Frames, one a line, into a session with two requests under way: every order is answered once.
fn session_frames(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut now = Now::default().plus(std::time::Duration::from_secs(1000));
    let mut session = Session::new(SessionSettings::default(), now);
    let topics = || vec![Topic::new("v2.detail.events.conversation.7.acw")];
    let mut answered = [0_u32; 3];
    let mut ended = 0_u32;
    let mut give = |input: Input<'_>, now: Now| {
        session.handle(input, now);
        while let Some(output) = session.poll_output() {
            match output {
                Output::Fact(Fact::Ended(_)) => ended += 1,
                Output::Fact(Fact::Subscribed { ticket } | Fact::Unsubscribed { ticket }) => {
                    answered[ticket as usize] += 1
                }
                Output::Fact(Fact::Refused { ticket, .. }) => answered[ticket as usize] += 1,
                _ => assert_eq!(ended, 0, "nothing more after the end"),
            }
        }
    };
    give(Input::Opened, now);
    let (ticket, other) = (1, 2);
    let subscribe = Order::Subscribe {
        ticket,
        topics: topics(),
    };
    give(Input::Order(subscribe), now);
    let unsubscribe = Order::Unsubscribe {
        ticket: other,
        topics: topics(),
    };
    give(Input::Order(unsubscribe), now);
    for line in text.lines() {
        let frame = frames::classify(line);
        assert!(!frame.label().is_empty());
        now = now.plus(std::time::Duration::from_millis(10));
        give(Input::Text(line), now);
    }
    assert!(answered.iter().all(|n| *n <= 1), "one answer for an order");
}

/// Any call answered with any status, headers and body.
fn rest_answer(data: &[u8]) {
    let id = ConversationId(uuid::Uuid::from_u128(
        0x7c1f_4b9e_5d0a_4c58_9a3e_2f6b_8d1e_0c47,
    ));
    let ops = [
        Op::Token,
        Op::CreateChannel,
        Op::ListChannels,
        Op::Subscriptions(Secret::new("c")),
        Op::AddTopics(Secret::new("c"), vec![Topic::new("v2.a.b.acw")]),
        Op::Empty(Secret::new("c")),
        Op::RemoveAll(Secret::new("c")),
        Op::KeepWarm,
        Op::IdleTimeout,
        Op::TokenIdles,
        Op::Conversation(id),
        Op::Conversations(vec![id]),
    ];
    let (n, rest) = choice(data);
    let response = response(rest);
    let op = &ops[n % ops.len()];
    let outcome = rest::decode(op, &response, Wall(1_767_886_512_345));
    // Whatever is asked for, nothing is silent for ever.
    let now = Now::default()
        .plus(std::time::Duration::from_secs(1000))
        .mono;
    let mut budget = Budget::default();
    budget.learn(op, &outcome, now, &mut Rng::new(7));
    let most = RATE_HOLD_MAX * 9 / 8 + std::time::Duration::from_secs(1);
    assert!(budget.quiet_for(now) <= most);
    assert!(budget.held_until(op).since(now) <= most);
    let subject = budget.subject_held_until(op);
    assert!(subject.is_none_or(|until| until.since(now) <= most));
    assert!(budget.allowed() > 0);
    // What is handed on of a conversation is read by the other half.
    let text = String::from_utf8_lossy(&response.body);
    if let Ok(view) = reconcile::read_conversation(&text, id) {
        let _ = view.finished();
    }
    let _ = reconcile::read_details(&text);
    if let Some(mended) = foreign::text(&response.body) {
        let strict: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&mended);
        assert!(strict.is_ok(), "what is told is JSON for a strict parser");
        let again = foreign::text(mended.as_bytes()).expect("still JSON");
        assert_eq!(again, mended, "told once is told for good");
    }
}

fn oauth_answer(data: &[u8]) {
    let response = response(data);
    match oauth::decode(&response, Wall(1_767_886_512_345)) {
        Ok(token) => {
            assert!(matches!(response.status, 200..=299));
            assert!(!token.access_token.expose().is_empty());
            assert!(!token.expires_in.is_zero());
        }
        Err(error) => {
            let said = error.to_string();
            assert!(
                !said.contains('\n') && said.len() < 4096,
                "one bounded line: {said}"
            );
            assert!(!error.hint().is_empty());
        }
    }
}

/// `status`, then lines of `name: value`, an empty line, a body.
fn response(data: &[u8]) -> Response {
    let (head, body) = match data.windows(2).position(|w| w == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|s| s.parse().ok()).unwrap_or(200);
    Response {
        status,
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect(),
        body: body.to_vec(),
    }
}

/// A file of the operator's: refused with problems that can be read, or taken.
fn configuration(data: &[u8]) {
    let name = format!(
        "genesys-gateway-fuzzing.{}.{:?}.toml",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, data).expect("the temporary directory takes a file");
    let environment = crate::config::Environment::default();
    let read = crate::config::Config::load_in(&path, &environment);
    let _ = std::fs::remove_file(&path);
    match read {
        Ok((config, _)) => assert!(!config.effective().is_empty()),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.trim().is_empty());
            assert!(
                said.chars().all(|c| c == '\n' || !c.is_control()),
                "fit for a terminal: {said:?}"
            );
        }
    }
}

/// A file that a key names, read at the start and at every reload.
fn files(data: &[u8]) {
    let (kind, data) = choice(data);
    crate::config::fuzz_files(kind, data);
}

/// A template of the operator's, and a record's body: JSON, or an error.
fn template(data: &[u8]) {
    let (source, body) = match data.split(|b| *b == 0).collect::<Vec<_>>()[..] {
        [source, body, ..] => (Some(source), body),
        _ => (None, data),
    };
    let source = source.map(String::from_utf8_lossy);
    let Ok(renderer) = Renderer::new(source.as_deref()) else {
        return;
    };
    let body = String::from_utf8_lossy(body);
    for kind in rows::RecordKind::ALL {
        let row = filing::template::example(*kind);
        if let Ok(json) = renderer.render(&row, Some(&body), Some(&body)) {
            // A number may be beyond every machine type: it goes on digit for digit.
            let strict: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&json);
            assert!(strict.is_ok(), "what is posted is JSON: {json:?}");
        }
    }
}

#[cfg(test)]
mod tests;

/// The core starts from whatever rows could be read.
fn rows_on_load(data: &[u8]) {
    let recovered = store::odd_rows(data);
    let now = Now::default().plus(Duration::from_secs(1000));
    let settings = gateway::Settings {
        platform: proto::Settings {
            max_channels: 2,
            topics_per_channel: 10,
            renew_before: Duration::from_secs(3600),
            streaming: proto::connect_uri::Streaming::default(),
        },
        filing: filing::settings::Settings::default(),
    };
    let mut core = Gateway::new(settings, &recovered, now, 7);
    while core.poll_output().is_some() {}
    let due = core.next_deadline(now);
    assert!(due.is_none_or(|due| due.at >= now.mono), "{due:?}");
}
