//! Topic names: which are well formed, and what a combined one stands for
//! (protocol, section 5).
//!
//! Invariant: a [`Topic`] of this module has passed the grammar; names are
//! compared in lower case.

use std::sync::Arc;

use uuid::Uuid;

/// Longest combined name (protocol, section 7).
const COMBINED_MAX: usize = 200;

/// Longest name of any kind; the platform publishes none, the model needs one.
const NAME_MAX: usize = 512;

/// What may follow `v2.detail.events.conversation.{id}.`.
pub(super) const DETAIL_EVENTS: &[&str] = &[
    "acw",
    "wrapup",
    "acd.start",
    "acd.end",
    "attributes",
    "contact",
    "customer.start",
    "customer.end",
    "flow.start",
    "flow.end",
    "flow.outcome",
    "outbound",
    "user.start",
    "user.end",
    "voicemail.start",
    "voicemail.end",
];

pub(super) const DETAIL_PREFIX: &str = "v2.detail.events.conversation.";

/// What may follow `v2.users.{id}.`.
const USER_EVENTS: &[&str] = &[
    "presence",
    "routingstatus",
    "conversations",
    "conversations.calls",
    "conversations.chats",
    "conversations.emails",
    "conversations.messages",
    "conversations.callbacks",
    "conversationsummary",
    "outofoffice",
    "station",
    "activity",
];

/// A well-formed topic as a client named it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    /// As sent.
    pub(super) shown: Arc<str>,
    /// In lower case; the identity of the subscription.
    pub(super) key: Arc<str>,
    /// The single names it stands for; empty if it is one itself.
    pub(super) parts: Vec<Arc<str>>,
}

impl Topic {
    /// Reads a name; `None` if it is malformed, unknown, or one of the system's own.
    pub(super) fn parse(name: &str) -> Option<Topic> {
        if name.len() > NAME_MAX {
            return None;
        }
        let key = name.to_ascii_lowercase();
        let parts = match key.split_once('?') {
            None if single(&key) => Vec::new(),
            None => return None,
            Some((prefix, rest)) => {
                if key.len() > COMBINED_MAX {
                    return None;
                }
                let parts: Vec<Arc<str>> = rest
                    .split('&')
                    .map(|last| Arc::from(format!("{prefix}.{last}")))
                    .collect();
                if !parts.iter().all(|p| single(p)) {
                    return None;
                }
                parts
            }
        };
        Some(Topic {
            shown: Arc::from(name),
            key: Arc::from(key),
            parts,
        })
    }

    /// The single names it stands for.
    pub(super) fn names(&self) -> &[Arc<str>] {
        if self.parts.is_empty() {
            std::slice::from_ref(&self.key)
        } else {
            &self.parts
        }
    }

    /// The conversation it is about, if it is a detail event.
    pub(super) fn conversation(&self) -> Option<Uuid> {
        let rest = self.key.strip_prefix(DETAIL_PREFIX)?;
        Uuid::try_parse(rest.get(..36)?).ok()
    }
}

fn single(name: &str) -> bool {
    let (rest, known) = if let Some(rest) = name.strip_prefix(DETAIL_PREFIX) {
        (rest, DETAIL_EVENTS)
    } else if let Some(rest) = name.strip_prefix("v2.users.") {
        (rest, USER_EVENTS)
    } else {
        return false;
    };
    let (Some(id), Some(event)) = (rest.get(..36), rest.get(37..)) else {
        return false;
    };
    rest.as_bytes()[36] == b'.' && Uuid::try_parse(id).is_ok() && known.contains(&event)
}

/// Whether a pattern with `*` for any run of characters matches the whole text.
/// Linear in the text for each star; both are bounded by the caller.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.find(previous) {
                Some(at) => rest = &rest[at + previous.len()..],
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7C1F4B9E-5d0a-4c58-9a3e-2f6b8d1e0c47";

    #[test]
    fn a_topic_is_known_in_any_letter_case_and_shown_as_it_was_sent() {
        let name = format!("v2.detail.events.conversation.{ID}.ACW");
        let t = Topic::parse(&name).unwrap();
        assert_eq!(&*t.shown, name);
        assert_eq!(&*t.key, name.to_ascii_lowercase());
        assert_eq!(t.names().len(), 1);
        assert_eq!(t.conversation(), Uuid::try_parse(ID).ok());
    }

    #[test]
    fn a_combined_topic_stands_for_its_parts() {
        let t = Topic::parse(&format!("v2.detail.events.conversation.{ID}?acw&wrapup")).unwrap();
        let names: Vec<&str> = t.names().iter().map(|n| &**n).collect();
        assert_eq!(names.len(), 2);
        assert!(names[0].ends_with("c47.acw") && names[1].ends_with("c47.wrapup"));
    }

    #[test]
    fn malformed_unknown_and_system_topics_are_not_topics() {
        let long = format!(
            "v2.detail.events.conversation.{ID}?{}",
            ["acw"; 50].join("&")
        );
        for bad in [
            "",
            "channel.metadata",
            "v2.system.socket_closing",
            "v2.detail.events.conversation.not-a-uuid.acw",
            "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
            "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.acx",
            "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47_acw",
            "v2.detail.events.conversation.*.acw",
            "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c4é.acw",
            long.as_str(),
        ] {
            assert!(Topic::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_star_in_a_pattern_stands_for_any_run() {
        assert!(glob("*", "") && glob("*.acw", "x.acw") && glob("a*b*c", "a12b3c"));
        assert!(glob("abc", "abc") && glob("a*", "a") && glob("*a*", "bab"));
        assert!(!glob("abc", "abcd") && !glob("a*b", "acbd") && !glob("", "a"));
        assert!(!glob("a*bc*c", "abc"));
    }
}
