//! An hour of everything at once, in little more than a minute: what other people's networks,
//! proxies, names, servers and callers do, one over the other; then peace. Everything that
//! was accepted is filed once, and the log is short and names each cause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::network::places::{API, HISTORY, STREAMING, World};
use crate::support::middlebox::Edit;
use crate::support::{Gateway, History, Middlebox, Platform, Reply, http, wait_for, wait_within};

const PROXY: &str = "proxy.gateway.test";

/// How long one hardship lasts.
const SPELL: Duration = Duration::from_secs(6);

/// Results that are handed in while the history manager is away.
const RESULTS: usize = 8;

/// The most lines that somebody reads of an hour.
const LINES_MAX: usize = 300;

/// What callers and agents share with the weather.
struct Hour {
    /// Where the present gateway listens, both listeners.
    at: Mutex<(String, String)>,
    accepted: Mutex<Vec<String>>,
    healthy: Mutex<u32>,
    over: AtomicBool,
}

/// A request in bytes, as callers on other platforms send it; its status, if it was answered.
fn raw(url: &str, request: &str) -> Option<u16> {
    let at = url.strip_prefix("http://")?;
    let mut stream = TcpStream::connect(at).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(70)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") && stream.read_exact(&mut byte).is_ok() {
        answer.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&answer).into_owned();
    line.split(' ').nth(1)?.parse().ok()
}

/// In chunks, cut anywhere.
fn in_chunks(body: &str) -> String {
    let (one, other) = body.split_at(body.len() / 3);
    format!(
        "POST /customers/supportInteraction HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {:x}\r\n{one}\r\n{:X};x=y\r\n{other}\r\n0\r\n\r\n",
        one.len(),
        other.len()
    )
}

