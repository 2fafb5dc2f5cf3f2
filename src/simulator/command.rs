//! The command `simulate`: the simulator alone, until it is told to stop.
//!
//! Invariant: the first line on standard output is the JSON that scripts read;
//! nothing else is written there.

use std::fmt;
use std::fs;
use std::io::{self, Write};

use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::model::switches::SwitchError;
use super::model::{Client, Saml, User, certificate_from_pem};
use super::server::{Options, Running, start};
use base::secret::Secret;

/// The simulator did not run.
#[derive(Debug)]
pub enum RunError {
    /// A `--set` is wrong (blame: the operator, usage).
    Set(String),
    /// A file of a `--set` cannot be read (blame: the operator).
    File(String, io::Error),
    /// A port or thread could not be had (blame: the environment).
    Start(io::Error),
    /// Standard output is closed, or signals cannot be caught (blame: the environment).
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Set(text) => f.write_str(text),
            RunError::File(path, error) => write!(f, "{path} cannot be read: {error}"),
            RunError::Start(error) => write!(f, "the simulator cannot start: {error}"),
            RunError::Io(error) => write!(f, "the simulator cannot go on: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<SwitchError> for RunError {
    fn from(error: SwitchError) -> Self {
        RunError::Set(error.to_string())
    }
}

/// Reads `--set` pairs. Besides the switches: `time-scale`, `seed`, `client-id`,
/// `client-secret`, `org-name`, `client` (`ID:SECRET`, one more OAuth client; may be repeated),
/// and of the organisation's trust in assertions
/// `saml-certificate-file`, `saml-audience`, `saml-recipient` and `saml-user`
/// (an e-mail address; may be repeated).
fn options(port: u16, control_port: u16, sets: &[(String, String)]) -> Result<Options, RunError> {
    let mut options = Options {
        port,
        control_port,
        ..Options::default()
    };
    let mut saml = Saml::default();
    let number = |name: &str, value: &str| {
        value
            .parse::<u32>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| RunError::Set(format!("{name} takes a number from 1, not {value}")))
    };
    for (name, value) in sets {
        let settings = &mut options.settings;
        match name.as_str() {
            "time-scale" => options.time_scale = number(name, value)?,
            "seed" => options.seed = u64::from(number(name, value)?),
            "client-id" => settings.client_id.clone_from(value),
            "client-secret" => settings.client_secret = Secret::new(value.clone()),
            "org-name" => settings.org_name.clone_from(value),
            "client" => {
                let (id, secret) = value
                    .split_once(':')
                    .ok_or_else(|| RunError::Set(format!("client takes ID:SECRET, not {value}")))?;
                settings.more_clients.push(Client {
                    id: id.to_owned(),
                    secret: Secret::new(secret),
                });
            }
            "saml-certificate-file" => {
                let pem = fs::read_to_string(value)
                    .map_err(|error| RunError::File(value.clone(), error))?;
                let certificate = certificate_from_pem(&pem).ok_or_else(|| {
                    RunError::Set(format!("{value} holds no RSA certificate in PEM"))
                })?;
                saml.certificates.push(certificate);
            }
            "saml-audience" => saml.audience = Some(value.clone()),
            "saml-recipient" => saml.recipient = Some(value.clone()),
            "saml-user" => saml.users.push(User::named(value)),
            _ => settings.switches.set(name, value)?,
        }
    }
    options.settings.saml = Some(saml);
    Ok(options)
}

fn announce(running: &Running) -> io::Result<()> {
    let line = json!({
        "apiUrl": running.api_url,
        "loginUrl": running.login_url,
        "controlUrl": running.control_url,
        "clientId": running.client_id,
        "clientSecret": running.client_secret,
        "orgName": running.org_name,
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Starts a simulator, says where it is, and serves until SIGTERM or SIGINT. Where the reader of
/// what it says has gone away before, and no port was named, it ends at once.
///
/// # Errors
/// A wrong `--set`, a port that is taken, or no standard output.
pub fn run_command(
    port: u16,
    control_port: u16,
    sets: &[(String, String)],
) -> Result<(), RunError> {
    let options = options(port, control_port, sets)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(RunError::Io)?;
    let running = start(options).map_err(RunError::Start)?;
    match announce(&running) {
        // Nobody reads, and nobody can know where it is but who named the port.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && port == 0 => {}
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(RunError::Io(error)),
        _ => {
            let _ = signals.forever().next();
        }
    }
    running.stop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<Options, RunError> {
        options(0, 0, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn sets_reach_switches_and_settings() {
        assert_eq!(set("time-scale", "60").unwrap().time_scale, 60);
        assert_eq!(set("org-name", "acme").unwrap().settings.org_name, "acme");
        let with_switch = set("heartbeat-seconds", "5").unwrap();
        assert_eq!(with_switch.settings.switches.heartbeat_seconds, 5);
        let with_user = set("saml-user", "a@example.com").unwrap();
        assert_eq!(with_user.settings.saml.unwrap().users.len(), 1);
        let with_client = set("client", "another:its-secret").unwrap();
        assert_eq!(with_client.settings.more_clients[0].id, "another");
    }

    #[test]
    fn wrong_sets_say_what_is_wrong() {
        for (name, value, word) in [
            ("time-scale", "0", "number from 1"),
            ("no-such-switch", "1", "no switch"),
            ("heartbeat-seconds", "often", "from 0 to 60"),
            ("client", "another", "ID:SECRET"),
            ("saml-certificate-file", "/nonexistent", "cannot be read"),
        ] {
            let error = set(name, value).map(drop).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
