//! The token endpoint: composes the request, reads the answer.
//!
//! Pure. Two grants (protocol, sections 2.2 and 2.3); neither brings a refresh
//! token, so a new token always needs a whole new request, and with the SAML
//! grant a fresh assertion.
//!
//! Invariant: no error shows a secret. The platform's own words are shown
//! bounded, on one line, and with everything hidden that is long enough to be
//! a secret ([`discreet`]). No answer,
//! however broken, panics.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;

use base::blame::Blame;
use base::foreign;
use base::plain::discreet;
use base::retry_after;
use base::secret::Secret;
use base::time::Wall;
use base::wire::{Request, Response};

#[cfg(test)]
mod tests;

/// How the gateway names itself to others.
pub const USER_AGENT: &str = concat!("genesys-gateway/", env!("CARGO_PKG_VERSION"));

/// The shortest life that is believed. The platform's own minimum is 300 s
/// (protocol, section 2.4); less than this would make us ask for tokens all the time.
pub const LIFE_MIN: Duration = Duration::from_secs(60);

/// The longest life that is believed: the platform's maximum, two days.
pub const LIFE_MAX: Duration = Duration::from_secs(172_800);

/// Assumed when the answer does not say: the platform's minimum.
pub const LIFE_UNSAID: Duration = Duration::from_secs(300);

/// The longest access token that is accepted, in bytes; it travels in a header.
pub const TOKEN_MAX: usize = 8192;

/// The platform's own words are cut to this many characters.
const WORDS_MAX: usize = 200;

/// What stays as it is in a form: letters, digits and these four.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// By what right a token is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grant {
    /// The OAuth client acts for itself.
    ClientCredentials,
    /// The OAuth client acts as the user whom an assertion names.
    Saml2Bearer {
        /// Short name of the organisation.
        org_name: String,
        /// The base64 `SAMLResponse`, passed through unchanged.
        assertion: Secret,
    },
}

/// A request for an access token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRequest {
    /// The login host, such as `https://login.mypurecloud.de`; a final slash does not matter.
    pub login_url: String,
    /// Id of the OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The grant.
    pub grant: Grant,
}

impl TokenRequest {
    /// The request on the wire: `POST /oauth/token`, a form, Basic authentication.
    #[must_use]
    pub fn encode(&self) -> Request {
        let fields: &[(&str, &str)] = match &self.grant {
            Grant::ClientCredentials => &[("grant_type", "client_credentials")],
            Grant::Saml2Bearer {
                org_name,
                assertion,
            } => &[
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:saml2-bearer",
                ),
                ("orgName", org_name),
                ("assertion", assertion.expose()),
            ],
        };
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", form(value)))
            .collect();
        // RFC 6749, section 2.3.1: both halves are form-encoded before they are joined.
        let basic = STANDARD.encode(format!(
            "{}:{}",
            form(&self.client_id),
            form(self.client_secret.expose())
        ));
        Request {
            method: "POST",
            url: format!("{}/oauth/token", self.login_url.trim_end_matches('/')),
            headers: vec![
                ("Authorization".into(), format!("Basic {basic}")),
                (
                    "Content-Type".into(),
                    "application/x-www-form-urlencoded".into(),
                ),
                ("Accept".into(), "application/json".into()),
                ("User-Agent".into(), USER_AGENT.into()),
            ],
            body: body.join("&").into_bytes(),
        }
    }
}

/// One value of `application/x-www-form-urlencoded`.
fn form(value: &str) -> String {
    // A literal `+` has become `%2B` by then, so every `%20` is a space.
    percent_encode(value.as_bytes(), FORM)
        .to_string()
        .replace("%20", "+")
}

