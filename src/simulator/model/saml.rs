//! What the platform asks of a SAML assertion (protocol, section 2.3).
//!
//! Written without a look at the signer: the document is read, brought into
//! exclusive canonical form, and its signatures are checked with `ring`
//! against the configured certificates. A signature counts only for the
//! element that it stands in.
//!
//! Invariant: nothing is taken from a part of the document that the
//! signature does not cover, if a certificate is configured.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::settings::Saml;
use super::xml::{self, Element};
use base::time::Wall;

/// How far the clocks may be apart (protocol, section 2.3).
pub(super) const SKEW: Duration = Duration::from_secs(10);

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

/// Why an assertion is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SamlError {
    /// Not base64 of UTF-8.
    Encoding,
    /// Not XML of the kind that is read.
    Xml(&'static str),
    /// Not a response with one plain assertion.
    Shape(&'static str),
    /// The signature is missing, of another kind, or wrong.
    Signature(&'static str),
    /// Before its time, by more than the skew.
    TooEarly,
    /// After its time, by more than the skew.
    TooLate,
    /// For another audience.
    Audience,
    /// For another recipient.
    Recipient,
    /// An attribute that is read is missing.
    Attribute(&'static str),
}

impl fmt::Display for SamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SamlError::Encoding => f.write_str("the assertion is not base64 of text"),
            SamlError::Xml(why) => write!(f, "the assertion is not XML: {why}"),
            SamlError::Shape(why) => write!(f, "the assertion is not understood: {why}"),
            SamlError::Signature(why) => write!(f, "the signature is not accepted: {why}"),
            SamlError::TooEarly => f.write_str("the assertion is not valid yet"),
            SamlError::TooLate => f.write_str("the assertion has expired"),
            SamlError::Audience => f.write_str("the audience is another one"),
            SamlError::Recipient => f.write_str("the recipient is another one"),
            SamlError::Attribute(name) => write!(f, "the attribute {name} is missing"),
        }
    }
}

impl std::error::Error for SamlError {}

/// What an accepted assertion says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) organization: String,
    pub(super) not_on_or_after: Wall,
}

/// Checks an assertion as it came in the form.
pub(super) fn verify(assertion: &str, trust: &Saml, now: Wall) -> Result<Said, SamlError> {
    // Line breaks are allowed in it; a space is a plus sign that was not encoded.
    let packed: String = assertion
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .collect();
    let bytes = STANDARD
        .decode(packed.as_bytes())
        .map_err(|_| SamlError::Encoding)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SamlError::Encoding)?;
    let response = xml::read(text).map_err(|e| SamlError::Xml(e.0))?;
    if !response.is(SAMLP, "Response") {
        return Err(SamlError::Shape("the root is not a Response"));
    }
    unique_ids(&response)?;
    let status = response
        .only(SAMLP, "Status")
        .and_then(|s| s.only(SAMLP, "StatusCode"))
        .and_then(|c| c.attribute("Value"));
    if status != Some(SUCCESS) {
        return Err(SamlError::Shape("the status is not Success"));
    }
    if response.all(SAML, "EncryptedAssertion").next().is_some() {
        return Err(SamlError::Shape("encrypted assertions are not supported"));
    }
    let said = response
        .only(SAML, "Assertion")
        .ok_or(SamlError::Shape("there is not exactly one Assertion"))?;
    if said.attribute("Version") != Some("2.0") || response.attribute("Version") != Some("2.0") {
        return Err(SamlError::Shape("the version is not 2.0"));
    }
    let id = said
        .attribute("ID")
        .ok_or(SamlError::Shape("the Assertion has no ID"))?;
    if said
        .only(SAML, "Issuer")
        .is_none_or(|i| i.text().trim().is_empty())
    {
        return Err(SamlError::Shape("the Issuer is missing"));
    }
    signatures(&response, said, trust)?;
    let end = times(said, now)?;
    audience(said, trust)?;
    let confirmed = subject(said, trust, now)?;
    Ok(Said {
        id: id.to_owned(),
        email: attribute(said, "email")?,
        organization: attribute(said, "OrganizationName")?,
        not_on_or_after: end.min(confirmed),
    })
}

