//! What a simulated platform is set up with: one organisation, one OAuth client or more.
//!
//! Invariant: plain values; nothing is read from anywhere.

use uuid::Uuid;

use super::switches::Switches;
use base::secret::Secret;

/// A user whom an assertion may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub id: Uuid,
    /// E-mail address, by which the assertion finds the user.
    pub email: String,
}

impl User {
    /// A user whose id follows from the address.
    #[must_use]
    pub fn named(email: &str) -> User {
        User {
            id: super::name_uuid(email),
            email: email.to_owned(),
        }
    }
}

/// What the organisation trusts in a SAML assertion (protocol, section 2.3).
#[derive(Clone, Debug, Default)]
pub struct Saml {
    /// Certificates of the identity provider in DER; empty means that no signature is asked for.
    pub certificates: Vec<Vec<u8>>,
    /// The users; empty means that any e-mail address is one.
    pub users: Vec<User>,
    /// The audience that must be named, if any.
    pub audience: Option<String>,
    /// The recipient that must be named, if any.
    pub recipient: Option<String>,
}

/// Bounds of the model itself, not of the platform.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Conversations remembered; beyond it the oldest ended one is forgotten.
    pub conversations: usize,
    /// Wrap-ups remembered as truth; beyond it they are only counted.
    pub wrapups: usize,
    /// Journal entries kept; the oldest go first. 0 switches the journal off.
    pub journal: usize,
    /// Sockets open at once; beyond it an upgrade gets 503.
    pub sockets: usize,
    /// Tokens alive at once; beyond it the token endpoint answers 503.
    pub tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            conversations: 200_000,
            wrapups: 2_000_000,
            journal: 4096,
            sockets: 1000,
            tokens: 10_000,
        }
    }
}

/// An OAuth client besides the first.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
}

/// Everything a platform is set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Id of the OAuth client.
    pub client_id: String,
    /// Secret of the OAuth client.
    pub client_secret: Secret,
    /// More clients: each has channels and a budget of its own, and may do what the first may.
    pub more_clients: Vec<Client>,
    /// Short name of the organisation.
    pub org_name: String,
    /// Base of REST addresses, without a slash at the end.
    pub api_url: String,
    /// Base of the login host, without a slash at the end.
    pub login_url: String,
    /// Base of `connectUri`, without a slash at the end.
    pub ws_url: String,
    /// Whether the client may use the client-credentials grant.
    pub client_credentials: bool,
    /// What is trusted in the saml2-bearer grant; `None`: the client may not use it.
    pub saml: Option<Saml>,
    /// Where the unknowns stand.
    pub switches: Switches,
    /// Bounds of the model.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            client_id: "11111111-2222-4333-8444-555555555555".into(),
            client_secret: Secret::new("simulated-client-secret"),
            more_clients: Vec::new(),
            org_name: "simulated".into(),
            api_url: "https://api.simulated.test".into(),
            login_url: "https://login.simulated.test".into(),
            ws_url: "wss://streaming.simulated.test".into(),
            client_credentials: true,
            saml: Some(Saml::default()),
            switches: Switches::default(),
            limits: Limits::default(),
        }
    }
}
