//! The intake over TLS: the same listener, seats, deadlines and words, and clear ones for who
//! speaks the wrong way to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use genesys_gateway::config::{Certificates, ServerIdentity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::*;

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(format!("test-only-{name}"))
}

fn identity() -> ServerIdentity {
    let file = kept("server.certificate.pem");
    ServerIdentity {
        certificates: Certificates {
            der: vec![CertificateDer::from_pem_file(&file).unwrap()],
            file,
        },
        key_pem: Secret::new(std::fs::read_to_string(kept("server.key.pem")).unwrap()),
        ends: None,
    }
}

fn secure_house(with: With) -> House {
    house(With {
        tls: Some(ServerTls::new(&identity()).unwrap()),
        ..with
    })
}

fn client(versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(kept("ca.certificate.pem")).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

fn secure(address: SocketAddr) -> Secure {
    secure_by(address, client(rustls::ALL_VERSIONS, &[]))
}

fn secure_by(address: SocketAddr, config: Arc<ClientConfig>) -> Secure {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(
        ClientConnection::new(config, name).unwrap(),
        connect(address),
    )
}

fn exchange(s: &mut Secure, method: &str, path: &str, body: &[u8]) -> Got {
    s.write_all(&request(method, path, &[JSON], body)).unwrap();
    read_answer(s, method == "HEAD")
}

/// Until the gate has ended it; how long that took.
fn until_ended(mut s: &TcpStream) -> Duration {
    let began = Instant::now();
    let mut block = [0; 1024];
    while s.read(&mut block).is_ok_and(|n| n > 0) {}
    began.elapsed()
}

#[test]
fn both_versions_are_spoken_and_one_connection_carries_many_requests() {
    let house = secure_house(With::default());
    for (versions, spoken) in [
        (&[&rustls::version::TLS13], "TLSv1_3"),
        (&[&rustls::version::TLS12], "TLSv1_2"),
    ] {
        let mut s = secure_by(house.address, client(versions, &[b"h2", b"http/1.1"]));
        let large = with_id(&format!(",\"note\":\"{}\"", "x".repeat(60_000)));
        for _ in 0..3 {
            let got = exchange(&mut s, "POST", INTERACTIONS, large.as_bytes());
            assert!(got.status < 300, "{spoken}: {got:?}");
            let got = exchange(&mut s, "GET", "/openapi.json", b"");
            assert_eq!(got.text(), OPENAPI);
            let got = exchange(&mut s, "HEAD", "/agent-desktop/", b"");
            assert_eq!(got.status, 200);
        }
        // Several requests in one record: what was read ahead is not forgotten.
        let one = request("GET", "/agent-desktop/page.js", &[], b"");
        s.write_all(&one.repeat(5)).unwrap();
        for n in 0..5 {
            assert_eq!(read_answer(&mut s, false).status, 200, "{n}");
        }
        assert_eq!(format!("{:?}", s.conn.protocol_version().unwrap()), spoken);
        assert_eq!(s.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    // Who wants to speak HTTP/2 alone is told so by the handshake.
    let mut s = secure_by(house.address, client(rustls::ALL_VERSIONS, &[b"h2"]));
    assert!(s.write_all(b"x").and_then(|()| s.read(&mut [0])).is_err());
}

#[test]
fn the_openssl_command_verifies_what_is_shown() {
    let house = secure_house(With::default());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &house.address.to_string(), version])
            .args([
                "-servername",
                "localhost",
                "-verify_return_error",
                "-quiet",
                "-CAfile",
            ])
            .arg(kept("ca.certificate.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the openssl command (tests/run installs it)");
        let ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        child.stdin.as_mut().unwrap().write_all(ask).unwrap();
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.starts_with("HTTP/1.1 200 "), "{version}: {said}");
    }
    let old = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &house.address.to_string(),
            "-tls1_1",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!old.status.success(), "TLS 1.1 is not spoken");
}

#[test]
fn who_speaks_plainly_to_a_port_with_tls_is_told_so_and_the_other_way_round() {
    let house = secure_house(With::default());
    for bytes in [
        request("GET", "/openapi.json", &[], b""),
        request("POST", INTERACTIONS, &[JSON], with_id("").as_bytes()),
        b"\0\0\0\0".to_vec(),
    ] {
        let got = raw(house.address, &bytes);
        assert_eq!(got.status, 400, "{got:?}");
        assert!(got.text().contains("https-required"), "{got:?}");
        assert_eq!(got.header("connection"), Some("close"));
    }
    assert!(house.port.asked().is_empty());
    let plain = crate::house(With::default());
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    let config = client(rustls::ALL_VERSIONS, &[]);
    let mut session = ClientConnection::new(config, name).unwrap();
    session.write_tls(&mut hello).unwrap();
    let got = raw(plain.address, &hello);
    assert_eq!(got.status, 400);
    assert!(got.text().contains("https-not-spoken"), "{got:?}");
}

