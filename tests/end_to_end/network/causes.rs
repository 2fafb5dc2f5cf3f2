//! Why something cannot be reached, in words, wherever a person looks: for REST and login,
//! WebSockets and the history manager alike.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::places::{API, HISTORY, NAMES, STREAMING, Shown, World};
use super::{wait_reason, works};
use crate::support::{Authority, Gateway, Middlebox, Setup, Time, http, wait_for};

const EXPIRED: &str = "its certificate has expired";
const NOT_YET: &str = "its certificate is not valid yet";
const OTHER_NAME: &str = "its certificate is for another name";
const UNKNOWN: &str = "its certificate is from an authority that is not trusted here";
const NO_NAME: &str = "its name is not known to the name servers (DNS)";
const NO_SERVER: &str = "no name server answers (DNS)";
const CREDENTIALS: &str = "the proxy wants other credentials (status 407)";
const NO_TLS: &str = "what answers there does not speak TLS";

/// One that waits because of that: its last error has the words.
fn history_says(gateway: &Gateway, words: &str) {
    let url = format!("{}/customers/supportResult", gateway.intake);
    let taken = http::post_json(&url, &json!({"n": 1}).to_string())
        .expect(202)
        .json();
    let id = taken["recordId"].as_str().unwrap();
    let url = format!("{}/records/{id}", gateway.operators);
    wait_for(&format!("a last error with {words:?}"), || {
        let seen = http::get(&url).expect(200).json();
        match seen["lastError"]
            .as_str()
            .is_some_and(|e| e.contains(words))
        {
            true => Ok(()),
            false => Err(seen),
        }
    });
    wait_reason(gateway, &["the history manager cannot be reached", words]);
    let line = gateway.wait_log("history-down");
    assert!(line.contains(words), "{line}");
}

fn login_says(setup: &Setup, gateway: &Gateway, words: &str) {
    wait_reason(gateway, &["no token is held", words]);
    let line = gateway.wait_log("token");
    assert!(line.contains(words), "{line}");
    let ready = gateway.ready().expect(503);
    assert!(ready.text.contains(words), "{ready}");
    let online = setup.ends(&["check", "--online"]).expect(69).out;
    assert!(
        online.starts_with("FAILED   token: ") && online.contains(words),
        "{online}"
    );
}

fn socket_says(setup: &Setup, gateway: &Gateway, words: &str) {
    wait_reason(gateway, &["socket-unreached", words]);
    let line = gateway.wait_log("socket-unreached");
    assert!(line.contains(words), "{line}");
    let online = setup.ends(&["check", "--online"]).expect(69).out;
    let line = online.lines().find(|l| l.starts_with("FAILED   socket: "));
    assert!(line.is_some_and(|l| l.contains(words)), "{online}");
}

/// Everything shows the same certificate.
fn all_show(time: Time, names: &str) -> World {
    World::showing(|authority| {
        let shown = authority.issue("odd", names, time);
        Shown {
            api: shown.clone(),
            streaming: shown.clone(),
            history: shown,
        }
    })
}

/// Login and history manager have the same trouble; both say so.
fn said(setup: &Setup, words: &str) -> Gateway {
    let gateway = setup.start();
    login_says(setup, &gateway, words);
    history_says(&gateway, words);
    assert!(gateway.lines().len() < 30, "{:#?}", gateway.lines());
    gateway
}

#[test]
fn certificates_that_cannot_be_accepted_are_told_apart_for_login_and_history_manager() {
    for (time, names, words) in [
        (Time::Over, NAMES, EXPIRED),
        (Time::NotYet, NAMES, NOT_YET),
        (Time::Now, "DNS:other.test", OTHER_NAME),
    ] {
        let mut world = all_show(time, names);
        let Some(_names) = world.named() else { return };
        said(&world.setup, words);
    }
    // A stranger, and one that has the name of the one that is trusted.
    for other in [Authority::new(), Authority::named("authority-of-the-world")] {
        let mut world = World::good();
        let Some(_names) = world.named() else { return };
        world.trust("genesys", &other.file());
        world.trust("history", &other.file());
        let gateway = said(&world.setup, UNKNOWN);
        // What to do about it is said as well.
        wait_reason(&gateway, &["ca-file has to name that proxy's authority"]);
    }
}

#[test]
fn certificates_that_cannot_be_accepted_are_told_apart_for_sockets() {
    for (time, names, words) in [
        (Time::Over, NAMES, EXPIRED),
        (Time::Now, "DNS:other.test", OTHER_NAME),
    ] {
        let mut world = World::showing(|authority| {
            let good = authority.issue("good", NAMES, Time::Now);
            Shown {
                api: good.clone(),
                streaming: authority.issue("odd", names, time),
                history: good,
            }
        });
        let Some(_names) = world.named() else { return };
        let gateway = world.setup.start();
        socket_says(&world.setup, &gateway, words);
    }
    let other = Authority::new();
    let mut world = World::showing(|authority| {
        let good = authority.issue("good", NAMES, Time::Now);
        Shown {
            api: good.clone(),
            streaming: other.issue("good", NAMES, Time::Now),
            history: good,
        }
    });
    let Some(_names) = world.named() else { return };
    let gateway = world.setup.start();
    socket_says(&world.setup, &gateway, UNKNOWN);
}

