//! What somebody in front of the platform or of the history manager says is shown, and the
//! secrets in it are not, however short they are and however they are written.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{History, Setup, http, wait_for};

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
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    stream.read_exact(&mut vec![0; length])?;
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
