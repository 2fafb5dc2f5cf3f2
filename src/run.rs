//! The words `run` and `check --online`: from a checked configuration to an exit code.
//!
//! Invariant: the process is reported ready only when the store is open, the
//! listeners are bound and the loop turns; it ends with 0 only when asked to.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use crate::config::Config;
use crate::service::activation::{self, Activated};
use crate::service::output::{Output, complain};
use crate::service::signals::{self, Signal};
use crate::service::{ExitCode, sd};
use crate::shell::daemon::{self, Daemon, Inherited};
use crate::shell::gate::Listener;
use crate::shell::online;
use crate::shell::outside::Outside;
use base::rows::StoreTrouble;
use notifications::clock::Clock;

/// How often the main thread makes sure that the loop has not ended by itself.
const LOOK: Duration = Duration::from_millis(500);

/// `run`: the daemon, until it is asked to stop.
#[must_use]
pub fn run(config: Config, mut activated: Activated) -> ExitCode {
    let signals = match signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            log::error!("signals cannot be taken over: {error}");
            return ExitCode::Software;
        }
    };
    let inherited = Inherited {
        http: activated.named("http").map(listener),
        status: activated.named("status").map(listener),
    };
    for name in activated.left() {
        log::warn!("the service manager passed a socket named {name}, which nothing here takes");
    }
    let daemon = match Daemon::start(&config, inherited) {
        Ok(daemon) => daemon,
        Err(error) => {
            log::error!("not started: {error}");
            return error.exit_code();
        }
    };
    log::info!(
        "version {} is up; callers on {}, operators on {}",
        env!("CARGO_PKG_VERSION"),
        daemon.http_at(),
        daemon.status_at()
    );
    sd::ready();
    loop {
        match signals.recv_timeout(LOOK) {
            Ok(Signal::Terminate) => break,
            Ok(Signal::Hangup) => reload(&config, &daemon),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(why) = daemon.store_over() {
            let (what, and) = match why {
                StoreTrouble::Moved => ("was taken away, and what was in it is kept", ""),
                _ => (
                    "is damaged and takes no more changes",
                    " and what is readable is carried over",
                ),
            };
            log::error!(
                "the database {what}: ending with {}, so that the service manager starts the \
                 gateway anew{and}",
                ExitCode::Software.number(),
            );
            daemon.stop().say();
            return ExitCode::Software;
        }
        if let Some(twins) = daemon.twins() {
            log::error!("{twins}; ending with {}", ExitCode::Configuration.number());
            daemon.stop().say();
            return ExitCode::Configuration;
        }
        if daemon.ended() {
            log::error!("the loop has ended by itself; restarting is the cure");
            daemon.stop().say();
            return ExitCode::Software;
        }
    }
    log::info!("stopping");
    sd::stopping();
    daemon.stop().say();
    ExitCode::Done
}

/// Reads secrets and certificates again, and says what became of it. The configuration of the
/// start stays the measure of what needs a restart.
fn reload(config: &Config, daemon: &Daemon) {
    sd::reloading();
    match Config::load(config.file()) {
        Ok((new, warnings)) => {
            for warning in warnings {
                log::warn!("{warning}");
            }
            match daemon.reload(config, &new) {
                Ok(applied) => {
                    log::info!(
                        "reloaded: API tokens, certificates, secrets and keys are those of the files"
                    );
                    if !applied.later.is_empty() {
                        log::warn!(
                            "reloaded, but a restart is needed for {}",
                            applied.later.join(", ")
                        );
                    }
                    for section in applied.kept {
                        log::warn!(
                            "secrets and certificates of {section} stay as they were until then"
                        );
                    }
                }
                Err(error) => log::warn!("nothing was reloaded, the old files serve on: {error}"),
            }
        }
        Err(error) => {
            for line in error.lines() {
                log::warn!("nothing was reloaded, the old files serve on: {line}");
            }
        }
    }
    sd::ready();
}

fn listener(inherited: activation::Inherited) -> Listener {
    match inherited {
        activation::Inherited::Tcp(tcp) => Listener::from(tcp),
        activation::Inherited::Unix(unix) => Listener::from(unix),
    }
}

/// The part of `check` that goes beyond the configuration's own rules: what the start
/// would refuse without having asked anybody.
#[must_use]
pub fn check(config: &Config) -> ExitCode {
    match daemon::rehearse(config) {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            complain(&error.to_string());
            error.exit_code()
        }
    }
}

/// `check --online`.
#[must_use]
pub fn check_online(config: &Config) -> ExitCode {
    let mut out = Output;
    match daemon::outsides(config, &Arc::new(Clock::new())) {
        Ok(outsides) => {
            let names = config.clients().into_iter().map(|(name, _)| name);
            let clients: Vec<(&str, &Outside)> = names.zip(&outsides).collect();
            online::check(&clients, &mut out)
        }
        Err(error) => {
            // A closed output is no reason to fail differently.
            let _ = writeln!(out, "FAILED   {error}");
            ExitCode::Configuration
        }
    }
}
