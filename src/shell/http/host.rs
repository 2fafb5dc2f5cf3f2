//! Whom a request takes this listener for: the guard of listeners without tokens.
//!
//! Without a token a listener is for this machine alone, and a browser here is
//! then the way in for strangers' pages: a name of theirs may be made to point at
//! this address. Such a request names their host.
//!
//! Invariant: a name is believed to be of this machine only if no resolver
//! outside of it could make it so.

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

/// Whether a Host names this machine and nothing else, whatever the port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) if port.is_empty() || port.starts_with(':') => v6,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
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
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
