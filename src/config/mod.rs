//! The configuration file: from text to values that are never checked again.
//!
//! Two layers: `raw` is the file as written, `check` builds the [`Config`] and
//! collects **all** problems on the way, those of the files that keys name
//! included. Everything below takes a [`Config`] and trusts it.
//!
//! Reads files, never the network, never the environment (which is passed in
//! as [`Environment`]).
//!
//! Invariant: a [`Config`] exists only if there was no problem, and nothing of
//! it but [`Secret`] fields holds a secret.

mod check;
mod check_clients;
mod check_desktop;
mod check_genesys;
mod check_listener;
#[cfg(test)]
mod documents;
mod environment;
mod files;
#[cfg(any(test, feature = "windows"))]
mod fuzzing;
pub mod keys;
mod place;
mod problem;
mod raw;
mod reader;
#[cfg(test)]
mod tests;
mod validity;
mod values;
mod written;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::Environment;
pub use files::{Certificates, SecretFile, Template, bearer_token};
#[cfg(any(test, feature = "windows"))]
pub(crate) use fuzzing::fuzz_files;
pub use problem::{ConfigError, Problem, SyntaxError, Warning};
pub use values::{JsonPointer, Listen, Proxy, REGIONS};

use base::secret::Secret;
use base::time::Wall;

/// Where the file lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/genesys-gateway/gateway.toml";

/// The life of a notification channel (protocol, section 7).
pub const CHANNEL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The checked configuration; field for field what design, section 4 lists.
#[derive(Clone, Debug)]
pub struct Config {
    /// The intake.
    pub http: HttpConfig,
    /// The operators' listener.
    pub status: StatusConfig,
    /// The platform and how to log on to it.
    pub genesys: GenesysConfig,
    /// Notification channels.
    pub channels: ChannelsConfig,
    /// What is watched, and for how long.
    pub tracking: TrackingConfig,
    /// Where records are filed.
    pub history: HistoryConfig,
    /// The database.
    pub store: StoreConfig,
    /// The page for Agent Desktop; without it there is none.
    pub agent_desktop: Option<AgentDesktopConfig>,
    effective: Vec<Effective>,
    file: PathBuf,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it binds.
    pub listen: Listen,
    /// What it shows of itself over TLS; plain HTTP without.
    pub tls: Option<ServerIdentity>,
    /// Bearer tokens of callers; empty only on loopback or a unix socket, and then none is asked for.
    pub api_tokens: Vec<Secret>,
    /// Origins of CORS, as browsers send them; never `*`.
    pub allowed_origins: Vec<String>,
    /// Largest body in bytes.
    pub max_body: usize,
    /// New conversations that one token, or one peer without tokens, may report in a minute; 0 is no quota.
    pub accepts_per_minute: usize,
    /// Where a body names its conversation.
    pub conversation_id_at: JsonPointer,
}

/// `[http] certificate-file` and `private-key-file`
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// The chain, own certificate first.
    pub certificates: Certificates,
    /// The key as PEM.
    pub key_pem: Secret,
    /// When the own certificate ends, if it says so legibly.
    pub ends: Option<Wall>,
}

/// `[status]`
#[derive(Clone, Debug)]
pub struct StatusConfig {
    /// Where it binds.
    pub listen: Listen,
    /// As for the intake.
    pub api_tokens: Vec<Secret>,
}

/// `[genesys]`
#[derive(Clone, Debug)]
pub struct GenesysConfig {
    /// The region's domain, lower case.
    pub region: String,
    /// Root of the login host, without a final slash.
    pub login_url: String,
    /// Root of the API host, without a final slash.
    pub api_url: String,
    /// Hosts that channels may lead to besides those of the region's domain: lower case, names,
    /// `*.` in front for all below.
    pub streaming_hosts: Vec<String>,
    /// Trusted instead of the machine's roots.
    pub ca: Option<Certificates>,
    /// Proxy for REST and WebSocket.
    pub proxy: Option<Proxy>,
    /// What the proxy wants to see: user, password.
    pub proxy_credentials: Option<(String, Secret)>,
    /// How to log on.
    pub oauth: OauthConfig,
    /// More clients, or the same client with other users.
    pub additional: Vec<AdditionalOauth>,
}

/// `[[genesys.additional-oauth]]`
#[derive(Clone, Debug)]
pub struct AdditionalOauth {
    /// Names the shard; never [`MAIN_SHARD`].
    pub name: String,
    /// How to log on.
    pub oauth: OauthConfig,
}

/// The shard of `[genesys.oauth]`.
pub const MAIN_SHARD: &str = store::shards::MAIN;

/// `[genesys.oauth]`
#[derive(Clone, Debug)]
pub struct OauthConfig {
    /// Id of the OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Which grant, with what it needs.
    pub grant: Grant,
}

