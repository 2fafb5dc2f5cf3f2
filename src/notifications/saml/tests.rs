use ring::signature::KeyPair as _;

use super::reading::{Element, parse};
use super::*;

const PKCS8: &[u8] = include_bytes!("../../../tests/saml/test-only-provider.pkcs8.key.pem");
const PKCS1: &[u8] = include_bytes!("../../../tests/saml/test-only-provider.pkcs1.key.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/saml/test-only-provider.certificate.pem");
const OTHER_KEY: &[u8] = include_bytes!("../../../tests/saml/test-only-other.key.pem");
const OTHER_CERTIFICATE: &[u8] =
    include_bytes!("../../../tests/saml/test-only-other.certificate.pem");
const RSA_1024: &[u8] = include_bytes!("../../../tests/saml/test-only-rsa1024.key.pem");
const EC_KEY: &[u8] = include_bytes!("../../../tests/saml/test-only-ec.key.pem");
const EC_CERTIFICATE: &[u8] = include_bytes!("../../../tests/saml/test-only-ec.certificate.pem");
const ENCRYPTED_8: &[u8] = include_bytes!("../../../tests/saml/test-only-encrypted.pkcs8.key.pem");
const ENCRYPTED_1: &[u8] = include_bytes!("../../../tests/saml/test-only-encrypted.pkcs1.key.pem");

/// 2026-01-08T15:35:12.345Z
const NOW: Wall = Wall(1_767_886_512_345);

fn settings() -> AssertionSettings {
    AssertionSettings {
        issuer: "https://gateway.example/idp".into(),
        email: "gateway@example.com".into(),
        audience: "https://gateway.example/audience".into(),
        recipient: "https://gateway.example/acs?a=1&b=2".into(),
        organization_name: "acme".into(),
        lifetime: Duration::from_secs(300),
        sign: Sign::Both,
        service_name: None,
    }
}

fn signer() -> Signer {
    Signer::from_pem(PKCS8, CERTIFICATE).unwrap()
}

fn ids() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

fn document(settings: &AssertionSettings) -> String {
    let response = signer().response(settings, NOW, ids()).unwrap();
    String::from_utf8(STANDARD.decode(response.expose()).unwrap()).unwrap()
}

fn attributes(assertion: &Element) -> Vec<(&str, &str)> {
    let statement = assertion.at(&["saml:AttributeStatement"]);
    assert!(statement.children.iter().all(|a| a.children.len() == 1));
    statement
        .children
        .iter()
        .map(|a| (a.attribute("Name"), a.children[0].text.as_str()))
        .collect()
}

fn refusal(key: &[u8], certificate: &[u8]) -> SamlError {
    Signer::from_pem(key, certificate).map(|_| ()).unwrap_err()
}

#[test]
fn the_response_says_what_the_settings_say() {
    let document = document(&AssertionSettings {
        service_name: Some("directory".into()),
        ..settings()
    });
    let response = parse(&document).unwrap();
    assert_eq!(response.name, "samlp:Response");
    assert_eq!(response.attribute("Destination"), settings().recipient);
    assert_eq!(response.attribute("Version"), "2.0");
    assert_eq!(
        response.attribute("IssueInstant"),
        "2026-01-08T15:35:12.345Z"
    );
    assert_eq!(
        response.attribute("ID"),
        "_000102030405060708090a0b0c0d0e0f"
    );
    assert_eq!(response.at(&["saml:Issuer"]).text, settings().issuer);
    let status = response.at(&["samlp:Status", "samlp:StatusCode"]);
    assert_eq!(status.attribute("Value"), SUCCESS);

    let assertion = response.at(&["saml:Assertion"]);
    assert_eq!(
        assertion.attribute("ID"),
        "_101112131415161718191a1b1c1d1e1f"
    );
    assert_eq!(
        assertion.attribute("IssueInstant"),
        "2026-01-08T15:35:12.345Z"
    );
    assert_eq!(assertion.at(&["saml:Issuer"]).text, settings().issuer);
    assert_eq!(
        assertion.at(&["saml:Subject", "saml:NameID"]).text,
        settings().email
    );
    let confirmation = assertion.at(&["saml:Subject", "saml:SubjectConfirmation"]);
    assert_eq!(confirmation.attribute("Method"), BEARER);
    let data = confirmation.at(&["saml:SubjectConfirmationData"]);
    assert_eq!(data.attribute("Recipient"), settings().recipient);
    assert_eq!(data.attribute("NotOnOrAfter"), "2026-01-08T15:40:12.345Z");
    let conditions = assertion.at(&["saml:Conditions"]);
    assert_eq!(
        conditions.attribute("NotBefore"),
        "2026-01-08T15:35:02.345Z"
    );
    assert_eq!(
        conditions.attribute("NotOnOrAfter"),
        "2026-01-08T15:40:12.345Z"
    );
    let audience = conditions.at(&["saml:AudienceRestriction", "saml:Audience"]);
    assert_eq!(audience.text, settings().audience);
    let statement = assertion.at(&["saml:AuthnStatement"]);
    assert_eq!(
        statement.attribute("AuthnInstant"),
        "2026-01-08T15:35:12.345Z"
    );
    assert_eq!(
        attributes(assertion),
        [
            ("OrganizationName", "acme"),
            ("email", "gateway@example.com"),
            ("ServiceName", "directory")
        ]
    );
}

