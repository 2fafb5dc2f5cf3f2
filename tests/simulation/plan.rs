//! What a seed decides about a run: the settings, the switches of the platform,
//! the kinds of faults and how often they come, the conversations.
//!
//! Swarm style: each run has its own few kinds of faults; some have none of
//! what others have plenty of.

use base::rng::Rng;
use simulator::model::Switches;
use simulator::model::switches::IdleReset;

use crate::agenda::{HOUR, MINUTE, SECOND, Time};

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    ResetOne,
    ResetAll,
    CloseOne,
    CloseAll,
    CutOne,
    CutAll,
    Outage,
    BlackHole,
    Silence,
    Deaf,
    HeartbeatLoss,
    ClosingOne,
    ClosingAll,
    Evict,
    ExpireChannel,
    RevokeTokens,
    ExpireTokens,
    Limited,
    LimitedWithoutTime,
    ServerError,
    WebPage,
    Hang,
    NoAnswer,
    Late,
    Garbage,
    Unauthorized,
    LoginTrouble,
    LoginRefused,
    UpgradeTrouble,
    TopicRefused,
    ConversationRefused,
    PermissionLost,
    EventsRepeat,
    EventsSwap,
    EventsDelay,
    Noise,
    SlowReplies,
    SlowNetwork,
    ClockForward,
    ClockBack,
    Kill,
    Restart,
    /// Only with the whole gateway.
    DiskFull,
    DiskError,
    DiskSlow,
    DiskBusy,
    HistoryDown,
    HistoryRefuses,
    HistoryClosed,
    HistorySlow,
    HistoryDead,
    HistoryConflict,
    EventsDrop,
    /// A first try is not answered and goes on behind the history manager's door.
    HistoryInProgress,
    /// What stands before it refuses everything.
    HistoryStorm,
    /// The forwarders cannot read the database.
    HistoryUnread,
    /// Each order takes longer than callers have patience, while they ask and repeat.
    DiskStall,
    /// The disk fails or stalls, and in the middle of that the process is asked to stop.
    StopInTrouble,
    /// 429 for an hour: said once, or again and again.
    LimitedLong,
    /// The machine is off for hours or days.
    MachineOff,
    /// The wall clock steps by days, forward or back.
    ClockLeap,
    /// Text that a strict parser refuses, in whatever the platform says.
    OddText,
    /// What stands between refuses every upgrade for hours, while REST serves.
    UpgradeRefused,
    /// Channels that are made lead to a host that is not the platform's.
    LedAstray,
    /// All channels are in use and about to be closed, and one of them brings nothing any more.
    FullHouse,
    /// Events come over HTTP as well as over the socket, or only so.
    EventsOverHttp,
    /// Callers report conversations that the platform does not know, more than there are places.
    Invented,
}

pub(crate) const PLATFORM_KINDS: &[Kind] = &[
    Kind::ResetOne,
    Kind::ResetAll,
    Kind::CloseOne,
    Kind::CloseAll,
    Kind::CutOne,
    Kind::CutAll,
    Kind::Outage,
    Kind::BlackHole,
    Kind::Silence,
    Kind::Deaf,
    Kind::HeartbeatLoss,
    Kind::ClosingOne,
    Kind::ClosingAll,
    Kind::Evict,
    Kind::ExpireChannel,
    Kind::RevokeTokens,
    Kind::ExpireTokens,
    Kind::Limited,
    Kind::LimitedWithoutTime,
    Kind::ServerError,
    Kind::WebPage,
    Kind::Hang,
    Kind::NoAnswer,
    Kind::Late,
    Kind::Garbage,
    Kind::Unauthorized,
    Kind::LoginTrouble,
    Kind::LoginRefused,
    Kind::UpgradeTrouble,
    Kind::TopicRefused,
    Kind::ConversationRefused,
    Kind::PermissionLost,
    Kind::EventsRepeat,
    Kind::EventsSwap,
    Kind::EventsDelay,
    Kind::Noise,
    Kind::SlowReplies,
    Kind::SlowNetwork,
    Kind::ClockForward,
    Kind::ClockBack,
    Kind::Kill,
    Kind::Restart,
];