fn unique_ids(root: &Element) -> Result<(), SamlError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut twice = false;
    root.walk(&mut |e| {
        if let Some(id) = e.attribute("ID") {
            twice |= !seen.insert(id);
        }
    });
    if twice {
        return Err(SamlError::Shape("an ID is there twice"));
    }
    Ok(())
}

/// Every signature of the two elements must hold, and there must be one.
fn signatures(response: &Element, said: &Element, trust: &Saml) -> Result<(), SamlError> {
    if trust.certificates.is_empty() {
        return Ok(());
    }
    let mut signed = false;
    for element in [response, said] {
        let mut found = element.all(DS, "Signature");
        if let Some(signature) = found.next() {
            if found.next().is_some() {
                return Err(SamlError::Signature("an element has several"));
            }
            check(element, signature, trust)?;
            signed = true;
        }
    }
    if signed {
        Ok(())
    } else {
        Err(SamlError::Signature("there is none"))
    }
}

fn algorithm<'a>(parent: &'a Element, name: &str) -> Option<&'a str> {
    parent.only(DS, name)?.attribute("Algorithm")
}

fn check(element: &Element, signature: &Element, trust: &Saml) -> Result<(), SamlError> {
    let bad = SamlError::Signature;
    let info = signature
        .only(DS, "SignedInfo")
        .ok_or(bad("SignedInfo is missing"))?;
    if algorithm(info, "CanonicalizationMethod") != Some(EXC_C14N) {
        return Err(bad("the canonical form is not exclusive"));
    }
    if algorithm(info, "SignatureMethod") != Some(RSA_SHA256) {
        return Err(bad("the method is not RSA with SHA-256"));
    }
    let reference = info
        .only(DS, "Reference")
        .ok_or(bad("there is not exactly one Reference"))?;
    let wanted = element.attribute("ID").map(|id| format!("#{id}"));
    if wanted.is_none() || reference.attribute("URI") != wanted.as_deref() {
        return Err(bad("the Reference is not to the element around it"));
    }
    if algorithm(reference, "DigestMethod") != Some(SHA256) {
        return Err(bad("the digest is not SHA-256"));
    }
    let transforms = reference
        .only(DS, "Transforms")
        .ok_or(bad("Transforms are missing"))?;
    let mut enveloped = false;
    let mut exclusive = None;
    for transform in transforms.all(DS, "Transform") {
        match transform.attribute("Algorithm") {
            Some(ENVELOPED) if exclusive.is_none() => enveloped = true,
            Some(EXC_C14N) => exclusive = Some(transform),
            _ => return Err(bad("a transform is not allowed")),
        }
    }
    let (true, Some(exclusive)) = (enveloped, exclusive) else {
        return Err(bad("a transform is missing"));
    };
    let list = exclusive
        .only(EXC_C14N, "InclusiveNamespaces")
        .and_then(|i| i.attribute("PrefixList"))
        .unwrap_or("");
    let inclusive: Vec<&str> = list
        .split_whitespace()
        .map(|p| if p == "#default" { "" } else { p })
        .collect();
    let content = element.canonical(Some(signature), &inclusive);
    let found = digest::digest(&digest::SHA256, content.as_bytes());
    if decoded(reference, "DigestValue")? != found.as_ref() {
        return Err(bad("the digest differs"));
    }
    let value = decoded(signature, "SignatureValue")?;
    let message = info.canonical(None, &[]);
    let holds = trust.certificates.iter().any(|certificate| {
        public_key(certificate).is_some_and(|key| {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .verify(message.as_bytes(), &value)
                .is_ok()
        })
    });
    if holds {
        Ok(())
    } else {
        Err(bad("no configured certificate made it"))
    }
}

fn decoded(parent: &Element, name: &str) -> Result<Vec<u8>, SamlError> {
    let text = parent
        .only(DS, name)
        .ok_or(SamlError::Signature("a value is missing"))?
        .text();
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD
        .decode(packed)
        .map_err(|_| SamlError::Signature("a value is not base64"))
}

fn instant(element: &Element, name: &str) -> Result<Option<Wall>, SamlError> {
    match element.attribute(name) {
        None => Ok(None),
        Some(text) => Wall::parse_rfc3339(text)
            .map(Some)
            .ok_or(SamlError::Shape("an instant is not understood")),
    }
}

