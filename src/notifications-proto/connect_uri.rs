//! Where a channel may lead: the platform names the address of a channel's socket in its
//! answers (`connectUri`), and whoever can forge one answer could have the channel's id, and
//! with it everything that is announced, sent anywhere.
//!
//! With an API over TLS only `wss` is taken, to hosts of the region's domain, to the API's own
//! host and the `streaming.` beside it, or to `[genesys] streaming-hosts`; to this machine only
//! where the API itself is on it. What counts as one domain is said at [`Streaming`].
//! An API without TLS is on this machine (the configuration takes no other): then `ws` to this
//! machine and to `streaming-hosts` is taken as well.
//!
//! May not decide what becomes of a channel whose address is refused.
//!
//! Invariant: who judges an address and who dials it read it by the same [`Address::parse`];
//! what a [`Refused`] says shows neither path nor query nor user name.

use std::fmt;

use base::authority::{bare, is_loopback, port};
use base::plain::one_line;

/// The most characters of a foreign host that are shown; names have at most 253.
const HOST_SHOWN: usize = 100;

/// The address of a channel's socket, always taken from the `connectUri`, never built
/// (protocol, section 1).
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `wss`.
    pub secure: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// The port, by default that of the scheme.
    pub port: u16,
    /// As `CONNECT` wants it, with the brackets of an IPv6 address.
    pub authority: String,
    /// As `Host` wants it: without a port where there was none.
    pub named: String,
    /// Path and query.
    pub path: String,
    /// There is a user name or a password in it.
    personal: bool,
}

impl Address {
    /// `None` for what is no `ws` or `wss` address with a host and a port.
    #[must_use]
    pub fn parse(text: &str) -> Option<Address> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (secure, default) = match scheme.as_str() {
            "wss" => (true, 443),
            "ws" => (false, 80),
            _ => return None,
        };
        let text = format!("{scheme}://{rest}");
        let uri: http::Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host();
        let port = port(authority, default).filter(|port| *port > 0 && !host.is_empty())?;
        Some(Address {
            secure,
            host: bare(host).to_owned(),
            port,
            authority: format!("{host}:{port}"),
            named: authority
                .as_str()
                .rsplit_once('@')
                .map_or(authority.as_str(), |(_, rest)| rest)
                .to_owned(),
            path: match uri.path_and_query().map_or("/", |p| p.as_str()) {
                path if path.starts_with('/') => path.to_owned(),
                query => format!("/{query}"),
            },
            personal: authority.as_str().contains('@'),
        })
    }
}

/// Why an address is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is no WebSocket address.
    NoAddress,
    /// It holds a user name or a password.
    UserName,
    /// It leads to this machine, and the API is elsewhere.
    Loopback,
    /// It leads to a host that is not the platform's.
    Stranger(String),
    /// It is `ws` where only `wss` is taken.
    Plain(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoAddress => f.write_str("which is no WebSocket address"),
            Refused::UserName => {
                f.write_str("which holds a user name or a password: the platform's has none")
            }
            Refused::Loopback => f.write_str("which leads to this machine, where the API is not"),
            Refused::Stranger(host) => write!(
                f,
                "which leads to {host}: neither of the region's domain nor in [genesys] streaming-hosts"
            ),
            Refused::Plain(host) => {
                write!(f, "which leads to {host} without TLS: only wss is taken")
            }
        }
    }
}

/// The platform's own domains (protocol, section 1): everything below them is its own.
const PLATFORM: [&str; 8] = [
    "mypurecloud.com",
    "mypurecloud.com.au",
    "mypurecloud.de",
    "mypurecloud.ie",
    "mypurecloud.jp",
    "pure.cloud",
    "us-gov-pure.cloud",
    "eusc-pure.cloud",
];

/// A host that an operator allows.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Pattern {
    /// Exactly this one.
    Host(String),
    /// Everything below, with its leading dot (`*.` in the configuration).
    Below(String),
}

/// Where channels may lead; the default is nowhere.
///
/// Nothing in a name says where the domain of one owner begins: `co.uk` is everybody's. So
/// all that is below a domain is taken only of the platform's own domains and of a `region`
/// that has three labels, or two and no country's ending; of any other region `streaming.` and
/// itself. Of an `api-url` elsewhere its own host is taken, and where it is `api.` before such a
/// domain, the `streaming.` beside it; the rest is for the operator to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Streaming {
    /// The API is on this machine.
    here: bool,
    /// The API is without TLS.
    plain: bool,
    /// Domains that are taken with all that is below them, lower case.
    domains: Vec<String>,
    /// Single hosts that are taken, lower case.
    hosts: Vec<String>,
    /// What the operator allows besides.
    listed: Vec<Pattern>,
}

