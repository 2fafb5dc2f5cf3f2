//! Tokens: both grants, the errors, both deaths, the rate limit.
//!
//! The signed documents in `data` were made by another program (signxml), are
//! not in canonical form as they stand, and hold comments and self-closing tags.

use super::*;

const SIGNED_ASSERTION: &str = include_str!("data/assertion-signed.xml");
const SIGNED_RESPONSE: &str = include_str!("data/response-signed.xml");
const CERTIFICATE: &str = include_str!("data/idp-cert.pem");
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer";

fn error_of(answer: &Response) -> (u16, String, String) {
    let b = body(answer);
    assert_eq!(b["description"], b["error_description"]);
    (
        answer.status,
        b["error"].as_str().unwrap().to_owned(),
        b["description"].as_str().unwrap().to_owned(),
    )
}

fn trusting() -> Settings {
    Settings {
        saml: Some(Saml {
            certificates: vec![certificate_from_pem(CERTIFICATE).unwrap()],
            users: vec![User {
                id: name_uuid("agent"),
                email: "Agent@example.com".into(),
            }],
            audience: Some("https://app.example.com".into()),
            recipient: Some("https://app.example.com/saml".into()),
        }),
        ..Settings::default()
    }
}

fn form(document: &str) -> String {
    let assertion: String = base64(document)
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("{GRANT}&orgName=simulated&assertion={assertion}")
}

#[test]
fn client_credentials_give_a_token_for_a_day() {
    let mut w = World::with(&[]);
    let answer = body(&w.oauth("grant_type=client_credentials"));
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 86_399);
    let me = body(&w.get("/tokens/me"));
    assert_eq!(
        me["OAuthClient"]["authorizedGrantType"],
        "CLIENT-CREDENTIALS"
    );
    assert_eq!(me["organization"]["name"], "simulated");
    assert_eq!(w.call("HEAD", "/tokens/me", Value::Null).status, 200);
    assert_eq!(w.get("/tokens/timeout").status, 200);
}

#[test]
fn credentials_may_also_be_in_the_form() {
    let mut w = World::with(&[]);
    let request = Request {
        method: "POST",
        url: "https://login.simulated.test/oauth/token".into(),
        headers: vec![(
            "content-type".into(),
            "application/x-www-form-urlencoded; charset=UTF-8".into(),
        )],
        body: b"grant_type=client_credentials&client_id=11111111-2222-4333-8444-555555555555&client_secret=simulated-client-secret".to_vec(),
    };
    assert_eq!(w.p.http(&request, w.now).status, 200);
}

#[test]
fn refusals_of_the_token_endpoint_have_their_own_codes() {
    let mut w = World::with(&[]);
    let id = w.p.settings().client_id.clone();
    let cases = [
        (
            base64("nobody:x"),
            "grant_type=client_credentials",
            401,
            "invalid_client",
            "client not found",
        ),
        (
            base64(&format!("{id}:x")),
            "grant_type=client_credentials",
            401,
            "invalid_client",
            "authentication failed",
        ),
        (
            "?".into(),
            "grant_type=client_credentials",
            401,
            "invalid_client",
            "client authentication is missing",
        ),
    ];
    for (basic, form, status, error, text) in cases {
        let found = error_of(&w.oauth_as(&basic, form));
        assert_eq!(found, (status, error.to_owned(), text.to_owned()));
    }
    for (form, error) in [
        ("grant_type=password", "unsupported_grant_type"),
        ("a=b", "invalid_request"),
        (GRANT, "invalid_request"),
        ("%ff=1", "invalid_request"),
    ] {
        assert_eq!(error_of(&w.oauth(form)).1, error, "{form}");
    }
    w.set("invalid-client-status", "400");
    assert_eq!(error_of(&w.oauth_as(&base64("nobody:x"), "a=b")).0, 400);
    let mut w = World::of(Settings {
        saml: None,
        ..Settings::default()
    });
    assert_eq!(error_of(&w.oauth(GRANT)).1, "unauthorized_client");
}

#[test]
fn an_assertion_signed_by_another_program_gives_a_token_of_the_user() {
    for document in [SIGNED_ASSERTION, SIGNED_RESPONSE] {
        let mut w = World::of(trusting());
        let answer = w.oauth(&form(document));
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        w.token = body(&answer)["access_token"].as_str().unwrap().to_owned();
        let me = body(&w.get("/tokens/me"));
        assert_eq!(me["OAuthClient"]["authorizedGrantType"], "SAML2-BEARER");
        // The user's channels are counted apart from the client's.
        w.channel();
        assert_eq!(
            w.p.channels.values().next().unwrap().owner,
            (0, Some(name_uuid("agent")))
        );
    }
}

