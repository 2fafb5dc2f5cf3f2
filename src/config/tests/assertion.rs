//! Where an assertion comes from, and the key and certificate of one that is signed here.

use super::*;

#[test]
fn the_assertion_has_exactly_one_source() {
    let desk = Desk::new();
    desk.write("assertion", "PHNhbWw+\n", 0o600);
    for (table, rule) in [
        ("", "names no source"),
        (
            "file = \"./assertion\"\ncommand = [\"/bin/true\"]",
            "more than one source: file, command",
        ),
        (
            "file = \"./assertion\"\nlifetime = \"5m\"",
            "more than one source: file, lifetime",
        ),
        ("command = []", "absolute path"),
        ("command = [\"fetch\"]", "absolute path"),
        ("command = [\"/nonexistent/fetch\"]", "no such file"),
        ("command = [\"/etc/passwd\"]", "may be run"),
        ("command = \"/bin/true\"", "array"),
        ("file = \"./missing\"", "no such file"),
        ("email = \"nobody\"", "e-mail"),
        ("issuer = \"x\"\nsign = \"none\"", "\"both\""),
        ("issuer = \"x\"\nlifetime = \"5s\"", "from 30s"),
        ("issuer = \"x\"", "required by a signed assertion"),
    ] {
        let problems = desk.problems(&format!("{SAML}{table}\n"));
        assert!(
            problems
                .iter()
                .any(|p| p.key.starts_with("genesys.oauth.assertion") && p.rule.contains(rule)),
            "{table}: {problems:?}"
        );
    }
    let (c, _) = desk
        .load(&format!("{SAML}file = \"./assertion\"\n"))
        .unwrap();
    let Grant::Saml2Bearer {
        org_name,
        assertion: AssertionSource::File(file),
    } = c.genesys.oauth.grant
    else {
        panic!("{:?}", c.genesys.oauth.grant)
    };
    assert_eq!(org_name, "acme");
    assert_eq!(file.path(), desk.path("./assertion"));
    let (c, _) = desk
        .load(&format!("{SAML}command = [\"/bin/sh\", \"-c\", \"x\"]\n"))
        .unwrap();
    assert!(matches!(
        c.genesys.oauth.grant,
        Grant::Saml2Bearer { assertion: AssertionSource::Command(words), .. } if words.len() == 3
    ));
}

fn openssl(arguments: &[&str]) {
    let output = std::process::Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is needed to make keys for this test");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_signed_assertion_takes_an_rsa_key_in_either_form_and_the_certificate_that_belongs_to_it() {
    let desk = Desk::new();
    let at = |name: &str| desk.path(name).display().to_string();
    let make = |key: &str, certificate: &str, bits: &str| {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            bits,
            "-nodes",
            "-subj",
            "/CN=test",
            "-days",
            "1",
            "-keyout",
            &at(key),
            "-out",
            &at(certificate),
        ]);
    };
    make("key", "cert", "rsa:2048");
    make("other-key", "other-cert", "rsa:2048");
    make("short-key", "short-cert", "rsa:1024");
    openssl(&[
        "rsa",
        "-in",
        &at("key"),
        "-traditional",
        "-out",
        &at("pkcs1"),
    ]);
    openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        &at("key"),
        "-passout",
        "pass:x",
        "-out",
        &at("locked"),
    ]);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &at("ed25519")]);
    let text = |key: &str, certificate: &str| {
        format!(
            "{SAML}issuer = \"i\"\nemail = \"a@b.example\"\naudience = \"u\"\nrecipient = \"https://r.example/\"\nprivate-key-file = \"./{key}\"\ncertificate-file = \"./{certificate}\"\n"
        )
    };
    for key in ["key", "pkcs1"] {
        let (c, _) = desk.load(&text(key, "cert")).unwrap();
        let Grant::Saml2Bearer {
            assertion: AssertionSource::Signed(signed),
            ..
        } = c.genesys.oauth.grant
        else {
            panic!()
        };
        assert_eq!(signed.organization_name, "acme");
        assert_eq!(signed.lifetime, Duration::from_secs(300));
        assert_eq!(signed.sign, Sign::Both);
        assert!(!format!("{signed:?}").contains("PRIVATE KEY"));
    }
    for (key, certificate, rule) in [
        ("key", "other-cert", "must belong"),
        ("short-key", "short-cert", "2048 to 4096 bits"),
        ("locked", "cert", "encrypted"),
        ("ed25519", "cert", "RSA"),
        ("cert", "cert", "no private key"),
        ("key", "key", "no certificate"),
    ] {
        let problems = desk.problems(&text(key, certificate));
        assert!(
            problems.iter().any(|p| p.rule.contains(rule)),
            "{key}, {certificate}: {problems:?}"
        );
    }
    // The same files serve as the client's identity towards the history manager.
    let identity =
        |lines: &str| format!("[history]\nurl = \"https://h.example/\"\n{lines}\n{RIGHT}");
    let (c, _) = desk
        .load(&identity(
            "client-certificate-file = \"./cert\"\nclient-key-file = \"./key\"\nca-file = \"./cert\"",
        ))
        .unwrap();
    assert!(c.history.client_identity.is_some() && c.history.ca.is_some());
    let problems = desk.problems(&identity("client-certificate-file = \"./cert\""));
    assert_eq!(problems[0].key, "history.client-key-file");
    let problems = desk.problems(&identity("client-key-file = \"./key\""));
    assert_eq!(problems[0].key, "history.client-certificate-file");
}
