//! What somebody in front of the platform or of the history manager says is shown, and the
//! secrets in it are not, however short they are and however they are written.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::support::{History, Platform, Reply, Setup, http, wait_for};

/// A login host that refuses everybody with what it is told to say.
fn login_host(says: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let says = says.lock().unwrap().clone();
            std::thread::spawn(move || drop(refuse(tcp, &says)));
        }
    });
    url
}

fn refuse(tcp: TcpStream, says: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(tcp);
    http::take_request(&mut stream)?;
    let words = format!("you said {says}");
    let body =
        json!({"error": "invalid_request", "description": words, "error_description": words});
    let body = body.to_string();
    write!(
        stream.get_mut(),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Ways in which a peer may write what it was sent.
fn forms(secret: &str) -> Vec<String> {
    let percent = |text: &str| -> String { text.bytes().map(|b| format!("%{b:02X}")).collect() };
    let letters: Vec<String> = secret.chars().map(String::from).collect();
    let pair = STANDARD.encode(format!("the-client:{secret}"));
    let (front, back) = pair.split_at(pair.len() / 2);
    vec![
        secret.to_owned(),
        secret.to_uppercase(),
        percent(secret),
        percent(&percent(secret)).to_lowercase(),
        secret
            .encode_utf16()
            .map(|u| format!("\\u{u:04x}"))
            .collect(),
        secret
            .chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect(),
        letters.join("\u{200b}"),
        letters.join("\u{ad}"),
        pair.clone(),
        format!("{front}\r\n {back}"),
        STANDARD.encode(secret),
        URL_SAFE.encode(format!("xy{secret}z")),
        STANDARD.encode(STANDARD.encode(secret)),
    ]
}

/// Texts of some of them each, as long as words of others are shown.
fn packed(forms: &[String]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for form in forms {
        if texts.last().unwrap().chars().count() + form.chars().count() > 150 {
            texts.push(String::new());
        }
        *texts.last_mut().unwrap() += &format!("<{form}> ");
    }
    texts
}

/// Nothing of what was shown is one of the forms, whatever blanks were folded in it.
fn assert_hidden(shown: &str, secret: &str, forms: &[String]) {
    let folded = |text: &str| -> String {
        let seen =
            |c: &char| !c.is_whitespace() && !c.is_control() && !"\u{200b}\u{ad}".contains(*c);
        text.chars().filter(seen).collect()
    };
    let all = folded(shown);
    assert!(shown.contains("[hidden]"), "{secret}: {shown}");
    for form in forms {
        let escaped = serde_json::Value::from(form.as_str()).to_string();
        for form in [form.as_str(), escaped.trim_matches('"')] {
            let echoed = folded(&format!("<{form}>"));
            assert!(
                !all.contains(&echoed),
                "{echoed} of {secret} is shown: {shown}"
            );
            if form.len() > 4 {
                assert!(
                    !shown.contains(form),
                    "{form} of {secret} is shown: {shown}"
                );
            }
        }
    }
}

#[test]
fn a_client_secret_that_the_login_host_echoes_is_shown_nowhere_in_no_encoding() {
    let history = History::start();
    let says = Arc::new(Mutex::new(String::new()));
    let login = login_host(Arc::clone(&says));
    let mut setup = Setup::blank();
    setup.env("RUST_LOG", "trace");
    setup.set("history", &format!("url = \"{}\"", history.url));
    setup.set("genesys", &format!("api-url = \"{login}\""));
    setup.set("genesys", &format!("login-url = \"{login}\""));
    setup.set("genesys.oauth", "grant = \"client-credentials\"");
    setup.set("genesys.oauth", "client-id = \"the-client\"");
    setup.set("genesys.oauth", "client-secret-file = \"./client-secret\"");
    for secret in ["q7", "q7z/", "Zähl-7/ñ+x"] {
        setup.write("client-secret", secret);
        let all = forms(secret);
        let forms = match secret.len() {
            // Of so short a one only whole words in the usual forms are promised.
            2 => [0, 2, 4, 8, 10].map(|n| all[n].clone()).to_vec(),
            _ => all,
        };
        for echoed in packed(&forms) {
            says.lock().unwrap().clone_from(&echoed);
            let mut gateway = setup.start();
            gateway.wait_log("token-refused");
            let mut shown = wait_for("the words in the status", || {
                let status: Value = gateway.status();
                match status.to_string() {
                    text if text.contains("you said") => Ok(text),
                    text => Err(text),
                }
            });
            shown += &http::get(&format!("{}/readyz", gateway.operators)).text;
            let told = setup.operate(&["status"]);
            shown += &format!("{}{}", told.out, told.log);
            let online = setup.ends(&["check", "--online"]);
            shown += &format!("{}{}", online.out, online.log);
            assert_eq!(gateway.sigterm().0, 0);
            shown += &gateway.log();
            assert_hidden(&shown, secret, &forms);
        }
    }
}

#[test]
fn what_the_history_manager_echoes_of_secrets_is_in_no_last_error() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let secret = platform.0.client_secret.clone();
    let forms = forms(&secret);
    let texts = packed(&forms);
    let plain = texts
        .iter()
        .map(|t| Reply::Full(400, Vec::new(), t.clone()));
    let quoted = texts
        .iter()
        .map(|t| Reply::Full(422, Vec::new(), json!({"error": t}).to_string()));
    let answers: Vec<Reply> = plain.chain(quoted).collect();
    let count = answers.len();
    history.script(answers);
    let mut gateway = setup.start();
    gateway.wait_ready();
    let mut shown = String::new();
    for _ in 0..count {
        let id = platform.conversation();
        gateway.accept(&id).expect(202);
        gateway.wait_state(&id, "watching");
        platform.act(&id, "wrap-up", json!({"notes": "n"}));
        let record = gateway.wait_record(&id, "dead");
        shown += &record.to_string();
        let record = record["recordId"].as_str().unwrap();
        shown += &http::get(&format!("{}/records/{record}", gateway.operators)).text;
        shown += &setup.operate(&["records", "show", record]).expect(0).out;
    }
    shown += &http::get(&format!("{}/records", gateway.operators)).text;
    shown += &gateway.status().to_string();
    shown += &setup.operate(&["records", "list"]).expect(0).out;
    let held: Vec<String> = {
        let database = setup.database();
        let mut rows = database.prepare("SELECT last_error FROM record").unwrap();
        let found = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        found.map(Result::unwrap).collect()
    };
    assert_eq!(held.len(), count);
    shown += &held.concat();
    assert_eq!(gateway.sigterm().0, 0);
    shown += &setup.operate(&["records", "list"]).expect(0).out;
    shown += &gateway.log();
    assert_hidden(&shown, &secret, &forms);
}

#[test]
fn what_turns_or_hides_text_reaches_no_page_and_no_terminal_as_it_is() {
    const HIDDEN: [char; 4] = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}'];
    let notes: String = format!("notes{}marker", HIDDEN.iter().collect::<String>());
    let (platform, history) = (Platform::start(), History::start());
    history.script([Reply::Full(400, Vec::new(), notes.clone())]);
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "wrap-up", json!({"notes": notes}));
    let record = gateway.wait_record(&id, "dead");
    let record = record["recordId"].as_str().unwrap().to_owned();
    let mut shown = String::new();
    for path in ["/status", "/records", &format!("/records/{record}")] {
        shown += &http::get(&format!("{}{path}", gateway.operators)).text;
    }
    let body: Value = http::get(&format!("{}/records/{record}", gateway.operators)).json();
    assert!(
        body.to_string().contains(&notes),
        "it is the same text: {body}"
    );
    for words in [
        &["records", "show", &record][..],
        &["records", "show", &record, "--json"],
    ] {
        let told = setup.operate(words).expect(0);
        shown += &told.out;
    }
    assert!(
        shown.contains("\\u202e") && shown.contains("marker"),
        "{shown}"
    );
    assert!(!shown.contains(HIDDEN), "{shown}");
    // The page escapes once more whatever it draws.
    for script in ["/status.js", "/records.js"] {
        let script = http::get(&format!("{}{script}", gateway.operators))
            .expect(200)
            .text;
        assert!(script.contains("shown("), "{script}");
    }
}