#[test]
fn any_change_to_what_is_signed_is_noticed() {
    let mut w = World::of(trusting());
    let changed = [
        SIGNED_ASSERTION.replacen("agent@example.com", "boss@example.com", 2),
        SIGNED_ASSERTION.replace("15:40:00Z\" NotBefore", "15:41:00Z\" NotBefore"),
        SIGNED_ASSERTION.replace("<saml:Subject>", "<saml:Subject> "),
        SIGNED_RESPONSE.replace("ID=\"_r1\"", "ID=\"_r2\""),
        SIGNED_RESPONSE.replace("Version=\"2.0\" ID=\"_a1\"", "Version=\"2.0\" ID=\"_a2\""),
        // A response whose signature is cut out, and one that is not signed at all.
        {
            let at = SIGNED_ASSERTION.find("<ds:Signature ").unwrap();
            let end = SIGNED_ASSERTION.find("</ds:Signature>").unwrap() + 15;
            format!("{}{}", &SIGNED_ASSERTION[..at], &SIGNED_ASSERTION[end..])
        },
        SIGNED_ASSERTION.replace("rsa-sha256", "rsa-sha1"),
    ];
    for (n, document) in changed.iter().enumerate() {
        assert_ne!(document, SIGNED_ASSERTION);
        assert_ne!(document, SIGNED_RESPONSE);
        let (status, error, text) = error_of(&w.oauth(&form(document)));
        assert_eq!((status, error.as_str()), (400, "invalid_grant"), "{n}");
        assert!(text.contains("signature"), "{n}: {text}");
    }
    // What is not signed may change: white space inside of tags, comments.
    let same = SIGNED_ASSERTION
        .replace("<!-- a comment -->", "<!-- another -->")
        .replace("\" NotBefore=", "\"  NotBefore=");
    assert_eq!(w.oauth(&form(&same)).status, 200);
}

#[test]
fn a_signed_assertion_wrapped_around_a_forged_one_is_refused() {
    let mut w = World::of(trusting());
    let at = SIGNED_ASSERTION.find("<saml:Assertion ").unwrap();
    let end = SIGNED_ASSERTION.find("</samlp:Response>").unwrap();
    let original = &SIGNED_ASSERTION[at..end];
    let forged = original
        .replace("ID=\"_a1\"", "ID=\"_evil\"")
        .replace("agent@example.com", "boss@example.com");
    let signature = {
        let from = forged.find("<ds:Signature ").unwrap();
        let to = forged.find("</ds:Signature>").unwrap() + 15;
        forged[from..to].to_owned()
    };
    let unsigned = forged.replace(&signature, "");
    for inside in [
        // Two assertions side by side; the original inside of an extension; both with one ID.
        format!("{unsigned}{original}"),
        format!("<samlp:Extensions>{original}</samlp:Extensions>{unsigned}"),
        format!("<samlp:Extensions>{original}</samlp:Extensions>{forged}"),
        format!(
            "<samlp:Extensions>{original}</samlp:Extensions>{}",
            forged.replace("_evil", "_a1")
        ),
    ] {
        let document = format!("{}{inside}</samlp:Response>", &SIGNED_ASSERTION[..at]);
        assert_eq!(w.oauth(&form(&document)).status, 400);
    }
}

#[test]
fn another_certificate_is_not_accepted_and_none_means_unsigned() {
    let mut settings = trusting();
    // Another key: one byte in the middle of the modulus differs.
    let certificate = &mut settings.saml.as_mut().unwrap().certificates[0];
    let modulus = certificate
        .windows(5)
        .position(|w| w == [0x02, 0x82, 0x01, 0x01, 0x00])
        .unwrap();
    certificate[modulus + 100] ^= 1;
    let mut w = World::of(settings.clone());
    assert!(
        error_of(&w.oauth(&form(SIGNED_ASSERTION)))
            .2
            .contains("no configured certificate")
    );
    settings.saml.as_mut().unwrap().certificates.clear();
    let unsigned = SIGNED_ASSERTION.replace("DigestValue>", "Other>");
    assert_eq!(World::of(settings).oauth(&form(&unsigned)).status, 200);
    assert_eq!(World::of(trusting()).oauth(&form(&unsigned)).status, 400);
}

