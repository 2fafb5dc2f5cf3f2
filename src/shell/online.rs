//! `check --online`: a token, a channel, a pong, and which permission is missing.
//!
//! Asks the platform what the daemon will ask it, once, and says in plain
//! sentences what worked. Leaves an emptied, unconnected channel behind, which is
//! the first that the platform evicts (protocol, section 7).
//!
//! Invariant: prints no secret; changes nothing on the platform but that channel.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::outside::Outside;
use super::twins;
use crate::service::ExitCode;
use base::ids::ConversationId;
use base::plain::shown;
use base::secret::Secret;
use filing::topic_of;
use notifications::clock::Clock;
use notifications::redaction;
use notifications::socket_thread::{self, ChannelThread};
use proto::rest::{self, Answer, Failure, Op};
use proto::session::{End, Fact, SessionSettings, SocketRef};
use proto::way::Trouble;

/// How long the socket may take to open and to answer a ping.
const PONG_PATIENCE: Duration = Duration::from_secs(45);

/// Runs the check of each client and prints a line for each step, which names the shard where
/// there is more than one.
pub fn check(clients: &[(&str, &Outside)], out: &mut dyn Write) -> ExitCode {
    let mut known = Vec::new();
    let mut failed = false;
    for (name, outside) in clients {
        let mut steps = Steps {
            out,
            failed: false,
            shard: match clients {
                [_] => String::new(),
                _ => format!("[{name}] "),
            },
        };
        let token = steps.run(outside);
        if let Some(token) = token.filter(|_| clients.len() > 1) {
            match twins::whom(outside, &token) {
                Ok(whom) => known.push(((*name).to_owned(), whom)),
                Err(why) => steps.bad(&format!("whom it stands for: {why}")),
            }
        }
        failed |= steps.failed;
    }
    if let Some(found) = twins::among(&known) {
        let shard = String::new();
        let mut steps = Steps { out, failed, shard };
        steps.bad(&found.to_string());
        return ExitCode::Configuration;
    }
    if failed {
        ExitCode::Unavailable
    } else {
        ExitCode::Done
    }
}

struct Steps<'a> {
    out: &'a mut dyn Write,
    failed: bool,
    /// In front of each line.
    shard: String,
}

