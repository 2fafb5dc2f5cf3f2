//! Hosts and ports of URIs: one reading of them for everybody.
//!
//! Invariant: who judges an address and who dials it see the same host and port.

use std::net::IpAddr;

/// Whether a host of a URL is this machine: such are never reached over a proxy. The
/// unspecified addresses lead here as well, and so do names below `localhost` (RFC 6761).
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = bare(host);
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        })
}

/// The port of an authority, or the default; `None` if what stands there is no port.
#[must_use]
pub fn port(authority: &http::uri::Authority, default: u16) -> Option<u16> {
    let text = authority.as_str();
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    match text.strip_prefix(authority.host())? {
        "" => Some(default),
        port => port.strip_prefix(':')?.parse().ok(),
    }
}

/// A host without the brackets of an IPv6 address.
#[must_use]
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "me.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "::1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "10.0.0.1", "[::2]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
