//! Tokens: both grants, the three sources of an assertion, what is said when
//! the platform refuses, and `check --online`.

use std::path::PathBuf;
use std::time::Duration;

use base::time::Wall;
use notifications::saml::{AssertionSettings, Sign, Signer};
use serde_json::{Value, json};
use simulator::model::{Saml, User, certificate_from_pem};

use crate::support::history::now_ms;
use crate::support::{Gateway, History, Platform, Setup, wait_for, wait_within};

const EMAIL: &str = "gateway@example.com";
const AUDIENCE: &str = "https://gateway.example.com/saml";
const RECIPIENT: &str = "https://gateway.example.com/saml/acs";
const ORGANISATION: &str = "acme";

fn provided(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/saml")
        .join(format!("test-only-{name}"))
}

fn certificate() -> PathBuf {
    provided("provider.certificate.pem")
}

/// A platform that trusts one provider, one user, one audience, and nothing else.
fn strict() -> Platform {
    Platform::with(|options| {
        let pem = std::fs::read_to_string(certificate()).unwrap();
        let settings = &mut options.settings;
        settings.client_credentials = false;
        settings.org_name = ORGANISATION.into();
        settings.saml = Some(Saml {
            certificates: vec![certificate_from_pem(&pem).unwrap()],
            users: vec![User::named(EMAIL)],
            audience: Some(AUDIENCE.into()),
            recipient: Some(RECIPIENT.into()),
        });
    })
}

fn bearer(platform: &Platform, history: &History) -> Setup {
    let mut setup = Setup::new(platform, history);
    setup.set("genesys.oauth", "grant = \"saml2-bearer\"");
    setup.set("genesys.oauth", &format!("org-name = \"{ORGANISATION}\""));
    setup
}

/// The gateway signs, with these words of `sign`.
fn signed(platform: &Platform, history: &History, sign: &str) -> Setup {
    let mut setup = bearer(platform, history);
    let key = std::fs::read_to_string(provided("provider.pkcs8.key.pem")).unwrap();
    setup.write("key.pem", &key);
    for (name, value) in [
        ("issuer", AUDIENCE),
        ("email", EMAIL),
        ("audience", AUDIENCE),
        ("recipient", RECIPIENT),
        ("sign", sign),
        ("private-key-file", "./key.pem"),
        ("certificate-file", certificate().to_str().unwrap()),
    ] {
        setup.set("genesys.oauth.assertion", &format!("{name} = \"{value}\""));
    }
    setup
}

/// An assertion as another program would fetch it.
fn assertion() -> String {
    let read = |name: &str| std::fs::read(provided(name)).unwrap();
    let key = read("provider.pkcs8.key.pem");
    let signer = Signer::from_pem(&key, &read("provider.certificate.pem")).unwrap();
    let settings = AssertionSettings {
        issuer: AUDIENCE.into(),
        email: EMAIL.into(),
        audience: AUDIENCE.into(),
        recipient: RECIPIENT.into(),
        organization_name: ORGANISATION.into(),
        lifetime: Duration::from_secs(300),
        sign: Sign::Both,
        service_name: None,
    };
    let mut ids = [7; 32];
    ids[..16].fill(8);
    let answer = signer.response(&settings, Wall(now_ms()), ids).unwrap();
    answer.expose().to_owned()
}

/// A conversation from its acceptance to its filing: the token is good for everything.
fn works(platform: &Platform, history: &History, gateway: &Gateway) {
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
}

#[test]
fn the_gateway_signs_its_own_assertions_in_every_way() {
    for sign in ["both", "assertion", "response"] {
        let (platform, history) = (strict(), History::start());
        let gateway = signed(&platform, &history, sign).start();
        works(&platform, &history, &gateway);
        let journal = platform.journal();
        let token = journal.iter().find(|e| e.kind == "token").unwrap();
        assert!(token.what.starts_with("user "), "{token:?}");
    }
}

#[test]
fn an_assertion_comes_from_a_file_that_is_read_again_at_every_request() {
    let (platform, history) = (strict(), History::start());
    let mut setup = bearer(&platform, &history);
    setup.write("assertion", "bm8gYXNzZXJ0aW9u\n");
    setup.set("genesys.oauth.assertion", "file = \"./assertion\"");
    let gateway = setup.start();
    wait_for("the refusal to be shown", || {
        let ready = gateway.ready();
        if ready.status == 503 && ready.text.contains("assertion") {
            Ok(())
        } else {
            Err(ready)
        }
    });
    setup.write("assertion", &format!("{}\n", assertion()));
    works(&platform, &history, &gateway);
}

