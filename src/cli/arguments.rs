//! The words and options, as clap reads them.
//!
//! Invariant: what parses makes sense by itself; nothing here looks at a file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_PATH;
use base::ids::RecordId;
use base::rows::RecordState;

/// Files every after-call-work record of accepted Genesys Cloud conversations
/// with a communication history manager: nothing lost, nothing filed twice.
#[derive(Parser, Debug)]
#[command(name = "genesys-gateway", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused by the daemon, 64 usage, 69 something needed is not there, 70 a defect, 75 another instance runs, 77 a file may not be read, 78 configuration.\nSee genesys-gateway(8) and genesys-gateway.toml(5)."
)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "PATH", global = true, default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub word: Word,
}

/// The words of the command line (design, section 6).
#[derive(Subcommand, Debug)]
pub enum Word {
    /// Run the gateway in the foreground; this is what the service does
    Run,
    /// Check the configuration and every file it names
    Check {
        /// Also log on to the platform, open a channel and say which permission is missing
        #[arg(long)]
        online: bool,
    },
    /// Say how the gateway is: the verdict, the reasons, the numbers
    Status {
        /// Print the snapshot as JSON
        #[arg(long)]
        json: bool,
    },
    /// List, show and move records
    #[command(subcommand)]
    Records(Records),
    /// Print notifications of any topics as they come, a line of JSON each, until it is stopped
    Listen(ListenOptions),
    /// Run everything on this machine against a simulated platform, within a minute
    Demo(DemoOptions),
    /// Run the platform simulator alone
    Simulate(SimulateOptions),
}

/// `records ...`
#[derive(Subcommand, Debug)]
pub enum Records {
    /// List records
    List {
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<RecordState>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one record
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        id: RecordId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how many records are in which state, and since when
    Shape {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try again now: records that are deferred, dead or held
    Retry(Which),
    /// Keep back: records that are queued or deferred
    Hold(Which),
    /// Let go: records that are held
    Release(Which),
    /// Give up for good: records that are queued, deferred, dead or held
    Discard(Which),
}

/// The records that an act is about.
#[derive(Args, Debug)]
#[group(id = "which")]
pub struct Which {
    /// Ids of records
    #[arg(value_name = "ID", required_unless_present = "state")]
    pub ids: Vec<RecordId>,
    /// All records in this state instead; asks first
    #[arg(long, value_name = "STATE", conflicts_with = "ids", value_parser = state)]
    pub state: Option<RecordState>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `listen`
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// A topic, as the platform names it; may be repeated
    #[arg(long, value_name = "TOPIC", required = true, num_args = 1..)]
    pub topic: Vec<String>,
    /// Also print heartbeats, gaps, and what is subscribed or refused
    #[arg(long)]
    pub all: bool,
}

/// `demo`
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// Keep running, with a simulated desktop that embeds the page; prints the address to open
    #[arg(long)]
    pub desktop: bool,
}

/// `simulate`
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct SimulateOptions {
    /// Port of the platform's API on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// Port of the control interface on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub control_port: u16,
    /// Change a behaviour of the simulated platform; may be repeated
    #[arg(long, value_name = "SWITCH=VALUE", value_parser = switch)]
    pub set: Vec<Switch>,
}

/// One `--set SWITCH=VALUE`; the simulator knows which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Before the first `=`; not empty.
    pub name: String,
    /// After it.
    pub value: String,
}

fn switch(text: &str) -> Result<Switch, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Switch {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("must be SWITCH=VALUE".into()),
    }
}

fn state(text: &str) -> Result<RecordState, String> {
    RecordState::parse(text).ok_or_else(|| {
        let all: Vec<&str> = RecordState::ALL.iter().map(|s| s.label()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_before_or_after_the_word() {
        for line in [
            &["genesys-gateway", "--config", "/x", "status", "--json"][..],
            &["genesys-gateway", "status", "--json", "--config", "/x"],
            &["genesys-gateway", "records", "list", "--config=/x"],
            &["genesys-gateway", "records", "--config=/x", "shape"],
        ] {
            let a = Arguments::try_parse_from(line).unwrap();
            assert_eq!(a.config, PathBuf::from("/x"), "{line:?}");
        }
        let a = Arguments::try_parse_from(["genesys-gateway", "run"]).unwrap();
        assert_eq!(a.config, PathBuf::from(DEFAULT_PATH));
    }

    #[test]
    fn switches_are_taken_apart_at_the_first_equals_sign() {
        let line = [
            "genesys-gateway",
            "simulate",
            "--port",
            "7",
            "--set",
            "a=b=c",
            "--set",
            "d=",
        ];
        let Word::Simulate(options) = Arguments::try_parse_from(line).unwrap().word else {
            panic!()
        };
        assert_eq!((options.port, options.control_port), (7, 0));
        let pairs: Vec<(&str, &str)> = options
            .set
            .iter()
            .map(|s| (s.name.as_str(), s.value.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "b=c"), ("d", "")]);
    }
}
