//! A platform and a history manager at names of their own, over TLS, perhaps behind a proxy.

use std::path::Path;

use crate::support::authority::{Issued, server};
use crate::support::{Authority, History, Middlebox, Platform, Setup, Shim, Time};

/// Host of the API; the domain is `gateway.test`.
pub(crate) const API: &str = "api.gateway.test";
/// Host of the sockets.
pub(crate) const STREAMING: &str = "streaming.gateway.test";
/// Host of the history manager.
pub(crate) const HISTORY: &str = "history.gateway.test";

/// Every name that is used here.
pub(crate) const NAMES: &str = "DNS:*.gateway.test,DNS:localhost,IP:127.0.0.1";

pub(crate) const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

/// The world: both servers over TLS with what `shown` says, and a gateway's setup for it.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) history: History,
    pub(crate) authority: Authority,
    /// REST and login.
    pub(crate) api: Middlebox,
    /// Sockets.
    pub(crate) streaming: Middlebox,
    pub(crate) setup: Setup,
}

/// What each of the three shows.
pub(crate) struct Shown {
    pub(crate) api: Issued,
    pub(crate) streaming: Issued,
    pub(crate) history: Issued,
}

impl World {
    /// All good.
    pub(crate) fn good() -> World {
        World::showing(|authority| {
            let good = authority.issue("good", NAMES, Time::Now);
            Shown {
                api: good.clone(),
                streaming: good.clone(),
                history: good,
            }
        })
    }

    /// With these certificates.
    pub(crate) fn showing(shown: impl FnOnce(&Authority) -> Shown) -> World {
        let authority = Authority::named("authority-of-the-world");
        let shown = shown(&authority);
        let (platform, history) = (Platform::start(), History::start());
        let plain = &platform.0.api_url;
        let tls = |shown: &Issued| Some(server(shown, None, BOTH));
        let streaming = Middlebox::before(plain, tls(&shown.streaming), |_| {});
        let leads = format!("wss://{STREAMING}:{}", streaming.port);
        let api = Middlebox::before(plain, tls(&shown.api), |m| m.streaming = Some(leads));
        let filing = Middlebox::before(&history.url, tls(&shown.history), |_| {});
        let mut setup = Setup::new(&platform, &history);
        setup.env("RUST_LOG", "debug");
        let world_url = |host: &str, port: u16| format!("https://{host}:{port}");
        let url = world_url(API, api.port);
        setup.set("genesys", &format!("api-url = \"{url}\""));
        setup.set("genesys", &format!("login-url = \"{url}\""));
        let url = world_url(HISTORY, filing.port);
        setup.set("history", &format!("url = \"{url}/communications\""));
        let mut world = World {
            platform,
            history,
            authority,
            api,
            streaming,
            setup,
        };
        let file = world.authority.file();
        world.trust("genesys", &file);
        world.trust("history", &file);
        world
    }

    /// The section's `ca-file`: a copy that a test may replace.
    pub(crate) fn trust(&mut self, section: &str, authority: &Path) {
        let name = format!("{section}-ca.pem");
        let pem = std::fs::read_to_string(authority).unwrap();
        self.setup.write(&name, &pem);
        self.setup.set(section, &format!("ca-file = \"./{name}\""));
    }

    /// Names without a name server: all lead here. Nothing where there is no C compiler.
    pub(crate) fn named(&mut self) -> Option<Shim> {
        let shim = Shim::preload(&mut self.setup)?;
        for name in [API, STREAMING, HISTORY] {
            shim.name(name, &["127.0.0.1"]);
        }
        Some(shim)
    }
}