#[test]
fn the_window_of_an_assertion_is_widened_by_ten_seconds() {
    let begin = Wall::parse_rfc3339("2026-01-08T15:35:00Z").unwrap();
    let end = Wall::parse_rfc3339("2026-01-08T15:40:00Z").unwrap();
    let second = Duration::from_secs(1);
    for (at, status, word) in [
        (begin - second * 11, 400, "not valid yet"),
        (begin - second * 9, 200, ""),
        (end + second * 9, 200, ""),
        (end + second * 10, 400, "expired"),
    ] {
        let mut w = World::of(trusting());
        w.now.wall = at;
        let answer = w.oauth(&form(SIGNED_ASSERTION));
        assert_eq!(answer.status, status, "{at}");
        if status == 400 {
            assert!(error_of(&answer).2.contains(word));
        }
    }
}

#[test]
fn what_the_assertion_says_must_fit_the_organisation() {
    let unsigned = |f: &dyn Fn(&mut Saml)| {
        let mut settings = trusting();
        let saml = settings.saml.as_mut().unwrap();
        saml.certificates.clear();
        f(saml);
        World::of(settings)
    };
    let refused = |w: &mut World, document: &str| error_of(&w.oauth(&form(document))).2;
    let mut w = unsigned(&|s| s.audience = Some("https://other.example.com".into()));
    assert!(refused(&mut w, SIGNED_ASSERTION).contains("audience"));
    let mut w = unsigned(&|s| s.recipient = Some("https://other.example.com".into()));
    assert!(refused(&mut w, SIGNED_ASSERTION).contains("recipient"));
    let mut w = unsigned(&|s| s.users[0].email = "someone@example.com".into());
    assert!(refused(&mut w, SIGNED_ASSERTION).contains("user not found"));
    let mut w = unsigned(&|_| {});
    for (from, to, word) in [
        ("Name=\"email\"", "Name=\"Email\"", "email"),
        (
            "\"OrganizationName\"",
            "\"organizationName\"",
            "OrganizationName",
        ),
        (">simulated<", ">other<", "OrganizationName"),
        ("status:Success", "status:Responder", "Success"),
        ("saml:Assertion", "saml:EncryptedAssertion", "encrypted"),
        ("cm:bearer", "cm:sender-vouches", "bearer"),
        ("samlp:Response", "samlp:Answer", "Response"),
        ("<saml:Subject>", "<!DOCTYPE x><saml:Subject>", "XML"),
    ] {
        let text = refused(&mut w, &SIGNED_ASSERTION.replace(from, to));
        assert!(text.contains(word), "{from}: {text}");
    }
    // A plus sign that was not encoded arrives as a space.
    let raw = format!("{GRANT}&orgName=simulated&assertion={} x", base64("<a/>"));
    assert!(error_of(&w.oauth(&raw)).2.contains("base64"));
    let other = form(SIGNED_ASSERTION).replace("orgName=simulated", "orgName=other");
    assert_eq!(error_of(&w.oauth(&other)).1, "invalid_grant");
}

#[test]
fn an_assertion_is_used_twice_only_if_the_switch_allows_it() {
    for (value, status) in [("accepted", 200), ("refused", 400)] {
        let mut w = World::of(trusting());
        w.set("assertion-replay", value);
        assert_eq!(w.oauth(&form(SIGNED_ASSERTION)).status, 200);
        assert_eq!(w.oauth(&form(SIGNED_ASSERTION)).status, status);
    }
}

