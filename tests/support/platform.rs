//! The simulated platform in this process: commands, journal and truth.

use base::ids::ConversationId;
use serde_json::{Value, json};
use simulator::model::{Control, Entry, WrapUp};
use simulator::{Options, Running, start};

use super::wait::wait_for;

/// A channel as it exists on the platform.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) connected: bool,
    pub(crate) topics: Vec<String>,
}

pub(crate) struct Platform(pub(crate) Running);

impl Platform {
    pub(crate) fn start() -> Platform {
        Platform::with(|_| {})
    }

    /// With options changed before the start.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Platform {
        let mut options = Options::default();
        // Bursts of event frames, heartbeats and REST fit many times over.
        options.settings.limits.journal = 100_000;
        change(&mut options);
        Platform(start(options).unwrap())
    }

    /// With switches, `("heartbeat-seconds", "1")`.
    pub(crate) fn switched(switches: &[(&str, &str)]) -> Platform {
        Platform::with(|options| {
            for (name, value) in switches {
                options.settings.switches.set(name, value).unwrap();
            }
        })
    }

    /// A command, spelled as the control interface spells it.
    #[track_caller]
    pub(crate) fn obey(&self, command: Value) -> Value {
        let text = command.to_string();
        let command: Control = serde_json::from_value(command).unwrap_or_else(|e| {
            panic!("{e}: {text}");
        });
        self.0
            .model()
            .with(|p, now| p.control(&command, now))
            .unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// A command about a conversation, with further members.
    #[track_caller]
    pub(crate) fn act(&self, conversation: &str, command: &str, members: Value) -> Value {
        let mut all = json!({"command": command, "conversation": conversation});
        for (name, value) in members.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.obey(all)
    }

    #[track_caller]
    pub(crate) fn fault(&self, fault: Value) -> Value {
        self.obey(json!({"command": "fault", "fault": fault}))
    }

    #[track_caller]
    pub(crate) fn switch(&self, name: &str, value: &str) {
        self.obey(json!({"command": "switch", "name": name, "value": value}));
    }

    /// A conversation with one connected agent; gives its id.
    #[track_caller]
    pub(crate) fn conversation(&self) -> String {
        self.conversation_with(json!({}))
    }

    #[track_caller]
    pub(crate) fn conversation_with(&self, members: Value) -> String {
        let mut all = json!({"command": "start"});
        for (name, value) in members.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.obey(all)["conversation"].as_str().unwrap().to_owned()
    }

    pub(crate) fn journal(&self) -> Vec<Entry> {
        self.0.model().platform().journal_kept().cloned().collect()
    }

    /// The kinds of the journal's entries, in order.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.journal().iter().map(|e| e.kind).collect()
    }

    /// How often something of that kind happened.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.journal().iter().filter(|e| e.kind == kind).count()
    }

    pub(crate) fn channels(&self) -> Vec<Channel> {
        let model = self.0.model();
        let truth = model.platform().truth();
        truth
            .channels()
            .map(|c| Channel {
                id: c.id.to_owned(),
                connected: c.socket.is_some(),
                topics: c.topic_names().map(str::to_owned).collect(),
            })
            .collect()
    }

    pub(crate) fn channels_created(&self) -> u64 {
        self.0.model().platform().truth().ledger().channels_created
    }

    /// Whether a channel with a socket has this conversation's topic.
    pub(crate) fn subscribed(&self, conversation: &str) -> bool {
        self.channels()
            .iter()
            .any(|c| c.connected && c.topics.iter().any(|t| t.contains(conversation)))
    }

    /// Whether any channel has this conversation's topic.
    pub(crate) fn has_topic(&self, conversation: &str) -> bool {
        self.channels()
            .iter()
            .any(|c| c.topics.iter().any(|t| t.contains(conversation)))
    }

    #[track_caller]
    pub(crate) fn wait_connected(&self) {
        wait_for("a connected channel", || {
            let channels = self.channels();
            if channels.iter().any(|c| c.connected) {
                return Ok(());
            }
            Err(format!("{} channels", channels.len()))
        });
    }

    pub(crate) fn wrap_ups(&self, conversation: &str) -> Vec<WrapUp> {
        let id: ConversationId = conversation.parse().unwrap();
        let model = self.0.model();
        let truth = model.platform().truth();
        truth
            .wrap_ups()
            .iter()
            .filter(|w| w.conversation == id)
            .cloned()
            .collect()
    }
}
