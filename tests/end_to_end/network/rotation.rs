//! Secrets and certificates that are renewed while the gateway runs (SIGHUP), and what TLS is
//! to the history manager.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::places::{BOTH, HISTORY, NAMES, World};
use super::{wait_reason, works};
use crate::support::authority::{Issued, server};
use crate::support::{Authority, Gateway, Middlebox, Setup, Time, http, wait_for};

/// Hands in a result; gives its record's address.
fn hand_in(gateway: &Gateway) -> String {
    let url = format!("{}/customers/supportResult", gateway.intake);
    let taken = http::post_json(&url, &json!({"n": 1}).to_string())
        .expect(202)
        .json();
    format!(
        "{}/records/{}",
        gateway.operators,
        taken["recordId"].as_str().unwrap()
    )
}

fn wait_record(url: &str, good: impl Fn(&Value) -> bool) -> Value {
    wait_for("the record", || {
        let seen = http::get(url).expect(200).json();
        if good(&seen) { Ok(seen) } else { Err(seen) }
    })
}

/// Waits, with these words, and is filed once `mend` has been done.
fn refused_until(gateway: &Gateway, words: &str, mend: impl FnOnce()) {
    let url = hand_in(gateway);
    wait_record(&url, |r| {
        r["lastError"].as_str().is_some_and(|e| e.contains(words))
    });
    mend();
    let act = http::call("POST", &format!("{url}/retry"), &[], Some(""));
    assert!([200, 409].contains(&act.status), "{act}");
    wait_record(&url, |r| r["state"] == "delivered");
}

fn copy(setup: &Setup, from: &Path, name: &str) {
    setup.write(name, &std::fs::read_to_string(from).unwrap());
}

#[test]
fn certificate_authorities_that_are_replaced_are_trusted_after_a_reload() {
    let other = Authority::new();
    let mut world = World::good();
    let Some(_names) = world.named() else { return };
    world.trust("genesys", &other.file());
    world.trust("history", &other.file());
    let gateway = world.setup.start();
    let unknown = "an authority that is not trusted here";
    wait_reason(&gateway, &["no token is held", unknown]);
    refused_until(&gateway, unknown, || {
        for section in ["genesys", "history"] {
            copy(
                &world.setup,
                &world.authority.file(),
                &format!("{section}-ca.pem"),
            );
        }
        gateway.sighup();
    });
    works(&world.platform, &world.history, &gateway);
    // The other way round: what is open stays, the next connection is judged anew.
    copy(&world.setup, &other.file(), "genesys-ca.pem");
    gateway.sighup();
    world
        .platform
        .fault(json!({"fault": "drop-socket", "channel": "all"}));
    wait_reason(&gateway, &["socket-unreached", unknown]);
    copy(&world.setup, &world.authority.file(), "genesys-ca.pem");
    gateway.sighup();
    works(&world.platform, &world.history, &gateway);
}

/// A history manager that demands a certificate of that authority.
fn demanding(world: &mut World, of: &Authority) -> Middlebox {
    let shown = world.authority.issue("demanding", NAMES, Time::Now);
    let tls = server(&shown, Some(&of.file()), BOTH);
    let filing = Middlebox::before(&world.history.url, Some(tls), |_| {});
    let url = format!("https://{HISTORY}:{}/communications", filing.port);
    world.setup.set("history", &format!("url = \"{url}\""));
    filing
}

fn shows(world: &World, issued: &Issued) {
    copy(&world.setup, &issued.certificate, "client.pem");
    copy(&world.setup, &issued.key, "client.key");
}

#[test]
fn a_history_manager_that_demands_our_certificate_gets_it_and_says_so_without() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let clients = Authority::new();
        let mut world = World::good();
        let Some(_names) = world.named() else { return };
        let shown = world.authority.issue("demanding", NAMES, Time::Now);
        let tls = server(&shown, Some(&clients.file()), &[version]);
        let filing = Middlebox::before(&world.history.url, Some(tls), |_| {});
        let url = format!("https://{HISTORY}:{}/communications", filing.port);
        world.setup.set("history", &format!("url = \"{url}\""));
        let mut gateway = world.setup.start();
        let words = "it wants a client certificate of ours";
        let url = hand_in(&gateway);
        wait_record(&url, |r| {
            r["lastError"].as_str().is_some_and(|e| e.contains(words))
        });
        wait_reason(&gateway, &["the history manager cannot be reached", words]);
        let line = gateway.wait_log("history-down");
        // The alert that says it may be lost with the connection.
        let torn = line.contains("closed before an answer");
        assert!(line.contains(words) || torn, "{line}");
        gateway.sigterm();
        shows(&world, &clients.issue("client", NAMES, Time::Now));
        for line in [
            "client-certificate-file = \"./client.pem\"",
            "client-key-file = \"./client.key\"",
        ] {
            world.setup.set("history", line);
        }
        let gateway = world.setup.start();
        works(&world.platform, &world.history, &gateway);
        assert!(world.history.filed().values().all(|n| *n == 1));
    }
}

