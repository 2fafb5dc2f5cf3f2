//! The word `demo`: the whole thing on one machine, within a minute.
//!
//! Platform simulator, history receiver and gateway, over real sockets and real
//! files; a few hundred conversations with a maintenance close of every socket
//! and a restart of the history receiver in the middle; then an account of what
//! was filed, lost and doubled. Invariant: the exit code is 0 only if nothing was
//! lost or doubled.
//!
//! With `--desktop` it keeps running instead, with the desktop simulator (`desktop`).

mod desktop;
mod receiver;
mod report;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::DemoOptions;
use crate::config::Config;
use crate::service::ExitCode;
use crate::service::output::{Output, complain};
use crate::shell::daemon::{Daemon, Inherited};
use crate::shell::private::PrivateDirectory;
use base::rng::Rng;
use base::rows::InteractionState;
use receiver::{Book, Receiver};
use report::{Leg, Report};
use simulator::model::{Control, Fault, Life};

/// Conversations of one demo.
const CONVERSATIONS: usize = 300;

/// All of them are accepted within about this time.
const ARRIVALS: Duration = Duration::from_secs(14);

/// How long the history receiver is away.
const OUTAGE: Duration = Duration::from_secs(3);

/// The whole demo takes no longer.
const PATIENCE: Duration = Duration::from_secs(55);

/// Runs the demo.
#[must_use]
pub fn demo(options: &DemoOptions) -> ExitCode {
    if options.desktop {
        return desktop::demo();
    }
    match run() {
        Ok(report) => {
            let mut out = Output;
            for line in report.lines() {
                // A closed output changes nothing about the result.
                let _ = writeln!(out, "{line}");
            }
            if report.good() {
                ExitCode::Done
            } else {
                ExitCode::Software
            }
        }
        Err(error) => {
            complain(&format!("demo: {error}"));
            ExitCode::Unavailable
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run() -> Result<Report, Failure> {
    let began = Instant::now();
    let scratch = PrivateDirectory::make(&std::env::temp_dir(), "genesys-gateway-demo")?;
    let mut options = simulator::Options::default();
    // The larger of the two figures that are quoted (protocol, section 7): so that the
    // ends of all conversations are seen within the minute as well.
    options.settings.switches.rest_per_minute = 3000;
    let platform = simulator::start(options)?;
    let book: Book = Arc::new(Mutex::new(BTreeMap::new()));
    let (first, address) = Receiver::start(0, book.clone())?;
    let mut history = Some(first);
    let config = configuration(scratch.path(), &platform, address.port(), "")?;
    let daemon = Daemon::start(&config, Inherited::default())?;
    let url = format!("http://{}/customers/supportInteraction", daemon.http_at());

    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} filed, {elapsed}  {msg}")
    {
        bar.set_style(style);
    }
    bar.set_message("starting");
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let mut rng = Rng::new(1);
    let mut accepted = 0;
    let mut noticed = false;
    let load_began = Instant::now();
    while began.elapsed() < PATIENCE {
        let passed = load_began.elapsed();
        let due = (CONVERSATIONS as u128 * passed.as_millis() / ARRIVALS.as_millis()) as usize;
        while accepted < due.min(CONVERSATIONS) {
            begin_one(&platform, &agent, &url, &mut rng, accepted)?;
            accepted += 1;
        }
        if !noticed && passed >= ARRIVALS / 3 {
            noticed = true;
            bar.set_message("maintenance: the platform announces to close every socket");
            let fault = Fault::Closing {
                channel: "all".into(),
            };
            platform
                .model()
                .with(|p, now| p.control(&Control::Fault { fault }, now))
                .map_err(|e| e.to_string())?;
        }
        if passed >= ARRIVALS / 2 && passed < ARRIVALS / 2 + OUTAGE {
            if let Some(running) = history.take() {
                bar.set_message("the history receiver restarts");
                running.stop();
            }
        } else if passed >= ARRIVALS / 2 + OUTAGE && history.is_none() {
            history = Receiver::start(address.port(), book.clone())
                .ok()
                .map(|(r, _)| r);
            bar.set_message("the history receiver is back");
        }
        let happened: usize = truth(&platform).values().sum();
        let filed = book.lock().unwrap_or_else(PoisonError::into_inner).len();
        bar.set_length(happened as u64);
        bar.set_position(filed as u64);
        let ended = daemon.snapshot().interaction(InteractionState::Finished);
        if accepted == CONVERSATIONS && ended == CONVERSATIONS as u64 && filed >= happened {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bar.finish_and_clear();
    let truth = truth(&platform);
    daemon.stop();
    let book = book.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Report::new(accepted, &truth, &book))
}

/// One conversation begins on the platform, and the BOFE tells the gateway.
fn begin_one(
    platform: &simulator::Running,
    agent: &ureq::Agent,
    url: &str,
    rng: &mut Rng,
    n: usize,
) -> Result<(), Failure> {
    let life = Life {
        agents: if rng.chance(20) { 2 } else { 1 },
        talk_ms: 2000 + rng.below(4000),
        acw_ms: 500 + rng.below(2500),
        ..Life::default()
    };
    let started = platform
        .model()
        .with(|p, now| p.control(&Control::Life(life), now))
        .map_err(|e| e.to_string())?;
    let body = json!({
        "conversationId": started["conversation"],
        "customerNumber": format!("C-{n:06}"),
        "topic": "demo",
    });
    let answer = agent
        .post(url)
        .header("Content-Type", "application/json")
        .send(body.to_string())?;
    if answer.status().as_u16() != 202 {
        return Err(format!("the gateway answered {}", answer.status()).into());
    }
    Ok(())
}

/// The wrap-ups that happened so far, by leg.
fn truth(platform: &simulator::Running) -> BTreeMap<Leg, usize> {
    let mut legs = BTreeMap::new();
    for w in platform.model().platform().truth().wrap_ups() {
        let leg = (
            w.conversation.to_string(),
            w.participant.to_string(),
            w.session.to_string(),
        );
        *legs.entry(leg).or_default() += 1;
    }
    legs
}

/// A configuration as an operator would write it.
fn configuration(
    at: &Path,
    platform: &simulator::Running,
    history: u16,
    more: &str,
) -> Result<Config, Failure> {
    let secret = at.join("client-secret");
    std::fs::write(&secret, &platform.client_secret)?;
    let file = at.join("gateway.toml");
    let text = format!(
        r#"[http]
listen = "127.0.0.1:0"
[status]
listen = "127.0.0.1:0"
[genesys]
login-url = "{login}"
api-url = "{api}"
[genesys.oauth]
grant = "client-credentials"
client-id = "{id}"
client-secret-file = "client-secret"
[history]
url = "http://127.0.0.1:{history}/communications"
[store]
path = "{db}"
{more}"#,
        login = platform.login_url,
        api = platform.api_url,
        id = platform.client_id,
        db = at.join("gateway.db").display(),
    );
    std::fs::write(&file, text)?;
    let (config, _) = Config::load(&file).map_err(|e| e.lines().join("; "))?;
    Ok(config)
}
