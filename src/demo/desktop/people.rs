//! What the agents of the simulated desktop do on the simulated platform.
//!
//! Invariant: each agent is one user of the platform, whatever the conversation; the table of
//! conversations has a bound.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use base::ids::ConversationId;
use simulator::Running;
use simulator::model::{Control, ControlError, Media, Start};
use uuid::Uuid;

/// Conversations that are remembered; beyond them the oldest goes.
const CONVERSATIONS_MAX: usize = 2000;

/// Who sits at the desktop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Agent {
    /// The first.
    Alice,
    /// To whom the first transfers.
    Bob,
}

impl Agent {
    pub(super) const NAMES: [&str; 2] = ["alice", "bob"];

    /// The platform's user.
    fn user(self) -> Uuid {
        Uuid::from_u128(match self {
            Agent::Alice => 0xa11c_e000_0000_4000_8000_0000_0000_0001,
            Agent::Bob => 0xb0b0_0000_0000_4000_8000_0000_0000_0002,
        })
    }
}

/// A medium, as a desktop names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Medium {
    Voice,
    Chat,
    Email,
    Callback,
}

/// Legs of a conversation by agent, in the order in which they came.
type Legs = Vec<(Agent, usize)>;

#[derive(Default)]
struct Known {
    legs: BTreeMap<ConversationId, Legs>,
    ages: VecDeque<ConversationId>,
}

/// The agents.
pub(super) struct People {
    platform: Arc<Running>,
    known: Mutex<Known>,
}

type Done = Result<Value, ControlError>;

fn stranger() -> ControlError {
    ControlError::NotFound(String::from("this conversation was not begun here"))
}

impl People {
    pub(super) fn new(platform: Arc<Running>) -> People {
        People {
            platform,
            known: Mutex::default(),
        }
    }

    fn act(&self, what: &Control) -> Done {
        self.platform.model().with(|p, now| p.control(what, now))
    }

    fn seat(&self, id: ConversationId, leg: usize, agent: Agent) -> Result<(), ControlError> {
        self.platform
            .model()
            .with(|p, _| p.agent_is(id, leg, agent.user()))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(legs) = known.legs.get_mut(&id) {
            legs.push((agent, leg));
            return Ok(());
        }
        if known.ages.len() >= CONVERSATIONS_MAX
            && let Some(oldest) = known.ages.pop_front()
        {
            known.legs.remove(&oldest);
        }
        known.ages.push_back(id);
        known.legs.insert(id, vec![(agent, leg)]);
        Ok(())
    }

    /// The last leg of an agent; the last of all without one.
    fn leg(&self, id: ConversationId, agent: Option<Agent>) -> Result<usize, ControlError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let legs = known.legs.get(&id).ok_or_else(stranger)?;
        let mut of = legs.iter().rev();
        let found = of.find(|(who, _)| agent.is_none_or(|agent| agent == *who));
        found.map(|(_, leg)| *leg).ok_or_else(|| {
            ControlError::NotFound(String::from("this agent has no part in the conversation"))
        })
    }

    /// A conversation begins, with that agent on it.
    pub(super) fn begin(&self, medium: Medium, agent: Agent) -> Done {
        let start = Start {
            media: match medium {
                Medium::Voice => Media::Voice,
                Medium::Chat => Media::Chat,
                Medium::Email => Media::Email,
                Medium::Callback => Media::Callback,
            },
            ..Start::default()
        };
        let begun = self.act(&Control::Start(start))?;
        let id = begun["conversation"]
            .as_str()
            .and_then(|id| id.parse().ok());
        let id: ConversationId = id.ok_or_else(stranger)?;
        self.seat(id, 0, agent)?;
        Ok(json!({"conversationId": id.to_string()}))
    }

    /// Whoever is on it hands over to that agent.
    pub(super) fn transfer(&self, conversation: ConversationId, agent: Agent) -> Done {
        self.leg(conversation, None)?;
        let done = self.act(&Control::Transfer {
            conversation,
            leg: None,
            acw: true,
        })?;
        let leg = done["leg"].as_u64().and_then(|n| usize::try_from(n).ok());
        self.seat(conversation, leg.ok_or_else(stranger)?, agent)?;
        Ok(json!({}))
    }

    /// The agent's part ends, and with the last one the conversation.
    pub(super) fn end(&self, conversation: ConversationId, agent: Option<Agent>) -> Done {
        let leg = self.leg(conversation, agent)?;
        self.act(&Control::Leave { conversation, leg })?;
        let shown = self.platform.model().platform().shown(conversation);
        let others = shown.is_some_and(|c| somebody_serves(&c));
        if !others {
            self.act(&Control::End { conversation })?;
        }
        Ok(json!({}))
    }

    /// The agent's after-call work is done, and the platform announces it.
    pub(super) fn wrap_up(
        &self,
        conversation: ConversationId,
        agent: Option<Agent>,
        code: Option<String>,
        notes: Option<String>,
    ) -> Done {
        let leg = self.leg(conversation, agent)?;
        self.act(&Control::WrapUp {
            conversation,
            leg: Some(leg),
            code,
            notes,
        })?;
        Ok(json!({}))
    }
}

/// Whether an agent is still connected, as REST would show it.
fn somebody_serves(conversation: &Value) -> bool {
    let participants = conversation["participants"].as_array();
    participants
        .into_iter()
        .flatten()
        .any(|p| p["purpose"] == "agent" && p.get("endTime").is_none_or(Value::is_null))
}
