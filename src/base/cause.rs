//! Why a peer could not be spoken to: one vocabulary for REST, login, WebSockets
//! and the history manager.
//!
//! The shell classifies what the system and the libraries say; log lines, the
//! verdict, metrics and `check --online` use the words from here. Invariant: what
//! has such a cause was not sent.

use std::borrow::Cow;

use crate::blame::Blame;

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// No address is known for the name.
    NameNotFound,
    /// Whoever knows names does not answer.
    NamesDown,
    /// Nobody listens there, or a firewall says so.
    Refused,
    /// No way leads there.
    Unreachable,
    /// Nobody answered in time.
    TimedOut,
    /// The certificate's time is over.
    CertificateExpired,
    /// The certificate's time has not begun.
    CertificateNotYet,
    /// The certificate is another host's.
    CertificateName,
    /// Nobody we trust signed the certificate.
    CertificateIssuer,
    /// The certificate is of no use for another reason.
    Certificate,
    /// What answers does not speak TLS.
    NotTls,
    /// It wants a certificate of ours, or does not take the one that it was shown.
    ClientCertificate,
    /// Both speak TLS and found no way to agree.
    Tls,
    /// This machine has no root certificates.
    NoRoots,
    /// The connection was closed, or reset, before the answer.
    BrokenOff,
    /// The answer is not that of a WebSocket server.
    NotWebSocket,
    /// The proxy's name is not known.
    ProxyName,
    /// The proxy cannot be reached.
    ProxyAway,
    /// The proxy wants other credentials: 407.
    ProxyCredentials,
    /// The proxy refuses, with this status.
    ProxyRefuses(u16),
    /// The proxy broke off, or does not speak HTTP.
    ProxyOdd,
    /// The address is none that can be reached.
    NotAnAddress,
    /// This machine gave no thread, socket or port for it.
    Machine,
}

impl Cause {
    /// Every cause, by label; of the proxy's refusals the one [without a status](Cause::alike).
    pub const ALL: [Cause; 23] = [
        Cause::BrokenOff,
        Cause::Certificate,
        Cause::CertificateExpired,
        Cause::CertificateIssuer,
        Cause::CertificateName,
        Cause::CertificateNotYet,
        Cause::ClientCertificate,
        Cause::Machine,
        Cause::NameNotFound,
        Cause::NamesDown,
        Cause::NoRoots,
        Cause::NotAnAddress,
        Cause::NotTls,
        Cause::NotWebSocket,
        Cause::ProxyAway,
        Cause::ProxyCredentials,
        Cause::ProxyName,
        Cause::ProxyOdd,
        Cause::ProxyRefuses(0),
        Cause::Refused,
        Cause::TimedOut,
        Cause::Tls,
        Cause::Unreachable,
    ];

    /// What it is counted as: refusals of a proxy are alike, whatever the status.
    #[must_use]
    pub fn alike(self) -> Cause {
        match self {
            Cause::ProxyRefuses(_) => Cause::ProxyRefuses(0),
            other => other,
        }
    }

