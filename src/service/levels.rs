//! What `RUST_LOG` asks for: levels, or levels for parts, separated by commas.
//!
//! Invariant: no word of it silences more than it says. A part that is not understood is
//! reported; its target, or everything where no other part speaks of everything, gets `info`.

use std::borrow::Cow;

use log::LevelFilter;

use base::plain::{one_line, shown};

/// The crates of the house, and the parts as which an operator knows them.
const HOUSE: [(&str, &str); 6] = [
    ("genesys_base", "genesys_gateway::base"),
    ("genesys_filing", "genesys_gateway::filing"),
    ("genesys_notifications", "genesys_gateway::notifications"),
    (
        "genesys_notifications_proto",
        "genesys_gateway::notifications_proto",
    ),
    ("genesys_simulator", "genesys_gateway::simulator"),
    ("genesys_store", "genesys_gateway::store"),
];

/// What follows a path in another that is it, or is below it.
fn below<'a>(target: &'a str, path: &str) -> Option<&'a str> {
    let rest = target.strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with("::")).then_some(rest)
}

/// The target of a line as an operator knows it; `None` for a library's.
pub(super) fn ours(target: &str) -> Option<Cow<'_, str>> {
    if below(target, "genesys_gateway").is_some() {
        return Some(Cow::Borrowed(target));
    }
    HOUSE.iter().find_map(|(name, part)| {
        let rest = below(target, name)?;
        Some(Cow::Owned(format!("{part}{rest}")))
    })
}

/// All that an operator means by a target, by the names that lines have.
pub(super) fn meant(target: &str) -> Vec<String> {
    let mut meant = vec![target.to_owned()];
    for (name, part) in HOUSE {
        match below(target, part) {
            Some(rest) => meant.push(format!("{name}{rest}")),
            None if target == "genesys_gateway" => meant.push(name.to_owned()),
            None => {}
        }
    }
    meant
}

/// A level for everything, or for what is below a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Directive {
    pub(super) target: Option<String>,
    pub(super) level: LevelFilter,
}

/// The words of this program for a level, and those of others that mean one.
fn level(word: &str) -> Option<LevelFilter> {
    word.parse().ok()
}

/// Reads the variable; and a sentence about each part that is not understood.
pub(super) fn parse(text: &str) -> (Vec<Directive>, Vec<String>) {
    let (mut directives, mut unknown) = (Vec::new(), Vec::new());
    let parts = match text.split_once('/') {
        Some((parts, _)) => {
            unknown.push("what follows / is not looked at".to_owned());
            parts
        }
        None => text,
    };
    let say = |word: &str| {
        format!(
            "\"{}\" is not a level and is not looked at; off, error, warn, info, debug and trace are",
            one_line(&shown(word), 80)
        )
    };
    let mut lost = false;
    for part in parts.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (target, word) = match part.split_once('=') {
            Some((target, word)) => (Some(target.trim()), word.trim()),
            // As in RUST_LOG=store: all that is said there.
            None if part.starts_with("genesys_gateway") => (Some(part), "trace"),
            None => (None, part),
        };
        let target = target.filter(|t| !t.is_empty()).map(str::to_owned);
        match level(word) {
            Some(level) => directives.push(Directive { target, level }),
            None => {
                unknown.push(say(word));
                match target {
                    Some(_) => directives.push(Directive {
                        target,
                        level: LevelFilter::Info,
                    }),
                    None => lost = true,
                }
            }
        }
    }
    if lost && directives.iter().all(|d| d.target.is_some()) {
        directives.push(Directive {
            target: None,
            level: LevelFilter::Info,
        });
    }
    (directives, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(level: LevelFilter) -> Directive {
        Directive {
            target: None,
            level,
        }
    }

    fn of(target: &str, level: LevelFilter) -> Directive {
        Directive {
            target: Some(target.into()),
            level,
        }
    }

    #[test]
    fn every_crate_of_the_house_is_a_part_of_the_gateway() {
        let manifest = include_str!("../../Cargo.toml");
        let names = manifest.lines().filter_map(|line| {
            let package = line.split("package = \"").nth(1)?.split('"').next()?;
            line.contains("path = \"src/")
                .then(|| package.replace('-', "_"))
        });
        let crates: std::collections::BTreeSet<String> = names.collect();
        let known = HOUSE.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(crates, known);
        for name in crates {
            let target = format!("{name}::thread");
            let shown = ours(&target).unwrap().into_owned();
            assert!(shown.starts_with("genesys_gateway::"), "{shown}");
            assert!(meant(&shown).contains(&target), "{shown}");
            assert!(meant("genesys_gateway").contains(&name), "{name}");
        }
        assert_eq!(ours("genesys_storehouse"), None);
        assert_eq!(ours("ureq::unit"), None);
        assert_eq!(meant("genesys_gateway::shell").len(), 1);
    }

    #[test]
    fn levels_are_taken_for_everything_and_for_parts() {
        for (text, wanted) in [
            ("", vec![]),
            (" , ", vec![]),
            ("WARN", vec![all(LevelFilter::Warn)]),
            (
                "info, store=debug",
                vec![all(LevelFilter::Info), of("store", LevelFilter::Debug)],
            ),
            (
                "genesys_gateway",
                vec![of("genesys_gateway", LevelFilter::Trace)],
            ),
            ("off", vec![all(LevelFilter::Off)]),
        ] {
            assert_eq!(parse(text), (wanted, vec![]), "{text}");
        }
    }

    #[test]
    fn an_unknown_word_is_reported_and_counts_as_info() {
        for word in [
            "verbose",
            "warning",
            "infos",
            "3",
            "tungstenite",
            "\u{1b}[2J",
        ] {
            let (directives, unknown) = parse(word);
            assert_eq!(directives, [all(LevelFilter::Info)], "{word}");
            assert_eq!(unknown.len(), 1, "{word}");
            assert!(!unknown[0].contains('\u{1b}'));
        }
        let (directives, unknown) = parse("debug,store=loud,=x");
        assert_eq!(
            directives,
            [all(LevelFilter::Debug), of("store", LevelFilter::Info),]
        );
        assert_eq!(unknown.len(), 2);
        assert_eq!(parse("warn/secret").0, [all(LevelFilter::Warn)]);
    }
}
