//! Guards the SAML responses against everybody else's reading of the standards.
//!
//! A few hundred responses with hostile values are written once. They are read
//! back and verified here, and by `xmlsec1`, `lxml`, `signxml` and `python3-saml`
//! where those are installed. With `GATEWAY_TESTS_REQUIRE_TOOLS=1` a missing
//! tool is a failure (`python3-saml` excepted, which needs a compiler to
//! install); without it, the test says that it was skipped.
//! `GATEWAY_TESTS_PYTHON` names the interpreter that has the libraries.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::rng::Rng;
use base::time::Wall;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use notifications::saml::{AssertionSettings, Sign, Signer};
use ring::signature::{KeyPair as _, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tempfile::TempDir;

#[path = "../src/notifications/saml/reading.rs"]
mod reading;

const DOCUMENTS: usize = 300;
const SEED: u64 = 0x5a31;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/saml")
        .join(name)
}

fn certificate() -> PathBuf {
    file("test-only-provider.certificate.pem")
}

fn public_key() -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_file(file("test-only-provider.pkcs8.key.pem")).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    key.public_key().as_ref().to_vec()
}

/// What tends to break writers of XML.
const HOSTILE: [&str; 34] = [
    "&",
    "<",
    ">",
    "\"",
    "'",
    "\r",
    "\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    "&amp;",
    "&#xD;",
    "&lt;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?x?>",
    "</saml:Issuer>",
    "%2B",
    "\u{1f600}",
    "\u{10ffff}",
    "\u{fffd}",
    "\u{85}",
    "\u{2028}",
    "\u{7f}",
    "\u{9f}",
    "e\u{301}",
    "\u{202e}",
    "\u{feff}",
    "ä",
    "xmlns:saml=\"x\"",
    "\\",
];

fn hostile(rng: &mut Rng) -> String {
    let pieces = match rng.below(20) {
        0 => 400,
        n => 1 + n % 8,
    };
    let mut value = String::from("x");
    for _ in 0..pieces {
        if rng.chance(70) {
            value += HOSTILE[rng.below(HOSTILE.len() as u64) as usize];
        } else if let Some(c) = char::from_u32(rng.below(0x11_0000) as u32)
            && !matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
        {
            value.push(c);
        }
    }
    value
}

struct Sample {
    settings: AssertionSettings,
    document: String,
    /// Ordinary values, as a service provider in strict mode expects them.
    plain: bool,
}

fn sample(rng: &mut Rng, number: usize, signer: &Signer, now: Wall) -> Sample {
    // Seven has no factor in common with the three ways to sign.
    let plain = number.is_multiple_of(7);
    let mut value = |ordinary: &str| match plain {
        true => ordinary.to_owned(),
        false => hostile(rng),
    };
    let settings = AssertionSettings {
        issuer: value("https://gateway.example/idp"),
        email: value("gateway@example.com"),
        audience: value("https://sp.example/metadata"),
        recipient: value("https://sp.example/acs"),
        organization_name: value("acme"),
        service_name: (number % 2 == 1).then(|| value("directory")),
        lifetime: Duration::from_secs(3600),
        sign: [Sign::Both, Sign::Assertion, Sign::Response][number % 3],
    };
    let ids = std::array::from_fn(|_| rng.below(256) as u8);
    let response = signer.response(&settings, now, ids).unwrap();
    let document = STANDARD.decode(response.expose()).unwrap();
    Sample {
        settings,
        document: String::from_utf8(document).unwrap(),
        plain,
    }
}

/// The same documents for every test of this file; signing them takes a moment.
fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let signer = Signer::from_pem(
            &fs::read(file("test-only-provider.pkcs8.key.pem")).unwrap(),
            &fs::read(certificate()).unwrap(),
        )
        .unwrap();
        // A service provider in strict mode looks at its own clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Wall(now.as_millis() as i64);
        let mut rng = Rng::new(SEED);
        (0..DOCUMENTS)
            .map(|number| sample(&mut rng, number, &signer, now))
            .collect()
    })
}

/// Writes documents for the tools, each with what it has to contain.
fn written<'a>(samples: impl Iterator<Item = &'a Sample>) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (number, sample) in samples.enumerate() {
        let path = directory.path().join(format!("{number:03}.xml"));
        fs::write(&path, &sample.document).unwrap();
        let s = &sample.settings;
        let expected = json!({
            "issuer": s.issuer, "email": s.email, "audience": s.audience,
            "recipient": s.recipient, "organization_name": s.organization_name,
            "service_name": s.service_name, "plain": sample.plain,
            "sign": format!("{:?}", s.sign).to_lowercase(),
            "signatures": if s.sign == Sign::Both { 2 } else { 1 },
        });
        fs::write(path.with_extension("json"), expected.to_string()).unwrap();
    }
    directory
}

/// Says that a tool is missing; a failure where tools are required.
fn missing(what: &str) {
    let required = std::env::var_os("GATEWAY_TESTS_REQUIRE_TOOLS").is_some_and(|v| v == "1");
    assert!(!required, "{what} is required here");
    eprintln!("skipped: {what}");
}

/// Runs `check.py` over documents; `None` if the library is missing.
fn python(tool: &str, directory: &Path) -> Option<Result<usize, String>> {
    let python = std::env::var_os("GATEWAY_TESTS_PYTHON").unwrap_or_else(|| "python3".into());
    let run = Command::new(python)
        .arg(file("check.py"))
        .arg(tool)
        .arg(certificate())
        .arg(directory)
        .output()
        .ok()?;
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    match run.status.code() {
        Some(0) => {
            let checked = printed.trim().strip_prefix("checked ").unwrap();
            Some(Ok(checked.parse().unwrap()))
        }
        Some(3) => None,
        _ => Some(Err(String::from_utf8_lossy(&run.stderr).into_owned())),
    }
}