impl Streaming {
    /// For the API at `api_url`, the region's `domain`, and the hosts of
    /// `[genesys] streaming-hosts`.
    #[must_use]
    pub fn new(api_url: &str, domain: &str, hosts: &[String]) -> Streaming {
        let uri = api_url.parse::<http::Uri>().ok();
        let api = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        let api = bare(api).to_ascii_lowercase();
        let here = is_loopback(&api);
        let region = domain.to_ascii_lowercase();
        let mut domains = Vec::new();
        let mut single = Vec::new();
        match of_one_owner(&region) {
            true => domains.push(region),
            false => single.push(format!("streaming.{region}")),
        }
        if let Some(beside) = api.strip_prefix("api.").filter(|d| of_one_owner(d)) {
            match is_platforms(beside) {
                true => domains.push(beside.to_owned()),
                false => single.push(format!("streaming.{beside}")),
            }
        }
        if !here && !api.is_empty() {
            single.push(api);
        }
        let pattern = |host: &String| {
            let host = host.to_ascii_lowercase();
            match host.strip_prefix('*') {
                Some(below) => Pattern::Below(below.to_owned()),
                None => Pattern::Host(host),
            }
        };
        Streaming {
            here,
            plain: uri.is_some_and(|uri| uri.scheme_str() == Some("http")),
            domains,
            hosts: single,
            listed: hosts.iter().map(pattern).collect(),
        }
    }

    /// Whether a channel with this `connectUri` may be connected.
    ///
    /// # Errors
    /// It may not; the reason is a clause for people.
    pub fn judge(&self, connect_uri: &str) -> Result<(), Refused> {
        let address = Address::parse(connect_uri).ok_or(Refused::NoAddress)?;
        if address.personal {
            return Err(Refused::UserName);
        }
        let host = address.host.to_ascii_lowercase();
        let shown = || one_line(&host, HOST_SHOWN);
        let without_tls = if is_loopback(&host) {
            if !self.here {
                return Err(Refused::Loopback);
            }
            self.plain
        } else if self.listed.iter().any(|p| p.takes(&host)) {
            self.plain
        } else if self.hosts.contains(&host) || self.domains.iter().any(|d| within(&host, d)) {
            false
        } else {
            return Err(Refused::Stranger(shown()));
        };
        match address.secure || without_tls {
            true => Ok(()),
            false => Err(Refused::Plain(shown())),
        }
    }
}

impl Pattern {
    fn takes(&self, host: &str) -> bool {
        match self {
            Pattern::Host(listed) => host == listed,
            Pattern::Below(dot) => host.len() > dot.len() && host.ends_with(dot.as_str()),
        }
    }
}

fn is_platforms(domain: &str) -> bool {
    PLATFORM.iter().any(|own| within(domain, own))
}

/// Whether all that is below this domain has one owner, as far as a name can tell: countries
/// give names away below `co.uk` and the like, and only a list could tell those from others.
fn of_one_owner(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    let country = labels
        .last()
        .is_some_and(|last| last.len() == 2 || last.starts_with("xn--"));
    let enough = if country { 3 } else { 2 };
    is_platforms(domain) || labels.len() >= enough && labels.iter().all(|l| !l.is_empty())
}