#[test]
fn names_that_do_not_resolve_are_told_from_name_servers_that_do_not_answer() {
    for (answer, words) in [("none", NO_NAME), ("again", NO_SERVER)] {
        let mut world = World::good();
        let Some(names) = world.named() else { return };
        for name in [API, HISTORY] {
            names.name(name, &[answer]);
        }
        let gateway = said(&world.setup, words);
        // REST and filing are back; the sockets' name is not.
        for name in [API, HISTORY] {
            names.name(name, &["127.0.0.1"]);
        }
        names.name(STREAMING, &[answer]);
        socket_says(&world.setup, &gateway, words);
        names.name(STREAMING, &["127.0.0.1"]);
        works(&world.platform, &world.history, &gateway);
        let said = gateway.log();
        assert!(!said.contains("broke the connection"), "{said}");
    }
}

#[test]
fn what_does_not_speak_tls_is_said() {
    let mut world = World::good();
    let Some(_names) = world.named() else { return };
    let plain = |url: &str| {
        url.rsplit(':')
            .next()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned()
    };
    let port = plain(&world.platform.0.api_url);
    for key in ["api-url", "login-url"] {
        let line = format!("{key} = \"https://{API}:{port}\"");
        world.setup.set("genesys", &line);
    }
    let line = format!("url = \"https://{HISTORY}:{port}/communications\"");
    world.setup.set("history", &line);
    said(&world.setup, NO_TLS);
}

/// A proxy before the API, over which sockets go too; user and password as given.
fn proxied(world: &mut World, credentials: &str) -> Middlebox {
    let url = format!("https://127.0.0.1:{}", world.api.port);
    let proxy = Middlebox::before(&url, None, |_| {});
    let line = format!("proxy = \"http://127.0.0.1:{}\"", proxy.port);
    world.setup.set("genesys", &line);
    let line = "proxy-credentials-file = \"./proxy-credentials\"";
    world.setup.set("genesys", line);
    world.setup.write("proxy-credentials", credentials);
    for key in ["api-url", "login-url"] {
        let line = format!("{key} = \"https://{API}\"");
        world.setup.set("genesys", &line);
    }
    // Through the proxy every name leads to the one server behind it.
    world
        .api
        .turn(|m| m.streaming = Some(format!("wss://{STREAMING}")));
    let here = world.history.url.clone();
    world.setup.set("history", &format!("url = \"{here}\""));
    proxy
}

#[test]
fn a_proxy_with_user_and_password_is_gone_through_and_its_refusals_are_told() {
    let mut world = World::good();
    let proxy = proxied(&mut world, "me:p:ss wörd\n");
    // me:p:ss wörd
    proxy.turn(|m| m.credentials = Some("Basic bWU6cDpzcyB3w7ZyZA==".into()));
    let gateway = world.setup.start();
    works(&world.platform, &world.history, &gateway);
    for target in [
        format!("CONNECT {API}:443 "),
        format!("CONNECT {STREAMING}:443 "),
    ] {
        assert!(proxy.asked(&target) > 0, "{target}: {:?}", proxy.heads());
    }
    world.setup.ends(&["check", "--online"]).expect(0);
    drop(gateway);
    for (answer, words) in [
        ("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", CREDENTIALS),
        (
            "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            "the proxy refuses (status 403)",
        ),
        (
            "HTTP/1.1 502 No\r\n\r\n",
            "the proxy cannot reach it (status 502)",
        ),
        (
            "SSH-2.0-OpenSSH\r\n\r\n",
            "the proxy broke off, or its answer is not HTTP",
        ),
    ] {
        proxy.turn(|m| m.connect = Some(answer.into()));
        let gateway = world.setup.start();
        login_says(&world.setup, &gateway, words);
        assert!(!gateway.log().contains("p:ss") && !gateway.log().contains("cDpzcyB3"));
    }
}

#[test]
fn a_password_of_the_proxy_that_was_put_right_is_taken_at_a_reload() {
    let mut world = World::good();
    let proxy = proxied(&mut world, "me:an-old-password\n");
    // me:the-new-password
    proxy.turn(|m| m.credentials = Some("Basic bWU6dGhlLW5ldy1wYXNzd29yZA==".into()));
    let gateway = world.setup.start();
    login_says(&world.setup, &gateway, CREDENTIALS);
    let line = gateway.wait_log(CREDENTIALS);
    assert!(line.contains("proxy-credentials-file"), "{line}");
    world
        .setup
        .write("proxy-credentials", "me:the-new-password\n");
    let asked = Instant::now();
    gateway.sighup();
    gateway.wait_ready();
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    works(&world.platform, &world.history, &gateway);
    assert!(!gateway.log().contains("restart is needed"));
    for secret in ["an-old-password", "the-new-password"] {
        assert!(!gateway.log().contains(secret));
    }
    // And the other way round, for the next socket; what is open stays.
    proxy.turn(|m| m.credentials = Some("Basic bWU6b3RoZXI=".into()));
    world
        .platform
        .fault(json!({"fault": "drop-socket", "channel": "all"}));
    wait_reason(&gateway, &["socket-unreached", CREDENTIALS]);
    world.setup.write("proxy-credentials", "me:other\n");
    gateway.sighup();
    works(&world.platform, &world.history, &gateway);
}

