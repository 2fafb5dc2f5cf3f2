//! Upgrades that are refused while REST works, and upgrades that middleboxes decorate.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use simulator::model::Call;

use super::{asked, between, wait_reason, watched, works};
use crate::support::{Gateway, History, Platform, Setup, wait_for, wait_within};

/// A gateway whose first upgrade was refused so, with a conversation that waits.
struct Refused {
    platform: Platform,
    history: History,
    setup: Setup,
    gateway: Gateway,
    id: String,
    began: Instant,
}

fn refuse(platform: &Platform, status: u16, retry_after: Option<&str>) {
    let mut failure = json!({"with": "status", "status": status});
    if let Some(text) = retry_after {
        failure["retryAfter"] = json!(text);
    }
    platform.fault(
        json!({"fault": "fail-rest", "call": "upgrade", "times": 1_000_000,
        "failure": failure}),
    );
}

fn refused(status: u16, retry_after: Option<&str>) -> Refused {
    let (platform, history) = (Platform::start(), History::start());
    refuse(&platform, status, retry_after);
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "info");
    let began = Instant::now();
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    Refused {
        platform,
        history,
        setup,
        gateway,
        id,
        began,
    }
}

impl Refused {
    /// Verdict, log and metric name the status, and nobody else is blamed.
    fn said(&self, status: u16) {
        let (gateway, text) = (&self.gateway, status.to_string());
        let shown = wait_reason(gateway, &["socket-refused", &text]);
        assert_eq!(shown["sockets"]["trouble"], "socket-refused", "{shown}");
        assert_eq!(shown["sockets"]["status"], status, "{shown}");
        let line = gateway.wait_log("socket-refused");
        assert!(line.contains(&text), "{line}");
        let series = format!("genesys_gateway_socket_refused_total{{status=\"{status}\"}}");
        assert!(gateway.metric(&series) >= 1.0);
        let ready = gateway.ready().expect(503).json();
        let reasons = ready["reasons"].to_string();
        assert!(
            reasons.contains("socket-refused") && reasons.contains(&text),
            "{reasons}"
        );
    }

    /// The end of it: live again, and everything filed.
    fn peace(&self, within: Duration) {
        self.platform.fault(json!({"fault": "clear"}));
        wait_within(within, "it to be watched", || {
            let seen = self.gateway.interaction(&self.id);
            match seen["state"] == "watching" {
                true => Ok(()),
                false => Err(format!("{seen} {}", self.gateway.status()["sockets"])),
            }
        });
        self.platform.act(&self.id, "finish", json!({}));
        self.history.wait_filed(&self.id, 1);
        works(&self.platform, &self.history, &self.gateway);
        self.gateway.wait_ready();
        wait_for("the verdict to be at ease", || {
            match self.gateway.status() {
                s if s["level"] == "ok" => Ok(()),
                s => Err(s["reasons"].to_string()),
            }
        });
        let lines = self.gateway.lines();
        assert!(lines.len() < 25, "{lines:#?}");
        let blamed = lines.iter().find(|l| l.contains("another program"));
        assert_eq!(blamed, None);
        assert!(self.history.filed().values().all(|n| *n == 1));
    }
}

/// One channel, few upgrades, words; then peace.
fn forbidden(status: u16, channels: u64) {
    let it = refused(status, None);
    it.said(status);
    // A proxy is the usual cause where REST works.
    wait_reason(&it.gateway, &["socket-refused", "a proxy or firewall"]);
    assert!(it.gateway.wait_log("socket-refused").contains("proxy"));
    let online = it.setup.ends(&["check", "--online"]).expect(69).out;
    let line = online.lines().find(|l| l.starts_with("FAILED   socket"));
    let line = line.unwrap_or_else(|| panic!("{online}"));
    assert!(
        line.contains(&status.to_string()) && line.contains("proxy or firewall"),
        "{line}"
    );
    let by_check = (
        asked(&it.platform, Call::Upgrade),
        it.platform.channels_created(),
    );
    std::thread::sleep(Duration::from_secs(12).saturating_sub(it.began.elapsed()));
    let (upgrades, made) = (
        asked(&it.platform, Call::Upgrade),
        it.platform.channels_created(),
    );
    // 1, 2, 4 seconds between them; check --online made one of each.
    assert!(upgrades <= 8, "{upgrades} upgrades, {by_check:?} before");
    assert!(made <= channels + 1, "{made} channels, {by_check:?} before");
    assert_eq!(it.platform.0.model().platform().truth().ledger().evicted, 0);
    it.peace(Duration::from_secs(40));
}

#[test]
fn a_proxy_that_forbids_upgrades_costs_one_channel_and_is_named() {
    forbidden(403, 1);
}

#[test]
fn a_redirect_instead_of_an_upgrade_costs_one_channel_and_is_named() {
    forbidden(302, 1);
}

#[test]
fn an_upgrade_that_is_not_known_there_costs_two_channels_and_is_named() {
    // The first may be about the channel alone.
    forbidden(404, 2);
}

/// Waits as long as it was asked to, on one channel, for one topic.
fn paused(status: u16, retry_after: &str, seconds: std::ops::Range<u64>) {
    let it = refused(status, Some(retry_after));
    it.said(status);
    let upgrades = || asked(&it.platform, Call::Upgrade);
    let again = wait_within(
        Duration::from_secs(60),
        "the second upgrade",
        || match upgrades() {
            0 | 1 => Err(it.gateway.status()["sockets"].to_string()),
            2 => Ok(it.began.elapsed()),
            n => panic!("{n} upgrades at once"),
        },
    );
    assert!(seconds.contains(&again.as_secs()), "again after {again:?}");
    assert_eq!(it.platform.channels_created(), 1);
    it.peace(Duration::from_secs(seconds.end + 20));
    assert_eq!(it.platform.channels_created(), 1);
}