/// An access token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// For `Authorization: Bearer`; visible ASCII, at most [`TOKEN_MAX`] bytes.
    pub access_token: Secret,
    /// Its life from the moment of the answer, between [`LIFE_MIN`] and
    /// [`LIFE_MAX`]; [`LIFE_UNSAID`] if the answer does not say.
    pub expires_in: Duration,
}

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// The platform does not know the client id.
    UnknownClient,
    /// The platform knows the client id but not this secret, or the region is another one.
    WrongSecret,
    /// The client was rejected in words that tell neither of the two.
    ClientRejected {
        /// The platform's words.
        words: String,
    },
    /// The organisation does not exist, or is not the one of the assertion.
    WrongOrganisation {
        /// The platform's words.
        words: String,
    },
    /// The assertion is stale, used before, badly signed, or its user is unknown.
    AssertionRejected {
        /// The platform's words.
        words: String,
    },
    /// The OAuth client is not allowed this grant.
    GrantNotAllowed {
        /// The platform's words.
        words: String,
    },
    /// Too many requests.
    RateLimited {
        /// How long to wait, uncapped, if the platform says.
        retry_after: Option<Duration>,
    },
    /// The platform, or something in front of it, is in trouble.
    ServerTrouble {
        /// The status of the answer.
        status: u16,
        /// How long to wait, uncapped, if the platform says.
        retry_after: Option<Duration>,
    },
    /// A web page instead of JSON, with a status that is not trouble by itself:
    /// a proxy, a firewall or a sign-in page in between.
    WebPage {
        /// The status of the answer.
        status: u16,
    },
    /// A redirect (never followed, it would carry the secret along), or no such path there.
    WrongAddress {
        /// The status of the answer.
        status: u16,
    },
    /// A refusal of another kind.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The platform's code and words.
        words: String,
    },
    /// An answer that is not understood; what is wrong with it.
    Garbled(&'static str),
}

/// Reads the answer to a token request. `now` is for a `Retry-After` that is a date.
///
/// # Errors
/// Every answer that carries no usable token, by cause.
pub fn decode(response: &Response, now: Wall) -> Result<Token, TokenError> {
    let status = response.status;
    match status {
        200..=299 => token(response),
        300..=399 => Err(TokenError::WrongAddress { status }),
        400..=499 => Err(refusal(response, now)),
        500..=599 => Err(TokenError::ServerTrouble {
            status,
            retry_after: asked_to_wait(response, now),
        }),
        _ => Err(TokenError::Garbled("the status is not one of HTTP")),
    }
}

fn token(response: &Response) -> Result<Token, TokenError> {
    let Some(body) = foreign::value(&response.body) else {
        return Err(match is_web_page(response) {
            true => TokenError::WebPage {
                status: response.status,
            },
            false => TokenError::Garbled("the body is not JSON"),
        });
    };
    let Some(body) = body.as_object() else {
        return Err(TokenError::Garbled("the body is not a JSON object"));
    };
    let text = match body.get("access_token") {
        Some(Value::String(text)) => text,
        Some(_) => return Err(TokenError::Garbled("access_token is not a string")),
        None => return Err(TokenError::Garbled("there is no access_token")),
    };
    // It goes into a header: nothing but visible ASCII may get there.
    if text.is_empty() || text.len() > TOKEN_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TokenError::Garbled("access_token cannot be a token"));
    }
    match body.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        Some(_) => return Err(TokenError::Garbled("token_type is not bearer")),
    }
    Ok(Token {
        access_token: Secret::new(text.as_str()),
        expires_in: life(body.get("expires_in"))?,
    })
}

