//! A conversation: who takes part, who is connected, whose after-call work is
//! due, done or skipped (protocol, section 11.1).
//!
//! ```text
//! leg:  connected ──disconnect──► [pending] ──wrap up──► complete ──re-wrap──► complete
//!                       │              └──────skip─────► skipped
//!                       └─ no after-call work asked for ─► not applicable
//! ```
//!
//! Invariant: pure state; what is emitted for a change is decided in `acts`.

use serde::Deserialize;
use uuid::Uuid;

use base::ids::ConversationId;
use base::rng::Rng;
use base::time::Wall;

/// The code of skipped after-call work.
pub const SKIPPED_CODE: &str = "ININ-WRAP-UP-SKIPPED";

/// The medium of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// A call.
    #[default]
    Voice,
    /// Web messaging.
    Message,
    /// E-mail.
    Email,
    /// A callback.
    Callback,
    /// A web chat.
    Chat,
}

impl Media {
    /// The member of a participant that holds its communications.
    pub(super) fn member(self) -> &'static str {
        match self {
            Media::Voice => "calls",
            Media::Message => "messages",
            Media::Email => "emails",
            Media::Callback => "callbacks",
            Media::Chat => "chats",
        }
    }

    /// As events spell it; analytics use the same in lower case.
    pub(super) fn event_name(self) -> &'static str {
        match self {
            Media::Voice => "VOICE",
            Media::Message => "MESSAGE",
            Media::Email => "EMAIL",
            Media::Callback => "CALLBACK",
            Media::Chat => "CHAT",
        }
    }

    pub(super) fn provider(self) -> &'static str {
        match self {
            Media::Voice => "Edge",
            Media::Message => "PureCloud Messaging",
            Media::Email => "PureCloud Email",
            Media::Callback => "PureCloud Callback",
            Media::Chat => "PureCloud Webchat v2",
        }
    }
}

/// What a participant is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The customer.
    Customer,
    /// The queue.
    Acd,
    /// An agent.
    Agent,
}

impl Purpose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Purpose::Customer => "customer",
            Purpose::Acd => "acd",
            Purpose::Agent => "agent",
        }
    }
}

/// One finished wrap-up of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    /// Code.
    pub code: String,
    /// Notes.
    pub notes: String,
    /// End as REST shows it.
    pub end: Wall,
    /// Length of the after-call work in milliseconds.
    pub duration_ms: u64,
}

/// After-call work of a leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acw {
    /// Whether it is asked for, or was done all the same.
    pub required: bool,
    /// Nobody asks for it; the agent may do it all the same.
    pub optional: bool,
    /// When it began: when the leg was disconnected.
    pub start: Option<Wall>,
    /// Wrap-ups; the last one is what REST shows.
    pub wraps: Vec<Wrap>,
    /// When it was skipped.
    pub skipped: Option<Wall>,
    /// Notes of a draft.
    pub draft: Option<String>,
    /// Number in the ledger of the last wrap-up, and how many there were.
    pub(super) last: Option<usize>,
    pub(super) count: usize,
}

impl Acw {
    /// Whether it is due and neither done nor skipped.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.required && self.start.is_some() && self.wraps.is_empty() && self.skipped.is_none()
    }

    /// When it ended, as REST shows it.
    #[must_use]
    pub fn end(&self) -> Option<Wall> {
        self.wraps.last().map(|w| w.end).or(self.skipped)
    }
}

/// One communication of a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Communication id, `sessionId` of events.
    pub session: Uuid,
    /// When it began to alert.
    pub start: Wall,
    /// When it was connected.
    pub connected: Wall,
    /// When it was disconnected.
    pub disconnected: Option<Wall>,
    /// Why it was disconnected.
    pub disconnect_type: &'static str,
    /// After-call work.
    pub acw: Acw,
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// `participantId` of events.
    pub id: Uuid,
    /// What it is there for.
    pub purpose: Purpose,
    /// The agent's user id.
    pub user: Option<Uuid>,
    /// Its communications, in order.
    pub legs: Vec<Leg>,
}

impl Participant {
    /// When the last communication ended, if all have.
    #[must_use]
    pub fn end(&self) -> Option<Wall> {
        self.legs
            .iter()
            .map(|l| l.disconnected)
            .try_fold(Wall(i64::MIN), |latest, end| end.map(|e| latest.max(e)))
    }
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Its medium.
    pub media: Media,
    /// Whether the customer began it.
    pub inbound: bool,
    /// When it began.
    pub start: Wall,
    /// When the last one disconnected; missing while anyone is connected.
    pub end: Option<Wall>,
    /// Who took part, in order of joining.
    pub participants: Vec<Participant>,
    /// The agents' legs in the order in which they began: participant and leg.
    pub agent_legs: Vec<(usize, usize)>,
    /// Customer's address.
    pub ani: String,
    /// Our address.
    pub dnis: String,
    /// External contact of the customer.
    pub contact: Uuid,
    /// Queue.
    pub queue: Uuid,
}