#[test]
fn a_503_with_retry_after_is_obeyed_with_one_channel() {
    paused(503, "30", 29..45);
}

#[test]
fn a_429_with_retry_after_is_obeyed_with_one_channel() {
    paused(429, "12", 11..27);
}

#[test]
fn a_retry_after_that_is_a_date_is_obeyed_too() {
    let at = SystemTime::now() + Duration::from_secs(14);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = jiff::Timestamp::from_second(i64::try_from(since.as_secs()).unwrap()).unwrap();
    let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    paused(503, &date, 8..29);
}

#[test]
fn sockets_that_are_lost_while_upgrades_are_refused_come_back_on_their_channel() {
    let (platform, history) = (Platform::start(), History::start());
    let gateway = Setup::new(&platform, &history).start();
    let ids: Vec<String> = (0..20).map(|_| watched(&platform, &gateway)).collect();
    refuse(&platform, 503, Some("5"));
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    let upgrades = asked(&platform, Call::Upgrade);
    for id in &ids {
        platform.act(id, "finish", json!({}));
    }
    wait_for("the second refusal", || {
        match asked(&platform, Call::Upgrade) - upgrades {
            0 | 1 => Err(gateway.status()["sockets"].to_string()),
            _ => Ok(()),
        }
    });
    gateway.ready().expect(503);
    platform.fault(json!({"fault": "clear"}));
    for id in &ids {
        let filed = history.wait_filed(id, 1).remove(0).json();
        assert_eq!(filed["source"], "reconciliation");
    }
    works(&platform, &history, &gateway);
    assert_eq!(platform.channels_created(), 1);
    let more = asked(&platform, Call::Upgrade) - upgrades;
    assert!(more <= 8, "{more} upgrades");
}

#[test]
fn an_upgrade_that_middleboxes_decorate_is_one() {
    let (platform, history) = (Platform::start(), History::start());
    let (middle, setup) = between(&platform, &history);
    for fields in [
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY",
        "connection: Upgrade, Keep-Alive\r\nKeep-Alive: timeout=5\r\nUPGRADE: WebSocket\r\nsec-websocket-accept: KEY",
        "Connection: keep-alive\r\nVia: 1.1 box\r\nConnection: uPGRADE\r\nUpgrade: WEBSOCKET\r\nSec-WebSocket-Accept:KEY",
        "Connection:Upgrade,close\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Accept: KEY\r\nX-Folded: a\r\n\tb",
        "Connection: \tupgrade \r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY \r\nSec-WebSocket-Extensions: \r\nX-Odd : \u{fc}",
    ] {
        middle.turn(|m| m.switching = Some(fields.to_owned()));
        let mut gateway = setup.start();
        works(&platform, &history, &gateway);
        assert_eq!(gateway.status()["level"], "ok", "{fields}");
        assert_eq!(gateway.sigterm().0, 0);
    }
    // An interim answer before it is passed over.
    middle.turn(|m| m.before = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_owned());
    let mut gateway = setup.start();
    works(&platform, &history, &gateway);
    gateway.sigterm();
    // What is no upgrade is said, and never "all is well".
    middle.turn(|m| {
        let other = "Connection: keep-alive\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY";
        (m.before, m.switching) = (String::new(), Some(other.to_owned()));
    });
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    let words = "the answer is not that of a WebSocket server";
    wait_reason(&gateway, &["socket-unreached", words]);
    assert!(gateway.wait_log("socket-unreached").contains(words));
    let online = setup.ends(&["check", "--online"]).expect(69).out;
    assert!(online.contains(words), "{online}");
    middle.turn(|m| m.switching = None);
    gateway.wait_state(&id, "watching");
}

#[test]
fn whatever_answers_an_upgrade_instead_of_the_platform_is_named_by_its_status() {
    let (platform, history) = (Platform::start(), History::start());
    let (middle, setup) = between(&platform, &history);
    for (answer, words, hint) in [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://portal.example/\r\n\r\n",
            "status 302",
            "leads elsewhere",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Sign in",
            "status 200",
            "a page instead of an upgrade",
        ),
        (
            "HTTP/1.0 407 Proxy Authentication Required\r\n\r\n",
            "status 407",
            "wants credentials",
        ),
        (
            "HTTP/1.1 511 Network Authentication Required\r\n\r\n",
            "status 511",
            "proxy",
        ),
        (
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\n folded\r\n\r\n",
            "status 426",
            "proxy",
        ),
        (
            "HTTP/1.1 503\r\nRetry-After: -1\r\nRetry-After: never\r\n\r\n",
            "status 503",
            "proxy",
        ),
        (
            "HTTP/1.1 429 x\r\nRetry-After: 99999999999999999999\r\n\r\n",
            "status 429",
            "proxy",
        ),
    ] {
        middle.turn(|m| m.upgrade = Some(answer.to_owned()));
        let made = platform.channels_created();
        let mut gateway = setup.start();
        let id = platform.conversation();
        gateway.accept(&id).expect(202);
        wait_reason(&gateway, &["socket-refused", words, hint]);
        assert!(gateway.wait_log("socket-refused").contains(words));
        assert_eq!(gateway.sigterm().0, 0);
        let made = platform.channels_created() - made;
        assert!(made <= 1, "{words}: {made} channels");
    }
    middle.turn(|m| m.upgrade = None);
    let gateway = setup.start();
    works(&platform, &history, &gateway);
}
