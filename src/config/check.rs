//! Builds the checked configuration, section by section, and the relations between values.
//!
//! Invariant: each section returns `None` only after its problems were
//! recorded, so that "no problems" and "a whole configuration" are the same.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::environment::Environment;
use super::files::{self, Certificates};
use super::problem::{ConfigError, Problem, Warning};
use super::raw::RawFile;
use super::reader::Reader;
use super::values::{self, Listen, Rule};
use super::{
    CHANNEL_LIFE, ChannelsConfig, ClientIdentity, Config, HistoryConfig, HttpConfig,
    OperatorConfig, StatusConfig, StoreConfig, TrackingConfig, Unreported, Until,
};
use base::secret::Secret;
use store::MEMBERS_BYTES_MAX;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
pub(super) const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}
const fn days(n: u64) -> Duration {
    hours(n * 24)
}

/// Waits that are counted in days: a year is a promise, more is a slip.
const PATIENCE: RangeInclusive<Duration> = secs(1)..=days(365);
/// Keeping: up to the ten years that some archives are held to.
const KEEPING: RangeInclusive<Duration> = secs(0)..=days(3660);
/// Above the platform's 30 s between heartbeats (protocol, section 4.6).
const SLOWEST_HEARTBEAT: Duration = secs(31);

/// The whole configuration, or every problem.
pub(super) fn config(
    path: &Path,
    environment: &Environment,
    file: RawFile,
    warnings: Vec<Warning>,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    let mut r = Reader::new(path, environment, file, warnings);
    let http = http(&mut r);
    let status = status(&mut r);
    let genesys = super::check_genesys::genesys(&mut r);
    // By the key alone: what else is wrong with the platform says nothing about its heartbeat.
    let simulated = match r.written("genesys.api-url") {
        Some(api) => values::url(&api).map_or(true, |u| u.is_loopback()),
        None => false,
    };
    let channels = channels(&mut r, simulated);
    let tracking = tracking(&mut r);
    let history = history(&mut r);
    let store = store(&mut r);
    let agent_desktop = super::check_desktop::agent_desktop(&mut r, http.as_ref());
    // Operators' commands do not look: whoever only asks may well be another user.
    if let Some(store) = &store {
        let asking = super::place::Asking::of_process(environment.runs);
        match super::place::check(&store.path, asking) {
            Ok(warning) => {
                if let Some(warning) = warning {
                    r.warn("store.path", warning);
                }
            }
            Err(trouble) => r.trouble("store.path", trouble),
        }
    }
    if let (Some(http), Some(status)) = (&http, &status) {
        different_listeners(&mut r, &http.listen, &status.listen);
    }
    let effective = r.effective();
    let whole = (|| {
        Some(Config {
            http: http?,
            status: status?,
            genesys: genesys?,
            channels: channels?,
            tracking: tracking?,
            history: history?,
            store: store?,
            agent_desktop: agent_desktop?,
            effective,
            file: path.to_owned(),
        })
    })();
    finish(path, r, whole)
}

/// What an operator's command needs, or the problems of that.
pub(super) fn operator(
    path: &Path,
    environment: &Environment,
    file: RawFile,
    warnings: Vec<Warning>,
) -> Result<OperatorConfig, ConfigError> {
    let mut r = Reader::new(path, environment, file, warnings);
    // Misspelt keys elsewhere are the daemon's to refuse.
    r.problems
        .retain(|p| p.key.starts_with("status") || p.key.starts_with("store"));
    let status = status(&mut r);
    let store = store(&mut r);
    let whole = (|| {
        let status = status?;
        Some(OperatorConfig {
            listen: status.listen,
            token: status.api_tokens.into_iter().next(),
            store_path: store?.path,
        })
    })();
    finish(path, r, whole).map(|(operator, _)| operator)
}

fn finish<T>(
    path: &Path,
    r: Reader<'_>,
    whole: Option<T>,
) -> Result<(T, Vec<Warning>), ConfigError> {
    let Reader {
        mut problems,
        warnings,
        ..
    } = r;
    match whole {
        Some(value) if problems.is_empty() => Ok((value, warnings)),
        _ => {
            if problems.is_empty() {
                // The invariant of this module is broken: say so instead of an empty report.
                problems.push(Problem {
                    key: "gateway.toml".into(),
                    line: None,
                    value: None,
                    rule: "was refused without a reason, which is a defect of the gateway".into(),
                    hint: String::new(),
                    forbidden: false,
                });
            }
            Err(ConfigError::Problems {
                path: path.to_owned(),
                problems,
                warnings,
            })
        }
    }
}

