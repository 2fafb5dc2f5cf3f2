//! The intake listener: what callers may ask of the gateway (design, section 3).
//!
//! Order of the checks: path, preflight, token (or host, without one), method, media type, JSON, shape.
//! Only a request that passed them all reaches the [`Port`].
//!
//! Invariant: a refused request changes nothing; a 2xx is given only for an
//! outcome that the port reports, which is committed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::{
    answered, bad_id, busy, no_tokens, nowhere, unknown, unknown_interaction, unreadable,
    wrong_method,
};
use super::assets::Pages;
use super::auth::{self, Tokens, sha256};
use super::cors::Origins;
use super::desktop::{Desktop, DesktopSettings};
use super::event;
use super::exchange::{Exchange, Reply};
use super::host;
use super::json::{self, Document, Flaw, Pointer};
use super::page_tokens::{self, Chain, PageTokens};
use super::quota::{self, Quota};
use super::served::{Handler, Served, ServedSettings};
use super::view;
use crate::agent_desktop::{NEWS_PATH, REPORTS, TOKEN_PATH};
use crate::shell::gate::{GateLimits, Held, Listener};
use crate::shell::port::{Answer, CallerRequest, Port};
use crate::shell::problem::Problem;
use crate::shell::server_tls::ServerTls;
use base::foreign;
use base::ids::ConversationId;
use notifications::clock::Clock;
use notifications::seldom::Seldom;

/// The description of this listener, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../openapi.json");

const KEY_LEN_MAX: usize = 255;
pub(super) const INTERACTIONS: &str = "/customers/supportInteraction";
const RESULTS: &str = "/customers/supportResult";
const EVENTS: &str = "/events/after-call-work";

/// What the intake needs to start.
#[derive(Debug)]
pub struct IntakeSettings {
    /// The public listener, bound already.
    pub listener: Listener,
    /// TLS; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// The tokens of callers; none means that nobody is asked for one.
    pub tokens: Option<Tokens>,
    /// Origins of pages that may call.
    pub origins: Origins,
    /// Where callers put the conversation id.
    pub conversation_id_at: Pointer,
    /// New conversations that one token, or one peer, may report in a minute; 0 is no quota.
    pub accepts_per_minute: u32,
    /// The page of Agent Desktop, all of it under `/agent-desktop/`.
    pub pages: Pages,
    /// What the page may ask besides; nothing where there is no page.
    pub desktop: Option<DesktopSettings>,
    /// Bounds of the gate, `[http] max-body` among them.
    pub limits: GateLimits,
    /// See [`ServedSettings::private_parent`].
    pub private_parent: Option<PathBuf>,
}

/// Starts the intake.
///
/// # Errors
/// The environment: no directory, socket or thread.
pub fn start(settings: IntakeSettings, port: Arc<dyn Port>) -> io::Result<Served> {
    let origins = settings.origins.clone();
    let handler: Arc<dyn Handler> = Arc::new(Intake {
        tokens: settings.tokens,
        origins: settings.origins,
        conversation_id_at: settings.conversation_id_at,
        quota: Quota::new(settings.accepts_per_minute),
        pages: settings.pages,
        desktop: settings.desktop.map(Desktop::new),
        port,
        complaints: Seldom::new(Duration::from_secs(60)),
    });
    let served = ServedSettings {
        listener: settings.listener,
        tls: settings.tls,
        name: "http",
        workers: settings.limits.in_flight,
        limits: settings.limits,
        private_parent: settings.private_parent,
        origins,
    };
    Served::start(served, &handler)
}

enum Route<'a> {
    Interactions,
    Interaction(&'a str),
    Results,
    Events,
    Description,
    Page(&'a str),
    Token,
    News,
}

/// Who asks, as far as that makes a difference.
#[derive(Clone, Copy)]
enum Who {
    /// Somebody with an API token, or without where none is needed.
    Caller,
    /// The page for Agent Desktop, with a token of its own.
    Page(Chain),
}

impl Route<'_> {
    fn methods(&self) -> &'static str {
        match self {
            Route::Interactions | Route::Results | Route::Events | Route::Token => "POST",
            Route::Interaction(_) => "GET, HEAD, DELETE",
            Route::Description | Route::Page(_) | Route::News => "GET, HEAD",
        }
    }

    /// The description and the page hold nothing of anybody, and a browser that
    /// opens a page cannot send a token.
    fn is_public(&self) -> bool {
        matches!(self, Route::Description | Route::Page(_))
    }

    /// All that a token of the page is good for.
    fn is_for_pages(&self, x: &Exchange) -> bool {
        match self {
            Route::Interactions | Route::News | Route::Token => true,
            Route::Interaction(_) => x.is_get(),
            Route::Results | Route::Events => false,
            Route::Description | Route::Page(_) => true,
        }
    }
}

