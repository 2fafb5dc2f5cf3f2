//! The permissions that the platform's words name as missing.
//!
//! It refuses a topic in words: `The user does not have permission "x:y:view" required for topic
//! "v2.…"`, `You are missing the following permission(s): x:y:view` (protocol, sections 3 and 10),
//! and over REST as a list, which our own words repeat. Wherever they stand, they look alike:
//! domain, entity and action with colons between them.
//!
//! Invariant: what stands in the name of a refused topic is taken for no permission, and neither is
//! one whose end was cut off.

/// More than these of one refusal are left out.
const MOST: usize = 20;
/// A longer word is no permission.
const LONGEST: usize = 120;

/// Those that are named, in order, each once.
pub(crate) fn missing_in(words: &str, topics: &[String]) -> Vec<String> {
    let mut words = words.to_owned();
    for topic in topics.iter().filter(|t| t.contains(':')) {
        words = without(&words, topic);
    }
    let mut missing: Vec<String> = Vec::new();
    // What a permission may not hold, and what its neighbours in an address or a topic may.
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-:*./%@…".contains(c);
    for word in words.split(|c| !inside(c)) {
        let word = word.trim_end_matches(['.', ':', '-']);
        if is_permission(word) && missing.len() < MOST && !missing.iter().any(|m| m == word) {
            missing.push(word.to_owned());
        }
    }
    missing
}

/// `domain:entity:action`; of the last two each may be a `*`.
fn is_permission(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    let named = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let [domain, entity, action] = parts[..] else {
        return false;
    };
    word.len() <= LONGEST
        && named(domain)
        && domain != "urn"
        && [entity, action].iter().all(|p| *p == "*" || named(p))
}

/// Without the name of a topic, in whatever letter case.
fn without(words: &str, topic: &str) -> String {
    let (lower, topic) = (words.to_ascii_lowercase(), topic.to_ascii_lowercase());
    let mut left = String::new();
    let mut from = 0;
    for (at, found) in lower.match_indices(&topic) {
        // Lower case of ASCII keeps every byte in its place.
        left.push_str(&words[from..at]);
        left.push(' ');
        from = at + found.len();
    }
    left.push_str(&words[from..]);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "v2.users.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.presence";

    fn of(words: &str) -> Vec<String> {
        missing_in(words, &[TOPIC.to_owned(), "odd:name:of-a-topic".to_owned()])
    }

    #[test]
    fn permissions_are_found_wherever_the_platform_names_them() {
        for (words, expected) in [
            (
                format!(
                    "The user does not have permission \"presence:userPresence:view\" required for topic \"{TOPIC}\"."
                ),
                vec!["presence:userPresence:view"],
            ),
            (
                "missing.permissions: Unable to perform the requested action. You are missing the following permission(s): analytics:conversationDetail:view, routing:queue:*.".into(),
                vec!["analytics:conversationDetail:view", "routing:queue:*"],
            ),
            (
                "You must have at least one of the following permissions assigned: [a:b:view, a:c-d:view, a:b:view] in at least one of the following division(s): [7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47]".into(),
                vec!["a:b:view", "a:c-d:view"],
            ),
            (
                "the platform rejects the topic (missing: quality:evaluation:view)".into(),
                vec!["quality:evaluation:view"],
            ),
        ] {
            assert_eq!(of(&words), expected, "{words}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for words in [
            "",
            "Invalid topic: v2.users.x:y:z.presence",
            "\"Odd:Name:Of-A-Topic\" is no topic",
            "https://host:443/a:b:c and urn:ietf:params and 12:30:45",
            "missing: analytics:conversationDetail:vi…",
            "a:b, a:b:c:d, ::, a::b, a:b:, *:*:*, a:b:c/d",
            "ä:ö:ü 2001:db8:1 code: notification.unauthorized.topic:",
        ] {
            assert_eq!(of(words), Vec::<String>::new(), "{words}");
        }
        let many: String = (0..100).map(|n| format!("a:b{n}:c ")).collect();
        assert_eq!(of(&many).len(), MOST);
        assert!(of(&format!("a:{}:c", "b".repeat(200))).is_empty());
    }
}