#[test]
fn handshakes_that_do_not_get_on_end_with_the_time_of_a_head_and_harm_nobody() {
    let house = secure_house(With {
        head: Some(Duration::from_secs(2)),
        ..With::default()
    });
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    let config = client(rustls::ALL_VERSIONS, &[]);
    let mut session = ClientConnection::new(config, name).unwrap();
    session.write_tls(&mut hello).unwrap();
    let soon = Duration::from_secs(8);
    // Silence; a part of the first message; all of it, and then nothing.
    for part in [0, 1, hello.len() / 2, hello.len()] {
        let mut s = connect(house.address);
        s.write_all(&hello[..part]).unwrap();
        let took = until_ended(&s);
        assert!(took < soon, "{part}: {took:?}");
    }
    // A byte at a time does not make it longer.
    let mut s = connect(house.address);
    let began = Instant::now();
    for byte in &hello {
        if s.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    until_ended(&s);
    assert!(began.elapsed() < Duration::from_secs(20));
    // Nonsense that begins like TLS.
    for nonsense in [
        &b"\x16\x03\x01\xff\xff"[..],
        b"\x16\x03\x01\x00\x05hello",
        &[0x16; 70_000],
    ] {
        let mut s = connect(house.address);
        let _ = s.write_all(nonsense);
        let took = until_ended(&s);
        assert!(took < soon, "{took:?}");
    }
    // Many at once that say nothing keep no seat from who speaks.
    let silent: Vec<_> = (0..200).map(|_| connect(house.address)).collect();
    // Long enough to count as silent, and not yet sent away for it.
    std::thread::sleep(Duration::from_millis(200));
    let got = exchange(&mut secure(house.address), "GET", "/openapi.json", b"");
    assert_eq!(got.status, 200);
    drop(silent);
    assert!(house.port.asked().is_empty());
}

#[test]
fn another_certificate_is_shown_to_connections_that_come_after_it_and_those_before_go_on() {
    let tls = ServerTls::new(&identity()).unwrap();
    let house = house(With {
        tls: Some(tls.clone()),
        ..With::default()
    });
    let mut before = secure(house.address);
    assert_eq!(
        exchange(&mut before, "GET", "/openapi.json", b"").status,
        200
    );
    let shown = before.conn.peer_certificates().unwrap()[0].to_vec();
    assert_eq!(shown, identity().certificates.der[0].to_vec());
    assert_eq!(
        exchange(&mut before, "GET", "/openapi.json", b"").status,
        200
    );
    assert_eq!(format!("{tls:?}"), "TLS");
}

#[test]
fn tokens_and_news_of_the_page_work_over_tls_and_a_client_that_goes_away_is_noticed() {
    let board = Arc::new(Board::default());
    let house = secure_house(With {
        tokens: &["t"],
        desktop: desktop(Some(Duration::from_secs(600)), &board),
        ..With::default()
    });
    let mut s = secure(house.address);
    let page = [
        ("Host", "gateway.example"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Origin", "https://gateway.example"),
    ];
    s.write_all(&request("POST", TOKEN, &page, b"")).unwrap();
    let token = read_answer(&mut s, false).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let bearer = format!("Bearer {token}");
    let fields = [JSON, ("Authorization", bearer.as_str())];
    s.write_all(&request(
        "POST",
        INTERACTIONS,
        &fields,
        with_id("").as_bytes(),
    ))
    .unwrap();
    assert_eq!(read_answer(&mut s, false).status, 202);
    let path = format!("{NEWS}?ids={ID}");
    s.write_all(&request("GET", &path, &fields, b"")).unwrap();
    let told = read_answer(&mut s, false).json();
    let path = format!("{path}&since={}", told["cursor"].as_str().unwrap());
    s.write_all(&request("GET", &path, &fields, b"")).unwrap();
    let waited = |many: usize| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while house.served().counts().open != many {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::sleep(Duration::from_millis(100));
    board.changed([id()]);
    let told = read_answer(&mut s, false).json();
    assert_eq!(told["conversations"][0]["conversationId"], ID);
    // It waits again, and goes away without a word.
    let path = format!("{NEWS}?ids={ID}&since={}", told["cursor"].as_str().unwrap());
    s.write_all(&request("GET", &path, &fields, b"")).unwrap();
    waited(1);
    drop(s);
    waited(0);
}