#[test]
fn the_service_name_is_left_out_unless_it_is_set() {
    let document = document(&settings());
    let response = parse(&document).unwrap();
    assert_eq!(attributes(response.at(&["saml:Assertion"])).len(), 2);
    assert!(!document.contains("ServiceName"));
}

#[test]
fn exactly_the_wanted_elements_are_signed() {
    let key = signer();
    let public = key.key.public_key().as_ref();
    for (sign, on_response, on_assertion) in [
        (Sign::Both, true, true),
        (Sign::Assertion, false, true),
        (Sign::Response, true, false),
    ] {
        let document = document(&AssertionSettings { sign, ..settings() });
        let response = parse(&document).unwrap();
        let assertion = response.at(&["saml:Assertion"]);
        for (element, wanted) in [(&response, on_response), (assertion, on_assertion)] {
            assert_eq!(
                element.child("ds:Signature").is_some(),
                wanted,
                "{sign:?} {}",
                element.name
            );
            if wanted {
                element.verify(&document, public).unwrap();
                let certificate = element.at(&[
                    "ds:Signature",
                    "ds:KeyInfo",
                    "ds:X509Data",
                    "ds:X509Certificate",
                ]);
                assert_eq!(certificate.text, STANDARD.encode(&key.certificate.der));
            }
        }
    }
}

#[test]
fn a_changed_byte_is_noticed_by_the_verification_of_these_tests() {
    let key = signer();
    let public = key.key.public_key().as_ref();
    let original = document(&settings());
    let forged = original.replace("gateway@example.com", "another@example.com");
    let response = parse(&forged).unwrap();
    assert!(response.verify(&forged, public).is_err());
    assert!(
        response
            .at(&["saml:Assertion"])
            .verify(&forged, public)
            .is_err()
    );
    let other = Signer::from_pem(OTHER_KEY, OTHER_CERTIFICATE).unwrap();
    let response = parse(&original).unwrap();
    assert!(
        response
            .verify(&original, other.key.public_key().as_ref())
            .is_err()
    );
}

#[test]
fn the_same_instant_and_identifiers_give_the_same_document() {
    let one = signer().response(&settings(), NOW, ids()).unwrap();
    let same = Signer::from_pem(PKCS1, CERTIFICATE)
        .unwrap()
        .response(&settings(), NOW, ids())
        .unwrap();
    assert!(one == same, "PKCS#1 and PKCS#8 hold the same key");
    let other = signer().response(&settings(), NOW, [7; 32]).unwrap();
    assert!(one != other);
}

#[test]
fn special_characters_are_escaped_as_canonical_xml_wants_it() {
    let all = "a&b<c>d\"e'f\tg\nh\ri\u{1f600}j";
    let document = document(&AssertionSettings {
        issuer: all.into(),
        recipient: all.into(),
        ..settings()
    });
    assert!(
        document.contains("Destination=\"a&amp;b&lt;c>d&quot;e'f&#x9;g&#xA;h&#xD;i\u{1f600}j\"")
    );
    assert!(document.contains(">a&amp;b&lt;c&gt;d\"e'f\tg\nh&#xD;i\u{1f600}j</saml:Issuer>"));
}

#[test]
fn settings_that_xml_or_the_platform_cannot_carry_are_refused_by_name() {
    for (c, code) in [
        ('\u{0}', 0),
        ('\u{b}', 0xb),
        ('\u{1f}', 0x1f),
        ('\u{fffe}', 0xfffe),
        ('\u{ffff}', 0xffff),
    ] {
        let bad = AssertionSettings {
            audience: format!("x{c}"),
            ..settings()
        };
        assert_eq!(
            signer().response(&bad, NOW, ids()).unwrap_err(),
            SamlError::ForbiddenCharacter {
                key: "audience",
                code
            }
        );
    }
    let bad = AssertionSettings {
        issuer: " ".into(),
        email: "x".repeat(VALUE_MAX + 1),
        service_name: Some(String::new()),
        lifetime: Duration::from_secs(3601),
        ..settings()
    };
    assert_eq!(
        bad.problems(),
        [
            SamlError::EmptyValue { key: "issuer" },
            SamlError::ValueTooLong { key: "email" },
            SamlError::EmptyValue {
                key: "service-name"
            },
            SamlError::Lifetime,
        ]
    );
    let short = AssertionSettings {
        lifetime: Duration::from_secs(29),
        ..settings()
    };
    assert_eq!(short.problems(), [SamlError::Lifetime]);
    for lifetime in [LIFETIME_MIN, LIFETIME_MAX] {
        let just = AssertionSettings {
            lifetime,
            ..settings()
        };
        assert_eq!(just.problems(), [], "{lifetime:?}");
    }
    assert_eq!(settings().problems(), []);
}

