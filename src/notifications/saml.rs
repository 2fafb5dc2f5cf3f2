//! SAML 2.0 responses for the bearer grant, when the gateway is itself the
//! identity provider that the organisation trusts (design, section 4, "signed").
//!
//! The XML is written in exclusive-canonical form at once (module `canonical`)
//! and the written bytes are signed, so no XML is ever parsed here and none is
//! canonicalised. Digests are SHA-256, signatures RSA with PKCS#1 v1.5 and SHA-256.
//!
//! ```text
//! samlp:Response          ID, IssueInstant, Destination = recipient
//!   saml:Issuer
//!   ds:Signature          over the response, the signed assertion included
//!   samlp:Status          Success
//!   saml:Assertion        ID, IssueInstant
//!     saml:Issuer
//!     ds:Signature        over the assertion
//!     saml:Subject        NameID = e-mail; bearer, Recipient, NotOnOrAfter
//!     saml:Conditions     NotBefore, NotOnOrAfter, Audience
//!     saml:AuthnStatement
//!     saml:AttributeStatement   OrganizationName, email, ServiceName?
//! ```
//!
//! Pure: instant and identifiers come from the caller, and the same ones give
//! the same document (ring draws randomness to blind the private key, which
//! does not show in the result).
//!
//! Invariant: what is signed is exactly what is sent, byte for byte, and equal
//! to its own exclusive canonical form.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

use self::canonical::Canonical;
use base::blame::Blame;
use base::secret::Secret;
use base::time::Wall;

mod canonical;
mod keys;
#[cfg(test)]
pub(crate) mod reading;
#[cfg(test)]
mod tests;

/// An assertion is valid from this long before it is issued, because the
/// platform's clock may be behind ours by up to 10 s (protocol, section 2.3).
pub const NOT_BEFORE_LEAD: Duration = Duration::from_secs(10);

/// The shortest lifetime: twice the clock skew that the platform tolerates, and the time of a slow request.
pub const LIFETIME_MIN: Duration = Duration::from_secs(30);

/// The longest lifetime. An assertion is used once, at once; a longer life only serves a thief.
pub const LIFETIME_MAX: Duration = Duration::from_secs(3600);

/// The longest value of a setting, in bytes.
pub const VALUE_MAX: usize = 4096;

const NS_SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const NS_SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const NS_DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const EMAIL_FORMAT: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified";
const BASIC_NAME: &str = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic";

/// Which elements carry a signature (`[genesys.oauth.assertion] sign`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sign {
    /// Assertion and response.
    #[default]
    Both,
    /// The assertion alone.
    Assertion,
    /// The response alone; it covers the assertion.
    Response,
}

/// What the assertion says (design, section 4; protocol, section 2.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssertionSettings {
    /// Entity id of the identity provider, as the organisation has it on file.
    pub issuer: String,
    /// The platform user as whom the gateway acts.
    pub email: String,
    /// For whom the assertion is meant.
    pub audience: String,
    /// Where the assertion is delivered; also the `Destination` of the response.
    pub recipient: String,
    /// Short name of the organisation; the attribute `OrganizationName`.
    pub organization_name: String,
    /// From issue to `NotOnOrAfter`: [`LIFETIME_MIN`] to [`LIFETIME_MAX`].
    pub lifetime: Duration,
    /// Which elements are signed.
    pub sign: Sign,
    /// The optional attribute `ServiceName`.
    pub service_name: Option<String>,
}

impl AssertionSettings {
    /// Every value with the key under which the operator knows it.
    fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("issuer", self.issuer.as_str()),
            ("email", &self.email),
            ("audience", &self.audience),
            ("recipient", &self.recipient),
            ("organization-name", &self.organization_name),
        ]
        .into_iter()
        .chain(self.service_name.as_deref().map(|v| ("service-name", v)))
    }

    /// Everything that is wrong with the settings, so that a configuration
    /// check can report all of it at once; empty if a response can be made.
    #[must_use]
    pub fn problems(&self) -> Vec<SamlError> {
        let mut problems: Vec<SamlError> = self
            .values()
            .filter_map(|(key, value)| {
                if value.trim().is_empty() {
                    Some(SamlError::EmptyValue { key })
                } else if value.len() > VALUE_MAX {
                    Some(SamlError::ValueTooLong { key })
                } else {
                    canonical::forbidden(value).map(|c| SamlError::ForbiddenCharacter {
                        key,
                        code: u32::from(c),
                    })
                }
            })
            .collect();
        if self.lifetime < LIFETIME_MIN || self.lifetime > LIFETIME_MAX {
            problems.push(SamlError::Lifetime);
        }
        problems
    }
}