impl OauthConfig {
    /// Whom the platform sees, as far as the configuration tells: the client, and the user by
    /// what names him. Holds no secret.
    #[must_use]
    pub fn identity(&self) -> String {
        let user = match &self.grant {
            Grant::ClientCredentials => String::new(),
            Grant::Saml2Bearer { assertion, .. } => match assertion {
                AssertionSource::File(file) => format!(" assertion {}", file.path().display()),
                AssertionSource::Command(argv) => format!(" command {}", digest_of(argv)),
                AssertionSource::Signed(signed) => format!(" user {}", signed.email.to_lowercase()),
            },
        };
        format!("{}{user}", self.client_id)
    }
}

/// Arguments of a command may hold what nobody else should see.
fn digest_of(argv: &[String]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, argv.join("\0").as_bytes());
    let hex = digest.as_ref().iter().take(8);
    hex.map(|byte| format!("{byte:02x}")).collect()
}

/// `[genesys.oauth] grant`
#[derive(Clone, Debug)]
pub enum Grant {
    /// The client itself, without a user.
    ClientCredentials,
    /// A user, vouched for by an identity provider.
    Saml2Bearer {
        /// Short name of the organisation.
        org_name: String,
        /// Where assertions come from.
        assertion: AssertionSource,
    },
}

/// `[genesys.oauth.assertion]`: exactly one of three sources.
#[derive(Clone, Debug)]
pub enum AssertionSource {
    /// A file with the base64 `SAMLResponse`, read again at every request.
    File(SecretFile),
    /// A program and its arguments that print it.
    Command(Vec<String>),
    /// The gateway signs it itself.
    Signed(Box<SignedAssertion>),
}

/// What a self-signed assertion says, and with which key.
#[derive(Clone, Debug)]
pub struct SignedAssertion {
    /// `Issuer`.
    pub issuer: String,
    /// Attribute `email`: the platform user.
    pub email: String,
    /// `Audience`.
    pub audience: String,
    /// `Recipient` and `Destination`.
    pub recipient: String,
    /// Attribute `OrganizationName`.
    pub organization_name: String,
    /// From `NotBefore` to `NotOnOrAfter`; 30 s to 1 h.
    pub lifetime: Duration,
    /// PEM, PKCS#8 or PKCS#1, RSA of 2048 to 4096 bits.
    pub private_key_pem: Secret,
    /// The certificate that belongs to the key, first of its file.
    pub certificate: Certificates,
    /// What carries a signature.
    pub sign: Sign,
}

/// `sign`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// The assertion alone.
    Assertion,
    /// The response around it alone.
    Response,
    /// Both.
    Both,
}

/// `[channels]`
#[derive(Clone, Debug)]
pub struct ChannelsConfig {
    /// Most channels held at a time, 1 to 20.
    pub max_channels: usize,
    /// Most topics on one, 1 to 1000.
    pub topics_per_channel: usize,
    /// Silence after which a socket is given up.
    pub heartbeat_timeout: Duration,
    /// How long before its end a channel is renewed; at most half of its life.
    pub renew_before: Duration,
}

/// `[tracking] until`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// The topic is kept until every agent leg is done.
    ConversationFinished,
    /// The topic is given up after the first record.
    FirstEvent,
}

/// `[tracking] unreported`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreported {
    /// Events over HTTP of conversations that nobody reported are counted.
    Ignore,
    /// They are filed, with an empty interaction.
    File,
}

/// `[tracking]`
#[derive(Clone, Debug)]
pub struct TrackingConfig {
    /// When a conversation is given up as complete.
    pub until: Until,
    /// Age at which it is checked once more, then expired.
    pub max_age: Duration,
    /// How long after the last event it counts as finished where REST cannot tell.
    pub settle_for: Duration,
    /// How long a conversation that is over is still watched for legs without a wrap-up.
    pub linger: Duration,
    /// What to do with events over HTTP of conversations that nobody reported.
    pub unreported: Unreported,
}

/// A client certificate and its key.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The chain, own certificate first.
    pub certificates: Certificates,
    /// The key as PEM.
    pub key_pem: Secret,
}

/// `[history]`
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// Where records are posted, `http` or `https`.
    pub url: String,
    /// Posting threads, 1 to 64.
    pub workers: usize,
    /// For one exchange.
    pub timeout: Duration,
    /// Age at which a record is dead.
    pub give_up_after: Duration,
    /// Holds what is sent as `Authorization: Bearer`; checked at start, read again when it changes.
    pub bearer_token_file: Option<PathBuf>,
    /// Sent besides; none that the gateway sets itself.
    pub headers: Vec<(String, String)>,
    /// Trusted instead of the machine's roots.
    pub ca: Option<Certificates>,
    /// Shown to a server that asks.
    pub client_identity: Option<ClientIdentity>,
    /// Shapes the body; the default body without it.
    pub template: Option<Template>,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The database file, absolute where the surroundings allow.
    pub path: PathBuf,
    /// How long ids, times and outcomes are kept.
    pub retain: Duration,
    /// How long bodies and members are kept after they have served.
    pub keep_bodies: Duration,
}

