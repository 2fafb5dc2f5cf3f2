//! The load: conversations that begin and end on the platform, and callers that
//! report them until they are answered.
//!
//! Invariant: a conversation is *accepted* here only when a 2xx was read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::ids::ConversationId;
use base::rng::Rng;
use simulator::Running;
use simulator::model::{Control, Life, Start};

use crate::house::Caller;

const CALLERS: usize = 4;

#[derive(Clone)]
enum Say {
    Interaction(ConversationId),
    Result(u64, Option<ConversationId>),
}

#[derive(Default)]
struct Shared {
    door: Mutex<Option<SocketAddr>>,
    due: Mutex<VecDeque<(Instant, Say)>>,
    /// Planned and not answered yet.
    left: AtomicUsize,
    accepted: Mutex<BTreeSet<ConversationId>>,
    /// Marker of a support result, and the record it was accepted as.
    results: Mutex<BTreeMap<u64, String>>,
    stop: AtomicBool,
}

/// See the [module](self).
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    rng: Rng,
    last_marker: u64,
}

impl Load {
    /// Starts the callers; they have nothing to say yet.
    pub(crate) fn start(seed: u64) -> Load {
        let shared = Arc::new(Shared::default());
        let threads = (0..CALLERS)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || call(&shared))
            })
            .collect();
        Load {
            shared,
            threads,
            rng: Rng::new(seed ^ 0x6c6f_6164),
            last_marker: 0,
        }
    }

    /// Where the gateway listens now, if it does.
    pub(crate) fn knock_at(&self, door: Option<SocketAddr>) {
        *self.shared.door.lock().unwrap() = door;
    }

    /// So many more conversations, over the next seconds.
    pub(crate) fn plan(&mut self, platform: &Running, conversations: usize) {
        let mut says = Vec::new();
        for _ in 0..conversations {
            let id = ConversationId(self.rng.uuid());
            let start = self.rng.below(1500);
            let life = Life {
                id: Some(id),
                agents: 1 + u32::from(self.rng.chance(20)) + u32::from(self.rng.chance(10)),
                start_after_ms: start,
                talk_ms: 100 + self.rng.below(1500),
                acw_ms: 20 + self.rng.below(1500),
                skip: self.rng.chance(5),
                // Far enough from the wrap-up that the two are told apart (design, section 5).
                rewrap_after_ms: self.rng.chance(5).then_some(6500),
                ..Life::default()
            };
            platform
                .model()
                .with(|p, now| p.control(&Control::Life(life), now).unwrap());
            // Reported a little after it began, sometimes when it is over already.
            let late = if self.rng.chance(15) { 4000 } else { 600 };
            let at = Instant::now() + Duration::from_millis(start + self.rng.below(late));
            says.push((at, Say::Interaction(id)));
            if self.rng.chance(10) {
                says.push((at + Duration::from_millis(300), Say::Interaction(id)));
            }
            if self.rng.chance(25) {
                self.last_marker += 1;
                let about = self.rng.chance(50).then_some(id);
                says.push((at, Say::Result(self.last_marker, about)));
            }
        }
        self.say(says.into_iter());
    }

    /// So many conversations that go on until somebody ends them, reported at once.
    pub(crate) fn last(&mut self, platform: &Running, conversations: usize) -> Vec<ConversationId> {
        let ids: Vec<_> = (0..conversations)
            .map(|_| ConversationId(self.rng.uuid()))
            .collect();
        let mut model = platform.model();
        for id in &ids {
            let start = Start {
                id: Some(*id),
                ..Start::default()
            };
            model.with(|p, now| p.control(&Control::Start(start), now).unwrap());
        }
        self.say(ids.iter().map(|id| (Instant::now(), Say::Interaction(*id))));
        ids
    }

    fn say(&self, says: impl Iterator<Item = (Instant, Say)>) {
        let mut due = self.shared.due.lock().unwrap();
        for say in says {
            self.shared.left.fetch_add(1, Ordering::SeqCst);
            due.push_back(say);
        }
        due.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// Requests that are not answered yet.
    pub(crate) fn left(&self) -> usize {
        self.shared.left.load(Ordering::SeqCst)
    }

    /// Conversations answered 2xx.
    pub(crate) fn accepted(&self) -> BTreeSet<ConversationId> {
        self.shared.accepted.lock().unwrap().clone()
    }

    /// Support results answered 2xx.
    pub(crate) fn results(&self) -> BTreeMap<u64, String> {
        self.shared.results.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn call(shared: &Shared) {
    let mut connected: Option<(SocketAddr, Caller)> = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let door = *shared.door.lock().unwrap();
        let next = {
            let mut due = shared.due.lock().unwrap();
            let ready = due.front().is_some_and(|(at, _)| *at <= Instant::now());
            (ready && door.is_some()).then(|| due.pop_front()).flatten()
        };
        let (Some(door), Some((_, say))) = (door, next) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        if connected.as_ref().is_none_or(|(at, _)| *at != door) {
            connected = Some((door, Caller::new(door)));
        }
        let Some((_, caller)) = connected.as_mut() else {
            continue;
        };
        if said(caller, &say, shared) {
            shared.left.fetch_sub(1, Ordering::SeqCst);
        } else {
            // Nobody knows whether it was taken: it is said again.
            let again = Instant::now() + Duration::from_millis(50);
            let mut due = shared.due.lock().unwrap();
            due.push_front((again, say));
            due.make_contiguous().sort_by_key(|(at, _)| *at);
        }
    }
}

/// True if it was answered 2xx.
fn said(caller: &mut Caller, say: &Say, shared: &Shared) -> bool {
    let answer = match say {
        Say::Interaction(id) => {
            let body = format!("{{\"conversationId\":\"{id}\",\"customer\":\"C-{id}\"}}");
            caller.post("/customers/supportInteraction", "", &body)
        }
        Say::Result(marker, about) => {
            let about = about.map_or(String::new(), |id| format!(",\"conversationId\":\"{id}\""));
            let body = format!("{{\"marker\":{marker}{about}}}");
            let key = format!("Idempotency-Key: result-{marker}\r\n");
            caller.post("/customers/supportResult", &key, &body)
        }
    };
    match (say, answer) {
        (Say::Interaction(id), Ok((200 | 202, _))) => {
            shared.accepted.lock().unwrap().insert(*id);
            true
        }
        (Say::Result(marker, _), Ok((202, shown))) => {
            let record = shown["recordId"].as_str().unwrap().to_owned();
            shared.results.lock().unwrap().insert(*marker, record);
            true
        }
        (_, Ok((503, _)) | Err(_)) => false,
        (_, Ok((code, shown))) => panic!("answered {code}: {shown}"),
    }
}