    /// Stable label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Cause::NameNotFound => "name-not-found",
            Cause::NamesDown => "names-down",
            Cause::Refused => "refused",
            Cause::Unreachable => "unreachable",
            Cause::TimedOut => "timed-out",
            Cause::CertificateExpired => "certificate-expired",
            Cause::CertificateNotYet => "certificate-not-yet",
            Cause::CertificateName => "certificate-name",
            Cause::CertificateIssuer => "certificate-issuer",
            Cause::Certificate => "certificate",
            Cause::NotTls => "not-tls",
            Cause::ClientCertificate => "client-certificate",
            Cause::Tls => "tls",
            Cause::NoRoots => "no-roots",
            Cause::BrokenOff => "broken-off",
            Cause::NotWebSocket => "not-websocket",
            Cause::ProxyName => "proxy-name",
            Cause::ProxyAway => "proxy-away",
            Cause::ProxyCredentials => "proxy-credentials",
            Cause::ProxyRefuses(_) => "proxy-refuses",
            Cause::ProxyOdd => "proxy-odd",
            Cause::NotAnAddress => "not-an-address",
            Cause::Machine => "machine",
        }
    }

    /// What goes after "could not be reached: ".
    #[must_use]
    pub fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Cause::NameNotFound => "its name is not known to the name servers (DNS)",
            Cause::NamesDown => "no name server answers (DNS)",
            Cause::Refused => "the connection is refused",
            Cause::Unreachable => "the network knows no way there",
            Cause::TimedOut => "nobody answers there in time",
            Cause::CertificateExpired => {
                "its certificate has expired (or the clock of this machine is wrong)"
            }
            Cause::CertificateNotYet => {
                "its certificate is not valid yet (or the clock of this machine is wrong)"
            }
            Cause::CertificateName => "its certificate is for another name",
            Cause::CertificateIssuer => {
                "its certificate is from an authority that is not trusted here: behind a proxy \
                 that looks into TLS, ca-file has to name that proxy's authority"
            }
            Cause::Certificate => "its certificate cannot be accepted",
            Cause::NotTls => "what answers there does not speak TLS",
            Cause::ClientCertificate => {
                "it wants a client certificate of ours, or does not accept the one we show"
            }
            Cause::Tls => {
                "no TLS connection could be agreed on (1.2 or 1.3 is needed; perhaps it wants a \
                 client certificate of ours)"
            }
            Cause::NoRoots => {
                "this machine has no root certificates to check its certificate with: install \
                 ca-certificates, or name a ca-file"
            }
            Cause::BrokenOff => "the connection was closed before an answer",
            Cause::NotWebSocket => "the answer is not that of a WebSocket server",
            Cause::ProxyName => "the proxy's name is not known to the name servers (DNS)",
            Cause::ProxyAway => "the proxy cannot be reached",
            Cause::ProxyCredentials => {
                "the proxy wants other credentials (status 407): see proxy-credentials-file"
            }
            Cause::ProxyRefuses(status @ (502..=504)) => {
                return Cow::Owned(format!("the proxy cannot reach it (status {status})"));
            }
            Cause::ProxyRefuses(status) => {
                return Cow::Owned(format!("the proxy refuses (status {status})"));
            }
            Cause::ProxyOdd => "the proxy broke off, or its answer is not HTTP",
            Cause::NotAnAddress => "the address is none that can be reached",
            Cause::Machine => "this machine gave no thread, socket or port for it",
        })
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Cause::NameNotFound
            | Cause::CertificateIssuer
            | Cause::ClientCertificate
            | Cause::NoRoots
            | Cause::ProxyName
            | Cause::ProxyCredentials
            | Cause::NotAnAddress => Blame::Operator,
            Cause::CertificateExpired
            | Cause::CertificateNotYet
            | Cause::CertificateName
            | Cause::Certificate
            | Cause::NotTls
            | Cause::Tls
            | Cause::NotWebSocket
            | Cause::BrokenOff => Blame::Peer,
            Cause::ProxyRefuses(502..=504) => Blame::Environment,
            Cause::ProxyRefuses(_) => Blame::Operator,
            Cause::NamesDown
            | Cause::Refused
            | Cause::Unreachable
            | Cause::TimedOut
            | Cause::ProxyAway
            | Cause::ProxyOdd
            | Cause::Machine => Blame::Environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_says_is_told_with_its_status_and_whose_it_is() {
        let forbids = Cause::ProxyRefuses(403);
        assert_eq!(forbids.words(), "the proxy refuses (status 403)");
        assert_eq!(forbids.blame(), Blame::Operator);
        let cannot = Cause::ProxyRefuses(502);
        assert_eq!(cannot.words(), "the proxy cannot reach it (status 502)");
        assert_eq!(cannot.blame(), Blame::Environment);
        assert!(Cause::ALL.is_sorted_by(|a, b| a.label() < b.label()));
        assert!(Cause::ALL.contains(&cannot.alike()));
    }
}
