use serde_json::json;

use super::*;
use base::rng::Rng;

/// 1994-11-06T08:48:37Z
const NOW: Wall = Wall(784_111_717_000);

fn request(grant: Grant) -> Request {
    TokenRequest {
        login_url: "https://login.mypurecloud.de/".into(),
        client_id: "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47".into(),
        client_secret: Secret::new("s3cr3t-_with+odd: chars/é"),
        grant,
    }
    .encode()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    Response {
        status,
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        body: body.as_bytes().to_vec(),
    }
}

fn error(status: u16, body: &str) -> TokenError {
    decode(&answer(status, &[], body), NOW).unwrap_err()
}

fn every_error() -> Vec<TokenError> {
    let words = || String::from("words");
    vec![
        TokenError::UnknownClient,
        TokenError::WrongSecret,
        TokenError::ClientRejected { words: words() },
        TokenError::WrongOrganisation { words: words() },
        TokenError::AssertionRejected { words: words() },
        TokenError::GrantNotAllowed { words: words() },
        TokenError::RateLimited { retry_after: None },
        TokenError::ServerTrouble {
            status: 503,
            retry_after: None,
        },
        TokenError::WebPage { status: 403 },
        TokenError::WrongAddress { status: 404 },
        TokenError::Refused {
            status: 403,
            words: words(),
        },
        TokenError::Garbled("it is"),
    ]
}

#[test]
fn client_credentials_are_asked_for_with_a_form_and_basic_authentication() {
    let r = request(Grant::ClientCredentials);
    assert_eq!(r.method, "POST");
    assert_eq!(r.url, "https://login.mypurecloud.de/oauth/token");
    assert_eq!(
        r.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(r.header("user-agent"), Some(USER_AGENT));
    assert_eq!(r.body, b"grant_type=client_credentials");
    let basic = r.header("authorization").unwrap();
    let basic = STANDARD.decode(basic.strip_prefix("Basic ").unwrap());
    assert_eq!(
        String::from_utf8(basic.unwrap()).unwrap(),
        "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47:s3cr3t-_with%2Bodd%3A+chars%2F%C3%A9"
    );
}

#[test]
fn an_assertion_arrives_unchanged_after_form_decoding() {
    let assertion = "PHNhbWxwOlJlc3BvbnNlPg+/==";
    let r = request(Grant::Saml2Bearer {
        org_name: "acme & söhne".into(),
        assertion: Secret::new(assertion),
    });
    assert_eq!(
        String::from_utf8(r.body).unwrap(),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer\
         &orgName=acme+%26+s%C3%B6hne&assertion=PHNhbWxwOlJlc3BvbnNlPg%2B%2F%3D%3D"
    );
}

#[test]
fn a_token_is_read_with_unknown_members_and_any_letter_case_of_its_type() {
    for body in [
        r#"{"access_token":"Xn2abc","token_type":"bearer","expires_in":86399}"#,
        r#"{"token_type":"Bearer","access_token":"Xn2abc","expires_in":"86399","x":[1]}"#,
        r#"{"access_token":"Xn2abc","expires_in":86399.9}"#,
    ] {
        let token = decode(&answer(200, &[], body), NOW).unwrap();
        assert_eq!(token.access_token.expose(), "Xn2abc");
        assert_eq!(token.expires_in, Duration::from_secs(86_399), "{body}");
        assert!(!format!("{token:?}").contains("Xn2"));
    }
}

#[test]
fn the_life_of_a_token_is_clamped() {
    for (said, expected) in [
        (json!(0), LIFE_MIN),
        (json!(-5), LIFE_MIN),
        (json!(59), LIFE_MIN),
        (json!(61), Duration::from_secs(61)),
        (json!(172_801), LIFE_MAX),
        (json!(1e300), LIFE_MAX),
        (json!(u64::MAX), LIFE_MAX),
        (json!(i64::MIN), LIFE_MIN),
        (json!("inf"), LIFE_MAX),
        (json!(null), LIFE_UNSAID),
    ] {
        let body = json!({"access_token": "a", "expires_in": said});
        let token = decode(&Response::json(200, &body), NOW).unwrap();
        assert_eq!(token.expires_in, expected, "{said}");
    }
    let body = json!({"access_token": "a"});
    let token = decode(&Response::json(200, &body), NOW).unwrap();
    assert_eq!(token.expires_in, LIFE_UNSAID);
}

#[test]
fn the_longest_token_is_taken() {
    let longest = "a".repeat(TOKEN_MAX);
    let body = json!({"access_token": longest});
    let token = decode(&Response::json(200, &body), NOW).unwrap();
    assert_eq!(token.access_token.expose(), longest);
}

#[test]
fn a_success_without_a_usable_token_is_garbled() {
    let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(TOKEN_MAX + 1));
    for body in [
        "",
        "null",
        "[]",
        "\"token\"",
        "{}",
        "{\"access_token\":",
        r#"{"access_token":null}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"a\r\nX-Evil: 1"}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"ä"}"#,
        r#"{"access_token":"a","token_type":"mac"}"#,
        r#"{"access_token":"a","token_type":7}"#,
        r#"{"access_token":"a","expires_in":"soon"}"#,
        r#"{"access_token":"a","expires_in":"NaN"}"#,
        r#"{"access_token":"a","expires_in":{}}"#,
        &long,
    ] {
        let e = error(200, body);
        assert!(matches!(e, TokenError::Garbled(_)), "{body}: {e:?}");
    }
}