#[test]
fn an_assertion_file_in_the_middle_of_its_replacement_is_read_again_soon() {
    let good = assertion();
    let half = good.len() / 2;
    for broken in [
        None,
        Some(String::new()),
        Some("\n".into()),
        Some(good[..half].to_owned()),
        Some(good[..half - half % 4].to_owned()),
        Some(format!("{}=", &good[..16])),
        Some("<html>Sign in, please</html>".into()),
    ] {
        let (platform, history) = (strict(), History::start());
        let mut setup = bearer(&platform, &history);
        setup.write("assertion", &good);
        setup.set("genesys.oauth.assertion", "file = \"./assertion\"");
        let gateway = setup.start();
        gateway.wait_ready();
        // The token dies while somebody writes the file.
        match &broken {
            None => std::fs::remove_file(setup.path("assertion")).unwrap(),
            Some(text) => setup.write("assertion", text),
        }
        platform.fault(json!({"fault": "revoke-tokens"}));
        let id = platform.conversation();
        gateway.accept(&id).expect(202);
        platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
        let tokens = platform.count("token");
        gateway.wait_log("token-refused");
        // A second refusal: the pause grows.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(platform.count("token"), tokens, "{broken:?}");
        setup.write("assertion", &format!("{good}\n"));
        let mended = std::time::Instant::now();
        gateway.wait_ready();
        let took = mended.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?} after {broken:?}");
        works(&platform, &history, &gateway);
        assert!(!gateway.log().contains(&good[..16]));
    }
}

#[test]
fn a_signing_key_that_is_replaced_signs_after_a_reload() {
    let (platform, history) = (strict(), History::start());
    let mut setup = signed(&platform, &history, "both");
    // The provider's key of last year.
    let of = |name: &str| std::fs::read_to_string(provided(name)).unwrap();
    setup.write("key.pem", &of("other.key.pem"));
    setup.write("certificate.pem", &of("other.certificate.pem"));
    let line = "certificate-file = \"./certificate.pem\"";
    setup.set("genesys.oauth.assertion", line);
    let gateway = refused(&setup, &["assertion"]);
    // A pair that does not belong together changes nothing.
    setup.write("key.pem", &of("provider.pkcs8.key.pem"));
    gateway.sighup();
    gateway.wait_log("nothing was reloaded");
    setup.write("certificate.pem", &of("provider.certificate.pem"));
    let asked = std::time::Instant::now();
    gateway.sighup();
    gateway.wait_ready();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    works(&platform, &history, &gateway);
    assert!(!gateway.log().contains("PRIVATE KEY"));
}

#[test]
fn an_assertion_comes_from_a_command() {
    let (platform, history) = (strict(), History::start());
    let mut setup = bearer(&platform, &history);
    setup.write("assertion", &assertion());
    let file = setup.path("assertion");
    let command = format!("command = [\"/bin/cat\", \"{}\"]", file.display());
    setup.set("genesys.oauth.assertion", &command);
    let gateway = setup.start();
    works(&platform, &history, &gateway);
}

#[test]
fn a_command_that_fails_is_named_without_what_it_printed() {
    let (platform, history) = (strict(), History::start());
    let mut setup = bearer(&platform, &history);
    let script = "command = [\"/bin/sh\", \"-c\", \"echo half-an-assertion; exit 3\"]";
    setup.set("genesys.oauth.assertion", script);
    let gateway = setup.start();
    let ready = wait_for("the reason", || {
        let ready = gateway.ready();
        if ready.text.contains("command") {
            Ok(ready)
        } else {
            Err(ready)
        }
    });
    assert_eq!(ready.status, 503);
    let everything = format!("{}{}{}", ready.text, gateway.log(), gateway.status());
    assert!(!everything.contains("half-an-assertion"), "{everything}");
}

/// What the log, `readyz` and the verdict say when there is no token.
fn refused(setup: &Setup, words: &[&str]) -> Gateway {
    let gateway = setup.start();
    let ready = wait_for("readyz to say why", || {
        let ready = gateway.ready();
        let said = ready.text.to_lowercase();
        let all = words.iter().all(|w| said.contains(&w.to_lowercase()));
        if ready.status == 503 && all {
            Ok(ready)
        } else {
            Err(ready)
        }
    });
    let reasons = ready.json()["reasons"].clone();
    assert!(
        reasons.to_string().contains("no token is held"),
        "{reasons}"
    );
    let line = gateway.wait_log("token");
    assert!(line.contains("ERROR") || line.contains("WARN"), "{line}");
    let status = gateway.status();
    assert_eq!(status["level"], "bad", "{status}");
    assert_eq!(status["token"]["held"], false);
    gateway
}

