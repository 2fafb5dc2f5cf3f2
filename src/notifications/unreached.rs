//! What the system and the libraries say, as a [`Cause`]: one classification for
//! REST, login, WebSockets and the history manager.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as Tls};

use base::cause::Cause;

/// No way to a peer: why, and what was said about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unreached {
    /// Why.
    pub(super) cause: Cause,
    /// What was said about it; may be empty.
    pub(super) detail: String,
}

impl Unreached {
    pub(super) fn new(cause: Cause, detail: impl Into<String>) -> Unreached {
        Unreached {
            cause,
            detail: detail.into(),
        }
    }

    /// What stopped a handshake, TLS or other.
    pub(super) fn of_io(error: &io::Error) -> Unreached {
        Unreached::new(cause_of_io(error), said_by_io(error))
    }

    /// What this machine did not give.
    pub(super) fn of_machine(error: &io::Error) -> Unreached {
        Unreached::new(Cause::Machine, without_number(&error.to_string()))
    }

    /// The detail, or else the words of the cause.
    pub(super) fn said(&self) -> String {
        match self.detail.is_empty() {
            true => self.cause.words().into_owned(),
            false => self.detail.clone(),
        }
    }
}

impl From<Cause> for Unreached {
    fn from(cause: Cause) -> Unreached {
        Unreached::new(cause, "")
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.is_empty() {
            true => f.write_str(&self.cause.words()),
            false => write!(f, "{} ({})", self.cause.words(), self.detail),
        }
    }
}

impl std::error::Error for Unreached {}

/// What an error adds to its cause, for people: nothing where the words of the cause say it all,
/// and no number of the system's in any case.
pub(super) fn said_by_io(error: &io::Error) -> String {
    let cause = cause_of_io(error);
    let by_system = error.get_ref().is_none();
    let told = matches!(
        cause,
        Cause::Refused | Cause::TimedOut | Cause::Unreachable | Cause::BrokenOff
    );
    match by_system && told {
        true => String::new(),
        false => without_number(&error.to_string()).to_owned(),
    }
}

/// As the system names it, without ` (os error 111)`.
pub(super) fn without_number(text: &str) -> &str {
    text.split_once(" (os error ")
        .map_or(text, |(said, _)| said)
}

/// Why connecting, or a handshake, failed.
pub(super) fn cause_of_io(error: &io::Error) -> Cause {
    if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref()) {
        return cause_of_tls(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Cause::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Cause::Unreachable,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Cause::BrokenOff,
        _ => Cause::Machine,
    }
}

/// Why a TLS handshake failed.
pub(super) fn cause_of_tls(error: &Tls) -> Cause {
    match error {
        Tls::InvalidCertificate(e) => match e {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Cause::CertificateExpired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Cause::CertificateNotYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Cause::CertificateName
            }
            // A signature that does not fit: an authority of a name that we trust, with another
            // key, as after its renewal.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Cause::CertificateIssuer
            }
            _ => Cause::Certificate,
        },
        Tls::NoCertificatesPresented => Cause::Certificate,
        Tls::InvalidMessage(_) => Cause::NotTls,
        Tls::AlertReceived(alert) if about_our_certificate(*alert) => Cause::ClientCertificate,
        Tls::General(text) if text.contains("No CA certificates") => Cause::NoRoots,
        _ => Cause::Tls,
    }
}

/// What a server says of a client's certificate, the lack of one included (RFC 8446, 6.2).
fn about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// The same, of an error that came when the handshake seemed to be over: in TLS 1.3 a server
/// judges our certificate after we have begun to send, and reads nothing of that if it does
/// not take it.
pub(super) fn refused_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|e| e.downcast_ref());
    tls.is_some_and(|e: &Tls| cause_of_tls(e) == Cause::ClientCertificate)
}

/// Why a name has no address. The system library's own codes do not come through.
pub(super) fn cause_of_name(error: &io::Error) -> Cause {
    let text = error.to_string().to_ascii_lowercase();
    match text.contains("temporary failure") || text.contains("try again") {
        true => Cause::NamesDown,
        false => Cause::NameNotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_told_apart() {
        let wrapped = |e: Tls| io::Error::new(io::ErrorKind::InvalidData, e);
        for (error, cause) in [
            (io::ErrorKind::ConnectionRefused.into(), Cause::Refused),
            (io::ErrorKind::NetworkUnreachable.into(), Cause::Unreachable),
            (io::ErrorKind::WouldBlock.into(), Cause::TimedOut),
            (io::ErrorKind::ConnectionReset.into(), Cause::BrokenOff),
            (
                wrapped(CertificateError::Expired.into()),
                Cause::CertificateExpired,
            ),
            (
                wrapped(CertificateError::NotValidForName.into()),
                Cause::CertificateName,
            ),
            (
                wrapped(CertificateError::UnknownIssuer.into()),
                Cause::CertificateIssuer,
            ),
            (
                wrapped(CertificateError::BadSignature.into()),
                Cause::CertificateIssuer,
            ),
            (
                wrapped(Tls::AlertReceived(AlertDescription::CertificateRequired)),
                Cause::ClientCertificate,
            ),
            (
                wrapped(Tls::AlertReceived(AlertDescription::UnknownCA)),
                Cause::ClientCertificate,
            ),
            (
                wrapped(Tls::AlertReceived(AlertDescription::ProtocolVersion)),
                Cause::Tls,
            ),
            (
                wrapped(rustls::InvalidMessage::InvalidContentType.into()),
                Cause::NotTls,
            ),
        ] {
            assert_eq!(cause_of_io(&error), cause, "{error}");
        }
        for (error, said) in [
            (io::Error::from_raw_os_error(11), ""),
            (io::Error::from_raw_os_error(111), ""),
            (io::Error::from_raw_os_error(104), ""),
            (io::ErrorKind::UnexpectedEof.into(), ""),
            (io::Error::from_raw_os_error(24), "Too many open files"),
            (io::Error::other("odd"), "odd"),
        ] {
            assert_eq!(said_by_io(&error), said);
        }
        for (text, cause) in [
            ("Temporary failure in name resolution", Cause::NamesDown),
            ("Name or service not known", Cause::NameNotFound),
            ("No address associated with hostname", Cause::NameNotFound),
        ] {
            let said = format!("failed to lookup address information: {text}");
            assert_eq!(cause_of_name(&io::Error::other(said)), cause);
        }
    }
}