fn within(element: &Element, now: Wall) -> Result<Option<Wall>, SamlError> {
    if instant(element, "NotBefore")?.is_some_and(|from| now + SKEW < from) {
        return Err(SamlError::TooEarly);
    }
    let end = instant(element, "NotOnOrAfter")?;
    if end.is_some_and(|end| now - SKEW >= end) {
        return Err(SamlError::TooLate);
    }
    Ok(end)
}

/// The window of the conditions; its end.
fn times(said: &Element, now: Wall) -> Result<Wall, SamlError> {
    match instant(said, "IssueInstant")? {
        None => return Err(SamlError::Shape("IssueInstant is missing")),
        Some(issued) if now + SKEW < issued => return Err(SamlError::TooEarly),
        Some(_) => {}
    }
    let conditions = said
        .only(SAML, "Conditions")
        .ok_or(SamlError::Shape("Conditions are missing"))?;
    within(conditions, now)?.ok_or(SamlError::Shape("NotOnOrAfter is missing"))
}

fn audience(said: &Element, trust: &Saml) -> Result<(), SamlError> {
    let Some(wanted) = &trust.audience else {
        return Ok(());
    };
    let named = said
        .all(SAML, "Conditions")
        .flat_map(|c| c.all(SAML, "AudienceRestriction"))
        .flat_map(|r| r.all(SAML, "Audience"))
        .any(|a| a.text() == *wanted);
    if named {
        Ok(())
    } else {
        Err(SamlError::Audience)
    }
}

/// A bearer confirmation that holds now; the end of it.
fn subject(said: &Element, trust: &Saml, now: Wall) -> Result<Wall, SamlError> {
    let subject = said
        .only(SAML, "Subject")
        .ok_or(SamlError::Shape("the Subject is missing"))?;
    if subject
        .only(SAML, "NameID")
        .is_none_or(|n| n.text().trim().is_empty())
    {
        return Err(SamlError::Shape("the NameID is missing"));
    }
    let data = subject
        .all(SAML, "SubjectConfirmation")
        .filter(|c| c.attribute("Method") == Some(BEARER))
        .find_map(|c| c.only(SAML, "SubjectConfirmationData"))
        .ok_or(SamlError::Shape("there is no bearer confirmation"))?;
    let end = within(data, now)?.ok_or(SamlError::Shape("NotOnOrAfter is missing"))?;
    match &trust.recipient {
        Some(wanted) if data.attribute("Recipient") != Some(wanted) => Err(SamlError::Recipient),
        _ => Ok(end),
    }
}

/// The value of an attribute, its name matched exactly.
fn attribute(said: &Element, name: &'static str) -> Result<String, SamlError> {
    said.all(SAML, "AttributeStatement")
        .flat_map(|s| s.all(SAML, "Attribute"))
        .filter(|a| a.attribute("Name") == Some(name))
        .find_map(|a| a.all(SAML, "AttributeValue").next())
        .map(|v| v.text().trim().to_owned())
        .filter(|v| !v.is_empty())
        .ok_or(SamlError::Attribute(name))
}

/// The certificate inside a PEM file, in DER; `None` if there is none.
#[must_use]
pub fn certificate_from_pem(pem: &str) -> Option<Vec<u8>> {
    let begin = pem.split_once("-----BEGIN CERTIFICATE-----")?.1;
    let body = begin.split_once("-----END CERTIFICATE-----")?.0;
    let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(packed).ok()?;
    public_key(&der).is_some().then_some(der)
}

/// The RSA public key (PKCS#1) of an X.509 certificate.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = der(certificate, 0x30)?;
    let (mut tbs, _) = der(outer, 0x30)?;
    if tbs.first() == Some(&0xa0) {
        tbs = der(tbs, 0xa0)?.1;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [0x02, 0x30, 0x30, 0x30, 0x30] {
        tbs = der(tbs, tag)?.1;
    }
    let (info, _) = der(tbs, 0x30)?;
    let (_, info) = der(info, 0x30)?;
    let (bits, _) = der(info, 0x03)?;
    bits.strip_prefix(&[0])
}

/// The content of a DER element of a tag, and what follows it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let length = digits
            .iter()
            .fold(0usize, |n, d| (n << 8) | usize::from(*d));
        (length, rest)
    };
    rest.split_at_checked(length)
}