#[test]
fn a_wrong_secret_client_or_organisation_is_said_in_words() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    setup.write("client-secret", "not-the-secret\n");
    let gateway = refused(&setup, &["secret"]);
    assert!(!gateway.log().contains("not-the-secret"));
    // What is accepted waits, and nothing is lost: the secret is corrected by a restart.
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    assert_eq!(gateway.interaction(&id)["state"], "accepted");
    drop(gateway);
    setup.write("client-secret", &platform.0.client_secret);
    let gateway = setup.start();
    gateway.wait_state(&id, "watching");

    let mut setup = Setup::new(&platform, &history);
    setup.set(
        "genesys.oauth",
        "client-id = \"00000000-0000-4000-8000-000000000000\"",
    );
    refused(&setup, &["client"]);

    let platform = strict();
    let mut setup = signed(&platform, &history, "both");
    setup.set("genesys.oauth", "org-name = \"another\"");
    refused(&setup, &["org"]);
    let mut setup = signed(&platform, &history, "both");
    setup.set(
        "genesys.oauth.assertion",
        "email = \"stranger@example.com\"",
    );
    refused(&setup, &["user"]);
    let mut setup = signed(&platform, &history, "both");
    setup.set("genesys.oauth", "grant = \"client-credentials\"");
    setup.clear("genesys.oauth.assertion");
    refused(&setup, &["grant"]);
}

#[test]
fn a_platform_that_is_not_there_is_waited_for() {
    let (platform, history) = (Platform::start(), History::start());
    let port = platform
        .0
        .api_url
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let setup = Setup::new(&platform, &history);
    drop(platform);
    let gateway = refused(&setup, &["reached"]);
    let platform = Platform::with(|options| options.port = port);
    works(&platform, &history, &gateway);
}

fn check_online(setup: &Setup) -> (i32, String) {
    let ended = setup.ends(&["check", "--online"]);
    (ended.code, ended.out)
}

#[test]
fn check_online_says_that_all_is_well() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let (code, out) = check_online(&setup);
    assert_eq!(code, 0, "{out}");
    for word in [
        "token",
        "channel",
        "socket",
        "subscribed",
        "conversations",
        "analytics",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert!(!out.contains("FAILED"), "{out}");
    // It leaves nothing subscribed behind, and no socket.
    let channels = platform.channels();
    assert!(
        channels.iter().all(|c| !c.connected && c.topics.is_empty()),
        "{channels:?}"
    );
    // It does not touch the database, and runs beside the daemon.
    assert!(!setup.path("gateway.db").exists());
}

#[test]
fn check_online_names_the_permission_that_is_missing() {
    for (permission, good) in [
        (
            "analytics:conversationDetail:view",
            "conversations may be read",
        ),
        ("conversation:communication:view", "may be subscribed"),
    ] {
        let (platform, history) = (Platform::start(), History::start());
        platform.fault(json!({"fault": "permissions", "missing": [permission]}));
        let (code, out) = check_online(&Setup::new(&platform, &history));
        assert_eq!(code, 69, "{out}");
        let failed: Vec<&str> = out.lines().filter(|l| l.starts_with("FAILED")).collect();
        assert!(
            !failed.is_empty() && failed.iter().all(|l| l.contains(permission)),
            "{out}"
        );
        assert!(out.contains(good), "{out}");
    }
}

#[test]
fn check_online_says_what_is_wrong_with_login_channel_and_socket() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let fail = |call: &str, failure: Value| {
        platform.fault(json!({"fault": "clear"}));
        platform
            .fault(json!({"fault": "fail-rest", "call": call, "times": 50, "failure": failure}));
        let (code, out) = check_online(&setup);
        assert_eq!(code, 69, "{call}: {out}");
        out
    };
    let out = fail("channel-create", json!({"with": "status", "status": 403}));
    assert!(out.contains("FAILED   channel"), "{out}");
    let out = fail("upgrade", json!({"with": "status", "status": 503}));
    assert!(out.contains("FAILED   socket"), "{out}");
    platform.fault(json!({"fault": "clear"}));
    setup.write("client-secret", "wrong\n");
    let (code, out) = check_online(&setup);
    assert_eq!(code, 69);
    assert!(
        out.starts_with("FAILED   token") && out.contains("secret"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 1, "{out}");
}

