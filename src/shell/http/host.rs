//! Whom a request takes this listener for: the guard of listeners without tokens.
//!
//! Without a token a listener is for this machine alone, and a browser here is
//! then the way in for strangers' pages: a name of theirs may be made to point at
//! this address. Such a request names their host.
//!
//! Invariant: a name is believed to be of this machine only if no resolver
//! outside of it could make it so.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::exchange::{Exchange, Reply};
use crate::shell::problem::Problem;

/// The refusal of a request over TCP that does not name this machine; for
/// listeners without tokens. A unix socket has no name, and no page reaches it.
#[must_use]
pub fn refuse_stranger(x: &Exchange) -> Option<Reply> {
    if x.peer == "unix" || x.header("Host").is_some_and(is_loopback) {
        return None;
    }
    Some(Reply::problem(&Problem::new(
        403,
        "forbidden",
        "Not from here",
        "Without a token this listener answers only under a name of this machine, such as localhost.",
    )))
}

/// Whether a Host (`uri-host [":" port]`, RFC 9110, section 7.2) names this machine and nothing
/// else, whatever the port. What is not of that form names nobody.
fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(v6, port)| {
            let address = v6.parse::<Ipv6Addr>();
            is_port(port) && address.is_ok_and(|ip| ip.to_canonical().is_loopback())
        });
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let local = name.strip_suffix('.').unwrap_or(name);
    is_port(port)
        && (local.eq_ignore_ascii_case("localhost")
            || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
}

/// Nothing, or a colon and a port; the grammar lets its digits be left out (RFC 3986, 3.2.3).
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for good in [
            "localhost",
            "LOCALHOST:8481",
            "127.0.0.1:8481",
            "127.9.9.9",
            "[::1]:8481",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
            "localhost.:1",
            "localhost:",
            "localhost:65535",
            "[::1]:",
        ] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:8481",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "[::1]x",
            "0.0.0.0",
            "localhost:evil.example",
            "localhost:80:evil.example",
            "localhost:80evil",
            "localhost:65536",
            "localhost:+80",
            "localhost:-1",
            "localhost: 80",
            "localhost::80",
            "localhost..",
            "localhost.:evil",
            ".localhost",
            "localhost%00",
            "localhost,evil.example",
            "evil@localhost",
            "localhost@evil",
            "127.0.0.1:80:evil",
            "127.0.0.1.",
            "127.1",
            "127.0.0.01",
            "2130706433",
            "0x7f000001",
            "::1",
            "::1:80",
            "[127.0.0.1]",
            "[localhost]",
            "[::1%25lo]",
            "[::1]:evil",
            "[::1]:80:evil",
            "[::1]:80]",
            "[[::1]]",
            "[::1]80",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
