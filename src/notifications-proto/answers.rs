//! What the answers to REST calls mean: tokens, new channels, questions of
//! whoever watches (protocol, sections 2, 3 and 10).
//!
//! Invariant: every answer reaches exactly one place, chosen by the purpose
//! with which the call was queued.

use std::time::Duration;

use super::calls::{Answered, ChannelRef, Done, Purpose, Verdict};
use super::channel::{Phase, Term};
use super::client::{Astray, Client, Spare};
use super::connect_uri::Refused;
use super::limits::{ASTRAY_PAUSE, ASTRAY_PAUSE_MAX, LOOK_PAUSE};
use super::reasons::Suspicion;
use super::rest::{self, Failure, Op, Outcome};
use super::{CallId, Fact, Output};
use base::fetch::{Fetch, FetchOutcome};
use base::gap::GapCause;
use base::notice::{Level, Notice};
use base::time::{Mono, Now};

/// What is said where keeping the token warm does not.
pub const TOKEN_COOLS: &str = "calls about the token do not reset the organisation's inactivity timeout: each \
     token is replaced, and its channels with it, before it idles out; to spare that, let the calls of \
     /api/v2/tokens count as activity in the organisation's setting for automatic inactivity timeout, \
     or make that timeout longer";

impl Client {
    pub(super) fn answered(&mut self, call: CallId, outcome: Outcome, now: Now) {
        if let Some((channel, topics)) = self.calls.adding(call)
            && let Some(c) = channel.of_mut(&mut self.channels)
        {
            c.books.adding_ended(topics);
        }
        match self
            .calls
            .answered(call, outcome, &mut self.budget, now, &mut self.rng)
        {
            Answered::Later => {}
            Answered::Doubt => {
                if !self.calls.pending(|p| *p == Purpose::Warm) {
                    self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
                }
            }
            Answered::Done(done) => self.done(*done, now),
        }
    }

    pub(super) fn done(&mut self, done: Done, now: Now) {
        if !matches!(done.outcome.result, Err(Failure::NoAnswer(_))) {
            self.platform_heard(now);
        }
        if done.outcome.result.is_ok() && self.token.answered(done.serial, done.asked) {
            self.retime(done.serial);
        }
        if let Some(id) = &done.added_to
            && let Purpose::Extend(channel, _) | Purpose::Blame(channel, _) = &done.purpose
            && !self.serves(*channel)
        {
            // It was given up meanwhile, and now may have topics again.
            self.abandon_id(id.clone(), now);
        }
        match done.purpose {
            Purpose::Token => self.token_answered(done.outcome, now),
            Purpose::Warm => {
                if done.outcome.result.is_ok() {
                    self.token.kept_warm(done.serial, done.asked);
                }
                self.warm_answered(done.serial, &done.outcome, now);
            }
            Purpose::Look(since) => self.looked(done.serial, &done.outcome, since, done.asked),
            Purpose::Idle => match done.outcome.result {
                Ok(rest::Answer::IdleTimeout(idle)) => self.token.idle_timeout(idle),
                // Without the permission to read it the shortest one is assumed.
                _ => self.token.idle_timeout(None),
            },
            Purpose::List => self.listed(&done.outcome, now),
            Purpose::Create(channel) => self.created(channel, done.serial, done.outcome, now),
            Purpose::Resync(channel) => self.resynced(channel, done.outcome, now),
            Purpose::Blame(channel, topics) => self.blamed(channel, topics, done.outcome, now),
            Purpose::Extend(channel, topics) => self.extended(channel, topics),
            Purpose::Empty(id) => self.emptied(&id, &done.outcome, now),
            Purpose::Fetch(fetch) => {
                let outcome = fetch_outcome(&fetch, done.outcome.result);
                self.out.push_back(Output::Fact(Fact::Fetched {
                    fetch,
                    asked_at: done.asked,
                    outcome,
                }));
            }
        }
    }