impl Steps<'_> {
    fn good(&mut self, text: &str) {
        self.line("ok", text);
    }

    fn bad(&mut self, text: &str) {
        self.failed = true;
        self.line("FAILED", text);
    }

    fn line(&mut self, word: &str, text: &str) {
        let text = shown(&redaction::own(text));
        // A closed output is no reason to stop checking.
        let _ = writeln!(self.out, "{word:8} {}{text}", self.shard);
    }

    /// The token that it all went with.
    fn run(&mut self, outside: &Outside) -> Option<Secret> {
        let token = match outside.call(&Op::Token, None).result {
            Ok(Answer::Token {
                access_token,
                expires_in,
            }) => {
                self.good(&format!("token: held for {} s", expires_in.as_secs()));
                access_token
            }
            other => {
                self.bad(&format!("token: {}", sentence(other.err())));
                return None;
            }
        };
        let channel = match outside.call(&Op::CreateChannel, Some(&token)).result {
            Ok(Answer::Channel(rest::Channel {
                id: Some(id),
                connect_uri: Some(uri),
                ..
            })) => (id, uri),
            other => {
                self.bad(&format!("channel: {}", sentence(other.err())));
                return Some(token);
            }
        };
        self.good(&format!("channel: made, ending in {}", channel.0.tail()));
        match outside.streaming.judge(channel.1.expose()) {
            Ok(()) => self.pong(outside, channel.1),
            Err(refused) => self.bad(&format!(
                "socket: not opened, because of the connectUri, {refused}"
            )),
        }
        self.permissions(outside, &token, &channel.0);
        // Leave it empty; it ends by itself.
        let _ = outside.call(&Op::Empty(channel.0), Some(&token));
        Some(token)
    }

    fn pong(&mut self, outside: &Outside, connect_uri: Secret) {
        let (facts, heard): (_, Receiver<Fact>) = bounded(64);
        let thread = ChannelThread {
            socket: SocketRef {
                slot: 1,
                generation: 1,
            },
            connect_uri,
            // A person waits: ask for the pong at once.
            session: SessionSettings {
                ping_interval: Duration::from_millis(500),
                ..outside.session
            },
            connector: outside.connector.clone(),
            facts: Box::new(move |_, fact| {
                let _ = facts.send(fact);
            }),
            clock: Arc::new(Clock::new()),
            name: socket_thread::name_of(1),
            farewell: socket_thread::FAREWELL,
        };
        let deadline = Instant::now() + PONG_PATIENCE;
        let handle = match socket_thread::spawn(thread) {
            Ok(handle) => handle,
            Err(error) => return self.bad(&format!("socket: no thread: {error}")),
        };
        loop {
            match heard.recv_deadline(deadline) {
                Ok(Fact::Heard) => {
                    self.good("socket: open, and the platform answers");
                    break;
                }
                Ok(Fact::Ended(end)) => {
                    self.bad(&format!("socket: {}", words(&end)));
                    break;
                }
                Ok(_) => {}
                Err(_) => {
                    self.bad("socket: no pong and no heartbeat in time");
                    break;
                }
            }
        }
        drop(heard);
        handle.join(Instant::now() + Duration::from_secs(3));
    }

    fn permissions(&mut self, outside: &Outside, token: &Secret, channel: &Secret) {
        // A conversation that does not exist: permissions are checked all the same.
        let nobody = ConversationId(uuid::Uuid::from_u128(
            0x0000_0000_0000_4000_8000_0000_0000_0001,
        ));
        let add = Op::AddTopics(channel.clone(), vec![topic_of(nobody)]);
        match outside.call(&add, Some(token)).result {
            Ok(Answer::Topics(states)) => match states.into_iter().find_map(|s| s.rejected) {
                None => self.good("after-call-work topics may be subscribed"),
                Some(why) => self.bad(&format!(
                    "after-call-work topics may not be subscribed: {why}"
                )),
            },
            other => self.bad(&format!(
                "after-call-work topics may not be subscribed: {}",
                sentence(other.err())
            )),
        }
        match outside.call(&Op::Conversation(nobody), Some(token)).result {
            Ok(_) | Err(Failure::NotFound) => self.good("conversations may be read"),
            Err(Failure::Forbidden(why)) => self.bad(&format!(
                "conversations may not be read (permission conversation:communication:view): {why}"
            )),
            other => self.bad(&format!(
                "conversations could not be read: {}",
                sentence(other.err())
            )),
        }
        match outside.call(&Op::Conversations(vec![nobody]), Some(token)).result {
            Ok(_) | Err(Failure::NotFound) => self.good("analytics details may be read"),
            Err(Failure::Forbidden(why)) => self.bad(&format!(
                "analytics details may not be read (permission analytics:conversationDetail:view): {why}"
            )),
            other => self.bad(&format!("analytics details could not be read: {}", sentence(other.err()))),
        }
    }
}

/// The end of a socket as the daemon would log it.
fn words(end: &End) -> String {
    let Some(trouble) = Trouble::of(end) else {
        return "closed on our own order".into();
    };
    let more = match end {
        End::NotConnected { detail, .. } | End::Broken(detail) | End::Misbehaved(detail) => {
            detail.clone()
        }
        End::Closed(code) => format!("closed with {code}"),
        End::UpgradeRefused {
            retry_after: Some(wait),
            ..
        } => format!("to be tried again in {} s", wait.as_secs()),
        _ => String::new(),
    };
    match more.is_empty() {
        true => format!("{}: {trouble}", trouble.label()),
        false => format!("{}: {trouble} ({more})", trouble.label()),
    }
}

fn sentence(failure: Option<Failure>) -> String {
    match failure {
        Some(Failure::Login { sentence, .. }) => sentence,
        Some(Failure::Forbidden(why)) => format!("403 {why}"),
        Some(Failure::BadRequest { status, detail }) => format!("{status} {detail}"),
        Some(Failure::Server { status, .. }) => format!("the platform answers {status}"),
        Some(Failure::NoAnswer(why)) => format!("the platform {}", why.sentence()),
        Some(Failure::Unauthorized) => "the token is not accepted".into(),
        Some(Failure::RateLimited(_)) => {
            "the platform limits the rate of requests; try again in a minute".into()
        }
        Some(Failure::NotFound) => "404".into(),
        Some(Failure::TooManyTopics) => "too many topics".into(),
        Some(Failure::Garbled) | None => "an answer that is not understood".into(),
    }
}