#[test]
fn refusals_are_told_apart_by_code_and_words_with_either_status() {
    for (body, label) in [
        (
            r#"{"error":"invalid_client","description":"client not found","error_description":"client not found"}"#,
            "unknown-client",
        ),
        (
            r#"{"error":"invalid_client","description":"authentication failed"}"#,
            "wrong-secret",
        ),
        (
            r#"{"error":"INVALID_CLIENT","error_description":"Authentication Failed"}"#,
            "wrong-secret",
        ),
        (r#"{"error":"invalid_client"}"#, "client-rejected"),
        (
            r#"{"error":"invalid_client","description":7}"#,
            "client-rejected",
        ),
        (
            r#"{"error":"invalid_grant","description":"assertion expired"}"#,
            "assertion-rejected",
        ),
        (r#"{"error":"invalid_grant"}"#, "assertion-rejected"),
        (
            r#"{"error":"invalid_grant","description":"unknown organization"}"#,
            "wrong-organisation",
        ),
        (
            r#"{"error":"invalid_request","description":"orgName is wrong"}"#,
            "wrong-organisation",
        ),
        (r#"{"error":"unauthorized_client"}"#, "grant-not-allowed"),
        (r#"{"error":"unsupported_grant_type"}"#, "grant-not-allowed"),
        (r#"{"error":"temporarily_unavailable"}"#, "server-trouble"),
        (r#"{"error":"invalid_request"}"#, "refused"),
        (
            r#"{"message":"no","code":"ip.not.authorized","status":401}"#,
            "refused",
        ),
        (r#"{"code":"too.many.requests"}"#, "rate-limited"),
        ("{}", "refused"),
        ("[]", "garbled"),
        ("", "garbled"),
        ("<html>", "web-page"),
        (" \n<!doctype html>", "web-page"),
    ] {
        for status in [400, 401, 403] {
            assert_eq!(error(status, body).label(), label, "{status} {body}");
        }
    }
}

#[test]
fn other_statuses_say_who_is_in_trouble() {
    for (status, body, label) in [
        (500, "", "server-trouble"),
        (502, "<html>bad gateway</html>", "server-trouble"),
        (503, r#"{"error":"invalid_client"}"#, "server-trouble"),
        (408, "", "server-trouble"),
        (429, "", "rate-limited"),
        (301, "", "wrong-address"),
        (302, "<html>", "wrong-address"),
        (404, "<html>", "wrong-address"),
        (404, r#"{"status":404}"#, "wrong-address"),
        (
            404,
            r#"{"error":"invalid_client","description":"client not found"}"#,
            "unknown-client",
        ),
        (405, "", "wrong-address"),
        (200, "<html>sign in</html>", "web-page"),
        (0, "", "garbled"),
        (101, "", "garbled"),
        (999, "", "garbled"),
    ] {
        assert_eq!(error(status, body).label(), label, "{status} {body}");
    }
}

#[test]
fn the_wait_that_the_platform_asks_for_is_kept() {
    for (status, headers, expected) in [
        (429, &[("retry-after", "42")][..], Some(42)),
        (
            429,
            &[("RETRY-AFTER", "Sun, 06 Nov 1994 08:49:37 GMT")],
            Some(60),
        ),
        (429, &[("inin-ratelimit-reset", "7")], Some(7)),
        (
            429,
            &[("inin-ratelimit-reset", "7"), ("Retry-After", "9")],
            Some(9),
        ),
        (
            429,
            &[("Retry-After", "soon"), ("inin-ratelimit-reset", "7")],
            Some(7),
        ),
        (503, &[("Retry-After", "3")], Some(3)),
        (429, &[], None),
    ] {
        let e = decode(&answer(status, headers, ""), NOW).unwrap_err();
        assert_eq!(
            e.retry_after(),
            expected.map(Duration::from_secs),
            "{headers:?}"
        );
    }
    assert_eq!(TokenError::WrongSecret.retry_after(), None);
}

#[test]
fn every_error_has_its_own_label_a_sentence_and_a_hint() {
    let mut labels: Vec<_> = every_error().iter().map(TokenError::label).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), every_error().len());
    for e in every_error() {
        let sentence = e.to_string();
        assert!(sentence.contains(e.hint()), "{sentence}");
        assert!(
            !sentence.ends_with('.') && !sentence.contains('\n'),
            "{sentence}"
        );
    }
}

#[test]
fn what_an_operator_has_to_change_is_not_tried_again_soon() {
    for e in every_error() {
        // A stale assertion may be replaced by the next one, and what stands at a wrong address
        // may be something in between that is there for a while.
        let stale = matches!(
            e,
            TokenError::AssertionRejected { .. } | TokenError::WrongAddress { .. }
        );
        assert!(
            e.blame() != Blame::Operator || !e.retry_soon() || stale,
            "{e:?}"
        );
    }
    assert!(TokenError::RateLimited { retry_after: None }.retry_soon());
}

#[test]
fn words_of_the_platform_are_shown_bounded_and_without_secrets_or_controls() {
    let secret = "kOhRvT5Hd8Qm3Zx7Lw2Yb9Nc4Fg6Jp1Se0Ua-_Wi5Vo";
    for code in [
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        secret,
    ] {
        let body = json!({
            "error": code,
            "description": format!("bad {secret}\r\n<3>forged line\u{1b}[2J {}", "x ".repeat(5000)),
        });
        let e = decode(&Response::json(400, &body), NOW).unwrap_err();
        for shown in [e.to_string(), format!("{e:?}")] {
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.chars().count() < 600, "{shown}");
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
        assert!(e.to_string().contains("forged line"), "the rest is shown");
    }
}

#[test]
fn no_request_shows_its_secrets() {
    let request = TokenRequest {
        login_url: "https://login.example".into(),
        client_id: "id".into(),
        client_secret: Secret::new("hush-hush"),
        grant: Grant::Saml2Bearer {
            org_name: "acme".into(),
            assertion: Secret::new("aHVzaA=="),
        },
    };
    let shown = format!("{request:?} {:?}", request.encode());
    assert!(
        !shown.contains("hush") && !shown.contains("aHVza"),
        "{shown}"
    );
}

#[test]
fn every_prefix_of_an_answer_is_read_without_panic_and_without_a_token() {
    let whole = r#"{"access_token":"Xn2abc","token_type":"bearer","expires_in":86399}"#;
    for length in 0..whole.len() {
        assert!(decode(&answer(200, &[], &whole[..length]), NOW).is_err());
    }
    let whole = r#"{"error":"invalid_client","description":"client not found"}"#;
    for length in 0..whole.len() {
        let e = error(400, &whole[..length]);
        assert_eq!(e.label(), "garbled", "{length}");
    }
}

#[test]
fn random_answers_never_panic_and_never_show_controls() {
    const STATUSES: [u16; 12] = [0, 100, 200, 204, 302, 400, 401, 404, 429, 500, 600, 65535];
    const PIECES: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"access_token\"",
        "\"expires_in\"",
        "\"token_type\"",
        "\"error\"",
        "\"description\"",
        "\"bearer\"",
        "\"invalid_client\"",
        "\"invalid_grant\"",
        "\"\\u0000\\n\"",
        "\"\\ud800\"",
        "1e999",
        "-1",
        "null",
        "true",
        "\u{feff}",
        "<",
        "\"a\"",
        "\"\u{1f600}\"",
    ];
    let mut rng = Rng::new(20);
    let mut pick = |n: usize| rng.below(n as u64) as usize;
    for _ in 0..20_000 {
        let mut body = Vec::new();
        if pick(2) == 0 {
            for _ in 0..pick(12) {
                body.extend_from_slice(PIECES[pick(PIECES.len())].as_bytes());
            }
        } else {
            body.extend((0..pick(40)).map(|_| pick(256) as u8));
        }
        let response = Response {
            status: STATUSES[pick(STATUSES.len())],
            headers: vec![("Retry-After".into(), pick(1 << 40).to_string())],
            body,
        };
        match decode(&response, NOW) {
            Ok(token) => assert!(token.expires_in >= LIFE_MIN && token.expires_in <= LIFE_MAX),
            Err(e) => {
                let shown = e.to_string();
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
                assert!(shown.chars().count() < 600);
            }
        }
    }
}

#[test]
fn members_of_every_wrong_type_are_survived() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([[[]]]),
        json!({}),
        json!({"a": {"b": []}}),
        json!("9".repeat(10_000)),
    ];
    for a in &values {
        for b in &values {
            let good = json!({"access_token": a, "expires_in": b, "token_type": "bearer"});
            let taken = decode(&Response::json(200, &good), NOW);
            assert_eq!(
                taken.is_ok(),
                a == &json!("x")
                    && (b.is_null() || b.is_number() || b == &json!("9".repeat(10_000))),
                "{a} {b}"
            );
            for name in ["error", "code"] {
                let bad = json!({name: a, "description": b, "message": b});
                let e = decode(&Response::json(400, &bad), NOW).unwrap_err();
                assert_eq!(e.label(), "refused");
            }
        }
    }
    // Nested deeper than any reader should follow.
    let deep = "[".repeat(100_000);
    assert_eq!(error(400, &deep).label(), "garbled");
}