struct Intake {
    tokens: Option<Tokens>,
    origins: Origins,
    conversation_id_at: Pointer,
    quota: Option<Quota>,
    pages: Pages,
    desktop: Option<Desktop>,
    port: Arc<dyn Port>,
    complaints: Seldom,
}

/// A reply that refuses; it leaves by `?`.
type Refused = Box<Reply>;

fn refused(problem: &Problem) -> Refused {
    Box::new(Reply::problem(problem))
}

impl Handler for Intake {
    fn at_head(&self, x: &Exchange) -> Option<Reply> {
        let reply = match self.judge(x) {
            Ok(Judged::Answered(reply)) => reply,
            Ok(Judged::Route(..)) => return None,
            Err(refusal) => *refusal,
        };
        Some(self.origins.decorate(x, reply))
    }

    fn hold(&self, x: &Exchange) -> Option<Box<dyn Held>> {
        if x.path != NEWS_PATH {
            return None;
        }
        let Ok(Judged::Route(Route::News, who)) = self.judge(x) else {
            return None;
        };
        let desktop = self.desktop.as_ref()?;
        desktop.hold(x, self.reader(who), &self.origins)
    }

    fn answer(&self, x: &Exchange) -> Reply {
        let reply = match self.judge(x) {
            Ok(Judged::Answered(reply)) => Ok(reply),
            Ok(Judged::Route(route, who)) => self.follow(&route, who, x),
            Err(refusal) => Err(refusal),
        };
        let reply = reply.unwrap_or_else(|refusal| *refusal);
        self.origins.decorate(x, reply)
    }
}

/// What the head of a request comes to.
enum Judged<'a> {
    /// Nothing is left to do.
    Answered(Reply),
    /// It may go on, for this one.
    Route(Route<'a>, Who),
}

