//! Reads the identity provider's key and certificate.
//!
//! Of a certificate only two things matter here: that its public key is the
//! one of the private key, and when it ends. So a walk over the outer DER
//! fields does; trust is the platform's business.
//!
//! Invariant: bytes from a file never panic, and no error shows any of them.

use ring::signature::{KeyPair as _, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::SamlError;
use base::time::Wall;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The algorithm identifier of RSA keys without its NULL: 1.2.840.113549.1.1.1.
const RSA_ENCRYPTION: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// Certificates looked at in one file: a chain is short.
const CERTIFICATES_MAX: usize = 16;

/// What the signer needs of a certificate.
pub(super) struct Certificate {
    /// The whole certificate, as it goes into `ds:X509Certificate`.
    pub(super) der: Vec<u8>,
    /// The end of its validity.
    pub(super) ends: Option<Wall>,
}

/// Editors on some systems put a byte order mark in front, which would hide the first line.
fn without_mark(pem: &[u8]) -> &[u8] {
    pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

/// The first private key of the file.
pub(super) fn private_key(pem: &[u8]) -> Result<RsaKeyPair, SamlError> {
    let rejected = |e: ring::error::KeyRejected| match e.to_string().as_str() {
        "TooSmall" => SamlError::KeyTooSmall,
        "TooLarge" => SamlError::KeyTooLarge,
        "WrongAlgorithm" => SamlError::KeyNotRsa,
        other => SamlError::KeyUnusable(other.to_owned()),
    };
    match PrivateKeyDer::from_pem_slice(without_mark(pem)) {
        Ok(PrivateKeyDer::Pkcs8(der)) => {
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(rejected)
        }
        Ok(PrivateKeyDer::Pkcs1(der)) => {
            RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected)
        }
        Ok(_) => Err(SamlError::KeyNotRsa),
        // Both the PKCS#8 and the traditional form say it in capitals.
        Err(_) if contains(pem, b"ENCRYPTED") => Err(SamlError::KeyEncrypted),
        Err(_) => Err(SamlError::NoPrivateKey),
    }
}

/// The certificate of the file whose public key is that of `key`.
pub(super) fn certificate_of(key: &RsaKeyPair, pem: &[u8]) -> Result<Certificate, SamlError> {
    let mut problem = SamlError::NoCertificate;
    for der in CertificateDer::pem_slice_iter(without_mark(pem)).take(CERTIFICATES_MAX) {
        problem = match der.ok().as_deref().and_then(Fields::of) {
            None => SamlError::CertificateUnreadable,
            Some(Fields { rsa_key: None, .. }) => SamlError::CertificateNotRsa,
            Some(Fields {
                der,
                rsa_key: Some(public),
                ends,
            }) => {
                if public == key.public_key().as_ref() {
                    return Ok(Certificate {
                        der: der.to_vec(),
                        ends,
                    });
                }
                SamlError::KeyAndCertificateDiffer
            }
        };
    }
    Err(problem)
}

struct Fields<'a> {
    der: &'a [u8],
    /// `RSAPublicKey` in DER, if the key is RSA.
    rsa_key: Option<&'a [u8]>,
    ends: Option<Wall>,
}

impl<'a> Fields<'a> {
    /// Certificate and TBSCertificate of RFC 5280, section 4.1.
    fn of(der: &'a [u8]) -> Option<Fields<'a>> {
        let (certificate, rest) = element(der, SEQUENCE)?;
        if !rest.is_empty() {
            return None;
        }
        let (tbs, _) = element(certificate, SEQUENCE)?;
        let tbs = element(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        let tbs = skip(tbs)?; // Serial number.
        let tbs = skip(tbs)?; // Signature algorithm.
        let tbs = skip(tbs)?; // Issuer.
        let (validity, tbs) = element(tbs, SEQUENCE)?;
        let tbs = skip(tbs)?; // Subject.
        let (public, _) = element(tbs, SEQUENCE)?;
        let (algorithm, public) = element(public, SEQUENCE)?;
        let (bits, _) = element(public, BIT_STRING)?;
        let rsa_key = match bits.split_first() {
            Some((0, key)) if algorithm.starts_with(&RSA_ENCRYPTION) => Some(key),
            _ => None,
        };
        Some(Fields {
            der,
            rsa_key,
            ends: skip(validity).and_then(instant),
        })
    }
}

/// The contents of the DER element with which `input` begins, if it has that
/// tag, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, input) = input.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, input) = input.split_first()?;
    let (length, input) = if first < 0x80 {
        (usize::from(first), input)
    } else {
        let octets = usize::from(first & 0x7f);
        if octets == 0 || octets > 4 {
            return None;
        }
        let (octets, input) = input.split_at_checked(octets)?;
        let length = octets
            .iter()
            .fold(0usize, |n, &octet| (n << 8) | usize::from(octet));
        (length, input)
    };
    input.split_at_checked(length)
}

/// What follows the element with which `input` begins.
fn skip(input: &[u8]) -> Option<&[u8]> {
    element(input, *input.first()?).map(|(_, rest)| rest)
}

/// `YYMMDDHHMMSSZ` (years 1950 to 2049) or `YYYYMMDDHHMMSSZ`.
fn instant(input: &[u8]) -> Option<Wall> {
    let (century, digits) = match *input.first()? {
        UTC_TIME => {
            let (text, _) = element(input, UTC_TIME)?;
            (if *text.first()? < b'5' { "20" } else { "19" }, text)
        }
        GENERALIZED_TIME => ("", element(input, GENERALIZED_TIME)?.0),
        _ => return None,
    };
    let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
    let part = |from: usize, to: usize| text.get(from..to);
    if text.len() != 15 || !text.ends_with('Z') {
        return None;
    }
    Wall::parse_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_a_definite_length() {
        let of = |length: &[u8], content: usize| {
            let mut whole = vec![SEQUENCE];
            whole.extend(length);
            whole.resize(whole.len() + content, 7);
            element(&whole, SEQUENCE).map(|(inner, rest)| (inner.len(), rest.len()))
        };
        assert_eq!(of(&[0x00], 0), Some((0, 0)));
        assert_eq!(of(&[0x7f], 130), Some((127, 3)));
        assert_eq!(of(&[0x81, 0x80], 130), Some((128, 2)));
        assert_eq!(of(&[0x82, 0x01, 0x00], 256), Some((256, 0)));
        // Indefinite: not DER.
        assert_eq!(of(&[0x80], 200), None);
        assert_eq!(of(&[0x7f], 126), None);
        assert_eq!(of(&[0x85, 0, 0, 0, 0, 1], 9), None);
    }

    #[test]
    fn a_year_of_two_digits_lies_between_1950_and_2049() {
        let year = |text: &str| {
            let mut der = vec![UTC_TIME, text.len() as u8];
            der.extend(text.as_bytes());
            instant(&der).map(|at| at.rfc3339()[..4].to_owned())
        };
        assert_eq!(year("490102030405Z").as_deref(), Some("2049"));
        assert_eq!(year("500102030405Z").as_deref(), Some("1950"));
        assert_eq!(year("991231235959Z").as_deref(), Some("1999"));
        assert_eq!(year("000101000000Z").as_deref(), Some("2000"));
    }
}
