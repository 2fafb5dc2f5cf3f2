//! While two sockets serve one wish, an event may come on both: it is told once.
//!
//! Invariant: an event that came on one socket alone is never kept back, and what is
//! remembered is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use base::ids::Topic;
use base::time::Mono;

use crate::session::SocketRef;

/// Events that are remembered at most; beyond, the oldest may be told twice.
const REMEMBERED_MAX: usize = 1024;

/// How long a frame may be on its way.
const KEPT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Event {
    /// The sockets on which it came; there are seldom more than two.
    on: Vec<SocketRef>,
    topic: Topic,
    body: String,
}

/// What came while there were several sockets.
#[derive(Debug, Default)]
pub struct Twins {
    seen: VecDeque<Event>,
    until: Mono,
}

impl Twins {
    /// Whether this event has come on another socket before. Two equal events on one socket are
    /// two events. While there are `two` sockets it may come on the other yet; for a while
    /// after there was a second one, what came on that may still come here.
    pub fn came(
        &mut self,
        socket: SocketRef,
        topic: &Topic,
        body: &str,
        two: bool,
        now: Mono,
    ) -> bool {
        if two {
            self.until = now + KEPT;
        } else if self.until <= now {
            self.seen.clear();
        }
        let twin = |e: &&mut Event| !e.on.contains(&socket) && e.topic == *topic && e.body == body;
        if let Some(event) = self.seen.iter_mut().find(twin) {
            event.on.push(socket);
            return true;
        }
        if !two {
            return false;
        }
        if self.seen.len() >= REMEMBERED_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Event {
            on: vec![socket],
            topic: topic.clone(),
            body: body.to_owned(),
        });
        false
    }
}