    pub(super) fn token_answered(&mut self, outcome: Outcome, now: Now) {
        match outcome.result {
            Ok(rest::Answer::Token {
                access_token,
                expires_in,
            }) => {
                let first = self.token.failures() > 0;
                let serial = self.token.got(access_token, expires_in, now);
                if self.way.other_token(now) {
                    // They are tried at once, and replaced if it was that.
                    for c in self.channels.values_mut() {
                        if let Phase::Waiting(until) = &mut c.phase {
                            *until = (*until).min(now.mono);
                        }
                    }
                }
                // Nobody keeps the one before warm any more.
                self.retime(serial.saturating_sub(1));
                if first {
                    self.notice(Notice::new(
                        Level::Info,
                        "token-again",
                        "a token is held again",
                    ));
                }
                if !self.calls.pending(|p| *p == Purpose::Idle) {
                    self.calls.queue(Op::IdleTimeout, Purpose::Idle, now);
                }
                self.look(now);
                for done in self.calls.verdict(serial, Verdict::Over) {
                    self.done(done, now);
                }
            }
            Err(Failure::Login {
                sentence,
                soon,
                retry_after,
                ..
            }) => {
                self.notice(Notice::new(Level::Error, "token-refused", sentence.clone()));
                self.token
                    .failed(sentence, retry_after, !soon, now, &mut self.rng);
            }
            other => {
                let (why, after) = match other {
                    Err(Failure::RateLimited(after)) => (
                        "the login host limits the rate of requests".to_string(),
                        after,
                    ),
                    Err(Failure::Server {
                        status,
                        retry_after,
                    }) => (format!("the login host answers {status}"), retry_after),
                    Err(Failure::NoAnswer(why)) => {
                        (format!("the login host {}", why.sentence()), None)
                    }
                    _ => (
                        "the login host gave an answer that is not understood".to_string(),
                        None,
                    ),
                };
                self.notice(Notice::new(Level::Warn, "token-failed", why.clone()));
                self.token.failed(why, after, false, now, &mut self.rng);
            }
        }
    }

    /// Looks at the idle timer of the token.
    fn look(&mut self, now: Now) {
        if now.mono < self.look_from || self.calls.pending(|p| matches!(p, Purpose::Look(_))) {
            return;
        }
        self.look_from = now.mono + LOOK_PAUSE;
        let since = self.token.last_kept_warm();
        self.calls.queue(Op::TokenIdles, Purpose::Look(since), now);
    }

    /// The idle timer was looked at: administrators choose which calls reset it, and ours may
    /// not be among them (protocol, section 14a).
    fn looked(&mut self, serial: u32, outcome: &Outcome, since: Mono, asked: Now) {
        let Ok(rest::Answer::TokenIdles(said)) = &outcome.result else {
            return;
        };
        let cools = self.token.looked(serial, *said, since, asked);
        if cools && !std::mem::replace(&mut self.cold_said, true) {
            self.notice(Notice::new(Level::Warn, "token-not-kept-warm", TOKEN_COOLS));
        }
        self.retime(serial);
    }

    /// Tells the channels of a token when it ends, where that is known better than before.
    fn retime(&mut self, serial: u32) {
        if let Some((mono, wall)) = self.token.end_of(serial) {
            for c in self.channels.values_mut() {
                if c.token_serial == serial {
                    c.token_ends = Term { mono, wall };
                }
            }
        }
    }

    pub(super) fn warm_answered(&mut self, serial: u32, outcome: &Outcome, now: Now) {
        if !matches!(
            outcome.result,
            Err(Failure::Unauthorized | Failure::NoAnswer(_))
        ) {
            self.look(now);
        }
        let verdict = match &outcome.result {
            Ok(_) => Verdict::Good,
            Err(Failure::Unauthorized) => {
                self.token_over(serial, Suspicion::TokenEnded, now);
                Verdict::Over
            }
            Err(_) => {
                self.warm_from = now.mono + Duration::from_secs(5);
                Verdict::Unknown
            }
        };
        for done in self.calls.verdict(serial, verdict) {
            self.done(done, now);
        }
        // A later token may be in doubt meanwhile.
        if self.calls.in_doubt() && !self.calls.pending(|p| *p == Purpose::Warm) {
            self.calls.queue(Op::KeepWarm, Purpose::Warm, now);
        }
    }

    /// The platform no longer takes token `serial`: the channels made with it may be mute.
    pub(super) fn token_over(&mut self, serial: u32, why: Suspicion, now: Now) {
        if self.token.invalidate(serial, now, &mut self.rng) {
            self.notice(Notice::new(
                Level::Warn,
                "token-over",
                format!("the platform ended the token ({})", why.cause()),
            ));
        }
        let slots: Vec<u8> = self
            .channels
            .values()
            .filter(|c| c.token_serial == serial)
            .map(|c| c.slot)
            .collect();
        for slot in slots {
            self.suspect(slot, why, now);
        }
    }

