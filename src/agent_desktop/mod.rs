//! The page that Agent Desktop embeds, `GET /agent-desktop/…` (design, section 6).
//!
//! The page finds the agent's interactions through the Service Client API, has each
//! reported to the intake on its own origin, follows it, and tells the desktop what was
//! filed. This module only carries its files and says who may embed it:
//!
//! | File | Purpose |
//! |---|---|
//! | `index.html`, `page.css` | the page |
//! | `page.js` | ties the parts together |
//! | `service-client.js` | the Service Client API as an ES module; of use to other pages too |
//! | `service-client-methods.js`, `service-client-events.js` | every method and every event type, for it |
//! | `service-client-global.js` | the documented global `genesys.wwe.service` on top of it |
//! | `desk.js` | finds the desktop, stays connected, does without what is refused |
//! | `contacts.js` | what goes on with each contact, from events alone |
//! | `report.js`, `follow.js`, `gateway.js`, `access.js` | reports, news, the calls of the intake, the token |
//! | `panels.js` | the panels of one agent act as one |
//! | `effects.js` | what is told and written in the desktop |
//! | `whose.js` | whose record it is |
//! | `face.js`, `words.js`, `cards.js` | what the agent sees |
//! | `settings.js`, `keep.js` | what the page is told; what outlives a reload |
//! | `config.json` | not a file: [`Settings::to_json`], from the gateway's configuration |
//!
//! Whoever opens the page chooses its address, so whom to trust and what to do comes from the
//! gateway alone: `[agent-desktop]` of its configuration, in `config.json` and in
//! `frame-ancestors`. Without that table nothing of this is served.
//!
//! It holds no socket and reads no file. Invariant: nothing that is not a well-formed
//! origin gets into the policy, so no value can add a directive or a header.

use serde::Serialize;

use crate::asset::{Asset, CSS, HTML, SCRIPT};

/// Everything of `Content-Security-Policy` but `frame-ancestors`, which depends on the configuration.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                          connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Where the page looks for [`Settings::to_json`].
pub const CONFIG_PATH: &str = "/agent-desktop/config.json";

/// Where the page gets its token, in the access [`Access::Page`].
pub const TOKEN_PATH: &str = "/agent-desktop/token";

/// Where the page waits for news of its conversations.
pub const NEWS_PATH: &str = "/agent-desktop/news";

/// The member of an interaction in which pages report, each under its agent's name (design,
/// section 6); the store merges it one level deeper than others.
pub const REPORTS: &str = "agentDesktop";