pub(crate) const GATEWAY_KINDS: &[Kind] = &[
    Kind::DiskFull,
    Kind::DiskError,
    Kind::DiskSlow,
    Kind::DiskBusy,
    Kind::HistoryDown,
    Kind::HistoryRefuses,
    Kind::HistoryClosed,
    Kind::HistorySlow,
    Kind::HistoryDead,
    Kind::HistoryConflict,
];

/// Only with the whole gateway, too; drawn for themselves, so that seeds keep their plans.
const LATER_KINDS: &[Kind] = &[Kind::EventsDrop];

/// The same once more, about the way to the history manager.
const OUTBOX_KINDS: &[Kind] = &[
    Kind::HistoryInProgress,
    Kind::HistoryStorm,
    Kind::HistoryUnread,
];
/// The same, with draws of their own.
const DISK_KINDS: &[Kind] = &[Kind::DiskStall, Kind::StopInTrouble];

/// Only with the whole gateway, drawn for themselves once more.
const CALLER_KINDS: &[Kind] = &[Kind::Invented];

/// With either world; drawn for themselves as well.
const REST_KINDS: &[Kind] = &[Kind::LimitedLong];

/// Kinds of which each is drawn for itself: with what, in how many seeds of a hundred, and
/// whether only with the whole gateway.
const OWN_KINDS: &[(Kind, u64, u64, bool)] = &[
    (Kind::MachineOff, 0x6d_6f_66_66, 12, true),
    (Kind::ClockLeap, 0x6c_65_61_70, 12, true),
    (Kind::OddText, 0x6f_64_64_74, 15, false),
    (Kind::UpgradeRefused, 0x75_70_67_72, 15, false),
    (Kind::LedAstray, 0x61_73_74_72, 12, false),
    (Kind::FullHouse, 0x66_75_6c_68, 12, false),
    (Kind::EventsOverHttp, 0x68_74_74_70, 20, true),
];

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) switches: Switches,
    pub(crate) max_channels: u8,
    pub(crate) topics_per_channel: usize,
    pub(crate) renew_before: Time,
    pub(crate) kinds: Vec<Kind>,
    /// Between two faults, on average.
    pub(crate) pause: Time,
    /// How long faults go on.
    pub(crate) trouble: Time,
    pub(crate) conversations: u64,
    /// How long an agent talks, at most.
    pub(crate) talk: Time,
    pub(crate) acw: Time,
    pub(crate) max_age: Time,
    pub(crate) workers: usize,
    /// `until = "first-event"`.
    pub(crate) first_event: bool,
    /// Many agents wrap up without being obliged to, late.
    pub(crate) late_acw: bool,
    /// `[history] give-up-after`.
    pub(crate) give_up_after: Time,
    /// `[tracking] unreported = "file"`.
    pub(crate) unreported: bool,
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

