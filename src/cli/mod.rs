//! The command line: words and options in, an exit code out.
//!
//! Parses, refuses, dispatches. What `run`, `check --online`, `demo` and
//! `simulate` do is handed in as [`Bodies`], so that this module knows neither
//! the daemon nor the simulator; `status` and `records` are done here, over
//! the operators' listener, and from the database where that does not answer.
//!
//! Invariant: nothing that came from outside reaches a terminal with control
//! characters in it, and nothing here writes the database.

mod arguments;
mod client;
mod commands;
mod offline;
mod records;
mod show;
mod status;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

pub use arguments::{Arguments, DemoOptions, ListenOptions, SimulateOptions, Switch};

use clap::Parser;
use clap::error::ErrorKind;

use crate::config::Config;
pub use crate::service::ExitCode;
use crate::service::activation::Activated;
use crate::service::output::{self, Output};

/// What the words do that are not this module's business.
pub struct Bodies {
    /// `run`: the daemon, until it is asked to stop.
    pub run: fn(Config, Activated) -> ExitCode,
    /// `check`: what the start would refuse although the configuration is sound by itself.
    pub check: fn(&Config) -> ExitCode,
    /// `check --online`: log on, open a channel, wait for a pong.
    pub check_online: fn(&Config) -> ExitCode,
    /// `listen`: notifications, until it is asked to stop.
    pub listen: fn(&Config, &ListenOptions) -> ExitCode,
    /// `demo`.
    pub demo: fn(&DemoOptions) -> ExitCode,
    /// `simulate`.
    pub simulate: fn(&SimulateOptions) -> ExitCode,
}

/// Parses and does what was asked. `activated` are the sockets that were taken
/// before anything else was done.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    activated: Activated,
    bodies: &Bodies,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    let _ = write!(Output, "{}", error.render());
                    output::verdict(ExitCode::Done)
                }
                _ => {
                    // Where nobody reads it, there is nothing to add.
                    let _ = std::io::stderr().write_all(usage(&error, &arguments).as_bytes());
                    ExitCode::Usage
                }
            };
        }
    };
    output::verdict(commands::dispatch(&arguments, activated, bodies))
}

/// Where text goes and how it may look.
pub(crate) struct Terminal<'a> {
    out: Box<dyn Write + 'a>,
    colour: bool,
    /// Standard input is a person.
    asks: bool,
}

impl Terminal<'_> {
    /// That of this process.
    pub(crate) fn of_process() -> Terminal<'static> {
        let stdout = std::io::stdout();
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Terminal {
            colour: stdout.is_terminal() && !set("NO_COLOR") && !dumb,
            asks: std::io::stdin().is_terminal(),
            out: Box::new(Output),
        }
    }

    /// Writes a line. What goes wrong with that is the matter of [`output::verdict`].
    pub(crate) fn line(&mut self, text: &str) {
        // At once, so that lines of others do not come in between.
        let _ = self.out.write_all(format!("{text}\n").as_bytes());
    }

    /// Writes a document on one line; what a terminal would obey or hide is escaped in it.
    pub(crate) fn json(&mut self, document: &serde_json::Value) {
        self.line(&base::plain::json_shown(&document.to_string()));
    }

    /// Writes a question without a line end.
    pub(crate) fn question(&mut self, text: &str) {
        let _ = write!(self.out, "{text}");
        let _ = self.out.flush();
    }
}

pub(crate) use crate::service::output::complain;

/// What the parser has to say, on as many lines as it takes; what it repeats of the arguments is
/// escaped like everything else that people see.
fn usage(error: &clap::Error, arguments: &[OsString]) -> String {
    // Before lines are told apart: an argument may hold line ends.
    let escaped = |argument: &OsString| base::plain::shown(&argument.to_string_lossy());
    let again = Arguments::try_parse_from(arguments.iter().map(escaped)).err();
    let text = again.as_ref().unwrap_or(error).render().to_string();
    let lines: Vec<String> = text.lines().map(base::plain::shown).collect();
    lines.join("\n") + "\n"
}