/// Ends the hour, whatever becomes of the test.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Hour {
    fn gateway(&self, gateway: &Gateway) {
        *self.at.lock().unwrap() = (gateway.intake.clone(), gateway.operators.clone());
    }

    /// Reports a conversation, again and again until it is accepted.
    fn report(&self, id: &str, chunked: bool) {
        let body = json!({"conversationId": id, "customer": {"name": "Kunde ü"}}).to_string();
        let began = Instant::now();
        loop {
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "{id} is not taken"
            );
            let intake = self.at.lock().unwrap().0.clone();
            let status = match chunked {
                true => raw(&intake, &in_chunks(&body)),
                false => {
                    let url = format!("{intake}/customers/supportInteraction");
                    let json = [("Content-Type", "application/json")];
                    let answer = http::try_call("POST", &url, &json, Some(&body));
                    answer.ok().map(|a| a.status)
                }
            };
            match status {
                Some(200 | 202) => break,
                Some(503 | 504) | None => std::thread::sleep(Duration::from_millis(200)),
                other => panic!("{other:?} for {id}, chunked: {chunked}"),
            }
        }
        self.accepted.lock().unwrap().push(id.to_owned());
    }

    /// Hands in a result.
    fn result(&self, n: usize) {
        let url = format!("{}/customers/supportResult", self.at.lock().unwrap().0);
        http::post_json(&url, &json!({"text": format!("result-{n}-")}).to_string()).expect(202);
    }

    /// A caller and its agents, until the hour is over and nobody talks any more.
    fn work(&self, platform: &Platform, n: usize) {
        let mut talking: VecDeque<(Instant, String)> = VecDeque::new();
        let mut next = n;
        while !(self.over.load(Ordering::Relaxed) && talking.is_empty()) {
            if !self.over.load(Ordering::Relaxed) {
                next += 1;
                let id = platform.conversation_with(json!({"agents": 1 + next % 2}));
                self.report(&id, next.is_multiple_of(3));
                let lasts = Duration::from_millis(500 + (next as u64 * 769) % 4000);
                talking.push_back((Instant::now() + lasts, id));
                // As load balancers ask.
                let operators = self.at.lock().unwrap().1.clone();
                if raw(&operators, "GET /healthz HTTP/1.0\r\n\r\n") == Some(200) {
                    *self.healthy.lock().unwrap() += 1;
                }
            }
            let over = Instant::now();
            while talking.front().is_some_and(|(at, _)| *at <= over) {
                let (_, id) = talking.pop_front().unwrap();
                platform.act(&id, "finish", json!({}));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Half a character in every object.
fn odd() -> Edit {
    Arc::new(|_, text| {
        text.replace("{\"", "{\"odd\":\"Kunde \\ud83d\",\"")
            .into_bytes()
    })
}

fn lines_of(kept: &mut Vec<String>, gateway: &Gateway) {
    kept.extend(gateway.lines());
}

/// Every wrap-up has one key, and that key was filed.
fn account(platform: &Platform, history: &History, ids: &[String]) -> Result<(), String> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for receipt in history.receipts().iter().filter(|r| r.filed()) {
        let conversation = receipt.json()["conversationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        keys.entry(conversation)
            .or_default()
            .insert(receipt.key().to_owned());
    }
    for n in 0..RESULTS {
        let receipts = history.receipts_with(&format!("result-{n}-"));
        let filed: BTreeSet<&str> = receipts
            .iter()
            .filter(|r| r.filed())
            .map(|r| r.key())
            .collect();
        let tried: BTreeSet<&str> = receipts.iter().map(|r| r.key()).collect();
        assert!(tried.len() <= 1, "result {n} under {} keys", tried.len());
        if filed.is_empty() {
            return Err(format!("result {n} is not filed"));
        }
    }
    for id in ids {
        let (wrapped, filed) = (
            platform.wrap_ups(id).len(),
            keys.get(id).map_or(0, BTreeSet::len),
        );
        assert!(
            filed <= wrapped,
            "{id}: {filed} records of {wrapped} wrap-ups"
        );
        if filed < wrapped {
            return Err(format!("{id}: {filed} records of {wrapped} wrap-ups"));
        }
    }
    Ok(())
}

#[test]
fn after_an_hour_of_everything_all_is_filed_once_and_the_log_is_short_and_names_each_cause() {
    let mut world = World::good();
    let Some(names) = world.named() else { return };
    names.name(PROXY, &["127.0.0.1"]);
    let api = format!("https://127.0.0.1:{}", world.api.port);
    let proxy = Middlebox::before(&api, None, |m| {
        // me:secret
        m.credentials = Some("Basic bWU6c2VjcmV0".into());
    });
    world.setup.env("RUST_LOG", "info");
    world.setup.write("proxy-credentials", "me:secret\n");
    for line in [
        format!("api-url = \"https://{API}\""),
        format!("login-url = \"https://{API}\""),
        format!("proxy = \"http://{PROXY}:{}\"", proxy.port),
        "proxy-credentials-file = \"./proxy-credentials\"".to_owned(),
    ] {
        world.setup.set("genesys", &line);
    }
    // Through the proxy every name leads to one server.
    world
        .api
        .turn(|m| m.streaming = Some(format!("wss://{STREAMING}")));
    let (platform, history) = (&world.platform, &world.history);
    let drop_sockets = || platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    let mut log = Vec::new();
    let mut gateway = world.setup.start();
    gateway.wait_ready();
    let hour = Hour {
        at: Mutex::default(),
        accepted: Mutex::default(),
        healthy: Mutex::default(),
        over: AtomicBool::new(false),
    };
    hour.gateway(&gateway);
    std::thread::scope(|scope| {
        for n in [0, 100] {
            let hour = &hour;
            scope.spawn(move || hour.work(platform, n));
        }
        let over = Over(&hour.over);
        let spell = || std::thread::sleep(SPELL);
        let api = &world.api;

        // A first try that is lost on the way, and 409 to the second while it is in progress.
        let busy = platform.conversation();
        let in_progress = [Reply::Close, Reply::Status(409), Reply::Status(201)];
        history.script_for(&busy, in_progress);
        hour.report(&busy, false);
        wait_for("it to be watched", || match platform.subscribed(&busy) {
            true => Ok(()),
            false => Err("not subscribed"),
        });
        platform.act(&busy, "finish", json!({}));

        // The proxy forbids upgrades.
        api.turn(|m| {
            m.upgrade = Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into())
        });
        drop_sockets();
        spell();
        // Then they are not to be had for a while; what REST says is odd, and decorated.
        api.turn(|m| {
            m.upgrade =
                Some("HTTP/1.1 503 Busy\r\nretry-after: 4\r\nX-A: a\r\n folded\r\n\r\n".into());
            m.edit = Some(odd());
            m.before = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".into();
            m.fields = "X-Folded: a\r\n\tb\r\nX-Odd : \u{1}\r\n".into();
        });
        spell();
        // Killed in the middle of it.
        gateway.kill9();
        lines_of(&mut log, &gateway);
        gateway = world.setup.start();
        hour.gateway(&gateway);
        wait_for("the refusal to be said again", || {
            match gateway.log().contains("socket-refused") {
                true => Ok(()),
                false => Err(gateway.status()["sockets"].to_string()),
            }
        });
        // Upgrades work, as middleboxes write them.
        api.turn(|m| {
            m.upgrade = None;
            m.switching = Some(
                "connection: keep-alive\r\nConnection: UPGRADE\r\nUpgrade: WebSocket\r\n\
                 Sec-WebSocket-Accept: KEY"
                    .into(),
            );
        });
        // An ingress without its backend, and nobody reads the log.
        history.always(Reply::Status(404));
        {
            let reader = gateway.reader();
            let _held = reader.lock().unwrap();
            spell();
            wait_for("the outage", || {
                match gateway.metric("genesys_gateway_history_closed") {
                    1.0 => Ok(()),
                    other => Err(other),
                }
            });
        }
        gateway.wait_log("history-closed");
        gateway.kill9();
        lines_of(&mut log, &gateway);
        history.always(Reply::Raw(
            "HTTP/1.1 100 Continue\r\nDate: now\r\n\r\nHTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\n\
             Content-Length: 2\r\n\r\nok",
        ));
        gateway = world.setup.start();
        hour.gateway(&gateway);
        // A socket that is opened after the others were cut would see nothing of what follows.
        wait_for("a socket", || {
            match gateway.metric("genesys_gateway_channels{state=\"live\"}") {
                n if n >= 1.0 => Ok(()),
                other => Err(other),
            }
        });
        // The password of the proxy is changed, and changed back.
        proxy.turn(|m| m.credentials = Some("Basic bWU6b3RoZXI=".into()));
        drop_sockets();
        spell();
        gateway.wait_log("(status 407)");
        proxy.turn(|m| m.credentials = Some("Basic bWU6c2VjcmV0".into()));
        spell();
        // Nobody knows any names.
        for name in [PROXY, HISTORY] {
            names.name(name, &["again"]);
        }
        drop_sockets();
        for n in 0..RESULTS {
            hour.result(n);
        }
        spell();
        gateway.wait_log("no name server answers");
        gateway.wait_log("history-down");
        // Then one leads to where nobody listens.
        names.name(PROXY, &["127.0.0.1"]);
        names.name(HISTORY, &["127.9.9.9"]);
        spell();
        // Peace.
        names.name(HISTORY, &["127.0.0.1"]);
        history.always(None);
        api.turn(|m| {
            m.before.clear();
            m.fields.clear();
            (m.edit, m.switching) = (None, None);
        });
        drop(over);
    });
    let ids = hour.accepted.lock().unwrap().clone();
    assert!(ids.len() > 60, "{} were accepted", ids.len());
    let healthy = *hour.healthy.lock().unwrap();
    assert!(healthy as usize > ids.len() / 2, "healthy {healthy} times");
    wait_within(Duration::from_secs(150), "everything to be filed", || {
        account(platform, history, &ids).map_err(|e| format!("{e} {}", gateway.status()))
    });
    for id in &ids {
        gateway.wait_state(id, "finished");
    }
    // Nothing more comes of it.
    account(platform, history, &ids).unwrap();
    // What was filed may not have been answered, and is tried once more in its time.
    wait_within(Duration::from_secs(150), "nothing to be left", || {
        let records = gateway.status()["records"].clone();
        let left = ["queued", "deferred", "dead", "held"];
        match left.iter().all(|state| records[state] == 0) {
            true => Ok(()),
            false => Err(records.to_string()),
        }
    });
    account(platform, history, &ids).unwrap();
    assert_eq!(gateway.sigterm().0, 0);
    lines_of(&mut log, &gateway);
    assert!(log.len() < LINES_MAX, "{} lines: {log:#?}", log.len());
    for words in [
        &["socket-refused", "403", "proxy or firewall"][..],
        &["socket-refused", "503"],
        &["gap: "],
        &["history-closed", "404", "ingress"],
        &["the proxy wants other credentials (status 407)"],
        &["no name server answers (DNS)"],
        &["history-down"],
        &["stopped; "],
    ] {
        let named = |line: &&String| words.iter().all(|w| line.contains(w));
        assert!(log.iter().any(|l| named(&l)), "{words:?} in {log:#?}");
    }
    // Nobody is blamed who had no part in it, and nothing is said of persons.
    for line in &log {
        assert!(
            !line.contains("another program") && !line.contains("Kunde"),
            "{line}"
        );
    }
}
