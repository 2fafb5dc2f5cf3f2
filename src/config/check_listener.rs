//! Checks what the intake shows of itself over TLS.
//!
//! Invariant: as in `check`: `None` only after a problem was recorded.

use std::time::{Duration, SystemTime};

use super::check::identity;
use super::reader::Reader;
use super::values::{Listen, Rule};
use super::{ServerIdentity, validity};
use base::time::Wall;

const CERTIFICATE: &str = "http.certificate-file";
const KEY: &str = "http.private-key-file";
/// So long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Certificate and key of the intake, if it is to speak TLS.
pub(super) fn tls(r: &mut Reader<'_>, listen: Option<&Listen>) -> Option<Option<ServerIdentity>> {
    let found = identity(r, CERTIFICATE, KEY)?;
    let Some((certificates, key_pem)) = found else {
        return Some(None);
    };
    if let Some(Listen::Unix(_)) = listen {
        r.problem(
            CERTIFICATE,
            Rule::new(
                "is of no use on a unix socket, which nobody outside of this machine reaches",
                "leave it out, or listen on an address",
            ),
        );
        return None;
    }
    let own = certificates.der.first().and_then(|der| validity::of(der));
    if let Some((begins, ends)) = own
        && let Some(said) = oddity(begins, ends, now())
    {
        r.warn(CERTIFICATE, said);
    }
    Some(Some(ServerIdentity {
        certificates,
        key_pem,
        ends: own.map(|(_, ends)| ends),
    }))
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Wall(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

impl ServerIdentity {
    /// Whether the certificate has ended already: who verifies it refuses it then.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends < now())
    }
}

/// What is odd about the time of a certificate.
fn oddity(begins: Wall, ends: Wall, now: Wall) -> Option<String> {
    if ends < now {
        Some(format!(
            "the certificate has expired, on {}: whoever verifies it refuses it",
            ends.rfc3339()
        ))
    } else if begins > now {
        Some(format!(
            "the certificate is not good before {}: whoever verifies it refuses it until then",
            begins.rfc3339()
        ))
    } else if ends < now + SOON {
        Some(format!(
            "the certificate expires soon, on {}",
            ends.rfc3339()
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_before_and_after_it() {
        const DAY: i64 = 86_400_000;
        let now = Wall(1_800_000_000_000);
        let said =
            |from: i64, to: i64| oddity(Wall(now.0 + from * DAY), Wall(now.0 + to * DAY), now);
        assert_eq!(said(-1, 15), None);
        assert!(said(-1, 13).unwrap().contains("expires soon"));
        assert!(said(-2, -1).unwrap().contains("has expired"));
        assert!(said(1, 99).unwrap().contains("not good before"));
    }
}
