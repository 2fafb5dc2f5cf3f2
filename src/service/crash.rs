//! A panic is a defect of ours: say where, and end with the exit code that says so.
//!
//! The whole process ends, whichever thread panicked: what is committed is
//! safe, and a gateway with a thread missing would only look alive.
//!
//! Invariant: no value of a panic's message reaches the log above debug level.

use super::{ExitCode, logging};

/// Sets the hook; once, at the start.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        let said = format!("defect: thread {thread} stopped at {place}; please report this line");
        if logging::started() {
            log::error!("{said}");
            log::debug!("defect: {info}");
            logging::flush();
        } else {
            super::output::complain(&said);
        }
        std::process::exit(i32::from(ExitCode::Software.number()));
    }));
}