impl Conversation {
    pub(super) fn begin(
        id: ConversationId,
        media: Media,
        inbound: bool,
        queue: Uuid,
        rng: &mut Rng,
        now: Wall,
    ) -> Conversation {
        let number = rng.below(10_000);
        let (ani, dnis) = match media {
            Media::Voice | Media::Callback => (
                format!("tel:+1555555{number:04}"),
                "tel:+15555550199".to_owned(),
            ),
            Media::Email => (
                format!("customer{number}@example.com"),
                "support@example.com".to_owned(),
            ),
            Media::Message | Media::Chat => {
                (format!("{:024x}", rng.next_u64()), rng.uuid().to_string())
            }
        };
        let mut conversation = Conversation {
            id,
            media,
            inbound,
            start: now,
            end: None,
            participants: Vec::new(),
            agent_legs: Vec::new(),
            ani,
            dnis,
            contact: rng.uuid(),
            queue,
        };
        conversation.join(Purpose::Customer, None, false, rng, now);
        let acd = conversation.join(Purpose::Acd, None, false, rng, now);
        conversation.disconnect(acd, 0, "transfer", now);
        conversation
    }

    fn join(
        &mut self,
        purpose: Purpose,
        user: Option<Uuid>,
        acw: bool,
        rng: &mut Rng,
        now: Wall,
    ) -> usize {
        self.participants.push(Participant {
            id: rng.uuid(),
            purpose,
            user,
            legs: vec![leg(acw, rng, now)],
        });
        self.participants.len() - 1
    }

    /// A new agent joins; returns the number of the agent leg.
    pub(super) fn agent_joins(&mut self, user: Uuid, acw: bool, rng: &mut Rng, now: Wall) -> usize {
        let participant = self.join(Purpose::Agent, Some(user), acw, rng, now);
        self.agent_legs.push((participant, 0));
        self.end = None;
        self.agent_legs.len() - 1
    }

    /// The participant of an agent leg gets another communication.
    pub(super) fn agent_returns(
        &mut self,
        agent_leg: usize,
        acw: bool,
        rng: &mut Rng,
        now: Wall,
    ) -> Option<usize> {
        let (participant, _) = *self.agent_legs.get(agent_leg)?;
        let legs = &mut self.participants.get_mut(participant)?.legs;
        legs.push(leg(acw, rng, now));
        self.agent_legs.push((participant, legs.len() - 1));
        self.end = None;
        Some(self.agent_legs.len() - 1)
    }

    /// The customer is connected again.
    pub(super) fn customer_returns(&mut self, rng: &mut Rng, now: Wall) {
        if let Some(customer) = self.participants.first_mut() {
            customer.legs.push(leg(false, rng, now));
        }
        self.end = None;
    }

    /// Ends a communication, and the conversation if it was the last.
    pub(super) fn disconnect(
        &mut self,
        participant: usize,
        leg: usize,
        disconnect_type: &'static str,
        now: Wall,
    ) {
        if let Some(l) = self
            .participants
            .get_mut(participant)
            .and_then(|p| p.legs.get_mut(leg))
            && l.disconnected.is_none()
        {
            l.disconnected = Some(now);
            l.disconnect_type = disconnect_type;
            if l.acw.required {
                l.acw.start = Some(now);
            }
        }
        let anyone = self
            .participants
            .iter()
            .flat_map(|p| &p.legs)
            .any(|l| l.disconnected.is_none());
        if !anyone && self.end.is_none() && !self.agent_legs.is_empty() {
            self.end = Some(now);
        }
    }

    /// Everybody is disconnected.
    pub(super) fn disconnect_all(&mut self, now: Wall) {
        for participant in 0..self.participants.len() {
            for leg in 0..self.participants[participant].legs.len() {
                let why = if participant == 0 { "endpoint" } else { "peer" };
                self.disconnect(participant, leg, why, now);
            }
        }
        if self.end.is_none() {
            self.end = Some(now);
        }
    }

    /// One agent leg, with its participant.
    #[must_use]
    pub fn agent_leg(&self, number: usize) -> Option<(&Participant, &Leg)> {
        let (participant, leg) = *self.agent_legs.get(number)?;
        let participant = self.participants.get(participant)?;
        Some((participant, participant.legs.get(leg)?))
    }

    pub(super) fn agent_leg_mut(&mut self, number: usize) -> Option<&mut Leg> {
        let (participant, leg) = *self.agent_legs.get(number)?;
        self.participants.get_mut(participant)?.legs.get_mut(leg)
    }

    /// The agent legs in order.
    pub fn agent_legs(&self) -> impl Iterator<Item = (&Participant, &Leg)> {
        (0..self.agent_legs.len()).filter_map(|n| self.agent_leg(n))
    }

    /// Whether nobody is connected and no after-call work is pending.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.end.is_some() && !self.agent_legs().any(|(_, l)| l.acw.pending())
    }
}

fn leg(acw: bool, rng: &mut Rng, now: Wall) -> Leg {
    Leg {
        session: rng.uuid(),
        start: now,
        connected: now,
        disconnected: None,
        disconnect_type: "",
        acw: Acw {
            required: acw,
            optional: !acw,
            ..Acw::default()
        },
    }
}
