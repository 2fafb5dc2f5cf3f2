//! The exit codes, in one place.
//!
//! Invariant: the numbers are those of `sysexits.h` and of the unit file's
//! `RestartPreventExitStatus=`; they do not change.

/// How the process ends (design, section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// Stopped on request, or the command did what was asked.
    Done = 0,
    /// The answer is no: an id is unknown, or in a state in which the act makes no sense.
    Refused = 1,
    /// The command line makes no sense.
    Usage = 64,
    /// Something that is needed is not there: the daemon, the platform, an address.
    Unavailable = 69,
    /// A bug of ours, or a store beyond help.
    Software = 70,
    /// Another instance holds the database.
    Busy = 75,
    /// A file that this user may not read.
    NoPermission = 77,
    /// The configuration, a missing file included.
    Configuration = 78,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn the_numbers_are_those_that_units_and_scripts_rely_on() {
        let table = [
            (ExitCode::Done, 0),
            (ExitCode::Refused, 1),
            (ExitCode::Usage, 64),
            (ExitCode::Unavailable, 69),
            (ExitCode::Software, 70),
            (ExitCode::Busy, 75),
            (ExitCode::NoPermission, 77),
            (ExitCode::Configuration, 78),
        ];
        for (code, number) in table {
            assert_eq!(code.number(), number);
        }
    }
}
