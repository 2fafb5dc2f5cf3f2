//! The control interface: everything that makes something happen on the
//! platform from outside, as one closed enum that JSON can spell.
//!
//! Invariant: a command that is refused changes nothing.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::acts::{Life, Start};
use super::channels::End;
use super::faults::{EventFault, FAULTS_MOST, Noise, RestFailure, RestFault};
use super::rest::Call;
use super::sockets::Mute;
use super::switches::{EventDelivery, SwitchError};
use super::{Platform, SocketId};
use crate::ids::ConversationId;
use crate::time::{Now, Wall};

/// A command. In JSON: `{"command": "wrap-up", "conversation": "…", …}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "command",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Control {
    /// A conversation begins.
    Start(Start),
    /// A whole life of a conversation is planned.
    Life(Life),
    /// An agent finishes after-call work.
    WrapUp {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Which agent leg, from 0; if missing the first pending, else the first
        /// connected, else the last.
        #[serde(default)]
        leg: Option<usize>,
        /// Wrap-up code; one of a few if missing.
        #[serde(default)]
        code: Option<String>,
        /// Notes.
        #[serde(default)]
        notes: Option<String>,
    },
    /// An agent skips after-call work.
    Skip {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Which agent leg; as above.
        #[serde(default)]
        leg: Option<usize>,
    },
    /// A wrap-up is changed afterwards.
    Rewrap {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Which agent leg; the last wrapped one if missing.
        #[serde(default)]
        leg: Option<usize>,
        /// The new code.
        #[serde(default)]
        code: Option<String>,
        /// The new notes.
        #[serde(default)]
        notes: Option<String>,
    },
    /// An agent saves notes without finishing.
    Draft {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Which agent leg.
        #[serde(default)]
        leg: Option<usize>,
        /// Notes.
        notes: String,
    },
    /// One agent leaves, the others stay.
    Leave {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Which agent leg.
        leg: usize,
    },
    /// An agent hands over to another one.
    Transfer {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// Who hands over; the last connected one if missing.
        #[serde(default)]
        leg: Option<usize>,
        /// Whether after-call work is required of the new agent.
        #[serde(default = "yes")]
        acw: bool,
    },
    /// The customer leaves, everybody is disconnected.
    End {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
    },
    /// `end`, and every pending leg wraps up.
    Finish {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
    },
    /// An ended conversation goes on.
    Reopen {
        /// Which conversation.
        #[serde(deserialize_with = "an_id")]
        conversation: ConversationId,
        /// The last agent's participant gets another communication, instead of a new participant.
        #[serde(default)]
        same_participant: bool,
        /// Whether after-call work is required.
        #[serde(default = "yes")]
        acw: bool,
    },
    /// Conversations that were over before an instant are forgotten.
    Forget {
        /// Milliseconds since 1970.
        before_ms: i64,
    },
    /// A hardship.
    Fault {
        /// Which.
        fault: Fault,
    },
    /// A switch is put to a value.
    Switch {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

fn yes() -> bool {
    true
}

pub(super) fn an_id<'de, D: Deserializer<'de>>(d: D) -> Result<ConversationId, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(serde::de::Error::custom)
}

