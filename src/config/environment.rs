//! What the configuration needs of the process's surroundings, read once.
//!
//! Passed in rather than read where it is needed, so that tests run in parallel.

use std::path::PathBuf;

/// The surroundings in which paths and credentials are resolved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Environment {
    /// `$CREDENTIALS_DIRECTORY`, where systemd puts credentials.
    pub credentials_directory: Option<PathBuf>,
    /// The first of `$STATE_DIRECTORY`, where the database lies.
    pub state_directory: Option<PathBuf>,
    /// The working directory; empty if there is none.
    pub working_directory: PathBuf,
    /// The gateway is about to run as this user; else somebody looks, maybe on its behalf.
    pub runs: bool,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Environment {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        Environment {
            credentials_directory: path("CREDENTIALS_DIRECTORY"),
            // Several are separated by colons; the unit names one.
            state_directory: path("STATE_DIRECTORY").map(|p| match p.to_str() {
                Some(list) => PathBuf::from(list.split(':').next().unwrap_or(list)),
                None => p,
            }),
            working_directory: std::env::current_dir().unwrap_or_default(),
            runs: false,
        }
    }
}