impl Plan {
    pub(crate) fn draw(seed: u64, more: &[Kind]) -> Plan {
        let mut rng = Rng::new(seed ^ 0x70_6c_61_6e);
        let mut kinds: Vec<Kind> = PLATFORM_KINDS
            .iter()
            .chain(more)
            .copied()
            .filter(|_| rng.chance(22))
            .collect();
        if !more.is_empty() {
            let mut rng = Rng::new(seed ^ 0x6c_61_74_65);
            kinds.extend(LATER_KINDS.iter().filter(|_| rng.chance(22)));
            let mut rng = Rng::new(seed ^ 0x73_74_61_6c_6c);
            kinds.extend(DISK_KINDS.iter().filter(|_| rng.chance(22)));
        }
        if !more.is_empty() {
            let mut rng = Rng::new(seed ^ 0x6f_75_74_62);
            kinds.extend(OUTBOX_KINDS.iter().filter(|_| rng.chance(22)));
        }
        if !more.is_empty() {
            let mut rng = Rng::new(seed ^ 0x69_6e_76_65_6e_74);
            kinds.extend(CALLER_KINDS.iter().filter(|_| rng.chance(12)));
        }
        if kinds.is_empty() {
            kinds.push(Kind::ResetOne);
        }
        let (max_channels, topics_per_channel) = pick(
            &mut rng,
            &[
                (1, 1000),
                (2, 60),
                (2, 1000),
                (3, 40),
                (4, 25),
                (6, 20),
                (20, 8),
                (20, 1000),
            ],
        );
        let talk = pick(&mut rng, &[4 * MINUTE, 15 * MINUTE, 60 * MINUTE, 3 * HOUR]);
        let mut switches = switches(&mut rng);
        // Drawn for itself, so that seeds keep their plans.
        if Rng::new(seed ^ 0x62_65_61_74).chance(8) {
            let seldom = switches.set("heartbeat-seconds", "60");
            seldom.expect("the table has this value");
        }
        let mut late = Rng::new(seed ^ 0x6c_61_63_77);
        let late_acw = late.chance(30);
        if late_acw {
            let shown = pick(&mut late, &["prompt", "unknown", "bare"]);
            let shown = switches.set("optional-acw", shown);
            shown.expect("the table has this value");
        }
        let mut callback = Rng::new(seed ^ 0x63_61_6c_6c);
        let tagged = pick(&mut callback, &["both", "two-events", "one", "no-call"]);
        let tagged = switches.set("callback-wrapup", tagged);
        tagged.expect("the table has this value");
        let mut late = Rng::new(seed ^ 0x70_6c_61_63);
        if late.chance(15) {
            let counted = pick(&mut late, &["20", "120", "600"]);
            for (name, value) in [
                ("places-freed-seconds", counted),
                ("topics-max", &topics_per_channel.to_string()),
            ] {
                let set = switches.set(name, value);
                set.expect("the table has this value");
            }
        }
        // Drawn for themselves, too.
        let mut own = Rng::new(seed ^ 0x72_65_73_74);
        for (percent, name, value) in [
            (15, "rate-limit-headers", "good-only"),
            (15, "idle-reset", "some"),
        ] {
            if own.chance(percent) {
                let set = switches.set(name, value);
                set.expect("the table has this value");
            }
        }
        if switches.idle_reset == IdleReset::Some && switches.idle_timeout_seconds == 0 {
            switches.idle_timeout_seconds = pick(&mut own, &[300, 300, 900, 3600]);
        }
        kinds.extend(REST_KINDS.iter().filter(|_| own.chance(12)));
        for (kind, salt, percent, whole) in OWN_KINDS {
            let drawn = Rng::new(seed ^ salt).chance(*percent);
            kinds.extend((drawn && (!whole || !more.is_empty())).then_some(*kind));
        }
        // Patience matters where there are times that must not use it up.
        let long = kinds.contains(&Kind::MachineOff) || kinds.contains(&Kind::ClockLeap);
        let hasty = long && Rng::new(seed ^ 0x70_61_74_69).chance(50);
        let (mut max_channels, mut topics_per_channel, mut talk) =
            (max_channels, topics_per_channel, talk);
        if kinds.contains(&Kind::FullHouse) {
            let mut house = Rng::new(seed ^ 0x68_6f_75_73);
            (max_channels, topics_per_channel) = pick(&mut house, &[(2, 15), (3, 8), (5, 6)]);
            talk = 3 * HOUR;
            if switches.topics_max < 1000 {
                let most = switches.set("topics-max", &topics_per_channel.to_string());
                most.expect("the table has this value");
            }
        }
        Plan {
            seed,
            switches,
            max_channels,
            topics_per_channel,
            renew_before: pick(&mut rng, &[10 * MINUTE, HOUR, 6 * HOUR]),
            kinds,
            pause: pick(&mut rng, &[5 * MINUTE, 20 * MINUTE, HOUR, 3 * HOUR]),
            trouble: 24 * HOUR,
            conversations: 500 + rng.below(150),
            talk,
            acw: pick(&mut rng, &[20_000, 2 * MINUTE, 10 * MINUTE]),
            max_age: pick(&mut rng, &[16 * HOUR, 16 * HOUR, 72 * HOUR]),
            workers: pick(&mut rng, &[1, 4, 4, 16]),
            first_event: rng.chance(8),
            late_acw,
            give_up_after: if hasty { HOUR } else { 72 * HOUR },
            unreported: Rng::new(seed ^ 0x75_6e_72_65).chance(50),
        }
    }

