//! From the parsed words to what they do.
//!
//! Invariant: the configuration is checked in full before `run` or `check`
//! does anything, and read in part only by those who look.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::arguments::{Arguments, Word};
use super::{Bodies, ExitCode, Terminal, complain, records, status};
use crate::config::{Config, ConfigError, Environment, OperatorConfig, Origin, Warning};
use crate::service::activation::Activated;
use crate::service::logging;
use base::time::Wall;

/// Does what was asked.
pub(super) fn dispatch(arguments: &Arguments, activated: Activated, bodies: &Bodies) -> ExitCode {
    match &arguments.word {
        Word::Run => run(&arguments.config, activated, bodies),
        Word::Check { online } => check(&arguments.config, *online, bodies),
        Word::Status { json } => look(&arguments.config, |operator, terminal| {
            status::status(operator, *json, now(), terminal)
        }),
        Word::Records(word) => look(&arguments.config, |operator, terminal| {
            records::records(operator, word, now(), terminal)
        }),
        Word::Listen(options) => match Config::load(&arguments.config) {
            Ok((config, _)) => {
                logging::init();
                (bodies.listen)(&config, options)
            }
            Err(error) => report(&error),
        },
        Word::Demo(options) => {
            logging::init_quiet();
            (bodies.demo)(options)
        }
        Word::Simulate(options) => {
            logging::init();
            (bodies.simulate)(options)
        }
    }
}

fn now() -> Wall {
    Wall(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
    )
}

fn run(path: &Path, activated: Activated, bodies: &Bodies) -> ExitCode {
    logging::init();
    match Config::load_to_run(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                log::warn!("{warning}");
            }
            log::info!("configuration: {}", effective(&config));
            (bodies.run)(config, activated)
        }
        Err(error) => {
            for warning in warnings_of(&error) {
                log::warn!("{warning}");
            }
            for line in error.lines() {
                log::error!("{line}");
            }
            error.exit_code()
        }
    }
}

/// Every key with its value and where that comes from, on one line.
fn effective(config: &Config) -> String {
    let keys: Vec<String> = config
        .effective()
        .iter()
        .map(|e| match e.origin {
            Origin::Default => format!("{} = {} (default)", e.key, e.value),
            Origin::File => format!("{} = {}", e.key, e.value),
        })
        .collect();
    keys.join("; ")
}

fn warnings_of(error: &ConfigError) -> &[Warning] {
    match error {
        ConfigError::Problems { warnings, .. } => warnings,
        _ => &[],
    }
}

fn check(path: &Path, online: bool, bodies: &Bodies) -> ExitCode {
    match Config::load(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                complain(&format!("warning: {warning}"));
            }
            let found = (bodies.check)(&config);
            if found != ExitCode::Done {
                return found;
            }
            if online {
                logging::init();
                return (bodies.check_online)(&config);
            }
            let path = base::plain::shown(&path.display().to_string());
            Terminal::of_process().line(&format!("{path}: no problems"));
            ExitCode::Done
        }
        Err(error) => report(&error),
    }
}

fn report(error: &ConfigError) -> ExitCode {
    for warning in warnings_of(error) {
        complain(&format!("warning: {warning}"));
    }
    for line in error.lines() {
        complain(&line);
    }
    error.exit_code()
}

fn look(
    path: &Path,
    body: impl FnOnce(&OperatorConfig, &mut Terminal<'_>) -> ExitCode,
) -> ExitCode {
    let environment = Environment::of_process();
    match OperatorConfig::load_in(path, &environment) {
        Ok(mut operator) => {
            if environment.state_directory.is_none() {
                operator.store_path = where_the_service_keeps_it(operator.store_path);
            }
            body(&operator, &mut Terminal::of_process())
        }
        Err(error) => report(&error),
    }
}

/// A person's shell has no `$STATE_DIRECTORY`: if the database is not where a
/// relative path leads from here, it is most likely where the unit keeps it.
fn where_the_service_keeps_it(path: PathBuf) -> PathBuf {
    const STATE: &str = "/var/lib/genesys-gateway";
    if path.exists() {
        return path;
    }
    match path.file_name().map(|name| Path::new(STATE).join(name)) {
        Some(other) if other.exists() => other,
        _ => path,
    }
}
