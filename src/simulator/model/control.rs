//! The control interface: everything that makes something happen on the
//! platform from outside, as one closed enum that JSON can spell.
//!
//! Invariant: a command that is refused changes nothing.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::acts::Start;
use super::faults::{Noise, RestFailure};
use super::life::Life;
use super::rest::Call;
use super::switches::SwitchError;
use base::ids::ConversationId;

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
    /// An OAuth client gets no token any more, and those it has are revoked.
    DisableClient {
        /// Its id.
        client: String,
    },
    /// It gets tokens again.
    EnableClient {
        /// Its id.
        client: String,
    },
    /// An OAuth client may make no channels any more; those that it has go on.
    ForbidChannels {
        /// Its id.
        client: String,
    },
    /// It may make channels again.
    PermitChannels {
        /// Its id.
        client: String,
    },
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
        /// 400 to 599.
        status: u16,
        /// Further headers of the refusal, 16 at most; they replace those that the
        /// simulator would add itself.
        #[serde(default)]
        headers: std::collections::BTreeMap<String, String>,
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