/// The private key of the identity provider and the certificate that belongs to it.
pub struct Signer {
    key: RsaKeyPair,
    certificate: keys::Certificate,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer(RSA of {} bits)", self.key_bits())
    }
}

/// An element in two parts: its signature, if any, stands between them,
/// directly after the issuer. Without it, the parts are what is digested.
struct Part {
    id: String,
    head: String,
    tail: String,
}

impl Signer {
    /// Reads the key (PEM, PKCS#8 or PKCS#1, RSA of 2048 to 4096 bits) and the
    /// certificate (PEM; of several, the one that belongs to the key). Text
    /// around the PEM sections is ignored.
    ///
    /// # Errors
    /// Says what is wrong with which of the two files.
    pub fn from_pem(private_key_pem: &[u8], certificate_pem: &[u8]) -> Result<Signer, SamlError> {
        let key = keys::private_key(private_key_pem)?;
        let certificate = keys::certificate_of(&key, certificate_pem)?;
        Ok(Signer { key, certificate })
    }

    /// Size of the key.
    #[must_use]
    pub fn key_bits(&self) -> usize {
        self.key.public().modulus_len() * 8
    }

    /// The end of the certificate's validity, at which the platform stops
    /// accepting it; `None` if the certificate does not say it readably.
    #[must_use]
    pub fn certificate_ends(&self) -> Option<Wall> {
        self.certificate.ends
    }

    /// A signed response in base64, ready to be the `assertion` of a token
    /// request, valid from [`NOT_BEFORE_LEAD`] before `now` until `lifetime`
    /// after it. `ids` are 32 unpredictable bytes, used once: the identifiers
    /// of response and assertion.
    ///
    /// # Errors
    /// The first of [`AssertionSettings::problems`], or a failure of the signature.
    pub fn response(
        &self,
        settings: &AssertionSettings,
        now: Wall,
        ids: [u8; 32],
    ) -> Result<Secret, SamlError> {
        if let Some(problem) = settings.problems().into_iter().next() {
            return Err(problem);
        }
        let (response_id, assertion_id) = ids.split_at(16);
        let assertion = assertion(settings, now, identifier(assertion_id));
        let assertion = self.sealed(&assertion, settings.sign != Sign::Response)?;
        let response = response(settings, now, identifier(response_id), &assertion);
        let response = self.sealed(&response, settings.sign != Sign::Assertion)?;
        Ok(Secret::new(STANDARD.encode(response)))
    }

    /// The whole element, with a signature between its parts if one is wanted.
    fn sealed(&self, part: &Part, sign: bool) -> Result<String, SamlError> {
        let Part { id, head, tail } = part;
        if !sign {
            return Ok(format!("{head}{tail}"));
        }
        let digest = digest::digest(&digest::SHA256, format!("{head}{tail}").as_bytes());
        let digest = STANDARD.encode(digest);
        // Signed on its own, the element has to declare the prefix that it
        // inherits from its parent in the document.
        let signed = signed_info(&[("xmlns:ds", NS_DS)], id, &digest);
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| SamlError::SigningFailed)?;
        let mut x = Canonical::new();
        x.start("ds:Signature", &[("xmlns:ds", NS_DS)]);
        x.written(&signed_info(&[], id, &digest));
        x.leaf("ds:SignatureValue", &[], &STANDARD.encode(signature));
        x.start("ds:KeyInfo", &[]);
        x.start("ds:X509Data", &[]);
        x.leaf(
            "ds:X509Certificate",
            &[],
            &STANDARD.encode(&self.certificate.der),
        );
        x.end("ds:X509Data");
        x.end("ds:KeyInfo");
        x.end("ds:Signature");
        Ok(format!("{head}{}{tail}", x.take()))
    }
}

