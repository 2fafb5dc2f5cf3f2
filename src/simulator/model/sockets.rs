//! The WebSocket side of a channel: upgrade, heartbeats, closing
//! (protocol, section 4).
//!
//! Invariant: a channel has one socket at most; a socket that was closed here
//! is unknown from then on, and what comes for it is ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::channels::Channel;
use super::faults::Noise;
use super::journal::tail;
use super::switches::{ClosingNotice, SecondSocket, TokenDeath};
use super::{Platform, SocketId, SocketOut, Timer};
use base::time::Now;
use base::wire::Response;

/// What a socket does not send any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mute {
    #[default]
    Nothing,
    /// Events and heartbeats; replies and pongs still come.
    Unasked,
    /// Everything.
    All,
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) channel: u64,
    pub(super) channel_id: String,
    pub(super) mute: Mute,
    /// An event held back by `swap`, with the number of its wrap-up.
    pub(super) held_back: Option<(u64, String, Option<usize>)>,
}

pub(super) const HEARTBEAT: &str =
    r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#;

impl Platform {
    pub(super) fn open_socket(&mut self, path: &str, now: Now) -> Result<SocketId, Response> {
        if let Some(refusal) = self.refuse_upgrade(now) {
            return Err(refusal);
        }
        let id = path.split('?').next().unwrap_or("");
        let id = id.strip_prefix("/channels/").unwrap_or("");
        let Some(&number) = self.channel_ids.get(id) else {
            self.journal
                .add(now.wall, "upgrade-refused", Some(id), || "404".into());
            return Err(Response::empty(404));
        };
        let (token, old) = match self.channels.get(&number) {
            Some(channel) => (channel.token, channel.socket),
            None => return Err(Response::empty(404)),
        };
        if !self.tokens.is_alive(token) {
            self.journal
                .add(now.wall, "upgrade-refused", Some(id), || "401".into());
            return Err(Response::empty(401));
        }
        if self.sockets.len() >= self.limits.sockets {
            return Err(Response::empty(503));
        }
        if let Some(old) = old {
            self.ledger.second_sockets += 1;
            match self.switches.second_socket {
                SecondSocket::Close => self.close_socket(old, "another socket was opened", now),
                SecondSocket::Reset => self.reset_socket(old, now),
            }
        }
        let socket = SocketId(self.next_socket);
        self.next_socket += 1;
        self.journal
            .add(now.wall, "upgrade", Some(id), || socket.0.to_string());
        self.sockets.insert(
            socket,
            Socket {
                channel: number,
                channel_id: id.to_owned(),
                mute: Mute::Nothing,
                held_back: None,
            },
        );
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.socket = Some(socket);
            channel.used = now.mono;
        }
        self.account(number);
        self.timers
            .set(now.mono + self.heartbeat(), Timer::Heartbeat(socket));
        Ok(socket)
    }

    fn heartbeat(&self) -> Duration {
        // Stopped heartbeats are looked at again after the usual period.
        match self.switches.heartbeat_seconds {
            0 => Duration::from_secs(30),
            n => Duration::from_secs(n),
        }
    }

    pub(super) fn heartbeat_due(&mut self, socket: SocketId, now: Now) {
        let Some(s) = self.sockets.get(&socket) else {
            return;
        };
        if s.mute == Mute::Nothing && self.switches.heartbeat_seconds > 0 {
            self.out.push_back(SocketOut::Frame {
                socket,
                text: HEARTBEAT.into(),
            });
        }
        self.timers
            .set(now.mono + self.heartbeat(), Timer::Heartbeat(socket));
    }

    /// Sends a frame unless the socket is wholly silent.
    pub(super) fn say(&mut self, socket: SocketId, text: String) {
        if self
            .sockets
            .get(&socket)
            .is_some_and(|s| s.mute != Mute::All)
        {
            self.out.push_back(SocketOut::Frame { socket, text });
        }
    }

    pub(super) fn say_later(&mut self, socket: SocketId, text: String, extra: Duration, now: Now) {
        let delay = extra + Duration::from_millis(self.switches.reply_delay_ms);
        if delay.is_zero() {
            self.say(socket, text);
        } else {
            self.timers
                .set(now.mono + delay, Timer::Frame(socket, text));
        }
    }

    pub(super) fn system_frame(
        &mut self,
        socket: SocketId,
        topic: &str,
        channel: &str,
        sort: Option<&str>,
        reason: Option<&str>,
        message: &str,
    ) {
        let mut body = json!({"channelId": channel, "message": message});
        if let Some(sort) = sort {
            body["systemTopicType"] = json!(sort);
        }
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        self.say(
            socket,
            json!({"topicName": topic, "eventBody": body}).to_string(),
        );
    }

    /// Gives the maintenance notice, and sees to what follows.
    pub(super) fn closing(&mut self, socket: SocketId, now: Now) {
        let left = Duration::from_secs(self.switches.closing_seconds);
        self.closing_notice(socket, now);
        match self.switches.closing_notice {
            ClosingNotice::CloseAtOnce => self.close_socket(socket, "maintenance", now),
            ClosingNotice::NoticeThenClose => {
                self.timers.set(now.mono + left, Timer::Close(socket));
            }
            ClosingNotice::NoticeTwice => {
                self.timers
                    .set(now.mono + left / 2, Timer::ClosingNotice(socket));
                self.timers.set(now.mono + left, Timer::Close(socket));
            }
            ClosingNotice::NoticeOnly => {}
        }
    }

    pub(super) fn closing_notice(&mut self, socket: SocketId, now: Now) {
        let Some(s) = self.sockets.get(&socket) else {
            return;
        };
        let id = s.channel_id.clone();
        self.journal
            .add(now.wall, "closing", Some(&id), String::new);
        self.system_frame(
            socket,
            "v2.system.socket_closing",
            &id,
            None,
            None,
            "Websocket closing soon",
        );
    }

    /// Closes a socket with the code of the switch.
    pub(super) fn close_socket(&mut self, socket: SocketId, reason: &str, now: Now) {
        match self.switches.close_code.number() {
            Some(code) => self.close_socket_with(socket, code, reason, now),
            None => self.reset_socket(socket, now),
        }
    }

    pub(super) fn close_socket_with(
        &mut self,
        socket: SocketId,
        code: u16,
        reason: &str,
        now: Now,
    ) {
        if self.forget_socket(socket, now, || format!("by the platform, {code}")) {
            self.out.push_back(SocketOut::Close {
                socket,
                code,
                reason: reason.to_owned(),
            });
        }
    }

    pub(super) fn reset_socket(&mut self, socket: SocketId, now: Now) {
        if self.forget_socket(socket, now, || "reset by the platform".into()) {
            self.out.push_back(SocketOut::Reset { socket });
        }
    }

    pub(super) fn forget_socket(
        &mut self,
        socket: SocketId,
        now: Now,
        how: impl FnOnce() -> String,
    ) -> bool {
        let Some(gone) = self.sockets.remove(&socket) else {
            return false;
        };
        self.journal
            .add(now.wall, "closed", Some(&gone.channel_id), how);
        if let Some(channel) = self.channels.get_mut(&gone.channel)
            && channel.socket == Some(socket)
        {
            channel.socket = None;
        }
        self.account(gone.channel);
        true
    }

    pub(super) fn mute_socket(&mut self, socket: SocketId) {
        if let Some(s) = self.sockets.get_mut(&socket) {
            s.mute = Mute::All;
        }
    }

    /// What a dead token does to the sockets of its channels.
    pub(super) fn token_died(&mut self, token: u64, revoked: bool, now: Now) {
        let mine: Vec<(SocketId, String)> = self
            .channels
            .values()
            .filter(|c| c.token == token)
            .filter_map(|c| c.socket.map(|s| (s, c.id.clone())))
            .collect();
        for (socket, id) in mine {
            match self.switches.token_death {
                TokenDeath::Stays | TokenDeath::Deaf => {}
                TokenDeath::Silent => self.mute_socket(socket),
                TokenDeath::Close => self.close_socket(socket, "token is not valid", now),
                TokenDeath::NoticeThenClose => {
                    let reason = revoked.then_some("user_tokens_revoked");
                    self.system_frame(
                        socket,
                        &format!("v2.system.token_revoked.{id}"),
                        &id,
                        Some("token_revoked"),
                        reason,
                        "Token revoked",
                    );
                    self.close_socket(socket, "token is not valid", now);
                }
            }
        }
    }

    pub(super) fn noise(&mut self, socket: SocketId, sort: Noise) {
        let text = match sort {
            Noise::UnknownTopic => {
                r#"{"topicName":"v2.nobody.knows.this","version":"9","eventBody":{"a":[1,2,{"b":null}]},"metadata":{"type":"x"}}"#
            }
            Noise::UnknownSystem => {
                r#"{"topicName":"v2.system.4711.0815","eventBody":{"systemTopicType":"brand_new","data":{}}}"#
            }
            Noise::NotJson => "this is } not JSON",
            Noise::NotAnObject => r#"["a",1,null]"#,
            Noise::Empty => "",
            Noise::NoTopic => r#"{"eventBody":{"message":"who am I"}}"#,
            Noise::ForeignReply => {
                r#"{"correlationId":"not-yours","topics":[],"result":"200","status":"subscribed","message":"Successfully subscribed to topic(s)."}"#
            }
        };
        self.say(socket, text.to_owned());
    }

    /// The last four characters of the channel id of a socket, for the journal of the shell.
    #[must_use]
    pub fn socket_tail(&self, socket: SocketId) -> Option<&str> {
        self.sockets.get(&socket).map(|s| tail(&s.channel_id))
    }
}

/// The id of a channel that exists.
pub(super) fn id_of(channels: &BTreeMap<u64, Channel>, number: u64) -> Option<&str> {
    channels.get(&number).map(|c| c.id.as_str())
}
