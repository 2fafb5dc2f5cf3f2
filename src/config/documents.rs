//! The packaged file and the manual page, held against the code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::{Absent, KEYS};
use super::raw::RawValue;
use super::{Config, ConfigError, Environment};

fn packaged(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(machine.path("client-secret"), "s3cr3t\n").unwrap();
        std::fs::write(machine.path("assertion"), "PHNhbWw+\n").unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        let path = self.path("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let environment = Environment {
            credentials_directory: Some(self.directory.path().to_owned()),
            state_directory: Some(self.directory.path().to_owned()),
            working_directory: PathBuf::from("/"),
            runs: false,
        };
        Config::load_in(&path, &environment).map(|(config, _)| config)
    }
}

#[test]
fn the_packaged_file_as_shipped_lacks_only_what_has_to_be_filled_in() {
    let error = Machine::new().load(&packaged("gateway.toml")).unwrap_err();
    let ConfigError::Problems { problems, .. } = error else {
        panic!("{error}")
    };
    let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "genesys.oauth.client-id",
            "genesys.oauth.org-name",
            "genesys.oauth.assertion",
            "history.url"
        ]
    );
}

#[test]
fn the_packaged_file_is_right_once_it_is_filled_in() {
    let machine = Machine::new();
    let assertion = machine.path("assertion").display().to_string();
    let text = packaged("gateway.toml")
        .replace("client-id = \"\"", "client-id = \"id\"")
        .replace("org-name = \"\"", "org-name = \"acme\"")
        .replace("url = \"\"", "url = \"https://history.example/\"")
        .replace(
            "#file = \"/run/genesys-assertion/assertion\"",
            &format!("file = \"{assertion}\""),
        );
    let config = machine.load(&text).unwrap();
    assert_eq!(config.store.path, machine.path("gateway.db"));
}

/// Keys of the packaged file, commented or not, with the literals that stand there.
fn tutorial() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut table = String::new();
    for line in packaged("gateway.toml").lines() {
        // A table that turns something on by being there stands in a comment.
        if let Some(name) = line.strip_prefix('#').unwrap_or(line).strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned();
            continue;
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        // A comment has a space after its sign; a key does not.
        if line.starts_with(' ') {
            continue;
        }
        if let Some((name, literal)) = line.split_once(" = ") {
            found.insert(format!("{table}.{name}"), literal.to_owned());
        }
    }
    found
}

#[test]
fn the_packaged_file_shows_every_key_and_every_default_as_it_is() {
    let tutorial = tutorial();
    for key in KEYS {
        let literal = tutorial
            .get(key.name)
            .unwrap_or_else(|| panic!("{} is not in the packaged file", key.name));
        assert!(
            RawValue::literal(literal).is_some(),
            "{}: {literal} is not TOML",
            key.name
        );
        if let Absent::Default(default) = key.absent {
            assert_eq!(literal, default, "{}", key.name);
        }
    }
    assert_eq!(tutorial.len(), KEYS.len(), "{tutorial:?}");
}

/// Keys of the manual page with what it says about their absence.
fn manual() -> BTreeMap<String, (Option<String>, bool)> {
    let page = packaged("genesys-gateway.toml.5")
        .replace("\\(dq", "\"")
        .replace("\\-", "-")
        .replace("\\ ", " ");
    let mut found: BTreeMap<String, (Option<String>, bool)> = BTreeMap::new();
    let mut table = String::new();
    let mut key = String::new();
    let mut before = "";
    for line in page.lines() {
        if let Some(name) = line.strip_prefix(".SS [") {
            table = name.trim_end_matches(']').to_owned();
        } else if let (".TP", Some(name)) = (before, line.strip_prefix(".B ")) {
            key = format!("{table}.{name}");
            found.insert(key.clone(), (None, false));
        } else if let ("Default:", Some(literal)) = (before, line.strip_prefix(".BR ")) {
            let literal = literal.strip_suffix(" .").unwrap().to_owned();
            found.get_mut(&key).unwrap().0 = Some(literal);
        } else if line == "Required." {
            found.get_mut(&key).unwrap().1 = true;
        }
        before = line;
    }
    found
}

#[test]
fn the_manual_page_has_every_key_with_the_default_that_the_code_has() {
    let manual = manual();
    for key in KEYS {
        let said = manual
            .get(key.name)
            .unwrap_or_else(|| panic!("{} is not in the manual page", key.name));
        let expected = match key.absent {
            Absent::Default(literal) => (Some(literal.to_owned()), false),
            Absent::Required => (None, true),
            Absent::Unset => (None, false),
        };
        assert_eq!(*said, expected, "{}", key.name);
    }
    assert_eq!(manual.len(), KEYS.len());
}

#[test]
fn the_manual_page_lists_every_event_type() {
    let page = packaged("genesys-gateway.toml.5");
    let listed = page
        .lines()
        .find_map(|line| line.strip_suffix('.')?.strip_prefix("UNKNOWN, "))
        .unwrap();
    let listed: Vec<&str> = std::iter::once("UNKNOWN")
        .chain(listed.split(", "))
        .collect();
    assert_eq!(listed, super::check_desktop::EVENT_TYPES);
}

#[test]
fn the_manual_page_lists_every_region() {
    let page = packaged("genesys-gateway.toml.5").replace("\\-", "-");
    for (_, domain) in super::REGIONS {
        assert!(page.contains(domain), "{domain}");
    }
}