/// An XML name: it must not begin with a digit, hence the underscore.
fn identifier(random: &[u8]) -> String {
    use fmt::Write as _;
    let mut id = String::from("_");
    for byte in random {
        // Writing to a String does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

fn signed_info(namespaces: &[(&str, &str)], id: &str, digest: &str) -> String {
    let mut x = Canonical::new();
    x.start("ds:SignedInfo", namespaces);
    x.leaf("ds:CanonicalizationMethod", &[("Algorithm", EXCLUSIVE)], "");
    x.leaf("ds:SignatureMethod", &[("Algorithm", RSA_SHA256)], "");
    x.start("ds:Reference", &[("URI", &format!("#{id}"))]);
    x.start("ds:Transforms", &[]);
    x.leaf("ds:Transform", &[("Algorithm", ENVELOPED)], "");
    x.leaf("ds:Transform", &[("Algorithm", EXCLUSIVE)], "");
    x.end("ds:Transforms");
    x.leaf("ds:DigestMethod", &[("Algorithm", SHA256)], "");
    x.leaf("ds:DigestValue", &[], digest);
    x.end("ds:Reference");
    x.end("ds:SignedInfo");
    x.take()
}

fn assertion(settings: &AssertionSettings, now: Wall, id: String) -> Part {
    let issued = now.rfc3339();
    let begins = (now - NOT_BEFORE_LEAD).rfc3339();
    let ends = (now + settings.lifetime).rfc3339();

    let mut x = Canonical::new();
    x.start(
        "saml:Assertion",
        &[
            ("xmlns:saml", NS_SAML),
            ("ID", &id),
            ("IssueInstant", &issued),
            ("Version", "2.0"),
        ],
    );
    x.leaf("saml:Issuer", &[], &settings.issuer);
    let head = x.take();

    x.start("saml:Subject", &[]);
    x.leaf("saml:NameID", &[("Format", EMAIL_FORMAT)], &settings.email);
    x.start("saml:SubjectConfirmation", &[("Method", BEARER)]);
    x.leaf(
        "saml:SubjectConfirmationData",
        &[("NotOnOrAfter", &ends), ("Recipient", &settings.recipient)],
        "",
    );
    x.end("saml:SubjectConfirmation");
    x.end("saml:Subject");

    x.start(
        "saml:Conditions",
        &[("NotBefore", &begins), ("NotOnOrAfter", &ends)],
    );
    x.start("saml:AudienceRestriction", &[]);
    x.leaf("saml:Audience", &[], &settings.audience);
    x.end("saml:AudienceRestriction");
    x.end("saml:Conditions");

    x.start(
        "saml:AuthnStatement",
        &[("AuthnInstant", &issued), ("SessionIndex", &id)],
    );
    x.start("saml:AuthnContext", &[]);
    x.leaf("saml:AuthnContextClassRef", &[], UNSPECIFIED);
    x.end("saml:AuthnContext");
    x.end("saml:AuthnStatement");

    // The names are case-sensitive (protocol, section 2.3).
    x.start("saml:AttributeStatement", &[]);
    let attributes = [
        ("OrganizationName", Some(&settings.organization_name)),
        ("email", Some(&settings.email)),
        ("ServiceName", settings.service_name.as_ref()),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            x.start(
                "saml:Attribute",
                &[("Name", name), ("NameFormat", BASIC_NAME)],
            );
            x.leaf("saml:AttributeValue", &[], value);
            x.end("saml:Attribute");
        }
    }
    x.end("saml:AttributeStatement");
    x.end("saml:Assertion");
    Part {
        id,
        head,
        tail: x.take(),
    }
}

fn response(settings: &AssertionSettings, now: Wall, id: String, assertion: &str) -> Part {
    let mut x = Canonical::new();
    x.start(
        "samlp:Response",
        &[
            ("xmlns:samlp", NS_SAMLP),
            ("Destination", &settings.recipient),
            ("ID", &id),
            ("IssueInstant", &now.rfc3339()),
            ("Version", "2.0"),
        ],
    );
    x.leaf("saml:Issuer", &[("xmlns:saml", NS_SAML)], &settings.issuer);
    let head = x.take();
    x.start("samlp:Status", &[]);
    x.leaf("samlp:StatusCode", &[("Value", SUCCESS)], "");
    x.end("samlp:Status");
    x.written(assertion);
    x.end("samlp:Response");
    Part {
        id,
        head,
        tail: x.take(),
    }
}

/// Why no assertion can be signed. None of them shows any of the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SamlError {
    /// The key file holds no private key in PEM.
    NoPrivateKey,
    /// The private key is protected by a passphrase.
    KeyEncrypted,
    /// The private key is of another kind, such as elliptic curve.
    KeyNotRsa,
    /// The RSA key has fewer than 2048 bits.
    KeyTooSmall,
    /// The RSA key has more than 4096 bits.
    KeyTooLarge,
    /// The key is damaged or of an unusual form; the reason in a word.
    KeyUnusable(String),
    /// The certificate file holds no certificate in PEM.
    NoCertificate,
    /// The certificate cannot be read.
    CertificateUnreadable,
    /// The certificate is not for an RSA key.
    CertificateNotRsa,
    /// No certificate of the file belongs to the private key.
    KeyAndCertificateDiffer,
    /// A setting is empty.
    EmptyValue {
        /// Its key under `[genesys.oauth.assertion]`.
        key: &'static str,
    },
    /// A setting is longer than [`VALUE_MAX`] bytes.
    ValueTooLong {
        /// Its key under `[genesys.oauth.assertion]`.
        key: &'static str,
    },
    /// A setting holds a character that XML 1.0 cannot carry.
    ForbiddenCharacter {
        /// Its key under `[genesys.oauth.assertion]`.
        key: &'static str,
        /// The character's code point.
        code: u32,
    },
    /// The lifetime is out of bounds.
    Lifetime,
    /// The signature could not be computed.
    SigningFailed,
}

