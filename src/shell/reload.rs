//! What is read again while the gateway runs (SIGHUP; design, section 6): API tokens,
//! certificates, the client secret, the signing key, the history manager's token, the proxy's
//! user and password.
//!
//! All or nothing: a new configuration is read and checked as at a start, and only if nothing is
//! wrong with it do its secrets and certificates take the place of the old ones. Whatever else
//! differs is named, and waits for a restart.
//!
//! Invariant: a reload that is refused changes nothing.

use std::sync::Arc;

use ureq::Agent;

use super::daemon::{StartError, history_http, outsides};
use super::http::auth::Tokens;
use super::outside::Outside;
use super::server_tls::ServerTls;
use crate::config::{AssertionSource, Config, Grant, OauthConfig};
use notifications::clock::Clock;
use notifications::rest;
use notifications::shared::Shared;

/// Keys that a reload applies; the files that they name are read again.
pub const APPLIED: [&str; 14] = [
    "http.certificate-file",
    "http.private-key-file",
    "http.api-tokens-file",
    "status.api-tokens-file",
    "genesys.ca-file",
    "genesys.proxy-credentials-file",
    "genesys.oauth.client-secret-file",
    "genesys.oauth.assertion.private-key-file",
    "genesys.oauth.assertion.certificate-file",
    "history.ca-file",
    "history.client-certificate-file",
    "history.client-key-file",
    "genesys.oauth.assertion.file",
    "history.bearer-token-file",
];

/// The holders of what a reload replaces.
pub(super) struct Reloaded {
    pub(super) http_tls: Option<ServerTls>,
    pub(super) http: Option<Tokens>,
    pub(super) status: Option<Tokens>,
    /// Of each OAuth client, in their order.
    pub(super) clients: Vec<Client>,
}

/// What one OAuth client and its forwarders use.
pub(super) struct Client {
    pub(super) outside: Outside,
    pub(super) history: Shared<Agent>,
    pub(super) reread_bearer: Box<dyn Fn() + Send + Sync>,
}

/// What became of a reload that was not refused.
pub struct Applied {
    /// Keys that differ and need a restart.
    pub later: Vec<&'static str>,
    /// Sections whose secrets and certificates stay the old ones until then, because they belong
    /// to what needs it.
    pub kept: Vec<&'static str>,
}

impl Reloaded {
    /// Takes over what can be taken over.
    ///
    /// # Errors
    /// What a start would refuse; nothing was changed.
    pub(super) fn apply(
        &self,
        old: &Config,
        new: &Config,
        clock: &Arc<Clock>,
    ) -> Result<Applied, StartError> {
        let mut later: Vec<&'static str> = old
            .changed(new)
            .into_iter()
            .filter(|key| !APPLIED.contains(key) || switched(key, old, new))
            .collect();
        let text = |config: &Config| config.history.template.as_ref().map(|t| t.text.clone());
        if text(old) != text(new) && !later.contains(&"history.template-file") {
            later.push("history.template-file");
        }
        // A secret is of use where it belongs alone, and goes nowhere else.
        let mut kept = Vec::new();
        if later.iter().any(|key| key.starts_with("genesys.")) {
            kept.push("[genesys]");
        }
        if later.contains(&"history.url") {
            kept.push("[history]");
        }
        let merged = merged(old, new, &kept);
        let outsides = outsides(&merged, clock)?;
        let histories: Result<Vec<Agent>, StartError> = (self.clients.iter())
            .map(|_| Ok(rest::agent(&history_http(&merged)?)))
            .collect();
        let histories = histories?;
        let tls = match (&self.http_tls, &new.http.tls) {
            (Some(_), Some(shown)) if shown.is_over() => {
                let said = "http.certificate-file: the new certificate has expired";
                return Err(StartError::Outside(String::from(said)));
            }
            (Some(current), Some(shown)) => {
                Some((current, ServerTls::new(shown).map_err(StartError::Tls)?))
            }
            // Whether it speaks TLS is a matter of the start.
            _ => None,
        };
        let fresh = outsides.iter().zip(histories);
        for (client, (outside, history)) in self.clients.iter().zip(fresh) {
            client.outside.take_over(outside);
            client.history.set(history);
            (client.reread_bearer)();
        }
        if let Some((current, other)) = tls {
            current.take_over(&other);
        }
        for (tokens, new) in [
            (&self.http, &new.http.api_tokens),
            (&self.status, &new.status.api_tokens),
        ] {
            // An empty list would lock out everybody; having none is a matter of the start.
            if let Some(tokens) = tokens
                && !new.is_empty()
            {
                tokens.replace(new);
            }
        }
        Ok(Applied { later, kept })
    }
}

/// The configuration of the start with the secrets and certificates of another one.
fn merged(old: &Config, new: &Config, kept: &[&str]) -> Config {
    let mut merged = old.clone();
    if !kept.contains(&"[genesys]") {
        let (mine, theirs) = (&mut merged.genesys, &new.genesys);
        mine.ca.clone_from(&theirs.ca);
        mine.proxy_credentials.clone_from(&theirs.proxy_credentials);
        merge_client(&mut mine.oauth, &theirs.oauth);
        // Another table among them needs a restart, and then none of this is done.
        for (mine, theirs) in mine.additional.iter_mut().zip(&theirs.additional) {
            merge_client(&mut mine.oauth, &theirs.oauth);
        }
    }
    if !kept.contains(&"[history]") {
        merged.history.ca.clone_from(&new.history.ca);
        merged
            .history
            .client_identity
            .clone_from(&new.history.client_identity);
    }
    merged
}

fn merge_client(mine: &mut OauthConfig, theirs: &OauthConfig) {
    mine.client_secret = theirs.client_secret.clone();
    if let (
        Grant::Saml2Bearer {
            assertion: mine, ..
        },
        Grant::Saml2Bearer {
            assertion: theirs, ..
        },
    ) = (&mut mine.grant, &theirs.grant)
    {
        match (mine, theirs) {
            (AssertionSource::File(mine), AssertionSource::File(theirs)) => {
                mine.clone_from(theirs);
            }
            (AssertionSource::Signed(mine), AssertionSource::Signed(theirs)) => {
                mine.private_key_pem = theirs.private_key_pem.clone();
                mine.certificate.clone_from(&theirs.certificate);
            }
            _ => {}
        }
    }
}

/// Whether a key came or went that decides how something is done, not only with what.
fn switched(key: &str, old: &Config, new: &Config) -> bool {
    let named = |config: &Config| config.effective().iter().any(|e| e.key == key);
    match key {
        "http.certificate-file"
        | "http.private-key-file"
        | "http.api-tokens-file"
        | "status.api-tokens-file"
        | "genesys.oauth.assertion.file" => named(old) != named(new),
        // Where it lies is known from the start on.
        "history.bearer-token-file" => true,
        _ => false,
    }
}
