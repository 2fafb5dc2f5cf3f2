//! No secret leaves the gateway but towards those who are meant to have it, and
//! no personal data stands in the log above debug (design, guarantee 9).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use simulator::model::{Saml, certificate_from_pem};

use crate::support::{Gateway, History, Platform, Reply, Setup, http, wait_for};

const SECRET: &str = "the-secret-of-the-client-0815";
const HISTORY_TOKEN: &str = "bearer-of-the-history-manager-4711";
const CALLER_TOKEN: &str = "token-of-the-callers-123456";
const OPERATOR_TOKEN: &str = "token-of-the-operators-654321";
const NOTES: &str = "the customer has an ailment";
const MEMBER: &str = "a member that only the history manager may see";

fn provided(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/saml")
        .join(format!("test-only-{name}"))
}

/// Every token and channel that the platform gave out while it was looked at.
#[derive(Default)]
struct GivenOut {
    channels: BTreeSet<String>,
}

impl GivenOut {
    fn look(&mut self, platform: &Platform) {
        self.channels
            .extend(platform.channels().into_iter().map(|c| c.id));
    }
}

fn setup(platform: &Platform, history: &History) -> Setup {
    let mut setup = Setup::new(platform, history);
    setup.env("RUST_LOG", "trace");
    setup.set("genesys.oauth", "grant = \"saml2-bearer\"");
    setup.set("genesys.oauth", "org-name = \"simulated\"");
    let key = std::fs::read_to_string(provided("provider.pkcs8.key.pem")).unwrap();
    setup.write("key.pem", &key);
    let certificate = provided("provider.certificate.pem");
    for (name, value) in [
        ("issuer", "https://gateway.example.com"),
        ("email", "gateway@example.com"),
        ("audience", "https://gateway.example.com"),
        ("recipient", "https://gateway.example.com/acs"),
        ("private-key-file", "./key.pem"),
        ("certificate-file", certificate.to_str().unwrap()),
    ] {
        setup.set("genesys.oauth.assertion", &format!("{name} = \"{value}\""));
    }
    setup.write("history-token", HISTORY_TOKEN);
    setup.set("history", "bearer-token-file = \"./history-token\"");
    setup.set(
        "history",
        &format!("headers = {{ X-Api-Key = \"{HISTORY_TOKEN}-key\" }}"),
    );
    setup.write("callers", CALLER_TOKEN);
    setup.set(
        "agent-desktop",
        "desktop-origins = [\"https://desktop.example\"]",
    );
    setup.set("http", "api-tokens-file = \"./callers\"");
    setup.write("operators", OPERATOR_TOKEN);
    setup.set("status", "api-tokens-file = \"./operators\"");
    setup
}

fn with_token(method: &str, url: &str, token: &str, body: Option<&str>) -> http::Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    http::call(method, url, &headers, body)
}

fn accept(gateway: &Gateway, id: &str) {
    let body = json!({"conversationId": id, "member": MEMBER}).to_string();
    with_token("POST", &gateway.interactions(), CALLER_TOKEN, Some(&body)).expect(202);
}

fn wait_state(gateway: &Gateway, id: &str, state: &str) -> Value {
    wait_for(&format!("{id} to be {state}"), || {
        let seen = with_token("GET", &gateway.interaction_url(id), CALLER_TOKEN, None);
        let seen = seen.expect(200).json();
        if seen["state"] == state {
            Ok(seen)
        } else {
            Err(seen)
        }
    })
}

/// What operators can see without looking at a single record.
fn pages(gateway: &Gateway) -> String {
    let mut all = String::new();
    for path in [
        "/healthz", "/readyz", "/metrics", "/status", "/", "/records",
    ] {
        let url = format!("{}{path}", gateway.operators);
        let answer = with_token("GET", &url, OPERATOR_TOKEN, None);
        assert!([200, 503].contains(&answer.status), "{path}: {answer}");
        all.push_str(&format!("{path}: {answer:?}\n"));
    }
    for path in [
        "/openapi.json",
        "/agent-desktop/",
        "/agent-desktop/config.json",
    ] {
        let url = format!("{}{path}", gateway.intake);
        all.push_str(&format!("{path}: {:?}\n", http::get(&url)));
    }
    all
}

