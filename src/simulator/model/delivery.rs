//! Events on their way to the sockets that are subscribed (protocol, sections 4.5, 6 and 9).
//!
//! Whoever is not connected and subscribed at the moment of the event does not
//! get it, then or later.
//!
//! Invariant: one event goes once to one channel and topic name, unless a
//! switch or a fault says otherwise.

use std::time::Duration;

use serde_json::{Value, json};

use super::sockets::{Mute, id_of};
use super::switches::{EventDelivery, MetadataKey, TokenDeath};
use super::topics::DETAIL_PREFIX;
use super::{Platform, SocketId, SocketOut, Timer};
use base::ids::ConversationId;
use base::time::Now;

/// How long `swap` holds an event back if no other comes.
const SWAP_WAITS: Duration = Duration::from_secs(2);

impl Platform {
    /// Emits one detail event of a conversation. `wrap_up` is its number in the ledger.
    pub(super) fn emit(
        &mut self,
        conversation: ConversationId,
        event: &str,
        body: &Value,
        wrap_up: Option<usize>,
        now: Now,
    ) {
        let topic = format!("{DETAIL_PREFIX}{conversation}.{event}");
        let channels: Vec<u64> = match self.listeners.get(topic.as_str()) {
            Some(list) => list.iter().map(|(number, _)| *number).collect(),
            None => {
                self.journal.add(now.wall, "event-unheard", None, || topic);
                return;
            }
        };
        let mut frame = json!({"topicName": topic, "version": "2", "eventBody": body});
        match self.switches.metadata_key {
            MetadataKey::Upper => {
                frame["metadata"] = json!({"CorrelationId": self.rng.uuid().to_string()});
            }
            MetadataKey::Lower => {
                frame["metadata"] = json!({"correlationId": self.rng.uuid().to_string()});
            }
            MetadataKey::Absent => {}
        }
        let text = frame.to_string();
        for number in channels {
            let Some(channel) = self.channels.get(&number) else {
                continue;
            };
            let deaf = self.switches.token_death == TokenDeath::Deaf
                && !self.tokens.is_alive(channel.token);
            let Some(socket) = channel.socket.filter(|_| !deaf) else {
                self.journal
                    .add(now.wall, "event-unheard", Some(&channel.id), || {
                        topic.clone()
                    });
                continue;
            };
            let (delivery, late) = self.event_fate();
            match delivery {
                EventDelivery::Drop => {
                    self.journal.add(
                        now.wall,
                        "event-dropped",
                        id_of(&self.channels, number),
                        || topic.clone(),
                    );
                }
                EventDelivery::Delay => self
                    .timers
                    .set(now.mono + late, Timer::Event(socket, text.clone(), wrap_up)),
                EventDelivery::Swap => self.swap(socket, text.clone(), wrap_up, now),
                EventDelivery::Repeat => {
                    self.event_frame(socket, text.clone(), wrap_up, now);
                    self.event_frame(socket, text.clone(), wrap_up, now);
                }
                EventDelivery::InOrder => {
                    self.event_frame(socket, text.clone(), wrap_up, now);
                }
            }
        }
    }

    /// Whether any channel is subscribed to an event of a conversation.
    pub(super) fn is_heard(&self, conversation: ConversationId, event: &str) -> bool {
        let topic = format!("{DETAIL_PREFIX}{conversation}.{event}");
        self.listeners.contains_key(topic.as_str())
    }

    /// What becomes of the next event frame: the fault in force, else the switch.
    fn event_fate(&mut self) -> (EventDelivery, Duration) {
        let (mode, percent, late) = match &mut self.faults.events {
            Some(fault) => {
                let chosen = (fault.mode, fault.percent, fault.delay_ms);
                if let Some(left) = &mut fault.times {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        self.faults.events = None;
                    }
                }
                chosen
            }
            None => (
                self.switches.event_delivery,
                self.switches.event_fault_percent,
                self.switches.event_fault_delay_ms,
            ),
        };
        let late = Duration::from_millis(late);
        if mode != EventDelivery::InOrder && (percent >= 100 || self.rng.chance(percent)) {
            (mode, late)
        } else {
            (EventDelivery::InOrder, late)
        }
    }

    fn swap(&mut self, socket: SocketId, text: String, wrap_up: Option<usize>, now: Now) {
        let Some(s) = self.sockets.get_mut(&socket) else {
            return;
        };
        if let Some((_, held, held_wrap_up)) = s.held_back.take() {
            self.event_frame(socket, text, wrap_up, now);
            self.event_frame(socket, held, held_wrap_up, now);
            return;
        }
        let turn = self.next_swap;
        self.next_swap += 1;
        s.held_back = Some((turn, text, wrap_up));
        self.timers
            .set(now.mono + SWAP_WAITS, Timer::Unswap(socket, turn));
    }

    pub(super) fn unswap_due(&mut self, socket: SocketId, turn: u64, now: Now) {
        let Some(s) = self.sockets.get_mut(&socket) else {
            return;
        };
        if s.held_back.as_ref().is_some_and(|(t, _, _)| *t == turn)
            && let Some((_, text, wrap_up)) = s.held_back.take()
        {
            self.event_frame(socket, text, wrap_up, now);
        }
    }

    /// Puts an event frame on the wire, if the socket still is and still speaks.
    pub(super) fn event_frame(
        &mut self,
        socket: SocketId,
        text: String,
        wrap_up: Option<usize>,
        now: Now,
    ) {
        let Some(s) = self.sockets.get(&socket) else {
            return;
        };
        if s.mute != Mute::Nothing {
            return;
        }
        self.journal
            .add(now.wall, "event", Some(&s.channel_id), || {
                wrap_up.map_or_else(String::new, |n| format!("wrap-up {n}"))
            });
        self.out.push_back(SocketOut::Frame { socket, text });
        if let Some(w) = wrap_up.and_then(|n| self.ledger.wrap_ups.get_mut(n)) {
            w.frames += 1;
        }
    }
}