impl Intake {
    fn find<'x>(&self, x: &'x Exchange) -> Option<Route<'x>> {
        match x.path.as_str() {
            INTERACTIONS => Some(Route::Interactions),
            RESULTS => Some(Route::Results),
            EVENTS => Some(Route::Events),
            "/openapi.json" => Some(Route::Description),
            TOKEN_PATH => self.page_tokens().map(|_| Route::Token),
            NEWS_PATH => self.desktop.as_ref().map(|_| Route::News),
            path => match path
                .strip_prefix(INTERACTIONS)
                .and_then(|p| p.strip_prefix('/'))
            {
                Some(id) => Some(Route::Interaction(id)),
                None => self.pages.has(path).then_some(Route::Page(path)),
            },
        }
    }

    /// Path, preflight, token or host, method: all that the head tells.
    fn judge<'x>(&self, x: &'x Exchange) -> Result<Judged<'x>, Refused> {
        let Some(route) = self.find(x) else {
            if x.is_get() && self.pages.has(&format!("{}/", x.path)) {
                // A directory without its slash: relative links of the page need it.
                let moved = Reply::empty(308).with("Location", format!("{}/", x.path));
                return Ok(Judged::Answered(moved));
            }
            return Err(refused(&nowhere()));
        };
        if let Some(reply) = self.origins.preflight(x, route.methods()) {
            return Ok(Judged::Answered(reply));
        }
        let who = self.who(&route, x)?;
        let allowed = route.methods();
        if !allowed.split(", ").any(|m| m == x.method) {
            return Err(Box::new(wrong_method(allowed)));
        }
        let foreign = match (&route, who) {
            (Route::Token, _) => page_tokens::refuse_foreign(x, true),
            (_, Who::Page(_)) if !route.is_for_pages(x) => Some(page_tokens::beyond_scope()),
            _ => None,
        };
        match foreign {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok(Judged::Route(route, who)),
        }
    }

    fn page_tokens(&self) -> Option<&PageTokens> {
        self.desktop.as_ref()?.tokens.as_ref()
    }

    /// Who asks, if it is somebody who may ask anything here.
    fn who(&self, route: &Route<'_>, x: &Exchange) -> Result<Who, Refused> {
        if self.tokens.is_none()
            && let Some(refusal) = host::refuse_stranger(x)
        {
            return Err(Box::new(refusal));
        }
        // What a page is asked for before it has a token: where it stands.
        if route.is_public() || matches!(route, Route::Token) {
            return Ok(Who::Caller);
        }
        let known = |token: &str| self.tokens.as_ref().is_some_and(|t| t.admits(token));
        if let Some(tokens) = self.page_tokens()
            && let Some(token) = auth::bearer(x).filter(|t| PageTokens::are_like(t) && !known(t))
        {
            // Whoever got hold of it in a browser can do nothing with it there.
            if let Some(refusal) = page_tokens::refuse_foreign(x, false) {
                return Err(Box::new(refusal));
            }
            let chain = tokens.admit(token, Instant::now());
            return chain.map(Who::Page).map_err(Box::new);
        }
        match self.tokens.as_ref().and_then(|tokens| tokens.refuse(x)) {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok(Who::Caller),
        }
    }

    /// Which conversations somebody may read.
    fn reader(&self, who: Who) -> impl Fn(ConversationId) -> bool {
        move |conversation| match who {
            Who::Caller => true,
            Who::Page(chain) => self
                .page_tokens()
                .is_some_and(|tokens| tokens.may_read(chain, conversation)),
        }
    }

    fn follow(&self, route: &Route<'_>, who: Who, x: &Exchange) -> Result<Reply, Refused> {
        match route {
            Route::Description => Ok(Reply::new(200, "application/json", OPENAPI.as_bytes())),
            Route::Page(path) => self.pages.reply(path, x).ok_or_else(|| refused(&nowhere())),
            Route::Interactions => self.accept(x, who),
            Route::Token => match &self.desktop {
                Some(desktop) => Ok(desktop.give_token(x)),
                None => Err(refused(&nowhere())),
            },
            Route::News => {
                let desktop = self.desktop.as_ref().ok_or_else(|| refused(&nowhere()))?;
                desktop
                    .news(x, self.reader(who), &*self.port)
                    .map_err(|failed| match failed {
                        Ok(problem) => refused(&problem),
                        Err(e) => Box::new(unreadable(&e, &self.complaints)),
                    })
            }
            Route::Results => self.take_result(x),
            Route::Events => self.take_event(x),
            Route::Interaction(id) => {
                let id = id.parse().map_err(|_| {
                    refused(&unknown("The path does not end in a conversation id."))
                })?;
                if !self.reader(who)(id) {
                    // As if it were not there: it is nobody's business whether it is.
                    Err(refused(&unknown_interaction()))
                } else if x.is_get() {
                    self.show(id)
                } else {
                    Ok(answered(
                        self.port.ask(CallerRequest::Stop { conversation: id }),
                    ))
                }
            }
        }
    }

    fn show(&self, id: ConversationId) -> Result<Reply, Refused> {
        match self.port.interaction(id) {
            Ok(Some(found)) => Ok(Reply::json(200, view::interaction(&found))),
            Ok(None) => Err(refused(&unknown_interaction())),
            Err(e) => Err(Box::new(unreadable(&e, &self.complaints))),
        }
    }

    fn accept(&self, x: &Exchange, who: Who) -> Result<Reply, Refused> {
        let (document, members) = object(x, &x.body)?;
        let place = &self.conversation_id_at;
        let Some(found) = document.at(place) else {
            return Err(refused(&bad_id(
                &place.to_string(),
                "is required: the id of the conversation",
            )));
        };
        let conversation = conversation(found, &place.to_string())?;
        // An agent's page knows nothing but the id of what is around the id: said by it, that
        // says nothing, and must not take the place of what callers have said.
        let of_page = |name: &str| name == REPORTS || place.outermost() == Some(name);
        let by_page =
            members.iter().any(|m| m.name == REPORTS) && members.iter().all(|m| of_page(&m.name));
        let others = members.iter().filter(|m| {
            let names_it = place.outermost() == Some(m.name.as_str());
            let nothing_else = by_page && m.name != REPORTS && place.is_all_of(m.value);
            !names_it || (place.top_level().is_none() && !nothing_else)
        });
        let charged = self.charge(x, who, conversation)?;
        let answer = self.port.ask(CallerRequest::Accept {
            conversation,
            members: json::object(others),
        });
        if !matches!(answer, Answer::Interaction { fresh: true, .. })
            && let (Some(quota), Some(whose)) = (&self.quota, charged)
        {
            quota.give_back(whose);
        }
        if let (Answer::Interaction { .. }, Who::Page(chain)) = (&answer, who)
            && let Some(tokens) = self.page_tokens()
        {
            tokens.reported(chain, conversation);
        }
        Ok(answered(answer))
    }

    /// Takes one from the caller's quota, unless it is the repetition of a live one.
    fn charge(
        &self,
        x: &Exchange,
        who: Who,
        of: ConversationId,
    ) -> Result<Option<[u8; 32]>, Refused> {
        let Some(quota) = &self.quota else {
            return Ok(None);
        };
        // Pages get new tokens for nothing: what counts is where they are.
        let by_token = self.tokens.is_some() && matches!(who, Who::Caller);
        let whose = quota::whose(x, by_token);
        let Err(wait) = quota.take(whose, Instant::now()) else {
            return Ok(Some(whose));
        };
        match self.port.interaction(of) {
            Ok(Some(known)) if known.finished_at.is_none() => Ok(None),
            Ok(_) => Err(Box::new(busy(
                wait,
                "This caller has reported as many new conversations as it may in a minute.",
            ))),
            Err(e) => Err(Box::new(unreadable(&e, &self.complaints))),
        }
    }

    /// An event that came another way than over the WebSocket. Its words are the platform's, so
    /// what is odd in them is forgiven as it is there; the rest is as strict as for any caller.
    fn take_event(&self, x: &Exchange) -> Result<Reply, Refused> {
        if self.tokens.is_none() {
            // Whoever can send events can have anything filed.
            return Err(refused(&no_tokens()));
        }
        let told = foreign::text_within(&x.body, json::DEPTH_MAX);
        let body = told.as_deref().map_or(x.body.as_slice(), str::as_bytes);
        let (document, members) = object(x, body)?;
        let event = event::read(document, members, Clock::new().now().wall)
            .map_err(|problem| refused(&problem))?;
        Ok(answered(self.port.ask(CallerRequest::Event {
            conversation: event.conversation,
            body: event.body.to_owned(),
        })))
    }

    fn take_result(&self, x: &Exchange) -> Result<Reply, Refused> {
        let idempotency_key = match x.header("Idempotency-Key") {
            None => None,
            Some(key) if !key.is_empty() && key.len() <= KEY_LEN_MAX => Some(key.to_owned()),
            Some(_) => {
                return Err(refused(&Problem::new(
                    400,
                    "bad-idempotency-key",
                    "The Idempotency-Key is not usable",
                    format!("An Idempotency-Key has 1 to {KEY_LEN_MAX} characters."),
                )));
            }
        };
        let (document, _) = object(x, &x.body)?;
        let place = &self.conversation_id_at;
        let conversation = match document.at(place) {
            None => None,
            Some(found) => Some(conversation(found, &place.to_string())?),
        };
        Ok(answered(self.port.ask(CallerRequest::SupportResult {
            idempotency_key,
            body_digest: sha256(&x.body),
            conversation,
            result: document.text().to_owned(),
        })))
    }
}

