//! What a token of the page can do: a table of calls and tokens, for each access and each listener.

use std::time::Instant;

use super::*;

const SAME: (&str, &str) = ("Sec-Fetch-Site", "same-origin");
const MINUTES: Duration = Duration::from_secs(600);

fn ask_for_token(house: &House, before: Option<&str>) -> Got {
    let before = before.map(|token| format!("Bearer {token}"));
    let mut fields = vec![SAME];
    if let Some(before) = &before {
        fields.push(("Authorization", before));
    }
    call(house.address, "POST", TOKEN, &fields, b"")
}

fn token(house: &House, before: Option<&str>) -> String {
    let got = ask_for_token(house, before);
    assert_eq!(got.status, 200, "{got:?}");
    got.json()["token"].as_str().unwrap().to_owned()
}

fn with_token(house: &House, method: &str, path: &str, token: Option<&str>, body: &str) -> Got {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut fields = vec![JSON];
    if let Some(bearer) = &bearer {
        fields.push(("Authorization", bearer));
    }
    call(house.address, method, path, &fields, body.as_bytes())
}

fn report(house: &House, token: &str, id: &str) -> u16 {
    let body = format!("{{\"conversationId\":\"{id}\"}}");
    with_token(house, "POST", INTERACTIONS, Some(token), &body).status
}

