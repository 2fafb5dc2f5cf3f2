//! OAuth: the token endpoint, and the two deaths of a token
//! (protocol, sections 2 and 10).
//!
//! Invariant: a token that is not in the table is not valid; the reason is
//! not told to the caller.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::json;
use uuid::Uuid;

use super::saml;
use super::switches::{AssertionReplay, InvalidClientStatus};
use super::{Platform, Timer};
use base::secret::Secret;
use base::time::{Mono, Now, Wall};
use base::wire::{Request, Response};

const SAML2_BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

/// A token that is alive.
#[derive(Debug)]
pub(super) struct Token {
    value: String,
    /// Of which client, by its place among all.
    pub(super) client: usize,
    /// The user whom it acts for; `None` for the client itself.
    pub(super) user: Option<Uuid>,
    pub(super) expires: Mono,
    pub(super) used: Mono,
    pub(super) idles: Option<Wall>,
    /// Start of the minute of the rate limit, and requests in it.
    pub(super) window: (Mono, u64),
}

/// By whom channels are counted: the client, and the user if there is one.
pub(super) type Owner = (usize, Option<Uuid>);

/// Tokens that are alive.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_number: BTreeMap<u64, Token>,
    by_value: HashMap<String, u64>,
    next: u64,
    /// Assertions already used, with the end of their validity.
    used_assertions: BTreeMap<String, Wall>,
}

