//! Guards `demo --desktop` as a browser meets it: two origins, a contact from begin to filed, and
//! nothing for pages of others.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::http::{self, Answer};
use crate::support::{wait_for, wait_within};

struct Demo {
    child: Child,
    desktop: String,
    page: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start() -> Demo {
        let mut child = Command::new(env!("CARGO_BIN_EXE_genesys-gateway"))
            .args(["demo", "--desktop"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("desktop: ").unwrap();
        let desktop = address.strip_suffix('/').unwrap().to_owned();
        let mut demo = Demo {
            child,
            desktop,
            page: String::new(),
        };
        let setup = demo.get("/setup.json").json();
        assert_eq!(setup["desktopOrigin"], demo.desktop.as_str());
        demo.page = setup["pageUrl"].as_str().unwrap().to_owned();
        demo
    }

    fn get(&self, path: &str) -> Answer {
        http::get(&format!("{}{path}", self.desktop)).expect(200)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.desktop);
        http::call("POST", &url, &[], Some(&body.to_string()))
    }

    fn begin(&self, media: &str) -> String {
        let asked = json!({"media": media, "agent": "alice"});
        let begun = self.post("/platform/conversations", &asked).expect(200);
        begun.json()["conversationId"].as_str().unwrap().to_owned()
    }

    /// As the page does it.
    fn report(&self, id: &str) {
        let intake = self.page.trim_end_matches("agent-desktop/");
        let url = format!("{intake}customers/supportInteraction");
        let body = json!({"conversationId": id}).to_string();
        let json = [("Content-Type", "application/json")];
        http::call("POST", &url, &json, Some(&body)).expect(202);
        let url = format!("{url}/{id}");
        wait_for("the conversation to be watched", || {
            let state = http::get(&url).expect(200).json()["state"].clone();
            match state == "watching" {
                true => Ok(()),
                false => Err(state),
            }
        });
    }

    fn filed(&self, id: &str) -> usize {
        let history = self.get("/history").json();
        let all = history.as_array().unwrap().iter();
        all.filter(|r| r["conversationId"] == id).count()
    }

    fn records(&self, id: &str) -> Vec<Value> {
        let intake = self.page.trim_end_matches("agent-desktop/");
        let url = format!("{intake}customers/supportInteraction/{id}");
        let shown = http::get(&url).expect(200).json();
        shown["records"].as_array().unwrap().clone()
    }
}

#[test]
fn a_contact_of_each_medium_is_begun_transferred_wrapped_up_and_filed() {
    let mut demo = Demo::start();
    assert!(
        demo.get("/")
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let page = http::get(&demo.page).expect(200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with(&format!("; frame-ancestors {}", demo.desktop)),
        "{policy}"
    );
    let told = http::get(&format!("{}config.json", demo.page))
        .expect(200)
        .json();
    assert_eq!(told["desktopOrigins"], json!([demo.desktop]));
    for media in ["voice", "chat", "email", "callback"] {
        let id = demo.begin(media);
        demo.report(&id);
        let act = |what: &str, body: Value| {
            let path = format!("/platform/conversations/{id}/{what}");
            demo.post(&path, &body).expect(200)
        };
        act("transfer", json!({"agent": "bob"}));
        // What both desktops report lies side by side.
        let intake = demo.page.trim_end_matches("agent-desktop/");
        let url = format!("{intake}customers/supportInteraction");
        for agent in ["alice", "bob"] {
            let body = json!({"conversationId": id, "agentDesktop": {agent: {"media": media}}});
            let json = [("Content-Type", "application/json")];
            http::call("POST", &url, &json, Some(&body.to_string())).expect(200);
        }
        let shown = http::get(&format!("{url}/{id}")).expect(200).json();
        let both = shown["interaction"]["agentDesktop"].as_object().unwrap();
        assert_eq!(both.len(), 2, "{shown}");
        act("wrapup", json!({"agent": "alice", "notes": "to bob"}));
        act("end", json!({"agent": "bob"}));
        act("wrapup", json!({"agent": "bob", "code": "done"}));
        wait_for("both wrap-ups to be filed", || match demo.filed(&id) {
            2 => Ok(()),
            n => Err(format!("{media}: {n}")),
        });
    }
    // A record that is refused for good, and one that waits.
    for (mood, state) in [("refuses", "dead"), ("unavailable", "deferred")] {
        demo.post("/history", &json!({"mood": mood})).expect(200);
        let id = demo.begin("voice");
        demo.report(&id);
        let wrapup = format!("/platform/conversations/{id}/wrapup");
        demo.post(&wrapup, &json!({})).expect(200);
        wait_for("the record to be refused", || match demo.records(&id) {
            all if all.len() == 1 && all[0]["state"] == state => Ok(()),
            all => Err(format!("{mood}: {all:?}")),
        });
    }
    let id = i32::try_from(demo.child.id()).ok().and_then(Pid::from_raw);
    let asked = Instant::now();
    kill_process(id.unwrap(), Signal::TERM).unwrap();
    let ended = wait_within(Duration::from_secs(20), "the demo to end", || {
        demo.child.try_wait().unwrap().ok_or("it still runs")
    });
    assert_eq!(ended.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_simulated_desktop_does_nothing_for_pages_of_others() {
    let demo = Demo::start();
    let asked = json!({"media": "voice", "agent": "alice"}).to_string();
    let own = demo.desktop.clone();
    for (fields, status) in [
        (vec![("Sec-Fetch-Site", "cross-site")], 403),
        (vec![("Sec-Fetch-Site", "same-site")], 403),
        (vec![("Sec-Fetch-Site", "none")], 403),
        (
            vec![
                ("Sec-Fetch-Site", "same-origin"),
                ("Origin", "https://evil.example"),
            ],
            403,
        ),
        (vec![("Origin", "null")], 403),
        (vec![("Host", "evil.example")], 403),
        (
            vec![("Sec-Fetch-Site", "same-origin"), ("Origin", own.as_str())],
            200,
        ),
    ] {
        let url = format!("{own}/platform/conversations");
        let got = http::call("POST", &url, &fields, Some(&asked));
        assert_eq!(got.status, status, "{fields:?}");
    }
    let cross = [("Sec-Fetch-Site", "cross-site")];
    for path in ["/setup.json", "/history"] {
        http::call("GET", &format!("{own}{path}"), &cross, None).expect(403);
    }
    for (path, body, status) in [
        (
            "/platform/conversations",
            json!({"media": "fax", "agent": "alice"}),
            400,
        ),
        (
            "/platform/conversations",
            json!({"media": "voice", "agent": "eve"}),
            400,
        ),
        ("/platform/conversations/x/end", json!({}), 404),
        ("/nothing", json!({}), 404),
    ] {
        assert_eq!(demo.post(path, &body).status, status, "{path} {body}");
    }
    let unknown = "/platform/conversations/7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47/wrapup";
    demo.post(unknown, &json!({"agent": "alice"})).expect(404);
}