/// Verifies with `xmlsec1` the signature that is a child of the selected
/// element in each of the files; `None` if it is missing.
fn xmlsec1(element: &str, files: &[PathBuf]) -> Option<Result<(), String>> {
    let run = Command::new("xmlsec1")
        .args(["--verify", "--trusted-pem"])
        .arg(certificate())
        .args([
            "--id-attr:ID",
            "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
        ])
        .args([
            "--id-attr:ID",
            "urn:oasis:names:tc:SAML:2.0:protocol:Response",
        ])
        .arg("--node-xpath")
        .arg(format!(
            "//*[local-name()='{element}']/*[local-name()='Signature']"
        ))
        .args(files)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let verified = said.lines().filter(|l| l.trim() == "OK").count();
    Some(if run.status.success() && verified == files.len() {
        Ok(())
    } else {
        Err(format!("{verified} of {}: {said}", files.len()))
    })
}

fn documents_of(directory: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "xml"))
        .collect();
    files.sort();
    files
}

#[test]
fn hostile_values_survive_reading_back_and_every_signature_verifies() {
    let public = public_key();
    for (number, sample) in samples().iter().enumerate() {
        let document = &sample.document;
        let response = reading::parse(document).unwrap_or_else(|e| panic!("{number}: {e}"));
        let s = &sample.settings;
        let assertion = response.at(&["saml:Assertion"]);
        assert_eq!(response.attribute("Destination"), s.recipient);
        assert_eq!(response.at(&["saml:Issuer"]).text, s.issuer);
        assert_eq!(assertion.at(&["saml:Issuer"]).text, s.issuer);
        let subject = assertion.at(&["saml:Subject"]);
        assert_eq!(subject.at(&["saml:NameID"]).text, s.email);
        let data = subject.at(&["saml:SubjectConfirmation", "saml:SubjectConfirmationData"]);
        assert_eq!(data.attribute("Recipient"), s.recipient);
        let path = [
            "saml:Conditions",
            "saml:AudienceRestriction",
            "saml:Audience",
        ];
        assert_eq!(assertion.at(&path).text, s.audience);
        let attributes: Vec<&str> = assertion
            .at(&["saml:AttributeStatement"])
            .children
            .iter()
            .map(|a| a.children[0].text.as_str())
            .collect();
        let mut wanted = vec![s.organization_name.as_str(), &s.email];
        wanted.extend(s.service_name.as_deref());
        assert_eq!(attributes, wanted);
        for (element, unsigned) in [(&response, Sign::Assertion), (assertion, Sign::Response)] {
            if s.sign == unsigned {
                assert!(element.child("ds:Signature").is_none());
            } else {
                let verdict = element.verify(document, &public);
                assert_eq!(verdict, Ok(()), "{number} {}", element.name);
            }
        }
    }
}

#[test]
fn xmlsec1_verifies_every_signature_and_rejects_a_forged_document() {
    for (element, without) in [("Response", Sign::Assertion), ("Assertion", Sign::Response)] {
        let signed = || samples().iter().filter(|s| s.settings.sign != without);
        let directory = written(signed());
        let files = documents_of(&directory);
        assert_eq!(files.len(), DOCUMENTS * 2 / 3);
        match xmlsec1(element, &files) {
            None => return missing("xmlsec1"),
            Some(verdict) => assert_eq!(verdict, Ok(()), "{element}"),
        }
        let forged = fs::read_to_string(&files[0]).unwrap();
        fs::write(&files[0], forged.replace(">acme<", ">ACME<")).unwrap();
        let verdict = xmlsec1(element, &files[..1]).unwrap();
        assert!(verdict.is_err(), "a forged {element} verifies");
    }
}

#[test]
fn lxml_reads_the_same_values_and_finds_every_document_in_canonical_form() {
    let directory = written(samples().iter());
    match python("lxml", directory.path()) {
        None => return missing("lxml"),
        Some(verdict) => assert_eq!(verdict, Ok(DOCUMENTS)),
    }
    let path = directory.path().join("000.xml");
    let loose = fs::read_to_string(&path)
        .unwrap()
        .replace("\"><saml:Issuer", "\" ><saml:Issuer");
    fs::write(&path, loose).unwrap();
    let verdict = python("lxml", directory.path()).unwrap();
    assert!(verdict.unwrap_err().contains("000.xml"));
}

#[test]
fn signxml_verifies_every_document_and_rejects_a_forged_one() {
    let directory = written(samples().iter());
    match python("signxml", directory.path()) {
        None => return missing("signxml"),
        Some(verdict) => assert_eq!(verdict, Ok(DOCUMENTS)),
    }
    let path = directory.path().join("000.xml");
    let forged = fs::read_to_string(&path)
        .unwrap()
        .replace(">acme<", ">ACME<");
    fs::write(&path, forged).unwrap();
    let verdict = python("signxml", directory.path()).unwrap();
    assert!(verdict.is_err());
}

#[test]
fn a_service_provider_in_strict_mode_accepts_ordinary_values_and_no_others() {
    let plain = || samples().iter().filter(|s| s.plain);
    let directory = written(plain());
    match python("python3-saml", directory.path()) {
        // Not required: it builds a C extension when it is installed.
        None => return eprintln!("skipped: python3-saml"),
        Some(verdict) => assert_eq!(verdict, Ok(plain().count())),
    }
    let path = directory.path().join("000.json");
    let other = fs::read_to_string(&path)
        .unwrap()
        .replace("https://sp.example/metadata", "x");
    fs::write(&path, other).unwrap();
    let verdict = python("python3-saml", directory.path()).unwrap();
    assert!(verdict.unwrap_err().contains("audience"));
}
