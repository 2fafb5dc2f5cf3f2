//! Where a SAML assertion comes from at run time: a file, a command, or the
//! gateway's own signature (design, section 4, `[genesys.oauth.assertion]`).
//!
//! Blocking: a command may take [`COMMAND_LIMIT`]. Runs on a REST thread, never
//! on the loop. Nothing is kept from one request to the next, because an
//! assertion is good for one token.
//!
//! Invariant: what comes out is base64 of at most [`ASSERTION_MAX`] bytes, and
//! no error shows any of it. No process of a command outlives the call, unless
//! it has left its process group.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};

use self::command::Ended;
use crate::redaction;
use crate::saml::{AssertionSettings, SamlError, Signer};
use base::blame::Blame;
use base::plain::discreet;
use base::secret::Secret;
use base::time::Wall;

mod command;
#[cfg(test)]
mod tests;

/// The largest assertion, in bytes of base64. Real ones have 5 to 20 KiB.
pub const ASSERTION_MAX: usize = 256 * 1024;

/// How long a command may take (design, section 4).
pub const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// A command's complaint is cut to this many characters.
const COMPLAINT_MAX: usize = 200;

/// One of the three sources.
pub enum AssertionSource {
    /// Holds the base64 `SAMLResponse`; read anew at every request.
    File(PathBuf),
    /// Prints it; program and arguments, no shell.
    Command(Vec<String>),
    /// The gateway signs it.
    Signed {
        /// Key and certificate.
        signer: Box<Signer>,
        /// What the assertion says.
        settings: AssertionSettings,
    },
}

/// Only the program of a command is shown: arguments may be anything.
impl fmt::Debug for AssertionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.origin(), f)
    }
}

impl AssertionSource {
    /// A fresh assertion.
    ///
    /// # Errors
    /// Which source failed, and why.
    pub fn obtain(&self, now: Wall) -> Result<Secret, AssertionError> {
        match self {
            AssertionSource::File(path) => file(path).and_then(assertion),
            AssertionSource::Command(argv) => output(argv, COMMAND_LIMIT).and_then(assertion),
            AssertionSource::Signed { signer, settings } => {
                let mut ids = [0; 32];
                SystemRandom::new()
                    .fill(&mut ids)
                    .map_err(|_| Cause::NoRandomness)
                    .and_then(|()| {
                        signer
                            .response(settings, now, ids)
                            .map_err(Cause::NotSigned)
                    })
            }
        }
        .map_err(|cause| AssertionError {
            origin: self.origin(),
            cause,
        })
    }

    fn origin(&self) -> Origin {
        match self {
            AssertionSource::File(path) => Origin::File(path.clone()),
            AssertionSource::Command(argv) => {
                Origin::Command(argv.first().cloned().unwrap_or_default())
            }
            AssertionSource::Signed { .. } => Origin::Signed,
        }
    }
}

/// The contents of a regular file, within bounds.
fn file(path: &Path) -> Result<Vec<u8>, Cause> {
    let unreadable = |e: io::Error| Cause::Unreadable(e.kind());
    let file = OpenOptions::new()
        .read(true)
        // A pipe without a writer would block the open for ever.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Cause::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(ASSERTION_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > ASSERTION_MAX {
        return Err(Cause::TooLarge);
    }
    Ok(bytes)
}

/// What a command prints, if it ends well and in time.
fn output(argv: &[String], limit: Duration) -> Result<Vec<u8>, Cause> {
    let run = command::run(argv, environment(std::env::vars_os()), limit, ASSERTION_MAX);
    let complaint = || {
        let text = String::from_utf8_lossy(&run.complaint);
        let line = text.lines().find(|l| !l.trim().is_empty());
        discreet(&redaction::foreign(line.unwrap_or_default()), COMPLAINT_MAX)
    };
    match run.ended {
        Ended::Well if run.printed.iter().all(u8::is_ascii_whitespace) => Err(Cause::Failed {
            how: "printed nothing".into(),
            complaint: complaint(),
        }),
        Ended::Well => Ok(run.printed),
        Ended::Badly(status) => Err(Cause::Failed {
            // Reads "exit status: 3" or "signal: 9 (SIGKILL)".
            how: format!("ended with {status}"),
            complaint: complaint(),
        }),
        Ended::NotStarted(kind) => Err(Cause::NotStarted(kind)),
        Ended::TimedOut => Err(Cause::Failed {
            how: format!(
                "did not end within {} s and was killed",
                limit.as_secs_f32()
            ),
            complaint: complaint(),
        }),
        Ended::TooMuch => Err(Cause::TooLarge),
        Ended::Lost(kind) => Err(Cause::Lost(kind)),
    }
}

/// What a command gets of our environment: enough to find programs, roots and
/// its own credentials. Everything else stays here, proxies included, because
/// their URLs may hold passwords. `CREDENTIALS_DIRECTORY` is a path; the
/// command, being of the same user, could read it anyway.
const PASSED_ON: [&str; 10] = [
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
];

