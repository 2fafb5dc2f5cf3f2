//! Faults: what each kind does, and how long it lasts.
//!
//! Invariant: whatever lasts has an end planned when it begins; [`clear`] ends
//! everything at once, for the second half of a run.

use std::time::Duration;

use base::rng::Rng;
use simulator::model::{Call, Control, Fault, Noise, RestFailure};

use crate::agenda::{HOUR, MINUTE, SECOND, Time};
use crate::clock::Clock;
use crate::net::Net;
use crate::plan::{Kind, Plan};

/// What a fault asks of the world beyond the network and the platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blow {
    /// It is done; put it right again at that time, if any.
    Done(Option<Time>),
    /// It did not fit.
    Missed,
    /// End the process without warning, or in order; it starts again after this long.
    Die { orderly: bool, down_for: Time },
    /// For the upper half.
    Upper,
}

fn command(net: &mut Net, clock: &Clock, fault: Fault) -> Blow {
    let done = net
        .platform
        .control(&Control::Fault { fault }, clock.platform());
    net.collect(clock);
    match done {
        Ok(_) => Blow::Done(None),
        Err(_) => Blow::Missed,
    }
}

pub(crate) fn switch(net: &mut Net, clock: &Clock, name: &str, value: &str) {
    let control = Control::Switch {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    net.platform
        .control(&control, clock.platform())
        .expect("the switch takes this value");
    net.collect(clock);
}

fn any_call(rng: &mut Rng) -> Option<Call> {
    let calls = [
        Call::Token,
        Call::ChannelCreate,
        Call::ChannelList,
        Call::SubscriptionsGet,
        Call::SubscriptionsPost,
        Call::SubscriptionsPut,
        Call::TokenMe,
        Call::TokenTimeout,
        Call::Conversation,
        Call::AnalyticsDetails,
    ];
    let n = rng.below(calls.len() as u64 + 4) as usize;
    calls.get(n).copied()
}

fn rest(net: &mut Net, clock: &Clock, rng: &mut Rng, failure: RestFailure) -> Blow {
    let call = any_call(rng);
    let times = [1, 1, 2, 3, 8, 25][rng.below(6) as usize];
    let fault = Fault::FailRest {
        call,
        times,
        failure,
    };
    command(net, clock, fault)
}

fn status(status: u16, retry_after: Option<u64>) -> RestFailure {
    RestFailure::Status {
        status,
        code: None,
        retry_after: retry_after.map(|s| s.to_string()),
    }
}

/// Lets a fault of a kind happen.
pub(crate) fn inject(
    kind: Kind,
    plan: &Plan,
    net: &mut Net,
    clock: &mut Clock,
    rng: &mut Rng,
) -> Blow {
    let any = || "any".to_owned();
    let all = || "all".to_owned();
    let known = [Some(0), Some(3 * SECOND), Some(2 * MINUTE), None][rng.below(4) as usize];
    let short = clock.time + 20 * SECOND + rng.below(5 * MINUTE);
    match kind {
        Kind::ResetOne => touched(net.reset(true, clock)),
        Kind::ResetAll => touched(net.reset(false, clock)),
        Kind::CloseOne => {
            let code = Some([1000, 1001, 1011, 1012][rng.below(4) as usize]);
            command(
                net,
                clock,
                Fault::DropSocket {
                    channel: any(),
                    code,
                },
            )
        }
        Kind::CloseAll => {
            let code = Some(1001);
            command(
                net,
                clock,
                Fault::DropSocket {
                    channel: all(),
                    code,
                },
            )
        }
        Kind::CutOne => touched(net.cut(true, known, clock)),
        Kind::CutAll => touched(net.cut(false, known, clock)),
        Kind::Outage | Kind::BlackHole => {
            let most = [10 * SECOND, MINUTE, 20 * MINUTE][rng.below(3) as usize];
            let length = SECOND + rng.below(most);
            net.outage(
                Duration::from_millis(length),
                kind == Kind::BlackHole,
                clock,
            );
            Blow::Done(None)
        }
        Kind::Silence => command(
            net,
            clock,
            Fault::Silence {
                channel: any(),
                replies: false,
            },
        ),
        Kind::Deaf => command(
            net,
            clock,
            Fault::Silence {
                channel: any(),
                replies: true,
            },
        ),
        Kind::HeartbeatLoss => {
            switch(net, clock, "heartbeat-seconds", "0");
            Blow::Done(Some(short))
        }
        Kind::ClosingOne => command(net, clock, Fault::Closing { channel: any() }),
        Kind::ClosingAll => command(net, clock, Fault::Closing { channel: all() }),
        Kind::Evict => command(net, clock, Fault::Evict { channel: any() }),
        Kind::ExpireChannel => command(net, clock, Fault::ExpireChannel { channel: any() }),
        Kind::RevokeTokens => command(net, clock, Fault::RevokeTokens),
        Kind::ExpireTokens => command(net, clock, Fault::ExpireTokens),
        Kind::Limited => {
            let after = [1, 5, 42, 180, 900][rng.below(5) as usize];
            rest(net, clock, rng, status(429, Some(after)))
        }
        Kind::LimitedLong => {
            let (after, times) = [(3600, 1), (60, 60)][rng.below(2) as usize];
            let fault = Fault::FailRest {
                call: None,
                times,
                failure: status(429, Some(after)),
            };
            command(net, clock, fault)
        }
        Kind::LimitedWithoutTime => rest(net, clock, rng, status(429, None)),
        Kind::ServerError => {
            let code = [500, 502, 503, 504][rng.below(4) as usize];
            let after = rng.chance(30).then(|| 1 + rng.below(30));
            rest(net, clock, rng, status(code, after))
        }
        Kind::WebPage => rest(net, clock, rng, RestFailure::Html { status: 502 }),
        Kind::Hang => {
            let applied = rng.chance(50);
            rest(net, clock, rng, RestFailure::Hang { applied })
        }
        Kind::NoAnswer => {
            let applied = rng.chance(50);
            rest(net, clock, rng, RestFailure::NoAnswer { applied })
        }
        Kind::Late => {
            let delay_ms = 500 + rng.below(25 * SECOND);
            rest(net, clock, rng, RestFailure::Delay { delay_ms })
        }
        Kind::Garbage => rest(net, clock, rng, RestFailure::Garbage),
        Kind::Unauthorized => rest(net, clock, rng, status(401, None)),
        Kind::LoginTrouble => {
            let failure = status([500, 503, 429][rng.below(3) as usize], None);
            let times = 1 + rng.below(12) as u32;
            let fault = Fault::FailRest {
                call: Some(Call::Token),
                times,
                failure,
            };
            command(net, clock, fault)
        }
        Kind::LoginRefused => {
            let failure = status([400, 401][rng.below(2) as usize], None);
            let times = 1 + rng.below(4) as u32;
            let fault = Fault::FailRest {
                call: Some(Call::Token),
                times,
                failure,
            };
            command(net, clock, fault)
        }
        Kind::UpgradeTrouble => {
            let failure = match rng.below(5) {
                0 => status(503, None),
                1 => status(401, None),
                2 => status(404, None),
                3 => RestFailure::Hang { applied: false },
                _ => RestFailure::NoAnswer { applied: false },
            };
            let times = 1 + rng.below(10) as u32;
            let fault = Fault::FailRest {
                call: Some(Call::Upgrade),
                times,
                failure,
            };
            command(net, clock, fault)
        }
        Kind::TopicRefused => {
            // Whoever's id begins with this digit.
            let digit = char::from_digit(rng.below(16) as u32, 16).unwrap_or('0');
            let pattern = format!("v2.detail.events.conversation.{digit}*");
            command(net, clock, Fault::RefuseTopics { pattern });
            Blow::Done(Some(short))
        }
        Kind::ConversationRefused => {
            let status = [403, 404][rng.below(2) as usize];
            command(
                net,
                clock,
                Fault::RefuseConversations {
                    conversation: None,
                    status,
                    headers: Default::default(),
                },
            );
            Blow::Done(Some(short))
        }
        Kind::PermissionLost => {
            let missing = vec!["analytics:conversationDetail:view".to_owned()];
            command(net, clock, Fault::Permissions { missing });
            Blow::Done(Some(short))
        }
        Kind::EventsRepeat | Kind::EventsSwap | Kind::EventsDelay | Kind::EventsDrop => {
            let mode = match kind {
                Kind::EventsRepeat => "repeat",
                Kind::EventsSwap => "swap",
                Kind::EventsDrop => "drop",
                _ => "delay",
            };
            let fault = Fault::Events {
                mode: mode.into(),
                percent: 60,
                delay_ms: 1 + rng.below(8 * SECOND),
                times: None,
            };
            command(net, clock, fault);
            Blow::Done(Some(clock.time + 30 * MINUTE))
        }
        Kind::Noise => {
            let sorts = [
                Noise::UnknownTopic,
                Noise::UnknownSystem,
                Noise::NotJson,
                Noise::NotAnObject,
                Noise::Empty,
                Noise::NoTopic,
                Noise::ForeignReply,
            ];
            let sort = sorts[rng.below(sorts.len() as u64) as usize];
            command(
                net,
                clock,
                Fault::Noise {
                    channel: any(),
                    sort,
                },
            )
        }
        Kind::SlowReplies => {
            let ms = [2000, 6000, 15_000][rng.below(3) as usize];
            switch(net, clock, "reply-delay-ms", &ms.to_string());
            Blow::Done(Some(short))
        }
        Kind::SlowNetwork => {
            net.weather.latency = (200, 1500);
            Blow::Done(Some(short))
        }
        Kind::ClockForward => {
            clock.wall_off += (1 + rng.below(6 * HOUR)) as i64;
            Blow::Done(None)
        }
        Kind::ClockBack => {
            clock.wall_off -= (1 + rng.below(6 * HOUR)) as i64;
            Blow::Done(None)
        }
        Kind::ClockLeap => {
            let days = (1 + rng.below(96 * HOUR)) as i64;
            clock.wall_off += if rng.chance(50) { days } else { -days };
            Blow::Done(None)
        }
        Kind::OddText => {
            net.odd_until = clock.time + 30 * MINUTE + rng.below(2 * HOUR);
            Blow::Done(None)
        }
        Kind::UpgradeRefused => {
            let status = [403, 404, 429, 503][rng.below(4) as usize];
            let after = [None, None, Some(30), Some(600)][rng.below(4) as usize];
            let until = clock.time + HOUR + rng.below(4 * HOUR);
            net.refuse_upgrades(status, after, until, clock.time);
            // Else only who loses its socket finds out.
            if rng.chance(60) {
                net.reset(false, clock);
            }
            Blow::Done(None)
        }
        Kind::LedAstray => {
            net.astray_until = clock.time + 10 * MINUTE + rng.below(2 * HOUR);
            // Else only who needs a new channel finds out.
            if rng.chance(60) {
                return command(net, clock, Fault::ExpireChannel { channel: any() });
            }
            Blow::Done(None)
        }
        Kind::FullHouse => {
            let truth = net.platform.truth();
            let heard = |s| net.heard_by_session(s);
            let used = truth
                .channels()
                .filter(|c| c.topics > 0 && c.socket.is_some_and(heard))
                .count();
            if used < usize::from(plan.max_channels) {
                return Blow::Missed;
            }
            // Whichever is first: that all are about to be closed, or that one is gone.
            let gone = match rng.chance(50) {
                true => Fault::ExpireChannel { channel: any() },
                false => Fault::Evict { channel: any() },
            };
            let closing = Fault::Closing { channel: all() };
            let (first, second) = match rng.chance(50) {
                true => (gone, closing),
                false => (closing, gone),
            };
            command(net, clock, first);
            command(net, clock, second)
        }
        Kind::MachineOff => {
            let longest = [3 * HOUR, 20 * HOUR, 96 * HOUR][rng.below(3) as usize];
            Blow::Die {
                orderly: rng.chance(50),
                down_for: HOUR + rng.below(longest),
            }
        }
        Kind::Kill | Kind::Restart => {
            let down_for = [200, 5 * SECOND, 90 * SECOND, 20 * MINUTE][rng.below(4) as usize];
            Blow::Die {
                orderly: kind == Kind::Restart,
                down_for: 100 + rng.below(down_for),
            }
        }
        _ => {
            let _ = plan;
            Blow::Upper
        }
    }
}

fn touched(n: usize) -> Blow {
    if n > 0 {
        Blow::Done(None)
    } else {
        Blow::Missed
    }
}

/// Puts right what lasted.
pub(crate) fn relieve(kind: Kind, plan: &Plan, net: &mut Net, clock: &Clock) {
    let fault = match kind {
        Kind::HeartbeatLoss => {
            let n = plan.switches.heartbeat_seconds.to_string();
            return switch(net, clock, "heartbeat-seconds", &n);
        }
        Kind::SlowReplies => {
            let n = plan.switches.reply_delay_ms.to_string();
            return switch(net, clock, "reply-delay-ms", &n);
        }
        Kind::SlowNetwork => {
            net.weather.latency = (5, 60);
            return;
        }
        Kind::TopicRefused => Fault::AllowTopics,
        Kind::ConversationRefused => Fault::AllowConversations,
        Kind::PermissionLost => Fault::Permissions {
            missing: Vec::new(),
        },
        Kind::EventsRepeat | Kind::EventsSwap | Kind::EventsDelay | Kind::EventsDrop => {
            Fault::Events {
                mode: "in-order".into(),
                percent: 100,
                delay_ms: 1,
                times: None,
            }
        }
        _ => return,
    };
    command(net, clock, fault);
}

/// The end of all faults. Silent sockets stay silent: somebody has to notice.
pub(crate) fn clear(plan: &Plan, net: &mut Net, clock: &Clock) {
    for kind in [Kind::HeartbeatLoss, Kind::SlowReplies, Kind::SlowNetwork] {
        relieve(kind, plan, net, clock);
    }
    net.fair_weather();
    net.odd_until = 0;
    command(net, clock, Fault::Clear);
}