#[test]
fn absurd_clocks_give_a_response_and_no_panic() {
    for now in [Wall(i64::MIN), Wall(0), Wall(i64::MAX)] {
        assert!(signer().response(&settings(), now, ids()).is_ok());
    }
}

#[test]
fn keys_that_do_not_serve_are_refused_with_the_reason() {
    for (key, expected) in [
        (&b""[..], SamlError::NoPrivateKey),
        (b"hello\n", SamlError::NoPrivateKey),
        (CERTIFICATE, SamlError::NoPrivateKey),
        (RSA_1024, SamlError::KeyTooSmall),
        (EC_KEY, SamlError::KeyNotRsa),
        (ENCRYPTED_8, SamlError::KeyEncrypted),
        (ENCRYPTED_1, SamlError::KeyEncrypted),
    ] {
        assert_eq!(refusal(key, CERTIFICATE), expected);
    }
    let damaged = String::from_utf8(PKCS8.to_vec()).unwrap();
    // A line of the modulus; the private exponent is not used in signing.
    let line = damaged.lines().nth(4).unwrap();
    let damaged = damaged.replace(line, &line.chars().rev().collect::<String>());
    let error = refusal(damaged.as_bytes(), CERTIFICATE);
    assert!(matches!(error, SamlError::KeyUnusable(_)), "{error:?}");
    assert!(!error.to_string().contains(line));
}

#[test]
fn certificates_that_do_not_serve_are_refused_with_the_reason() {
    let unreadable = b"-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    for (certificate, expected) in [
        (&b""[..], SamlError::NoCertificate),
        (PKCS8, SamlError::NoCertificate),
        (unreadable, SamlError::CertificateUnreadable),
        (EC_CERTIFICATE, SamlError::CertificateNotRsa),
        (OTHER_CERTIFICATE, SamlError::KeyAndCertificateDiffer),
    ] {
        assert_eq!(refusal(PKCS8, certificate), expected);
    }
    assert_eq!(
        refusal(OTHER_KEY, CERTIFICATE),
        SamlError::KeyAndCertificateDiffer
    );
}

#[test]
fn text_around_the_pem_is_ignored_and_the_matching_certificate_of_a_chain_is_taken() {
    let mut key =
        b"\xef\xbb\xbfBag Attributes\n    friendlyName: idp\nKey Attributes: <No Attributes>\n"
            .to_vec();
    key.extend_from_slice(PKCS8);
    key.extend_from_slice(b"trailing words without a newline");
    let mut chain = b"subject=CN = other\n\n".to_vec();
    chain.extend_from_slice(OTHER_CERTIFICATE);
    chain.extend_from_slice(EC_CERTIFICATE);
    chain.extend_from_slice(b"subject=CN = ours\r\n");
    chain.extend_from_slice(CERTIFICATE);
    let signer = Signer::from_pem(&key, &chain).unwrap();
    assert_eq!(signer.key_bits(), 2048);
    // Windows line ends.
    let crlf = String::from_utf8(PKCS1.to_vec())
        .unwrap()
        .replace('\n', "\r\n");
    assert!(Signer::from_pem(crlf.as_bytes(), CERTIFICATE).is_ok());
}

#[test]
fn the_end_of_the_certificate_is_read_on_both_sides_of_2050() {
    assert_eq!(
        signer().certificate_ends(),
        Wall::parse_rfc3339("2049-12-31T00:00:00Z")
    );
    let other = Signer::from_pem(OTHER_KEY, OTHER_CERTIFICATE).unwrap();
    assert_eq!(
        other.certificate_ends(),
        Wall::parse_rfc3339("2120-01-01T00:00:00Z")
    );
}

#[test]
fn damaged_certificates_never_panic() {
    let der = signer().certificate.der;
    let pem = |der: &[u8]| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(der)
        )
    };
    for length in 0..der.len() {
        assert_eq!(
            refusal(PKCS8, pem(&der[..length]).as_bytes()),
            SamlError::CertificateUnreadable,
            "prefix of {length} bytes"
        );
    }
    let mut rng = base::rng::Rng::new(1);
    for _ in 0..500 {
        let mut der = der.clone();
        let at = rng.below(300.min(der.len() as u64)) as usize;
        der[at] = rng.below(256) as u8;
        let _ = Signer::from_pem(PKCS8, pem(&der).as_bytes());
    }
}

#[test]
fn no_rendering_shows_any_of_the_key() {
    assert_eq!(format!("{:?}", signer()), "Signer(RSA of 2048 bits)");
    for error in [
        SamlError::KeyUnusable("InvalidEncoding".into()),
        SamlError::SigningFailed,
    ] {
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(SamlError::SigningFailed.blame(), Blame::Us);
    assert_eq!(SamlError::KeyTooSmall.blame(), Blame::Operator);
}