/// Takes a minute: the gateway does not believe in shorter lives.
#[test]
fn the_token_is_renewed_before_it_ends_and_no_conversation_is_out_of_sight() {
    let platform = Platform::switched(&[("token-lifetime-seconds", "63")]);
    let history = History::start();
    let gateway = Setup::new(&platform, &history).start();
    gateway.wait_ready();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    wait_within(Duration::from_secs(75), "the first token to end", || {
        assert_eq!(gateway.status()["token"]["held"], true);
        let ended = platform.count("token-ended");
        if ended > 0 { Ok(()) } else { Err(ended) }
    });
    let journal = platform.journal();
    let at = |kind: &str| -> Vec<i64> {
        let of_kind = journal.iter().filter(|e| e.kind == kind);
        of_kind.map(|e| e.at.0).collect()
    };
    let (given, ended) = (at("token"), at("token-ended"));
    assert_eq!(given.len(), 2, "{journal:#?}");
    assert!(
        given[1] < ended[0],
        "the second token came after the first had ended"
    );
    // The channel was handed over with it.
    platform.act(&id, "finish", json!({}));
    let filed = history.wait_filed(&id, 1).remove(0);
    assert_eq!(filed.json()["source"], "notification");
    gateway.wait_state(&id, "finished");
    assert_eq!(gateway.metric("genesys_gateway_gap_topics_total"), 0.0);
    assert_eq!(gateway.metric("genesys_gateway_handovers_total"), 1.0);
    works(&platform, &history, &gateway);
}

#[test]
fn a_token_that_idles_out_is_replaced_and_nothing_lost() {
    // Shorter than any that the platform offers, so that it does idle out.
    let platform = Platform::switched(&[
        ("idle-token-timeout-seconds", "3"),
        ("token-death", "close"),
    ]);
    let history = History::start();
    let gateway = Setup::new(&platform, &history).start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    wait_for("the token to idle out", || {
        let ended = platform.count("token-ended");
        if ended > 0 { Ok(()) } else { Err(ended) }
    });
    platform.switch("idle-token-timeout-seconds", "0");
    platform.act(&id, "finish", json!({}));
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
}

#[test]
fn a_revoked_token_costs_nothing_however_the_platform_lets_it_die() {
    for (death, fault) in [
        ("stays", "revoke-tokens"),
        ("stays", "expire-tokens"),
        ("close", "revoke-tokens"),
        ("silent", "revoke-tokens"),
        ("notice-then-close", "revoke-tokens"),
        ("deaf", "revoke-tokens"),
    ] {
        let platform = Platform::switched(&[("token-death", death), ("heartbeat-seconds", "1")]);
        let history = History::start();
        let mut setup = Setup::new(&platform, &history);
        setup.set("channels", "heartbeat-timeout = \"3s\"");
        let gateway = setup.start();
        let id = platform.conversation();
        gateway.accept(&id).expect(202);
        gateway.wait_state(&id, "watching");
        platform.fault(json!({"fault": fault}));
        // Announced to nobody, or to the new channel; found either way.
        platform.act(&id, "finish", json!({}));
        if ["stays", "deaf"].contains(&death) {
            // Nothing tells the gateway until it asks for something.
            let other = platform.conversation();
            gateway.accept(&other).expect(202);
            gateway.wait_state(&other, "watching");
        }
        history.wait_filed(&id, 1);
        gateway.wait_state(&id, "finished");
        works(&platform, &history, &gateway);
        assert!(platform.count("token") >= 2, "{death}");
    }
}

#[test]
fn two_commands_that_vouch_for_one_user_are_found_out_and_refused() {
    let (platform, history) = (strict(), History::start());
    platform.switch("assertion-replay", "accepted");
    let mut setup = bearer(&platform, &history);
    setup.write("assertion", &assertion());
    let file = setup.path("assertion");
    let command = |words: &str| {
        format!(
            "command = [\"/bin/sh\", \"-c\", \"{words} {}\"]",
            file.display()
        )
    };
    setup.set("genesys.oauth.assertion", &command("cat"));
    let second = format!(
        "additional-oauth = [{{ name = \"second\", client-id = \"{}\", org-name = \"{ORGANISATION}\", \
         client-secret-file = \"./client-secret\", assertion = {{ {} }} }}]",
        platform.0.client_id,
        command("cat --")
    );
    setup.set("genesys", &second);
    let ended = setup.ends(&["check", "--online"]).expect(78);
    assert!(
        ended
            .out
            .contains("main and second are the same OAuth client and user"),
        "{ended:#?}"
    );
    let mut gateway = setup.start();
    assert_eq!(gateway.wait_end(), 78, "{}", gateway.log());
    gateway.wait_log("main and second are the same OAuth client and user");
}
