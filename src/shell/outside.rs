//! The way to the platform: endpoints, credentials, HTTP agent, sockets.
//!
//! Made once from the configuration and used by the daemon, by `check --online`
//! and by nobody else. Invariant: secrets leave it only towards the platform.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use base::cause::Cause;
use base::secret::Secret;
use notifications::assertion::AssertionSource;
use notifications::clock::Clock;
use notifications::credentials::{Credentials, Grant};
use notifications::dial::Connector;
use notifications::proxy::Proxy;
use notifications::rest::{self, HttpSettings, TokenRequest};
use notifications::saml::{AssertionSettings, Sign, Signer};
use notifications::shared::Shared;
use notifications::tls::{TlsError, Trust};
use proto::connect_uri::Streaming;
use proto::rest::{Endpoints, Failure, Op, Outcome, encode};
use proto::session::SessionSettings;

/// REST workers: two are enough for 300 requests a minute (design, section 7).
pub const REST_WORKERS: usize = 2;

/// For one exchange with the platform.
const REST_TIMEOUT: Duration = Duration::from_secs(20);

/// For name, TCP, proxy and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// See the [module](self).
pub struct Outside {
    /// Where the platform is.
    pub endpoints: Endpoints,
    /// For REST.
    pub agent: Shared<ureq::Agent>,
    /// For WebSockets.
    pub connector: Arc<Connector>,
    /// Where channels may lead.
    pub streaming: Streaming,
    /// How patient sessions are.
    pub session: SessionSettings,
    /// Composes token requests.
    pub credentials: Arc<Credentials>,
    /// The clocks.
    pub clock: Arc<Clock>,
}

/// Where channels may lead.
#[must_use]
pub fn streaming(genesys: &config::GenesysConfig) -> Streaming {
    Streaming::new(&genesys.api_url, &genesys.region, &genesys.streaming_hosts)
}

/// How the configuration signs in.
///
/// # Errors
/// A signing key that cannot be used; a sentence.
pub fn grant(genesys: &config::GenesysConfig) -> Result<Grant, String> {
    grant_of(&genesys.oauth)
}

fn grant_of(oauth: &config::OauthConfig) -> Result<Grant, String> {
    Ok(match &oauth.grant {
        config::Grant::ClientCredentials => Grant::ClientCredentials,
        config::Grant::Saml2Bearer {
            org_name,
            assertion,
        } => Grant::Saml2Bearer {
            org_name: org_name.clone(),
            source: source(assertion)?,
        },
    })
}

/// The way out, if it is not direct.
///
/// # Errors
/// No proxy such as the configuration takes; a sentence.
pub fn proxy(genesys: &config::GenesysConfig) -> Result<Option<Proxy>, String> {
    let Some(proxy) = &genesys.proxy else {
        return Ok(None);
    };
    let parsed = Proxy::parse(&proxy.url()).map_err(|e| e.to_string())?;
    Ok(Some(
        parsed.with_credentials(genesys.proxy_credentials.clone()),
    ))
}

/// What a token is asked for with.
fn credentials(
    genesys: &config::GenesysConfig,
    oauth: &config::OauthConfig,
) -> Result<Credentials, String> {
    let grant = grant_of(oauth)?;
    let secret = oauth.client_secret.clone();
    Ok(Credentials::new(
        &genesys.login_url,
        &oauth.client_id,
        secret,
        grant,
    ))
}