    pub(super) fn created(&mut self, channel: ChannelRef, serial: u32, outcome: Outcome, now: Now) {
        let waits = channel.of(&self.channels).is_some();
        match outcome.result {
            Ok(rest::Answer::Channel(rest::Channel {
                id: Some(id),
                connect_uri: Some(uri),
                expires,
            })) => {
                self.totals.channels_made += 1;
                if let Err(refused) = self.settings.streaming.judge(uri.expose()) {
                    return self.led_astray(channel, &refused, now);
                }
                self.astray = None;
                self.create_failures = self.create_failures.saturating_sub(1);
                let spare = Spare {
                    id,
                    uri,
                    expires,
                    serial,
                    made: now,
                };
                match waits {
                    true => self.made(channel.slot, spare),
                    // It counts on the platform all the same: the next one needs not be made.
                    false => self.spares.push(spare),
                }
            }
            _ if !waits => {}
            other => {
                self.create_failures = (self.create_failures + 1).min(8);
                let pause = Duration::from_millis(250 << self.create_failures);
                self.create_from = self.create_from.max(now.mono + self.rng.jitter(pause));
                let text = format!(
                    "a channel could not be made: {}",
                    describe_failure(other.err().as_ref())
                );
                self.notice(Notice::new(Level::Warn, "channel-not-made", text));
                self.not_made(channel.slot, now);
            }
        }
    }

    fn not_made(&mut self, slot: u8, now: Now) {
        let channel = self.channels.get(&slot);
        if channel.is_some_and(|c| c.successor_of.is_some()) {
            self.handover_socket_lost(slot, GapCause::NotMade, now);
        } else {
            self.remove(slot, now);
        }
    }

    /// The platform made a channel and leads it where it may not go. It counts on the platform
    /// until it expires, so the next one is not made soon.
    fn led_astray(&mut self, channel: ChannelRef, refused: &Refused, now: Now) {
        let sentence = astray(refused);
        self.notice(Notice::new(
            Level::Error,
            "connect-uri-refused",
            sentence.clone(),
        ));
        let times = self.astray.as_ref().map_or(0, |a| a.times);
        let pause = (ASTRAY_PAUSE * 2u32.pow(times.min(8))).min(ASTRAY_PAUSE_MAX);
        self.create_from = self.create_from.max(now.mono + self.rng.jitter(pause));
        self.astray = Some(Astray {
            sentence,
            times: times.saturating_add(1),
        });
        if channel.of(&self.channels).is_some() {
            self.not_made(channel.slot, now);
        }
    }
}

impl Client {
    /// The channel in this slot is there: its socket is opened.
    pub(super) fn made(&mut self, slot: u8, channel: Spare) {
        let Some(c) = self.channels.get_mut(&slot) else {
            return;
        };
        let now = channel.made;
        c.id = Some(channel.id);
        c.uri = Some(channel.uri);
        c.token_serial = channel.serial;
        c.created = now.mono;
        c.made = Some(now.mono);
        c.created_at = now.wall;
        c.begin_life(channel.expires, now);
        if let Some((mono, wall)) = self.token.end_of(channel.serial) {
            c.token_ends = Term { mono, wall };
        }
        if self.way.gated() {
            // In its turn.
            c.phase = Phase::Waiting(self.advanced.max(now.mono));
            return;
        }
        c.phase = Phase::Connecting;
        let socket = self.open_socket(slot);
        if let Some(c) = self.channels.get_mut(&slot) {
            c.socket = socket;
        }
    }
}

/// That a `connectUri` is not followed, in words.
pub(super) fn astray(refused: &Refused) -> String {
    format!("a channel is not connected, because of its connectUri, {refused}")
}

pub(super) fn describe_failure(failure: Option<&Failure>) -> String {
    match failure {
        Some(Failure::Forbidden(why)) => format!("403 {why}"),
        Some(Failure::BadRequest { status, detail }) => format!("{status} {detail}"),
        Some(Failure::Server { status, .. }) => format!("the platform answers {status}"),
        Some(Failure::NoAnswer(why)) => format!("the platform {}", why.sentence()),
        Some(Failure::Unauthorized) => "the token is not accepted".to_string(),
        Some(Failure::NotFound) => "404".to_string(),
        _ => "an answer that is not understood".to_string(),
    }
}

fn fetch_outcome(fetch: &Fetch, result: Result<rest::Answer, Failure>) -> FetchOutcome {
    match result {
        Ok(rest::Answer::Json(text)) => FetchOutcome::Found(text),
        Ok(_) | Err(Failure::Garbled) => FetchOutcome::Garbled,
        Err(Failure::NotFound) => FetchOutcome::NotFound,
        Err(Failure::Unauthorized) => FetchOutcome::Denied("401".into()),
        Err(Failure::Forbidden(why)) => FetchOutcome::Denied(why),
        Err(Failure::BadRequest { .. } | Failure::TooManyTopics)
            if matches!(fetch, Fetch::Many(_)) =>
        {
            FetchOutcome::TooMany
        }
        Err(failure) => FetchOutcome::Trouble(describe_failure(Some(&failure))),
    }
}