fn environment(ours: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    ours.filter(|(name, _)| PASSED_ON.iter().any(|n| name == n))
        .collect()
}

/// Checks that the bytes are base64. White space around and within is dropped:
/// many tools break lines, which says nothing about the content.
fn assertion(bytes: Vec<u8>) -> Result<Secret, Cause> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    let not = |found| Err(Cause::NotBase64(found));
    if text.is_empty() {
        return Err(Cause::Empty);
    }
    if text.starts_with(b"<") {
        return not("is XML; it must be encoded in base64");
    }
    if STANDARD.decode(&text).is_err() {
        return not(if text.contains(&b'%') {
            "is percent-encoded; it must be plain base64"
        } else if text.contains(&b'-') || text.contains(&b'_') {
            "uses the URL-safe alphabet; it must be plain base64"
        } else {
            "is not base64, or is cut off"
        });
    }
    match String::from_utf8(text) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => not("is not base64"),
    }
}

/// Which source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The file.
    File(PathBuf),
    /// The command; its program alone.
    Command(String),
    /// The gateway's own signature.
    Signed,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "assertion file {}", path.display()),
            Origin::Command(program) => write!(f, "assertion command {program}"),
            Origin::Signed => f.write_str("signed assertion"),
        }
    }
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The file cannot be opened or read.
    Unreadable(io::ErrorKind),
    /// A directory, pipe or device stands at the path.
    NotAFile,
    /// More than [`ASSERTION_MAX`] bytes.
    TooLarge,
    /// Nothing but white space.
    Empty,
    /// Something else than base64; what it looks like.
    NotBase64(&'static str),
    /// The program cannot be started.
    NotStarted(io::ErrorKind),
    /// The program ended badly, too late or without printing anything.
    Failed {
        /// How it ended.
        how: String,
        /// The first line of its standard error, made printable; possibly empty.
        complaint: String,
    },
    /// The system failed us while the program ran.
    Lost(io::ErrorKind),
    /// The gateway could not sign.
    NotSigned(SamlError),
    /// The system gave no random bytes.
    NoRandomness,
}

/// Why there is no assertion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssertionError {
    /// Which source failed.
    pub origin: Origin,
    /// Why.
    pub cause: Cause,
}

impl AssertionError {
    /// A short stable label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.cause {
            Cause::Unreadable(_) | Cause::NotAFile => "assertion-unreadable",
            Cause::TooLarge => "assertion-too-large",
            Cause::Empty => "assertion-empty",
            Cause::NotBase64(_) => "assertion-not-base64",
            Cause::NotStarted(_) => "assertion-command-not-started",
            Cause::Failed { .. } => "assertion-command-failed",
            Cause::Lost(_) | Cause::NoRandomness => "assertion-system-error",
            Cause::NotSigned(_) => "assertion-not-signed",
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match &self.cause {
            Cause::Lost(_) | Cause::NoRandomness => Blame::Environment,
            Cause::NotSigned(e) => e.blame(),
            // A fetching program fails mostly because what it calls is down.
            Cause::Failed { .. } => Blame::Environment,
            Cause::Unreadable(kind) | Cause::NotStarted(kind) => match kind {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput => Blame::Operator,
                _ => Blame::Environment,
            },
            Cause::NotAFile | Cause::TooLarge | Cause::Empty | Cause::NotBase64(_) => {
                Blame::Operator
            }
        }
    }

    /// Whether the next try may well succeed by itself: a file may be in the
    /// middle of its replacement, and a command may have had a bad moment.
    #[must_use]
    pub fn retry_soon(&self) -> bool {
        !matches!(
            self.cause,
            Cause::NotAFile | Cause::NotStarted(_) | Cause::NotSigned(_)
        )
    }
}

impl fmt::Display for AssertionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.origin)?;
        match &self.cause {
            Cause::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            Cause::NotAFile => f.write_str("is not a regular file"),
            Cause::TooLarge => write!(f, "gives more than {} KiB", ASSERTION_MAX / 1024),
            Cause::Empty => f.write_str("is empty"),
            Cause::NotBase64(found) => f.write_str(found),
            Cause::NotStarted(kind) => write!(f, "cannot be started: {kind}"),
            Cause::Failed { how, complaint } if complaint.is_empty() => f.write_str(how),
            Cause::Failed { how, complaint } => write!(f, "{how}; it says: \"{complaint}\""),
            Cause::Lost(kind) => write!(f, "could not be followed to its end: {kind}"),
            Cause::NotSigned(e) => write!(f, "cannot be made: {e}"),
            Cause::NoRandomness => f.write_str("cannot be made: the system gives no random bytes"),
        }
    }
}

impl std::error::Error for AssertionError {}
