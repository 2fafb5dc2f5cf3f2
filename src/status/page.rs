//! The status page, `GET /` on the operators' listener (design, section 3).
//!
//! Static files; the page polls `GET /status` and `GET /records`, and acts through
//! `POST /records/{id}/retry|hold|release|discard`. It says first how things are, then
//! why, then shows it, and never lets old figures pass for new ones.
//!
//! Invariant: it stands on its own. It loads nothing from another host, and a policy
//! that allows nothing inline lets it work.

use crate::asset::{Asset, CSS, HTML, SCRIPT};

/// The value of `Content-Security-Policy` for the page and its files.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                          connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: HTML,
        body: include_bytes!("page/index.html"),
    },
    Asset {
        path: "/status.css",
        content_type: CSS,
        body: include_bytes!("page/status.css"),
    },
    Asset {
        path: "/status.js",
        content_type: SCRIPT,
        body: include_bytes!("page/status.js"),
    },
    Asset {
        path: "/draw.js",
        content_type: SCRIPT,
        body: include_bytes!("page/draw.js"),
    },
    Asset {
        path: "/records.js",
        content_type: SCRIPT,
        body: include_bytes!("page/records.js"),
    },
    Asset {
        path: "/words.js",
        content_type: SCRIPT,
        body: include_bytes!("page/words.js"),
    },
];

/// The page, at `/`, and its files beside it.
#[must_use]
pub fn assets() -> &'static [Asset] {
    ASSETS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::rows::RecordState;
    use filing::{Act, HistoryState};
    use proto::snapshot::ChannelState;

    use super::*;
    use crate::asset::{find, house_rules};

    #[test]
    fn the_page_keeps_the_house_rules() {
        house_rules::assert_kept(assets());
    }

    #[test]
    fn every_file_in_the_directory_is_shipped() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/status/page");
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if name == "index.html" {
                "/".to_owned()
            } else {
                format!("/{name}")
            };
            assert!(find(assets(), &path).is_some(), "{name} is not shipped");
        }
    }

    #[test]
    fn every_state_has_its_words_on_the_page() {
        let words = include_str!("page/words.js");
        let of = |table: &str| {
            let from = words
                .split_once(&format!("export const {table} = {{"))
                .unwrap();
            let table = from.1.split_once("};").unwrap().0;
            let keys = table
                .lines()
                .filter_map(|line| line.trim().split_once(": ["));
            keys.map(|(key, _)| key).collect::<BTreeSet<_>>()
        };
        let channel = ChannelState::ALL.iter().map(|s| s.label());
        assert_eq!(of("CHANNEL"), channel.collect());
        let history = HistoryState::ALL.iter().map(|s| s.label());
        assert_eq!(of("HISTORY"), history.collect());
    }

    #[test]
    fn the_page_offers_only_acts_that_fit() {
        let script = include_str!("page/records.js");
        let quoted = |text: &'static str| {
            let parts = text.split('"').enumerate();
            parts.filter(|(n, _)| n % 2 == 1).map(|(_, word)| word)
        };
        let mut lists = 0;
        for list in script
            .lines()
            .filter(|line| line.trim_start().starts_with("{ state: "))
        {
            let state = RecordState::parse(quoted(list).next().unwrap()).unwrap();
            for word in quoted(list.split_once("acts: ").unwrap().1) {
                let act = Act::parse(word).unwrap();
                assert!(act.after(state).is_some(), "{act} of what is {state}");
            }
            lists += 1;
        }
        assert_eq!(lists, 3);
        for table in ["const WORDS = {", "const DONE = {"] {
            let words = script
                .split_once(table)
                .unwrap()
                .1
                .split_once('}')
                .unwrap()
                .0;
            for act in Act::ALL {
                assert!(words.contains(&format!(" {act}: ")), "{table} lacks {act}");
            }
        }
    }

    #[test]
    fn no_file_hides_a_call_of_the_listener() {
        for taken in ["/status", "/records", "/healthz", "/readyz", "/metrics"] {
            assert_eq!(find(assets(), taken), None, "{taken}");
        }
    }

    #[test]
    fn the_policy_allows_nothing_inline_and_no_embedding() {
        assert!(POLICY.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(POLICY.ends_with("; form-action 'none'; frame-ancestors 'none'"));
        assert!(!POLICY.contains("unsafe"));
    }
}
