//! `demo --desktop`: the whole thing with a simulated desktop that embeds the page, for people
//! and browsers; it runs until it is stopped.
//!
//! Two origins, as in earnest: the desktop on its own port, the page on the gateway's. What an
//! agent does with a contact in the desktop the simulated platform is told over [`server`].
//!
//! Invariant: the line with the address is printed after everything answers.

mod files;
mod people;
mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::receiver::{Book, Receiver};
use super::{Failure, configuration};
use crate::service::ExitCode;
use crate::service::output::{Output, complain};
use crate::shell::daemon::{Daemon, Inherited};
use crate::shell::gate::GateLimits;
use crate::shell::http::assets::Pages;
use crate::shell::http::cors::Origins;
use crate::shell::http::served::{Handler, Served, ServedSettings};
use crate::shell::private::PrivateDirectory;
use people::People;
use server::Desktop;

/// For answers that are under way when it is stopped.
const STOP: Duration = Duration::from_secs(1);

/// Runs it until SIGTERM or SIGINT.
pub(super) fn demo() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            complain(&format!("demo: {error}"));
            ExitCode::Unavailable
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let scratch = PrivateDirectory::make(&std::env::temp_dir(), "genesys-gateway-demo")?;
    let mut options = simulator::Options::default();
    options.settings.switches.rest_per_minute = 3000;
    let platform = Arc::new(simulator::start(options)?);
    let book: Book = Arc::new(Mutex::new(BTreeMap::new()));
    let (history, address) = Receiver::start(0, book.clone())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let desktop = format!("http://{}", listener.local_addr()?);
    let page = format!(
        "[agent-desktop]\ndesktop-origins = [\"{desktop}\"]\nrecording = true\ndial = true\n"
    );
    let config = configuration(scratch.path(), &platform, address.port(), &page)?;
    let daemon = Daemon::start(&config, Inherited::default())?;
    let intake = format!("http://{}", daemon.http_at());
    let handler: Arc<dyn Handler> = Arc::new(Desktop {
        pages: Pages::new(files::ASSETS, Vec::new(), files::policy(&intake)),
        setup: server::setup(&intake, &desktop),
        people: People::new(platform.clone()),
        history: book,
        mood: history.mood(),
    });
    let limits = GateLimits {
        in_flight: 4,
        ..GateLimits::default()
    };
    let served = Served::start(
        ServedSettings {
            listener: listener.into(),
            tls: None,
            name: "desktop",
            workers: limits.in_flight,
            limits,
            private_parent: None,
            origins: Origins::default(),
        },
        &handler,
    )?;
    let mut out = Output;
    // Whoever does not read the line has found the address otherwise.
    let _ = writeln!(out, "desktop: {desktop}/");
    let _ = out.flush();
    let _ = signals.forever().next();
    served.stop(STOP);
    daemon.stop();
    history.stop();
    drop(handler);
    if let Some(platform) = Arc::into_inner(platform) {
        platform.stop();
    }
    Ok(())
}
