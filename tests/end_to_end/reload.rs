//! SIGHUP: what is read again, what is not, and what a bad file does.

use serde_json::json;

use crate::support::{History, Platform, Setup, http, wait_for};

const OLD: &str = "old-token-of-a-caller";
const NEW: &str = "new-token-of-a-caller";
const OTHER: &str = "another-token-of-a-caller";

fn answer(url: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let head = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    http::call("POST", url, &head, Some("{}")).status
}

#[test]
fn other_api_tokens_open_after_a_reload_and_the_old_ones_do_not_and_a_bad_file_changes_nothing() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write("tokens", &format!("{OLD}\n"));
    setup.set("http", "api-tokens-file = \"./tokens\"");
    let gateway = setup.start();
    let url = format!("{}/customers/supportResult", gateway.intake);
    assert_eq!((answer(&url, OLD), answer(&url, NEW)), (202, 401));
    setup.write("tokens", &format!("{NEW}\n# both are good\n{OTHER}\n"));
    gateway.sighup();
    let opens = || [OLD, NEW, OTHER].map(|token| answer(&url, token));
    assert_eq!(opens(), [401, 202, 202]);
    // Each of these is refused as a whole, with the reason.
    for (file, reason) in [
        ("short\n", "at least 16 are needed"),
        ("", "the file is empty"),
        ("old-token-of-a-caller\u{200b}\n", "U+200B ZERO WIDTH SPACE"),
    ] {
        setup.write("tokens", file);
        gateway.sighup();
        let line = gateway.wait_log(reason);
        assert!(
            line.contains("WARN") && line.contains("nothing was reloaded"),
            "{line}"
        );
        assert_eq!(opens(), [401, 202, 202]);
    }
    setup.write("tokens", &format!("{NEW}\n"));
    // What needs a restart is named, and the rest is taken all the same.
    setup.set("channels", "max-channels = 3");
    setup.set("history", "headers = { X-Source = \"other\" }");
    setup.save();
    gateway.sighup();
    let line = gateway.wait_log("a restart is needed for");
    assert!(
        line.ends_with("channels.max-channels, history.headers"),
        "{line}"
    );
    assert_eq!(opens(), [401, 202, 401]);
    setup.write("gateway.toml", "[http\n");
    gateway.sighup();
    gateway.wait_log("nothing was reloaded, the old files serve on: ");
    assert_eq!(opens(), [401, 202, 401]);
    assert!(!gateway.log().contains("token-of-a-caller"));
}

#[test]
fn a_login_that_was_refused_is_tried_at_once_with_the_secret_that_was_put_right() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    setup.write("client-secret", "wrong-secret-of-the-client\n");
    let gateway = setup.start();
    // Refused often enough that the next try by itself is most of a minute away.
    wait_for("some refusals", || {
        let refused = gateway
            .lines()
            .iter()
            .filter(|l| l.contains("token-refused"))
            .count();
        if refused >= 1 { Ok(()) } else { Err(refused) }
    });
    let right = format!("{}\n", platform.0.client_secret);
    setup.write("client-secret", &right);
    let asked = std::time::Instant::now();
    gateway.sighup();
    gateway.wait_ready();
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "end", json!({}));
    // What serves goes on serving while the file is bad.
    setup.write("client-secret", "two\nlines\n");
    gateway.sighup();
    gateway.wait_log("must hold the secret on one line");
    assert_eq!(gateway.ready().status, 200);
}
