//! Carrying out the commands of `control`.
//!
//! Invariant: a command that is refused changes nothing.

use serde_json::{Value, json};
use uuid::Uuid;

use super::channels::End;
use super::control::{Control, ControlError, Fault};
use super::faults::{EventFault, FAULTS_MOST, Faults, Refused, RestFailure, RestFault};
use super::sockets::Mute;
use super::switches::EventDelivery;
use super::{Platform, SocketId};
use base::ids::ConversationId;
use base::time::{Now, Wall};

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
            Fault::DisableClient { client } => {
                touched = self.disable_client(client, now).ok_or_else(|| {
                    ControlError::NotFound(format!("there is no client {client}"))
                })?;
            }
            Fault::EnableClient { client } => {
                touched = u64::from(self.faults.disabled.remove(client));
            }
            Fault::ForbidChannels { client } => {
                if self.client(client).is_none() {
                    return Err(ControlError::NotFound(format!(
                        "there is no client {client}"
                    )));
                }
                touched = u64::from(self.faults.no_channels.insert(client.clone()));
            }
            Fault::PermitChannels { client } => {
                touched = u64::from(self.faults.no_channels.remove(client));
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
                headers,
            } => {
                if !(400..=599).contains(status) {
                    return Err(ControlError::Invalid("the status is 400 to 599".into()));
                }
                if headers.len() > 16 {
                    return full();
                }
                let refused = Refused {
                    status: *status,
                    headers: headers.clone().into_iter().collect(),
                };
                match conversation {
                    None => faults.refused_all_conversations = Some(refused),
                    Some(_) if faults.refused_conversations.len() >= FAULTS_MOST => return full(),
                    Some(id) => {
                        faults.refused_conversations.insert(*id, refused);
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
            _ => *faults = Faults::default(),
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
        Fault::DisableClient { .. } => "disable-client",
        Fault::EnableClient { .. } => "enable-client",
        Fault::ForbidChannels { .. } => "forbid-channels",
        Fault::PermitChannels { .. } => "permit-channels",
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