/// A body as a strict JSON object with its members.
fn object<'b>(
    x: &Exchange,
    body: &'b [u8],
) -> Result<(Document<'b>, Vec<json::Member<'b>>), Refused> {
    if !is_json(x.header("Content-Type")) {
        return Err(refused(&Problem::new(
            415,
            "media-type",
            "The body has to be JSON",
            "Send Content-Type: application/json, or a type that ends in +json.",
        )));
    }
    if x.header("Content-Encoding")
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(refused(&Problem::new(
            415,
            "content-coding",
            "The body may not be encoded",
            "Send the body as it is, without Content-Encoding.",
        )));
    }
    let document = Document::parse(body).map_err(|fault| {
        let (kind, title) = match fault.what {
            Flaw::DuplicateKey => ("duplicate-key", "A key occurs twice"),
            _ => ("malformed-json", "The body is not clean JSON"),
        };
        let sentence = fault.what.sentence();
        let detail = format!("The body was refused: {sentence}.");
        refused(&Problem::new(400, kind, title, detail).blaming(fault.pointer, sentence))
    })?;
    match document.members() {
        Some(members) => Ok((document, members)),
        None => Err(refused(
            &Problem::new(
                422,
                "not-an-object",
                "The body has to be a JSON object",
                "The body is valid JSON, but not an object.",
            )
            .blaming("", "has to be an object"),
        )),
    }
}

/// `application/json` or `application/…+json`, parameters aside.
fn is_json(content_type: Option<&str>) -> bool {
    let essence = content_type
        .and_then(|v| v.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => {
            subtype.len() > "+json".len()
                && subtype.ends_with("+json")
                && !subtype.contains(|c: char| c.is_ascii_whitespace() || c == '/')
        }
        None => false,
    }
}

fn conversation(value: &str, pointer: &str) -> Result<ConversationId, Refused> {
    json::string(value)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            refused(&bad_id(
                pointer,
                "has to be a UUID such as 7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47",
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn the_media_types_of_json_are_told_from_others() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/vnd.acme.v1+json;v=1",
        ] {
            assert!(is_json(Some(good)), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "application/+json",
            "application/xml",
            "application/x-www-form-urlencoded",
            "application/a/b+json",
            "multipart/form-data; application/json",
        ] {
            assert!(!is_json(Some(bad)), "{bad}");
        }
        assert!(!is_json(None));
    }
}