/// Addresses of this machine, at one port, where nobody answers a SYN: listeners whose
/// backlog is full.
fn dead(port: u16, n: u8) -> (Vec<String>, Vec<Socket>) {
    let (mut addresses, mut kept) = (Vec::new(), Vec::new());
    for last in 1..=n {
        let text = format!("127.9.{}.{last}", port % 250);
        let address: std::net::SocketAddr = format!("{text}:{port}").parse().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        for _ in 0..3 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
            let _ = filler.connect(&address.into());
            kept.push(filler);
        }
        kept.push(socket);
        addresses.push(text);
    }
    (addresses, kept)
}

#[test]
fn four_dead_addresses_before_a_living_one_cost_seconds_once() {
    let mut world = World::good();
    let Some(names) = world.named() else { return };
    let mut kept = Vec::new();
    for (name, port) in [(STREAMING, world.streaming.port), (API, world.api.port)] {
        let (mut addresses, sockets) = dead(port, 4);
        addresses.push("127.0.0.1".into());
        kept.extend(sockets);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        names.name(name, &addresses);
    }
    let began = Instant::now();
    let gateway = world.setup.start();
    gateway.wait_ready();
    // 4 × 250 ms for the login, another for the channel at most, another for the socket.
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    works(&world.platform, &world.history, &gateway);
    // The last good one goes first.
    let drops = Instant::now();
    for _ in 0..3 {
        world
            .platform
            .fault(json!({"fault": "drop-socket", "channel": "all"}));
        gateway.wait_ready();
        works(&world.platform, &world.history, &gateway);
    }
    assert!(
        drops.elapsed() < Duration::from_secs(25),
        "{:?}",
        drops.elapsed()
    );
    let unreached = gateway.metrics();
    let timed_out = "genesys_gateway_socket_unreached_total{cause=\"timed-out\"} 0";
    assert!(unreached.contains(timed_out), "{unreached}");
    // All dead: said as what it is.
    names.name(STREAMING, &["127.9.9.9"]);
    world
        .platform
        .fault(json!({"fault": "drop-socket", "channel": "all"}));
    let shown: Value = wait_reason(&gateway, &["socket-unreached", "the connection is refused"]);
    assert_eq!(shown["sockets"]["trouble"], "socket-unreached");
}

#[test]
fn a_proxy_that_forbids_the_streaming_host_alone_is_told_while_rest_works() {
    let mut world = World::good();
    let proxy = proxied(&mut world, "me:secret\n");
    for (status, words) in [
        (403, "the proxy refuses (status 403)"),
        (407, CREDENTIALS),
        (503, "the proxy cannot reach it (status 503)"),
    ] {
        proxy.turn(|m| {
            m.connect = Some(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
            m.connect_to = STREAMING;
        });
        let mut gateway = world.setup.start();
        let id = world.platform.conversation();
        gateway.accept(&id).expect(202);
        socket_says(&world.setup, &gateway, words);
        let ready = gateway.ready().expect(503);
        assert!(ready.text.contains(words), "{ready}");
        assert_eq!(gateway.sigterm().0, 0);
    }
    // A few of the gateway's, and one of each check.
    let made = world.platform.channels_created();
    assert!(made <= 9, "{made} channels");
    proxy.turn(|m| m.connect = None);
    let gateway = world.setup.start();
    works(&world.platform, &world.history, &gateway);
}

#[test]
fn name_servers_that_say_nothing_for_a_minute_hold_neither_callers_nor_the_end() {
    let mut world = World::good();
    let Some(names) = world.named() else { return };
    for name in [API, STREAMING, HISTORY] {
        names.name(name, &["hang"]);
    }
    let mut gateway = world.setup.start();
    let ids: Vec<String> = (0..5).map(|_| world.platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    wait_reason(&gateway, &["no token is held", NO_SERVER]);
    let url = format!("{}/customers/supportResult", gateway.intake);
    http::post_json(&url, "{}").expect(202);
    // "Down" is what several tries have met; these take long.
    wait_reason(
        &gateway,
        &["the history manager could not be reached", NO_SERVER],
    );
    http::get(&format!("{}/healthz", gateway.operators)).expect(200);
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    for name in [API, STREAMING, HISTORY] {
        names.name(name, &["127.0.0.1"]);
    }
    let gateway = world.setup.start();
    for id in &ids {
        gateway.wait_state(id, "watching");
    }
    works(&world.platform, &world.history, &gateway);
}
