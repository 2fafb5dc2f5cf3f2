//! Why the daemon did not start, and what its exit code says of that.
//!
//! Invariant: a cause that a person can mend is not called our bug.

use std::io;

use crate::service::ExitCode;
use crate::shell::forward::StartError as ForwardError;
use filing::template::TemplateError;
use notifications::tls::TlsError;
use store::StoreError;

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The store cannot be opened.
    Store(StoreError),
    /// An address cannot be bound.
    Listen(String, io::Error),
    /// Certificates that cannot be used together.
    Tls(TlsError),
    /// The body template.
    Template(TemplateError),
    /// The forwarders.
    Forward(ForwardError),
    /// Roots, signing key; a sentence.
    Outside(String),
    /// Threads or descriptors.
    Environment(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Store(e) => write!(f, "{e}"),
            StartError::Listen(at, e) => write!(f, "cannot listen on {at}: {e}"),
            StartError::Tls(e) => write!(f, "{e}"),
            StartError::Template(e) => write!(f, "[history] template-file: {e}"),
            StartError::Forward(e) => write!(f, "{e}"),
            StartError::Outside(e) => f.write_str(e),
            StartError::Environment(e) => {
                write!(f, "the system gives no thread or descriptor: {e}")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The exit code (design, section 6).
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            StartError::Store(e) => match e.exit_code() {
                75 => ExitCode::Busy,
                77 => ExitCode::NoPermission,
                78 => ExitCode::Configuration,
                _ => ExitCode::Software,
            },
            StartError::Listen(..) | StartError::Environment(_) => ExitCode::Unavailable,
            StartError::Tls(_)
            | StartError::Template(_)
            | StartError::Forward(_)
            | StartError::Outside(_) => ExitCode::Configuration,
        }
    }
}