/// The life of a token, clamped. Numbers in strings and with fractions are
/// taken for what they mean.
fn life(said: Option<&Value>) -> Result<Duration, TokenError> {
    let seconds = match said {
        None | Some(Value::Null) => return Ok(LIFE_UNSAID),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    match seconds {
        Some(seconds) if !seconds.is_nan() => Ok(Duration::from_secs_f64(
            seconds
                .floor()
                .clamp(LIFE_MIN.as_secs_f64(), LIFE_MAX.as_secs_f64()),
        )),
        _ => Err(TokenError::Garbled("expires_in is not a number")),
    }
}

/// A 4xx. The status of `invalid_client` is 400 by one source and 401 by
/// another (protocol, section 2.5), so the code decides, not the status.
fn refusal(response: &Response, now: Wall) -> TokenError {
    let status = response.status;
    let rate_limited = || TokenError::RateLimited {
        retry_after: wait(response, now),
    };
    if status == 429 {
        return rate_limited();
    }
    if status == 408 {
        return TokenError::ServerTrouble {
            status,
            retry_after: asked_to_wait(response, now),
        };
    }
    let body = foreign::value(&response.body);
    let Some(Value::Object(body)) = body else {
        return match status {
            404 | 405 | 410 => TokenError::WrongAddress { status },
            _ if is_web_page(response) => TokenError::WebPage { status },
            _ => TokenError::Garbled("a refusal without a JSON object"),
        };
    };
    // The second name of each is that of the API's error body, which a gateway
    // in front of the login host may use.
    let first = |names: [&str; 3]| names.iter().find_map(|n| body.get(*n)?.as_str());
    let code = first(["error", "code", "code"]).unwrap_or_default();
    let said = first(["error_description", "description", "message"]).unwrap_or_default();
    let words = discreet(said, WORDS_MAX);
    let lower = said.to_ascii_lowercase();
    let about_organisation = ["organization", "organisation", "orgname", "org name"]
        .iter()
        .any(|name| lower.contains(name));
    match code.to_ascii_lowercase().as_str() {
        "invalid_client" if lower.contains("not found") => TokenError::UnknownClient,
        "invalid_client" if lower.contains("authentication failed") => TokenError::WrongSecret,
        "invalid_client" => TokenError::ClientRejected { words },
        "invalid_grant" | "invalid_request" if about_organisation => {
            TokenError::WrongOrganisation { words }
        }
        "invalid_grant" => TokenError::AssertionRejected { words },
        "unauthorized_client" | "unsupported_grant_type" => TokenError::GrantNotAllowed { words },
        "server_error" | "temporarily_unavailable" => TokenError::ServerTrouble {
            status,
            retry_after: asked_to_wait(response, now),
        },
        "too.many.requests" | "too.many.requests.retry.after" => rate_limited(),
        "" if matches!(status, 404 | 405 | 410) => TokenError::WrongAddress { status },
        _ => TokenError::Refused {
            status,
            words: discreet(&format!("{code} {said}"), WORDS_MAX),
        },
    }
}

/// `Retry-After`.
fn asked_to_wait(response: &Response, now: Wall) -> Option<Duration> {
    retry_after::parse(response.header("Retry-After")?, now)
}

/// The same where too much was asked for: else until the reset of the budget (protocol, section 10).
fn wait(response: &Response, now: Wall) -> Option<Duration> {
    asked_to_wait(response, now)
        .or_else(|| retry_after::parse(response.header("inin-ratelimit-reset")?, now))
}

fn is_web_page(response: &Response) -> bool {
    let declared = response
        .header("Content-Type")
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let body = response.body.trim_ascii_start();
    declared || body.starts_with(b"<")
}

impl TokenError {
    /// A short stable label, for metrics and the status page.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            TokenError::UnknownClient => "unknown-client",
            TokenError::WrongSecret => "wrong-secret",
            TokenError::ClientRejected { .. } => "client-rejected",
            TokenError::WrongOrganisation { .. } => "wrong-organisation",
            TokenError::AssertionRejected { .. } => "assertion-rejected",
            TokenError::GrantNotAllowed { .. } => "grant-not-allowed",
            TokenError::RateLimited { .. } => "rate-limited",
            TokenError::ServerTrouble { .. } => "server-trouble",
            TokenError::WebPage { .. } => "web-page",
            TokenError::WrongAddress { .. } => "wrong-address",
            TokenError::Refused { .. } => "refused",
            TokenError::Garbled(_) => "garbled",
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            TokenError::UnknownClient
            | TokenError::WrongSecret
            | TokenError::ClientRejected { .. }
            | TokenError::WrongOrganisation { .. }
            | TokenError::AssertionRejected { .. }
            | TokenError::GrantNotAllowed { .. }
            | TokenError::WrongAddress { .. } => Blame::Operator,
            TokenError::RateLimited { .. } | TokenError::WebPage { .. } => Blame::Environment,
            TokenError::ServerTrouble { .. }
            | TokenError::Refused { .. }
            | TokenError::Garbled(_) => Blame::Peer,
        }
    }

    /// Whether the same request, with a fresh assertion, may well succeed within
    /// minutes without anybody doing anything. What a person has to change is
    /// tried again too, but seldom.
    #[must_use]
    pub fn retry_soon(&self) -> bool {
        match self {
            TokenError::AssertionRejected { .. }
            | TokenError::RateLimited { .. }
            | TokenError::ServerTrouble { .. }
            | TokenError::WebPage { .. }
            // An ingress whose backend is away answers 404 to all, a captive portal redirects.
            | TokenError::WrongAddress { .. }
            | TokenError::Garbled(_) => true,
            TokenError::UnknownClient
            | TokenError::WrongSecret
            | TokenError::ClientRejected { .. }
            | TokenError::WrongOrganisation { .. }
            | TokenError::GrantNotAllowed { .. }
            | TokenError::Refused { .. } => false,
        }
    }

    /// How long the platform asks us to wait, uncapped.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            TokenError::RateLimited { retry_after }
            | TokenError::ServerTrouble { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to look at.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            TokenError::UnknownClient => {
                "check [genesys.oauth] client-id, and that [genesys] region is the one in which the client was created"
            }
            TokenError::WrongSecret => {
                "check [genesys.oauth] client-secret-file (a new secret invalidates the old one), and that [genesys] region is the one in which the client was created"
            }
            TokenError::ClientRejected { .. } => {
                "check [genesys.oauth] client-id and client-secret-file, and that the client is active"
            }
            TokenError::WrongOrganisation { .. } => {
                "check [genesys.oauth] org-name (the short name) and the assertion's attribute OrganizationName; both must name the organisation of the client"
            }
            TokenError::AssertionRejected { .. } => {
                "check that the assertion is fresh and used once, that clocks agree within 10 s, that its e-mail is that of an active user, and that the organisation trusts the certificate and issuer"
            }
            TokenError::GrantNotAllowed { .. } => {
                "check that the OAuth client was created for the grant type in [genesys.oauth] grant"
            }
            TokenError::RateLimited { .. } => {
                "the gateway waits; look for other programs that use the same OAuth client"
            }
            TokenError::ServerTrouble { .. } => {
                "the gateway tries again; see the status page of the platform if it lasts"
            }
            TokenError::WebPage { .. } => {
                "check [genesys] region or login-url, proxy, and any firewall in between"
            }
            TokenError::WrongAddress { .. } => "check [genesys] region or login-url, and proxy",
            TokenError::Refused { .. } => {
                "check all of [genesys.oauth], and the list of allowed addresses of the organisation"
            }
            TokenError::Garbled(_) => {
                "the gateway tries again; check [genesys] login-url and proxy if it lasts"
            }
        }
    }
}