pub(super) fn maybe_an_id<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<ConversationId>, D::Error> {
    Option::<String>::deserialize(d)?
        .map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

fn once() -> u32 {
    1
}

fn all_of_them() -> u64 {
    100
}

/// Which channels: `all`, `any` (one with a socket, by lot), a channel id, or the end of one.
pub type Target = String;

/// A hardship. In JSON: `{"fault": "drop-socket", "channel": "all"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "fault",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Fault {
    /// The socket is closed with a code, or reset.
    DropSocket {
        /// Whose.
        channel: Target,
        /// The close code; a reset if missing.
        #[serde(default)]
        code: Option<u16>,
    },
    /// Heartbeats and events stop, the link stays.
    Silence {
        /// Whose.
        channel: Target,
        /// Whether requests and pings are still answered.
        #[serde(default)]
        replies: bool,
    },
    /// The end of silence.
    Speak {
        /// Whose.
        channel: Target,
    },
    /// The maintenance notice; what follows is up to `closing-notice`.
    Closing {
        /// Whose.
        channel: Target,
    },
    /// The channel is gone, as if another one had needed its place.
    Evict {
        /// Which.
        channel: Target,
    },
    /// The channel's life is over.
    ExpireChannel {
        /// Which.
        channel: Target,
    },
    /// All tokens are revoked.
    RevokeTokens,
    /// All tokens expire.
    ExpireTokens,
    /// The next REST calls of a kind fail.
    FailRest {
        /// Which call; any if missing.
        #[serde(default)]
        call: Option<Call>,
        /// How many.
        #[serde(default = "once")]
        times: u32,
        /// How.
        failure: RestFailure,
    },
    /// Topics are refused for want of permission.
    RefuseTopics {
        /// A pattern in lower case with `*` for any run of characters, or a conversation id.
        pattern: String,
    },
    /// No topic is refused any more.
    AllowTopics,
    /// Conversations are refused over REST.
    RefuseConversations {
        /// Which; all if missing.
        #[serde(default, deserialize_with = "maybe_an_id")]
        conversation: Option<ConversationId>,
        /// 403 or 404.
        status: u16,
    },
    /// No conversation is refused any more.
    AllowConversations,
    /// The OAuth client lacks these permissions, and no others.
    Permissions {
        /// Their names.
        missing: Vec<String>,
    },
    /// Event frames are repeated, swapped, delayed or dropped.
    Events {
        /// `repeat`, `swap`, `delay`, `drop`, or `in-order` to end it.
        mode: String,
        /// How many in a hundred.
        #[serde(default = "all_of_them")]
        percent: u64,
        /// How late, in milliseconds.
        #[serde(default)]
        delay_ms: u64,
        /// For how many event frames; for ever if missing.
        #[serde(default)]
        times: Option<u32>,
    },
    /// A frame that no documentation announces.
    Noise {
        /// Where.
        channel: Target,
        /// Which sort.
        sort: Noise,
    },
    /// A frame of any text.
    Frame {
        /// Where.
        channel: Target,
        /// The text.
        text: String,
    },
    /// REST, topic, conversation, permission and event faults end.
    Clear,
}

/// A command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// What it speaks of does not exist.
    NotFound(String),
    /// It is not understood.
    Invalid(String),
    /// It does not fit the present state.
    Conflict(String),
    /// A bound of the model is reached.
    Full(String),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::NotFound(text)
            | ControlError::Invalid(text)
            | ControlError::Conflict(text)
            | ControlError::Full(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<SwitchError> for ControlError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Unknown(_) => ControlError::NotFound(error.to_string()),
            SwitchError::Value { .. } => ControlError::Invalid(error.to_string()),
        }
    }
}

impl Platform {
    pub(super) fn obey(&mut self, command: &Control, now: Now) -> Result<Value, ControlError> {
        let leg_of =
            |id: ConversationId, leg: usize| json!({"conversation": id.to_string(), "leg": leg});
        match command {
            Control::Start(start) => {
                let id = self.start(start, now)?;
                Ok(json!({"conversation": id.to_string()}))
            }
            Control::Life(life) => {
                let id = self.plan(life, now)?;
                Ok(json!({"conversation": id.to_string()}))
            }
            Control::WrapUp {
                conversation: c,
                leg,
                code,
                notes,
            } => self
                .wrap_up(*c, *leg, code.as_deref(), notes.as_deref(), now)
                .map(|leg| leg_of(*c, leg)),
            Control::Skip {
                conversation: c,
                leg,
            } => self.skip(*c, *leg, now).map(|leg| leg_of(*c, leg)),
            Control::Rewrap {
                conversation: c,
                leg,
                code,
                notes,
            } => self
                .rewrap(*c, *leg, code.as_deref(), notes.as_deref(), now)
                .map(|leg| leg_of(*c, leg)),
            Control::Draft {
                conversation: c,
                leg,
                notes,
            } => self.draft(*c, *leg, notes).map(|leg| leg_of(*c, leg)),
            Control::Leave {
                conversation: c,
                leg,
            } => self.leave(*c, *leg, now).map(|()| leg_of(*c, *leg)),
            Control::Transfer {
                conversation: c,
                leg,
                acw,
            } => self
                .transfer(*c, *leg, *acw, now)
                .map(|leg| leg_of(*c, leg)),
            Control::End { conversation: c } => self
                .end(*c, now)
                .map(|()| json!({"conversation": c.to_string()})),
            Control::Finish { conversation: c } => self
                .finish(*c, now)
                .map(|legs| json!({"conversation": c.to_string(), "wrappedUp": legs})),
            Control::Reopen {
                conversation: c,
                same_participant,
                acw,
            } => self
                .reopen(*c, *same_participant, *acw, now)
                .map(|leg| leg_of(*c, leg)),
            Control::Forget { before_ms } => {
                Ok(json!({"forgotten": self.forget_finished(Wall(*before_ms))}))
            }
            Control::Fault { fault } => self.suffer(fault, now),
            Control::Switch { name, value } => {
                self.switches.set(name, value)?;
                if name == "idle-token-timeout-seconds" {
                    self.arm_idle_timers(now);
                }
                Ok(json!({"name": name, "value": value}))
            }
        }
    }