/// Waits until a short-lived token is over.
fn until_over(house: &House, token: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let path = format!("{NEWS}?ids={ID}");
    while with_token(house, "GET", &path, Some(token), "").status != 401 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_token_of_the_page_can_report_read_what_it_reported_and_nothing_else() {
    const API: &str = "an-api-token-of-some-length";
    const ALL: [&str; 7] = [
        "none",
        "page",
        "its successor",
        "of another chain",
        "expired",
        "forged",
        "api",
    ];
    for (access, api) in [
        ("page", true),
        ("page", false),
        ("token", true),
        ("token", false),
    ] {
        let board = Arc::new(Board::default());
        let lived = |lifetime| match access {
            "page" => desktop(Some(lifetime), &board),
            _ => desktop(None, &board),
        };
        let with = |lifetime| With {
            tokens: if api { &[API] } else { &[] },
            desktop: lived(lifetime),
            ..With::default()
        };
        let house = house(with(MINUTES));
        let (page, next, other);
        if access == "page" {
            page = token(&house, None);
            assert_eq!(report(&house, &page, ID), 202);
            next = token(&house, Some(&page));
            other = token(&house, None);
            assert_eq!(report(&house, &other, OTHER_ID), 202);
        } else {
            // What a gateway with pages gave out is worth nothing here.
            let elsewhere = crate::house(With {
                desktop: desktop(Some(MINUTES), &board),
                ..With::default()
            });
            page = token(&elsewhere, None);
            (next, other) = (page.clone(), page.clone());
            for id in [ID, OTHER_ID] {
                let body = format!("{{\"conversationId\":\"{id}\"}}");
                with_token(&house, "POST", INTERACTIONS, Some(API), &body);
            }
        }
        // A short-lived one, from a listener whose tokens are.
        let brief = crate::house(with(Duration::from_secs(1)));
        let expired = match access {
            "page" => {
                let expired = token(&brief, None);
                until_over(&brief, &expired);
                expired
            }
            _ => page.clone(),
        };
        let forged = format!("{}x{}", &page[..20], &page[21..]);
        let own = format!("{INTERACTIONS}/{ID}");
        let others = format!("{INTERACTIONS}/{OTHER_ID}");
        let news = format!("{NEWS}?ids={ID}");
        let reported = with_id("");
        // Where pages have no tokens, one is as wrong as another, and each wrong one is slowed.
        let kinds: &[&str] = match access {
            "page" => &ALL,
            _ => &["none", "page", "api"],
        };
        for kind in kinds.iter().copied() {
            let (house, shown) = match kind {
                "none" => (&house, None),
                "page" => (&house, Some(page.as_str())),
                "its successor" => (&house, Some(next.as_str())),
                "of another chain" => (&house, Some(other.as_str())),
                "expired" => (&brief, Some(expired.as_str())),
                "forged" => (&house, Some(forged.as_str())),
                _ => (&house, Some(API)),
            };
            let judged = access == "page" && !matches!(kind, "none" | "api");
            for (method, path, body, good, scoped) in [
                ("POST", INTERACTIONS, reported.as_str(), 200, 200),
                ("GET", own.as_str(), "", 200, 200),
                ("HEAD", own.as_str(), "", 200, 200),
                ("GET", others.as_str(), "", 200, 404),
                ("GET", news.as_str(), "", 200, 200),
                ("GET", NEWS, "", 400, 400),
                ("DELETE", own.as_str(), "", 202, 403),
                ("DELETE", others.as_str(), "", 202, 403),
                ("POST", RESULTS, "{}", 202, 403),
                (
                    "POST",
                    EVENTS,
                    r#"{"conversationId":"x"}"#,
                    if api { 400 } else { 403 },
                    403,
                ),
                ("PUT", own.as_str(), "", 405, 405),
                ("GET", "/openapi.json", "", 200, 200),
                ("GET", "/agent-desktop/", "", 200, 200),
                ("GET", "/agent-desktop/config.json", "", 200, 200),
            ] {
                let public = path == "/openapi.json"
                    || (path.starts_with("/agent-desktop/") && !path.starts_with(NEWS));
                let expected = if public {
                    200
                } else if judged {
                    match kind {
                        "expired" | "forged" => 401,
                        // What was reported with another chain is not there for this one, until
                        // it reports it itself, which it did first.
                        "of another chain" if path == others && method == "GET" => 200,
                        _ => scoped,
                    }
                } else if api && kind != "api" {
                    401
                } else {
                    good
                };
                let what = format!("{access}, API tokens {api}, {kind}: {method} {path}");
                let before = house.port.snapshot();
                let got = with_token(house, method, path, shown, body);
                // Conversations that were stopped are there again for the next round.
                if method == "DELETE" && got.status < 300 {
                    for id in [ID, OTHER_ID] {
                        let body = format!("{{\"conversationId\":\"{id}\"}}");
                        with_token(house, "POST", INTERACTIONS, api.then_some(API), &body);
                    }
                }
                let same = got.status == expected
                    || (expected == 202 && got.status == 200)
                    || (expected == 200 && got.status == 202);
                assert!(same, "{what}: {expected}, not {got:?}");
                if got.status >= 400 {
                    assert_eq!(house.port.snapshot(), before, "{what}");
                }
                if got.status == 403 && judged && path != EVENTS {
                    assert!(got.text().contains("page-token-scope"), "{what}: {got:?}");
                }
                if got.status == 401 && judged && method != "HEAD" {
                    let kind_of = got.json()["type"].as_str().unwrap().to_owned();
                    let over = kind_of.ends_with("page-token-expired");
                    assert_eq!(over, kind == "expired", "{what}: {kind_of}");
                    assert!(got.header("www-authenticate").is_some());
                }
            }
        }
        // The page is given a token only where it is meant to have one.
        let got = ask_for_token(&house, None);
        assert_eq!(got.status, if access == "page" { 200 } else { 404 });
    }
}

#[test]
fn a_chain_goes_on_over_tokens_that_are_over_and_not_over_others() {
    let board = Arc::new(Board::default());
    let house = house(With {
        tokens: &["an-api-token-of-some-length"],
        desktop: desktop(Some(Duration::from_secs(1)), &board),
        ..With::default()
    });
    let get = format!("{INTERACTIONS}/{ID}");
    let first = token(&house, None);
    assert_eq!(report(&house, &first, ID), 202);
    until_over(&house, &first);
    let next = token(&house, Some(&first));
    assert_eq!(with_token(&house, "GET", &get, Some(&next), "").status, 200);
    // A token that somebody made up begins a chain of its own.
    let forged = format!("{}x{}", &first[..30], &first[31..]);
    let fresh = token(&house, Some(&forged));
    assert_eq!(
        with_token(&house, "GET", &get, Some(&fresh), "").status,
        404
    );
    let got = ask_for_token(&house, None);
    let told = got.json();
    assert_eq!(told["expiresInSeconds"], 1);
    assert!(told["expiresAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(got.header("cache-control"), Some("no-store"));
}

#[test]
fn no_page_of_another_origin_is_given_a_token_or_can_use_one() {
    let board = Arc::new(Board::default());
    let house = house(With {
        tokens: &["an-api-token-of-some-length"],
        // Even an origin that may call from a browser is not the page.
        origins: &["https://bofe.example"],
        desktop: desktop(Some(MINUTES), &board),
        ..With::default()
    });
    let stolen = token(&house, None);
    assert_eq!(report(&house, &stolen, ID), 202);
    let bearer = format!("Bearer {stolen}");
    let get = format!("{INTERACTIONS}/{ID}");
    for fields in [
        vec![
            ("Sec-Fetch-Site", "cross-site"),
            ("Origin", "https://evil.example"),
        ],
        vec![
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "http://localhost:1"),
        ],
        vec![
            ("Sec-Fetch-Site", "cross-site"),
            ("Origin", "https://bofe.example"),
        ],
        vec![SAME, ("Origin", "https://evil.example")],
        vec![SAME, ("Origin", "null")],
        vec![("Origin", "https://bofe.example")],
        vec![("Sec-Fetch-Site", "none")],
    ] {
        let got = call(house.address, "POST", TOKEN, &fields, b"");
        assert_eq!(got.status, 403, "{fields:?}: {got:?}");
        assert!(got.text().contains("page-token-origin"));
        let mut with = fields.clone();
        with.extend([JSON, ("Authorization", bearer.as_str())]);
        for (method, path, body) in [
            ("GET", get.clone(), String::new()),
            ("GET", format!("{NEWS}?ids={ID}"), String::new()),
            ("POST", INTERACTIONS.to_owned(), with_id("")),
        ] {
            let got = call(house.address, method, &path, &with, body.as_bytes());
            assert_eq!(got.status, 403, "{method} {path} {with:?}");
        }
    }
    // A browser asks beforehand, and is told nothing.
    let ask = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    for path in [TOKEN, INTERACTIONS, NEWS] {
        let got = call(house.address, "OPTIONS", path, &ask, b"");
        assert_eq!(got.header("access-control-allow-origin"), None, "{path}");
        assert!(got.status >= 400, "{path}");
    }
    // Nobody who does not say where it stands is given one.
    assert_eq!(call(house.address, "POST", TOKEN, &[], b"").status, 403);
    // The page itself, behind a proxy that speaks TLS and keeps or tells the name.
    for fields in [
        vec![
            SAME,
            ("Host", "gateway.example"),
            ("Origin", "https://gateway.example"),
        ],
        vec![
            SAME,
            ("X-Forwarded-Host", "gateway.example"),
            ("Origin", "https://gateway.example"),
        ],
    ] {
        let got = call(house.address, "POST", TOKEN, &fields, b"");
        assert_eq!(got.status, 200, "{fields:?}");
    }
}

#[test]
fn without_api_tokens_pages_under_a_name_of_others_are_given_nothing() {
    let board = Arc::new(Board::default());
    let house = house(With {
        desktop: desktop(Some(MINUTES), &board),
        ..With::default()
    });
    let good = token(&house, None);
    let bearer = format!("Bearer {good}");
    let fields = [
        SAME,
        ("Host", "rebound.example"),
        ("Authorization", bearer.as_str()),
    ];
    for (method, path) in [("POST", TOKEN), ("GET", NEWS), ("GET", "/agent-desktop/")] {
        let got = call(house.address, method, path, &fields, b"");
        assert_eq!(got.status, 403, "{method} {path}");
    }
}

#[test]
fn sixty_tokens_a_minute_and_then_the_address_has_to_wait() {
    let board = Arc::new(Board::default());
    let house = house(With {
        desktop: desktop(Some(MINUTES), &board),
        ..With::default()
    });
    for n in 0..60 {
        let got = ask_for_token(&house, None);
        assert_eq!(got.status, 200, "{n}");
    }
    let got = ask_for_token(&house, None);
    assert_eq!(got.status, 503, "{got:?}");
    let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Asking in vain, and being refused, costs nothing of it.
    assert_eq!(call(house.address, "POST", TOKEN, &[], b"").status, 403);
}

#[test]
fn pages_share_the_quota_of_their_address_however_many_tokens_they_get() {
    let board = Arc::new(Board::default());
    let house = house(With {
        tokens: &["an-api-token-of-some-length"],
        accepts_per_minute: 2,
        desktop: desktop(Some(MINUTES), &board),
        ..With::default()
    });
    let id = |n: u32| format!("7c1f4b9e-5d0a-4c58-9a3e-{n:012}");
    for n in 0..2 {
        assert_eq!(report(&house, &token(&house, None), &id(n)), 202);
    }
    assert_eq!(report(&house, &token(&house, None), &id(2)), 503);
}