#[test]
fn a_client_certificate_that_is_replaced_is_shown_after_a_reload() {
    let (clients, strangers) = (Authority::new(), Authority::new());
    let mut world = World::good();
    let Some(_names) = world.named() else { return };
    demanding(&mut world, &clients);
    for line in [
        "client-certificate-file = \"./client.pem\"",
        "client-key-file = \"./client.key\"",
    ] {
        world.setup.set("history", line);
    }
    let mine = clients.issue("client", NAMES, Time::Now);
    shows(&world, &strangers.issue("client", NAMES, Time::Now));
    let gateway = world.setup.start();
    refused_until(&gateway, "does not accept the one we show", || {
        shows(&world, &mine);
        gateway.sighup();
    });
    works(&world.platform, &world.history, &gateway);
    // A pair that does not belong together changes nothing.
    copy(
        &world.setup,
        &strangers.issue("x", NAMES, Time::Now).key,
        "client.key",
    );
    gateway.sighup();
    gateway.wait_log("nothing was reloaded");
    works(&world.platform, &world.history, &gateway);
    assert!(!gateway.log().contains("PRIVATE KEY"));
}

/// `openssl s_server` that speaks one old version, on a free port.
fn old_server(world: &World, version: &str) -> (Child, u16) {
    let shown = world.authority.issue("old", NAMES, Time::Now);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            version,
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .arg("-cert")
        .arg(&shown.certificate)
        .arg("-key")
        .arg(&shown.key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the old server", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map(|_| ())
    });
    (child, port)
}

#[test]
fn nothing_older_than_tls_1_2_is_spoken() {
    let mut world = World::good();
    let Some(_names) = world.named() else { return };
    for version in ["-tls1", "-tls1_1"] {
        let (mut old, port) = old_server(&world, version);
        let line = format!("url = \"https://{HISTORY}:{port}/communications\"");
        world.setup.set("history", &line);
        let gateway = world.setup.start();
        let url = hand_in(&gateway);
        let words = "no TLS connection could be agreed on";
        wait_record(&url, |r| {
            r["lastError"].as_str().is_some_and(|e| e.contains(words))
        });
        wait_reason(&gateway, &["the history manager cannot be reached", words]);
        drop(gateway);
        old.kill().unwrap();
        let _ = old.wait();
    }
    // 1.2 alone is enough, for all three.
    let shown = world.authority.issue("new", NAMES, Time::Now);
    let tls = server(&shown, None, &[&rustls::version::TLS12]);
    let filing = Middlebox::before(&world.history.url, Some(tls), |_| {});
    let line = format!("url = \"https://{HISTORY}:{}/communications\"", filing.port);
    world.setup.set("history", &line);
    let gateway = world.setup.start();
    works(&world.platform, &world.history, &gateway);
}

#[test]
fn a_bearer_token_is_read_again_at_a_reload_although_its_file_looks_the_same() {
    let mut world = World::good();
    let Some(_names) = world.named() else { return };
    world.setup.write("token", "bearer-token-number-1\n");
    world
        .setup
        .set("history", "bearer-token-file = \"./token\"");
    let gateway = world.setup.start();
    works(&world.platform, &world.history, &gateway);
    let path = world.setup.path("token");
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    // In place: the same file, length and time.
    std::fs::write(&path, "bearer-token-number-2\n").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before).unwrap();
    gateway.sighup();
    works(&world.platform, &world.history, &gateway);
    let last = world.history.receipts().pop().unwrap();
    assert_eq!(
        last.header("authorization"),
        Some("Bearer bearer-token-number-2")
    );
    // An empty file leaves the old one standing, with a word.
    world.setup.write("token", "");
    gateway.sighup();
    gateway.wait_log("nothing was reloaded");
    std::thread::sleep(Duration::from_millis(100));
    works(&world.platform, &world.history, &gateway);
    let last = world.history.receipts().pop().unwrap();
    assert_eq!(
        last.header("authorization"),
        Some("Bearer bearer-token-number-2")
    );
    assert!(!gateway.log().contains("bearer-token-number"));
}