/// The situation and the hint in one sentence.
impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::UnknownClient => {
                f.write_str("the platform does not know the OAuth client")?
            }
            TokenError::WrongSecret => {
                f.write_str("the platform does not accept the secret of the OAuth client")?;
            }
            TokenError::ClientRejected { words } => {
                write!(f, "the platform rejects the OAuth client{}", quoted(words))?;
            }
            TokenError::WrongOrganisation { words } => {
                write!(f, "the platform rejects the organisation{}", quoted(words))?;
            }
            TokenError::AssertionRejected { words } => {
                write!(f, "the platform rejects the assertion{}", quoted(words))?;
            }
            TokenError::GrantNotAllowed { words } => write!(
                f,
                "the OAuth client may not use this grant{}",
                quoted(words)
            )?,
            TokenError::RateLimited { .. } => {
                f.write_str("the platform says that there are too many token requests")?;
            }
            TokenError::ServerTrouble { status, .. } => {
                write!(f, "the login host is in trouble (status {status})")?;
            }
            TokenError::WebPage { status } => write!(
                f,
                "the login host answered with a web page (status {status})"
            )?,
            TokenError::WrongAddress { status } => write!(
                f,
                "the login host has no token endpoint at that address (status {status})"
            )?,
            TokenError::Refused { status, words } => write!(
                f,
                "the login host refuses the request with status {status}{}",
                quoted(words)
            )?,
            TokenError::Garbled(what) => {
                write!(f, "the answer of the login host is not understood: {what}")?;
            }
        }
        write!(f, "; {}", self.hint())
    }
}

fn quoted(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": \"{words}\"")
    }
}

impl std::error::Error for TokenError {}
