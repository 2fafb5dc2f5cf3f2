//! `records`: list, show, shape, and the four acts.
//!
//! Looking works without the daemon, acting does not: the daemon owns the
//! records, and a change behind its back would be lost or doubled.
//!
//! Invariant: an act by state touches no more records than the person was told of.

use std::io::BufRead;

use serde_json::{Value, json};

use super::arguments::{Records, Which};
use super::client::{self, Answer, Unanswered};
use super::offline::{self, Offline};
use super::show::{self, columns, cut, plain, text};
use super::{ExitCode, Terminal, complain};
use crate::config::OperatorConfig;
use base::ids::RecordId;
use base::rows::RecordState;
use base::time::Wall;
use filing::Act;
use store::StoreError;

/// Records fetched at a time when an act goes by state.
const BATCH: u32 = 1000;

/// Does one of the words.
pub(super) fn records(
    operator: &OperatorConfig,
    word: &Records,
    now: Wall,
    terminal: &mut Terminal<'_>,
) -> ExitCode {
    let result = match word {
        Records::List { state, limit, json } => {
            list(operator, *state, *limit).map(|found| show_list(&found, *limit, *json, terminal))
        }
        Records::Show { id, json } => one(operator, *id).map(|found| match found {
            Some(record) => {
                show_record(&record, *json, terminal);
                ExitCode::Done
            }
            None => {
                complain(&format!("there is no record {id}"));
                ExitCode::Refused
            }
        }),
        Records::Shape { json } => shape(operator, now).map(|found| {
            if *json {
                terminal.json(&found);
            } else {
                for line in show::shape(&found) {
                    terminal.line(&line);
                }
            }
            ExitCode::Done
        }),
        Records::Retry(which) => act(operator, Act::Retry, which, terminal),
        Records::Hold(which) => act(operator, Act::Hold, which, terminal),
        Records::Release(which) => act(operator, Act::Release, which, terminal),
        Records::Discard(which) => act(operator, Act::Discard, which, terminal),
    };
    result.unwrap_or_else(|code| code)
}

/// Says what was wrong with an answer that should have been 200 with JSON.
pub(super) fn unexpected(answer: &Answer) -> ExitCode {
    match answer.status {
        401 => {
            complain("the daemon asks for a token: set status.api-tokens-file");
            ExitCode::Configuration
        }
        status => {
            complain(&format!("the daemon answered {}", sentence(status, answer)));
            ExitCode::Unavailable
        }
    }
}

/// The status and what the problem details say.
fn sentence(status: u16, answer: &Answer) -> String {
    let detail = text(&answer.body, "detail");
    let title = text(&answer.body, "title");
    match (detail.is_empty(), title.is_empty()) {
        (false, _) => format!("{status}: {detail}"),
        (true, false) => format!("{status}: {title}"),
        (true, true) => status.to_string(),
    }
}

fn ask_or_look(
    operator: &OperatorConfig,
    target: &str,
    look: impl FnOnce(&Offline) -> Result<Value, StoreError>,
) -> Result<Answer, ExitCode> {
    match client::ask(operator, "GET", target) {
        Ok(answer) => Ok(answer),
        Err(why) => {
            not_there(operator, &why);
            Offline::open(&operator.store_path)
                .and_then(|database| look(&database))
                .map(|body| {
                    complain("this is from the database");
                    Answer { status: 200, body }
                })
                .map_err(|error| {
                    complain(&format!("nor can its database be read: {error}"));
                    offline::exit_code(&error)
                })
        }
    }
}

fn not_there(operator: &OperatorConfig, why: &Unanswered) {
    complain(&format!(
        "the daemon does not answer at {}: {why}",
        operator.listen
    ));
}

fn list(
    operator: &OperatorConfig,
    state: Option<RecordState>,
    limit: u32,
) -> Result<Value, ExitCode> {
    let answer = ask_or_look(operator, &list_target(state, limit), |database| {
        database.records(state.map(RecordState::label), limit)
    })?;
    match answer.status {
        200 if answer.body["records"].is_array() => Ok(answer.body),
        _ => Err(unexpected(&answer)),
    }
}

fn list_target(state: Option<RecordState>, limit: u32) -> String {
    match state {
        Some(state) => format!("/records?state={}&limit={limit}", state.label()),
        None => format!("/records?limit={limit}"),
    }
}

fn show_list(found: &Value, limit: u32, json: bool, terminal: &mut Terminal<'_>) -> ExitCode {
    if json {
        terminal.json(found);
        return ExitCode::Done;
    }
    let records = found["records"].as_array().map_or(&[][..], Vec::as_slice);
    if records.is_empty() {
        complain("no records");
        return ExitCode::Done;
    }
    let head = [
        "record",
        "state",
        "kind",
        "received",
        "tries",
        "next try",
        "last error",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for record in records {
        rows.push(vec![
            text(record, "recordId"),
            text(record, "state"),
            text(record, "kind"),
            text(record, "receivedAt"),
            text(record, "attempts"),
            text(record, "nextTry"),
            cut(&text(record, "lastError"), 60),
        ]);
    }
    for line in columns(&rows, &[4]) {
        terminal.line(&line);
    }
    if records.len() >= limit as usize {
        complain(&format!(
            "the first {limit}; there may be more, see --limit"
        ));
    }
    ExitCode::Done
}

fn one(operator: &OperatorConfig, id: RecordId) -> Result<Option<Value>, ExitCode> {
    let answer = ask_or_look(operator, &format!("/records/{id}"), |database| {
        // `Null` stands for "not found" on the way out of here.
        Ok(database.record(id)?.unwrap_or(Value::Null))
    })?;
    match answer.status {
        200 if answer.body.is_object() => Ok(Some(answer.body)),
        200 if answer.body.is_null() => Ok(None),
        404 => Ok(None),
        _ => Err(unexpected(&answer)),
    }
}

fn show_record(record: &Value, json: bool, terminal: &mut Terminal<'_>) {
    if json {
        terminal.json(record);
        return;
    }
    let rows: Vec<Vec<String>> = record
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![base::plain::shown(name), plain(value)])
        .collect();
    for line in columns(&rows, &[]) {
        terminal.line(&line);
    }
}