/// `[agent-desktop] access`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DesktopAccess {
    /// The page gets a short-lived token of its own.
    Page,
    /// The agent types an API token.
    Token,
}

/// `[agent-desktop] report-on`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportOn {
    /// At first sight, whatever happens.
    Seen,
    /// On these event types of the Service Client API; at least one.
    Events(Vec<&'static str>),
}

/// `[agent-desktop] toast`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toast {
    /// The page never raises one.
    Never,
    /// When filing failed for good or a person is needed.
    Failures,
    /// For what was filed, too.
    All,
}

/// `[agent-desktop]`
#[derive(Clone, Debug)]
pub struct AgentDesktopConfig {
    /// The desktops that may embed the page and are believed, as browsers send origins; at least one.
    pub desktop_origins: Vec<String>,
    /// What the page shows as its token.
    pub access: DesktopAccess,
    /// Paths into the attached data where a conversation id may be; at least one.
    pub conversation_id_keys: Vec<String>,
    /// When a contact is reported.
    pub report_on: ReportOn,
    /// Attached data that goes along with the report.
    pub forward_keys: Vec<String>,
    /// The attached-data key that the result is written to; nothing is written without.
    pub write_back_key: Option<String>,
    /// Of what the desktop's toast tells.
    pub toast: Toast,
    /// Attached data shown as the title of a card.
    pub title_keys: Vec<String>,
    /// Whether recording control is shown.
    pub recording: bool,
    /// Whether click-to-dial is shown.
    pub dial: bool,
}

/// One line of the effective configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// Full dotted name.
    pub key: &'static str,
    /// As TOML, secrets and headers left out.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
    /// Of the value as written, with what may not be shown; only to be compared.
    digest: [u8; 32],
}

/// Where an effective value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The table of defaults.
    Default,
    /// The file.
    File,
}

/// What `status` and `records` need: how to reach the daemon, and where the
/// database lies if it does not answer. An operator may well not be allowed to
/// read the service's secrets.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Where the operators' listener binds.
    pub listen: Listen,
    /// A token that it accepts, if it asks for one.
    pub token: Option<Secret>,
    /// The database file.
    pub store_path: PathBuf,
}

impl Config {
    /// Reads and checks the file in the surroundings of this process.
    ///
    /// # Errors
    /// The file is missing, unreadable, not TOML, or has problems (all of them).
    pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigError> {
        Config::load_in(path, &Environment::of_process())
    }

    /// The same for who is about to run with it: what it may only tell whoever looks on behalf of
    /// another user, it refuses then.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_run(path: &Path) -> Result<(Config, Vec<Warning>), ConfigError> {
        let environment = Environment {
            runs: true,
            ..Environment::of_process()
        };
        Config::load_in(path, &environment)
    }

    /// Reads and checks the file in the given surroundings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_in(
        path: &Path,
        environment: &Environment,
    ) -> Result<(Config, Vec<Warning>), ConfigError> {
        let (file, warnings) = reader::open(path)?;
        check::config(path, environment, file, warnings)
    }

    /// The OAuth clients by the names of their shards, `[genesys.oauth]` first.
    #[must_use]
    pub fn clients(&self) -> Vec<(&str, &OauthConfig)> {
        let more = self.genesys.additional.iter();
        std::iter::once((MAIN_SHARD, &self.genesys.oauth))
            .chain(more.map(|client| (client.name.as_str(), &client.oauth)))
            .collect()
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Keys whose values differ from those of another configuration, in the order of the
    /// manual page. What is in the files that they name is another matter.
    #[must_use]
    pub fn changed(&self, other: &Config) -> Vec<&'static str> {
        let digest = |of: &Config, key: &str| {
            let found = of.effective.iter().find(|e| e.key == key);
            found.map(|e| e.digest)
        };
        keys::KEYS
            .iter()
            .map(|key| key.name)
            .chain([raw::ADDITIONAL])
            .filter(|key| digest(self, key) != digest(other, key))
            .collect()
    }

    /// Every key that has a value, in the order of the manual page, fit for a log line.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }
}

impl OperatorConfig {
    /// Reads `[status]` and `[store]` alone; problems elsewhere do not matter here.
    ///
    /// # Errors
    /// The file is missing, unreadable, not TOML, or has problems in those two tables.
    pub fn load_in(path: &Path, environment: &Environment) -> Result<OperatorConfig, ConfigError> {
        let (file, warnings) = reader::open(path)?;
        check::operator(path, environment, file, warnings)
    }
}