#[test]
fn requests_without_a_valid_token_are_told_which_it_is() {
    let mut w = World::with(&[]);
    let request = Request {
        method: "GET",
        url: "https://api.simulated.test/api/v2/tokens/me".into(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let answer = w.p.http(&request, w.now);
    assert_eq!(answer.status, 401);
    assert_eq!(body(&answer)["code"], "authentication.required");
    let answer = w.call_as("nonsense", "GET", "/tokens/me", Value::Null);
    assert_eq!(answer.status, 401);
    assert_eq!(body(&answer)["code"], "bad.credentials");
    assert_eq!(body(&answer)["message"], "Invalid login credentials.");
    assert_eq!(w.get("/nowhere").status, 404);
}

#[test]
fn a_token_dies_after_its_life_by_logout_and_by_the_administrator() {
    let mut w = World::with(&[("token-lifetime-seconds", "300")]);
    w.seconds(299);
    assert_eq!(w.get("/tokens/me").status, 200);
    w.seconds(1);
    assert_eq!(w.get("/tokens/me").status, 401);
    w.token = w.new_token();
    assert_eq!(w.call("DELETE", "/tokens/me", Value::Null).status, 200);
    assert_eq!(w.get("/tokens/me").status, 401);
    let mut w = World::of(trusting());
    let of_user = body(&w.oauth(&form(SIGNED_ASSERTION)))["access_token"].clone();
    let path = format!("/tokens/{}", name_uuid("agent"));
    assert_eq!(w.call("DELETE", &path, Value::Null).status, 200);
    assert_eq!(w.get("/tokens/me").status, 200);
    let answer = w.call_as(of_user.as_str().unwrap(), "GET", "/tokens/me", Value::Null);
    assert_eq!(answer.status, 401);
}

#[test]
fn an_idle_token_dies_and_any_call_but_one_keeps_it_alive() {
    let mut w = World::with(&[("idle-token-timeout-seconds", "300")]);
    let (_, socket) = w.connected();
    let me = body(&w.get("/tokens/me?preserveIdleTTL=true"));
    let idles = w.now.wall + Duration::from_secs(300);
    assert_eq!(me["dateTokenIdles"], idles.rfc3339());
    let timeout = body(&w.get("/tokens/timeout"));
    assert_eq!(timeout["enableIdleTokenTimeout"], true);
    assert_eq!(timeout["idleTokenTimeoutSeconds"], 300);
    for _ in 0..3 {
        w.seconds(299);
        assert_eq!(w.call("HEAD", "/tokens/me", Value::Null).status, 200);
    }
    for _ in 0..3 {
        w.seconds(90);
        // Neither this nor frames on the socket count.
        assert_eq!(w.get("/tokens/me?preserveIdleTTL=true").status, 200);
        w.p.frame(socket, r#"{"message":"ping"}"#, w.now);
    }
    w.seconds(30);
    assert_eq!(w.get("/tokens/me").status, 401);
}

#[test]
fn where_some_calls_alone_reset_the_idle_timer_keeping_warm_does_not() {
    let mut w = World::with(&[
        ("idle-token-timeout-seconds", "300"),
        ("idle-reset", "some"),
    ]);
    let idles =
        |w: &mut World| body(&w.get("/tokens/me?preserveIdleTTL=true"))["dateTokenIdles"].clone();
    let first = idles(&mut w);
    w.seconds(200);
    assert_eq!(w.call("HEAD", "/tokens/me", Value::Null).status, 200);
    assert_eq!(idles(&mut w), first);
    let unknown = "/conversations/00000000-0000-4000-8000-000000000000";
    assert_eq!(w.get(unknown).status, 404);
    assert_ne!(idles(&mut w), first);
    w.seconds(299);
    assert_eq!(w.call("HEAD", "/tokens/me", Value::Null).status, 200);
    w.seconds(2);
    assert_eq!(w.get("/tokens/me").status, 401);
}

#[test]
fn the_idle_timeout_also_finds_tokens_that_were_there_when_it_was_switched_on() {
    let mut w = World::with(&[]);
    w.set("idle-token-timeout-seconds", "300");
    w.seconds(300);
    assert_eq!(w.get("/tokens/me").status, 401);
}

#[test]
fn a_dead_token_treats_its_sockets_as_the_switch_says() {
    for value in ["stays", "close", "silent", "notice-then-close", "deaf"] {
        let mut w = World::with(&[("token-death", value)]);
        let (c, socket) = w.listened(2);
        let channel = w.p.truth().channels().next().unwrap().id.to_owned();
        w.fault(json!({"fault": "revoke-tokens"}));
        let outs = w.outs();
        match value {
            "close" => assert!(matches!(outs[..], [SocketOut::Close { .. }])),
            "notice-then-close" => {
                let [SocketOut::Frame { text, .. }, SocketOut::Close { .. }] = &outs[..] else {
                    panic!("{outs:?}");
                };
                let frame: Value = serde_json::from_str(text).unwrap();
                let name = frame["topicName"].as_str().unwrap();
                assert!(name.starts_with("v2.system.token_revoked."));
                assert_eq!(frame["eventBody"]["reason"], "user_tokens_revoked");
            }
            _ => assert!(outs.is_empty(), "{value}"),
        }
        w.do_it(json!({"command": "wrap-up", "conversation": c}));
        assert_eq!(w.events().len(), usize::from(value == "stays"), "{value}");
        w.send(socket, "subscribe", &[topic(&c)]);
        let replies = w.frames();
        if ["stays", "deaf"].contains(&value) {
            assert_eq!(replies[0].1["result"], "404");
            assert_eq!(w.p.truth().ledger().requests_on_dead_channels, 1);
        } else {
            assert!(replies.is_empty(), "{value}");
        }
        w.seconds(31);
        let beats = w.frames().len();
        assert_eq!(
            beats,
            usize::from(["stays", "deaf"].contains(&value)),
            "{value}"
        );
        assert_eq!(w.upgrade_status(&channel), 401);
        // Another token does not bring the channel back.
        w.token = w.new_token();
        let path = format!("/notifications/channels/{channel}/subscriptions");
        assert_eq!(w.get(&path).status, 404);
    }
}

#[test]
fn an_expired_token_is_no_revoked_one() {
    let mut w = World::with(&[
        ("token-death", "notice-then-close"),
        ("token-lifetime-seconds", "300"),
    ]);
    w.connected();
    w.seconds(300);
    let told = w.outs().into_iter().find_map(|out| match out {
        SocketOut::Frame { text, .. } if text.contains("token_revoked") => {
            Some(serde_json::from_str::<Value>(&text).unwrap())
        }
        _ => None,
    });
    assert!(told.unwrap()["eventBody"].get("reason").is_none());
}

#[test]
fn the_request_after_the_allowed_ones_gets_429_until_the_minute_is_over() {
    let mut w = World::with(&[]);
    for n in 1..=300 {
        let answer = w.get("/tokens/timeout");
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("inin-ratelimit-count"),
            Some(n.to_string().as_str())
        );
        assert_eq!(answer.header("inin-ratelimit-allowed"), Some("300"));
    }
    w.seconds(18);
    let answer = w.get("/tokens/timeout");
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("Retry-After"), Some("42"));
    assert_eq!(
        body(&answer)["message"],
        "Rate limit exceeded the maximum. Retry the request in [42] seconds"
    );
    assert_eq!(w.p.truth().ledger().rate_limited, 1);
    // Another token has its own budget.
    let other = w.new_token();
    assert_eq!(
        w.call_as(&other, "GET", "/tokens/timeout", Value::Null)
            .status,
        200
    );
    w.seconds(42);
    assert_eq!(w.get("/tokens/timeout").status, 200);
    assert_eq!(w.p.truth().ledger().calls[&Call::TokenTimeout], 303);
}

#[test]
fn rate_limit_headers_and_retry_after_can_be_switched_off() {
    let mut w = World::with(&[
        ("rate-limit-headers", "never"),
        ("rate-limit-retry-after", "without"),
        ("rest-per-minute", "1"),
    ]);
    let answer = w.get("/tokens/timeout");
    assert!(
        answer
            .headers
            .iter()
            .all(|(n, _)| !n.starts_with("inin-ratelimit"))
    );
    let answer = w.get("/tokens/timeout");
    assert_eq!((answer.status, answer.header("Retry-After")), (429, None));
    assert_eq!(body(&answer)["code"], "too.many.requests");
}

#[test]
fn rate_limit_headers_are_on_refusals_and_server_errors_too_or_on_good_answers_only() {
    for (value, on_bad) in [("always", true), ("good-only", false), ("never", false)] {
        let mut w = World::with(&[("rate-limit-headers", value)]);
        let reset = |answer: &Response| answer.header("inin-ratelimit-reset").is_some();
        assert_eq!(reset(&w.get("/tokens/timeout")), value != "never");
        let missing = w.get("/conversations/00000000-0000-4000-8000-000000000009");
        assert_eq!((missing.status, reset(&missing)), (404, on_bad));
        for failure in [
            json!({"with": "status", "status": 503}),
            json!({"with": "html", "status": 500}),
        ] {
            w.fault(json!({"fault": "fail-rest", "failure": failure}));
            let failed = w.get("/tokens/timeout");
            assert_eq!(reset(&failed), on_bad, "{value} {failed:?}");
        }
        // What is said for a conversation is said in place of it.
        w.fault(json!({"fault": "refuse-conversations", "status": 500,
            "headers": {"inin-ratelimit-reset": "-1"}}));
        let refused = w.get("/conversations/00000000-0000-4000-8000-000000000009");
        assert_eq!(
            (refused.status, refused.header("inin-ratelimit-reset")),
            (500, Some("-1"))
        );
    }
}

#[test]
fn without_a_user_there_is_no_list_of_conversations() {
    let mut w = World::of(trusting());
    w.start(1, "voice");
    let list = body(&w.get("/conversations"));
    assert_eq!((&list["total"], &list["entities"]), (&json!(0), &json!([])));
}
