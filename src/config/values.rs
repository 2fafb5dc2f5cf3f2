//! What texts mean: durations, sizes, addresses, pointers, origins, URLs, regions.
//!
//! Each parser is a pure function from text to a value or a [`Rule`] that says
//! what the text should have been. No I/O.
//!
//! Invariant: a value that was parsed here is never checked again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a value has to be, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) hint: String,
}

impl Rule {
    pub(super) fn new(rule: impl Into<String>, hint: impl Into<String>) -> Rule {
        Rule {
            rule: rule.into(),
            hint: hint.into(),
        }
    }
}

/// Where a listener binds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// Address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket at an absolute path of at most 107 bytes.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can reach it, so that no token is needed.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Listen::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `IP:port`, `[IPv6]:port` or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<Listen, Rule> {
    const RULE: &str = "must be IP:port, [IPv6]:port or unix:/absolute/path";
    if let Some(path) = text.strip_prefix("unix:") {
        // The kernel's `sun_path` holds 108 bytes with the final zero.
        const LONGEST: usize = 107;
        return if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            Err(Rule::new(
                RULE,
                "the path of a unix socket is absolute, as in unix:/run/genesys-gateway/intake.sock",
            ))
        } else if path.len() > LONGEST {
            Err(Rule::new(
                format!("a unix socket's path has at most {LONGEST} bytes"),
                "choose a shorter one, for example below /run",
            ))
        } else {
            Ok(Listen::Unix(PathBuf::from(path)))
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Listen::Tcp(address)),
        Err(_) => {
            let port = text
                .rsplit(':')
                .next()
                .and_then(|p| p.parse::<u16>().ok())
                .map_or_else(|| "PORT".to_owned(), |p| p.to_string());
            let hint = if text.starts_with("localhost") {
                format!("write 127.0.0.1:{port} or [::1]:{port}")
            } else if text.starts_with('/') {
                format!("write unix:{text}")
            } else if text.starts_with(':') || text.starts_with('*') {
                format!("for all addresses write 0.0.0.0:{port} or [::]:{port}")
            } else if text.parse::<IpAddr>().is_ok() {
                "the port is missing".to_owned()
            } else {
                "names are not looked up; give the address itself".to_owned()
            };
            Err(Rule::new(RULE, hint))
        }
    }
}

/// A whole number followed by `ms`, `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Result<Duration, Rule> {
    let rule = || {
        Rule::new(
            "must be a whole number followed by ms, s, m, h or d",
            "for example \"500ms\", \"30s\", \"15m\", \"23h\" or \"30d\"",
        )
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| rule())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(rule()),
    };
    // Beyond this is a slip, and the bound keeps sums of durations far from overflow.
    const LONGEST_MS: u64 = 36_500 * 86_400_000;
    match number.checked_mul(unit) {
        Some(ms) if ms <= LONGEST_MS => Ok(Duration::from_millis(ms)),
        _ => Err(Rule::new("must be at most 36500d", "")),
    }
}

/// A duration in the largest unit that shows it exactly.
#[must_use]
pub(super) fn show_duration(d: Duration) -> String {
    let ms = d.as_millis();
    for (unit, name) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        // Hours up to three days, as people say it: "72h", but "30d".
        if ms != 0 && ms.is_multiple_of(unit) && !(name == "d" && ms / unit < 4) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

/// A whole number followed by `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Result<usize, Rule> {
    let rule = || {
        Rule::new(
            "must be a whole number followed by B, KiB, MiB or GiB",
            "for example \"64KiB\" or \"1MiB\"",
        )
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| rule())?;
    let unit: usize = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(rule()),
    };
    number.checked_mul(unit).ok_or_else(rule)
}

/// A JSON Pointer (RFC 6901) to a member, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonPointer {
    text: String,
    tokens: Vec<String>,
}

impl JsonPointer {
    /// The member names (or array indices) on the way, escapes undone; at least one.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A pointer to something inside of the body, so not the empty one.
pub(super) fn json_pointer(text: &str) -> Result<JsonPointer, Rule> {
    const RULE: &str = "must be a JSON Pointer to a member, as in \"/conversationId\"";
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Rule::new(RULE, format!("write \"/{text}\"")));
    };
    let mut tokens = Vec::new();
    for token in rest.split('/') {
        let escapes_whole = token
            .match_indices('~')
            .all(|(i, _)| matches!(token.as_bytes().get(i + 1), Some(b'0' | b'1')));
        if !escapes_whole {
            return Err(Rule::new(RULE, "write ~ as ~0 and / as ~1 inside a name"));
        }
        tokens.push(token.replace("~1", "/").replace("~0", "~"));
    }
    Ok(JsonPointer {
        text: text.to_owned(),
        tokens,
    })
}

