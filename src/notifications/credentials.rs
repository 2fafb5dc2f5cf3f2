//! What a token is asked for with: the client's secret, and an assertion where the grant needs
//! one. Both may be replaced while they are in use.
//!
//! Invariant: every secret is known to [`redaction`] before it is sent.

use std::sync::Arc;

use crate::assertion::AssertionSource;
use crate::redaction;
use crate::shared::Shared;
use base::secret::Secret;
use base::time::Wall;
use base::wire::Request;
use proto::oauth;
use proto::rest::Failure;

/// How the client shows that it may have a token (protocol, section 2).
#[derive(Debug)]
pub enum Grant {
    /// By its secret alone.
    ClientCredentials,
    /// By a SAML assertion, too.
    Saml2Bearer {
        /// Short name of the organisation.
        org_name: String,
        /// Where assertions come from.
        source: AssertionSource,
    },
}

/// See the [module](self).
pub struct Credentials {
    login_url: String,
    client_id: String,
    login: Shared<Arc<Login>>,
}

/// What may be replaced.
struct Login {
    client_secret: Secret,
    grant: Grant,
}

impl Credentials {
    /// Of the OAuth client `client_id`; `login_url` is `https://login.` and the region, without a
    /// slash at the end.
    #[must_use]
    pub fn new(
        login_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: Secret,
        grant: Grant,
    ) -> Credentials {
        let client_id = client_id.into();
        // Both together besides: of a very short secret that is the form that can be found.
        redaction::learn(&client_secret);
        redaction::learn(&Secret::new(format!(
            "{client_id}:{}",
            client_secret.expose()
        )));
        Credentials {
            login_url: login_url.into(),
            client_id,
            login: Shared::new(Arc::new(Login {
                client_secret,
                grant,
            })),
        }
    }

    /// Secret and grant of others from the next request on.
    pub fn take_over(&self, other: &Credentials) {
        self.login.set(other.login.get());
    }

    /// The request for a token, with a fresh assertion where the grant needs one.
    ///
    /// # Errors
    /// The assertion cannot be had; a sentence for the operator.
    pub fn request(&self, now: Wall) -> Result<Request, Failure> {
        let login = self.login.get();
        redaction::learn(&login.client_secret);
        let grant = match &login.grant {
            Grant::ClientCredentials => oauth::Grant::ClientCredentials,
            Grant::Saml2Bearer { org_name, source } => match source.obtain(now) {
                Ok(assertion) => {
                    redaction::learn_passing(&assertion);
                    oauth::Grant::Saml2Bearer {
                        org_name: org_name.clone(),
                        assertion,
                    }
                }
                Err(error) => {
                    return Err(Failure::Login {
                        label: error.label(),
                        sentence: error.to_string(),
                        soon: error.retry_soon(),
                        retry_after: None,
                    });
                }
            },
        };
        let request = oauth::TokenRequest {
            login_url: self.login_url.clone(),
            client_id: self.client_id.clone(),
            client_secret: login.client_secret.clone(),
            grant,
        };
        Ok(request.encode())
    }
}