fn http(r: &mut Reader<'_>) -> Option<HttpConfig> {
    let listen = r.text("http.listen", values::listen);
    let tls = super::check_listener::tls(r, listen.as_ref());
    let api_tokens = tokens(r, "http.api-tokens-file", listen.as_ref());
    let allowed_origins = r.list("http.allowed-origins", 64, values::origin);
    let max_body = r.text("http.max-body", |text| {
        let size = values::size(text)?;
        // The body is held in memory once per connection, and kept as members.
        if (1..=MEMBERS_BYTES_MAX).contains(&size) {
            Ok(size)
        } else {
            Err(Rule::new(
                "must be from 1B to 4MiB",
                "all members of an interaction together may have 4MiB",
            ))
        }
    });
    let accepts_per_minute = r.count(
        "http.accepts-per-minute",
        0..=1_000_000,
        "new conversations of one token, or of one peer without tokens; 0 is no quota",
    );
    let conversation_id_at = r.text("http.conversation-id-at", values::json_pointer);
    Some(HttpConfig {
        listen: listen?,
        tls: tls?,
        api_tokens: api_tokens?,
        allowed_origins: allowed_origins?,
        max_body: max_body?,
        accepts_per_minute: accepts_per_minute?,
        conversation_id_at: conversation_id_at?,
    })
}

fn status(r: &mut Reader<'_>) -> Option<StatusConfig> {
    let listen = r.text("status.listen", values::listen);
    let api_tokens = tokens(r, "status.api-tokens-file", listen.as_ref());
    Some(StatusConfig {
        listen: listen?,
        api_tokens: api_tokens?,
    })
}

fn tokens(r: &mut Reader<'_>, key: &str, listen: Option<&Listen>) -> Option<Vec<Secret>> {
    let tokens = r.secret(key, |file| file.read_tokens())?;
    if tokens.is_none() && listen.is_some_and(|l| !l.is_local()) {
        r.required(
            key,
            "where others can reach the listener",
            "a file with one token per line; or listen on a loopback address or a unix socket",
        );
        return None;
    }
    Some(tokens.unwrap_or_default())
}

fn different_listeners(r: &mut Reader<'_>, http: &Listen, status: &Listen) {
    let free_port = matches!(http, Listen::Tcp(address) if address.port() == 0);
    if http == status && !free_port {
        r.problem(
            "status.listen",
            Rule::new(
                "must differ from http.listen",
                "a stuck intake would blind the operators",
            ),
        );
    }
}

fn channels(r: &mut Reader<'_>, simulated: bool) -> Option<ChannelsConfig> {
    let max_channels = r.count(
        "channels.max-channels",
        1..=20,
        "the platform allows 20 per user and OAuth client, and closes one for each beyond",
    );
    let topics_per_channel = r.count(
        "channels.topics-per-channel",
        1..=1000,
        "the platform allows 1000 on a channel",
    );
    // At or below the platform's period every healthy socket would be given up
    // again and again. A simulator on this machine may beat faster.
    let least = if simulated {
        ms(100)
    } else {
        SLOWEST_HEARTBEAT
    };
    let heartbeat_timeout = r.duration(
        "channels.heartbeat-timeout",
        least..=secs(600),
        "the platform sends a heartbeat every 30 s; events lost in a longer silence are found over REST only",
    );
    let renew_before = r.duration(
        "channels.renew-before",
        secs(1)..=CHANNEL_LIFE,
        "a channel lives 24h, and at most half of that is given away",
    );
    if renew_before.is_some_and(|lead| lead > CHANNEL_LIFE / 2) {
        r.warn(
            "channels.renew-before",
            "is longer than half of a channel's life, which is all that is given away: it counts as 12h",
        );
    }
    Some(ChannelsConfig {
        max_channels: max_channels?,
        topics_per_channel: topics_per_channel?,
        heartbeat_timeout: heartbeat_timeout?,
        renew_before: renew_before?,
    })
}

fn tracking(r: &mut Reader<'_>) -> Option<TrackingConfig> {
    let until = r.text("tracking.until", |text| match text {
        "conversation-finished" => Ok(Until::ConversationFinished),
        "first-event" => Ok(Until::FirstEvent),
        _ => Err(Rule::new(
            "must be \"conversation-finished\" or \"first-event\"",
            "",
        )),
    });
    if until == Some(Until::FirstEvent) {
        r.warn(
            "tracking.until",
            "first-event loses every wrap-up after the first one: those of transfers, conferences and re-opened e-mails",
        );
    }
    let max_age = r.duration("tracking.max-age", PATIENCE, "");
    let settle_for = r.duration("tracking.settle-for", secs(1)..=days(30), "");
    if let (Some(age), Some(settle)) = (max_age, settle_for)
        && settle > age
    {
        r.warn(
            "tracking.settle-for",
            "is longer than tracking.max-age, so that conversations expire before they settle",
        );
    }
    let linger = r.duration("tracking.linger", secs(0)..=days(1), "0s is not at all");
    if let (Some(age), Some(linger)) = (max_age, linger)
        && linger > age
    {
        r.warn(
            "tracking.linger",
            "is longer than tracking.max-age, which ends it",
        );
    }
    let unreported = r.text("tracking.unreported", |text| match text {
        "ignore" => Ok(Unreported::Ignore),
        "file" => Ok(Unreported::File),
        _ => Err(Rule::new("must be \"ignore\" or \"file\"", "")),
    });
    Some(TrackingConfig {
        unreported: unreported?,
        until: until?,
        max_age: max_age?,
        settle_for: settle_for?,
        linger: linger?,
    })
}