impl SamlError {
    /// Who has to act: the operator, except for a failing signature.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            SamlError::SigningFailed => Blame::Us,
            _ => Blame::Operator,
        }
    }
}

impl fmt::Display for SamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SamlError::NoPrivateKey => f.write_str(
                "no private key found; expected PEM with BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY",
            ),
            SamlError::KeyEncrypted => f.write_str(
                "the private key is protected by a passphrase; store it without one (openssl pkey) and protect the file",
            ),
            SamlError::KeyNotRsa => {
                f.write_str("the private key is not an RSA key; the platform needs RSA with SHA-256")
            }
            SamlError::KeyTooSmall => {
                f.write_str("the RSA key is too small; 2048 bits or more are required")
            }
            SamlError::KeyTooLarge => {
                f.write_str("the RSA key is too large; at most 4096 bits are supported")
            }
            SamlError::KeyUnusable(reason) => {
                write!(f, "the private key cannot be used ({reason})")
            }
            SamlError::NoCertificate => {
                f.write_str("no certificate found; expected PEM with BEGIN CERTIFICATE")
            }
            SamlError::CertificateUnreadable => f.write_str("the certificate cannot be read"),
            SamlError::CertificateNotRsa => f.write_str("the certificate is not for an RSA key"),
            SamlError::KeyAndCertificateDiffer => f.write_str(
                "certificate and private key do not belong together; their public keys differ",
            ),
            SamlError::EmptyValue { key } => write!(f, "{key} is empty"),
            SamlError::ValueTooLong { key } => {
                write!(f, "{key} is longer than {VALUE_MAX} bytes")
            }
            SamlError::ForbiddenCharacter { key, code } => write!(
                f,
                "{key} contains the character U+{code:04X}, which XML cannot carry"
            ),
            SamlError::Lifetime => write!(
                f,
                "lifetime must lie between {}s and {}s",
                LIFETIME_MIN.as_secs(),
                LIFETIME_MAX.as_secs()
            ),
            SamlError::SigningFailed => f.write_str("the signature could not be computed"),
        }
    }
}

impl std::error::Error for SamlError {}
