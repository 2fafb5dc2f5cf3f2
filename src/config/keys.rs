//! The table of every key of the configuration file, with its default.
//!
//! The one place where a key's name and default are written: the reader, the
//! start log line, the hint for a misspelt key and the test of the manual page
//! all take them from here.
//!
//! Invariant: names are unique, and every default is a TOML literal that its
//! own check accepts.

/// What happens when the file does not name a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// The default holds, written as a TOML literal.
    Default(&'static str),
    /// A problem: there is nothing sensible to assume.
    Required,
    /// Nothing: the feature is off, or another key decides whether it is needed.
    Unset,
}

/// How much of a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// All of it.
    Whole,
    /// The path of a secret's file: shown when it looks like one, because
    /// people put the secret itself there.
    SecretPath,
    /// A URL: user names, passwords and queries are cut out.
    Url,
    /// Only how many there are: header values and command arguments.
    Count,
}

/// One key of the configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// Full dotted name, such as `http.listen`.
    pub name: &'static str,
    /// What holds when the file does not name it.
    pub absent: Absent,
    /// How much of its value may be shown.
    pub shown: Shown,
}

const fn key(name: &'static str, absent: Absent, shown: Shown) -> Key {
    Key {
        name,
        absent,
        shown,
    }
}

use Absent::{Default, Required, Unset};
use Shown::{Count, SecretPath, Url, Whole};

/// Every key, in the order of the manual page (design, section 4).
pub const KEYS: &[Key] = &[
    key("http.listen", Default("\"127.0.0.1:8480\""), Whole),
    key("http.certificate-file", Unset, Whole),
    key("http.private-key-file", Unset, SecretPath),
    key("http.api-tokens-file", Unset, SecretPath),
    key("http.allowed-origins", Default("[]"), Whole),
    key("http.max-body", Default("\"64KiB\""), Whole),
    key("http.accepts-per-minute", Default("0"), Whole),
    key(
        "http.conversation-id-at",
        Default("\"/conversationId\""),
        Whole,
    ),
    key("status.listen", Default("\"127.0.0.1:8481\""), Whole),
    key("status.api-tokens-file", Unset, SecretPath),
    key("genesys.region", Default("\"mypurecloud.de\""), Whole),
    key("genesys.login-url", Unset, Url),
    key("genesys.api-url", Unset, Url),
    key("genesys.streaming-hosts", Default("[]"), Whole),
    key("genesys.ca-file", Unset, Whole),
    key("genesys.proxy", Unset, Url),
    key("genesys.proxy-credentials-file", Unset, SecretPath),
    key("genesys.oauth.grant", Default("\"saml2-bearer\""), Whole),
    key("genesys.oauth.client-id", Required, Whole),
    key("genesys.oauth.client-secret-file", Required, SecretPath),
    key("genesys.oauth.org-name", Unset, Whole),
    key("genesys.oauth.assertion.file", Unset, SecretPath),
    key("genesys.oauth.assertion.command", Unset, Count),
    key("genesys.oauth.assertion.issuer", Unset, Whole),
    key("genesys.oauth.assertion.email", Unset, Whole),
    key("genesys.oauth.assertion.audience", Unset, Whole),
    key("genesys.oauth.assertion.recipient", Unset, Url),
    key("genesys.oauth.assertion.organization-name", Unset, Whole),
    key("genesys.oauth.assertion.lifetime", Default("\"5m\""), Whole),
    key(
        "genesys.oauth.assertion.private-key-file",
        Unset,
        SecretPath,
    ),
    key("genesys.oauth.assertion.certificate-file", Unset, Whole),
    key("genesys.oauth.assertion.sign", Default("\"both\""), Whole),
    key("channels.max-channels", Default("20"), Whole),
    key("channels.topics-per-channel", Default("1000"), Whole),
    key("channels.heartbeat-timeout", Default("\"40s\""), Whole),
    key("channels.renew-before", Default("\"1h\""), Whole),
    key(
        "tracking.until",
        Default("\"conversation-finished\""),
        Whole,
    ),
    key("tracking.max-age", Default("\"72h\""), Whole),
    key("tracking.settle-for", Default("\"15m\""), Whole),
    key("tracking.linger", Default("\"5m\""), Whole),
    key("tracking.unreported", Default("\"ignore\""), Whole),
    key("history.url", Required, Url),
    key("history.workers", Default("4"), Whole),
    key("history.timeout", Default("\"10s\""), Whole),
    key("history.give-up-after", Default("\"72h\""), Whole),
    key("history.bearer-token-file", Unset, SecretPath),
    key("history.headers", Unset, Count),
    key("history.ca-file", Unset, Whole),
    key("history.client-certificate-file", Unset, Whole),
    key("history.client-key-file", Unset, SecretPath),
    key("history.template-file", Unset, Whole),
    key("store.path", Default("\"gateway.db\""), Whole),
    key("store.retain", Default("\"30d\""), Whole),
    key("store.keep-bodies", Default("\"24h\""), Whole),
    key("agent-desktop.desktop-origins", Required, Whole),
    key("agent-desktop.access", Default("\"page\""), Whole),
    key(
        "agent-desktop.conversation-id-keys",
        Default("[\"GenesysConversationId\", \"conversationId\"]"),
        Whole,
    ),
    key(
        "agent-desktop.report-on",
        Default("[\"ESTABLISHED\", \"ACCEPTED\", \"CREATED\"]"),
        Whole,
    ),
    key("agent-desktop.forward-keys", Default("[]"), Whole),
    key(
        "agent-desktop.write-back",
        Default("\"attached-data\""),
        Whole,
    ),
    key(
        "agent-desktop.write-back-key",
        Default("\"CommunicationRecord\""),
        Whole,
    ),
    key("agent-desktop.toast", Default("\"failures\""), Whole),
    key("agent-desktop.title-keys", Default("[]"), Whole),
    key("agent-desktop.recording", Default("false"), Whole),
    key("agent-desktop.dial", Default("false"), Whole),
];

