//! What somebody in front of the platform or of the history manager says is shown, and the
//! secrets in it are not, however short they are and however they are written.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    let body = format!(
        "{{\"error\":\"invalid_request\",\"description\":\"you said {says} marker\",\"error_description\":\"you said {says} marker\"}}"
    );
    write!(
        stream.get_mut(),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
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
    for secret in ["q7", "q7z/", "Tr0ub4dor/3+x"] {
        setup.write("client-secret", secret);
        let percent: String = secret.bytes().map(|b| format!("%{b:02X}")).collect();
        let escaped: String = secret.bytes().map(|b| format!("\\u{b:04x}")).collect();
        let pair = STANDARD.encode(format!("the-client:{secret}"));
        let alone = STANDARD.encode(secret);
        for echoed in [secret, &percent, &escaped, &pair, &alone] {
            says.lock().unwrap().clone_from(&echoed.to_owned());
            let mut gateway = setup.start();
            gateway.wait_log("token-refused");
            let mut shown = wait_for("the words in the status", || {
                let status: Value = gateway.status();
                match status.to_string() {
                    text if text.contains("marker") => Ok(text),
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
            assert!(shown.contains("[hidden]"), "{echoed}: {shown}");
            for form in [secret, &percent, &escaped, &pair, &alone] {
                let said = format!("said {form}");
                assert!(
                    !shown.contains(&said),
                    "{form} of {secret} is shown: {shown}"
                );
                if form.len() > 4 {
                    assert!(!shown.contains(form), "{form} of {secret} is shown");
                }
            }
        }
    }
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