fn source(assertion: &config::AssertionSource) -> Result<AssertionSource, String> {
    Ok(match assertion {
        config::AssertionSource::File(file) => AssertionSource::File(file.path().to_path_buf()),
        config::AssertionSource::Command(argv) => AssertionSource::Command(argv.clone()),
        config::AssertionSource::Signed(signed) => {
            let certificate = signed.certificate.pem();
            let signer = Signer::from_pem(
                signed.private_key_pem.expose().as_bytes(),
                certificate.as_bytes(),
            )
            .map_err(|e| e.to_string())?;
            let settings = AssertionSettings {
                issuer: signed.issuer.clone(),
                email: signed.email.clone(),
                audience: signed.audience.clone(),
                recipient: signed.recipient.clone(),
                organization_name: signed.organization_name.clone(),
                lifetime: signed.lifetime,
                sign: match signed.sign {
                    config::Sign::Assertion => Sign::Assertion,
                    config::Sign::Response => Sign::Response,
                    config::Sign::Both => Sign::Both,
                },
                service_name: None,
            };
            AssertionSource::Signed {
                signer: Box::new(signer),
                settings,
            }
        }
    })
}

/// Whom to trust: the given certificates, or the machine's own.
#[must_use]
pub fn trust(ca: Option<&config::Certificates>) -> Trust {
    ca.map_or(Trust::Platform, |c| Trust::Only(c.der.clone()))
}

impl Outside {
    /// Everything that is needed to speak to the platform.
    ///
    /// # Errors
    /// Root certificates, proxy or signing key that cannot be used; a sentence.
    pub fn new(config: &Config, clock: Arc<Clock>) -> Result<Outside, String> {
        Outside::of_client(config, &config.genesys.oauth, clock)
    }

    /// The same for one of the OAuth clients.
    ///
    /// # Errors
    /// As [`Outside::new`].
    pub fn of_client(
        config: &Config,
        oauth: &config::OauthConfig,
        clock: Arc<Clock>,
    ) -> Result<Outside, String> {
        let genesys = &config.genesys;
        let proxy = proxy(genesys)?;
        let trust = trust(genesys.ca.as_ref());
        let connector = Connector::new(match trust.rustls() {
            // Said when something needs them: on loopback nothing does.
            Err(TlsError::NoRoots(_)) => Err(Cause::NoRoots),
            other => Ok(other.map_err(|e| e.to_string())?),
        });
        connector.proxy.set(proxy.clone());
        let http = HttpSettings {
            trust,
            identity: None,
            proxy,
            timeout: REST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            threads: REST_WORKERS,
        };
        Ok(Outside {
            endpoints: Endpoints {
                api_url: genesys.api_url.clone(),
                login_url: genesys.login_url.clone(),
            },
            agent: rest::agent(&http).into(),
            connector: Arc::new(connector),
            streaming: streaming(genesys),
            session: SessionSettings {
                heartbeat_timeout: config.channels.heartbeat_timeout,
                ..SessionSettings::default()
            },
            credentials: Arc::new(credentials(genesys, oauth)?),
            clock,
        })
    }

    /// Secrets, keys and certificates of another configuration from the next exchange on.
    pub(super) fn take_over(&self, other: &Outside) {
        self.credentials.take_over(&other.credentials);
        self.agent.set(other.agent.get());
        self.connector.tls.set(other.connector.tls.get());
        self.connector.proxy.set(other.connector.proxy.get());
    }

    /// For the REST workers.
    #[must_use]
    pub fn token_request(&self) -> TokenRequest {
        let credentials = self.credentials.clone();
        Box::new(move |now| credentials.request(now))
    }

    /// One call, here and now.
    #[must_use]
    pub fn call(&self, op: &Op, token: Option<&Secret>) -> Outcome {
        let failed = |failure| Outcome {
            result: Err(failure),
            limits: None,
            retry_after: None,
        };
        let request = match op {
            Op::Token => match self.credentials.request(self.clock.now().wall) {
                Ok(request) => request,
                Err(failure) => return failed(failure),
            },
            op => encode(op, &self.endpoints, token),
        };
        match rest::perform(&self.agent.get(), &request, rest::Body::Whole(1024 * 1024)) {
            Ok(response) => rest::understood(op, &response, self.clock.now().wall),
            Err(no_answer) => failed(Failure::NoAnswer(no_answer)),
        }
    }
}