/// A URL taken apart as far as anyone here needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// With its leading slash; `/` if there is none.
    pub(super) path: String,
    pub(super) query: bool,
}

impl Url {
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// An `http` or `https` URL without user name, password and fragment.
pub(super) fn url(text: &str) -> Result<Url, Rule> {
    const RULE: &str = "must be a URL that begins with https:// or http://";
    let rule = |hint: &str| Rule::new(RULE, hint);
    let uri: http::Uri = text
        .parse()
        .map_err(|_| rule("it does not read as a URL"))?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(rule("")),
    };
    let authority = uri.authority().ok_or_else(|| rule("the host is missing"))?;
    if authority.as_str().contains('@') {
        return Err(Rule::new(
            "must not contain a user name or a password",
            "secrets come from files only",
        ));
    }
    if text.contains('#') {
        return Err(rule("a fragment (#...) is never sent; leave it out"));
    }
    let host = authority.host();
    if host.is_empty() {
        return Err(rule("the host is missing"));
    }
    let port = match authority.as_str().strip_prefix(host) {
        Some("") => None,
        Some(rest) => match rest.strip_prefix(':').map(str::parse::<u16>) {
            Some(Ok(port)) if port > 0 => Some(port),
            _ => return Err(rule("a port is a number from 1 to 65535")),
        },
        None => return Err(rule("it does not read as a URL")),
    };
    Ok(Url {
        https,
        host: host.to_ascii_lowercase(),
        port,
        path: uri.path().to_owned(),
        query: uri.query().is_some(),
    })
}