fn shape(operator: &OperatorConfig, now: Wall) -> Result<Value, ExitCode> {
    let mut answer = ask_or_look(operator, "/status", |database| {
        Ok(json!({ "shape": database.shape(now)? }))
    })?;
    match answer.status {
        200 if answer.body["shape"].is_array() => Ok(answer.body["shape"].take()),
        _ => Err(unexpected(&answer)),
    }
}

fn act(
    operator: &OperatorConfig,
    act: Act,
    which: &Which,
    terminal: &mut Terminal<'_>,
) -> Result<ExitCode, ExitCode> {
    let Some(state) = which.state else {
        let mut worst = ExitCode::Done;
        for id in &which.ids {
            if !act_on(operator, act, &id.to_string(), terminal)? {
                worst = ExitCode::Refused;
            }
        }
        return Ok(worst);
    };
    if act.after(state).is_none() {
        let from: Vec<&str> = act.fits().map(RecordState::label).collect();
        complain(&format!(
            "{} is for records that are {}",
            act,
            from.join(", ")
        ));
        return Err(ExitCode::Usage);
    }
    let confirmed = count(operator, state)?;
    if confirmed == 0 {
        complain(&format!("no record is {}", state.label()));
        return Ok(ExitCode::Done);
    }
    if !which.yes {
        confirm(act, state, confirmed, terminal)?;
    }
    by_state(operator, act, state, confirmed, terminal)
}

/// How many records are in a state. The list is of this moment; the count of the snapshot,
/// which lags by a little, serves only where there are more than a batch.
fn count(operator: &OperatorConfig, state: RecordState) -> Result<u64, ExitCode> {
    let answer = reach(operator, "GET", &list_target(Some(state), BATCH))?;
    let listed = match answer.body["records"].as_array() {
        Some(records) if answer.status == 200 => records.len() as u64,
        _ => return Err(unexpected(&answer)),
    };
    if listed < u64::from(BATCH) {
        return Ok(listed);
    }
    let answer = reach(operator, "GET", "/status")?;
    match &answer.body["records"] {
        Value::Object(counts) if answer.status == 200 => Ok(counts
            .get(state.label())
            .and_then(Value::as_u64)
            .unwrap_or(0)
            .max(listed)),
        _ => Err(unexpected(&answer)),
    }
}

fn reach(operator: &OperatorConfig, method: &str, target: &str) -> Result<Answer, ExitCode> {
    client::ask(operator, method, target).map_err(|why| {
        not_there(operator, &why);
        ExitCode::Unavailable
    })
}

fn confirm(
    act: Act,
    state: RecordState,
    n: u64,
    terminal: &mut Terminal<'_>,
) -> Result<(), ExitCode> {
    let what = match n {
        1 => format!("1 record is {}", state.label()),
        n => format!("{n} records are {}", state.label()),
    };
    if !terminal.asks {
        complain(&format!(
            "{what}; {} of all of them needs --yes where nobody can be asked",
            act
        ));
        return Err(ExitCode::Usage);
    }
    terminal.question(&format!("{what}. {} all of them? [y/N] ", act));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        complain("nothing was done");
        Err(ExitCode::Refused)
    }
}

/// Batch after batch until `confirmed` records were tried, or a batch moved nothing.
fn by_state(
    operator: &OperatorConfig,
    act: Act,
    state: RecordState,
    confirmed: u64,
    terminal: &mut Terminal<'_>,
) -> Result<ExitCode, ExitCode> {
    let (mut done, mut tried) = (0u64, 0u64);
    let mut refused = false;
    while tried < confirmed {
        let answer = reach(operator, "GET", &list_target(Some(state), BATCH))?;
        let ids: Vec<String> = match answer.body["records"].as_array() {
            Some(records) if answer.status == 200 => records
                .iter()
                .map(|record| text(record, "recordId"))
                // What goes into a path of ours is an id and nothing else.
                .filter(|id| id.parse::<RecordId>().is_ok())
                .collect(),
            _ => return Err(unexpected(&answer)),
        };
        let before = done;
        for id in ids {
            if tried == confirmed {
                break;
            }
            tried = tried.saturating_add(1);
            if act_on(operator, act, &id, terminal)? {
                done = done.saturating_add(1);
            } else {
                refused = true;
            }
        }
        if done == before {
            break;
        }
    }
    complain(&format!("{}: {done} of {confirmed}", act));
    // The count may be a little old; that fewer were there is as it should be.
    Ok(if refused {
        ExitCode::Refused
    } else {
        ExitCode::Done
    })
}

/// Whether the daemon did it; an answer that makes going on pointless is an error.
fn act_on(
    operator: &OperatorConfig,
    act: Act,
    id: &str,
    terminal: &mut Terminal<'_>,
) -> Result<bool, ExitCode> {
    let answer = reach(operator, "POST", &format!("/records/{id}/{}", act))?;
    match answer.status {
        200 => {
            terminal.line(&format!("{id} {}", text(&answer.body, "state")));
            Ok(true)
        }
        404 => {
            complain(&format!("there is no record {id}"));
            Ok(false)
        }
        409 => {
            complain(&format!("{id}: {}", sentence(409, &answer)));
            Ok(false)
        }
        _ => Err(unexpected(&answer)),
    }
}