impl Tokens {
    pub(super) fn alive(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn is_alive(&self, number: u64) -> bool {
        self.by_number.contains_key(&number)
    }

    pub(super) fn find(&self, value: &str) -> Option<u64> {
        self.by_value.get(value).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Token> {
        self.by_number.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Token> {
        self.by_number.get_mut(&number)
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.by_number.keys().copied().collect()
    }

    fn remove(&mut self, number: u64) -> bool {
        match self.by_number.remove(&number) {
            Some(token) => {
                self.by_value.remove(&token.value);
                true
            }
            None => false,
        }
    }
}

fn oauth_error(status: u16, error: &str, description: &str) -> Response {
    Response::json(
        status,
        &json!({"error": error, "description": description, "error_description": description}),
    )
}

/// The fields of a form, decoded; `None` if it is not one.
fn form(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let decode = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8()
            .map(|t| t.into_owned())
            .ok()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .take(64)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

fn basic(request: &Request) -> Option<(String, String)> {
    let value = request.header("authorization")?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

impl Platform {
    /// `POST /oauth/token`.
    pub(super) fn oauth_token(&mut self, request: &Request, now: Now) -> Response {
        let is_form = request
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        let Some(form) = form(&request.body).filter(|_| is_form) else {
            return oauth_error(400, "invalid_request", "the body is not a form");
        };
        let given = basic(request).or_else(|| {
            Some((
                field(&form, "client_id")?.to_owned(),
                field(&form, "client_secret")?.to_owned(),
            ))
        });
        let status = match self.switches.invalid_client_status {
            InvalidClientStatus::S401 => 401,
            InvalidClientStatus::S400 => 400,
        };
        let Some((id, secret)) = given else {
            return oauth_error(status, "invalid_client", "client authentication is missing");
        };
        let Some((client, expected)) = self.client(&id) else {
            return oauth_error(status, "invalid_client", "client not found");
        };
        if secret != expected.expose() {
            return oauth_error(status, "invalid_client", "authentication failed");
        }
        if self.faults.disabled.contains(&id) {
            return oauth_error(400, "unauthorized_client", "client is disabled");
        }
        let user = match field(&form, "grant_type") {
            Some("client_credentials") if self.settings.client_credentials => None,
            Some(SAML2_BEARER) if self.settings.saml.is_some() => {
                match self.assertion_user(&form, now) {
                    Ok(user) => Some(user),
                    Err(refusal) => return refusal,
                }
            }
            Some("client_credentials" | SAML2_BEARER) => {
                return oauth_error(400, "unauthorized_client", "grant not allowed for client");
            }
            Some(_) => return oauth_error(400, "unsupported_grant_type", "grant not supported"),
            None => return oauth_error(400, "invalid_request", "grant_type is missing"),
        };
        if self.tokens.by_number.len() >= self.limits.tokens {
            return Response::empty(503);
        }
        let life = Duration::from_secs(self.switches.token_lifetime_seconds);
        let value = format!("sim-{}", self.random_text(43));
        let number = self.tokens.next;
        self.tokens.next += 1;
        self.tokens.by_value.insert(value.clone(), number);
        self.tokens.by_number.insert(
            number,
            Token {
                value: value.clone(),
                client,
                user,
                expires: now.mono + life,
                used: now.mono,
                idles: None,
                window: (now.mono, 0),
            },
        );
        self.note_use(number, now);
        self.timers.set(now.mono + life, Timer::TokenExpiry(number));
        let idle = self.switches.idle_timeout_seconds;
        if idle > 0 {
            self.timers.set(
                now.mono + Duration::from_secs(idle),
                Timer::TokenIdle(number),
            );
        }
        self.ledger.tokens_given += 1;
        self.journal.add(now.wall, "token", None, || match user {
            Some(user) => format!("user {user}"),
            None => "client".into(),
        });
        // The platform's own example says 86399 for a day: the whole seconds that are left.
        let left = (life.as_secs()).saturating_sub(1);
        let mut answer = Response::json(
            200,
            &json!({"access_token": value, "token_type": "bearer", "expires_in": left}),
        );
        answer
            .headers
            .push(("Cache-Control".into(), "no-store".into()));
        answer
    }

    /// A client by its id: its place among all, and its secret.
    pub(super) fn client(&self, id: &str) -> Option<(usize, &Secret)> {
        if id == self.settings.client_id {
            return Some((0, &self.settings.client_secret));
        }
        let mut more = self.settings.more_clients.iter().zip(1..);
        more.find(|(client, _)| client.id == id)
            .map(|(client, place)| (place, &client.secret))
    }

    /// The id of a token's client.
    pub(super) fn client_id_of(&self, token: u64) -> &str {
        let place = self.tokens.get(token).map_or(0, |t| t.client);
        let more = place.checked_sub(1);
        more.and_then(|at| self.settings.more_clients.get(at))
            .map_or(&self.settings.client_id, |client| &client.id)
    }

    /// Whose channels a token makes.
    pub(super) fn owner_of(&self, token: u64) -> Owner {
        self.tokens
            .get(token)
            .map_or((0, None), |t| (t.client, t.user))
    }

    /// No token is given to a client any more, and those it has end.
    pub(super) fn disable_client(&mut self, id: &str, now: Now) -> Option<u64> {
        let (place, _) = self.client(id)?;
        self.faults.disabled.insert(id.to_owned());
        let mut ended = 0;
        for number in self.tokens.numbers() {
            if self.tokens.get(number).is_some_and(|t| t.client == place) {
                self.end_token(number, "revoked", now);
                ended += 1;
            }
        }
        Some(ended)
    }

    fn assertion_user(&mut self, form: &[(String, String)], now: Now) -> Result<Uuid, Response> {
        let grant = |text: &str| oauth_error(400, "invalid_grant", text);
        let Some(organisation) = field(form, "orgName") else {
            return Err(oauth_error(400, "invalid_request", "orgName is missing"));
        };
        let Some(assertion) = field(form, "assertion") else {
            return Err(oauth_error(400, "invalid_request", "assertion is missing"));
        };
        if organisation != self.settings.org_name {
            return Err(grant("organization not found"));
        }
        let Some(trust) = &self.settings.saml else {
            return Err(grant("saml2-bearer is not set up"));
        };
        let said = match saml::verify(assertion, trust, now.wall) {
            Ok(said) => said,
            Err(error) => {
                let text = error.to_string();
                self.journal
                    .add(now.wall, "assertion-refused", None, || text.clone());
                return Err(grant(&text));
            }
        };
        if said.organization != self.settings.org_name {
            return Err(grant("OrganizationName does not name this organization"));
        }
        let user = if trust.users.is_empty() {
            Some(super::name_uuid(&said.email))
        } else {
            trust
                .users
                .iter()
                .find(|u| u.email.eq_ignore_ascii_case(&said.email))
                .map(|u| u.id)
        };
        let Some(user) = user else {
            return Err(grant("user not found"));
        };
        let replayed = self
            .tokens
            .used_assertions
            .insert(said.id, said.not_on_or_after)
            .is_some();
        self.tokens
            .used_assertions
            .retain(|_, until| *until + saml::SKEW > now.wall);
        if replayed && self.switches.assertion_replay == AssertionReplay::Refused {
            return Err(grant("assertion was used before"));
        }
        Ok(user)
    }

    /// Resets the idle timer of a token.
    pub(super) fn note_use(&mut self, number: u64, now: Now) {
        let idle = self.switches.idle_timeout_seconds;
        if let Some(token) = self.tokens.get_mut(number) {
            token.used = now.mono;
            token.idles = (idle > 0).then(|| now.wall + Duration::from_secs(idle));
        }
    }

    pub(super) fn token_expiry_due(&mut self, number: u64, now: Now) {
        let Some(token) = self.tokens.get(number) else {
            return;
        };
        if token.expires <= now.mono {
            self.end_token(number, "expired", now);
        }
    }

    pub(super) fn token_idle_due(&mut self, number: u64, now: Now) {
        let Some(token) = self.tokens.get(number) else {
            return;
        };
        let idle = self.switches.idle_timeout_seconds;
        let end = token.used + Duration::from_secs(idle);
        if idle == 0 {
        } else if end <= now.mono {
            self.end_token(number, "idle", now);
        } else {
            self.timers.set(end, Timer::TokenIdle(number));
        }
    }

    /// Ends a token; `why` is `expired`, `idle`, `logout` or `revoked`.
    pub(super) fn end_token(&mut self, number: u64, why: &'static str, now: Now) {
        if !self.tokens.remove(number) {
            return;
        }
        self.journal
            .add(now.wall, "token-ended", None, || why.into());
        self.token_died(number, why != "expired", now);
    }

    /// When switched on later, the idle timeout has to find the tokens that are there.
    pub(super) fn arm_idle_timers(&mut self, now: Now) {
        let idle = self.switches.idle_timeout_seconds;
        if idle == 0 {
            return;
        }
        for number in self.tokens.numbers() {
            self.note_use(number, now);
            self.timers.set(
                now.mono + Duration::from_secs(idle),
                Timer::TokenIdle(number),
            );
        }
    }
}