/// The page's files; the path of the directory is the page itself.
const ASSETS: &[Asset] = &[
    Asset {
        path: "/agent-desktop/",
        content_type: HTML,
        body: include_bytes!("index.html"),
    },
    Asset {
        path: "/agent-desktop/index.html",
        content_type: HTML,
        body: include_bytes!("index.html"),
    },
    Asset {
        path: "/agent-desktop/page.css",
        content_type: CSS,
        body: include_bytes!("page.css"),
    },
    Asset {
        path: "/agent-desktop/page.js",
        content_type: SCRIPT,
        body: include_bytes!("page.js"),
    },
    Asset {
        path: "/agent-desktop/access.js",
        content_type: SCRIPT,
        body: include_bytes!("access.js"),
    },
    Asset {
        path: "/agent-desktop/cards.js",
        content_type: SCRIPT,
        body: include_bytes!("cards.js"),
    },
    Asset {
        path: "/agent-desktop/contacts.js",
        content_type: SCRIPT,
        body: include_bytes!("contacts.js"),
    },
    Asset {
        path: "/agent-desktop/desk.js",
        content_type: SCRIPT,
        body: include_bytes!("desk.js"),
    },
    Asset {
        path: "/agent-desktop/effects.js",
        content_type: SCRIPT,
        body: include_bytes!("effects.js"),
    },
    Asset {
        path: "/agent-desktop/face.js",
        content_type: SCRIPT,
        body: include_bytes!("face.js"),
    },
    Asset {
        path: "/agent-desktop/follow.js",
        content_type: SCRIPT,
        body: include_bytes!("follow.js"),
    },
    Asset {
        path: "/agent-desktop/gateway.js",
        content_type: SCRIPT,
        body: include_bytes!("gateway.js"),
    },
    Asset {
        path: "/agent-desktop/keep.js",
        content_type: SCRIPT,
        body: include_bytes!("keep.js"),
    },
    Asset {
        path: "/agent-desktop/panels.js",
        content_type: SCRIPT,
        body: include_bytes!("panels.js"),
    },
    Asset {
        path: "/agent-desktop/report.js",
        content_type: SCRIPT,
        body: include_bytes!("report.js"),
    },
    Asset {
        path: "/agent-desktop/service-client.js",
        content_type: SCRIPT,
        body: include_bytes!("service-client.js"),
    },
    Asset {
        path: "/agent-desktop/service-client-events.js",
        content_type: SCRIPT,
        body: include_bytes!("service-client-events.js"),
    },
    Asset {
        path: "/agent-desktop/service-client-global.js",
        content_type: SCRIPT,
        body: include_bytes!("service-client-global.js"),
    },
    Asset {
        path: "/agent-desktop/service-client-methods.js",
        content_type: SCRIPT,
        body: include_bytes!("service-client-methods.js"),
    },
    Asset {
        path: "/agent-desktop/settings.js",
        content_type: SCRIPT,
        body: include_bytes!("settings.js"),
    },
    Asset {
        path: "/agent-desktop/whose.js",
        content_type: SCRIPT,
        body: include_bytes!("whose.js"),
    },
    Asset {
        path: "/agent-desktop/words.js",
        content_type: SCRIPT,
        body: include_bytes!("words.js"),
    },
];

/// The files below `/agent-desktop/`. Serve [`CONFIG_PATH`] beside them.
#[must_use]
pub fn assets() -> &'static [Asset] {
    ASSETS
}

/// The value of `Content-Security-Policy` for every file of the page: embedded by these
/// desktops and nobody else. What is not an origin is left out; with none left, nobody may embed it.
#[must_use]
pub fn content_security_policy<S: AsRef<str>>(desktop_origins: &[S]) -> String {
    let origins: Vec<&str> = origins_among(desktop_origins).collect();
    let ancestors = if origins.is_empty() {
        "'none'".to_owned()
    } else {
        origins.join(" ")
    };
    format!("{POLICY}; frame-ancestors {ancestors}")
}

/// What the page shows as its token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// A short-lived one of its own, from [`TOKEN_PATH`].
    #[default]
    Page,
    /// An API token that the agent types.
    Token,
}

/// Of what the desktop's toast tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Toast {
    /// Of nothing.
    Never,
    /// Of what failed for good or needs a person.
    #[default]
    Failures,
    /// Of what was filed, too.
    All,
}

/// What the page is told in `config.json`: every member is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The desktops that may embed the page and talk to it, such as `https://desktop.example.com`.
    pub desktop_origins: Vec<String>,
    /// What the page shows as its token.
    pub access: Access,
    /// Paths into the attached data where the conversation id may be; the first that holds a UUID.
    pub conversation_id_keys: Vec<String>,
    /// JSON Pointer: where the body of a report names its conversation.
    pub conversation_id_at: String,
    /// Event types on which a contact is reported; `seen` alone is at first sight.
    pub report_on: Vec<String>,
    /// Keys of the attached data that are reported with the interaction.
    pub forward_keys: Vec<String>,
    /// The key of the attached data that the result is written to; empty writes nothing back.
    pub write_back_key: String,
    /// Of what the desktop's toast tells.
    pub toast: Toast,
    /// Keys of the attached data shown as the title of a card.
    pub title_keys: Vec<String>,
    /// Whether recording control is shown.
    pub recording: bool,
    /// Whether click-to-dial is shown.
    pub dial: bool,
}

