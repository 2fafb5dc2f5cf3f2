//! What can be wrong with a configuration, said so that a person can act on it.
//!
//! Invariant: nothing here shows a secret; values arrive already redacted.

use std::fmt;
use std::path::PathBuf;

use crate::service::ExitCode;

/// One thing that has to be put right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Full dotted name of the key.
    pub key: String,
    /// Line of the file, from 1, if the file names the key.
    pub line: Option<usize>,
    /// The value as far as it may be shown.
    pub value: Option<String>,
    /// What the value has to be, completing "this ...".
    pub rule: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The cause is a file that this user may not read (exit code 77 instead of 78).
    pub forbidden: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ": {}", self.rule)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// Something that works and is probably not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// Full dotted name of the key, or the path of the file itself.
    pub key: String,
    /// What is odd, and what to do.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// A place where the file is not TOML.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What the parser expected there. Never the line itself: it may hold a secret.
    pub message: String,
}

/// Why there is no configuration. The operator is to blame for all of them,
/// except an environment that cannot read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// There is no such file.
    Missing {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// The file is there and this user may not read it.
    Forbidden {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// Neither missing nor forbidden: a directory, too large, a failing disk.
    Unreadable {
        /// The file that was asked for.
        path: PathBuf,
        /// Why, completing "the file ...".
        why: String,
    },
    /// Not TOML; every place where the parser stumbled, at least one.
    NotToml {
        /// The file that was read.
        path: PathBuf,
        /// In the order of the file.
        errors: Vec<SyntaxError>,
    },
    /// TOML with problems; all of them, at least one.
    Problems {
        /// The file that was read.
        path: PathBuf,
        /// In the order of the manual page, unknown keys first.
        problems: Vec<Problem>,
        /// What would have been warned about besides.
        warnings: Vec<Warning>,
    },
}

impl ConfigError {
    /// 77 where only permissions are missing, 78 otherwise (design, section 6).
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ConfigError::Forbidden { .. } => ExitCode::NoPermission,
            ConfigError::Problems { problems, .. } if problems.iter().all(|p| p.forbidden) => {
                ExitCode::NoPermission
            }
            _ => ExitCode::Configuration,
        }
    }

    /// The report, one line per problem.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            ConfigError::Missing { path } => vec![format!(
                "{}: there is no such file; name another with --config PATH",
                path.display()
            )],
            ConfigError::Forbidden { path } => vec![format!(
                "{}: this user may not read the file",
                path.display()
            )],
            ConfigError::Unreadable { path, why } => {
                vec![format!("{}: the file {why}", path.display())]
            }
            ConfigError::NotToml { path, errors } => errors
                .iter()
                .map(|e| {
                    format!(
                        "{}:{}:{}: not TOML: {}",
                        path.display(),
                        e.line,
                        e.column,
                        e.message
                    )
                })
                .collect(),
            ConfigError::Problems { path, problems, .. } => problems
                .iter()
                .map(|p| format!("{}: {p}", path.display()))
                .collect(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigError {}