#[test]
fn no_secret_is_in_any_line_page_or_metric_and_nothing_personal_above_debug() {
    let platform = Platform::with(|options| {
        let settings = &mut options.settings;
        settings.client_secret = base::secret::Secret::new(SECRET);
        let pem = std::fs::read_to_string(provided("provider.certificate.pem")).unwrap();
        settings.saml = Some(Saml {
            certificates: vec![certificate_from_pem(&pem).unwrap()],
            ..Saml::default()
        });
        settings.switches.set("heartbeat-seconds", "1").unwrap();
    });
    let history = History::start();
    let mut setup = setup(&platform, &history);
    setup.set("channels", "heartbeat-timeout = \"2500ms\"");
    let mut given = GivenOut::default();
    let mut out = String::new();

    // First a login that fails, in words of the platform.
    setup.write("client-secret", &format!("{SECRET}-but-wrong"));
    let gateway = setup.start();
    gateway.wait_log("token-refused");
    out.push_str(&pages(&gateway));
    let mut log = gateway.log();
    drop(gateway);
    setup.write("client-secret", SECRET);

    let mut gateway = setup.start();
    let talk = |n: usize| -> Vec<String> { (0..n).map(|_| platform.conversation()).collect() };
    let ids = talk(8);
    for id in &ids {
        accept(&gateway, id);
    }
    for id in &ids {
        wait_state(&gateway, id, "watching");
    }
    given.look(&platform);
    // Everything that makes lines: refusals of every kind, gaps, a dead record, bad frames.
    history.script_for(
        "dead-letter",
        [Reply::Full(
            400,
            Vec::new(),
            format!("you sent {NOTES} with {HISTORY_TOKEN} and {HISTORY_TOKEN}-key"),
        )],
    );
    history.script([Reply::Status(503), Reply::Close, Reply::Status(429)]);
    platform.act(
        &ids[0],
        "wrap-up",
        json!({"notes": format!("{NOTES} dead-letter")}),
    );
    platform.act(&ids[1], "wrap-up", json!({"notes": NOTES}));
    for sort in [
        "unknown-topic",
        "unknown-system",
        "not-json",
        "not-an-object",
        "no-topic",
        "foreign-reply",
    ] {
        platform.fault(json!({"fault": "noise", "channel": "all", "sort": sort}));
    }
    let torn = format!(
        "{{\"topicName\":\"v2.detail.events.conversation.{}.acw\",\"eventBody\":\"{NOTES}\"}}",
        ids[2]
    );
    platform.fault(json!({"fault": "frame", "channel": "all", "text": torn}));
    platform.fault(json!({"fault": "refuse-topics", "pattern": ids[3]}));
    platform.fault(json!({"fault": "fail-rest", "call": "upgrade", "times": 2,
        "failure": {"with": "status", "status": 503}}));
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    gateway.wait_log("channel-lost");
    for call in [
        "conversation",
        "channel-create",
        "subscriptions-post",
        "token",
    ] {
        platform.fault(json!({"fault": "fail-rest", "call": call, "times": 1,
            "failure": {"with": "html", "status": 500}}));
    }
    platform.fault(json!({"fault": "evict", "channel": "all"}));
    wait_for("a second channel", || {
        given.look(&platform);
        if given.channels.len() >= 2 {
            Ok(())
        } else {
            Err(given.channels.len())
        }
    });
    platform.fault(json!({"fault": "silence", "channel": "all"}));
    platform.fault(json!({"fault": "revoke-tokens"}));
    let more = talk(3);
    for id in &more {
        accept(&gateway, id);
    }
    for id in &more {
        wait_state(&gateway, id, "watching");
    }
    for id in ids.iter().chain(&more) {
        platform.act(id, "finish", json!({}));
    }
    wait_for("all but the dead letter to be filed", || {
        given.look(&platform);
        let filed: BTreeSet<String> = history.filed().into_keys().collect();
        if filed.len() >= 9 {
            Ok(())
        } else {
            Err(filed.len())
        }
    });
    // Callers and operators who do it wrong.
    let bad = format!("{{\"conversationId\":\"{NOTES}\"}}");
    with_token("POST", &gateway.interactions(), CALLER_TOKEN, Some(&bad)).expect(400);
    with_token(
        "POST",
        &gateway.interactions(),
        "a-wrong-token-of-somebody",
        Some(&bad),
    )
    .expect(401);
    out.push_str(&pages(&gateway));
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["records", "list"],
        &["records", "shape"],
    ] {
        let ended = setup.operate(words);
        out.push_str(&format!("{words:?}: {} {}\n", ended.out, ended.log));
    }
    let online = setup.ends(&["check", "--online"]);
    out.push_str(&format!("check: {} {}\n", online.out, online.log));
    given.look(&platform);
    gateway.sigterm();
    log.push_str(&gateway.log());

    let everything = format!("{log}\n{out}");
    let hidden = |text: &str, what: &str| {
        if let Some(line) = everything.lines().find(|l| l.contains(text)) {
            panic!("{what} is shown: {line}");
        }
    };
    for (secret, what) in [
        (SECRET, "the client secret"),
        (HISTORY_TOKEN, "the history manager's token"),
        (CALLER_TOKEN, "a caller's token"),
        (OPERATOR_TOKEN, "an operator's token"),
        ("a-wrong-token-of-somebody", "a stranger's token"),
        ("PRIVATE KEY", "the private key"),
        ("sim-", "a token of the platform"),
        ("ws://", "a connect URI"),
        ("PHNhbWxw", "an assertion"),
        ("SAMLResponse", "an assertion"),
        ("Basic ", "the credentials of the client"),
    ] {
        hidden(secret, what);
    }
    assert!(given.channels.len() >= 2, "too few channels to tell");
    for channel in &given.channels {
        hidden(channel, "a channel id");
        // The last four characters may be shown, one more may not.
        hidden(&channel[channel.len() - 5..], "too much of a channel id");
    }
    let above_debug = |l: &&str| !l.contains(" DEBUG ") && !l.contains(" TRACE ");
    let said: String = log
        .lines()
        .filter(above_debug)
        .chain(out.lines())
        .collect::<Vec<_>>()
        .join("\n");
    for (personal, what) in [
        (NOTES, "a note"),
        (MEMBER, "a member"),
        ("tel:+", "a number"),
    ] {
        // A dead record says what the history manager said, to whoever asks for it.
        let line = said
            .lines()
            .find(|l| l.contains(personal) && !l.starts_with("/records"));
        assert_eq!(line, None, "{what} is shown");
    }
}
