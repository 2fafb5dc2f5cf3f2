//! The man pages against the program: what it can say, they explain.
//!
//! Labels of the journal and reasons of the verdict are taken from the source,
//! because nothing makes the program say all of them.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use genesys_gateway::cli::Arguments;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page as words: without requests and fonts, one space between words.
fn page(name: &str) -> String {
    let source = fs::read_to_string(root().join("systemd").join(name)).unwrap();
    let mut words = String::new();
    for line in source.lines() {
        let line = match line.strip_prefix('.') {
            // The request's name goes, what it sets in type stays.
            Some(request) => request.split_once(' ').map_or("", |(_, rest)| rest),
            None => line,
        };
        words.push_str(line);
        words.push(' ');
    }
    for escape in ["\\fB", "\\fI", "\\fR", "\\fP", "\"", "\\(dq"] {
        words = words.replace(escape, "");
    }
    words = words.replace("\\-", "-");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The sources of a directory, without tests.
fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "simulator" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Literals of a text in their order.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

fn is_label(text: &str) -> bool {
    text.len() > 2 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// Labels of notices at error and warning level.
fn labels() -> BTreeSet<String> {
    let mut files = Vec::new();
    for half in ["notifications-proto", "filing"] {
        sources(&root().join("src").join(half), &mut files);
    }
    let mut labels = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for level in ["Level::Error", "Level::Warn"] {
            for (at, _) in code.match_indices(level) {
                let near: String = code[at..].chars().take(200).collect();
                labels.extend(
                    literals(&near)
                        .next()
                        .filter(|l| is_label(l))
                        .map(str::to_owned),
                );
            }
        }
    }
    labels
}

#[test]
fn every_label_of_an_error_or_a_warning_is_explained() {
    let page = page("genesys-gateway.8");
    let labels = labels();
    assert!(
        labels.len() >= 15,
        "the source is not read as it is written: {labels:?}"
    );
    for known in [
        "token-refused",
        "channel-lost",
        "record-dead",
        "store-trouble",
    ] {
        assert!(
            labels.contains(known),
            "{known} is not found in the source: {labels:?}"
        );
    }
    let missing: Vec<&String> = labels
        .iter()
        .filter(|l| !page.contains(l.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "genesys-gateway.8 does not explain {missing:?}"
    );
}

#[test]
fn every_reason_of_the_verdict_is_explained() {
    let page = page("genesys-gateway.8");
    let source = fs::read_to_string(root().join("src/status/verdict.rs")).unwrap();
    // Literals that go on in the next line are one line.
    let lines = source.split("\\\n").map(str::trim_start);
    let source = lines.collect::<String>();
    let code = source.split("#[cfg(test)]").next().unwrap();
    let mut reasons = 0;
    for said in code.split("say(").skip(1) {
        // A say that is a definition, not a call, has no literal before its end.
        let Some(reason) = literals(said.split(';').next().unwrap()).next() else {
            continue;
        };
        let part = reason
            .split(['{', '}'])
            .map(|part| part.trim().trim_end_matches(':'))
            .filter(|part| part.contains(' '))
            .max_by_key(|part| part.len());
        let Some(part) = part else {
            // It begins with a label and shows the words of that.
            assert_eq!(reason, "{}: {trouble}, {since}", "no words in it");
            assert!(page.contains("socket-refused") && page.contains("socket-unreached"));
            continue;
        };
        // The first clause is the heading; what follows it explains.
        let part = part.split([';', ':']).next().unwrap();
        assert!(
            page.contains(part),
            "genesys-gateway.8 does not explain {part:?}"
        );
        reasons += 1;
    }
    assert!(reasons >= 8, "the source is not read as it is written");
}

#[test]
fn every_word_and_option_is_described() {
    fn walk(command: &Command, page: &str) {
        for word in command.get_subcommands() {
            assert!(
                page.contains(word.get_name()),
                "{} is not described",
                word.get_name()
            );
            walk(word, page);
        }
        for option in command.get_arguments().filter_map(|a| a.get_long()) {
            assert!(
                page.contains(&format!("--{option}")),
                "--{option} is not described"
            );
        }
    }
    walk(&Arguments::command(), &page("genesys-gateway.8"));
}

/// Tests of the whole tree, those of the library too.
fn tests_there_are() -> BTreeSet<String> {
    fn walk(below: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let after = text.split("#[test]").skip(1);
                let names =
                    after.filter_map(|t| t.trim_start().strip_prefix("fn ")?.split('(').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&root().join("src"), &mut found);
    walk(&root().join("tests"), &mut found);
    found
}

#[test]
fn whatever_is_said_to_have_been_tried_names_the_tests_that_try_it() {
    let source = fs::read_to_string(root().join("systemd/genesys-gateway.8")).unwrap();
    let section = source.split(".SH WHAT WAS TRIED\n").nth(1).unwrap();
    let section = section.split("\n.SH ").next().unwrap();
    let there = tests_there_are();
    let mut entries = 0;
    for entry in section.split("\n.TP\n").skip(1) {
        let heading = entry.lines().next().unwrap();
        let names: Vec<&str> = entry
            .lines()
            .filter_map(|line| line.strip_prefix(".\\\" shown by "))
            .collect();
        assert!(!names.is_empty(), "no test shows {heading:?}");
        for name in names {
            assert!(there.contains(name), "{heading:?}: there is no test {name}");
        }
        entries += 1;
    }
    assert!(entries >= 20, "the section is not read as it is written");
}