/// The root of an API: no query, and plain http only on this machine, because
/// a client secret travels over it. Without its final slash.
pub(super) fn base_url(text: &str) -> Result<String, Rule> {
    let parts = url(text)?;
    if parts.query {
        return Err(Rule::new("must not have a query (?...)", ""));
    }
    if !parts.https && !parts.is_loopback() {
        return Err(Rule::new(
            "must begin with https://; http:// is for loopback addresses only",
            "the client secret and the tokens travel over it",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The proxy through which the platform is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Host name or address, an IPv6 address in brackets.
    pub host: String,
    /// Port; 8080 where the URL names none.
    pub port: u16,
}

impl Proxy {
    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }
}

/// `http://host:port`: a proxy that is asked to CONNECT.
pub(super) fn proxy(text: &str) -> Result<Proxy, Rule> {
    let rule = "must be a proxy as http://host:port";
    let parts = url(text).map_err(|r| {
        if r.rule.contains("password") {
            Rule::new(
                r.rule,
                "put user:password into a file of its own, see genesys.proxy-credentials-file",
            )
        } else {
            Rule::new(rule, r.hint)
        }
    })?;
    if parts.https || parts.path != "/" || parts.query {
        return Err(Rule::new(
            rule,
            "the proxy is asked to CONNECT over plain HTTP; TLS runs end to end inside of it",
        ));
    }
    Ok(Proxy {
        host: parts.host,
        // What squid-like proxies and curl users expect where no port is given.
        port: parts.port.unwrap_or(8080),
    })
}

/// An origin as browsers send it: scheme, host, and port where it is not the usual one.
pub(super) fn origin(text: &str) -> Result<String, Rule> {
    const RULE: &str = "must be an origin such as \"https://apps.mypurecloud.de\"";
    if text == "*" {
        return Err(Rule::new(
            "must not be \"*\"",
            "any page on the internet could then call the intake from an agent's browser; list the origins",
        ));
    }
    let parts = url(text).map_err(|r| Rule::new(RULE, r.hint))?;
    if parts.query || parts.path != "/" || text.ends_with('/') || text.contains('*') {
        return Err(Rule::new(
            RULE,
            "scheme, host and perhaps port: no path, no final slash, no pattern",
        ));
    }
    let scheme = if parts.https { "https" } else { "http" };
    let usual = if parts.https { 443 } else { 80 };
    Ok(match parts.port {
        Some(port) if port != usual => format!("{scheme}://{}:{port}", parts.host),
        _ => format!("{scheme}://{}", parts.host),
    })
}

/// The regions of the platform: AWS name and domain (protocol, section 1).
pub const REGIONS: &[(&str, &str)] = &[
    ("us-east-1", "mypurecloud.com"),
    ("us-east-2", "use2.us-gov-pure.cloud"),
    ("us-west-2", "usw2.pure.cloud"),
    ("ca-central-1", "cac1.pure.cloud"),
    ("sa-east-1", "sae1.pure.cloud"),
    ("mx-central-1", "mxc1.pure.cloud"),
    ("eu-central-1", "mypurecloud.de"),
    ("eu-central-2", "euc2.pure.cloud"),
    ("eu-west-1", "mypurecloud.ie"),
    ("eu-west-2", "euw2.pure.cloud"),
    ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
    ("me-central-1", "mec1.pure.cloud"),
    ("ap-southeast-1", "apse1.pure.cloud"),
    ("ap-southeast-2", "mypurecloud.com.au"),
    ("ap-northeast-1", "mypurecloud.jp"),
    ("ap-northeast-2", "apne2.pure.cloud"),
    ("ap-northeast-3", "apne3.pure.cloud"),
    ("ap-south-1", "aps1.pure.cloud"),
];

/// A domain, in lower case; known ones and others, because regions are added over time.
pub(super) fn region(text: &str) -> Result<String, Rule> {
    const RULE: &str = "must be the domain of a region, such as \"mypurecloud.de\"";
    let lower = text.to_ascii_lowercase();
    if let Some((_, domain)) = REGIONS.iter().find(|(aws, _)| *aws == lower) {
        return Err(Rule::new(RULE, format!("{lower} is \"{domain}\"")));
    }
    let bare = lower.trim_start_matches("https://").trim_end_matches('/');
    for prefix in ["login.", "api.", "apps.", "streaming."] {
        if let Some(domain) = bare.strip_prefix(prefix) {
            return Err(Rule::new(RULE, format!("without the host: \"{domain}\"")));
        }
    }
    if !is_name(&lower) {
        return Err(Rule::new(RULE, "genesys-gateway.toml(5) lists the regions"));
    }
    Ok(lower)
}

/// A host name of two labels at least, in lower case; no address.
fn is_name(lower: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let labels: Vec<&str> = lower.split('.').collect();
    let last_is_a_name = labels
        .last()
        .is_some_and(|l| l.bytes().any(|b| b.is_ascii_alphabetic()));
    lower.len() <= 240 && labels.len() >= 2 && labels.iter().all(|l| label(l)) && last_is_a_name
}

/// A host that channels may lead to: a name, or `*.` and the domain above.
pub(super) fn streaming_host(text: &str) -> Result<String, Rule> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    if !is_name(name) || base::authority::is_loopback(name) {
        return Err(Rule::new(
            "must be a host name such as \"streaming.example.com\" or \"*.example.com\"",
            "neither scheme nor port nor path, no address, and nothing on this machine",
        ));
    }
    Ok(lower)
}

/// A header that may be sent besides those that the gateway sends itself.
pub(super) fn header(name: &str, value: &str) -> Result<(), Rule> {
    // Either the gateway's own, or the connection's.
    const OURS: &[&str] = &[
        "authorization",
        "content-type",
        "idempotency-key",
        "content-length",
        "host",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "content-encoding",
        "proxy-authorization",
        "proxy-connection",
    ];
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(Rule::new(
            format!("{} is not a header name", super::raw::quoted(name)),
            "letters, digits and hyphens, as in X-Source",
        ));
    }
    if OURS.iter().any(|o| o.eq_ignore_ascii_case(name)) {
        return Err(Rule::new(
            format!("{name} is set by the gateway itself"),
            if name.eq_ignore_ascii_case("authorization") {
                "use history.bearer-token-file"
            } else {
                "leave it out"
            },
        ));
    }
    let visible = |b: u8| b == b' ' || b.is_ascii_graphic();
    if !value.bytes().all(visible) || value.trim() != value || value.len() > 4096 {
        return Err(Rule::new(
            format!("the value of {name} must be visible ASCII of at most 4096 characters"),
            "no line breaks, no spaces at either end",
        ));
    }
    Ok(())
}

/// A line of text for a header, a form or an attribute: not empty, no control characters.
pub(super) fn line(text: &str) -> Result<String, Rule> {
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > 1024 {
        return Err(Rule::new(
            "must be a line of text of 1 to 1024 characters",
            "",
        ));
    }
    Ok(text.to_owned())
}

/// A client id: visible ASCII without a colon, which would end it in Basic authentication.
pub(super) fn client_id(text: &str) -> Result<String, Rule> {
    let fits = |b: u8| b.is_ascii_graphic() && b != b':';
    if text.is_empty() || text.len() > 256 || !text.bytes().all(fits) {
        return Err(Rule::new(
            "must be the id of an OAuth client: visible ASCII without colon or space",
            "copy it from Admin > Integrations > OAuth",
        ));
    }
    Ok(text.to_owned())
}

/// Something like an e-mail address; the platform decides about the rest.
pub(super) fn email(text: &str) -> Result<String, Rule> {
    let parts: Vec<&str> = text.split('@').collect();
    match parts.as_slice() {
        [user, domain]
            if !user.is_empty()
                && !domain.is_empty()
                && !text.chars().any(|c| c.is_control() || c.is_whitespace()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Rule::new(
            "must be the e-mail address of the platform user",
            "the token acts as that user",
        )),
    }
}

/// `path` below `base` unless it is absolute.
pub(super) fn below(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}