    /// A plan without faults, with every switch at its default.
    pub(crate) fn calm(seed: u64) -> Plan {
        Plan {
            seed,
            switches: Switches::default(),
            max_channels: 20,
            topics_per_channel: 1000,
            renew_before: HOUR,
            kinds: Vec::new(),
            pause: HOUR,
            trouble: 0,
            conversations: 0,
            talk: 10 * MINUTE,
            acw: MINUTE,
            max_age: 72 * HOUR,
            workers: 4,
            first_event: false,
            late_acw: false,
            give_up_after: 72 * HOUR,
            unreported: false,
        }
    }

    /// What the wall clock says is no measure of time in this run.
    /// Commits may take minutes.
    pub(crate) fn stalls(&self) -> bool {
        let kinds = [Kind::DiskFull, Kind::DiskStall, Kind::StopInTrouble];
        kinds.iter().any(|k| self.has(*k))
    }

    pub(crate) fn wall_moves(&self) -> bool {
        let kinds = [Kind::ClockForward, Kind::ClockBack, Kind::ClockLeap];
        kinds.iter().any(|k| self.has(*k))
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The next fault.
    pub(crate) fn draw_kind(&self, rng: &mut Rng) -> Kind {
        self.kinds[rng.below(self.kinds.len() as u64) as usize]
    }

    /// The time to the one after it. Troubles come in bunches.
    pub(crate) fn draw_pause(&self, rng: &mut Rng) -> Time {
        let pause = 1 + rng.below(2 * self.pause);
        match rng.chance(25) {
            true => 1 + pause % (3 * SECOND),
            false => pause,
        }
    }
}

/// Most switches stay where they are; what moves is drawn from what matters.
fn switches(rng: &mut Rng) -> Switches {
    let choices: &[(&str, &[&str])] = &[
        (
            "ws-failure-body",
            &[
                "failure",
                "error",
                "without-correlation-id",
                "numeric-result",
            ],
        ),
        ("ws-over-limit", &["refuse", "partial"]),
        ("unsubscribe-unknown", &["200", "400"]),
        ("ws-partial-permission", &["whole", "per-topic"]),
        (
            "token-death",
            &["stays", "close", "silent", "notice-then-close", "deaf"],
        ),
        ("eviction", &["closed", "silent", "no-longer-subscribed"]),
        ("eviction-choice", &["oldest-used", "oldest-created"]),
        ("close-code", &["1001", "1000", "1006", "1011", "1012"]),
        ("second-socket", &["close", "reset"]),
        (
            "closing-notice",
            &[
                "notice-then-close",
                "close-at-once",
                "notice-twice",
                "notice-only",
            ],
        ),
        ("ws-subscribe-extends", &["yes", "no"]),
        ("channel-expiry", &["socket-stays", "close"]),
        ("channels-of-other-tokens", &["reachable", "not-found"]),
        (
            "event-against-reply",
            &["reply-first", "event-first", "event-after-unsubscribe"],
        ),
        ("skipped-acw", &["event", "no-event"]),
        ("re-wrap", &["second-event", "none"]),
        ("wrapup-level", &["both", "participant", "communication"]),
        ("invalid-client-status", &["401", "400"]),
        ("delete-subscriptions-status", &["200", "202", "204"]),
        ("malformed-topic", &["400", "rejected"]),
        (
            "analytics-wrapup",
            &["with-conversation", "missing-at-first"],
        ),
        ("analytics-over-max-ids", &["400", "413"]),
        ("rate-limit-headers", &["always", "never"]),
        ("rate-limit-retry-after", &["with", "without"]),
        (
            "metadata-key",
            &["CorrelationId", "correlationId", "absent"],
        ),
        ("heartbeat-seconds", &["20", "30", "35"]),
        ("reply-delay-ms", &["0", "50", "900"]),
        ("event-time-skew-ms", &["0", "200", "900"]),
        ("closing-seconds", &["5", "30", "60"]),
        ("channel-life-seconds", &["14400", "43200", "86400"]),
        (
            "token-lifetime-seconds",
            &["300", "900", "3600", "43200", "86400", "172800"],
        ),
        ("idle-token-timeout-seconds", &["0", "300", "900", "28800"]),
        ("analytics-latency-seconds", &["0", "60", "600"]),
        ("analytics-max-ids", &["50", "100", "20"]),
    ];
    let mut s = Switches::default();
    for (name, values) in choices {
        if rng.chance(45) {
            let value = pick(rng, values);
            s.set(name, value).expect("the table has this value");
        }
    }
    s
}
