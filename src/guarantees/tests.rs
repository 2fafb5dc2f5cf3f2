//! The table against the sources: what it names is there.

use std::fs;
use std::path::Path;

/// What the table says where the simulation has no such thing.
const NOT_SIMULATED: &str = "not simulated";

/// Everything below a directory, as one text.
fn sources(below: &str) -> String {
    fn walk(below: &Path, all: &mut String) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut all = String::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(below), &mut all);
    all
}

/// A row of the table: number, promise, and the names of the other columns.
#[derive(Default)]
struct Promise {
    number: String,
    sentence: String,
    checks: Vec<String>,
    breakages: Vec<String>,
    tests: Vec<String>,
}

/// Names of a cell; what is neither a name nor empty has to be [`NOT_SIMULATED`].
fn names(cell: &str, into: &mut Vec<String>) {
    match cell {
        "" => {}
        NOT_SIMULATED => into.push(NOT_SIMULATED.to_owned()),
        _ => into.extend(cell.split(", ").map(|name| {
            let inner = name.strip_prefix('`').and_then(|n| n.strip_suffix('`'));
            inner
                .unwrap_or_else(|| panic!("{name:?} is no name"))
                .to_owned()
        })),
    }
}

/// A row without a number belongs to the promise above it.
fn table() -> Vec<Promise> {
    let mut promises: Vec<Promise> = Vec::new();
    let rows = include_str!("../guarantees.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! |")?.strip_suffix('|'))
        .skip_while(|row| !row.starts_with("---"))
        .skip(1);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        if !cells[0].is_empty() {
            promises.push(Promise {
                number: cells[0].to_owned(),
                sentence: cells[1].to_owned(),
                ..Promise::default()
            });
        }
        let promise = promises.last_mut().unwrap();
        names(cells[2], &mut promise.checks);
        names(cells[3], &mut promise.breakages);
        names(cells[4], &mut promise.tests);
    }
    promises
}

#[test]
fn the_ten_promises_are_there_with_all_that_watches_them() {
    let promises = table();
    let numbers: Vec<&str> = promises.iter().map(|p| p.number.as_str()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    for p in &promises {
        assert!(p.sentence.len() > 40, "promise {} says nothing", p.number);
        for (column, names) in [
            ("check", &p.checks),
            ("breakage", &p.breakages),
            ("test", &p.tests),
        ] {
            assert!(!names.is_empty(), "promise {} has no {column}", p.number);
        }
    }
}

#[test]
fn every_name_of_the_table_is_in_the_sources() {
    let simulation = sources("tests/simulation");
    let breakages = simulation
        .split("breakages! {")
        .nth(1)
        .and_then(|rest| rest.split("\n}").next())
        .unwrap();
    let all = format!("{}{}", sources("tests"), sources("src/store/tests"));
    let is_there = |text: &str, name: &str| text.contains(&format!("fn {name}("));
    let mut missing = Vec::new();
    for p in table() {
        let simulated = |name: &&String| *name != NOT_SIMULATED;
        let mut note = |what: &str, name: &str, found: bool| {
            if !found {
                missing.push(format!("promise {}: no {what} {name}", p.number));
            }
        };
        for name in p.checks.iter().filter(simulated) {
            note("check", name, is_there(&simulation, name));
        }
        for name in p.breakages.iter().filter(simulated) {
            let row = format!(": {name} by \"");
            note("breakage", name, breakages.contains(&row));
        }
        for name in &p.tests {
            let test = format!("#[test]\nfn {name}(");
            note("test", name, all.contains(&test));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
