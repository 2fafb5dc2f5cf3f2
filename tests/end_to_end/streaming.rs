//! Where a channel's `connectUri` may lead: with an API over TLS to `wss` at the platform's
//! hosts alone, whatever an answer or the database says.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::support::{History, Platform, Setup, http, wait_for};

fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(format!("test-only-{name}"))
}

/// A platform over TLS that leads its channels to wherever it is told.
struct Astray {
    url: String,
    made: Arc<AtomicUsize>,
}

impl Astray {
    fn start(connect_uri: Arc<Mutex<String>>) -> Astray {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let pem = std::fs::read(tls_file("server.certificate.pem")).unwrap();
        let key = std::fs::read(tls_file("server.key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(&pem).unwrap()],
                PrivateKeyDer::from_pem_slice(&key).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let (uri, count) = (Arc::clone(&connect_uri), Arc::clone(&count));
                std::thread::spawn(move || {
                    let _ = serve(rustls::StreamOwned::new(session, tcp), &uri, &count);
                });
            }
        });
        Astray { url, made }
    }
}

fn serve(
    stream: rustls::StreamOwned<rustls::ServerConnection, TcpStream>,
    connect_uri: &Mutex<String>,
    made: &AtomicUsize,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = http::take_request(&mut stream)?;
    let answer = if request.starts_with("POST /oauth/token") {
        json!({"access_token": "a-token-of-the-stand-in", "token_type": "bearer", "expires_in": 86_400})
    } else if request.starts_with("POST /api/v2/notifications/channels ") {
        let n = made.fetch_add(1, Ordering::SeqCst);
        let uri = connect_uri.lock().unwrap().clone();
        json!({"id": format!("streaming-0-hush{n}"), "connectUri": uri, "expires": "2099-01-01T00:00:00.000Z"})
    } else {
        json!({"entities": []})
    }
    .to_string();
    write!(
        stream.get_mut(),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    stream.get_mut().flush()
}

/// Counts who knocks.
fn ear() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    std::thread::spawn(move || {
        for _ in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, heard)
}

#[test]
fn with_an_api_over_tls_a_channel_leads_over_wss_to_the_platforms_hosts_and_nowhere_else() {
    let history = History::start();
    let (port, heard) = ear();
    let uri = Arc::new(Mutex::new(String::new()));
    let platform = Astray::start(Arc::clone(&uri));
    let mut setup = Setup::blank();
    setup.set("history", &format!("url = \"{}\"", history.url));
    setup.set("genesys", &format!("api-url = \"{}\"", platform.url));
    setup.set("genesys", &format!("login-url = \"{}\"", platform.url));
    let ca = tls_file("ca.certificate.pem");
    setup.set("genesys", &format!("ca-file = \"{}\"", ca.display()));
    setup.set("genesys.oauth", "grant = \"client-credentials\"");
    setup.set("genesys.oauth", "client-id = \"me\"");
    setup.set("genesys.oauth", "client-secret-file = \"./client-secret\"");
    setup.write("client-secret", "a-secret-of-the-client");
    let refused = [
        (format!("ws://127.0.0.1:{port}/channels/hush"), "127.0.0.1"),
        (format!("WS://LOCALHOST:{port}/channels/hush"), "localhost"),
        (
            format!("wss://me:hush@127.0.0.1:{port}/channels/hush"),
            "user name",
        ),
        ("wss://evil.example/channels/hush".into(), "evil.example"),
        (
            "wss://streaming.mypurecloud.de.evil.example/channels/hush".into(),
            "streaming.mypurecloud.de.evil.example",
        ),
        ("ws://streaming.mypurecloud.de/channels/hush".into(), "wss"),
        ("wss://10.0.0.1/channels/hush".into(), "10.0.0.1"),
        ("wss:///channels/hush".into(), "no WebSocket address"),
    ];
    let mut made = 0;
    for (refused, said) in &refused {
        uri.lock().unwrap().clone_from(refused);
        let mut gateway = setup.start();
        let id = "6f1d2c3b-0000-4000-8000-000000000001";
        assert!([200, 202].contains(&gateway.accept(id).status));
        let line = gateway.wait_log("connect-uri-refused");
        assert!(line.contains(said), "{refused}: {line}");
        let reasons = wait_for("the verdict", || {
            let reasons = gateway.status().to_string();
            match reasons.contains("connectUri") {
                true => Ok(reasons),
                false => Err(reasons),
            }
        });
        assert!(reasons.contains(said), "{reasons}");
        let ready = gateway.ready();
        assert_eq!(ready.status, 503, "{ready}");
        assert_eq!(gateway.sigterm().0, 0);
        assert!(!gateway.log().contains("hush/") && !gateway.log().contains("channels/hush"));
        let now = platform.made.load(Ordering::SeqCst);
        assert!(
            now - made <= 1,
            "{refused}: {} channels were used up",
            now - made
        );
        made = now;
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "somebody was called");
    let online = setup.ends(&["check", "--online"]).expect(69);
    assert!(
        online.out.contains("no WebSocket address"),
        "{}",
        online.out
    );

    // This machine over TLS, because the API is on it too.
    *uri.lock().unwrap() = format!("wss://127.0.0.1:{port}/channels/hush");
    let gateway = setup.start();
    wait_for("the socket to be dialled", || {
        match heard.load(Ordering::SeqCst) {
            0 => Err("nobody was called"),
            _ => Ok(()),
        }
    });
    assert!(!gateway.log().contains("connect-uri-refused"));
}

#[test]
fn a_channel_that_is_led_astray_uses_up_no_others_while_it_lasts() {
    let history = History::start();
    let uri = Arc::new(Mutex::new("wss://evil.example/x".to_owned()));
    let platform = Astray::start(uri);
    let mut setup = Setup::blank();
    setup.set("history", &format!("url = \"{}\"", history.url));
    setup.set("genesys", &format!("api-url = \"{}\"", platform.url));
    setup.set("genesys", &format!("login-url = \"{}\"", platform.url));
    let ca = tls_file("ca.certificate.pem");
    setup.set("genesys", &format!("ca-file = \"{}\"", ca.display()));
    setup.set("genesys", "streaming-hosts = [\"relay.invalid\"]");
    setup.set("genesys.oauth", "grant = \"client-credentials\"");
    setup.set("genesys.oauth", "client-id = \"me\"");
    setup.set("genesys.oauth", "client-secret-file = \"./client-secret\"");
    setup.write("client-secret", "a-secret-of-the-client");
    let gateway = setup.start();
    gateway.wait_log("connect-uri-refused");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        http::get(&format!("{}/healthz", gateway.operators)).expect(200);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(platform.made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stored_connect_uri_is_judged_like_one_of_an_answer() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    gateway.wait_ready();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    assert_eq!(gateway.sigterm().0, 0);
    let database = rusqlite::Connection::open(setup.path("gateway.db")).unwrap();
    let changed = database
        .execute(
            "UPDATE channel SET connect_uri = 'ws://streaming.evil.example/channels/hush'",
            [],
        )
        .unwrap();
    assert!(changed > 0);
    drop(database);
    let gateway = setup.start();
    let line = gateway.wait_log("connect-uri-refused");
    assert!(
        line.contains("streaming.evil.example") && !line.contains("hush"),
        "{line}"
    );
    // Another one takes its place.
    wait_for("the conversation to be watched again", || {
        match platform.subscribed(&id) {
            true => Ok(()),
            false => Err("no connected channel has it"),
        }
    });
    gateway.wait_ready();
}
