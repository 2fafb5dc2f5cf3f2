//! The HTTP proxy that both client libraries are to use: parsed once, given to
//! both. Only a configured proxy counts; the environment is not consulted.
//!
//! Invariant: the password appears in no rendering.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use base::authority::{bare, port};
use base::secret::Secret;

/// A proxy that understands `CONNECT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// Port; 80 where none was given, as for any `http` address.
    pub port: u16,
    credentials: Option<(String, Secret)>,
}

/// The text is not `http://[user[:password]@]host[:port]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAProxy;

impl fmt::Display for NotAProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a proxy such as http://proxy.example:3128")
    }
}

impl std::error::Error for NotAProxy {}

impl Proxy {
    /// Reads `http://[user[:password]@]host[:port]`; user and password may be percent-encoded.
    ///
    /// # Errors
    /// Anything else, proxies reached over TLS or SOCKS included.
    pub fn parse(text: &str) -> Result<Proxy, NotAProxy> {
        let uri: http::Uri = text.parse().map_err(|_| NotAProxy)?;
        if uri.scheme_str().is_some_and(|s| s != "http") || !matches!(uri.path(), "" | "/") {
            return Err(NotAProxy);
        }
        let authority = uri.authority().ok_or(NotAProxy)?;
        let host = bare(authority.host());
        if host.is_empty() {
            return Err(NotAProxy);
        }
        let credentials = authority
            .as_str()
            .rsplit_once('@')
            .map(|(userinfo, _)| {
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                let password = Secret::new(decoded(password)?);
                crate::redaction::learn(&password);
                Ok((decoded(user)?, password))
            })
            .transpose()?;
        Ok(Proxy {
            host: host.to_owned(),
            port: port(authority, 80).ok_or(NotAProxy)?,
            credentials,
        })
    }

    /// The same proxy, asked in the name of that user.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Option<(String, Secret)>) -> Proxy {
        self.credentials = credentials.or(self.credentials);
        self
    }

    /// The value of `Proxy-Authorization`, if the proxy wants a password.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        let (user, password) = self.credentials.as_ref()?;
        let pair = format!("{user}:{}", password.expose());
        Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
    }
}

fn decoded(text: &str) -> Result<String, NotAProxy> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| NotAProxy)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_defaults_and_credentials() {
        let plain = Proxy::parse("http://proxy.example").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("proxy.example", 80));
        assert_eq!(plain.authorization(), None);
        let known = plain
            .clone()
            .with_credentials(Some((String::from("me"), Secret::new("p:ss"))));
        let said = known.authorization().unwrap();
        assert_eq!(said.expose(), "Basic bWU6cDpzcw==");
        assert_eq!(plain.clone().with_credentials(None), plain);
        let six = Proxy::parse("http://[::1]:3128/").unwrap();
        assert_eq!((six.host.as_str(), six.port), ("::1", 3128));
        let full = Proxy::parse("http://me:p%40ss@p:1").unwrap();
        assert_eq!(full.authorization().unwrap().expose(), "Basic bWU6cEBzcw==");
        assert!(!format!("{full:?}").contains("p@ss"));
        assert_eq!(Proxy::parse("proxy.example:3128").unwrap().port, 3128);
    }

    #[test]
    fn what_is_no_http_proxy_is_refused() {
        for bad in [
            "",
            "https://p",
            "socks5://p:1",
            "http://",
            "http://p/x",
            "http://p:99999",
            "a b",
        ] {
            assert_eq!(Proxy::parse(bad), Err(NotAProxy), "{bad}");
        }
    }
}
