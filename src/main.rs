//! The process: what has to be done before threads exist, then the command line.

use genesys_gateway::cli::{Bodies, ExitCode, SimulateOptions};
use genesys_gateway::service::activation::Activated;
use genesys_gateway::{cli, service};
use simulator::RunError;

fn main() -> std::process::ExitCode {
    // First, while there is one thread: this takes variables out of the environment.
    let activated = match Activated::take() {
        Ok(activated) => activated,
        Err(error) => {
            service::output::complain(&error.to_string());
            return ExitCode::Configuration.into();
        }
    };
    service::crash::install();
    // Fails only if a provider is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = cli::main(std::env::args_os(), activated, &BODIES);
    service::logging::flush();
    code.into()
}

/// Dispatch points of the words whose bodies live elsewhere.
const BODIES: Bodies = Bodies {
    run: genesys_gateway::run::run,
    check: genesys_gateway::run::check,
    check_online: genesys_gateway::run::check_online,
    listen: genesys_gateway::listen::listen,
    demo: genesys_gateway::demo::demo,
    simulate,
};

fn simulate(options: &SimulateOptions) -> ExitCode {
    let sets: Vec<(String, String)> = options
        .set
        .iter()
        .map(|s| (s.name.clone(), s.value.clone()))
        .collect();
    match simulator::run_command(options.port, options.control_port, &sets) {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            service::output::complain(&error.to_string());
            match error {
                RunError::Set(_) => ExitCode::Usage,
                RunError::File(..) => ExitCode::NoPermission,
                RunError::Start(_) | RunError::Io(_) => ExitCode::Unavailable,
            }
        }
    }
}
