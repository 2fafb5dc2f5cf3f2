//! The process: what has to be done before threads exist, then the command line.

use std::io::Write;

use genesys_gateway::cli::{Bodies, ExitCode};
use genesys_gateway::service::activation::Activated;
use genesys_gateway::{cli, service};

fn main() -> std::process::ExitCode {
    // First, while there is one thread: this takes variables out of the environment.
    let activated = match Activated::take() {
        Ok(activated) => activated,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "genesys-gateway: {error}");
            return ExitCode::Configuration.into();
        }
    };
    service::crash::install();
    // Fails only if a provider is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::main(std::env::args_os(), activated, &BODIES).into()
}

/// Dispatch points of the words whose bodies live elsewhere.
const BODIES: Bodies = Bodies {
    run: genesys_gateway::run::run,
    check_online: genesys_gateway::run::check_online,
    demo: || not_built_in("demo"),
    simulate: |_options| not_built_in("simulate"),
};

fn not_built_in(word: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "genesys-gateway: {word} is not built in");
    ExitCode::Software
}