/// Tables that turn something on by being there; without them their defaults mean nothing.
pub const OPTIONAL_TABLES: &[&str] = &["agent-desktop"];

/// The optional table that a key stands in, if it stands in one.
#[must_use]
pub fn optional_table(key: &str) -> Option<&'static str> {
    let (table, _) = key.rsplit_once('.')?;
    OPTIONAL_TABLES.iter().find(|name| **name == table).copied()
}

/// The key of that full name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// Whether `name` is a table that holds keys, such as `genesys.oauth`.
#[must_use]
pub fn is_table(name: &str) -> bool {
    KEYS.iter().any(|k| {
        k.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The known key or table that an unknown one most likely means.
#[must_use]
pub fn nearest(unknown: &str) -> Option<String> {
    // Underscores are the commonest slip, and letter case the next.
    let meant = unknown.to_ascii_lowercase().replace('_', "-");
    let mut best: Option<(usize, &str)> = None;
    let mut offer = |distance: usize, name: &'static str| {
        if best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, name));
        }
    };
    let leaf = meant.rsplit('.').next().unwrap_or(&meant);
    for key in KEYS {
        offer(distance(&meant, key.name), key.name);
        // The right key in the wrong table is one slip, whatever the tables are called.
        let known_leaf = key.name.rsplit('.').next().unwrap_or(key.name);
        offer(distance(leaf, known_leaf).saturating_add(1), key.name);
        // A secret written into the file instead of beside it.
        if known_leaf.strip_suffix("-file") == Some(leaf) {
            offer(1, key.name);
        }
        for (at, _) in key.name.match_indices('.') {
            let table = &key.name[..at];
            offer(distance(&meant, table), table);
        }
    }
    // More than a third changed is another word, and a wrong hint is worse than none.
    let (distance, name) = best?;
    (distance <= leaf.len().max(3) / 3).then(|| name.to_owned())
}

/// Edit distance with neighbours swapped counted once (restricted Damerau-Levenshtein).
/// Bounded: longer words than a key can be are not compared.
pub(super) fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 80;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    strsim::osa_distance(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_listed_twice() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[i + 1..].iter().all(|k| k.name != key.name),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        for (slip, meant) in [
            ("http.max_body", Some("http.max-body")),
            ("http.lsiten", Some("http.listen")),
            ("store.timeout", Some("history.timeout")),
            ("genesys.client-id", Some("genesys.oauth.client-id")),
            ("htpp", Some("http")),
            ("channel", Some("channels")),
            (
                "genesys.oauth.assertion.organisation-name",
                Some("genesys.oauth.assertion.organization-name"),
            ),
            (
                "genesys.oauth.client-secret",
                Some("genesys.oauth.client-secret-file"),
            ),
            ("zzzzzzzzzzzz", None),
        ] {
            assert_eq!(nearest(slip).as_deref(), meant, "{slip}");
        }
    }
}