/// The domain itself or a name below it. A name that ends in a dot is none of them: the
/// platform writes none, and certificates do not either.
fn within(host: &str, domain: &str) -> bool {
    let front = host.strip_suffix(domain);
    front.is_some_and(|front| front.is_empty() || front.len() > 1 && front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(refused: Result<(), Refused>) -> &'static str {
        match refused {
            Ok(()) => "taken",
            Err(Refused::NoAddress) => "no address",
            Err(Refused::UserName) => "user name",
            Err(Refused::Loopback) => "loopback",
            Err(Refused::Stranger(_)) => "stranger",
            Err(Refused::Plain(_)) => "plain",
        }
    }

    #[test]
    fn an_api_over_tls_leads_to_wss_at_hosts_of_the_region_and_at_listed_ones_only() {
        let hosts = ["ws.corp.example".to_owned(), "*.relay.example".to_owned()];
        let region = Streaming::new("https://api.mypurecloud.de", "mypurecloud.de", &hosts);
        for (uri, expected) in [
            ("wss://streaming.mypurecloud.de/channels/x", "taken"),
            ("wss://mypurecloud.de/channels/x", "taken"),
            ("wss://a.b.mypurecloud.de/x", "taken"),
            ("WSS://Streaming.MyPureCloud.DE/x", "taken"),
            ("wss://streaming.mypurecloud.de:8443/x", "taken"),
            ("wss://ws.corp.example/x", "taken"),
            ("wss://one.relay.example/x", "taken"),
            ("ws://streaming.mypurecloud.de/x", "plain"),
            ("WS://streaming.mypurecloud.de/x", "plain"),
            ("ws://ws.corp.example/x", "plain"),
            ("wss://relay.example/x", "stranger"),
            ("wss://.relay.example/x", "stranger"),
            ("wss://x.ws.corp.example/x", "stranger"),
            ("wss://evil.example/x", "stranger"),
            ("ws://evil.example/x", "stranger"),
            ("wss://streaming.mypurecloud.de.evil.example/x", "stranger"),
            ("wss://evilmypurecloud.de/x", "stranger"),
            ("wss://.mypurecloud.de/x", "stranger"),
            ("wss://streaming.mypurecloud.de./x", "stranger"),
            ("wss://streaming.mypurecloud.com/x", "stranger"),
            ("wss://evil.example#.mypurecloud.de", "stranger"),
            ("wss://evil.example?.mypurecloud.de", "stranger"),
            ("wss://10.0.0.1/x", "stranger"),
            ("wss://169.254.169.254/x", "stranger"),
            ("wss://[fe80::1]/x", "stranger"),
            ("wss://2130706433/x", "stranger"),
            ("wss://0x7f.1/x", "stranger"),
            ("wss://127.1/x", "stranger"),
            ("wss://127.0.0.1/x", "loopback"),
            ("ws://localhost/x", "loopback"),
            ("wss://[::1]:1/x", "loopback"),
            ("wss://[::ffff:127.0.0.1]/x", "loopback"),
            ("wss://0.0.0.0/x", "loopback"),
            ("wss://localhost./x", "loopback"),
            ("wss://me@streaming.mypurecloud.de/x", "user name"),
            ("wss://me:pass@streaming.mypurecloud.de/x", "user name"),
            ("wss://streaming.mypurecloud.de@evil.example/x", "user name"),
            ("wss://@streaming.mypurecloud.de/x", "user name"),
            ("wss://streaming.mypurecloud.de:0/x", "no address"),
            ("wss://streaming.mypurecloud.de:99999/x", "no address"),
            ("wss://streaming.mypurecloud.de:x/x", "no address"),
            (
                "wss://streaming.mypurecloud.de\\@evil.example/x",
                "no address",
            ),
            ("wss://evil.example\\.mypurecloud.de/x", "no address"),
            ("wss:///x", "no address"),
            ("wss://", "no address"),
            ("wss://:443/x", "no address"),
            ("https://streaming.mypurecloud.de/x", "no address"),
            ("file:///etc/passwd", "no address"),
            ("streaming.mypurecloud.de", "no address"),
            (" wss://streaming.mypurecloud.de/x", "no address"),
            ("wss://streaming.mypurecloud.de /x", "no address"),
            ("wss://\u{ff4d}ypurecloud.de/x", "no address"),
            ("", "no address"),
        ] {
            assert_eq!(word(region.judge(uri)), expected, "{uri}");
        }
        assert_eq!(word(Streaming::default().judge("wss://h/x")), "stranger");
    }

    #[test]
    fn beside_an_api_elsewhere_only_its_own_host_and_its_streaming_sibling_are_taken() {
        for (api, uri, expected) in [
            ("api.pure.example:8443/x", "streaming.pure.example", "taken"),
            ("api.pure.example", "api.pure.example", "taken"),
            ("api.pure.example", "streaming.mypurecloud.de", "taken"),
            ("api.pure.example", "pure.example", "stranger"),
            ("api.pure.example", "x.pure.example", "stranger"),
            ("api.pure.example", "x.streaming.pure.example", "stranger"),
            ("api.pure.example", "x.api.pure.example", "stranger"),
            ("api.pure.example", "example", "stranger"),
            ("API.Example.Co.UK", "streaming.example.co.uk", "taken"),
            ("api.example.co.uk", "example.co.uk", "stranger"),
            ("api.example.co.uk", "streaming.co.uk", "stranger"),
            ("api.example.co.uk", "evil.co.uk", "stranger"),
            ("api.co.uk", "api.co.uk", "taken"),
            ("api.co.uk", "streaming.co.uk", "stranger"),
            ("api.co.uk", "evil.co.uk", "stranger"),
            ("api.com.xn--p1ai", "streaming.com.xn--p1ai", "stranger"),
            ("example.co.uk", "evil.co.uk", "stranger"),
            ("example.co.uk", "streaming.example.co.uk", "stranger"),
            // Nothing is cut off a name that would leave a top-level domain, or none.
            ("api.example", "evil.example", "stranger"),
            ("api.example", "streaming.example", "stranger"),
            ("api.example", "api.example", "taken"),
            ("api.example.com.", "streaming.example.com.", "stranger"),
            ("api..uk", "streaming..uk", "stranger"),
            // Another region of the platform, and one that looks like it.
            (
                "api.mypurecloud.com.au",
                "streaming.mypurecloud.com.au",
                "taken",
            ),
            ("api.mypurecloud.com.au", "a.b.mypurecloud.com.au", "taken"),
            ("api.mypurecloud.com.au", "evil.com.au", "stranger"),
            ("api.usw2.pure.cloud", "a.usw2.pure.cloud", "taken"),
            (
                "api.usw2.pure.cloud",
                "streaming.euw2.pure.cloud",
                "stranger",
            ),
            ("api.evilpure.cloud", "a.evilpure.cloud", "stranger"),
            ("10.0.0.1", "10.0.0.1", "taken"),
            ("10.0.0.1", "10.0.0.2", "stranger"),
            ("10.0.0.1", "9.10.0.0.1", "stranger"),
        ] {
            let streaming = Streaming::new(&format!("https://{api}"), "mypurecloud.de", &[]);
            let found = word(streaming.judge(&format!("wss://{uri}/x")));
            assert_eq!(found, expected, "{uri} beside {api}");
        }
    }

    #[test]
    fn a_region_leads_below_its_domain_only_where_that_has_one_owner() {
        for (region, uri, expected) in [
            ("co.uk", "streaming.co.uk", "taken"),
            ("co.uk", "api.co.uk", "taken"),
            ("co.uk", "evil.co.uk", "stranger"),
            ("co.uk", "streaming.evil.co.uk", "stranger"),
            ("example.co.uk", "a.example.co.uk", "taken"),
            ("example.co.uk", "evil.co.uk", "stranger"),
            ("pure.example", "a.pure.example", "taken"),
            ("new1.pure.cloud", "a.new1.pure.cloud", "taken"),
            ("new1.pure.cloud", "a.usw2.pure.cloud", "stranger"),
        ] {
            let streaming = Streaming::new(&format!("https://api.{region}"), region, &[]);
            let found = word(streaming.judge(&format!("wss://{uri}/x")));
            assert_eq!(found, expected, "{uri} in the region {region}");
        }
    }

    #[test]
    fn an_api_on_this_machine_may_lead_to_this_machine() {
        let listed = ["simulator.example".to_owned()];
        let plain = Streaming::new("http://127.0.0.1:4000", "mypurecloud.de", &listed);
        let tls = Streaming::new("https://localhost:4000", "mypurecloud.de", &listed);
        for (uri, by_plain, by_tls) in [
            ("ws://127.0.0.1:4000/x", "taken", "plain"),
            ("ws://[::1]:4000/x", "taken", "plain"),
            ("wss://localhost:1/x", "taken", "taken"),
            ("ws://simulator.example/x", "taken", "plain"),
            ("wss://simulator.example/x", "taken", "taken"),
            ("ws://evil.example/x", "stranger", "stranger"),
            ("wss://evil.example/x", "stranger", "stranger"),
            ("ws://streaming.mypurecloud.de/x", "plain", "plain"),
            ("wss://streaming.mypurecloud.de/x", "taken", "taken"),
        ] {
            assert_eq!(word(plain.judge(uri)), by_plain, "{uri}");
            assert_eq!(word(tls.judge(uri)), by_tls, "{uri}");
        }
    }

    #[test]
    fn what_is_said_of_a_refused_address_shows_neither_path_nor_password() {
        let region = Streaming::new("https://api.mypurecloud.de", "mypurecloud.de", &[]);
        for uri in [
            "wss://evil.example/channels/hush?hush",
            "ws://streaming.mypurecloud.de/hush",
            "wss://hush:hush@streaming.mypurecloud.de/hush",
            "hush",
            "ws://127.0.0.1/hush",
        ] {
            let said = region.judge(uri).unwrap_err().to_string();
            assert!(!said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn only_websocket_addresses_are_addresses() {
        for bad in [
            "",
            "https://h/x",
            "wss://",
            "h",
            "/x",
            "wss:///x",
            "ws://h:99999/",
            "a b",
        ] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
        let six = Address::parse("ws://[::1]:81/x").unwrap();
        assert_eq!(
            (six.host.as_str(), six.authority.as_str()),
            ("::1", "[::1]:81")
        );
        assert_eq!(Address::parse("wss://h/x").unwrap().port, 443);
        let upper = Address::parse("WS://h/X").unwrap();
        assert_eq!((upper.port, upper.path.as_str()), (80, "/X"));
    }
}
