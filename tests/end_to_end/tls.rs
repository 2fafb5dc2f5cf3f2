//! Guards TLS on the intake as an operator meets it: `check` names what is wrong with the files,
//! the start shows the certificate, a reload takes another, and a bad one keeps the old.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Authority, Gateway, History, Platform, Setup, Time, http};

const NAMES: &str = "DNS:localhost,IP:127.0.0.1";

fn put(setup: &Setup, certificate: &Path, key: &Path) {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    setup.write("intake.pem", &read(certificate));
    setup.write("intake.key", &read(key));
}

/// What the intake answers, and which certificate it showed.
fn asked(gateway: &Gateway, authority: &Authority) -> std::io::Result<(String, Vec<u8>)> {
    use std::io::{Read, Write};
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.file()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let address = gateway.intake.strip_prefix("http://").unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut s = StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        socket,
    );
    s.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    s.read_to_string(&mut said)?;
    Ok((said, s.conn.peer_certificates().unwrap()[0].to_vec()))
}

#[test]
fn the_intake_speaks_tls_and_a_reload_shows_another_certificate_unless_it_is_bad() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let authority = Authority::new();
    let first = authority.issue("first", NAMES, Time::Now);
    let second = authority.issue("second", NAMES, Time::Now);
    let over = authority.issue("over", NAMES, Time::Over);
    put(&setup, &first.certificate, &first.key);
    setup.set("http", "certificate-file = \"./intake.pem\"");
    setup.set("http", "private-key-file = \"./intake.key\"");
    setup.ends(&["check"]).expect(0);
    let gateway = setup.start();
    let der = |path: &Path| CertificateDer::from_pem_file(path).unwrap().to_vec();
    let (said, shown) = asked(&gateway, &authority).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    assert_eq!(shown, der(&first.certificate));
    // Plainly spoken to, it says what it speaks; the operators' listener stays plain.
    let plain = http::get(&format!("{}/openapi.json", gateway.intake)).expect(400);
    assert!(plain.text.contains("https://"), "{plain}");
    http::get(&format!("{}/healthz", gateway.operators)).expect(200);
    put(&setup, &second.certificate, &second.key);
    gateway.sighup();
    assert_eq!(
        asked(&gateway, &authority).unwrap().1,
        der(&second.certificate)
    );
    // Neither a key of another certificate, nor one that is none, nor what has ended.
    put(&setup, &first.certificate, &second.key);
    gateway.sighup();
    gateway.wait_log("does not belong to the first certificate");
    setup.write("intake.key", "hello");
    gateway.sighup();
    put(&setup, &over.certificate, &over.key);
    gateway.sighup();
    gateway.wait_log("the new certificate has expired");
    assert_eq!(
        asked(&gateway, &authority).unwrap().1,
        der(&second.certificate)
    );
    put(&setup, &first.certificate, &first.key);
    gateway.sighup();
    assert_eq!(
        asked(&gateway, &authority).unwrap().1,
        der(&first.certificate)
    );
    // Whether it speaks TLS at all is a matter of the start.
    setup.clear("http");
    setup.set("http", "listen = \"127.0.0.1:0\"");
    setup.save();
    gateway.sighup();
    gateway.wait_log("http.certificate-file");
    assert!(asked(&gateway, &authority).is_ok());
    let key = std::fs::read_to_string(&first.key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!gateway.log().contains(secret), "no key is logged");
}

#[test]
fn check_names_what_is_wrong_with_certificate_and_key() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let authority = Authority::new();
    let good = authority.issue("good", NAMES, Time::Now);
    let other = authority.issue("other", NAMES, Time::Now);
    setup.set("http", "certificate-file = \"./intake.pem\"");
    let refused = |setup: &Setup, words: &[&str]| {
        let ended = setup.ends(&["check"]).expect(78);
        let said = format!("{}{}", ended.out, ended.log);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    put(&setup, &good.certificate, &good.key);
    refused(&setup, &["http.private-key-file", "with certificate-file"]);
    setup.set("http", "private-key-file = \"./intake.key\"");
    setup.ends(&["check"]).expect(0);
    put(&setup, &good.certificate, &other.key);
    refused(&setup, &["http.private-key-file", "does not belong"]);
    put(&setup, &good.key, &good.key);
    refused(&setup, &["http.certificate-file", "no certificate"]);
    put(&setup, &good.certificate, &good.certificate);
    refused(&setup, &["http.private-key-file", "no private key"]);
    for (time, word) in [
        (Time::Over, "has expired"),
        (Time::NotYet, "not good before"),
    ] {
        let odd = authority.issue("odd", NAMES, time);
        put(&setup, &odd.certificate, &odd.key);
        let ended = setup.ends(&["check"]).expect(0);
        let said = format!("{}{}", ended.out, ended.log);
        assert!(
            said.contains(word) && said.contains("http.certificate-file"),
            "{said}"
        );
    }
    put(&setup, &good.certificate, &good.key);
    let socket = setup.path("intake.sock");
    setup.set("http", &format!("listen = \"unix:{}\"", socket.display()));
    refused(&setup, &["http.certificate-file", "unix socket"]);
}