    /// The channels that are meant, in order of creation.
    fn channels_meant(&mut self, target: &str) -> Result<Vec<u64>, ControlError> {
        let found: Vec<u64> = match target {
            "all" => return Ok(self.channels.keys().copied().collect()),
            "any" => {
                let with_socket: Vec<u64> = self
                    .channels
                    .iter()
                    .filter(|(_, c)| c.socket.is_some())
                    .map(|(n, _)| *n)
                    .collect();
                let at = self.rng.below(with_socket.len() as u64) as usize;
                with_socket.get(at).copied().into_iter().collect()
            }
            end if end.len() >= 4 => self
                .channels
                .iter()
                .filter(|(_, c)| c.id.ends_with(end))
                .map(|(n, _)| *n)
                .collect(),
            _ => Vec::new(),
        };
        if found.is_empty() {
            return Err(ControlError::NotFound(format!("no channel {target}")));
        }
        Ok(found)
    }

    fn sockets_meant(&mut self, target: &str) -> Result<Vec<SocketId>, ControlError> {
        if target == "all" {
            // Sockets of channels that are gone are meant as well.
            return Ok(self.sockets.keys().copied().collect());
        }
        let channels = self.channels_meant(target)?;
        Ok(channels
            .iter()
            .filter_map(|n| self.channels.get(n)?.socket)
            .collect())
    }