fn history(r: &mut Reader<'_>) -> Option<HistoryConfig> {
    let url = r.text("history.url", |text| {
        values::url(text).map(|parts| (text.to_owned(), parts))
    });
    let workers = r.count("history.workers", 1..=64, "each is a thread");
    let timeout = r.duration("history.timeout", ms(10)..=secs(600), "");
    let give_up_after = r.duration("history.give-up-after", PATIENCE, "");
    let bearer_token_file = r.secret("history.bearer-token-file", |file| {
        let (_, warning) = file.read_bearer()?;
        Ok((file.path().to_path_buf(), warning))
    });
    let headers = headers(r);
    let ca = r.file("history.ca-file", files::certificates);
    let client_identity = client_identity(r);
    let template = r.file("history.template-file", files::template);
    if let Some((_, parts)) = &url {
        if !parts.https && !parts.is_loopback() {
            r.warn(
                "history.url",
                "notes and numbers of customers cross the network in clear text; use https",
            );
        }
        if !parts.https {
            for key in ["history.ca-file", "history.client-certificate-file"] {
                if r.names(key) {
                    r.warn(key, "is not used, because history.url is not https");
                }
            }
        }
    }
    Some(HistoryConfig {
        url: url?.0,
        workers: workers?,
        timeout: timeout?,
        give_up_after: give_up_after?,
        bearer_token_file: bearer_token_file?,
        headers: headers?,
        ca: ca?,
        client_identity: client_identity?,
        template: template?,
    })
}

fn headers(r: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    const KEY: &str = "history.headers";
    let pairs = r.table(KEY, 32)?;
    let mut whole = true;
    for (at, (name, value)) in pairs.iter().enumerate() {
        if let Err(rule) = values::header(name, value) {
            whole = false;
            r.problem(KEY, rule);
        } else if pairs[..at]
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name))
        {
            whole = false;
            r.problem(
                KEY,
                Rule::new(format!("names {name} twice in different letter case"), ""),
            );
        }
        let lower = name.to_ascii_lowercase();
        let secret = ["token", "secret", "password", "api-key", "apikey", "cookie"];
        if secret.iter().any(|s| lower.contains(s)) {
            r.warn(
                KEY,
                format!(
                    "{name} looks like a secret; secrets belong in files, see bearer-token-file"
                ),
            );
        }
    }
    whole.then_some(pairs)
}

fn client_identity(r: &mut Reader<'_>) -> Option<Option<ClientIdentity>> {
    let found = identity(
        r,
        "history.client-certificate-file",
        "history.client-key-file",
    )?;
    Some(found.map(|(certificates, key_pem)| ClientIdentity {
        certificates,
        key_pem,
    }))
}

/// A certificate and its key, of which there are both or none.
pub(super) fn identity(
    r: &mut Reader<'_>,
    certificate: &str,
    key: &str,
) -> Option<Option<(Certificates, Secret)>> {
    let certificates = r.file(certificate, files::certificates);
    let key_pem = r.secret(key, |file| files::tls_key(&file));
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    match (r.names(certificate), r.names(key)) {
        (true, false) => r.required(key, &format!("with {}", leaf(certificate)), ""),
        (false, true) => r.required(certificate, &format!("with {}", leaf(key)), ""),
        _ => {}
    }
    match (certificates?, key_pem?) {
        (Some(certificates), Some(key_pem)) => {
            if let Err(rule) = files::belong_together(&certificates, &key_pem) {
                r.problem(key, rule);
                return None;
            }
            Some(Some((certificates, key_pem)))
        }
        (None, None) => Some(None),
        _ => None,
    }
}

fn store(r: &mut Reader<'_>) -> Option<StoreConfig> {
    let environment = r.environment;
    let path = r.text("store.path", |text| {
        // A name that ends in a slash, or SQLite's own spellings for "no file".
        if text.is_empty() || text.ends_with('/') || text.contains('\0') || text.starts_with(':') {
            return Err(Rule::new("must be the path of a file", ""));
        }
        let base = environment
            .state_directory
            .as_deref()
            .unwrap_or(&environment.working_directory);
        let path = values::below(base, text);
        if path.is_dir() {
            return Err(Rule::new(
                "must be a file, and there is a directory of that name",
                "for example gateway.db inside of it",
            ));
        }
        Ok(path)
    });
    if let Some(directory) = path.as_deref().and_then(Path::parent)
        && !directory.as_os_str().is_empty()
        && !directory.exists()
    {
        r.warn(
            "store.path",
            format!("the directory {} does not exist", directory.display()),
        );
    }
    let retain = r.duration("store.retain", KEEPING, "");
    let keep_bodies = r.duration("store.keep-bodies", KEEPING, "");
    if let (Some(retain), Some(keep)) = (retain, keep_bodies)
        && keep > retain
    {
        r.warn(
            "store.keep-bodies",
            "is longer than store.retain, after which the whole row is gone",
        );
    }
    Some(StoreConfig {
        path: path?,
        retain: retain?,
        keep_bodies: keep_bodies?,
    })
}
