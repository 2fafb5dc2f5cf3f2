//! The program: so far the simulator alone.
use std::process::ExitCode;

use genesys_gateway::simulator::{RunError, run_command};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut control_port, mut sets) = (0, 0, Vec::new());
    let usage = || {
        eprintln!(
            "usage: genesys-gateway simulate [--port N] [--control-port N] [--set SWITCH=VALUE]…"
        );
        ExitCode::from(64)
    };
    if arguments.next().as_deref() != Some("simulate") {
        return usage();
    }
    while let Some(option) = arguments.next() {
        let Some(value) = arguments.next() else {
            return usage();
        };
        match option.as_str() {
            "--port" | "--control-port" => match value.parse() {
                Ok(n) if option == "--port" => port = n,
                Ok(n) => control_port = n,
                Err(_) => return usage(),
            },
            "--set" => match value.split_once('=') {
                Some((name, value)) => sets.push((name.to_owned(), value.to_owned())),
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    match run_command(port, control_port, &sets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(match error {
                RunError::Set(_) => 64,
                RunError::File(..) => 77,
                RunError::Start(_) | RunError::Io(_) => 69,
            })
        }
    }
}
