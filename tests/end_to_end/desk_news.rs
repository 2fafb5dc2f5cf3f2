//! Guards how soon a fact on the platform is news at the desk, and what pages that wait cost.
//!
//! As part of the test run, a few facts and a few pages. What is promised, by hand:
//!
//! ```text
//! DESK_MEASURE=1 cargo test --release --test end_to_end desk_news -- --nocapture --test-threads 1
//! ```

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Setup, http, wait_for};

fn measured() -> bool {
    std::env::var_os("DESK_MEASURE").is_some()
}

fn desk() -> (Platform, History, Setup, Gateway) {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set(
        "agent-desktop",
        "desktop-origins = [\"https://desktop.example\"]",
    );
    setup.env("RUST_LOG", "info");
    let gateway = setup.start();
    (platform, history, setup, gateway)
}

/// Reports a conversation of the platform, and waits until it is watched.
fn reported(platform: &Platform, gateway: &Gateway) -> String {
    let id = platform.conversation();
    let body = json!({"conversationId": id}).to_string();
    let json = [("Content-Type", "application/json")];
    http::call("POST", &gateway.interactions(), &json, Some(&body)).expect(202);
    let url = format!("{}/{id}", gateway.interactions());
    wait_for("the conversation to be watched", || {
        let state = http::get(&url).expect(200).json()["state"].clone();
        match state == "watching" {
            true => Ok(()),
            false => Err(state),
        }
    });
    id
}

/// A page's connection for news.
struct Panel {
    socket: TcpStream,
    ids: String,
    cursor: String,
}

impl Panel {
    fn open(gateway: &Gateway, ids: &[String]) -> Panel {
        let address = gateway.intake.strip_prefix("http://").unwrap();
        let mut panel = Panel {
            socket: connect(address),
            ids: ids.join(","),
            cursor: String::new(),
        };
        panel.ask();
        panel.take().unwrap();
        panel
    }

    fn ask(&mut self) {
        let since = match self.cursor.as_str() {
            "" => String::new(),
            cursor => format!("&since={cursor}"),
        };
        let text = format!(
            "GET /agent-desktop/news?ids={}{since} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            self.ids
        );
        if self.socket.write_all(text.as_bytes()).is_err() {
            self.again();
            self.socket.write_all(text.as_bytes()).unwrap();
        }
    }

    fn again(&mut self) {
        self.socket = connect(&self.socket.peer_addr().unwrap().to_string());
    }

    /// The answer; nothing once the gateway is gone.
    fn take(&mut self) -> Option<Value> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.socket.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).unwrap();
        let told: Value = serde_json::from_slice(&body).unwrap();
        self.cursor = told["cursor"].as_str().unwrap().to_owned();
        if head.contains("connection: close") {
            self.again();
        }
        Some(told)
    }
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(60));
    socket.set_read_timeout(patience).unwrap();
    socket
}

#[test]
fn a_wrap_up_on_the_platform_is_news_at_the_desk_within_three_seconds() {
    const PANELS: usize = 20;
    let (platform, _history, _setup, gateway) = desk();
    let facts = if measured() { 50 } else { 20 };
    let (tell, heard) = mpsc::channel();
    let mut open = Vec::new();
    let mut ids = Vec::new();
    // Each page has its conversations; some have had facts already when the next one comes.
    for panel in 0..PANELS {
        let mine: Vec<String> = (panel..facts)
            .step_by(PANELS)
            .map(|_| reported(&platform, &gateway))
            .collect();
        let mut page = Panel::open(&gateway, &mine);
        ids.push(mine);
        let tell = tell.clone();
        open.push(std::thread::spawn(move || {
            loop {
                page.ask();
                let Some(told) = page.take() else {
                    return;
                };
                let now = Instant::now();
                for one in told["conversations"].as_array().unwrap() {
                    let with_records = one["records"].as_array().is_some_and(|r| !r.is_empty());
                    let id = one["conversationId"].as_str().unwrap().to_owned();
                    if with_records && tell.send((id, now)).is_err() {
                        return;
                    }
                }
            }
        }));
    }
    let mut took = Vec::new();
    for n in 0..facts {
        let id = &ids[n % PANELS][n / PANELS];
        let began = Instant::now();
        platform.act(id, "wrap-up", json!({"notes": "done"}));
        let at = loop {
            let (of, at) = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            if of == *id && at >= began {
                break at;
            }
        };
        took.push(at.duration_since(began));
    }
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{facts} facts, {PANELS} pages: median {median:?}, worst {worst:?}");
    assert!(worst < Duration::from_secs(3), "{took:?}");
}

/// Processor time of a process so far.
fn processor(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A hundred ticks a second, on Linux always.
    Duration::from_millis(ticks * 10)
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn pages_that_wait_cost_next_to_nothing_and_callers_are_served_beside_them() {
    let (panels, span) = match measured() {
        true => (500, Duration::from_secs(60)),
        false => (60, Duration::from_secs(3)),
    };
    let (platform, _history, _setup, mut gateway) = desk();
    let ids: Vec<String> = (0..10).map(|_| reported(&platform, &gateway)).collect();
    let (pid, before) = (gateway.pid(), memory(gateway.pid()));
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..panels {
            let (over, asked, gateway) = (&over, &asked, &gateway);
            let mine = vec![ids[n % ids.len()].clone()];
            scope.spawn(move || {
                let mut page = Panel::open(gateway, &mine);
                while !over.load(Ordering::Relaxed) {
                    page.ask();
                    asked.fetch_add(1, Ordering::Relaxed);
                    let told = page.take().unwrap();
                    assert_eq!(told["pauseMs"], 0, "there is a place for each");
                }
            });
        }
        wait_for("every page to wait", || {
            match asked.load(Ordering::Relaxed) {
                n if n >= panels => Ok(()),
                n => Err(n),
            }
        });
        let (began, spent) = (Instant::now(), processor(pid));
        std::thread::sleep(span);
        let (passed, spent) = (began.elapsed(), processor(pid) - spent);
        let share = spent.as_secs_f64() / passed.as_secs_f64() * 100.0;
        println!(
            "{panels} pages that wait: {share:.2} % of a processor, {} KiB more memory, {} requests",
            memory(pid).saturating_sub(before),
            asked.load(Ordering::Relaxed)
        );
        assert!(share < 25.0, "{share}");
        // Callers have their seats all the same, from the same address.
        for _ in 0..20 {
            let began = Instant::now();
            http::get(&format!("{}/openapi.json", gateway.intake)).expect(200);
            assert!(began.elapsed() < Duration::from_secs(2));
        }
        over.store(true, Ordering::Relaxed);
        // Each page hears of something, and ends.
        for id in &ids {
            platform.act(id, "wrap-up", json!({}));
        }
    });
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_stop_does_not_wait_for_pages_that_wait() {
    let (platform, _history, _setup, mut gateway) = desk();
    let ids = vec![reported(&platform, &gateway)];
    let mut pages: Vec<_> = (0..20).map(|_| Panel::open(&gateway, &ids)).collect();
    for page in &mut pages {
        page.ask();
    }
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
