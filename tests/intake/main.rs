//! Guards the intake listener as callers see it (design, section 3), over real
//! sockets, with the port in memory: every documented answer of `openapi.json`
//! is provoked and held against its schema, nothing else is answered, and a
//! refused request leaves the state as it was.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "../listeners/client.rs"]
mod client;
#[path = "../listeners/memory_port.rs"]
mod memory_port;

mod callers;
mod description;
mod events;
mod news;
mod page_tokens;
mod tls;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::ids::ConversationId;
use base::secret::Secret;
use client::{Got, call, connect, raw, read_answer, request};
use genesys_gateway::shell::board::Board;
use genesys_gateway::shell::gate::GateLimits;
use genesys_gateway::shell::http::assets::{Asset, Made, Pages};
use genesys_gateway::shell::http::auth::{Tokens, sha256};
use genesys_gateway::shell::http::cors::Origins;
use genesys_gateway::shell::http::desktop::DesktopSettings;
use genesys_gateway::shell::http::intake::{self, IntakeSettings, OPENAPI};
use genesys_gateway::shell::http::json::Pointer;
use genesys_gateway::shell::http::page_tokens::PageTokens;
use genesys_gateway::shell::http::served::Served;
use genesys_gateway::shell::port::{CallerRequest, InteractionView};
use genesys_gateway::shell::server_tls::ServerTls;
use memory_port::{ACCEPTED_AT, MemoryPort, record_view};

const ID: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47";
const OTHER_ID: &str = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c48";
const INTERACTIONS: &str = "/customers/supportInteraction";
const RESULTS: &str = "/customers/supportResult";
const EVENTS: &str = "/events/after-call-work";
const TOKEN: &str = "/agent-desktop/token";
const NEWS: &str = "/agent-desktop/news";
const JSON: (&str, &str) = ("Content-Type", "application/json");

static ASSETS: [Asset; 2] = [
    Asset {
        path: "/agent-desktop/",
        content_type: "text/html; charset=utf-8",
        body: b"<!doctype html><title>page</title>",
    },
    Asset {
        path: "/agent-desktop/page.js",
        content_type: "text/javascript",
        body: b"export {};",
    },
];

const POLICY: &str = "default-src 'none'; frame-ancestors https://desktop.example";

struct House {
    address: SocketAddr,
    port: Arc<MemoryPort>,
    served: Served,
}

#[derive(Default)]
struct With {
    tokens: &'static [&'static str],
    origins: &'static [&'static str],
    id_at: Option<&'static str>,
    accepts_per_minute: u32,
    no_page: bool,
    tls: Option<ServerTls>,
    /// For a head, if not the usual time.
    head: Option<Duration>,
    desktop: Option<DesktopSettings>,
    port: Option<Arc<MemoryPort>>,
}

fn house(with: With) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = with.port.unwrap_or_default();
    let secrets: Vec<_> = with.tokens.iter().map(|t| Secret::new(*t)).collect();
    let settings = IntakeSettings {
        listener: listener.into(),
        tls: with.tls,
        tokens: (!secrets.is_empty()).then(|| Tokens::new(&secrets)),
        origins: Origins::new(with.origins.iter().map(|o| (*o).to_owned())),
        conversation_id_at: Pointer::parse(with.id_at.unwrap_or("/conversationId")).unwrap(),
        accepts_per_minute: with.accepts_per_minute,
        pages: match with.no_page {
            true => Pages::default(),
            false => Pages::new(
                &ASSETS,
                vec![Made {
                    path: "/agent-desktop/config.json",
                    content_type: "application/json",
                    body: String::from("{\"desktopOrigins\":[]}"),
                }],
                String::from(POLICY),
            ),
        },
        desktop: with.desktop,
        limits: GateLimits {
            held: 16,
            head: with.head.unwrap_or(GateLimits::default().head),
            ..GateLimits::default()
        },
        private_parent: None,
    };
    House {
        address,
        port: Arc::clone(&port),
        served: intake::start(settings, port).unwrap(),
    }
}

impl House {
    fn served(&self) -> &Served {
        &self.served
    }

    /// How many connections were left.
    fn stop(self) -> usize {
        self.served.stop(Duration::from_secs(5))
    }

    fn post(&self, path: &str, body: &str) -> Got {
        call(self.address, "POST", path, &[JSON], body.as_bytes())
    }

    fn get(&self, path: &str) -> Got {
        call(self.address, "GET", path, &[], b"")
    }
}

fn id() -> ConversationId {
    ID.parse().unwrap()
}

fn with_id(rest: &str) -> String {
    format!("{{\"conversationId\":\"{ID}\"{rest}}}")
}

/// The page may ask for tokens of that lifetime, and for news.
fn desktop(lifetime: Option<Duration>, board: &Arc<Board>) -> Option<DesktopSettings> {
    Some(DesktopSettings {
        tokens: lifetime.map(|lifetime| PageTokens::living(lifetime).unwrap()),
        board: Arc::clone(board),
    })
}