    fn suffer(&mut self, fault: &Fault, now: Now) -> Result<Value, ControlError> {
        let mut touched = 0;
        match fault {
            Fault::DropSocket { channel, code } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    match code {
                        Some(code) => self.close_socket_with(socket, *code, "dropped", now),
                        None => self.reset_socket(socket, now),
                    }
                }
            }
            Fault::Silence { channel, replies } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    if let Some(s) = self.sockets.get_mut(&socket) {
                        s.mute = if *replies { Mute::Unasked } else { Mute::All };
                    }
                }
            }
            Fault::Speak { channel } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    if let Some(s) = self.sockets.get_mut(&socket) {
                        s.mute = Mute::Nothing;
                    }
                }
            }
            Fault::Closing { channel } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    self.closing(socket, now);
                }
            }
            Fault::Evict { channel } => {
                for number in self.channels_meant(channel)? {
                    touched += 1;
                    self.end_channel(number, End::Evicted, now);
                }
            }
            Fault::ExpireChannel { channel } => {
                for number in self.channels_meant(channel)? {
                    touched += 1;
                    self.end_channel(number, End::Expired, now);
                }
            }
            Fault::RevokeTokens | Fault::ExpireTokens => {
                let why = match fault {
                    Fault::RevokeTokens => "revoked",
                    _ => "expired",
                };
                for number in self.tokens.numbers() {
                    touched += 1;
                    self.end_token(number, why, now);
                }
            }
            Fault::Noise { channel, sort } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    self.noise(socket, *sort);
                }
            }
            Fault::Frame { channel, text } => {
                for socket in self.sockets_meant(channel)? {
                    touched += 1;
                    self.say(socket, text.clone());
                }
            }
            standing => self.stand(standing)?,
        }
        self.journal
            .add(now.wall, "fault", None, || fault_name(fault).to_owned());
        Ok(json!({"touched": touched}))
    }

    /// Faults that wait for something to happen.
    fn stand(&mut self, fault: &Fault) -> Result<(), ControlError> {
        let full = || Err(ControlError::Full("too many faults of this sort".into()));
        let faults = &mut self.faults;
        match fault {
            Fault::FailRest {
                call,
                times,
                failure,
            } => {
                if faults.rest.len() >= FAULTS_MOST {
                    return full();
                }
                if let RestFailure::Status { status, .. } | RestFailure::Html { status } = failure
                    && !(200..=599).contains(status)
                {
                    return Err(ControlError::Invalid("a status is 200 to 599".into()));
                }
                if *times > 0 {
                    faults.rest.push_back(RestFault {
                        call: *call,
                        times: *times,
                        failure: failure.clone(),
                    });
                }
            }
            Fault::RefuseTopics { pattern } => {
                if faults.refused_patterns.len() + faults.refused_topics_of.len() >= FAULTS_MOST {
                    return full();
                }
                match Uuid::try_parse(pattern) {
                    Ok(id) => {
                        faults.refused_topics_of.insert(id, ());
                    }
                    Err(_) => faults.refused_patterns.push(pattern.to_ascii_lowercase()),
                }
            }
            Fault::AllowTopics => {
                faults.refused_patterns.clear();
                faults.refused_topics_of.clear();
            }
            Fault::RefuseConversations {
                conversation,
                status,
            } => {
                if ![403, 404].contains(status) {
                    return Err(ControlError::Invalid("the status is 403 or 404".into()));
                }
                match conversation {
                    None => faults.refused_all_conversations = Some(*status),
                    Some(_) if faults.refused_conversations.len() >= FAULTS_MOST => return full(),
                    Some(id) => {
                        faults.refused_conversations.insert(*id, *status);
                    }
                }
            }
            Fault::AllowConversations => {
                faults.refused_conversations.clear();
                faults.refused_all_conversations = None;
            }
            Fault::Permissions { missing } => {
                if missing.len() > 100 {
                    return full();
                }
                faults.missing_permissions.clone_from(missing);
            }
            Fault::Events {
                mode,
                percent,
                delay_ms,
                times,
            } => {
                let mode = match mode.as_str() {
                    "repeat" => EventDelivery::Repeat,
                    "swap" => EventDelivery::Swap,
                    "delay" => EventDelivery::Delay,
                    "drop" => EventDelivery::Drop,
                    "in-order" => {
                        faults.events = None;
                        return Ok(());
                    }
                    other => {
                        return Err(ControlError::Invalid(format!(
                            "mode is repeat, swap, delay, drop or in-order, not {other}"
                        )));
                    }
                };
                if *times != Some(0) {
                    faults.events = Some(EventFault {
                        mode,
                        percent: *percent,
                        delay_ms: (*delay_ms).max(1),
                        times: *times,
                    });
                }
            }
            _ => *faults = super::faults::Faults::default(),
        }
        Ok(())
    }
}

fn fault_name(fault: &Fault) -> &'static str {
    match fault {
        Fault::DropSocket { .. } => "drop-socket",
        Fault::Silence { .. } => "silence",
        Fault::Speak { .. } => "speak",
        Fault::Closing { .. } => "closing",
        Fault::Evict { .. } => "evict",
        Fault::ExpireChannel { .. } => "expire-channel",
        Fault::RevokeTokens => "revoke-tokens",
        Fault::ExpireTokens => "expire-tokens",
        Fault::FailRest { .. } => "fail-rest",
        Fault::RefuseTopics { .. } => "refuse-topics",
        Fault::AllowTopics => "allow-topics",
        Fault::RefuseConversations { .. } => "refuse-conversations",
        Fault::AllowConversations => "allow-conversations",
        Fault::Permissions { .. } => "permissions",
        Fault::Events { .. } => "events",
        Fault::Noise { .. } => "noise",
        Fault::Frame { .. } => "frame",
        Fault::Clear => "clear",
    }
}