impl Settings {
    /// The body of `config.json`, content type `application/json`. Origins that are not are left out.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut told = self.clone();
        told.desktop_origins = origins_among(&self.desktop_origins)
            .map(str::to_owned)
            .collect();
        // Strings, truths and lists of strings always serialise.
        serde_json::to_string(&told).unwrap_or_else(|_| "{}".to_owned())
    }
}

fn origins_among<S: AsRef<str>>(list: &[S]) -> impl Iterator<Item = &str> {
    list.iter()
        .map(AsRef::as_ref)
        .filter(|text| is_origin(text))
}

/// Whether this is `http(s)://host[:port]` and nothing more: no path, no wildcard, no space.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let Some(authority) = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    else {
        return false;
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (
                "v6",
                if after.is_empty() {
                    None
                } else {
                    after.strip_prefix(':').or(Some(""))
                },
            ),
            _ => return false,
        },
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let host_fits = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let port_fits = port.is_none_or(|port| {
        !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|n| n > 0)
    });
    host_fits && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::{find, house_rules};

    #[test]
    fn the_page_keeps_the_house_rules() {
        house_rules::assert_kept(assets());
    }

    #[test]
    fn the_page_itself_answers_to_its_directory_and_to_its_name() {
        let page = find(assets(), "/agent-desktop/").unwrap();
        assert_eq!(
            page.body,
            find(assets(), "/agent-desktop/index.html").unwrap().body
        );
        assert_eq!(page.content_type, HTML);
    }

    #[test]
    fn every_file_in_the_directory_is_shipped() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/agent_desktop");
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                name == "mod.rs" || find(assets(), &format!("/agent-desktop/{name}")).is_some(),
                "{name} is not shipped"
            );
        }
    }

    #[test]
    fn only_the_configured_desktops_may_embed_the_page() {
        let policy =
            content_security_policy(&["https://desktop.example.com", "http://127.0.0.1:8080"]);
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; "),
            "{policy}"
        );
        assert!(
            policy.ends_with("; frame-ancestors https://desktop.example.com http://127.0.0.1:8080"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn without_a_desktop_nobody_may_embed_the_page() {
        assert!(content_security_policy::<&str>(&[]).ends_with("; frame-ancestors 'none'"));
    }

    #[test]
    fn no_value_can_add_a_directive_or_a_header() {
        let hostile = [
            "*",
            "https://a; script-src *",
            "https://a\r\nX: y",
            "https://a b",
            "'self'",
            "https://*.example.com",
        ];
        assert!(content_security_policy(&hostile).ends_with("; frame-ancestors 'none'"));
        let settings = Settings {
            desktop_origins: hostile.map(str::to_owned).to_vec(),
            ..Settings::default()
        };
        assert!(settings.to_json().starts_with(r#"{"desktopOrigins":[],"#));
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in [
            "https://a",
            "http://a.example:1",
            "https://127.0.0.1:65535",
            "http://[::1]",
            "http://[::1]:80",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "https://",
            "https://a/",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "ftp://a",
            "https://u@a",
            "https://a?b",
            "https://[::1",
            "http://[::1]x",
            "http://[a]",
            "HTTPS://a",
            "null",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn the_page_is_told_all_that_is_configured() {
        let settings = Settings {
            desktop_origins: vec!["https://desktop.example.com".to_owned()],
            conversation_id_keys: vec!["GenesysConversationId".to_owned()],
            conversation_id_at: "/conversationId".to_owned(),
            report_on: vec!["seen".to_owned()],
            ..Settings::default()
        };
        let expected = concat!(
            r#"{"desktopOrigins":["https://desktop.example.com"],"access":"page","#,
            r#""conversationIdKeys":["GenesysConversationId"],"conversationIdAt":"/conversationId","#,
            r#""reportOn":["seen"],"forwardKeys":[],"writeBackKey":"","toast":"failures","#,
            r#""titleKeys":[],"recording":false,"dial":false}"#
        );
        assert_eq!(settings.to_json(), expected);
    }
}
